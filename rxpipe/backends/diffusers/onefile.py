"""Configs for a checkpoint in a single file, which holds weights only: what is beside it, or what rxpipe carries.

The configs are sizes of the published models; the vocabulary of CLIP is taken from where the machine has it.
"""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.vocabulary import Vocabulary, find_vocabulary
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.diffusers.files import Family, ModelFile

_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
_UNET = {"in_channels": 4, "out_channels": 4, "layers_per_block": 2, "norm_num_groups": 32, "act_fn": "silu"}
_DOWN, _CROSS_DOWN, _UP, _CROSS_UP = "DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"
_XL_UNET = {
    **_UNET,
    "sample_size": 128,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
}

_UNETS: Mapping[str, dict[str, Any]] = {
    "sd1": {
        **_UNET,
        "sample_size": 64,
        "down_block_types": [_CROSS_DOWN, _CROSS_DOWN, _CROSS_DOWN, _DOWN],
        "up_block_types": [_UP, _CROSS_UP, _CROSS_UP, _CROSS_UP],
        "block_out_channels": [320, 640, 1280, 1280],
        "attention_head_dim": 8,
        "cross_attention_dim": 768,
    },
    "sdxl": {
        **_XL_UNET,
        "down_block_types": [_DOWN, _CROSS_DOWN, _CROSS_DOWN],
        "up_block_types": [_CROSS_UP, _CROSS_UP, _UP],
        "block_out_channels": [320, 640, 1280],
        "attention_head_dim": [5, 10, 20],
        "transformer_layers_per_block": [1, 2, 10],
        "cross_attention_dim": 2048,
        "projection_class_embeddings_input_dim": 2816,
    },
    "sdxl-refiner": {
        **_XL_UNET,
        "down_block_types": [_DOWN, _CROSS_DOWN, _CROSS_DOWN, _DOWN],
        "up_block_types": [_UP, _CROSS_UP, _CROSS_UP, _UP],
        "block_out_channels": [384, 768, 1536, 1536],
        "attention_head_dim": [6, 12, 24, 24],
        "transformer_layers_per_block": 4,
        "cross_attention_dim": 1280,
        "projection_class_embeddings_input_dim": 2560,
    },
}
_VAE = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
    "act_fn": "silu",
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
}
_TEXT = {"vocab_size": 49408, "max_position_embeddings": 77, "bos_token_id": 49406, "eos_token_id": 49407}
_TEXT_L = {
    **_TEXT,
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_dim": 768,
    "hidden_act": "quick_gelu",
    "pad_token_id": 49407,
}
_TEXT_G = {
    **_TEXT,
    "architectures": ["CLIPTextModelWithProjection"],
    "model_type": "clip_text_model",
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_attention_heads": 20,
    "num_hidden_layers": 32,
    "projection_dim": 1280,
    "hidden_act": "gelu",
    "pad_token_id": 0,
}


def config_folder(file: ModelFile, *, download: bool) -> Path | None:
    """Return the folder with the configs of a single file; None where diffusers may fetch them.

    Raises:
        BackendRejected: there are none for it, or the vocabulary is nowhere on this machine.
    """
    beside = file.path.with_suffix("")
    if (beside / "model_index.json").is_file():
        return beside
    vocabulary = find_vocabulary() if file.family in _UNETS else None
    if vocabulary is not None:
        return carried_folder(file.family, file.inpainting, vocabulary)
    if download:
        return None
    if file.family not in _UNETS:
        raise BackendRejected(
            f"model {file.path}: a single file of the {file.family} family says neither its sizes nor how it predicts.",
            hint=f"Put its configs into {beside}, or open the backend with config=FOLDER or download=True.",
        )
    raise BackendRejected(
        f"model {file.path}: a single file holds no vocabulary, and CLIP's is nowhere on this machine.",
        hint=(
            "Run: pip install --no-deps open_clip_torch (it holds one), or name a folder with a tokenizer in "
            f"RXPIPE_MODELS, put the model's configs into {beside}, or open the backend with config=FOLDER or "
            "download=True."
        ),
    )


@functools.cache
def carried_folder(family: Family, inpainting: bool, vocabulary: Vocabulary) -> Path:
    """Return a folder as diffusers saves a model of a family, without weights; gone with the process."""
    root = Path(_made().name) / f"{family}{'-inpainting' if inpainting else ''}"
    xl = family.startswith("sdxl")
    parts: dict[str, dict[str, Any]] = {
        "model_index.json": _index(family, inpainting),
        "unet/config.json": {"_class_name": "UNet2DConditionModel", **_UNETS[family]},
        "vae/config.json": {"_class_name": "AutoencoderKL", **_VAE, **_scaling(xl=xl)},
        "scheduler/scheduler_config.json": _scheduler(xl=xl),
    }
    if inpainting:
        parts["unet/config.json"]["in_channels"] = 9
    if family != "sdxl-refiner":
        parts["text_encoder/config.json"] = _TEXT_L
    if xl:
        parts["text_encoder_2/config.json"] = _TEXT_G
    for name, values in parts.items():
        _write(root / name, json.dumps(values))
    for folder, padding in (("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")):
        if f"{folder.replace('tokenizer', 'text_encoder')}/config.json" in parts:
            _write_tokenizer(root / folder, vocabulary, padding)
    return root


@functools.cache
def _made() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="rxpipe-configs-", ignore_cleanup_errors=True)


def _index(family: Family, inpainting: bool) -> dict[str, Any]:
    clip = ["transformers", "CLIPTextModel"]
    words = ["transformers", "CLIPTokenizer"]
    usual = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    if family == "sd1":
        kind = "StableDiffusionInpaintPipeline" if inpainting else "StableDiffusionPipeline"
        nothing = {"safety_checker": [None, None], "feature_extractor": [None, None]}
        parts = {"scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": clip, "tokenizer": words, **nothing}
        return {"_class_name": kind, "requires_safety_checker": False, **usual, **parts}
    refines = family == "sdxl-refiner"
    kind = "StableDiffusionXLInpaintPipeline" if inpainting else "StableDiffusionXLPipeline"
    return {
        "_class_name": "StableDiffusionXLImg2ImgPipeline" if refines else kind,
        "force_zeros_for_empty_prompt": not refines,
        **({"requires_aesthetics_score": True} if refines else {}),
        **usual,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": [None, None] if refines else clip,
        "tokenizer": [None, None] if refines else words,
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer_2": words,
    }


def _scaling(*, xl: bool) -> dict[str, Any]:
    if xl:
        return {"sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
    return {"sample_size": 512, "scaling_factor": 0.18215}


def _scheduler(*, xl: bool) -> dict[str, Any]:
    if xl:
        return {"_class_name": "EulerDiscreteScheduler", **_BETAS, "steps_offset": 1, "timestep_spacing": "leading"}
    return {
        "_class_name": "PNDMScheduler",
        **_BETAS,
        "skip_prk_steps": True,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "clip_sample": False,
    }


def _write_tokenizer(folder: Path, vocabulary: Vocabulary, padding: str) -> None:
    marks = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": padding,
    }
    _write(folder / "vocab.json", vocabulary.tokens)
    _write(folder / "merges.txt", vocabulary.merges)
    _write(folder / "special_tokens_map.json", json.dumps(marks))
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "add_prefix_space": False, **marks}
    _write(folder / "tokenizer_config.json", json.dumps(settings))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
