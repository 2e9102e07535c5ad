"""The two recorded servers and their forks, as data: answers to plain GETs, request models, error bodies."""

from __future__ import annotations

import gzip
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.testing.servers.core.wire import Answer, json_answer
from rxpipe.testing.servers.webui.forks import FORKS, Fork, ForkName, Trait

if TYPE_CHECKING:
    from collections.abc import Mapping

BaseName = Literal["forge", "a1111"]
FlavourName = BaseName | ForkName
FLAVOURS: tuple[FlavourName, ...] = ("forge", "a1111", *FORKS)
"""The recorded servers, and the forks."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """What the servers differ in.

    base: the recorded server that it is, or that it is a fork of.
    version: what infotexts and `info` call it.
    answers: path to JSON, for the GETs that never change.
    png_info_defaults: what /png-info adds to the fields it read.
    openapi: the server's own OpenAPI document; its request models give defaults and types.
    checkpoints: names of the recorded server's models, the loaded one first.
    without: paths that there are not. traits: what it does differently inside; see `forks`.
    """

    name: FlavourName
    base: BaseName
    version: str
    answers: Mapping[str, Any]
    png_info_defaults: Mapping[str, Any]
    openapi: Mapping[str, Any]
    checkpoints: tuple[str, ...]
    without: frozenset[str] = frozenset()
    traits: frozenset[Trait] = frozenset()

    def defaults(self, model: str) -> dict[str, Any]:
        """Return the defaults of a request model of the base, which hold for fields that a fork does not know."""
        schema = _recorded(self.base).openapi["components"]["schemas"][model]
        return {name: deepcopy(rule.get("default")) for name, rule in schema["properties"].items()}

    def http_error(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return what an HTTPException becomes. A1111 drops its headers."""
        if self.name == "forge":
            return json_answer({"detail": detail}, status, headers)
        return json_answer({"error": "HTTPException", "detail": detail, "body": "", "errors": ""}, status)

    def failure(self, error: str, message: str) -> Answer:
        """Return what any other exception becomes: a 500."""
        forge = self.base == "forge"
        answer = json_answer({"error": error, "detail": "", "body": "", "message" if forge else "errors": message}, 500)
        return replace(answer, last=forge)  # uvicorn ends the connection after an exception that nothing handled


@cache
def load_flavour(name: FlavourName) -> Flavour:
    """Return a server by its name. Raises ValueError for another one."""
    if name not in FLAVOURS:
        raise ValueError(f"flavour must be one of {', '.join(FLAVOURS)}, not {name!r}")
    if name == "forge":
        return _recorded(name)
    if name == "a1111":
        return _without_onnx(_recorded(name))
    fork = FORKS[name]
    recorded = _recorded(fork.base)
    if name != "amd":
        recorded = _without_onnx(recorded)
    answers = {path: answer for path, answer in recorded.answers.items() if path not in fork.without}
    answers["/sdapi/v1/options"] = {**answers["/sdapi/v1/options"], **fork.options}
    kept = {path: recorded.answers[path] for path in fork.without & recorded.answers.keys()}
    return replace(
        recorded,
        name=name,
        version=fork.version,
        answers={**kept, **answers, **fork.answers},
        openapi=_openapi_of(fork, recorded.openapi),
        without=fork.without,
        traits=fork.traits,
    )


def _without_onnx(recorded: Flavour) -> Flavour:
    """Return a server without the options of the AMD fork, which was the one that was recorded as A1111."""
    options, document = recorded.answers["/sdapi/v1/options"], deepcopy(dict(recorded.openapi))
    known = document["components"]["schemas"]["Options"]["properties"]
    for name in [name for name in known if name.startswith("onnx_")]:
        del known[name]
    kept = {name: value for name, value in options.items() if not name.startswith("onnx_")}
    return replace(recorded, answers={**recorded.answers, "/sdapi/v1/options": kept}, openapi=document)


def _openapi_of(fork: Fork, document: Mapping[str, Any]) -> dict[str, Any]:
    changed = deepcopy(dict(document))
    if fork.title is not None:
        changed["info"]["title"] = fork.title
    for path in fork.without:
        changed["paths"].pop(path, None)
    for path in fork.answers:
        changed["paths"].setdefault(path, {"get": {}})
    if "detail endpoint" in fork.traits:
        changed["paths"]["/sdapi/v1/detail"] = {"post": {}}
    for model, names in fork.lacks.items():
        for name in names:
            changed["components"]["schemas"][model]["properties"].pop(name, None)
    for model, rules in fork.has.items():
        changed["components"]["schemas"][model]["properties"] |= {name: dict(rule) for name, rule in rules.items()}
    return changed


@cache
def _recorded(name: BaseName) -> Flavour:
    data = json.loads(_read(f"{name}.json"))
    checkpoints = ("random-sd15", "tiny-sd15") if name == "forge" else ("tiny-sd15",)
    openapi_document = json.loads(gzip.decompress(_read(f"openapi-{name}.json.gz")))
    return Flavour(
        name, name, data["version"], data["answers"], data["png_info_defaults"], openapi_document, checkpoints
    )


def _read(name: str) -> bytes:
    return (resources.files(__package__) / "data" / name).read_bytes()


def openapi(name: FlavourName) -> dict[str, Any]:
    """Return a fresh copy of a server's OpenAPI document, for checking payloads against its request models."""
    return deepcopy(dict(load_flavour(name).openapi))
