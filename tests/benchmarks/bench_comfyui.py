"""Time rxpipe against ComfyUI test servers, each in a process of its own that hands out pictures drawn beforehand.

`python tests/benchmarks/bench_comfyui.py [busy pool wire]`; all of them if none is named. "busy" is the time the server
had a job over the wall time: 1.0 is the limit. The exit code is 1 if an aim is missed.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from table import Row, at_least, at_most, show

import rxpipe as rxp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

LATENCY_S = 0.25
IMAGES, SIZE = 8, 128
FACES = [(100.0, 100.0, 300.0, 300.0)]


def faces(_: bytes) -> list[tuple[float, float, float, float]]:
    """One face in every picture, so that the detailer has its work."""
    return FACES


def serve(pipe: Connection) -> None:
    """Serve until the pipe is closed; every word is answered with the busy time."""
    from rxpipe.testing.servers.comfyui import ComfyUIServer  # noqa: PLC0415  # in the server's process only
    from rxpipe.testing.servers.drawing import Prepared  # noqa: PLC0415  # see above

    draw = Prepared([(256, 256), (SIZE, SIZE), (2 * SIZE, 2 * SIZE)])
    with ComfyUIServer(latency_s=LATENCY_S, draw=draw, faces=faces, keep_bodies=False) as server:
        pipe.send(server.url)
        while True:
            try:
                pipe.recv()
            except EOFError:
                return
            pipe.send(server.request_log.busy_s)


@contextmanager
def server() -> Iterator[tuple[str, Connection]]:
    """A server in a process of its own: its URL, and a pipe that answers with its busy time."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    url = ours.recv()
    try:
        yield url, ours
    finally:
        ours.close()
        process.terminate()
        process.join(5)


def busy_s(pipe: Connection) -> float:
    """The seconds that a server had a job."""
    pipe.send("busy")
    return float(pipe.recv())


def four_stages(images: int, out: Path) -> rxp.PipelineConfig:
    """All four stages, default settings."""
    return rxp.PipelineConfig(
        txt2img={"prompt": "a", "images": images, "width": SIZE, "height": SIZE, "seed": 1, "model": "tiny-a"},
        img2img={"denoising_strength": 0.3},
        adetailer={},
        upscale={"scale": 2},
        out=out,
    )  # fmt: skip


def busy() -> Iterator[Row]:
    """8 images through four stages of 0.25 s, every picture saved."""
    seen: list[float] = []

    def watch(event: rxp.StageEvent) -> None:
        if event.kind == "stage_image_progress" and event.stage_type == "upscale":
            seen.append(time.monotonic())

    with server() as (url, pipe), rxp.open_backend(url) as backend, tempfile.TemporaryDirectory() as folder:
        runner = rxp.PipelineRunner(backend)
        runner.executor.events.subscribe(watch)
        runner.run(four_stages(1, Path(folder))).raise_for_status()
        seen.clear()
        before, begin = busy_s(pipe), time.monotonic()
        runner.run(four_stages(IMAGES, Path(folder))).raise_for_status()
        wall_s = time.monotonic() - begin
        share = (busy_s(pipe) - before) / wall_s
    yield Row("8 x 128 to 256, 0.25 s a job", f"{wall_s:.2f} s")
    yield at_least("busy, default settings", share, 0.95)
    yield at_most("first finished picture (its stages sum to 1.0 s)", seen[0] - begin, 2.7, " s")


def pool() -> Iterator[Row]:
    """4 servers over one."""
    with ExitStack() as stack:
        urls = [stack.enter_context(server())[0] for _ in range(4)]
        one_s, four_s = rendered_s(urls[:1], 16), rendered_s(urls, 64)
    yield Row("one server, 16 images x 2 stages of 0.25 s", f"{one_s:.2f} s")
    yield at_least("4 servers over one", 4 * one_s / four_s, 3.7)


def rendered_s(urls: list[str], images: int) -> float:
    """The seconds that two stages of *images* take, once every server was asked what it has."""

    def job(count: int) -> rxp.Chain:
        first = rxp.txt2img(prompt="a", images=count, seed=7, width=256, height=256, model="tiny-a")
        return rxp.chain(first, rxp.img2img(), out=None)

    with rxp.open_backend(",".join(urls)) as backend:
        runner = rxp.PipelineRunner(backend)
        runner.run(job(2 * len(urls))).raise_for_status()
        begin = time.monotonic()
        runner.run(job(images)).raise_for_status()
        return time.monotonic() - begin


def wire() -> Iterator[Row]:
    """What goes over the wire for one img2img, in pictures: up, down, and the graph itself."""
    from rxpipe.backends.comfyui.backend import ComfyUIBackend  # noqa: PLC0415  # as the server does
    from rxpipe.testing.servers.comfyui import ComfyUIServer  # noqa: PLC0415  # in this process, to read its requests

    with ComfyUIServer(draw="noise") as there, ComfyUIBackend(there.url, previews=False) as backend:
        runner = rxp.PipelineRunner(backend)
        base = {"prompt": "a", "width": SIZE, "height": SIZE, "steps": 4, "model": "tiny-a"}
        first = runner.run(rxp.PipelineConfig(txt2img=base, out=Path(tempfile.mkdtemp())))
        path = first.images[0].path
        if path is None:
            raise SystemExit("no picture")
        before = len(there.calls)
        runner.run(
            rxp.PipelineConfig(img2img={"steps": 4, "model": "tiny-a"}, input=[path], out=None)
        ).raise_for_status()
        calls = there.calls[before:]
    size = path.stat().st_size
    sent = {call.path: int(call.headers.get("content-length", 0)) for call in calls if call.method == "POST"}
    yield at_most("sent for one img2img, in pictures", sum(sent.values()) / size, 1.1)
    yield at_most("of it the graph", sent["/prompt"] / size, 0.05)


PARTS = {"busy": busy, "pool": pool, "wire": wire}


def main() -> int:
    """Everything, or the parts that are named; the exit code."""
    parts = [PARTS[word] for word in sys.argv[1:]] or list(PARTS.values())
    return show("rxpipe against ComfyUI servers", (row for part in parts for row in part()))


if __name__ == "__main__":
    raise SystemExit(main())
