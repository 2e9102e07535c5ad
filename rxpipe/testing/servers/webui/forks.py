"""The forks that people run, as differences from the two recorded servers: read in their source, not recorded.

A fork is one entry of `FORKS`. What it does differently inside a job is a trait, which the code of the jobs asks for.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

ForkName = Literal["neo", "reforge", "classic", "amd", "sdnext"]
Trait = Literal[
    "schedulers in sampler names",
    "unknown sampler is 404",
    "vae option is a path",
    "hires is forced by fields",
    "no resize at mode 0",
    "detail endpoint",
    "options are restored",
    "failures are empty",
    "interrupt is 204",
    "interrupt is lost between phases",
    "schedulers fail",
    "app in infotext",
    "requests are limited",
    "interrupted is its preview",
    "batch is frames",
    "onnx ignores overrides",
]
"""What a server does inside: names for what code asks."""

_TXT2IMG, _IMG2IMG = "StableDiffusionProcessingTxt2Img", "StableDiffusionProcessingImg2Img"
_NUMBER: Mapping[str, Any] = {"type": "number", "default": 0.0}
_WHOLE: Mapping[str, Any] = {"type": "integer", "default": 0}
_FLAG: Mapping[str, Any] = {"type": "boolean", "default": False}
_TEXT: Mapping[str, Any] = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}
_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """How a fork differs from a recorded server.

    base: that server. version: of `info` and infotexts. title: of its OpenAPI document, None as recorded.
    without: paths that it lacks. lacks, has: fields of the request models, by the model's name.
    answers: other answers to plain GETs, by path; of a list, entries that are put in front.
    options: other values of options.
    """

    base: Literal["forge", "a1111"]
    version: str
    title: str | None = None
    without: frozenset[str] = frozenset()
    lacks: Mapping[str, frozenset[str]] = field(default_factory=dict)
    has: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    answers: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    traits: frozenset[Trait] = frozenset()


def _sampler(name: str, aliases: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "aliases": list(aliases), "options": {}}


def _upscaler(name: str) -> dict[str, Any]:
    return {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}


_OLD_SAMPLERS = [
    _sampler(f"{name}{scheduler}")
    for name in ("Euler a", "Euler", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "Heun", "LMS", "DPM2", "DDIM", "UniPC")
    for scheduler in (("", " Karras") if name.startswith("DPM") else ("",))
]
_SDNEXT_SAMPLERS: list[dict[str, Any]] = [
    {"name": name, "options": {}}
    for name in ("Default", "Euler", "Euler a", "DPM++ 2M", "DPM++ 2M SDE", "UniPC", "DDIM", "Heun", "LMSD", "LCM")
]
_SDNEXT_FIELDS = {
    "schedulers_sigma": _TEXT,
    "schedulers_timestep_spacing": _TEXT,
    "schedulers_shift": _NUMBER,
    "clip_skip": {"type": "number", "default": 1.0},
    "resize_mode": _WHOLE,
    "resize_name": _TEXT,
    "hr_force": _FLAG,
    "hr_resize_mode": _WHOLE,
    "hr_denoising_strength": _NUMBER,
    "cfg_image": _NUMBER,
}

FORKS: Mapping[ForkName, Fork] = MappingProxyType(
    {
        "neo": Fork(
            base="forge",
            version="neo",
            without=frozenset(
                {
                    "/sdapi/v1/interrogate",
                    "/sdapi/v1/hypernetworks",
                    "/sdapi/v1/realesrgan-models",
                    "/sdapi/v1/reload-checkpoint",
                    "/sdapi/v1/create/embedding",
                    "/sdapi/v1/create/hypernetwork",
                }
            ),
            lacks={_IMG2IMG: frozenset({"mask_blur_x", "mask_blur_y"})},
            traits=frozenset({"vae option is a path", "batch is frames"}),
        ),
        "reforge": Fork(
            base="a1111",
            version="f1.0.0v2-v1.10.1RC-latest-2164-g3b56b268",
            has={_TXT2IMG: {"hr_cfg": {"type": "number", "default": 1.0}}},
            answers={"/controlnet/model_list": {"model_list": []}},
        ),
        "classic": Fork(
            base="a1111",
            version="classic",
            without=frozenset(
                {
                    "/sdapi/v1/schedulers",
                    "/sdapi/v1/hypernetworks",
                    "/sdapi/v1/interrogate",
                    "/sdapi/v1/realesrgan-models",
                    "/sdapi/v1/sd-vae",
                    "/sdapi/v1/reload-checkpoint",
                }
            ),
            lacks={_TXT2IMG: frozenset({"scheduler", "hr_scheduler"}), _IMG2IMG: frozenset({"scheduler"})},
            answers={"/sdapi/v1/samplers": _OLD_SAMPLERS},
            traits=frozenset({"schedulers in sampler names", "unknown sampler is 404"}),
        ),
        "amd": Fork(
            base="a1111",
            version="v1.10.1-amd-51-ge61adddd",
            options={"onnx_enable": False},
            traits=frozenset({"onnx ignores overrides"}),
        ),
        "sdnext": Fork(
            base="a1111",
            version="058a7f0c",
            title="SD.Next",
            without=frozenset(
                {
                    "/internal/progress",
                    "/internal/ping",
                    "/internal/pending-tasks",
                    "/adetailer/v1/ad_model",
                    "/adetailer/v1/schema",
                    "/adetailer/v1/version",
                    "/sdapi/v1/hypernetworks",
                    "/sdapi/v1/latent-upscale-modes",
                    "/sdapi/v1/realesrgan-models",
                    "/sdapi/v1/interrogate",
                }
            ),
            lacks={
                _TXT2IMG: frozenset(
                    {
                        "scheduler",
                        "force_task_id",
                        "restore_faces",
                        "hr_scheduler",
                        "hr_checkpoint_name",
                        "refiner_checkpoint",
                        "refiner_switch_at",
                    }
                ),
                _IMG2IMG: frozenset({"scheduler", "force_task_id"}),
                "ExtrasSingleImageRequest": frozenset(
                    {"gfpgan_visibility", "codeformer_visibility", "codeformer_weight"}
                ),
            },
            has={_TXT2IMG: _SDNEXT_FIELDS, _IMG2IMG: _SDNEXT_FIELDS},
            answers={
                "/sdapi/v1/samplers": _SDNEXT_SAMPLERS,
                "/sdapi/v1/upscalers": [_upscaler("None"), _upscaler("Resize Lanczos"), _upscaler("Resize Nearest")],
                "/sdapi/v1/detailers": [{"name": "face-yolo8n", "path": None}, {"name": "hand_yolov8n", "path": None}],
                "/sdapi/v1/version": {"app": "sd.next", "commit": "058a7f0c", "branch": "master", "ui": "main"},
                "/sdapi/v1/log": ["INFO started", "ERROR Processing: torch.OutOfMemoryError: CUDA out of memory"],
            },
            options={"samples_format": "jpg", "server_rate_limit": 300},
            traits=frozenset(
                {
                    "unknown sampler is 404",
                    "hires is forced by fields",
                    "no resize at mode 0",
                    "detail endpoint",
                    "options are restored",
                    "failures are empty",
                    "interrupt is 204",
                    "interrupt is lost between phases",
                    "schedulers fail",
                    "app in infotext",
                    "requests are limited",
                    "interrupted is its preview",
                }
            ),
        ),
    }
)
