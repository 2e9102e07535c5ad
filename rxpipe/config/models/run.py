"""How the stages of a run are run, whichever they are; with the sections retry and metadata."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from rxpipe.config.models.base import Config, Fraction, Number, Whole, writable
from rxpipe.config.models.variants import VariantsConfig

if TYPE_CHECKING:
    from typing import Unpack

    from pydantic import JsonValue

    from rxpipe.config.keywords import RetryKeywords, RunSettingsKeywords


Order = Literal["stage", "image", "auto"]
Save = Literal["all", "final"]
ImageFormat = Literal["png", "jpeg", "webp"]
Embed = Literal["all", "parameters", "none"]


class RetryConfig(Config):
    """How often, and after which delays, a failed rendering is retried if the failure can be temporary."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[RetryKeywords]) -> None: ...

    section = "retry"
    attempts: Annotated[Whole, Field(ge=1, le=100)] = Field(
        default=3, description="Attempts in total, 1 to 100; 1: no retry."
    )
    first_delay_s: Annotated[Number, Field(ge=0)] = Field(default=1.0, description="Seconds before the second attempt.")
    factor: Annotated[Number, Field(ge=1)] = Field(
        default=2.0, description="Each delay is the one before times this, at least 1."
    )
    max_delay_s: Annotated[Number, Field(ge=0)] = Field(default=30.0, description="Longest delay in seconds.")
    jitter: Fraction = Field(default=0.1, description="Fraction of each delay, 0 to 1, that is random.")


class RunMetadata(Config):
    """Metadata of a run. Further keys are kept unchanged; their values are plain JSON."""

    if TYPE_CHECKING:

        def __init__(
            self, *, run_id: str | None = None, one_click_action: str | None = None, **further: JsonValue
        ) -> None: ...
    else:  # pydantic reads how to check further keys here; type checkers would take it for a setting
        __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(writable)]]

    model_config = ConfigDict(extra="allow")
    section = "metadata"
    run_id: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Name of the run, up to 100 characters; None: made when the run starts."
    )
    one_click_action: str | None = Field(
        default=None, description="Name of the action that started the run; None: not recorded."
    )


class RunSettings(Config):
    """How the stages of a run are run."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[RunSettingsKeywords]) -> None: ...

    order: Order = Field(
        default="auto",
        description=(
            "stage: all images through one stage, then the next; image: each image through all stages; auto: "
            "stages that share a checkpoint image by image, group after group, for a chunk of images at a time."
        ),
    )
    chunk: Annotated[Whole, Field(ge=1)] = Field(
        default=8,
        description=(
            "Order auto with several checkpoints: so many images finish before the next begin. A smaller number shows "
            "the first picture sooner; a larger one switches checkpoints less often."
        ),
    )
    input: tuple[Path, ...] = Field(
        default=(), description="Pictures to start from, for a run that does not begin with txt2img."
    )
    out: Path | None = Field(default=Path("outputs"), description="Folder for the pictures; None: they stay in memory.")
    save: Save = Field(
        default="all", description="all: the pictures of every stage; final: only the last picture of each image."
    )
    format: ImageFormat = Field(
        default="png", description="Format of the files; png keeps every pixel as it was rendered."
    )
    quality: Annotated[Whole, Field(ge=1, le=100)] = Field(
        default=90, description="Quality of jpeg and webp, 1 to 100."
    )
    embed: Embed = Field(
        default="all",
        description=(
            "What is written into the files: all, A1111's parameters only, or none, for pictures that are published."
        ),
    )
    name: str | None = Field(
        default=None,
        description=(
            "Pattern of file names behind the number, such as [seed]-[prompt_words]; None: [input] for input pictures, "
            "[seed] where one is drawn, and [variant] for variants."
        ),
    )
    retry: RetryConfig = Field(
        default=RetryConfig.model_construct(), description="How often a failed rendering is retried (section retry)."
    )
    max_failures_in_a_row: Annotated[Whole, Field(ge=1)] = Field(
        default=3, description="How many failed images in a row end the stage."
    )
    timeout_s: Annotated[Number, Field(gt=0)] | None = Field(
        default=None, description="Longest time in seconds that rendering an image may take; None: no limit."
    )
    variants: VariantsConfig | None = Field(
        default=None, description="Variants of prompts and settings (section variants); None: prompts as they stand."
    )
    metadata: RunMetadata = Field(
        default=RunMetadata.model_construct(),
        description="Metadata of the run, any JSON values; written into the files.",
    )
