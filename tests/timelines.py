"""Timelines for tests: built by hand with a `TimelineBuilder`, or drawn by Hypothesis with how every image ended."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from hypothesis import strategies as st

from rxpipe.artifact import image_id
from rxpipe.events import (
    ErrorInfo,
    RunEnd,
    RunStart,
    StageCancelled,
    StageEnd,
    StageFailed,
    StageImageProgress,
    StageRetry,
    StageStart,
    StageStep,
)

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OUT_OF_MEMORY = ErrorInfo(type="BackendFailed", message="CUDA out of memory.", hint="Lower the size.")
NAMES = ("txt2img", "img2img", "adetailer", "upscale")


class TimelineBuilder:
    """Numbers and stamps events as a run does; `events` holds all that were added."""

    def __init__(self, run_id="r1"):
        self.run_id, self.now, self.events, self.stages, self.total = run_id, NOON, [], (), None

    def add(self, kind, **fields):
        """Add one event and return it."""
        event = kind(run_id=self.run_id, seq=len(self.events), timestamp=self.now, **fields)
        self.events.append(event)
        return event

    def wait(self, seconds):
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def begin(self, *stages, images=2):
        self.stages = stages
        return self.add(RunStart, stages=stages, images=images, config="0" * 16)

    def stage(self, kind, index, **fields):
        """Add an event of the stage at *index*."""
        total = fields.pop("total_images", self.total)
        return self.add(kind, stage_type=self.stages[index], stage_index=index, total_images=total, **fields)

    def start(self, index, total=2):
        self.total = total
        return self.stage(StageStart, index)

    def step(self, index, image, fraction=None, **fields):
        return self.stage(StageStep, index, image_index=image, fraction=fraction, **fields)

    def image(self, index, image, outcome="done", **fields):
        fields.setdefault("artifact_id", image_id(self.run_id, image))
        return self.stage(StageImageProgress, index, image_index=image, outcome=outcome, **fields)

    def retry(self, index, image, **fields):
        fields = {"attempt": 1, "delay_s": 1.0, "error": OUT_OF_MEMORY, **fields}
        return self.stage(StageRetry, index, image_index=image, **fields)

    def end(self, index, done=2, duration_s=1.0, **fields):
        return self.stage(StageEnd, index, done=done, duration_s=duration_s, **fields)

    def fail(self, index):
        return self.stage(StageFailed, index, error=OUT_OF_MEMORY)

    def cancel(self, index, image=None):
        return self.stage(StageCancelled, index, image_index=image)

    def finish(self, status="completed", **fields):
        return self.add(RunEnd, status=status, **fields)


def whole_run(*stages, images=2, seconds=1.0):
    """Return the events of a completed run in which each image takes *seconds* in each stage."""
    builder = TimelineBuilder()
    builder.begin(*stages, images=images)
    for index in range(len(stages)):
        builder.start(index, images)
        for image in range(1, images + 1):
            for fraction in (0.5, 1.0):
                builder.wait(seconds / 2)
                builder.step(index, image, fraction)
            builder.image(index, image, seed=100 + image, duration_s=seconds)
        builder.end(index, done=images, duration_s=images * seconds)
    builder.finish()
    return builder.events


class Drawn(NamedTuple):
    """A timeline, and the outcomes that the rules give its images: fates by artifact id."""

    events: tuple
    fates: dict


@st.composite
def timelines(draw):
    """Draw any run in stage order: images done, passed, failed, skipped or filtered; stages that fail; a cancel."""
    builder, stages = TimelineBuilder(), draw(st.lists(st.sampled_from((*NAMES, "pick")), min_size=1, max_size=4))
    images = draw(st.integers(1, 4))
    builder.begin(*stages, images=images)
    fates = dict.fromkeys(image_id(builder.run_id, n) for n in range(1, images + 1))
    alive = list(fates)
    for index in range(len(stages)):
        if not alive:
            break
        alive, stopped = _stage(draw, builder, index, alive, fates)
        if stopped:
            _rest(fates, stopped)
            builder.finish(stopped, error=OUT_OF_MEMORY if stopped == "failed" else None)
            return Drawn(tuple(builder.events), fates)
    for name in alive:
        fates[name] = "done"
    builder.finish(_status(Counter(fates.values())))
    return Drawn(tuple(builder.events), fates)


def _rest(fates, stopped):
    for name, fate in fates.items():
        fates[name] = fate or stopped


def _unsaid(fates, entered):
    """Only the end of a stage reports which images it filtered out; without one they count with the rest."""
    fates.update({name: None for name in entered if fates[name] == "filtered"})


def _status(counts):
    if not counts["failed"] and not counts["cancelled"]:
        return "completed"
    if counts["done"]:
        return "partial"
    return "failed" if counts["failed"] else "cancelled"


def _stage(draw, builder, index, alive, fates):
    """Add one stage; return the images that finished it, and "failed" or "cancelled" if the run ends here."""
    builder.wait(draw(st.floats(0, 100)))
    builder.start(index, len(alive))
    through, counts, last = [], Counter(), index == len(builder.stages) - 1
    for number, name in enumerate(alive, 1):
        fraction = 0.0
        for _ in range(draw(st.integers(0, 3))):
            builder.wait(draw(st.floats(0, 10)))
            fraction = draw(st.floats(fraction, 1))
            builder.step(index, number, draw(st.sampled_from([fraction, None])),
                      phase=draw(st.sampled_from(["working", "queued", "loading", "stalled"])))  # fmt: skip
        what = draw(
            st.sampled_from(["done"] * 6 + ["passed", "failed", "skipped", "filtered", "retry", "fail", "cancel"])
        )
        if what == "retry":
            builder.retry(index, number)
            what = "done"
        if what in {"fail", "cancel"}:
            builder.fail(index) if what == "fail" else builder.cancel(index, number)
            _unsaid(fates, alive)
            return through, "failed" if what == "fail" else "cancelled"
        if what == "filtered" and builder.stages[index] == "pick":
            fates[name] = "filtered"
            counts["filtered"] += 1
            continue
        outcome = {"filtered": "done", "skipped": "cancelled"}.get(what, what)
        counts[outcome] += 1
        builder.image(index, number, outcome, artifact_id=name, error=OUT_OF_MEMORY if outcome == "failed" else None)
        if outcome in {"done", "passed"}:
            through.append(name)
            fates[name] = "done" if last else None
        else:
            fates[name] = outcome
    builder.end(index, **{"done": 0, **counts}, duration_s=1.0)
    return through, None
