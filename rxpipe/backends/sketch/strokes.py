"""Brush strokes: a picture painted over with its own colours, along its own contours, coarse first and fine last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from collections.abc import Generator

    from rxpipe.backends.sketch.field import F32, U8

_TURNS = 24
_BRUSHES = 3
_BATCH_PX = 1_500_000
"""Pixels that the strokes of one slice touch; some 5 ms."""
_MASK_PX = 48
"""The longest side that a brush is worked out at; broader ones are enlarged from it."""
_MAP_PX = 384


class Brushwork:
    """Paints over a canvas in place.

    Args:
        canvas: RGB; what it shows is what is painted.
        seed: decides where strokes fall.
        strength: 0..1, small: fine strokes, large: broad ones.
    """

    def __init__(self, canvas: Image.Image, seed: int, strength: float) -> None:
        self._canvas = canvas
        self._rng = np.random.Generator(np.random.PCG64([seed, 200]))
        unit = max(canvas.size) / 512
        fine = (1.4 + 4.5 * strength) * unit
        self._widths = [max(1.0, fine * scale) for scale in (4.0, 2.0, 1.0, 0.55)]
        shrink = min(1.0, _MAP_PX / max(canvas.size))
        size = (max(2, round(canvas.width * shrink)), max(2, round(canvas.height * shrink)))
        self._model = canvas.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
        self._angle, self._detail = _contours(self._model)

    def draw(self) -> Generator[float, None, None]:
        """Yields after each slice how far it is, 0..1."""
        for layer, width in enumerate(self._widths):
            brushes: list[Image.Image] = []
            for made in self._brushes(width):
                brushes += made
                yield layer / len(self._widths)
            strokes = self._plan(width, layer, brushes[0].width // 2)
            batch = max(8, min(600, _BATCH_PX // brushes[0].width ** 2))
            for start in range(0, len(strokes), batch):
                _paint(self._canvas, strokes[start : start + batch], brushes)
                yield (layer + start / len(strokes)) / len(self._widths)

    def _plan(self, width: float, layer: int, half: int) -> list[list[int]]:
        """The strokes of one layer: corner, brush, colour; *half* a brush lies before a stroke's middle."""
        across, down = self._canvas.size
        count = int(min(5_000, 1.4 * across * down / (width * width * 2.6)))
        x, y = self._rng.uniform(0, across, count), self._rng.uniform(0, down, count)
        if layer:
            keep = self._detail[self._cell(x, y)] > self._rng.uniform(0, (0.0, 0.35, 0.6, 1.2)[layer], count)
            x, y = x[keep], y[keep]
        cell = self._cell(x, y)
        turn = np.round(self._angle[cell] / np.pi * _TURNS + self._rng.normal(0, 0.8, len(x))).astype(int) % _TURNS
        kind = turn * _BRUSHES + self._rng.integers(0, _BRUSHES, len(x))
        colours = np.asarray(self._softened(width))[cell].astype(int) + self._rng.integers(-7, 8, (len(x), 1))
        table = np.column_stack([x.astype(int) - half, y.astype(int) - half, kind, np.clip(colours, 0, 255)])
        strokes: list[list[int]] = table.tolist()
        return strokes

    def _brushes(self, width: float) -> Generator[list[Image.Image], None, None]:
        """Masks of strokes of a width in px: one per direction, with some bristles each."""
        half = int(width * 2.3) + 2
        small = min(half, _MASK_PX // 2)
        scale = half / small
        y, x = np.mgrid[-small : small + 1, -small : small + 1].astype(np.float32) * np.float32(scale)
        bristles = self._rng.uniform(0.55, 1.0, (_BRUSHES, 64))
        for turn in range(_TURNS):
            angle = np.float32(turn * np.pi / _TURNS)
            along, off = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
            away = (along / (width * 2.2)) ** 2 + (off / (width * 0.62)) ** 2
            shape = np.clip((1 - away) * 3 * min(1.0, width / 3), 0, 1)
            lane = np.clip((off / width + 1) * 32, 0, 63).astype(int)
            masks = [Image.fromarray((shape * row[lane] * 235).astype(np.uint8)) for row in bristles]
            size = (2 * half + 1, 2 * half + 1)
            yield masks if scale == 1 else [mask.resize(size, Image.Resampling.BICUBIC) for mask in masks]

    def _softened(self, width: float) -> Image.Image:
        """The model as a brush of this width sees it."""
        return self._model.filter(ImageFilter.GaussianBlur(width * self._model.width / self._canvas.width * 0.35))

    def _cell(self, x: F32, y: F32) -> tuple[U8, U8]:
        """Where points of the canvas lie on the model."""
        column = np.clip(x * (self._model.width / self._canvas.width), 0, self._model.width - 1).astype(int)
        row = np.clip(y * (self._model.height / self._canvas.height), 0, self._model.height - 1).astype(int)
        return row, column


def _paint(canvas: Image.Image, strokes: list[list[int]], brushes: list[Image.Image]) -> None:
    """Paste strokes; `Image.paste` checks and copies its arguments thousands of times, which takes longer than that."""
    side, masks, paste = brushes[0].width, [brush.im for brush in brushes], canvas.im.paste
    for x, y, kind, red, green, blue in strokes:
        paste((red, green, blue), (x, y, x + side, y + side), masks[kind])


def _contours(model: Image.Image) -> tuple[F32, F32]:
    """Per cell: the direction along which the picture changes least (0..pi), and how much it changes across (0..1)."""
    grey = np.asarray(model.convert("L").filter(ImageFilter.GaussianBlur(1.5)), np.float32)
    down, across = np.gradient(grey)
    parts = (across * across, down * down, across * down)
    xx, yy, xy = (_blurred(np.asarray(part), 5) for part in parts)
    changes = np.asarray(xx + yy)
    angle = 0.5 * np.arctan2(2 * xy, xx - yy) + np.pi / 2
    edges = np.sqrt(np.clip(_blurred(changes, 2), 0, None))
    return angle % np.pi, np.clip(edges / 14, 0, 1)


def _blurred(values: F32, reach: int) -> F32:
    """A mean over a square of 2 * reach + 1 cells."""
    size = 2 * reach + 1
    padded = np.pad(values, reach + 1, mode="edge").cumsum(0).cumsum(1)
    total = padded[size:, size:] - padded[:-size, size:] - padded[size:, :-size] + padded[:-size, :-size]
    return np.asarray(total[: values.shape[0], : values.shape[1]] / (size * size), np.float32)
