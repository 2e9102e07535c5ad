"""The graphs of the four stages, as pure functions of a stage for one image and of the files that it works on."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.names import latent_upscaler, plain_upscaler
from rxpipe.backends.comfyui.parts import Painter, Settings, redrawn_steps
from rxpipe.backends.comfyui.workflow import workflow_graph
from rxpipe.backends.regions import NOTHING
from rxpipe.backends.sizes import Size, crops, drawable, enlarged
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.config.models.base import MAX_SEED
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from rxpipe.backends.comfyui.graph import Graph, Wire
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.backends.comfyui.parts import Model
    from rxpipe.backends.regions import Box
    from rxpipe.config import AdetailerUnit, HiresConfig, RefinerConfig
    from rxpipe.plan import StageExecution

_CROP, _FILL, _LATENT = 1, 2, 3
_FOUND_OUTPUT = 3
_GUIDE_PX, _MOST_GUIDE_PX = 512, 1024
_FACE_SHARE = 4  # of the picture's shorter side, where the size of a face is not known before
_MOST_CROP = 10.0


@dataclass(frozen=True, slots=True)
class RegionFile:
    """A part of the picture that is redrawn by itself. mask: name of its file, of the part's size."""

    box: Box
    size: Size
    mask: str
    seed_offset: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """The picture that a stage works on, and what belongs to it; names are those of files on the server.

    size: px, upright. mask: of the result's size; None where all of it is redrawn. ground: what is redrawn, where that
    is not the picture itself. regions: for each adetailer unit, what it redraws by itself; a unit that the server
    detects for has None.
    """

    picture: str
    size: Size
    mask: str | None = None
    ground: str | None = None
    regions: tuple[tuple[RegionFile, ...] | None, ...] = field(default=())


def graph_of(stage: StageExecution, source: Source | None, catalog: ComfyCatalog) -> Graph:
    """Return the graph that renders one image of a stage.

    Raises:
        BackendRejected: the server has no such name or stage, or there is no picture to work on.
    """
    config = stage.config
    if isinstance(config, WorkflowConfig):
        return workflow_graph(stage, config, source, catalog)
    painter = Painter(catalog)
    found: tuple[str, ...] = ()
    if isinstance(config, Txt2ImgConfig):
        image = _txt2img(painter, stage, config)
    elif source is None:
        raise BackendRejected("there is no picture to work on.")
    elif isinstance(config, Img2ImgConfig):
        image = _img2img(painter, stage, config, source)
    elif isinstance(config, AdetailerConfig):
        image, found = _adetailer(painter, stage, config, source)
    elif isinstance(config, UpscaleConfig):
        image = _upscale(painter, stage, config, source)
    else:
        raise BackendRejected(
            f"ComfyUI renders txt2img, img2img, adetailer, upscale and workflows, not {stage.stage_type}."
        )
    return painter.graph.finish(image, found).with_payload(config.payload)


# -- txt2img ----------------------------------------------------------------------------------------------------------


def _txt2img(painter: Painter, stage: StageExecution, config: Txt2ImgConfig) -> Wire:
    settings = Settings.of(stage)
    model = painter.model(settings)
    painter.conditioning(settings, model)
    latent = painter.graph.out("latent", "EmptyLatentImage", width=config.width, height=config.height, batch_size=1)
    refiner = config.refiner if config.refiner is not None and config.refiner.enabled else None
    latent = (
        painter.sampled("sample", settings, latent, model=model)
        if refiner is None
        else _refined(painter, settings, model, refiner, latent)
    )
    hires = config.hires
    if hires is None or not hires.enabled:
        return painter.decoded("decode", latent, model)
    return _second_pass(painter, settings, hires, config, latent)


def _refined(painter: Painter, settings: Settings, model: Model, refiner: RefinerConfig, latent: Wire) -> Wire:
    """One sampling by two checkpoints: the second goes on where the first stops, with the noise that is left."""
    switch = min(settings.steps, max(0, math.ceil(refiner.switch_at * settings.steps - 1e-9)))
    other = replace(settings, model=refiner.checkpoint, vae=None, clip_skip=None, loras=False)
    if switch == settings.steps:
        return painter.sampled("sample", settings, latent, model=model)
    second = painter.model(other)
    if switch == 0:
        return painter.sampled("refine", other, latent, model=second)
    latent = painter.sampled("sample", settings, latent, model=model, until=switch)
    return painter.sampled("refine", other, latent, model=second, after=switch)


def _second_pass(painter: Painter, settings: Settings, hires: HiresConfig, config: Txt2ImgConfig, latent: Wire) -> Wire:
    size, model = _hires_size(hires, config), painter.model(settings)
    second = replace(
        settings,
        prompt=settings.prompt if hires.prompt is None else hires.prompt,
        negative_prompt=settings.negative_prompt if hires.negative_prompt is None else hires.negative_prompt,
        steps=hires.steps or settings.steps,
        cfg=settings.cfg if hires.cfg_scale is None else hires.cfg_scale,
        sampler=_own_or(hires.sampler_name, settings.sampler),
        scheduler=_own_or(hires.scheduler, settings.scheduler),
        model=_own_or(hires.checkpoint, settings.model),
    )
    model_2 = painter.model(second)
    method = latent_upscaler(hires.upscaler)
    if method is not None:
        if not method[1]:
            painter.graph.warn(f"ComfyUI has no upscaler {hires.upscaler!r}; {method[0]} of latents is used")
        larger = painter.stretched("hr_latent", latent, size, method[0])
    else:
        picture = painter.enlarged("hr_", painter.decoded("decode", latent, model), hires.upscaler, size)
        larger = painter.encoded("hr_encode", picture, model_2)
    if hires.denoising_strength > 0:
        larger = painter.sampled("hr_sample", second, larger, model=model_2, denoise=hires.denoising_strength)
    return painter.decoded("hr_decode" if method is None else "decode", larger, model_2)


def _hires_size(hires: HiresConfig, config: Txt2ImgConfig) -> Size:
    size = Size(config.width, config.height)
    if not hires.resize_x and not hires.resize_y:
        return drawable(size.scaled(hires.scale))
    factor = hires.resize_x / size.width if hires.resize_x else hires.resize_y / size.height
    return drawable(Size(hires.resize_x or round(size.width * factor), hires.resize_y or round(size.height * factor)))


def _own_or(own: str | None, inherited: str | None) -> str | None:
    return inherited if own is None or own.lower().startswith("use same") else own


# -- img2img ----------------------------------------------------------------------------------------------------------


def result_size(stage: StageExecution, size: Size) -> Size:
    """Return the size that img2img gives to a picture of *size*."""
    grid = drawable(size)
    return Size(stage.generation.width or grid.width, stage.generation.height or grid.height)


def _loaded(painter: Painter, name: str, file: str) -> Wire:
    return painter.graph.out(name, "LoadImage", image=file)


def _mask(painter: Painter, file: str) -> Wire:
    return painter.graph.out("mask", "LoadImageMask", image=file, channel="red")


def _img2img(painter: Painter, stage: StageExecution, config: Img2ImgConfig, source: Source) -> Wire:
    settings = Settings.of(stage)
    model = painter.model(settings)
    picture = _loaded(painter, "image", source.picture)
    if source.regions:  # what the mask shows is redrawn by itself
        ground = None if source.ground is None else _loaded(painter, "ground", source.ground)
        return _regions(painter, settings, config, picture, source.regions[0] or (), ground=ground)
    size = result_size(stage, source.size)
    by_latents = config.resize_mode == _LATENT and size != drawable(source.size)
    crop = config.resize_mode == _CROP
    if size != source.size and not by_latents:
        picture = painter.scaled("size", picture, size, crop=crop)
    ground = picture if source.ground is None else _loaded(painter, "ground", source.ground)
    mask = None if source.mask is None else _mask(painter, source.mask)
    latent = _latent_of(painter, ground, model, mask, config.inpainting_fill)
    if by_latents:
        latent = painter.stretched("latent_size", latent, size, "bilinear")
    runs = redrawn_steps(settings.steps, config.denoising_strength)
    if runs:
        latent = painter.sampled("sample", settings, latent, model=model, runs=runs)
    drawn = painter.decoded("decode", latent, model)
    if mask is None or by_latents:
        return drawn
    return painter.graph.out(
        "keep", "ImageCompositeMasked", destination=picture, source=drawn, x=0, y=0, resize_source=False, mask=mask
    )


def _latent_of(painter: Painter, picture: Wire, model: Model, mask: Wire | None, fill: int) -> Wire:
    """Return the latent picture; with a mask only what it shows changes, from grey where *fill* says nothing."""
    if mask is None:
        return painter.encoded("encode", picture, model)
    if fill == NOTHING:
        return painter.graph.out(
            "encode", "VAEEncodeForInpaint", pixels=picture, vae=model.vae, mask=mask, grow_mask_by=0
        )
    latent = painter.encoded("encode", picture, model)
    return painter.graph.out("masked", "SetLatentNoiseMask", samples=latent, mask=mask)


def _regions(
    painter: Painter,
    settings: Settings,
    config: Img2ImgConfig | AdetailerUnit,
    picture: Wire,
    regions: tuple[RegionFile, ...],
    *,
    ground: Wire | None = None,
) -> Wire:
    """Redraw parts of a picture one after the other, each by itself at a size of its own, and paste them back."""
    model = painter.model(settings)
    for region in regions:
        drawn_with = replace(settings, seed=(settings.seed + region.seed_offset) % (MAX_SEED + 1))
        crop = painter.graph.out(
            "crop",
            "ImageCrop",
            image=ground or picture,
            x=region.box.left,
            y=region.box.top,
            width=region.box.size.width,
            height=region.box.size.height,
        )
        big = painter.scaled("big", crop, region.size)
        mask = _mask(painter, region.mask)
        latent = _latent_of(painter, big, model, mask, getattr(config, "inpainting_fill", 1))
        runs = redrawn_steps(settings.steps, config.denoising_strength)
        if runs:
            latent = painter.sampled("sample", drawn_with, latent, model=model, runs=runs)
        small = painter.scaled("small", painter.decoded("decode", latent, model), region.box.size)
        picture = painter.graph.out(
            "paste",
            "ImageCompositeMasked",
            destination=picture,
            source=small,
            x=region.box.left,
            y=region.box.top,
            resize_source=False,
            mask=mask,
        )
    return picture


# -- adetailer --------------------------------------------------------------------------------------------------------


def _adetailer(
    painter: Painter, stage: StageExecution, config: AdetailerConfig, source: Source
) -> tuple[Wire, tuple[str, ...]]:
    picture, found = _loaded(painter, "image", source.picture), []
    for unit, regions in zip((config, *config.units), source.regions, strict=True):
        settings = unit_settings(stage, unit)
        if regions is None:
            picture, shown = _detailed(painter, settings, unit, picture, source.size)
            found.append(shown)
        else:
            picture = _regions(painter, settings, unit, picture, regions)
    return picture, tuple(found)


def unit_settings(stage: StageExecution, unit: AdetailerUnit) -> Settings:
    """Return what the detections of a unit are drawn with."""
    settings = Settings.of(stage)
    return replace(
        settings,
        prompt=unit.prompt or settings.prompt,
        negative_prompt=unit.negative_prompt or settings.negative_prompt,
        steps=unit.steps or settings.steps,
        cfg=settings.cfg if unit.cfg_scale is None else unit.cfg_scale,
        sampler=_own_or(unit.sampler_name, settings.sampler),
        scheduler=_own_or(unit.scheduler, settings.scheduler),
        model=_own_or(unit.checkpoint, settings.model),
    )


def _detailed(painter: Painter, settings: Settings, unit: AdetailerUnit, picture: Wire, size: Size) -> tuple[Wire, str]:
    """Detect and redraw by Impact-Pack; return the picture, and the node that shows what was found."""
    graph, catalog, model = painter.graph, painter.catalog, painter.model(settings)
    node_class = catalog.detailer
    if node_class is None:
        raise BackendRejected("the server has no FaceDetailer.")
    detector = graph.out("detector", "UltralyticsDetectorProvider", model_name=catalog.detector(unit.detector))
    sampling, runs = painter.sampling(settings), redrawn_steps(settings.steps, unit.denoising_strength)
    own = {
        "image": picture,
        "model": model.unet,
        "clip": model.clip,
        "vae": model.vae,
        **painter.conditioning(settings, model)._asdict(),
        "bbox_detector": detector,
        "guide_size": float(min(unit.inpaint_width or _GUIDE_PX, unit.inpaint_height or _GUIDE_PX)),
        "guide_size_for": True if "BOOLEAN" in node_class.inputs["guide_size_for"].kind else "bbox",
        "max_size": float(max(_MOST_GUIDE_PX, unit.inpaint_width or 0, unit.inpaint_height or 0)),
        "seed": settings.seed,
        "steps": max(1, runs),
        "cfg": settings.cfg,
        "sampler_name": sampling.comfy_sampler,
        "scheduler": sampling.comfy_scheduler,
        "denoise": _share(max(1, runs), settings.steps),
        "feather": unit.mask_blur,
        "bbox_threshold": unit.confidence,
        "bbox_dilation": unit.dilate_erode,
        "bbox_crop_factor": _crop_factor(unit, size),
    }
    usual = {
        name: spec.default
        for name, spec in node_class.inputs.items()
        if spec.required and spec.is_value and spec.default is not None
    }
    node = graph.add("detail", "FaceDetailer", "Detailer", **{"wildcard": "", **usual, **own})
    graph.steps[node] = max(1, runs)
    shown = graph.out("maskimg", "MaskToImage", mask=[node, _FOUND_OUTPUT])
    return [node, 0], graph.add("found", "PreviewImage", "Found", images=shown)


def _share(runs: int, steps: int) -> float:
    """Return the denoise with which ComfyUI spreads *runs* steps as the last ones of *steps*."""
    share = runs / steps
    while int(runs / share) < steps:
        share = math.nextafter(share, 0.0)
    return share


def _crop_factor(unit: AdetailerUnit, size: Size) -> float:
    face = max(1.0, min(size) / _FACE_SHARE)
    return round(min(_MOST_CROP, (face + 2 * unit.padding) / face), 2)


# -- upscale ----------------------------------------------------------------------------------------------------------


def _upscale(painter: Painter, stage: StageExecution, config: UpscaleConfig, source: Source) -> Wire:
    size, crop = enlarged(config, source.size), crops(config)
    picture = _loaded(painter, "image", source.picture)
    if config.mode == "img2img":
        settings = Settings.of(stage)
        model = painter.model(settings)
        larger = painter.enlarged("", picture, config.upscaler or "Lanczos", drawable(size), crop=crop)
        latent = painter.encoded("encode", larger, model)
        runs = redrawn_steps(settings.steps, config.denoising_strength)
        if runs:
            latent = painter.sampled("sample", settings, latent, model=model, runs=runs)
        return painter.decoded("decode", latent, model)
    first = painter.enlarged("", picture, config.upscaler or "Lanczos", size, crop=crop)
    if not config.upscaler_2 or not config.upscaler_2_visibility:
        return first
    second = painter.enlarged("second_", picture, config.upscaler_2, size, crop=crop)
    return painter.graph.out(
        "blend",
        "ImageBlend",
        image1=first,
        image2=second,
        blend_factor=config.upscaler_2_visibility,
        blend_mode="normal",
    )


def used_upscaler(config: UpscaleConfig) -> str:
    """Return the name of the upscaler that a stage uses."""
    named = config.upscaler or "Lanczos"
    return "Lanczos" if plain_upscaler(named) == "lanczos" else named
