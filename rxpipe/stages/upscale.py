"""upscale: make pictures larger, within what was allowed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

import reactivex as rx

from rxpipe.config import UpscaleConfig
from rxpipe.errors import BackendFailed
from rxpipe.pictures.png import pixel_size
from rxpipe.stages.base import ImageStage, section_of

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config.models import UpscaleKeywords
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput


class UpscaleStage(ImageStage):
    """Makes each picture `scale` times as large."""

    def draw(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """The picture made larger; one that would exceed `max_megapixels` fails before the backend is asked."""
        too_large = _too_large(execution, artifact)
        return rx.throw(too_large) if too_large else backend.render(execution, artifact)


def _too_large(execution: StageExecution, artifact: Artifact) -> BackendFailed | None:
    config = execution.config
    size = pixel_size(artifact.read())
    if size is None or not isinstance(config, UpscaleConfig):
        return None
    width, height = round(size.width * config.scale), round(size.height * config.scale)
    megapixels = width * height / 1e6
    if megapixels <= config.max_megapixels:
        return None
    return BackendFailed(
        f"{size.width}x{size.height} by {config.scale:g} would be {width}x{height}, {megapixels:.1f} megapixels, "
        f"and {config.max_megapixels:g} are allowed.",
        hint="Lower upscale.scale or raise upscale.max_megapixels.",
    )


def upscale(config: UpscaleConfig | None = None, /, **settings: Unpack[UpscaleKeywords]) -> UpscaleStage:
    """The stage that makes pictures larger; settings as in `UpscaleConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return UpscaleStage(section_of(UpscaleConfig, config, settings))
