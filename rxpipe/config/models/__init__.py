"""The config models: PipelineConfig and one frozen model per kind of stage, each section in a module of its own.

Pure; no Rx, no network. Setting names are those of the WebUI payloads, so that presets and habits carry over. What code
may pass to each model, for type checkers, stands in `rxpipe.config.keywords`.
"""

from rxpipe.config.models.adetailer import AdetailerConfig, AdetailerStageConfig, AdetailerUnit
from rxpipe.config.models.base import CfgScale, Config, Fraction, Number, Pixels, Seed, Steps, TargetPixels, Whole
from rxpipe.config.models.custom import CustomConfig, OwnStageConfig
from rxpipe.config.models.img2img import Img2ImgConfig
from rxpipe.config.models.pipeline import SECTIONS, STAGE_SECTIONS, PipelineConfig, override
from rxpipe.config.models.run import Embed, ImageFormat, Order, RetryConfig, RunMetadata, RunSettings, Save
from rxpipe.config.models.stage import OnError, OnInterrupted, RenderingConfig, StageConfig
from rxpipe.config.models.txt2img import HiresConfig, RefinerConfig, Txt2ImgConfig
from rxpipe.config.models.upscale import UpscaleConfig
from rxpipe.config.models.variants import VariantsConfig
from rxpipe.config.models.workflow import WorkflowConfig

__all__ = [
    "SECTIONS",
    "STAGE_SECTIONS",
    "AdetailerConfig",
    "AdetailerStageConfig",
    "AdetailerUnit",
    "CfgScale",
    "Config",
    "CustomConfig",
    "Embed",
    "Fraction",
    "HiresConfig",
    "ImageFormat",
    "Img2ImgConfig",
    "Number",
    "OnError",
    "OnInterrupted",
    "Order",
    "OwnStageConfig",
    "PipelineConfig",
    "Pixels",
    "RefinerConfig",
    "RenderingConfig",
    "RetryConfig",
    "RunMetadata",
    "RunSettings",
    "Save",
    "Seed",
    "StageConfig",
    "Steps",
    "TargetPixels",
    "Txt2ImgConfig",
    "UpscaleConfig",
    "VariantsConfig",
    "Whole",
    "WorkflowConfig",
    "override",
]
