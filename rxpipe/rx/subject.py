"""EventSubject: many writers, many readers, one order.

RxPY's Subject lets a raising subscriber throw into the producer, lets nested and concurrent calls reorder and overlap,
and dies with the first completion forwarded into it. Here one thread at a time delivers, subscribers are isolated, no
lock is held during a callback, and no value ever ends the stream.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Generic, TypeVar

from reactivex import Observable
from reactivex.disposable import BooleanDisposable, CompositeDisposable, Disposable

from rxpipe.rx.serial import SerialQueue

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Iterator

    from reactivex import abc

_T = TypeVar("_T")


class EventSubject(Generic[_T]):
    """A hot stream that is written from any thread and read in one order by all.

    Values are delivered on the thread that finds no other one delivering; a nested or concurrent `on_next` returns
    immediately, and its value follows in order. A subscriber whose `on_next` raises is unsubscribed, as Rx has it, and
    its exception is passed to *report* once; the writer and the other subscribers never see it. A KeyboardInterrupt
    propagates to the writer and costs no subscriber a value, except the one in whose callback it was raised: the next
    `drain` or `on_next` goes on with the subscriber after that one.

    Args:
        replay_latest: a new subscriber first gets the latest value, if there is one, and misses none after it.
        report: called with what a subscriber raised; by default the traceback goes to `sys.excepthook`.
    """

    def __init__(self, *, replay_latest: bool = False, report: Callable[[BaseException], None] | None = None) -> None:
        self._queue: SerialQueue[tuple[_T] | Callable[[], None]] = SerialQueue(self._deliver_first)
        self._delivery: tuple[tuple[_T], Iterator[abc.ObserverBase[_T]]] | None = None
        self._observers_lock = threading.Lock()
        self._observers: tuple[abc.ObserverBase[_T], ...] = ()
        self._replay_latest = replay_latest
        self._latest: tuple[_T] | None = None
        self._report = to_excepthook if report is None else report
        self.observable: Observable[_T] = Observable(self._subscribe)

    @property
    def subscribers(self) -> int:
        """How many subscribers there are."""
        return len(self._observers)

    @property
    def is_delivering_here(self) -> bool:
        """Whether the caller is inside a subscriber's callback, on the thread that delivers."""
        return self._queue.is_draining_here

    def on_next(self, value: _T) -> None:
        """Deliver *value* to all, after everything that was handed in before it."""
        self._queue.put((value,))
        self._queue.drain()

    def enqueue(self, value: _T) -> None:
        """Take *value* into the order without delivering it; `drain` does. For writers who hold a lock of their own."""
        self._queue.put((value,))

    def call_when_drained(self, action: Callable[[], None]) -> None:
        """Call *action* once everything handed in before it has been delivered; again if an interrupt cut it short.

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
        if isinstance(item, tuple):
            self._deliver(item)
        else:
            self._call(item)
        waiting.popleft()
        self._delivery = None

    def _deliver(self, item: tuple[_T]) -> None:
        delivery = self._delivery
        if delivery is None or delivery[0] is not item:
            self._latest = item if self._replay_latest else None
            delivery = self._delivery = (item, iter(self._observers))
        value = item[0]
        for observer in delivery[1]:
            try:
                observer.on_next(value)
            except (Exception, SystemExit) as error:  # noqa: BLE001  # user code; it is passed on
                self._fail(observer, error)

    def _call(self, action: Callable[[], None]) -> None:
        try:
            action()
        except (Exception, SystemExit) as error:  # noqa: BLE001  # raised again it would be called again, for ever
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


def to_excepthook(error: BaseException) -> None:
    """Report an error that no caller receives: by default its traceback on stderr."""
    sys.excepthook(type(error), error, error.__traceback__)
