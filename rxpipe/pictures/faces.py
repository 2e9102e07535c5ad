"""Find faces with scikit-image's LBP cascade, for any backend.

The detector looks at small copies of the picture, several times, plain and mirrored; how many looks agree is the
confidence. Needs numpy and scikit-image, which the extra `sketch` installs; both are loaded at the first face.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

from rxpipe.errors import require

if TYPE_CHECKING:
    from collections.abc import Generator

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Face", "find_faces", "looks_for_faces"]

_Box: TypeAlias = tuple[float, float, float, float]  # left, top, right, bottom

_LOOKS_PX = (512, 440, 376)
"""Longest side of the copies that the detector sees; never above 512."""
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


def find_faces(pixels: NDArray[np.uint8]) -> Generator[None, None, list[Face]]:
    """Look for faces, pausing after each look; return those that any plain and any mirrored look agree on.

    Args:
        pixels: height x width x 3, 8 bit.

    Returns:
        The largest first.

    Raises:
        MissingPackage: numpy or scikit-image is not installed.
    """
    require("Face detection", "numpy", "skimage")
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy
    from PIL import Image  # noqa: PLC0415  # nor Pillow

    picture = Image.fromarray(pixels)
    finds: list[tuple[bool, int, _Box]] = []
    _cascade()
    yield
    for number, longest in enumerate(_LOOKS_PX):
        scale = longest / max(_LOOKS_PX[0] / _MOST_ENLARGED, *picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        copy = np.asarray(picture.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        for mirrored in (False, True):
            finds += [(mirrored, number, box) for box in _detect(copy, pixels.shape, mirrored=mirrored)]
            yield
        if number and {mirrored for mirrored, _, _ in finds} != {False, True}:
            return []
    return sorted(_agreed(finds, pixels.shape), key=lambda face: -face.area)


@cache
def _cascade() -> Any:
    """Load the detector, once; it holds no state between calls."""
    from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415  # a third of a second, needed only to find faces
    from skimage.feature import Cascade  # noqa: PLC0415  # 0.3 s, for adetailer only

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]  # it has no types


def _detect(copy: NDArray[np.uint8], shape: tuple[int, ...], *, mirrored: bool) -> list[_Box]:
    """Take one look; return boxes in px of the picture."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    height, width = copy.shape[:2]
    if min(height, width) < _SMALLEST_PX:
        return []
    finds = _cascade().detect_multi_scale(
        img=np.ascontiguousarray(copy[:, ::-1] if mirrored else copy), scale_factor=1.15, step_ratio=1.5,
        min_size=(_SMALLEST_PX, _SMALLEST_PX), max_size=(height, width), min_neighbor_number=4,
    )  # fmt: skip
    scale = shape[1] / width
    boxes = []
    for find in finds:
        left = width - find["c"] - find["width"] if mirrored else find["c"]
        boxes.append(
            (left * scale, find["r"] * scale, (left + find["width"]) * scale, (find["r"] + find["height"]) * scale)
        )
    return boxes


def _agreed(finds: list[tuple[bool, int, _Box]], shape: tuple[int, ...]) -> list[Face]:
    """Make one face of finds that lie on one another, with their confidence."""
    import numpy as np  # noqa: PLC0415  # importing rxpipe loads no numpy

    groups: list[list[tuple[bool, int, _Box]]] = []
    for find in sorted(finds, key=lambda f: -(f[2][2] - f[2][0])):
        home = next((group for group in groups if any(_overlap(find[2], other[2]) > _SAME for other in group)), None)
        if home is None:
            groups.append([find])
        else:
            home.append(find)
    faces = []
    for group in groups:
        plain, mirrored = ({number for side, number, _ in group if side is which} for which in (False, True))
        confidence = len(plain) * len(mirrored) / len(_LOOKS_PX) ** 2
        if confidence:
            left, top, right, bottom = np.median([box for _, _, box in group], axis=0)
            faces.append(Face(max(0, round(left)), max(0, round(top)), min(shape[1], round(right)),
                              min(shape[0], round(bottom)), round(confidence, 3)))  # fmt: skip
    return faces


def _overlap(a: _Box, b: _Box) -> float:
    """Return the share of the smaller box that lies in the other."""
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return max(0.0, wide) * max(0.0, high) / smaller
