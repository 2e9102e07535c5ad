"""A Dask cluster of real processes on 127.0.0.1: what a cell costs, and how much faster several servers are.

`python tests/benchmarks/bench_dask.py [overhead servers]`; both if none is named. The exit code is 1 if an aim is
missed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import reactivex as rx
from bench_pool import LATENCY_S, server
from table import Row, at_least, at_most, show

import rxpipe as rxp
from rxpipe.backends.base import Backend, Output
from rxpipe.backends.dask.address import parse_address
from rxpipe.backends.dask.serving import WorkerSettings, serve_worker
from rxpipe.testing.servers.drawing import noise_png

sys.path.insert(0, str(Path(__file__).parent.parent / "backends"))
from dask_clusters import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rxpipe.backends.base import RenderEvent
    from rxpipe.plan import StageExecution

PICTURE = noise_png(64, 64, 1)
AIMS = {2: 1.8, 4: 3.4, 8: 5.5}
CELLS = 1000


def run(backend: rxp.Backend, images: int, **settings: object) -> float:
    """Render *images* with txt2img; the seconds it took."""
    job = rxp.chain(rxp.txt2img(prompt="a", images=images, seed=7, **settings), out=None)
    begin = time.monotonic()
    result = rxp.PipelineRunner(backend).run(job)
    took_s = time.monotonic() - begin
    seeds = sorted(record.seed or 0 for record in result.images)
    if not result.success or seeds != list(range(7, 7 + images)):
        raise SystemExit(f"not all images came: {result!r}")
    return took_s


class Nothing(Backend):
    """Takes no time: each picture is there already."""

    name = "nothing"

    def render(self, stage: StageExecution, source: rxp.Artifact | None) -> rx.Observable[RenderEvent]:
        del stage, source
        return rx.just(Output(PICTURE))


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Seconds that processes have computed."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def overhead() -> Iterator[Row]:
    """1,000 cells that take no time, on one worker and on three, over the time that they take without Dask.

    What they compute in all processes is the same however busy the machine is.
    """
    with Nothing() as alone:
        run(alone, 20)
        alone_s = run(alone, CELLS)
    yield Row(f"{CELLS} cells without Dask", f"{1000 * alone_s / CELLS:.2f} ms each")
    with Processes(0) as cluster, ExitStack() as stack:
        processes = [psutil.Process(), psutil.Process(cluster.scheduler.pid)]
        for count in (1, 3):
            for _ in range(count - (count > 1)):
                command = [sys.executable, __file__, "worker", cluster.url]
                process = stack.enter_context(subprocess.Popen(command))  # noqa: S603  our own words
                stack.callback(process.terminate)
                processes.append(psutil.Process(process.pid))
            with rxp.open_backend(cluster.url) as backend:
                while len(backend.diagnose().stages) < count:
                    time.sleep(0.1)
                run(backend, 20)
                computed_s = cpu_s(processes)
                took_s = run(backend, CELLS)
                computed_s = cpu_s(processes) - computed_s
            yield Row("computed by all processes", f"{1000 * computed_s / CELLS:.2f} ms each")
            yield at_most(f"{CELLS} cells, workers: {count}", 1000 * (took_s - alone_s) / CELLS, 6.0, " ms each")


def servers() -> Iterator[Row]:
    """2, 4 and 8 servers behind a worker each, over one without Dask."""
    with ExitStack() as stack:
        urls = [stack.enter_context(server())[0] for _ in range(max(AIMS))]
        with rxp.open_backend(urls[0]) as one:
            run(one, 4, width=256, height=256)
            one_s = run(one, 16, width=256, height=256)
        yield Row(f"one server without Dask, 16 images of {LATENCY_S} s", f"{one_s:.2f} s")
        cluster = stack.enter_context(Processes(0))
        for count, aim in AIMS.items():
            for number in range(len(cluster.workers), count):
                cluster.add(f"w{number}", holds=urls[number])
            for name in cluster.workers:
                cluster.await_greeting(name)
            with rxp.open_backend(cluster.url) as backend:
                run(backend, 2 * count, width=256, height=256)
                took_s = run(backend, 16 * count, width=256, height=256)
            yield at_least(f"{count} servers behind workers over one", count * one_s / took_s, aim)


def main(names: list[str]) -> int:
    """Print the parts named, or both."""
    if names[:1] == ["worker"]:
        serve_worker(Nothing(), "nothing", WorkerSettings(parse_address(names[1])), lambda _: None)
        return 0
    parts = {"overhead": overhead, "servers": servers}
    return show("A Dask cluster", (row for name in names or parts for row in parts[name]()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
