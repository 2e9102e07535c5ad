"""Answers as aiohttp gives them."""

from __future__ import annotations

import json
from typing import Any

from rxpipe.testing.servers.core.wire import Answer

_TEXT = "text/plain; charset=utf-8"

EMPTY = Answer(200, b"", "")
"""A success without a body."""
NOT_FOUND = Answer(404, b"", "application/octet-stream")
"""An unknown path."""
TROUBLE = Answer(500, b"500 Internal Server Error\n\nServer got itself in trouble", _TEXT, {"connection": "close"})
"""An exception that no handler expected, such as a body that is no JSON."""
FORBIDDEN = Answer(403, b"", "")
"""A request with another origin."""


def json_of(value: Any, status: int = 200) -> Answer:
    """Return JSON with spaces, escaped to ASCII."""
    return Answer(status, json.dumps(value).encode(), "application/json; charset=utf-8")


def not_allowed(methods: list[str]) -> Answer:
    """Return the 405 of a path that has other methods."""
    return Answer(405, b"405: Method Not Allowed", _TEXT, {"allow": ",".join(sorted({*methods}))})


def too_large(limit: int) -> Answer:
    """Return the 413 of a body beyond the server's limit in bytes."""
    return Answer(413, f"Maximum request body size {limit} exceeded.".encode(), _TEXT)
