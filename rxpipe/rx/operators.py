"""Generic Rx operators that know no event of rxpipe: retry_backoff, deadline, lift, observe, barrier, coalesce.

Those with timers use the scheduler given at subscribe, so that a test can replace it. All pass it to their source.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable, SerialDisposable, SingleAssignmentDisposable
from reactivex.scheduler import TimeoutScheduler

from rxpipe.rx.serial import SerialQueue, call_first

if TYPE_CHECKING:
    from collections.abc import Sequence

_T = TypeVar("_T")
_R = TypeVar("_R")

Operator = Callable[[Observable[_T]], Observable[_R]]
DelayOf = Callable[[int, Exception], float | None]


def retry_backoff(
    delays: Iterable[float] | DelayOf,
    *,
    on_retry: Callable[[int, float, Exception], None] | None = None,
    before_retry: Callable[[Exception], Observable[Any]] | None = None,
) -> Operator[_T, _T]:
    """The source, subscribed again after a pause when it fails.

        --#                        delays [2], pause of 2 marbles
            --a|
        ------a|

    Args:
        delays: seconds before the 2nd, 3rd, ... attempt; or a function of the attempt that failed (1..) and its error,
            which gives seconds, or None for no further attempt.
        on_retry: called with the failed attempt, the delay and the error before the pause begins.
        before_retry: an observable of that error that must complete before the pause begins.

    Values pass as they come, those of a failed attempt too. The last error passes when no attempt is left; an error of
    *before_retry*, or raised by any of the three functions, passes at once. Disposing ends the attempt,
    the observable of *before_retry* or the pause, whichever it is at.
    """
    delay_of = _listed(tuple(delays)) if not callable(delays) else delays

    def operator(source: Observable[_T]) -> Observable[_T]:
        def subscribe(observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            retrying = _Retrying(
                source, observer, scheduler=scheduler, delay_of=delay_of, on_retry=on_retry, before_retry=before_retry
            )
            retrying.start()
            return retrying.current

        return Observable(subscribe)

    return operator


def _listed(delays: Sequence[float]) -> DelayOf:
    return lambda attempt, _: delays[attempt - 1] if attempt <= len(delays) else None


class _Retrying:
    """One subscription of `retry_backoff`; `current` holds the attempt, what comes before the pause, or the pause."""

    def __init__(
        self,
        source: Observable[Any],
        observer: abc.ObserverBase[Any],
        *,
        scheduler: abc.SchedulerBase | None,
        delay_of: DelayOf,
        on_retry: Callable[[int, float, Exception], None] | None,
        before_retry: Callable[[Exception], Observable[Any]] | None,
    ) -> None:
        self._source, self._observer, self._scheduler = source, observer, scheduler
        self._delay_of, self._on_retry, self._before_retry = delay_of, on_retry, before_retry
        self._attempt = 0
        self.current = SerialDisposable()

    def start(self, *_: object) -> None:
        self._attempt += 1
        inner = self._new_inner()
        inner.disposable = self._source.subscribe(
            self._observer.on_next, self._failed, self._observer.on_completed, scheduler=self._scheduler
        )

    def _new_inner(self) -> SingleAssignmentDisposable:
        """Where the next subscription goes; in `current` before it begins, as it may be over before it returns."""
        inner = SingleAssignmentDisposable()
        self.current.disposable = inner
        return inner

    def _failed(self, error: Exception) -> None:
        try:
            delay_s = self._delay_of(self._attempt, error)
            preparation = None if delay_s is None else self._prepare(delay_s, error)
        except Exception as raised:  # noqa: BLE001  # user code; it is handed on
            self._observer.on_error(raised)
            return
        if delay_s is None or preparation is None:
            self._observer.on_error(error)
            return
        pause = functools.partial(self._pause, delay_s)
        inner = self._new_inner()
        inner.disposable = preparation.subscribe(
            on_error=self._observer.on_error, on_completed=pause, scheduler=self._scheduler
        )

    def _prepare(self, delay_s: float, error: Exception) -> Observable[Any]:
        if self._on_retry is not None:
            self._on_retry(self._attempt, delay_s, error)
        return rx.empty() if self._before_retry is None else self._before_retry(error)

    def _pause(self, delay_s: float) -> None:
        clock = self._scheduler or TimeoutScheduler.singleton()
        inner = self._new_inner()
        inner.disposable = clock.schedule_relative(delay_s, self.start)


def deadline(seconds: float, error: Callable[[], Exception]) -> Operator[_T, _T]:
    """The source, ended with *error* if it has not ended *seconds* after the subscription.

        --a-----b|                 deadline of 5 marbles
        --a--#

    The source is disposed before the error passes. What *error* raises passes in its place. Source and scheduler may be
    on different threads; never are two notifications delivered at the same time, none follows the end, and no lock is
    held meanwhile: an error that is due while a value is being delivered follows it, on the thread that delivers.
    """

    def operator(source: Observable[_T]) -> Observable[_T]:
        def subscribe(observer: abc.ObserverBase[_T], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            clock = scheduler or TimeoutScheduler.singleton()
            inner = SingleAssignmentDisposable()
            serial = _SerialObserver(observer)

            def late(*_: object) -> None:
                inner.dispose()
                serial.on_error(_made(error))

            timer = clock.schedule_relative(seconds, late)
            inner.disposable = source.subscribe(
                serial.on_next, serial.on_error, serial.on_completed, scheduler=scheduler
            )
            return CompositeDisposable(inner, timer)

        return Observable(subscribe)

    return operator


class _SerialObserver(abc.ObserverBase[Any]):
    """Passes what comes from several threads to an observer, one notification after the other."""

    def __init__(self, observer: abc.ObserverBase[Any]) -> None:
        self._observer = observer
        self._sending: SerialQueue[Callable[[], object]] = SerialQueue(call_first)

    def on_next(self, value: Any) -> None:
        self._sending.put(functools.partial(self._observer.on_next, value))
        self._sending.drain()

    def on_error(self, error: Exception) -> None:
        self._sending.put(functools.partial(self._observer.on_error, error))
        self._sending.drain()

    def on_completed(self) -> None:
        self._sending.put(self._observer.on_completed)
        self._sending.drain()


def _made(error: Callable[[], Exception]) -> Exception:
    try:
        return error()
    except Exception as raised:  # noqa: BLE001  # user code; it is passed on
        return raised


class Handlers(NamedTuple):
    """What an operator does with each notification of its source; what is not given passes to the observer."""

    on_next: Callable[[Any], None] | None = None
    on_completed: Callable[[], None] | None = None
    on_error: Callable[[Exception], None] | None = None


def lift(handlers: Callable[[abc.ObserverBase[Any]], Handlers]) -> Operator[_T, _R]:
    """Make an operator of one source from its handlers, as RxJS's `lift` does.

    Args:
        handlers: called at each subscription with its observer, so that state kept there belongs to one subscription.

    What a handler raises propagates to the source.
    """

    def operator(source: Observable[_T]) -> Observable[_R]:
        def subscribe(
            observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            given = handlers(observer)
            return source.subscribe(
                given.on_next or observer.on_next,
                given.on_error or observer.on_error,
                given.on_completed or observer.on_completed,
                scheduler=scheduler,
            )

        return Observable(subscribe)

    return operator


def observe(
    on_next: Callable[[_T], None] | None = None, on_completed: Callable[[], None] | None = None
) -> Operator[_T, _T]:
    """The source; *on_next* is called with each value, *on_completed* before the end, each before that passes.

    Unlike in RxPY's `do_action` what they raise propagates to the source, and a value that made *on_next* raise does
    not pass.
    """

    def handlers(observer: abc.ObserverBase[_T]) -> Handlers:
        return Handlers(
            on_next and _in_sequence(on_next, observer.on_next),
            on_completed and _in_sequence(on_completed, observer.on_completed),
        )

    return lift(handlers)


def _in_sequence(first: Callable[..., None], second: Callable[..., None]) -> Callable[..., None]:
    def both(*values: Any) -> None:
        first(*values)
        second(*values)

    return both


def barrier(source: Observable[_T]) -> Observable[_T]:
    """All values together when the source completes; none if it fails: `--a--b--|` becomes `--------(ab|)`."""

    def handlers(observer: abc.ObserverBase[_T]) -> Handlers:
        values: list[_T] = []

        def completed() -> None:
            for value in values:
                observer.on_next(value)
            observer.on_completed()

        return Handlers(values.append, completed)

    gathered: Operator[_T, _T] = lift(handlers)
    return gathered(source)


def coalesce(
    period_s: float,
    *,
    key: Callable[[_T], Any],
    passes: Callable[[_T], bool],
    scheduler: abc.SchedulerBase | None = None,
) -> Operator[_T, _T]:
    """Values that must pass immediately and in order; of all others the latest per key and period.

        --s-abc-----e|             period of 5 marbles; s and e pass, a b c share a key
        --s------c--e|

    Args:
        period_s: seconds, > 0, from the first value that waits until those that wait are sent.
        key: what a value replaces: one with an equal key that still waits. Hashable. Called only with values that wait.
        passes: whether a value must neither wait nor be replaced.
        scheduler: times the period; absent: the one given at subscribe.

    Order is kept: what waits is sent before a value that passes, before an error and before the end. Source and
    scheduler may be on different threads; values are then delivered on either, never on both at the same time, and
    no lock is held meanwhile. An error of *key* or *passes* ends the stream. Raises ValueError if period_s <= 0.
    """
    if period_s <= 0:
        raise ValueError(f"period_s must be above 0 seconds, got {period_s!r}")

    def operator(source: Observable[_T]) -> Observable[_T]:
        def subscribe(observer: abc.ObserverBase[_T], given: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            clock = scheduler or given or TimeoutScheduler.singleton()
            waiting = _Coalescing(observer, clock, period_s, key, passes)
            inner = source.subscribe(waiting.on_next, waiting.on_error, waiting.on_completed, scheduler=given)
            return CompositeDisposable(inner, waiting)

        return Observable(subscribe)

    return operator


class _Coalescing(abc.DisposableBase):
    """One subscription of `coalesce`. The lock guards what waits and the order of what is sent, never a delivery."""

    def __init__(
        self,
        observer: abc.ObserverBase[Any],
        clock: abc.SchedulerBase,
        period_s: float,
        key: Callable[[Any], Any],
        passes: Callable[[Any], bool],
    ) -> None:
        self._observer, self._clock, self._period_s = observer, clock, period_s
        self._key, self._passes = key, passes
        self._lock = threading.Lock()
        self._waiting: dict[Any, Any] = {}  # by age of the value, so that the keys keep their order too
        self._timer: SingleAssignmentDisposable | None = None
        self._sending: SerialQueue[Callable[[], object]] = SerialQueue(call_first)
        self._disposed = False

    def on_next(self, value: Any) -> None:
        try:
            key = None if self._passes(value) else (self._key(value),)
        except Exception as error:  # noqa: BLE001  # user code; it is passed on
            self.on_error(error)
            return
        if key is None:
            self._send(functools.partial(self._observer.on_next, value))
        else:
            self._wait(key, value)

    def on_error(self, error: Exception) -> None:
        self._send(functools.partial(self._observer.on_error, error))

    def on_completed(self) -> None:
        self._send(self._observer.on_completed)

    def dispose(self) -> None:
        with self._lock:
            self._disposed = True
            self._waiting.clear()
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.dispose()

    def _wait(self, key: tuple[Any], value: Any) -> None:
        with self._lock:
            self._waiting.pop(key, None)
            self._waiting[key] = value
            if self._timer is not None or self._disposed:
                return
            timer = self._timer = SingleAssignmentDisposable()
        timer.disposable = self._clock.schedule_relative(self._period_s, lambda *_: self._due(timer))

    def _due(self, timer: SingleAssignmentDisposable) -> None:
        with self._lock:
            if self._timer is not timer:  # what it was started for has been sent already
                return
            self._send_waiting()
        self._sending.drain()

    def _send(self, last: Callable[[], object]) -> None:
        with self._lock:
            timer = self._send_waiting()
            self._sending.put(last)
        if timer is not None:
            timer.dispose()
        self._sending.drain()

    def _send_waiting(self) -> SingleAssignmentDisposable | None:
        for value in self._waiting.values():
            self._sending.put(functools.partial(self._observer.on_next, value))
        self._waiting.clear()
        timer, self._timer = self._timer, None
        return timer
