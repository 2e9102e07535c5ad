"""WorkerScheduler: one named daemon thread for one run.

RxPY's EventLoopScheduler ends at the first exception, for every stream on it, and its ThreadPoolScheduler delays the
end of the interpreter. This one continues, is daemon, and is closed explicitly.
"""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from reactivex import abc
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from reactivex.scheduler.scheduler import Scheduler

from rxpipe.rx.forks import renew_after_fork
from rxpipe.rx.scheduled import ScheduledItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import typing

_TState = TypeVar("_TState")
_FEW = 64  # actions that wait, before those among them are looked for that were taken back


def elapsed_s(clock: abc.SchedulerBase) -> float:
    """Return the seconds since some moment on a scheduler's clock, for durations.

    A scheduler that runs by the machine's time counts by the monotonic clock, which no correction of the date moves;
    any other, such as a virtual one, by its own.
    """
    monotonic = getattr(clock, "monotonic", None)
    if callable(monotonic):
        return float(monotonic())
    return clock.to_seconds(clock.now) if is_virtual(clock) else time.monotonic()


def is_virtual(clock: abc.SchedulerBase) -> bool:
    """Return whether a scheduler has a time of its own, which stands still while real work is done."""
    return not callable(getattr(clock, "monotonic", None)) and getattr(type(clock), "now", None) is not Scheduler.now


class WorkerScheduler(PeriodicScheduler, abc.DisposableBase):
    """Runs actions one after another on its own daemon thread, each when it is due, equal times in order.

    The thread starts with the first action and ends with `close()`, after the action in progress. An action that raises
    is reported to `threading.excepthook`, and the next one runs. Scheduling on a closed worker does nothing.

    Args:
        name: of the thread.
        failed: called on the worker's thread with what an action raised, after it was reported. It must not raise.
    """

    def __init__(
        self, name: str = "rxpipe-worker", *, failed: Callable[[BaseException], None] = lambda _: None
    ) -> None:
        super().__init__()
        self._name = name
        self._failed = failed
        self._heap: list[tuple[float, int, ScheduledItem]] = []
        self._order = itertools.count()
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None
        self._waits = False  # the thread waits, and nobody has woken it yet
        self._sweep_at = _FEW
        self._closed = False
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew in a child process, without the thread and the actions of the parent."""
        self._heap = []
        self._waits = False
        self._wake = threading.Condition()
        self._thread = None

    @property
    def now(self) -> datetime:
        """Return the wall-clock time, aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds on the clock of the due times, which no correction of the date moves."""
        return time.monotonic()

    @property
    def thread(self) -> threading.Thread | None:
        """Return the worker's thread, None before its first action."""
        return self._thread

    def schedule(self, action: abc.ScheduledAction[_TState], state: _TState | None = None) -> abc.DisposableBase:
        """Run *action* after those that are due before it."""
        return self._at(time.monotonic(), action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: abc.ScheduledAction[_TState], state: _TState | None = None
    ) -> abc.DisposableBase:
        """Run *action* after *duetime* seconds (or timedelta); a negative one means now."""
        return self._at(time.monotonic() + max(0.0, self.to_seconds(duetime)), action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: abc.ScheduledAction[_TState], state: _TState | None = None
    ) -> abc.DisposableBase:
        """Run *action* at the wall-clock time *duetime*."""
        wait: timedelta = self.to_datetime(duetime) - self.now
        return self.schedule_relative(wait, action, state)

    def close(self) -> None:
        """Drop what waits and let the thread end after the action in progress. Safe to repeat, from any thread."""
        with self._wake:
            self._closed = True
            self._heap.clear()
            self._wake.notify()

    def dispose(self) -> None:
        """Do the same as `close()`."""
        self.close()

    def _at(self, due: float, action: abc.ScheduledAction[_TState], state: _TState | None) -> abc.DisposableBase:
        item = ScheduledItem(action, state, due)
        with self._wake:
            if not self._closed:
                heapq.heappush(self._heap, (due, next(self._order), item))
                if len(self._heap) > self._sweep_at:
                    self._sweep()
                if self._waits and self._heap[0][2] is item:  # else the thread wakes in time without being woken
                    self._waits = False
                    self._wake.notify()
                self._ensure_thread()
        return item

    def _sweep(self) -> None:
        """Drop the actions that were taken back: of many that are due in a minute, most are after milliseconds."""
        self._heap = [entry for entry in self._heap if not entry[2].disposed]
        heapq.heapify(self._heap)
        self._sweep_at = max(_FEW, 2 * len(self._heap))

    def _ensure_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while (item := self._next()) is not None:
            self._do(item)

    def _do(self, item: ScheduledItem) -> None:
        try:
            item.run(self)
        except BaseException as error:  # noqa: BLE001  # no failure, not even SystemExit, may end the others' thread
            threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))
            self._failed(error)

    def _next(self) -> ScheduledItem | None:
        """Wait for the next action to be due and return it; None when closed."""
        with self._wake:
            while not self._closed:
                wait_s = self._heap[0][0] - time.monotonic() if self._heap else threading.TIMEOUT_MAX
                if wait_s <= 0:
                    return heapq.heappop(self._heap)[2]
                self._waits = True
                self._wake.wait(min(wait_s, threading.TIMEOUT_MAX))
            return None
