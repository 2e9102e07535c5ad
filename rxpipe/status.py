"""RunStatus: the state of a run as views show it, folded from its events.

One view-model for terminal, window and notebook, so that they never disagree. Pure: `reduce_status(status, event)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rxpipe.events import (
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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.events import BaseStageEvent, Moment, Phase, StageEvent

State = Literal["idle", "running", "stopping", "completed", "partial", "failed", "cancelled"]
StageState = Literal["waiting", "running", "completed", "failed", "cancelled", "skipped"]

_IDLE = frozenset({"queued", "loading"})
_ALMOST = 0.999  # 1.0 is shown only when every file is written


@dataclass(frozen=True, slots=True)
class ImageStatus:
    """One image in progress. fraction: 0..1, never falling, not even in a retry. number: 1.., in the run."""

    fraction: float = 0.0
    step: int | None = None
    steps: int | None = None
    phase: Phase = "working"
    number: int | None = None


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage's row.

    finished: images that finished it; resumed: those of them that an earlier attempt of the run had finished. total:
    images it works on, None if unknown. in_progress: by image index, those that have reported progress. step, steps,
    phase: of the image shown, the first of them that is being worked on.
    worked_s: seconds of the run that went into this stage, without queueing, pauses and loading; where several images
    are worked on at the same time, each has its share.
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
    worked_s: float = 0.0
    duration_s: float | None = None

    @property
    def current(self) -> float:
        """The sum of the fractions of the images in progress."""
        return sum(image.fraction for image in self.in_progress.values())

    @property
    def shown(self) -> int | None:
        """Index of the image shown: the first that is being worked on, else the first in progress, else None."""
        return min(self.in_progress, key=lambda index: (self.in_progress[index].phase in _IDLE, index), default=None)

    @property
    def working(self) -> int:
        """How many images are being worked on, as far as they report it."""
        return sum(image.phase not in _IDLE for image in self.in_progress.values())

    @property
    def fraction(self) -> float:
        """How far the stage is, 0..1; 1.0 only once it has ended."""
        if self.state == "completed":
            return 1.0
        if not self.total:
            return 0.0
        return min(_ALMOST, (self.finished + self.current) / self.total)

    @property
    def per_image_s(self) -> float | None:
        """Seconds of work per image; None before anything is known."""
        amount = self.finished - self.resumed + self.current
        return self.worked_s / amount if amount > 0 and self.worked_s > 0 else None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at a glance.

    stage: name of the current one, None outside of a run. stage_number: 1.. of `stage_count`, 0 outside of a run.
    image_index: 1.. of total_images in that stage. image_number: 1.. of images, in all stages the same, or None.
    fraction: 0..1 of the whole run, never falling, 1.0 only when all files are written. eta_s: seconds left, None if
    unknown. message: for a person. pause_s: seconds of the pause before a retry, if the last event was one, else 0.
    past: seconds per image of earlier runs, by stage name. updated: when its last event was.
    """

    state: State = "idle"
    message: str = "Idle"
    run_id: str | None = None
    stages: tuple[StageStatus, ...] = ()
    stage: str | None = None
    stage_number: int = 0
    image_index: int | None = None
    image_number: int | None = None
    total_images: int | None = None
    phase: Phase = "working"
    pause_s: float = 0.0
    fraction: float = 0.0
    eta_s: float | None = None
    images: int = 0
    warnings: int = 0
    past: Mapping[str, float] = field(default_factory=dict)
    updated: Moment | None = None

    @property
    def stage_count(self) -> int:
        """How many stages the run has."""
        return len(self.stages)

    @property
    def active(self) -> bool:
        """Whether a run is in progress."""
        return self.state in {"running", "stopping"}

    @property
    def percent_text(self) -> str:
        """The fraction as a text such as "50 %"; never "100 %" before the end."""
        return f"{int(self.fraction * 100 + 1e-9)} %"  # 0.29 * 100 is a little below 29

    @property
    def eta_text(self) -> str:
        """The time left as "ETA: 00:30" (minutes and seconds) or "ETA: 1:00:00" (with hours), "" if unknown."""
        if self.eta_s is None or not self.active:
            return ""
        minutes, seconds = divmod(round(self.eta_s), 60)
        hours, minutes = divmod(minutes, 60)
        return f"ETA: {hours}:{minutes:02d}:{seconds:02d}" if hours else f"ETA: {minutes:02d}:{seconds:02d}"

    def stopping(self) -> RunStatus:
        """Return the status of the same run while it stops; a run that is not in progress is unchanged."""
        return replace(self, state="stopping", message="Stopping", eta_s=None) if self.active else self

    def idle(self) -> RunStatus:
        """Return the status without a run; only the durations of the past are kept."""
        return RunStatus(past=self.past)


def reduce_status(status: RunStatus, event: StageEvent) -> RunStatus:
    """Return the status after *event*. Pure; a RunStart resets all but the durations of the past."""
    if isinstance(event, RunStart):
        stages = tuple(StageStatus(name) for name in event.stages)
        return RunStatus(
            state="running",
            message="Starting",
            run_id=event.run_id,
            stages=stages,
            images=event.images,
            past=status.past,
            updated=event.moment,
        )
    if isinstance(event, RunEnd):
        return _ended(status, event)
    return _in_stage(_clocked(status, event.moment), event)


def _ended(status: RunStatus, event: RunEnd) -> RunStatus:
    messages = {"completed": "Completed", "partial": "Partly completed", "cancelled": "Cancelled"}
    message = messages.get(event.status) or f"Error: {event.error.message if event.error else 'failed'}"
    warnings = status.warnings + _warnings(event)
    if warnings and event.status == "completed":
        message += f", {warnings} warning{'' if warnings == 1 else 's'}"
    stages = tuple(replace(s, state="skipped") if s.state == "waiting" else s for s in status.stages)
    learnt = {stage.name: per for stage in stages if (per := stage.per_image_s) is not None}
    return replace(
        status,
        state=event.status,
        message=message,
        stages=stages,
        fraction=1.0 if event.status == "completed" else status.fraction,
        eta_s=None,
        warnings=warnings,
        past={**status.past, **learnt},
        updated=event.moment,
    )


def _clocked(status: RunStatus, now: Moment) -> RunStatus:
    """Count the time since the last event as work of the stages, shared by the images that are being worked on."""
    if status.updated is None or not status.stage_number:
        return replace(status, updated=now)
    elapsed = max(0.0, now.since_s(status.updated) - status.pause_s)
    working = [stage.working if stage.state == "running" else 0 for stage in status.stages]
    if not any(working) and status.phase not in _IDLE:  # a backend that reports no progress, or not yet
        working = [
            int(n == status.stage_number and stage.state == "running") for n, stage in enumerate(status.stages, 1)
        ]
    total = max(1, sum(working))
    stages = tuple(
        replace(stage, worked_s=stage.worked_s + elapsed * count / total) if count else stage
        for stage, count in zip(status.stages, working, strict=True)
    )
    return replace(status, stages=stages, updated=now)


def _warnings(event: StageEvent) -> int:
    """Return how many warnings an event adds; an image that passed a stage which failed on it is one."""
    match event:
        case StageImageProgress():
            return len(event.warnings) + (event.outcome == "passed" and event.error is not None)
        case RunEnd():
            return len(event.warnings)
        case _:
            return 0


def _in_stage(status: RunStatus, event: StageEvent) -> RunStatus:
    if isinstance(event, RunStart | RunEnd) or event.stage_index >= len(status.stages):
        return status
    stage = _stage_after(status.stages[event.stage_index], event)
    updated = replace(
        status,
        stages=_replaced(status.stages, event.stage_index, stage),
        stage=event.stage_type,
        stage_number=event.stage_index + 1,
        image_index=_current_image(stage, event),
        image_number=_number(status, stage, event),
        total_images=event.total_images,
        phase=stage.phase,
        pause_s=event.delay_s if isinstance(event, StageRetry) else 0.0,
        warnings=status.warnings + _warnings(event),
    )
    updated = replace(updated, fraction=max(status.fraction, _fraction(updated)), eta_s=_eta(updated))
    if updated.state != "running":
        return replace(updated, eta_s=None)
    return replace(updated, message=_message(updated, event))


def _stage_after(stage: StageStatus, event: BaseStageEvent) -> StageStatus:
    stage = replace(stage, total=event.total_images)
    match event:
        case StageStart():
            return replace(stage, state="running")
        case StageStep():
            return _with_images(stage, {**stage.in_progress, event.image_index or 0: _advanced(stage, event)})
        case StageImageProgress():
            others = {index: image for index, image in stage.in_progress.items() if index != event.image_index}
            failed = stage.failed + (event.outcome == "failed")
            resumed = stage.resumed + event.resumed
            return _with_images(replace(stage, finished=stage.finished + 1, failed=failed, resumed=resumed), others)
        case StageEnd():
            return replace(stage, state="completed", in_progress={}, duration_s=event.duration_s)
        case StageFailed():
            return replace(stage, state="failed")
        case StageCancelled():
            return replace(stage, state="cancelled")
        case _:
            return stage


def _with_images(stage: StageStatus, in_progress: Mapping[int, ImageStatus]) -> StageStatus:
    stage = replace(stage, in_progress=in_progress)
    image = in_progress[stage.shown] if stage.shown is not None else ImageStatus(steps=stage.steps)
    return replace(stage, step=image.step, steps=image.steps, phase=image.phase)


def _advanced(stage: StageStatus, event: StageStep) -> ImageStatus:
    """Return an image after a step; what an event does not say stays."""
    before = stage.in_progress.get(event.image_index or 0, ImageStatus(steps=stage.steps))
    return ImageStatus(
        fraction=max(before.fraction, event.fraction or 0.0),
        step=event.step or before.step,
        steps=event.steps or before.steps,
        phase=event.phase,
        number=event.shown_number,
    )


def _number(status: RunStatus, stage: StageStatus, event: BaseStageEvent) -> int | None:
    """Return which of the run's images is shown; of one that has not reported, where all images come."""
    if isinstance(event, StageRetry):
        return event.shown_number
    if stage.shown is not None:
        return stage.in_progress[stage.shown].number
    return _current_image(stage, event) if stage.total == status.images else None


def _current_image(stage: StageStatus, event: BaseStageEvent) -> int | None:
    if isinstance(event, StageRetry):
        return event.image_index
    if stage.shown is not None:
        return stage.shown
    number = stage.finished + 1
    return number if stage.total is None else min(number, stage.total)


def _fraction(status: RunStatus) -> float:
    total = sum(stage.fraction for stage in status.stages) / max(1, len(status.stages))
    return min(_ALMOST, total)


def _eta(status: RunStatus) -> float | None:
    """Return the seconds left by each stage's rate; None where one is not known yet."""
    left = 0.0
    for stage in status.stages:
        if stage.state in {"waiting", "running"}:
            amount = (stage.total or status.images) - stage.finished - stage.current
            rate = _rate(stage, status.past.get(stage.name))
            if rate is None and amount > 0:
                return None
            left += max(0.0, amount) * (rate or 0.0)
    return left


def _rate(stage: StageStatus, past: float | None) -> float | None:
    """Return seconds per image: of an earlier run, corrected by what this one shows; None if neither is known.

    The earlier run weighs as much as one image per image in progress. Without one, the first images of several in
    progress tell too little, and so does the first of several to come.
    """
    drawn = stage.finished - stage.resumed
    if past is None:
        least = 0 if stage.total == 1 else max(1, len(stage.in_progress) - 1)
        return stage.per_image_s if drawn >= least else None
    weight = max(1, len(stage.in_progress))
    return (stage.worked_s + past * weight) / (drawn + stage.current + weight)


def _message(status: RunStatus, event: StageEvent) -> str:
    waits = {"queued": "waiting in the queue", "loading": "loading a model", "stalled": "no progress"}
    if isinstance(event, StageRetry):
        pause_s = math.ceil(event.delay_s)
        return f"Running {status.stage}: retrying {f'in {pause_s} s' if pause_s else 'now'}"
    if status.phase in waits:
        ahead = event.ahead if isinstance(event, StageStep) and status.phase == "queued" else None
        before = "" if ahead is None else f", {ahead} before it"
        return f"Running {status.stage}: {waits[status.phase]}{before}"
    return f"Running {status.stage}"


def _replaced(stages: tuple[StageStatus, ...], index: int, stage: StageStatus) -> tuple[StageStatus, ...]:
    return (*stages[:index], stage, *stages[index + 1 :])
