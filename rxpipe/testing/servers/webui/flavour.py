"""The two recorded servers, as data: their answers to plain GETs, their request models, their error bodies."""

from __future__ import annotations

import gzip
import json
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.testing.servers.core.wire import Answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping

FlavourName = Literal["forge", "a1111"]


@dataclass(frozen=True, slots=True)
class Flavour:
    """What Forge and A1111 differ in.

    version: what infotexts and `info` call it.
    answers: path to JSON, for the GETs that never change.
    png_info_defaults: what /png-info adds to the fields it read.
    openapi: the server's own OpenAPI document; its request models give defaults and types.
    checkpoints: names of the recorded server's models, the loaded one first.
    """

    name: FlavourName
    version: str
    answers: Mapping[str, Any]
    png_info_defaults: Mapping[str, Any]
    openapi: Mapping[str, Any]
    checkpoints: tuple[str, ...]

    def http_error(self, status: int, detail: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Return what an HTTPException becomes. A1111 drops its headers."""
        if self.name == "forge":
            return json_answer({"detail": detail}, status, headers)
        return json_answer({"error": "HTTPException", "detail": detail, "body": "", "errors": ""}, status)

    def failure(self, error: str, message: str, body: Any = "") -> Answer:
        """Return what any other exception becomes: a 500."""
        forge = self.name == "forge"
        answer = json_answer(
            {"error": error, "detail": "", "body": body, "message" if forge else "errors": message}, 500
        )
        return replace(answer, last=forge)  # uvicorn ends the connection after an exception that nothing handled


@cache
def load_flavour(name: FlavourName) -> Flavour:
    """Return one of the two. Raises ValueError for another name."""
    if name not in ("forge", "a1111"):
        raise ValueError(f"flavour must be 'forge' or 'a1111', not {name!r}")
    data = json.loads(_read(f"{name}.json"))
    checkpoints = ("random-sd15", "tiny-sd15") if name == "forge" else ("tiny-sd15",)
    openapi_document = json.loads(gzip.decompress(_read(f"openapi-{name}.json.gz")))
    return Flavour(name, data["version"], data["answers"], data["png_info_defaults"], openapi_document, checkpoints)


def _read(name: str) -> bytes:
    return (resources.files(__package__) / "data" / name).read_bytes()


def openapi(name: FlavourName) -> dict[str, Any]:
    """Return a fresh copy of a server's OpenAPI document, for checking payloads against its request models."""
    return deepcopy(dict(load_flavour(name).openapi))
