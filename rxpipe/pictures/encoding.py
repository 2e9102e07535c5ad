"""Encode a picture as PNG, JPEG or WebP with Pillow; a JPEG has no transparency, which turns white."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from rxpipe.pictures.opening import upright

if TYPE_CHECKING:
    from typing import Literal, TypeAlias

    from PIL import Image

    ImageFormat: TypeAlias = Literal["png", "jpeg", "webp"]

__all__ = ["encode", "encoded"]


def encoded(data: bytes, form: ImageFormat, quality: int) -> bytes:
    """Return an encoded picture in a format; as it is where it has that format, or is no PNG and PNG is asked for.

    Raises:
        BadImage: it cannot be decoded.
    """
    if form == "png" or (form == "jpeg" and data.startswith(b"\xff\xd8")) or (form == "webp" and data[8:12] == b"WEBP"):
        return data
    return encode(upright(data, "the picture"), form, quality)


def encode(picture: Image.Image, form: ImageFormat, quality: int) -> bytes:
    """Return a picture as the bytes of a file; *quality* of JPEG and WebP: 1 to 100."""
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    clear = "A" in picture.mode or "transparency" in picture.info
    if form == "jpeg" and clear:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    if form == "jpeg":
        picture = picture if picture.mode in {"L", "RGB"} else picture.convert("RGB")
    elif form == "webp" and picture.mode not in {"RGB", "RGBA"}:
        picture = picture.convert("RGBA" if clear else "RGB")
    buffer = io.BytesIO()
    picture.save(buffer, form.upper(), quality=quality)
    return buffer.getvalue()
