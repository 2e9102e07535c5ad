"""Pictures from a server: their bytes are validated, their size and pixels are compared."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rxpipe.backends.sizes import Size
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures import png

if TYPE_CHECKING:
    from PIL import Image

    from rxpipe.artifact import Artifact


_MOST_PIXELS = 256 << 20  # where nothing says how many were asked for
_CHANNELS = (1, 0, 3, 1, 2, 0, 4)  # by colour type
_BEST_RATIO = 1033  # of deflate


def read_picture(
    data: bytes, *, hint: str = "", most_pixels: int = _MOST_PIXELS
) -> tuple[bytes, png.Header, tuple[str, ...]]:
    """Return a picture's bytes, its header, and warnings.

    A PNG is kept byte for byte, every chunk is validated. Another format is converted to PNG, with a warning.

    Args:
        data: the encoded picture.
        hint: why the server may send another format; becomes part of the warning.
        most_pixels: that it may have; by its header, before it is decoded.

    Raises:
        BadResponse: not a picture, a broken one, or one that claims far more pixels than were asked for.
    """
    size = png.pixel_size(data)
    if size is not None and size.width * size.height > most_pixels:
        raise BadResponse(
            f"the picture claims {size.width}x{size.height} px, far more than was asked for, and was not read.",
            retryable=False,
        )
    try:
        header = png.check(data)
    except BadImage as error:
        if size is None or size.format == "PNG":
            raise BadResponse(f"the picture is broken: {error.message}") from error
    else:
        if _unpacked_bytes(header) > _BEST_RATIO * len(data):
            raise BadResponse(
                f"the picture is broken: {header.width}x{header.height} px cannot be in {len(data)} bytes."
            )
        return data, header, ()
    converted = _as_png(data)
    why = f" ({hint})" if hint else ""
    warning = f"the server sent {size.format}, not PNG; the picture was converted{why}"
    return converted, png.check(converted), (warning,)


def _unpacked_bytes(header: png.Header) -> int:
    return header.height * (header.width * _CHANNELS[header.color_type] * header.bit_depth // 8)


def _as_png(data: bytes) -> bytes:
    from PIL import Image  # noqa: PLC0415  # only where a server does not send PNG

    buffer = io.BytesIO()
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.save(buffer, "PNG", compress_level=1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadResponse(f"the picture is broken: {error}.") from error
    return buffer.getvalue()


def size_of(source: Artifact, data: bytes) -> Size:
    """Return the picture's size as a server sees it, a photo turned upright.

    Raises:
        BadImage: not a picture.
    """
    size = png.pixel_size(data)
    if size is not None and size.format == "PNG":
        return Size(size.width, size.height)
    return Size(*source.to_image().size)


def same_pixels(before: bytes, after: bytes) -> bool:
    """Whether two pictures are the same, pixel for pixel; alpha does not count.

    Raises:
        BadResponse: the second one cannot be decoded.
    """
    from PIL import Image, ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        old, new = _rgb(before), _rgb(after)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
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
