"""RunStatus: the state of a run as views show it, folded from its events.

One view-model for terminal, window and notebook, so that they never disagree. Pure: `reduce_status(status, event)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from rxpipe.estimate import Ahead, Begun, Past, time_left_s
from rxpipe.events import RunEnd, RunStart, StageImageProgress, StageRetry, StageStep
from rxpipe.progress import ALMOST, IDLE, TELLING, ImageStatus, StageStatus, stage_after

if TYPE_CHECKING:
    from rxpipe.events import BaseStageEvent, Moment, Phase, StageEvent

__all__ = ["ImageStatus", "RunStatus", "StageStatus", "reduce_status"]

State = Literal["idle", "running", "stopping", "completed", "partial", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A run at a glance.

    stage: name of the current one, None outside of a run. stage_number: 1.. of `stage_count`, 0 outside of a run.
    image_index: 1.. of total_images in that stage. image_number: 1.. of images, in all stages the same, or None.
    fraction: 0..1 of the whole run, never falling, 1.0 only when all files are written. eta_s: seconds left, None if
    unknown. message: for a person. past: what this run and earlier ones have shown about durations. updated: when its
    last event was; clock_s: the seconds of the run until then.
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
    fraction: float = 0.0
    eta_s: float | None = None
    images: int = 0
    warnings: int = 0
    past: Past = field(default_factory=Past)
    updated: Moment | None = None
    clock_s: float = 0.0

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
        """Return the status without a run; only what was learnt about durations is kept."""
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
    learnt = {stage.name: stage.per_image_s(status.clock_s) for stage in stages}
    return replace(
        status,
        state=event.status,
        message=message,
        stages=stages,
        fraction=1.0 if event.status == "completed" else status.fraction,
        eta_s=None,
        warnings=warnings,
        past=status.past.at_end(learnt),
        updated=event.moment,
    )


def _clocked(status: RunStatus, now: Moment) -> RunStatus:
    """Count the time since the last event as work on the images in progress.

    While images wait, every slot works, also where its image does not report, or not yet.
    """
    elapsed_s = 0.0 if status.updated is None else max(0.0, now.since_s(status.updated))
    before_s, status = status.clock_s, replace(status, updated=now, clock_s=status.clock_s + elapsed_s)
    if not elapsed_s or not status.stage_number:
        return status
    images = [image for stage in status.stages if stage.state == "running" for image in stage.in_progress.values()]
    loading, working = sum(image.phase == "loading" for image in images), sum(not image.waits for image in images)
    worked = [stage.working_s(before_s, status.clock_s) for stage in status.stages]
    paused_s = elapsed_s * working - sum(worked)
    if not working and status.phase not in IDLE and status.stages[status.stage_number - 1].state == "running":
        worked[status.stage_number - 1] = elapsed_s  # a backend that reports no progress, or not yet
    left = max((stage.unfinished for stage in status.stages if stage.state == "running"), default=0)
    longest_s = max((seconds or math.inf for seconds in _rates(status)), default=math.inf)
    slots = status.past.slots.after(elapsed_s, working + loading, left, longest_s)
    busy_s = elapsed_s * (min(slots.count, left) - loading) - paused_s
    factor = max(1.0, busy_s / sum(worked)) if any(worked) else 1.0
    stages = tuple(
        replace(stage, worked_s=stage.worked_s + seconds * factor) if seconds else stage
        for stage, seconds in zip(status.stages, worked, strict=True)
    )
    return replace(status, stages=stages, past=replace(status.past, slots=slots))


def _rates(status: RunStatus) -> list[float | None]:
    """Return the seconds per image of each stage; None where they are not known yet."""
    return [stage.per_image_s(status.clock_s, status.past.per_image_s.get(stage.name)) for stage in status.stages]


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
    stage = stage_after(status.stages[event.stage_index], event, status.clock_s)
    updated = replace(
        status,
        stages=_replaced(status.stages, event.stage_index, stage),
        stage=event.stage_type,
        stage_number=event.stage_index + 1,
        image_index=_current_image(stage, event),
        image_number=_number(status, stage, event),
        total_images=event.total_images,
        phase=stage.phase,
        warnings=status.warnings + _warnings(event),
        past=_learnt(status, event),
    )
    if not isinstance(event, StageStep):
        updated = replace(updated, stages=_expecting(updated))
    updated = replace(updated, fraction=max(status.fraction, _fraction(updated)), eta_s=_eta(updated))
    if updated.state != "running":
        return replace(updated, eta_s=None)
    return replace(updated, message=_message(updated, event))


def _learnt(status: RunStatus, event: BaseStageEvent) -> Past:
    """Return what is known about durations, with the image that has finished a stage on one of several servers."""
    image = status.stages[event.stage_index].in_progress.get(event.image_index or 0)
    if not isinstance(event, StageImageProgress) or image is None or event.outcome == "cancelled":
        return status.past
    seen = 1 - image.seen_from
    if not image.server or seen < TELLING:
        return status.past
    return status.past.with_image(event.stage_type, image.server, status.clock_s - image.since_s, seen)


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
    return min(ALMOST, total)


def _expecting(status: RunStatus) -> tuple[StageStatus, ...]:
    """Return the stages with how many images each works on in the end: those lost before do not come."""
    coming, stages = status.images, list[StageStatus]()
    for stage in status.stages:
        total = coming if stage.total in {None, status.images} else stage.total
        expected = total if stage.state in {"waiting", "running"} else stage.finished
        stages.append(replace(stage, expected=expected))
        coming = (expected or 0) - stage.lost
    return tuple(stages)


def _eta(status: RunStatus) -> float | None:
    """Return the seconds left by each stage's rate; None where one is not known yet.

    A stage that waits although images have finished the one before begins when all have.
    """
    stages, past, begun, ahead, total_s = status.stages, status.past, list[Begun](), list[Ahead](), 0.0
    unbegun = [max(0, stage.unfinished - len(stage.in_progress)) for stage in stages]
    for at, (stage, rate) in enumerate(zip(stages, _rates(status), strict=True)):
        if rate is None and (unbegun[at] or stage.in_progress):
            return None
        if at and stage.state == "waiting" and stages[at - 1].finished > stages[at - 1].lost:
            total_s += time_left_s(begun, ahead, past)
            begun, ahead = [], []
        coming = unbegun[at - 1] + len(stages[at - 1].in_progress) if ahead else 0
        on = past.on_servers(stage.name)
        for one in stage.in_progress.values():
            left_s = one.left_s(status.clock_s, on.get(one.server, rate or 0.0))
            begun.append(Begun(len(ahead), left_s, one.server, one.waits))
        ahead.append(Ahead(max(0, unbegun[at] - coming), rate or 0.0, on))
    return total_s + time_left_s(begun, ahead, past)


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
