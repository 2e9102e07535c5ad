"""ComfyUIBackend: the port over a ComfyUI server's HTTP API and its websocket.

A render is one job in the server's queue; disposing it cancels exactly that one. Nothing stays on the server: pictures
are previews in its temporary folder, and the job's history is deleted.
"""

from __future__ import annotations

import functools
import weakref
from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend, RenderEvent
from rxpipe.backends.comfyui.checks import check_plan
from rxpipe.backends.comfyui.diagnosis import examine
from rxpipe.backends.comfyui.export import exported
from rxpipe.backends.comfyui.hints import HINTS, parse_address
from rxpipe.backends.comfyui.job import ComfyJob, ComfyServices
from rxpipe.backends.comfyui.knowledge import Knowledge
from rxpipe.backends.comfyui.listener import Listener
from rxpipe.backends.comfyui.sent import OurJobs
from rxpipe.backends.http.call import CallServices, RenderCall, Timeouts, WorkerPool
from rxpipe.backends.http.connection import ConnectionPool
from rxpipe.backends.http.idle import wait_idle
from rxpipe.backends.http.stopping import Interrupter
from rxpipe.errors import BackendRejected
from rxpipe.rx.forks import renew_after_fork
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.backends.http.address import Address
    from rxpipe.plan import StageExecution, StageExecutionPlan


class ComfyUIBackend(Backend):
    """Renders on a ComfyUI server.

    Args:
        url: "http://127.0.0.1:8188" or "comfyui://host:port"; may hold "user:password@" for a proxy in front.
        auth: "user:password" or "bearer:TOKEN"; None reads RXPIPE_BACKEND_AUTH.
        headers: sent with every request and with the websocket, for a proxy.
        previews: whether the picture so far is asked for during the render.
        queue_ahead: further jobs that may wait in the server's queue, 0 or 1. With 0 the server idles while a picture
            is transferred and written.
        poll_s: between two looks at a job of which nothing is heard, > 0.
        connect_timeout_s: until a connection stands.
        ask_timeout_s: for the answer to a small question.
        stalled_s: without a sign of life until the phase is "stalled".
        silence_s: without any sign of life until a render is abandoned; None for never.
        unanswered_s: a render is abandoned when no question was answered for so long; None for never.
        answer_s: for an upload, and from the head of an answer to its end; one with large pictures is given more.
        grace_s: after a cancel, until the job is followed in the background only.
        idle_timeout_s: longest wait for the server to be idle after a timeout.

    Raises:
        ConfigError: *url*, *auth* or *headers* is not well-formed. No connection is made before the first use.
    """

    name = "comfyui"

    def __init__(
        self,
        url: str,
        *,
        auth: str | None = None,
        headers: Mapping[str, str] | None = None,
        previews: bool = True,
        queue_ahead: int = 1,
        poll_s: float = 0.25,
        connect_timeout_s: float = 5.0,
        ask_timeout_s: float = 10.0,
        stalled_s: float = 30.0,
        silence_s: float | None = 1800.0,
        unanswered_s: float | None = 180.0,
        answer_s: float = 60.0,
        grace_s: float = 0.5,
        idle_timeout_s: float = 120.0,
    ) -> None:
        self._address = parse_address(url, auth=auth, headers=headers)
        self.url = self._address.base
        self.description = f"ComfyUI at {self._address}"
        self.queue_ahead = queue_ahead
        timeouts = Timeouts(poll_s, ask_timeout_s, stalled_s, silence_s, float("inf"), unanswered_s, answer_s)
        self._make_services = functools.partial(
            _make_services,
            self._address,
            timeouts,
            connect_timeout_s=connect_timeout_s,
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            previews=previews,
        )
        self._open()
        self._closed = False
        renew_after_fork(self)

    def _open(self) -> None:
        self._services = self._make_services()
        self._own_clock = WorkerScheduler("rxpipe-comfyui-emit")
        self._release = weakref.finalize(self, _release, self._services, self._own_clock, wait=False)
        self._release.atexit = False  # a run in progress is cancelled first

    def after_fork(self) -> None:
        """Begin anew in a child process: connections and threads are the parent's."""
        self._release.detach()
        self._open()

    def __repr__(self) -> str:
        return f"ComfyUIBackend({self._address.base!r})"

    # -- the port -----------------------------------------------------------------------------------------------------

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture; see `Backend.render`. A stage that no graph renders ends in BackendRejected."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            if self._closed:
                observer.on_error(BackendRejected(f"{self!r} was closed.", hint="Open another one."))
                return Disposable()
            job = ComfyJob(self._services, stage, source)
            call = RenderCall(self._services.calls, job, observer, scheduler or self._own_clock)
            call.start()
            return Disposable(call.stop)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Look every name and every node of the plan up at the server.

        Raises:
            BackendUnavailable: no answer.
            BackendRejected: no ComfyUI, credentials refused, or what it does not have, each with the nearest match.
        """
        with self._connections.borrowed() as connection:
            return check_plan(connection, self._services.knowledge, plan)

    def catalog(self) -> Catalog:
        """Return everything the server lists, by A1111's names.

        Raises:
            BackendError: no answer, no ComfyUI, or credentials refused.
        """
        with self._connections.borrowed() as connection:
            return self._services.knowledge.refresh(connection).catalog

    def export(self, plan: StageExecutionPlan) -> tuple[Nodes, list[str]]:
        """Return the stages of a plan as one graph by the server's names, and warnings about what it cannot say.

        Raises:
            BackendError: no answer, or what the server does not have.
        """
        with self._connections.borrowed() as connection:
            check_plan(connection, self._services.knowledge, plan)
            return exported(plan, self._services.knowledge.get(connection).catalog)

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Return what the server has and what is missing; see `Backend.diagnose`."""
        with self._connections.borrowed() as connection:
            return examine(connection, self._address, self._services.knowledge, trial=self if trial else None)

    def wait_idle(self) -> Observable[None]:
        """Complete once no cancelled job is known to run or wait; BackendUnavailable after `idle_timeout_s`."""
        return wait_idle(self._services.interrupter, self._own_clock)

    def close(self) -> None:
        """Release connections and threads; waits for a cancel in progress, at most about the grace time."""
        self._closed = True
        self._release.detach()
        _release(self._services, self._own_clock, wait=True)

    @property
    def _connections(self) -> ConnectionPool:
        return self._services.calls.connections


def _make_services(
    address: Address,
    timeouts: Timeouts,
    *,
    connect_timeout_s: float,
    grace_s: float,
    idle_timeout_s: float,
    previews: bool,
) -> ComfyServices:
    connections, ours = ConnectionPool(address, hints=HINTS, connect_timeout_s=connect_timeout_s), OurJobs()
    return ComfyServices(
        calls=CallServices(
            connections=connections,
            workers=WorkerPool("rxpipe-comfyui-call"),
            polls=WorkerScheduler("rxpipe-comfyui-poll"),
            timeouts=timeouts,
        ),
        knowledge=Knowledge(timeout_s=timeouts.ask_s),
        listener=Listener(address, connect_timeout_s=connect_timeout_s, on_queue=ours.note_queue),
        interrupter=Interrupter(connections, name="rxpipe-comfyui", grace_s=grace_s, idle_timeout_s=idle_timeout_s),
        ours=ours,
        previews=previews,
        base=address.base,
    )


def _release(services: ComfyServices, own_clock: WorkerScheduler, *, wait: bool) -> None:
    """Release connections and threads; *wait*: for a cancel in progress."""
    services.interrupter.close(wait=wait)
    services.calls.workers.close()
    services.calls.polls.close()
    own_clock.close()
    services.calls.connections.close()
    services.listener.close()
