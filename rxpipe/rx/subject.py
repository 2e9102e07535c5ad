"""EventSubject: many writers, many readers, one order.

RxPY's Subject lets a raising subscriber throw into the producer, lets nested and concurrent calls reorder and overlap,
and dies with the first completion forwarded into it. Here a deque has one drainer at a time, subscribers are isolated,
no lock is held during a callback, and no value ever ends the stream.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from reactivex import Observable
from reactivex.disposable import BooleanDisposable, CompositeDisposable, Disposable

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

_T = TypeVar("_T")


class EventSubject(Generic[_T]):
    """A hot stream that is written from any thread and read in one order by all.

    Values are delivered on the thread that finds nobody else delivering; a nested or concurrent `on_next` returns at
    once and its value follows in turn. A subscriber whose `on_next` raises is unsubscribed, as Rx has it, and its
    exception is handed to *report* once; the writer and the other subscribers never see it.

    Args:
        replay_latest: a new subscriber first gets the latest value, if there is one, and misses none after it.
        report: called with what a subscriber raised; by default the traceback goes to `sys.excepthook`.
    """

    def __init__(self, *, replay_latest: bool = False, report: Callable[[BaseException], None] | None = None) -> None:
        self._queue: deque[tuple[_T] | Callable[[], None]] = deque()
        self._drain_lock = threading.Lock()
        self._observers_lock = threading.Lock()
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()
        self._replay_latest = replay_latest
        self._latest: tuple[_T] | None = None
        self._report = to_excepthook if report is None else report
        self._deliverer = 0
        self.observable: Observable[_T] = Observable(self._subscribe)

    @property
    def subscribers(self) -> int:
        """How many are subscribed by now."""
        return len(self._observers)

    @property
    def is_delivering_here(self) -> bool:
        """Whether the caller is inside a subscriber's callback, on the thread that delivers."""
        return self._deliverer == get_ident()

    def on_next(self, value: _T) -> None:
        """Deliver *value* to all, after everything that was handed in before it."""
        self._queue.append((value,))
        self.drain()

    def enqueue(self, value: _T) -> None:
        """Take *value* into the order without delivering it; `drain` does. For writers who hold a lock of their own."""
        self._queue.append((value,))

    def call_when_drained(self, action: Callable[[], None]) -> None:
        """Call *action* once everything handed in before it has been delivered. It must not raise."""
        self._queue.append(action)
        self.drain()

    def drain(self) -> None:
        """Deliver what waits, unless somebody is at it already, who will then deliver this too."""
        queue, drain_lock = self._queue, self._drain_lock
        while queue and drain_lock.acquire(False):
            self._deliverer = get_ident()
            try:
                while queue:
                    self._deliver(queue.popleft())
            finally:
                self._deliverer = 0
                drain_lock.release()

    def _deliver(self, item: tuple[_T] | Callable[[], None]) -> None:
        if not isinstance(item, tuple):
            item()
            return
        self._latest = item if self._replay_latest else None
        value = item[0]
        for observer in self._observers:
            try:
                observer.on_next(value)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's function; it is handed on
                self._fail(observer, error)

    def _subscribe(self, observer: abc.ObserverBase[_T], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        left = BooleanDisposable()
        if self._replay_latest:
            # In order, so that no value is missed or seen twice.
            self.call_when_drained(lambda: self._admit(observer, left))
        else:
            self._add(observer, left)
        return CompositeDisposable(left, Disposable(lambda: self._remove(observer)))

    def _admit(self, observer: abc.ObserverBase[_T], left: BooleanDisposable) -> None:
        self._add(observer, left)
        if self._latest is not None:
            try:
                observer.on_next(self._latest[0])
            except (Exception, SystemExit) as error:  # noqa: BLE001  # a stranger's function; it is handed on
                self._fail(observer, error)

    def _add(self, observer: abc.ObserverBase[_T], left: BooleanDisposable) -> None:
        with self._observers_lock:
            if not left.is_disposed:  # it may have unsubscribed before its turn to be admitted came
                self._observers = (*self._observers, observer)

    def _remove(self, observer: abc.ObserverBase[_T]) -> None:
        with self._observers_lock:
            self._observers = tuple(other for other in self._observers if other is not observer)

    def _fail(self, observer: abc.ObserverBase[_T], error: BaseException) -> None:
        self._remove(observer)
        self._report(error)


def to_excepthook(error: BaseException) -> None:
    """Report what nobody else would see: by default its traceback on stderr."""
    sys.excepthook(type(error), error, error.__traceback__)
