"""RunLock: which process runs a run. Held by an open file, so that a killed process holds nothing."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from typing import TYPE_CHECKING

from rxpipe.filelock import try_lock
from rxpipe.rx.forks import renew_after_fork

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RunLock", "holder_of", "holder_text"]

_TRIES, _PAUSE_S = 6, 0.05  # one that only looks whether a run is held holds it for a moment


class RunLock:
    """The right to run one run, of one process at a time on one store. Made by `acquire`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor: int | None = descriptor
        renew_after_fork(self)

    @classmethod
    def acquire(cls, store: Path, run_id: str) -> RunLock | None:
        """Return the lock of a run; None if another process, or another run of this one, holds it.

        Raises:
            OSError: the folder of the locks cannot be written.
        """
        path = _path(store, run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        for tries in range(_TRIES):
            if tries:
                threading.Event().wait(_PAUSE_S)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            if try_lock(descriptor) and _is_at(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return cls(path, descriptor)
            os.close(descriptor)
        return None

    def release(self) -> None:
        """Give the run up. Harmless twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError):  # Windows keeps the name of an open file
                self._path.unlink()
            os.close(descriptor)

    def after_fork(self) -> None:
        """Leave the lock to the parent."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(store: Path, run_id: str) -> int | None:
    """Return the id of the process that runs a run; 0 if it cannot be known, None if none does."""
    path = _path(store, run_id)
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    except OSError:
        return 0
    try:
        if try_lock(descriptor):
            return None
        held = os.read(descriptor, 20)
        return int(held) if held.isdigit() else 0
    except OSError:  # Windows lets nobody read what is locked
        return 0
    finally:
        os.close(descriptor)


def holder_text(store: Path, run_id: str) -> str:
    """Return who runs a run, as a part of a sentence."""
    process = holder_of(store, run_id)
    return f"process {process} runs it" if process else "another process runs it"


def _path(store: Path, run_id: str) -> Path:
    name = hashlib.sha256(run_id.encode(errors="surrogatepass")).hexdigest()[:32]
    return store.with_name(f"{store.name}.locks") / f"{name}.lock"


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file still has its name; its last holder removes it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
