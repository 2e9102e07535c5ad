"""`rxpipe testserver`: a test server in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import typer

from rxpipe.errors import ConfigError
from rxpipe.testing.servers.core.server import serve_forever
from rxpipe.testing.servers.webui import WebUIServer
from rxpipe.testing.servers.webui.flavour import FLAVOURS

if TYPE_CHECKING:
    from rxpipe.testing.servers.core.server import LoopbackServer

_DRAWINGS = ("sketch", "noise")


def serve(
    *, port: int, flavour: str, latency_s: float, draw: str, comfyui: bool = False, version: str | None = None
) -> None:
    """Serve until Ctrl+C; print the URL first.

    Args:
        port: 0 for a free one.
        flavour: of a WebUI server.
        latency_s: seconds a picture.
        draw: sketch or noise.
        comfyui: a ComfyUI server instead of a WebUI one.
        version: the release of ComfyUI, None for the newest that was recorded.

    Raises:
        ConfigError: there is no such flavour, version or drawing, or the port is in use.
        MissingPackage: --comfyui, and websockets is not installed.
    """
    if draw not in _DRAWINGS:
        raise ConfigError([f"--draw: got {draw!r}; allowed: {', '.join(_DRAWINGS)}"])
    if version is not None and not comfyui:
        raise ConfigError(["--version is ComfyUI's: say --comfyui too, or --flavour for another WebUI"])
    drawing = cast("Literal['sketch', 'noise']", draw)
    server = _comfyui(version, latency_s, port, drawing) if comfyui else _webui(flavour, latency_s, port, drawing)
    try:
        serve_forever(server, typer.echo)
    except OSError as error:
        raise ConfigError([f"--port {port}: {error.strerror or error}; 0 takes a free one"]) from error


def _webui(flavour: str, latency_s: float, port: int, draw: Literal["sketch", "noise"]) -> LoopbackServer[Any]:
    if flavour not in FLAVOURS:
        raise ConfigError([f"--flavour: got {flavour!r}; allowed: {', '.join(FLAVOURS)}"])
    return WebUIServer(flavour, latency_s=latency_s, port=port, draw=draw)


def _comfyui(version: str | None, latency_s: float, port: int, draw: Literal["sketch", "noise"]) -> LoopbackServer[Any]:
    from rxpipe.testing.servers.comfyui import RECORDED, ComfyUIServer  # noqa: PLC0415  # needs a package of its own

    try:
        return ComfyUIServer(version or RECORDED[-1], latency_s=latency_s, port=port, draw=draw)
    except ValueError as error:
        raise ConfigError([f"--version: {error}"]) from error
