"""Loaders of models and texts, and what changes a model or a conditioning."""

from __future__ import annotations

import zlib
from dataclasses import replace
from typing import TYPE_CHECKING

from rxpipe.testing.servers.comfyui.nodes.registry import NodeError, Several, node
from rxpipe.testing.servers.comfyui.values import Clip, Conditioning, Model, Named, Vae

if TYPE_CHECKING:
    from rxpipe.testing.servers.comfyui.nodes.registry import Values, Work

_BROKEN = ("safetensors._safetensors_rust.SafetensorError", "Error while deserializing header: header too large")


@node("CheckpointLoaderSimple")
def _checkpoint(work: Work, values: Values) -> Several:
    name = values["ckpt_name"]
    if work.is_broken(name):
        raise NodeError(*_BROKEN)
    return Several((Model(name), Clip(name), Vae(name)))


@node("UNETLoader")
def _unet(work: Work, values: Values) -> Model:
    if work.is_broken(values["unet_name"]):
        raise NodeError(*_BROKEN)
    return Model(values["unet_name"])


@node("CLIPLoader", "DualCLIPLoader", "TripleCLIPLoader")
def _clip(work: Work, values: Values) -> Clip:
    del work
    return Clip(values.get("clip_name") or values["clip_name1"])


@node("VAELoader")
def _vae(work: Work, values: Values) -> Vae:
    del work
    return Vae(values["vae_name"])


@node("LoraLoader")
def _lora(work: Work, values: Values) -> Several:
    del work
    model, clip, name = values["model"], values["clip"], values["lora_name"]
    if values["strength_model"]:
        model = model.changed(f"lora {name} {values['strength_model']:g}")
    if values["strength_clip"]:
        clip = replace(clip, changes=(*clip.changes, f"lora {name} {values['strength_clip']:g}"))
    return Several((model, clip))


@node("LoraLoaderModelOnly")
def _lora_on_model(work: Work, values: Values) -> Model:
    del work
    model: Model = values["model"]
    strength = values["strength_model"]
    return model.changed(f"lora {values['lora_name']} {strength:g}") if strength else model


@node("CLIPSetLastLayer")
def _clip_skip(work: Work, values: Values) -> Clip:
    del work
    clip: Clip = values["clip"]
    layer = values["stop_at_clip_layer"]
    return clip if layer == -1 else replace(clip, changes=(*clip.changes, f"layer {layer}"))


@node("UpscaleModelLoader")
def _upscaler(work: Work, values: Values) -> Named:
    if work.is_broken(values["model_name"]):
        raise NodeError(*_BROKEN)
    return Named("upscaler", values["model_name"])


@node("ControlNetLoader")
def _controlnet(work: Work, values: Values) -> Named:
    del work
    return Named("controlnet", values["control_net_name"])


@node(
    "FreeU_V2",
    "RescaleCFG",
    "PerturbedAttentionGuidance",
    "ModelSamplingFlux",
    "ModelSamplingSD3",
    "SkipLayerGuidanceSD3",
)
def _patched(work: Work, values: Values) -> Model:
    del work
    model: Model = values["model"]
    return model.changed(" ".join(f"{key} {value}" for key, value in sorted(values.items()) if key != "model"))


@node("ModelMergeSimple")
def _merged(work: Work, values: Values) -> Model:
    del work
    model: Model = values["model1"]
    return model if values["ratio"] == 1 else model.changed(f"{values['model2'].checkpoint} {1 - values['ratio']:g}")


@node("CLIPMergeSimple")
def _merged_clip(work: Work, values: Values) -> Clip:
    del work
    clip: Clip = values["clip1"]
    if values["ratio"] == 1:
        return clip
    return replace(clip, changes=(*clip.changes, f"{values['clip2'].checkpoint} {1 - values['ratio']:g}"))


@node("DifferentialDiffusion")
def _differential(work: Work, values: Values) -> Model:
    del work
    model: Model = values["model"]
    return model


# -- texts ------------------------------------------------------------------------------------------------------------


@node("CLIPTextEncode", "CLIPTextEncodeSDXLRefiner")
def _text(work: Work, values: Values) -> Conditioning:
    del work
    return Conditioning(values["text"], values["clip"].changes)


@node("CLIPTextEncodeSDXL")
def _two_texts(work: Work, values: Values) -> Conditioning:
    del work
    both = Conditioning(values["text_g"], values["clip"].changes)
    return both if values["text_l"] == values["text_g"] else both.joined(Conditioning(values["text_l"]))


@node("ConditioningConcat")
def _concat(work: Work, values: Values) -> Conditioning:
    del work
    first: Conditioning = values["conditioning_to"]
    return first.joined(values["conditioning_from"])


@node("ConditioningCombine")
def _combine(work: Work, values: Values) -> Conditioning:
    del work
    first: Conditioning = values["conditioning_1"]
    return first.joined(values["conditioning_2"])


@node("ConditioningAverage")
def _average(work: Work, values: Values) -> Conditioning:
    del work
    first: Conditioning = values["conditioning_to"]
    strength = values["conditioning_to_strength"]
    both = first.joined(values["conditioning_from"])
    return replace(both, changes=(*both.changes, f"share {strength:g}"))


@node("ConditioningZeroOut")
def _zero(work: Work, values: Values) -> Conditioning:
    del work, values
    return Conditioning("")


@node("ConditioningSetTimestepRange")
def _range(work: Work, values: Values) -> Conditioning:
    del work
    return _noted(values, f"range {values['start']:g}-{values['end']:g}")


@node("ConditioningSetArea")
def _area(work: Work, values: Values) -> Conditioning:
    del work
    return _noted(values, "area " + " ".join(str(values[name]) for name in ("width", "height", "x", "y", "strength")))


@node("ConditioningSetMask")
def _where(work: Work, values: Values) -> Conditioning:
    del work
    return _noted(values, f"mask {zlib.crc32(values['mask'].tobytes())} {values['strength']:g}")


@node("FluxGuidance")
def _guidance(work: Work, values: Values) -> Conditioning:
    del work
    return _noted(values, f"guidance {values['guidance']:g}")


def _noted(values: Values, change: str) -> Conditioning:
    given: Conditioning = values["conditioning"]
    return replace(given, changes=(*given.changes, change))


@node("ControlNetApply")
def _controlled(work: Work, values: Values) -> Conditioning:
    del work
    return _controlled_by(values["conditioning"], values)


@node("ControlNetApplyAdvanced")
def _both_controlled(work: Work, values: Values) -> Several:
    del work
    return Several((_controlled_by(values["positive"], values), _controlled_by(values["negative"], values)))


def _controlled_by(given: Conditioning, values: Values) -> Conditioning:
    if not values["strength"]:
        return given
    hint = zlib.crc32(values["image"][0].tobytes())
    return replace(given, changes=(*given.changes, f"{values['control_net'].name} {values['strength']:g} {hint}"))
