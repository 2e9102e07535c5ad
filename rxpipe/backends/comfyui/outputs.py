"""From what a server keeps of a job to the stage's picture."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rxpipe.backends.base import Output
from rxpipe.backends.comfyui.graphs import result_size, used_upscaler
from rxpipe.backends.comfyui.names import name_of, stem_of
from rxpipe.backends.comfyui.parts import Settings
from rxpipe.backends.http.pictures import other_size, read_picture
from rxpipe.backends.sizes import Size, enlarged
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendFailed, BadResponse

if TYPE_CHECKING:
    from rxpipe.backends.comfyui.graph import Graph
    from rxpipe.backends.comfyui.inputs import Inputs
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.pictures import png
    from rxpipe.plan import StageExecution

_FLAT = 200  # a picture of one colour is smaller than its pixels by more
_OTHERS = ("gifs", "videos", "video", "audio", "text")


def images_of(history: Mapping[str, Any], node: str) -> list[Mapping[str, Any]]:
    """Return the pictures that a node of a job has made, as `/view` takes them."""
    outputs = history.get("outputs")
    made = outputs.get(node) if isinstance(outputs, Mapping) else None
    images = made.get("images") if isinstance(made, Mapping) else None
    return [image for image in images or () if isinstance(image, Mapping)]


def other_output(history: Mapping[str, Any], node: str) -> str | None:
    """Return what else than pictures a node of a job has made; None for nothing."""
    outputs = history.get("outputs")
    made = outputs.get(node) if isinstance(outputs, Mapping) else None
    return next((kind for kind in _OTHERS if isinstance(made, Mapping) and made.get(kind)), None)


def ending_of(history: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return how a job ended: "success", "execution_error" or "execution_interrupted", with the data of that."""
    status = history.get("status")
    status = status if isinstance(status, Mapping) else {}
    for message in reversed(status.get("messages") or ()):
        if (
            isinstance(message, list)
            and len(message) > 1
            and message[0]
            in {
                "execution_error",
                "execution_interrupted",
            }
        ):
            return message[0], message[1] if isinstance(message[1], Mapping) else {}
    return ("success" if status.get("status_str", "success") == "success" else "execution_error"), {}


def output_of(stage: StageExecution, catalog: ComfyCatalog, graph: Graph, inputs: Inputs, data: bytes) -> Output:
    """Return the picture of a stage.

    Raises:
        BadResponse: it is no picture, or a broken one.
        BackendFailed: it is black all over, as a picture without numbers becomes.
    """
    data, header, odd = read_picture(data)
    config = stage.config
    if isinstance(config, Txt2ImgConfig | Img2ImgConfig) and _is_black(data, header):
        raise BackendFailed(
            "the picture is black all over: the sampling gave no numbers (NaN).",
            hint="Try another VAE or checkpoint, or start ComfyUI with --fp32-vae.",
        )
    settings = {**_settings(stage, catalog), "width": header.width, "height": header.height}
    warnings = (*odd, *inputs.warnings, *graph.warnings, *other_size(_asked(stage, inputs), header))
    return Output(data, warnings=warnings, settings=settings)


def _settings(stage: StageExecution, catalog: ComfyCatalog) -> dict[str, object]:
    """Return what was used, by A1111's names."""
    config, version = stage.config, {"server_version": catalog.server.name}
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        return {"upscaler": used_upscaler(config), **version}
    if isinstance(config, WorkflowConfig):
        return {**_of_workflow(stage, catalog), **version}
    settings = Settings.of(stage)
    model = stem_of(catalog.model(settings.model))
    if isinstance(config, AdetailerConfig):
        return {"model": model, **version}
    sampling = catalog.sampling(settings.sampler, settings.scheduler)
    vae = catalog.vae(settings.vae)
    found: dict[str, object] = {
        "sampler_name": sampling.sampler,
        "scheduler": sampling.scheduler,
        "steps": settings.steps,
        "cfg_scale": settings.cfg,
        "model": model,
        "vae": None if vae is None else stem_of(vae),
        "clip_skip": settings.clip_skip,
        **version,
    }
    if isinstance(config, UpscaleConfig):
        found["upscaler"] = used_upscaler(config)
    return {name: value for name, value in found.items() if value is not None}


def _of_workflow(stage: StageExecution, catalog: ComfyCatalog) -> dict[str, object]:
    """Return what is known of a workflow's settings, by A1111's names where these are known."""
    generation = stage.generation
    names = ("steps", "cfg_scale", "sampler_name", "scheduler", "model")
    found = {name: value for name in names if (value := getattr(generation, name)) is not None}
    if generation.sampler_name:
        found |= {"sampler_name": name_of(catalog.samplers, generation.sampler_name)}
    if generation.scheduler:
        found |= {"scheduler": name_of(catalog.schedulers, generation.scheduler)}
    if generation.model:
        found |= {"model": stem_of(generation.model)}
    return found


def _asked(stage: StageExecution, inputs: Inputs) -> Size | None:
    config, source = stage.config, inputs.source
    if isinstance(config, Txt2ImgConfig):
        hires = config.hires
        return None if hires is not None and hires.enabled else Size(config.width, config.height)
    if source is None:
        return None
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        return enlarged(config, source.size)
    if isinstance(config, Img2ImgConfig):
        return source.size if source.regions else result_size(stage, source.size)
    return source.size if isinstance(config, AdetailerConfig) else None


def _is_black(data: bytes, header: png.Header) -> bool:
    if len(data) > header.width * header.height * 3 // _FLAT + 10_000:
        return False
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB").getbbox() is None


def shows_nothing(data: bytes) -> bool:
    """Whether a picture is black all over.

    Raises:
        BadResponse: it cannot be decoded.
    """
    from PIL import Image  # noqa: PLC0415  # importing rxpipe loads no Pillow

    try:
        with Image.open(io.BytesIO(data)) as image:
            return image.convert("L").getbbox() is None
    except (OSError, SyntaxError, ValueError) as error:
        raise BadResponse(f"the picture cannot be decoded: {error}.") from error
