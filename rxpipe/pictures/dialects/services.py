"""Pictures of services and launchers that write JSON of their own: Civitai, Tensor.Art, Stability Matrix, Spaces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects import comfyui
from rxpipe.pictures.dialects.graph import graph_of
from rxpipe.pictures.dialects.parsed import (
    Parsed,
    as_settings,
    json_object,
    loras_in,
    main_text,
    name_of,
    number_of,
    table_in,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.parsed import Found

_CAMEL = {
    "cfgScale": "CFG scale",
    "clipSkip": "Clip skip",
    "baseModel": "Model",
    "Steps": "Steps",
    "CfgScale": "CFG scale",
    "Seed": "Seed",
    "Sampler": "Sampler",
    "ModelName": "Model",
    "ModelHash": "Model hash",
    "Width": "width",
    "Height": "height",
    "sampler": "Sampler",
    "scheduler": "Schedule type",
}
_RESOLUTION = re.compile(r"(\d+)\s*x\s*(\d+)")


def read_civitai(found: Found) -> Parsed | None:
    """Return what Civitai's generator wrote: a graph, and the settings as JSON within JSON."""
    whole = json_object(main_text(found.texts)) or json_object(found.texts.get("prompt")) or {}
    written = whole.get("extraMetadata", found.texts.get("extraMetadata"))
    extra = json_object(written) if isinstance(written, str) else written
    if not isinstance(extra, dict):
        return None
    held = whole.get("prompt")
    inner = json_object(held) if isinstance(held, str) else held
    graph = graph_of(inner if isinstance(inner, dict) else whole)
    drawn = None if graph is None else comfyui.read_graph(graph, found.size, "civitai")
    steps = extra.get("transformations")
    listed = [each for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    over = extra.get("workflow") in ("img2img", "img2img-upscale", "face-fix") or "sourceImage" in extra
    leave = frozenset(
        {"prompt", "negativePrompt", "resources", "transformations", "workflowId", "remixOfId", "baseModel"}
    )
    settings = {**(drawn.settings if drawn else {}), **as_settings(extra, leave=leave, **_CAMEL)}
    settings |= _upscale(listed, extra)
    resources = extra.get("resources")
    tables = [each for each in resources if isinstance(each, dict)] if isinstance(resources, list) else []
    loras = [each for each in tables if "lora" in str(each.get("type", "")).casefold()]
    return Parsed(
        dialect="civitai",
        prompt=text_in(extra, "prompt"),
        negative_prompt=text_in(extra, "negativePrompt"),
        settings=settings,
        loras=(drawn.loras if drawn and drawn.loras else loras_in([each for each in loras if name_of(each)])),
        source="a picture" if over else "",
        unread=tuple(f"{each.get('type')} {each.get('modelVersionId')}" for each in loras if not name_of(each)),
    )


def _upscale(steps: list[dict[str, object]], extra: Mapping[str, object]) -> dict[str, str]:
    width = number_of(extra.get("width"))
    for step in steps:
        target = number_of(step.get("upscaleWidth"))
        if step.get("type") == "upscale" and target and width:
            return as_settings({"Postprocess upscale by": round(target / width, 4)})
    return {}


def read_tensorart(found: Found) -> Parsed | None:
    """Return what Tensor.Art wrote: its settings as JSON, beside a graph of its own nodes."""
    values = json_object(found.texts.get("generation_data"))
    if values is None:
        return None
    base = table_in(values, "baseModel")
    leave = frozenset({"prompt", "negativePrompt", "baseModel", "models", "models_", "adetailer", "loras"})
    settings = as_settings(values, leave=leave, **_CAMEL)
    settings |= as_settings({"Model": text_in(base, "modelFileName", "label") or None, "Model hash": base.get("hash")})
    models = values.get("models")
    loras = [
        {"name": text_in(each, "modelFileName", "label"), "weight": each.get("weight")}
        for each in (models if isinstance(models, list) else [])
        if isinstance(each, dict)
    ]
    graph = graph_of(json_object(found.texts.get("prompt")) or {})
    drawn = None if graph is None else comfyui.read_graph(graph, found.size, "tensorart")
    return Parsed(
        dialect="tensorart",
        prompt=text_in(values, "prompt"),
        negative_prompt=text_in(values, "negativePrompt"),
        settings={**_of_graph(drawn), **settings},
        loras=loras_in(loras),
        source=drawn.source if drawn else "",
        unread=drawn.unread if drawn else (),
    )


def _of_graph(drawn: Parsed | None) -> dict[str, str]:
    """Return what only the graph says: sampler and schedule."""
    kept = ("Sampler", "Schedule type", "Denoising strength")
    return {} if drawn is None else {key: value for key, value in drawn.settings.items() if key in kept}


def read_stabilitymatrix(found: Found) -> Parsed | None:
    """Return what Stability Matrix wrote: JSON, beside A1111's text and a graph."""
    values = json_object(found.texts.get("parameters-json"))
    if values is None:
        return None
    own = {_LOWER.get(key, key): value for key, value in values.items()}
    leave = frozenset({"PositivePrompt", "NegativePrompt"})
    settings = as_settings(own, leave=leave, **_CAMEL)
    graph = graph_of(json_object(found.texts.get("prompt")) or {})
    drawn = comfyui.read_graph(graph, found.size, "stabilitymatrix") if graph else Parsed(dialect="stabilitymatrix")
    return Parsed(
        dialect="stabilitymatrix",
        prompt=text_in(values, "PositivePrompt") or drawn.prompt,
        negative_prompt=text_in(values, "NegativePrompt") or drawn.negative_prompt,
        settings={**drawn.settings, **settings},
        loras=tuple(each for each in drawn.loras if f"<lora:{each[0]}:" not in text_in(values, "PositivePrompt")),
        source=drawn.source,
        unread=drawn.unread,
    )


_LOWER = {"Width": "width", "Height": "height"}


def read_space(found: Found) -> Parsed | None:
    """Return what Spaces of Hugging Face write that draw with diffusers: JSON under `parameters`."""
    values = json_object(main_text(found.texts))
    if values is None or not (
        {"Model", "resolution"} <= values.keys() or {"num_inference_steps", "guidance_scale"} <= values.keys()
    ):
        return None
    size = _RESOLUTION.search(str(values.get("resolution", "")))
    leave = frozenset({"prompt", "negative_prompt", "resolution", "use_upscaler", "loras"})
    settings = as_settings(values, leave=leave, num_inference_steps="Steps")
    if size:
        settings["Size"] = f"{size[1]}x{size[2]}"
    upscaler = table_in(values, "use_upscaler")
    if upscaler:
        settings |= as_settings(
            {
                "Hires upscale": upscaler.get("upscale_by"),
                "Hires upscaler": _METHODS.get(str(upscaler.get("upscale_method")), "Latent"),
                "Hires steps": upscaler.get("upscale_steps"),
                "Denoising strength": upscaler.get("upscaler_strength"),
            }
        )
    return Parsed(
        dialect="huggingface",
        prompt=text_in(values, "prompt"),
        negative_prompt=text_in(values, "negative_prompt"),
        settings=settings,
        loras=loras_in(values.get("loras")),
    )


_METHODS = {"bicubic": "Latent (bicubic)", "nearest-exact": "Latent (nearest-exact)"}
