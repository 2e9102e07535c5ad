"""A store that another machine writes: it is copied and the copy is read.

SQLite's log is shared through memory, which no network file system does. The log itself is checked frame by frame, so
that a copy of the file and of its log is either one state of the store or is refused, and then copied again.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["copied", "is_distant"]

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.rclone"})
_TRIES = 5


def is_distant(path: Path) -> bool:
    """Return whether a file is on a network file system; False where the system does not say."""
    if sys.platform != "linux":
        return str(path).startswith("\\\\")  # a share of Windows
    return _kind_of_mount(path, Path("/proc/mounts")) in _NETWORK


def _kind_of_mount(path: Path, table: Path) -> str:
    found = ("", "")
    with contextlib.suppress(OSError):
        for line in table.read_text(errors="surrogateescape").splitlines():
            _, place, kind, *_ = line.split(" ")
            place = place.replace("\\040", " ")
            if path.is_relative_to(place) and len(place) >= len(found[0]):
                found = (place, kind)
    return found[1]


@contextlib.contextmanager
def copied(path: Path) -> Iterator[Path]:
    """Copy a store that is being written elsewhere; yield the copy, which is gone afterwards.

    Raises:
        sqlite3.DatabaseError: no copy was whole, or the store is damaged.
        OSError: it cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="rxpipe-store-") as folder:
        for tries in range(_TRIES):
            copy = Path(folder) / str(tries) / path.name
            copy.parent.mkdir()
            shutil.copyfile(path, copy)
            log = path.with_name(path.name + "-wal")
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(log, copy.with_name(log.name))
            if _is_whole(copy) or tries == _TRIES - 1:
                yield copy
                return


def _is_whole(path: Path) -> bool:
    with contextlib.closing(sqlite3.connect(path)) as db:
        try:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
        except sqlite3.DatabaseError:
            return False
