"""One run as its stages see it: what they share (RunContext), and each one's numbering and events (StageTracker)."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.artifact import Artifact
from rxpipe.config import RunSettings
from rxpipe.events import (
    ErrorInfo,
    Outcome,
    StageCancelled,
    StageEnd,
    StageFailed,
    StageImageProgress,
    StagePreview,
    StageRetry,
    StageStart,
    StageStep,
)
from rxpipe.plan import StageExecution
from rxpipe.rx.operators import Lane

if TYPE_CHECKING:
    from datetime import datetime

    from reactivex.abc import SchedulerBase

    from rxpipe.backends.base import Backend, StepProgress
    from rxpipe.errors import RxPipeError
    from rxpipe.events import StageEvent
    from rxpipe.stages.timeline import Timeline

Write = Callable[[Artifact, StageExecution], Artifact]


def _in_memory(artifact: Artifact, _: StageExecution) -> Artifact:
    return artifact


class StageAborted(Exception):
    """Travels down the chain when a stage fails: which one, and why. Users see the error that it carries."""

    def __init__(self, stage: StageTracker, error: RxPipeError) -> None:
        super().__init__(f"{stage.where}: {error.message}")
        self.stage = stage
        self.error = error


@dataclass(slots=True)
class RunContext:
    """What the stages of one run share.

    write: puts a finished picture where it belongs and gives the artifact that refers to it.
    commit: held while a finished image is written and told, so that a cancel falls before or after, never between.
    saver: writes pictures while the next is drawn, for backends that want that; None to write in turn.
    stopped: whether the run was cancelled.
    finished: told each artifact that leaves a stage, and the stage's index. image_left: called after that was progress.
    gave_up: called once a stage was told to have failed, so that no operator behind it can go on or try again.
    current: the stage whose turn it is or was last. failure: the first stage that could not go on, and why.
    """

    backend: Backend
    timeline: Timeline
    previews: Callable[[StagePreview], None]
    now: Callable[[], datetime]
    settings: RunSettings = field(default_factory=RunSettings)
    stage_count: int = 1
    write: Write = _in_memory
    saver: SchedulerBase | None = None
    lane: Lane = field(default_factory=Lane)
    commit: threading.RLock = field(default_factory=threading.RLock)
    stopped: Callable[[], bool] = lambda: False
    jitter: random.Random = field(default_factory=random.Random)
    finished: Callable[[Artifact, int], None] = lambda _artifact, _index: None
    image_left: Callable[[], None] = lambda: None
    gave_up: Callable[[StageAborted], None] = lambda _: None
    stages: list[StageTracker] = field(default_factory=list)
    current: StageTracker | None = None
    failure: StageAborted | None = None


@dataclass(slots=True, eq=False)
class Cell:
    """An image that entered a stage: its index there, 1.., when, and how far it is, 0..1.

    skip: gives it up, from any thread; False if it is not being drawn: not yet, or no longer.
    """

    index: int
    at: datetime
    fraction: float = 0.0
    skip: Callable[[], bool] = lambda: False


class StageTracker:
    """One stage within one run: its numbering and its events.

    in_flight: the images in work, the oldest first; more than one only where the backend lets the next one begin early.
    blocking: its function does not look whether it is still wanted.

    Args:
        execution: the stage as planned.
        context: of the run; the stage adds itself to its `stages`.
        planned: images expected if not all have arrived when the first one's turn comes, None if nobody can know.
        last_of_group: no later stage takes turns with this one.
    """

    def __init__(
        self, execution: StageExecution, context: RunContext, planned: int | None, *, last_of_group: bool = True
    ) -> None:
        self.execution = execution
        self.context = context
        self.planned = planned
        self.last_of_group = last_of_group
        self.received = 0
        self.source_ended = False
        self._started = False
        self.in_flight: list[Cell] = []
        self.blocking = False
        self._entered = 0
        self._total: int | None = None
        self._counts: dict[str, int] = {"done": 0, "passed": 0, "failed": 0, "cancelled": 0}
        self._failures_in_a_row = 0
        self._started_at = context.now()
        context.stages.append(self)

    @property
    def where(self) -> str:
        """For people: "upscale (stage 3 of 3)"."""
        return f"{self.execution.stage_type} (stage {self.execution.stage_index + 1} of {self.context.stage_count})"

    @property
    def next_index(self) -> int | None:
        """Index of the image in work or next, None when all have left."""
        index = sum(self._counts.values()) + 1
        return index if self._total is None or index <= self._total else None

    @property
    def unaccounted(self) -> int:
        """How many of the images have not left, as far as their number is known."""
        return max(0, (self._total or 0) - sum(self._counts.values()))

    def is_oldest(self, cell: Cell) -> bool:
        """Whether the image is the oldest in work, whose progress is the stage's."""
        return bool(self.in_flight) and self.in_flight[0] is cell

    def start(self) -> None:
        """Tell that the stage begins, if it has not been progress."""
        if not self._started:
            self._started = True
            self._started_at = self.context.now()
            self._total = self.received if self.source_ended else self.planned
            self._emit(StageStart)

    def begin_image(self) -> Cell:
        """An image's turn has come. The first one starts the stage."""
        self.context.current = self
        self._entered += 1
        cell = Cell(self._entered, self.context.now())
        self.in_flight.append(cell)
        self.start()
        return cell

    def step(self, cell: Cell, progress: StepProgress) -> None:
        """Tell how far the image is; its fraction never falls, whatever the backend says."""
        fraction = progress.fraction
        if fraction is not None and not math.isnan(fraction):
            fraction = cell.fraction = max(cell.fraction, min(1.0, fraction))
        else:
            fraction = None
        self._emit(
            StageStep,
            image_index=cell.index,
            fraction=fraction,
            step=progress.step,
            steps=progress.steps,
            eta_s=progress.eta_s,
            phase=progress.phase,
        )

    def retry(self, cell: Cell, attempt: int, delay_s: float, error: Exception) -> None:
        """Tell that an attempt failed and another follows."""
        info = ErrorInfo.of(error)
        self._emit(StageRetry, image_index=cell.index, attempt=attempt, delay_s=delay_s, error=info)

    def finish_image(
        self,
        cell: Cell,
        artifact: Artifact,
        outcome: Outcome,
        *,
        error: RxPipeError | None = None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        """Tell that an image left the stage."""
        if cell in self.in_flight:
            self.in_flight.remove(cell)
        self._counts[outcome] += 1
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome == "failed" else 0
        if outcome in {"done", "passed"}:
            self.context.finished(artifact, self.execution.stage_index)
        self._emit(
            StageImageProgress,
            image_index=cell.index,
            artifact_id=artifact.id,
            outcome=outcome,
            error=ErrorInfo.of(error) if error else None,
            seed=artifact.seed,
            duration_s=self._since(cell.at),
            path=artifact.path,
            warnings=warnings,
        )
        self.context.image_left()

    def too_many(self) -> bool:
        """Whether so many images failed in a row that the next would too."""
        return self._failures_in_a_row >= self.context.settings.max_failures_in_a_row

    def end(self, *, filtered: int = 0) -> None:
        """Tell that the stage is through, if it is open."""
        self._emit(StageEnd, **self._counts, filtered=filtered, duration_s=self._since(self._started_at))

    def fail(self, error: RxPipeError) -> StageAborted:
        """Tell that the stage could not go on; gives what ends the chain."""
        aborted = StageAborted(self, error)
        self.context.failure = self.context.failure or aborted  # before it is told: who hears of it may cancel
        self._emit(StageFailed, error=ErrorInfo.of(error))
        self.context.gave_up(aborted)
        return aborted

    def cancel(self, image_index: int | None) -> None:
        """Tell that the run was cancelled, if the stage is open."""
        self._emit(StageCancelled, image_index=image_index)

    def _since(self, moment: datetime) -> float:
        return max(0.0, (self.context.now() - moment).total_seconds())

    def _emit(self, kind: type[StageEvent], **fields: Any) -> None:
        execution = self.execution
        fields["stage_type"], fields["stage_index"] = execution.stage_type, execution.stage_index
        fields["total_images"] = self._total
        self.context.timeline.emit(kind, fields)
