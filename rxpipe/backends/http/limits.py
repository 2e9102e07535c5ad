"""How large an answer may be and how long it may take, by what was asked for; a server is not trusted with either.

Bytes are counted after decompression and while they come, so that neither an endless body nor a compressed bomb costs
more than the limit.
"""

from __future__ import annotations

import io
import mmap
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe.errors import BadResponse

if TYPE_CHECKING:
    from collections.abc import Callable

_MIB = 1 << 20
_SMALL_BYTES = 16 * _MIB
_PIXEL_BYTES = 8  # RGBA in base64 is 5.4; the rest is for 16 bits a channel that compress
_MORE_PICTURES = 3  # of scripts, such as the maps of ControlNet
_BYTES_PER_S = 64 << 10  # the slowest line on which an answer is waited for to its end
_MORE_PIXELS = 16  # a script may enlarge four times
_SMALL_PIXELS = 4 * _MIB
_STEP = 256 << 10  # bytes that are decompressed in one step
_ASK_TIMES = 4
_DIRECT_BYTES = 64 << 10  # a body of at least so many, and of known length, is read straight to its place
_LARGE_BYTES = 2 * _MIB

Body = bytes | bytearray | mmap.mmap


@dataclass(frozen=True, slots=True)
class AnswerLimit:
    """What one answer may be.

    most_bytes: of its body, decompressed. body_s: from its head to its end. whole_s: from the request to its end; None
    where the server may work on it for any time.
    """

    most_bytes: int = _SMALL_BYTES
    body_s: float = 60.0
    whole_s: float | None = None

    @staticmethod
    def small(timeout_s: float | None) -> AnswerLimit:
        """Return the limit of an answer to a small question, each silence of which may last *timeout_s*."""
        return AnswerLimit() if timeout_s is None else AnswerLimit(whole_s=_ASK_TIMES * timeout_s)

    @staticmethod
    def of_pictures(count: int, pixels: int, *, sent: int = 0, body_s: float = 60.0) -> AnswerLimit:
        """Return the limit of an answer that brings pictures.

        Args:
            count: of pictures asked for.
            pixels: of each.
            sent: bytes of the request, which servers send back in parts.
            body_s: for an answer of no size; a large one is given more.
        """
        most_bytes = _SMALL_BYTES + (count + _MORE_PICTURES) * pixels * _PIXEL_BYTES + 2 * sent
        return AnswerLimit(most_bytes, body_s + (most_bytes - _SMALL_BYTES) / _BYTES_PER_S)


def most_pixels(asked: int) -> int:
    """Return how many pixels a picture may have where *asked* were asked for."""
    return _MORE_PIXELS * asked + _SMALL_PIXELS


class BodyReader:
    """Collects one body, decompressed, up to its limit.

    Args:
        limit: of the answer.
        encoding: its Content-Encoding, "" for none.
        length: its Content-Length, None where it is not known.

    Raises:
        BadResponse: too large already, or an encoding that was not asked for.
    """

    def __init__(self, limit: AnswerLimit, encoding: str = "", length: int | None = None) -> None:
        self._limit = limit
        # Grows in place, and gives its bytes away without a copy.
        self._body = io.BytesIO()
        self._place: bytearray | mmap.mmap | None = None
        self._size = 0
        self._unpacker = _unpacker(encoding.strip().lower())
        if length is not None and length > limit.most_bytes:
            raise self._too_large()
        if length is not None and length >= _DIRECT_BYTES and self._unpacker is None:
            # A large one has its own pages, which go back to the system with it: freed heap stays with each thread.
            self._place = mmap.mmap(-1, length) if length >= _LARGE_BYTES else bytearray(length)

    @property
    def missing(self) -> int | None:
        """How many bytes of a body that is read by `fill` are still to come; None for one that is fed."""
        return None if self._place is None else len(self._place) - self._size

    def fill(self, read_into: Callable[[memoryview], int], size: int) -> int:
        """Have the next bytes of a body of known length written to their place, at most *size*; return how many.

        *read_into* writes into the view that it is given, and returns how many bytes it wrote: 0 at the end.
        """
        if self._place is None:
            raise RuntimeError("this body is fed")
        with memoryview(self._place)[self._size : self._size + size] as free:
            count = read_into(free) if free else 0
        self._size += count
        return count

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            BadResponse: it grows too large, or cannot be decompressed.
        """
        if self._unpacker is None:
            self._keep(piece)
            return
        try:
            while piece and not self._unpacker.eof:
                self._keep(self._unpacker.decompress(piece, _STEP))
                piece = self._unpacker.unconsumed_tail
        except zlib.error as error:
            raise BadResponse(f"the answer cannot be decompressed: {error}.") from error

    def finish(self) -> Body:
        """Return the body.

        Raises:
            BadResponse: it ends in the middle of its compression.
        """
        if self._unpacker is not None and self._size and not self._unpacker.eof:
            raise BadResponse("the answer cannot be decompressed: it is cut off.")
        if self._place is not None:
            return self._place
        return self._body.getvalue()

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._limit.most_bytes:
            self._body = io.BytesIO()
            raise self._too_large()
        self._body.write(piece)

    def _too_large(self) -> BadResponse:
        return BadResponse(
            f"the answer is larger than {self._limit.most_bytes / _MIB:.0f} MiB, the most that was asked for; "
            "the rest was not read.",
            hint="Is it the right address? Another server or a proxy may answer there.",
        )


def _unpacker(encoding: str) -> zlib._Decompress | None:
    if encoding in {"", "identity"}:
        return None
    if encoding in {"gzip", "x-gzip", "deflate"}:
        return zlib.decompressobj(zlib.MAX_WBITS | 32)  # by its head: gzip or zlib
    raise BadResponse(f"the answer is encoded as {encoding[:20]!r}, which was not asked for.")
