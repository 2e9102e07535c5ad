"""Fooocus' metadata: JSON with a scheme beside it, or A1111's text if so set; RuinedFooocus' JSON."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects import webui
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

    from rxpipe.pictures.dialects.parsed import Found, Lora

_SIZE_PAIR = re.compile(r"\(?(\d+), ?(\d+)\)?")
_COMBINED = re.compile(r"lora_combined_\d+")
_APART = frozenset(
    {
        "prompt",
        "negative_prompt",
        "loras",
        "refiner_model",
        "refiner_switch",
        "full_prompt",
        "full_negative_prompt",
        "lora_hashes",
        "vae",
    }
)
_NONE = frozenset({"None", "none", ""})


def read(found: Found) -> Parsed | None:
    """Return what Fooocus wrote into a picture; None where the texts are of another kind."""
    texts = found.texts
    scheme = texts.get("fooocus_scheme") or texts.get("MakerNote")
    made_by = texts.get("Software", "")
    values = json_object(main_text(texts))
    if values is None:
        return _read_text(
            main_text(texts), marked="fooocus_scheme" in texts or made_by.startswith("Fooocus"), scheme=scheme
        )
    if text_in(values, "software") == "RuinedFooocus" or {"Prompt", "base_model_name"} <= values.keys():
        return _read_ruined(values)
    if scheme != "fooocus" and not {"base_model", "guidance_scale"} <= values.keys():
        return None
    return _read_json(values)


def _read_json(values: dict[str, object]) -> Parsed:
    size = _SIZE_PAIR.fullmatch(str(values.get("resolution", "")))
    if size:
        values["resolution"] = f"{size[1]}x{size[2]}"
    combined = [str(value) for key, value in values.items() if _COMBINED.fullmatch(key)]
    leave = frozenset({*_APART, *(key for key in values if _COMBINED.fullmatch(key))})
    settings = as_settings(values, leave=leave, resolution="Size")
    settings |= as_settings({"VAE": values.get("vae")}) | _refiner(values)
    expanded = text_in(values, "full_prompt")
    prompt = text_in(values, "prompt") or expanded
    return Parsed(
        dialect="fooocus",
        prompt=prompt,
        negative_prompt=text_in(values, "negative_prompt") or text_in(values, "full_negative_prompt"),
        settings=settings,
        loras=loras_in(values.get("loras")) or _combined(combined),
    )


def _combined(texts: list[str]) -> tuple[Lora, ...]:
    """Return LoRAs from texts such as "name.safetensors : 0.5", or "True : name.safetensors : 0.5"."""
    found = []
    for text in texts:
        parts = [part.strip() for part in text.split(" : ")]
        if len(parts) > 1 and parts[0] != "False" and parts[-2] not in _NONE:
            found.append((file_stem(parts[-2]), number_of(parts[-1]) or 1.0))
    return tuple(found)


def _refiner(values: Mapping[str, object]) -> dict[str, str]:
    name = text_in(values, "refiner_model")
    if name in _NONE:
        return {}
    return as_settings({"Refiner": file_stem(name), "Refiner switch at": values.get("refiner_switch")})


def _read_text(text: str, *, marked: bool, scheme: str | None) -> Parsed | None:
    """Return what Fooocus wrote in A1111's form: some keys are its own there."""
    parsed = webui.read_text(text, "fooocus")
    if parsed is None or not (
        (marked and scheme == "a1111") or parsed.settings.get("Version", "").startswith("Fooocus")
    ):
        return None
    settings = dict(parsed.settings)
    for own, label in (("Scheduler", "Schedule type"), ("Base model", "Model")):
        if own in settings:
            settings.setdefault(label, settings.pop(own))
    names = settings.pop("Lora hashes", "").split(",") if "Lora weights" in settings else []
    weights = [part.rpartition(":")[2].strip() for part in settings.pop("Lora weights", "").split(",")]
    loras = loras_in([part.partition(":")[0].strip() for part in names if part.strip()], weights)
    prompt = settings.pop("Raw prompt", "") or parsed.prompt
    negative = settings.pop("Raw negative prompt", "") or parsed.negative_prompt
    refiner = settings.get("Refiner model") or settings.get("Refiner")
    if refiner and refiner not in _NONE:
        settings |= {"Refiner": file_stem(refiner), "Refiner switch at": settings.pop("Refiner Switch", "0.8")}
        settings.pop("Refiner model", None)
    return Parsed(
        dialect="fooocus", prompt=prompt, negative_prompt=negative, settings=settings, loras=loras, source=parsed.source
    )


def _read_ruined(values: Mapping[str, object]) -> Parsed:
    settings = as_settings(
        values, leave=frozenset({"Prompt", "Negative", "loras"}), base_model_name="Model", base_model_hash="Model hash"
    )
    return Parsed(
        dialect="fooocus",
        prompt=text_in(values, "Prompt").strip(),
        negative_prompt=text_in(values, "Negative").strip(),
        settings=settings,
        loras=loras_in(values.get("loras")),
    )
