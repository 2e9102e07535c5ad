"""RunControl: the one place where a run is stopped, skipped, cancelled or ended.

A decision is taken once, under one lock, by whoever comes first. What has to be done about it hangs on it as a list of
steps that any thread can carry out or go on with, so that an exception in the middle (a second Ctrl+C, a backend that
raises while it is interrupted) never leaves a run open.
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
"""Seconds that the end of a run waits for a picture that is just being written."""


class RunPhase(enum.Enum):
    """NEW, RUNNING, STOPPING (no further image is begun), then CANCELLED or ENDED for good."""

    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    CANCELLED = "cancelled"
    ENDED = "ended"


class RunControl:
    """Decides how a run goes on, from any thread, and has what follows carried out.

    phase: only ever moves forward. failure: the first stage that could not continue, and why; it decides the outcome
    whatever ends the run. outcome, error: what `end` was given. latest: the cell that was begun last.
    lock: guards the phase and the states of the cells; re-entrant, since a signal handler may interrupt its holder.

    Args:
        rescue: schedules an action on a thread that no signal interrupts; None if there is none.
        ends_on_failure: whether a stage that fails ends the run at once, whatever an operator behind it would do.
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
        self._steps = SerialQueue(self._carry_out_first)
        self._interrupted: Callable[[], None] | None = None
        self._rescue = rescue
        self._ends_on_failure = ends_on_failure

    # -- what goes on -------------------------------------------------------------------------------------------------

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
        return next((cell for cell in self._in_flight if cell.tracker is tracker), None)

    def may_begin(self) -> bool:
        """Return whether another image may begin."""
        return self.phase is RunPhase.RUNNING

    def start(self) -> bool:
        """Begin the run; False if it was stopped or cancelled before."""
        with self.lock:
            if self.phase is RunPhase.NEW:
                self.phase = RunPhase.RUNNING
            return self.phase is RunPhase.RUNNING

    def begin(self, cell: Cell, *, in_flight: bool = True) -> None:
        """Note that a cell begins; one that is not *in_flight* cannot be skipped or waited for."""
        with self.lock:
            self.latest = cell
            if in_flight:
                self._in_flight.append(cell)

    def leave(self, cell: Cell) -> None:
        """Note that a cell is no longer in progress."""
        with self.lock:
            if cell in self._in_flight:
                self._in_flight.remove(cell)

    def check_stop(self) -> None:
        """Cancel the run if it was asked to stop and nothing is in progress any more."""
        with self.lock:
            stopped = self.phase is RunPhase.STOPPING and not self._in_flight
        if stopped:
            self.cancel()

    @contextmanager
    def committing(self) -> Iterator[bool]:
        """Hold off the end of the run while an image is written and reported; yields False if the run is over.

        A cancel therefore falls before an image or after it, never between its file and its event.
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
            self.check_stop()

    def skip(self, image_index: int | None = None) -> bool:
        """Give up an image in progress, the oldest one or that of *image_index*; False if none can be given up."""
        if self.over:
            return False
        wanted = [cell for cell in self.in_flight if image_index in {None, cell.index}]
        return any(cell.skip() for cell in wanted)

    def cancel(self) -> None:
        """Cancel the run unless it is over, and carry out what follows. Harmless twice."""
        with self.lock:
            if not self.over:
                self.phase = RunPhase.CANCELLED
        self.finish()

    def fail(self, failure: StageAborted, report: Callable[[], None]) -> None:
        """Note that a stage cannot continue, have that reported, and end the run. Only the first failure counts."""
        with self.lock:
            self.failure = self.failure or failure  # before it is reported: a subscriber may cancel
        report()
        if self._ends_on_failure:
            self.end("failed")

    def end(self, outcome: RunOutcome, error: ErrorInfo | None = None) -> None:
        """End the run unless it is over, and carry out what follows."""
        with self.lock:
            if not self.over:
                self.outcome, self.error = outcome, error
                self.phase = RunPhase.ENDED
        self.finish()

    # -- what follows from them ---------------------------------------------------------------------------------------

    def on_over(self, *steps: Callable[[], None]) -> None:
        """Have *steps* called in this order once the run is over.

        A step may be called again if an interrupt cut it short, so each must bear that. What it raises is reported,
        and the next one follows.
        """
        self._steps.waiting.extend(steps)

    def finish(self) -> None:
        """Carry out what is left of the steps, if the run is over; from any thread, as often as wanted.

        Returns at once while another call is at it.
        """
        if not self.over:
            return
        try:
            self._steps.drain()
        except BaseException:
            if self._rescue is not None:
                self._rescue(self.finish)
            raise

    def _carry_out_first(self, waiting: deque[Callable[[], None]]) -> None:
        step = waiting[0]
        try:
            step()
        except Exception as error:  # noqa: BLE001  # of a backend or a subscriber; the run must end all the same
            to_excepthook(error)
        except BaseException:
            if step is self._interrupted:  # for the second time: continue without it
                waiting.popleft()
            self._interrupted = step
            raise
        waiting.popleft()

    def wait_for_commit(self) -> None:
        """Wait, at most `GRACE_S`, for an image that is just being written by another thread."""
        if self._committing.acquire(timeout=GRACE_S):
            self._committing.release()
