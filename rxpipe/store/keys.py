"""What a cell is drawn from, as one digest: the same key means the same picture.

The settings are those that the stage really renders with, inherited ones included; the input picture counts by its
chunks without the texts in it, so that who rendered it and when makes no difference.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.plan import StageExecution

__all__ = ["cell_key", "file_digest", "picture_digest"]

_NOT_DRAWN = frozenset({"images", "batch_size", "seed"})  # how many, and the seed of the first; each cell has its own
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"tIME"})


def cell_key(
    execution: StageExecution,
    settings: Mapping[str, object],
    *,
    backend: str,
    source: str | None,
    identity: Mapping[str, object],
) -> str:
    """Return the key of a cell, 64 hex digits.

    Args:
        execution: the stage for one image.
        settings: what it renders with, plain values.
        backend: its kind.
        source: digest of the input picture, as `picture_digest` gives it; None without one.
        identity: of a stage of one's own: its function and the digest of its source.
    """
    parts = {
        "stage": str(execution.stage_type),
        "settings": {name: value for name, value in settings.items() if name not in _NOT_DRAWN},
        "files": {
            name: file_digest(value)
            for name, value in execution.payload.items()
            if isinstance(value, Path) and value.is_file()
        },
        "seed": execution.seed,
        "backend": backend,
        "source": source,
        "identity": dict(identity),
    }
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's bytes, 64 hex digits; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def picture_digest(data: bytes) -> str:
    """Return the digest of an encoded picture, 64 hex digits; the texts in a PNG do not count."""
    digest = hashlib.sha256()
    if not data.startswith(_PNG):
        digest.update(data)
        return digest.hexdigest()
    view, at = memoryview(data), len(_PNG)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        if bytes(view[at + 4 : at + 8]) not in _TEXTS:
            digest.update(view[at:end])
        at = end
    return digest.hexdigest()
