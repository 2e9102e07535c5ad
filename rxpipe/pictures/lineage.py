"""rxpipe's own text in a picture: which image it is and which stages it went through, written and read here.

The text is JSON under one PNG key. A `LineageEntry` is what an artifact carries and what is read back from a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, PlainSerializer, ValidationError

from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "LINEAGE_KEY",
    "MAX_STAGES",
    "NO_VALUES",
    "Lineage",
    "LineageEntry",
    "PicklableRecord",
    "format_lineage",
    "parse_lineage",
]

LINEAGE_KEY = "rxpipe"
"""Key of the PNG text."""

MAX_STAGES = 1000
"""Stages that one image can have gone through; each takes a row where they are shown."""

NO_VALUES: Mapping[str, object] = MappingProxyType({})
"""The read-only mapping that stands for no settings and no metadata."""

_LONGEST_MESSAGE = 200  # characters of what pydantic says, which may quote the text

_ReadOnly: TypeAlias = Annotated[Mapping[str, Any], AfterValidator(MappingProxyType), PlainSerializer(dict)]


class PicklableRecord:
    """A frozen record that can be copied and sent to another process; read-only mappings alone cannot."""

    __slots__ = ()

    def __reduce__(self) -> tuple[object, ...]:
        values = ((each.name, getattr(self, each.name)) for each in fields(self))  # type: ignore[arg-type]  # a dataclass
        return _unpickled, (type(self), {name: dict(v) if isinstance(v, Mapping) else v for name, v in values})


def _unpickled(kind: type[PicklableRecord], values: dict[str, object]) -> PicklableRecord:
    return kind(**{name: MappingProxyType(v) if isinstance(v, dict) else v for name, v in values.items()})


@dataclass(frozen=True, slots=True)
class LineageEntry(PicklableRecord):
    """One stage that an image went through.

    settings: what the stage was asked for, as plain JSON values; the seed really used is among them where there is one.
    """

    stage: str
    backend: str
    settings: _ReadOnly = field(default_factory=lambda: NO_VALUES)


class Lineage(BaseModel):
    """The text as read: which image it is and what it went through, oldest stage first.

    rxpipe: the version that wrote it. stage: the one this file was written after. origin: name of the
    photo that it began as, None for a prompt. seed: None for a given photo that no
    stage has rendered.
    """

    model_config = ConfigDict(frozen=True)
    rxpipe: str = ""
    stage: str = ""
    id: str
    number: int = 1
    seed: int | None = None
    parent: str | None = None
    origin: str | None = None
    lineage: tuple[LineageEntry, ...] = Field(default=(), max_length=MAX_STAGES)
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


class HasLineage(Protocol):
    """What `format_lineage` reads of an artifact."""

    @property
    def id(self) -> str: ...
    @property
    def number(self) -> int: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def parent(self) -> str | None: ...
    @property
    def origin(self) -> Path | None: ...
    @property
    def lineage(self) -> Sequence[LineageEntry]: ...
    @property
    def metadata(self) -> Mapping[str, object]: ...


def format_lineage(image: HasLineage, *, stage: str, version: str) -> str:
    """Return the JSON text for the key `LINEAGE_KEY`.

    Keys: format (1), rxpipe (*version*), stage, id, number, seed, parent, lineage (stage, backend, settings of each,
    oldest first), metadata. What is no JSON value is written as text.
    """
    values = {
        "format": 1,
        "rxpipe": version,
        "stage": stage,
        "id": image.id,
        "number": image.number,
        "seed": image.seed,
        "parent": image.parent,
        **({"origin": image.origin.name} if image.origin is not None else {}),
        "lineage": [
            {"stage": entry.stage, "backend": entry.backend, "settings": entry.settings} for entry in image.lineage
        ],
        "metadata": image.metadata,
    }
    return json.dumps(values, default=_plain, separators=(",", ":"))


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def parse_lineage(text: str | None) -> tuple[Lineage | None, str | None]:
    """Return the lineage in *text*, or what is wrong with it; None and None where there is no text."""
    if text is None:
        return None, None
    try:
        return Lineage.model_validate_json(text), None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(cut(str(key)) for key in first["loc"]) or "the whole"
        return None, f"text {LINEAGE_KEY!r}: {where}: {cut(first['msg'], _LONGEST_MESSAGE)}"
