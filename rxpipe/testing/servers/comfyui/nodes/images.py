"""Pictures: loading, scaling, cropping, joining."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageFilter, ImageOps

from rxpipe.testing.servers.comfyui.files import split_annotation
from rxpipe.testing.servers.comfyui.nodes.registry import NodeError, Several, node
from rxpipe.testing.servers.comfyui.values import Pictures, open_rgb, png, sized_mask
from rxpipe.testing.servers.drawing import DrawRequest

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work

_METHODS = {
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "area": Image.Resampling.BOX,
    "bicubic": Image.Resampling.BICUBIC,
    "bislerp": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_NO_MASK = (64, 64)  # px; the mask of a picture without transparency
_INVALID = "av.error.InvalidDataError"
_FACTOR = re.compile(r"(?:x(\d+)|(\d+)x)", re.IGNORECASE)


@node("LoadImage", "LoadImageOutput")
def _load(work: Work, values: Values) -> Several:
    picture = _opened(work, values["image"])
    rgba = ImageOps.exif_transpose(picture).convert("RGBA") if "A" in picture.getbands() else None
    mask = Image.new("L", _NO_MASK) if rgba is None else ImageChops.invert(rgba.getchannel("A"))
    return Several(((ImageOps.exif_transpose(picture).convert("RGB"),), mask))


@node("LoadImageMask")
def _load_mask(work: Work, values: Values) -> Image.Image:
    picture = ImageOps.exif_transpose(_opened(work, values["image"])).convert("RGBA")
    if values["channel"] == "alpha":
        return ImageChops.invert(picture.getchannel("A"))
    return picture.getchannel(values["channel"][0].upper())


def _opened(work: Work, name: str) -> Image.Image:
    file = work.files.find(name)
    kind, plain = split_annotation(name)
    if file is None:
        raise NodeError("FileNotFoundError", f"[Errno 2] No such file or directory: '<BASE>/{kind}/{plain}'")
    try:
        picture = Image.open(io.BytesIO(file.data))
        picture.load()
    except (OSError, ValueError, SyntaxError) as error:
        message = f"[Errno 1094995529] Invalid data found when processing input: '<BASE>/{kind}/{plain}'"
        raise NodeError(_INVALID, message) from error
    return picture


@node("ETN_LoadImageBase64")
def _load_base64(work: Work, values: Values) -> Several:
    import base64  # noqa: PLC0415  # only this node needs it

    del work
    picture = Image.open(io.BytesIO(base64.b64decode(values["image"])))
    picture.load()
    rgba = picture.convert("RGBA")
    return Several(((picture.convert("RGB"),), ImageChops.invert(rgba.getchannel("A"))))


# -- size -------------------------------------------------------------------------------------------------------------


@node("ImageScale")
def _scale(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    width, height = values["width"], values["height"]
    if not width and not height:
        return pictures
    own_width, own_height = pictures[0].size
    width = width or max(1, round(own_width * height / own_height))
    height = height or max(1, round(own_height * width / own_width))
    return tuple(_scaled(picture, (width, height), values["upscale_method"], values["crop"]) for picture in pictures)


def _scaled(picture: Image.Image, size: tuple[int, int], method: str, crop: str = "disabled") -> Image.Image:
    if crop == "center":
        picture = _centred(picture, size[0] / size[1])
    return picture.resize(size, _METHODS[method])


def _centred(picture: Image.Image, aspect: float) -> Image.Image:
    """Return the middle of a picture with this ratio of width to height."""
    width, height = picture.size
    left = round((width - height * aspect) / 2) if width / height > aspect else 0
    top = round((height - width / aspect) / 2) if width / height < aspect else 0
    return picture.crop((left, top, width - left, height - top))


@node("ImageScaleBy")
def _scale_by(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    width, height = (max(1, round(side * values["scale_by"])) for side in pictures[0].size)
    return tuple(_scaled(picture, (width, height), values["upscale_method"]) for picture in pictures)


@node("ImageScaleToTotalPixels")
def _scale_to_pixels(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    width, height = pictures[0].size
    factor = math.sqrt(values["megapixels"] * 1024 * 1024 / (width * height))
    step = values.get("resolution_steps", 1)
    size = (max(step, round(width * factor / step) * step), max(step, round(height * factor / step) * step))
    return tuple(_scaled(picture, size, values["upscale_method"]) for picture in pictures)


@node("ImageScaleToMaxDimension")
def _scale_to_side(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    factor = values["largest_size"] / max(pictures[0].size)
    width, height = (max(1, round(side * factor)) for side in pictures[0].size)
    return tuple(_scaled(picture, (width, height), values["upscale_method"]) for picture in pictures)


@node("ImageUpscaleWithModel")
def _upscale(work: Work, values: Values) -> Pictures:
    """Draw each picture as large as the model makes it: its factor is in its name, 4 where there is none."""
    pictures: Pictures = values["image"]
    name = values["upscale_model"].name
    found = _FACTOR.search(name)
    factor = int(found[1] or found[2]) if found else 4
    width, height = (side * factor for side in pictures[0].size)
    made = []
    for number, picture in enumerate(pictures, 1):
        request = DrawRequest(
            kind="upscale", width=width, height=height, source=png(picture), options={"upscaler_1": name}
        )
        made.append(open_rgb(work.draw(request)))
        work.step(number, len(pictures), None)
    return tuple(made)


@node("GetImageSize")
def _size(work: Work, values: Values) -> Several:
    pictures: Pictures = values["image"]
    width, height = pictures[0].size
    work.send_text(f"width: {width}, height: {height}\n batch size: {len(pictures)}")
    return Several((width, height, len(pictures)))


# -- parts and wholes -------------------------------------------------------------------------------------------------


@node("ImageCrop")
def _crop(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    width, height = pictures[0].size
    left, top = min(values["x"], width - 1), min(values["y"], height - 1)
    box = (left, top, min(width, left + values["width"]), min(height, top + values["height"]))
    return tuple(picture.crop(box) for picture in pictures)


@node("ImageCompositeMasked")
def _composite(work: Work, values: Values) -> Pictures:
    del work
    destination, sources, mask = values["destination"], values["source"], values.get("mask")
    made = []
    for place, below in enumerate(destination):
        above = sources[place % len(sources)]
        above = above.resize(below.size) if values["resize_source"] else above
        shows = Image.new("L", above.size, 255) if mask is None else sized_mask(mask, above.size)
        result = below.copy()
        result.paste(above, (values["x"], values["y"]), shows)
        made.append(result)
    return tuple(made)


@node("ImageBatch")
def _batch(work: Work, values: Values) -> Pictures:
    del work
    first, second = values["image1"], values["image2"]
    size = first[0].size
    return (*first, *(picture if picture.size == size else picture.resize(size) for picture in second))


@node("ImagePadForOutpaint")
def _pad(work: Work, values: Values) -> Several:
    del work
    pictures: Pictures = values["image"]
    width, height = pictures[0].size
    size = (width + values["left"] + values["right"], height + values["top"] + values["bottom"])
    corner = (values["left"], values["top"])
    padded = []
    for picture in pictures:
        whole = Image.new("RGB", size, (127, 127, 127))
        whole.paste(picture, corner)
        padded.append(whole)
    mask = Image.new("L", size, 255)
    mask.paste(0, (*corner, corner[0] + width, corner[1] + height))
    soft = mask.filter(ImageFilter.GaussianBlur(values["feathering"] / 4)) if values["feathering"] else mask
    return Several((tuple(padded), ImageChops.lighter(mask, soft)))


@node("SplitImageWithAlpha")
def _split_alpha(work: Work, values: Values) -> Several:
    del work
    pictures: Pictures = values["image"]
    return Several((pictures, Image.new("L", pictures[0].size)))


@node("ImageStitch")
def _stitch(work: Work, values: Values) -> Pictures:
    del work
    first: Image.Image = values["image1"][0]
    if values.get("image2") is None:
        return (first,)
    second: Image.Image = values["image2"][0]
    across = values["direction"] in ("left", "right")
    if values["match_image_size"]:
        factor = first.height / second.height if across else first.width / second.width
        second = second.resize((max(1, round(second.width * factor)), max(1, round(second.height * factor))))
    before, after = (second, first) if values["direction"] in ("left", "up") else (first, second)
    gap = values["spacing_width"]
    corner = (before.width + gap, 0) if across else (0, before.height + gap)
    size = (max(before.width, corner[0] + after.width), max(before.height, corner[1] + after.height))
    whole = Image.new("RGB", size, values["spacing_color"])
    whole.paste(before, (0, 0))
    whole.paste(after, corner)
    return (whole,)


@node("RepeatImageBatch")
def _repeat(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    amount: int = values["amount"]
    return pictures * amount


@node("ImageFromBatch")
def _from_batch(work: Work, values: Values) -> Pictures:
    del work
    pictures: Pictures = values["image"]
    first = min(values["batch_index"], len(pictures) - 1)
    return pictures[first : first + values["length"]]


@node("EmptyImage")
def _plain(work: Work, values: Values) -> Pictures:
    del work
    picture = Image.new("RGB", (values["width"], values["height"]), f"#{values['color']:06x}")
    count: int = values["batch_size"]
    return (picture,) * count
