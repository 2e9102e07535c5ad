"""The section txt2img, with those of its second pass and its refiner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator

from rxpipe.config.models.base import CfgScale, Config, Fraction, Number, Pixels, Seed, Steps, Whole
from rxpipe.config.models.stage import OnError, RenderingConfig

if TYPE_CHECKING:
    from typing import Unpack

    from rxpipe.config.keywords import HiresKeywords, RefinerKeywords, Txt2ImgKeywords


class HiresConfig(Config):
    """The hires fix: a second pass of txt2img at a larger size. A setting of txt2img, never a stage."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[HiresKeywords]) -> None: ...

    section = "hires"
    enabled: bool = Field(
        default=True, description="Whether the second pass runs; false is the same as leaving the section out."
    )
    scale: Annotated[Number, Field(ge=1, le=8)] = Field(
        default=2.0,
        description="Factor of the second pass, 1 to 8: its width and height are those of the first pass times this.",
    )
    upscaler: str = Field(
        default="Latent", description="Upscaler between the two passes, by the name that the server has for it."
    )
    steps: Annotated[Whole, Field(ge=0, le=1000)] = Field(
        default=0, description="Sampling steps of the second pass, at most 1000; 0: as many as in the first pass."
    )
    denoising_strength: Fraction = Field(
        default=0.7, description="How much the second pass changes, 0 (nothing) to 1 (everything)."
    )
    cfg_scale: CfgScale | None = Field(
        default=None,
        description=(
            "How closely the second pass follows the prompt, 0 to 100; None: as in the first pass. Servers that have "
            "one value for both passes, such as AUTOMATIC1111, ignore it."
        ),
    )
    prompt: str | None = Field(default=None, description="Prompt of the second pass; None: that of the first pass.")
    negative_prompt: str | None = Field(
        default=None, description="Negative prompt of the second pass; None: that of the first pass."
    )
    sampler_name: str | None = Field(
        default=None, description="Sampler of the second pass; None: the one of the first pass."
    )
    scheduler: str | None = Field(
        default=None, description="Noise schedule of the second pass; None: the one of the first pass."
    )
    checkpoint: str | None = Field(
        default=None, description="Checkpoint of the second pass; None: the one of the first pass."
    )
    resize_x: Annotated[Whole, Field(ge=0, le=8192)] = Field(
        default=0, description="Width of the second pass in px, at most 8192, in place of the factor; 0: by the factor."
    )
    resize_y: Annotated[Whole, Field(ge=0, le=8192)] = Field(
        default=0,
        description="Height of the second pass in px, at most 8192, in place of the factor; 0: by the factor.",
    )


class RefinerConfig(Config):
    """The refiner: another checkpoint for the last part of the sampling. A setting of txt2img, never a stage."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[RefinerKeywords]) -> None: ...

    section = "refiner"
    enabled: bool = Field(
        default=True, description="Whether the refiner is used; false is the same as leaving the section out."
    )
    checkpoint: str = Field(description="Checkpoint that takes over for the last part of the sampling.")
    switch_at: Fraction = Field(
        default=0.8, description="Fraction of the steps, 0 to 1, after which the refiner takes over."
    )


class Txt2ImgConfig(RenderingConfig):
    """Generate pictures from a prompt."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[Txt2ImgKeywords]) -> None: ...

    section = "txt2img"
    prompt: str = Field(default="", description="What the picture shows.")
    negative_prompt: str = Field(default="", description="What the picture should not show.")
    images: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        default=1, description="How many images, each with a seed of its own: seed, seed + 1, ..."
    )
    steps: Steps = Field(default=20, description="Sampling steps, 1 to 1000.")
    cfg_scale: CfgScale = Field(default=7.0, description="How closely the prompt is followed, 0 to 100.")
    width: Pixels = Field(default=512, description="Width in px, 64 to 8192, a multiple of 8.")
    height: Pixels = Field(default=512, description="Height in px, 64 to 8192, a multiple of 8.")
    seed: Seed = Field(
        default=-1,
        description="Seed of the first image, each further image has one more; -1: random, drawn once per run.",
    )
    sampler_name: str | None = Field(default=None, description="Sampler, such as Euler a; None: the backend's default.")
    scheduler: str | None = Field(
        default=None, description="Noise schedule, such as Karras; None: the backend's default."
    )
    model: str | None = Field(
        default=None, description='Checkpoint by name; None or "": the one that the server has loaded.'
    )
    vae: str | None = Field(default=None, description='VAE by name; None or "": the one that the server has loaded.')
    modules: tuple[str, ...] = Field(
        default=(),
        description="Text encoders of a Forge server by name, loaded with the checkpoint; none: those it has loaded.",
    )
    clip_skip: Annotated[Whole, Field(ge=1, le=12)] | None = Field(
        default=None,
        description="Layer of CLIP to stop at, counted from the last, 1 to 12; None: the backend's default.",
    )
    batch_size: Annotated[Whole, Field(ge=1, le=64)] = Field(
        default=1, description="Images per request, 1 to 64; more than 1 is faster on GPUs with memory to spare."
    )
    subseed: Seed = Field(
        default=-1, description="Seed of the variation that is mixed in by subseed_strength; -1: random."
    )
    subseed_strength: Fraction = Field(default=0.0, description="Share of the variation, 0 (none) to 1.")
    distilled_cfg_scale: CfgScale | None = Field(
        default=None, description="Guidance of distilled models such as Flux, 0 to 100; None: the backend's default."
    )
    tiling: bool = Field(
        default=False, description="Whether the picture continues at its opposite edge, so that copies of it tile."
    )
    restore_faces: bool = Field(default=False, description="Whether a WebUI server runs its own face restorer.")
    styles: tuple[str, ...] = Field(default=(), description="Prompt styles of a WebUI server, by name.")
    hires: HiresConfig | None = Field(
        default=None,
        description="Hires fix, a second pass at a larger size (section txt2img.hires); None: no second pass.",
    )
    refiner: RefinerConfig | None = Field(
        default=None,
        description="Another checkpoint for the last part of the sampling (section txt2img.refiner); None: no refiner.",
    )

    @field_validator("on_error")
    @classmethod
    def _nothing_to_pass(cls, value: OnError) -> OnError:
        if value == "pass":
            raise ValueError("which hands on the stage's input, and txt2img has none; allowed: 'drop', 'stop'")
        return value
