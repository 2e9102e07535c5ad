"""ADetailer's reading of `alwayson_scripts`: what it accepts as arguments, and what it drops silently.

Arguments that are left out are filled from the UI's own; a unit with an unknown key is dropped; a missing model is
only logged. All of that is HTTP 200.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_SUFFIXES = ("", " 2nd", " 3rd", " 4th", " 5th", " 6th")
_TABS = 4
_TITLES = {
    "ad_model": "model",
    "ad_model_classes": "model classes",
    "ad_prompt": "prompt",
    "ad_negative_prompt": "negative prompt",
    "ad_confidence": "confidence",
    "ad_mask_filter_method": "method to decide top-k masks",
    "ad_mask_k": "mask only top k",
    "ad_mask_min_ratio": "mask min ratio",
    "ad_mask_max_ratio": "mask max ratio",
    "ad_x_offset": "x offset",
    "ad_y_offset": "y offset",
    "ad_dilate_erode": "dilate erode",
    "ad_mask_merge_invert": "mask merge invert",
    "ad_mask_blur": "mask blur",
    "ad_denoising_strength": "denoising strength",
    "ad_inpaint_only_masked": "inpaint only masked",
    "ad_inpaint_only_masked_padding": "inpaint padding",
    "ad_use_inpaint_width_height": "use inpaint width height",
    "ad_inpaint_width": "inpaint width",
    "ad_inpaint_height": "inpaint height",
    "ad_use_steps": "use separate steps",
    "ad_steps": "steps",
    "ad_use_cfg_scale": "use separate CFG scale",
    "ad_cfg_scale": "CFG scale",
    "ad_use_checkpoint": "use separate checkpoint",
    "ad_checkpoint": "checkpoint",
    "ad_use_vae": "use separate VAE",
    "ad_vae": "VAE",
    "ad_use_sampler": "use separate sampler",
    "ad_sampler": "sampler",
    "ad_scheduler": "scheduler",
    "ad_use_noise_multiplier": "use separate noise multiplier",
    "ad_noise_multiplier": "noise multiplier",
    "ad_use_clip_skip": "use separate CLIP skip",
    "ad_clip_skip": "CLIP skip",
    "ad_restore_face": "restore face",
    "ad_controlnet_model": "ControlNet model",
    "ad_controlnet_module": "ControlNet module",
    "ad_controlnet_weight": "ControlNet weight",
    "ad_controlnet_guidance_start": "ControlNet guidance start",
    "ad_controlnet_guidance_end": "ControlNet guidance end",
}
_ALWAYS_LISTED = {
    "ad_model",
    "ad_confidence",
    "ad_dilate_erode",
    "ad_mask_blur",
    "ad_denoising_strength",
    "ad_inpaint_only_masked",
    "ad_inpaint_only_masked_padding",
}
_NEEDS = {
    "ad_inpaint_width": "ad_use_inpaint_width_height",
    "ad_inpaint_height": "ad_use_inpaint_width_height",
    "ad_steps": "ad_use_steps",
    "ad_cfg_scale": "ad_use_cfg_scale",
    "ad_checkpoint": "ad_use_checkpoint",
    "ad_vae": "ad_use_vae",
    "ad_sampler": "ad_use_sampler",
    "ad_scheduler": "ad_use_sampler",
    "ad_noise_multiplier": "ad_use_noise_multiplier",
    "ad_clip_skip": "ad_use_clip_skip",
}
_PYTHON_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


@dataclass(frozen=True, slots=True)
class AdetailerArgs:
    """What ADetailer will do. `units` are complete, every field filled; empty means that it stays off."""

    units: tuple[Mapping[str, Any], ...] = ()
    skip_img2img: bool = False

    def infotext_fields(self, version: str) -> dict[str, Any]:
        """Return what goes into extra_generation_params, in order; nothing where it is off."""
        if not self.units:
            return {}
        fields: dict[str, Any] = {}
        for unit, suffix in zip(self.units, _SUFFIXES, strict=False):
            fields |= {f"ADetailer {_TITLES[name]}{suffix}": unit[name] for name in _TITLES if _is_listed(unit, name)}
        return fields | {"ADetailer version": version}


def _is_listed(unit: Mapping[str, Any], name: str) -> bool:
    if name in _NEEDS:
        return bool(unit[_NEEDS[name]])
    return name in _ALWAYS_LISTED or unit[name] != unit["defaults"][name]


def read_args(
    scripts: Mapping[str, Any], schema: Mapping[str, Any], models: list[str], *, has_source: bool, has_mask: bool
) -> AdetailerArgs:
    """Return what a request's `alwayson_scripts` ask of ADetailer.

    Args:
        scripts: as sent; script names in any case.
        schema: the answer of /adetailer/v1/schema.
        models: the detectors; the first one is the UI's own choice for its first tab.
        has_source: there is a picture to work on (img2img).
        has_mask: it comes with an inpainting mask.
    """
    script = next((value for name, value in scripts.items() if name.lower() == "adetailer"), None)
    if not isinstance(script, dict) or "args" not in script:
        return AdetailerArgs()
    ui: list[Any] = [False, False, {"ad_model": models[0]}, *({"ad_model": "None"} for _ in range(_TABS - 1))]
    args = [*script["args"], *ui[len(script["args"]) :]]
    units = tuple(unit for arg in args if (unit := _read_unit(arg, schema)) and unit["ad_model"] != "None")
    skip = has_source and args[1] is True
    if args[0] is False or (skip and has_mask):
        return AdetailerArgs(skip_img2img=False)
    return AdetailerArgs(units, skip_img2img=skip and bool(units))


def skips_img2img(body: Any) -> bool:
    """Return whether a body of /img2img lets ADetailer work on the given picture and asks for nothing else."""
    scripts = body.get("alwayson_scripts") if isinstance(body, dict) else None
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        args = script.get("args") if isinstance(script, dict) else None
        if name.lower() == "adetailer" and isinstance(args, list):
            return len(args) > 1 and args[1] is True
    return False


def _read_unit(arg: Any, schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a tab with its defaults; None if it is no dict, has a key or value that ADetailer rejects, or is off."""
    rules = schema["properties"]
    if not isinstance(arg, dict) or any(name not in rules or not _fits(rules[name], arg[name]) for name in arg):
        return None
    defaults = {name: rule.get("default") for name, rule in rules.items()}
    unit = defaults | arg
    return unit | {"defaults": defaults} if unit["ad_tab_enable"] else None


def _fits(rule: Mapping[str, Any], value: Any) -> bool:
    if value is None:
        return "default" not in rule
    if not isinstance(value, _PYTHON_TYPES.get(rule.get("type", ""), (object,))):
        return False
    low, high = rule.get("minimum", float("-inf")), rule.get("maximum", float("inf"))
    if isinstance(value, int | float) and not (low <= value <= high and value > rule.get("exclusiveMinimum", -1e9)):
        return False
    return value in rule.get("enum", [value])
