"""Requests to the server: one frozen model per request, made by pure functions from a stage and a picture's size.

Model, VAE and clip skip are in the request's own `override_settings`, not in server-wide options. A picture is
spliced into the finished JSON as base64, so that megabytes are copied once.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from rxpipe.backends.sizes import Size, crops, drawable, enlarged, scale_of
from rxpipe.backends.webui.base64s import encode
from rxpipe.backends.webui.units import adetailer_unit, with_sampler
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig
    from rxpipe.plan import StageExecution

DEFAULT_STEPS = 20  # the server's own default of 50 is hardly ever meant
DEFAULT_UPSCALER = "Lanczos"  # every server has it; "None" would return the picture at its own size


class Request(BaseModel):
    """What all requests share.

    path: where it is posted. picture_key, picture_is_list: where its picture goes, None for none.
    further: fields of the section's `payload` that are none of this model's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: ClassVar[str]
    picture_key: ClassVar[str | None] = None
    picture_is_list: ClassVar[bool] = False
    further: dict[str, JsonValue] = Field(default_factory=dict)

    def body(self, picture: bytes | None = None, mask: bytes | None = None) -> bytes:
        """The request as JSON.

        Args:
            picture: the encoded input picture, of any format that the server reads; None for a request without one.
            mask: the encoded mask, None for none.
        """
        values = {**self.model_dump(exclude_none=True, exclude={"further"}), **self.further}
        parts = [json.dumps(values, separators=(",", ":")).encode("ascii")[:-1]]
        if picture is not None and self.picture_key is not None and self.picture_key not in self.further:
            opening, closing = (b'["', b'"]') if self.picture_is_list else (b'"', b'"')
            parts += [b',"', self.picture_key.encode(), b'":', opening, encode(picture), closing]
        if mask is not None and "mask" not in self.further:
            parts += [b',"mask":"', encode(mask), b'"']
        return b"".join((*parts, b"}"))


class GenerationRequest(Request):
    """What txt2img and img2img share. None is left out, and the server's default holds."""

    prompt: str = ""
    negative_prompt: str = ""
    styles: tuple[str, ...] | None = None
    seed: int = -1
    steps: int = DEFAULT_STEPS
    cfg_scale: float | None = None
    width: int
    height: int
    sampler_name: str | None = None
    scheduler: str | None = None
    batch_size: int = 1
    n_iter: int = 1
    denoising_strength: float | None = None
    override_settings: dict[str, JsonValue] | None = None
    override_settings_restore_afterwards: bool = True
    alwayson_scripts: dict[str, JsonValue] | None = None
    send_images: bool = True
    save_images: bool = False
    force_task_id: str | None = None

    @property
    def size(self) -> Size:
        """What is asked for, before any hires fix."""
        return Size(self.width, self.height)

    @property
    def result_size(self) -> Size | None:
        """What the picture will have, as the server rounds it; None where that is not known."""
        return self.size

    @property
    def model(self) -> str | None:
        """The checkpoint asked for, None for the one loaded."""
        name = (self.override_settings or {}).get("sd_model_checkpoint")
        return name if isinstance(name, str) else None


class Txt2ImgRequest(GenerationRequest):
    """POST /sdapi/v1/txt2img. `distilled_cfg_scale` is Forge's; others ignore it."""

    path: ClassVar[str] = "/sdapi/v1/txt2img"
    subseed: int | None = None
    subseed_strength: float | None = None
    distilled_cfg_scale: float | None = None
    tiling: bool | None = None
    restore_faces: bool | None = None
    enable_hr: bool | None = None
    hr_scale: float | None = None
    hr_upscaler: str | None = None
    hr_second_pass_steps: int | None = None
    hr_resize_x: int | None = None
    hr_resize_y: int | None = None
    hr_sampler_name: str | None = None
    hr_scheduler: str | None = None
    hr_checkpoint_name: str | None = None
    hr_additional_modules: tuple[str, ...] | None = None
    hr_cfg: float | None = None
    hr_prompt: str | None = None
    hr_negative_prompt: str | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None

    @property
    def result_size(self) -> Size | None:
        """That of the second pass, where there is one; None where the server derives a side from the other."""
        if not self.enable_hr:
            return self.size
        if self.hr_resize_x or self.hr_resize_y:
            both = self.hr_resize_x and self.hr_resize_y
            return drawable(Size(self.hr_resize_x or 0, self.hr_resize_y or 0)) if both else None
        return drawable(self.size.scaled(self.hr_scale or 1.0))


class Img2ImgRequest(GenerationRequest):
    """POST /sdapi/v1/img2img, over one picture."""

    path: ClassVar[str] = "/sdapi/v1/img2img"
    picture_key: ClassVar[str | None] = "init_images"
    picture_is_list: ClassVar[bool] = True
    resize_mode: int | None = None
    mask_blur: int | None = None
    inpaint_full_res: bool | None = None
    inpaint_full_res_padding: int | None = None
    inpainting_fill: int | None = None
    inpainting_mask_invert: int | None = None


class SingleRequest(Request):
    """A request over one picture that is no generation: the server reports its progress for all clients only."""

    picture_key: ClassVar[str | None] = "image"


class DetailRequest(SingleRequest):
    """POST /sdapi/v1/detail: SD.Next's own detailer, with the loaded model."""

    path: ClassVar[str] = "/sdapi/v1/detail"
    seed: int
    detailer_models: tuple[str, ...]
    detailer_prompt: str
    detailer_negative: str
    detailer_steps: int
    detailer_strength: float
    detailer_conf: float
    detailer_blur: int
    detailer_padding: int
    detailer_min_size: float
    detailer_max_size: float
    detailer_max: int | None = None
    detailer_resolution: int | None = None
    detailer_sampler: str | None = None
    detailer_cfg_scale: float | None = None


class ExtrasRequest(SingleRequest):
    """POST /sdapi/v1/extra-single-image: upscalers and face restorers, no sampling."""

    path: ClassVar[str] = "/sdapi/v1/extra-single-image"
    resize_mode: int = 0
    upscaling_resize: float
    upscaling_resize_w: int | None = None
    upscaling_resize_h: int | None = None
    upscaling_crop: bool | None = None
    upscaler_1: str
    upscaler_2: str | None = None
    extras_upscaler_2_visibility: float | None = None
    gfpgan_visibility: float | None = None
    codeformer_visibility: float | None = None
    codeformer_weight: float | None = None


# -- one function per stage -------------------------------------------------------------------------------------------


def txt2img(stage: StageExecution, config: Txt2ImgConfig, *, batch_size: int = 1) -> Txt2ImgRequest:
    """Return the request for *batch_size* pictures with the seeds stage.seed, stage.seed + 1, ..."""
    generation = stage.generation
    request = Txt2ImgRequest(
        **_generation(stage),
        width=generation.width or config.width,
        height=generation.height or config.height,
        styles=config.styles or None,
        batch_size=batch_size,
        subseed=config.subseed if config.subseed_strength else None,
        subseed_strength=config.subseed_strength or None,
        distilled_cfg_scale=config.distilled_cfg_scale,
        tiling=config.tiling or None,
        restore_faces=config.restore_faces or None,
        override_settings=_overrides(stage, config.override_settings),
        alwayson_scripts=config.alwayson_scripts or None,
        **_hires(config, generation.cfg_scale),
        **_refiner(config),
    )
    return with_payload(request, config.payload)


def img2img(stage: StageExecution, config: Img2ImgConfig, size: Size) -> Img2ImgRequest:
    """Return the request over a picture of *size*, which is also the result's where the stage names none."""
    grid = drawable(size)
    request = Img2ImgRequest(
        **_generation(stage),
        width=stage.generation.width or grid.width,
        height=stage.generation.height or grid.height,
        denoising_strength=config.denoising_strength,
        resize_mode=config.resize_mode,
        override_settings=_overrides(stage, config.override_settings),
        alwayson_scripts=config.alwayson_scripts or None,
        **_inpainting(config),
    )
    return with_payload(request, config.payload)


def adetailer(
    stage: StageExecution, config: AdetailerConfig, size: Size, *, schema: Mapping[str, Any] | None = None
) -> Img2ImgRequest:
    """Return the request that details an existing picture and leaves the rest of it alone.

    The outer pass is skipped (the second argument): it would send the whole picture through the VAE. Width and height
    are those of the detail pass.

    Args:
        stage: for one image.
        config: its section; the section itself is the first unit.
        size: of the picture.
        schema: properties of the extension's own schema, None where it reports none.

    Raises:
        BackendRejected: a unit asks for what the extension does not know, or its scripts hold ADetailer itself.
    """
    grid = drawable(size)
    if any(name.casefold() == "adetailer" for name in config.alwayson_scripts):
        raise BackendRejected(
            "adetailer.alwayson_scripts holds ADetailer, which is the stage itself; use its settings."
        )
    units = [adetailer_unit(with_sampler(unit, stage), schema) for unit in (config, *config.units)]
    request = Img2ImgRequest(
        **_generation(stage),
        width=grid.width,
        height=grid.height,
        denoising_strength=config.denoising_strength,
        override_settings=_overrides(stage, config.override_settings),
        alwayson_scripts={**config.alwayson_scripts, "ADetailer": {"args": [True, True, *units]}},
    )
    return with_payload(request, config.payload)


def detail(stage: StageExecution, config: AdetailerConfig) -> DetailRequest:
    """Return the request of a server that has a detailer of its own.

    Raises:
        BackendRejected: more than one detector, or a checkpoint, neither of which it takes.
    """
    generation = stage.generation
    if config.units:
        raise BackendRejected("adetailer.units: the server takes one detector a stage.", hint="Add a further stage.")
    if config.checkpoint or config.model:
        raise BackendRejected("adetailer: the server details with the loaded checkpoint only; leave the model out.")
    request = DetailRequest(
        seed=-1 if stage.seed is None else stage.seed,
        detailer_models=(config.detector,),
        detailer_prompt=generation.prompt,
        detailer_negative=generation.negative_prompt,
        detailer_steps=generation.steps or DEFAULT_STEPS,
        detailer_strength=config.denoising_strength,
        detailer_conf=config.confidence,
        detailer_blur=config.mask_blur,
        detailer_padding=config.padding,
        detailer_min_size=config.mask_min_ratio,
        detailer_max_size=config.mask_max_ratio,
        detailer_max=config.mask_k_largest or None,
        detailer_resolution=config.inpaint_width,
        detailer_sampler=generation.sampler_name,
        detailer_cfg_scale=generation.cfg_scale,
    )
    return with_payload(request, config.payload)


def upscale(config: UpscaleConfig, size: Size) -> ExtrasRequest:
    """Return the request of mode "single" over a picture of *size*.

    A server brings a picture to a size only so that it covers it; one inside the size is a matter of the factor.
    """
    box = Size(config.width or 0, config.height or 0) if crops(config) else None
    request = ExtrasRequest(
        resize_mode=0 if box is None else 1,
        upscaling_resize=scale_of(config, size),
        upscaling_resize_w=box and box.width,
        upscaling_resize_h=box and box.height,
        upscaling_crop=box and True,
        upscaler_1=config.upscaler or DEFAULT_UPSCALER,
        upscaler_2=config.upscaler_2,
        extras_upscaler_2_visibility=config.upscaler_2_visibility if config.upscaler_2 else None,
        gfpgan_visibility=config.gfpgan_visibility,
        codeformer_visibility=config.codeformer_visibility,
        codeformer_weight=config.codeformer_weight,
    )
    return with_payload(request, config.payload)


def upscale_by_img2img(stage: StageExecution, config: UpscaleConfig, size: Size) -> Img2ImgRequest:
    """Return the request of mode "img2img": resized by the upscaler, then rendered at the larger size."""
    larger = drawable(enlarged(config, size))
    extra: dict[str, JsonValue] = {"upscaler_for_img2img": config.upscaler} if config.upscaler else {}
    request = Img2ImgRequest(
        **_generation(stage),
        width=larger.width,
        height=larger.height,
        denoising_strength=config.denoising_strength,
        resize_mode=1 if crops(config) else 0,
        override_settings=_overrides(stage, {**extra, **config.override_settings}),
        alwayson_scripts=config.alwayson_scripts or None,
    )
    return with_payload(request, config.payload)


def sampled_steps(request: Request) -> int | None:
    """Return how many steps the server's progress counts to; None where that depends on what it finds."""
    if isinstance(request, Txt2ImgRequest):
        return None if request.enable_hr else request.steps
    if isinstance(request, Img2ImgRequest) and "ADetailer" not in (request.alwayson_scripts or {}):
        return int(request.steps * min(request.denoising_strength or 0.0, 0.999)) + 1
    return None


# -- payload ----------------------------------------------------------------------------------------------------------

_OURS = {
    "force_task_id": "it is how rxpipe follows and stops its job",
    "send_images": "without pictures a stage has no result",
    "batch_size": "set txt2img.batch_size",
    "n_iter": "set images",
    "seed": "set seed",
}
_RequestT = TypeVar("_RequestT", bound=Request)


def with_payload(request: _RequestT, payload: Mapping[str, JsonValue]) -> _RequestT:
    """Return the request with a section's `payload` merged into it; options and scripts are merged by name.

    Raises:
        BackendRejected: it holds what only rxpipe may set, or a value that the field cannot have.
    """
    if not payload:
        return request
    for name in payload.keys() & _OURS.keys():
        raise BackendRejected(f"payload.{name} cannot be set: {_OURS[name]}.")
    values = request.model_dump()
    known = {name: _merged(values[name], value) for name, value in payload.items() if name in values}
    further = {name: value for name, value in payload.items() if name not in values}
    try:
        return type(request).model_validate({**values, **known, "further": further})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BackendRejected(f"payload.{where}: {first['msg']}; got {first['input']!r:.80}.") from error


def _merged(own: object, given: JsonValue) -> object:
    return {**own, **given} if isinstance(own, dict) and isinstance(given, dict) else given


# -- parts ------------------------------------------------------------------------------------------------------------


def _generation(stage: StageExecution) -> dict[str, Any]:
    generation = stage.generation
    return {
        "prompt": generation.prompt,
        "negative_prompt": generation.negative_prompt,
        "seed": -1 if stage.seed is None else stage.seed,
        "steps": generation.steps or DEFAULT_STEPS,
        "cfg_scale": generation.cfg_scale,
        "sampler_name": generation.sampler_name,
        "scheduler": generation.scheduler,
    }


def _overrides(stage: StageExecution, own: Mapping[str, JsonValue]) -> dict[str, JsonValue] | None:
    """Return the settings that the stage names, and those of its section's own `override_settings`, which win."""
    generation = stage.generation
    named: dict[str, JsonValue] = {
        "sd_model_checkpoint": generation.model,
        "sd_vae": generation.vae,
        "CLIP_stop_at_last_layers": generation.clip_skip,
    }
    return {**{key: value for key, value in named.items() if value is not None}, **own} or None


def _inpainting(config: Img2ImgConfig) -> dict[str, Any]:
    if config.mask is None:
        return {}
    return {
        "mask_blur": config.mask_blur,
        "inpaint_full_res": config.inpaint_full_res,
        "inpaint_full_res_padding": config.inpaint_full_res_padding,
        "inpainting_fill": config.inpainting_fill,
        "inpainting_mask_invert": int(config.inpainting_mask_invert),
    }


def _hires(config: Txt2ImgConfig, cfg_scale: float | None) -> dict[str, Any]:
    """Return the second pass. Forge fails without `hr_additional_modules`; without `hr_cfg` it takes 1.0."""
    hires = config.hires
    if hires is None or not hires.enabled:
        return {}
    return {
        "enable_hr": True,
        "denoising_strength": hires.denoising_strength,
        "hr_scale": hires.scale,
        "hr_upscaler": hires.upscaler,
        "hr_second_pass_steps": hires.steps,
        "hr_resize_x": hires.resize_x,
        "hr_resize_y": hires.resize_y,
        "hr_sampler_name": hires.sampler_name,
        "hr_scheduler": hires.scheduler,
        "hr_checkpoint_name": hires.checkpoint,
        "hr_additional_modules": ("Use same choices",),
        "hr_cfg": cfg_scale if hires.cfg_scale is None else hires.cfg_scale,
        "hr_prompt": hires.prompt,
        "hr_negative_prompt": hires.negative_prompt,
    }


def _refiner(config: Txt2ImgConfig) -> dict[str, Any]:
    refiner = config.refiner
    if refiner is None or not refiner.enabled:
        return {}
    return {"refiner_checkpoint": refiner.checkpoint, "refiner_switch_at": refiner.switch_at}
