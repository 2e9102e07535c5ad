"""The section upscale."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from rxpipe.config.models.base import Fraction, Number, Steps, TargetPixels
from rxpipe.config.models.stage import RenderingConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import UpscaleKeywords


class UpscaleConfig(RenderingConfig):
    """Enlarge pictures."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[UpscaleKeywords]) -> None: ...

    section = "upscale"
    scale: Annotated[Number, Field(ge=1, le=8)] = Field(
        default=2.0, description="Factor of the result, 1 to 8: its width and height are those of the input times this."
    )
    width: TargetPixels | None = Field(
        default=None,
        description=(
            "Width of the result in px, 16 to 16384, in place of the factor; None: by the factor, or by the height "
            "where that is set."
        ),
    )
    height: TargetPixels | None = Field(
        default=None,
        description=(
            "Height of the result in px, 16 to 16384, in place of the factor; None: by the factor, or by the width "
            "where that is set."
        ),
    )
    fit: Literal["inside", "crop"] = Field(
        default="inside",
        description=(
            "With both width and height, inside: the whole picture, as large as fits into them; crop: exactly this "
            "size, what is over is cut off at the sides."
        ),
    )
    upscaler: str | None = Field(
        default=None, description="Upscaler by name; None: the backend's default, Lanczos on the embedded one."
    )
    upscaler_2: str | None = Field(
        default=None, description="A second upscaler by name, mixed into the first of mode single; None: only one."
    )
    upscaler_2_visibility: Fraction = Field(
        default=0.5, description="Share of the second upscaler in the result, 0 (none) to 1 (nothing of the first)."
    )
    mode: Literal["single", "img2img"] = Field(
        default="single",
        description="single: resample or run an upscaler model; img2img: also redraw at the larger size.",
    )
    denoising_strength: Fraction = Field(
        default=0.35, description="How much mode img2img changes, 0 (nothing) to 1 (everything)."
    )
    steps: Steps | None = Field(
        default=None,
        description=(
            "Sampling steps of mode img2img, 1 to 1000; None: as in the generation stage before, else the "
            "backend's default."
        ),
    )
    sampler_name: str | None = Field(
        default=None,
        description="Sampler of mode img2img; None: as in the generation stage before, else the backend's default.",
    )
    scheduler: str | None = Field(
        default=None,
        description=(
            "Noise schedule of mode img2img; None: as in the generation stage before, else the backend's default."
        ),
    )
    model: str | None = Field(
        default=None,
        description=(
            'Checkpoint of mode img2img; None or "": as in the generation stage before, else the one that the '
            "server has loaded."
        ),
    )
    gfpgan_visibility: Fraction = Field(
        default=0.0, description="Share of GFPGAN's faces in the result, 0 (off) to 1; WebUI servers only."
    )
    codeformer_visibility: Fraction = Field(
        default=0.0, description="Share of CodeFormer's faces in the result, 0 (off) to 1; WebUI servers only."
    )
    codeformer_weight: Fraction = Field(
        default=0.0, description="Weight of CodeFormer, 0 (strongest effect) to 1 (weakest)."
    )
    max_megapixels: Annotated[Number, Field(gt=0)] = Field(
        default=32.0, description="Largest result allowed, in megapixels; an image that would exceed it fails."
    )
