"""Thumbnails of a report: small enough that a page with any number of pictures stays a few megabytes."""

from __future__ import annotations

import base64
import io
from functools import partial
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage
from rxpipe.pictures.opening import opened
from rxpipe.threads import in_parallel

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from PIL import Image

    from rxpipe.views.report.shown_run import Picture

__all__ = ["MOST", "thumbnail", "thumbnails"]

MOST = 600
"""Pictures that a page shows; the others stand in its table of failures and in the trace only."""

_SIZES = ((24, 360, 82), (120, 220, 78), (MOST, 132, 72))
_THREADS = 4


def thumbnails(pictures: Sequence[Picture]) -> dict[str, str]:
    """Return a data URL by artifact id, for at most MOST pictures; without those that cannot be read."""
    size, quality = next(((px, q) for most, px, q in _SIZES if len(pictures) <= most), _SIZES[-1][1:])
    shown = [picture for picture in pictures[:MOST] if picture.source is not None]
    calls = [partial(_named, picture, size, quality) for picture in shown]
    made = in_parallel(calls, at_a_time=_THREADS)  # decoders release the interpreter's lock
    return {artifact_id: url for artifact_id, url in filter(None, made) if url is not None}


def _named(picture: Picture, size: int, quality: int) -> tuple[str, str | None]:
    return picture.artifact_id, thumbnail(picture.source, size, quality)


def thumbnail(source: Path | bytes | None, size: int, quality: int = 82) -> str | None:
    """Return a JPEG of at most *size* px as a data URL; None of what cannot be read."""
    if source is None:
        return None
    try:
        with opened(source) as image:
            image.draft("RGB", (size * 2, size * 2))
            image.thumbnail((size, size), reducing_gap=2.0)
            small = _on_grey(image)
    except BadImage:
        return None
    target = io.BytesIO()
    small.save(target, "JPEG", quality=quality, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(target.getvalue()).decode()


def _on_grey(image: Image.Image) -> Image.Image:
    """Return a picture without transparency, which a JPEG has not."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    whole = image.convert("RGBA")
    ground = whole.copy()
    ground.paste((128, 128, 128, 255), (0, 0, *ground.size))
    ground.alpha_composite(whole)
    return ground.convert("RGB")
