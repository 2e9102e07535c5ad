"""What a server sends over its websocket: texts in JSON and binary previews, as plain values."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

PREVIEW, TEXT, PREVIEW_WITH_METADATA = 1, 3, 4
"""Numbers of binary events."""
_WORD = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class Message:
    """A text message. job: the id that it is about, None for one about all or about nobody's."""

    kind: str
    job: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def node(self) -> str | None:
        """The node that it is about."""
        node = self.data.get("node")
        return node if isinstance(node, str) else None


@dataclass(frozen=True, slots=True)
class PreviewMessage:
    """A picture so far. job, node: what it is of; None where the server does not say."""

    image: bytes = field(repr=False)
    job: str | None = None
    node: str | None = None


def read_text(text: str) -> Message | None:
    """Return a text message; None for what is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return None
    data = value.get("data")
    data = data if isinstance(data, dict) else {}
    job = data.get("prompt_id")
    return Message(value["type"], job if isinstance(job, str) else None, data)


def read_binary(data: bytes) -> PreviewMessage | None:
    """Return the preview in a binary message; None for any other."""
    if len(data) < 2 * _WORD.size:
        return None
    event, number = _WORD.unpack_from(data)[0], _WORD.unpack_from(data, _WORD.size)[0]
    body = data[2 * _WORD.size :]
    if event == PREVIEW:
        return PreviewMessage(body)
    if event != PREVIEW_WITH_METADATA or number > len(body):
        return None
    try:
        about = json.loads(body[:number])
    except (ValueError, RecursionError):
        return None
    if not isinstance(about, dict):
        return None
    job, node = about.get("prompt_id"), about.get("node_id")
    return PreviewMessage(body[number:], job if isinstance(job, str) else None, node if isinstance(node, str) else None)
