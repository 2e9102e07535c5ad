"""What code may pass to each config model, for type checkers: wider than the types of the validated settings.

Made from the models by the test of it: REWRITE=1 pytest tests/typing/test_settings.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import JsonValue

    from rxpipe.config.models import (
        AdetailerConfig,
        AdetailerUnit,
        HiresConfig,
        Img2ImgConfig,
        OwnStageConfig,
        RefinerConfig,
        RetryConfig,
        RunMetadata,
        Txt2ImgConfig,
        UpscaleConfig,
        VariantsConfig,
        WorkflowConfig,
    )

    Paths = list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]
    """Paths as code passes them; not Sequence[str], which a single string is too."""


class AdetailerUnitKeywords(TypedDict, total=False):
    """The settings of `AdetailerUnit` by name."""

    detector: str
    confidence: float
    denoising_strength: float
    prompt: str | None
    negative_prompt: str | None
    steps: int | None
    cfg_scale: float | None
    sampler_name: str | None
    scheduler: str | None
    checkpoint: str | None
    mask_filter_method: Literal["Area", "Confidence"]
    mask_k_largest: int
    mask_min_ratio: float
    mask_max_ratio: float
    mask_merge_invert: Literal["None", "Merge", "Merge and Invert"]
    dilate_erode: int
    mask_blur: int
    inpaint_only_masked: bool
    padding: int
    inpaint_width: int | None
    inpaint_height: int | None


class HiresKeywords(TypedDict, total=False):
    """The settings of `HiresConfig` by name."""

    enabled: bool
    scale: float
    upscaler: str
    steps: int
    denoising_strength: float
    cfg_scale: float | None
    prompt: str | None
    negative_prompt: str | None
    sampler_name: str | None
    scheduler: str | None
    checkpoint: str | None
    resize_x: int
    resize_y: int


class OwnStageKeywords(TypedDict, total=False):
    """The settings of `OwnStageConfig` by name."""

    enabled: bool
    stage: str | None
    after: str | None
    on_error: Literal["drop", "pass", "stop"] | None
    settings: Mapping[str, JsonValue]


class RefinerKeywords(TypedDict, total=False):
    """The settings of `RefinerConfig` by name."""

    enabled: bool
    checkpoint: Required[str]
    switch_at: float


class RetryKeywords(TypedDict, total=False):
    """The settings of `RetryConfig` by name."""

    attempts: int
    first_delay_s: float
    factor: float
    max_delay_s: float
    jitter: float


class RunSettingsKeywords(TypedDict, total=False):
    """The settings of `RunSettings` by name."""

    order: Literal["stage", "image", "auto"]
    chunk: int
    input: Paths
    out: Path | str | None
    save: Literal["all", "final"]
    format: Literal["png", "jpeg", "webp"]
    quality: int
    embed: Literal["all", "parameters", "none"]
    name: str | None
    retry: RetryConfig | RetryKeywords
    max_failures_in_a_row: int
    timeout_s: float | None
    variants: VariantsConfig | VariantsKeywords | None
    metadata: RunMetadata | dict[str, Any]


class StageKeywords(TypedDict, total=False):
    """The settings of `StageConfig` by name."""

    enabled: bool
    on_error: Literal["drop", "pass", "stop"]
    on_interrupted: Literal["warn", "retry"]


class VariantsKeywords(TypedDict, total=False):
    """The settings of `VariantsConfig` by name."""

    mode: Literal["all", "random"]
    count: int | None
    slots: Mapping[str, list[str] | tuple[str, ...]]
    wildcards: Paths
    sweep: Mapping[str, JsonValue]
    replace: list[list[str] | tuple[str, ...]] | tuple[list[str] | tuple[str, ...], ...]
    seeds: Literal["fixed", "per_image", "counted"]
    seed: int | None
    limit: int


class CustomKeywords(StageKeywords, total=False):
    """The settings of `CustomConfig` by name."""

    name: Required[str]
    kind: Required[Literal["function", "generator", "operator"]]
    settings: Mapping[str, JsonValue]
    registered: str | None


class PipelineKeywords(RunSettingsKeywords, total=False):
    """The settings of `PipelineConfig` by name."""

    txt2img: Txt2ImgConfig | Txt2ImgKeywords | None
    workflow: WorkflowConfig | WorkflowKeywords | None
    img2img: Img2ImgConfig | Img2ImgKeywords | None
    adetailer: AdetailerConfig | AdetailerKeywords | None
    upscale: UpscaleConfig | UpscaleKeywords | None
    custom: Mapping[str, OwnStageConfig | OwnStageKeywords]


class RenderingKeywords(StageKeywords, total=False):
    """The settings of `RenderingConfig` by name."""

    payload: Mapping[str, JsonValue]
    override_settings: Mapping[str, JsonValue]
    alwayson_scripts: Mapping[str, JsonValue]


class Img2ImgKeywords(RenderingKeywords, total=False):
    """The settings of `Img2ImgConfig` by name."""

    denoising_strength: float
    prompt: str | None
    negative_prompt: str | None
    images: int
    steps: int | None
    cfg_scale: float | None
    width: int | None
    height: int | None
    seed: int
    sampler_name: str | None
    scheduler: str | None
    model: str | None
    vae: str | None
    clip_skip: int | None
    resize_mode: int
    mask: Path | str | None
    mask_blur: int
    inpaint_full_res: bool
    inpaint_full_res_padding: int
    inpainting_fill: int
    inpainting_mask_invert: bool


class Txt2ImgKeywords(RenderingKeywords, total=False):
    """The settings of `Txt2ImgConfig` by name."""

    prompt: str
    negative_prompt: str
    images: int
    steps: int
    cfg_scale: float
    width: int
    height: int
    seed: int
    sampler_name: str | None
    scheduler: str | None
    model: str | None
    vae: str | None
    modules: list[str] | tuple[str, ...]
    clip_skip: int | None
    batch_size: int
    subseed: int
    subseed_strength: float
    distilled_cfg_scale: float | None
    tiling: bool
    restore_faces: bool
    styles: list[str] | tuple[str, ...]
    hires: HiresConfig | HiresKeywords | None
    refiner: RefinerConfig | RefinerKeywords | None


class UpscaleKeywords(RenderingKeywords, total=False):
    """The settings of `UpscaleConfig` by name."""

    scale: float
    width: int | None
    height: int | None
    fit: Literal["inside", "crop"]
    upscaler: str | None
    upscaler_2: str | None
    upscaler_2_visibility: float
    mode: Literal["single", "img2img"]
    denoising_strength: float
    steps: int | None
    sampler_name: str | None
    scheduler: str | None
    model: str | None
    gfpgan_visibility: float
    codeformer_visibility: float
    codeformer_weight: float
    max_megapixels: float


class WorkflowKeywords(RenderingKeywords, total=False):
    """The settings of `WorkflowConfig` by name."""

    file: Path | str | None
    graph: Mapping[str, JsonValue]
    bind: Mapping[str, str | list[str]]
    values: Mapping[str, JsonValue]
    prompt: str | None
    negative_prompt: str | None
    images: int
    seed: int
    steps: int | None
    cfg_scale: float | None
    width: int | None
    height: int | None
    sampler_name: str | None
    scheduler: str | None
    denoising_strength: float | None
    model: str | None


class AdetailerKeywords(RenderingKeywords, AdetailerUnitKeywords, total=False):
    """The settings of `AdetailerConfig` by name."""

    seed: int
    model: str | None
    vae: str | None
    units: Sequence[AdetailerUnit | AdetailerUnitKeywords]
