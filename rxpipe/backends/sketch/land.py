"""What stands on the ground: ranges of hills, conifers, dunes, meadows with flowers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, spun
from rxpipe.backends.sketch.field import F32, Canvas, Noise, mix, smooth

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.sketch.field import Rgb
    from rxpipe.backends.sketch.sky import Layer, SkyScene

    Skyline = Callable[[F32], F32]


_LOW, _HIGH = 0.06, 0.15
"""Heights of ranges: below the first they never bear snow, above the second always."""


def skyline(noise: Noise, base: float, height: float, frequency: float, *, sharp: bool) -> Skyline:
    """The upper edge of a range of hills, as y over x."""

    def edge(x: F32) -> F32:
        if sharp:
            return np.asarray(base - height * (noise.ridged(x * frequency) + 0.25), np.float32)
        return np.asarray(base - height * noise.line(x * frequency), np.float32)

    return edge


def hills(scene: SkyScene, edge: Skyline, colour: Rgb, haze: Rgb, part: int, *, depth: float, snow: float) -> Layer:
    """One range: dark at the crest, sinking into haze below, lit from the sun's side.

    depth: how far below the crest the haze is complete. snow: 0..1, how far down it reaches.
    """
    relief = scene.noise(part, 6, 0.6)
    sun_x = scene.sun[0]
    lit, dark = blend(colour, scene.spec.palette.light, 0.26), blend(colour, (0, 0, 0), 0.12)
    white = blend((0.96, 0.97, 1.0), scene.spec.palette.light, 0.25)

    towards = np.float32(0.22 if sun_x < scene.aspect / 2 else -0.22)
    tops = float(edge(np.linspace(0, scene.aspect, 64, dtype=np.float32)).min())

    def draw(canvas: Canvas) -> None:
        crest = edge(canvas.x)
        area = canvas.window(0, scene.aspect, float(crest.min()) - canvas.px, 2)
        if area is None:
            return
        below = area.down - crest[None]
        rough = relief.grid(area.x * 5, area.y * 6)
        facing = rough - relief.grid(area.x * 5 + towards, area.y * 6 - np.float32(0.16))
        light = np.clip(0.42 + facing * 1.25 + 0.25 * smooth(0.05, 0.0, below), 0, 1)
        paint = np.stack([mix(d, c, light) for d, c in zip(dark, lit, strict=True)])
        if snow > 0:
            line = np.float32(tops + 0.17 * snow) + rough * np.float32(0.05) + facing * np.float32(0.05)
            cap = smooth(0.015, -0.015, area.down - line) * (0.4 + 0.6 * light)
            paint += (np.asarray(white, np.float32)[:, None, None] - paint) * cap * np.float32(0.92)
        sunk = np.clip(below / np.float32(depth), 0, 1) ** np.float32(1.4) * np.float32(0.85)
        paint += (np.asarray(haze, np.float32)[:, None, None] - paint) * sunk
        area.lay(paint, area.edge(below))

    return draw


def ranges(scene: SkyScene, count: int, *, height: float, sharp: bool, bottom: float) -> list[Layer]:
    """Several ranges one before the other, from the haze to the foreground."""
    palette, rng = scene.spec.palette, scene.rng(30)
    winter = scene.spec.has("snow")
    layers = []
    for i in range(count):
        near = i / max(count - 1, 1)
        colour = blend(palette.far, palette.near, near**1.25)
        haze = blend(blend(palette.sky[3], palette.far, 0.45), colour, 0.25 + 0.45 * near)
        base = scene.horizon + (bottom - scene.horizon) * near**1.3
        edge = skyline(scene.noise(31 + i, 7), base, height * (1 - 0.55 * near) * float(rng.uniform(0.8, 1.2)),
                       1.1 + 1.2 * near, sharp=sharp)  # fmt: skip
        high = sharp and height > _HIGH
        snow = (0.45 if high and near < 0.4 else 0.0) + (0.8 if winter and height > _LOW else 0.0)
        layers.append(hills(scene, edge, colour, haze, 51 + i, depth=0.2 + 0.2 * near, snow=snow))
    return layers


def _conifer(canvas: Canvas, place: tuple[float, float, float], colour: Rgb, *, snow: float, lean: float) -> None:
    """One fir; *place*: x, foot, height."""
    x, foot, tall = place
    wide = tall * 0.21
    part = canvas.window(x - wide - canvas.px, x + wide + canvas.px, foot - tall - canvas.px, foot + tall * 0.05)
    if part is None:
        return
    up = np.clip((foot - part.down) / np.float32(tall), 0, 1)
    tiers = 7 + 5 * lean
    saw = (up * tiers) % 1
    half = wide * (1 - up) ** 0.85 * (1.05 - 0.5 * saw) + tall * 0.004
    bough = np.float32(0.22) * np.abs((part.x - x)[None]) * saw
    cover = part.edge(half - np.abs((part.x - x)[None]) - bough)
    shade = 0.82 + 0.3 * up + 0.1 * np.sign((part.x - x)[None]) * np.float32(lean - 0.5)
    paint = np.stack([np.float32(c) * shade for c in colour])
    if snow > 0:
        rim = np.abs((part.x - x)[None]) / np.maximum(half, 1e-6)
        paint += (np.float32(0.93) - paint) * smooth(0.35, 1.1, rim * (1 - 0.3 * saw) + 0.25 * saw) * np.float32(snow)
    part.lay(paint, cover)


def conifers(scene: SkyScene, edge: Skyline, colour: Rgb, part: int, *, tall: float, spacing: float) -> Layer:
    """A row of firs standing along an edge."""
    rng = scene.rng(part)
    count = max(2, int(scene.aspect / spacing))
    x = np.sort(np.linspace(-0.02, scene.aspect + 0.02, count) + rng.normal(0, spacing * 0.6, count))
    sizes = tall * rng.uniform(0.45, 1.1, count) * (0.75 + 0.35 * np.sin(x * 3 + rng.uniform(0, 6)))
    feet = edge(x.astype(np.float32)) + tall * 0.1
    lean, shades = rng.uniform(0, 1, count), rng.uniform(0.8, 1.15, count)
    snow = 0.75 if scene.spec.has("snow") else 0.0
    autumn = scene.spec.has("autumn")
    turns = [spun(float(t), 1.6, 1.5) if autumn else None for t in rng.uniform(-30, 30, count)]

    def draw(canvas: Canvas) -> None:
        for i in np.flatnonzero((feet > canvas.y[0] - 0.1) & (feet - sizes < canvas.y[-1] + 0.05)):
            turn = turns[i]
            own = blend(colour, turn((0.75, 0.3, 0.12)), 0.5) if turn is not None else colour
            red, green, blue = (min(1.0, c * float(shades[i])) for c in own)
            place = (float(x[i]), float(feet[i]), float(sizes[i]))
            _conifer(canvas, place, (red, green, blue), snow=snow, lean=float(lean[i]))

    return draw


def _lowered(edge: Skyline, by: float) -> Skyline:
    return lambda x: np.asarray(edge(x) + np.float32(by))


def forest(scene: SkyScene) -> list[Layer]:
    """Rows of firs in thinning mist."""
    palette = scene.spec.palette
    layers: list[Layer] = []
    green = blend(palette.near, (0.05, 0.16, 0.12), 0.5)
    for i, (base, tall, spacing) in enumerate(
        ((0.6, 0.13, 0.02), (0.68, 0.2, 0.035), (0.8, 0.32, 0.06), (1.0, 0.62, 0.17))
    ):
        near = i / 3
        colour = blend(blend(palette.far, palette.sky[3], 0.2), green, 0.18 + 0.82 * near)
        haze = blend(palette.sky[3], colour, 0.35 + 0.5 * near)
        edge = skyline(scene.noise(71 + i, 4), base, 0.05, 1.4, sharp=False)
        layers.append(conifers(scene, edge, colour, 81 + i, tall=tall, spacing=spacing))
        layers.append(hills(scene, _lowered(edge, 0.01), colour, haze, 61 + i, depth=0.3, snow=
                            0.8 if scene.spec.has("snow") else 0.0))  # fmt: skip
    return layers


def dunes(scene: SkyScene) -> list[Layer]:
    """Long dunes with a bright and a shaded side."""
    palette, rng = scene.spec.palette, scene.rng(40)
    layers: list[Layer] = []
    sand = blend(blend(palette.sky[3], palette.light, 0.3), (0.87, 0.52, 0.25), 0.62)
    shade = blend(blend(sand, palette.near, 0.55), (0.35, 0.12, 0.1), 0.2)
    for i in range(6):
        near = i / 5
        base = scene.horizon + 0.02 + (1.0 - scene.horizon) * near**1.5 * 0.85
        edge = skyline(scene.noise(41 + i, 2), base, 0.025 + 0.06 * near, 1.6 - 0.8 * near, sharp=False)
        lit = blend(blend(palette.far, palette.sky[3], 0.5), sand, 0.4 + 0.6 * near)
        layers.append(
            _dune(
                scene, edge, lit, blend(lit, shade, 0.35 + 0.6 * near), part=240 + i, steep=float(rng.uniform(0.8, 1.3))
            )
        )
    return layers


def _dune(scene: SkyScene, edge: Skyline, lit: Rgb, dark: Rgb, *, part: int, steep: float) -> Layer:
    body, ripples = scene.noise(part, 3), scene.noise(part + 30, 3)
    towards = 1.0 if scene.sun[0] > scene.aspect / 2 else -1.0

    def draw(canvas: Canvas) -> None:
        crest = edge(canvas.x)
        area = canvas.window(0, scene.aspect, float(crest.min()) - canvas.px, 2)
        if area is None:
            return
        below = area.down - crest[None]
        slope = (edge(area.x + np.float32(0.02)) - edge(area.x - np.float32(0.02))) * np.float32(12 * towards * steep)
        lean = body.grid(area.x * 1.3 + steep, area.y * 3.5)
        grain = ripples.grid(area.x * 4, area.y * 34) * np.float32(0.07)
        facing = slope[None] * np.exp(-below * 5) + lean * np.float32(0.28) + grain
        light = np.clip(0.52 + facing + 0.35 * np.exp(-below * 40) - below * np.float32(0.5), 0, 1)
        area.lay(np.stack([mix(d, c, light) for d, c in zip(dark, lit, strict=True)]), area.edge(below))

    return draw


def meadow(scene: SkyScene) -> list[Layer]:
    """Grass and flowers, near ones large."""
    palette = scene.spec.palette
    grass = blend(blend(palette.near, (0.2, 0.42, 0.16), 0.6), palette.light, 0.08)
    edge = skyline(scene.noise(90, 3), scene.horizon + 0.08, 0.03, 1.2, sharp=False)
    haze = blend(grass, palette.near, 0.55)
    return [
        hills(scene, edge, blend(grass, palette.sky[3], 0.25), haze, 91, depth=0.5, snow=0.0),
        _blades(scene, grass),
        _blossoms(scene),
    ]


def _blades(scene: SkyScene, grass: Rgb) -> Layer:
    noise = scene.noise(92, 4)

    def draw(canvas: Canvas) -> None:
        part = canvas.window(0, scene.aspect, scene.horizon + 0.06, 2)
        if part is None:
            return
        deep = np.clip((part.y - scene.horizon) / np.float32(1 - scene.horizon), 0, 1)[:, None]
        streaks = noise.grid(part.x * 55, part.y * 9)
        sheet_light = np.clip(streaks * 0.5 + 0.25, 0, 1) * deep
        part.lay(blend(grass, scene.spec.palette.light, 0.35), sheet_light * np.float32(0.4))

    return draw


def _flower(
    canvas: Canvas, place: tuple[float, float, float], petal: Rgb, core: Rgb, *, petals: int, turn: float
) -> None:
    """One flower on its stem; *place*: x, y, size."""
    x, y, size = place
    stem = canvas.window(x - size * 0.4, x + size * 0.4, y, y + size * 4)
    if stem is not None:
        bow = x + np.float32(size * 0.3) * np.sin((stem.down - y) / np.float32(size) * 0.8) * np.sign(turn - 3)
        thick = np.float32(max(size * 0.055, canvas.px * 0.5))
        stem.lay(
            (0.16, 0.33, 0.14),
            stem.edge(thick - np.abs(stem.x[None] - bow)) * smooth(y + size * 4, y + size * 2.5, stem.down),
        )
    part = canvas.window(x - size * 1.1, x + size * 1.1, y - size * 0.8, y + size * 0.8)
    if part is None:
        return
    across, down = (part.x - x)[None] / np.float32(size), (part.down - y) / np.float32(size * 0.68)
    away, angle = np.hypot(across, down), np.arctan2(down, across) + np.float32(turn)
    leaf = np.abs(np.cos(angle * np.float32(petals / 2)))
    cover = part.edge((np.float32(0.45) + np.float32(0.55) * leaf**0.6 - away) * np.float32(size))
    shade = np.clip(0.62 + 0.42 * away + 0.1 * leaf - 0.25 * down * (away > 0), 0.3, 1.25)
    part.lay(np.stack([np.clip(np.float32(c) * shade, 0, 1) for c in petal]), cover)
    part.lay(core, part.edge((np.float32(0.24) - away) * np.float32(size)))


def _blossoms(scene: SkyScene) -> Layer:
    rng, palette = scene.rng(93), scene.spec.palette
    count = int((90 + 120 * scene.detail) * max(1.0, scene.aspect))
    near = np.sort(rng.uniform(0, 1, count) ** 1.6)
    y = scene.horizon + 0.09 + (0.9 - scene.horizon) * near + rng.normal(0, 0.01, count)
    x, sizes = rng.uniform(-0.05, 1.05, count) * scene.aspect, 0.006 + 0.05 * near**1.7
    hue = float(rng.uniform(-180, 180))
    base: Rgb = (0.86, 0.25, 0.3)
    if scene.spec.bloom is not None:
        hue = scene.spec.bloom - 22
    kinds = [
        spun(hue)(base),
        spun(hue + (50 if scene.spec.bloom is None else 14), 0.9, 1.15)(base),
        (0.95, 0.93, 0.9),
        blend(palette.sky[2], (1.0, 0.95, 0.95), 0.3),
    ]
    choice, turns, petals = rng.integers(0, 4, count), rng.uniform(0, 6.28, count), rng.integers(5, 9, count)
    dim = {"night": 0.55, "dusk": 0.75, "storm": 0.8}.get(scene.spec.hour, 1.0)

    def draw(canvas: Canvas) -> None:
        for i in np.flatnonzero((y + sizes * 4.5 > canvas.y[0]) & (y - sizes < canvas.y[-1])):
            red, green, blue = (c * dim for c in kinds[int(choice[i])])
            core = (0.95 * dim, 0.75 * dim, 0.2 * dim)
            place = (float(x[i]), float(y[i]), float(sizes[i]))
            _flower(canvas, place, (red, green, blue), core, petals=int(petals[i]), turn=float(turns[i]))

    return draw
