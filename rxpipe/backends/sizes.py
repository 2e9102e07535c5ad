"""Sizes of pictures through a plan, and the one limit on them, `upscale.max_megapixels`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.config import Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendFailed, BackendRejected

if TYPE_CHECKING:
    from rxpipe.plan import StageExecutionPlan


_SMALLEST_PX, _GRID_PX = 64, 8


class Size(NamedTuple):
    """A picture's width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    def scaled(self, factor: float) -> Size:
        """Return both sides times *factor*, rounded down."""
        return Size(int(self.width * factor), int(self.height * factor))

    def shares(self, box: Size) -> tuple[float, float]:
        """Return what each side has to be multiplied by to become the box's."""
        return _factor(self.width, box.width), _factor(self.height, box.height)


def drawable(size: Size) -> Size:
    """Return what a server makes of a size: multiples of 8 px, at least 64."""
    return Size(*(max(_SMALLEST_PX, side - side % _GRID_PX) for side in size))


def _factor(side: int, wanted: int) -> float:
    """Return the smallest float that makes *wanted* of *side* where the product is rounded down."""
    factor = wanted / side
    while int(side * factor) < wanted:
        factor = math.nextafter(factor, math.inf)
    return factor


def scale_of(config: UpscaleConfig, size: Size) -> float:
    """Return the factor by which a picture of *size* is enlarged before what is over is cut off."""
    if config.width is None and config.height is None:
        return config.scale
    across, down = size.shares(Size(config.width or size.width, config.height or size.height))
    if config.height is None:
        return across
    if config.width is None:
        return down
    return max(across, down) if config.fit == "crop" else min(across, down)


def crops(config: UpscaleConfig) -> bool:
    """Whether the result has exactly the size that is set, and what is over is cut off."""
    return config.fit == "crop" and config.width is not None and config.height is not None


def enlarged(config: UpscaleConfig, size: Size) -> Size:
    """Return the size that upscaling a picture of *size* gives, however large that is."""
    if crops(config) and config.width is not None and config.height is not None:
        return Size(config.width, config.height)
    width, height = size.scaled(scale_of(config, size))
    return Size(max(1, width), max(1, height))


def upscaled(config: UpscaleConfig, size: Size) -> Size:
    """Return the size that upscaling a picture of *size* gives.

    Raises:
        BackendFailed: the result has more megapixels than the stage allows.
    """
    result = enlarged(config, size)
    megapixels = result.width * result.height / 1e6
    if megapixels > config.max_megapixels:
        set_by = "scale" if config.width is None and config.height is None else "width and upscale.height"
        raise BackendFailed(
            f"{size} px times {scale_of(config, size):g} gives {result} px, {megapixels:.1f} MP; "
            f"allowed are {config.max_megapixels:g} MP.",
            hint=f"Lower upscale.{set_by} or raise upscale.max_megapixels.",
        )
    return result


def sizes(plan: StageExecutionPlan) -> tuple[Size | None, ...]:
    """Return the size of the picture after each stage, None where it is not known before the run.

    Raises:
        BackendRejected: a stage would exceed `upscale.max_megapixels`.
    """
    found: list[Size | None] = []
    size: Size | None = None
    for stage in plan.stages:
        config, generation = stage.config, stage.generation
        if isinstance(config, Txt2ImgConfig):
            size = _first_size(config)
        elif isinstance(config, UpscaleConfig):
            size = None if size is None else _planned(config, size)
        elif generation.width and generation.height:
            size = Size(generation.width, generation.height)
        found.append(size)
    return tuple(found)


def _planned(config: UpscaleConfig, size: Size) -> Size:
    try:
        return upscaled(config, size)
    except BackendFailed as error:
        raise BackendRejected(error.message, hint=error.hint) from error


def _first_size(config: Txt2ImgConfig) -> Size | None:
    size, hires = Size(config.width, config.height), config.hires
    if hires is None or not hires.enabled:
        return size
    return None if hires.resize_x or hires.resize_y else size.scaled(hires.scale)
