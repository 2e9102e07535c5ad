"""Water: what stands above the horizon, mirrored, broken by waves, with the light of the sun on it.

A second pass: it looks at what the layers before it drew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend
from rxpipe.backends.sketch.field import F32, Canvas, mix, smooth

if TYPE_CHECKING:
    from rxpipe.backends.sketch.sky import Layer, SkyScene


def water(scene: SkyScene, level: float, *, calm: float) -> Layer:
    """Water from *level* down to the lower edge; *calm* 0 is open sea, 1 is a mirror."""
    swell, ripple = scene.noise(100, 3), scene.noise(101, 3)
    palette = scene.spec.palette
    deep = blend(palette.water, palette.near, 0.35)

    def draw(canvas: Canvas) -> None:
        part = canvas.window(0, scene.aspect, level, 2)
        if part is None:
            return
        down = (part.down - level) / np.float32(1 - level)
        far = 1 / (down + np.float32(0.045))
        across = (part.x[None] - np.float32(scene.aspect / 2)) * far
        depth = np.broadcast_to(far, across.shape)
        waves = swell.at(across * 1.1, depth * np.float32(3.4))
        waves += ripple.at(across * 4.5, depth * np.float32(10)) * np.float32(0.55) * smooth(0.0, 0.35, down)
        rough = np.float32(1 - 0.8 * calm)
        mirrored = _mirrored(part, level, waves * rough)
        share = np.clip((0.3 + 0.5 * down) * (1 - 0.45 * calm) - waves * np.float32(0.3) * rough, 0.05, 0.95)
        body = np.stack([mix(w, d, down) for w, d in zip(palette.water, deep, strict=True)])
        part.rgb[...] = mirrored * np.float32(0.93) + (body - mirrored * np.float32(0.93)) * share
        _glitter(part, scene, down, waves)

    return draw


def _mirrored(part: Canvas, level: float, waves: F32) -> F32:
    """What the water reflects: the picture above, turned over and shifted by the waves."""
    _, height, width = part.whole.shape
    down = part.down - level
    y = level - down * np.float32(0.92) - waves * (np.float32(0.008) + down * np.float32(0.14))
    x = part.x[None] + waves * np.float32(0.05) * down
    row = np.clip(np.minimum(y, level - part.px) * height, 0, height - 1).astype(np.int32)
    column = np.clip(x * np.float32(width / part.aspect), 0, width - 1).astype(np.int32)
    flat = part.whole.reshape(3, -1)
    return flat[:, row * width + column]


def _glitter(part: Canvas, scene: SkyScene, down: F32, waves: F32) -> None:
    away = (part.x[None] - np.float32(scene.sun[0])) / (np.float32(0.035) + np.float32(0.17) * down)
    path = np.exp(-away * away)
    strength = {"storm": 0.15, "day": 0.5}.get(scene.spec.hour, 0.85)
    sparks = smooth(0.1, 0.75, waves) * path * np.float32(strength)
    part.lay(scene.spec.palette.light, np.clip(sparks, 0, 0.95))
    shine = smooth(0.5, 0.95, waves) * np.float32(0.14)
    part.lay(scene.spec.palette.sky[3], shine)
