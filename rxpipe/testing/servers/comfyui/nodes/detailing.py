"""Impact-Pack's FaceDetailer and the detectors it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFilter

from rxpipe.testing.servers.comfyui.nodes.registry import Several, node
from rxpipe.testing.servers.comfyui.nodes.sampling import Sampling, sample
from rxpipe.testing.servers.comfyui.values import Guider, Named, Pictures, Sigmas, decoded, encoded

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in px."""

_FIXED = {
    "one-face.onnx": ((0.25, 0.25, 0.5, 0.5),),
    "two-faces.onnx": ((0.1, 0.2, 0.35, 0.45), (0.6, 0.5, 0.85, 0.75)),
    "no-face.onnx": (),
}
_CELL = 8


@node("UltralyticsDetectorProvider")
def _ultralytics(work: Work, values: Values) -> Several:
    del work
    detector = Named("detector", values["model_name"])
    return Several((detector, detector))


@node("ONNXDetectorProvider")
def _onnx(work: Work, values: Values) -> Named:
    del work
    return Named("detector", values["model_name"])


@node("FaceDetailer")
def _detail(work: Work, values: Values) -> Several:
    picture: Image.Image = values["image"][0]
    found = [box for box in _found(work, values["bbox_detector"], picture) if _is_large(box, values["drop_size"])]
    mask = Image.new("L", picture.size)
    result, parts = picture, []
    for number, box in enumerate(found):
        ImageDraw.Draw(mask).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill=255)
        if not values["force_inpaint"] and min(box[2] - box[0], box[3] - box[1]) > values["guide_size"]:
            continue
        result, part = _redrawn(work, values, result, box, number)
        parts.append(part)
    cropped: Pictures = tuple(parts) or (Image.new("RGB", (64, 64)),)
    return Several(((result,), cropped, cropped, mask, None, ()))


def _found(work: Work, detector: Named, picture: Image.Image) -> list[Box]:
    fixed = _FIXED.get(detector.name)
    if fixed is None:
        return work.faces(picture)
    width, height = picture.size
    return [(int(a * width), int(b * height), int(c * width), int(d * height)) for a, b, c, d in fixed]


def _is_large(box: Box, drop_size: int) -> bool:
    return box[2] - box[0] > drop_size and box[3] - box[1] > drop_size


def _redrawn(
    work: Work, values: Values, picture: Image.Image, box: Box, number: int
) -> tuple[Image.Image, Image.Image]:
    """Return the picture with one face drawn anew, and that part of it."""
    region = _region(box, values["bbox_crop_factor"], picture.size)
    crop = picture.crop(region)
    shorter = min(box[2] - box[0], box[3] - box[1]) if values["guide_size_for"] else min(crop.size)
    factor = max(1.0, values["guide_size"] / shorter)
    factor = min(factor, max(1.0, values["max_size"] / max(crop.size)))
    size = tuple(max(_CELL, round(side * factor / _CELL) * _CELL) for side in crop.size)
    steps = values["steps"] if values["denoise"] > 0 else 0
    guider = Guider(values["model"], values["positive"], values["negative"], values["cfg"])
    sampling = Sampling(guider, values["seed"] + number, Sigmas(steps, 0, steps, values["denoise"]))
    large = sample(work, encoded((crop.resize((size[0], size[1]), Image.Resampling.LANCZOS),)), sampling)
    part = decoded(replace(large, done=1.0))[0].resize(crop.size, Image.Resampling.LANCZOS)
    shows = Image.new("L", picture.size)
    grown = values["bbox_dilation"]
    ImageDraw.Draw(shows).rectangle((box[0] - grown, box[1] - grown, box[2] + grown, box[3] + grown), fill=255)
    shows = shows.filter(ImageFilter.GaussianBlur(values["feather"])) if values["feather"] else shows
    result = picture.copy()
    result.paste(part, region[:2], shows.crop(region))
    return result, part


def _region(box: Box, factor: float, size: tuple[int, int]) -> Box:
    """Return the box with what is around it, within the picture."""
    width, height = (box[2] - box[0]) * factor, (box[3] - box[1]) * factor
    across, down = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return (
        max(0, int(across - width / 2)),
        max(0, int(down - height / 2)),
        min(size[0], int(across + width / 2)),
        min(size[1], int(down + height / 2)),
    )
