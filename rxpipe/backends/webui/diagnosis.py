"""What is reachable at an address and what is missing there, as plain data for a person to read.

The same questions that a run asks, each answered or told why not. What a fault means is said in `advice`.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.backends.http.address import Address
from rxpipe.backends.http.connection import Connection
from rxpipe.backends.webui.answers import read_generation, read_picture
from rxpipe.backends.webui.names import ServerCatalogs, ask_optional, fetch_catalogs
from rxpipe.backends.webui.payloads import Txt2ImgRequest
from rxpipe.backends.webui.progress import ProgressClient
from rxpipe.errors import BackendError, BackendUnavailable

if TYPE_CHECKING:
    from rxpipe.backends.webui.names import Catalog

Credentials = Literal["not needed", "accepted", "missing", "refused", "unknown"]
_KINDS = ("samplers", "schedulers", "upscalers", "models", "vaes", "adetailer")
_TRIAL = Txt2ImgRequest(prompt="a lighthouse", steps=4, width=128, height=128, seed=1)


@dataclass(frozen=True, slots=True)
class Trial:
    """One small picture drawn. seconds: the whole request. version: of the server, by its own word."""

    seconds: float
    version: str | None = None
    model: str | None = None
    sampler: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at an address.

    reachable: something answers HTTP there. api: it is a WebUI with its API. problem: what is wrong, None if nothing.
    kind: "forge" or "a1111"; None where it cannot be told. busy: it draws for somebody right now.
    latency_s: of a small question. progress_per_task: False where only global progress is told (`--nowebui`).
    model: the loaded checkpoint. adetailer: the extension's version, "installed" where it tells none, None without it.
    advice: what to do, most important first.
    """

    url: str
    reachable: bool = False
    api: bool = False
    credentials: Credentials = "unknown"
    problem: str | None = None
    kind: Literal["forge", "a1111"] | None = None
    busy: bool = False
    latency_s: float | None = None
    progress_per_task: bool = False
    model: str | None = None
    models: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    upscalers: tuple[str, ...] = ()
    vaes: tuple[str, ...] = ()
    adetailer: str | None = None
    detectors: tuple[str, ...] = ()
    trial: Trial | None = None
    advice: tuple[str, ...] = field(default_factory=tuple)

    @property
    def ok(self) -> bool:
        """Whether a run could begin there."""
        return self.problem is None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {"ok": self.ok, **asdict(self)}


def examine(url: str, *, auth: str | None = None, timeout_s: float = 5.0, trial: bool = False) -> Diagnosis:
    """Ask the server at *url* everything; see `rxpipe.backends.diagnose`."""
    address = Address.parse(url, auth=auth)
    connection = Connection(address, connect_timeout_s=timeout_s)
    try:
        return _examined(Diagnosis(address.base), connection, address, timeout_s, trial=trial)
    finally:
        connection.close()


def _examined(
    found: Diagnosis, connection: Connection, address: Address, timeout_s: float, *, trial: bool
) -> Diagnosis:
    begin = time.monotonic()
    try:
        snapshot = ProgressClient().read_server(connection, timeout_s=timeout_s)
    except BackendUnavailable as error:
        return _with_problem(found, error)
    except BackendError as error:
        return _refused(replace(found, reachable=True), error, address)
    found = replace(
        found,
        reachable=True,
        api=True,
        latency_s=time.monotonic() - begin,
        busy=snapshot.state.job_count != 0,
        credentials="not needed" if address.credentials is None else "accepted",
    )
    try:
        found = _with_names(found, connection, timeout_s)
        found = _with_server(found, connection, timeout_s)
        return replace(found, trial=_tried(connection)) if trial else found
    except BackendError as error:
        return _with_problem(found, error)


def _with_problem(found: Diagnosis, error: BackendError) -> Diagnosis:
    advice = (*found.advice, error.hint) if error.hint else found.advice
    return replace(found, problem=error.message, advice=advice)


def _refused(found: Diagnosis, error: BackendError, address: Address) -> Diagnosis:
    if "answered 401" in error.message or "answered 403" in error.message:
        state: Credentials = "refused" if address.credentials is not None else "missing"
        found = replace(found, api=True, credentials=state)
    return _with_problem(found, error)


def _with_names(found: Diagnosis, connection: Connection, timeout_s: float) -> Diagnosis:
    catalogs = fetch_catalogs(connection, _KINDS, timeout_s=timeout_s)
    return replace(
        found,
        models=_listed(catalogs.models),
        samplers=_listed(catalogs.samplers),
        schedulers=_listed(catalogs.schedulers),
        upscalers=_listed(catalogs.upscalers),
        vaes=_listed(catalogs.vaes),
        adetailer=_adetailer(catalogs, connection, timeout_s),
        detectors=_listed(catalogs.detectors),
        advice=(*found.advice, *_advice(catalogs)),
    )


def _listed(catalog: Catalog) -> tuple[str, ...]:
    return tuple(item.name for item in catalog or ())


def _adetailer(catalogs: ServerCatalogs, connection: Connection, timeout_s: float) -> str | None:
    if not catalogs.adetailer:
        return None
    version = ask_optional(connection, "/adetailer/v1/version", timeout_s=timeout_s)
    return str(version["version"]) if isinstance(version, dict) and "version" in version else "installed"


def _advice(catalogs: ServerCatalogs) -> list[str]:
    advice = []
    if not catalogs.models:
        advice.append("It lists no checkpoint: put one into models/Stable-diffusion.")
    if not catalogs.adetailer:
        advice.append("For the adetailer stage install the extension ADetailer.")
    return advice


def _with_server(found: Diagnosis, connection: Connection, timeout_s: float) -> Diagnosis:
    per_task = ProgressClient().probe(connection, timeout_s=timeout_s)
    modules = ask_optional(connection, "/sdapi/v1/sd-modules", timeout_s=timeout_s)
    options = ask_optional(connection, "/sdapi/v1/options", timeout_s=timeout_s)
    model = options.get("sd_model_checkpoint") if isinstance(options, dict) else None
    advice = () if per_task else ("Started with --nowebui it tells progress only for all clients together.",)
    return replace(
        found,
        progress_per_task=per_task,
        kind="a1111" if modules is None else "forge",
        model=str(model) if model else None,
        advice=(*found.advice, *advice),
    )


def _tried(connection: Connection) -> Trial:
    """Draw one small picture; may load a model first, so nothing but the connection limits it."""
    begin = time.monotonic()
    response = connection.post(_TRIAL.path, _TRIAL.body(), timeout_s=None, what="trial")
    answer = read_generation(response.body, expected=1)
    read_picture(answer.pictures[0])
    seconds, info = time.monotonic() - begin, answer.info
    if info is None:
        return Trial(seconds)
    return Trial(seconds, info.version, info.sd_model_name, info.sampler_name)
