"""A pool of real test servers, each in a process of its own: how much faster, and what a sick member costs.

`python tests/benchmarks/bench_pool.py [equal unlike hang killed]`; all of them if none is named. The exit code is 1 if
an aim is missed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from table import Row, at_least, at_most, show

import rxpipe as rxp
from rxpipe.testing import WebUIServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LATENCY_S = 0.25
AIMS = {2: 1.9, 4: 3.7, 8: 7.0}


def serve(pipe: Connection, latency_s: float, port: int) -> None:
    """Serve until the pipe is closed."""
    with WebUIServer(latency_s=latency_s, port=port) as server:
        pipe.send(server.url)
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            server.wait_idle(5.0)
            pipe.send(sum(job.outcome == "done" for job in server.jobs))


@contextmanager
def server(latency_s: float = LATENCY_S, port: int = 0) -> Iterator[tuple[str, Connection, int]]:
    """A server in a process of its own: its URL, a pipe that answers with its finished jobs, its process id."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs, latency_s, port), daemon=True)
    process.start()
    theirs.close()
    url = ours.recv()
    try:
        yield url, ours, process.pid or 0
    finally:
        ours.close()
        process.terminate()
        process.join(5)


def run(urls: list[str], images: int, order: str = "auto", **settings: object) -> tuple[rxp.PipelineRunResult, float]:
    """Render two stages of *images* on the servers; the result and the seconds it took."""
    job = rxp.chain(
        rxp.txt2img(prompt="a", images=images, seed=7, width=256, height=256),
        rxp.img2img(),
        order=order,
        out=None,
        **settings,
    )
    with rxp.open_backend(",".join(urls)) as backend:
        begin = time.monotonic()
        result = rxp.PipelineRunner(backend).run(job)
        return result, time.monotonic() - begin


def whole(what: str, result: rxp.PipelineRunResult, images: int) -> Row:
    """Every image, with its own seed."""
    seeds = sorted(record.seed or 0 for record in result.images)
    return Row(what, f"{result.tally.done} of {images}", "all", seeds == list(range(7, 7 + images)) and result.success)


def equal() -> Iterator[Row]:
    """2, 4 and 8 servers over one, in every order."""
    for order in ("stage", "image", "auto"):
        with ExitStack() as stack:
            urls = [stack.enter_context(server())[0] for _ in range(max(AIMS))]
            run(urls, 8)  # connections stand, code is loaded
            _, one_s = run(urls[:1], 16, order)
            yield Row(f"{order}: one server, 16 images x 2 stages of {LATENCY_S} s", f"{one_s:.2f} s")
            for count, aim in AIMS.items():
                result, took_s = run(urls[:count], 16 * count, order)
                yield at_least(f"{order}: {count} servers over one", count * one_s / took_s, aim)
                yield whole(f"{order}: images, each with its seed", result, 16 * count)


def unlike() -> Iterator[Row]:
    """Three servers of 0.25 s and one of 1.0 s; 32 images of one stage, ideal 2.46 s."""
    with ExitStack() as stack:
        urls = [stack.enter_context(server(latency_s))[0] for latency_s in (0.25, 0.25, 0.25, 1.0)]
        job = rxp.chain(rxp.txt2img(prompt="a", images=32, seed=7, width=256, height=256), out=None)
        with rxp.open_backend(",".join(urls)) as backend:
            runner = rxp.PipelineRunner(backend)
            runner.run(job)
            begin = time.monotonic()
            result = runner.run(job)
            yield at_most("0.25 s x 3 and 1.0 s, 32 images (ideal 2.46 s)", time.monotonic() - begin, 3.2, " s")
            yield whole("images, each with its seed", result, 32)


def hang() -> Iterator[Row]:
    """One of two servers never answers; a time limit of 2 s, 8 images."""
    with server() as (fine, _, _), server(latency_s=3600.0) as (sick, _, _):
        begin = time.monotonic()
        job = rxp.chain(rxp.txt2img(prompt="a", images=8, seed=7, width=256, height=256), out=None, timeout_s=2.0)
        with rxp.open_backend(f"{fine},{sick}") as backend:
            result = rxp.PipelineRunner(backend).run(job)
            took_s = time.monotonic() - begin
        yield at_most("one of two hangs, time limit 2 s, 8 images", took_s, 6.0, " s")
        yield whole("images, each with its seed", result, 8)


def killed() -> Iterator[Row]:
    """One of two servers is killed after 1 s and is back after 5 s."""
    with ExitStack() as stack:
        fine, _, _ = stack.enter_context(server())
        sick, _, pid = stack.enter_context(server())
        port = int(sick.rpartition(":")[2])
        back: list[tuple[str, Connection, int]] = []

        def murder() -> None:
            os.kill(pid, signal.SIGKILL)

        def revive() -> None:
            back.append(stack.enter_context(server(port=port)))

        timers = [threading.Timer(1.0, murder), threading.Timer(6.0, revive)]
        for timer in timers:
            timer.start()
        result, took_s = run([fine, sick], 32)
        for timer in timers:
            timer.join()
        yield whole(f"one of two killed after 1 s, back after 6 s: images ({took_s:.1f} s)", result, 32)
        again = sum(record.server == sick for record in result.records[-16:])
        yield Row("images of the last 16 that it rendered after it was back", str(again), "at least 1", again >= 1)


def main(names: list[str]) -> int:
    """Print the parts named, or all."""
    parts = {"equal": equal, "unlike": unlike, "hang": hang, "killed": killed}
    return show("A pool of servers", (row for name in names or parts for row in parts[name]()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
