"""`rxpipe testserver`: the test server in the foreground."""

from __future__ import annotations

from typing import Literal, cast

import typer

from rxpipe.errors import ConfigError
from rxpipe.testing.servers.webui import WebUIServer, serve_forever
from rxpipe.testing.servers.webui.flavour import FLAVOURS

_DRAWINGS = ("sketch", "noise")


def serve(*, port: int, flavour: str, latency_s: float, draw: str) -> None:
    """Serve until Ctrl+C; print the URL first.

    Raises:
        ConfigError: there is no such flavour, or the port is in use.
    """
    if flavour not in FLAVOURS:
        raise ConfigError([f"--flavour: got {flavour!r}; allowed: {', '.join(FLAVOURS)}"])
    if draw not in _DRAWINGS:
        raise ConfigError([f"--draw: got {draw!r}; allowed: {', '.join(_DRAWINGS)}"])
    server = WebUIServer(
        flavour,
        latency_s=latency_s,
        port=port,
        draw=cast("Literal['sketch', 'noise']", draw),
    )
    try:
        serve_forever(server, typer.echo)
    except OSError as error:
        raise ConfigError([f"--port {port}: {error.strerror or error}; 0 takes a free one"]) from error
