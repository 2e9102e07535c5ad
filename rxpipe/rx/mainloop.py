"""Rx schedulers for GUI threads: any thread may schedule, only the GUI thread runs.

One queue core and a thin port per loop (Tk, Qt, asyncio, a bare `pump()`), for the controller and the views. A producer
never calls the toolkit, it only appends to a deque: a window that is busy, not yet started or already destroyed can
neither block it nor raise into it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import heapq
import importlib
import math
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reactivex import abc
from reactivex.disposable import Disposable
from reactivex.internal.constants import UTC_ZERO
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxpipe.logs import logger
from rxpipe.rx.scheduled import ScheduledItem

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from reactivex import typing as rx_typing

_State = TypeVar("_State")

FRAME_S = 0.016  # how long a polled loop sleeps, and the longest a modal dialog inside an action holds the others up
BUDGET_S = 0.004  # the longest one drain keeps the GUI thread, single actions aside
_REARM_S = 0.001  # the pause between two drains of a full queue, in which the toolkit paints and takes input
_PURGE_AT = 64  # cancelled timers are swept once the heap is this long and half of it may be dead

# Tcl aborts the process when an interpreter is freed by another thread than its own, and Python's garbage
# collector does so on whatever worker it runs. So the interpreters served are kept: one per Tk(), empty once destroyed.
_INTERPRETERS: dict[int, Any] = {}

__all__ = [
    "AsyncioScheduler",
    "LoopCounters",
    "MainLoopScheduler",
    "PumpScheduler",
    "QtScheduler",
    "TkScheduler",
]


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


def _milliseconds(seconds: float) -> int:
    return math.ceil(seconds * 1000)


# A turn in Tcl, since every call from Python into Tk lets another thread have the interpreter, and costs 5 ms each when
# that one is busy. The next turn is planned before the poll: an action may open a modal dialog, which turns the loop
# inside it, or leave the loop with an exception. `poll` answers the pause in milliseconds, below 0 for the end.
_TK_TURN = """
proc {name}_turn {{}} {{
    set ::{name} [after {frame} {name}_turn]
    set pause [{poll}]
    after cancel $::{name}
    if {{$pause >= 0}} {{ set ::{name} [after $pause {name}_turn] }}
}}
set ::{name} [after 1 {name}_turn]
"""


class TkScheduler(MainLoopScheduler):
    """For Tk: polls from the GUI thread with `after`, once a frame while idle, and closes when *root* is destroyed.

    Make it on the thread that made *root*. It works under `mainloop()` and under your own loop over `update()`.

    Args:
        root: the `Tk`, or any widget of it; when that one is destroyed, the scheduler is closed.
        budget_s, on_error: as for `MainLoopScheduler`.
    """

    def __init__(
        self, root: Any, *, budget_s: float = BUDGET_S, on_error: Callable[[Exception], object] | None = None
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._armed = True  # always: it polls and needs no wake
        self._root = root
        self._name = f"rxpipe_{id(self):x}"
        _INTERPRETERS[id(root.tk)] = root.tk
        # A separate tag, because another root.bind("<Destroy>") would replace this one.
        root.bindtags((self._name, *root.bindtags()))
        root.bind_class(self._name, "<Destroy>", self._destroyed)
        root.tk.eval(_TK_TURN.format(name=self._name, poll=root.register(self._poll), frame=_milliseconds(FRAME_S)))

    def _destroyed(self, _event: object) -> None:
        self.close()
        self._root.tk.eval(f"after cancel $::{self._name}")
        self._root = None

    def _poll(self) -> int:
        idle_s = self._turn()
        self._armed = True
        if self._closed:
            return -1
        return _milliseconds(FRAME_S if idle_s is None else min(max(idle_s, _REARM_S), FRAME_S))

    def _report_natively(self, error: Exception) -> None:
        if self._root is None:
            super()._report_natively(error)
        else:
            self._root.nametowidget(".").report_callback_exception(type(error), error, error.__traceback__)


class QtScheduler(MainLoopScheduler):
    """For Qt: one queued signal wakes the GUI thread per batch; it costs nothing while idle.

    Make it on the GUI thread. The binding, PySide6 or PyQt6, is that of the object given.

    Args:
        anchor: the application, or any `QObject` (a window) whose destruction closes the scheduler.
        budget_s, on_error: as for `MainLoopScheduler`.

    Raises:
        TypeError: *anchor* is no QObject of PySide6 or PyQt6.
        RuntimeError: made on another thread than the GUI's, or before the application.
    """

    def __init__(
        self, anchor: Any, *, budget_s: float = BUDGET_S, on_error: Callable[[Exception], object] | None = None
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        binding = _qt_binding(anchor)
        core = importlib.import_module(f"{binding}.QtCore")
        application = core.QCoreApplication.instance()
        if application is None or application.thread() != core.QThread.currentThread():
            raise RuntimeError("QtScheduler must be made on the GUI thread, after the QApplication")
        # The application owns the port. Not Python, whose garbage collector may run on a worker, where Qt objects must
        # not die; and not the anchor, which may go while a worker emits.
        self._port = _qt_port(binding)(application, self._tick)
        self._timer = core.QTimer(self._port)  # a repeating one: a modal dialog opened by an action gets its turns too
        self._interval_ms = 0  # of the timer; 0 while it rests
        self._timer.setTimerType(core.Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._port.tick)
        anchor.destroyed.connect(self._destroyed)
        self._application = application
        application.aboutToQuit.connect(self._pause)

    def _destroyed(self, *_anchor: object) -> None:
        self.close()
        with contextlib.suppress(RuntimeError):  # at the interpreter's end the binding may have deleted it already
            self._run_timer(0)
            self._application.aboutToQuit.disconnect(self._pause)
            self._port.deleteLater()

    def _pause(self) -> None:
        """Stop using Qt while the event loop ends, as no worker may touch it then; a later exec() continues."""
        if not self._closed:
            self._armed = True
            self._run_timer(1)

    def _wake(self) -> None:
        try:
            self._port.woken.emit()
        except RuntimeError:  # the binding has deleted the C++ object: the interpreter is on its way out
            self.close()

    def _tick(self) -> None:
        if self._interval_ms == 0:
            self._run_timer(_milliseconds(FRAME_S))
        idle_s = self._turn()
        self._run_timer(0 if idle_s is None or self._closed else _milliseconds(max(idle_s, _REARM_S)))

    def _run_timer(self, interval_ms: int) -> None:
        if interval_ms == self._interval_ms:
            return
        self._interval_ms = interval_ms
        if interval_ms:
            self._timer.start(interval_ms)
        else:
            self._timer.stop()


def _qt_binding(anchor: object) -> str:
    for base in type(anchor).__mro__:
        binding = base.__module__.partition(".")[0]
        if binding in {"PySide6", "PyQt6"}:
            return binding
    raise TypeError(f"QtScheduler needs a QApplication or another QObject of PySide6 or PyQt6, got {anchor!r}")


@functools.cache
def _qt_port(binding: str) -> Any:
    """The class of the object that carries a wake from any thread to the GUI thread."""
    core = importlib.import_module(f"{binding}.QtCore")
    signal = getattr(core, "Signal", None) or core.pyqtSignal

    class WakePort(core.QObject):  # type: ignore[name-defined,misc]  # the binding is known at run time only
        woken = signal()

        def __init__(self, parent: Any, tick: Callable[[], None]) -> None:
            super().__init__(parent)
            self._tick = tick
            self.woken.connect(self.tick, core.Qt.ConnectionType.QueuedConnection)

        def tick(self) -> None:
            self._tick()

    return WakePort


class AsyncioScheduler(MainLoopScheduler):
    """For asyncio: one `call_soon_threadsafe` wakes the loop per batch; it costs nothing while idle.

    ```python
    import asyncio

    import rxpipe as rxp
    from rxpipe.rx.mainloop import AsyncioScheduler


    async def main() -> None:
        runner = rxp.PipelineRunner(rxp.open_backend())
        controller = rxp.PipelineController(runner, scheduler=AsyncioScheduler())
        ended = asyncio.Event()
        controller.status.subscribe(lambda status: print(status.percent_text, status.message, status.eta_text))
        controller.events.subscribe(lambda event: ended.set() if event.kind == "run_end" else None)
        controller.start(rxp.chain(rxp.txt2img(prompt="a lighthouse at dusk", images=2), rxp.upscale(scale=2)))
        await ended.wait()


    asyncio.run(main())
    ```

    Args:
        loop: the loop whose thread runs the actions; it may start later. Absent: the running one.
        budget_s, on_error: as for `MainLoopScheduler`.

    Raises:
        RuntimeError: no loop was given and none runs on this thread.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        budget_s: float = BUDGET_S,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._loop = loop or asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def _push(self, queue: deque[ScheduledItem], item: ScheduledItem) -> abc.DisposableBase:
        if self._loop.is_closed():
            self.close()
        return super()._push(queue, item)

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._tick)
        except RuntimeError:  # closed since we looked
            self.close()

    def _tick(self) -> None:
        self._cancel_timer()
        idle_s: float | None = 0.0  # if an action leaves the loop with an exception, its next run continues here
        try:
            idle_s = self._turn()
        finally:
            if idle_s is not None and not self._loop.is_closed():
                self._timer = self._loop.call_later(max(idle_s, _REARM_S), self._tick)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _report_natively(self, error: Exception) -> None:
        self._loop.call_exception_handler({"message": "an action of AsyncioScheduler raised", "exception": error})


class PumpScheduler(MainLoopScheduler):
    """For any other loop (pygame, Kivy, Textual, wx): call `pump()` from it, once a frame or when woken.

    Args:
        on_wake: called from the producer's thread, once per batch, when `pump` should be called soon (`wx.CallAfter`,
            `GLib.idle_add`, Textual's `call_from_thread` are such). Absent: the loop calls `pump` every frame anyway.
        clock: seconds since 1970 UTC, for tests with a time of their own. Absent: the system's.
        budget_s, on_error: as for `MainLoopScheduler`.
    """

    def __init__(
        self,
        *,
        on_wake: Callable[[], object] | None = None,
        clock: Callable[[], float] | None = None,
        budget_s: float = BUDGET_S,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._on_wake = on_wake
        self._clock = clock

    @property
    def now(self) -> datetime:
        """Return the time of the wall clock, or of the given clock."""
        return super().now if self._clock is None else UTC_ZERO + timedelta(seconds=self._clock())

    def monotonic(self) -> float:
        """Return seconds on the clock of the due times."""
        return super().monotonic() if self._clock is None else self._clock()

    def pump(self, budget_s: float | None = None) -> float | None:
        """Run what is due on the calling thread, with the budget and the result of `drain`."""
        return self._turn(budget_s)

    def _wake(self) -> None:
        if self._on_wake is None:
            return
        try:
            self._on_wake()
        except Exception as error:  # noqa: BLE001  # user code, called on the producer's thread
            logger.opt(exception=error).error("the wake hook of the GUI scheduler raised {}", type(error).__name__)
