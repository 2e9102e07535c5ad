"""Text that NovelAI and an extension of A1111 hide in the lowest bits of the pixels, of alpha or of the colours.

It runs down the columns: 15 letters that name the form, the number of bits, then the text, packed by gzip or plain.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["hidden_text"]

_MARKS = {
    "A": {b"stealth_pnginfo": False, b"stealth_pngcomp": True},
    "RGB": {b"stealth_rgbinfo": False, b"stealth_rgbcomp": True},
}
"""The letters in front, by the channels that they stand in, and whether the text behind them is packed."""

_MARK_BYTES = 15
_LIMIT = 1 << 20  # bytes of a text, packed and unpacked
_BIT = bytes(48 + (value & 1) for value in range(256))


def hidden_text(image: Image.Image) -> str | None:
    """Return the text hidden in a picture's pixels; None where there is none. Decodes the picture."""
    for channels, marks in _MARKS.items():
        if channels == "A" and "A" not in image.getbands():
            continue
        text = _read(_Bits(image, channels), marks)
        if text is not None:
            return text
    return None


class _Bits:
    """The lowest bits of a picture, column by column, as bytes."""

    def __init__(self, image: Image.Image, channels: str) -> None:
        from PIL import Image as Pillow  # noqa: PLC0415  # loaded with the picture

        self._columns = 0
        self._bits = b""
        self._image = image.getchannel("A") if channels == "A" else image.convert("RGB")
        self._turn = Pillow.Transpose.TRANSPOSE
        self._per_column = image.height * len(channels)

    def read(self, start: int, stop: int) -> bytes | None:
        """Return bytes by their place; None where the picture is too small for them. Turns no more than it needs."""
        columns = -(-stop * 8 // self._per_column)
        if columns > self._image.width:
            return None
        if columns > self._columns:
            self._columns = columns
            part = self._image.crop((0, 0, columns, self._image.height))
            self._bits = part.transpose(self._turn).tobytes().translate(_BIT)
        bits = self._bits[start * 8 : stop * 8]
        return int(bits, 2).to_bytes(stop - start) if bits else b""


def _read(bits: _Bits, marks: dict[bytes, bool]) -> str | None:
    mark = bits.read(0, _MARK_BYTES)
    if mark not in marks:
        return None
    counted = bits.read(_MARK_BYTES, _MARK_BYTES + 4)
    count = 0 if counted is None else int.from_bytes(counted) // 8
    if not 0 < count <= _LIMIT:
        return None
    data = bits.read(_MARK_BYTES + 4, _MARK_BYTES + 4 + count)
    if data is None:
        return None
    if marks[mark]:
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, _LIMIT)
        except zlib.error:
            return None
    return data.decode("utf-8", "replace")
