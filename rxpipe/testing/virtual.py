"""Make a clock the default of Rx: operators that are handed no scheduler run on it, and real threads are named.

RxPY's operators fall back to process-wide singletons; `VirtualTime` swaps those for the length of a `with`.
The surprise: a thread started by the test's own thread raises immediately, and again at the end if that was swallowed.
"""

from __future__ import annotations

import threading
import traceback
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self, TypeVar
from unittest.mock import patch

from reactivex.observable import marbles as rx_marbles
from reactivex.operators import _tomarbles as rx_tomarbles
from reactivex.scheduler import CurrentThreadScheduler, TimeoutScheduler
from reactivex.scheduler.scheduleditem import ScheduledItem
from reactivex.scheduler.trampoline import Trampoline
from reactivex.scheduler.trampolinescheduler import TrampolineScheduler

from rxpipe.errors import RxPipeError
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import TracebackType

    from reactivex import abc, typing

    from rxpipe.testing.clock import VirtualClock

__tracebackhide__ = True  # pytest shows the test's line, not ours

State = TypeVar("State")
_SCHEDULING = ("schedule", "schedule_relative", "schedule_absolute")


class RealThread(RxPipeError, AssertionError):
    """A real thread or timer was started where all time is virtual."""


class _VirtualCurrentThread(TrampolineScheduler):
    """The trampoline of each thread as Rx has it, with virtual time; the clock runs what is delayed."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock = clock
        self._local = threading.local()

    @property
    def now(self) -> datetime:
        return self._clock.now

    def get_trampoline(self) -> Trampoline:
        trampoline: Trampoline | None = getattr(self._local, "trampoline", None)
        if trampoline is None:
            trampoline = self._local.trampoline = Trampoline()
        return trampoline

    def schedule(self, action: abc.ScheduledAction[State], state: State | None = None) -> abc.DisposableBase:
        self._clock.count_action(action)
        item = ScheduledItem(self, state, action, self._clock.now)
        self.get_trampoline().run(item)
        return item.disposable

    def schedule_relative(
        self, duetime: typing.RelativeTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        if self.to_seconds(duetime) > 0:
            return self._clock.schedule_relative(duetime, action, state)
        return self.schedule(action, state)

    def schedule_absolute(
        self, duetime: typing.AbsoluteTime, action: abc.ScheduledAction[State], state: State | None = None
    ) -> abc.DisposableBase:
        return self.schedule_relative(self.to_datetime(duetime) - self.now, action, state)


INSIDE = ("/threading.py", "/reactivex/", "/concurrent/futures/", "/rxpipe/testing/")


def _starter() -> str:
    """Return the nearest line that led to a thread and is neither threading's nor Rx's nor ours."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if not any(inside in path for inside in INSIDE):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "unknown"  # pragma: no cover - only if the interpreter keeps no frames


class VirtualTime:
    """For the length of a `with`, *clock* is the time of every operator that is handed no scheduler.

    Raises:
        RealThread: the thread that entered started a real thread or timer inside; immediately, and at the end if the
            first was swallowed by an operator. `allow_threads()` lifts that.
    """

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self._stack = ExitStack()
        self._owner = threading.get_ident()
        self._allowed = False
        self._started: RealThread | None = None
        self._start = threading.Thread.start

    def allow_threads(self) -> None:
        """Allow real threads from here on."""
        self._allowed = True

    def start_thread(self, thread: threading.Thread) -> None:
        """Start an intended thread, without lifting the ban on others."""
        self._start(thread)

    def __enter__(self) -> Self:
        current = _VirtualCurrentThread(self.clock)
        self._owner = threading.get_ident()
        start, refuse = self._start, self._refuse

        def guarded(thread: threading.Thread) -> None:
            refuse(thread)
            start(thread)

        for target, name, new in (
            (TimeoutScheduler, "singleton", lambda: self.clock),
            (CurrentThreadScheduler, "singleton", lambda: current),
            (rx_marbles, "new_thread_scheduler", self.clock),
            (rx_tomarbles, "new_thread_scheduler", self.clock),
            (threading.Thread, "start", guarded),
            *((WorkerScheduler, name, self._worker_method(name)) for name in _SCHEDULING),
            (WorkerScheduler, "now", property(self._worker_now())),
        ):
            self._stack.enter_context(patch.object(target, name, new))
        return self

    def _worker_now(self) -> Callable[[WorkerScheduler], datetime]:
        real = vars(WorkerScheduler)["now"].fget
        return lambda worker: real(worker) if self._allowed else self.clock.now

    def _worker_method(self, name: str) -> Callable[..., Any]:
        """Return a worker's method, on the clock: what makes itself a worker is in virtual time too."""
        real = getattr(WorkerScheduler, name)

        def method(worker: WorkerScheduler, *args: Any, **more: Any) -> Any:
            return real(worker, *args, **more) if self._allowed else getattr(self.clock, name)(*args, **more)

        return method

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None:
            self.verify()

    def close(self) -> None:
        """Restore the time of Rx."""
        self._stack.close()

    def verify(self) -> None:
        """Fail if a real thread was started, even where an operator swallowed the error."""
        if self._started is not None:
            raise self._started

    def _refuse(self, thread: threading.Thread) -> None:
        if self._allowed or threading.get_ident() != self._owner:
            return
        what = describe_thread(thread)
        self._started = RealThread(
            f"A real thread was started in virtual time: {what}, by\n  {_starter()}\n"
            "Hand the operator marbles.clock, or none at all; call marbles.allow_threads() if the thread is intended."
        )
        raise self._started


def describe_thread(thread: threading.Thread) -> str:
    """Return a thread's kind, name and work: `Timer "Thread-3" running interval`."""
    work: Any = getattr(thread, "function", None) or getattr(thread, "_target", None)
    return f'{type(thread).__name__} "{thread.name}" running {getattr(work, "__qualname__", work)}'
