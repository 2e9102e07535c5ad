"""What rxpipe's own machinery costs: events, images, imports, cancels, and what a run leaves behind.

`python tests/benchmarks/bench_pipeline.py [throughput folding many growth imports cancels memory sketch]`; all of them
if none is named. `sketch` draws 1,000 pictures and takes ten minutes or more, the others a few together. Ratios are
medians over interleaved rounds of one run, since absolute numbers drift with the machine. The exit code is 1 if an aim
is missed.
"""

# ruff: noqa: S311, S603  nothing here is secret, and subprocesses are this file and one-line programs of its own

from __future__ import annotations

import gc
import io
import json
import operator
import pickle
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject
from table import Row, at_least, at_most, show

import rxpipe as rxp
from rxpipe.backends.base import Backend, Output, Preview, StepProgress
from rxpipe.events import RunEnd, StageStep
from rxpipe.result import PipelineRunResult, reduce
from rxpipe.testing.scripted import tiny_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 7
STEPS = 20_000  # of the one image that the throughput is measured on
IMAGES, FEW_IMAGES, SIDE_PX, STEPS_AN_IMAGE = 1_000, 10, 256, 5
CANCELS, RUNS = 200, 100

EVENT_SHARE = 0.5
FOLD_RATIO = 12.0  # ten times the events, and a fifth for the machine
FLAT_RATIO = 1.5  # time per image, ten times as many of them
EXTRA_MIB = 57.0  # 60 MB
IMPORT_RATIO = 1.4
CANCEL_S = 1.0
GROWTH_KIB = 1.0  # a run


class Instant(Backend):
    """Tells *steps* steps and a picture that is none, all at once."""

    name = "instant"

    def __init__(self, steps: int = 0) -> None:
        self.steps_sent = [StepProgress(fraction=n / steps, step=n + 1, steps=steps) for n in range(steps)]

    def render(self, stage, source):
        del stage, source

        def subscribe(observer, _=None):
            for step in self.steps_sent:
                observer.on_next(step)
            observer.on_next(Output(tiny_picture(1)))
            observer.on_completed()
            return Disposable()

        return Observable(subscribe)


class Silent(Backend):
    """Never answers, and counts how often it is asked and interrupted."""

    name = "silent"

    def __init__(self) -> None:
        self.asked = self.interrupted = 0

    def render(self, stage, source):
        del stage, source

        def subscribe(_observer, _=None):
            self.asked += 1
            return Disposable(self._interrupt)

        return Observable(subscribe)

    def _interrupt(self) -> None:
        self.interrupted += 1


def seconds(work: Callable[[], object]) -> float:
    """The processor's time for *work* on all its threads, begun with no garbage about.

    The clock on the wall would tell of whoever shares the machine.
    """
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def interleaved(*works: Callable[[], object], rounds: int = ROUNDS) -> list[list[float]]:
    """Seconds of each work in each round, the rounds taken in turns."""
    for work in works:
        work()
    times = [[seconds(work) for work in works] for _ in range(rounds)]
    return [list(column) for column in zip(*times, strict=True)]


def ratio(above: list[float], below: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(above, below, strict=True))


# -- events -------------------------------------------------------------------------------------------------------


def step_event(number: int, progress: StepProgress) -> StageStep:
    """The event that a run tells of a step."""
    return StageStep(
        run_id="20260101-000000-abcd",
        seq=number,
        timestamp=datetime.now(UTC),
        stage_type="txt2img",
        stage_index=0,
        total_images=1,
        image_index=1,
        fraction=progress.fraction,
        step=progress.step,
        steps=progress.steps,
        eta_s=progress.eta_s,
        phase=progress.phase,
    )


def through_subject(backend: Instant, accumulate: Callable, seed: object) -> object:
    """A bare Subject that is given the same events, folded by `scan`."""
    subject, last = Subject(), []
    subject.pipe(ops.scan(accumulate, seed), ops.last()).subscribe(last.append, on_error=print)
    for number, progress in enumerate(backend.steps_sent):
        subject.on_next(step_event(number, progress))
    subject.on_completed()
    return last[0]


def through_executor(backend: Instant) -> object:
    """A whole run whose backend emits the steps; each event comes with the result that includes it."""
    executor, last = rxp.PipelineExecutor(backend), []
    until_end = ops.take_while(lambda update: not isinstance(update.event, RunEnd), inclusive=True)
    executor.updates.pipe(until_end, ops.last()).subscribe(last.append, on_error=print)
    executor.start(rxp.chain(rxp.txt2img(prompt="x"), out=None)).wait()
    return last[0].result


def through_runner(backend: Instant) -> None:
    """The same run by a PipelineRunner, which folds and publishes a result an event, and gives back the last."""
    runner = rxp.PipelineRunner(backend)
    runner.run(rxp.chain(rxp.txt2img(prompt="x"), out=None)).raise_for_status()


def throughput() -> Iterator[Row]:
    """Events a second, beside a bare Subject with the same fold."""
    backend = Instant(STEPS)

    subject, executor, runner = interleaved(
        lambda: through_subject(backend, reduce, PipelineRunResult()),
        lambda: through_executor(backend),
        lambda: through_runner(backend),
    )
    for name, times in (
        ("Subject -> scan(reduce) -> last", subject),
        ("executor.updates -> last", executor),
        ("runner", runner),
    ):
        took_s = statistics.median(times)
        yield Row(name, f"{STEPS / took_s:,.0f} events/s, {took_s / STEPS * 1e6:.1f} us")
    yield at_least("executor.updates -> last, share of the bare Subject's rate", ratio(subject, executor), EVENT_SHARE)
    yield at_least("runner, share of the bare Subject's rate", ratio(subject, runner), EVENT_SHARE)


def folding() -> Iterator[Row]:
    """Whether a fold stays linear."""
    many = [step_event(n, StepProgress(fraction=0.5, step=1, steps=20)) for n in range(100_000)]

    def fold(events: list[StageStep]) -> None:
        subject, last = Subject(), []
        subject.pipe(ops.scan(reduce, PipelineRunResult()), ops.last()).subscribe(last.append, on_error=print)
        for event in events:
            subject.on_next(event)
        subject.on_completed()
        if len(last[0].events) != len(events):
            raise AssertionError("events were lost")

    long, short = interleaved(lambda: fold(many), lambda: fold(many[:10_000]))
    yield Row("10^5 events folded", f"{statistics.median(long):.3f} s")
    yield at_most("time of 10^5 events over that of 10^4", ratio(long, short), FOLD_RATIO)


def many() -> Iterator[Row]:
    """Whether the cost of an image depends on how many there are."""

    def run(images: int, order: str) -> None:
        stages = rxp.txt2img(prompt="x", images=images), rxp.upscale()
        result = rxp.PipelineRunner(Instant()).run(rxp.chain(*stages, out=None, order=order))
        if result.tally.done != images:
            raise AssertionError(result)

    for order in ("stage", "image"):
        long, short = interleaved(
            lambda order=order: run(10_000, order), lambda order=order: run(1_000, order), rounds=3
        )
        each_us = statistics.median(long) / 10_000 * 1e6
        yield Row(f"10,000 images through two instant stages, order={order}", f"{each_us:.0f} us an image")
        yield at_most("an image among 10,000 over one among 1,000", ratio(long, short) / 10, FLAT_RATIO)


# -- what is left behind ------------------------------------------------------------------------------------------


def growth() -> Iterator[Row]:
    """What a run leaves in an executor and a runner that live on."""
    runner = rxp.PipelineRunner(Instant(STEPS_AN_IMAGE))
    chain = rxp.chain(rxp.txt2img(prompt="x", images=4), rxp.upscale(), out=None)

    def kib() -> float:
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / 1024

    tracemalloc.start()
    for _ in range(20):  # caches are full by then
        runner.run(chain)
    before = kib()
    for _ in range(RUNS):
        runner.run(chain)
    grown = (kib() - before) / RUNS
    tracemalloc.stop()
    yield at_most(f"memory that a run leaves behind, {RUNS} runs on one runner", grown, GROWTH_KIB, " KiB")
    yield threads_left(f"threads after {RUNS} runs")


def threads_left(what: str) -> Row:
    """Threads of rxpipe's that are still there, a second after the last that may be."""
    ours = [thread for thread in threading.enumerate() if thread.name.startswith("rxpipe")]
    for thread in ours:
        thread.join(1.0)
    alive = sum(thread.is_alive() for thread in ours)
    return Row(what, f"{alive} left", "none left", alive == 0)


def cancels() -> Iterator[Row]:
    """Cancels in real time, at random moments of a run whose backend never answers."""
    backend, moments, took = Silent(), random.Random(4), []
    executor = rxp.PipelineExecutor(backend)
    for _ in range(CANCELS):
        run = executor.start(rxp.chain(rxp.txt2img(prompt="x", images=2), rxp.upscale(), out=None))
        run.wait(moments.uniform(0.0, 0.03))
        began = time.perf_counter()
        run.cancel()
        over = run.wait(5.0)
        took.append(time.perf_counter() - began)
        if not over or run.result.status != "cancelled":
            raise AssertionError(run.result)
    took.sort()
    text = f"{statistics.median(took) * 1e3:.2f} / {took[int(len(took) * 0.95)] * 1e3:.2f} / {took[-1] * 1e3:.2f} ms"
    yield Row(f"{CANCELS} cancels of a silent backend, median / p95 / max", text, "max 1 s", took[-1] <= CANCEL_S)
    same = backend.asked == backend.interrupted
    yield Row("drawings asked for / interrupted", f"{backend.asked} / {backend.interrupted}", "as many", same)
    yield threads_left("threads after them")


# -- imports ------------------------------------------------------------------------------------------------------


def imports() -> Iterator[Row]:
    """`import rxpipe` beside what it stands on, each in a fresh process."""
    programs = {
        "reactivex, pydantic, loguru": "import reactivex, reactivex.operators, pydantic, loguru; pydantic.BaseModel",
        "rxpipe": "import rxpipe",
        "rxpipe, runner, config and chain used": "import rxpipe as r; r.PipelineRunner, r.PipelineConfig, r.chain",
    }
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(11):
        for name, program in programs.items():
            timed = f"import time; t = time.perf_counter(); {program}; print(time.perf_counter() - t)"
            ran = subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True)
            times[name].append(float(ran.stdout))
    for name in programs:
        yield Row(f"import {name}", f"{statistics.median(times[name]) * 1e3:.0f} ms")
    base, own, used = times.values()
    yield at_most("import rxpipe over reactivex + pydantic + loguru", ratio(own, base), IMPORT_RATIO)
    yield Row("the same with runner, config and chain used", f"{ratio(used, base):.2f}")


# -- images -------------------------------------------------------------------------------------------------------


class Noise(Backend):
    """Answers at once with a preview a step and a PNG of noise, of the size that the stage would give."""

    name = "noise"

    def render(self, stage, source):
        side_px = SIDE_PX * (2 if stage.stage_type == "upscale" else 1)

        def subscribe(observer, _=None):
            if source is not None:
                source.read()
            pixels = Image.frombytes("RGB", (side_px, side_px), random.randbytes(3 * side_px * side_px))
            picture = io.BytesIO()
            pixels.save(picture, "PNG", compress_level=1)
            for step in range(1, STEPS_AN_IMAGE + 1):
                observer.on_next(StepProgress(fraction=step / STEPS_AN_IMAGE, step=step, steps=STEPS_AN_IMAGE))
                observer.on_next(Preview(picture.getvalue()[:20_000]))
            observer.on_next(Output(picture.getvalue()))
            observer.on_completed()
            return Disposable()

        return Observable(subscribe)


def draw(images: int, backend: str) -> dict[str, float]:
    """A run of four stages into a folder that is then removed; what it took."""
    stages = (
        rxp.txt2img(
            prompt="portrait of a woman", images=images, width=SIDE_PX, height=SIDE_PX, steps=STEPS_AN_IMAGE, seed=1
        ),
        rxp.img2img(steps=STEPS_AN_IMAGE),
        rxp.adetailer(steps=STEPS_AN_IMAGE),
        rxp.upscale(scale=2),
    )
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        result = rxp.PipelineRunner(Noise() if backend == "noise" else rxp.open_backend(backend)).run(
            rxp.chain(*stages, out=Path(folder))
        )
        took_s = time.perf_counter() - began
        files = set(Path(folder).rglob("*.png"))
    recorded = {record.path for record in result.records if record.path is not None}
    return {
        "peak_mib": peak_mib(),
        "log_mib": log_mib(result),
        "seconds": took_s,
        "files": len(files),
        "as_recorded": files == recorded,
        "done": result.tally.done,
    }


def peak_mib() -> float:
    """The most memory this process ever held.

    Linux tells it of this program alone; `getrusage` there counts what the parent held when it started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    import resource  # noqa: PLC0415  not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS


def log_mib(result: PipelineRunResult) -> float:
    """What the events take by themselves."""
    packed = pickle.dumps(list(result.events))
    tracemalloc.start()
    copies = pickle.loads(packed)  # noqa: S301  our own
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del copies
    return taken / 1024**2


def held(backend: str) -> Iterator[Row]:
    """Whether a long run holds more than a short one."""
    few, most = (
        json.loads(subprocess.check_output([sys.executable, __file__, "draw", str(images), backend], text=True))
        for images in (FEW_IMAGES, IMAGES)
    )
    text = f"{most['seconds']:.0f} s, {most['seconds'] / IMAGES * 1e3:.0f} ms each"
    yield Row(f"{IMAGES:,} pictures of {SIDE_PX} px through four stages, backend {backend}", text)
    through = most["done"] == IMAGES and bool(most["as_recorded"])
    yield Row("came through / files", f"{most['done']:,} / {most['files']:,}", "all, as recorded", through)
    yield Row(f"peak memory of {FEW_IMAGES} / {IMAGES:,}", f"{few['peak_mib']:.0f} / {most['peak_mib']:.0f} MiB")
    yield Row("of that the event log", f"{few['log_mib']:.1f} / {most['log_mib']:.1f} MiB")
    without = operator.sub(*(run["peak_mib"] - run["log_mib"] for run in (most, few)))
    yield at_most("more memory for them, event log apart", without, EXTRA_MIB, " MiB")


def memory() -> Iterator[Row]:
    """Memory over many images, with a backend that answers at once."""
    return held("noise")


def sketch() -> Iterator[Row]:
    """The same on the embedded backend, which really draws."""
    return held("sketch")


PARTS = {part.__name__: part for part in (throughput, folding, many, growth, imports, cancels, memory, sketch)}


def main(names: list[str]) -> int:
    """Measure what is named, or everything; the exit code."""
    if names[:1] == ["draw"]:
        sys.stdout.write(json.dumps(draw(int(names[1]), names[2])))
        return 0
    wanted = [PARTS[name] for name in names or PARTS]
    return show("rxpipe's own machinery", (row for part in wanted for row in part()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
