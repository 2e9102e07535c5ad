"""Put texts into a JPEG or a WebP without decoding it: EXIF as A1111 writes it, and rxpipe's lineage beside it.

A1111's text is the EXIF UserComment, in UTF-16; the lineage, compressed, is the MakerNote, which programs keep and
nobody shows.
"""

from __future__ import annotations

import zlib

from rxpipe.errors import BadImage

__all__ = ["MAKER_NOTE", "insert_exif", "packed", "unpacked_note"]

MAKER_NOTE = b"rxpipe\0"
"""What a MakerNote of ours begins with; the lineage follows, compressed by zlib."""

_EXIF_IFD, _USER_COMMENT, _MAKER = 0x8769, 0x9286, 0x927C
_SEGMENT = 65_533  # bytes of a JPEG segment
_LONGEST = 1 << 20  # of a lineage
_APP0, _APP1 = 0xE0, 0xE1
_VP8X_EXIF = 0x08


def packed(text: str) -> bytes:
    """Return a lineage as the bytes of a MakerNote."""
    return MAKER_NOTE + zlib.compress(text.encode(errors="surrogatepass"))


def unpacked_note(note: bytes) -> str | None:
    """Return the lineage in a MakerNote; None where it holds none of ours."""
    if not note.startswith(MAKER_NOTE):
        return None
    try:
        inflating = zlib.decompressobj()
        data = inflating.decompress(note[len(MAKER_NOTE) :], _LONGEST)
    except zlib.error:
        return None
    return data.decode("utf-8", "replace")


def insert_exif(data: bytes, parameters: str, lineage: str) -> bytes:
    """Return a JPEG or WebP with these texts in its EXIF; an empty one is left out. Anything else comes back unchanged.

    Where both do not fit into a JPEG, the lineage is left out.

    Raises:
        BadImage: the WebP is damaged.
    """
    if not parameters and not lineage:
        return data
    block = _exif(parameters, lineage)
    if data.startswith(b"\xff\xd8"):
        if len(block) > _SEGMENT:
            block = _exif(parameters, "")
        return _in_jpeg(data, block) if len(block) <= _SEGMENT else data
    return _in_webp(data, block) if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else data


def _exif(parameters: str, lineage: str) -> bytes:
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    exif = Image.Exif()
    inner: dict[int, bytes] = {}
    if parameters:
        inner[_USER_COMMENT] = b"UNICODE\0" + parameters.encode("utf-16-be", "surrogatepass")
    if lineage:
        inner[_MAKER] = packed(lineage)
    exif.get_ifd(_EXIF_IFD).update(inner)
    exif[_EXIF_IFD] = inner
    block = exif.tobytes()
    return block if block.startswith(b"Exif\0\0") else b"Exif\0\0" + block


def _in_jpeg(data: bytes, block: bytes) -> bytes:
    """Return the JPEG with the block as its first segment, behind JFIF's, in place of any other EXIF."""
    at, kept = 2, []
    while data[at : at + 1] == b"\xff" and data[at + 1] in {_APP0, _APP1}:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == _APP0 or not data.startswith(b"Exif\0\0", at + 4):
            kept.append(data[at:end])
        at = end
    head = [part for part in kept if part[1] == _APP0]
    rest = [part for part in kept if part[1] != _APP0]
    segment = b"\xff\xe1" + (len(block) + 2).to_bytes(2, "big") + block
    return b"".join((data[:2], *head, segment, *rest, data[at:]))


def _in_webp(data: bytes, block: bytes) -> bytes:
    """Return the WebP with the block as its EXIF chunk, and in the extended form, which alone may hold one."""
    chunks = _chunks(data)
    extended = next((body for name, body in chunks if name == b"VP8X"), None)
    head = _extended(data, chunks) if extended is None else bytes([extended[0] | _VP8X_EXIF]) + extended[1:]
    others = [(name, body) for name, body in chunks if name not in {b"VP8X", b"EXIF", b"XMP "}]
    last = [(name, body) for name, body in chunks if name == b"XMP "]
    made = b"".join(
        name + len(body).to_bytes(4, "little") + body + b"\0" * (len(body) % 2)
        for name, body in [(b"VP8X", head), *others, (b"EXIF", block.removeprefix(b"Exif\0\0")), *last]
    )
    return b"RIFF" + (len(made) + 4).to_bytes(4, "little") + b"WEBP" + made


def _extended(data: bytes, chunks: list[tuple[bytes, bytes]]) -> bytes:
    from rxpipe.pictures.png import pixel_size  # noqa: PLC0415  # only a WebP needs it

    size = pixel_size(data)
    if size is None:
        raise BadImage("the WebP does not say its size.", hint="Render it again.")
    lossless = next((body for name, body in chunks if name == b"VP8L"), b"")
    alpha = bool(lossless) and bool(lossless[4] & 0x10)
    flags = _VP8X_EXIF | (0x10 if alpha else 0)
    return bytes([flags, 0, 0, 0]) + (size.width - 1).to_bytes(3, "little") + (size.height - 1).to_bytes(3, "little")


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 12
    while at + 8 <= len(data):
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + length]
        if len(body) != length:
            raise BadImage("the WebP ends within a chunk.", hint="Fetch or render the picture again.")
        found.append((data[at : at + 4], body))
        at += 8 + length + length % 2
    return found
