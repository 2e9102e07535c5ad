"""Waiting until a server is idle again, on the subscriber's scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rxpipe.errors import BackendUnavailable
from rxpipe.rx.worker import elapsed_s

if TYPE_CHECKING:
    from reactivex import abc

    from rxpipe.backends.http.stopping import Interrupter

_LOOK_S = 0.05


def wait_idle(interrupter: Interrupter, default_clock: abc.SchedulerBase) -> Observable[None]:
    """Return an observable that completes once no stopped job is known to run or wait.

    Its error is BackendUnavailable, after the interrupter's `idle_timeout_s` or for a job that was not seen gone.

    Args:
        interrupter: that stopped the jobs.
        default_clock: used where no scheduler is given to subscribe.
    """

    def subscribe(observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        return _IdleWait(interrupter, observer, scheduler or default_clock).start()

    return Observable(subscribe)


class _IdleWait:
    """Looks repeatedly whether all stopped jobs are gone."""

    def __init__(self, interrupter: Interrupter, observer: abc.ObserverBase[None], clock: abc.SchedulerBase) -> None:
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
        limit_s = self._interrupter.idle_timeout_s
        if self._interrupter.pending and self._now_s - self._begin_s < limit_s:
            self._next.disposable = self._clock.schedule_relative(_LOOK_S, self._look)
        elif self._interrupter.pending or self._interrupter.abandoned:
            self._interrupter.reset_abandoned()
            self._observer.on_error(
                BackendUnavailable(
                    f"the server was not seen idle within {limit_s:g} s after an interrupt.",
                    hint="Nothing was sent again, so that it does not pile up there; see the server's console.",
                )
            )
        else:
            self._observer.on_completed()
