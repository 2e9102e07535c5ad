"""Pictures from one of rxpipe's own backends, so that the server's answers are worth looking at.

A picture that was interrupted is the finished one made coarse: the server's clients get an unfinished picture, and a
backend draws only whole ones.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from reactivex.scheduler import CurrentThreadScheduler

from rxpipe.artifact import Artifact
from rxpipe.backends.base import Output
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import require
from rxpipe.plan import GenerationSettings, StageExecution
from rxpipe.testing.servers.drawing import open_picture, png_size, save_png

if TYPE_CHECKING:
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.plan import SectionConfig
    from rxpipe.testing.servers.drawing import Draw, DrawRequest

_ORDER = ("txt2img", "img2img", "adetailer", "upscale")
_COARSE = 24  # pixels along a side of a picture that was hardly begun
_SCALES = (1.0, 8.0)


def drawn_by(backend: Backend) -> Draw:
    """Return a drawing function over a backend; one drawing at a time, on the caller's thread.

    Raises, when called: whatever the backend's error is. It ends the server's job as an exception there would.
    """

    def draw(request: DrawRequest) -> bytes:
        source = None if request.source is None else Artifact(id="given", seed=request.seed, data=request.source)
        output = _rendered(backend, _stage(request), source)
        picture = request.source if output.unchanged and request.source is not None else output.data
        return _fitted(picture, request)

    return draw


def sketched() -> Draw:
    """Return a drawing function over the embedded backend, which is loaded with the first picture.

    Raises:
        MissingPackage: it is not installed; "noise" needs nothing.
    """
    require('A server with draw="sketch"', "numpy", "skimage")
    made: list[Draw] = []
    lock = threading.Lock()

    def draw(request: DrawRequest) -> bytes:
        with lock:
            if not made:
                made.append(drawn_by(import_module("rxpipe.backends.sketch").SketchBackend()))
        return made[0](request)

    return draw


def _rendered(backend: Backend, stage: StageExecution, source: Artifact | None) -> Output:
    outputs: list[Output] = []
    errors: list[Exception] = []
    ended = threading.Event()

    def on_next(rendering: RenderEvent) -> None:
        if isinstance(rendering, Output):
            outputs.append(rendering)

    def on_error(error: Exception) -> None:
        errors.append(error)
        ended.set()

    backend.render(stage, source).subscribe(on_next, on_error, ended.set, scheduler=CurrentThreadScheduler())
    ended.wait()
    if errors:
        raise errors[0]
    return outputs[-1]


def _fitted(picture: bytes, request: DrawRequest) -> bytes:
    """Return the picture in the requested size, and coarse where it was not finished."""
    wanted = (request.width, request.height) if request.kind != "adetailer" else png_size(picture)
    if request.fraction >= 1 and png_size(picture) == wanted:
        return picture
    image = open_picture(picture).convert("RGB").resize(wanted)
    if request.fraction < 1:
        share = max(_COARSE / max(wanted), request.fraction / 2)
        width, height = (max(1, int(side * share)) for side in wanted)
        image = image.resize((width, height)).resize(wanted)
    return save_png(image)


def _stage(request: DrawRequest) -> StageExecution:
    options = request.options
    generation = GenerationSettings(
        prompt=request.prompt,
        negative_prompt=request.negative_prompt,
        steps=request.steps,
        cfg_scale=options.get("cfg_scale"),
        width=None if request.kind == "upscale" else request.width,
        height=None if request.kind == "upscale" else request.height,
        model=options.get("checkpoint"),
    )
    stage = StageExecution(
        stage_type=request.kind,
        stage_index=_ORDER.index(request.kind),
        config=_config(request, options),
        generation=generation,
        requires_input_image=request.kind != "txt2img",
    )
    return stage.for_image(image_index=1, seed=request.seed)


def _config(request: DrawRequest, options: Any) -> SectionConfig:
    if request.kind == "txt2img":
        return Txt2ImgConfig(prompt=request.prompt, steps=max(1, request.steps))
    if request.kind == "img2img":
        return Img2ImgConfig(denoising_strength=options["denoising_strength"])
    if request.kind == "adetailer":
        return AdetailerConfig(
            detector=options["ad_model"],
            confidence=options["ad_confidence"],
            denoising_strength=options["ad_denoising_strength"],
        )
    low, high = _SCALES
    own = png_size(request.source)[0] if request.source else request.width
    return UpscaleConfig(scale=min(high, max(low, request.width / own)))
