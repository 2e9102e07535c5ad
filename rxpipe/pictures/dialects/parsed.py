"""What the readers of metadata dialects share: their result, and A1111's names for other programs' settings."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, NamedTuple, TypeAlias

__all__ = [
    "LABELS",
    "Dialect",
    "Found",
    "Lora",
    "Parsed",
    "as_settings",
    "as_text",
    "file_stem",
    "json_object",
    "loras_in",
    "main_text",
    "name_of",
    "number_of",
    "table_in",
    "text_in",
]

Dialect = Literal[
    "rxpipe",
    "a1111",
    "comfyui",
    "swarmui",
    "invokeai",
    "novelai",
    "fooocus",
    "easydiffusion",
    "drawthings",
    "civitai",
    "tensorart",
    "stabilitymatrix",
    "huggingface",
    "mochi",
    "midjourney",
]

Lora: TypeAlias = tuple[str, float]
"""Name, without an ending, and weight."""


class Found(NamedTuple):
    """What a reader is given: the texts of a picture by key, and its size in pixels."""

    texts: Mapping[str, str]
    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What the reader of a dialect found in the texts; settings under A1111's names.

    loras: those that the prompt does not name itself. source: what it was drawn over, "" where it was drawn from
    nothing. unread: what took part in it and has no name among A1111's settings. problems: what could not be followed.
    """

    dialect: Dialect | None = None
    prompt: str = ""
    negative_prompt: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    loras: tuple[Lora, ...] = ()
    source: str = ""
    unread: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


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

_ENDINGS = re.compile(r"\.(safetensors|ckpt|pt|pth|bin|gguf|sft)$", re.IGNORECASE)
_MOST_LORAS = 100


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
            settings[labels.get(key, LABELS.get(key, key))] = as_text(value)
    return settings


def as_text(value: object) -> str:
    """Return a value as it stands in A1111's text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def json_object(text: str | None) -> dict[str, object] | None:
    """Return the JSON object in *text*; None where it is anything else."""
    if text is None or not text.lstrip().startswith("{"):
        return None
    try:
        value = json.loads(text.rstrip("\0"))
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


def table_in(values: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return the table under *key*; an empty one where there is none."""
    value = values.get(key)
    return value if isinstance(value, Mapping) else {}


def name_of(value: object) -> str | None:
    """Return the name in what stands for a model: a name, or an object that holds one; None for neither."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, Mapping):
        for key in ("name", "model_name", "key", "modelFileName", "content", "lora", "model"):
            if name := name_of(value.get(key)):
                return name
    return None


def number_of(value: object) -> float | None:
    """Return a finite number, also one written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def file_stem(name: str) -> str:
    """Return the name of a model's file without folder and ending, as prompts have it."""
    return _ENDINGS.sub("", PurePosixPath(name.replace("\\", "/")).name)


def loras_in(names: object, weights: object = ()) -> tuple[Lora, ...]:
    """Return LoRAs from a list of names, objects or pairs, with their weights beside or within; else weight 1."""
    if not isinstance(names, list):
        return ()
    others = weights if isinstance(weights, list) else []
    found = []
    for index, each in enumerate(names[:_MOST_LORAS]):
        name: object = each
        weight: object = others[index] if index < len(others) else None
        if isinstance(each, list) and len(each) > 1:
            name, weight = each[0], each[1]
        elif isinstance(each, Mapping):
            name = each.get("lora") or each.get("model") or each
            weight = next((each[key] for key in ("weight", "strength", "lora_weight") if key in each), weight)
        text, number = name_of(name), number_of(weight)
        if text and text != "None":
            found.append((file_stem(text), 1.0 if number is None else number))
    return tuple(found)
