"""The section img2img."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from rxpipe.config.models.base import CfgScale, Fraction, Pixels, Seed, Steps, Whole
from rxpipe.config.models.stage import RenderingConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import Img2ImgKeywords


class Img2ImgConfig(RenderingConfig):
    """Redraw pictures."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[Img2ImgKeywords]) -> None: ...

    section = "img2img"
    denoising_strength: Fraction = Field(default=0.3, description="How much is changed, 0 (nothing) to 1 (everything).")
    prompt: str | None = Field(
        default=None, description="What the picture shows; None: the prompt of the generation stage before."
    )
    negative_prompt: str | None = Field(
        default=None, description="What the picture should not show; None: that of the generation stage before."
    )
    images: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        default=1, description="Variants of each input picture; only the first stage of a run may have more than one."
    )
    steps: Steps | None = Field(
        default=None,
        description="Sampling steps, 1 to 1000; None: as in the generation stage before, else the backend's default.",
    )
    cfg_scale: CfgScale | None = Field(
        default=None,
        description=(
            "How closely the prompt is followed, 0 to 100; None: as in the generation stage before, else the "
            "backend's default."
        ),
    )
    width: Pixels | None = Field(
        default=None, description="Width in px, 64 to 8192, a multiple of 8; None: that of the input picture."
    )
    height: Pixels | None = Field(
        default=None, description="Height in px, 64 to 8192, a multiple of 8; None: that of the input picture."
    )
    seed: Seed = Field(
        default=-1,
        description="Seed of the first image, each further image has one more; -1: the seed the image has already.",
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
    clip_skip: Annotated[Whole, Field(ge=1, le=12)] | None = Field(
        default=None,
        description=(
            "Layer of CLIP to stop at, counted from the last, 1 to 12; None: as in the generation stage before, "
            "else the backend's default."
        ),
    )
    resize_mode: Annotated[Whole, Field(ge=0, le=3)] = Field(
        default=0,
        description="How an input of another size is fitted: 0 stretch, 1 crop, 2 fill, 3 stretch the latents.",
    )
    mask: Path | None = Field(
        default=None,
        description=(
            "What is redrawn: a picture that is white there and black elsewhere, or alpha for where the input is "
            "transparent. {stem} in its path is the name of the input picture without its ending, and a relative path "
            "with it begins at that picture's folder, such as {stem}_mask.png. None: the whole picture."
        ),
    )
    mask_blur: Annotated[Whole, Field(ge=0, le=64)] = Field(
        default=4, description="Px of soft edge of the mask, 0 to 64."
    )
    inpaint_full_res: bool = Field(
        default=False,
        description=(
            "Whether what the mask shows is redrawn enlarged by itself, at width and height; false: within the whole "
            "picture."
        ),
    )
    inpaint_full_res_padding: Annotated[Whole, Field(ge=0, le=256)] = Field(
        default=32, description="Px around the mask that are redrawn with it, 0 to 256, where it is redrawn by itself."
    )
    inpainting_fill: Annotated[Whole, Field(ge=0, le=3)] = Field(
        default=1,
        description=(
            "What is under the mask at first: 0 the colours around it, 1 the picture, 2 latent noise, 3 nothing."
        ),
    )
    inpainting_mask_invert: bool = Field(
        default=False, description="Whether black is redrawn in place of white (for alpha: what is opaque)."
    )
