"""Drawings that fail in SD.Next's ways: an answer without a picture, and one that is refused after the work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.errors import BackendError, BackendFailed
from rxpipe.shown import cut, escaped

if TYPE_CHECKING:
    from rxpipe.backends.http.connection import Connection

DRAWN_IN_VAIN = (
    "It was drawn, and refused afterwards: the server limits how often it is asked. Set its option server_rate_limit "
    "to 0, or more steps or images a batch make fewer requests a minute."
)
_LONGEST = 200
_BAD = ("ERROR", "CRITICAL")


def failed_drawing(connection: Connection, path: str, log: str, *, timeout_s: float) -> BackendFailed:
    """Return the error of an answer without pictures: with the latest error in the server's log, where it tells one.

    Args:
        connection: to the server.
        path: of the request.
        log: path of the log.
        timeout_s: for the question.
    """
    try:
        lines = connection.get(log, timeout_s=timeout_s).json()
    except BackendError:
        lines = []
    said = [str(line) for line in lines if isinstance(line, str | dict)] if isinstance(lines, list) else []
    errors = [line for line in said if any(word in line for word in _BAD)]
    why = f": {cut(escaped(errors[-1]), _LONGEST)}" if errors else ""
    return BackendFailed(
        f"the server's drawing failed{why} ({path}).",
        hint=f"Its log says more, at {log.partition('?')[0]}: out of memory, or no model is loaded, as a rule.",
        retryable=True,
    )
