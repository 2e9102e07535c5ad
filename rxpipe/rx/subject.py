"""EventSubject: many writers, many readers, one order.

RxPY's Subject lets a raising subscriber throw into the producer, lets nested and concurrent calls reorder and overlap,
and dies with the first completion forwarded into it. Here one thread at a time delivers, subscribers are isolated, no
lock is held during a callback, and no value ever ends the stream.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import BooleanDisposable, CompositeDisposable, Disposable

from rxpipe.rx.serial import SerialQueue

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator


_T = TypeVar("_T")
_R = TypeVar("_R")


class EventSubject(Generic[_T]):
    """A hot stream that is written from any thread and read in one order by all.

    Values are delivered on the thread that finds no other one delivering; a nested or concurrent `on_next` returns
    immediately, and its value follows in order. A subscriber whose `on_next` raises is unsubscribed, as Rx has it, and
    its exception is passed to *report* once; the writer and the other subscribers never see it. A KeyboardInterrupt
    propagates to the writer and costs no subscriber a value, except the one in whose callback it was raised: the next
    `drain` or `on_next` continues with the subscriber after that one.

    Args:
        replay_latest: a new subscriber first gets the latest value, if there is one, and misses none after it.
        report: called with what a subscriber raised; by default the traceback goes to `sys.excepthook`.
    """

    def __init__(self, *, replay_latest: bool = False, report: Callable[[BaseException], None] | None = None) -> None:
        self._queue: SerialQueue[tuple[_T] | Callable[[], None]] = SerialQueue(self._deliver_first)
        self._delivering: tuple[_T] | None = None
        self._to_come: Iterator[abc.ObserverBase[_T]] = iter(())
        self._observers_lock = threading.Lock()
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()
        self._replay_latest = replay_latest
        self._latest: tuple[_T] | None = None
        self._report = to_excepthook if report is None else report
        self.observable: Observable[_T] = Observable(self._subscribe)

    def select(self, part: Callable[[_T], _R]) -> Observable[_R]:
        """Return the stream of a part of each value; cheaper than mapping `observable`, and as isolated."""

        def subscribe(observer: abc.ObserverBase[_R], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            return self._subscribe(_Selected(observer, part))

        return Observable(subscribe)

    @property
    def subscribers(self) -> int:
        """How many subscribers there are."""
        return len(self._observers)

    @property
    def is_delivering_here(self) -> bool:
        """Whether the caller is inside a subscriber's callback, on the thread that delivers."""
        return self._queue.is_draining_here

    def on_next(self, value: _T) -> None:
        """Deliver *value* to all, after everything that was put in before it."""
        self._queue.put((value,))
        self._queue.drain()

    def enqueue(self, value: _T) -> None:
        """Put *value* in without delivering it, which `drain` does. For writers that hold a lock meanwhile."""
        self._queue.put((value,))

    def call_when_drained(self, action: Callable[[], None]) -> None:
        """Call *action* once everything put in before it has been delivered; again if an interrupt cut it short.

        What it raises is passed to *report*.
        """
        self._queue.put(action)
        self._queue.drain()

    def drain(self) -> None:
        """Deliver what waits, unless another thread does so already, which then delivers this too."""
        self._queue.drain()

    def _deliver_first(self, waiting: deque[tuple[_T] | Callable[[], None]]) -> None:
        """Deliver the first item and remove it; an interrupt leaves it there, with the subscribers still to come."""
        item = waiting[0]
        if not isinstance(item, tuple):
            self._call(item)
            waiting.popleft()
            return
        if item is not self._delivering:  # else a delivery of it was interrupted
            self._latest = item if self._replay_latest else None
            self._to_come = iter(self._observers)
            self._delivering = item
        for observer in self._to_come:
            try:
                observer.on_next(item[0])
            except (Exception, SystemExit) as error:  # noqa: BLE001  # user code; it is passed on
                self._fail(observer, error)
        waiting.popleft()
        self._delivering = None

    def _call(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # if it propagated, the action would be called for ever
            self._report(error)

    def _subscribe(self, observer: abc.ObserverBase[_T], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        left = BooleanDisposable()
        if self._replay_latest:
            # In order, so that no value is missed or seen twice.
            self.call_when_drained(lambda: self._admit(observer, left))
        else:
            self._add(observer, left)
        return CompositeDisposable(left, Disposable(lambda: self._remove(observer)))

    def _admit(self, observer: abc.ObserverBase[_T], left: BooleanDisposable) -> None:
        if self._add(observer, left) and self._latest is not None:
            try:
                observer.on_next(self._latest[0])
            except (Exception, SystemExit) as error:  # noqa: BLE001  # user code; it is passed on
                self._fail(observer, error)

    def _add(self, observer: abc.ObserverBase[_T], left: BooleanDisposable) -> bool:
        """Add *observer*; False if it has unsubscribed in the meantime, or was added by a call that was interrupted."""
        with self._observers_lock:
            if left.is_disposed or observer in self._observers:
                return False
            self._observers = (*self._observers, observer)
            return True

    def _remove(self, observer: abc.ObserverBase[_T]) -> None:
        with self._observers_lock:
            self._observers = tuple(other for other in self._observers if other is not observer)

    def _fail(self, observer: abc.ObserverBase[_T], error: BaseException) -> None:
        self._remove(observer)
        self._report(error)


class _Selected(abc.ObserverBase[Any]):
    """Passes a part of each value on."""

    __slots__ = ("_on_next", "_part")

    def __init__(self, observer: abc.ObserverBase[Any], part: Callable[[Any], Any]) -> None:
        self._on_next, self._part = observer.on_next, part

    def on_next(self, value: Any) -> None:
        self._on_next(self._part(value))

    def on_error(self, error: Exception) -> None:
        raise NotImplementedError  # no value of a subject ends the stream

    def on_completed(self) -> None:
        raise NotImplementedError


def to_excepthook(error: BaseException) -> None:
    """Report an error that no caller receives: by default its traceback on stderr."""
    sys.excepthook(type(error), error, error.__traceback__)
