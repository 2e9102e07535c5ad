"""A1111's text as A1111, Forge, reForge, Forge Neo, SD.Next, stable-diffusion.cpp and many others write it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from rxpipe.pictures.a1111 import parse_parameters
from rxpipe.pictures.dialects.parsed import Parsed, json_object, main_text, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rxpipe.pictures.dialects.parsed import Dialect, Found

_TAG = re.compile(r"<(?:lora|lyco):([^<>:]+)", re.IGNORECASE)
_MOST_RESOURCES = 100
_SECOND_PASS = ("Hires upscale", "Hires resize", "Hires resize-1", "Hires upscaler", "Hires steps")
_OVER = re.compile(r"img2img|inpaint|outpaint|sketch", re.IGNORECASE)


def read(found: Found) -> Parsed | None:
    """Return what A1111 or one of its kind wrote into a picture; None where the texts are of another kind."""
    parsed = read_text(main_text(found.texts), "a1111")
    sure = "parameters" in found.texts or (
        parsed is not None and parsed.settings
    )  # a bare comment may be of any program
    return parsed if sure else None


def read_text(text: str, dialect: Dialect) -> Parsed | None:
    """Return the content of one text in A1111's form, which other programs of *dialect* write too; None for JSON."""
    if not text or json_object(text) is not None:
        return None
    parsed = parse_parameters(text)
    return Parsed(
        dialect=dialect,
        prompt=parsed.prompt,
        negative_prompt=parsed.negative_prompt,
        settings=dict(parsed.settings),
        source=_source(parsed.settings),
        unread=tuple(_unnamed(parsed.prompt, parsed.settings)),
    )


def _unnamed(prompt: str, settings: Mapping[str, str]) -> Iterator[str]:
    """Yield the models that took part and that neither the prompt nor a setting names."""
    hashes = settings.get("Lora hashes", "")
    names = [part.partition(":")[0].strip() for part in hashes.split(",") if ":" in part]
    tags = _TAG.findall(prompt)
    if len(set(tags)) < len(names) and "Lora weights" not in settings:  # a tag may have another name for a file
        yield from (f"LoRA {name}" for name in names if name not in tags)
    for resource in _resources(settings.get("Civitai resources")):
        kind, name = str(resource.get("type", "")), name_of(resource.get("modelName")) or resource.get("modelVersionId")
        named = "Model" in settings if kind == "checkpoint" else bool(tags or names)
        if kind and kind != "embed" and not named:
            weight = f" {resource['weight']}" if "weight" in resource else ""
            yield f"Civitai's {kind} {name}{weight}"


def _resources(text: str | None) -> list[dict[str, object]]:
    try:
        values = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return [each for each in values[:_MOST_RESOURCES] if isinstance(each, dict)] if isinstance(values, list) else []


def _source(settings: Mapping[str, str]) -> str:
    """Return what the picture was drawn over: the hires fix has a denoising strength too, and draws over its own."""
    if digest := settings.get("Init image hash"):
        return f"a picture of hash {digest}"
    if _OVER.search(settings.get("Operations", "")) or "Mask blur" in settings or "Inpaint area" in settings:
        return "a picture"
    strength = settings.get("Denoising strength")
    if strength is None or any(key in settings for key in _SECOND_PASS):
        return ""
    return "" if strength.strip() in {"", "0", "0.0", "1", "1.0"} else "a picture"
