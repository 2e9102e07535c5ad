"""What a server can do, by its version and its flags."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.errors import BackendRejected, BadResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.http.connection import Connection

STATS = "/system_stats"
_OWN_ID, _INTERRUPT_OURS, _JOBS, _CANCEL_JOB = (0, 3, 45), (0, 3, 57), (0, 6), (0, 26)
FLOOR = (0, 3, 57)
"""The version from which on a job can be interrupted without hitting another one."""

Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Device:
    """A device of a server. total, free: bytes of its memory."""

    name: str
    total: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class Server:
    """One server as it describes itself. text: its version, "" for one that is too old to say."""

    text: str = ""
    version: Version = ()
    flags: tuple[str, ...] = ()
    devices: tuple[Device, ...] = ()
    stats: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def takes_own_id(self) -> bool:
        """Whether a job has the id that we chose."""
        return self.version >= _OWN_ID

    @property
    def interrupts_one(self) -> bool:
        """Whether an interrupt can name the job."""
        return self.version >= _INTERRUPT_OURS

    @property
    def lists_jobs(self) -> bool:
        """Whether it has `/api/jobs/{id}`."""
        return self.version >= _JOBS

    @property
    def cancels_jobs(self) -> bool:
        """Whether it has `/api/jobs/{id}/cancel`."""
        return self.version >= _CANCEL_JOB

    @property
    def name(self) -> str:
        """For people and files."""
        return f"ComfyUI {self.text}".rstrip()


def read_server(connection: Connection, *, timeout_s: float) -> Server:
    """Ask a server what it is.

    Raises:
        BackendError: no answer. BackendRejected: it is no ComfyUI.
    """
    answer = connection.get(STATS, timeout_s=timeout_s)
    try:
        stats = answer.json()
    except BadResponse as error:
        raise BackendRejected(f"what answers is no ComfyUI: {error.message}", hint=error.hint) from error
    system = stats.get("system") if isinstance(stats, dict) else None
    if not isinstance(system, dict):
        raise BackendRejected("what answers is no ComfyUI: its /system_stats names no system.")
    argv = system.get("argv")
    text = str(system.get("comfyui_version") or "")
    return Server(
        text=text,
        version=parsed_version(text),
        flags=tuple(str(one) for one in argv[1:]) if isinstance(argv, list) else (),
        devices=tuple(_device(one) for one in stats.get("devices") or () if isinstance(one, dict)),
        stats=system,
    )


def parsed_version(text: str) -> Version:
    """Return the numbers of a version, none where it has none: (0, 3, 40) of "0.3.40"."""
    found = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


def _device(value: Mapping[str, Any]) -> Device:
    total, free = value.get("vram_total"), value.get("vram_free")
    return Device(
        name=str(value.get("name") or value.get("type") or "device"),
        total=total if isinstance(total, int) else 0,
        free=free if isinstance(free, int) else 0,
    )
