"""Tiny models with random weights, made in code: SD 1.5 and SDXL in small, a checkpoint in one file, a LoRA, a VAE."""

import json

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from one_file_names import original_names, original_xl_names
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

torch.set_num_threads(1)

_VISIBLE = [*range(33, 127), *range(161, 173), *range(174, 256)]


def _tokenizer(folder, padding="<|endoftext|>"):
    """A tokenizer of CLIP that knows single characters only."""
    letters = [*map(chr, _VISIBLE), *(chr(256 + number) for number in range(256 - len(_VISIBLE)))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77, pad_token=padding)


def _text_encoder(kind, words, width=8):
    return kind(
        CLIPTextConfig(
            vocab_size=len(words), max_position_embeddings=77, projection_dim=8, hidden_size=width,
            intermediate_size=16, num_attention_heads=2, num_hidden_layers=3, bos_token_id=words.bos_token_id,
            eos_token_id=words.eos_token_id, pad_token_id=words.pad_token_id,
        )
    )  # fmt: skip


def _vae():
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4, norm_num_groups=4, latent_channels=4, sample_size=64,
    )  # fmt: skip


def _noise():
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip


def sd(folder, seed=0, channels=4):
    """SD 1.5 in small, saved to *folder*; with 9 channels one for inpainting."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=8, in_channels=channels,
    )  # fmt: skip
    words = _tokenizer(folder.with_suffix(".words"))
    pipe = StableDiffusionPipeline(
        unet=unet, vae=_vae(), text_encoder=_text_encoder(CLIPTextModel, words), tokenizer=words,
        scheduler=_noise(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return pipe


def sdxl(folder, seed=0, second=8):
    """SDXL in small: two text encoders, the second of a width of its own, and conditioning on sizes."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(2, 4),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True, transformer_layers_per_block=(1, 1), cross_attention_dim=8 + second,
        addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 8,
    )  # fmt: skip
    words, other = _tokenizer(folder.with_suffix(".words")), _tokenizer(folder.with_suffix(".words2"), "!")
    pipe = StableDiffusionXLPipeline(
        unet=unet, vae=_vae(), scheduler=_noise(), tokenizer=words, tokenizer_2=other,
        text_encoder=_text_encoder(CLIPTextModel, words),
        text_encoder_2=_text_encoder(CLIPTextModelWithProjection, other, second),
        force_zeros_for_empty_prompt=True, add_watermarker=False,
    )  # fmt: skip
    pipe.save_pretrained(folder)
    return pipe


def lora(pipe, path, seed=3, strength=0.5):
    """A LoRA over the attention of the UNet, in diffusers' form."""
    torch.manual_seed(seed)
    weights = {}
    for name, module in pipe.unet.named_modules():
        if name.endswith(("to_q", "to_k", "to_v")):
            weights[f"unet.{name}.lora_A.weight"] = torch.randn(2, module.in_features) * strength
            weights[f"unet.{name}.lora_B.weight"] = torch.randn(module.out_features, 2) * strength
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def kohya_lora(pipe, folder, name, *, alpha):
    """A LoRA of rank 2 over the UNet and the text encoder in kohya's form, and the same in diffusers' as NAME-twin."""
    torch.manual_seed(3)
    kohya, twin = {}, {}
    parts = [("lora_unet", "unet", pipe.unet, ("to_q", "to_k", "to_v", "to_out.0"))]
    parts.append(("lora_te_text_model", "text_encoder", pipe.text_encoder, ("q_proj", "k_proj", "v_proj", "out_proj")))
    for prefix, part, model, ends in parts:
        for place, module in model.named_modules():
            if not place.endswith(ends):
                continue
            down, up = torch.randn(2, module.in_features) * 0.5, torch.randn(module.out_features, 2) * 0.5
            key = f"{prefix}_{place.removeprefix('text_model.').replace('.', '_')}"
            kohya |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(alpha)}
            twin |= {f"{part}.{place}.lora_A.weight": down.clone(), f"{part}.{place}.lora_B.weight": up.clone()}
    save_file(kohya, folder / f"{name}.safetensors")
    save_file(twin, folder / f"{name}-twin.safetensors")


def vae(path, seed=5):
    """Another VAE, as diffusers keeps one in a file."""
    torch.manual_seed(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(_vae().state_dict(), path)


# -- a checkpoint in one file -----------------------------------------------------------------------------------------


def one_file(pipe, path):
    """Save an SD pipeline as a single .safetensors file, under the names of the original implementation."""
    save_file({name: tensor.contiguous() for name, tensor in original_names(pipe).items()}, path)


def one_file_xl(pipe, path):
    """The same of an SDXL pipeline."""
    save_file({name: tensor.contiguous() for name, tensor in original_xl_names(pipe).items()}, path)
