"""Who may use the server: pages of other sites may not, and what a proxy in front asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rxpipe.testing.servers.comfyui.answers import FORBIDDEN
from rxpipe.testing.servers.core.wire import Answer

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.engine import Setup
    from rxpipe.testing.servers.comfyui.versions import Version
    from rxpipe.testing.servers.core.wire import Request

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def refusal(setup: Setup, version: Version, request: Request) -> Answer | None:
    """Return the refusal of a request from another site or without the proxy's credentials, None where it may pass."""
    headers = request.headers
    if setup.credentials is not None and headers.get("authorization") != setup.credentials:
        return Answer(401, b"Unauthorized", "text/plain; charset=utf-8", {"www-authenticate": "Bearer"})
    if setup.cors is not None:
        return None
    if headers.get("sec-fetch-site") == "cross-site" and version.has("fetch site check"):
        return FORBIDDEN
    host, origin = headers.get("host", ""), headers.get("origin")
    if origin is None or host.rsplit(":", 1)[0] not in _LOOPBACK:
        return None
    return None if urlsplit(origin).netloc.lower() == host.lower() else FORBIDDEN


def with_cors(setup: Setup, answer: Answer) -> Answer:
    """Return the answer with the headers of --enable-cors-header, unchanged without it."""
    if setup.cors is None:
        return answer
    headers = {
        "access-control-allow-origin": setup.cors,
        "access-control-allow-methods": "POST, GET, DELETE, PUT, OPTIONS",
        "access-control-allow-headers": "Content-Type, Authorization",
        "access-control-allow-credentials": "true",
    }
    return replace(answer, headers={**answer.headers, **headers})
