"""StageTracker: numbers and counts the images of one stage within one run, and reports its events."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rxpipe.events import (
    ErrorInfo,
    StageCancelled,
    StageEnd,
    StageFailed,
    StageImageProgress,
    StageRetry,
    StageStart,
    StageStep,
)
from rxpipe.plan import PlannedImages
from rxpipe.stages.cell import Cell
from rxpipe.stages.raised import cause_of, log_traceback

if TYPE_CHECKING:
    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import StepProgress
    from rxpipe.errors import RxPipeError
    from rxpipe.events import StageEvent
    from rxpipe.plan import StageExecution
    from rxpipe.rx.lane import Slot
    from rxpipe.stages.scope import RunScope


class StageAborted(Exception):
    """Ends the chain when a stage fails: holds the stage and its error. Users see that error only."""

    def __init__(self, stage: StageTracker, error: RxPipeError) -> None:
        super().__init__(f"{stage.where}: {error.message}")
        self.stage = stage
        self.error = error


def priority(execution: StageExecution, number: int, chunk: int | None) -> tuple[int, int, int]:
    """Return what orders image *number* in a stage on the lane; *chunk*: as of `StageTracker`."""
    return 0 if chunk is None else (number - 1) // chunk, execution.group, -execution.stage_index


class StageTracker:
    """One stage within one run.

    received: images that have arrived. source_ended: whether no further one will.

    Args:
        execution: the stage as planned.
        scope: of the run.
        planned: images expected if not all have arrived when the first one begins, None if that is unknown.
        stage_count: stages in the chain.
        chunk: so many images go through all groups of stages before the next; None: all of them.
        blocking: its function holds the run's thread and cannot be cancelled.
        images: what differs from image to image; None: the seed only.
    """

    def __init__(
        self,
        execution: StageExecution,
        scope: RunScope,
        planned: int | None,
        *,
        stage_count: int = 1,
        chunk: int | None = None,
        blocking: bool = False,
        images: PlannedImages | None = None,
    ) -> None:
        self.execution = execution
        self.scope = scope
        self._timeline = scope.reporter.timeline
        self.blocking = blocking
        self.images = images or PlannedImages()
        self.received = 0
        self.source_ended = False
        self._planned = planned
        self._stage_count = stage_count
        self._chunk = chunk
        self._begun = 0
        self._total: int | None = None
        self._counts: dict[str, int] = {"done": 0, "passed": 0, "failed": 0, "cancelled": 0}
        self._filtered = 0
        self._failures_in_a_row = 0
        self._began_s: float | None = None

    @property
    def where(self) -> str:
        """The stage as a text for people: "upscale (stage 3 of 3)"."""
        return f"{self.execution.stage_type} (stage {self.execution.stage_index + 1} of {self._stage_count})"

    @property
    def current_index(self) -> int | None:
        """Index of the image in progress for longest, or of the next one; None when all have finished the stage."""
        oldest = self.scope.control.oldest_of(self)
        index = sum(self._counts.values()) + 1 if oldest is None else oldest.index
        return index if self._total is None or index <= self._total else None

    @property
    def unaccounted(self) -> int:
        """How many images have not finished the stage; 0 if their number is unknown."""
        return max(0, (self._total or 0) - sum(self._counts.values()))

    def priority(self, artifact: Artifact) -> tuple[int, int, int]:
        """Return what orders the images that wait on the lane: chunk by chunk, group by group, the furthest first."""
        return priority(self.execution, artifact.number, self._chunk)

    def start(self) -> None:
        """Report that the stage begins, once."""
        if self._began_s is None:
            self._began_s = self.scope.elapsed_s()
            self._total = self.received if self.source_ended else self._planned
            self._emit(StageStart)

    def begin_image(self, artifact: Artifact, slot: Slot | None = None) -> Cell:
        """Return the cell of an image that begins; the first one starts the stage.

        Args:
            artifact: as it came.
            slot: its place on the lane; None for an image that passes an operator, which is never in progress.
        """
        self._begun += 1
        cell = Cell(self, self._begun, artifact, slot)
        self.scope.control.begin(cell, in_flight=slot is not None)
        self.start()
        return cell

    def step(self, cell: Cell, progress: StepProgress) -> None:
        """Report how far the image is; its fraction never falls, whatever the backend reports."""
        fraction = progress.fraction
        if fraction is not None and not math.isnan(fraction):
            fraction = cell.fraction = max(cell.fraction, min(1.0, fraction))
        else:
            fraction = None
        self._emit(
            StageStep,
            image_index=cell.index,
            image_number=cell.artifact.number,
            fraction=fraction,
            step=progress.step,
            steps=progress.steps,
            eta_s=progress.eta_s,
            phase=progress.phase,
            ahead=progress.ahead,
            server=progress.server,
        )

    def retry(self, cell: Cell, delay_s: float, error: Exception) -> None:
        """Report that an attempt failed and another follows."""
        info, attempt = ErrorInfo.of(error), cell.attempt
        cell.attempt += 1
        where = {"image_index": cell.index, "image_number": cell.artifact.number}
        self._emit(StageRetry, **where, attempt=attempt, delay_s=delay_s, error=info)

    def finish_image(
        self,
        cell: Cell,
        artifact: Artifact,
        *,
        error: RxPipeError | ErrorInfo | None = None,
        **more: Any,
    ) -> None:
        """Keep and report that an image finished the stage with the cell's outcome; *more*: fields of its event."""
        outcome: Any = cell.state.value
        with self.scope.control.committing():  # no stop falls between the two
            self.scope.control.leave(cell)
            self._counts[outcome] += 1
            self._failures_in_a_row = self._failures_in_a_row + 1 if outcome == "failed" else 0
            self._note_cause(error)
            if outcome in {"done", "passed"}:
                self.scope.reporter.artifact(artifact, self.execution.stage_index)
            fields = {
                "image_index": cell.index,
                "image_number": cell.artifact.number,
                "artifact_id": artifact.id,
                "variant": tuple((name, str(value)) for name, value in artifact.variant.items()),
                "scores": tuple(artifact.scores.items()),
                "error": ErrorInfo.of(error) if isinstance(error, Exception) else error,
                "seed": artifact.seed,
                "duration_s": self._since(cell.began_s),
                "path": artifact.path,
                "attempt": self.scope.journal.attempt,
                **more,
                "outcome": outcome,
            }
            self.scope.journal.record(cell.execution, artifact, fields)
            self._emit(StageImageProgress, **fields)
        self.scope.control.cancel_if_drained()

    def filter_image(self, cell: Cell) -> None:
        """Count an image of which the stage made none; it has no event of its own."""
        with self.scope.control.committing():
            self.scope.control.leave(cell)
            self._filtered += 1
        self.scope.control.cancel_if_drained()

    def too_many_failures(self) -> bool:
        """Return whether so many images failed in a row that the next would too."""
        return self._failures_in_a_row >= self.scope.settings.max_failures_in_a_row

    def end(self, *, filtered: int = 0) -> None:
        """Report that the stage has ended, if it is open."""
        self._emit(StageEnd, **self._counts, filtered=filtered + self._filtered, duration_s=self._since(self._began_s))

    def _note_cause(self, error: object) -> None:
        """Keep what a user debugs by: the traceback of their own function, in the log and for `raise_for_status`."""
        if isinstance(error, Exception):
            self.scope.reporter.causes[self.execution.stage_index] = cause_of(error)
            log_traceback(self.where, error)

    def fail(self, error: RxPipeError) -> StageAborted:
        """Report that the stage cannot continue; return what ends the chain."""
        self._note_cause(error)
        aborted = StageAborted(self, error)
        self.scope.control.fail(aborted, lambda: self.report_failure(error))
        return aborted

    def report_failure(self, error: RxPipeError) -> None:
        """Report that the stage cannot continue, if it is open."""
        self._emit(StageFailed, error=ErrorInfo.of(error))

    def report_cancelled(self, *, in_progress: bool) -> None:
        """Report that the run was cancelled, if the stage is open; with the image in progress where that is asked."""
        if not in_progress:
            self._emit(StageCancelled)
            return
        oldest = self.scope.control.oldest_of(self)
        number = None if oldest is None else oldest.artifact.number
        self._emit(StageCancelled, image_index=self.current_index, image_number=number)

    def _since(self, moment_s: float | None) -> float:
        return 0.0 if moment_s is None else round(max(0.0, self.scope.elapsed_s() - moment_s), 6)

    def _emit(self, kind: type[StageEvent], **fields: Any) -> None:
        execution = self.execution
        fields["stage_type"], fields["stage_index"] = execution.stage_type, execution.stage_index
        fields["total_images"] = self._total
        self._timeline.emit(kind, fields)
