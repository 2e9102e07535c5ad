"""Pictures of ComfyUI graphs: each graph says one thing in its own way. They are added to the same table."""

from __future__ import annotations

import json
from typing import Any

from tool_pictures import BASE, a1111, case, photo, png

C = {**BASE, "sampler": "DPM++ 2M", "scheduler": "Karras", "size": (512, 768), "model": "sea.safetensors"}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def basic(**changes: dict[str, Any] | None) -> dict[str, Any]:
    graph = {
        "ckpt": node("CheckpointLoaderSimple", ckpt_name="sea.safetensors"),
        "empty": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "pos": node("CLIPTextEncode", text="a pier at dawn", clip=["ckpt", 1]),
        "neg": node("CLIPTextEncode", text="fog", clip=["ckpt", 1]),
        "s": node(
            "KSampler",
            seed=4711,
            steps=22,
            cfg=6.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            denoise=1.0,
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            latent_image=["empty", 0],
        ),
        "dec": node("VAEDecode", samples=["s", 0], vae=["ckpt", 2]),
        "save": node("SaveImage", filename_prefix="x", images=["dec", 0]),
        **changes,
    }
    return {key: value for key, value in graph.items() if value is not None}


def sampler(**inputs: Any) -> dict[str, Any]:
    return node("KSampler", **{**basic()["s"]["inputs"], **inputs})


def graph(
    name: str,
    nodes: dict[str, Any],
    want: dict[str, Any] | None = None,
    size: tuple[int, int] = (512, 768),
    **more: Any,
) -> None:
    case("ComfyUI", name, png({"prompt": nodes}, size), "comfyui", {**C, **(want or {})}, **more)


LORA = "a pier at dawn <lora:waves:0.7>"
WITH_LORA = {"prompt": LORA, "loras": ["<lora:waves:0.7>"]}

graph("basic", basic())
graph(
    "reroutes and primitives",
    basic(
        r=node("Reroute", **{"": ["ckpt", 0]}),
        p=node("PrimitiveInt", value=22),
        t=node("PrimitiveStringMultiline", value="a pier at dawn"),
        pos=node("CLIPTextEncode", text=["t", 0], clip=["ckpt", 1]),
        n=node("Seed (rgthree)", seed=4711),
        s=sampler(model=["r", 0], steps=["p", 0], seed=["n", 0]),
    ),
)
graph(
    "an unused branch has another checkpoint, seed and text",
    basic(
        a=node("CheckpointLoaderSimple", ckpt_name="other.safetensors"),
        b=node("CLIPTextEncode", text="a wolf", clip=["a", 1]),
        c=node("SomethingElse", seed=1, steps=2, cfg=3.0),
    ),
)
graph(
    "ControlNet turned round by its slots",
    basic(
        cn=node(
            "ControlNetApplyAdvanced",
            positive=["neg", 0],
            negative=["pos", 0],
            strength=0.8,
            start_percent=0,
            end_percent=1,
            control_net=["cl", 0],
            image=["im", 0],
        ),
        cl=node("ControlNetLoader", control_net_name="canny.safetensors"),
        im=node("LoadImage", image="edges.png"),
        s=sampler(positive=["cn", 1], negative=["cn", 0]),
    ),
    left=("ControlNet 0",),
)
graph(
    "LoRAs by loaders",
    basic(
        l=node(
            "LoraLoader",
            lora_name="sub/waves.safetensors",
            strength_model=0.7,
            strength_clip=0.7,
            model=["ckpt", 0],
            clip=["ckpt", 1],
        ),
        s=sampler(model=["l", 0]),
    ),
    WITH_LORA,
)
graph(
    "LoRAs by rgthree's loader, one off",
    basic(
        l=node(
            "Power Lora Loader (rgthree)",
            PowerLoraLoaderHeaderWidget={"type": "x"},
            lora_1={"on": True, "lora": "waves.safetensors", "strength": 0.7},
            lora_2={"on": False, "lora": "off.safetensors", "strength": 1},
            model=["ckpt", 0],
            clip=["ckpt", 1],
        ),
        s=sampler(model=["l", 0]),
    ),
    WITH_LORA,
)
graph(
    "texts joined",
    basic(
        a=node("StringConcatenate", string_a="a pier", string_b=["b", 0], delimiter=" "),
        b=node("PrimitiveString", value="at dawn"),
        pos=node("CLIPTextEncode", text=["a", 0], clip=["ckpt", 1]),
    ),
)
graph(
    "texts joined by another's node, and replaced",
    basic(
        a=node("Text Concatenate", delimiter=" at ", clean_whitespace="true", text_a="a quay", text_b="dawn"),
        b=node("StringReplace", string=["a", 0], find="quay", replace="pier"),
        pos=node("CLIPTextEncode", text=["b", 0], clip=["ckpt", 1]),
    ),
)
graph(
    "wildcards filled",
    basic(
        w=node(
            "ImpactWildcardProcessor",
            wildcard_text="a {pier|quay} at __time__",
            populated_text="a pier at dawn",
            mode="populate",
            seed=1,
        ),
        pos=node("CLIPTextEncode", text=["w", 0], clip=["ckpt", 1]),
    ),
)
graph(
    "a switch by number",
    basic(
        x=node("CLIPTextEncode", text="a wolf", clip=["ckpt", 1]),
        w=node("ImpactSwitch", select=2, input1=["x", 0], input2=["pos", 0]),
        s=sampler(positive=["w", 0]),
    ),
)
graph(
    "a switch by a flag",
    basic(
        x=node("CLIPTextEncode", text="a wolf", clip=["ckpt", 1]),
        f=node("PrimitiveBoolean", value=False),
        w=node("ComfySwitchNode", switch=["f", 0], on_true=["x", 0], on_false=["pos", 0]),
        s=sampler(positive=["w", 0]),
    ),
)
graph("conditioning zeroed out", basic(neg=node("ConditioningZeroOut", conditioning=["pos", 0])), {"negative": ""})
graph(
    "SDXL encoders",
    basic(
        pos=node(
            "CLIPTextEncodeSDXL",
            text_g="a pier at dawn",
            text_l="a pier at dawn",
            width=1024,
            height=1024,
            clip=["ckpt", 1],
        )
    ),
)
graph(
    "KSamplerAdvanced with a refiner",
    basic(
        s=node(
            "KSamplerAdvanced",
            add_noise="enable",
            noise_seed=4711,
            steps=22,
            cfg=6.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            start_at_step=0,
            end_at_step=18,
            return_with_leftover_noise="enable",
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            latent_image=["empty", 0],
        ),
        rc=node("CheckpointLoaderSimple", ckpt_name="polish.safetensors"),
        s2=node(
            "KSamplerAdvanced",
            add_noise="disable",
            noise_seed=0,
            steps=22,
            cfg=6.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            start_at_step=18,
            end_at_step=10000,
            return_with_leftover_noise="disable",
            model=["rc", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            latent_image=["s", 0],
        ),
        dec=node("VAEDecode", samples=["s2", 0], vae=["ckpt", 2]),
    ),
    {"refiner": {"checkpoint": "polish", "switch_at": 0.8182}},
)
graph(
    "hires by latent",
    basic(
        up=node("LatentUpscaleBy", upscale_method="bicubic", scale_by=1.5, samples=["s", 0]),
        s2=sampler(seed=1, steps=9, denoise=0.5, latent_image=["up", 0]),
        dec=node("VAEDecode", samples=["s2", 0], vae=["ckpt", 2]),
    ),
    {"hires": {"scale": 1.5, "upscaler": "Latent (bicubic)", "steps": 9, "denoising_strength": 0.5}},
    (768, 1152),
    left=("the seed of the second pass",),
)
graph(
    "hires by a model, listed before the first pass",
    {
        "0": sampler(seed=1, steps=9, denoise=0.4, latent_image=["enc", 0]),
        **basic(
            dec0=node("VAEDecode", samples=["s", 0], vae=["ckpt", 2]),
            um=node("UpscaleModelLoader", model_name="4x_deep.pth"),
            up=node("ImageUpscaleWithModel", upscale_model=["um", 0], image=["dec0", 0]),
            sc=node("ImageScale", upscale_method="lanczos", width=1024, height=1536, crop="disabled", image=["up", 0]),
            enc=node("VAEEncode", pixels=["sc", 0], vae=["ckpt", 2]),
            dec=node("VAEDecode", samples=["0", 0], vae=["ckpt", 2]),
        ),
    },
    {"hires": {"scale": 2.0, "upscaler": "4x_deep", "steps": 9, "denoising_strength": 0.4}},
    (1024, 1536),
    left=("the seed of the second pass",),
)
graph(
    "hires with a prompt of its own, from a context",
    basic(
        c=node(
            "Context (rgthree)",
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            latent=["up", 0],
            seed=["n", 0],
        ),
        n=node("Seed (rgthree)", seed=4711),
        p2=node("CLIPTextEncode", text="a pier, detailed", clip=["ckpt", 1]),
        c2=node("Context (rgthree)", base_ctx=["c", 0], positive=["p2", 0]),
        up=node("LatentUpscaleBy", upscale_method="bilinear", scale_by=2.0, samples=["s", 0]),
        s2=sampler(
            seed=["c2", 8],
            steps=22,
            denoise=0.5,
            model=["c2", 1],
            positive=["c2", 4],
            negative=["c2", 5],
            latent_image=["c2", 6],
        ),
        dec=node("VAEDecode", samples=["s2", 0], vae=["ckpt", 2]),
    ),
    {"hires": {"scale": 2.0, "upscaler": "Latent", "denoising_strength": 0.5, "prompt": "a pier, detailed"}},
    (1024, 1536),
)
graph(
    "upscaled at the end",
    basic(
        um=node("UpscaleModelLoader", model_name="4x_deep.pth"),
        up=node("ImageUpscaleWithModel", upscale_model=["um", 0], image=["dec", 0]),
        save=node("SaveImage", filename_prefix="x", images=["up", 0]),
    ),
    {"upscale": {"scale": 4.0, "upscaler": "4x_deep"}},
    (2048, 3072),
)
graph(
    "over a picture",
    basic(
        im=node("LoadImage", image="photo.png"),
        empty=node("VAEEncode", pixels=["im", 0], vae=["ckpt", 2]),
        s=sampler(denoise=0.6),
    ),
    {"source": True, "denoise": 0.6},
)
graph(
    "faces by FaceDetailer",
    basic(
        det=node("UltralyticsDetectorProvider", model_name="bbox/face_yolov8m.pt"),
        fd=node(
            "FaceDetailer",
            image=["dec", 0],
            model=["ckpt", 0],
            clip=["ckpt", 1],
            vae=["ckpt", 2],
            positive=["pos", 0],
            negative=["neg", 0],
            bbox_detector=["det", 0],
            guide_size=512,
            seed=5,
            steps=10,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=0.35,
            bbox_threshold=0.45,
            bbox_dilation=8,
            wildcard="",
        ),
        save=node("SaveImage", filename_prefix="x", images=["fd", 0]),
    ),
    {
        "adetailer": {
            "detector": "face_yolov8m.pt",
            "confidence": 0.45,
            "denoising_strength": 0.35,
            "dilate_erode": 8,
            "steps": 10,
            "cfg_scale": 5.0,
            "sampler_name": "Euler",
            "scheduler": "Normal",
        }
    },
)
graph(
    "clip skip and a VAE",
    basic(
        skip=node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["ckpt", 1]),
        pos=node("CLIPTextEncode", text="a pier at dawn", clip=["skip", 0]),
        v=node("VAELoader", vae_name="clear.safetensors"),
        dec=node("VAEDecode", samples=["s", 0], vae=["v", 0]),
    ),
    {"clip_skip": 2, "vae": "clear.safetensors"},
)
FLUX = {
    "u": node("UNETLoader", unet_name="flux.safetensors", weight_dtype="default"),
    "c": node("CLIPTextEncodeFlux", clip_l="a pier", t5xxl="a pier at dawn", guidance=3.5, clip=["d", 0]),
    "d": node("DualCLIPLoader", clip_name1="t5", clip_name2="l"),
    "g": node("BasicGuider", model=["u", 0], conditioning=["c", 0]),
    "n": node("RandomNoise", noise_seed=4711),
    "k": node("KSamplerSelect", sampler_name="euler"),
    "b": node("BasicScheduler", scheduler="simple", steps=22, denoise=1.0, model=["u", 0]),
    "e": node("EmptySD3LatentImage", width=512, height=768, batch_size=1),
    "s": node(
        "SamplerCustomAdvanced",
        noise=["n", 0],
        guider=["g", 0],
        sampler=["k", 0],
        sigmas=["b", 0],
        latent_image=["e", 0],
    ),
    "v": node("VAELoader", vae_name="ae.safetensors"),
    "x": node("VAEDecode", samples=["s", 0], vae=["v", 0]),
    "y": node("SaveImage", images=["x", 0]),
}
case(
    "ComfyUI",
    "Flux by SamplerCustomAdvanced",
    png({"prompt": FLUX}, (512, 768)),
    "comfyui",
    {
        "prompt": "a pier at dawn",
        "seed": 4711,
        "steps": 22,
        "sampler": "Euler",
        "scheduler": "Simple",
        "size": (512, 768),
        "model": "flux.safetensors",
        "vae": "ae.safetensors",
        "distilled": 3.5,
    },
)
graph(
    "two pictures of two samplers: the size says which",
    {
        "e2": node("EmptyLatentImage", width=640, height=640, batch_size=1),
        "p2": node("CLIPTextEncode", text="a wolf", clip=["ckpt", 1]),
        "s2": sampler(seed=1, steps=3, positive=["p2", 0], latent_image=["e2", 0]),
        "d2": node("VAEDecode", samples=["s2", 0], vae=["ckpt", 2]),
        "v2": node("SaveImage", filename_prefix="y", images=["d2", 0]),
        **basic(),
    },
)
graph(
    "efficient loader and pipe",
    {
        "l": node(
            "Efficient Loader",
            ckpt_name="sea.safetensors",
            vae_name="Baked VAE",
            clip_skip=-2,
            lora_name="None",
            positive="a pier at dawn",
            negative="fog",
            empty_latent_width=512,
            empty_latent_height=768,
            batch_size=1,
        ),
        "s": node(
            "KSampler (Efficient)",
            seed=4711,
            steps=22,
            cfg=6.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            denoise=1.0,
            preview_method="auto",
            vae_decode="true",
            model=["l", 0],
            positive=["l", 1],
            negative=["l", 2],
            latent_image=["l", 3],
            optional_vae=["l", 4],
        ),
        "y": node("SaveImage", images=["s", 5]),
    },
)
graph(
    "subgraph ids and combined prompts",
    basic(
        **{
            "57:3": node("CLIPTextEncode", text="a pier", clip=["ckpt", 1]),
            "57:4": node("CLIPTextEncode", text="dawn", clip=["ckpt", 1]),
        },
        pos=node("ConditioningCombine", conditioning_1=["57:3", 0], conditioning_2=["57:4", 0]),
    ),
    {"prompt": "a pier AND dawn"},
)
SAVER = png(
    {
        "prompt": basic(),
        "parameters": "unknown\nSteps: 20, Sampler: unknown, CFG scale: 8.0, Seed: 0, Size: 64x64, Model: unknown",
    },
    (512, 768),
)
case("ComfyUI", "a saver's defaults beside the graph", SAVER, "comfyui", C)
case(
    "ComfyUI",
    "a saver's text beside a workflow",
    png({"workflow": {"nodes": [], "links": []}, "parameters": a1111("Model: sea.safetensors")}),
    "comfyui",
    C,
)
case(
    "ComfyUI",
    "WebP with blanks behind its keys",
    photo("WEBP", x010F='Workflow: {"nodes": []}', x010E=f"Prompt: {__import__('json').dumps(basic())}"),
    "comfyui",
    C,
    ending=".webp",
)
case(
    "ComfyUI",
    "JPEG, prompt and workflow in one JSON",
    photo(
        "JPEG",
        b"UNICODE\0" + json.dumps({"prompt": basic(), "workflow": {"nodes": []}}).encode("utf-16-be"),
    ),
    "comfyui",
    C,
    ending=".jpg",
)
API = {
    "1": node("FluxProUltraImageNode", prompt="a pier at dawn", prompt_upsampling=False, seed=4711, aspect_ratio="2:3"),
    "2": node("SaveImage", images=["1", 0]),
}
case(
    "ComfyUI",
    "a service's node",
    png({"prompt": API}, (512, 768)),
    "comfyui",
    {"prompt": "a pier at dawn", "seed": 4711},
)
case(
    "ComfyUI",
    "a text made at run time",
    png(
        {
            "prompt": basic(
                t=node("OllamaGenerate", prompt="describe a pier", model="x"),
                pos=node("CLIPTextEncode", text=["t", 0], clip=["ckpt", 1]),
            )
        },
        (512, 768),
    ),
    "comfyui",
    {k: v for k, v in C.items() if k != "prompt"},
    no_prompt=True,
)

UI = {
    "nodes": [
        {
            "id": 4,
            "type": "CheckpointLoaderSimple",
            "mode": 0,
            "inputs": [],
            "outputs": [{"type": "MODEL"}, {"type": "CLIP"}, {"type": "VAE"}],
            "widgets_values": ["sea.safetensors"],
        },
        {
            "id": 10,
            "type": "LoraLoader",
            "mode": 4,
            "inputs": [{"name": "model", "type": "MODEL", "link": 11}, {"name": "clip", "type": "CLIP", "link": 12}],
            "outputs": [{"type": "MODEL"}, {"type": "CLIP"}],
            "widgets_values": ["off.safetensors", 1, 1],
        },
        {
            "id": 5,
            "type": "EmptyLatentImage",
            "mode": 0,
            "inputs": [],
            "outputs": [{"type": "LATENT"}],
            "widgets_values": [512, 768, 1],
        },
        {
            "id": 6,
            "type": "CLIPTextEncode",
            "mode": 0,
            "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
            "widgets_values": ["a pier at dawn"],
        },
        {
            "id": 7,
            "type": "CLIPTextEncode",
            "mode": 0,
            "inputs": [{"name": "clip", "type": "CLIP", "link": 4}],
            "widgets_values": ["fog"],
        },
        {"id": 8, "type": "CLIPTextEncode", "mode": 2, "inputs": [], "widgets_values": ["muted"]},
        {
            "id": 3,
            "type": "KSampler",
            "mode": 0,
            "inputs": [
                {"name": "model", "type": "MODEL", "link": 1},
                {"name": "positive", "link": 5, "type": "CONDITIONING"},
                {"name": "negative", "link": 6, "type": "CONDITIONING"},
                {"name": "latent_image", "type": "LATENT", "link": 2},
            ],
            "widgets_values": [4711, "randomize", 22, 6.5, "dpmpp_2m", "karras", 1],
        },
        {
            "id": 9,
            "type": "VAEDecode",
            "mode": 0,
            "inputs": [{"name": "samples", "type": "LATENT", "link": 7}, {"name": "vae", "type": "VAE", "link": 8}],
        },
        {
            "id": 12,
            "type": "SaveImage",
            "mode": 0,
            "inputs": [{"name": "images", "type": "IMAGE", "link": 9}],
            "widgets_values": ["x"],
        },
    ],
    "links": [
        [11, 4, 0, 10, 0, "MODEL"],
        [12, 4, 1, 10, 1, "CLIP"],
        [1, 10, 0, 3, 0, "MODEL"],
        [2, 5, 0, 3, 3, "LATENT"],
        [3, 10, 1, 6, 0, "CLIP"],
        [4, 10, 1, 7, 0, "CLIP"],
        [5, 6, 0, 3, 1, "CONDITIONING"],
        [6, 7, 0, 3, 2, "CONDITIONING"],
        [7, 3, 0, 9, 0, "LATENT"],
        [8, 4, 2, 9, 1, "VAE"],
        [9, 9, 0, 12, 0, "IMAGE"],
    ],
}
case(
    "ComfyUI", "the editor's form only, with muted and bypassed nodes", png({"workflow": UI}, (512, 768)), "comfyui", C
)
SUB = {
    "nodes": [
        *[each for each in UI["nodes"] if each["id"] not in {6, 8, 10}],
        {
            "id": 6,
            "type": "sub-1",
            "mode": 0,
            "inputs": [{"name": "clip", "type": "CLIP", "link": 3}],
            "outputs": [{"type": "CONDITIONING"}],
        },
    ],
    "links": [
        link if link[1] != 10 else [link[0], 4, link[2], *link[3:]] for link in UI["links"] if link[0] not in {11, 12}
    ],
    "definitions": {
        "subgraphs": [
            {
                "id": "sub-1",
                "inputs": [{"name": "clip"}],
                "outputs": [{"name": "CONDITIONING"}],
                "nodes": [
                    {
                        "id": 2,
                        "type": "CLIPTextEncode",
                        "mode": 0,
                        "inputs": [{"name": "clip", "type": "CLIP", "link": 1}],
                        "widgets_values": ["a pier at dawn"],
                    }
                ],
                "links": [
                    {"id": 1, "origin_id": -10, "origin_slot": 0, "target_id": 2, "target_slot": 0},
                    {"id": 2, "origin_id": 2, "origin_slot": 0, "target_id": -20, "target_slot": 0},
                ],
            }
        ]
    },
}
case("ComfyUI", "the editor's form with a subgraph", png({"workflow": SUB}, (512, 768)), "comfyui", C)
graph(
    "over a picture by KSamplerAdvanced",
    basic(
        im=node("LoadImage", image="photo.png"),
        empty=node("VAEEncode", pixels=["im", 0], vae=["ckpt", 2]),
        s=node(
            "KSamplerAdvanced",
            add_noise="enable",
            noise_seed=4711,
            steps=20,
            cfg=6.5,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            start_at_step=12,
            end_at_step=10000,
            return_with_leftover_noise="disable",
            model=["ckpt", 0],
            positive=["pos", 0],
            negative=["neg", 0],
            latent_image=["empty", 0],
        ),
    ),
    {"source": True, "denoise": 0.4, "steps": 20},
)
case(
    "ComfyUI",
    "a picture that is only mended",
    png(
        {
            "prompt": basic(
                im=node("LoadImage", image="photo.png"),
                det=node("UltralyticsDetectorProvider", model_name="bbox/face_yolov8m.pt"),
                s=None,
                dec=None,
                empty=None,
                fd=node(
                    "FaceDetailer",
                    image=["im", 0],
                    model=["ckpt", 0],
                    clip=["ckpt", 1],
                    vae=["ckpt", 2],
                    positive=["pos", 0],
                    negative=["neg", 0],
                    bbox_detector=["det", 0],
                    seed=5,
                    steps=10,
                    cfg=5.0,
                    sampler_name="euler",
                    scheduler="normal",
                    denoise=0.35,
                    bbox_threshold=0.45,
                ),
                save=node("SaveImage", images=["fd", 0]),
            )
        }
    ),
    "comfyui",
    {
        "adetailer": {
            "detector": "face_yolov8m.pt",
            "prompt": "a pier at dawn",
            "negative_prompt": "fog",
            "denoising_strength": 0.35,
        },
        "source": True,
    },
)
case(
    "ComfyUI",
    "a picture that is only enlarged",
    png(
        {
            "prompt": {
                "im": node("LoadImage", image="photo.png"),
                "sc": node("ImageScaleBy", image=["im", 0], upscale_method="lanczos", scale_by=1.5),
                "save": node("SaveImage", images=["sc", 0]),
            }
        }
    ),
    "comfyui",
    {"upscale": {"scale": 1.5, "upscaler": "Lanczos"}, "source": True},
)
KJ = {
    "nodes": [
        *UI["nodes"],
        {"id": 20, "type": "SetNode", "inputs": [{"name": "CONDITIONING", "link": 5}], "widgets_values": ["p"]},
        {"id": 21, "type": "GetNode", "inputs": [], "outputs": [{"type": "CONDITIONING"}], "widgets_values": ["p"]},
    ],
    "links": [[20, 21, 0, 3, 1, "CONDITIONING"] if link[0] == 5 else link for link in UI["links"]]
    + [[5, 6, 0, 20, 0, "CONDITIONING"]],
}
KJ["nodes"] = [
    {**each, "inputs": [{**one, "link": 20} if one["name"] == "positive" else one for one in each["inputs"]]}
    if each["id"] == 3
    else each
    for each in KJ["nodes"]
]
case("ComfyUI", "the editor's form with Get and Set", png({"workflow": KJ}, (512, 768)), "comfyui", C)
graph(
    "faces by a pipe, a text that was only shown",
    basic(
        llm=node("OllamaGenerate", prompt="describe", model="x"),
        sh=node("ShowText|pysssss", text=["llm", 0], text_0="a pier at dawn"),
        pos=node("CLIPTextEncode", text=["sh", 0], clip=["ckpt", 1]),
        det=node("UltralyticsDetectorProvider", model_name="bbox/hand_yolov8s.pt"),
        pipe=node(
            "ToDetailerPipe", model=["ckpt", 0], positive=["pos", 0], negative=["neg", 0], bbox_detector=["det", 0]
        ),
        fd=node(
            "FaceDetailerPipe", image=["dec", 0], detailer_pipe=["pipe", 0], seed=5, steps=10, cfg=5.0, denoise=0.3
        ),
        save=node("SaveImage", images=["fd", 0]),
    ),
    {"adetailer": {"detector": "hand_yolov8s.pt", "denoising_strength": 0.3}},
)
