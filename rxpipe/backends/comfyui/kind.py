"""ComfyUI servers in the table of backend kinds."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.hints import DEFAULT_PORT
from rxpipe.backends.kind import BackendKind
from rxpipe.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rxpipe.backends.base import Backend
    from rxpipe.backends.kind import Found

_PATH, _SIGN, _OK = "/prompt", b"queue_remaining", 200
_CONNECT_S, _ANSWER_S = 1.0, 2.0


def probe(port: int, timeout_s: float) -> Found:
    """Return whether a ComfyUI listens on a port of this machine; standard library only."""
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", _PATH)
        response = connection.getresponse()
        body = response.read(4096)
    except (OSError, HTTPException):
        return "no"
    finally:
        connection.close()
    return "yes" if response.status == _OK and _SIGN in body else "other"


def answers(url: str, options: Mapping[str, Any]) -> Found:
    """Return whether a ComfyUI answers at an address, asked with the credentials and headers of *options*."""
    from rxpipe.backends.comfyui.hints import parse_address  # noqa: PLC0415  # HTTP only where it is used
    from rxpipe.backends.http.connection import Connection  # noqa: PLC0415  # see above

    address = parse_address(url, auth=options.get("auth"), headers=options.get("headers"))
    connection = Connection(address, connect_timeout_s=_CONNECT_S)
    try:
        answer = connection.exchange("GET", _PATH, timeout_s=_ANSWER_S)
    except BackendError:
        return "no"
    finally:
        connection.close()
    return "yes" if answer.status == _OK and _SIGN in answer.body else "other"


def load() -> Callable[..., Backend]:
    """Return the adapter's class; loads requests."""
    from rxpipe.backends.comfyui.backend import ComfyUIBackend  # noqa: PLC0415  # HTTP only where it is used

    return ComfyUIBackend


COMFYUI = BackendKind(
    name="comfyui",
    load=load,
    schemes=("comfyui",),
    default_port=DEFAULT_PORT,
    ports=(DEFAULT_PORT,),
    probe=probe,
    title="ComfyUI",
    unrecognised="not as a ComfyUI",
    needs=("websockets",),
    answers=answers,
    examples=(f"a ComfyUI's such as comfyui://127.0.0.1:{DEFAULT_PORT}",),
)
