"""The queue of a GUI thread and the turns in which it is worked off, whatever loop that thread runs."""

from __future__ import annotations

import heapq
import math
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reactivex import abc
from reactivex.disposable import Disposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxpipe.logs import logger
from rxpipe.rx.scheduled import ScheduledItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import typing as rx_typing

_State = TypeVar("_State")

FRAME_S = 0.016  # how long a polled loop sleeps, and the longest a modal dialog inside an action holds the others up
BUDGET_S = 0.004  # the longest one drain keeps the GUI thread, single actions aside
REARM_S = 0.001  # the pause between two drains of a full queue, in which the toolkit paints and takes input
_PURGE_AT = 64  # cancelled timers are swept once the heap is this long and half of it may be dead


@dataclass(frozen=True, slots=True)
class LoopCounters:
    """What a scheduler has done so far; all counts start from 0 and never fall.

    delivered: actions that finished. failed: actions that raised. cancelled: actions disposed before they ran.
    dropped_after_close: actions scheduled after the window was destroyed. discarded_at_close: actions that waited then.
    drains: ticks that found work. longest_drain_s: the longest of them, seconds.
    """

    delivered: int
    failed: int
    cancelled: int
    dropped_after_close: int
    discarded_at_close: int
    drains: int
    longest_drain_s: float


def _pop(queue: deque[ScheduledItem]) -> ScheduledItem | None:
    """Remove and return the oldest item, or None; another thread may clear the queue at any moment."""
    try:
        return queue.popleft()
    except IndexError:
        return None


class _Beat(abc.DisposableBase):
    """A periodic action without drift: beats that were missed are skipped."""

    def __init__(
        self, scheduler: MainLoopScheduler, period_s: float, action: Callable[[Any], Any], state: Any = None
    ) -> None:
        self._scheduler, self._action, self._state = scheduler, action, state
        self._period_s = max(0.0, period_s)
        self._due = scheduler.monotonic() + self._period_s
        self._disposed = False
        self._next: abc.DisposableBase = scheduler.schedule_at(self._due, self._strike)

    def _strike(self, _scheduler: abc.SchedulerBase, _state: Any = None) -> None:
        if self._disposed:
            return
        self._state = self._action(self._state)  # an exception ends the beat; the drain reports it
        missed = (self._scheduler.monotonic() - self._due) // self._period_s if self._period_s else 0.0
        self._due += self._period_s * (1 + max(0.0, missed))
        self._next = self._scheduler.schedule_at(self._due, self._strike)
        if self._disposed:
            self._next.dispose()

    def dispose(self) -> None:
        self._disposed = True
        self._next.dispose()


class MainLoopScheduler(PeriodicScheduler):
    """The queue core: an Rx scheduler whose actions run in drains on one thread.

    Scheduling and disposing work from any thread, before the loop runs and after it ended; neither blocks nor raises.
    Actions run in the order in which they were scheduled, timed ones in the order of their due times, never early and
    at most a frame late unless the GUI thread is busy. An action that raises is reported and the next one runs.

    Args:
        budget_s: seconds, > 0, after which a drain lets the toolkit paint and take input before it continues.
        on_error: called on the GUI thread with what an action raised. Absent: the toolkit's own report (Tk's
            `report_callback_exception`, asyncio's exception handler, `sys.excepthook`). Either way loguru gets a line.

    Raises:
        ValueError: budget_s <= 0.
    """

    def __init__(self, *, budget_s: float = BUDGET_S, on_error: Callable[[Exception], object] | None = None) -> None:
        super().__init__()
        if budget_s <= 0:
            raise ValueError(f"budget_s must be above 0 seconds, got {budget_s!r}")
        self._budget_s = budget_s
        self._on_error = on_error
        self._ready: deque[ScheduledItem] = deque()
        self._timed: deque[ScheduledItem] = deque()  # on the way to the heap, which only the GUI thread touches
        self._heap: list[tuple[float, int, ScheduledItem]] = []
        self._purge_at = _PURGE_AT
        self._sequence = 0
        self._armed = False  # true while a tick is certain to come, so that a batch costs one wake
        self._closed = False
        self._drop_lock = threading.Lock()
        self._dropped = self._discarded = 0
        self._delivered = self._failed = self._cancelled = self._drains = 0  # only the GUI thread writes these
        self._longest_drain_s = 0.0

    # -- for any thread ---------------------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the window was destroyed or `close` called. It is final."""
        return self._closed

    @property
    def pending(self) -> int:
        """How many actions wait, including timed ones and cancelled ones not yet removed."""
        return len(self._ready) + len(self._timed) + len(self._heap)

    @property
    def counters(self) -> LoopCounters:
        """Return the counts so far."""
        return LoopCounters(
            delivered=self._delivered,
            failed=self._failed,
            cancelled=self._cancelled,
            dropped_after_close=self._dropped,
            discarded_at_close=self._discarded,
            drains=self._drains,
            longest_drain_s=self._longest_drain_s,
        )

    def monotonic(self) -> float:
        """Return seconds on the clock of the due times; only differences mean something."""
        return time.monotonic()

    def schedule(self, action: rx_typing.ScheduledAction[_State], state: _State | None = None) -> abc.DisposableBase:
        """Run *action* on the GUI thread after those scheduled before it, unless it is disposed until then."""
        return self._push(self._ready, ScheduledItem(action, state))

    def schedule_relative(
        self, duetime: rx_typing.RelativeTime, action: rx_typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run *action* on the GUI thread *duetime* from now (seconds or timedelta; without delay if not above 0)."""
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        return self.schedule_at(self.monotonic() + seconds, action, state)

    def schedule_absolute(
        self, duetime: rx_typing.AbsoluteTime, action: rx_typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run *action* on the GUI thread at *duetime* (aware datetime, or seconds since 1970) by the wall clock."""
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)

    def schedule_periodic(
        self,
        period: rx_typing.RelativeTime,
        action: rx_typing.ScheduledPeriodicAction[_State],
        state: _State | None = None,
    ) -> abc.DisposableBase:
        """Run *action* every *period* without drift, with the state it returned last; beats missed are skipped."""
        return _Beat(self, self.to_seconds(period), cast("Callable[[Any], Any]", action), state)

    def schedule_at(
        self, due: float, action: rx_typing.ScheduledAction[_State], state: _State | None = None
    ) -> abc.DisposableBase:
        """Run *action* on the GUI thread when `monotonic()` has reached *due*."""
        return self._push(self._timed, ScheduledItem(action, state, due))

    def close(self) -> None:
        """Drop what waits and all that is scheduled later: the window is destroyed. Safe to repeat, from any thread."""
        if self._closed:
            return
        self._closed = True
        self._discarded += self.pending
        self._ready.clear()
        self._timed.clear()
        self._heap = []

    def _push(self, queue: deque[ScheduledItem], item: ScheduledItem) -> abc.DisposableBase:
        if self._closed:
            return self._drop()
        queue.append(item)
        if not self._armed:
            self._armed = True
            self._wake()
        return item

    def _drop(self) -> abc.DisposableBase:
        with self._drop_lock:
            self._dropped += 1
        return Disposable()

    # -- for the GUI thread -----------------------------------------------------------------------------------------

    def drain(self, budget_s: float | None = None) -> float | None:
        """Run due timed actions, then waiting ones, until none is left or the budget is spent.

        Only the GUI thread may call it; an action may do so again (a modal dialog does).

        Args:
            budget_s: seconds; absent: the scheduler's own. At least one waiting action runs in any case.

        Returns:
            Seconds until there is something to do: 0.0 if actions are left, None if nothing waits.
        """
        started = time.perf_counter()
        deadline = started + (self._budget_s if budget_s is None else budget_s)
        if self._drain_timed(deadline) + self._drain_ready(deadline):
            self._drains += 1
            self._longest_drain_s = max(self._longest_drain_s, time.perf_counter() - started)
        return self._idle_s()

    def _drain_timed(self, deadline: float) -> int:
        self._file_timed()
        now, ran = self.monotonic(), 0  # fixed, so that an action which schedules itself again waits for the next drain
        while (item := self._pop_due(now)) is not None:
            self._run(item)
            ran += 1
            if time.perf_counter() >= deadline:
                break
        return ran

    def _drain_ready(self, deadline: float) -> int:
        ran = 0
        while (item := _pop(self._ready)) is not None:
            self._run(item)
            ran += 1
            if time.perf_counter() >= deadline:
                break
        return ran

    def _pop_due(self, now: float) -> ScheduledItem | None:
        try:
            return heapq.heappop(self._heap)[2] if self._heap[0][0] <= now else None
        except IndexError:  # empty, perhaps closed from another thread since the last look
            return None

    def _run(self, item: ScheduledItem) -> None:
        try:
            ran = item.run(self)
        except Exception as error:  # noqa: BLE001  # user code; it is reported, and the rest must run
            self._failed += 1
            self._report(error)
        else:
            self._delivered += ran
            self._cancelled += not ran

    def _file_timed(self) -> None:
        while (item := _pop(self._timed)) is not None:
            self._sequence += 1
            heapq.heappush(self._heap, (item.due, self._sequence, item))
        if len(self._heap) > self._purge_at:
            self._sweep()

    def _sweep(self) -> None:
        live = [entry for entry in self._heap if not entry[2].disposed]
        self._cancelled += len(self._heap) - len(live)
        heapq.heapify(live)
        self._heap = live
        self._purge_at = max(_PURGE_AT, 2 * len(live))

    def _idle_s(self) -> float | None:
        if self._ready:
            return 0.0
        self._file_timed()
        try:
            return max(0.0, self._heap[0][0] - self.monotonic())
        except IndexError:
            return None

    def _report(self, error: Exception) -> None:
        logger.opt(exception=error).error("an action on the GUI thread raised {}", type(error).__name__)
        try:
            (self._on_error or self._report_natively)(error)
        except Exception as second:  # noqa: BLE001  # user code; it must not stop the drain
            logger.opt(exception=second).error("the error hook of the GUI scheduler raised {}", type(second).__name__)

    def _turn(self, budget_s: float | None = None) -> float | None:
        """Drain once for a port; return what `drain` does, once it is certain that later pushes will wake the loop."""
        if self._closed:
            return None
        idle_s = self.drain(budget_s)
        self._armed = idle_s == 0.0
        if not self._armed and (self._ready or self._timed):  # pushed after the drain looked, before the flag fell
            self._armed = True
            return 0.0
        return idle_s

    # -- what a port fills in ---------------------------------------------------------------------------------------

    def _wake(self) -> None:
        """Have `_turn` called soon on the GUI thread. Called on any thread; must neither block nor raise."""

    def _report_natively(self, error: Exception) -> None:
        sys.excepthook(type(error), error, error.__traceback__)


def milliseconds(seconds: float) -> int:
    """Return a pause as toolkits take it, never shorter."""
    return math.ceil(seconds * 1000)
