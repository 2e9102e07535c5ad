"""StageStatus: the state of one stage of a run, and of its images in progress, folded from the stage's events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rxpipe.events import (
    StageCancelled,
    StageEnd,
    StageFailed,
    StageImageProgress,
    StageRetry,
    StageStart,
    StageStep,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.events import BaseStageEvent, Phase

StageState = Literal["waiting", "running", "completed", "failed", "cancelled", "skipped"]

IDLE = frozenset({"queued", "loading"})
ALMOST = 0.999  # 1.0 is shown only when every file is written
TELLING = 0.25  # so much of an image shows its pace


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """One image in progress.

    fraction: 0..1, never falling, not even in a retry. number: 1.., in the run. since_s: when its attempt was first
    reported, by the run's clock; after the pause before a retry. seen_from, seen: the fractions of this attempt that
    were reported first and last.
    """

    fraction: float = 0.0
    step: int | None = None
    steps: int | None = None
    phase: Phase = "working"
    number: int | None = None
    server: str = ""
    since_s: float = field(default=0.0, compare=False)
    seen_s: float = field(default=0.0, compare=False)
    seen_from: float = field(default=0.0, compare=False)
    seen: float = field(default=0.0, compare=False)

    @property
    def waits(self) -> bool:
        """Whether it waits in a queue or for a model."""
        return self.phase in IDLE

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since it was last seen to move."""
        return 0.0 if self.waits else max(0.0, now_s - self.seen_s)

    def left_s(self, now_s: float, usual_s: float) -> float:
        """Return the seconds that it has left: at its own pace where enough of it was seen, else of *usual_s*."""
        if self.waits:
            return usual_s
        seen = self.seen - self.seen_from
        pace_s = (self.seen_s - self.since_s) / seen if seen >= TELLING else usual_s
        usually_s = (1 - self.seen_from) * usual_s - (now_s - self.since_s)  # more than its last step may be to come
        return max(0.0, usually_s, (1 - self.seen) * pace_s - (now_s - self.seen_s))


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage's row.

    finished: images that finished it; resumed: those of them that an earlier attempt of the run had finished. total:
    images it works on, None if unknown. in_progress: by image index, those that have reported progress. step, steps,
    phase: of the image shown, the first of them that is being worked on.
    expected: how many of the total come, as far as is known: none that an earlier stage has lost. lost: images that
    finished it and go no further. drawn: how many images its work so far is worth, without those in
    progress. worked_s: seconds of work on its images, without queueing, pauses and loading; of several at the same time
    each counts.
    """

    name: str
    state: StageState = "waiting"
    finished: int = 0
    failed: int = 0
    resumed: int = 0
    total: int | None = None
    in_progress: Mapping[int, ImageStatus] = field(default_factory=dict)
    step: int | None = None
    steps: int | None = None
    phase: Phase = "working"
    expected: int | None = None
    lost: int = 0
    drawn: float = 0.0
    worked_s: float = 0.0
    duration_s: float | None = None

    @property
    def current(self) -> float:
        """The sum of the fractions of the images in progress."""
        return sum(image.fraction for image in self.in_progress.values())

    @property
    def shown(self) -> int | None:
        """Index of the image shown: the first that is being worked on, else the first in progress, else None."""
        return min(self.in_progress, key=lambda index: (self.in_progress[index].phase in IDLE, index), default=None)

    @property
    def unfinished(self) -> int:
        """How many images have not finished it, as far as is known; 0 before the run."""
        return max(0, (self.expected or 0) - self.finished)

    def working_s(self, since_s: float, now_s: float) -> float:
        """Return the seconds of work on all images that report it, between two moments of the run's clock."""
        if self.state != "running":
            return 0.0
        return sum(now_s - max(since_s, min(one.since_s, now_s)) for one in self.in_progress.values() if not one.waits)

    @property
    def fraction(self) -> float:
        """How far the stage is, 0..1; 1.0 only once it has ended."""
        if self.state == "completed":
            return 1.0
        if not self.total:
            return 0.0
        return min(
            ALMOST, (self.finished + self.current) / max(1, self.total if self.expected is None else self.expected)
        )

    def per_image_s(self, now_s: float, past_s: float | None = None) -> float | None:
        """Return the seconds of work per image; None before enough is known.

        Args:
            now_s: by the run's clock.
            past_s: of an earlier run; it weighs as much as one image per image in progress. Without it, the first
                images of several in progress tell too little, and so does the first of several to come.
        """
        images = self.in_progress.values()
        weight = 0 if past_s is None else max(1, len(images))
        least = 0 if weight or self.total == 1 else max(1, len(images) - 1)
        amount = self.drawn + self.current + weight
        worked_s = self.worked_s - sum(one.silent_s(now_s) for one in images) + (past_s or 0.0) * weight
        return worked_s / amount if self.drawn >= least and amount > 0 and worked_s > 0 else None


def stage_after(stage: StageStatus, event: BaseStageEvent, now_s: float) -> StageStatus:
    """Return the stage after one of its events; *now_s*: by the run's clock. Pure."""
    stage = replace(stage, total=event.total_images)
    match event:
        case StageStart():
            return replace(stage, state="running")
        case StageStep():
            return _with_images(stage, {**stage.in_progress, event.image_index or 0: _advanced(stage, event, now_s)})
        case StageRetry():
            before = stage.in_progress.get(event.image_index or 0, ImageStatus(number=event.shown_number))
            begins_s = now_s + event.delay_s
            again = replace(before, phase="working", since_s=begins_s, seen_s=begins_s, seen_from=0.0, seen=0.0)
            return _with_images(stage, {**stage.in_progress, event.image_index or 0: again})
        case StageImageProgress():
            return _left(stage, event)
        case StageEnd():
            return replace(stage, state="completed", in_progress={}, duration_s=event.duration_s)
        case StageFailed():
            return replace(stage, state="failed")
        case StageCancelled():
            return replace(stage, state="cancelled")
        case _:
            return stage


def _left(stage: StageStatus, event: StageImageProgress) -> StageStatus:
    """Return the stage without an image that finished it."""
    others = dict(stage.in_progress)
    image = others.pop(event.image_index or 0, ImageStatus())
    drawn = 0.0 if event.resumed else image.fraction if event.outcome == "cancelled" else 1.0
    changed = replace(
        stage,
        finished=stage.finished + 1,
        failed=stage.failed + (event.outcome == "failed"),
        lost=stage.lost + (event.outcome in {"failed", "cancelled"}),
        resumed=stage.resumed + event.resumed,
        drawn=stage.drawn + drawn,
    )
    return _with_images(changed, others)


def _with_images(stage: StageStatus, in_progress: Mapping[int, ImageStatus]) -> StageStatus:
    stage = replace(stage, in_progress=in_progress)
    image = in_progress[stage.shown] if stage.shown is not None else ImageStatus(steps=stage.steps)
    return replace(stage, step=image.step, steps=image.steps, phase=image.phase)


def _advanced(stage: StageStatus, event: StageStep, now_s: float) -> ImageStatus:
    """Return an image after a step; what an event does not say stays."""
    known = stage.in_progress.get(event.image_index or 0)
    before = known or ImageStatus(steps=stage.steps)
    fraction = max(before.fraction, event.fraction or 0.0)
    seen = fraction if known is None or fraction > before.fraction else before.seen
    begins = known is None or (before.waits and event.phase not in IDLE)
    return ImageStatus(
        fraction=fraction,
        step=event.step or before.step,
        steps=event.steps or before.steps,
        phase=event.phase,
        number=event.shown_number,
        server=event.server or "",
        since_s=now_s if begins else before.since_s,
        seen_s=now_s if begins or seen > before.seen else before.seen_s,
        seen_from=seen if begins else before.seen_from,
        seen=seen,
    )
