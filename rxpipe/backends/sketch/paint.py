"""txt2img: a picture drawn band by band, with a preview after every step that emerges out of noise.

A generator that never works long at a time: it yields None between slices of work and a Frame at the end of each step,
so that the caller can stop it at any slice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from rxpipe.backends.sketch.field import F32, U8, Canvas, product, spline_weights
from rxpipe.backends.sketch.frame import PREVIEW_PX, Frame, PaintResult, bands, preview_size
from rxpipe.backends.sketch.resample import enlarge
from rxpipe.backends.sketch.scene import compose

if TYPE_CHECKING:
    from collections.abc import Generator

    from rxpipe.backends.sketch.frame import Slices, Work
    from rxpipe.backends.sketch.scene import Passes

_DRAFT_PX = 128
_LARGEST_PX = 2048 * 2048
_USUAL_CFG = 7.0


@dataclass(frozen=True, slots=True)
class PaintJob:
    """What is to be drawn. width, height: px. seed >= 0. cfg_scale: contrast and colour, 7 is plain. steps >= 1."""

    prompt: str
    negative: str = ""
    seed: int = 0
    width: int = 512
    height: int = 512
    steps: int = 20
    cfg_scale: float = _USUAL_CFG


def paint(job: PaintJob) -> Work:
    """Draw a picture, a frame a step; beyond four megapixels it is drawn smaller and enlarged."""
    shrink = math.sqrt(_LARGEST_PX / (job.width * job.height))
    if shrink >= 1:
        return (yield from _painted(job))
    smaller = replace(job, width=max(1, int(job.width * shrink)), height=max(1, int(job.height * shrink)))
    result = yield from _painted(smaller)
    pixels = yield from enlarge(Image.fromarray(result.pixels), job.width, job.height)
    return PaintResult(pixels)


def _painted(job: PaintJob) -> Work:
    detail = 1 - math.exp(-job.steps / 6)
    passes = compose(job.prompt, job.negative, job.seed, job.width / job.height, detail)
    draft = BandPainter(passes, job, _DRAFT_PX)
    yield from draft.draw()
    small = BandPainter(passes, job, PREVIEW_PX, draft.rgb)
    full = small if small.is_whole else BandPainter(passes, job, max(job.width, job.height), draft.rgb)
    veil = _Veil(job.seed, draft.pixels, preview_size(job.width, job.height))
    work = chain_work([small] if full is small else [small, full])
    for step in range(1, job.steps + 1):
        due = step / job.steps if full is not small else 2 * step / job.steps
        while step == job.steps or _progress(small, full) < due:
            if next(work, _END) is _END:
                break
            yield None
        finished = small.pixels if small.done >= 1 else None
        yield Frame(step, job.steps, partial(veil.over, finished, step / job.steps))
        yield None
    return PaintResult(full.pixels)


_END = object()


def chain_work(painters: list[BandPainter]) -> Slices:
    """Draw several sizes one after the other."""
    for painter in painters:
        yield from painter.draw()


def _progress(small: BandPainter, full: BandPainter) -> float:
    return (small.done + full.done) / 2


def draft_of(job: PaintJob) -> Generator[None, None, U8]:
    """The picture of a job at 128 px: its composition and its colours, no more."""
    draft = BandPainter(compose(job.prompt, job.negative, job.seed, job.width / job.height, 1.0), job, _DRAFT_PX)
    yield from draft.draw()
    return draft.pixels


class BandPainter:
    """The picture at one size, drawn in bands; `done` 0..1 says how far it is, `pixels` what is finished."""

    def __init__(self, passes: Passes, job: PaintJob, longest: int, draft: F32 | None = None) -> None:
        shrink = min(1.0, longest / max(job.width, job.height))
        width, height = max(1, round(job.width * shrink)), max(1, round(job.height * shrink))
        self.is_whole = (width, height) == (job.width, job.height)
        self.rgb = np.zeros((3, height, width), np.float32)
        self.pixels: U8 = np.zeros((height, width, 3), np.uint8)
        self.done = 0.0
        self._passes, self._job = passes, job
        self._finish = _Finish(job, draft) if draft is not None else None

    def draw(self) -> Slices:
        """All layers on all bands, one layer on one band a slice."""
        _, height, width = self.rgb.shape
        rows = bands(height, width)
        total = len(rows) * (sum(map(len, self._passes)) + 1)
        for layers in self._passes:
            for top, bottom in rows:
                canvas = Canvas.of(self.rgb, self._job.width / self._job.height, top, bottom)
                for layer in layers:
                    layer(canvas)
                    self.done += 1 / total
                    yield
        for top, bottom in rows:
            self._develop(top, bottom)
            yield
        self.done = 1.0

    def _develop(self, top: int, bottom: int) -> None:
        """From light to pixels."""
        band = Canvas.of(self.rgb, self._job.width / self._job.height, top, bottom)
        light = self._finish.graded(band) if self._finish else band.rgb
        self.pixels[top:bottom] = np.moveaxis(np.clip(light, 0, 1) * 255 + 0.5, 0, 2).astype(np.uint8)


class _Finish:
    """The last pass over a picture: bloom, softness of a hurried drawing, contrast and colour, vignette, grain."""

    def __init__(self, job: PaintJob, draft: F32) -> None:
        rng = np.random.Generator(np.random.PCG64([job.seed, 7]))
        self._grain = rng.standard_normal((128, 128)).astype(np.float32) * np.float32(0.011)
        self._draft = draft
        self._bloom = np.clip(_softened(draft, 2.2) - np.float32(0.55), 0, 1)
        self._blunt = float(np.clip(math.exp(-job.steps / 5) - 0.02, 0, 1))
        push = (job.cfg_scale / _USUAL_CFG) if job.cfg_scale > 0 else 0.1
        self._contrast, self._colour = push**0.35, push**0.5

    def graded(self, band: Canvas) -> F32:
        light = band.rgb + self._enlarged(self._bloom, band) * np.float32(0.3)
        if self._blunt:
            light += (self._enlarged(self._draft, band) - light) * np.float32(self._blunt)
        grey = light[0] * np.float32(0.3) + light[1] * np.float32(0.59) + light[2] * np.float32(0.11)
        light = grey + (light - grey) * np.float32(self._colour)
        light = (light - np.float32(0.45)) * np.float32(self._contrast) + np.float32(0.45)
        return np.asarray(light * self._vignette(band) + self._grained(band), np.float32)

    def _vignette(self, band: Canvas) -> F32:
        across, down = (band.x / np.float32(band.aspect) - np.float32(0.5))[None], band.down - np.float32(0.5)
        return 1 - np.float32(0.55) * (across**2 + down**2) ** np.float32(1.25)

    def _grained(self, band: Canvas) -> F32:
        """Grain as fine as a pixel of a picture 512 px high, or finer."""
        row = np.round(band.y / band.px - 0.5).astype(np.int64) % 128
        column = np.arange(len(band.x)) % 128
        return self._grain[row[:, None], column[None]]

    def _enlarged(self, picture: F32, band: Canvas) -> F32:
        _, height, width = picture.shape
        down = spline_weights(band.y * np.float32(height) - np.float32(0.5), height, wrap=False)
        across = spline_weights(
            band.x / np.float32(band.aspect) * np.float32(width) - np.float32(0.5), width, wrap=False
        )
        return np.stack([product(product(down, channel), across.T) for channel in picture])


def _softened(picture: F32, radius: float) -> F32:
    """A planar picture blurred; *radius* in its pixels."""
    reach = int(3 * radius)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / radius) ** 2).astype(np.float32)
    kernel /= kernel.sum()
    padded = np.pad(picture, ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    rows = sum(k * padded[:, i : i + picture.shape[1]] for i, k in enumerate(kernel))
    return np.asarray(sum(k * rows[:, :, i : i + picture.shape[2]] for i, k in enumerate(kernel)), np.float32)


class _Veil:
    """Noise and blur before a picture, thinning out from step to step."""

    def __init__(self, seed: int, draft: U8, size: tuple[int, int]) -> None:
        width, height = size
        rng = np.random.Generator(np.random.PCG64([seed, 8]))
        coarse = rng.integers(0, 256, (max(2, height // 8), max(2, width // 8), 3), dtype=np.uint8)
        self._noise = _resized(coarse, size, Image.Resampling.BILINEAR)
        self._noise += rng.integers(-45, 46, (height, width, 1), dtype=np.int8)
        tiny = Image.fromarray(draft).resize((max(2, width // 48), max(2, height // 48)), Image.Resampling.BOX)
        self._blurred = _resized(np.asarray(tiny), size, Image.Resampling.BICUBIC)
        self._draft = _resized(draft, size, Image.Resampling.BICUBIC)

    def over(self, picture: U8 | None, part: float) -> U8:
        """What is seen after *part* 0..1 of the steps; *picture* is None while there is only the draft."""
        clear = min(1.0, part / 0.5)
        seen = self._blurred + (self._draft - self._blurred) * np.float32(clear)
        if picture is not None:
            seen += (picture - seen) * np.float32(min(1.0, max(0.0, (part - 0.35) / 0.6)))
        seen += (self._noise - seen) * np.float32(0.92 * (1 - part) ** 1.6)
        return np.clip(seen, 0, 255).astype(np.uint8)


def _resized(pixels: U8, size: tuple[int, int], how: Image.Resampling) -> F32:
    return np.asarray(Image.fromarray(pixels).resize(size, how), np.float32).copy()
