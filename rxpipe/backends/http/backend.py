"""HTTPBackend: what the backends of all kinds of servers do alike, from the first thread to the last.

A subclass gives a `HTTPServices` of its own and a `RenderJob` for every image; it checks plans and lists names itself.
"""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend, RenderEvent
from rxpipe.backends.http.call import CallServices, RenderCall, RenderJob, Timeouts, WorkerPool
from rxpipe.backends.http.connection import ConnectionPool
from rxpipe.backends.http.idle import wait_idle
from rxpipe.errors import BackendRejected
from rxpipe.rx.forks import renew_after_fork
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.backends.http.address import Address
    from rxpipe.backends.http.failures import ErrorHints
    from rxpipe.backends.http.stopping import Interrupter


@dataclass(frozen=True, slots=True, kw_only=True)
class HTTPServices:
    """What all jobs of a backend share. previews: whether the picture so far is asked for."""

    calls: CallServices
    interrupter: Interrupter
    previews: bool

    def close(self, *, wait: bool) -> None:
        """Release connections and threads; *wait*: for an interrupt in progress, at most about the grace time."""
        self.interrupter.close(wait=wait)
        self.calls.workers.close()
        self.calls.polls.close()
        self.calls.connections.close()
        self.close_own()

    def close_own(self) -> None:
        """Release what only this kind of server needs."""


def open_calls(
    name: str, address: Address, timeouts: Timeouts, *, hints: ErrorHints, connect_timeout_s: float
) -> CallServices:
    """Return what calls need, connected to nothing yet. *name* is part of the names of its threads."""
    return CallServices(
        connections=ConnectionPool(address, hints=hints, connect_timeout_s=connect_timeout_s),
        workers=WorkerPool(f"rxpipe-{name}-call"),
        polls=WorkerScheduler(f"rxpipe-{name}-poll"),
        timeouts=timeouts,
    )


ServicesT = TypeVar("ServicesT", bound=HTTPServices)


class HTTPBackend(Backend, Generic[ServicesT]):
    """Renders on a server, each image by a call of its own.

    Threads and connections are released by `close`, and with the last reference to the backend. A child process gets
    its own.

    Args:
        address: of the server.
        make_services: called now, and again in every child process; it must not hold the backend.
    """

    def __init__(self, address: Address, make_services: Callable[[], ServicesT]) -> None:
        self._address = address
        self.url = address.base
        self._make_services = make_services
        self._closed = False
        self._open()
        renew_after_fork(self)

    def _open(self) -> None:
        self._services = self._make_services()
        self._own_clock = WorkerScheduler(f"rxpipe-{self.name}-emit")
        self._release = weakref.finalize(self, _release, self._services, self._own_clock, wait=False)
        self._release.atexit = False  # a run in progress is cancelled first

    def after_fork(self) -> None:
        """Begin anew in a child process: connections and threads are the parent's."""
        self._release.detach()
        self._open()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.base!r})"

    def wait_idle(self) -> Observable[None]:
        """Complete once no interrupted job is known to run or wait; BackendUnavailable after `idle_timeout_s`."""
        return wait_idle(self._services.interrupter, self._own_clock)

    def close(self) -> None:
        """Release connections and threads; waits for an interrupt in progress, at most about the grace time."""
        self._closed = True
        self._release.detach()
        _release(self._services, self._own_clock, wait=True)

    def _render(self, make_job: Callable[[], RenderJob[Any]]) -> Observable[RenderEvent]:
        """Return what calls of *make_job*'s jobs emit: one job and one call for each subscription."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            if self._closed:
                observer.on_error(BackendRejected(f"{self!r} was closed.", hint="Open another one."))
                return Disposable()
            call = RenderCall(self._services.calls, make_job(), observer, scheduler or self._own_clock)
            call.start()
            return Disposable(call.stop)

        return Observable(subscribe)

    @property
    def _connections(self) -> ConnectionPool:
        return self._services.calls.connections

    @property
    def _ask_s(self) -> float:
        return self._services.calls.timeouts.ask_s


def _release(services: HTTPServices, own_clock: WorkerScheduler, *, wait: bool) -> None:
    services.close(wait=wait)
    own_clock.close()
