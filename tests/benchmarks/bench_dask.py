"""A Dask cluster of real processes on 127.0.0.1: what a cell costs, and how much faster several servers are.

`python tests/benchmarks/bench_dask.py [overhead servers]`; both if none is named. The exit code is 1 if an aim is
missed.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from bench_pool import LATENCY_S, server
from table import Row, at_least, at_most, show

import rxpipe as rxp

sys.path.insert(0, str(Path(__file__).parent.parent / "backends"))
from dask_clusters import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def overhead() -> Iterator[Row]:
    """1,000 cells on 3 workers of the embedded backend, over the time that it takes for them alone."""
    smallest = {"width": 64, "height": 64, "steps": 1}
    with rxp.open_backend("embedded") as alone:
        run(alone, 20, **smallest)
        alone_s = run(alone, CELLS, **smallest)
    yield Row(f"{CELLS} cells without Dask, one at a time", f"{1000 * alone_s / CELLS:.1f} ms each")
    with Processes(3) as cluster, rxp.open_backend(cluster.url) as backend:
        run(backend, 20, **smallest)
        took_s = run(backend, CELLS, **smallest)
    yield at_most(f"{CELLS} cells on 3 workers, over that", 1000 * (took_s - alone_s) / CELLS, 6.0, " ms each")


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
    parts = {"overhead": overhead, "servers": servers}
    return show("A Dask cluster", (row for name in names or parts for row in parts[name]()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
