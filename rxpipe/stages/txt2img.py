"""txt2img: draw pictures from a prompt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rxpipe.config import Txt2ImgConfig
from rxpipe.stages.base import ImageStage, section_of

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config.models import Txt2ImgKeywords
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput


class Txt2ImgStage(ImageStage):
    """Draws from the prompt and the image's seed; whatever comes in has no picture."""

    def draw(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """A picture from nothing but the settings."""
        del artifact
        return backend.render(execution, None)


def txt2img(config: Txt2ImgConfig | str | None = None, /, **settings: Unpack[Txt2ImgKeywords]) -> Txt2ImgStage:
    """The stage that draws pictures from a prompt: `txt2img("a lighthouse", images=4)`; settings as in `Txt2ImgConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    if isinstance(config, str):
        return Txt2ImgStage(section_of(Txt2ImgConfig, None, {"prompt": config, **settings}))
    return Txt2ImgStage(section_of(Txt2ImgConfig, config, settings))
