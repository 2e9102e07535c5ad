"""The drawing functions by name, each loaded only where it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from rxpipe.testing.servers.drawing import noise

if TYPE_CHECKING:
    from rxpipe.testing.servers.drawing import Draw


def drawing_of(draw: Draw | Literal["noise", "sketch"]) -> Draw:
    """Return the drawing function that `draw` names: "noise", or "sketch" for the embedded backend.

    Raises:
        ValueError: it is neither a name nor a function.
        MissingPackage: "sketch" without its packages.
    """
    if draw == "sketch":
        from rxpipe.testing.servers.drawn_by import sketched  # noqa: PLC0415 - noise needs no backend

        return sketched()
    if isinstance(draw, str) and draw != "noise":
        raise ValueError(f'draw must be "noise", "sketch" or a function, not {draw!r}')
    return noise if draw == "noise" else draw
