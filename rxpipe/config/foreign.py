"""Names that other tools have for settings, and what they are here: the nearest word by letters is wrong for them."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["advice"]

_HIRES = {
    "enable_hr": "enabled",
    "hr_scale": "scale",
    "hr_upscaler": "upscaler",
    "hr_second_pass_steps": "steps",
    "hires_steps": "steps",
    "hr_resize_x": "resize_x",
    "hr_resize_y": "resize_y",
    "hr_sampler_name": "sampler_name",
    "hr_scheduler": "scheduler",
    "hr_prompt": "prompt",
    "hr_negative_prompt": "negative_prompt",
    "hr_checkpoint_name": "checkpoint",
    "hr_cfg": "cfg_scale",
    "hires_upscaler_name": "upscaler",
    "hires_upscale_factor": "scale",
    "hires_denoise": "denoising_strength",
}
_REFINER = {
    "refiner_checkpoint": "checkpoint",
    "refiner_model_name": "checkpoint",
    "refiner_model": "checkpoint",
    "refiner_switch_at": "switch_at",
    "use_refiner": "enabled",
    "refiner_enabled": "enabled",
}
_UNIT = {
    "model": "detector",
    "confidence": "confidence",
    "denoise": "denoising_strength",
    "denoising_strength": "denoising_strength",
    "steps": "steps",
    "cfg": "cfg_scale",
    "cfg_scale": "cfg_scale",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "prompt": "prompt",
    "negative_prompt": "negative_prompt",
    "checkpoint": "checkpoint",
    "checkpoint_model": "checkpoint",
    "mask_blur": "mask_blur",
    "dilate_erode": "dilate_erode",
    "mask_k_largest": "mask_k_largest",
    "mask_filter_method": "mask_filter_method",
    "mask_min_ratio": "mask_min_ratio",
    "mask_max_ratio": "mask_max_ratio",
    "mask_merge_invert": "mask_merge_invert",
    "inpaint_only_masked": "inpaint_only_masked",
    "inpaint_only_masked_padding": "padding",
    "inpaint_width": "inpaint_width",
    "inpaint_height": "inpaint_height",
    "enabled": "enabled",
}
_ANYWHERE = {
    "n_iter": "images",
    "batch_count": "images",
    "images_per_prompt": "txt2img.images",
    "sd_model_checkpoint": "model",
    "model_name": "model",
    "ckpt_name": "model",
    "sd_vae": "vae",
    "vae_name": "vae",
    "sampler": "sampler_name",
    "sampler_index": "sampler_name",
    "schedule_type": "scheduler",
    "cfg": "cfg_scale",
    "guidance_scale": "cfg_scale",
    "cfgscale": "cfg_scale",
    "negativeprompt": "negative_prompt",
    "num_inference_steps": "steps",
    "noise_seed": "seed",
    "denoise": "denoising_strength",
    "strength": "denoising_strength",
    "CLIP_stop_at_last_layers": "clip_skip",
    "upscaling_resize": "upscale.scale",
    "upscale_by": "upscale.scale",
    "upscale_mode": "upscale.mode",
    "upscaler_1": "upscale.upscaler",
    "extras_upscaler_2_visibility": "upscale.upscaler_2_visibility",
    "face_restoration": "txt2img.restore_faces",
    "init_images": "input, pictures of the run",
    "init_image": "input, pictures of the run",
    "output_dir": "out, of the run",
    "outdir": "out, of the run",
    "script_name": "a key of payload",
    "script_args": "a key of payload",
}


def _all() -> Mapping[str, str]:
    found = {key: f"txt2img.hires.{name}" for key, name in _HIRES.items()}
    found |= {key: f"txt2img.refiner.{name}" for key, name in _REFINER.items()}
    found |= {f"{head}_{key}": f"adetailer.{name}" for head in ("ad", "adetailer") for key, name in _UNIT.items()}
    return MappingProxyType({**found, **_ANYWHERE})


_ADVICE = _all()


def advice(name: str, names: list[str]) -> str | None:
    """Return what a name of another tool is here; None where it is none, or not at this place.

    Args:
        name: the unknown one. names: those allowed at its place.
    """
    here = _ADVICE.get(name)
    if here is None:
        return None
    if "." in here or " " in here:
        return f"here it is {here}"
    return f"did you mean {here!r}?" if here in names else None
