"""upscale: Lanczos in strips that fit together without a seam.

Pillow resamples along rows first and along columns then, each on its own, so rows may be cut for the one and columns
for the other: strips and the whole give the same pixels, at any factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rxpipe.backends.sketch.frame import Frame, PaintResult, bands, preview_of, preview_size

if TYPE_CHECKING:
    from collections.abc import Generator

    from rxpipe.backends.sketch.field import U8
    from rxpipe.backends.sketch.frame import Work

_SLICE_PX = 262_144
"""Pixels resampled in one slice; some 5 ms."""
_STEPS = 10


def upscale(picture: Image.Image, width: int, height: int) -> Work:
    """The picture at width x height px, in at most ten steps.

    Args:
        picture: RGB or RGBA.
        width: of the result, px, 1 or more.
        height: of the result, px.
    """
    slices = len(_row_cuts(picture, width)) + len(_column_cuts(width, height))
    steps = min(_STEPS, slices)
    preview = np.asarray(preview_of(picture).resize(preview_size(width, height), Image.Resampling.LANCZOS))
    work = enlarge(picture, width, height)
    for step in range(1, steps + 1):
        for _ in range(slices * (step - 1) // steps, slices * step // steps):
            next(work)
            yield None
        yield Frame(step, steps, lambda: preview)
    pixels = yield from work
    return PaintResult(pixels, facts={"upscaler": "Lanczos"})


def enlarge(picture: Image.Image, width: int, height: int) -> Generator[None, None, U8]:
    """The pixels at width x height px, a strip a slice; RGBA is weighted by its alpha."""
    if picture.size == (width, height):
        yield from (None for _ in (*_row_cuts(picture, width), *_column_cuts(width, height)))
        return np.array(picture)
    alpha = picture.mode == "RGBA"
    source = picture.convert("RGBa") if alpha else picture
    wide = Image.new(source.mode, (width, source.height))
    for top, bottom in _row_cuts(picture, width):
        strip = source.crop((0, top, source.width, bottom))
        wide.paste(strip.resize((width, bottom - top), Image.Resampling.LANCZOS), (0, top))
        yield
    out = np.empty((height, width, 4 if alpha else 3), np.uint8)
    for left, right in _column_cuts(width, height):
        strip = wide.crop((left, 0, right, wide.height)).resize((right - left, height), Image.Resampling.LANCZOS)
        out[:, left:right] = np.asarray(strip.convert("RGBA") if alpha else strip)
        yield
    return out


def _row_cuts(picture: Image.Image, width: int) -> list[tuple[int, int]]:
    return bands(picture.height, max(width, picture.width), _SLICE_PX)


def _column_cuts(width: int, height: int) -> list[tuple[int, int]]:
    return bands(width, height, _SLICE_PX)
