"""Shapes that workflows have in the world, small: what they are made of, not what they draw."""

from __future__ import annotations


def node(kind, title=None, **inputs):
    """A node as an export has it."""
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title or kind}}


def sampler(kind="KSampler", **inputs):
    """A sampler with everything that most have."""
    usual = {
        "model": ["ckpt", 0], "positive": ["pos", 0], "negative": ["neg", 0], "latent_image": ["latent", 0],
        "seed": 1, "steps": 20, "cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
    }  # fmt: skip
    return node(kind, **{**usual, **inputs})


def advanced(begin, end, *, add_noise, model, latent, positive, negative):
    """One half of a sampling by two models."""
    return node(
        "KSamplerAdvanced", model=[model, 0], positive=[positive, 0], negative=[negative, 0], latent_image=[latent, 0],
        add_noise=add_noise, noise_seed=1, steps=25, cfg=7.0, sampler_name="euler", scheduler="normal",
        start_at_step=begin, end_at_step=end, return_with_leftover_noise=add_noise,
    )  # fmt: skip


PLAIN = {
    "ckpt": node("CheckpointLoaderSimple", ckpt_name="tiny-a.safetensors"),
    "pos": node("CLIPTextEncode", text="a cat", clip=["ckpt", 1]),
    "neg": node("CLIPTextEncode", text="blurry", clip=["ckpt", 1]),
    "latent": node("EmptyLatentImage", width=64, height=64, batch_size=1),
    "sample": sampler(),
    "decode": node("VAEDecode", samples=["sample", 0], vae=["ckpt", 2]),
    "out": node("SaveImage", filename_prefix="ComfyUI", images=["decode", 0]),
}


def plain(**changes):
    """The plain graph with nodes changed, added or (None) left out."""
    return {name: held for name, held in {**PLAIN, **changes}.items() if held is not None}


SDXL_REFINER = plain(
    ckpt2=node("CheckpointLoaderSimple", ckpt_name="tiny-b.safetensors"),
    pos=node("CLIPTextEncodeSDXL", text_g="a cat", text_l="a cat", clip=["ckpt", 1], width=64, height=64),
    pos2=node("CLIPTextEncode", text="a cat", clip=["ckpt2", 1]),
    neg2=node("CLIPTextEncode", text="blurry", clip=["ckpt2", 1]),
    sample=advanced(0, 20, add_noise="enable", model="ckpt", latent="latent", positive="pos", negative="neg"),
    refine=advanced(20, 10000, add_noise="disable", model="ckpt2", latent="sample", positive="pos2", negative="neg2"),
    decode=node("VAEDecode", samples=["refine", 0], vae=["ckpt", 2]),
)
FLUX = {
    "unet": node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default"),
    "clip": node("DualCLIPLoader", clip_name1="t5.safetensors", clip_name2="clip_l.safetensors", type="flux"),
    "vae": node("VAELoader", vae_name="tiny-vae.safetensors"),
    "text": node("CLIPTextEncode", text="a cat", clip=["clip", 0]),
    "guide": node("FluxGuidance", conditioning=["text", 0], guidance=3.5),
    "guider": node("BasicGuider", model=["unet", 0], conditioning=["guide", 0]),
    "noise": node("RandomNoise", noise_seed=1),
    "select": node("KSamplerSelect", sampler_name="euler"),
    "sigmas": node("BasicScheduler", model=["unet", 0], scheduler="simple", steps=20, denoise=1.0),
    "latent": node("EmptySD3LatentImage", width=64, height=64, batch_size=1),
    "sample": node(
        "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["select", 0], sigmas=["sigmas", 0],
        latent_image=["latent", 0],
    ),
    "decode": node("VAEDecode", samples=["sample", 0], vae=["vae", 0]),
    "out": node("SaveImage", filename_prefix="ComfyUI", images=["decode", 0]),
}  # fmt: skip
CONTROLNET = plain(
    image=node("LoadImage", "Load Image", image="pose.png"),
    control=node("ControlNetLoader", control_net_name="pose.safetensors"),
    apply=node(
        "ControlNetApplyAdvanced", positive=["pos", 0], negative=["neg", 0], control_net=["control", 0],
        image=["image", 0], strength=1.0, start_percent=0.0, end_percent=1.0,
    ),
    sample=sampler(positive=["apply", 0], negative=["apply", 1]),
)  # fmt: skip
UPSCALE = {
    "image": node("LoadImage", "Load Image", image="photo.png"),
    "model": node("UpscaleModelLoader", model_name="tiny-esrgan-x4.safetensors"),
    "up": node("ImageUpscaleWithModel", upscale_model=["model", 0], image=["image", 0]),
    "down": node("ImageScale", image=["up", 0], upscale_method="lanczos", width=128, height=128, crop="disabled"),
    "out": node("PreviewImage", images=["down", 0]),
}
SUBGRAPH = {
    **plain(sample=None, decode=None),
    "12:5": sampler(),
    "12:8": node("VAEDecode", samples=["12:5", 0], vae=["ckpt", 2]),
    "out": node("SaveImage", filename_prefix="ComfyUI", images=["12:8", 0]),
}
TWO_OUTPUTS = plain(
    big=node("ImageScale", image=["decode", 0], upscale_method="lanczos", width=128, height=128, crop="disabled"),
    out2=node("SaveImage", "Large", filename_prefix="big", images=["big", 0]),
)
SEED_NODE = plain(seed=node("Seed (rgthree)", seed=5), sample=sampler(seed=["seed", 0]))
PRIMITIVES = plain(
    words=node("PrimitiveString", value="a cat"),
    pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
    number=node("PrimitiveInt", value=20),
    sample=sampler(steps=["number", 0]),
)
SWITCH = plain(
    pos2=node("CLIPTextEncode", text="a dog", clip=["ckpt", 1]),
    switch=node("ImpactSwitch", select=1, input1=["pos", 0], input2=["pos2", 0]),
    sample=sampler(positive=["switch", 0]),
)
REROUTES = plain(
    r1=node("Reroute", **{"": ["pos", 0]}),
    r2=node("Reroute", **{"": ["r1", 0]}),
    sample=sampler(positive=["r2", 0]),
)
VIDEO = plain(out=node("VHS_VideoCombine", images=["decode", 0], frame_rate=8))
KRITA = plain(
    words=node("ETN_Parameter", name="1. Text/2. Prompt", type="prompt", default="a cat"),
    pos=node("CLIPTextEncode", text=["words", 0], clip=["ckpt", 1]),
)
SWARM = plain(
    pos=node("CLIPTextEncode", text="${prompt}, photo", clip=["ckpt", 1]),
    sample=sampler(seed="${seed+1}"),
    latent=node("EmptyLatentImage", width="${width:64}", height="${height:64}", batch_size=1),
)
COMPUTED_SEED = plain(
    maths=node("MathExpression", a=["latent", 0], expression="a+1"), sample=sampler(seed=["maths", 0])
)
