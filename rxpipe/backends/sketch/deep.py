"""What has no ground: planets before nebulae, and silk-like flows of colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, ramp, spun
from rxpipe.backends.sketch.field import Sheet, mix, smooth

if TYPE_CHECKING:
    from rxpipe.backends.sketch.sky import Layer, Stage


def nebula(stage: Stage) -> Layer:
    """Glowing gas, folded by itself."""
    warp, gas, dust = stage.noise(130, 3), stage.noise(131, 6, 0.55), stage.noise(132, 5)
    palette, turn = stage.wish.palette, float(stage.rng(133).uniform(-60, 60))
    dark = blend((0.01, 0.012, 0.03), palette.sky[0], 0.25)
    first, second = spun(turn, 1.0)((0.42, 0.2, 0.55)), spun(turn + 50, 1.0)((0.85, 0.42, 0.45))

    def draw(sheet: Sheet) -> None:
        sheet.rgb[...] = np.asarray(dark, np.float32)[:, None, None]
        bend = warp.grid(sheet.x * 1.6, sheet.y * 1.6)
        x, y = (
            sheet.x[None] * np.float32(1.5) + bend * np.float32(0.75),
            sheet.down * np.float32(1.5) - bend * np.float32(0.75),
        )
        clouds = gas.at(x, y)
        veil = dust.grid(sheet.x * 3, sheet.y * 3)
        sheet.lay(first, smooth(-0.6, 0.9, clouds) * np.float32(0.75))
        sheet.lay(second, smooth(0.05, 1.2, clouds + veil * np.float32(0.35)) * np.float32(0.6))
        sheet.glow(palette.light, smooth(0.6, 1.5, clouds) * np.float32(0.35))
        sheet.lay(dark, smooth(0.25, 1.0, veil - clouds * np.float32(0.4)) * np.float32(0.55))

    return draw


def planet(stage: Stage) -> Layer:
    """A banded world in half light, often with rings."""
    rng, palette = stage.rng(134), stage.wish.palette
    radius = float(rng.uniform(0.17, 0.27)) * min(1.0, stage.aspect)
    x, y = stage.aspect * float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.4, 0.6))
    bands, storms = stage.noise(135, 4), stage.noise(136, 4)
    hue, tilt, ringed = float(rng.uniform(-90, 90)), float(rng.uniform(-0.5, 0.5)), bool(rng.random() < 0.65)
    colours = ramp(
        (spun(hue)(palette.far), spun(hue, 1.3)(palette.sky[2]), spun(hue)(palette.sky[3]), spun(hue)(palette.far))
    )
    sun = (-0.62 if rng.random() < 0.5 else 0.62, -0.5, 0.6)

    def draw(sheet: Sheet) -> None:
        across, down = (sheet.x - x)[None] / np.float32(radius), (sheet.down - y) / np.float32(radius)
        along, over = (
            across * np.float32(np.cos(tilt)) + down * np.float32(np.sin(tilt)),
            down * np.float32(np.cos(tilt)) - across * np.float32(np.sin(tilt)),
        )
        away = np.hypot(across, down)
        sheet.glow(
            palette.sky[2],
            np.exp(-np.abs(away - 1) * 7)
            * np.float32(0.3)
            * np.clip(across * np.float32(sun[0]) + down * np.float32(sun[1]) + 0.6, 0, 1),
        )
        if ringed:
            _ring(sheet, along, over, palette.sky[3], behind=True)
        swirl = storms.at(along * 2, over * 3)
        tone = bands.at(np.zeros_like(over), over * 2.4 + swirl * np.float32(0.22)) * np.float32(0.5) + np.float32(0.5)
        paint = colours[:, np.clip(tone * 255, 0, 255).astype(np.int64)]
        front = np.sqrt(np.clip(1 - away * away, 0, 1))
        light = np.clip(across * np.float32(sun[0]) + down * np.float32(sun[1]) + front * np.float32(sun[2]), 0, 1)
        sheet.lay(paint * (0.04 + 1.1 * light**0.8), sheet.edge((1 - away) * np.float32(radius)))
        if ringed:
            _ring(sheet, along, over, palette.sky[3], behind=False)

    return draw


def _ring(
    sheet: Sheet, along: np.ndarray, over: np.ndarray, colour: tuple[float, float, float], *, behind: bool
) -> None:
    away = np.hypot(along, over * np.float32(3.6))
    body = (
        smooth(1.3, 1.36, away)
        * smooth(2.15, 2.08, away)
        * (0.62 + 0.38 * np.sin(away * 38))
        * (1 - 0.8 * smooth(0.06, 0.0, np.abs(away - np.float32(1.78))))
    )
    half = (over < 0) if behind else (over >= 0)
    sheet.lay(colour, np.clip(body * half, 0, 1) * np.float32(0.75))


def silk(stage: Stage) -> Layer:
    """Colour flowing through colour: noise bent by noise bent by noise."""
    first, second, third = stage.noise(140, 2), stage.noise(141, 3), stage.noise(142, 3)
    palette, rng = stage.wish.palette, stage.rng(143)
    stops = (
        *palette.sky,
        palette.light,
        spun(float(rng.uniform(20, 60)), 1.2)(palette.sky[2]),
        palette.far,
        palette.near,
    )
    colours = ramp(stops, 512)
    folds = float(rng.uniform(1.5, 2.4))

    def draw(sheet: Sheet) -> None:
        bend = first.grid(sheet.x * 1.2, sheet.y * 1.2)
        x = sheet.x[None] * np.float32(1.4) + bend * np.float32(1.1)
        y = sheet.down * np.float32(1.4) - bend * np.float32(0.8)
        fold = second.at(x, y)
        last = third.at(x * 0.6 + fold * np.float32(1.3), y * 0.6 - fold)
        tone = np.clip(
            (last * np.float32(0.55) + fold * np.float32(0.2)) * np.float32(folds) * np.float32(0.5) + np.float32(0.45),
            0,
            1,
        )
        paint = colours[:, (tone * 511).astype(np.int64)]
        sheen = np.sin((last * 9 + fold * 5) * np.float32(folds)) * np.float32(0.5) + np.float32(0.5)
        shade = mix(0.8, 1.12, sheen**2)
        sheet.rgb[...] = np.clip(paint * shade, 0, 1)

    return draw
