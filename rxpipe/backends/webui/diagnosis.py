"""What is there at a WebUI's address and what is missing, by the same requests that a run sends."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rxpipe.backends.diagnosis import Diagnosis, Trial
from rxpipe.backends.http.diagnosis import refused, with_problem
from rxpipe.backends.webui.answers import read_generation, read_picture
from rxpipe.backends.webui.checks import unread_warnings
from rxpipe.backends.webui.names import ALL_KINDS, WebUICatalog, fetch_catalog, read_optional
from rxpipe.backends.webui.options import format_warnings, read_options
from rxpipe.backends.webui.payloads import Txt2ImgRequest
from rxpipe.backends.webui.progress import ProgressClient
from rxpipe.errors import BackendError, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.backends.http.address import Address
    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.flavour import Flavour
    from rxpipe.backends.webui.options import OptionKeeper

_TRIAL = Txt2ImgRequest(prompt="a lighthouse", steps=4, width=128, height=128, seed=1)


def examine(
    connection: Connection, address: Address, keeper: OptionKeeper, *, timeout_s: float, trial: bool
) -> Diagnosis:
    """Return what is found at the other end of *connection*; see `Backend.diagnose`.

    Args:
        connection: to *address*.
        address: of the server.
        keeper: knows what runs that were killed left there.
        timeout_s: for each question.
        trial: whether to render one small picture.
    """
    progress_client = ProgressClient()  # the server may have been restarted with other flags since the last run
    found, begin = Diagnosis(address.base), time.monotonic()
    try:
        snapshot = progress_client.read_server(connection, timeout_s=timeout_s)
    except BackendUnavailable as error:
        return with_problem(found, error)
    except BackendError as error:
        return refused(replace(found, reachable=True), error, address)
    found = replace(
        found,
        reachable=True,
        api=True,
        latency_s=time.monotonic() - begin,
        busy=snapshot.state.job_count != 0,
        credentials="not needed" if address.credentials is None else "accepted",
    )
    try:
        catalog = fetch_catalog(connection, ALL_KINDS, timeout_s=timeout_s)
        found = _with_names(found, catalog, connection, timeout_s)
        options = read_options(connection, timeout_s=timeout_s)
        warnings = (*keeper.left_changed(options), *format_warnings(options))
        per_task = progress_client.probe(connection, timeout_s=timeout_s)
        found = _with_server(found, catalog.flavour, options, warnings, per_task=per_task)
        return replace(found, trial=_render_trial(connection)) if trial else found
    except BackendError as error:
        return with_problem(found, error)


def _with_names(found: Diagnosis, catalog: WebUICatalog, connection: Connection, timeout_s: float) -> Diagnosis:
    return replace(
        found,
        models=catalog.names("models"),
        samplers=catalog.names("samplers"),
        schedulers=catalog.names("schedulers"),
        upscalers=catalog.names("upscalers"),
        vaes=() if catalog.module_paths is not None else catalog.names("vaes"),
        modules=catalog.names("modules"),
        adetailer=_adetailer(catalog, connection, timeout_s),
        detectors=catalog.names("detectors"),
        advice=(*found.advice, *_advice(catalog)),
    )


def _adetailer(catalog: WebUICatalog, connection: Connection, timeout_s: float) -> str | None:
    if catalog.flavour.detailer != "extension":
        return f"{catalog.flavour.name}'s own detailer"
    if not catalog.adetailer:
        return None
    version = read_optional(connection, "/adetailer/v1/version", timeout_s=timeout_s)
    return str(version["version"]) if isinstance(version, dict) and "version" in version else "installed"


def _advice(catalog: WebUICatalog) -> list[str]:
    advice = []
    if not catalog.models:
        advice.append("It lists no checkpoint: put one into models/Stable-diffusion.")
    if not catalog.adetailer:
        advice.append("For the adetailer stage install the extension ADetailer.")
    return [*advice, *(f"{_capital(warning)}." for warning in unread_warnings(catalog))]


def _with_server(
    found: Diagnosis, flavour: Flavour, options: Mapping[str, object], warnings: Sequence[str], *, per_task: bool
) -> Diagnosis:
    model = options.get("sd_model_checkpoint")
    advice = (
        ()
        if per_task or flavour.phases
        else ("Started with --nowebui it reports progress only for all clients together.",)
    )
    return replace(
        found,
        progress_per_task=per_task,
        kind=flavour.kind,
        flavour=flavour.name,
        model=str(model) if model else None,
        advice=(
            *found.advice,
            *advice,
            *flavour.notes,
            *(f"{_capital(warning)}." for warning in warnings),
        ),
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _render_trial(connection: Connection) -> Trial:
    """Render one small picture. It may load a model first, so only the connection limits the time."""
    begin = time.monotonic()
    response = connection.post(_TRIAL.path, _TRIAL.body(), timeout_s=None)
    answer = read_generation(response.body, expected=1)
    read_picture(answer.take(0))
    seconds, info = time.monotonic() - begin, answer.info
    if info is None:
        return Trial(seconds)
    return Trial(seconds, info.version, info.sd_model_name, info.sampler_name)
