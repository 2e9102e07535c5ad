"""Find faces with scikit-image's LBP cascade, for any backend.

The detector looks at small copies of the picture, several times, plain and mirrored; how many looks agree is the
confidence. Needs numpy and scikit-image, which the extra `sketch` installs; both are loaded at the first face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

from rxpipe.errors import require
from rxpipe.threads import in_parallel

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Face", "find_faces", "load_detector", "looks_for_faces"]

_Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom
_Find: TypeAlias = tuple[bool, int, _Box]  # whether the look was mirrored, its number, where

_LONGEST_PX = 512
_LOOKS_PX = (440, 376, _LONGEST_PX)
"""Longest side of the copies that the detector sees; the first two cost least, and show together what the others do."""
_WHOLE_LOOKS = 2
_WHOLE_SHARE = 0.7  # of the search's time
_AROUND, _ALIKE = 0.65, 2.2  # how far around a find is looked, and for faces how much smaller or larger
_MOST_ENLARGED = 1.5
_SMALLEST_PX = 26
_SAME = 0.45
"""Two finds are one if they share this much of the smaller one."""


@dataclass(frozen=True, slots=True)
class Face:
    """A find, in px from the picture's upper left corner.

    confidence: 0..1, the share of the plain looks that agree times that of the mirrored ones.
    """

    left: int
    top: int
    right: int
    bottom: int
    confidence: float

    @property
    def area(self) -> int:
        """In px."""
        return (self.right - self.left) * (self.bottom - self.top)


def looks_for_faces(detector: str) -> bool:
    """Whether a detector of another program, by its name, looks for what `find_faces` finds."""
    name = detector.lower()
    return not any(part in name for part in ("hand", "person", "body", "eye", "cloth", "foot"))


def find_faces(pixels: NDArray[np.uint8]) -> Generator[float, None, list[Face]]:
    """Look for faces; return those that any plain and any mirrored look agree on.

    The first two looks see the whole picture, as one alone misses the second of two faces; all others only the
    surroundings of what was found.

    Args:
        pixels: height x width x 3, 8 bit.

    Yields:
        How far the search is, 0..1: after each look, and every 20 ms while one is awaited. Closed in between, no
        further look begins.

    Returns:
        The largest first.

    Raises:
        MissingPackage: numpy or scikit-image is not installed.
    """
    require("Face detection", "numpy", "skimage")
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy
    from PIL import Image  # noqa: PLC0415  # nor Pillow

    picture = Image.fromarray(pixels)
    finds: list[_Find] = []
    load_detector()
    yield 0.0
    copies = []
    for longest in _LOOKS_PX:
        scale = longest / max(_LONGEST_PX / _MOST_ENLARGED, *picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        copies.append(np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)))
    whole = [partial(_detect, copies[number], pixels.shape) for number in range(_WHOLE_LOOKS)]
    done = 0
    for boxes in in_parallel(whole):
        if boxes is not None:
            finds += [(False, done, box) for box in boxes]
            done += 1
        yield _WHOLE_SHARE * done / len(whole)
    if not finds:
        return []
    looks = [(False, number) for number in range(_WHOLE_LOOKS, len(copies))]
    looks += [(True, number) for number in range(len(copies))]
    places = [_median(group) for group in _grouped(finds)]
    around = [(*look, place) for look in looks for place in places]
    calls = [partial(_detect_around, place, copies[n], pixels.shape, mirrored=side) for side, n, place in around]
    done = 0
    for boxes in in_parallel(calls):
        if boxes is not None:
            mirrored, number, _ = around[done]
            finds += [(mirrored, number, box) for box in boxes]
            done += 1
        yield _WHOLE_SHARE + (1 - _WHOLE_SHARE) * done / len(around)
    return sorted(_agreed(finds, pixels.shape), key=lambda face: -face.area)


@cache
def load_detector() -> Any:
    """Load the detector, once, and return it; it holds no state between calls. From any thread.

    Raises:
        ImportError: scikit-image is not installed.
    """
    from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415  # a third of a second, needed only to find faces
    from skimage.feature import Cascade  # noqa: PLC0415  # 0.3 s, for adetailer only

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]  # it has no types


def _detect_around(place: _Box, copy: NDArray[np.uint8], shape: tuple[int, ...], *, mirrored: bool) -> list[_Box]:
    """Take one look at the surroundings of a find, for faces of about its size."""
    scale = copy.shape[1] / shape[1]
    left, top, right, bottom = (side * scale for side in place)
    size = max(right - left, bottom - top)
    x0, y0 = max(0, int(left - size * _AROUND)), max(0, int(top - size * _AROUND))
    part = copy[y0 : int(bottom + size * _AROUND) + 1, x0 : int(right + size * _AROUND) + 1]
    found = _detect(part[:, ::-1] if mirrored else part, part.shape, sizes=(size / _ALIKE, size * _ALIKE))
    boxes = []
    for one, up, other, down in found:
        begin, end = (part.shape[1] - other, part.shape[1] - one) if mirrored else (one, other)
        boxes.append(((x0 + begin) / scale, (y0 + up) / scale, (x0 + end) / scale, (y0 + down) / scale))
    return boxes


def _detect(
    copy: NDArray[np.uint8], shape: tuple[int, ...], *, sizes: tuple[float, float] = (0, math.inf)
) -> list[_Box]:
    """Take one look for faces of *sizes* px of the copy; return boxes in px of a picture of *shape*."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    height, width = copy.shape[:2]
    if min(height, width) < _SMALLEST_PX:
        return []
    least = max(_SMALLEST_PX, int(min(sizes[0], height, width)))
    most = [max(least, int(min(sizes[1], side))) for side in (height, width)]
    finds = load_detector().detect_multi_scale(
        img=np.ascontiguousarray(copy), scale_factor=1.15, step_ratio=1.5,
        min_size=(least, least), max_size=tuple(most), min_neighbor_number=4,
    )  # fmt: skip
    scale = shape[1] / width
    return [tuple(side * scale for side in (f["c"], f["r"], f["c"] + f["width"], f["r"] + f["height"])) for f in finds]


def _grouped(finds: list[_Find]) -> list[list[_Find]]:
    """Put finds that lie on one another together."""
    groups: list[list[_Find]] = []
    for find in sorted(finds, key=lambda f: -(f[2][2] - f[2][0])):
        home = next((group for group in groups if any(_overlap(find[2], other[2]) > _SAME for other in group)), None)
        if home is None:
            groups.append([find])
        else:
            home.append(find)
    return groups


def _median(group: list[_Find]) -> _Box:
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    left, top, right, bottom = np.median([box for _, _, box in group], axis=0).tolist()
    return left, top, right, bottom


def _agreed(finds: list[_Find], shape: tuple[int, ...]) -> list[Face]:
    """Make one face of finds that lie on one another, with their confidence."""
    faces = []
    for group in _grouped(finds):
        plain, mirrored = ({number for side, number, _ in group if side is which} for which in (False, True))
        confidence = len(plain) * len(mirrored) / len(_LOOKS_PX) ** 2
        if confidence:
            left, top, right, bottom = _median(group)
            faces.append(Face(max(0, round(left)), max(0, round(top)), min(shape[1], round(right)),
                              min(shape[0], round(bottom)), round(confidence, 3)))  # fmt: skip
    return faces


def _overlap(a: _Box, b: _Box) -> float:
    """Return the share of the smaller box that lies in the other."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0.0, wide) * max(0.0, high) / smaller
