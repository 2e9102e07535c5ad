"""multipart/form-data, as browsers and HTTP clients post files."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r'[; ]name="((?:[^"\\]|\\.)*)"')
_FILE_NAME = re.compile(r'filename="((?:[^"\\]|\\.)*)"')
_ENCODED_FILE_NAME = re.compile(r"filename\*=utf-8''([^;\s]+)", re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";]+)"?')


@dataclass(frozen=True, slots=True)
class Part:
    """One field of a form. `filename` is None for a plain field."""

    name: str
    data: bytes = field(repr=False)
    filename: str | None = None

    @property
    def text(self) -> str:
        """The value of a plain field."""
        return self.data.decode("utf-8", "replace")


def parse_form(body: bytes, content_type: str) -> dict[str, Part]:
    """Return the fields of a form by name, the last one where a name is there twice.

    Raises:
        ValueError: it is no multipart form.
    """
    found = _BOUNDARY.search(content_type)
    if not content_type.startswith("multipart/form-data") or found is None:
        raise ValueError(f"not a multipart form: {content_type!r}")
    parts = {}
    for piece in body.split(b"--" + found[1].encode("latin-1"))[1:]:
        if piece.startswith(b"--"):
            break
        head, separator, data = piece.partition(b"\r\n\r\n")
        if not separator:
            raise ValueError("a part of the form has no head")
        part = _part(head.decode("utf-8", "replace"), data.removesuffix(b"\r\n"))
        parts[part.name] = part
    return parts


def _part(head: str, data: bytes) -> Part:
    from urllib.parse import unquote  # noqa: PLC0415  # only a name that is not ASCII needs it

    name = _NAME.search(head)
    if name is None:
        raise ValueError("a part of the form has no name")
    encoded, plain = _ENCODED_FILE_NAME.search(head), _FILE_NAME.search(head)
    if encoded is not None:
        return Part(name[1], data, unquote(encoded[1]))
    return Part(name[1], data, None if plain is None else plain[1].replace('\\"', '"').replace("%22", '"'))
