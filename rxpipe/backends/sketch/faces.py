"""adetailer: faces refined inside a soft mask, all else left as it was.

One look of the detector is one slice of work, the longest there is (some 0.15 s); disposing takes effect within it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter

from rxpipe.backends.picture import Stopped
from rxpipe.backends.sketch.field import F32, U8, smooth
from rxpipe.backends.sketch.frame import Frame, PaintResult, bands, preview_of
from rxpipe.pictures.faces import Face, find_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rxpipe.backends.sketch.frame import Work


_LOOKING = 0.6  # of the time; the rest is for refining


@dataclass(frozen=True, slots=True)
class Unit:
    """What is looked for and how it is refined; px are those of the picture.

    confidence: finds below are ignored. strength: denoising_strength 0..1. grow: px the mask is larger than the face
    (below 0: smaller). feather: px of its soft edge, inside and outside. smallest, largest: share of the picture.
    most: only so many of the largest ("Area") or surest ("Confidence") finds, 0 for all. invert: refine all but faces.
    """

    confidence: float = 0.3
    strength: float = 0.4
    grow: int = 4
    feather: int = 4
    smallest: float = 0.0
    largest: float = 1.0
    most: int = 0
    by: str = "Area"
    invert: bool = False


def refine_faces(pixels: U8, units: Sequence[Unit], steps: int, wanted: Callable[[], bool]) -> Work:
    """Refine the faces in a picture, a frame a step; unchanged if no unit finds one.

    Args:
        pixels: height x width x 3, 8 bit.
        units: run in order, each on what the one before it left.
        steps: 1 or more; spread over everything that is found.
        wanted: asked while a look is awaited; once it says no, `Stopped` is raised.
    """
    before = np.asarray(preview_of(Image.fromarray(pixels)))
    found, looked = yield from _looked(pixels, before, steps, wanted)
    faces = [_chosen(found, unit, pixels.shape) for unit in units]
    facts: dict[str, object] = {"faces": [_face_facts(face) for found in faces for face in found]}
    if not any(faces):
        return PaintResult(pixels, unchanged=True, facts=facts)
    refined = yield from _refined(pixels, [(unit, found) for unit, found in zip(units, faces, strict=True) if found])
    light = before.astype(np.float32)
    change = np.asarray(preview_of(Image.fromarray(refined)), np.float32) - light
    for step in range(looked + 1, steps + 1):
        share = np.float32((step - looked) / (steps - looked))
        yield Frame(step, steps, partial(_part_way, light, change, share))
    return PaintResult(refined, facts=facts)


def _part_way(light: F32, change: F32, share: np.float32) -> U8:
    return (light + change * share + np.float32(0.5)).astype(np.uint8)


def _looked(
    pixels: U8, preview: U8, steps: int, wanted: Callable[[], bool]
) -> Generator[Frame | None, None, tuple[list[Face], int]]:
    """Look for faces, with frames for the share of the steps that this takes; return the faces and the last step.

    A wait within a look is no slice of its own: how often it pauses depends on the machine.
    """
    looks, step, before = find_faces(pixels), 0, -1.0
    while True:
        try:
            share = next(looks)
        except StopIteration as end:
            found: list[Face] = end.value
            return found, step
        if not wanted():
            looks.close()
            raise Stopped
        if share == before:
            continue
        before = share
        yield None
        while step + 1 <= share * _LOOKING * steps:
            step += 1
            yield Frame(step, steps, lambda: preview)


def _chosen(faces: list[Face], unit: Unit, shape: tuple[int, ...]) -> list[Face]:
    """The finds that a unit takes."""
    whole = shape[0] * shape[1]
    fit = [
        face
        for face in faces
        if face.confidence >= unit.confidence and unit.smallest <= face.area / whole <= unit.largest
    ]
    if unit.by == "Confidence":
        fit.sort(key=lambda face: -face.confidence)
    return fit[: unit.most] if unit.most else fit


def _face_facts(face: Face) -> dict[str, object]:
    return {"box": [face.left, face.top, face.right, face.bottom], "confidence": face.confidence}


def _refined(pixels: U8, found: list[tuple[Unit, list[Face]]]) -> Generator[None, None, U8]:
    out = pixels.copy()
    for unit, faces in found:
        if unit.invert:
            yield from _touch(out, (0, 0, out.shape[1], out.shape[0]), faces, unit)
            continue
        for face in faces:
            yield from _touch(out, _region(face, unit, out.shape), [face], unit)
    return out


def _region(face: Face, unit: Unit, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """The box that holds the whole mask of a face, soft edge and all."""
    reach = unit.grow + unit.feather + 1
    return (
        max(0, face.left - reach),
        max(0, face.top - reach),
        min(shape[1], face.right + reach),
        min(shape[0], face.bottom + reach),
    )


def _mask(x: F32, y: F32, faces: list[Face], unit: Unit) -> F32:
    """How much of the refinement shows at each pixel: 1 in a face's ellipse, 0 beyond its soft edge."""
    total = np.zeros((len(y), len(x)), np.float32)
    for face in faces:
        half_x = max((face.right - face.left) / 2 + unit.grow, 1.0)
        half_y = max((face.bottom - face.top) / 2 + unit.grow, 1.0)
        across = (x - np.float32((face.left + face.right - 1) / 2))[None] / np.float32(half_x)
        down = (y - np.float32((face.top + face.bottom - 1) / 2))[:, None] / np.float32(half_y)
        soft = max(unit.feather, 0.5) / min(half_x, half_y)
        total = np.maximum(total, smooth(1 + soft, max(1 - 3 * soft, 0.1), np.hypot(across, down)))
    return 1 - total if unit.invert else total


def _touch(out: U8, region: tuple[int, int, int, int], faces: list[Face], unit: Unit) -> Generator[None, None, None]:
    """Refine one region of the picture in place, in bands that know their neighbourhood."""
    left, top, right, bottom = region
    size = max((face.right - face.left for face in faces), default=1) if not unit.invert else max(out.shape) // 4
    reach = round(size * 0.12) * 3 + 4
    source = Image.fromarray(out[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach])
    x0, y0 = left - max(0, left - reach), top - max(0, top - reach)
    x = np.arange(left, right, dtype=np.float32)
    for start, end in bands(bottom - top, source.width, 98_304):
        rows = (max(0, y0 + start - reach), min(source.height, y0 + end + reach))
        better = _better(source.crop((0, rows[0], source.width, rows[1])), size, unit.strength)
        cut = better[y0 + start - rows[0] : y0 + end - rows[0], x0 : x0 + right - left]
        share = _mask(x, np.arange(top + start, top + end, dtype=np.float32), faces, unit)[:, :, None]
        here = out[top + start : top + end, left:right]
        mixed = here + (cut - here) * share
        here[...] = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
        yield


def _better(band: Image.Image, size: int, strength: float) -> F32:
    """Smoother skin, clearer eyes, more depth; by *strength* 0..1, for a face *size* px wide."""
    light = np.asarray(band, np.float32)

    def blurred(share: float) -> F32:
        return np.asarray(band.filter(ImageFilter.GaussianBlur(max(0.6, size * share))), np.float32)

    fine, skin, broad = blurred(0.008), blurred(0.03), blurred(0.12)
    rough = np.abs(light - skin).mean(axis=2, keepdims=True)
    even = np.exp(-((rough / np.float32(9)) ** 2)) * np.float32(0.9)
    result = light + (skin - light) * even
    result += (light - fine) * (1 - even) * np.float32(1.6)
    result += (skin - broad) * np.float32(0.35)
    result += np.float32(3) * np.exp(-(((result.mean(axis=2, keepdims=True) - 150) / 60) ** 2))
    return np.asarray(light + (result - light) * np.float32(min(1.0, 1.6 * strength)), np.float32)
