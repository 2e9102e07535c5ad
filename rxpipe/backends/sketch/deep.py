"""What has no ground: planets before nebulae, and silk-like flows of colour."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, ramp, spun
from rxpipe.backends.sketch.field import Canvas, mix, smooth

if TYPE_CHECKING:
    from rxpipe.backends.sketch.sky import Layer, SkyScene


def nebula(scene: SkyScene) -> Layer:
    """Glowing gas, folded by itself."""
    warp, gas, dust = scene.noise(130, 3), scene.noise(131, 6, 0.55), scene.noise(132, 5)
    palette, turn = scene.spec.palette, float(scene.rng(133).uniform(-60, 60))
    dark = blend((0.01, 0.012, 0.03), palette.sky[0], 0.25)
    first, second = spun(turn, 1.0)((0.42, 0.2, 0.55)), spun(turn + 50, 1.0)((0.85, 0.42, 0.45))

    def draw(canvas: Canvas) -> None:
        canvas.rgb[...] = np.asarray(dark, np.float32)[:, None, None]
        bend = warp.grid(canvas.x * 1.6, canvas.y * 1.6)
        x, y = (
            canvas.x[None] * np.float32(1.5) + bend * np.float32(0.75),
            canvas.down * np.float32(1.5) - bend * np.float32(0.75),
        )
        clouds = gas.at(x, y)
        veil = dust.grid(canvas.x * 3, canvas.y * 3)
        canvas.lay(first, smooth(-0.6, 0.9, clouds) * np.float32(0.75))
        canvas.lay(second, smooth(0.05, 1.2, clouds + veil * np.float32(0.35)) * np.float32(0.6))
        canvas.glow(palette.light, smooth(0.6, 1.5, clouds) * np.float32(0.35))
        canvas.lay(dark, smooth(0.25, 1.0, veil - clouds * np.float32(0.4)) * np.float32(0.55))

    return draw


def planet(scene: SkyScene) -> Layer:
    """A banded world in half light, often with rings."""
    rng, palette = scene.rng(134), scene.spec.palette
    radius = float(rng.uniform(0.17, 0.27)) * min(1.0, scene.aspect)
    x, y = scene.aspect * float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.4, 0.6))
    bands, storms = scene.noise(135, 4), scene.noise(136, 4)
    hue, tilt, ringed = float(rng.uniform(-90, 90)), float(rng.uniform(-0.5, 0.5)), bool(rng.random() < 0.65)
    colours = ramp(
        (spun(hue)(palette.far), spun(hue, 1.3)(palette.sky[2]), spun(hue)(palette.sky[3]), spun(hue)(palette.far))
    )
    sun = (-0.62 if rng.random() < 0.5 else 0.62, -0.5, 0.6)

    def draw(canvas: Canvas) -> None:
        across, down = (canvas.x - x)[None] / np.float32(radius), (canvas.down - y) / np.float32(radius)
        along, over = (
            across * np.float32(np.cos(tilt)) + down * np.float32(np.sin(tilt)),
            down * np.float32(np.cos(tilt)) - across * np.float32(np.sin(tilt)),
        )
        away = np.hypot(across, down)
        canvas.glow(
            palette.sky[2],
            np.exp(-np.abs(away - 1) * 7)
            * np.float32(0.3)
            * np.clip(across * np.float32(sun[0]) + down * np.float32(sun[1]) + 0.6, 0, 1),
        )
        if ringed:
            _ring(canvas, along, over, palette.sky[3], behind=True)
        swirl = storms.at(along * 2, over * 3)
        tone = bands.at(np.zeros_like(over), over * 2.4 + swirl * np.float32(0.22)) * np.float32(0.5) + np.float32(0.5)
        paint = colours[:, np.clip(tone * 255, 0, 255).astype(np.int64)]
        front = np.sqrt(np.clip(1 - away * away, 0, 1))
        light = np.clip(across * np.float32(sun[0]) + down * np.float32(sun[1]) + front * np.float32(sun[2]), 0, 1)
        canvas.lay(paint * (0.04 + 1.1 * light**0.8), canvas.edge((1 - away) * np.float32(radius)))
        if ringed:
            _ring(canvas, along, over, palette.sky[3], behind=False)

    return draw


def _ring(
    canvas: Canvas, along: np.ndarray, over: np.ndarray, colour: tuple[float, float, float], *, behind: bool
) -> None:
    away = np.hypot(along, over * np.float32(3.6))
    body = (
        smooth(1.3, 1.36, away)
        * smooth(2.15, 2.08, away)
        * (0.62 + 0.38 * np.sin(away * 38))
        * (1 - 0.8 * smooth(0.06, 0.0, np.abs(away - np.float32(1.78))))
    )
    half = (over < 0) if behind else (over >= 0)
    canvas.lay(colour, np.clip(body * half, 0, 1) * np.float32(0.75))


def silk(scene: SkyScene) -> Layer:
    """Colour flowing through colour: noise bent by noise bent by noise."""
    first, second, third = scene.noise(140, 2), scene.noise(141, 3), scene.noise(142, 3)
    palette, rng = scene.spec.palette, scene.rng(143)
    stops = (
        *palette.sky,
        palette.light,
        spun(float(rng.uniform(20, 60)), 1.2)(palette.sky[2]),
        palette.far,
        palette.near,
    )
    colours = ramp(stops, 512)
    folds = float(rng.uniform(1.5, 2.4))

    def draw(canvas: Canvas) -> None:
        bend = first.grid(canvas.x * 1.2, canvas.y * 1.2)
        x = canvas.x[None] * np.float32(1.4) + bend * np.float32(1.1)
        y = canvas.down * np.float32(1.4) - bend * np.float32(0.8)
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
        canvas.rgb[...] = np.clip(paint * shade, 0, 1)

    return draw
