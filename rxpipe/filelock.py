"""Locks between processes, held by an open file: the system releases them when their holder ends, however it ends."""

from __future__ import annotations

import errno
import os
import sys
import time

__all__ = ["lock", "try_lock"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
_PAUSE_S = 0.02  # between two looks at a lock that another process holds (Windows)

if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return False if another process, or another open file of this one, holds the lock."""
        try:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def lock(descriptor: int) -> None:
        """Lock an open file; wait while another holds the lock. Closing the file releases it."""
        while not try_lock(descriptor):
            time.sleep(_PAUSE_S)

else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock an open file; return False if another process, or another open file of this one, holds the lock."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(descriptor: int) -> None:
        """Lock an open file; wait while another holds the lock. Closing the file releases it.

        Does nothing on a file system that has no locks, where nobody can hold one.
        """
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
