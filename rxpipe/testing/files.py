"""FaultyFiles: a file system that fails as a test chooses, for the sinks that write pictures and records.

```python
def test_a_full_disk_ends_a_run_with_a_save_error(marbles, tmp_path):
    files = FaultyFiles()
    files.fail("fsync", errno.ENOSPC)
    executor = PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock, files=files)
    run = executor.start(chain(txt2img("a lighthouse"), out=tmp_path))
    marbles.run()
    assert run.result.error.type == "SaveError"
```
"""

from __future__ import annotations

import errno
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from rxpipe.sinks.files import SystemFiles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FileCall: TypeAlias = Literal["open", "write", "fsync", "link", "rename", "replace", "unlink", "names"]

_SHARING_VIOLATION = 32  # Windows: another program has the file open


@dataclass(slots=True)
class _Fault:
    act: Callable[[], object]
    left: int | None  # None: for good

    def take(self) -> bool:
        if self.left == 0:
            return False
        if self.left is not None:
            self.left -= 1
        return True


class FaultyFiles(SystemFiles):
    """The real file system, except for the calls that a test lets fail or wait. May be used from several threads.

    Pass it as `files=` to a `PipelineExecutor`, an `ImageWriter` or a `LearningRecordWriter`.

    calls: the names of all calls so far, in order.

    Args:
        windows: names behave as on Windows: `rename` refuses a name in use, and the writer relies on that.
    """

    def __init__(self, *, windows: bool = False) -> None:
        self.calls: list[FileCall] = []
        self._windows = windows
        self._faults: dict[FileCall, list[_Fault]] = {}
        self._room: int | None = None
        self._lock = threading.Lock()

    def fail(self, call: FileCall, error: int | BaseException, *, times: int | None = None) -> None:
        """Let *call* fail, and do nothing, from now on.

        Args:
            error: an errno (`errno.EPERM` of "link": no hard links), or what is raised (`KeyboardInterrupt()`: the user
                interrupts there).
            times: so often, then it works again; None: always.
        """
        self.before(call, lambda: _throw(error), times=times)

    def hold(self, call: FileCall, *, times: int | None = None) -> None:
        """Let *call* fail as on Windows while a viewer or scanner has the file open."""
        self.before(call, _throw_sharing_violation, times=times)

    def before(self, call: FileCall, act: Callable[[], object], *, times: int | None = None) -> None:
        """Call *act* before each *call* to come, on its thread: to wait (a slow disk), to look, or to raise."""
        if call not in get_args(FileCall):
            raise ValueError(f"{call!r}: no such call; there are {', '.join(get_args(FileCall))}")
        with self._lock:
            self._faults.setdefault(call, []).append(_Fault(act, times))

    def fill(self, room: int = 0) -> None:
        """Let the disk be full once *room* more bytes are written: the write across the end is cut short."""
        with self._lock:
            self._room = room

    def heal(self) -> None:
        """Let every call work again, and the disk have room."""
        with self._lock:
            self._faults.clear()
            self._room = None

    @property
    def rename_replaces(self) -> bool:
        """Whether `rename` replaces an existing file."""
        return super().rename_replaces and not self._windows

    def open(self, path: Path, flags: int, mode: int = 0o666) -> int:
        """Open a file, unless that fails."""
        self._meet("open")
        return super().open(path, flags, mode)

    def write(self, descriptor: int, data: memoryview) -> int:
        """Write what fits on the disk, unless that fails."""
        self._meet("write")
        return super().write(descriptor, data[: self._take_room(len(data))])

    def fsync(self, descriptor: int) -> None:
        """Sync a file, unless that fails."""
        self._meet("fsync")
        super().fsync(descriptor)

    def link(self, source: Path, target: Path) -> None:
        """Link a file, unless that fails."""
        self._meet("link")
        super().link(source, target)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file, unless that fails."""
        self._meet("rename")
        if self._windows:
            os.link(source, target)  # refuses a name in use, as a rename does there
            source.unlink()
        else:
            super().rename(source, target)

    def replace(self, source: Path, target: Path) -> None:
        """Move a file over another, unless that fails."""
        self._meet("replace")
        super().replace(source, target)

    def unlink(self, path: Path) -> None:
        """Remove a name, unless that fails."""
        self._meet("unlink")
        super().unlink(path)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder, unless that fails."""
        self._meet("names")
        return super().names(folder)

    def _meet(self, call: FileCall) -> None:
        with self._lock:
            self.calls.append(call)
            acts = [fault.act for fault in self._faults.get(call, ()) if fault.take()]
        for act in acts:
            act()

    def _take_room(self, wanted: int) -> int:
        with self._lock:
            if self._room is None:
                return wanted
            if wanted and not self._room:
                _throw(errno.ENOSPC)
            taken = min(wanted, self._room)
            self._room -= taken
            return taken


def _throw(error: int | BaseException) -> None:
    raise OSError(error, os.strerror(error)) if isinstance(error, int) else error


def _throw_sharing_violation() -> None:
    error = PermissionError(errno.EACCES, "in use")
    error.winerror = _SHARING_VIOLATION  # type: ignore[attr-defined,unused-ignore]  # typeshed has it on Windows only
    raise error
