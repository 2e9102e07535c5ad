"""Which fork of the WebUI a server is, as data: what it takes differently from AUTOMATIC1111.

Decided by the fields of its OpenAPI document and by the paths that it has, never by a name: `FLAVOURS` is the table,
its first row whose signs all hold is the one. Names are for messages only.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.errors import BackendError, BackendFailed, BadResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from rxpipe.backends.http.connection import Connection

_OPENAPI = "/openapi.json"
_TXT2IMG = "/sdapi/v1/txt2img"
_PATHS = ("/sdapi/v1/sd-modules", "/sdapi/v1/detailers")  # asked for where there is no document
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a server takes differently. The defaults are AUTOMATIC1111's.

    name: for messages. kind: short, for programs. has, lacks: signs that it is this one: a path, "field NAME" of
    txt2img's request, or "option NAME".
    requests: known fields of each request by its path; empty where the server shows no document.
    schedules: a field of its own, a part of the sampler's name, or the field `schedulers_sigma` with these names.
    second_pass: further fields of a hires fix; a value "=NAME" is that of another field.
    renamed: options that are fields of the request there.
    resize_shift: added to `resize_mode`.
    upscaler: the one for a plain resize.
    detailer: ADetailer, or a path of its own.
    phases: a job is a row of these jobs with nothing between, none of which its steps identify, and each clears an
        interrupt; empty where it is one job.
    log: path of its log; where it has one, an answer without pictures is a drawing that failed.
    limits: it refuses too many requests after the work, so that a drawing that is refused was drawn in vain.
    frames: pattern of models for which a batch is one picture of so many frames; empty where there are none.
    ignoring: options that switch `override_settings` off.
    poll_s: the least between two questions for progress, of all jobs together.
    restores_options: it puts back every option that a request overrides, also those that its file does not hold.
    notes: what does not work on it, or otherwise, for `doctor`.
    """

    name: str = "AUTOMATIC1111"
    kind: str = "a1111"
    has: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    requests: Mapping[str, frozenset[str]] = field(default_factory=lambda: _NOTHING, repr=False)
    schedules: Literal["field", "sampler name"] | Mapping[str, str] = "field"
    second_pass: Mapping[str, JsonValue] = field(default_factory=lambda: _NOTHING)
    renamed: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    resize_shift: int = 0
    upscaler: str = "Lanczos"
    detailer: Literal["extension", "/sdapi/v1/detail"] = "extension"
    phases: tuple[str, ...] = ()
    log: str = ""
    limits: bool = False
    frames: str = ""
    ignoring: tuple[str, ...] = ()
    poll_s: float = 0.0
    restores_options: bool = False
    notes: tuple[str, ...] = ()

    def knows(self, path: str, name: str) -> bool:
        """Whether the request to a path has a field; servers ignore those that they do not know, without a word."""
        known = self.requests.get(path)
        return known is None or name in known


A1111 = Flavour()
FLAVOURS = (
    Flavour(
        name="SD.Next",
        kind="sdnext",
        has=frozenset({"/sdapi/v1/detailers"}),
        schedules=MappingProxyType(
            {"Automatic": "", "Karras": "karras", "Exponential": "exponential", "Beta": "betas"}
        ),
        second_pass=MappingProxyType(
            {
                "hr_resize_mode": 1,
                "hr_force": True,
                "hr_denoising_strength": "=denoising_strength",
                "cfg_image": "=hr_cfg",
            }
        ),
        renamed=MappingProxyType({"CLIP_stop_at_last_layers": "clip_skip", "upscaler_for_img2img": "resize_name"}),
        resize_shift=1,
        upscaler="Resize Lanczos",
        detailer="/sdapi/v1/detail",
        phases=("API", "Process", "Base", "Params", "TE Encode", "Inference", "VAE Decode"),
        log="/sdapi/v1/log?lines=0",
        limits=True,
        poll_s=0.5,
        restores_options=True,
        notes=(
            "It has its own detailer in place of ADetailer: one detector a stage, by the names listed here.",
            "Its schedules are Automatic, Karras, Exponential and Beta; others are refused.",
            "Progress is read twice a second at most: it limits how often it is asked.",
        ),
    ),
    Flavour(
        name="Forge Neo",
        kind="neo",
        has=frozenset({"/sdapi/v1/sd-modules"}),
        lacks=frozenset({"/sdapi/v1/interrogate"}),
        frames=r"(?i)(?<![a-z])wan(?![a-z])",
        notes=("VAEs and text encoders are modules: those of a checkpoint are not switched with it.",),
    ),
    Flavour(name="Forge", kind="forge", has=frozenset({"/sdapi/v1/sd-modules"})),
    Flavour(
        name="Forge Classic",
        kind="classic",
        lacks=frozenset({"field scheduler"}),
        schedules="sampler name",
        notes=("A schedule is a part of a sampler's name, such as DPM++ 2M Karras.",),
    ),
    Flavour(name="reForge", kind="reforge", has=frozenset({"field hr_cfg"})),
    Flavour(
        name="AUTOMATIC1111 for AMD",
        kind="amd",
        has=frozenset({"option onnx_enable"}),
        ignoring=("onnx_enable",),
        notes=("With its option onnx_enable it ignores the model, VAE and clip skip of a request.",),
    ),
    A1111,
)
"""The forks, the most particular first; the last one has no signs."""


def read_flavour(connection: Connection, *, timeout_s: float) -> Flavour:
    """Return what a server is, by its document, or by what it answers where it shows none.

    Raises:
        BackendError: no answer.
    """
    document = _document(connection, timeout_s)
    if document is None:
        return flavour_of(None, frozenset(path for path in _PATHS if _answers(connection, path, timeout_s)))
    return flavour_of(document)


def flavour_of(document: Mapping[str, Any] | None, paths: frozenset[str] = frozenset()) -> Flavour:
    """Return what a server is.

    Args:
        document: its OpenAPI document; None where it shows none.
        paths: that it answers, for a server without a document.
    """
    if document is None:
        return next((one for one in FLAVOURS if one.has and one.has <= paths and not one.lacks), A1111)
    listed = document.get("paths")
    by_path = {path: fields for path in listed or () if (fields := request_fields(document, path)) is not None}
    named = {*(f"field {name}" for name in by_path.get(_TXT2IMG, ())), *(f"option {one}" for one in _options(document))}
    signs = {*(listed or ()), *named}
    known = _TXT2IMG in by_path
    found = next(one for one in FLAVOURS if one.has <= signs and (known or not one.lacks) and not one.lacks & signs)
    return replace(found, requests=by_path)


def request_fields(document: Any, path: str) -> frozenset[str] | None:
    """Return the fields that a POST to *path* takes, by an OpenAPI document; None where it does not say so."""
    try:
        reference = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        return frozenset(document["components"]["schemas"][reference.rpartition("/")[2]]["properties"])
    except (KeyError, TypeError, AttributeError):
        return None


def _options(document: Any) -> frozenset[str]:
    """Return the names of the server's options, by its OpenAPI document; empty where it does not say them."""
    try:
        return frozenset(document["components"]["schemas"]["Options"]["properties"])
    except (KeyError, TypeError):
        return frozenset()


def _document(connection: Connection, timeout_s: float) -> Mapping[str, Any] | None:
    try:
        answer = connection.get_optional(_OPENAPI, timeout_s=timeout_s)
        document = None if answer is None else answer.json()
    except (BackendFailed, BadResponse):
        return None
    return document if isinstance(document, dict) and isinstance(document.get("paths"), dict) else None


def _answers(connection: Connection, path: str, timeout_s: float) -> bool:
    try:
        return connection.get_optional(path, timeout_s=timeout_s) is not None
    except BackendError:
        return False
