"""Whether two PNGs have the same pixels, by their rows as they are filtered: nothing is decoded but the deflate."""

from __future__ import annotations

import zlib
from itertools import zip_longest
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage
from rxpipe.pictures import png

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["same_rows"]

_CHANNELS = {0: 1, 2: 3}  # by colour type: grey, RGB; alpha does not count, and a palette says nothing by its indices
_BITS = 8
_SPECIAL = frozenset({b"tRNS", b"eXIf"})
_BLOCK = 1 << 16  # bytes that are inflated at once


def same_rows(one: bytes, other: bytes) -> bool | None:
    """Return whether two PNGs have the same pixels; None where only decoding them can tell.

    As long as all rows before are equal, two rows of the same filter type are equal as pixels where their bytes are.
    Grey and RGB pictures of 8 bits, neither interlaced nor turned, are compared; of others, and where an encoder chose
    another filter, nothing is said. What follows the first difference is not looked at.
    """
    try:
        header = png.check(one)
        if header != png.check(other) or not _is_plain(header) or any(map(_is_special, (one, other))):
            return None
        stride = 1 + header.width * _CHANNELS[header.color_type]
        return _same(one, other, stride, header.height)
    except (BadImage, zlib.error):
        return None


def _is_plain(header: png.Header) -> bool:
    return header.color_type in _CHANNELS and header.bit_depth == _BITS and not header.interlaced


def _is_special(data: bytes) -> bool:
    """Whether it may have a transparent colour, or an orientation."""
    return not _SPECIAL.isdisjoint(png.chunk_names(data))


def _same(one: bytes, other: bytes, stride: int, height: int) -> bool | None:
    size, rows = stride * max(1, _BLOCK // stride), 0
    for ours, theirs in zip_longest(_blocks(one, size), _blocks(other, size), fillvalue=b""):
        if ours != theirs:
            return _differing(ours, theirs, stride)
        rows += len(ours) // stride
        if rows >= height:
            break
    return True if rows == height else None


def _differing(ours: bytes, theirs: bytes, stride: int) -> bool | None:
    """Return False where the first two rows that differ have the same filter type, None where it is another."""
    for start in range(0, min(len(ours), len(theirs)) // stride * stride, stride):
        row, its = ours[start : start + stride], theirs[start : start + stride]
        if row != its:
            return False if row[0] == its[0] else None
    return None


def _blocks(data: bytes, size: int) -> Iterator[bytes]:
    """Yield the pixel data, inflated, in blocks of *size* bytes; the last may be shorter."""
    unpacker, block = zlib.decompressobj(), b""
    for piece in png.pixel_data(data):
        rest: bytes | memoryview = piece
        while rest and not unpacker.eof:
            block += unpacker.decompress(rest, size - len(block))
            rest = unpacker.unconsumed_tail
            if len(block) == size:
                yield block
                block = b""
    yield block
