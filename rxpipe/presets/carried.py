"""The settings of a picture, under A1111's names, as values of a config; and those that no config has a place for.

Every setting is either carried over, or describes the picture and steers nothing, or is named as not carried over.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config import SECTIONS
from rxpipe.pictures import a1111
from rxpipe.pictures.dialects.parsed import number_of
from rxpipe.pictures.names import sampler_named, scheduler_named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.metadata import ImageInfo

__all__ = ["Carried", "carried_over"]

_PLAIN = {label: name for name, label in a1111.SETTING_NAMES.items()} | {
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Seed": "seed",
    "Variation seed": "subseed",
    "Variation seed strength": "subseed_strength",
    "Mask blur": "mask_blur",
    "Masked area padding": "inpaint_full_res_padding",
    "Inpaint area padding": "inpaint_full_res_padding",
}
_HIRES = {
    "Hires upscale": "scale",
    "Hires upscaler": "upscaler",
    "Hires steps": "steps",
    "Hires CFG Scale": "cfg_scale",
    "Hires sampler": "sampler_name",
    "Hires schedule type": "scheduler",
    "Hires checkpoint": "checkpoint",
    "Hires prompt": "prompt",
    "Hires negative prompt": "negative_prompt",
}
_UNIT = {
    "model": "detector",
    "prompt": "prompt",
    "negative prompt": "negative_prompt",
    "confidence": "confidence",
    "method to decide top-k masks": "mask_filter_method",
    "mask only top k": "mask_k_largest",
    "mask only top k largest": "mask_k_largest",
    "mask min ratio": "mask_min_ratio",
    "mask max ratio": "mask_max_ratio",
    "dilate erode": "dilate_erode",
    "dilate/erode": "dilate_erode",
    "mask merge invert": "mask_merge_invert",
    "mask merge/invert": "mask_merge_invert",
    "mask blur": "mask_blur",
    "denoising strength": "denoising_strength",
    "inpaint only masked": "inpaint_only_masked",
    "inpaint padding": "padding",
    "inpaint width": "inpaint_width",
    "inpaint height": "inpaint_height",
    "steps": "steps",
    "CFG scale": "cfg_scale",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "checkpoint": "checkpoint",
}
_SWITCHES = frozenset(
    {
        "use separate steps",
        "use separate CFG scale",
        "use separate checkpoint",
        "use separate sampler",
        "use inpaint width height",
        "use inpaint width/height",
        "tab enable",
    }
)
_UPSCALE = {
    "Postprocess upscale by": "scale",
    "Postprocess upscaler": "upscaler",
    "Postprocess upscaler 2": "upscaler_2",
    "Postprocess upscaler 2 visibility": "upscaler_2_visibility",
    "Postprocess GFPGAN visibility": "gfpgan_visibility",
    "Postprocess CodeFormer visibility": "codeformer_visibility",
    "Postprocess CodeFormer weight": "codeformer_weight",
}
_DETAIL_KEY = re.compile(r"ADetailer (.+?)(?: (2nd|3rd|\d+th))?$")
_SIDES = re.compile(r"\s*(\d{1,5})\s*[xX]\s*(\d{1,5})\s*")
_MODULE = re.compile(r"Module (\d+)")
_FILLS = {"fill": 0, "original": 1, "latent noise": 2, "latent nothing": 3}

_OF_SAMPLING = frozenset({"Steps", "Sampler", "Seed", "CFG scale", "Denoising strength"})
"""Settings that a picture has which was drawn, and not only mended or enlarged."""

_ABSENT = frozenset(
    {
        "",
        "none",
        "default",
        "default (model)",
        "baked vae",
        "automatic",
        "unknown",
        "use same sampler",
        "use same scheduler",
        "use same checkpoint",
        "same as sampler",
        "undefined",
        "null",
    }
)
_OFF = frozenset({"", "none", "null", "false", "0", "0.0", "[]", "{}", "off"})
_DESCRIPTIVE = re.compile(
    r"(model|vae|lora|ti|base.model|refiner.model|lora_)? ?_?hash(es)?|hashes|version|user|app|app_version|backend"
    r"|parser|pipeline|operations|created.?date|date|generation_time|generation time|time|civitai (resources|metadata)"
    r"|template|negative template|adetailer version|batch (size|pos)|n_samples|metadata_scheme|created_by|software"
    r"|swarm_version|signed_hash|request_type|generation_mode|generator|lora (weights|networks)|image_number"
    r"|prep_time|original_prompt|original_negativeprompt|intermediate|images|engine|workflow|seed_mode"
    r"|noise_mode|date created|width|height|prompt_expansion|output_format|output_quality|block_nsfw|metadata.version"
    r"|ml compute unit|--v|uc_preset|ucpreset|qualitytoggle|add_original_image|legacy(_v3_extend)?|rand_device"
    r"|networks|lora networks|model_sha256|aspectratio|used_embeddings|used_loras|models|rxpipe|base_model_version"
    r"|show_only_filtered_image|session_id|type|quantity|priority|process|draft|params version|variations|facetool"
    r"|postprocessing|orig_hash",
    re.IGNORECASE,
)


_USUAL = {
    "performance": ("Speed", "Quality"),  # Fooocus' others are models of their own
    "controlnet_strength": ("1.0", "1"),
    "dynamic_thresholding_percentile": ("0.999",),
    "dynamic_thresholding_mimic_scale": ("10.0", "10"),
    "uncond_scale": ("1.0", "1"),
    "prefer_brownian": ("true",),
    "uncond_per_vibe": ("true",),
    "wonky_vibe_correlation": ("true",),
    "stream": ("msgpack", "sse"),
    "automaticvae": ("true",),
}
"""Values that every picture of a program has; they ask for nothing."""


class Carried(NamedTuple):
    """What a picture's settings come to.

    values: of a config, by section. left: the names of those that no section has a place for.
    """

    values: dict[str, dict[str, Any]]
    left: tuple[str, ...]


def carried_over(info: ImageInfo) -> Carried:
    """Return the config values that a picture's settings mean: txt2img, or img2img where it was drawn over another."""
    return _Carrying(info).result()


class _Carrying:
    """The carrying over of one picture's settings: each is taken once, what is left at the end is named."""

    def __init__(self, info: ImageInfo) -> None:
        self.info = info
        self.left = dict(info.settings)
        self.dropped: list[str] = []
        self.stage = "img2img" if info.source else "txt2img"
        self.known = SECTIONS[self.stage].model_fields

    def result(self) -> Carried:
        unit = self._details()
        mended = bool(self.info.source and not self.left.keys() & _OF_SAMPLING)
        values = {} if mended else {self.stage: self._section()}
        if mended and unit:
            prompts = {"prompt": self.info.prompt, "negative_prompt": self.info.negative_prompt}
            unit = {**{name: text for name, text in prompts.items() if text}, **unit}
        if unit:
            values["adetailer"] = unit
        if upscale := self._upscale():
            values["upscale"] = upscale
        names = [name for name, value in self.left.items() if not _describes(name, value)]
        rest = [*self.dropped, *names, *self.info.unread]
        return Carried(values, tuple(dict.fromkeys(rest)))

    def _take(self, label: str) -> str | None:
        value = self.left.pop(label, None)
        return None if value is None or value.strip().casefold() in _ABSENT else value

    def _section(self) -> dict[str, Any]:
        section: dict[str, Any] = {"prompt": _with_loras(self.info), "negative_prompt": self.info.negative_prompt}
        section |= self._plain()
        section |= _names(section)
        if "seed" not in section and self.info.seed is not None:
            section["seed"] = self.info.seed
        section |= self._size()
        if self.stage == "txt2img":
            self._second_passes(section)
            self._switches(section)
        else:
            self._over_another(section)
        return section

    def _plain(self) -> dict[str, Any]:
        section: dict[str, Any] = {}
        for label, name in _PLAIN.items():
            if name not in self.known or label not in self.left:
                continue
            value = self._take(label)
            if value is not None:
                section[name] = value
        if "clip_skip" in section:
            section |= {"clip_skip": _clip_skip(section.pop("clip_skip"))}
            if section["clip_skip"] is None:
                del section["clip_skip"]
        return section

    def _size(self) -> dict[str, Any]:
        text = self.left.pop("Size", None)
        found = _SIDES.fullmatch(text or "")
        if found is None:
            return {} if self.stage == "img2img" or text is not None else self._own_size()
        sides = [int(side) for side in found.groups()]
        fitting = [max(64, min(8192, side - side % 8)) for side in sides]
        if fitting != sides:
            self.dropped.append(f"Size {text}, drawn as {fitting[0]}x{fitting[1]}")
        return {"width": fitting[0], "height": fitting[1]}

    def _own_size(self) -> dict[str, Any]:
        """Return the picture's own size, where the metadata names none and nothing has enlarged it."""
        enlarged = any(label in self.left for label in ("Hires upscale", "Hires resize", "Postprocess upscale by"))
        sides = (self.info.width, self.info.height)
        if enlarged or any(side % 8 or not 64 <= side <= 8192 for side in sides):  # noqa: PLR2004  a config's bounds
            return {}
        return {"width": sides[0], "height": sides[1]}

    def _second_passes(self, section: dict[str, Any]) -> None:
        hires = {name: value for label, name in _HIRES.items() if (value := self._take(label)) is not None}
        resize = _SIDES.fullmatch(self._take("Hires resize") or "")
        if resize:
            hires |= {"resize_x": resize[1], "resize_y": resize[2]}
        if hires:
            hires |= _names(hires)
            if (strength := self._take("Denoising strength")) is not None:
                hires["denoising_strength"] = strength
            section["hires"] = hires
        elif (self.left.get("Denoising strength") or "").strip() in {"1", "1.0", "0", "0.0"}:
            del self.left["Denoising strength"]
        if (checkpoint := self._take("Refiner")) is not None:
            switch = self._take("Refiner switch at") or self._take("Refiner switch")
            section["refiner"] = {"checkpoint": checkpoint, **({"switch_at": _share(switch)} if switch else {})}

    def _switches(self, section: dict[str, Any]) -> None:
        if (self._take("Tiling") or "").casefold() == "true":
            section["tiling"] = True
        restorer = self._take("Face restoration")
        if restorer is not None and restorer.casefold() not in _OFF:
            section["restore_faces"] = True
            if restorer.casefold() != "true":
                self.dropped.append(f"Face restoration model {restorer}")
        numbered = sorted((int(found[1]), label) for label in self.left if (found := _MODULE.fullmatch(label)))
        modules = [value for _, label in numbered if (value := self._take(label)) is not None]
        if modules:
            section["modules"] = modules

    def _over_another(self, section: dict[str, Any]) -> None:
        if (strength := self._take("Denoising strength")) is not None:
            section["denoising_strength"] = strength
        self.left.pop("Init image hash", None)
        if (mode := self._take("Mask mode")) is not None:
            section["inpainting_mask_invert"] = "not" in mode.casefold()
        if (area := self._take("Inpaint area")) is not None:
            section["inpaint_full_res"] = "mask" in area.casefold()
        if (content := self._take("Masked content")) is not None:
            section["inpainting_fill"] = _FILLS.get(content.casefold(), 1)
        if "Mask blur" in self.info.settings or section.get("inpaint_full_res"):
            self.dropped.append("the mask of the part that was drawn")

    def _details(self) -> dict[str, Any]:
        units: dict[int, dict[str, str]] = {}
        for label in [label for label in self.left if label.startswith("ADetailer ") and label != "ADetailer version"]:
            found = _DETAIL_KEY.fullmatch(label)
            if found and (found[1] in _UNIT or found[1] in _SWITCHES):
                units.setdefault(_nth(found[2]), {})[found[1]] = self.left.pop(label)
        sections = [_unit(units[number]) for number in sorted(units)]
        sections = [section for section in sections if section]
        if not sections:
            return {}
        return {**sections[0], "units": sections[1:]} if len(sections) > 1 else sections[0]

    def _upscale(self) -> dict[str, Any]:
        upscale: dict[str, Any] = {
            name: value for label, name in _UPSCALE.items() if (value := self._take(label)) is not None
        }
        target = _SIDES.fullmatch(self._take("Postprocess upscale to") or "")
        if target:
            upscale |= {"width": int(target[1]), "height": int(target[2])}
        if (crop := self._take("Postprocess crop to size")) is not None and target:
            upscale["fit"] = "crop" if crop == "True" else "inside"
        return upscale if {"scale", "upscaler", "width"} & upscale.keys() else {}


def _describes(name: str, value: str) -> bool:
    """Whether a setting says what the picture is and not how it was drawn, or is switched off."""
    if value in _USUAL.get(name, ()):
        return True
    return _DESCRIPTIVE.fullmatch(name.strip()) is not None or value.strip().casefold() in _OFF or number_of(value) == 0


def _with_loras(info: ImageInfo) -> str:
    """Return the prompt with the LoRAs that stood outside it, as A1111 has them within."""
    marks = [f"<lora:{name}:{weight:g}>" for name, weight in info.loras if f"<lora:{name}:" not in info.prompt]
    return " ".join([info.prompt, *marks]) if marks else info.prompt


def _clip_skip(value: str) -> str | int | None:
    try:
        number = abs(int(float(value)))
    except (ValueError, OverflowError):
        return value
    return number or None


def _share(value: str) -> str | float:
    """Return a fraction; some programs write percent."""
    try:
        number = float(value)
    except ValueError:
        return value
    return number / 100 if number > 1 else number


def _names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return sampler and scheduler by A1111's names, where another program's are known."""
    sampler, scheduler = values.get("sampler_name"), values.get("scheduler")
    named: dict[str, Any] = {}
    if isinstance(scheduler, str) and (known := scheduler_named(scheduler)) is not None:
        named["scheduler"] = known
    if isinstance(sampler, str) and (found := sampler_named(sampler)) is not None:
        named["sampler_name"] = found.sampler
        if found.scheduler is not None:
            named["scheduler"] = found.scheduler
    return named


def _nth(text: str | None) -> int:
    return int(re.sub(r"\D", "", text)) if text else 1


_WITH_SWITCH = {
    "steps": ("use separate steps",),
    "cfg_scale": ("use separate CFG scale",),
    "checkpoint": ("use separate checkpoint",),
    "sampler_name": ("use separate sampler",),
    "inpaint_width": ("use inpaint width height", "use inpaint width/height"),
    "inpaint_height": ("use inpaint width height", "use inpaint width/height"),
}


def _unit(given: Mapping[str, str]) -> dict[str, Any]:
    """Return a unit of ADetailer as a config has it; {} where it has no detector."""
    unit: dict[str, Any] = {}
    for label, value in given.items():
        name = _UNIT.get(label)
        if name is not None and value.strip().casefold() not in _ABSENT - {"none"} and _is_on(name, given):
            unit[name] = value
    if unit.get("detector", "None").casefold() == "none":
        return {}
    unit = {name: value for name, value in unit.items() if value != "None" or name == "mask_merge_invert"}
    return unit | _names(unit)


def _is_on(name: str, given: Mapping[str, str]) -> bool:
    """Whether a setting with a switch of its own is switched on; where the switch is not written it is."""
    return all(given.get(switch, "True") == "True" for switch in _WITH_SWITCH.get(name, ()))
