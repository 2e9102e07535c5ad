"""Masks: white means repaint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from rxpipe.testing.servers.comfyui.nodes.registry import node

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work
    from rxpipe.testing.servers.comfyui.values import Pictures

_OPERATIONS = {
    "multiply": ImageChops.multiply,
    "add": ImageChops.add,
    "subtract": ImageChops.subtract,
    "and": ImageChops.darker,
    "or": ImageChops.lighter,
    "xor": ImageChops.difference,
}


@node("ImageToMask")
def _of_picture(work: Work, values: Values) -> Image.Image:
    del work
    picture: Image.Image = values["image"][0]
    if values["channel"] == "alpha":
        return Image.new("L", picture.size, 255)
    return picture.getchannel(values["channel"][0].upper())


@node("MaskToImage")
def _as_picture(work: Work, values: Values) -> Pictures:
    del work
    mask: Image.Image = values["mask"]
    return (mask.convert("RGB"),)


@node("InvertMask")
def _invert(work: Work, values: Values) -> Image.Image:
    del work
    return ImageChops.invert(values["mask"])


@node("GrowMask")
def _grow(work: Work, values: Values) -> Image.Image:
    del work
    mask: Image.Image = values["mask"]
    size = 2 * abs(values["expand"]) + 1
    if size == 1:
        return mask
    return mask.filter(ImageFilter.MaxFilter(size) if values["expand"] > 0 else ImageFilter.MinFilter(size))


@node("FeatherMask")
def _feather(work: Work, values: Values) -> Image.Image:
    del work
    mask: Image.Image = values["mask"]
    width, height = mask.size
    fade = Image.new("L", mask.size, 255)
    draw = ImageDraw.Draw(fade)
    for side in ("left", "top", "right", "bottom"):
        for place in range(values[side]):
            level = round(255 * (place + 1) / values[side])
            at = place if side in ("left", "top") else (width if side == "right" else height) - 1 - place
            line = (at, 0, at, height) if side in ("left", "right") else (0, at, width, at)
            draw.line(line, fill=level)
    return ImageChops.multiply(mask, fade)


@node("SolidMask")
def _solid(work: Work, values: Values) -> Image.Image:
    del work
    return Image.new("L", (values["width"], values["height"]), round(255 * values["value"]))


@node("ThresholdMask")
def _threshold(work: Work, values: Values) -> Image.Image:
    del work
    mask: Image.Image = values["mask"]
    limit = 255 * values["value"]
    return mask.point(lambda level: 255 if level > limit else 0)


@node("CropMask")
def _crop(work: Work, values: Values) -> Image.Image:
    del work
    mask: Image.Image = values["mask"]
    left, top = values["x"], values["y"]
    return mask.crop((left, top, left + values["width"], top + values["height"]))


@node("MaskComposite")
def _composite(work: Work, values: Values) -> Image.Image:
    del work
    below, above = values["destination"].copy(), values["source"]
    corner = (values["x"], values["y"])
    under = below.crop((*corner, corner[0] + above.width, corner[1] + above.height))
    below.paste(_OPERATIONS[values["operation"]](under, above), corner)
    made: Image.Image = below
    return made
