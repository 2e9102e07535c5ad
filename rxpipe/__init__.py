"""rxpipe: image-generation pipelines as reactive streams.

```text
config -> plan -> chain -> events -> result -> views

errors.py      the exception tree                  executor.py    one run at a time, hot events, exact cancel
artifact.py    one image and where it came from    runner.py      events folded into a PipelineRunResult
config.py      what is wished                      controller.py  intents in, snapshots out, on a GUI's thread
plan.py        what is decided                     stages/        txt2img, img2img, adetailer, upscale, your own
events.py      what happened                       backends/      who draws: sketch (embedded), WebUI servers
result.py      what it amounts to                  sinks/         pictures to files, events to a log
status.py      what a person wants to see of it    views/         console, Tk, Qt, notebook
chain.py       stages in order                     testing/       marbles, scripted backend, WebUI test server
```

Importing it loads no GUI toolkit, no HTTP and no numpy, and logs nothing until `loguru.logger.enable("rxpipe")`.
"""

from loguru import logger

from rxpipe.artifact import Artifact
from rxpipe.backends import open_backend
from rxpipe.backends.base import Backend, Output, Preview, StepProgress
from rxpipe.chain import Chain, build_chain, chain, seeds
from rxpipe.config import (
    AdetailerConfig,
    AdetailerUnit,
    HiresConfig,
    Img2ImgConfig,
    PipelineConfig,
    RefinerConfig,
    RetryConfig,
    RunMetadata,
    RunSettings,
    Txt2ImgConfig,
    UpscaleConfig,
)
from rxpipe.errors import (
    BackendError,
    BackendFailed,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadImage,
    BadResponse,
    ConfigError,
    PlanError,
    RunActive,
    RunFailed,
    RxPipeError,
    SaveError,
    StageFunctionError,
    TooManyFailures,
)
from rxpipe.events import (
    ErrorInfo,
    RunEnd,
    RunStart,
    StageCancelled,
    StageEnd,
    StageEvent,
    StageFailed,
    StageImageProgress,
    StagePreview,
    StageRetry,
    StageStart,
    StageStep,
    parse_event,
)
from rxpipe.executor import PipelineExecutor, Run
from rxpipe.plan import (
    AdetailerStageExecution,
    StageExecution,
    StageExecutionPlan,
    StageType,
    build_stage_execution_plan,
)
from rxpipe.result import ImageRecord, PipelineRunResult, Variant, reduce
from rxpipe.runner import PipelineRunner
from rxpipe.stages import (
    Report,
    Stage,
    StageOperator,
    adetailer,
    expand,
    image_stage,
    img2img,
    keep_best,
    keep_if,
    operator_stage,
    sharpness,
    txt2img,
    upscale,
)
from rxpipe.status import RunStatus, reduce_status

AdetailerStageConfig = AdetailerConfig

logger.disable("rxpipe")

__all__ = [
    "AdetailerConfig",
    "AdetailerStageConfig",
    "AdetailerStageExecution",
    "AdetailerUnit",
    "Artifact",
    "Backend",
    "BackendError",
    "BackendFailed",
    "BackendRejected",
    "BackendTimeout",
    "BackendUnavailable",
    "BadImage",
    "BadResponse",
    "Chain",
    "ConfigError",
    "ErrorInfo",
    "HiresConfig",
    "ImageRecord",
    "Img2ImgConfig",
    "Output",
    "PipelineConfig",
    "PipelineExecutor",
    "PipelineRunResult",
    "PipelineRunner",
    "PlanError",
    "Preview",
    "RefinerConfig",
    "Report",
    "RetryConfig",
    "Run",
    "RunActive",
    "RunEnd",
    "RunFailed",
    "RunMetadata",
    "RunSettings",
    "RunStart",
    "RunStatus",
    "RxPipeError",
    "SaveError",
    "Stage",
    "StageCancelled",
    "StageEnd",
    "StageEvent",
    "StageExecution",
    "StageExecutionPlan",
    "StageFailed",
    "StageFunctionError",
    "StageImageProgress",
    "StageOperator",
    "StagePreview",
    "StageRetry",
    "StageStart",
    "StageStep",
    "StageType",
    "StepProgress",
    "TooManyFailures",
    "Txt2ImgConfig",
    "UpscaleConfig",
    "Variant",
    "adetailer",
    "build_chain",
    "build_stage_execution_plan",
    "chain",
    "expand",
    "image_stage",
    "img2img",
    "keep_best",
    "keep_if",
    "open_backend",
    "operator_stage",
    "parse_event",
    "reduce",
    "reduce_status",
    "seeds",
    "sharpness",
    "txt2img",
    "upscale",
]
