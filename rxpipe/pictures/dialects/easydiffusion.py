"""Easy Diffusion's metadata: a text for each setting, or JSON, under its own names or those that its window shows."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import (
    Parsed,
    as_settings,
    file_stem,
    json_object,
    loras_in,
    main_text,
    number_of,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.parsed import Found

_SHOWN = {
    "Prompt": "prompt",
    "Negative Prompt": "negative_prompt",
    "Seed": "seed",
    "Stable Diffusion model": "use_stable_diffusion_model",
    "Clip Skip": "clip_skip",
    "ControlNet model": "use_controlnet_model",
    "ControlNet Filter": "control_filter_to_apply",
    "VAE model": "use_vae_model",
    "Sampler": "sampler_name",
    "Scheduler": "scheduler_name",
    "Width": "width",
    "Height": "height",
    "Steps": "num_inference_steps",
    "Guidance Scale": "guidance_scale",
    "Distilled Guidance": "distilled_guidance_scale",
    "Prompt Strength": "prompt_strength",
    "LoRA model": "use_lora_model",
    "LoRA Strength": "lora_alpha",
    "Hypernetwork model": "use_hypernetwork_model",
    "Hypernetwork Strength": "hypernetwork_strength",
    "Embedding models": "use_embeddings_model",
    "Seamless Tiling": "tiling",
    "Use Face Correction": "use_face_correction",
    "Use Upscaling": "use_upscale",
    "Upscale By": "upscale_amount",
}
_MARKS = frozenset({"use_stable_diffusion_model", "num_inference_steps"})
_LABELS = {
    "num_inference_steps": "Steps",
    "use_vae_model": "VAE",
    "scheduler_name": "Schedule type",
    "distilled_guidance_scale": "Distilled CFG Scale",
    "prompt_strength": "Denoising strength",
    "use_face_correction": "Face restoration",
    "use_upscale": "Postprocess upscaler",
    "upscale_amount": "Postprocess upscale by",
    "use_controlnet_model": "ControlNet 0",
}
_APART = frozenset(
    {"prompt", "negative_prompt", "use_lora_model", "lora_alpha", "tiling", "use_stable_diffusion_model", "init_image"}
)
_NONE = frozenset({None, "", "None", "none", "null"})


def read(found: Found) -> Parsed | None:
    """Return what Easy Diffusion wrote into a picture; None where the texts are of another kind."""
    values = _values(found.texts)
    if values is None:
        return None
    plain = {key: value for key, value in values.items() if not (isinstance(value, str) and value in _NONE)}
    if plain.get("use_upscale") is None:
        plain.pop("upscale_amount", None)
    settings = as_settings(plain, leave=_APART, **_LABELS)
    if model := text_in(plain, "use_stable_diffusion_model"):
        settings["Model"] = file_stem(model)
    if str(plain.get("clip_skip")) in {"True", "False"}:  # a switch there: the layer before the last, or the last
        settings["Clip skip"] = "2" if str(plain["clip_skip"]) == "True" else "1"
    if text_in(plain, "tiling"):
        settings["Tiling"] = "True"
    return Parsed(
        dialect="easydiffusion",
        prompt=text_in(values, "prompt"),
        negative_prompt=text_in(values, "negative_prompt"),
        settings=settings,
        loras=loras_in(_listed(plain.get("use_lora_model")), _listed(plain.get("lora_alpha"))),
        source="a picture" if number_of(plain.get("prompt_strength")) is not None and "init_image" in plain else "",
    )


def _values(texts: Mapping[str, str]) -> dict[str, object] | None:
    """Return the settings by the program's own names, from texts of a picture or from JSON in one of them."""
    for given in (texts, json_object(main_text(texts)) or {}):
        values = {_SHOWN.get(key, key): value for key, value in given.items()}
        if values.keys() >= _MARKS:
            return {key: value for key, value in values.items() if _OF_THE_WINDOW.fullmatch(key) is None}
    return None


_OF_THE_WINDOW = re.compile(
    r"created_at|session_id|vram_.*|output_.*|metadata_.*|stream_.*|show_.*|.*active_tags|save_.*|original_prompt|use_cpu"
    r"|num_outputs|used_random_seed|block_nsfw|UserComment|comment|Comment|XML:.*|xmp:.*|Software|rxpipe|request_id"
)
"""Keys that are of the program's window and of the file, and not of the picture."""


def _listed(value: object) -> list[object]:
    """Return what stands for one or several: a list, a list written as text, or one value."""
    if isinstance(value, str) and value.startswith("["):
        try:
            value = ast.literal_eval(value[:10_000])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return []
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
