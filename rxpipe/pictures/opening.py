"""Opening pictures with Pillow: the one place where encoded pixels are decoded.

A picture may come from a server, a stranger or a mistake: only formats without programs in them are tried, a size that
cannot be true is refused by the header, and whatever a decoder raises is a BadImage.
"""

from __future__ import annotations

import io
import os
import struct
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from rxpipe.errors import BadImage, RxPipeError
from rxpipe.pictures.formats import picture_format
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

__all__ = ["DECODERS_RAISE", "FORMATS", "MOST_BYTES", "MOST_PIXELS", "PREVIEW_PIXELS", "opened", "upright"]

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "QOI")
"""Pillow's formats that pictures are opened in. Of the others, one starts Ghostscript with what is in the file."""

MOST_PIXELS = 256 << 20
"""Pixels that a picture may have, 16384x16384. Pillow's own limit is lower; it holds unless a program has lifted it."""

MOST_BYTES = 8 * MOST_PIXELS
"""Bytes of a file that is read whole: four channels of 16 bits of so many pixels."""

PREVIEW_PIXELS = 16 << 20
"""Pixels of a picture that is only looked at while it is rendered."""

_BEST_RATIO = 1033  # of deflate
_PIXELS_PER_BYTE = 8  # in the smallest format of a PNG
DECODERS_RAISE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    RuntimeError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    MemoryError,
)
"""What Pillow's decoders raise for a damaged picture."""


@contextmanager
def opened(
    source: Path | bytes | BinaryIO, name: str = "the picture", *, most_pixels: int = MOST_PIXELS
) -> Iterator[Image.Image]:
    """Open a picture; its pixels are decoded inside the block, when they are needed.

    Args:
        source: its file, its bytes, or a stream from its begin, which stays open.
        name: what a message calls it.
        most_pixels: that it may claim to have.

    Raises:
        BadImage: no picture of a known format, one that claims too many pixels, or one that cannot be decoded; also for
            what a decoder raises inside the block.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # importing rxpipe loads no Pillow

    if isinstance(source, bytes):
        source = io.BytesIO(source)
    Image.init()
    formats = [one for one in FORMATS if one in Image.OPEN]
    try:
        with Image.open(source, formats=formats) as image:
            _check_size(source, image, name, most_pixels)
            yield image
    except RxPipeError:
        raise
    except UnidentifiedImageError as error:
        raise BadImage(f"{name} is {_what(_head(source))}.", hint="Give a PNG, JPEG, WebP, AVIF or GIF.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadImage(f"{name} is too large to be decoded: {error}.") from error
    except DECODERS_RAISE as error:
        message = cut(str(error) or type(error).__name__).removesuffix(".")
        raise BadImage(f"{name} cannot be decoded: {message}.", hint="Fetch or render it again.") from error


def upright(
    source: Path | bytes | BinaryIO, name: str = "the picture", *, most_pixels: int = MOST_PIXELS
) -> Image.Image:
    """Return a picture decoded and turned upright by its EXIF orientation, in the mode it was stored in.

    Raises:
        BadImage: as of `opened`.
    """
    from PIL import ImageOps  # noqa: PLC0415  # importing rxpipe loads no Pillow

    with opened(source, name, most_pixels=most_pixels) as image:
        image.load()
        return ImageOps.exif_transpose(image)


def _check_size(source: Path | BinaryIO, image: Image.Image, name: str, most_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels > most_pixels:
        raise BadImage(f"{name} claims {image.width}x{image.height} px; at most {most_pixels} pixels are decoded.")
    size = _size(source)
    if image.format == "PNG" and size is not None and pixels > _PIXELS_PER_BYTE * _BEST_RATIO * size:
        raise BadImage(f"{name} is broken: {image.width}x{image.height} px cannot be in {size} bytes.")


def _size(source: Path | BinaryIO) -> int | None:
    """Return the bytes of a picture, None of a stream in which no position can be set."""
    if isinstance(source, Path):
        return source.stat().st_size
    if not source.seekable():
        return None
    position = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(position)
    return size


def _what(head: bytes) -> str:
    """Return what bytes are that no decoder took."""
    if not head:
        return "an empty file"
    known = picture_format(head)
    if known is None or known.upper() not in FORMATS:
        return f"none of a known format: it begins with {head!r}"
    return f"a broken {known}: it cannot be decoded"


def _head(source: Path | BinaryIO) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(12)
    source.seek(0)
    return source.read(12)
