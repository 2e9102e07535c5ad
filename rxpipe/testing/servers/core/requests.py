"""RecordedRequest: one HTTP request that reached a server, as tests read it afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rxpipe.testing.servers.core.faults import Fault

_KEPT = 1000  # characters of a string in a body, where bodies are not kept whole


@dataclass(slots=True)
class RecordedRequest:
    """One HTTP request that reached the server.

    number: 1.. in the order of arrival, over all paths.
    body: the parsed JSON, None without one or where it is malformed.
    at_s: when it was read, on the server's clock; `at_monotonic_s` on the machine's.
    connection: number of the connection it came over, 1.. .
    stage: the pipeline stage it renders, as the kind of server names it; None for everything else.
    names: what a fault may call it beside its path.
    status: what was answered; None while the request is in progress, or where no answer was sent.
    """

    number: int
    method: str
    path: str
    query: dict[str, str]
    body: Any = field(repr=False)
    at_s: float
    at_monotonic_s: float
    connection: int
    headers: dict[str, str] = field(repr=False)
    stage: str | None = None
    names: tuple[str, ...] = ()
    fault: Fault | None = None
    status: int | None = None

    def matches(self, target: str) -> bool:
        """Return whether `target` means this request: its path, one of its names, or "*"."""
        return target in ("*", self.path, *self.names)


def shorten(value: Any) -> Any:
    """Return a body with its long strings cut, for servers that do not keep bodies."""
    if isinstance(value, str):
        return value if len(value) <= _KEPT else f"{value[:20]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [shorten(entry) for entry in value]
    if isinstance(value, dict):
        return {name: shorten(entry) for name, entry in value.items()}
    return value
