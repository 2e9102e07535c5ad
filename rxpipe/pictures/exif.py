"""Texts in pictures other than PNG: EXIF and comments, as Pillow reads them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

_EXIF_IFD = 0x8769
_USER_COMMENT, _MAKER_NOTE = 0x9286, 0x927C
_EXIF_TEXTS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software"}
_EMBEDDED = re.compile(r"(prompt|workflow):(\{.*)", re.IGNORECASE | re.DOTALL)  # ComfyUI in WebP: a key within a text


def read_texts(image: Image.Image) -> dict[str, str]:
    """Return every text by its key: EXIF under `UserComment`, `Software` and the like, a comment under `comment`."""
    texts = {}
    if comment := image.info.get("comment"):
        texts["comment"] = _decoded(comment)
    exif = image.getexif()
    inner = exif.get_ifd(_EXIF_IFD)
    for tag, name in _EXIF_TEXTS.items():
        if tag in exif:
            texts[name] = _decoded(exif[tag])
    if comment := inner.get(_USER_COMMENT, exif.get(_USER_COMMENT)):
        texts["UserComment"] = _user_comment(comment)
    note = inner.get(_MAKER_NOTE, exif.get(_MAKER_NOTE))
    if isinstance(note, str):  # a camera's is binary; Fooocus writes a word
        texts["MakerNote"] = note
    for text in list(texts.values()):
        if part := _EMBEDDED.match(text):
            texts[part[1].lower()] = part[2]
    return texts


def _decoded(value: object) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).rstrip("\0")


def _user_comment(value: object) -> str:
    """Decode EXIF UserComment: 8 bytes that name its coding, which some writers leave out, then the text."""
    if not isinstance(value, bytes):
        return str(value).rstrip("\0")
    coding, body = value[:8], value[8:]
    if coding == b"UNICODE\0":
        # Big-endian by habit; EXIF lets the file's own byte order hold, and some follow it; text has many small codes.
        little = body.startswith(b"\xff\xfe") or body[1::2].count(0) > body[::2].count(0)
        return body.decode("utf-16-le" if little else "utf-16-be", "replace").lstrip("\ufeff").rstrip("\0")
    return _decoded(body if coding in {b"ASCII\0\0\0", bytes(8)} else value)
