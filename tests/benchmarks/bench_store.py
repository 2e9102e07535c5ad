"""The store: how long its questions take, what an event costs, and what a run with it costs.

`python tests/benchmarks/bench_store.py [questions events runs]`; all of them if none is named. The exit code is 1 if an
aim is missed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from table import Row, at_least, at_most, show

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.events import RunEnd, RunStart, StageImageProgress, StageStep
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.result import PipelineRunResult, RunUpdate
from rxpipe.rx.subject import EventSubject
from rxpipe.store.journal import open_journal
from rxpipe.store.rows import RunFacts
from rxpipe.testing import WebUIServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGES, EVENTS, RUNS = 10_000, 100_000, 200
QUESTION_MS, EVENT_US, SPEED = 100.0, 50.0, 0.97
ROUNDS = 5
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WORDS = ("lighthouse", "castle", "harbour", "meadow", "aurora", "forest", "river", "portrait", "city", "dunes")


def plan_of(number: int, images: int) -> rxp.StageExecutionPlan:
    """One of many runs."""
    prompt = f"a {WORDS[number % 10]} by the {WORDS[(number // 10) % 10]}, number {number}"
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt=prompt, images=images, seed=number, steps=20, model=f"model{number % 7}"),
        upscale=rxp.UpscaleConfig(scale=2),
    )
    return rxp.build_stage_execution_plan(config)


def record_run(store: rxp.Store, number: int, images: int, steps: int) -> float:
    """Record a run as an executor does: its cells (without files) and its events; seconds on this thread for events."""
    plan = plan_of(number, images)
    run_id = f"run-{number:04}"
    facts = RunFacts(run_id, plan, "digest", number, "painter", "painter", lambda: NOW)
    journal = open_journal(store, facts)
    updates: EventSubject[RunUpdate] = EventSubject()
    subscription = journal.attach(updates.observable)
    result, seq, spent = PipelineRunResult(plan), 0, 0.0

    def emit(kind: type, **fields: object) -> None:
        nonlocal result, seq, spent
        event = kind(run_id=run_id, seq=seq, timestamp=NOW, **fields)
        seq += 1
        result = rxp.reduce(result, event)
        update = RunUpdate(event, result)
        begin = time.thread_time()
        updates.on_next(update)
        spent += time.thread_time() - begin

    emit(RunStart, stages=plan.stage_types, images=images, config="digest")
    stage = plan.stages[0]
    for index in range(1, images + 1):
        artifact = Artifact(id=f"{run_id}-{index}", number=index, seed=number + index)
        artifact = artifact.with_lineage(LineageEntry("txt2img", "painter", {"steps": 20, "seed": number + index}))
        for step in range(steps):
            fields = {"stage_type": "txt2img", "stage_index": 0, "image_index": index, "fraction": step / steps}
            emit(StageStep, **fields)
        fields = {"image_index": index, "artifact_id": artifact.id, "outcome": "done", "duration_s": 1.0, "attempt": 1}
        journal.record(stage.for_image(image_index=index, seed=artifact.seed), artifact, fields)
        emit(StageImageProgress, stage_type="txt2img", stage_index=0, **fields)
    emit(RunEnd, status="completed")
    subscription.dispose()
    journal.close()
    store.flush(60)
    return spent


def milliseconds(question: Callable[[], object]) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        question()
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="rxpipe-bench-") as name:
        yield Path(name)


def questions() -> Iterator[Row]:
    """A history of 10,000 images and 100,000 events, half of them in one run."""
    with folder() as path:
        store = rxp.Store(path / "runs.sqlite3")
        most = IMAGES // 2
        record_run(store, 0, most, EVENTS // IMAGES)
        for number in range(1, RUNS):
            record_run(store, number, most // (RUNS - 1) + 1, EVENTS // IMAGES)
        counted = [store.run(run.run_id) for run in store.runs(limit=None)]
        images, events = sum(run.cells for run in counted), sum(run.events for run in counted)
        yield Row(
            "the history", f"{images} images, {events} events", "10,000, 100,000", images >= IMAGES <= EVENTS <= events
        )
        for what, question in {
            "list 100 runs": store.runs,
            "list the runs of one model": lambda: store.runs(model="model3"),
            "search two words": lambda: store.runs(search="castle meadow"),
            "search a word that all have": lambda: store.runs(search="number"),
            "show a run of 5,000 images": lambda: store.run("run-0000"),
            "the first 100 images of that run": lambda: store.cells("run-0000", last=True, limit=100),
            "the last 100 pictures": store.pictures,
            "find a run by the beginning of its id": lambda: store.find("run-0042"),
        }.items():
            yield at_most(what, milliseconds(question), QUESTION_MS, " ms")
        for what, question in {
            "all 5,000 cells of that run": lambda: store.cells("run-0000"),
            "the result of that run": lambda: store.result("run-0000"),
        }.items():
            yield Row(what, f"{milliseconds(question):.0f} ms")
        store.close()


def events() -> Iterator[Row]:
    """What an event costs the thread that emits it, and all threads together."""
    with folder() as path:
        store = rxp.Store(path / "runs.sqlite3")
        before = time.process_time()
        spent = record_run(store, 0, 1, EVENTS)
        whole = time.process_time() - before
        store.close()
        before = time.process_time()
        without = record_run(NoStore(), 1, 1, EVENTS)  # type: ignore[arg-type]  # keeps nothing
        making = time.process_time() - before
        yield at_most("an event, on the thread that emits it", (spent - without) / EVENTS * 1e6, EVENT_US, " us")
        yield at_most("an event, on all threads", (whole - making) / EVENTS * 1e6, EVENT_US, " us")


class NoStore:
    """Stands for no store, in the same code."""

    path = Path("none")

    def __init__(self) -> None:
        self.writer = self

    def flush(self, _: float) -> bool:
        """Nothing waits."""
        return True

    def begin(self, run: object) -> None:
        """Do nothing."""

    def end(self, run: object) -> None:
        """Do nothing."""

    def put(self, change: object, **_: object) -> None:
        """Drop it."""

    def commit(self, _: object) -> bool:
        """Drop it."""
        return True


def runs() -> Iterator[Row]:
    """A run on a test server, with the store and without, one after the other, several times."""
    with folder() as path, WebUIServer(latency_s=0.25) as server, rxp.open_backend(server.url) as backend:
        taken: dict[bool, list[float]] = {True: [], False: []}
        for number in range(ROUNDS):
            for kept in (True, False) if number % 2 else (False, True):
                store = rxp.Store(path / "runs.sqlite3") if kept else None
                job = rxp.PipelineConfig(
                    txt2img=rxp.Txt2ImgConfig(prompt="a", images=10, width=512, height=512),
                    img2img=rxp.Img2ImgConfig(),
                    upscale=rxp.UpscaleConfig(scale=2),
                    out=path / f"{number}{kept}",
                )
                begin = time.perf_counter()
                result = rxp.PipelineRunner(backend, store=store).run(job)
                taken[kept].append(time.perf_counter() - begin)
                result.raise_for_status()
        ratio = min(taken[False]) / min(taken[True])  # the best round of each: others are those of a busy machine
        yield at_least("a run with the store, times as fast as without", ratio, SPEED)


PARTS = {"questions": questions, "events": events, "runs": runs}

if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    sys.exit(show("The store of runs", (row for name in wanted for row in PARTS[name]())))
