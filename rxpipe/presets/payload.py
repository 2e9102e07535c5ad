"""A request to A1111's API (`/sdapi/v1/txt2img` or `img2img`), saved as JSON, as config values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from rxpipe.config import SECTIONS
from rxpipe.pictures.names import sampler_named, scheduler_named
from rxpipe.presets.notes import Note
from rxpipe.shown import cut, escaped

__all__ = ["Payload", "is_payload", "read_payload"]

_TELLING = frozenset(
    {
        "sampler_name",
        "sampler_index",
        "cfg_scale",
        "steps",
        "negative_prompt",
        "enable_hr",
        "n_iter",
        "override_settings",
        "init_images",
        "alwayson_scripts",
        "denoising_strength",
        "script_name",
        "width",
        "height",
        "batch_size",
        "seed",
        "restore_faces",
        "hr_scale",
        "subseed",
    }
)
_SAME = frozenset(
    {
        "prompt",
        "negative_prompt",
        "steps",
        "cfg_scale",
        "width",
        "height",
        "seed",
        "subseed",
        "subseed_strength",
        "sampler_name",
        "scheduler",
        "tiling",
        "restore_faces",
        "styles",
        "batch_size",
        "distilled_cfg_scale",
        "override_settings",
        "alwayson_scripts",
        "denoising_strength",
        "resize_mode",
        "mask_blur",
        "inpainting_fill",
        "inpaint_full_res",
        "inpaint_full_res_padding",
        "inpainting_mask_invert",
    }
)
_HIRES = {
    "hr_scale": "scale",
    "hr_upscaler": "upscaler",
    "hr_second_pass_steps": "steps",
    "hr_resize_x": "resize_x",
    "hr_resize_y": "resize_y",
    "hr_sampler_name": "sampler_name",
    "hr_scheduler": "scheduler",
    "hr_cfg": "cfg_scale",
    "hr_prompt": "prompt",
    "hr_negative_prompt": "negative_prompt",
    "hr_checkpoint_name": "checkpoint",
}
_OURS = {
    "send_images": "rxpipe always takes the pictures",
    "save_images": "rxpipe writes the files itself",
    "do_not_save_samples": "rxpipe writes the files itself",
    "do_not_save_grid": "rxpipe writes the files itself",
    "force_task_id": "rxpipe names its requests itself",
    "infotext": "give the picture that it stands in",
    "include_init_images": "rxpipe does not need them back",
    "override_settings_restore_afterwards": "rxpipe always puts a server's options back",
    "firstphase_width": "A1111 no longer reads it",
    "firstphase_height": "A1111 no longer reads it",
    "comments": "it says nothing about the picture",
}
_SEED_OFF = frozenset({"subseed", "seed_resize_from_h", "seed_resize_from_w"})
_NOTHING = frozenset({"", "none", "use same sampler", "use same scheduler", "use same checkpoint"})
_LONGEST_NAME = 500  # of a file; what is longer is a picture itself
_BASE64 = re.compile(r"(data:image/|iVBOR|/9j/|UklGR)")


class Payload(NamedTuple):
    """A payload as read. source: what it draws over, "" for nothing. prompt: whether it names one, if only empty."""

    values: dict[str, Any]
    notes: list[Note]
    source: str
    has_prompt: bool


def is_payload(values: Mapping[str, object]) -> bool:
    """Whether values of a file are a request to A1111's API: its keys at the top, and no section of a config."""
    if any(isinstance(values.get(name), Mapping) for name in SECTIONS):
        return False
    found = len(_TELLING & values.keys())
    return found >= 1 and ("prompt" in values or found > 1)


def read_payload(values: Mapping[str, object]) -> Payload:
    """Return a payload as config values; what no setting is for goes with the request as it stands."""
    reading = _Reading(values)
    return reading.result()


class _Reading:
    def __init__(self, values: Mapping[str, object]) -> None:
        self.left = {str(key): value for key, value in values.items() if value is not None}
        self.notes: list[Note] = []

    def result(self) -> Payload:
        has_prompt = "prompt" in self.left
        over = "init_images" in self.left
        source = self._init_images()
        stage = "img2img" if over else "txt2img"
        count = self._count()
        fields = SECTIONS[stage].model_fields
        section = {
            key: self.left.pop(key)
            for key in list(self.left)
            if key in _SAME and key in fields and key != "denoising_strength"
        }
        section |= count
        section |= self._sampler(section)
        if stage == "txt2img":
            section |= self._second_passes()
        elif "denoising_strength" in self.left:
            section["denoising_strength"] = self.left.pop("denoising_strength")
        section |= self._server_options(section, fields)
        self._rest(section)
        return Payload({stage: section}, self.notes, source, has_prompt)

    def _init_images(self) -> str:
        images = self.left.pop("init_images", None)
        if images is None:
            return ""
        first = images[0] if isinstance(images, list) and images else ""
        named = isinstance(first, str) and first and len(first) < _LONGEST_NAME and _BASE64.match(first) is None
        return first if named else "a picture that the payload holds itself"

    def _count(self) -> dict[str, Any]:
        count = self.left.pop("n_iter", None)
        batch = self.left.get("batch_size")
        number = count if isinstance(count, int) and not isinstance(count, bool) else 1
        size = batch if isinstance(batch, int) and not isinstance(batch, bool) else 1
        return {"images": number * size} if number * size > 1 else {}

    def _sampler(self, section: dict[str, Any]) -> dict[str, Any]:
        index = self.left.pop("sampler_index", None)
        name = section.get("sampler_name") or index
        if not isinstance(name, str) or not name:
            return {}
        found = sampler_named(name)
        named: dict[str, Any] = {"sampler_name": name if found is None else found.sampler}
        scheduler = section.get("scheduler")
        if isinstance(scheduler, str):
            named["scheduler"] = scheduler_named(scheduler) or scheduler
        elif found is not None and found.scheduler is not None:
            named["scheduler"] = found.scheduler
        return named

    def _second_passes(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        enabled = self.left.pop("enable_hr", None)
        hires = {name: value for key, name in _HIRES.items() if _says(value := self.left.pop(key, None))}
        strength = self.left.pop("denoising_strength", None)
        additional = self.left.get("hr_additional_modules")
        if additional == ["Use same choices"]:
            del self.left["hr_additional_modules"]
        if strength is not None:
            hires["denoising_strength"] = strength
        if enabled:
            found["hires"] = hires
        elif hires and enabled is not None:
            found["hires"] = {**hires, "enabled": False}
        checkpoint, switch = self.left.pop("refiner_checkpoint", None), self.left.pop("refiner_switch_at", None)
        if isinstance(checkpoint, str) and checkpoint.casefold() not in _NOTHING:
            found["refiner"] = {"checkpoint": checkpoint, **({} if switch is None else {"switch_at": switch})}
        return found

    def _server_options(self, section: dict[str, Any], fields: Mapping[str, object]) -> dict[str, Any]:
        """Take from the options of the server those that are settings of a stage."""
        options = section.get("override_settings")
        if not isinstance(options, dict):
            return {}
        kept = dict(options)
        found = {}
        for key, name in _OPTIONS.items():
            if name in fields and name not in section and _says(kept.get(key)):
                found[name] = kept.pop(key)
        if (top := self.left.pop("sd_model_checkpoint", None)) and "model" not in found:
            found["model"] = top
        found["override_settings"] = kept
        return found

    def _rest(self, section: dict[str, Any]) -> None:
        for key, reason in _OURS.items():
            if key in self.left:
                del self.left[key]
                self.notes.append(Note("no effect", key, reason))
        if "sd_model_checkpoint" in self.left:
            section["model"] = self.left.pop("sd_model_checkpoint")
        payload = {
            key: value
            for key, value in self.left.items()
            if not (value in ("", [], {}) or (key in _SEED_OFF and value == -1))
        }
        if payload:
            section["payload"] = payload
            self.notes += [
                Note("read as", escaped(cut(key)), "no setting is for it; it goes with the request as it stands")
                for key in payload
            ]


_OPTIONS = {"sd_model_checkpoint": "model", "sd_vae": "vae", "CLIP_stop_at_last_layers": "clip_skip"}


def _says(value: object) -> bool:
    return value is not None and not (isinstance(value, str) and value.strip().casefold() in _NOTHING)
