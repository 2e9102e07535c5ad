"""The keys of StableNew's files: what each is in a config, and of the others why they have no effect.

An alias stands behind the key that comes before it; the first that holds something decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ADETAILER",
    "HANDS",
    "HIRES",
    "HIRES_SECTION",
    "IMG2IMG",
    "NO_EFFECT",
    "NO_EFFECT_IN",
    "TXT2IMG",
    "UPSCALE",
    "Keys",
]


class Keys(NamedTuple):
    """Keys of StableNew that mean one setting of a config. kind: "text", "number", "flag", or "any"."""

    setting: str
    keys: tuple[str, ...]
    kind: str = "any"


_GENERATION = (
    Keys("prompt", ("prompt",), "text"),
    Keys("negative_prompt", ("negative_prompt",), "text"),
    Keys("steps", ("steps",), "number"),
    Keys("cfg_scale", ("cfg_scale",), "number"),
    Keys("width", ("width",), "number"),
    Keys("height", ("height",), "number"),
    Keys("sampler_name", ("sampler_name",), "text"),
    Keys("scheduler", ("scheduler",), "text"),
    Keys("seed", ("seed",), "number"),
    Keys("model", ("model", "model_name", "sd_model_checkpoint"), "text"),
    Keys("vae", ("vae", "vae_name", "sd_vae"), "text"),
    Keys("clip_skip", ("clip_skip",), "number"),
)
TXT2IMG = (
    *_GENERATION,
    Keys("subseed", ("subseed",), "number"),
    Keys("subseed_strength", ("subseed_strength",), "number"),
    Keys("styles", ("styles",)),
    Keys("tiling", ("tiling",), "flag"),
    Keys("restore_faces", ("restore_faces",), "flag"),
    Keys("batch_size", ("batch_size",), "number"),
)
HIRES = (
    Keys("scale", ("hr_scale",), "number"),
    Keys("upscaler", ("hr_upscaler",), "text"),
    Keys("steps", ("hr_second_pass_steps", "hires_steps"), "number"),
    Keys("denoising_strength", ("denoising_strength",), "number"),
    Keys("sampler_name", ("hr_sampler_name",), "text"),
    Keys("scheduler", ("hr_scheduler",), "text"),
    Keys("resize_x", ("hr_resize_x",), "number"),
    Keys("resize_y", ("hr_resize_y",), "number"),
)
HIRES_SECTION = (
    Keys("scale", ("hires_upscale_factor",), "number"),
    Keys("upscaler", ("hires_upscaler_name",), "text"),
    Keys("steps", ("hires_steps",), "number"),
    Keys("denoising_strength", ("hires_denoise",), "number"),
)
IMG2IMG = (*_GENERATION, Keys("denoising_strength", ("denoising_strength",), "number"))
ADETAILER = (
    Keys("detector", ("adetailer_model", "ad_model", "model"), "text"),
    Keys("confidence", ("adetailer_confidence", "ad_confidence", "conf"), "number"),
    Keys("steps", ("adetailer_steps", "ad_steps", "steps"), "number"),
    Keys("denoising_strength", ("adetailer_denoise", "ad_denoising_strength", "strength"), "number"),
    Keys("cfg_scale", ("adetailer_cfg", "ad_cfg_scale"), "number"),
    Keys("sampler_name", ("adetailer_sampler", "ad_sampler"), "text"),
    Keys("scheduler", ("adetailer_scheduler", "ad_scheduler", "scheduler"), "text"),
    Keys("prompt", ("adetailer_prompt", "ad_prompt"), "text"),
    Keys("negative_prompt", ("adetailer_negative_prompt", "ad_negative_prompt"), "text"),
    Keys("mask_blur", ("ad_mask_blur",), "number"),
    Keys("mask_filter_method", ("ad_mask_filter_method",), "text"),
    Keys("mask_k_largest", ("ad_mask_k_largest",), "number"),
    Keys("mask_min_ratio", ("ad_mask_min_ratio",), "number"),
    Keys("mask_max_ratio", ("ad_mask_max_ratio",), "number"),
    Keys("dilate_erode", ("ad_dilate_erode", "dilation"), "number"),
    Keys("mask_merge_invert", ("ad_mask_merge_invert",), "text"),
    Keys("inpaint_only_masked", ("ad_inpaint_only_masked",), "flag"),
    Keys("padding", ("ad_inpaint_only_masked_padding", "adetailer_padding"), "number"),
    Keys("inpaint_width", ("ad_inpaint_width",), "number"),
    Keys("inpaint_height", ("ad_inpaint_height",), "number"),
    Keys("checkpoint", ("adetailer_checkpoint_model",), "text"),
)
HANDS = (
    Keys("detector", ("adetailer_hands_model", "ad_hands_model"), "text"),
    Keys("confidence", ("adetailer_hands_confidence",), "number"),
    Keys("steps", ("adetailer_hands_steps",), "number"),
    Keys("denoising_strength", ("adetailer_hands_denoise",), "number"),
    Keys("cfg_scale", ("adetailer_hands_cfg",), "number"),
    Keys("sampler_name", ("adetailer_hands_sampler",), "text"),
    Keys("scheduler", ("adetailer_hands_scheduler",), "text"),
    Keys("prompt", ("adetailer_hands_prompt",), "text"),
    Keys("negative_prompt", ("adetailer_hands_negative_prompt",), "text"),
    Keys("mask_filter_method", ("ad_hands_mask_filter_method",), "text"),
    Keys("mask_k_largest", ("ad_hands_mask_k",), "number"),
    Keys("mask_min_ratio", ("ad_hands_mask_min_ratio",), "number"),
    Keys("mask_max_ratio", ("ad_hands_mask_max_ratio",), "number"),
    Keys("dilate_erode", ("ad_hands_dilate_erode",), "number"),
    Keys("mask_blur", ("ad_hands_mask_blur",), "number"),
    Keys("mask_merge_invert", ("ad_hands_mask_merge_invert",), "text"),
    Keys("inpaint_only_masked", ("ad_hands_inpaint_only_masked",), "flag"),
    Keys("padding", ("ad_hands_padding",), "number"),
    Keys("inpaint_width", ("ad_hands_inpaint_width",), "number"),
    Keys("inpaint_height", ("ad_hands_inpaint_height",), "number"),
)
UPSCALE = (
    Keys("upscaler", ("upscaler",), "text"),
    Keys("scale", ("upscaling_resize", "scale"), "number"),
    Keys("mode", ("upscale_mode", "mode"), "text"),
    Keys("denoising_strength", ("denoising_strength",), "number"),
    Keys("steps", ("steps",), "number"),
    Keys("sampler_name", ("sampler_name",), "text"),
    Keys("scheduler", ("scheduler",), "text"),
    Keys("model", ("model",), "text"),
    Keys("gfpgan_visibility", ("gfpgan_visibility",), "number"),
    Keys("codeformer_visibility", ("codeformer_visibility",), "number"),
    Keys("codeformer_weight", ("codeformer_weight",), "number"),
)

_DEAD = "StableNew saves it and never reads it"
_NONE = "rxpipe has no such setting"
_FILES = "rxpipe names and keeps the files its own way"
_SHOWN = "it is of StableNew's window"

NO_EFFECT: Mapping[str, Mapping[str, str]] = {
    "txt2img": {
        "face_restoration_enabled": _DEAD,
        "face_restoration_model": _DEAD,
        "face_restoration_weight": _DEAD,
        "batch_count": _DEAD,
        "hires_use_base_model": _DEAD,
        "hr_checkpoint_name": _DEAD,
        "hypernetwork": "rxpipe has no such setting; write <hypernet:name:1> in the prompt",
        "hypernetwork_strength": "rxpipe has no such setting; write <hypernet:name:1> in the prompt",
        "seed_resize_from_h": "rxpipe has no such setting; a WebUI takes it as txt2img.payload",
        "seed_resize_from_w": "rxpipe has no such setting; a WebUI takes it as txt2img.payload",
        "do_not_save_samples": _FILES,
        "do_not_save_grid": _FILES,
    },
    "img2img": {
        "mask_mode": _DEAD,
        "prompt_adjust": _DEAD,
        "hypernetwork": _NONE,
        "hypernetwork_strength": _NONE,
        "restore_faces": _NONE,
        "batch_size": _NONE,
        "batch_count": _NONE,
    },
    "adetailer": {
        "max_detections": _DEAD,
        "mask_merge_mode": _DEAD,
        "face_model": _DEAD,
        "face_padding": _DEAD,
        "hands_model": _DEAD,
        "hands_padding": _DEAD,
        "enable_face_pass": _DEAD,
        "enable_hands_pass": _DEAD,
        "only_faces": _DEAD,
        "only_hands": _DEAD,
        "mask_feather": _DEAD,
        "mask_blur": _DEAD,
        "mask_filter_method": _DEAD,
        "mask_k_largest": _DEAD,
        "mask_min_ratio": _DEAD,
        "mask_max_ratio": _DEAD,
        "mask_dilate_erode": _DEAD,
        "ad_mask_feather": _DEAD,
        "adetailer_mask_feather": "rxpipe has no such setting; mask_blur is the soft edge",
        "ad_hands_mask_feather": "rxpipe has no such setting; mask_blur is the soft edge",
    },
    "upscale": {
        "tile_size": _DEAD,
        "face_restore": _DEAD,
        "face_restore_method": _DEAD,
        "cfg_scale": "the upscale stage has none of its own",
    },
    "pipeline": {
        "filename_pattern": _DEAD,
        "image_format": _DEAD,
        "pack_mode": _DEAD,
        "model_matrix": _DEAD,
        "hypernetworks": _DEAD,
        "video_enabled": _DEAD,
        "apply_global_negative_adetailer": _DEAD,
        "allow_hr_with_stages": "the hires fix runs where it is on",
        "refiner_compare_mode": _NONE,
        "variant_mode": "it orders the variants of model_matrix, which StableNew never reads",
        "output_route": _FILES,
    },
    "hires_fix": {
        "enabled": _DEAD,
        "upscaler_name": _DEAD,
        "upscale_factor": _DEAD,
        "steps": _DEAD,
        "denoise": _DEAD,
        "use_base_model": _DEAD,
        "hires_use_base_model": _DEAD,
        **dict.fromkeys(
            ("hires_enabled", "hires_upscaler_name", "hires_upscale_factor", "hires_steps", "hires_denoise"),
            "the keys of txt2img decide",
        ),
    },
    "": {
        "api": "a server's address is no setting of a run: give --backend URL",
        "video": _NONE,
        "preset_name": _SHOWN,
        "meta": _SHOWN,
        "webui_options_write_enabled": _SHOWN,
        "max_variants": _SHOWN,
        "randomization_enabled": _SHOWN,
        "lora_strengths": "StableNew saves it beside the prompts that name the LoRAs",
        "aesthetic": "rxpipe has no such setting",
        "prompt_optimizer": _SHOWN,
        "show_preview": _SHOWN,
    },
}
"""Keys without effect, by section; "" is the file itself."""

NO_EFFECT_IN: Mapping[str, tuple[str, str]] = {
    "upscale": (r"upscale_(overlap|tile|seams|face|sampler_name|scheduler).*", _DEAD),
    "randomization": (r".*", "give it on the command line"),
}
"""Further keys without effect, by a pattern."""
