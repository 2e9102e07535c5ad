"""What the engine hands out: frames while it works, the picture when it is finished.

All work is a generator that yields None between slices of a few milliseconds and a Frame at the end of each step, so
that the caller can stop it at any slice; it returns a PaintResult.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxpipe.backends.sketch.field import U8

T = TypeVar("T")

PREVIEW_PX = 512
"""The longest side of a preview."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The state after one step: step 1..steps.

    preview: works out height x width x 3, 8 bit, at most 512 px; called before the work goes on, or not at all, as most
    steps are too short for an eye to see their preview.
    """

    step: int
    steps: int
    preview: Callable[[], U8] = field(repr=False)


@dataclass(frozen=True, slots=True)
class PaintResult:
    """A finished picture: height x width x 3 or 4 (with alpha), 8 bit.

    unchanged: there was nothing to do, the input stays as it was. encoded: the picture as a file, if it
    is at hand. facts: what was done, plain JSON values.
    """

    pixels: U8 = field(repr=False)
    unchanged: bool = False
    encoded: bytes | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


Slices: TypeAlias = Generator[None, None, None]
Work: TypeAlias = Generator[Frame | None, None, PaintResult]


def relay(work: Work, of_frame: Callable[[Frame], Iterable[T]]) -> Generator[T | None, None, PaintResult]:
    """Do some work and yield what *of_frame* makes of each frame, one by one; slices stay None."""
    while True:
        try:
            frame = next(work)
        except StopIteration as end:
            result: PaintResult = end.value
            return result
        if frame is None:
            yield None
        else:
            yield from of_frame(frame)


def preview_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the preview of a picture of this size."""
    shrink = min(1.0, PREVIEW_PX / max(width, height))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def preview_of(picture: Image.Image) -> Image.Image:
    """The picture at preview size, RGB."""
    size = preview_size(*picture.size)
    rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
    return rgb if size == picture.size else rgb.resize(size, Image.Resampling.BILINEAR, reducing_gap=1.0)


def bands(height: int, width: int, pixels: int = 65_536) -> list[tuple[int, int]]:
    """The rows of a picture cut into bands of about so many *pixels*, as (top, bottom)."""
    rows = max(1, pixels // width)
    return [(top, min(top + rows, height)) for top in range(0, height, rows)]
