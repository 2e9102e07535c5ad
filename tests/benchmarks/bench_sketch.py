"""Print what the embedded backend takes: time, its longest slices, memory, and how soon it stops.

`python tests/benchmarks/bench_sketch.py [CASE ...]`, or `bench_sketch.py --against TREE` for the default `rxpipe run`
here over that in another checkout, 0.6 at most. Each case has a process of its own. total: one picture, from
subscribe to bytes. slice: the longest of all pieces of work between two chances to stop, the median of three pictures.
over: peak memory above the process as it was when the backend was loaded and the input made. stop: dispose from another
thread at 12 random moments, until the worker is free again. Ends with 1 if a bound is broken: 50 ms to stop (300 ms in
a detector call), 300 MB for 8 megapixels of upscale. The bounds are meant for a machine with a core to spare; the load
is printed.
"""

# ruff: noqa: T201  a benchmark prints

from __future__ import annotations

import io
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from table import Row, at_most, show

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.backends.sketch import SketchBackend
from rxpipe.backends.sketch.backend import _renderings
from rxpipe.config import RunSettings
from rxpipe.plan import plan_stages
from rxpipe.rx.worker import WorkerScheduler

LIGHTHOUSE = "a lighthouse at dusk"
STOP_MS, DETECTOR_MS, UPSCALE_MB = 50, 300, 300
CASES = {
    "txt2img 512": (rxp.Txt2ImgConfig(prompt=LIGHTHOUSE), 0),
    "txt2img 512 portrait": (rxp.Txt2ImgConfig(prompt="portrait"), 0),
    "txt2img 1024": (rxp.Txt2ImgConfig(prompt=LIGHTHOUSE, width=1024, height=1024), 0),
    "txt2img 2048": (rxp.Txt2ImgConfig(prompt=LIGHTHOUSE, width=2048, height=2048), 0),
    "img2img 512": (rxp.Img2ImgConfig(prompt=LIGHTHOUSE, denoising_strength=0.4), 512),
    "img2img 2048": (rxp.Img2ImgConfig(prompt=LIGHTHOUSE, denoising_strength=0.4), 2048),
    "img2img 2048 anew": (rxp.Img2ImgConfig(prompt=LIGHTHOUSE, denoising_strength=0.8), 2048),
    "adetailer 512": (rxp.AdetailerConfig(), 512),
    "adetailer 2048": (rxp.AdetailerConfig(), 2048),
    "upscale 512 to 1024": (rxp.UpscaleConfig(), 512),
    "upscale to 8 MP": (rxp.UpscaleConfig(), 1448),
}


def source_of(size: int) -> Artifact | None:
    """The astronaut as a PNG of that many px a side."""
    if not size:
        return None
    buffer = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((size, size)).save(buffer, "PNG", compress_level=1)
    return Artifact(id="astronaut", data=buffer.getvalue())


def peak_mb() -> float:
    """The most memory the process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(name: str) -> dict[str, float]:
    """One case's row."""
    config, size = CASES[name]
    source = source_of(size)
    settings = RunSettings(input=("given",)) if size else RunSettings()
    stage = plan_stages([config], settings).stages[0].for_image(image_index=1, seed=7)
    warm(stage, source)
    before = peak_mb()
    runs = [slices(stage, source) for _ in range(3)]
    over = peak_mb() - before
    total = statistics.median(sum(run) for run in runs)
    return {
        "total_ms": total,
        "slices": len(runs[0]),
        "p99_ms": statistics.median(float(np.percentile(run, 99)) for run in runs),
        "slice_ms": statistics.median(max(run) for run in runs),
        "over_mb": over,
        "stop_ms": longest_stop(stage, source, total / 1000),
    }


def warm(stage, source) -> None:
    """Load what is loaded at first use, on a picture too small to count."""
    small = Image.fromarray(np.asarray(skimage.data.astronaut())[::4, ::4])
    buffer = io.BytesIO()
    small.save(buffer, "PNG")
    tiny = source and Artifact(id="tiny", data=buffer.getvalue())
    drawn = stage.model_copy(update={"generation": stage.generation.model_copy(update={"width": 64, "height": 64})})
    for _ in _renderings(stage if source else drawn, tiny, lambda: True, lambda: 0.0):
        pass


def slices(stage, source) -> list[float]:
    """Milliseconds of every slice of one drawing."""
    work, times = _renderings(stage, source, lambda: True, lambda: 0.0), []
    while True:
        began = time.perf_counter()
        ended = next(work, stage) is stage
        times.append((time.perf_counter() - began) * 1000)
        if ended:
            return times


def longest_stop(stage, source, total_s: float) -> float:
    """The longest of 12 waits, in ms, from dispose until the worker took up something else."""
    moments, waits = random.Random(5), []  # noqa: S311  # moments, not secrets
    for _ in range(12):
        worker, free = WorkerScheduler("bench"), threading.Event()
        subscription = SketchBackend().render(stage, source).subscribe(scheduler=worker)
        free.wait(moments.uniform(0.0, 0.95) * total_s)
        began = time.perf_counter()
        subscription.dispose()
        worker.schedule(lambda *_, free=free: free.set())
        free.wait(10)
        waits.append((time.perf_counter() - began) * 1000)
        worker.close()
    return max(waits)


def broken(name: str, row: dict[str, float]) -> bool:
    """Whether a bound does not hold."""
    stop = DETECTOR_MS if name.startswith("adetailer") else STOP_MS
    return row["stop_ms"] > stop or (name == "upscale to 8 MP" and row["over_mb"] > UPSCALE_MB)


def against(tree: str) -> int:
    """Compare the default run with that of another checkout: wall time and CPU, the best of five each, taking turns.

    Both run from bytecode, as installed packages do; a run before the five writes it.
    """
    here = str(Path(__file__).parents[2])
    runs: dict[str, list[tuple[float, float]]] = {here: [], tree: []}
    for number in range(6):
        for root, times in runs.items():
            taken = _default_run(root)
            if number:
                times.append(taken)
    ratios = [min(run[n] for run in runs[here]) / min(run[n] for run in runs[tree]) for n in (0, 1)]
    rows = [at_most("default run: wall over the other's", ratios[0], 0.6), Row("its CPU", f"{ratios[1]:.2f}")]
    return show(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", rows)


def _default_run(root: str) -> tuple[float, float]:
    """Wall time and CPU of one run, s."""
    command = [sys.executable, "-m", "rxpipe", "run", "--backend", "embedded", "--seed", "3", "--out"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"PYTHONPATH": root}
        subprocess.run(  # noqa: S603  # ourselves; the working directory would come before PYTHONPATH
            [*command, folder], check=True, capture_output=True, env=environment, cwd=folder
        )
    wall_s, used = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall_s, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime


def main() -> int:
    """Print the table."""
    if sys.argv[1:2] == ["--against"]:
        return against(sys.argv[2])
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measured(sys.argv[2])))
        return 0
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':22}{'total ms':>9}{'slices':>8}{'p99 ms':>8}{'slice ms':>9}{'over MB':>9}{'stop ms':>9}")
    failed = 0
    for name in sys.argv[1:] or CASES:
        command = [sys.executable, __file__, "--one", name]
        ran = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603  # ourselves
        row = json.loads(ran.stdout)
        failed |= broken(name, row)
        print(
            f"{name:22}{row['total_ms']:9.0f}{row['slices']:8.0f}{row['p99_ms']:8.1f}{row['slice_ms']:9.1f}"
            f"{row['over_mb']:9.0f}{row['stop_ms']:9.1f}{'  BROKEN' if broken(name, row) else ''}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
