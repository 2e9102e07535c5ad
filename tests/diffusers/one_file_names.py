"""The names of weights in a checkpoint of one file, as the original implementation of Stable Diffusion has them."""

import re

import torch

_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_names(pipe):
    """All weights of an SD pipeline by those names."""
    layers = pipe.unet.config.layers_per_block
    attended = [number for number, kind in enumerate(pipe.unet.config.up_block_types) if "Attn" in kind]
    found = {
        f"model.diffusion_model.{_of_unet(key, layers, attended)}": value
        for key, value in pipe.unet.state_dict().items()
    }
    for key, value in pipe.vae.state_dict().items():
        square = "attentions" in key and value.ndim == 2
        found[f"first_stage_model.{_of_vae(key)}"] = value[:, :, None, None] if square else value
    for key, value in pipe.text_encoder.state_dict().items():
        found[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    return found


def original_xl_names(pipe):
    """All weights of an SDXL pipeline by those names."""
    found = {
        name.replace("add_embedding.linear_1", "label_emb.0.0").replace(
            "add_embedding.linear_2", "label_emb.0.2"
        ): value
        for name, value in original_names(pipe).items()
        if not name.startswith("cond_stage_model.")
    }
    for key, value in pipe.text_encoder.state_dict().items():
        found[f"conditioner.embedders.0.transformer.text_model.{key.removeprefix('text_model.')}"] = value
    for key, value in _of_open_clip(pipe.text_encoder_2.state_dict()).items():
        found[f"conditioner.embedders.1.model.{key}"] = value
    return found


_OPEN_CLIP = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm": "ln_final",
    "encoder.layers": "transformer.resblocks",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}


def _of_open_clip(weights):
    """A text encoder by open_clip's names, where query, key and value are one matrix."""
    found = {}
    for key, value in weights.items():
        name = key.removeprefix("text_model.")
        for ours, theirs in _OPEN_CLIP.items():
            name = name.replace(ours, theirs)
        if name == "text_projection.weight":
            found["text_projection"] = value.T
        elif ".self_attn.q_proj." in name:
            parts = [weights[key.replace("q_proj", f"{letter}_proj")] for letter in "qkv"]
            found[name.replace("self_attn.q_proj.", "attn.in_proj_")] = torch.cat(parts)
        elif "self_attn." not in name:
            found[name] = value
    return found


def _of_unet(key, layers, attended):
    for ours, theirs in _ENDS.items():
        if key.startswith(f"{ours}."):
            return theirs + key[len(ours) :]

    def place(match):
        side, block, kind, layer = match[1], int(match[2] or 0), match[3], int(match[4])
        if side == "mid":
            return f"middle_block.{2 * layer if kind == 'resnets' else 1}."
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.op."
        if kind == "upsamplers":
            return f"output_blocks.{block * (layers + 1) + layers}.{2 if block in attended else 1}.conv."
        at = block * (layers + 1) + layer + (side == "down")
        return f"{'in' if side == 'down' else 'out'}put_blocks.{at}.{0 if kind == 'resnets' else 1}."

    tail = r"(?:conv\.)?" if "samplers." in key else ""
    pattern = r"^(down|up|mid)_blocks?\.(?:(\d+)\.)?(resnets|attentions|downsamplers|upsamplers)\.(\d+)\."
    named = re.sub(pattern + tail, place, key)
    return _renamed(named, _RESNET) if ".resnets." in key else named


def _of_vae(key):
    key = _renamed(key, _ATTENTION) if "attentions" in key else key
    key = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", key)
    key = key.replace("mid_block.attentions.0", "mid.attn_1")
    key = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d)\.resnets", lambda found: f"up.{3 - int(found[1])}.block", key)
    key = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{3 - int(found[1])}.upsample", key)
    return key.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _renamed(key, names):
    for ours, theirs in names.items():
        key = key.replace(f".{ours}.", f".{theirs}.")
    return key
