"""Pictures from a server: their bytes are validated, their size and pixels are compared."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rxpipe.backends.sizes import Size
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures import png

_ORIENTATION, _UPRIGHT = 0x0112, 1

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact


def read_picture(data: bytes, *, hint: str = "") -> tuple[bytes, png.Header, tuple[str, ...]]:
    """Return a picture's bytes, its header, and warnings.

    A PNG is kept byte for byte, every chunk is validated. Another format is converted to PNG, with a warning.

    Args:
        data: the encoded picture.
        hint: why the server may send another format; becomes part of the warning.

    Raises:
        BadResponse: not a picture, or a broken one.
    """
    try:
        return data, png.check(data), ()
    except BadImage as error:
        size = png.pixel_size(data)
        if size is None or size.format == "PNG":
            raise BadResponse(f"the picture is broken: {error.message}") from error
    converted = _as_png(data)
    why = f" ({hint})" if hint else ""
    warning = f"the server sent {size.format}, not PNG; the picture was converted{why}"
    return converted, png.check(converted), (warning,)


def _as_png(data: bytes) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only where a server does not send PNG

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.save(buffer, "PNG", compress_level=1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadResponse(f"the picture is broken: {error}.") from error
    return buffer.getvalue()


def upright(source: Artifact) -> tuple[bytes, Size]:
    """Return a picture as it is sent, and its size: upright, since not every server turns a phone's photo.

    Its bytes are kept where nothing has to be turned.

    Raises:
        BadImage: not a picture.
    """
    data = source.read()
    size = png.pixel_size(data)
    if size is not None and size.format == "PNG" and b"eXIf" not in data:
        return data, Size(size.width, size.height)
    image = source.to_image()
    if _orientation(data) == _UPRIGHT:
        return data, Size(*image.size)
    turned = source.with_image(image)
    return turned.read(), Size(*image.size)


def _orientation(data: bytes) -> int:
    """How the picture lies by its EXIF data, 1 for upright."""
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    with Image.open(io.BytesIO(data)) as image:
        return int(image.getexif().get(_ORIENTATION, _UPRIGHT))


def same_pixels(before: bytes, after: bytes) -> bool:
    """Whether two pictures are the same, pixel for pixel; alpha does not count.

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


def other_size(asked: Size | None, header: png.Header) -> tuple[str, ...]:
    """Return a warning where a picture has another size than *asked*; None where no size was asked for."""
    if asked is None or (header.width, header.height) == tuple(asked):
        return ()
    return (f"the picture is {header.width}x{header.height} px where {asked} was asked for",)
