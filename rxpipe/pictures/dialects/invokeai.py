"""InvokeAI's metadata in its three generations: `invokeai_metadata` (3 and on), `sd-metadata` (2), `Dream` (1)."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import (
    Parsed,
    as_settings,
    file_stem,
    json_object,
    loras_in,
    name_of,
    number_of,
    table_in,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.parsed import Found

_APART = frozenset(
    {
        "positive_prompt",
        "negative_prompt",
        "loras",
        "refiner_model",
        "refiner_start",
        "refiner_steps",
        "refiner_scheduler",
        "refiner_cfg_scale",
        "hrf_enabled",
        "hrf_method",
        "hrf_strength",
        "hrf_scale",
        "controlnets",
        "ipAdapters",
        "t2iAdapters",
        "strength",
        "init_image",
        "seamless_x",
        "seamless_y",
        "hrf_latent_interpolation_mode",
        "ref_images",
        "canvas_v2_metadata",
        "positive_style_prompt",
        "negative_style_prompt",
    }
)
_DREAM = re.compile(r'\s*"((?:[^"\\]|\\.)*)"(.*)', re.DOTALL)
_EXCLUDED = re.compile(r"\[([^\[\]]*)\]")
_SWITCHES = {
    "s": "Steps",
    "S": "Seed",
    "W": "width",
    "H": "height",
    "C": "CFG scale",
    "A": "Sampler",
    "f": "Denoising strength",
    "v": "Variation seed strength",
    "G": "GFPGAN strength",
}
_OVER = re.compile(r"img2img|inpaint|outpaint|unifiedcanvas", re.IGNORECASE)


def read(found: Found) -> Parsed | None:
    """Return what InvokeAI wrote into a picture; None where the texts are of another kind."""
    texts = found.texts
    if (values := json_object(texts.get("invokeai_metadata"))) is not None:
        return _read_core(values)
    if (values := json_object(texts.get("sd-metadata"))) is not None:
        return _read_second(values)
    return _read_dream(texts["Dream"]) if "Dream" in texts else None


def _read_core(values: dict[str, object]) -> Parsed:
    mode = text_in(values, "generation_mode")
    over = _OVER.search(mode) is not None or bool(values.get("init_image"))
    named = {key: name_of(values[key]) or values[key] for key in ("model", "vae") if values.get(key) is not None}
    settings = as_settings({**values, **named}, leave=_APART, scheduler="Sampler", guidance="Distilled CFG Scale")
    settings |= _second_pass(values)
    if over and "strength" in values:
        settings |= as_settings({"Denoising strength": values["strength"]})
    if values.get("seamless_x") or values.get("seamless_y"):
        settings["Tiling"] = "True"
    return Parsed(
        dialect="invokeai",
        prompt=text_in(values, "positive_prompt"),
        negative_prompt=text_in(values, "negative_prompt"),
        settings=settings,
        loras=loras_in(values.get("loras")),
        source=(text_in(values, "init_image") or "a picture") if over else "",
        unread=tuple(_adapters(values)),
    )


def _second_pass(values: Mapping[str, object]) -> dict[str, str]:
    settings: dict[str, object] = {}
    if values.get("hrf_enabled"):
        scale, width = number_of(values.get("hrf_scale")), values.get("width")
        settings |= {"Hires upscale": scale or 2, "Denoising strength": values.get("hrf_strength")}
        method = text_in(values, "hrf_method")
        settings["Hires upscaler"] = "Latent" if method.casefold() in {"bilinear", "latent", ""} else method
        if scale and width:
            sides = [number_of(values.get(side)) for side in ("width", "height")]
            settings["Size"] = "x".join(str(round((side or 0) / scale / 8) * 8) for side in sides)
    if refiner := name_of(values.get("refiner_model")):
        settings |= {"Refiner": file_stem(refiner), "Refiner switch at": values.get("refiner_start", 0.8)}
        settings |= {f"Refiner {key}": values.get(f"refiner_{key}") for key in ("steps", "scheduler", "cfg_scale")}
    return as_settings(settings)


def _adapters(values: Mapping[str, object]) -> list[str]:
    names = []
    for key, label in (("controlnets", "ControlNet"), ("ipAdapters", "IP adapter"), ("t2iAdapters", "T2I adapter")):
        listed = values.get(key)
        adapters = listed if isinstance(listed, list) else []
        names += [f"{label} {_adapter_name(each)}".strip() for each in adapters]
    for key in ("positive_style_prompt", "negative_style_prompt"):
        main = text_in(values, key.replace("_style", ""))
        if (style := text_in(values, key)) and style != main:
            names.append(f"{key}: {style}")
    canvas = table_in(values, "canvas_v2_metadata")
    names += [f"canvas: {key}" for key in ("controlLayers", "regionalGuidance", "inpaintMasks") if canvas.get(key)]
    listed = values.get("ref_images")
    if isinstance(listed, list) and listed:
        names.append(f"{len(listed)} reference images")
    return names


def _adapter_name(value: object) -> str:
    if not isinstance(value, dict):
        return ""
    return next((name for key, inner in value.items() if "model" in key and (name := name_of(inner))), "")


def _read_second(values: Mapping[str, object]) -> Parsed:
    image = table_in(values, "image")
    listed = image.get("prompt")
    if isinstance(listed, list):
        texts = [text_in(each, "prompt") for each in listed if isinstance(each, dict)]
        whole = ", ".join(text for text in texts if text)
    else:
        whole = text_in(image, "prompt")
    prompt, negative = _split(whole)
    plain = {key: value for key, value in image.items() if key != "prompt" and value not in ([], None)}
    over = image.get("type") == "img2img" or bool(image.get("init_image_path"))
    leave = frozenset({"type", "init_image_path", "variations", *(() if over else ("strength", "fit", "orig_hash"))})
    settings = as_settings(plain, leave=leave)
    for key, label in (("model_weights", "Model"), ("model_hash", "Model hash"), ("app_version", "Version")):
        settings |= as_settings({label: values.get(key)})
    if image.get("seamless"):
        settings["Tiling"] = "True"
    source = (text_in(image, "init_image_path") or "a picture") if over else ""
    return Parsed(dialect="invokeai", prompt=prompt, negative_prompt=negative, settings=settings, source=source)


def _read_dream(text: str) -> Parsed | None:
    parts = _DREAM.match(text)
    if parts is None:
        return None
    prompt, negative = _split(parts[1].replace('\\"', '"'))
    values: dict[str, object] = {}
    try:
        words = shlex.split(parts[2], posix=False)
    except ValueError:
        words = parts[2].split()
    at = 0
    over = ""
    while at < len(words):
        word = words[at]
        at += 1
        name, value = word.lstrip("-"), ""
        if (
            word.startswith("-")
            and not word.startswith("--")
            and name[:1] in _SWITCHES
            and number_of(name[1:]) is not None
        ):
            name, value = name[0], name[1:]  # -s50
        elif at < len(words) and (not words[at].startswith("-") or number_of(words[at]) is not None):
            value = words[at]
            at += 1
        if name in {"I", "init_img"}:
            over = value or "a picture"
        elif name == "seamless":
            values["Tiling"] = "True"
        else:
            values[_SWITCHES.get(name, name)] = value or "True"
    return Parsed(
        dialect="invokeai", prompt=prompt, negative_prompt=negative, settings=as_settings(values), source=over
    )


def _split(prompt: str) -> tuple[str, str]:
    """Return what a prompt asks for, and what it excludes in brackets."""
    excluded = [part.strip(" ,") for part in _EXCLUDED.findall(prompt)]
    wanted = re.sub(r"\s{2,}", " ", _EXCLUDED.sub("", prompt)).strip(" ,") if excluded else prompt
    return wanted, ", ".join(part for part in excluded if part)
