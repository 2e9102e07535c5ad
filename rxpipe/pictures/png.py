"""PNG as bytes: check, read and insert texts; format and size of other pictures.

Imports neither Pillow nor numpy. Nothing here decodes a pixel, and a picture is copied once at most, in the join of an
insert.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, NamedTuple, TypeAlias

from rxpipe.errors import BadImage
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "CHUNK_LIMIT",
    "COMPRESSED_TEXT_LIMIT",
    "TEXT_LIMIT",
    "Header",
    "PictureSize",
    "check",
    "chunk_names",
    "insert_text",
    "pixel_data",
    "pixel_size",
    "read_file",
    "read_text",
    "without_texts",
]

COMPRESSED_TEXT_LIMIT = 1 << 20
"""Bytes a compressed text may unpack to. Pillow refuses to open a picture that holds more."""

TEXT_LIMIT = 4 << 20
"""Bytes of all texts of one picture. A workflow of ComfyUI with hundreds of nodes has less than one MiB."""

CHUNK_LIMIT = 200_000
"""Chunks of one picture. Programs that write small ones, of 8 KiB, reach it at 1.6 GB."""

_PIECE = 1 << 20  # bytes of a file that are read at once
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHUNK_HEAD = struct.Struct(">I4s")
_U32 = struct.Struct(">I")
_IHDR = struct.Struct(">IIBBBBB")
_TEXT_CHUNKS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_BIT_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # by colour type
_MAX_SIDE_PX = 2**31 - 1
_MAX_KEY = 79  # characters, by the PNG standard
_PALETTE = 3
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15, whatever the coding
_BROKEN = "The file is damaged; fetch or render the picture again."


@dataclass(frozen=True, slots=True)
class Header:
    """The content of a PNG's IHDR.

    width, height: pixels, 1 .. 2**31 - 1.
    bit_depth: bits a channel (or a palette index), 1 .. 16.
    color_type: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha.
    """

    width: int
    height: int
    bit_depth: int
    color_type: int
    interlaced: bool


class PictureSize(NamedTuple):
    """Format and size of a picture by its first bytes; pixels, before any EXIF rotation."""

    format: Literal["PNG", "JPEG", "WEBP", "GIF"]
    width: int
    height: int


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of the length field
    stop: int  # behind the checksum


# -- where the bytes are ----------------------------------------------------------------------------------------------


class _Bytes:
    """A PNG in memory."""

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._data = data
        self._view = memoryview(data)

    def read(self, start: int, stop: int) -> bytes:
        return self._data[start:stop]

    def checksum(self, start: int, stop: int) -> int:
        return zlib.crc32(self._view[start:stop])


class _File:
    """A PNG in a file, of which no more than a piece is in memory at once."""

    def __init__(self, file: BinaryIO) -> None:
        self.size = file.seek(0, 2)
        self._file = file

    def read(self, start: int, stop: int) -> bytes:
        self._file.seek(start)
        return self._file.read(stop - start)

    def checksum(self, start: int, stop: int) -> int:
        self._file.seek(start)
        value = 0
        while start < stop and (piece := self._file.read(min(_PIECE, stop - start))):
            value = zlib.crc32(piece, value)
            start += len(piece)
        return value


_Source: TypeAlias = _Bytes | _File


# -- check ------------------------------------------------------------------------------------------------------------


def check(data: bytes) -> Header:
    """Check that every byte of a PNG up to IEND is in its place, and return its header; nothing is decoded.

    Checked: the signature, each chunk's extent, name and CRC, IHDR, a palette where one is needed, pixel data in one
    row of chunks, and the end marker. Bytes behind the end marker are left alone, as all readers do.

    Raises:
        BadImage: names what is wrong and at which byte.
    """
    return _check(_Bytes(data))


class Contents(NamedTuple):
    """What a PNG holds beside its pixels.

    texts: by key, in file order. exif: of the chunk eXIf; None without one. damage: what is wrong with the file, "" for
    nothing; texts are then those before it.
    """

    width: int
    height: int
    texts: dict[str, str]
    exif: bytes | None = None
    damage: str = ""


def read_file(file: BinaryIO) -> Contents:
    """Check a PNG in a file that can be sought in, and read its texts; the pixels are never in memory as a whole.

    A file that is damaged behind texts is read up to there.

    Raises:
        BadImage: as `check` and `read_text` do; damaged files only where no text stands before the damage.
    """
    source = _File(file)
    try:
        header = _check(source)
    except BadImage as error:
        return _before_damage(source, error)
    return Contents(header.width, header.height, _read_text(source), _read_exif(source))


def _before_damage(source: _Source, error: BadImage) -> Contents:
    size = pixel_size(source.read(0, 64))
    texts = {} if size is None or size.format != "PNG" else _read_text(source, whole=False)
    if not texts or size is None or error.hint != _BROKEN:  # a limit is no damage
        raise error
    return Contents(size.width, size.height, texts, None, error.message)


def _read_exif(source: _Source) -> bytes | None:
    for chunk in _chunks(source):
        if chunk.name == b"eXIf" and chunk.stop - chunk.start <= TEXT_LIMIT:
            return source.read(chunk.start + 8, chunk.stop - 4)
    return None


def _check(source: _Source) -> Header:
    chunks = _chunks(source)
    first = next(chunks)
    _check_sum(source, first)
    header = _read_header(source, first)
    runs = [first.name]  # a row of IDAT chunks stands here once
    for chunk in chunks:
        _check_sum(source, chunk)
        if chunk.name != b"IDAT" or runs[-1] != b"IDAT":
            runs.append(chunk.name)
    _check_order(runs, header)
    return header


def _check_sum(source: _Source, chunk: _Chunk) -> None:
    name, start, stop = chunk
    if source.checksum(start + 4, stop - 4) != int.from_bytes(source.read(stop - 4, stop)):
        raise BadImage(f"PNG: the chunk {name.decode()} at byte {start} has a wrong checksum.", hint=_BROKEN)


def _check_order(runs: list[bytes], header: Header) -> None:
    """Refuse what no reader could show."""
    pixels = runs.count(b"IDAT")
    if pixels == 0:
        raise BadImage("PNG: there is no pixel data (no IDAT chunk).", hint=_BROKEN)
    if pixels > 1:
        raise BadImage("PNG: the pixel data (IDAT) is interrupted by other chunks.", hint=_BROKEN)
    if b"IHDR" in runs[1:]:
        raise BadImage("PNG: there is more than one header (IHDR).", hint=_BROKEN)
    if header.color_type == _PALETTE and b"PLTE" not in runs[: runs.index(b"IDAT")]:
        raise BadImage("PNG: a palette picture without a palette (PLTE) before its pixels.", hint=_BROKEN)


def _read_header(source: _Source, chunk: _Chunk) -> Header:
    length = chunk.stop - chunk.start - 12
    if chunk.name != b"IHDR" or length != _IHDR.size:
        raise BadImage(
            f"PNG: the first chunk is {chunk.name.decode()} of {length} bytes, not IHDR of 13.", hint=_BROKEN
        )
    width, height, depth, color, packing, filtering, interlace = _IHDR.unpack(source.read(16, 29))
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
        raise BadImage(f"PNG: IHDR at byte 8 says {width}x{height} px.", hint=_BROKEN)
    if depth not in _BIT_DEPTHS.get(color, ()):
        raise BadImage(f"PNG: IHDR at byte 8 says colour type {color} with {depth} bits a channel.", hint=_BROKEN)
    if packing or filtering or interlace > 1:
        raise BadImage(f"PNG: IHDR at byte 8 asks for unknown methods {(packing, filtering, interlace)}.", hint=_BROKEN)
    return Header(width, height, depth, color, interlace == 1)


def _chunks(source: _Source) -> Iterator[_Chunk]:
    """Yield every chunk up to and with IEND, in order; BadImage where one does not fit. Checksums are not checked."""
    if not (head := source.read(0, 12)).startswith(_SIGNATURE):
        other = pixel_size(source.read(0, source.size))
        raise BadImage(f"Not a PNG but a {other.format}." if other else f"Not a PNG: it begins with {head!r}.")
    position, end = len(_SIGNATURE), source.size
    name, count = b"", 0
    while name != b"IEND":
        count += 1
        if count > CHUNK_LIMIT:
            raise BadImage(f"PNG: more than {CHUNK_LIMIT:,} chunks by byte {position}, the most that are read.")
        if end - position < _CHUNK_HEAD.size:
            raise BadImage(f"PNG: cut off at byte {end}: the end marker (IEND) is missing.", hint=_BROKEN)
        length, name = _CHUNK_HEAD.unpack(source.read(position, position + 8))
        if not name.isalpha():
            raise BadImage(f"PNG: no chunk begins at byte {position}: {name!r} is no chunk name.", hint=_BROKEN)
        stop = position + 12 + length
        if stop > end:
            missing = f"it needs {stop - end} bytes more"
            raise BadImage(f"PNG: cut off at byte {end}: {missing} for {name.decode()} at {position}.", hint=_BROKEN)
        yield _Chunk(name, position, stop)
        position = stop


def _chunks_before_damage(source: _Source) -> Iterator[_Chunk]:
    with contextlib.suppress(BadImage):
        yield from _chunks(source)


def chunk_names(data: bytes) -> frozenset[bytes]:
    """Return the names of a PNG's chunks, such as b"tRNS", up to IEND.

    Raises:
        BadImage: not a PNG, or cut off.
    """
    return frozenset(chunk.name for chunk in _chunks(_Bytes(data)))


def pixel_data(data: bytes) -> Iterator[memoryview]:
    """Yield the contents of a PNG's IDAT chunks, which together are one zlib stream.

    Raises:
        BadImage: not a PNG, or cut off.
    """
    view = memoryview(data)
    for chunk in _chunks(_Bytes(data)):
        if chunk.name == b"IDAT":
            yield view[chunk.start + 8 : chunk.stop - 4]


# -- text chunks ------------------------------------------------------------------------------------------------------


def read_text(data: bytes) -> dict[str, str]:
    """Return every text of a PNG by its key, in file order: tEXt, zTXt and iTXt, before and behind the pixels.

    Of two texts under one key the later wins, as in Pillow. Checksums are not checked; see `check`.

    Raises:
        BadImage: not a PNG, or cut off; a compressed text that is damaged or unpacks to more than 1 MiB.
    """
    return _read_text(_Bytes(data))


def _read_text(source: _Source, *, whole: bool = True) -> dict[str, str]:
    """Return the texts of a file, or where it is not *whole* those before the damage."""
    texts: dict[str, str] = {}
    left = TEXT_LIMIT
    for chunk in _chunks(source) if whole else _chunks_before_damage(source):
        if chunk.name in _TEXT_CHUNKS:
            if chunk.stop - chunk.start - 12 <= left:  # a longer one is not even read
                key, text = _read_entry(source, chunk)
                left -= len(text)
                if key:
                    texts[key] = text
            else:
                left = -1
            if left < 0:
                raise BadImage(
                    f"PNG: more than {TEXT_LIMIT >> 20} MiB of text by byte {chunk.stop}, the most that is read."
                )
    return texts


def _read_entry(source: _Source, chunk: _Chunk) -> tuple[str, str]:
    key, _, rest = source.read(chunk.start + 8, chunk.stop - 4).partition(b"\0")
    name = key.decode("latin-1")
    if chunk.name == b"tEXt":
        return name, _plain_text(rest)
    if chunk.name == b"zTXt":
        return name, _plain_text(_unpack(rest[1:], name, chunk))
    packed = rest[:1] not in (b"", b"\0")
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, body = rest.partition(b"\0")
    return name, (_unpack(body, name, chunk) if packed else body).decode("utf-8", "replace")


def _plain_text(body: bytes) -> str:
    """Decode what should be Latin-1: many programs write UTF-8 there, which Latin-1 of any sense is not by chance."""
    if not body.isascii():
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode("utf-8")
    return body.decode("latin-1")


def _unpack(body: bytes, key: str, chunk: _Chunk) -> bytes:
    where = f"PNG: the compressed text {shown(key)} at byte {chunk.start}"
    unpacker = zlib.decompressobj()
    try:
        text = unpacker.decompress(body, COMPRESSED_TEXT_LIMIT)
    except zlib.error as error:
        raise BadImage(f"{where} is damaged: {error}.", hint=_BROKEN) from error
    if unpacker.unconsumed_tail:
        raise BadImage(f"{where} unpacks to more than {COMPRESSED_TEXT_LIMIT >> 20} MiB and was not read.")
    return text


def insert_text(
    data: bytes,
    texts: Mapping[str, str],
    *,
    compressed: Collection[str] = (),
    keep: Collection[str] = (),
) -> bytes:
    """Return the same PNG with *texts* in front of its pixels; any text it had under these keys is gone.

    Latin-1 texts become tEXt, others iTXt, as Pillow's `PngInfo.add_text` writes them; so does Latin-1 that reads as
    UTF-8, and would be read so. All other bytes stay as they are. Checksums are not checked; see `check`.

    Args:
        data: a PNG.
        texts: key (1 .. 79 Latin-1 characters) to text; a lone surrogate becomes "?".
        compressed: keys to write as zTXt or compressed iTXt. A text of 1 MiB or more is written plain even so, because
            Pillow refuses to open a picture with a larger compressed text.
        keep: keys whose text stays as it is where the picture has one.

    Raises:
        BadImage: not a PNG, or cut off.
        ValueError: a key that PNG does not allow.
    """
    keys = {_key_bytes(key): key for key in texts}
    kept = {key.encode("latin-1", "replace") for key in keep}
    view = memoryview(data)
    pieces: list[bytes | memoryview] = []
    copied, before_pixels = 0, -1
    for chunk in _chunks(_Bytes(data)):
        if chunk.name == b"IDAT" and before_pixels < 0:
            pieces.append(view[copied : chunk.start])
            copied, before_pixels = chunk.start, len(pieces)
        elif chunk.name in _TEXT_CHUNKS and (key := _chunk_key(data, chunk)) in keys:
            if key in kept:
                del keys[key]
                continue
            pieces.append(view[copied : chunk.start])
            copied = chunk.stop
    if before_pixels < 0:
        raise BadImage("PNG: there is no pixel data (no IDAT chunk).", hint=_BROKEN)
    pieces.append(view[copied:])
    pieces[before_pixels:before_pixels] = [
        _text_chunk(raw, texts[k], packed=k in compressed) for raw, k in keys.items()
    ]
    return b"".join(pieces)


def without_texts(data: bytes) -> bytes:
    """Return the same PNG without any text and EXIF; all other bytes stay as they are.

    Raises:
        BadImage: not a PNG, or cut off.
    """
    pieces, copied = list[bytes](), 0
    for chunk in _chunks(_Bytes(data)):
        if chunk.name in _TEXT_CHUNKS or chunk.name == b"eXIf":
            pieces.append(data[copied : chunk.start])
            copied = chunk.stop
    return b"".join([*pieces, data[copied:]])


def _chunk_key(data: bytes, chunk: _Chunk) -> bytes:
    """Return the key of a text chunk; all of its body where the separator is missing."""
    stop = data.find(b"\0", chunk.start + 8, chunk.stop - 4)
    return data[chunk.start + 8 : chunk.stop - 4 if stop < 0 else stop]


def _key_bytes(key: str) -> bytes:
    try:
        raw = key.encode("latin-1")
    except UnicodeEncodeError:
        raw = b""
    if not 0 < len(raw) <= _MAX_KEY or b"\0" in raw:
        raise ValueError(f"A PNG text key has 1 to {_MAX_KEY} Latin-1 characters, none of them NUL; got {shown(key)}.")
    return raw


def _text_chunk(key: bytes, text: str, *, packed: bool) -> bytes:
    try:
        body = text.encode("latin-1")
        latin = _plain_text(body) == text  # what would be read back as UTF-8 is written as such
        body = body if latin else text.encode()
    except UnicodeEncodeError:
        body, latin = text.encode("utf-8", "replace"), False
    packed = packed and len(body) < COMPRESSED_TEXT_LIMIT
    if packed:
        body = zlib.compress(body)
    if latin:
        name, head = (b"zTXt", b"\0\0") if packed else (b"tEXt", b"\0")
    else:
        name, head = b"iTXt", b"\0\1\0\0\0" if packed else b"\0\0\0\0\0"
    content = name + key + head + body
    return _U32.pack(len(content) - 4) + content + _U32.pack(zlib.crc32(content))


# -- sizes ------------------------------------------------------------------------------------------------------------


def pixel_size(data: bytes) -> PictureSize | None:
    """Return format and size of a PNG, JPEG, WebP or GIF; None where the bytes are none of these, or end too early."""
    try:
        if data.startswith(_SIGNATURE):
            return PictureSize("PNG", *struct.unpack_from(">II", data, 16))
        if data.startswith((b"GIF87a", b"GIF89a")):
            return PictureSize("GIF", *struct.unpack_from("<HH", data, 6))
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):  # the bytes end inside the header
        return None
    return None


def _jpeg_size(data: bytes) -> PictureSize | None:
    position = 2
    while data[position] == 0xFF:  # noqa: PLR2004 - every JPEG marker begins with it
        marker = data[position + 1]
        if marker == 0xFF:  # noqa: PLR2004 - a fill byte
            position += 1
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            return PictureSize("JPEG", width, height)
        position += 2 + struct.unpack_from(">H", data, position + 2)[0]
    return None


def _webp_size(data: bytes) -> PictureSize | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return PictureSize("WEBP", width, height) if len(data) >= 30 else None  # noqa: PLR2004 - the header's length
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return PictureSize("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return PictureSize("WEBP", width & 0x3FFF, height & 0x3FFF)
    return None
