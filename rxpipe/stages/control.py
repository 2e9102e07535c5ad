"""RunControl: the one place where a run is stopped, skipped, cancelled or ended.

A decision is taken once, under one lock, by the first thread that asks for it. Its consequences are a list of steps
that any thread can run or continue, so that an exception in the middle (a second Ctrl+C, a backend that raises while it
is interrupted) never leaves a run open.
"""

from __future__ import annotations

import enum
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rxpipe.rx.serial import SerialQueue
from rxpipe.rx.subject import to_excepthook

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from rxpipe.events import ErrorInfo, RunOutcome
    from rxpipe.stages.cell import Cell
    from rxpipe.stages.tracker import StageAborted, StageTracker

GRACE_S = 0.5
"""Seconds that the end of a run waits for a picture that is being written."""


class RunPhase(enum.Enum):
    """NEW, RUNNING, STOPPING (no further image is begun), then CANCELLED or ENDED."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    CANCELLED = "cancelled"
    ENDED = "ended"


class RunControl:
    """Takes the decisions about a run, from any thread, and runs the steps that follow.

    The steps are registered where what they end is made: by `Session`, and by the executor for a run.

    phase: only moves forward. failure: the first stage that could not continue, with its error; it decides the outcome
    whatever ends the run. outcome, error: as given to `end`. latest: the cell that began last.
    lock: guards the phase and the states of the cells; re-entrant, since a signal handler may interrupt its holder.

    Args:
        rescue: schedules an action on a thread that no signal interrupts; None if there is none.
        ends_on_failure: whether a stage that fails ends the run immediately, whatever an operator after it does.
    """

    def __init__(
        self, rescue: Callable[[Callable[[], None]], object] | None = None, *, ends_on_failure: bool = True
    ) -> None:
        self.phase = RunPhase.NEW
        self.failure: StageAborted | None = None
        self.outcome: RunOutcome = "cancelled"
        self.error: ErrorInfo | None = None
        self.latest: Cell | None = None
        self.lock = threading.RLock()
        self._in_flight: list[Cell] = []
        self._committing = threading.RLock()
        self._steps = SerialQueue(self._run_first_step)
        self._interrupted_step: Callable[[], None] | None = None
        self._rescue = rescue
        self._ends_on_failure = ends_on_failure

    # -- state --------------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether the run was cancelled or has ended: nothing more may be written or reported."""
        return self.phase in {RunPhase.CANCELLED, RunPhase.ENDED}

    @property
    def in_flight(self) -> tuple[Cell, ...]:
        """The cells in progress, in the order in which they began."""
        return tuple(self._in_flight)

    def oldest_of(self, tracker: StageTracker) -> Cell | None:
        """Return the cell of a stage that has been in progress for longest, None if it has none."""
        for cell in self.in_flight:
            if cell.tracker is tracker:
                return cell
        return None

    def may_begin(self) -> bool:
        """Return whether another image may begin."""
        return self.phase is RunPhase.RUNNING

    def start(self) -> bool:
        """Begin the run; return False if it was stopped or cancelled before."""
        with self.lock:
            if self.phase is RunPhase.NEW:
                self.phase = RunPhase.RUNNING
            return self.phase is RunPhase.RUNNING

    def begin(self, cell: Cell, *, in_flight: bool = True) -> None:
        """Record that a cell begins; one that is not *in_flight* cannot be skipped or waited for."""
        with self.lock:
            self.latest = cell
            if in_flight:
                self._in_flight.append(cell)

    def leave(self, cell: Cell) -> None:
        """Record that a cell is no longer in progress."""
        with self.lock:
            if cell in self._in_flight:
                self._in_flight.remove(cell)

    def cancel_if_drained(self) -> None:
        """Cancel the run if it was asked to stop and nothing is in progress any more."""
        with self.lock:
            stopped = self.phase is RunPhase.STOPPING and not self._in_flight
        if stopped:
            self.cancel()

    @contextmanager
    def committing(self) -> Iterator[bool]:
        """Delay the end of the run while an image is written and reported; yield False if the run is over.

        A cancel therefore takes effect before or after an image and not between its file and its event, unless writing
        the file takes longer than `GRACE_S`.
        """
        with self._committing:
            yield not self.over

    # -- decisions ----------------------------------------------------------------------------------------------------

    def stop_after_image(self) -> None:
        """Begin no further image; the run is cancelled once those in progress have finished their stage."""
        with self.lock:
            if self.over:
                return
            begun = self.phase is not RunPhase.NEW
            self.phase = RunPhase.STOPPING
        if begun:
            self.cancel_if_drained()

    def skip(self, image_index: int | None = None) -> bool:
        """Cancel the oldest image that is being rendered, or that of *image_index*; return False if there is none."""
        if self.over:
            return False
        cells = [cell for cell in self.in_flight if image_index in {None, cell.index}]
        return any(cell.skip() for cell in cells)

    def cancel(self) -> None:
        """Cancel the run unless it is over, and run the steps that follow. Harmless twice."""
        with self.lock:
            if not self.over:
                self.phase = RunPhase.CANCELLED
        self.finish()

    def fail(self, failure: StageAborted, report: Callable[[], None]) -> None:
        """Record that a stage cannot continue, call *report*, and end the run. Only the first failure counts."""
        with self.lock:
            if not self.over:
                self.failure = self.failure or failure  # before it is reported: a subscriber may cancel
        report()
        if self._ends_on_failure:
            self.end("failed")

    def end(self, outcome: RunOutcome, error: ErrorInfo | None = None) -> None:
        """End the run unless it is over, and run the steps that follow."""
        with self.lock:
            if not self.over:
                self.outcome, self.error = outcome, error
                self.phase = RunPhase.ENDED
        self.finish()

    # -- steps that follow --------------------------------------------------------------------------------------------

    def on_over(self, *steps: Callable[[], None]) -> None:
        """Register *steps* to be called in this order once the run is over.

        A step that an interrupt cut short is called again, so each must be idempotent. What it raises is reported, and
        the next one follows.
        """
        self._steps.waiting.extend(steps)

    def finish(self) -> None:
        """Run the remaining steps if the run is over; from any thread, any number of times.

        Returns immediately while another call runs them.
        """
        if not self.over:
            return
        try:
            self._steps.drain()
        except BaseException:
            if self._rescue is not None:
                self._rescue(self.finish)
            raise

    def _run_first_step(self, waiting: deque[Callable[[], None]]) -> None:
        step = waiting[0]
        try:
            step()
        except Exception as error:  # noqa: BLE001  # of a backend or a subscriber; the run must end anyway
            to_excepthook(error)
        except BaseException:
            if step is self._interrupted_step:  # for the second time: continue without it
                waiting.popleft()
            self._interrupted_step = step
            raise
        waiting.popleft()

    def wait_for_commit(self) -> None:
        """Wait, at most `GRACE_S`, for an image that another thread is writing."""
        if self._committing.acquire(timeout=GRACE_S):
            self._committing.release()
