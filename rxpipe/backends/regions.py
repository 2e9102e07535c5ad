"""Masks and parts of a picture: what is redrawn, cut out and pasted back by itself.

Only Pillow is used; a mask is grey, white where the picture is redrawn.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.backends.sizes import Size, drawable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from PIL import Image

SURROUNDINGS, ORIGINAL, NOISE, NOTHING = range(4)
"""What is under a mask at first, by the numbers of `inpainting_fill`."""
_BLURS = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
"""Radius in px and how often it is laid under: from far colours to near ones."""
_OPAQUE = 255


class Box(NamedTuple):
    """A part of a picture, px."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Its width and height."""
        return Size(self.right - self.left, self.bottom - self.top)


@dataclass(frozen=True, slots=True)
class Region:
    """A part of a picture that is redrawn by itself.

    box: of the picture. size: at which it is drawn, px. mask: encoded, of the box. seed_offset: added to the seed.
    """

    box: Box
    size: Size
    mask: bytes = field(repr=False)
    seed_offset: int = 0


def encoded(image: Image.Image) -> bytes:
    """Return a picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def blurred(mask: Image.Image, radius: int) -> Image.Image:
    """Return a mask with a soft edge of *radius* px."""
    from PIL import ImageFilter  # noqa: PLC0415  # importing rxpipe loads no Pillow

    return mask.filter(ImageFilter.GaussianBlur(radius)) if radius else mask


def box_mask(size: Size, boxes: Iterable[Box], *, grow: int) -> Image.Image:
    """Return the mask of some boxes, each widened by *grow* px (below 0: narrowed), within a picture of *size*."""
    from PIL import Image, ImageDraw  # noqa: PLC0415  # importing rxpipe loads no Pillow

    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for box in boxes:
        corners = (box.left - grow, box.top - grow, box.right + grow - 1, box.bottom + grow - 1)
        if corners[0] <= corners[2] and corners[1] <= corners[3]:
            draw.rectangle(corners, fill=_OPAQUE)
    return mask


def outline_mask(size: Size, corners: Sequence[tuple[float, float]], *, grow: int) -> Image.Image:
    """Return the mask of what *corners* enclose, widened by *grow* px (below 0: narrowed), in a picture of *size*."""
    from PIL import Image, ImageDraw  # noqa: PLC0415  # importing rxpipe loads no Pillow

    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    draw.polygon(corners, fill=_OPAQUE)
    if grow:
        edge = _OPAQUE if grow > 0 else 0
        draw.line([*corners, *corners[:2]], fill=edge, width=2 * abs(grow) + 1, joint="curve")
    return mask


def region_of(mask: Image.Image, *, padding: int, drawn: Size, seed_offset: int = 0) -> Region | None:
    """Return the part of a picture that holds its mask; None where that is black everywhere.

    Args:
        mask: of the whole picture.
        padding: px around what is white.
        drawn: the size at which the part is drawn; the part gets its shape.
        seed_offset: of the region.
    """
    found = mask.getbbox()
    if found is None:
        return None
    box = _shaped(Box(*found), padding, Size(*mask.size), drawn)
    return Region(box, drawable(drawn), encoded(mask.crop(box)), seed_offset)


def _shaped(box: Box, padding: int, picture: Size, drawn: Size) -> Box:
    left, top = max(0, box.left - padding), max(0, box.top - padding)
    right, bottom = min(picture.width, box.right + padding), min(picture.height, box.bottom + padding)
    wide, high = right - left, bottom - top
    if wide * drawn.height < high * drawn.width:
        left, right = _widened(left, right, round(high * drawn.width / drawn.height), picture.width)
    else:
        top, bottom = _widened(top, bottom, round(wide * drawn.height / drawn.width), picture.height)
    return Box(left, top, right, bottom)


def _widened(low: int, high: int, wanted: int, limit: int) -> tuple[int, int]:
    """Return a stretch of the wanted length round the same middle, shifted into 0..limit; shorter where that ends."""
    wanted = min(wanted, limit)
    low -= max(0, wanted - (high - low)) // 2
    low = max(0, min(low, limit - wanted))
    return low, max(high, low + wanted) if low + wanted <= limit else limit


def fitted(picture: Image.Image, size: Size, *, crop: bool) -> Image.Image:
    """Return a picture brought to a size: cut to fit, or stretched."""
    from PIL import Image, ImageOps  # noqa: PLC0415  # importing rxpipe loads no Pillow

    if picture.size == tuple(size):
        return picture
    if crop:
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)
    return picture.resize(size, Image.Resampling.LANCZOS)


def on_ground(picture: Image.Image, size: Size) -> Image.Image:
    """Return the whole picture within *size*, on a blurred copy of itself."""
    from PIL import Image, ImageFilter, ImageOps  # noqa: PLC0415  # importing rxpipe loads no Pillow

    inner = ImageOps.contain(picture, size, Image.Resampling.LANCZOS)
    ground = picture.resize((64, 64), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(4)).resize(size)
    ground.paste(inner, ((size.width - inner.width) // 2, (size.height - inner.height) // 2))
    return ground


def filled(picture: Image.Image, mask: Image.Image, fill: int, seed: int) -> Image.Image:
    """Return what a picture is redrawn from: under the mask the colours around it, or noise of *seed*.

    Args:
        picture: RGB.
        mask: of the picture's size.
        fill: SURROUNDINGS or NOISE.
        seed: of the noise.
    """
    from PIL import Image, ImageChops, ImageFilter  # noqa: PLC0415  # importing rxpipe loads no Pillow

    result = picture.copy()
    if fill == NOISE:
        noise = random.Random(seed).randbytes(picture.width * picture.height * 3)  # noqa: S311  # a picture
        result.paste(Image.frombytes("RGB", picture.size, noise), mask=mask)
        return result
    known = Image.new("RGBa", picture.size)
    known.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageChops.invert(mask))
    ground = Image.new("RGBA", picture.size)
    for radius, times in _BLURS:
        layer = known.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            ground.alpha_composite(layer)
    result.paste(ground.convert("RGB"), mask=mask)
    return result
