"""Sizes of pictures through a plan, and the one limit on them, `upscale.max_megapixels`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rxpipe.config import Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendFailed, BackendRejected

if TYPE_CHECKING:
    from rxpipe.plan import StageExecutionPlan


class Size(NamedTuple):
    """A picture's width and height in pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    def scaled(self, factor: float) -> Size:
        """Return both sides times *factor*, rounded down."""
        return Size(int(self.width * factor), int(self.height * factor))


def upscaled(config: UpscaleConfig, size: Size) -> Size:
    """Return the size that upscaling a picture of *size* gives.

    Raises:
        BackendFailed: the result has more megapixels than the stage allows.
    """
    result = size.scaled(config.scale)
    megapixels = result.width * result.height / 1e6
    if megapixels > config.max_megapixels:
        raise BackendFailed(
            f"{size} px times {config.scale:g} gives {result} px, {megapixels:.1f} MP; "
            f"allowed are {config.max_megapixels:g} MP.",
            hint="Lower upscale.scale or raise upscale.max_megapixels.",
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
        elif isinstance(config, UpscaleConfig) and size is not None:
            try:
                size = upscaled(config, size)
            except BackendFailed as error:
                raise BackendRejected(error.message, hint=error.hint) from error
        elif generation.width and generation.height:
            size = Size(generation.width, generation.height)
        found.append(size)
    return tuple(found)


def _first_size(config: Txt2ImgConfig) -> Size | None:
    size, hires = Size(config.width, config.height), config.hires
    if hires is None or not hires.enabled:
        return size
    return None if hires.resize_x or hires.resize_y else size.scaled(hires.scale)
