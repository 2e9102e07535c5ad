"""ComfyUI servers in the table of backend kinds."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.hints import DEFAULT_PORT
from rxpipe.backends.kind import BackendKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.base import Backend
    from rxpipe.backends.kind import Found

_OK = 200


def probe(port: int, timeout_s: float) -> Found:
    """Return whether a ComfyUI listens on a port of this machine; standard library only."""
    return probe_at("127.0.0.1", port, timeout_s)


def probe_at(host: str, port: int, timeout_s: float) -> Found:
    """Return whether a ComfyUI listens at an address."""
    connection = HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", "/prompt")
        response = connection.getresponse()
        body = response.read(4096)
    except (OSError, HTTPException):
        return "no"
    finally:
        connection.close()
    return "yes" if response.status == _OK and b"queue_remaining" in body else "other"


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
    examples=(f"a ComfyUI's such as comfyui://127.0.0.1:{DEFAULT_PORT}",),
)
