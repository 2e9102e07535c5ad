"""Units of ADetailer as the extension takes them: the names of their keys, and the switches that some need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.config import AdetailerUnit
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import JsonValue

    from rxpipe.plan import StageExecution

_UNIT_FIELDS = {
    "ad_model": "detector",
    "ad_confidence": "confidence",
    "ad_denoising_strength": "denoising_strength",
    "ad_prompt": "prompt",
    "ad_negative_prompt": "negative_prompt",
    "ad_mask_filter_method": "mask_filter_method",
    "ad_mask_k": "mask_k_largest",
    "ad_mask_min_ratio": "mask_min_ratio",
    "ad_mask_max_ratio": "mask_max_ratio",
    "ad_mask_merge_invert": "mask_merge_invert",
    "ad_dilate_erode": "dilate_erode",
    "ad_mask_blur": "mask_blur",
    "ad_inpaint_only_masked": "inpaint_only_masked",
    "ad_inpaint_only_masked_padding": "padding",
    "ad_steps": "steps",
    "ad_cfg_scale": "cfg_scale",
    "ad_sampler": "sampler_name",
    "ad_scheduler": "scheduler",
    "ad_checkpoint": "checkpoint",
    "ad_inpaint_width": "inpaint_width",
    "ad_inpaint_height": "inpaint_height",
}
_SWITCHES = {
    "ad_steps": "ad_use_steps",
    "ad_cfg_scale": "ad_use_cfg_scale",
    "ad_sampler": "ad_use_sampler",
    "ad_checkpoint": "ad_use_checkpoint",
    "ad_inpaint_width": "ad_use_inpaint_width_height",
    "ad_inpaint_height": "ad_use_inpaint_width_height",
}
_OLD_NAMES = {"ad_mask_k": "ad_mask_k_largest"}  # before 24.11
_DEFAULTS = {key: AdetailerUnit.model_fields[name].default for key, name in _UNIT_FIELDS.items()}


def adetailer_unit(unit: AdetailerUnit, schema: Mapping[str, Any] | None = None) -> dict[str, JsonValue]:
    """Return one unit as the extension takes it.

    An unknown key silently turns the whole unit off, so only what differs from its default is sent, and nothing that
    *schema* does not have.

    Raises:
        BackendRejected: a value is asked for that the extension has no key for.
    """
    values = {key: getattr(unit, name) for key, name in _UNIT_FIELDS.items()}
    wanted = {key: value for key, value in values.items() if value is not None and value != _DEFAULTS[key]}
    wanted["ad_model"] = unit.detector
    wanted |= {switch: True for key, switch in _SWITCHES.items() if key in wanted}
    if schema is None:
        return wanted
    renamed = {key if key in schema else _OLD_NAMES.get(key, key): value for key, value in wanted.items()}
    unknown = [_UNIT_FIELDS.get(key, key) for key in renamed if key not in schema]
    if unknown:
        raise BackendRejected(
            f"the server's ADetailer extension has no setting for {', '.join(unknown)}.",
            hint="Update the ADetailer extension or leave these at their defaults.",
        )
    return renamed


def with_sampler(unit: AdetailerUnit, stage: StageExecution) -> AdetailerUnit:
    """Return the unit with a sampler: the extension reads a unit's scheduler only where it has a sampler of its own."""
    if unit.scheduler is None or unit.sampler_name is not None:
        return unit
    return unit.model_copy(update={"sampler_name": stage.generation.sampler_name})
