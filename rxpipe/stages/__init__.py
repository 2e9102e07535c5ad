"""The stages, each an Rx operator on artifacts: the four that backends render, and custom ones."""

from rxpipe.stages.base import ImageStage, Stage, StageOperator
from rxpipe.stages.builtin import (
    AdetailerStage,
    Img2ImgStage,
    Txt2ImgStage,
    UpscaleStage,
    WorkflowStage,
    adetailer,
    comfy_workflow,
    img2img,
    txt2img,
    upscale,
)
from rxpipe.stages.custom import (
    FunctionStage,
    ImageFunction,
    OperatorStage,
    Report,
    expand,
    image_stage,
    keep_best,
    keep_if,
    operator_stage,
    sharpness,
)
from rxpipe.stages.scope import RunScope
from rxpipe.stages.session import Session
from rxpipe.stages.timeline import Timeline
from rxpipe.stages.tracker import StageAborted, StageTracker

__all__ = [
    "AdetailerStage",
    "FunctionStage",
    "ImageFunction",
    "ImageStage",
    "Img2ImgStage",
    "OperatorStage",
    "Report",
    "RunScope",
    "Session",
    "Stage",
    "StageAborted",
    "StageOperator",
    "StageTracker",
    "Timeline",
    "Txt2ImgStage",
    "UpscaleStage",
    "WorkflowStage",
    "adetailer",
    "comfy_workflow",
    "expand",
    "image_stage",
    "img2img",
    "keep_best",
    "keep_if",
    "operator_stage",
    "sharpness",
    "txt2img",
    "upscale",
]
