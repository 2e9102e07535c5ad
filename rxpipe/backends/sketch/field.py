"""Numbers to draw with: smooth noise on grids, soft edges, a band of rows to draw on.

The bottom of the drawing program. Everything here is a function of coordinates and of numbers drawn beforehand, never
of the band it is asked for, so that a picture drawn in bands equals the picture drawn at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

F32: TypeAlias = NDArray[np.floating[Any]]
U8: TypeAlias = NDArray[np.uint8]
Rgb: TypeAlias = "tuple[float, float, float]"

_PERIOD = 32
_ONE_THREAD = 200_000
"""Multiplications; OpenBLAS, for one, goes parallel from 262144 on."""


def smooth(low: float, high: float, value: F32 | np.float32) -> F32:
    """0 below *low*, 1 above *high*, a smooth S between; falling if *low* > *high*."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def mix(first: F32 | float, second: F32 | float, share: F32 | float) -> F32:
    """*first* where *share* is 0, *second* where it is 1."""
    return np.asarray(first + (second - first) * share, dtype=np.float32)


def spline_weights(at: F32, count: int, *, wrap: bool) -> F32:
    """Cubic B-spline weights (len(at) x count) that read a lattice of *count* points at positions *at*.

    Beyond the ends the lattice repeats if *wrap*, else its border is continued.
    """
    base = np.floor(at)
    f = (at - base).astype(np.float32)
    taps = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    rows = np.arange(len(at))
    weights = np.zeros((len(at), count), np.float32)
    for offset, tap in enumerate(taps):
        column = base.astype(np.int64) + offset - 1
        column = column % count if wrap else np.clip(column, 0, count - 1)
        weights[rows, column] += tap / 6
    return weights


def product(left: F32, right: F32) -> F32:
    """The matrix product, made of pieces so small that BLAS does each on this thread.

    With threads of its own it waits, spinning, for a core that others are using, and holds up every slice.
    """
    rows = max(1, _ONE_THREAD // right.size)
    out = np.empty((*left.shape[:-1], right.shape[-1]), np.float32)
    for top in range(0, left.shape[0], rows):
        np.matmul(left[top : top + rows], right, out=out[top : top + rows])
    return out


class Noise:
    """Fractal noise in about -1..1, the same at any resolution.

    Args:
        rng: the source of the lattice; a noise draws from it once, when it is made.
        octaves: layers of detail, each twice as fine and half as strong as the one before.
    """

    def __init__(self, rng: np.random.Generator, octaves: int = 4, gain: float = 0.5) -> None:
        self._lattice = rng.uniform(-1, 1, (_PERIOD, _PERIOD)).astype(np.float32)
        self._offsets = rng.uniform(0, _PERIOD, (8, 2))
        self._octaves = min(octaves, len(self._offsets))
        self._gain = gain

    def grid(self, x: F32, y: F32) -> F32:
        """Noise over all pairs of *x* (columns) and *y* (rows); one unit is one cell of the coarsest octave."""
        total = np.zeros((len(y), len(x)), np.float32)
        for octave, strength in self._layers():
            scale, (dx, dy) = 2.0**octave, self._offsets[octave]
            across = spline_weights((x * scale + dx).astype(np.float32), _PERIOD, wrap=True)
            down = spline_weights((y * scale + dy).astype(np.float32), _PERIOD, wrap=True)
            total += np.float32(strength) * product(product(down, self._lattice), across.T)
        return total

    def line(self, x: F32) -> F32:
        """Noise along one line."""
        line: F32 = self.grid(x, np.zeros(1, np.float32))[0]
        return line

    def ridged(self, x: F32) -> F32:
        """Noise along one line with sharp crests, 0..1."""
        total = np.zeros(len(x), np.float32)
        for octave, strength in self._layers():
            dx = self._offsets[octave, 0]
            weights = spline_weights((x * 2.0**octave + dx).astype(np.float32), _PERIOD, wrap=True)
            total += np.float32(strength * 0.5) * (1 - np.abs((weights * self._lattice[octave]).sum(axis=1)) * 2)
        return total

    def at(self, x: F32, y: F32) -> F32:
        """Noise at freely chosen points (two arrays of one shape); dearer than `grid`."""
        total = np.zeros(x.shape, np.float32)
        for octave, strength in self._layers():
            scale, (dx, dy) = np.float32(2.0**octave), self._offsets[octave].astype(np.float32)
            total += np.float32(strength * 0.7) * self._bilinear(x * scale + dx, y * scale + dy)
        return total

    def _layers(self) -> Sequence[tuple[int, float]]:
        return [(octave, 1.7 * self._gain**octave) for octave in range(self._octaves)]

    def _bilinear(self, x: F32, y: F32) -> F32:
        left, top = np.floor(x), np.floor(y)
        fx, fy = x - left, y - top
        fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
        column, row = left.astype(np.int32) & (_PERIOD - 1), (top.astype(np.int32) & (_PERIOD - 1)) * _PERIOD
        right, below = (column + 1) & (_PERIOD - 1), (row + _PERIOD) & (_PERIOD * _PERIOD - 1)
        flat = self._lattice.ravel()
        upper = mix(flat[row + column], flat[row + right], fx)
        lower = mix(flat[below + column], flat[below + right], fx)
        return mix(upper, lower, fy)


@dataclass(frozen=True, slots=True)
class Canvas:
    """Some rows and columns of the picture, to draw on.

    Heights are in units of the picture's height: y 0..1 from the top, x 0..aspect from the left; px is one pixel.
    rgb is planar (3 x rows x columns), 0..1; drawing changes it in place. whole is the entire picture, for passes that
    look at what was drawn before (reflections).
    """

    rgb: F32
    x: F32
    y: F32
    px: float
    aspect: float
    whole: F32

    @classmethod
    def of(cls, whole: F32, aspect: float, top: int = 0, bottom: int | None = None) -> Canvas:
        """The rows *top*..*bottom* of a picture; *aspect* is what it stands for, whatever its size was rounded to."""
        _, height, width = whole.shape
        end = height if bottom is None else bottom
        x = (np.arange(width, dtype=np.float32) + np.float32(0.5)) * np.float32(aspect / width)
        y = (np.arange(top, end, dtype=np.float32) + np.float32(0.5)) / np.float32(height)
        return cls(whole[:, top:end], x, y, 1 / height, aspect, whole)

    def window(self, left: float, right: float, top: float, bottom: float) -> Canvas | None:
        """The part within these bounds, None where nothing of it lies on this canvas."""
        x0, x1 = (int(i) for i in np.searchsorted(self.x, (left, right)))
        y0, y1 = (int(i) for i in np.searchsorted(self.y, (top, bottom)))
        if x0 >= x1 or y0 >= y1:
            return None
        return Canvas(self.rgb[:, y0:y1, x0:x1], self.x[x0:x1], self.y[y0:y1], self.px, self.aspect, self.whole)

    @property
    def down(self) -> F32:
        """The heights as a column, to be combined with x."""
        return self.y[:, None]

    def edge(self, inside: F32) -> F32:
        """Cover 0..1 of a shape from a signed distance in heights, positive inside; one pixel soft."""
        return np.asarray(np.clip(inside / np.float32(self.px) + np.float32(0.5), 0, 1))

    def lay(self, colour: Rgb | F32, cover: F32 | float) -> None:
        """Lay a colour (three numbers, or planar values) over what is there, opaque where *cover* is 1."""
        paint = np.asarray(colour, np.float32)
        paint = paint[:, None, None] if paint.ndim == 1 else paint
        self.rgb[...] += (paint - self.rgb) * np.asarray(cover, np.float32)

    def glow(self, colour: Rgb, light: F32) -> None:
        """Add light of a colour."""
        self.rgb[...] += np.asarray(colour, np.float32)[:, None, None] * light
