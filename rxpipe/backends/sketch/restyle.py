"""img2img: a photo turned into a painting, by denoising_strength.

0 leaves it alone; then the strokes grow, the colours drift to those of the prompt, past a half the prompt's own picture
shines through in patches, and at 1 there is nothing else left. Cut into slices like all work here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rxpipe.backends.sketch.field import F32, U8, Noise, smooth
from rxpipe.backends.sketch.frame import Frame, PaintResult, bands, preview_of
from rxpipe.backends.sketch.paint import draft_of, paint
from rxpipe.backends.sketch.strokes import Brushwork

if TYPE_CHECKING:
    from collections.abc import Generator

    from rxpipe.backends.sketch.frame import Work
    from rxpipe.backends.sketch.paint import PaintJob

_ANEW = 0.5
"""Above this strength the prompt's own picture comes in."""
_APART = 3
"""Of every so many pixels across and down one is enough for the mean and the spread of a preview's colours."""
_OPPONENT = np.array([[0.3, 0.59, 0.11], [0.5, -0.5, 0.0], [-0.25, -0.25, 0.5]], np.float32)
_BACK = np.linalg.inv(_OPPONENT).astype(np.float32)


def restyle(job: PaintJob, photo: U8, strength: float) -> Work:
    """Redraw a photo.

    Args:
        job: prompt, seed, steps and colour; its size is the photo's.
        photo: height x width x 3, 8 bit.
        strength: 0 (unchanged) .. 1 (drawn anew).
    """
    if strength <= 0:
        return (yield from _unchanged(job, photo))
    if strength >= 1:
        return (yield from paint(job))
    model, own = yield from _model(job, photo, strength)
    canvas = Image.fromarray(model)
    yield None
    work = Brushwork(canvas, job.seed, strength).draw()
    seen = partial(_seen, np.asarray(_preview(photo), np.float32), canvas, np.float32(_paint_share(strength)))
    done = 0.0
    for step in range(1, job.steps):
        while done < step / job.steps:
            done = next(work, 1.0)
            yield None
        yield Frame(step, job.steps, seen)
    yield from (None for _ in work)
    pixels = yield from _composed(photo, canvas, own, strength)
    yield Frame(job.steps, job.steps, partial(_preview, pixels))
    return PaintResult(pixels)


def _unchanged(job: PaintJob, photo: U8) -> Work:
    for step in range(1, job.steps + 1):
        yield Frame(step, job.steps, partial(_preview, photo))
    return PaintResult(photo)


def _preview(pixels: U8) -> U8:
    return np.asarray(preview_of(Image.fromarray(pixels)))


def _seen(before: F32, canvas: Image.Image, share: np.float32) -> U8:
    """The preview of what is painted so far."""
    now = np.asarray(preview_of(canvas), np.float32)
    return (before + (now - before) * share).astype(np.uint8)


def _paint_share(strength: float) -> float:
    """How much of the painting lies over the photo."""
    return float(1 - (1 - strength) ** 2.4)


def _anew_share(strength: float) -> float:
    """How much of the prompt's own picture lies over the photo."""
    return float(max(0.0, (strength - _ANEW) / (1 - _ANEW)) ** 1.3)


def _model(job: PaintJob, photo: U8, strength: float) -> Generator[None, None, tuple[U8, U8 | None]]:
    """What is painted from: the photo in the prompt's colours, with the prompt's own picture (second) coming in."""
    draft = yield from draft_of(job)
    grade = _Grade.between(_preview(photo)[::_APART, ::_APART], draft, 0.75 * strength**0.8)
    own = None
    if strength > _ANEW:
        own = yield from _quietly(paint(job))
    model = np.empty_like(photo)
    noise = Noise(np.random.Generator(np.random.PCG64([job.seed, 9])), 4)
    for top, bottom in bands(*photo.shape[:2]):
        light = grade.applied(photo[top:bottom])
        if own is not None:
            mask = _patches(noise, job, (top, bottom), _anew_share(strength))
            light += (own[top:bottom] - light) * mask
        model[top:bottom] = np.clip(light, 0, 255).astype(np.uint8)
        yield
    return model, own


def _quietly(work: Work) -> Generator[None, None, U8]:
    """The picture of some work, without its frames."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            pixels: U8 = end.value.pixels
            return pixels
        yield None


def _patches(noise: Noise, job: PaintJob, rows: tuple[int, int], share: float) -> F32:
    """Where the prompt's picture shows: nowhere at 0, everywhere at 1, growing patches between."""
    x = np.arange(job.width, dtype=np.float32) * np.float32(5 / job.height)
    y = np.arange(*rows, dtype=np.float32) * np.float32(5 / job.height)
    ground = np.clip(noise.grid(x, y) * np.float32(0.5) + np.float32(0.5), 0, 1)
    return smooth(0, 1, np.float32(share * 1.6) - ground * np.float32(0.6))[:, :, None]


@dataclass(frozen=True, slots=True)
class _Grade:
    """A change of colours: an affine map in light and two opponent colours, and how much of it."""

    mean: F32
    gain: F32
    aim: F32
    share: np.float32

    @classmethod
    def between(cls, photo: U8, model: U8, share: float) -> _Grade:
        """The map that gives *photo* the mean and the spread of colours that *model* has (Reinhard 2001)."""
        have = (photo.astype(np.float32) @ _OPPONENT.T).reshape(-1, 3)
        want = (model.astype(np.float32) @ _OPPONENT.T).reshape(-1, 3)
        gain = np.clip((want.std(0) + 4) / (have.std(0) + 4), 0.6, 1.7)
        aim = have.mean(0) + (want.mean(0) - have.mean(0)) * np.array([0.35, 1, 1], np.float32)
        return cls(have.mean(0), gain, aim, np.float32(share))

    def applied(self, photo: U8) -> F32:
        """The band of pixels with its colours changed, 0..255."""
        light = photo.astype(np.float32)
        moved = ((light @ _OPPONENT.T - self.mean) * self.gain + self.aim) @ _BACK.T
        return np.asarray(light + (moved - light) * self.share, np.float32)


def _composed(photo: U8, canvas: Image.Image, own: U8 | None, strength: float) -> Generator[None, None, U8]:
    """The painting laid over the photo; close to 1 the prompt's own picture, unpainted, over both."""
    out = np.empty_like(photo)
    share, last = np.float32(_paint_share(strength)), smooth(0.75, 1.0, np.float32(strength))
    painted = np.asarray(canvas)
    for top, bottom in bands(*photo.shape[:2]):
        light = photo[top:bottom].astype(np.float32)
        light += (painted[top:bottom] - light) * share
        if own is not None and last:
            light += (own[top:bottom] - light) * last
        out[top:bottom] = (light + np.float32(0.5)).astype(np.uint8)
        yield
    return out
