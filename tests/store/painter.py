"""A backend of one colour a picture, for tests of what is kept of a run."""

from __future__ import annotations

import hashlib

import reactivex as rx
from PIL import Image

import rxpipe as rxp
from rxpipe.backends.base import Backend, Output
from rxpipe.errors import BackendFailed, BackendRejected


class Painter(Backend):
    """Paints one colour, which follows from stage, settings, seed and source; says what it was asked for.

    fails: places, as (stage, seed), that fail. stop: called before the n-th picture, if given.
    """

    name = "painter"

    def __init__(self, *, fails=(), stop_at=None, stop=None, unchanged=()):
        self.drawn, self.fails, self.unchanged = [], set(fails), set(unchanged)
        self._stop_at, self._stop = stop_at, stop

    def render(self, stage, source):
        place = (str(stage.stage_type), stage.seed)
        if self._stop_at is not None and len(self.drawn) == self._stop_at:
            return self._stop() if self._stop else rx.throw(BackendRejected("answered 401."))
        self.drawn.append(place)
        if place in self.fails:
            return rx.throw(BackendFailed("out of memory."))
        if place in self.unchanged:
            return rx.of(Output(b"", unchanged=True))
        pixel = b"" if source is None else source.to_image().convert("RGB").tobytes()[:3]
        text = f"{place} {stage.generation.prompt} {getattr(stage.config, 'scale', 1)}".encode() + pixel
        picture = Image.new("RGB", (16, 16), tuple(hashlib.sha256(text).digest()[:3]))
        return rx.of(Output(rxp.Artifact(id="x").with_image(picture).read()))


JOB = rxp.PipelineConfig(
    txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse", images=4, seed=7),
    adetailer=rxp.AdetailerConfig(),
    upscale=rxp.UpscaleConfig(scale=2),
)
