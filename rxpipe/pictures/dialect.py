"""What the readers of metadata dialects share: their result, and A1111's names for other programs' settings."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LABELS", "Dialect", "Parsed", "as_settings", "json_object", "main_text", "text_in"]

Dialect = Literal["rxpipe", "a1111", "comfyui", "swarmui", "invokeai", "novelai", "fooocus"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What the reader of a dialect found in the texts; settings under A1111's names."""

    dialect: Dialect | None = None
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = field(default_factory=dict)


LABELS = {
    "steps": "Steps",
    "sampler": "Sampler",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "noise_schedule": "Schedule type",
    "cfg": "CFG scale",
    "cfg_scale": "CFG scale",
    "cfgscale": "CFG scale",
    "guidance_scale": "CFG scale",
    "scale": "CFG scale",
    "seed": "Seed",
    "noise_seed": "Seed",
    "model": "Model",
    "base_model": "Model",
    "ckpt_name": "Model",
    "unet_name": "Model",
    "vae": "VAE",
    "vae_name": "VAE",
    "denoise": "Denoising strength",
    "strength": "Denoising strength",
    "clip_skip": "Clip skip",
}
"""A1111's names for the keys of other programs."""


def main_text(texts: Mapping[str, str]) -> str:
    """Return the text that most programs write: of PNG's `parameters`, else of EXIF, else a comment."""
    return texts.get("parameters") or texts.get("UserComment") or texts.get("comment") or ""


def as_settings(values: Mapping[str, object], *, leave: frozenset[str] = frozenset(), **labels: str) -> dict[str, str]:
    """Return *values* as text, under A1111's names where it has one; width and height become `Size`.

    Args:
        leave: keys to leave out. labels: names that hold in this dialect only.
    """
    settings: dict[str, str] = {}
    width, height = values.get("width"), values.get("height")
    for key, value in values.items():
        if key in leave or value is None or (key == "height" and width is not None):
            continue
        if key == "width" and height is not None:
            settings["Size"] = f"{width}x{height}"
        else:
            settings[labels.get(key, LABELS.get(key, key))] = _as_text(value)
    return settings


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_object(text: str | None) -> dict[str, object] | None:
    """Return the JSON object in *text*; None where it is anything else."""
    if text is None or not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_in(values: Mapping[str, object], *keys: str) -> str:
    """Return the first text among *keys*; lists of texts are joined."""
    for key in keys:
        value = values.get(key)
        if isinstance(value, list):
            value = ", ".join(str(part) for part in value)
        if isinstance(value, str) and value:
            return value
    return ""
