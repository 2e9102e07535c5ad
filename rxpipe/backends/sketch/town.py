"""What people built: towers of a city, a lighthouse on its rock, a castle, a cabin, a sailing boat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, spun
from rxpipe.backends.sketch.field import Canvas, mix, smooth
from rxpipe.backends.sketch.land import hills, skyline

if TYPE_CHECKING:
    from rxpipe.backends.sketch.field import F32, Rgb
    from rxpipe.backends.sketch.land import Skyline
    from rxpipe.backends.sketch.sky import Layer, SkyScene

_DARK_HOURS = ("night", "dusk", "sunset", "storm")


def city(scene: SkyScene, ground: float) -> list[Layer]:
    """Three rows of towers, the far ones pale in the haze, with lit windows when it is dark."""
    palette = scene.spec.palette
    layers: list[Layer] = []
    neon = 1.0 if scene.spec.hour in {"night", "dusk"} else 0.6 if scene.spec.hour in _DARK_HOURS else 0.25
    for row in range(3):
        near = row / 2
        colour = blend(blend(palette.far, palette.sky[2], 0.3), palette.near, 0.12 + 0.88 * near)
        layers.append(_towers(scene, ground, colour, 110 + row, near=near, neon=neon))
    return layers


def _towers(scene: SkyScene, ground: float, colour: Rgb, part: int, *, near: float, neon: float) -> Layer:
    rng, palette = scene.rng(part), scene.spec.palette
    wide = 0.05 + 0.045 * near
    count = max(2, int(scene.aspect / wide * 1.5))
    x = np.linspace(-0.03, scene.aspect + 0.03, count) + rng.normal(0, wide * 0.3, count)
    middle = scene.aspect * rng.uniform(0.3, 0.7)
    swell = 0.45 + 0.75 * np.exp(-(((x - middle) / (0.3 * scene.aspect)) ** 2))
    tall = (0.36 - 0.14 * near) * swell * rng.uniform(0.45, 1.15, count)
    widths, roofs, seeds = (
        wide * rng.uniform(0.6, 1.15, count),
        rng.integers(0, 4, count),
        rng.integers(1, 1 << 20, count),
    )
    order = rng.permutation(count)
    tone = rng.uniform(-0.06, 0.06, count)
    lamp = spun(float(rng.uniform(-40, 40)))(palette.glow)

    def draw(canvas: Canvas) -> None:
        for i in order:
            body = blend_fast(colour, (1.0, 1.0, 1.0) if tone[i] > 0 else (0.0, 0.0, 0.0), abs(float(tone[i])))
            place = (float(x[i]), ground + 0.004, float(widths[i]), float(tall[i]))
            _tower(canvas, place, body, int(roofs[i]), scene.sun[0])
            lights = palette.glow if seeds[i] % 5 else lamp
            _windows(canvas, place, lights, int(seeds[i]), near=near, neon=neon)

    return draw


def blend_fast(first: Rgb, second: Rgb, share: float) -> Rgb:
    """Between two colours in plain sRGB, where they lie close together."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def _tower(canvas: Canvas, place: tuple[float, float, float, float], colour: Rgb, roof: int, sun_x: float) -> None:
    x, foot, wide, tall = place
    part = canvas.window(x - wide / 2 - canvas.px, x + wide / 2 + canvas.px, foot - tall * 1.3, foot)
    if part is None:
        return
    across = (part.x - x)[None]
    up = (foot - part.down) / np.float32(tall)
    half, spire = np.full_like(up, wide / 2), wide * 0.05 * (1.3 - up) / 0.3
    if roof == 1:
        half = np.where(up > 0.82, wide * 0.33, half)
    elif roof == 2:
        half = np.where(up > 1, spire, wide * 0.5 * np.clip((1.9 - up) * 0.55 + 0.45 * (up < 0.9), 0, 1))
    top = 1.3 if roof == 2 else 1.0 + (0.12 * across / np.float32(wide) if roof == 3 else 0.0)
    cover = part.edge(half - np.abs(across)) * part.edge((np.float32(1.0) * top - up) * np.float32(tall))
    side = np.clip(0.5 + across / np.float32(wide) * np.sign(sun_x - x), 0, 1)
    shade = (0.86 + 0.26 * side) * (0.9 + 0.16 * np.clip(up, 0, 1))
    part.lay(np.stack([np.clip(np.float32(c) * shade, 0, 1) for c in colour]), cover)


def _windows(
    canvas: Canvas, place: tuple[float, float, float, float], lamp: Rgb, seed: int, *, near: float, neon: float
) -> None:
    x, foot, wide, tall = place
    part = canvas.window(x - wide * 0.42, x + wide * 0.42, foot - tall * 0.79, foot - 0.012)
    if part is None:
        return
    cell = np.float32(0.0085 + 0.0055 * near)
    column, row = (part.x - x)[None] / cell + 40, (foot - part.down) / (cell * np.float32(1.25))
    key = (column.astype(np.int64) * 73856093) ^ (row.astype(np.int64) * 19349663) ^ (seed * 83492791)
    key = (key ^ (key >> 13)) * 1274126177 & 0xFFFFFF
    lit = (key % 100 < 34).astype(np.float32) * (0.35 + (key >> 8) % 100 / np.float32(150))
    inside = smooth(0.5, 0.34, np.abs(column % 1 - np.float32(0.5))) * smooth(
        0.5, 0.3, np.abs(row % 1 - np.float32(0.5))
    )
    part.lay(lamp, inside * lit.astype(np.float32) * np.float32(neon * (0.45 + 0.55 * near)))


def headland(scene: SkyScene, level: float, *, left: bool) -> tuple[Skyline, Layer]:
    """A rocky cape reaching into the picture from one side, and its edge for what stands on it."""
    noise, rng = scene.noise(120, 6, 0.55), scene.rng(120)
    reach, high = scene.aspect * float(rng.uniform(0.42, 0.58)), float(rng.uniform(0.1, 0.17))
    rock, palette = scene.noise(121, 5, 0.6), scene.spec.palette
    lit, dark = blend(palette.near, palette.light, 0.28), blend(palette.near, (0, 0, 0), 0.25)

    def edge(x: F32) -> F32:
        along = x if left else np.float32(scene.aspect) - x
        fall = smooth(reach * 1.05, reach * 0.4, along)
        return np.asarray(level + 0.02 - (high + 0.02) * fall - 0.022 * fall * noise.ridged(x * 6), np.float32)

    def draw(canvas: Canvas) -> None:
        crest = edge(canvas.x)
        part = canvas.window(0, scene.aspect, float(crest.min()) - canvas.px, level + 0.05)
        if part is None:
            return
        below = part.down - crest[None]
        facets = rock.grid(part.x * 14, part.y * 9 + 3)
        towards_sun = rock.grid(
            part.x * 14 + (0.3 if scene.sun[0] < scene.aspect / 2 else -0.3), part.y * 9 + np.float32(2.8)
        )
        light = np.clip(0.28 + (facets - towards_sun) * 1.5 + smooth(0.03, 0.0, below) * 0.45, 0, 1)
        part.lay(
            np.stack([mix(d, c, light) for d, c in zip(dark, lit, strict=True)]),
            part.edge(below) * part.edge(level - part.down),
        )

    return edge, draw


def lighthouse(scene: SkyScene, edge: Skyline, *, left: bool) -> Layer:
    """The tower with its stripes, gallery and lamp, and by night the beams."""
    rng, palette = scene.rng(122), scene.spec.palette
    x = scene.aspect * float(rng.uniform(0.17, 0.3))
    x = x if left else scene.aspect - x
    foot = float(edge(np.array([x], np.float32))[0]) + 0.02
    tall = min(float(rng.uniform(0.32, 0.42)), foot - 0.1)
    band = spun(float(rng.uniform(-25, 25)))((0.78, 0.16, 0.14)) if rng.random() < 0.75 else palette.near
    dim = {"night": 0.5, "dusk": 0.72, "sunset": 0.88, "storm": 0.8}.get(scene.spec.hour, 1.0)
    white = blend((dim, dim, dim), palette.sky[2], 0.25)
    stripe = blend((band[0] * dim, band[1] * dim, band[2] * dim), palette.near, 0.1)
    shine = {"day": 0.0, "dawn": 0.5}.get(scene.spec.hour, 1.0)

    def draw(canvas: Canvas) -> None:
        _beams(canvas, scene, (x, foot - tall * 0.93), shine)
        _body(canvas, scene, (x, foot, tall), white, stripe)
        _lantern(canvas, scene, (x, foot, tall), shine)

    return draw


def _beams(canvas: Canvas, scene: SkyScene, lamp: tuple[float, float], shine: float) -> None:
    if not shine:
        return
    across, down = (canvas.x - lamp[0])[None], canvas.down - lamp[1]
    away = np.hypot(across, down) + np.float32(1e-4)
    slope = np.float32(0.16 if lamp[0] < scene.aspect / 2 else -0.16)
    off = np.abs(down / away + slope * across / away)
    beam = np.exp(-((off / np.float32(0.075)) ** 2)) * np.exp(-away * np.float32(1.7)) * np.float32(0.5 * shine)
    canvas.lay(scene.spec.palette.glow, np.clip(beam, 0, 0.9))
    canvas.glow(scene.spec.palette.glow, np.float32(0.5 * shine) * np.exp(-away * np.float32(26)))


def _body(canvas: Canvas, scene: SkyScene, place: tuple[float, float, float], white: Rgb, stripe: Rgb) -> None:
    x, foot, tall = place
    part = canvas.window(x - tall * 0.2, x + tall * 0.2, foot - tall * 0.87, foot + 0.01)
    if part is None:
        return
    up = (foot - part.down) / np.float32(tall)
    half = np.float32(tall) * (0.115 - 0.05 * up + 0.05 * np.exp(-up * 14))
    across = (part.x - x)[None] / half
    bands = smooth(-0.04, 0.04, np.sin(up * np.float32(3.6 * 2 * np.pi) + np.float32(0.9)))
    side = across * np.float32(np.sign(scene.sun[0] - x))
    light = np.clip(0.72 + 0.34 * side - 0.2 * across**2, 0.25, 1.12)
    paint = np.stack([np.clip(mix(w, s, bands) * light, 0, 1) for w, s in zip(white, stripe, strict=True)])
    part.lay(paint, part.edge((1 - np.abs(across)) * half) * part.edge((np.float32(0.86) - up) * np.float32(tall)))
    for height in (0.2, 0.45, 0.68):
        pane = (np.abs(across + 0.1) < 0.14) & (np.abs(up - height) < 0.022)
        part.lay(
            scene.spec.palette.glow if scene.spec.hour in _DARK_HOURS else scene.spec.palette.near,
            pane * np.float32(0.85),
        )


def _lantern(canvas: Canvas, scene: SkyScene, place: tuple[float, float, float], shine: float) -> None:
    x, foot, tall = place
    part = canvas.window(x - tall * 0.13, x + tall * 0.13, foot - tall * 1.1, foot - tall * 0.8)
    if part is None:
        return
    palette = scene.spec.palette
    up = (foot - part.down) / np.float32(tall)
    away = np.abs((part.x - x)[None]) / np.float32(tall)
    dark = blend(palette.near, (0.1, 0.1, 0.12), 0.5)

    def block(half: F32 | float, low: float, high: float) -> F32:
        cover = part.edge((np.asarray(half, np.float32) - away) * np.float32(tall))
        return (
            cover
            * part.edge((up - np.float32(low)) * np.float32(tall))
            * part.edge((np.float32(high) - up) * np.float32(tall))
        )

    part.lay(dark, block(0.1, 0.85, 0.87))
    part.lay(dark, block(0.094, 0.895, 0.9))
    part.lay(
        blend(palette.glow, (1, 1, 1), 0.5 * shine) if shine else blend(palette.sky[1], dark, 0.4),
        block(0.052, 0.87, 0.965),
    )
    for bar in (-0.03, 0.0, 0.03):
        part.lay(
            dark,
            block(0.052, 0.87, 0.965)
            * part.edge(np.float32(0.004 * tall) - np.abs((part.x - x)[None] - np.float32(bar * tall))),
        )
    part.lay(dark, block(np.sqrt(np.clip(1 - ((up - 0.96) / 0.085) ** 2, 0, 1)) * np.float32(0.07), 0.96, 1.05))
    part.lay(dark, block(0.006, 1.03, 1.09))


def boat(scene: SkyScene, level: float) -> Layer:
    """A sailing boat not far from the horizon."""
    rng, palette = scene.rng(125), scene.spec.palette
    size = float(rng.uniform(0.045, 0.085))
    x = float(np.clip(scene.sun[0] + rng.normal(0, 0.12), 0.15 * scene.aspect, 0.85 * scene.aspect))
    sail, hull = blend(palette.sky[3], (1, 1, 1), 0.45), blend(palette.near, (0.15, 0.08, 0.05), 0.3)

    def draw(canvas: Canvas) -> None:
        part = canvas.window(x - size * 1.2, x + size * 1.2, level - size * 2.2, level)
        if part is None:
            return
        across, up = (part.x - x)[None] / np.float32(size), (level - part.down) / np.float32(size)
        soft = np.float32(size)
        main = part.edge((np.float32(0.62) * (1 - (up - 0.3) / 1.75) - across - 0.04) * soft * 0.8)
        main = main * part.edge((across - np.float32(0.04)) * soft) * part.edge((up - np.float32(0.32)) * soft)
        jib = part.edge((np.float32(0.5) * (1 - (up - 0.3) / 1.45) + across - 0.02) * soft * 0.8)
        jib = jib * part.edge((-np.float32(0.03) - across) * soft) * part.edge((up - np.float32(0.32)) * soft)
        shade = np.clip(0.78 + 0.3 * np.sign(scene.sun[0] - x) * across + 0.1 * up, 0.5, 1.1)
        for cover in (main, jib):
            part.lay(np.stack([np.clip(np.float32(c) * shade, 0, 1) for c in sail]), cover)
        keel = part.edge((np.float32(0.72) + 0.25 * up - np.abs(across - 0.04)) * soft)
        part.lay(hull, keel * part.edge((np.float32(0.22) + 0.05 * across - up) * soft))
        part.lay(
            hull, part.edge((np.float32(0.014) - np.abs(across)) * soft) * part.edge((np.float32(2.1) - up) * soft)
        )

    return draw


def castle(scene: SkyScene, foot: float) -> list[Layer]:
    """Towers and walls, far off, on a hill that rises from *foot*."""
    rng, palette = scene.rng(126), scene.spec.palette
    middle, size = scene.aspect * float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.1, 0.14))
    base = foot - 0.07
    stone = blend(palette.far, palette.near, 0.62)
    roof = blend(stone, (0.45, 0.15, 0.12), 0.3)
    towers = [(-1.0, 0.22, 1.2), (-0.45, 0.16, 1.7), (0.05, 0.26, 2.3), (0.55, 0.15, 1.5), (0.95, 0.2, 1.1)]

    def draw(canvas: Canvas) -> None:
        _tower(canvas, (middle, base, size * 2.2, size * 0.75), stone, 0, scene.sun[0])
        for offset, wide, tall in towers:
            x = middle + offset * size
            _tower(canvas, (x, base, wide * size, tall * size), stone, 0, scene.sun[0])
            part = canvas.window(x - wide * size, x + wide * size, base - tall * size * 1.5, base - tall * size)
            if part is not None:
                up = (base - tall * size - part.down) / np.float32(wide * size * 1.9)
                part.lay(roof, part.edge((1 - up) * np.float32(wide * size * 0.62) - np.abs((part.x - x)[None])))
            glow = canvas.window(x - size * 0.02, x + size * 0.02, base - tall * size * 0.75, base - tall * size * 0.65)
            if glow is not None:
                glow.lay(palette.glow, 0.9 if scene.spec.hour in _DARK_HOURS else 0.2)

    bump = scene.noise(129, 5)

    def hill(x: F32) -> F32:
        rise = np.exp(-(((x - np.float32(middle)) / np.float32(size * 2.1)) ** 4)) + 0.1 * bump.line(x * 9)
        return np.asarray(np.float32(foot + 0.06) - np.float32(0.145) * rise)

    return [draw, hills(scene, hill, stone, blend(stone, palette.sky[3], 0.4), 129, depth=0.3, snow=0.0)]


def cabin(scene: SkyScene, base: float) -> Layer:
    """A small house with a warm window."""
    rng, palette = scene.rng(127), scene.spec.palette
    x, size = scene.aspect * float(rng.uniform(0.3, 0.7)), float(rng.uniform(0.07, 0.1))
    wall, roof = blend(palette.near, (0.35, 0.2, 0.12), 0.5), blend(palette.near, (0.1, 0.06, 0.06), 0.4)
    roof = blend(roof, (0.95, 0.96, 1.0), 0.85) if scene.spec.has("snow") else roof

    def draw(canvas: Canvas) -> None:
        _tower(canvas, (x, base, size * 1.5, size * 0.8), wall, 0, scene.sun[0])
        part = canvas.window(x - size * 1.1, x + size * 1.1, base - size * 1.6, base)
        if part is None:
            return
        across, up = (part.x - x)[None] / np.float32(size), (base - part.down) / np.float32(size)
        part.lay(
            roof,
            part.edge((np.float32(1.45) - np.abs(across) * np.float32(0.78) - up) * np.float32(size))
            * part.edge((up - np.float32(0.72)) * np.float32(size)),
        )
        for offset in (-0.4, 0.35):
            pane = (np.abs(across - offset) < 0.16) & (np.abs(up - 0.4) < 0.15)
            part.lay(palette.glow, pane * np.float32(0.95))
            away = np.hypot(across - np.float32(offset), up - np.float32(0.4))
            part.glow(palette.glow, np.exp(-away * 3) * np.float32(0.3))

    return draw


def shore(scene: SkyScene, level: float) -> Skyline:
    """A nearly flat edge, for what stands at the water."""
    return skyline(scene.noise(128, 3), level, 0.006, 2.0, sharp=False)
