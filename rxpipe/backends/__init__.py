"""Where pictures are drawn: one port, one folder or file per kind of server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe.backends.base import Backend

__all__ = ["open_backend"]


def open_backend(where: str | None = None, **options: Any) -> Backend:
    """The embedded backend."""
    del where
    from rxpipe.backends.sketch import SketchBackend  # noqa: PLC0415  # numpy only for who draws with it

    return SketchBackend(**options)
