"""The few things that need a picture's pixels or its text: its size, whether two are the same, whose text it keeps."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rxpipe.backends.webui.payloads import Size
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures import png

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact


def size_of(source: Artifact, data: bytes) -> Size:
    """The picture's size as the server sees it, a photo turned upright.

    Raises:
        BadImage: not a picture.
    """
    size = png.pixel_size(data)
    if size is not None and size.format == "PNG":
        return Size(size.width, size.height)
    return Size(*source.to_image().size)


def same_pixels(before: bytes, after: bytes) -> bool:
    """Whether two pictures show the same, pixel for pixel; alpha does not count.

    Raises:
        BadResponse: the second one cannot be decoded.
    """
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        old, new = _rgb(before), _rgb(after)
    except (OSError, SyntaxError, ValueError) as error:
        raise BadResponse(f"the picture cannot be decoded: {error}.") from error
    return old.size == new.size and ImageChops.difference(old, new).getbbox() is None


def _rgb(data: bytes) -> Image.Image:
    from PIL import Image, ImageOps  # noqa: PLC0415  # importing rxpipe loads no Pillow

    with Image.open(io.BytesIO(data)) as image:
        return ImageOps.exif_transpose(image).convert("RGB")


def with_source_text(data: bytes, source: bytes) -> bytes:
    """A detailed picture with the text of the picture it was made from, and what ADetailer adds to it.

    The server's own text tells of the pass that was thrown away: one step of Euler at 128x128.
    """
    try:
        before = png.read_text(source).get("parameters")
        added = png.read_text(data).get("parameters")
        if not before or not added:
            return data
        said, ours = png.parse_parameters(before), png.parse_parameters(added)
        details = {key: value for key, value in ours.settings.items() if key.startswith("ADetailer")}
        text = png.format_parameters(said.prompt, said.negative_prompt, {**said.settings, **details})
        return png.insert_text(data, {"parameters": text})
    except (BadImage, ValueError):  # a source that is no PNG, or a text in no known form
        return data
