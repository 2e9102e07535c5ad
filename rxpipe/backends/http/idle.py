"""Waiting until a server is idle again, on the subscriber's scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar, cast

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rxpipe.errors import BackendUnavailable
from rxpipe.rx.worker import elapsed_s

if TYPE_CHECKING:
    from reactivex import abc

    from rxpipe.backends.http.stopping import Interrupter

_T = TypeVar("_T")
_LOOK_S = 0.05
_HINT = "Nothing was sent again, so that it does not pile up there; see the server's console."


def wait_idle(
    interrupter: Interrupter, default_clock: abc.SchedulerBase, *, retryable: bool = True
) -> Observable[None]:
    """Return an observable that completes once no stopped job is known to run or wait.

    Its error is BackendUnavailable: of scope "image" after the interrupter's `idle_limit_s`, of scope "run" after
    `idle_timeout_s` or for a job that was not seen gone.

    Args:
        interrupter: that stopped the jobs.
        default_clock: used where no scheduler is given to subscribe.
        retryable: whether its error is.
    """

    def subscribe(observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        return _IdleWait(interrupter, observer, scheduler or default_clock, retryable=retryable).start()

    return Observable(subscribe)


def when_settled(interrupter: Interrupter, render: Observable[_T], default_clock: abc.SchedulerBase) -> Observable[_T]:
    """Return *render*; where the server is known to hang in a stopped job, it begins once that is gone.

    So nothing is sent behind a job that nothing stops, and the first image after it has ended is rendered. Its error is
    that of `wait_idle`, and no retry heals it.
    """

    def begun(_: abc.SchedulerBase) -> Observable[_T]:
        if not interrupter.hangs:
            return render
        waiting = wait_idle(interrupter, default_clock, retryable=False)
        return rx.concat(cast("Observable[_T]", waiting), render)  # it has no elements

    return rx.defer(begun)


class _IdleWait:
    """Looks repeatedly whether all stopped jobs are gone."""

    def __init__(
        self, interrupter: Interrupter, observer: abc.ObserverBase[None], clock: abc.SchedulerBase, *, retryable: bool
    ) -> None:
        self._retryable = retryable
        self._interrupter = interrupter
        self._observer = observer
        self._clock = clock
        self._begin_s = self._now_s
        self._next = SerialDisposable()

    @property
    def _now_s(self) -> float:
        return elapsed_s(self._clock)

    def start(self) -> abc.DisposableBase:
        """Look for the first time."""
        self._next.disposable = self._clock.schedule(self._look)
        return self._next

    def _look(self, *_: object) -> None:
        interrupter = self._interrupter
        limit_s = interrupter.idle_limit_s
        if interrupter.pending and self._now_s - self._begin_s < limit_s:
            self._next.disposable = self._clock.schedule_relative(_LOOK_S, self._look)
        elif not interrupter.pending and not interrupter.abandoned:
            self._observer.on_completed()
        else:
            for_good = bool(interrupter.abandoned) or limit_s >= interrupter.idle_timeout_s
            interrupter.note_hang()
            error = BackendUnavailable(
                f"the server was not seen idle within {limit_s:g} s after an interrupt.",
                hint=_HINT,
                scope="run" if for_good else "image",
            )
            error.retryable = self._retryable
            self._observer.on_error(error)
