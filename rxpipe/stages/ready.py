"""Ready-made stages on pictures: resize, crop, border, watermark, save_as. Pillow only; no backend is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rxpipe.errors import ConfigError
from rxpipe.pictures.encoding import encode
from rxpipe.pictures.sheets import font
from rxpipe.stages.functions import image_stage

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact

Side = Annotated[int, Field(ge=1, le=16384)]
Place = Annotated[int, Field(ge=0)]
Corner = Literal["top left", "top right", "bottom left", "bottom right", "center"]


@image_stage
def resize(
    artifact: Artifact,
    width: Side | None = None,
    height: Side | None = None,
    *,
    fit: Literal["inside", "exact"] = "inside",
) -> Image.Image:
    """Bring the picture to a size in px, at most 16384 a side, with Pillow's Lanczos filter.

    Args:
        artifact: the image. width, height: one of them is enough, the other follows.
        fit: inside: it keeps its shape and fits into the box; exact: it is stretched to it.
    """
    from PIL import Image as PillowImage  # importing rxpipe loads no Pillow  # noqa: PLC0415

    picture = artifact.to_image()
    if width is None and height is None:
        raise ConfigError(["resize: neither width nor height was given; give at least one, in px"])
    by_width = (width or 0) / picture.width or (height or 0) / picture.height
    by_height = (height or 0) / picture.height or by_width
    if fit == "inside":
        by_width = by_height = min(by_width, by_height)
    size = max(1, round(picture.width * by_width)), max(1, round(picture.height * by_height))
    picture = picture.convert("RGBA" if picture.mode in {"P", "PA"} else picture.mode)
    return picture.resize(size, PillowImage.Resampling.LANCZOS)


@image_stage
def crop(
    artifact: Artifact, width: Side, height: Side, *, x: Place | None = None, y: Place | None = None
) -> Image.Image:
    """Cut a box of *width* x *height* px out of the picture, or what of the box lies on it.

    Args:
        artifact: the image. width, height: of the box, 1 to 16384 px.
        x, y: its upper left corner in px; None: the box lies in the middle.
    """
    picture = artifact.to_image()
    left = max(0, (picture.width - width) // 2) if x is None else x
    top = max(0, (picture.height - height) // 2) if y is None else y
    box = (left, top, min(left + width, picture.width), min(top + height, picture.height))
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ConfigError(
            [f"crop: the box begins at {left}, {top}, and the picture has {picture.width} x {picture.height} px"]
        )
    return picture.crop(box)


@image_stage
def border(artifact: Artifact, px: Annotated[int, Field(ge=0, le=4096)] = 16, colour: str = "white") -> Image.Image:
    """Put a border of *px* pixels around the picture, in a colour by name or as "#rrggbb"."""
    from PIL import ImageOps  # importing rxpipe loads no Pillow  # noqa: PLC0415

    return ImageOps.expand(artifact.to_image().convert("RGB"), border=px, fill=_colour("border", colour))


@image_stage
def watermark(
    artifact: Artifact,
    text: Annotated[str, Field(min_length=1)],
    *,
    corner: Corner = "bottom right",
    opacity: Annotated[float, Field(ge=0, le=1)] = 0.5,
    size: Annotated[float, Field(gt=0, le=1)] = 0.05,
    colour: str = "white",
) -> Image.Image:
    """Write a text on the picture.

    Args:
        artifact: the image. text: what is written.
        corner: where. opacity: 0 (nothing is seen) to 1. size: height of the letters, as a part of the picture's.
        colour: by name or as "#rrggbb".
    """
    from PIL import Image as PillowImage  # importing rxpipe loads no Pillow  # noqa: PLC0415
    from PIL import ImageColor, ImageDraw  # as above  # noqa: PLC0415

    picture = artifact.to_image()
    letters, gap = font(round(picture.height * size)), max(2, picture.height // 50)
    layer = PillowImage.new("RGBA", picture.size, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    box = pen.textbbox((0, 0), text, font=letters)
    width, height = box[2] - box[0], box[3] - box[1]
    places = {
        "left": gap, "top": gap, "right": picture.width - width - gap, "bottom": picture.height - height - gap,
    }  # fmt: skip
    words = corner.split()
    x = places.get(words[-1], (picture.width - width) // 2)
    y = places.get(words[0], (picture.height - height) // 2)
    ink = (*ImageColor.getrgb(_colour("watermark", colour))[:3], round(255 * opacity))
    pen.text((x - box[0], y - box[1]), text, fill=ink, font=letters)
    made = PillowImage.alpha_composite(picture.convert("RGBA"), layer)
    return made if picture.mode in {"RGBA", "LA", "PA"} else made.convert("RGB")


@image_stage
def save_as(
    artifact: Artifact,
    format: Literal["png", "jpeg", "webp"],  # what everybody calls it  # noqa: A002
    quality: Annotated[int, Field(ge=1, le=100)] = 90,
) -> Artifact:
    """Encode the picture as PNG, JPEG or WebP from here on; its metadata goes with it.

    Args:
        artifact: the image. format: what it becomes; a JPEG has no transparency, which turns white.
        quality: of JPEG and WebP, 1 to 100.
    """
    picture = artifact.to_image()
    return artifact.with_image(picture) if format == "png" else artifact.with_data(encode(picture, format, quality))


def _colour(where: str, colour: str) -> str:
    from PIL import ImageColor  # importing rxpipe loads no Pillow  # noqa: PLC0415

    try:
        ImageColor.getrgb(colour)
    except ValueError:
        raise ConfigError([f'{where}: {colour!r} is no colour; write a name such as "white", or "#rrggbb"']) from None
    return colour
