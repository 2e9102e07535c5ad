"""The format of a picture by its first bytes: the name that people know, and the ending of its file."""

from __future__ import annotations

from rxpipe.errors import BadImage
from rxpipe.pictures.png import pixel_size

__all__ = ["file_ending", "picture_format"]

_FORMATS = (
    (b"\x89PNG\r\n\x1a\n", "PNG", ".png"),
    (b"\xff\xd8\xff", "JPEG", ".jpg"),
    (b"GIF87a", "GIF", ".gif"),
    (b"GIF89a", "GIF", ".gif"),
    (b"BM", "BMP", ".bmp"),
    (b"II*\0", "TIFF", ".tif"),
    (b"MM\0*", "TIFF", ".tif"),
    (b"\xff\x0a", "JPEG XL", ".jxl"),
)
_ENDINGS = {"WebP": ".webp", "AVIF": ".avif", "HEIF": ".heic"} | {name: ending for _, name, ending in _FORMATS}
_NEEDS_A_SIZE = {"PNG", "JPEG", "WebP", "GIF"}  # whose size `pixel_size` reads; without one nothing can show them


def picture_format(data: bytes) -> str | None:
    """Return the format's name, such as "PNG"; None where the bytes begin like no known picture."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        return "AVIF" if data[8:11] == b"avi" else "HEIF"
    return next((name for head, name, _ in _FORMATS if data.startswith(head)), None)


def file_ending(data: bytes) -> str:
    """Return the ending of a picture's file: ".png", ".jpg", ...

    Raises:
        BadImage: the bytes are no picture of a known format.
    """
    name = picture_format(data)
    if name is None or (name in _NEEDS_A_SIZE and pixel_size(data) is None):
        raise BadImage(f"The picture to be saved is none: its bytes begin with {data[:12]!r}.")
    return _ENDINGS[name]
