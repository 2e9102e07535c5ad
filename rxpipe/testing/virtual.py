"""Make a clock the time of Rx: operators that are handed no scheduler run on it, and real threads are named.

Timers, trampolines, workers of rxpipe, `now` of every scheduler and `stream.run()` are on the clock for the length of
a `with`. The surprise: a thread started by the test's own thread raises immediately, and again at the end if that was
swallowed.
"""

from __future__ import annotations

import threading
import traceback
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from reactivex.internal.exceptions import SequenceContainsNoElementsError
from reactivex.observable import marbles as rx_marbles
from reactivex.operators import _tomarbles as rx_tomarbles
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler, TimeoutScheduler
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from reactivex.scheduler.scheduleditem import ScheduledItem
from reactivex.scheduler.scheduler import Scheduler
from reactivex.scheduler.trampoline import Trampoline
from reactivex.scheduler.trampolinescheduler import TrampolineScheduler

from rxpipe import threads
from rxpipe.errors import RxPipeError
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing import dropped, leaks
from rxpipe.testing.clock import MarbleError
from rxpipe.testing.origin import current_line, is_in_pipeline, placed, relative
from rxpipe.testing.patches import Patches, Replacement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime
    from types import TracebackType

    from reactivex import Observable, abc, typing

    from rxpipe.testing.clock import VirtualClock

__tracebackhide__ = True  # pytest shows the test's line, not ours

State = TypeVar("State")
rx_run: Any = import_module("reactivex.run")
_SCHEDULING = ("schedule", "schedule_relative", "schedule_absolute")
_VIRTUAL = (ImmediateScheduler, TrampolineScheduler, TimeoutScheduler)
"""Schedulers that run in virtual time even where real threads are allowed."""


class RealThread(RxPipeError, AssertionError):
    """A real thread or timer was started where all time is virtual."""


class _CurrentThread(TrampolineScheduler):
    """The trampoline of each thread as Rx has it; one lookup cheaper than Rx's own."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def get_trampoline(self) -> Trampoline:
        trampoline: Trampoline | None = getattr(self._local, "trampoline", None)
        if trampoline is None:
            trampoline = self._local.trampoline = Trampoline()
        return trampoline


class _CurrentClock(PeriodicScheduler):
    """The clock of the thread that schedules."""

    @property
    def now(self) -> datetime:
        return _serving().clock.now

    def schedule(self, action: abc.ScheduledAction[State], state: State | None = None) -> abc.DisposableBase:
        return _serving().clock.schedule(action, state)

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        return _serving().clock.schedule_relative(duetime, action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        return _serving().clock.schedule_absolute(duetime, action, state)


INSIDE = ("/threading.py", "/reactivex/", "/concurrent/futures/", "/rxpipe/testing/")


def _starter() -> str:
    """Return the nearest line that led to a thread and is neither threading's nor Rx's nor ours."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if not any(inside in path for inside in INSIDE):
            return "\n  ".join(placed(f"{relative(frame.filename)}:{frame.lineno}: {frame.line}"))
    return "unknown"  # where the interpreter keeps no frames


def _replacements() -> Iterator[Replacement]:
    trampolines, clock = _CurrentThread(), _CurrentClock()
    yield TimeoutScheduler, "singleton", _timeout_singleton(TimeoutScheduler.singleton)
    yield CurrentThreadScheduler, "singleton", lambda: trampolines
    yield rx_marbles, "new_thread_scheduler", clock
    yield rx_tomarbles, "new_thread_scheduler", clock
    yield rx_run, "run", _run(rx_run.run)
    yield threads, "ENABLED", False
    yield threading.Thread, "start", _guarded(threading.Thread.start)
    yield Scheduler, "now", property(_now(vars(Scheduler)["now"].fget))
    yield WorkerScheduler, "now", property(_now(vars(WorkerScheduler)["now"].fget))
    for name in _SCHEDULING:
        yield WorkerScheduler, name, _on_clock(WorkerScheduler, name)
        yield TimeoutScheduler, name, _on_clock(TimeoutScheduler, name)
    yield TrampolineScheduler, "schedule", _trampoline_schedule
    yield TrampolineScheduler, "schedule_relative", _trampoline_relative(TrampolineScheduler.schedule_absolute)
    yield TrampolineScheduler, "schedule_absolute", _trampoline_absolute(TrampolineScheduler.schedule_absolute)
    yield from dropped.replacements(_patches.current)
    yield from leaks.replacements(_patches.current)


_patches: Patches[VirtualTime] = Patches(_replacements)


def _serving() -> VirtualTime:
    time = _patches.current()
    if time is None:
        raise MarbleError("The virtual time this belongs to has ended.", hint="Use it inside its `with`.")
    return time


def _is_real(scheduler: object) -> bool:
    """Return whether *scheduler* runs in real time: where threads are allowed, if it is one of them."""
    time = _patches.current()
    return time is None or (time.threads_allowed and not isinstance(scheduler, _VIRTUAL))


def _now(real: Callable[[Any], datetime]) -> Callable[[Any], datetime]:
    return lambda scheduler: real(scheduler) if _is_real(scheduler) else _serving().clock.now


def _on_clock(kind: type, name: str) -> Callable[..., Any]:
    """Return a scheduler's method, on the clock: what makes itself a worker or a timer is in virtual time too."""
    real = vars(kind)[name]

    def method(scheduler: Any, *arguments: Any, **more: Any) -> Any:
        if _is_real(scheduler):
            return real(scheduler, *arguments, **more)
        return getattr(_serving().clock, name)(*arguments, **more)

    return method


def _trampoline_schedule(
    scheduler: TrampolineScheduler, action: abc.ScheduledAction[Any], state: Any = None
) -> abc.DisposableBase:
    """Run *action* now, after what the trampoline is at."""
    time = _patches.current()
    if time is not None:
        time.clock.count_action(action)
    item: ScheduledItem = ScheduledItem(scheduler, state, action, scheduler.now)
    scheduler.get_trampoline().run(item)
    return item.disposable


def _trampoline_relative(real: Callable[..., Any]) -> Callable[..., Any]:
    def schedule_relative(scheduler: TrampolineScheduler, duetime: Any, action: Any, state: Any = None) -> Any:
        time = _patches.current()
        if scheduler.to_seconds(duetime) <= 0:
            return _trampoline_schedule(scheduler, action, state)
        if time is None or not time.is_owner:
            return real(scheduler, scheduler.now + scheduler.to_timedelta(duetime), action, state)
        return time.clock.schedule_relative(duetime, action, state)  # Rx would sleep

    return schedule_relative


def _trampoline_absolute(real: Callable[..., Any]) -> Callable[..., Any]:
    relative = _trampoline_relative(real)

    def schedule_absolute(scheduler: TrampolineScheduler, duetime: Any, action: Any, state: Any = None) -> Any:
        return relative(scheduler, scheduler.to_datetime(duetime) - scheduler.now, action, state)

    return schedule_absolute


def _timeout_singleton(real: Callable[[], TimeoutScheduler]) -> Callable[[], Any]:
    def singleton() -> Any:
        time = _patches.current()
        return real() if time is None else time.clock  # a thread may have looked it up just before all had left

    return singleton


def _guarded(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    def guarded(thread: threading.Thread) -> None:
        time = _patches.current()
        if time is not None:
            time.refuse(thread)
        start(thread)

    return guarded


def _run(real: Callable[..., Any]) -> Callable[..., Any]:
    def run(source: Observable[Any], scheduler: abc.SchedulerBase | None = None) -> Any:
        """Run virtual time until *source* ends; return its last value."""
        time = _patches.current()
        if time is None or time.threads_allowed:
            return real(source, scheduler)
        seen: list[Any] = []
        ended: list[Exception | None] = []
        source.subscribe(
            lambda value: seen.__setitem__(slice(None), [value]),
            ended.append,
            lambda: ended.append(None),
            scheduler=scheduler or time.clock,
        )
        if not time.clock.run_until(lambda: bool(ended)):
            raise MarbleError(
                "run() waits for ever: the stream has not ended, and nothing is planned any more.",
                hint="Let it end, such as with ops.take(1).",
            )
        if ended[0] is not None:
            raise ended[0]
        if not seen:
            raise SequenceContainsNoElementsError
        return seen[0]

    return run


class VirtualTime:
    """For the length of a `with`, *clock* is the time of every operator that is handed no scheduler.

    Several may be entered, in one thread or in many, and closed in any order: the last to close restores Rx.

    Raises:
        RealThread: the thread that entered started a real thread or timer inside; immediately, and at the end if the
            first was swallowed by an operator. `allow_threads()` lifts that.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.threads_allowed = False
        self.dropped: list[dropped.Dropped] = []
        self.late: list[dropped.Dropped] = []
        """Values that came after somebody had unsubscribed: under way, or a source that is deaf."""
        self._delivered: list[Exception] = []
        self.subscriptions: list[leaks.TrackedSubscription] = []
        self._owner = threading.get_ident()
        self._intended: set[threading.Thread] = set()
        self._started: RealThread | None = None

    @property
    def is_owner(self) -> bool:
        """Whether the running thread is the one that entered."""
        return threading.get_ident() == self._owner

    def allow_threads(self) -> None:
        """Allow real threads from here on."""
        self.threads_allowed = True

    def start_thread(self, thread: threading.Thread) -> None:
        """Start an intended thread, without lifting the ban on others."""
        self._intended.add(thread)
        thread.start()

    def __enter__(self) -> Self:
        self._owner = threading.get_ident()
        _patches.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.verify()

    def close(self) -> None:
        """Leave; Rx has its own time back when everybody has left."""
        _patches.leave(self)

    def verify(self) -> None:
        """Fail if a real thread was started, even where an operator swallowed the error."""
        if self._started is not None:
            raise self._started

    def drop(self, kind: str, value: Any, after: str, by: str) -> None:
        """Note a signal that reached nobody."""
        kept = self.dropped if kind == "error" or after == dropped.AFTER_END else self.late
        if len(kept) < dropped.MOST and not is_in_pipeline():  # a run's timeline says what became of it
            line = self.clock.origin or current_line()
            kept.append(dropped.Dropped(self.clock.now_us, kind, value, after, by, line))

    def deliver(self, error: Exception) -> None:
        """Note an error that reached somebody."""
        self._delivered.append(error)

    def lost(self) -> list[dropped.Dropped]:
        """Return the signals that reached nobody, by no other way either."""
        return [each for each in self.dropped if not any(each.value is error for error in self._delivered)]

    def refuse(self, thread: threading.Thread) -> None:
        """Raise for a thread that is not allowed."""
        if self.threads_allowed or thread in self._intended or not self.is_owner:
            return
        what = describe_thread(thread)
        self._started = RealThread(
            f"A real thread was started in virtual time:\n  {what}, by\n  {_starter()}\n"
            "Hand the operator marbles.clock, or none at all;\n"
            "call marbles.allow_threads() if the thread is intended."
        )
        raise self._started


def describe_thread(thread: threading.Thread) -> str:
    """Return a thread's kind, name and work: `Timer "Thread-3" running interval`."""
    work: Any = getattr(thread, "function", None) or getattr(thread, "_target", None)
    return f'{type(thread).__name__} "{thread.name}" running {getattr(work, "__qualname__", work)}'
