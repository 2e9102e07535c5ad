"""Pictures from a server: their bytes are validated, their size and pixels are compared."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, cast

from rxpipe.backends.sizes import Size
from rxpipe.errors import BadImage, BadResponse
from rxpipe.pictures import png
from rxpipe.pictures.opening import MOST_PIXELS, opened
from rxpipe.pictures.opening import upright as turned_upright
from rxpipe.pictures.rows import same_rows

_ORIENTATION, _UPRIGHT = 0x0112, 1
_QUALITIES = (80, 75, 90, 95, 100, 85, 70, 60)  # the usual first
_JUDGED_PX = 160  # to each side of the middle
_ROUNDED = 3  # levels of 255 that two programs may differ by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL import Image

    from rxpipe.artifact import Artifact


_CHANNELS = (1, 0, 3, 1, 2, 0, 4)  # by colour type
_BEST_RATIO = 1033  # of deflate


def read_picture(
    data: bytes, *, hint: str = "", most_pixels: int = MOST_PIXELS
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
    buffer = io.BytesIO()
    try:
        with opened(data) as image:
            image.save(buffer, "PNG", compress_level=1)
    except BadImage as error:
        raise BadResponse(f"the picture is broken: {error.message}") from error
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
    with opened(data) as image:
        return int(image.getexif().get(_ORIENTATION, _UPRIGHT))


def same_pixels(before: bytes, after: bytes) -> bool:
    """Whether two pictures are the same, pixel for pixel; alpha does not count.

    Raises:
        BadResponse: they had to be decoded to tell, and the second one cannot be.
    """
    if (same := same_rows(before, after)) is not None:
        return same
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        old, new = _rgb(before), _rgb(after)
    except BadImage as error:
        raise BadResponse(error.message) from error
    return old.size == new.size and ImageChops.difference(old, new).getbbox() is None


def same_but_encoded(before: bytes, after: bytes) -> bool:
    """Whether a picture is another one, encoded with loss and otherwise the same: compared with our own encoding of it.

    Args:
        before: the picture, of any format.
        after: the encoded one, JPEG or WebP.

    Raises:
        BadResponse: the second one cannot be decoded.
    """
    try:
        old, new = _rgb(before), _rgb(after)
        with opened(after) as encoded:
            candidates = list(_encodings(encoded))
    except BadImage as error:
        raise BadResponse(error.message) from error
    return old.size == new.size and any(
        _largest_difference(_encoded(old, settings), new) <= _ROUNDED for settings in candidates
    )


def _encodings(encoded: Image.Image) -> Iterator[dict[str, Any]]:
    """Yield the settings that a picture may have been encoded with: a JPEG holds them, of a WebP they are guessed."""
    if encoded.format == "JPEG":
        from PIL.JpegImagePlugin import get_sampling  # noqa: PLC0415  # see above

        tables = getattr(encoded, "quantization", None)
        yield {"format": "JPEG", "qtables": tables, "subsampling": get_sampling(encoded)}
    else:
        yield from ({"format": encoded.format or "WEBP", "quality": quality} for quality in _QUALITIES)
        yield {"format": encoded.format or "WEBP", "lossless": True}


def _encoded(image: Image.Image, settings: dict[str, Any]) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, **settings)
    return _rgb(buffer.getvalue())


def is_plain_resize(before: bytes, after: bytes) -> bool:
    """Whether a picture is another one resized by Lanczos and nothing else, judged by a part in the middle.

    Raises:
        BadResponse: the second one cannot be decoded.
    """
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        old, new = _rgb(before), _rgb(after)
    except BadImage as error:
        raise BadResponse(error.message) from error
    (left, right), (top, bottom) = ((max(0, side // 2 - _JUDGED_PX), side // 2 + _JUDGED_PX) for side in new.size)
    part = new.crop((left, top, min(right, new.width), min(bottom, new.height)))
    wide, high = old.width / new.width, old.height / new.height
    source = (left * wide, top * high, (left + part.width) * wide, (top + part.height) * high)
    return _largest_difference(old.resize(part.size, Image.Resampling.LANCZOS, box=source), part) <= _ROUNDED


def _largest_difference(one: Image.Image, other: Image.Image) -> int:
    """Return the largest difference of two RGB pictures of one size, in levels of 255."""
    from PIL import ImageChops  # noqa: PLC0415  # importing rxpipe loads no Pillow

    bands = ImageChops.difference(one, other).split()
    return max(int(cast("tuple[float, float]", band.getextrema())[1]) for band in bands)


def _rgb(data: bytes) -> Image.Image:
    return turned_upright(data).convert("RGB")


def other_size(asked: Size | None, header: png.Header) -> tuple[str, ...]:
    """Return a warning where a picture has another size than *asked*; None where no size was asked for."""
    if asked is None or (header.width, header.height) == tuple(asked):
        return ()
    return (f"the picture is {header.width}x{header.height} px where {asked} was asked for",)
