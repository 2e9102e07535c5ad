"""Small pictures as many tools write them, made here from what those tools document, with the values that they hold."""
# ruff: noqa: E501  texts of other tools stay on their lines

from __future__ import annotations

import gzip
import html
import io
import json
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, PngImagePlugin


@dataclass(frozen=True)
class Case:
    """A picture and what it says.

    want: the fields of `FIELDS` that it has. left: names that are not carried over. given: a prompt, where none is in it.
    """

    tool: str
    name: str
    data: bytes
    want: dict[str, Any]
    left: tuple[str, ...] = ()
    dialect: str = ""
    ending: str = ".png"
    no_prompt: bool = False
    problems: tuple[str, ...] = field(default=())

    @property
    def id(self) -> str:
        """Its tool and name."""
        return f"{self.tool}: {self.name}"


CASES: list[Case] = []


def case(tool: str, name: str, data: bytes, dialect: str, want: dict[str, Any], **more: Any) -> None:
    CASES.append(Case(tool, name, data, want, dialect=dialect, **more))


# -- encodings --------------------------------------------------------------------------------------------------------


def image(size: tuple[int, int] = (64, 96), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, (90, 120, 150, 255)[: len(mode)])


def png(texts: dict[str, object], size: tuple[int, int] = (64, 96), exif: bytes | None = None) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        value = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
        if key == "XML:com.adobe.xmp":
            info.add_itxt(key, value)
        else:
            info.add_text(key, value)
    out = io.BytesIO()
    image(size).save(out, "PNG", pnginfo=info, **({} if exif is None else {"exif": exif}))
    return out.getvalue()


def exif(comment: bytes | str = b"", **tags: str) -> bytes:
    values = Image.Exif()
    for tag, text in tags.items():
        values[int(tag[1:], 16)] = text
    if comment:
        values.get_ifd(0x8769)[0x9286] = comment
    return values.tobytes()


def utf16(text: str) -> bytes:
    return b"UNICODE\0" + text.encode("utf-16-be")


def photo(kind: str, comment: bytes | str = b"", size: tuple[int, int] = (64, 96), **tags: str) -> bytes:
    out = io.BytesIO()
    image(size).save(out, kind, exif=exif(comment, **tags))
    return out.getvalue()


def hidden(text: str, *, packed: bool = True, rgb: bool = False, kind: str = "PNG") -> bytes:
    """A picture with a text in its lowest bits, column by column."""
    body = gzip.compress(text.encode()) if packed else text.encode()
    mark = {
        (True, False): "stealth_pngcomp",
        (False, False): "stealth_pnginfo",
        (True, True): "stealth_rgbcomp",
        (False, True): "stealth_rgbinfo",
    }[packed, rgb]
    data = mark.encode() + (len(body) * 8).to_bytes(4) + body
    bits = [byte >> shift & 1 for byte in data for shift in range(7, -1, -1)]
    width, height = 96, 128
    picture = image((width, height), "RGB" if rgb else "RGBA")
    pixels = picture.load()
    channels = 3 if rgb else 1
    bits += [0] * (-len(bits) % channels)
    for index in range(len(bits) // channels):
        x, y = divmod(index, height)
        old = pixels[x, y]
        part = bits[index * channels : (index + 1) * channels]
        pixels[x, y] = tuple(old[i] & 254 | part[i] for i in range(3)) if rgb else (*old[:3], 254 | part[0])
    out = io.BytesIO()
    picture.save(out, kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    return out.getvalue()


BASE = {"prompt": "a pier at dawn", "negative": "fog", "seed": 4711, "steps": 22, "cfg": 6.5}


# -- A1111's text -----------------------------------------------------------------------------------------------------


def a1111(pairs: str, prompt: str = "a pier at dawn", negative: str = "fog") -> str:
    head = f"{prompt}\nNegative prompt: {negative}\n" if negative else f"{prompt}\n"
    return (
        f"{head}Steps: 22, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 4711, Size: 512x768, {pairs}"
    )


A = {**BASE, "sampler": "DPM++ 2M", "scheduler": "Karras", "size": (512, 768), "model": "sea"}
SEA = "Model hash: 0123456789, Model: sea"

case(
    "A1111",
    "txt2img",
    png({"parameters": a1111(f"{SEA}, Clip skip: 2, Version: v1.10.1")}),
    "a1111",
    {**A, "clip_skip": 2},
)
case(
    "A1111",
    "hires",
    png(
        {
            "parameters": a1111(
                f"{SEA}, Denoising strength: 0.35, Hires upscale: 1.5, Hires steps: 9, "
                "Hires upscaler: Latent (bicubic), Version: v1.10.1"
            )
        },
        (768, 1152),
    ),
    "a1111",
    {**A, "hires": {"scale": 1.5, "steps": 9, "upscaler": "Latent (bicubic)", "denoising_strength": 0.35}},
)
case(
    "A1111",
    "hires resize and its own prompt",
    png(
        {
            "parameters": a1111(
                f"{SEA}, Denoising strength: 0.4, "
                'Hires resize: 768x1152, Hires upscaler: Lanczos, Hires sampler: Euler a, Hires prompt: "a pier, detailed", '
                "Hires checkpoint: sea2"
            )
        }
    ),
    "a1111",
    {
        **A,
        "hires": {
            "resize_x": 768,
            "resize_y": 1152,
            "upscaler": "Lanczos",
            "sampler_name": "Euler a",
            "prompt": "a pier, detailed",
            "checkpoint": "sea2",
            "denoising_strength": 0.4,
        },
    },
)
case(
    "A1111",
    "img2img",
    png({"parameters": a1111(f"{SEA}, Denoising strength: 0.6, Init image hash: ab12cd34ef")}),
    "a1111",
    {**A, "source": True, "denoise": 0.6},
)
case(
    "A1111",
    "inpainting",
    png(
        {
            "parameters": a1111(
                f"{SEA}, Denoising strength: 0.75, Mask blur: 6, Inpaint area: Only masked, Masked area padding: 24"
            )
        }
    ),
    "a1111",
    {**A, "source": True, "denoise": 0.75},
    left=("the mask of the part that was drawn",),
)
case(
    "A1111",
    "old sampler name, variation, tiling",
    png(
        {
            "parameters": "a pier at dawn\nNegative prompt: fog\nSteps: 22, "
            "Sampler: DPM++ 2M Karras, CFG scale: 6.5, Seed: 4711, Face restoration: GFPGAN, Size: 512x768, Model: sea, "
            "Variation seed: 99, Variation seed strength: 0.2, ENSD: 31337, Tiling: True"
        }
    ),
    "a1111",
    {**A, "subseed": 99, "subseed_strength": 0.2, "tiling": True, "restore_faces": True},
    left=("Face restoration model GFPGAN", "ENSD"),
)
case(
    "A1111",
    "refiner",
    png({"parameters": a1111(f"{SEA}, Refiner: polish [0123456789], Refiner switch at: 0.8")}),
    "a1111",
    {**A, "refiner": {"checkpoint": "polish [0123456789]", "switch_at": 0.8}},
)
case(
    "A1111",
    "ADetailer, two units",
    png(
        {
            "parameters": a1111(
                f"{SEA}, ADetailer model: face_yolov8n.pt, ADetailer "
                "confidence: 0.35, ADetailer dilate erode: 6, ADetailer mask blur: 5, ADetailer denoising strength: 0.32, ADetailer "
                "inpaint only masked: True, ADetailer inpaint padding: 48, ADetailer model 2nd: hand_yolov8n.pt, ADetailer prompt 2nd: "
                '"a hand, five fingers", ADetailer confidence 2nd: 0.4, ADetailer denoising strength 2nd: 0.3, ADetailer version: 24.9.0'
            )
        }
    ),
    "a1111",
    {
        **A,
        "adetailer": {
            "detector": "face_yolov8n.pt",
            "confidence": 0.35,
            "dilate_erode": 6,
            "mask_blur": 5,
            "denoising_strength": 0.32,
            "padding": 48,
        },
        "units": [
            {
                "detector": "hand_yolov8n.pt",
                "prompt": "a hand, five fingers",
                "confidence": 0.4,
                "denoising_strength": 0.3,
            }
        ],
    },
)
case(
    "A1111",
    "ControlNet and a LoRA",
    png(
        {
            "parameters": a1111(
                f'{SEA}, ControlNet 0: "Module: canny, Model: control_canny, '
                'Weight: 1.0", Lora hashes: "waves: 0123abcd"',
                prompt="a pier at dawn <lora:waves:0.7>",
            )
        }
    ),
    "a1111",
    {**A, "prompt": "a pier at dawn <lora:waves:0.7>", "loras": ["<lora:waves:0.7>"]},
    left=("ControlNet 0",),
)
case(
    "A1111",
    "extras behind",
    png(
        {
            "parameters": a1111(
                f"{SEA}, Postprocess upscale by: 2, Postprocess upscaler: 4x-UltraSharp, "
                "Postprocess GFPGAN visibility: 0.3"
            )
        }
    ),
    "a1111",
    {**A, "upscale": {"scale": 2.0, "upscaler": "4x-UltraSharp", "gfpgan_visibility": 0.3}},
)
case(
    "A1111",
    "lines of dynamic-prompts behind",
    png({"parameters": a1111(SEA) + "\nTemplate: a {pier|quay} at __time__\nNegative Template: fog"}),
    "a1111",
    A,
)
case("A1111", "JPEG", photo("JPEG", utf16(a1111(SEA))), "a1111", A, ending=".jpg")
case(
    "A1111",
    "WebP, little-endian",
    photo("WEBP", b"UNICODE\0" + a1111(SEA).encode("utf-16-le")),
    "a1111",
    A,
    ending=".webp",
)
case("A1111", "AVIF, ASCII", photo("AVIF", b"ASCII\0\0\0" + a1111(SEA).encode()), "a1111", A, ending=".avif")
case("A1111", "EXIF within a PNG", png({}, exif=exif(utf16(a1111(SEA)))), "a1111", A)
case("A1111", "hidden in alpha, packed", hidden(a1111(SEA)), "a1111", A)
case("A1111", "hidden in alpha, plain", hidden(a1111(SEA), packed=False), "a1111", A)
case("A1111", "hidden in the colours", hidden(a1111(SEA), rgb=True), "a1111", A)
case("A1111", "hidden in a WebP", hidden(a1111(SEA), kind="WEBP"), "a1111", A, ending=".webp")
case(
    "A1111",
    "no negative prompt, seed of 2^64 - 1",
    png(
        {
            "parameters": "a pier at dawn\nSteps: 22, Sampler: Euler, CFG scale: "
            "6.5, Seed: 18446744073709551615, Size: 512x768"
        }
    ),
    "a1111",
    {"prompt": "a pier at dawn", "seed": 2**64 - 1, "steps": 22, "cfg": 6.5, "sampler": "Euler", "size": (512, 768)},
)
case(
    "Forge",
    "Flux",
    png(
        {
            "parameters": a1111(
                "Distilled CFG Scale: 3.5, Model: flux1, Version: f2.0.1v1.10.1, Module 1: ae, "
                "Module 2: clip_l, Module 3: t5xxl",
                negative="",
            )
        }
    ),
    "a1111",
    {
        **{k: v for k, v in A.items() if k != "negative"},
        "model": "flux1",
        "distilled": 3.5,
        "modules": ("ae", "clip_l", "t5xxl"),
    },
)
case(
    "Forge",
    "hires with a CFG of its own",
    png(
        {
            "parameters": a1111(
                f"{SEA}, Denoising strength: 0.5, Hires CFG Scale: 4, "
                "Hires upscale: 2, Hires upscaler: 4x-AnimeSharp, Hires schedule type: Simple, Version: f2.0.1"
            )
        }
    ),
    "a1111",
    {
        **A,
        "hires": {
            "scale": 2.0,
            "cfg_scale": 4.0,
            "upscaler": "4x-AnimeSharp",
            "scheduler": "Simple",
            "denoising_strength": 0.5,
        },
    },
)
case(
    "Forge",
    "a LoRA that the prompt does not name",
    png(
        {
            "parameters": a1111(
                f'{SEA}, Lora hashes: "waves: 0123abcd, light: 4567cdef", Version: f2.0.1',
                prompt="a pier at dawn <lora:light:1>",
            )
        }
    ),
    "a1111",
    {**A, "prompt": "a pier at dawn <lora:light:1>"},
    left=("LoRA waves",),
)
case(
    "reForge",
    "txt2img",
    png({"parameters": a1111(f"{SEA}, Schedule max sigma: 15, Version: f0.0.17v1.8.0rc-1.7.0")}),
    "a1111",
    A,
    left=("Schedule max sigma",),
)
case(
    "SD.Next",
    "txt2img",
    png(
        {
            "parameters": "a pier at dawn\nNegative prompt: fog\nSteps: 22, Size: 512x768, Sampler: UniPC, "
            "Seed: 4711, CFG scale: 6.5, App: SD.Next, Version: abc1234, Pipeline: StableDiffusionXLPipeline, Operations: txt2img, "
            "Model: sea, Model hash: 0123456789"
        }
    ),
    "a1111",
    {**BASE, "sampler": "UniPC", "size": (512, 768), "model": "sea"},
)
case(
    "SD.Next",
    "default sampler over a picture",
    photo(
        "JPEG",
        utf16(
            "a pier at dawn\nNegative prompt: fog\nSteps: 22, Size: "
            "512x768, Sampler: Default, Seed: 4711, CFG scale: 6.5, App: SD.Next, Operations: img2img, Denoising strength: 0.4, Model: sea"
        ),
    ),
    "a1111",
    {**BASE, "size": (512, 768), "model": "sea", "sampler": None, "source": True, "denoise": 0.4},
    ending=".jpg",
)
case(
    "stable-diffusion.cpp",
    "txt2img",
    png(
        {
            "parameters": "a pier at dawn\nNegative prompt: fog\nSteps: 22, CFG scale: 6.500000, "
            "Guidance: 3.500000, Eta: 0.000000, Seed: 4711, Size: 512x768, Model: sea.safetensors, RNG: cuda, Sampler: euler_a discrete, "
            "Version: stable-diffusion.cpp"
        }
    ),
    "a1111",
    {**BASE, "sampler": "Euler a", "scheduler": "Normal", "size": (512, 768), "model": "sea.safetensors"},
    left=("Guidance", "RNG"),
)
case(
    "Civitai",
    "text with resources",
    photo(
        "JPEG",
        utf16(
            a1111(
                "Clip skip: 2, Created Date: 2025-01-02T03:04:05Z, Civitai "
                'resources: [{"type":"checkpoint","modelVersionId":1,"modelName":"Sea, deep"},{"type":"lora","weight":0.8,"modelVersionId":2}], '
                "Civitai metadata: {}"
            )
        ),
    ),
    "a1111",
    {k: v for k, v in A.items() if k != "model"},
    left=("Civitai's checkpoint Sea, deep", "Civitai's lora 2 0.8"),
    ending=".jpg",
)
EXTRA = {
    "prompt": "a pier at dawn",
    "negativePrompt": "fog",
    "cfgScale": 6.5,
    "sampler": "DPM++ 2M Karras",
    "steps": 22,
    "seed": 4711,
    "width": 512,
    "height": 768,
    "clipSkip": 2,
    "baseModel": "SDXL",
}
UPSCALE = {
    "resource-stack": {
        "class_type": "CheckpointLoaderSimple",
        "inputs": {"ckpt_name": "urn:air:sdxl:checkpoint:civitai:1@2"},
    },
    "9": {"class_type": "ImageUpscaleWithModel", "inputs": {"upscale_model": ["10", 0], "image": ["11", 0]}},
    "extra": {"airs": []},
    "extraMetadata": json.dumps(
        {**EXTRA, "transformations": [{"type": "upscale", "upscaleWidth": 1024, "upscaleHeight": 1536}]}
    ),
}
case(
    "Civitai",
    "generator, upscaled",
    photo("JPEG", utf16(json.dumps(UPSCALE)), (1024, 1536)),
    "civitai",
    {
        **BASE,
        "sampler": "DPM++ 2M",
        "scheduler": "Karras",
        "size": (512, 768),
        "clip_skip": 2,
        "upscale": {"scale": 2.0},
    },
    ending=".jpg",
)

# -- JSON -------------------------------------------------------------------------------------------------------------

SWARM = {
    "prompt": "a pier at dawn",
    "negativeprompt": "fog",
    "model": "sea",
    "seed": 4711,
    "steps": 22,
    "cfgscale": 6.5,
    "width": 512,
    "height": 768,
    "sampler": "dpmpp_2m",
    "scheduler": "karras",
    "swarm_version": "0.9.7",
}
S = {**BASE, "sampler": "DPM++ 2M", "scheduler": "Karras", "size": (512, 768), "model": "sea"}
case(
    "SwarmUI",
    "PNG with LoRAs",
    png(
        {
            "parameters": {
                "sui_image_params": {**SWARM, "loras": ["sub/waves", "light"], "loraweights": ["0.7", "1"]},
                "sui_extra_data": {"date": "2026-01-02", "generation_time": "3 s"},
            }
        }
    ),
    "swarmui",
    {**S, "prompt": "a pier at dawn <lora:waves:0.7> <lora:light:1>", "loras": ["<lora:waves:0.7>", "<lora:light:1>"]},
)
case(
    "SwarmUI",
    "refiner at a larger size",
    png(
        {
            "parameters": {
                "sui_image_params": {
                    **SWARM,
                    "refinercontrolpercentage": 0.4,
                    "refinermethod": "PostApply",
                    "refinerupscale": 1.5,
                    "refinerupscalemethod": "model-4x_deep.pth",
                }
            }
        }
    ),
    "swarmui",
    {**S, "hires": {"scale": 1.5, "upscaler": "4x_deep", "denoising_strength": 0.4}},
)
case(
    "SwarmUI",
    "another refiner",
    png(
        {
            "parameters": {
                "sui_image_params": {
                    **SWARM,
                    "refinermodel": "polish.safetensors",
                    "refinercontrolpercentage": 0.2,
                    "refinermethod": "StepSwap",
                }
            }
        }
    ),
    "swarmui",
    {**S, "refiner": {"checkpoint": "polish", "switch_at": 0.8}},
)
case(
    "SwarmUI",
    "over a picture, JPEG",
    photo("JPEG", utf16(json.dumps({"sui_image_params": {**SWARM, "initimagecreativity": 0.6}}))),
    "swarmui",
    {**S, "source": True, "denoise": 0.6},
    ending=".jpg",
)
case(
    "StableSwarmUI",
    "EXIF of an older JPEG",
    photo("JPEG", x0110=json.dumps({"sui_image_params": SWARM})),
    "swarmui",
    S,
    ending=".jpg",
)
case(
    "SwarmUI",
    "parameters within JSON",
    photo("JPEG", utf16(json.dumps({"prompt": {}, "parameters": json.dumps({"sui_image_params": SWARM})}))),
    "swarmui",
    S,
    ending=".jpg",
)
case(
    "NovelAI",
    "WebP, ASCII head",
    photo(
        "WEBP",
        b"ASCII\0\0\0"
        + json.dumps(
            {
                "Software": "NovelAI",
                "Source": "NovelAI Diffusion V3",
                "Comment": json.dumps(
                    {
                        "prompt": "a pier at dawn",
                        "uc": "fog",
                        "seed": 4711,
                        "steps": 22,
                        "scale": 6.5,
                        "sampler": "k_euler_ancestral",
                        "width": 512,
                        "height": 768,
                        "noise_schedule": "native",
                    }
                ),
            }
        ).encode(),
    ),
    "novelai",
    {**BASE, "sampler": "Euler a", "size": (512, 768), "model": "NovelAI Diffusion V3"},
    ending=".webp",
)
case(
    "StableSwarmUI",
    "older sampler keys, variation",
    png(
        {
            "parameters": {
                "sui_image_params": {
                    **{k: v for k, v in SWARM.items() if k not in {"sampler", "scheduler"}},
                    "comfyuisampler": "euler_ancestral",
                    "comfyuischeduler": "normal",
                    "variationseed": 9,
                    "variationseedstrength": 0.1,
                }
            }
        }
    ),
    "swarmui",
    {**S, "sampler": "Euler a", "scheduler": "Normal", "subseed": 9, "subseed_strength": 0.1},
)

INVOKE = {
    "generation_mode": "sdxl_txt2img",
    "positive_prompt": "a pier at dawn",
    "negative_prompt": "fog",
    "width": 512,
    "height": 768,
    "seed": 4711,
    "cfg_scale": 6.5,
    "steps": 22,
    "scheduler": "dpmpp_2m_k",
    "clip_skip": 0,
    "model": {"key": "k", "hash": "blake3:1", "name": "sea", "base": "sdxl", "type": "main"},
    "app_version": "5.0.0",
    "loras": [{"model": {"key": "l", "name": "waves", "base": "sdxl"}, "weight": 0.7}],
    "rand_device": "cpu",
}
INV = {**S, "prompt": "a pier at dawn <lora:waves:0.7>", "loras": ["<lora:waves:0.7>"]}
case("InvokeAI", "5, txt2img", png({"invokeai_metadata": INVOKE}), "invokeai", INV)
case(
    "InvokeAI",
    "3, names of models",
    png(
        {
            "invokeai_metadata": {
                **INVOKE,
                "model": {"model_name": "sea", "base_model": "sdxl"},
                "loras": [{"lora": {"model_name": "waves"}, "weight": 0.7}],
                "vae": {"model_name": "clear"},
            }
        }
    ),
    "invokeai",
    {**INV, "vae": "clear"},
)
case(
    "InvokeAI",
    "hires fix",
    png({"invokeai_metadata": {**INVOKE, "hrf_enabled": True, "hrf_method": "ESRGAN", "hrf_strength": 0.45}}),
    "invokeai",
    {**INV, "hires": {"scale": 2.0, "upscaler": "ESRGAN", "denoising_strength": 0.45}},
)
case(
    "InvokeAI",
    "refiner",
    png(
        {
            "invokeai_metadata": {
                **INVOKE,
                "refiner_model": {"name": "polish"},
                "refiner_start": 0.7,
                "refiner_steps": 10,
            }
        }
    ),
    "invokeai",
    {**INV, "refiner": {"checkpoint": "polish", "switch_at": 0.7}},
    left=("Refiner steps",),
)
case(
    "InvokeAI",
    "over a picture, ControlNet",
    png(
        {
            "invokeai_metadata": {
                **INVOKE,
                "generation_mode": "sdxl_img2img",
                "strength": 0.55,
                "init_image": "1234.png",
                "controlnets": [{"control_model": {"name": "canny"}, "control_weight": 1}],
            }
        }
    ),
    "invokeai",
    {**INV, "source": True, "denoise": 0.55},
    left=("ControlNet canny",),
)
SD_METADATA = {
    "model": "stable diffusion",
    "model_weights": "sea",
    "model_hash": "ab",
    "app_version": "2.3.5",
    "image": {
        "prompt": [{"prompt": "a pier at dawn [fog]", "weight": 1.0}],
        "steps": 22,
        "cfg_scale": 6.5,
        "sampler": "k_euler_a",
        "seed": 4711,
        "width": 512,
        "height": 768,
        "type": "txt2img",
        "threshold": 0,
        "perlin": 0,
        "variations": [],
    },
}
case(
    "InvokeAI",
    "2",
    png({"sd-metadata": SD_METADATA}),
    "invokeai",
    {**BASE, "sampler": "Euler a", "size": (512, 768), "model": "sea"},
)
case(
    "InvokeAI",
    "1, Dream",
    png({"Dream": '"a pier at dawn [fog]" -s 22 -S 4711 -W 512 -H 768 -C 6.5 -A k_lms'}),
    "invokeai",
    {**BASE, "sampler": "LMS", "size": (512, 768)},
)
case(
    "lstein's Dream",
    "options without a blank, over a picture",
    png({"Dream": '"a pier at dawn" -s22 -S4711 -W512 -H768 -C6.5 -A ddim -I photo.png -f0.6'}),
    "invokeai",
    {
        "prompt": "a pier at dawn",
        "seed": 4711,
        "steps": 22,
        "cfg": 6.5,
        "sampler": "DDIM",
        "size": (512, 768),
        "source": True,
        "denoise": 0.6,
    },
)

NAI = {
    "prompt": "a pier at dawn",
    "steps": 22,
    "height": 768,
    "width": 512,
    "scale": 6.5,
    "uncond_scale": 0.0,
    "seed": 4711,
    "n_samples": 1,
    "noise_schedule": "karras",
    "sampler": "k_dpmpp_2m",
    "uc": "fog",
    "sm": False,
    "cfg_rescale": 0.0,
    "request_type": "PromptGenerateRequest",
    "controlnet_strength": 1.0,
    "prefer_brownian": True,
    "dynamic_thresholding_percentile": 0.999,
    "signed_hash": "x",
}
N = {**S, "model": "NovelAI Diffusion V3"}
NAI_TEXTS = {
    "Title": "AI generated image",
    "Description": "a pier at dawn",
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V3",
    "Comment": json.dumps(NAI),
}
case("NovelAI", "3", png(NAI_TEXTS), "novelai", N)
V4 = {
    **NAI,
    "v4_prompt": {
        "caption": {
            "base_caption": "a pier at dawn",
            "char_captions": [
                {"char_caption": "girl, red coat", "centers": [{"x": 0.5, "y": 0.5}]},
                {"char_caption": "boy", "centers": []},
            ],
        },
        "use_coords": False,
        "use_order": True,
    },
    "v4_negative_prompt": {"caption": {"base_caption": "fog", "char_captions": []}},
}
case(
    "NovelAI",
    "4, characters",
    png({**NAI_TEXTS, "Comment": json.dumps(V4)}),
    "novelai",
    {**N, "prompt": "a pier at dawn | girl, red coat | boy"},
)
case("NovelAI", "WebP", photo("WEBP", utf16(json.dumps(NAI_TEXTS))), "novelai", N, ending=".webp")
case("NovelAI", "hidden in alpha", hidden(json.dumps(NAI_TEXTS)), "novelai", N)
case(
    "NovelAI",
    "over a picture",
    png({**NAI_TEXTS, "Comment": json.dumps({**NAI, "request_type": "Img2ImgRequest", "strength": 0.6, "noise": 0.1})}),
    "novelai",
    {**N, "source": True, "denoise": 0.6},
    left=("noise",),
)

FOO = {
    "prompt": "a pier at dawn",
    "negative_prompt": "fog",
    "full_prompt": ["a pier at dawn", "film"],
    "full_negative_prompt": ["fog"],
    "performance": "Speed",
    "steps": 22,
    "resolution": "(512, 768)",
    "guidance_scale": 6.5,
    "sharpness": 2.0,
    "base_model": "sea",
    "base_model_hash": "ab",
    "refiner_model": "None",
    "refiner_switch": 0.5,
    "clip_skip": 2,
    "sampler": "dpmpp_2m_sde_gpu",
    "scheduler": "karras",
    "vae": "Default (model)",
    "seed": "4711",
    "lora_combined_1": "waves.safetensors : 0.7",
    "metadata_scheme": "fooocus",
    "version": "Fooocus v2.5.5",
    "styles": "['A']",
}
F = {
    **S,
    "prompt": "a pier at dawn <lora:waves:0.7>",
    "loras": ["<lora:waves:0.7>"],
    "sampler": "DPM++ 2M SDE",
    "clip_skip": 2,
}
case(
    "Fooocus", "PNG", png({"parameters": FOO, "fooocus_scheme": "fooocus"}), "fooocus", F, left=("sharpness", "styles")
)
case(
    "Fooocus",
    "loras as a list, refiner",
    png(
        {
            "parameters": {
                **{k: v for k, v in FOO.items() if k != "lora_combined_1"},
                "loras": [["waves", 0.7, "ab12"]],
                "refiner_model": "polish.safetensors",
                "refiner_switch": 0.6,
            },
            "fooocus_scheme": "fooocus",
        }
    ),
    "fooocus",
    {**F, "refiner": {"checkpoint": "polish", "switch_at": 0.6}},
    left=("sharpness", "styles"),
)
case(
    "Fooocus",
    "JPEG",
    photo("JPEG", json.dumps(FOO), x0131="Fooocus v2.5.5", x927C="fooocus"),
    "fooocus",
    F,
    left=("sharpness", "styles"),
    ending=".jpg",
)
case(
    "Fooocus",
    "A1111's scheme",
    png(
        {
            "parameters": "a pier at dawn\nNegative prompt: fog\nSteps: 22, Sampler: DPM++ 2M SDE, Seed: "
            '4711, Size: 512x768, CFG scale: 6.5, Sharpness: 2.0, Base model: sea, Scheduler: karras, Lora hashes: "waves: ab12", Lora '
            'weights: "waves: 0.7", Version: Fooocus v2.5.5',
            "fooocus_scheme": "a1111",
        }
    ),
    "fooocus",
    {k: v for k, v in F.items() if k != "clip_skip"},
    left=("Sharpness",),
)
case(
    "RuinedFooocus",
    "PNG",
    png(
        {
            "parameters": {
                "Prompt": "a pier at dawn",
                "Negative": "fog",
                "steps": 22,
                "cfg": 6.5,
                "width": 512,
                "height": 768,
                "seed": 4711,
                "sampler_name": "dpmpp_2m",
                "scheduler": "karras",
                "base_model_name": "sea.safetensors",
                "base_model_hash": "ab",
                "loras": [{"name": "waves", "weight": 0.7}],
                "clip_skip": 2,
                "software": "RuinedFooocus",
            }
        }
    ),
    "fooocus",
    {**F, "sampler": "DPM++ 2M", "model": "sea.safetensors"},
)

EASY = {
    "prompt": "a pier at dawn",
    "negative_prompt": "fog",
    "seed": "4711",
    "use_stable_diffusion_model": "models/sea.safetensors",
    "clip_skip": "False",
    "use_vae_model": "None",
    "sampler_name": "dpmpp_2m",
    "scheduler_name": "karras",
    "width": "512",
    "height": "768",
    "num_inference_steps": "22",
    "guidance_scale": "6.5",
    "use_lora_model": "waves",
    "lora_alpha": "0.7",
}
E = {**INV, "model": "sea"}
case("Easy Diffusion", "a text for each setting", png(EASY), "easydiffusion", E)
SHOWN = {
    "Prompt": "a pier at dawn",
    "Negative Prompt": "fog",
    "Seed": 4711,
    "Stable Diffusion model": "sea",
    "Sampler": "euler_a",
    "Width": 512,
    "Height": 768,
    "Steps": 22,
    "Guidance Scale": 6.5,
    "LoRA model": ["waves"],
    "LoRA Strength": [0.7],
    "Use Upscaling": "RealESRGAN_x4plus",
    "Upscale By": 2,
    "Use Face Correction": "None",
}
case(
    "Easy Diffusion",
    "shown names, JPEG, upscaled",
    photo("JPEG", utf16(json.dumps(SHOWN))),
    "easydiffusion",
    {
        **{k: v for k, v in E.items() if k != "scheduler"},
        "sampler": "Euler a",
        "upscale": {"scale": 2.0, "upscaler": "RealESRGAN_x4plus"},
    },
    ending=".jpg",
)


def draw_things(values: dict[str, Any]) -> str:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description><xmp:CreatorTool>Draw Things</xmp:CreatorTool>'
        f"<exif:UserComment><rdf:Alt><rdf:li>{html.escape(json.dumps(values))}</rdf:li></rdf:Alt></exif:UserComment>"
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    )


DRAW = {
    "c": "a pier at dawn",
    "uc": "fog",
    "model": "sea.ckpt",
    "sampler": "DPM++ 2M Karras",
    "scale": 6.5,
    "seed": 4711,
    "size": "512x768",
    "steps": 22,
    "strength": 1.0,
    "lora": [{"model": "waves.ckpt", "weight": 0.7}],
    "v2": {"clipSkip": 2},
}
D = {**INV, "model": "sea.ckpt", "clip_skip": 2}
case("Draw Things", "txt2img", png({"XML:com.adobe.xmp": draw_things(DRAW)}), "drawthings", D)
case(
    "Draw Things",
    "over a picture, trailing schedule",
    png({"XML:com.adobe.xmp": draw_things({**DRAW, "strength": 0.5, "sampler": "Euler A Trailing"})}),
    "drawthings",
    {**D, "sampler": "Euler a", "scheduler": "SGM Uniform", "source": True, "denoise": 0.5},
)

TENSOR = {
    "prompt": "a pier at dawn",
    "negativePrompt": "fog",
    "width": 512,
    "height": 768,
    "seed": "4711",
    "steps": 22,
    "cfgScale": 6.5,
    "clipSkip": 2,
    "baseModel": {"label": "Sea", "modelFileName": "sea", "hash": "AB"},
    "models": [{"label": "waves", "modelFileName": "waves", "weight": 0.7}],
}
case(
    "Tensor.Art",
    "generation_data",
    png({"generation_data": json.dumps(TENSOR) + "\0"}),
    "tensorart",
    {
        **BASE,
        "prompt": "a pier at dawn <lora:waves:0.7>",
        "loras": ["<lora:waves:0.7>"],
        "size": (512, 768),
        "model": "sea",
        "clip_skip": 2,
    },
)
case(
    "Stability Matrix",
    "parameters-json",
    png(
        {
            "parameters-json": {
                "PositivePrompt": "a pier at dawn",
                "NegativePrompt": "fog",
                "Width": 512,
                "Height": 768,
                "Seed": 4711,
                "Steps": 22,
                "CfgScale": 6.5,
                "Sampler": "DPM++ 2M Karras",
                "ModelName": "sea",
                "ModelHash": "ab",
            },
            "smproj": {},
            "parameters": a1111(SEA),
        }
    ),
    "stabilitymatrix",
    S,
)
HF = {
    "prompt": "a pier at dawn",
    "negative_prompt": "fog",
    "resolution": "512 x 768",
    "guidance_scale": 6.5,
    "num_inference_steps": 22,
    "seed": 4711,
    "sampler": "Euler a",
    "Model": "sea",
    "Model hash": "ab",
}
case(
    "Hugging Face Space",
    "txt2img",
    png({"parameters": HF}),
    "huggingface",
    {**BASE, "sampler": "Euler a", "size": (512, 768), "model": "sea"},
)
case(
    "Hugging Face Space",
    "with its upscaler",
    png(
        {
            "parameters": {
                **HF,
                "sampler": "DPM++ 2M SDE Karras",
                "use_upscaler": {
                    "upscale_method": "nearest-exact",
                    "upscaler_strength": 0.55,
                    "upscale_by": 1.5,
                    "upscale_steps": 10,
                },
            }
        }
    ),
    "huggingface",
    {
        **BASE,
        "sampler": "DPM++ 2M SDE",
        "scheduler": "Karras",
        "size": (512, 768),
        "model": "sea",
        "hires": {"scale": 1.5, "upscaler": "Latent (nearest-exact)", "steps": 10, "denoising_strength": 0.55},
    },
)
MOCHI = (
    "Include in Image: a pier at dawn; Exclude from Image: fog; Model: sea; Steps: 22; Guidance Scale: 6.5; Seed: 4711; Size: 512x768; "
    "Scheduler: DPM-Solver++; ML Compute Unit: CPU & Neural Engine; Generator: Mochi Diffusion 4.0"
)
case(
    "Mochi Diffusion",
    "caption",
    png({"Description": MOCHI}),
    "mochi",
    {**BASE, "sampler": "DPM++ 2M", "size": (512, 768), "model": "sea"},
)
case(
    "Mochi Diffusion",
    "lines, JPEG",
    photo("JPEG", x010E="Metadata Version: 2\n" + MOCHI.replace("; ", "\n")),
    "mochi",
    {**BASE, "sampler": "DPM++ 2M", "size": (512, 768), "model": "sea"},
    ending=".jpg",
)
case(
    "Midjourney",
    "description",
    png(
        {
            "Description": "a pier at dawn --no fog --ar 2:3 --seed 4711 --v 6.1 --stylize 250 "
            "Job ID: 01234567-89ab-cdef-0123-456789abcdef"
        },
        (512, 768),
    ),
    "midjourney",
    {"prompt": "a pier at dawn", "negative": "fog", "seed": 4711, "size": (512, 768)},
    left=("--stylize", "--ar", "Midjourney's own model"),
)
