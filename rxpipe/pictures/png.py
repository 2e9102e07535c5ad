"""PNG as bytes: check, read and insert text, and A1111's `parameters` text both ways.

The bottom of the row beside the operators: knows nothing of runs, imports neither Pillow nor numpy. Nothing here
decodes a pixel, and a picture is copied once at most, in the join of an insert.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from rxpipe.errors import BadImage

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

__all__ = [
    "COMPRESSED_TEXT_LIMIT",
    "Header",
    "Parameters",
    "PictureSize",
    "check",
    "format_parameters",
    "insert_text",
    "parse_parameters",
    "pixel_size",
    "read_text",
]

COMPRESSED_TEXT_LIMIT = 1 << 20
"""Bytes a compressed text may unpack to. Pillow refuses to open a picture that holds more."""

_TEXT_TOTAL_LIMIT = 64 << 20  # bytes over all text chunks of one picture, as in Pillow
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
_BROKEN = "The file is damaged; fetch or draw the picture again."


@dataclass(frozen=True, slots=True)
class Header:
    """What a PNG's IHDR says.

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
    """Format and size of a picture, as its first bytes tell them; pixels, before any EXIF rotation."""

    format: Literal["PNG", "JPEG", "WEBP", "GIF"]
    width: int
    height: int


class _Chunk(NamedTuple):
    name: bytes
    start: int  # of the length field
    stop: int  # behind the checksum


# -- check ------------------------------------------------------------------------------------------------------------


def check(data: bytes) -> Header:
    """The header of a PNG whose every byte up to IEND is in its place; nothing is decoded.

    Checked: the signature, each chunk's extent, name and CRC, IHDR, a palette where one is needed, pixel data in one
    row of chunks, and the end marker. Bytes behind the end marker are left alone, as all readers do.

    Raises:
        BadImage: names what is wrong and at which byte.
    """
    view = memoryview(data)
    chunks = _chunks(data)
    first = next(chunks)
    _check_sum(view, first)
    header = _read_header(data, first)
    runs = [first.name]  # a row of IDAT chunks stands here once
    for chunk in chunks:
        _check_sum(view, chunk)
        if chunk.name != b"IDAT" or runs[-1] != b"IDAT":
            runs.append(chunk.name)
    _check_order(runs, header)
    return header


def _check_sum(view: memoryview, chunk: _Chunk) -> None:
    name, start, stop = chunk
    if zlib.crc32(view[start + 4 : stop - 4]) != _U32.unpack_from(view, stop - 4)[0]:
        raise BadImage(f"PNG: the chunk {name.decode()} at byte {start} has a wrong checksum.", hint=_BROKEN)


def _check_order(runs: list[bytes], header: Header) -> None:
    """Refuse what no reader could draw."""
    pixels = runs.count(b"IDAT")
    if pixels == 0:
        raise BadImage("PNG: there is no pixel data (no IDAT chunk).", hint=_BROKEN)
    if pixels > 1:
        raise BadImage("PNG: the pixel data (IDAT) is interrupted by other chunks.", hint=_BROKEN)
    if b"IHDR" in runs[1:]:
        raise BadImage("PNG: there is more than one header (IHDR).", hint=_BROKEN)
    if header.color_type == _PALETTE and b"PLTE" not in runs[: runs.index(b"IDAT")]:
        raise BadImage("PNG: a palette picture without a palette (PLTE) before its pixels.", hint=_BROKEN)


def _read_header(data: bytes, chunk: _Chunk) -> Header:
    length = chunk.stop - chunk.start - 12
    if chunk.name != b"IHDR" or length != _IHDR.size:
        raise BadImage(
            f"PNG: the first chunk is {chunk.name.decode()} of {length} bytes, not IHDR of 13.", hint=_BROKEN
        )
    width, height, depth, color, packing, filtering, interlace = _IHDR.unpack_from(data, 16)
    if not (0 < width <= _MAX_SIDE_PX and 0 < height <= _MAX_SIDE_PX):
        raise BadImage(f"PNG: IHDR at byte 8 says {width}x{height} px.", hint=_BROKEN)
    if depth not in _BIT_DEPTHS.get(color, ()):
        raise BadImage(f"PNG: IHDR at byte 8 says colour type {color} with {depth} bits a channel.", hint=_BROKEN)
    if packing or filtering or interlace > 1:
        raise BadImage(f"PNG: IHDR at byte 8 asks for unknown methods {(packing, filtering, interlace)}.", hint=_BROKEN)
    return Header(width, height, depth, color, interlace == 1)


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Every chunk up to and with IEND, in order; BadImage where one does not fit. Checksums are not looked at."""
    if not data.startswith(_SIGNATURE):
        other = pixel_size(data)
        raise BadImage(f"Not a PNG but a {other.format}." if other else f"Not a PNG: it begins with {data[:12]!r}.")
    position, end = len(_SIGNATURE), len(data)
    name = b""
    while name != b"IEND":
        if end - position < _CHUNK_HEAD.size:
            raise BadImage(f"PNG: cut off at byte {end}: the end marker (IEND) is missing.", hint=_BROKEN)
        length, name = _CHUNK_HEAD.unpack_from(data, position)
        if not name.isalpha():
            raise BadImage(f"PNG: no chunk begins at byte {position}: {name!r} is no chunk name.", hint=_BROKEN)
        stop = position + 12 + length
        if stop > end:
            missing = f"it needs {stop - end} bytes more"
            raise BadImage(f"PNG: cut off at byte {end}: {missing} for {name.decode()} at {position}.", hint=_BROKEN)
        yield _Chunk(name, position, stop)
        position = stop


# -- text chunks ------------------------------------------------------------------------------------------------------


def read_text(data: bytes) -> dict[str, str]:
    """Every text of a PNG by its key, in file order: tEXt, zTXt and iTXt, before and behind the pixels.

    Of two texts under one key the later wins, as in Pillow. Checksums are not looked at; see `check`.

    Raises:
        BadImage: not a PNG, or cut off; a compressed text that is damaged or unpacks to more than 1 MiB.
    """
    texts: dict[str, str] = {}
    left = _TEXT_TOTAL_LIMIT
    for chunk in _chunks(data):
        if chunk.name in _TEXT_CHUNKS:
            key, text = _read_entry(data, chunk)
            left -= len(text)
            if left < 0:
                raise BadImage(f"PNG: more than {_TEXT_TOTAL_LIMIT >> 20} MiB of text by byte {chunk.stop}.")
            if key:
                texts[key] = text
    return texts


def _read_entry(data: bytes, chunk: _Chunk) -> tuple[str, str]:
    key, _, rest = data[chunk.start + 8 : chunk.stop - 4].partition(b"\0")
    name = key.decode("latin-1")
    if chunk.name == b"tEXt":
        return name, rest.decode("latin-1")
    if chunk.name == b"zTXt":
        return name, _unpack(rest[1:], name, chunk).decode("latin-1")
    packed = rest[:1] not in (b"", b"\0")
    _language, _, rest = rest[2:].partition(b"\0")
    _translated, _, body = rest.partition(b"\0")
    return name, (_unpack(body, name, chunk) if packed else body).decode("utf-8", "replace")


def _unpack(body: bytes, key: str, chunk: _Chunk) -> bytes:
    where = f"PNG: the compressed text {key!r} at byte {chunk.start}"
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
    """The same PNG with *texts* in front of its pixels; any text it had under these keys is gone.

    Latin-1 texts become tEXt, others iTXt, exactly as Pillow's `PngInfo.add_text` writes them. All other bytes stay as
    they are. Checksums of the picture are not looked at; see `check`.

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
    for chunk in _chunks(data):
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


def _chunk_key(data: bytes, chunk: _Chunk) -> bytes:
    """The key of a text chunk; all of its body where the separator is missing."""
    stop = data.find(b"\0", chunk.start + 8, chunk.stop - 4)
    return data[chunk.start + 8 : chunk.stop - 4 if stop < 0 else stop]


def _key_bytes(key: str) -> bytes:
    try:
        raw = key.encode("latin-1")
    except UnicodeEncodeError:
        raw = b""
    if not 0 < len(raw) <= _MAX_KEY or b"\0" in raw:
        raise ValueError(f"A PNG text key has 1 to {_MAX_KEY} Latin-1 characters, none of them NUL; got {key!r}.")
    return raw


def _text_chunk(key: bytes, text: str, *, packed: bool) -> bytes:
    try:
        body, latin = text.encode("latin-1"), True
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
    """Format and size of a PNG, JPEG, WebP or GIF; None where the bytes are none of these, or end too early."""
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


# -- A1111's text -----------------------------------------------------------------------------------------------------

_ORDER = (
    *("Steps", "Sampler", "Schedule type", "CFG scale", "Distilled CFG Scale", "Image CFG scale", "Seed"),
    *("Face restoration", "Size", "Model hash", "Model", "VAE hash", "VAE", "Variation seed"),
    *("Variation seed strength", "Seed resize from", "Denoising strength", "Conditional mask weight", "Clip skip"),
    *("ENSD", "Token merging ratio", "Token merging ratio hr", "Init image hash", "RNG", "NGMS", "Tiling"),
)
_RANK = {key: rank for rank, key in enumerate(_ORDER)} | {"Version": len(_ORDER) + 1, "User": len(_ORDER) + 2}
_PAIRS_NEEDED = 3  # fewer, and every reader takes the last line for a part of the prompt
_KEY = re.compile(r"\w[\w \-/]{1,200}")
# As in modules/infotext_utils.py of stable-diffusion-webui, with keys bounded so that a long line cannot stall it.
_PAIR = re.compile(r'(\w[\w \-/]{1,200}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_NEGATIVE = "Negative prompt:"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What A1111's text says.

    settings: the last line's pairs as written, unquoted, in their order; empty where there was no such line.
    """

    prompt: str
    negative_prompt: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """The settings as WebUI's paste button sees them.

        `WxH` is split in two (`Size-1`, `Size-2`); a missing `Clip skip` is 1, a missing `RNG` is GPU, a missing
        `Schedule type` is Automatic.
        """
        seen: dict[str, str] = {}
        for key, value in self.settings.items():
            if size := _SIZE.fullmatch(value):
                seen[f"{key}-1"], seen[f"{key}-2"] = size.groups()
            else:
                seen[key] = value
        return {**seen, **{k: v for k, v in _ASSUMED.items() if k not in seen}}


_ASSUMED = {"Clip skip": "1", "RNG": "GPU", "Schedule type": "Automatic"}


def format_parameters(
    prompt: str, negative_prompt: str = "", settings: Mapping[str, str | float | None] | None = None
) -> str:
    """The text for the key `parameters`, as A1111 writes it and CivitAI and others read it.

    Args:
        prompt: may span lines.
        negative_prompt: its line is absent when empty.
        settings: A1111's keys in any order, and others; None values are left out. A1111's own are written in its order,
            others behind them as they come, `Version` last. With fewer than three the line is left out, since every
            reader would take it for a part of the prompt.

    Raises:
        ValueError: a key that no reader would recognise: it needs two or more letters, digits, spaces, "-" or "/".
    """
    pairs = {key: _plain(value) for key, value in (settings or {}).items() if value is not None}
    for key in pairs:
        if not _KEY.fullmatch(key):
            raise ValueError(f"{key!r} cannot be a key of A1111's text: use letters, digits, spaces, '-' and '/'.")
    lines = [prompt]
    if negative_prompt:
        lines.append(f"{_NEGATIVE} {negative_prompt}")
    if len(pairs) >= _PAIRS_NEEDED:
        ordered = sorted(pairs, key=lambda key: _RANK.get(key, len(_ORDER)))
        lines.append(", ".join(f"{key}: {_quote(pairs[key])}" for key in ordered))
    return "\n".join(lines).strip()


def parse_parameters(text: str) -> Parameters:
    """Prompt, negative prompt and settings of A1111's text, by A1111's own rules.

    The last line holds settings only if it has three pairs or more. Blanks around each line are dropped. Text in no
    such form is all prompt; nothing raises.
    """
    *lines, last = text.strip().split("\n")
    pairs = _PAIR.findall(last) if last.count(":") >= _PAIRS_NEEDED else []
    if len(pairs) < _PAIRS_NEEDED:
        lines, pairs = [*lines, last], []
    prompt: list[str] = []
    negative: list[str] = []
    into = prompt
    for line in map(str.strip, lines):
        if line.startswith(_NEGATIVE):
            into = negative
        said = line.removeprefix(_NEGATIVE).strip() if into is negative else line
        if said or into:  # leading empty lines vanish
            into.append(said)
    settings = {key: _unquote(value.strip()) for key, value in pairs}
    return Parameters("\n".join(prompt), "\n".join(negative), settings)


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else str(value)


def _quote(value: str) -> str:
    """A JSON string where the plain value would not be read back; A1111 does so for comma, colon and newline."""
    unsafe = not value or value != value.strip() or value[0] == '"' or any(sign in value for sign in ",:\n")
    return json.dumps(value, ensure_ascii=False) if unsafe else value


def _unquote(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == '"':
        try:
            return str(json.loads(value))
        except ValueError:  # somebody's plain value that happens to stand in quotes
            return value
    return value
