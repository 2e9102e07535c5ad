"""WebUIBackend: the port over a WebUI server's HTTP API.

No server-wide value is changed. An option that a plan overrides is first written with the value that it has, which
puts it into the server's config.json, so that the server restores it; see `options`. A render is one request; disposing
it interrupts the server while our job is the running one.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from rxpipe.backends.http.backend import HTTPBackend, open_calls
from rxpipe.backends.http.batches import Batches
from rxpipe.backends.http.call import Timeouts
from rxpipe.backends.http.idle import when_settled
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.backends.http.address import Address
    from rxpipe.plan import StageExecution, StageExecutionPlan


class WebUIBackend(HTTPBackend[WebUIServices]):
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
        address = parse_address(url, auth=auth)
        self.description = f"WebUI at {address}"
        self.queue_ahead = queue_ahead
        self._strict = strict
        timeouts = Timeouts(poll_s, ask_timeout_s, stalled_s, silence_s, unknown_job_s, unanswered_s, answer_s)
        make_services = functools.partial(
            _make_services,
            address,
            timeouts,
            connect_timeout_s=connect_timeout_s,
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            idle_least_s=idle_least_s,
            previews=previews,
        )
        super().__init__(address, make_services)

    # -- the port -----------------------------------------------------------------------------------------------------

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture; see `Backend.render`. A stage that no WebUI renders ends in BackendRejected."""

        def make_job() -> WebUIJob:
            reader = OutputReader(self._address.base, WebUICatalog(), self._strict)
            return WebUIJob(self._services, reader, stage, source)

        return when_settled(self._services.interrupter, self._render(make_job), self._own_clock)

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
    calls = open_calls("webui", address, timeouts, hints=HINTS, connect_timeout_s=connect_timeout_s)
    progress_client, ask_s = ProgressClient(), timeouts.ask_s
    return WebUIServices(
        calls=calls,
        interrupter=Interrupter(
            calls.connections,
            name="rxpipe-webui",
            grace_s=grace_s,
            idle_timeout_s=idle_timeout_s,
            idle_least_s=idle_least_s,
        ),
        previews=previews,
        progress_client=progress_client,
        names=NameLookup(calls.connections, timeout_s=ask_s),
        options=OptionKeeper(progress_client, OpenOptions(address.base), timeout_s=ask_s),
        in_flight=InFlightJobs(),
        batches=Batches(),
    )
