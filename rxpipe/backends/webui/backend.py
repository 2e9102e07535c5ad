"""WebUIBackend: the port over a WebUI server's HTTP API.

No server-wide value is changed. An option that a plan overrides is first written with the value that it has, which
puts it into the server's config.json, so that the server restores it; see `options`. A render is one request; disposing
it interrupts the server while our job is the running one.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend, RenderEvent
from rxpipe.backends.http.batches import Batches
from rxpipe.backends.http.call import CallServices, RenderCall, Timeouts, WorkerPool
from rxpipe.backends.http.connection import ConnectionPool
from rxpipe.backends.http.idle import wait_idle, when_settled
from rxpipe.backends.http.stopping import Interrupter
from rxpipe.backends.webui.checks import check_plan, overrides_in
from rxpipe.backends.webui.diagnosis import examine
from rxpipe.backends.webui.hints import HINTS, parse_address
from rxpipe.backends.webui.in_flight import InFlightJobs, WebUIServices
from rxpipe.backends.webui.job import WebUIJob
from rxpipe.backends.webui.leftovers import OpenOptions
from rxpipe.backends.webui.names import ALL_KINDS, NameLookup, WebUICatalog, fetch_catalog
from rxpipe.backends.webui.options import OptionKeeper
from rxpipe.backends.webui.outputs import OutputReader
from rxpipe.backends.webui.progress import ProgressClient
from rxpipe.errors import BackendRejected
from rxpipe.rx.forks import renew_after_fork
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.backends.http.address import Address
    from rxpipe.plan import StageExecution, StageExecutionPlan


class WebUIBackend(Backend):
    """Renders on an AUTOMATIC1111 or Forge server that was started with `--api`.

    Args:
        url: "http://127.0.0.1:7860"; may hold "user:password@" for `--api-auth`.
        auth: "user:password"; None reads RXPIPE_BACKEND_AUTH.
        strict: True makes an error of every silent fallback (another sampler, scheduler or checkpoint than asked for);
            False makes a warning of it.
        previews: whether the picture so far is asked for during the render.
        queue_ahead: further renders that may wait in the server's own queue. With 0 the server idles while a picture
            is transferred and written; 2 helps where it takes longer to encode a picture than to render one.
        poll_s: between two questions for progress, > 0.
        connect_timeout_s: until a connection stands.
        ask_timeout_s: for the answer to a small question.
        stalled_s: without a step until the phase is "stalled".
        silence_s: without any sign of life until a render is abandoned; None for never. An upscaler that counts no
            steps gives none, and waiting in the server's queue does.
        unknown_job_s: a render that the server does not know is abandoned after so long.
        unanswered_s: a render is abandoned when no small question was answered for so long; None for never.
        answer_s: from the head of an answer to its end; one with large pictures is given more.
        grace_s: after a cancel, until the connection is shut down.
        idle_timeout_s: longest wait for the server to be idle after a timeout.
        idle_least_s: a server that has rendered is waited for three times its longest render, and at least so long;
            then that image fails, and the next begins as soon as the server is idle.

    Raises:
        ConfigError: *url* or *auth* is not well-formed. No connection is made before the first use.
    """

    name = "webui"
    batches = True

    def __init__(
        self,
        url: str,
        *,
        auth: str | None = None,
        strict: bool = False,
        previews: bool = True,
        queue_ahead: int = 1,
        poll_s: float = 0.25,
        connect_timeout_s: float = 5.0,
        ask_timeout_s: float = 10.0,
        stalled_s: float = 30.0,
        silence_s: float | None = 1800.0,
        unknown_job_s: float = 60.0,
        unanswered_s: float | None = 180.0,
        answer_s: float = 60.0,
        grace_s: float = 0.5,
        idle_timeout_s: float = 120.0,
        idle_least_s: float = 30.0,
    ) -> None:
        self._address = parse_address(url, auth=auth)
        self.url = self._address.base
        self.description = f"WebUI at {self._address}"
        self.queue_ahead = queue_ahead
        self._strict = strict
        timeouts = Timeouts(poll_s, ask_timeout_s, stalled_s, silence_s, unknown_job_s, unanswered_s, answer_s)
        self._make_services = functools.partial(
            _make_services,
            self._address,
            timeouts,
            connect_timeout_s=connect_timeout_s,
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            idle_least_s=idle_least_s,
            previews=previews,
        )
        self._open()
        self._closed = False
        renew_after_fork(self)

    def _open(self) -> None:
        self._services = self._make_services()
        self._own_clock = WorkerScheduler("rxpipe-webui-emit")
        self._release = weakref.finalize(self, _release, self._services, self._own_clock, wait=False)
        self._release.atexit = False  # a run in progress is cancelled first

    def after_fork(self) -> None:
        """Begin anew in a child process: connections and threads are the parent's."""
        self._release.detach()
        self._open()

    def __repr__(self) -> str:
        return f"WebUIBackend({self._address.base!r})"

    # -- the port -----------------------------------------------------------------------------------------------------

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture; see `Backend.render`. A stage that no WebUI renders ends in BackendRejected."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            if self._closed:
                observer.on_error(BackendRejected(f"{self!r} was closed.", hint="Open another one."))
                return Disposable()
            reader = OutputReader(self._address.base, WebUICatalog(), self._strict)
            job = WebUIJob(self._services, reader, stage, source)
            call = RenderCall(self._services.calls, job, observer, scheduler or self._own_clock)
            call.start()
            return Disposable(call.stop)

        return when_settled(self._services.interrupter, Observable(subscribe), self._own_clock)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Look every name in the plan up at the server.

        Raises:
            BackendUnavailable: no answer.
            BackendRejected: no API, credentials refused, or names that it does not have, each with the nearest match.
        """
        with self._connections.borrowed() as connection:
            catalog, warnings = check_plan(connection, self._services.progress_client, plan, timeout_s=self._ask_s)
        self._services.names.replace(catalog)
        self._services.options.expect(overrides_in(plan, catalog))
        return warnings

    def catalog(self) -> Catalog:
        """Return everything the server lists.

        Raises:
            BackendError: no answer, no API, or credentials refused.
        """
        with self._connections.borrowed() as connection:
            return fetch_catalog(connection, ALL_KINDS, timeout_s=self._ask_s)

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Return what the server has and what is missing; see `Backend.diagnose`."""
        with self._connections.borrowed() as connection:
            options = self._services.options
            return examine(connection, self._address, options, timeout_s=self._ask_s, trial=trial)

    def wait_idle(self) -> Observable[None]:
        """Complete once no interrupted job is known to run or wait; BackendUnavailable after `idle_timeout_s`."""
        return wait_idle(self._services.interrupter, self._own_clock)

    def close(self) -> None:
        """Release connections and threads; waits for an interrupt in progress, at most about the grace time."""
        self._closed = True
        self._release.detach()
        _release(self._services, self._own_clock, wait=True)

    @property
    def _connections(self) -> ConnectionPool:
        return self._services.calls.connections

    @property
    def _ask_s(self) -> float:
        return self._services.calls.timeouts.ask_s


def _make_services(
    address: Address,
    timeouts: Timeouts,
    *,
    connect_timeout_s: float,
    grace_s: float,
    idle_timeout_s: float,
    idle_least_s: float,
    previews: bool,
) -> WebUIServices:
    connections = ConnectionPool(address, hints=HINTS, connect_timeout_s=connect_timeout_s)
    progress_client, ask_s = ProgressClient(), timeouts.ask_s
    return WebUIServices(
        calls=CallServices(
            connections=connections,
            workers=WorkerPool("rxpipe-webui-call"),
            polls=WorkerScheduler("rxpipe-webui-poll"),
            timeouts=timeouts,
        ),
        progress_client=progress_client,
        names=NameLookup(connections, timeout_s=ask_s),
        options=OptionKeeper(progress_client, OpenOptions(address.base), timeout_s=ask_s),
        interrupter=Interrupter(
            connections,
            name="rxpipe-webui",
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            idle_least_s=idle_least_s,
        ),
        in_flight=InFlightJobs(),
        batches=Batches(),
        previews=previews,
    )


def _release(services: WebUIServices, own_clock: WorkerScheduler, *, wait: bool) -> None:
    """Release connections and threads; *wait*: for an interrupt in progress."""
    services.interrupter.close(wait=wait)
    services.calls.workers.close()
    services.calls.polls.close()
    own_clock.close()
    services.calls.connections.close()
    services.batches.wake_all()  # what waits for another image's answer ends with an error
