"""Time rxpipe beside a plain `requests` loop and the package `webuiapi`, all against the same WebUI test server.

`python tests/benchmarks/bench_webui.py [large] [small] [encoder] [others] [ROUNDS]`.

The server is a process of its own that hands out pictures drawn beforehand, each client is one too. "busy" is the time
the server had a job over the wall time: 1.0 is the limit.
"""

# ruff: noqa: T201, PLC0415  a benchmark prints; a client imports what it measures, and nothing else

from __future__ import annotations

import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from table import Row, at_least, at_most, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

LARGE = {"images": 8, "size": 1024, "latency_s": 0.25}
SMALL = {"images": 200, "size": 256, "latency_s": 0.005}
ENCODER = {**LARGE, "encode_s_per_mp": 0.12}
DETECTOR = "mediapipe_face_full"
PROMPT = "a lighthouse at dusk"


# -- the server, in a process of its own ------------------------------------------------------------------------------


def serve(pipe: Connection, size: int, latency_s: float, encode_s_per_mp: float = 0.0) -> None:
    """Serve until asked to stop; every other word is answered with the busy time and the count of jobs."""
    from rxpipe.testing.servers.webui import Prepared, WebUIServer

    draw = Prepared([(size, size), (2 * size, 2 * size)])
    with WebUIServer(
        latency_s=latency_s, draw=draw, gzip_level=None, keep_bodies=False, encode_s_per_mp=encode_s_per_mp
    ) as server:
        pipe.send(server.url)
        while pipe.recv() != "stop":
            server.wait_idle()
            pipe.send((server.busy_s, len(server.jobs)))


# -- the clients, each in a process of its own ------------------------------------------------------------------------


def measured(begin: float, first: float, growth_kb: float, images: int) -> dict[str, float]:
    """What a client measures of itself."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "wall_s": time.perf_counter() - begin,
        "first_s": first - begin,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
        "growth_kb": growth_kb,
        "images": images,
    }


def resident_kb() -> float:
    """Resident memory now; Linux."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 1024


def loop(url: str, folder: Path, images: int, size: int, *, save_all: bool = True) -> dict[str, float]:
    """What people write: requests, json, base64, Pillow; all pictures in one txt2img request, then one by one."""
    import base64
    import io

    import requests
    from PIL import Image

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = requests.post(f"{url}/sdapi/v1/{path}", json=body, timeout=600)
        answer.raise_for_status()
        return dict(answer.json())

    def text(image: Image.Image) -> str:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        return base64.b64encode(buffer.getvalue()).decode()

    def opened(picture: str) -> Image.Image:
        return Image.open(io.BytesIO(base64.b64decode(picture)))

    begin, first, early = time.perf_counter(), 0.0, 0.0
    common = {"prompt": PROMPT, "width": size, "height": size, "steps": 20}
    done = 0
    while done < images:
        count = min(8, images - done)
        answer = post("txt2img", {**common, "seed": done, "n_iter": count})
        for index, picture in enumerate(answer["images"], start=done):
            stages = [opened(picture)]
            stages.append(opened(post("img2img", _img2img(common, index, text(stages[-1])))["images"][0]))
            stages.append(opened(post("img2img", _detail(common, index, text(stages[-1])))["images"][0]))
            stages.append(opened(post("extra-single-image", _upscale(text(stages[-1])))["image"]))
            for number, image in enumerate(stages):
                if save_all or image is stages[-1]:
                    image.save(folder / f"{index:04}-{number}.png")
            first = first or time.perf_counter()
            early = resident_kb() if index == images // 4 else early
        done += count
    return measured(begin, first, (resident_kb() - early) / (images * 0.75), images)


def loop_last(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """The same loop, saving only the last stage."""
    return loop(url, folder, images, size, save_all=False)


def loop_ahead(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """The least that keeps one request waiting at the server: two threads, an image each, bytes written as they came.

    Nothing is checked, compared, synced, reported or put into the files' texts, and no answer is looked at twice.
    """
    import base64
    from concurrent.futures import ThreadPoolExecutor

    import requests

    session = requests.Session()
    session.trust_env = False
    begin = time.perf_counter()
    common = {"prompt": PROMPT, "width": size, "height": size, "steps": 20}
    moments, early = [], []

    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = session.post(f"{url}/sdapi/v1/{path}", json=body, timeout=600)
        answer.raise_for_status()
        return dict(answer.json())

    def draw(index: int) -> None:
        stages = [post("txt2img", {**common, "seed": index})["images"][0]]
        stages.append(post("img2img", _img2img(common, index, stages[-1]))["images"][0])
        stages.append(post("img2img", _detail(common, index, stages[-1]))["images"][0])
        stages.append(post("extra-single-image", _upscale(stages[-1]))["image"])
        for number, picture in enumerate(stages):
            (folder / f"{index:04}-{number}.png").write_bytes(base64.b64decode(picture))
        moments.append(time.perf_counter())
        if index == images // 4:
            early.append(resident_kb())

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(draw, range(images)))
    return measured(begin, moments[0], (resident_kb() - early[0]) / (images * 0.75), images)


def _img2img(common: dict[str, Any], index: int, picture: str) -> dict[str, Any]:
    return {**common, "seed": index, "denoising_strength": 0.3, "init_images": [picture]}


def _detail(common: dict[str, Any], index: int, picture: str) -> dict[str, Any]:
    scripts = {"ADetailer": {"args": [True, True, {"ad_model": DETECTOR}]}}
    return {**common, "seed": index, "init_images": [picture], "alwayson_scripts": scripts}


def _upscale(picture: str) -> dict[str, Any]:
    return {"image": picture, "upscaling_resize": 2, "upscaler_1": "Lanczos"}


def webuiapi(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """The package from PyPI, as its README uses it."""
    import webuiapi as api_package

    host, port = url.removeprefix("http://").split(":")
    api = api_package.WebUIApi(host=host, port=int(port))
    begin, first, early = time.perf_counter(), 0.0, 0.0
    common = {"prompt": PROMPT, "width": size, "height": size, "steps": 20}
    done = 0
    while done < images:
        count = min(8, images - done)
        for index, drawn in enumerate(api.txt2img(**common, seed=done, n_iter=count).images[:count], start=done):
            stages = [drawn]
            stages.append(api.img2img([stages[-1]], **common, seed=index, denoising_strength=0.3).image)
            scripts = {"ADetailer": {"args": [True, True, {"ad_model": DETECTOR}]}}
            stages.append(api.img2img([stages[-1]], **common, seed=index, alwayson_scripts=scripts).image)
            stages.append(api.extra_single_image(stages[-1], upscaling_resize=2, upscaler_1="Lanczos").image)
            for number, image in enumerate(stages):
                image.save(folder / f"{index:04}-{number}.png")
            first = first or time.perf_counter()
            early = resident_kb() if index == images // 4 else early
        done += count
    return measured(begin, first, (resident_kb() - early) / (images * 0.75), images)


def rxpipe(
    url: str, folder: Path, images: int, size: int, *, settings: dict[str, Any] | None = None, **options: Any
) -> dict[str, float]:
    """This package as it is by default: one further request in the server's queue, every stage's picture saved."""
    import rxpipe as rxp
    from rxpipe.backends.webui.backend import WebUIBackend

    seen: dict[str, float] = {}
    _ = rxp.PipelineRunner, rxp.PipelineConfig  # loaded when first asked for; no client's imports are timed

    def watch(event: rxp.StageEvent) -> None:
        if event.kind == "stage_image_progress" and event.stage_type == "upscale":
            seen.setdefault("first", time.perf_counter())
            if event.image_index == images // 4:
                seen["early"] = resident_kb()

    begin = time.perf_counter()
    backend = WebUIBackend(url, **options)
    runner = rxp.PipelineRunner(backend)
    runner.executor.events.subscribe(watch)
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt=PROMPT, images=images, width=size, height=size, seed=1),
        img2img=rxp.Img2ImgConfig(denoising_strength=0.3),
        adetailer=rxp.AdetailerConfig(detector=DETECTOR),
        upscale=rxp.UpscaleConfig(scale=2),
        out=folder,
        **(settings or {}),
    )
    runner.run(config).raise_for_status()
    result = measured(begin, seen["first"], (resident_kb() - seen["early"]) / (images * 0.75), images)
    backend.close()
    return result


def rxpipe_stage_order(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """All images through one stage, then the next; one request at a time."""
    return rxpipe(url, folder, images, size, settings={"order": "stage"}, queue_ahead=0)


def rxpipe_ahead_2(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """Two further requests wait in the server's own queue."""
    return rxpipe(url, folder, images, size, queue_ahead=2)


def rxpipe_final(url: str, folder: Path, images: int, size: int) -> dict[str, float]:
    """Only the last stage's pictures are kept."""
    return rxpipe(url, folder, images, size, settings={"save": "final"})


CLIENTS: dict[str, Callable[..., dict[str, float]]] = {
    "loop_last": loop_last,
    "loop": loop,
    "loop_ahead": loop_ahead,
    "webuiapi": webuiapi,
    "rxpipe": rxpipe,
    "rxpipe_stage_order": rxpipe_stage_order,
    "rxpipe_final": rxpipe_final,
    "rxpipe_ahead_2": rxpipe_ahead_2,
}


# -- measuring --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One client's run; busy: of the wall time."""

    wall_s: float
    first_s: float
    cpu_s: float
    peak_mb: float
    growth_kb: float
    images: float
    busy: float

    def __str__(self) -> str:
        return f"{self.wall_s:.2f} s, busy {self.busy:.2f}"


def measure(names: list[str], case: dict[str, Any], rounds: int) -> dict[str, Measured]:
    """The median run of each client, clients taking turns."""
    here, there = multiprocessing.Pipe()
    context = multiprocessing.get_context("spawn")
    server = context.Process(target=serve, args=(there, *_served(case)), daemon=True)
    server.start()
    url = here.recv()
    runs: dict[str, list[Measured]] = {name: [] for name in names}
    try:
        for _ in range(rounds):
            for name in names:
                runs[name].append(_run(name, url, case, here))
    finally:
        here.send("stop")
        server.join(10)
    return {name: _median(done) for name, done in runs.items()}


def _served(case: dict[str, Any]) -> tuple[int, float, float]:
    return case["size"], case["latency_s"], case.get("encode_s_per_mp", 0.0)


def _run(name: str, url: str, case: dict[str, Any], server: Connection) -> Measured:
    server.send("busy")
    before, _ = server.recv()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "client", name, url, folder, str(case["images"]), str(case["size"])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr}")
    values = json.loads(done.stdout.splitlines()[-1])
    server.send("busy")
    after, _ = server.recv()
    return Measured(**values, busy=(after - before) / values["wall_s"])


def _median(runs: list[Measured]) -> Measured:
    middle = statistics.median_low([run.wall_s for run in runs])
    return next(run for run in runs if run.wall_s == middle)


def large(rounds: int) -> Iterator[Row]:
    """8 images, default settings, beside the loop that saves every stage."""
    runs = measure(["loop", "rxpipe"], LARGE, rounds)
    yield from _described("8 x 1024 to 2048, 0.25 s", runs)
    run, plain = runs["rxpipe"], runs["loop"]
    yield at_least("busy, default settings", run.busy, 0.96)
    yield at_most("first finished picture (its stages sum to 1.0 s)", run.first_s, 2.7, " s")
    yield at_most("CPU over the loop's", run.cpu_s / plain.cpu_s, 0.18)
    yield at_most("peak memory", run.peak_mb, 150, " MB")


def small(rounds: int) -> Iterator[Row]:
    """200 images, default settings, beside the loop."""
    runs = measure(["loop", "loop_ahead", "rxpipe"], SMALL, rounds)
    yield from _described("200 x 256, 5 ms", runs)
    run, plain = runs["rxpipe"], runs["loop"]
    yield at_least("busy, default settings", run.busy, 0.75)
    yield at_least("busy over that of two threads that only post and write", run.busy / runs["loop_ahead"].busy, 1.0)
    yield at_most("CPU over the loop's", run.cpu_s / plain.cpu_s, 0.33)
    yield at_most("growth an image, event log included", run.growth_kb, 8, " kB")
    yield at_least("throughput over the loop's", plain.wall_s / run.wall_s, 2.0, "x")


def encoder(rounds: int) -> Iterator[Row]:
    """A server that takes 0.12 s a megapixel to encode, while its next job runs."""
    runs = measure(["rxpipe", "rxpipe_ahead_2"], ENCODER, rounds)
    yield from _described("8 x 1024 to 2048, slow encoder", runs)
    yield at_least("busy, queue_ahead=2", runs["rxpipe_ahead_2"].busy, 0.85)


def others(rounds: int) -> Iterator[Row]:
    """Everything else that people use, for comparison."""
    names = [name for name in CLIENTS if name != "webuiapi" or find_spec("webuiapi")]
    runs = measure(names, LARGE, rounds)
    yield from _described("8 x 1024 to 2048, 0.25 s", runs)
    yield at_least("rxpipe against the loop that saves every stage", _faster(runs, "rxpipe"), 2.5, "x")


def _described(what: str, runs: dict[str, Measured]) -> Iterator[Row]:
    for name, run in runs.items():
        yield Row(f"{what}: {name}", str(run))
        detail = f"{run.first_s:.2f} s, {run.cpu_s:.2f} s, {run.peak_mb:.0f} MB"
        yield Row("    first image, CPU, peak memory", detail)


def _faster(runs: dict[str, Measured], name: str) -> float:
    return runs["loop"].wall_s / runs[name].wall_s


PARTS = {"large": large, "small": small, "encoder": encoder, "others": others}


def main() -> int:
    """One client where asked so by ourselves, else everything; the exit code."""
    if sys.argv[1:2] == ["client"]:
        _, _, name, url, folder, images, size = sys.argv
        print(json.dumps(CLIENTS[name](url, Path(folder), int(images), int(size))))
        return 0
    rounds = next((int(word) for word in sys.argv[1:] if word.isdigit()), 3)
    parts = [PARTS[word] for word in sys.argv[1:] if not word.isdigit()] or list(PARTS.values())
    return show("rxpipe against a WebUI server", (row for part in parts for row in part(rounds)))


if __name__ == "__main__":
    raise SystemExit(main())
