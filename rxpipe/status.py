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
    from datetime import datetime

    from rxpipe.events import BaseStageEvent, Phase, StageEvent

State = Literal["idle", "running", "stopping", "completed", "partial", "failed", "cancelled"]
StageState = Literal["waiting", "running", "completed", "failed", "cancelled", "skipped"]

_ALMOST = 0.999  # 1.0 is shown only when every file is written


@dataclass(frozen=True, slots=True)
class StageStatus:
    """One stage's row.

    finished: images that finished it. total: images it works on, None if unknown. in_progress: fraction 0..1 by image
    index, never falling within an image. worked_s: seconds of work so far, without queueing, pauses and loading.
    """

    name: str
    state: StageState = "waiting"
    finished: int = 0
    failed: int = 0
    total: int | None = None
    in_progress: Mapping[int, float] = field(default_factory=dict)
    step: int | None = None
    steps: int | None = None
    phase: Phase = "working"
    worked_s: float = 0.0
    duration_s: float | None = None

    @property
    def current(self) -> float:
        """The sum of the fractions of the images in progress."""
        return sum(self.in_progress.values())

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
        amount = self.finished + self.current
        return self.worked_s / amount if amount > 0 and self.worked_s > 0 else None


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at a glance.

    stage: name of the current one, None outside of a run. stage_number: 1.. of `stage_count`, 0 outside of a run.
    image_index 1.. of total_images in that stage. fraction: 0..1 of the whole run, never falling, 1.0 only when all
    files are written. eta_s: seconds left, None if unknown. message: for a person. pause_s: seconds of the pause before
    a retry, if the last event was one, else 0. past: seconds per image of earlier runs, by stage name.
    """

    state: State = "idle"
    message: str = "Idle"
    run_id: str | None = None
    stages: tuple[StageStatus, ...] = ()
    stage: str | None = None
    stage_number: int = 0
    image_index: int | None = None
    total_images: int | None = None
    phase: Phase = "working"
    pause_s: float = 0.0
    fraction: float = 0.0
    eta_s: float | None = None
    images: int = 0
    warnings: int = 0
    past: Mapping[str, float] = field(default_factory=dict)
    updated: datetime | None = None

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
            updated=event.timestamp,
        )
    if isinstance(event, RunEnd):
        return _ended(status, event)
    return _in_stage(_clocked(status, event.timestamp), event)


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
        updated=event.timestamp,
    )


def _clocked(status: RunStatus, now: datetime) -> RunStatus:
    """Count the time since the last event as work of the current stage, unless it was queued or loading."""
    if status.updated is None or not status.stage_number or status.phase in {"queued", "loading"}:
        return replace(status, updated=now)
    elapsed = max(0.0, (now - status.updated).total_seconds() - status.pause_s)
    stage = status.stages[status.stage_number - 1]
    if stage.state != "running":
        return replace(status, updated=now)
    stages = _replaced(status.stages, status.stage_number - 1, replace(stage, worked_s=stage.worked_s + elapsed))
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
            return replace(
                stage,
                in_progress=_advanced(stage.in_progress, event),
                step=event.step or stage.step,
                steps=event.steps or stage.steps,
                phase=event.phase,
            )
        case StageImageProgress():
            failed = stage.failed + (event.outcome == "failed")
            others = {index: done for index, done in stage.in_progress.items() if index != event.image_index}
            return replace(
                stage, finished=stage.finished + 1, failed=failed, in_progress=others, step=None, phase="working"
            )
        case StageEnd():
            return replace(stage, state="completed", in_progress={}, duration_s=event.duration_s)
        case StageFailed():
            return replace(stage, state="failed")
        case StageCancelled():
            return replace(stage, state="cancelled")
        case _:
            return stage


def _advanced(in_progress: Mapping[int, float], event: StageStep) -> Mapping[int, float]:
    """Return the fractions after a step; they never fall, not even in a retry."""
    index = event.image_index or 0
    return {**in_progress, index: max(in_progress.get(index, 0.0), event.fraction or 0.0)}


def _current_image(stage: StageStatus, event: BaseStageEvent) -> int | None:
    if isinstance(event, StageStep | StageRetry):
        return event.image_index
    number = stage.finished + 1
    return number if stage.total is None else min(number, stage.total)


def _fraction(status: RunStatus) -> float:
    total = sum(stage.fraction for stage in status.stages) / max(1, len(status.stages))
    return min(_ALMOST, total)


def _eta(status: RunStatus) -> float | None:
    """Return the seconds left by each stage's rate, else that of an earlier run, else that of the current stage."""
    current = status.stages[status.stage_number - 1]
    rate = current.per_image_s or status.past.get(current.name)
    if rate is None:
        return None
    left = 0.0
    for stage in status.stages:
        if stage.state in {"waiting", "running"}:
            amount = (stage.total or status.images) - stage.finished - stage.current
            left += max(0.0, amount) * (stage.per_image_s or status.past.get(stage.name) or rate)
    return left


def _message(status: RunStatus, event: StageEvent) -> str:
    waits = {"queued": "waiting in the queue", "loading": "loading a model", "stalled": "no progress"}
    if isinstance(event, StageRetry):
        pause_s = math.ceil(event.delay_s)
        return f"Running {status.stage}: retrying {f'in {pause_s} s' if pause_s else 'now'}"
    if status.phase in waits:
        return f"Running {status.stage}: {waits[status.phase]}"
    return f"Running {status.stage}"


def _replaced(stages: tuple[StageStatus, ...], index: int, stage: StageStatus) -> tuple[StageStatus, ...]:
    return (*stages[:index], stage, *stages[index + 1 :])
