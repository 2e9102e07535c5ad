"""Pictures changed all over: inverted, blurred, sharpened, turned, blended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter

from rxpipe.testing.servers.comfyui.nodes.registry import node

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work
    from rxpipe.testing.servers.comfyui.values import Pictures

_BLENDS = {
    "normal": lambda _below, above: above,
    "multiply": ImageChops.multiply,
    "screen": ImageChops.screen,
    "overlay": ImageChops.overlay,
    "soft_light": ImageChops.soft_light,
    "difference": ImageChops.difference,
}
_TURNS = {
    "90 degrees": Image.Transpose.ROTATE_270,  # the server turns clockwise
    "180 degrees": Image.Transpose.ROTATE_180,
    "270 degrees": Image.Transpose.ROTATE_90,
}


@node("ImageBlend")
def _blend(work: Work, values: Values) -> Pictures:
    del work
    above = values["image2"]
    made = []
    for place, below in enumerate(values["image1"]):
        other = above[place % len(above)].convert("RGB")
        other = other if other.size == below.size else other.resize(below.size, Image.Resampling.BICUBIC)
        mixed = _BLENDS[values["blend_mode"]](below, other)
        made.append(Image.blend(below.convert("RGB"), mixed, values["blend_factor"]))
    return tuple(made)


@node("ImageInvert")
def _invert(work: Work, values: Values) -> Pictures:
    del work
    return tuple(ImageChops.invert(picture) for picture in values["image"])


@node("ImageBlur")
def _blur(work: Work, values: Values) -> Pictures:
    del work
    return tuple(picture.filter(ImageFilter.GaussianBlur(values["sigma"])) for picture in values["image"])


@node("ImageSharpen")
def _sharpen(work: Work, values: Values) -> Pictures:
    del work
    sharp = ImageFilter.UnsharpMask(values["sigma"], round(100 * values["alpha"]), 0)
    return tuple(picture.filter(sharp) for picture in values["image"])


@node("ImageFlip")
def _flip(work: Work, values: Values) -> Pictures:
    del work
    upright = values["flip_method"].startswith("x")
    how = Image.Transpose.FLIP_TOP_BOTTOM if upright else Image.Transpose.FLIP_LEFT_RIGHT
    return tuple(picture.transpose(how) for picture in values["image"])


@node("ImageRotate")
def _rotate(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    how = _TURNS.get(values["rotation"])
    return pictures if how is None else tuple(picture.transpose(how) for picture in pictures)


@node("Canny")
def _edges(work: Work, values: Values) -> Pictures:
    del work
    return tuple(picture.convert("L").filter(ImageFilter.FIND_EDGES).convert("RGB") for picture in values["image"])
