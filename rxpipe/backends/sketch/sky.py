"""What is above: gradient, stars, aurora, clouds, sun or moon, birds, and the weather in front of it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, ramp
from rxpipe.backends.sketch.field import F32, Canvas, Noise, mix, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.sketch.words import SceneSpec

    Layer = Callable[[Canvas], None]


@dataclass(frozen=True, slots=True)
class SkyScene:
    """What all layers of one picture share: the spec, the randomness, the frame.

    aspect is width / height; detail 0..1 grows with the number of steps; horizon is the y of the skyline; sun is where
    sun or moon stands.
    """

    spec: SceneSpec
    seed: int
    aspect: float
    detail: float
    horizon: float
    sun: tuple[float, float]

    def rng(self, part: int) -> np.random.Generator:
        """The randomness of one part of the picture, the same whatever the other parts draw."""
        return np.random.Generator(np.random.PCG64([self.seed, part]))

    def noise(self, part: int, octaves: int = 5, gain: float = 0.5) -> Noise:
        """A noise of its own for one part; fewer steps leave its finest octaves out."""
        return Noise(self.rng(part), max(2, round(octaves * (0.4 + 0.6 * self.detail))), gain)


def gradient(scene: SkyScene) -> Layer:
    """The sky from the zenith down to the horizon, brighter around the sun."""
    colours = ramp(scene.spec.palette.sky)
    sun_x, sun_y = scene.sun
    reach = {"night": 0.16, "storm": 0.1, "day": 0.2}.get(scene.spec.hour, 0.38)

    def draw(canvas: Canvas) -> None:
        at = np.clip(canvas.y / np.float32(scene.horizon), 0, 1) ** np.float32(1.15) * 255
        canvas.rgb[...] = colours[:, at.astype(np.int64)][:, :, None]
        away = np.hypot((canvas.x - sun_x)[None] * np.float32(0.8), canvas.down - sun_y)
        canvas.lay(scene.spec.palette.light, reach * np.exp(-away * 3.6))

    return draw


def stars(scene: SkyScene) -> Layer:
    """Stars, thinning out towards the horizon."""
    rng = scene.rng(11)
    count = int((220 + 380 * scene.detail) * max(1.0, scene.aspect))
    x, y = rng.uniform(0, scene.aspect, count), rng.uniform(0, 1, count) ** 1.4 * scene.horizon
    shine = rng.uniform(0.15, 1, count) ** 3 * (1 - y / scene.horizon) ** 0.6
    if scene.spec.hour not in {"night", "dusk"}:
        shine = shine * 0.5

    def draw(canvas: Canvas) -> None:
        for i in np.flatnonzero((y > canvas.y[0] - 0.02) & (y < canvas.y[-1] + 0.02)):
            radius = max(canvas.px * 0.6, 0.0008 + 0.0016 * float(shine[i]))
            part = canvas.window(x[i] - 4 * radius, x[i] + 4 * radius, y[i] - 4 * radius, y[i] + 4 * radius)
            if part is not None:
                away = ((part.x - x[i])[None] ** 2 + (part.down - y[i]) ** 2) / np.float32(radius * radius)
                part.glow((1.0, 0.97, 0.92), np.exp(-away) * np.float32(shine[i]))

    return draw


def aurora(scene: SkyScene) -> Layer:
    """Green and violet curtains of light."""
    noise, fine = scene.noise(12, 3), scene.noise(13, 4)
    low = scene.horizon * 0.62

    def draw(canvas: Canvas) -> None:
        for fold, colour in enumerate(((0.16, 0.95, 0.55), (0.35, 0.45, 0.95), (0.1, 0.75, 0.7))):
            foot = low * (1 - 0.2 * fold) + 0.16 * noise.line(canvas.x * 1.3 + 7 * fold)
            rays = 0.55 + 0.45 * fine.line(canvas.x * 14 + 3 * fold)
            above = foot[None] - canvas.down
            light = np.where(above > 0, np.exp(-above * 5.5), np.exp(above * 45)) * np.clip(rays, 0, 1)[None]
            canvas.glow(colour, (0.5 - 0.1 * fold) * light.astype(np.float32))

    return draw


def clouds(scene: SkyScene, amount: float) -> Layer:
    """Flat banks of cloud, lit from the sun's side; *amount* -0.5 (few) .. 0.5 (overcast)."""
    noise = scene.noise(14, 6, 0.55)
    palette, (sun_x, sun_y) = scene.spec.palette, scene.sun
    lit, shade = blend(palette.light, palette.sky[3], 0.35), blend(palette.sky[1], palette.far, 0.45)
    strength = 0.55 if scene.spec.hour == "night" else 0.85

    def draw(canvas: Canvas) -> None:
        part = canvas.window(0, scene.aspect, 0, scene.horizon + 0.02)
        if part is None:
            return
        here = noise.grid(part.x * 1.5, part.y * 5.5)
        towards_sun = noise.grid(part.x * 1.5 + np.float32(0.05), part.y * 5.5 + np.float32(0.16))
        low = smooth(1.0, 0.55, part.y / np.float32(scene.horizon))[:, None]
        cover = smooth(0.12 - amount, 0.85 - amount, here) * (0.35 + 0.65 * low) * strength
        near = np.exp(-np.hypot((part.x - sun_x)[None], part.down - sun_y) * 2.2)
        light = np.clip(0.42 + (here - towards_sun) * 1.1 + near * 0.5, 0, 1)
        part.lay(np.stack([mix(s, c, light) for s, c in zip(shade, lit, strict=True)]), cover)

    return draw


def disc(scene: SkyScene) -> Layer:
    """The sun, or the moon with its spots, and the light around it."""
    (x, y), rng = scene.sun, scene.rng(15)
    night = scene.spec.hour == "night" or scene.spec.has("moon")
    radius = float(rng.uniform(0.035, 0.075)) * min(1.0, scene.aspect) ** 0.5
    spots, phase = scene.noise(16, 4), float(rng.uniform(-0.9, 0.9)) if night else 0.0
    veil = 0.35 if scene.spec.hour == "storm" else 1.0

    def draw(canvas: Canvas) -> None:
        light = scene.spec.palette.light
        away = np.hypot((canvas.x - x)[None], canvas.down - y)
        canvas.glow(light, np.float32(0.22 * veil) * np.exp(-away / np.float32(radius * 2.6)))
        part = canvas.window(x - 2 * radius, x + 2 * radius, y - 2 * radius, y + 2 * radius)
        if part is None:
            return
        across, down = (part.x - x)[None] / np.float32(radius), (part.down - y) / np.float32(radius)
        cover = part.edge((1 - np.hypot(across, down)) * np.float32(radius))
        if night:
            dark = smooth(0.0, 0.5, spots.grid(part.x / radius * 0.9, part.y / radius * 0.9)) * np.float32(0.16)
            bright = smooth(-0.35, 0.35, across + phase * 1.1 * np.sqrt(np.clip(1 - down**2, 0, 1)) + 0.55)
            part.lay(np.stack([np.float32(c) * (1 - dark) for c in light]), cover * (0.12 + 0.88 * bright))
        else:
            part.lay(blend(light, (1, 1, 1), 0.45), cover * np.float32(veil))

    return draw


def birds(scene: SkyScene) -> Layer:
    """A loose flock of gulls, far away."""
    rng = scene.rng(17)
    count = int(rng.integers(4, 11))
    middle = np.array([rng.uniform(0.2, 0.8) * scene.aspect, rng.uniform(0.25, 0.6) * scene.horizon])
    places = middle + rng.normal(0, 1, (count, 2)) * (0.11, 0.045)
    spans, lifts = rng.uniform(0.008, 0.02, count), rng.uniform(0.35, 0.8, count)
    colour = blend(scene.spec.palette.near, scene.spec.palette.far, 0.25)

    def draw(canvas: Canvas) -> None:
        for (x, y), span, lift in zip(places, spans, lifts, strict=True):
            part = canvas.window(x - span, x + span, y - span, y + span)
            if part is not None:
                along = np.abs((part.x - x)[None]) / np.float32(span)
                wing = y - span * lift * (np.sin(along * 2.6) * 0.75 - along * 0.25)
                thick = np.float32(max(span * 0.13, part.px * 0.7)) * (1 - 0.75 * along)
                part.lay(colour, part.edge(thick - np.abs(part.down - wing)) * (along < 1))

    return draw


def fog(scene: SkyScene, level: float, thickness: float, strength: float) -> Layer:
    """A bank of mist lying at height *level*."""
    noise, colour = scene.noise(18, 4), blend(scene.spec.palette.sky[3], scene.spec.palette.far, 0.35)

    def draw(canvas: Canvas) -> None:
        part = canvas.window(0, scene.aspect, level - 3 * thickness, level + 3 * thickness)
        if part is not None:
            wisps = 0.65 + 0.5 * noise.grid(part.x * 1.6, part.y * 7)
            body = np.exp(-(((part.down - level) / np.float32(thickness)) ** 2))
            part.lay(colour, np.clip(wisps * body * np.float32(strength), 0, 0.95))

    return draw


def snowfall(scene: SkyScene) -> Layer:
    """Flakes, near ones large and soft."""
    rng = scene.rng(19)
    count = int((130 + 170 * scene.detail) * max(1.0, scene.aspect))
    x, y = rng.uniform(0, scene.aspect, count), rng.uniform(0, 1, count)
    sizes = 0.0014 + 0.0062 * rng.uniform(0, 1, count) ** 4

    def draw(canvas: Canvas) -> None:
        for i in np.flatnonzero((y > canvas.y[0] - 0.03) & (y < canvas.y[-1] + 0.03)):
            size = max(float(sizes[i]), canvas.px * 0.7)
            part = canvas.window(x[i] - 2 * size, x[i] + 2 * size, y[i] - 2 * size, y[i] + 2 * size)
            if part is not None:
                away = np.hypot((part.x - x[i])[None], part.down - y[i]) / np.float32(size)
                part.lay((0.96, 0.97, 1.0), smooth(1.3, 0.3, away) * np.float32(0.8 - 40 * sizes[i]))

    return draw


def rainfall(scene: SkyScene) -> Layer:
    """Slanting streaks."""
    noise = scene.noise(20, 3)

    def draw(canvas: Canvas) -> None:
        slanted = canvas.x[None] + canvas.down * np.float32(0.18)
        streaks: F32 = noise.at(slanted * 130, np.broadcast_to(canvas.down * 5, slanted.shape) + slanted * 19)
        canvas.lay((0.85, 0.9, 0.95), smooth(0.5, 1.1, streaks) * np.float32(0.2))

    return draw
