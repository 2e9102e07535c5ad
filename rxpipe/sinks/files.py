"""The calls to the file system that the sinks make, in one place: a test passes others, which fail as it chooses."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Files", "SystemFiles", "sync", "write_all"]

_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


class Files(Protocol):
    """The calls with which `ImageWriter` and `LearningRecordWriter` reach the disk; each raises OSError, as in `os`.

    `rxpipe.testing.FaultyFiles` is one whose calls fail.
    """

    @property
    def rename_replaces(self) -> bool:
        """Whether `rename` replaces an existing file, as on POSIX; Windows refuses."""

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Open a file; return its descriptor."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write what fits; return how many bytes that was."""

    def fsync(self, descriptor: int) -> None:
        """Wait until the file's contents are on the disk."""

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; refuse one in use."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name."""

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name, also one in use."""

    def unlink(self, path: Path) -> None:
        """Remove a name."""

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, in any order."""


class SystemFiles:
    """The file system itself: `os`."""

    @property
    def rename_replaces(self) -> bool:
        """Whether `rename` replaces an existing file."""
        return os.name != "nt"

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Open a file, not as text; return its descriptor."""
        return os.open(path, flags | getattr(os, "O_BINARY", 0), mode)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write what fits; return how many bytes that was."""
        return os.write(descriptor, data)

    def fsync(self, descriptor: int) -> None:
        """Wait until the file's contents are on the disk."""
        os.fsync(descriptor)

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name; refuse one in use."""
        os.link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name."""
        source.rename(target)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another name, also one in use."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        path.unlink()

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, in any order."""
        return [path.name for path in folder.iterdir()]


def write_all(files: Files, descriptor: int, data: bytes) -> None:
    """Write all of *data*: one call as a rule; a nearly full disk takes less, and then raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[files.write(descriptor, rest) :]


def sync(files: Files, descriptor: int) -> None:
    """Sync a file, except on a pipe or a network folder that cannot: the data is written all the same."""
    try:
        files.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
