"""The four built-in stages, which a backend renders: txt2img, img2img, adetailer and upscale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from rxpipe.backends.sizes import Size, upscaled
from rxpipe.config import AdetailerConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.pictures.png import pixel_size
from rxpipe.stages.base import ImageStage, section_of

if TYPE_CHECKING:
    from pathlib import Path

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config.keywords import (
        AdetailerKeywords,
        Img2ImgKeywords,
        Txt2ImgKeywords,
        UpscaleKeywords,
        WorkflowKeywords,
    )
    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput


class _PictureStage(ImageStage):
    """A stage whose backend renders one picture from another."""

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the backend's rendering of the picture."""
        return backend.render(execution, artifact)


class Txt2ImgStage(ImageStage):
    """Makes pictures from the prompt and the seed of each image; the images that come in have none."""

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the backend's rendering of the settings alone."""
        del artifact
        return backend.render(execution, None)


class WorkflowStage(ImageStage):
    """Runs a ComfyUI workflow of one's own, on the picture that comes in where it loads one."""

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Return the backend's rendering."""
        return backend.render(execution, artifact if execution.requires_input_image else None)


class Img2ImgStage(_PictureStage):
    """Redraws each picture, as much as its denoising strength says."""


class AdetailerStage(_PictureStage):
    """Redraws what detectors find in each picture; one without detections has the outcome "passed"."""


class UpscaleStage(_PictureStage):
    """Make each picture `scale` times as large."""

    def render(self, execution: StageExecution, artifact: Artifact, backend: Backend) -> Observable[StageOutput]:
        """Have the picture made larger; one that would exceed `max_megapixels` fails before the backend is asked."""
        size = pixel_size(artifact.read())
        if size is not None and isinstance(execution.config, UpscaleConfig):
            upscaled(execution.config, Size(size.width, size.height))  # raises; the operator makes an error of it
        return super().render(execution, artifact, backend)


def txt2img(config: Txt2ImgConfig | str | None = None, /, **settings: Unpack[Txt2ImgKeywords]) -> Txt2ImgStage:
    """Return the stage that makes pictures from a prompt: `txt2img("a lighthouse", images=4)`; see `Txt2ImgConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    if isinstance(config, str):
        return Txt2ImgStage(section_of(Txt2ImgConfig, None, {"prompt": config, **settings}))
    return Txt2ImgStage(section_of(Txt2ImgConfig, config, settings))


def comfy_workflow(
    workflow: WorkflowConfig | Path | str | None = None, /, **settings: Unpack[WorkflowKeywords]
) -> WorkflowStage:
    """Return the stage that runs a ComfyUI workflow of one's own; see `WorkflowConfig`.

        comfy_workflow("wf_api.json", bind={"prompt": "6.text", "image": "Load Image.image"}, prompt="a lighthouse")

    Args:
        workflow: the file that ComfyUI writes with Workflow > Export (API), or a config.
        settings: as in `WorkflowConfig`.

    Raises:
        ConfigError: the file is none, a binding names nothing, or a setting goes nowhere.
    """
    if workflow is None or isinstance(workflow, WorkflowConfig):
        return WorkflowStage(section_of(WorkflowConfig, workflow, settings))
    return WorkflowStage(section_of(WorkflowConfig, None, {"file": workflow, **settings}))


def img2img(config: Img2ImgConfig | None = None, /, **settings: Unpack[Img2ImgKeywords]) -> Img2ImgStage:
    """Return the stage that redraws pictures; settings as in `Img2ImgConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return Img2ImgStage(section_of(Img2ImgConfig, config, settings))


def adetailer(config: AdetailerConfig | None = None, /, **settings: Unpack[AdetailerKeywords]) -> AdetailerStage:
    """Return the stage that redraws what its detectors find; settings as in `AdetailerConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return AdetailerStage(section_of(AdetailerConfig, config, settings))


def upscale(config: UpscaleConfig | None = None, /, **settings: Unpack[UpscaleKeywords]) -> UpscaleStage:
    """Return the stage that makes pictures larger; settings as in `UpscaleConfig`.

    Raises:
        ConfigError: a setting is wrong.
    """
    return UpscaleStage(section_of(UpscaleConfig, config, settings))
