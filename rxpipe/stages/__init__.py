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
from rxpipe.stages.choosing import expand, has_face, keep_best, keep_if, sharpness
from rxpipe.stages.forks import ForkStage, TeeStage, WhenStage
from rxpipe.stages.functions import FunctionStage, ImageFunction, StageObject, image_stage
from rxpipe.stages.gates import Decisions, gate
from rxpipe.stages.grids import grid
from rxpipe.stages.operators import OperatorStage, operator_stage
from rxpipe.stages.ready import border, crop, resize, save_as, watermark
from rxpipe.stages.report import Report
from rxpipe.stages.scope import RunScope
from rxpipe.stages.session import Session
from rxpipe.stages.timeline import Timeline
from rxpipe.stages.tracker import StageAborted, StageTracker

__all__ = [
    "AdetailerStage",
    "Decisions",
    "ForkStage",
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
    "StageObject",
    "StageOperator",
    "StageTracker",
    "TeeStage",
    "Timeline",
    "Txt2ImgStage",
    "UpscaleStage",
    "WhenStage",
    "WorkflowStage",
    "adetailer",
    "border",
    "comfy_workflow",
    "crop",
    "expand",
    "gate",
    "grid",
    "has_face",
    "image_stage",
    "img2img",
    "keep_best",
    "keep_if",
    "operator_stage",
    "resize",
    "save_as",
    "sharpness",
    "txt2img",
    "upscale",
    "watermark",
]
