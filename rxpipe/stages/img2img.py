"""img2img: redraw a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rxpipe.config import Img2ImgConfig
from rxpipe.stages.base import ImageStage, section_of

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config.models import Img2ImgKeywords
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput


class Img2ImgStage(ImageStage):
    """Redraws each picture by its denoising strength."""

    def draw(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """The picture redrawn."""
        return backend.render(execution, artifact)


def img2img(config: Img2ImgConfig | None = None, /, **settings: Unpack[Img2ImgKeywords]) -> Img2ImgStage:
    """The stage that redraws pictures; settings as in `Img2ImgConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return Img2ImgStage(section_of(Img2ImgConfig, config, settings))
