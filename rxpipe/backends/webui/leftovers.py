"""What a process may leave changed on a server, on disk, so that one that was killed is cleaned up after by the next.

One small file per backend that has something open, in the user's state directory, by server. It is there only from
before a request that a server may not clean up after until that was done; what is found there otherwise is left over.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, NamedTuple

import platformdirs
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LARGEST = 1 << 16  # bytes of a file; ours are smaller


class Overridden(BaseModel):
    """One option. before: its value for everybody. sent: the one that a request of ours overrode it with."""

    model_config = ConfigDict(frozen=True)

    before: JsonValue
    sent: JsonValue


class _Record(BaseModel):
    server: str
    options: dict[str, Overridden]


class Leftover(NamedTuple):
    """What another process has, or had, open."""

    file: Path
    options: Mapping[str, Overridden]

    def changed(self, now: Mapping[str, object]) -> dict[str, Overridden]:
        """Return the options that have the overriding value now."""
        return {
            name: option
            for name, option in self.options.items()
            if name in now and now[name] == option.sent != option.before
        }

    def forget(self) -> None:
        """Remove its file."""
        self.file.unlink(missing_ok=True)


class OpenOptions:
    """The file of one backend, and those of other processes about the same server.

    Args:
        server: its address, without credentials.
    """

    def __init__(self, server: str) -> None:
        self._server = server
        name = hashlib.sha256(server.encode()).hexdigest()[:16]
        self._folder = platformdirs.user_state_path("rxpipe", appauthor=False) / "servers" / name
        self._file = self._folder / f"{uuid.uuid4().hex}.json"

    def write(self, options: Mapping[str, Overridden]) -> None:
        """Write what is open now; nothing: remove the file. A disk that takes no file keeps no run from running."""
        try:
            if not options:
                self._file.unlink(missing_ok=True)
                return
            self._folder.mkdir(parents=True, exist_ok=True)
            draft = self._file.with_suffix(".part")
            draft.write_text(_Record(server=self._server, options=dict(options)).model_dump_json(), "utf-8")
            draft.replace(self._file)
        except OSError:
            return

    def of_others(self) -> list[Leftover]:
        """Return what others have left; a file that cannot be read is none of ours."""
        return [
            Leftover(file, record.options)
            for file in sorted(self._folder.glob("*.json"))
            if file != self._file and (record := _read(file)) is not None
        ]


def _read(file: Path) -> _Record | None:
    try:
        with file.open("rb") as opened:
            return _Record.model_validate_json(opened.read(_LARGEST))
    except (OSError, ValidationError):
        return None
