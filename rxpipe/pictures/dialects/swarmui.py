"""SwarmUI's metadata, and StableSwarmUI's before it: JSON under `sui_image_params`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.parsed import (
    Parsed,
    as_settings,
    file_stem,
    json_object,
    loras_in,
    main_text,
    number_of,
    table_in,
    text_in,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.parsed import Found

_LABELS = {
    "clipstopatlayer": "Clip skip",
    "variationseed": "Variation seed",
    "variationseedstrength": "Variation seed strength",
    "fluxguidancescale": "Distilled CFG Scale",
    "initimagecreativity": "Denoising strength",
}
_APART = frozenset(
    {
        "prompt",
        "negativeprompt",
        "loras",
        "loraweights",
        "swarm_version",
        "comfyuisampler",
        "comfyuischeduler",
        "initimage",
        "refinermodel",
        "refinercontrolpercentage",
        "refinermethod",
        "refinerupscale",
        "refinerupscalemethod",
        "refinersteps",
        "refinercfgscale",
        "seamlesstileable",
    }
)


def read(found: Found) -> Parsed | None:
    """Return what SwarmUI wrote into a picture; None where the texts are of another kind."""
    texts = (main_text(found.texts), found.texts.get("Model"), found.texts.get("ImageDescription"))
    values = next((each for text in texts if "sui_image_params" in (each := json_object(text) or {})), {})
    params = table_in(values, "sui_image_params")
    if not params and isinstance(inner := (json_object(texts[0]) or {}).get("parameters"), str):
        values = json_object(inner) or {}
        params = table_in(values, "sui_image_params")
    if not params:
        return None
    whole = {**params, **table_in(values, "sui_extra_data")}
    settings = as_settings(whole, leave=_APART, **_LABELS)
    if sampler := text_in(params, "comfyuisampler"):
        settings["Sampler"] = sampler
    if scheduler := text_in(params, "comfyuischeduler"):
        settings["Schedule type"] = scheduler
    if tiles := text_in(params, "seamlesstileable"):
        settings["Tiling"] = "False" if tiles == "false" else "True"
    settings |= _second_pass(params)
    return Parsed(
        dialect="swarmui",
        prompt=text_in(params, "prompt"),
        negative_prompt=text_in(params, "negativeprompt"),
        settings=settings,
        loras=loras_in(_listed(params.get("loras")), _listed(params.get("loraweights"))),
        source="a picture" if "initimage" in params or "initimagecreativity" in params else "",
    )


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


def _second_pass(params: Mapping[str, object]) -> dict[str, str]:
    """Return the refiner: with a factor a pass at a larger size, with another checkpoint the end of the sampling."""
    share = number_of(params.get("refinercontrolpercentage"))
    scale = number_of(params.get("refinerupscale")) or 1
    model = text_in(params, "refinermodel")
    if model.startswith("(Use Base"):
        model = ""
    if scale > 1:
        found = {
            "Hires upscale": scale,
            "Hires upscaler": _upscaler(text_in(params, "refinerupscalemethod")),
            "Hires steps": params.get("refinersteps"),
            "Hires CFG Scale": params.get("refinercfgscale"),
            "Denoising strength": share,
            "Hires checkpoint": file_stem(model) or None,
        }
        return as_settings(found)
    if model and share:
        return as_settings({"Refiner": file_stem(model), "Refiner switch at": round(1 - share, 4)})
    return {}


def _upscaler(method: str) -> str | None:
    """Return the upscaler of a method such as "model-4x.pth", "latent-bilinear", "pixel-lanczos"."""
    kind, _, name = method.partition("-")
    if kind == "model":
        return file_stem(name)
    if kind == "latent":
        return {"bicubic": "Latent (bicubic)", "nearest-exact": "Latent (nearest-exact)"}.get(name, "Latent")
    return {"lanczos": "Lanczos"}.get(name, "Nearest") if kind == "pixel" else None
