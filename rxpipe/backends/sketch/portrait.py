"""A face, with light and shadow where real faces have them, so that face detectors find it.

Measured in face units: the origin between eyes and mouth, the chin at y = 1, one unit = `size` heights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from rxpipe.backends.sketch.colour import blend, spun
from rxpipe.backends.sketch.field import F32, Canvas, mix, smooth

if TYPE_CHECKING:
    from rxpipe.backends.sketch.field import Rgb
    from rxpipe.backends.sketch.sky import Layer, SkyScene

_SKINS: tuple[Rgb, ...] = (
    (0.95, 0.79, 0.68),
    (0.9, 0.71, 0.58),
    (0.83, 0.62, 0.47),
    (0.71, 0.5, 0.37),
    (0.6, 0.41, 0.3),
)
_HAIRS: tuple[Rgb, ...] = (
    (0.1, 0.07, 0.06),
    (0.2, 0.12, 0.08),
    (0.36, 0.21, 0.11),
    (0.62, 0.43, 0.22),
    (0.52, 0.2, 0.09),
    (0.07, 0.07, 0.1),
)
_EYES: tuple[Rgb, ...] = ((0.27, 0.17, 0.09), (0.2, 0.4, 0.55), (0.22, 0.4, 0.24), (0.38, 0.28, 0.12), (0.3, 0.36, 0.4))


@dataclass(frozen=True, slots=True)
class _Head:
    """Who is portrayed, and where: centre x, y and size in heights; turn -1..1 is where the light comes from."""

    x: float
    y: float
    size: float
    skin: Rgb
    hair: Rgb
    iris: Rgb
    cloth: Rgb
    long_hair: bool
    beard: float
    smile: float
    wide: float
    turn: float


def _head(scene: SkyScene) -> _Head:
    rng, spec = scene.rng(150), scene.spec
    draws = rng.random(12)
    size = float(0.255 + 0.035 * draws[0]) * min(1.0, scene.aspect / 0.8)
    manly = spec.has("man") or (not spec.has("woman") and draws[1] < 0.45)
    hair = (0.56, 0.55, 0.54) if spec.has("old") else _HAIRS[int(draws[3] * len(_HAIRS))]
    beard = 0.85 if spec.has("beard") else float(0.5 * draws[7]) if manly and draws[8] < 0.3 else 0.0
    return _Head(
        x=scene.aspect * 0.5 + float(draws[9] - 0.5) * 0.06 * scene.aspect, y=0.46 + 0.02 * float(draws[10]), size=size,
        skin=_SKINS[int(draws[2] * len(_SKINS))], hair=spec.hair or hair, iris=_EYES[int(draws[4] * len(_EYES))],
        cloth=blend(spun(float(draws[5] * 360))((0.5, 0.22, 0.22)), spec.palette.sky[1], 0.45), long_hair=not manly,
        beard=beard, smile=0.9 if spec.has("smile") else 0.25 + 0.5 * float(draws[6]),
        wide=0.72 + 0.05 * float(draws[0]),
        turn=1.0 if draws[11] < 0.5 else -1.0,
    )  # fmt: skip


def portrait(scene: SkyScene) -> list[Layer]:
    """Background, shoulders, hair, face."""
    head = _head(scene)
    return [_backdrop(scene), lambda canvas: _bust(canvas, scene, head)]


def _backdrop(scene: SkyScene) -> Layer:
    palette, rng, noise = scene.spec.palette, scene.rng(151), scene.noise(152, 4)
    count = 26
    x, y = rng.uniform(0, scene.aspect, count), rng.uniform(0, 0.85, count)
    sizes, shine = rng.uniform(0.02, 0.075, count), rng.uniform(0.05, 0.28, count)
    tones = [blend(palette.light, palette.glow, float(t)) for t in rng.uniform(0, 1, count)]

    def draw(canvas: Canvas) -> None:
        cloud = noise.grid(canvas.x * 1.3, canvas.y * 1.3) * np.float32(0.5) + np.float32(0.5)
        tone = np.clip(canvas.down * np.float32(0.75) + cloud * np.float32(0.4), 0, 1)
        low, high = blend(palette.sky[0], palette.far, 0.25), blend(palette.sky[2], palette.far, 0.2)
        canvas.rgb[...] = np.stack([mix(a, b, tone) for a, b in zip(low, high, strict=True)])
        for i in range(count):
            part = canvas.window(x[i] - sizes[i], x[i] + sizes[i], y[i] - sizes[i], y[i] + sizes[i])
            if part is not None:
                away = np.hypot((part.x - x[i])[None], part.down - y[i]) / np.float32(sizes[i])
                part.lay(tones[i], smooth(1.0, 0.86, away) * np.float32(shine[i]) * (0.7 + 0.5 * away))

    return draw


@dataclass(frozen=True, slots=True)
class _Face:
    """A part of the canvas in face units, to draw features on."""

    canvas: Canvas
    x: F32
    y: F32
    size: float

    def part(self, left: float, right: float, top: float, bottom: float) -> _Face | None:
        x0, x1 = (int(i) for i in np.searchsorted(self.x[0], (left, right)))
        y0, y1 = (int(i) for i in np.searchsorted(self.y[:, 0], (top, bottom)))
        if x0 >= x1 or y0 >= y1:
            return None
        inner = Canvas(
            self.canvas.rgb[:, y0:y1, x0:x1],
            self.canvas.x[x0:x1],
            self.canvas.y[y0:y1],
            self.canvas.px,
            self.canvas.aspect,
            self.canvas.whole,
        )
        return _Face(inner, self.x[:, x0:x1], self.y[y0:y1], self.size)

    def edge(self, inside: F32) -> F32:
        return self.canvas.edge(inside * np.float32(self.size))

    def lay(self, colour: Rgb | F32, cover: F32 | float) -> None:
        self.canvas.lay(colour, cover)

    def blob(self, colour: Rgb, at: tuple[float, float], reach: tuple[float, float], strength: float) -> None:
        """A soft spot of colour: shadow, light, blush."""
        part = self.part(at[0] - 2.6 * reach[0], at[0] + 2.6 * reach[0], at[1] - 2.6 * reach[1], at[1] + 2.6 * reach[1])
        if part is not None:
            away = ((part.x - at[0]) / np.float32(reach[0])) ** 2 + ((part.y - at[1]) / np.float32(reach[1])) ** 2
            part.lay(colour, np.exp(-away) * np.float32(strength))


def _bust(canvas: Canvas, scene: SkyScene, head: _Head) -> None:
    x, y = (
        ((canvas.x - head.x) / head.size)[None].astype(np.float32),
        ((canvas.down - head.y) / head.size).astype(np.float32),
    )
    face = _Face(canvas, x, y, head.size)
    strands = _strands(scene, head, face)
    _hair_behind(face, head, strands)
    _shoulders(face, head)
    _skin(face, head)
    for side in (-1, 1):
        _eye(face, head, side)
    _nose(face, head)
    _mouth(face, head)
    if head.beard:
        _beard(face, head, strands)
    _hair_front(face, head, strands)


def _strands(scene: SkyScene, head: _Head, face: _Face) -> F32:
    """How light each hair is, -1..1: hairs fan out from the parting and fall in waves below."""
    noise = scene.noise(153, 4, 0.6)
    fine = noise.line(np.linspace(0, 24, 2048, dtype=np.float32))
    drop = np.clip(face.y + 1.42, 0.04, 2.6)
    fan = (face.x - np.float32(0.22 * head.turn) * np.clip(1.2 - drop, 0, 1)) / (
        0.22 + 0.78 * np.minimum(drop, 1.1) ** 0.7
    )
    wave = np.float32(0.05) * np.sin(face.y * 3.4 + 1.0) * np.clip(face.y + 0.4, 0, 1) * np.sign(face.x)
    at = np.clip((fan + wave + 2) * 512, 0, 2047)
    return np.asarray(fine[at.astype(np.int64)])


def _hair_paint(face: _Face, head: _Head, strands: F32) -> F32:
    light = np.clip(0.88 + strands * 0.3 + 0.3 * head.turn * face.x - 0.12 * face.y, 0.4, 1.5)
    arc = face.y + 0.93 - 0.3 * (face.x - 0.15 * head.turn) ** 2
    gloss = np.exp(-((arc / 0.13) ** 2)) * np.clip(0.35 + strands * 0.5, 0, 1) * np.float32(0.34)
    return np.stack([np.clip(np.float32(c) * light + gloss * np.float32(0.25 + 0.75 * c), 0, 1) for c in head.hair])


def _hair_behind(face: _Face, head: _Head, strands: F32) -> None:
    crown = (
        1
        - np.hypot(face.x / np.float32(head.wide + 0.2), (face.y + 0.3) / np.float32(1.08))
        + strands * np.float32(0.012)
    )
    cover = face.edge(crown * np.float32(0.9)) * (1.0 if head.long_hair else smooth(0.22, 0.05, face.y))
    if head.long_hair:
        fall = (
            np.float32(head.wide + 0.16)
            + 0.07 * np.sin(face.y * 2.6 + 0.9)
            + 0.09 * np.clip(face.y, 0, 2)
            - np.abs(face.x)
        )
        fall = fall + strands * np.float32(0.03)
        cover = np.maximum(
            cover, face.edge(fall) * face.edge(face.y + np.float32(0.3)) * face.edge(1.72 - face.y + strands * 0.16)
        )
    shade = mix(
        0.86 if head.long_hair else 0.97,
        0.5,
        smooth(head.wide, head.wide * 0.4, np.abs(face.x)) * smooth(-0.2, 0.6, face.y),
    )
    face.lay(_hair_paint(face, head, strands) * shade, cover)


def _shoulders(face: _Face, head: _Head) -> None:
    x, y = np.abs(face.x), face.y
    slope = y - np.float32(1.24) - np.float32(0.42) * smooth(0.2, 1.5, x) - 0.25 * np.clip(x - 1.2, 0, 2) ** 2
    collar = y - np.float32(1.76) + np.float32(0.62) * np.clip(x / np.float32(0.62), 0, 1) ** 1.6 * np.float32(0.9)
    neck = np.float32(0.31 if head.long_hair else 0.38) + 0.3 * smooth(0.95, 1.55, y) ** 2 - x
    under = smooth(1.35, 0.95, y) * (0.8 - 0.35 * head.turn * face.x)
    light = (0.92 + 0.16 * head.turn * face.x - 0.12 * smooth(0.2, 0.5, x)) * (1 - 0.34 * under)
    bones = np.exp(-(((y - 1.45 - 0.12 * x) / 0.03) ** 2)) * smooth(0.1, 0.2, x) * np.float32(0.07)
    skin = np.stack(
        [np.clip(np.float32(c) * (light - bones) * d, 0, 1) for c, d in zip(head.skin, (1.0, 0.97, 0.95), strict=True)]
    )
    face.lay(skin, np.maximum(face.edge(neck) * face.edge(y - np.float32(0.55)), face.edge(slope) * face.edge(0.9 - x)))
    folds = 0.1 * np.cos(face.x * 4 + y * 2.2) + 0.06 * np.cos(face.x * 9 - y * 5)
    tone = np.clip(0.85 + 0.22 * head.turn * face.x + folds - 0.16 * (y - 1.4), 0.35, 1.25) * mix(
        0.8, 1.0, smooth(0.0, 0.05, collar)
    )
    face.lay(
        np.stack([np.clip(np.float32(c) * tone, 0, 1) for c in head.cloth]), face.edge(slope + 0.03) * face.edge(collar)
    )


def _outline(face: _Face, head: _Head) -> F32:
    """Signed distance to the face's edge, positive inside: a skull above, a jaw that narrows below."""
    jaw = np.clip((face.y - 0.15) / 0.85, 0, 1)
    half = np.float32(head.wide) * (1 - (0.4 if head.long_hair else 0.26) * jaw**1.6)
    away = np.hypot(face.x / half, (face.y + 0.02) / np.where(face.y + 0.02 < 0, 1.08, 1.03).astype(np.float32))
    return np.asarray((1 - away) * head.wide, np.float32)


def _skin(face: _Face, head: _Head) -> None:
    for ear_side in (-1, 1):
        ear = 1 - np.hypot(
            (face.x - np.float32(ear_side * head.wide * 0.99)) / np.float32(0.12), (face.y - 0.02) / np.float32(0.22)
        )
        face.lay(
            blend(head.skin, (0.5, 0.2, 0.15), 0.25),
            face.edge(ear * np.float32(0.12)) * (0.0 if head.long_hair else 1.0),
        )
    inside = _outline(face, head)
    side = head.turn * face.x
    light = (
        0.93
        + 0.16 * side
        - 0.1 * face.x**2
        - 0.06 * face.y
        + 0.08 * np.exp(-((face.x**2) * 6 + ((face.y + 0.55) ** 2) * 7))
    )
    light = light * mix(0.72, 1.0, smooth(0.0, 0.24, inside))
    face.lay(np.stack([np.clip(np.float32(c) * light, 0, 1) for c in head.skin]), face.edge(inside))
    shadow = blend(head.skin, (0.25, 0.07, 0.04), 0.55)
    blush = blend(head.skin, (0.85, 0.25, 0.22), 0.5)
    for across in (-1, 1):
        face.blob(blush, (across * 0.42, 0.3), (0.19, 0.14), 0.34)
        face.blob(blend(head.skin, (1, 1, 1), 0.5), (across * 0.4, 0.14), (0.16, 0.07), 0.3 + 0.1 * across * head.turn)
        face.blob(shadow, (across * 0.33, -0.17), (0.19, 0.11), 0.5)
        face.blob(shadow, (across * 0.13, -0.14), (0.055, 0.13), 0.42)
    face.blob(blend(head.skin, (1, 1, 1), 0.45), (0.03 * head.turn, 0.85), (0.13, 0.06), 0.22)


def _eye(face: _Face, head: _Head, side: int) -> None:
    eye = face.part(side * 0.33 - 0.27, side * 0.33 + 0.27, -0.55, 0.1)
    if eye is None:
        return
    x, y = (eye.x - np.float32(side * 0.33)) * np.float32(side), eye.y + np.float32(0.12)
    across = np.clip(1 - (x / np.float32(0.2)) ** 2, 0, 1)
    upper, lower = y + np.float32(0.1) * across**0.75 + 0.02 * x, np.float32(0.062) * across - y + 0.04 * x
    opening = np.minimum(eye.edge(upper), eye.edge(lower)) * (across > 0)
    eye.lay((0.9, 0.88, 0.86), opening)
    eye.lay((0.35, 0.25, 0.25), opening * smooth(0.045, 0.0, upper) * np.float32(0.55))
    away = np.hypot(eye.x - np.float32(side * 0.33), (y + np.float32(0.014)))
    eye.lay(tuple(c * 0.55 for c in head.iris), opening * eye.edge(np.float32(0.092) - away))  # type: ignore[arg-type]  # three of them
    eye.lay(
        blend(head.iris, (1, 1, 1), 0.16),
        opening * smooth(0.084, 0.03, away) * smooth(-0.06, 0.05, y + np.float32(0.014)),
    )
    eye.lay((0.03, 0.02, 0.02), opening * eye.edge(np.float32(0.042) - away))
    gleam = np.hypot(eye.x - np.float32(side * 0.33 + 0.028 * head.turn), y + np.float32(0.042))
    eye.lay((1.0, 1.0, 1.0), eye.edge(np.float32(0.019) - gleam))
    lash, thick = (0.09, 0.05, 0.04), np.float32(0.028 if head.long_hair else 0.018)
    eye.lay(lash, eye.edge(thick * across**0.4 - np.abs(upper)) * (np.abs(x) < 0.21))
    eye.lay(
        blend(head.skin, (0.3, 0.1, 0.06), 0.6),
        smooth(0.02, 0.0, np.abs(upper + np.float32(0.06))) * np.float32(0.45) * across,
    )
    eye.lay(blend(head.skin, (0.3, 0.1, 0.06), 0.5), smooth(0.018, 0.0, np.abs(lower)) * np.float32(0.45) * across)
    _brow(eye, head, x)


def _brow(eye: _Face, head: _Head, x: F32) -> None:
    line = eye.y + np.float32(0.355) + np.float32(0.055) * np.clip(1 - ((x - 0.03) / 0.25) ** 2, -1, 1)
    thick = np.float32(0.026 if head.long_hair else 0.042) * np.clip(1.2 - np.abs(x + 0.05) * 3.4, 0.25, 1)
    cover = smooth(1.5, 0.5, np.abs(line) / thick) * smooth(0.27, 0.21, np.abs(x))
    eye.lay(blend(head.hair, (0.12, 0.08, 0.06), 0.6), cover * np.float32(0.85))


def _nose(face: _Face, head: _Head) -> None:
    shadow, bright = blend(head.skin, (0.28, 0.08, 0.05), 0.6), blend(head.skin, (1, 1, 1), 0.55)
    face.blob(shadow, (-0.095 * head.turn, 0.12), (0.05, 0.2), 0.36)
    face.blob(bright, (0.02 * head.turn, 0.02), (0.045, 0.24), 0.42)
    face.blob(bright, (0.015 * head.turn, 0.27), (0.065, 0.055), 0.45)
    face.blob(shadow, (0, 0.385), (0.13, 0.035), 0.55)
    for side in (-1, 1):
        face.blob(shadow, (side * 0.145, 0.31), (0.035, 0.07), 0.42)
        face.blob((0.16, 0.06, 0.05), (side * 0.07, 0.355), (0.038, 0.02), 0.75)


def _mouth(face: _Face, head: _Head) -> None:
    mouth = face.part(-0.42, 0.42, 0.42, 0.86)
    if mouth is None:
        return
    lip = blend(head.skin, (0.72, 0.2, 0.22), 0.68 if head.long_hair else 0.4)
    x, half = mouth.x, np.float32(0.265 + 0.05 * head.smile)
    across = np.clip(1 - (x / half) ** 2, 0, 1)
    y = mouth.y - np.float32(0.6) + np.float32(0.11 * head.smile) * (x / half) ** 2
    bow = np.float32(0.062) * across**0.7 * (1 - 0.35 * np.exp(-((x / 0.05) ** 2)))
    low = np.float32(0.088) * across**0.8
    mouth.lay(tuple(c * 0.84 for c in lip), mouth.edge(y + bow) * mouth.edge(-y) * (across > 0))  # type: ignore[arg-type]  # three
    mouth.lay(lip, mouth.edge(y) * mouth.edge(low - y) * (across > 0))
    face.blob(blend(lip, (1, 1, 1), 0.5), (0.04 * head.turn, 0.648), (0.1, 0.018), 0.4)
    mouth.lay(
        (0.25, 0.07, 0.07), smooth(0.02, 0.004, np.abs(y + 0.004 * np.cos(x * 14))) * across**0.3 * np.float32(0.85)
    )
    for side in (-1, 1):
        face.blob(
            blend(head.skin, (0.25, 0.07, 0.04), 0.6),
            (side * (float(half) + 0.02), 0.6 - 0.1 * head.smile),
            (0.04, 0.035),
            0.4,
        )
    face.blob(blend(head.skin, (0.25, 0.07, 0.04), 0.55), (0, 0.735), (0.15, 0.032), 0.4)


def _beard(face: _Face, head: _Head, strands: F32) -> None:
    full = max(0.0, head.beard - 0.5) * 0.55
    shape = np.hypot(
        face.x / np.float32(head.wide * (0.93 + 0.1 * full)), np.clip(face.y - 0.1, 0, 3) / np.float32(0.95 + full)
    )
    cover = face.edge((np.float32(1.0) - shape + strands * np.float32(0.025)) * np.float32(0.6))
    chin = smooth(0.36, 0.6, face.y + 0.5 * (np.abs(face.x) - 0.3))
    gap = np.exp(-((face.x / 0.28) ** 4) - ((face.y - 0.625) / 0.1) ** 4)
    light = np.clip(0.8 + 0.35 * strands + 0.2 * head.turn * face.x, 0.4, 1.3)
    paint = np.stack([np.clip(np.float32(c) * light, 0, 1) for c in blend(head.hair, (0.12, 0.08, 0.07), 0.3)])
    face.lay(paint, np.clip(cover * chin * (1 - gap) * np.float32(head.beard), 0, 0.85))


def _hair_front(face: _Face, head: _Head, strands: F32) -> None:
    part = np.float32(0.22 * head.turn)
    sweep = np.abs(face.x - part)
    line = np.float32(-0.82) + np.float32(0.62 if head.long_hair else 0.42) * sweep**1.9 + strands * np.float32(0.03)
    crown = (
        1
        - np.hypot(face.x / np.float32(head.wide + 0.2), (face.y + 0.3) / np.float32(1.08))
        + strands * np.float32(0.012)
    )
    low = 0.75 if head.long_hair else -0.12
    cover = face.edge(line - face.y) * face.edge(crown * np.float32(0.9)) * smooth(low + 0.3, low, face.y)
    face.lay(
        blend(head.skin, (0.25, 0.08, 0.05), 0.6),
        smooth(0.1, 0.0, face.y - line) * face.edge(_outline(face, head)) * np.float32(0.45),
    )
    face.lay(_hair_paint(face, head, strands), cover)
