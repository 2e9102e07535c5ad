"""Texts in EXIF, XMP and comments, and texts within texts: what one program packed into a field for another to find."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import json_object
from rxpipe.pictures.lineage import LINEAGE_KEY
from rxpipe.pictures.texts_in import unpacked_note

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from PIL import Image

__all__ = ["read_texts", "texts_of_exif", "unpacked"]

_EXIF_IFD = 0x8769
_USER_COMMENT, _MAKER_NOTE = 0x9286, 0x927C
_EXIF_TEXTS = {0x010E: "ImageDescription", 0x010F: "Make", 0x0110: "Model", 0x0131: "Software"}
_EMBEDDED = re.compile(r"\s*(prompt|workflow|parameters):\s*(\{.*)", re.IGNORECASE | re.DOTALL)  # ComfyUI in WebP
_XMP_KEY = "XML:com.adobe.xmp"
_XMP_LIMIT = 1 << 20
_XMP_ELEMENT = re.compile(
    r"<(?:exif:UserComment|dc:description|xmp:CreatorTool|dc:title)\b[^>]*>(.*?)</(exif:UserComment|dc:description|xmp:CreatorTool|dc:title)>",
    re.DOTALL,
)
_XMP_ATTRIBUTE = re.compile(r'\b(exif:UserComment|xmp:CreatorTool)="([^"]*)"')
_TAG = re.compile(r"<[^>]*>")
_PACKED = frozenset({"Comment", "Description", "Software", "Source", "Title", "parameters", "invokeai_metadata",
                     "generation_data", "parameters-json", "sd-metadata", "fooocus_scheme", "extraMetadata",
                     "sui_image_params", "Generation time", "smproj"})  # fmt: skip


def read_texts(image: Image.Image) -> dict[str, str]:
    """Return every text by its key: EXIF under `UserComment`, `Software` and the like, a comment under `comment`."""
    texts = {}
    if comment := image.info.get("comment"):
        texts["comment"] = _decoded(comment)
    texts |= _of_exif(image.getexif())
    if isinstance(packet := image.info.get("xmp"), bytes | str):
        texts[_XMP_KEY] = _decoded(packet)
    return texts


def texts_of_exif(data: bytes) -> dict[str, str]:
    """Return the texts in a block of EXIF, as PNG holds it; none where it cannot be read."""
    from PIL import Image  # noqa: PLC0415  # only pictures with EXIF pay for it

    exif = Image.Exif()
    try:
        exif.load(data if data.startswith(b"Exif\0\0") else b"Exif\0\0" + data)
        return _of_exif(exif)
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, IndexError):  # Pillow's, of a damaged block
        return {}


def _of_exif(exif: Image.Exif) -> dict[str, str]:
    texts = {}
    inner = exif.get_ifd(_EXIF_IFD)
    for tag, name in _EXIF_TEXTS.items():
        if tag in exif:
            texts[name] = _decoded(exif[tag])
    if comment := inner.get(_USER_COMMENT, exif.get(_USER_COMMENT)):
        texts["UserComment"] = _user_comment(comment)
    note = inner.get(_MAKER_NOTE, exif.get(_MAKER_NOTE))
    if isinstance(note, str):  # a camera's is binary; Fooocus writes a word
        texts["MakerNote"] = note
    elif isinstance(note, bytes) and (lineage := unpacked_note(note)) is not None:
        texts[LINEAGE_KEY] = lineage
    return texts


def unpacked(texts: Mapping[str, str]) -> dict[str, str]:
    """Return *texts* with those within them: of XMP, `prompt:{...}` in an EXIF field, JSON of texts in a comment.

    A text that is there already stays.
    """
    found = dict(texts)
    for text in list(texts.values()):
        if part := _EMBEDDED.match(text):
            found.setdefault(part[1].lower(), part[2])
    if (packet := texts.get(_XMP_KEY)) is not None:
        for key, text in _of_xmp(packet[:_XMP_LIMIT]):
            found.setdefault(f"xmp:{key}", text)
    for key in ("UserComment", "comment", "Comment", "prompt"):
        for name, text in _of_json(texts.get(key), plain_graph=key == "prompt"):
            found.setdefault(name, text)
    return found


def _of_xmp(packet: str) -> Iterator[tuple[str, str]]:
    for found in _XMP_ELEMENT.finditer(packet):
        yield found[2].partition(":")[2], html.unescape(_TAG.sub("", found[1])).strip()
    for found in _XMP_ATTRIBUTE.finditer(packet):
        yield found[1].partition(":")[2], html.unescape(found[2])


def _of_json(text: str | None, *, plain_graph: bool) -> Iterator[tuple[str, str]]:
    """Yield the texts that a JSON object holds in place of PNG's: a graph as an object or as text, and packed keys."""
    values = json_object(text)
    if values is None or plain_graph:
        return
    for key in ("prompt", "workflow"):
        inner = values.get(key)
        if isinstance(inner, dict) or json_object(inner if isinstance(inner, str) else None) is not None:
            yield key, inner if isinstance(inner, str) else json.dumps(inner)
    for key in _PACKED & values.keys():
        inner = values[key]
        if isinstance(inner, str | dict):
            yield key, inner if isinstance(inner, str) else json.dumps(inner)
    if values and all(isinstance(each, dict) and "class_type" in each for each in values.values()):
        yield "prompt", text or ""


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
