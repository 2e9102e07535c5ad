"""What is above: gradient, stars, aurora, clouds, sun or moon, birds, and the weather in front of it all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, ramp
from rxpipe.backends.sketch.field import F32, Noise, Sheet, mix, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.sketch.words import Wish

    Layer = Callable[[Sheet], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """What all layers of one picture share: the wish, the randomness, the frame.

    aspect is width / height; detail 0..1 grows with the number of steps; horizon is the y of the skyline; sun is where
    sun or moon stands.
    """

    wish: Wish
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


def gradient(stage: Stage) -> Layer:
    """The sky from the zenith down to the horizon, brighter around the sun."""
    colours = ramp(stage.wish.palette.sky)
    sun_x, sun_y = stage.sun
    reach = {"night": 0.16, "storm": 0.1, "day": 0.2}.get(stage.wish.hour, 0.38)

    def draw(sheet: Sheet) -> None:
        at = np.clip(sheet.y / np.float32(stage.horizon), 0, 1) ** np.float32(1.15) * 255
        sheet.rgb[...] = colours[:, at.astype(np.int64)][:, :, None]
        away = np.hypot((sheet.x - sun_x)[None] * np.float32(0.8), sheet.down - sun_y)
        sheet.lay(stage.wish.palette.light, reach * np.exp(-away * 3.6))

    return draw


def stars(stage: Stage) -> Layer:
    """Stars, thinning out towards the horizon."""
    rng = stage.rng(11)
    count = int((220 + 380 * stage.detail) * max(1.0, stage.aspect))
    x, y = rng.uniform(0, stage.aspect, count), rng.uniform(0, 1, count) ** 1.4 * stage.horizon
    shine = rng.uniform(0.15, 1, count) ** 3 * (1 - y / stage.horizon) ** 0.6
    if stage.wish.hour not in {"night", "dusk"}:
        shine = shine * 0.5

    def draw(sheet: Sheet) -> None:
        for i in np.flatnonzero((y > sheet.y[0] - 0.02) & (y < sheet.y[-1] + 0.02)):
            radius = max(sheet.px * 0.6, 0.0008 + 0.0016 * float(shine[i]))
            part = sheet.window(x[i] - 4 * radius, x[i] + 4 * radius, y[i] - 4 * radius, y[i] + 4 * radius)
            if part is not None:
                away = ((part.x - x[i])[None] ** 2 + (part.down - y[i]) ** 2) / np.float32(radius * radius)
                part.glow((1.0, 0.97, 0.92), np.exp(-away) * np.float32(shine[i]))

    return draw


def aurora(stage: Stage) -> Layer:
    """Green and violet curtains of light."""
    noise, fine = stage.noise(12, 3), stage.noise(13, 4)
    low = stage.horizon * 0.62

    def draw(sheet: Sheet) -> None:
        for fold, colour in enumerate(((0.16, 0.95, 0.55), (0.35, 0.45, 0.95), (0.1, 0.75, 0.7))):
            foot = low * (1 - 0.2 * fold) + 0.16 * noise.line(sheet.x * 1.3 + 7 * fold)
            rays = 0.55 + 0.45 * fine.line(sheet.x * 14 + 3 * fold)
            above = foot[None] - sheet.down
            light = np.where(above > 0, np.exp(-above * 5.5), np.exp(above * 45)) * np.clip(rays, 0, 1)[None]
            sheet.glow(colour, (0.5 - 0.1 * fold) * light.astype(np.float32))

    return draw


def clouds(stage: Stage, amount: float) -> Layer:
    """Flat banks of cloud, lit from the sun's side; *amount* -0.5 (few) .. 0.5 (overcast)."""
    noise = stage.noise(14, 6, 0.55)
    palette, (sun_x, sun_y) = stage.wish.palette, stage.sun
    lit, shade = blend(palette.light, palette.sky[3], 0.35), blend(palette.sky[1], palette.far, 0.45)
    strength = 0.55 if stage.wish.hour == "night" else 0.85

    def draw(sheet: Sheet) -> None:
        part = sheet.window(0, stage.aspect, 0, stage.horizon + 0.02)
        if part is None:
            return
        here = noise.grid(part.x * 1.5, part.y * 5.5)
        towards_sun = noise.grid(part.x * 1.5 + np.float32(0.05), part.y * 5.5 + np.float32(0.16))
        low = smooth(1.0, 0.55, part.y / np.float32(stage.horizon))[:, None]
        cover = smooth(0.12 - amount, 0.85 - amount, here) * (0.35 + 0.65 * low) * strength
        near = np.exp(-np.hypot((part.x - sun_x)[None], part.down - sun_y) * 2.2)
        light = np.clip(0.42 + (here - towards_sun) * 1.1 + near * 0.5, 0, 1)
        part.lay(np.stack([mix(s, c, light) for s, c in zip(shade, lit, strict=True)]), cover)

    return draw


def disc(stage: Stage) -> Layer:
    """The sun, or the moon with its spots, and the light around it."""
    (x, y), rng = stage.sun, stage.rng(15)
    night = stage.wish.hour == "night" or stage.wish.has("moon")
    radius = float(rng.uniform(0.035, 0.075)) * min(1.0, stage.aspect) ** 0.5
    spots, phase = stage.noise(16, 4), float(rng.uniform(-0.9, 0.9)) if night else 0.0
    veil = 0.35 if stage.wish.hour == "storm" else 1.0

    def draw(sheet: Sheet) -> None:
        light = stage.wish.palette.light
        away = np.hypot((sheet.x - x)[None], sheet.down - y)
        sheet.glow(light, np.float32(0.22 * veil) * np.exp(-away / np.float32(radius * 2.6)))
        part = sheet.window(x - 2 * radius, x + 2 * radius, y - 2 * radius, y + 2 * radius)
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


def birds(stage: Stage) -> Layer:
    """A loose flock of gulls, far away."""
    rng = stage.rng(17)
    count = int(rng.integers(4, 11))
    middle = np.array([rng.uniform(0.2, 0.8) * stage.aspect, rng.uniform(0.25, 0.6) * stage.horizon])
    places = middle + rng.normal(0, 1, (count, 2)) * (0.11, 0.045)
    spans, lifts = rng.uniform(0.008, 0.02, count), rng.uniform(0.35, 0.8, count)
    colour = blend(stage.wish.palette.near, stage.wish.palette.far, 0.25)

    def draw(sheet: Sheet) -> None:
        for (x, y), span, lift in zip(places, spans, lifts, strict=True):
            part = sheet.window(x - span, x + span, y - span, y + span)
            if part is not None:
                along = np.abs((part.x - x)[None]) / np.float32(span)
                wing = y - span * lift * (np.sin(along * 2.6) * 0.75 - along * 0.25)
                thick = np.float32(max(span * 0.13, part.px * 0.7)) * (1 - 0.75 * along)
                part.lay(colour, part.edge(thick - np.abs(part.down - wing)) * (along < 1))

    return draw


def fog(stage: Stage, level: float, thickness: float, strength: float) -> Layer:
    """A bank of mist lying at height *level*."""
    noise, colour = stage.noise(18, 4), blend(stage.wish.palette.sky[3], stage.wish.palette.far, 0.35)

    def draw(sheet: Sheet) -> None:
        part = sheet.window(0, stage.aspect, level - 3 * thickness, level + 3 * thickness)
        if part is not None:
            wisps = 0.65 + 0.5 * noise.grid(part.x * 1.6, part.y * 7)
            body = np.exp(-(((part.down - level) / np.float32(thickness)) ** 2))
            part.lay(colour, np.clip(wisps * body * np.float32(strength), 0, 0.95))

    return draw


def snowfall(stage: Stage) -> Layer:
    """Flakes, near ones large and soft."""
    rng = stage.rng(19)
    count = int((130 + 170 * stage.detail) * max(1.0, stage.aspect))
    x, y = rng.uniform(0, stage.aspect, count), rng.uniform(0, 1, count)
    sizes = 0.0014 + 0.0062 * rng.uniform(0, 1, count) ** 4

    def draw(sheet: Sheet) -> None:
        for i in np.flatnonzero((y > sheet.y[0] - 0.03) & (y < sheet.y[-1] + 0.03)):
            size = max(float(sizes[i]), sheet.px * 0.7)
            part = sheet.window(x[i] - 2 * size, x[i] + 2 * size, y[i] - 2 * size, y[i] + 2 * size)
            if part is not None:
                away = np.hypot((part.x - x[i])[None], part.down - y[i]) / np.float32(size)
                part.lay((0.96, 0.97, 1.0), smooth(1.3, 0.3, away) * np.float32(0.8 - 40 * sizes[i]))

    return draw


def rainfall(stage: Stage) -> Layer:
    """Slanting streaks."""
    noise = stage.noise(20, 3)

    def draw(sheet: Sheet) -> None:
        slanted = sheet.x[None] + sheet.down * np.float32(0.18)
        streaks: F32 = noise.at(slanted * 130, np.broadcast_to(sheet.down * 5, slanted.shape) + slanted * 19)
        sheet.lay((0.85, 0.9, 0.95), smooth(0.5, 1.1, streaks) * np.float32(0.2))

    return draw
