"""PictureDigests: the digests of the pictures of a run, each file read once as long as it does not change."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.store.keys import picture_digest

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.artifact import Artifact

__all__ = ["PictureDigests"]

_MOST = 50_000


class _Digests(NamedTuple):
    stamp: tuple[int, int]
    size: int
    file: str
    picture: str


class PictureDigests:
    """Digests of files and of pictures in memory. Of one run; its stages and its saver may use it at the same time."""

    def __init__(self) -> None:
        self._known: dict[Path, _Digests] = {}

    def of_picture(self, artifact: Artifact) -> str | None:
        """Return the digest of an image's picture without its texts; None if it has no picture yet.

        Raises:
            OSError: its file cannot be read.
        """
        if artifact.data is not None:
            return picture_digest(artifact.data)
        return None if artifact.path is None else self._of(artifact.path).picture

    def of_file(self, path: Path | None) -> tuple[str | None, int | None]:
        """Return the digest of a file and its size in bytes; None for both without a file. Raises OSError."""
        if path is None:
            return None, None
        known = self._of(path)
        return known.file, known.size

    def is_intact(self, path: Path, digest: str | None) -> bool:
        """Return whether a file is there and has that digest."""
        try:
            return self._of(path).file == digest
        except OSError:
            return False

    def _of(self, path: Path) -> _Digests:
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_size)
        known = self._known.get(path)
        if known is None or known.stamp != stamp:
            data = path.read_bytes()
            known = _Digests(stamp, len(data), hashlib.sha256(data).hexdigest(), picture_digest(data))
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[path] = known
        return known
