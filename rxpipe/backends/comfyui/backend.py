"""ComfyUIBackend: the port over a ComfyUI server's HTTP API and its websocket.

A render is one job in the server's queue; disposing it cancels exactly that one. Nothing stays on the server: pictures
are previews in its temporary folder, and the job's history is deleted.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.checks import check_plan
from rxpipe.backends.comfyui.diagnosis import examine
from rxpipe.backends.comfyui.export import exported
from rxpipe.backends.comfyui.hints import HINTS, parse_address
from rxpipe.backends.comfyui.job import ComfyJob, ComfyServices
from rxpipe.backends.comfyui.knowledge import Knowledge
from rxpipe.backends.comfyui.listener import Listener
from rxpipe.backends.comfyui.ours import OurJobs
from rxpipe.backends.http.backend import HTTPBackend, open_calls
from rxpipe.backends.http.call import Timeouts
from rxpipe.backends.http.stopping import Interrupter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.backends.http.address import Address
    from rxpipe.plan import StageExecution, StageExecutionPlan


class ComfyUIBackend(HTTPBackend[ComfyServices]):
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
        address = parse_address(url, auth=auth, headers=headers)
        self.description = f"ComfyUI at {address}"
        self.queue_ahead = queue_ahead
        timeouts = Timeouts(poll_s, ask_timeout_s, stalled_s, silence_s, float("inf"), unanswered_s, answer_s)
        make_services = functools.partial(
            _make_services,
            address,
            timeouts,
            connect_timeout_s=connect_timeout_s,
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            previews=previews,
        )
        super().__init__(address, make_services)

    # -- the port -----------------------------------------------------------------------------------------------------

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture; see `Backend.render`. A stage that no graph renders ends in BackendRejected."""
        return self._render(lambda: ComfyJob(self._services, stage, source))

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


def _make_services(
    address: Address,
    timeouts: Timeouts,
    *,
    connect_timeout_s: float,
    grace_s: float,
    idle_timeout_s: float,
    previews: bool,
) -> ComfyServices:
    calls = open_calls("comfyui", address, timeouts, hints=HINTS, connect_timeout_s=connect_timeout_s)
    ours = OurJobs()
    return ComfyServices(
        calls=calls,
        interrupter=Interrupter(
            calls.connections, name="rxpipe-comfyui", grace_s=grace_s, idle_timeout_s=idle_timeout_s
        ),
        previews=previews,
        knowledge=Knowledge(timeout_s=timeouts.ask_s),
        listener=Listener(address, connect_timeout_s=connect_timeout_s, on_queue=ours.note_queue),
        ours=ours,
        base=address.base,
    )
