"""The section adetailer, and its units: a detector each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rxpipe.config.models.base import CfgScale, Config, Fraction, Pixels, Seed, Steps, Whole
from rxpipe.config.models.stage import OnError, RenderingConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import AdetailerKeywords, AdetailerUnitKeywords


class AdetailerUnit(Config):
    """What one detector looks for and how each detection is redrawn."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[AdetailerUnitKeywords]) -> None: ...

    section = "adetailer.units"
    detector: str = Field(
        default="face_yolov8n.pt",
        description=(
            "Detector by name, such as face_yolov8n.pt, hand_yolov8n.pt or mediapipe_face_full; the embedded "
            "backend has one for faces and takes any name with face in it."
        ),
    )
    confidence: Fraction = Field(default=0.3, description="Confidence below which a detection is ignored, 0 to 1.")
    denoising_strength: Fraction = Field(
        default=0.4, description="How much a detection is changed, 0 (nothing) to 1 (everything)."
    )
    prompt: str | None = Field(default=None, description="Prompt for the detections; None: the main prompt.")
    negative_prompt: str | None = Field(
        default=None, description="Negative prompt for the detections; None: the main one."
    )
    steps: Steps | None = Field(
        default=None,
        description=(
            "Sampling steps per detection, 1 to 1000; None: as in the generation stage before, else the backend's"
            " default."
        ),
    )
    cfg_scale: CfgScale | None = Field(
        default=None,
        description=(
            "How closely the prompt is followed, 0 to 100; None: as in the generation stage before, else the "
            "backend's default."
        ),
    )
    sampler_name: str | None = Field(
        default=None,
        description="Sampler, such as Euler a; None: as in the generation stage before, else the backend's default.",
    )
    scheduler: str | None = Field(
        default=None,
        description=(
            "Noise schedule, such as Karras; None: as in the generation stage before, else the backend's default."
        ),
    )
    checkpoint: str | None = Field(
        default=None, description="Checkpoint that redraws the detections; None: that of the stage."
    )
    mask_filter_method: Literal["Area", "Confidence"] = Field(
        default="Area", description="What mask_k_largest ranks detections by: their area or their confidence."
    )
    mask_k_largest: Annotated[Whole, Field(ge=0, le=100)] = Field(
        default=0, description="How many detections are redrawn, the largest first, at most 100; 0: all."
    )
    mask_min_ratio: Fraction = Field(
        default=0.0, description="Detections that cover less than this fraction of the picture, 0 to 1, are ignored."
    )
    mask_max_ratio: Fraction = Field(
        default=1.0, description="Detections that cover more than this fraction of the picture, 0 to 1, are ignored."
    )
    mask_merge_invert: Literal["None", "Merge", "Merge and Invert"] = Field(
        default="None", description="Whether all detections are redrawn as one mask, or everything but them."
    )
    dilate_erode: Annotated[Whole, Field(ge=-128, le=128)] = Field(
        default=4, description="Px by which a mask is widened, -128 to 128; below 0: narrowed."
    )
    mask_blur: Annotated[Whole, Field(ge=0, le=64)] = Field(
        default=4, description="Px of soft edge of a mask, 0 to 64."
    )
    inpaint_only_masked: bool = Field(
        default=True, description="Whether a detection is redrawn enlarged by itself; false: within the whole picture."
    )
    padding: Annotated[Whole, Field(ge=0, le=256)] = Field(
        default=32, description="Px around a detection that are redrawn with it, 0 to 256."
    )
    inpaint_width: Pixels | None = Field(
        default=None,
        description=(
            "Width in px at which a detection is redrawn, 64 to 8192, a multiple of 8; None: that of the picture."
        ),
    )
    inpaint_height: Pixels | None = Field(
        default=None,
        description=(
            "Height in px at which a detection is redrawn, 64 to 8192, a multiple of 8; None: that of the picture."
        ),
    )


class AdetailerConfig(RenderingConfig, AdetailerUnit):
    """Find faces (or hands) and redraw each; the rest of the picture stays as it was.

    The settings of the section itself are the first unit; `units` holds further ones.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[AdetailerKeywords]) -> None: ...

    section = "adetailer"
    on_error: OnError = Field(
        default="pass",
        description=(
            "What happens to an image that fails: drop it, pass it on unchanged (a face never costs the picture),"
            " or stop the stage."
        ),
    )
    seed: Seed = Field(
        default=-1,
        description="Seed of the first image, each further image has one more; -1: the seed the image has already.",
    )
    model: str | None = Field(
        default=None,
        description=(
            'Checkpoint by name; None or "": as in the generation stage before, else the one that the server has '
            "loaded."
        ),
    )
    vae: str | None = Field(
        default=None,
        description=(
            'VAE by name; None or "": as in the generation stage before, else the one that the server has loaded.'
        ),
    )
    units: tuple[AdetailerUnit, ...] = Field(
        default=(), description="Further detectors, each with the settings of section adetailer.units, run in order."
    )


AdetailerStageConfig = AdetailerConfig
"""Another name of it, which says that it is a stage of its own."""
