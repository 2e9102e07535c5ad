"""adetailer: find faces or hands and redraw each; a stage of its own over an existing picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rxpipe.config import AdetailerConfig
from rxpipe.stages.base import ImageStage, section_of

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config.models import AdetailerKeywords
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput


class AdetailerStage(ImageStage):
    """Details each picture; one in which nothing is found leaves with outcome "passed"."""

    def draw(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """The picture, what was found in it redrawn."""
        return backend.render(execution, artifact)


def adetailer(config: AdetailerConfig | None = None, /, **settings: Unpack[AdetailerKeywords]) -> AdetailerStage:
    """The stage that redraws what its detectors find; settings as in `AdetailerConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return AdetailerStage(section_of(AdetailerConfig, config, settings))
