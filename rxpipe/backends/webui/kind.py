"""WebUI servers in the table of backend kinds."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from rxpipe.backends.kind import BackendKind
from rxpipe.backends.webui.hints import DEFAULT_PORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.base import Backend
    from rxpipe.backends.kind import Found

_UNAUTHORIZED, _OK = 401, 200


def probe(port: int, timeout_s: float) -> Found:
    """Return whether a WebUI with its API listens on a port of this machine; standard library only."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/sdapi/v1/progress?skip_current_image=true")
        response = connection.getresponse()
        body = response.read(4096)
    except (OSError, HTTPException):
        return "no"
    finally:
        connection.close()
    known = response.status == _UNAUTHORIZED or (response.status == _OK and b'"progress"' in body)
    return "yes" if known else "other"


def load() -> Callable[..., Backend]:
    """Return the adapter's class; loads requests."""
    from rxpipe.backends.webui.backend import WebUIBackend  # noqa: PLC0415  # HTTP only where it is used

    return WebUIBackend


WEBUI = BackendKind(
    name="webui",
    load=load,
    schemes=("http", "https"),
    default_port=DEFAULT_PORT,
    ports=tuple(range(DEFAULT_PORT, DEFAULT_PORT + 5)),  # a second copy or a leftover process moves a WebUI on by one
    probe=probe,
    title="WebUI with its API",
    unrecognised="not as a WebUI with its API: start it with --api",
    examples=(f"a WebUI's address such as http://127.0.0.1:{DEFAULT_PORT}",),
)
