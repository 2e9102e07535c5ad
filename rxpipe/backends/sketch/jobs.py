"""From a stage's settings to the engine's work: what each of the four stages means to a drawing program."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from rxpipe.backends.masks import mask_of
from rxpipe.backends.picture import joined, read_picture, split
from rxpipe.backends.sizes import Size, crops, upscaled
from rxpipe.backends.sketch.faces import Unit, refine_faces
from rxpipe.backends.sketch.frame import PaintResult
from rxpipe.backends.sketch.inpaint import Inpainting, inpaint
from rxpipe.backends.sketch.paint import PaintJob, paint
from rxpipe.backends.sketch.resample import enlarge, upscale
from rxpipe.backends.sketch.restyle import restyle
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendRejected, BadImage
from rxpipe.pictures.faces import looks_for_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rxpipe.artifact import Artifact
    from rxpipe.backends.picture import InputImage
    from rxpipe.backends.sketch.field import U8
    from rxpipe.backends.sketch.frame import Work
    from rxpipe.config import AdetailerUnit
    from rxpipe.plan import StageExecution

USUAL_STEPS, USUAL_CFG, USUAL_PX = 20, 7.0, 512
"""Defaults for what the config leaves open."""
_CROP, _FILL = 1, 2


def job(stage: StageExecution, source: Artifact | None, wanted: Callable[[], bool]) -> Work:
    """The work that a stage asks for.

    Args:
        stage: narrowed to one image.
        source: the picture to work on, None for txt2img.
        wanted: asked while a picture is decoded and while a look for faces is awaited; once it says no, that stops.

    Raises:
        BackendRejected: not one of the four stages.
        BadImage: no picture to work on, or none that can be decoded.
    """
    config = stage.config
    if isinstance(config, Txt2ImgConfig):
        return (yield from paint(_paint_job(stage, *_drawn_size(stage, config))))
    if isinstance(config, WorkflowConfig):
        raise BackendRejected(f"the embedded backend knows no stage {stage.stage_type!r}; a ComfyUI runs workflows.")
    if source is None:
        raise BadImage(f"{stage.stage_type} has no picture to work on.", hint="Put txt2img before it.")
    input_image = read_picture(source, wanted)
    yield None
    if isinstance(config, Img2ImgConfig):
        mask = None if config.mask is None else mask_of(config, source, input_image.image)
        return (yield from _img2img(stage, config, input_image, mask))
    if isinstance(config, AdetailerConfig):
        return (yield from _adetailer(stage, config, input_image, wanted))
    if isinstance(config, UpscaleConfig):
        return (yield from _upscale(stage, config, input_image))
    raise BackendRejected(f"the embedded backend knows no stage {stage.stage_type!r}.")


def takes_faces(unit: AdetailerUnit) -> bool:
    """Whether this unit's detector looks for what this backend can find."""
    return looks_for_faces(unit.detector)


def _paint_job(stage: StageExecution, width: int, height: int) -> PaintJob:
    generation = stage.generation
    return PaintJob(
        prompt=generation.prompt,
        negative=generation.negative_prompt,
        seed=stage.seed or 0,
        width=width,
        height=height,
        steps=generation.steps or USUAL_STEPS,
        cfg_scale=USUAL_CFG if generation.cfg_scale is None else generation.cfg_scale,
    )


def _drawn_size(stage: StageExecution, config: Txt2ImgConfig) -> tuple[int, int]:
    """Width and height of txt2img's picture; the hires fix draws at the larger size directly."""
    width, height = stage.generation.width or USUAL_PX, stage.generation.height or USUAL_PX
    hires = config.hires
    if hires is None or not hires.enabled:
        return width, height
    return hires.resize_x or round(width * hires.scale), hires.resize_y or round(height * hires.scale)


def _img2img(stage: StageExecution, config: Img2ImgConfig, input_image: InputImage, mask: Image.Image | None) -> Work:
    image = input_image.image
    size = (stage.generation.width or image.width, stage.generation.height or image.height)
    if mask is not None and config.inpaint_full_res:
        size = image.size  # width and height are those of the part that is redrawn
    if size != image.size:
        image = yield from _fitted(image, size, config.resize_mode)
        if mask is not None:
            fitted = yield from _fitted(mask.convert("RGB"), size, config.resize_mode)
            mask = fitted.convert("L")
    if mask is not None and config.denoising_strength > 0:
        return (yield from _inpainted(stage, config, image, mask, input_image.notes))
    colours, alpha = split(image)
    result = yield from restyle(_paint_job(stage, *size), colours, config.denoising_strength)
    kept = input_image.data if config.denoising_strength == 0 and image is input_image.image else None
    notes = () if kept is not None else input_image.notes
    return PaintResult(joined(result.pixels, alpha), encoded=kept, warnings=notes, facts=result.facts)


def _inpainted(
    stage: StageExecution, config: Img2ImgConfig, image: Image.Image, mask: Image.Image, notes: tuple[str, ...]
) -> Work:
    def redraw(ground: U8) -> Work:
        height, width = ground.shape[:2]
        return restyle(_paint_job(stage, width, height), ground, config.denoising_strength)

    plan = Inpainting(
        mask=mask,
        blur=config.mask_blur,
        alone=config.inpaint_full_res,
        padding=config.inpaint_full_res_padding,
        fill=config.inpainting_fill,
    )
    colours, alpha = split(image)
    result = yield from inpaint(colours, plan, stage.seed or 0, redraw)
    if alpha is not None:
        alpha = np.maximum(alpha, np.asarray(mask)[:, :, None])  # what is redrawn is opaque
    return PaintResult(
        joined(result.pixels, alpha),
        unchanged=result.unchanged,
        warnings=(*notes, *result.warnings),
        facts=result.facts,
    )


def _fitted(image: Image.Image, size: tuple[int, int], mode: int) -> Generator[None, None, Image.Image]:
    """The picture brought to a size: stretched (mode 0, 3), cut to fit (1), or whole on a blurred ground (2)."""
    if mode == _CROP:
        image = _cut(image, size)
    elif mode == _FILL:
        inner = ImageOps.contain(image, size, Image.Resampling.LANCZOS)
        yield
        ground = image.resize((64, 64), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(4)).resize(size)
        ground.paste(inner, ((size[0] - inner.width) // 2, (size[1] - inner.height) // 2))
        return ground
    pixels = yield from enlarge(image, *size)
    return Image.fromarray(pixels)


def _cut(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The middle of the picture, as much as has the shape of *size*."""
    wide = max(1, min(image.width, round(image.height * size[0] / size[1])))
    high = max(1, min(image.height, round(image.width * size[1] / size[0])))
    left, top = (image.width - wide) // 2, (image.height - high) // 2
    return image.crop((left, top, left + wide, top + high))


def _adetailer(
    stage: StageExecution, config: AdetailerConfig, input_image: InputImage, wanted: Callable[[], bool]
) -> Work:
    units = [_unit(unit) for unit in (config, *config.units) if takes_faces(unit)]
    colours, alpha = split(input_image.image)
    result = yield from refine_faces(colours, units, stage.generation.steps or USUAL_STEPS, wanted)
    return PaintResult(
        joined(result.pixels, alpha), unchanged=result.unchanged, warnings=input_image.notes, facts=result.facts
    )


def _unit(unit: AdetailerUnit) -> Unit:
    return Unit(
        confidence=unit.confidence,
        strength=unit.denoising_strength,
        grow=unit.dilate_erode,
        feather=unit.mask_blur,
        smallest=unit.mask_min_ratio,
        largest=unit.mask_max_ratio,
        most=unit.mask_k_largest,
        by=unit.mask_filter_method,
        invert=unit.mask_merge_invert == "Merge and Invert",
    )


def _upscale(stage: StageExecution, config: UpscaleConfig, input_image: InputImage) -> Work:
    image, (width, height) = _boxed(config, input_image.image)
    if config.mode == "single":
        result = yield from upscale(image, width, height)
        return PaintResult(result.pixels, warnings=input_image.notes, facts=result.facts)
    pixels = yield from enlarge(image, width, height)
    result = yield from restyle(_paint_job(stage, width, height), pixels[:, :, :3], config.denoising_strength)
    alpha = pixels[:, :, 3:] if pixels.shape[2] > 3 else None
    return PaintResult(joined(result.pixels, alpha), warnings=input_image.notes, facts={"upscaler": "Lanczos"})


def _boxed(config: UpscaleConfig, image: Image.Image) -> tuple[Image.Image, Size]:
    """The picture, cut to the shape of its result where that is asked for, and the result's size."""
    if config.width is None and config.height is None:
        width, height = (max(1, round(px * config.scale)) for px in image.size)
        return image, Size(width, height)
    size = upscaled(config, Size(*image.size))
    return (_cut(image, size) if crops(config) else image), size
