"""img2img with a mask: what is white there is redrawn, and every pixel that is black there stays as it was."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from rxpipe.backends.sketch.frame import PaintResult, bands, preview_of, relay

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rxpipe.backends.sketch.field import U8
    from rxpipe.backends.sketch.frame import Work

_GROUND_PX = 24
"""The side of the picture whose colours fill the mask; so small that only the surroundings are left of it."""
_SMALLEST_PX = 64
_FILL, _ORIGINAL, _NOISE = 0, 1, 2


class Box(NamedTuple):
    """A part of a picture, px."""

    left: int
    top: int
    right: int
    bottom: int


@dataclass(frozen=True, slots=True)
class Inpainting:
    """What is redrawn, and how.

    mask: grey, of the picture's size. blur: px of soft edge, inside the mask. alone: the part in the mask is redrawn by
    itself, with *padding* px around it. fill: what is under the mask at first, by the numbers of `inpainting_fill`.
    """

    mask: Image.Image
    blur: int = 4
    alone: bool = False
    padding: int = 32
    fill: int = _ORIGINAL

    def box(self) -> Box | None:
        """The part of the picture that is redrawn; None where the mask is black everywhere."""
        found = self.mask.getbbox()
        if found is None:
            return None
        width, height = self.mask.size
        if not self.alone:
            return Box(0, 0, width, height)
        left, right = _widened(found[0] - self.padding, found[2] + self.padding, width)
        top, bottom = _widened(found[1] - self.padding, found[3] + self.padding, height)
        return Box(left, top, right, bottom)


def inpaint(photo: U8, plan: Inpainting, seed: int, redraw: Callable[[U8], Work]) -> Work:
    """Redraw what the mask shows.

    Args:
        photo: height x width x 3, 8 bit.
        plan: its mask is of the photo's size.
        seed: of the noise under the mask.
        redraw: the work that redraws a part of the photo.
    """
    box = plan.box()
    if box is None:
        return PaintResult(photo, unchanged=True, warnings=("the mask shows nothing to redraw",))
    mask = plan.mask.crop(box)
    region = photo[box.top : box.bottom, box.left : box.right]
    ground = _ground(region, mask, plan.fill, seed)
    yield None
    share = _share(mask, plan.blur)
    yield None
    result = yield from _framed(redraw(ground), region, share)
    out = photo.copy()
    yield from _mix(out[box.top : box.bottom, box.left : box.right], result.pixels, share)
    return PaintResult(out, facts=result.facts)


def _widened(low: int, high: int, limit: int) -> tuple[int, int]:
    """A stretch of at least 64 px where there is room for it."""
    lacking = max(0, _SMALLEST_PX - (high - low))
    low, high = low - lacking // 2, high + (lacking + 1) // 2
    return max(0, low), min(limit, high)


def _share(mask: Image.Image, blur: int) -> U8:
    """How much of the redrawn picture shows, 0..255; nothing where the mask is black."""
    if blur == 0:
        return np.asarray(mask)
    soft = np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)), np.uint16)
    return (np.asarray(mask, np.uint16) * soft // 255).astype(np.uint8)


def _ground(region: U8, mask: Image.Image, fill: int, seed: int) -> U8:
    """What the part is redrawn from: under the mask the picture, the colours around it, noise, or grey."""
    if fill == _ORIGINAL:
        return region
    image = Image.fromarray(region)
    if fill == _FILL:
        under = _surroundings(image, mask)
    elif fill == _NOISE:
        under = Image.fromarray(np.random.Generator(np.random.PCG64([seed, 11])).integers(0, 256, region.shape, "u1"))
    else:
        under = Image.new("RGB", image.size, (128, 128, 128))
    image.paste(under, mask=mask)
    return np.asarray(image)


def _surroundings(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The colours around the mask, carried into it."""
    size = (_GROUND_PX, _GROUND_PX)
    known = image.copy()
    known.paste((0, 0, 0), mask=mask)
    share = np.asarray(mask.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(3)), np.float32)
    small = np.asarray(known.resize(size, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(3)), np.float32)
    light = small / np.maximum(1 - share[:, :, None] / 255, 1 / 64)
    return Image.fromarray(np.clip(light, 0, 255).astype(np.uint8)).resize(image.size, Image.Resampling.BICUBIC)


def _framed(work: Work, region: U8, share: U8) -> Work:
    """Some work, with previews that show only what is redrawn."""
    before = preview_of(Image.fromarray(region))
    where = Image.fromarray(share).resize(before.size, Image.Resampling.BILINEAR)

    def masked(preview: Callable[[], U8]) -> U8:
        now = Image.fromarray(preview()).resize(before.size, Image.Resampling.BILINEAR)
        return np.asarray(Image.composite(now, before, where))

    return relay(work, lambda frame: (replace(frame, preview=partial(masked, frame.preview)),))


def _mix(out: U8, drawn: U8, share: U8) -> Generator[None, None, None]:
    """Lay the redrawn part over the picture; where *share* is 0 nothing is written."""
    for top, bottom in bands(*out.shape[:2]):
        part, weight = out[top:bottom], share[top:bottom, :, None].astype(np.float32) / 255
        light = part + (drawn[top:bottom].astype(np.float32) - part) * weight
        np.copyto(part, (light + 0.5).astype(np.uint8), where=weight > 0)
        yield
