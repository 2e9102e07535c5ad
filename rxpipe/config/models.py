"""The config models: PipelineConfig and one frozen model per kind of stage.

Pure; no Rx, no network. Setting names are those of the WebUI payloads, so that presets and habits carry over. However a
config is made, one ConfigError lists every wrong setting. Next to each model are its keywords, for type checkers: the
types that code may pass, which are wider than those of the validated fields.
"""

from __future__ import annotations

import contextlib
import inspect
import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Required, Self, TypedDict, Unpack, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticSerializationError, to_json

from rxpipe.config.bindings import BINDABLE, Bindings, bindings_of
from rxpipe.config.bounds import check
from rxpipe.config.fields import attributes_text, signature_of
from rxpipe.config.graphs import Graph, checked_graph, read_graph
from rxpipe.config.problems import problems_of
from rxpipe.config.reading import assign, read_values
from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

OnError = Literal["drop", "pass", "stop"]
OnInterrupted = Literal["warn", "retry"]
Order = Literal["stage", "image", "auto"]
Save = Literal["all", "final"]
ImageFormat = Literal["png", "jpeg", "webp"]
Embed = Literal["all", "parameters", "none"]

MAX_SEED = 2**64 - 1  # what torch and ComfyUI take


def _multiple_of_8(value: int) -> int:
    if value % 8:
        low = value - value % 8
        raise ValueError(f"must be a multiple of 8 (px), such as {low} or {low + 8}")
    return value


def _no_flag(value: object) -> object:
    if isinstance(value, bool):  # in Python an int
        raise ValueError("should be a number")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


def _writable(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | BaseModel):
        return value
    check(value)
    paths = value if isinstance(value, tuple) else (value,)
    try:
        if paths and all(isinstance(path, Path) for path in paths):
            return _encodable(value, paths)
        to_json(value)
    except (PydanticSerializationError, UnicodeEncodeError):
        raise ValueError("cannot be written as JSON in UTF-8, as events and files are") from None
    return value


def _encodable(value: object, paths: Iterable[Path]) -> object:
    """Return *value*; raises UnicodeEncodeError for a path that no file can have, unlike bytes that are no UTF-8."""
    for path in paths:
        os.fsencode(path)
    return value


Whole = Annotated[int, BeforeValidator(_no_flag)]
Number = Annotated[float, BeforeValidator(_no_flag)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Pixels = Annotated[Whole, Field(ge=64, le=8192), AfterValidator(_multiple_of_8)]
TargetPixels = Annotated[Whole, Field(ge=16, le=16384)]
Seed = Annotated[Whole, Field(ge=-1, le=MAX_SEED)]
Steps = Annotated[Whole, Field(ge=1, le=1000)]
CfgScale = Annotated[Number, Field(ge=0, le=100)]


Paths = list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]
"""Paths as code passes them; not Sequence[str], which a single string is too."""


class Config(BaseModel):
    """The base of all config models: frozen, unknown keys refused.

    section: its name in a file. summary: its purpose; the docstring continues with the meaning of each setting.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, defer_build=True
    )
    section: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    _is_writable = field_validator("*")(_writable)

    def __init__(self, /, **values: object) -> None:
        """Validate as loading from a file does; raise the same ConfigError."""
        with _as_config_error(type(self)):
            self.__pydantic_validator__.validate_python(values, self_instance=self)

    # Nested sections are validated in place and not through __init__, so that an error keeps its full path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic's own switch, on a function

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        """Add the meaning and the type of each setting to what `help` shows."""
        cls.summary = inspect.cleandoc(cls.__doc__ or "")
        cls.__doc__ = f"{cls.summary}\n\n{attributes_text(cls)}"
        cls.__signature__ = signature_of(cls)

    @classmethod
    def model_rebuild(cls, **options: Any) -> bool | None:
        """Build the model as pydantic does (on first use), and keep the signature."""
        built = super().model_rebuild(**options)
        cls.__signature__ = signature_of(cls)  # pydantic has set its own, full of validators
        return built

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        """Describe the section by its summary; its settings have their own descriptions there."""
        schema = handler(core_schema)
        handler.resolve_ref_schema(schema)["description"] = cls.summary
        return schema

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Validate as pydantic does, but raise ConfigError."""
        with _as_config_error(cls):
            return super().model_validate(obj, **options)

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """Validate as pydantic does, but raise ConfigError."""
        with _as_config_error(cls):
            return super().model_validate_json(json_data, **options)


Config.__signature__ = signature_of(Config)  # as those of its sections are set


@contextlib.contextmanager
def _as_config_error(model: type[Config]) -> Iterator[None]:
    """Raise what validating *model* raises as a ConfigError."""
    try:
        yield
    except ValidationError as error:
        raise ConfigError(problems_of(error, model, PipelineConfig)) from None
    except ConfigError:
        raise
    except ValueError as error:  # Python's own, of a number too long to be text
        raise ConfigError([f"{model.section or model.__name__}: {error}"]) from None


class StageKeywords(TypedDict, total=False):
    """The settings of `StageConfig` by name."""

    enabled: bool
    on_error: OnError
    on_interrupted: OnInterrupted


class StageConfig(Config):
    """The settings that every stage has."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[StageKeywords]) -> None: ...

    enabled: bool = Field(
        default=True, description="Whether the stage runs; false is the same as leaving the section out."
    )
    on_error: OnError = Field(
        default="drop",
        description=(
            "What happens to an image that fails: drop it, pass it on unchanged (not in txt2img, which has no "
            "input), or stop the stage."
        ),
    )
    on_interrupted: OnInterrupted = Field(
        default="warn",
        description=(
            "What happens to a picture that another client of a WebUI server interrupted: warn keeps it unfinished, "
            "retry renders it again, as often as the run retries."
        ),
    )


class RenderingKeywords(StageKeywords, total=False):
    """The settings of `RenderingConfig` by name."""

    payload: Mapping[str, JsonValue]
    override_settings: Mapping[str, JsonValue]
    alwayson_scripts: Mapping[str, JsonValue]


class RenderingConfig(StageConfig):
    """The settings that every stage has which a backend renders: what goes to a server as it stands."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[RenderingKeywords]) -> None: ...

    payload: dict[str, JsonValue] = Field(
        default_factory=dict,
        description=(
            "Fields of the request to a WebUI server, merged into it last and unchecked: script_name and script_args, "
            "or what no setting here is for."
        ),
    )
    override_settings: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Options of a WebUI server for this request, handed to a WebUI server unchanged.",
    )
    alwayson_scripts: dict[str, JsonValue] = Field(
        default_factory=dict, description="Arguments of extensions by name, handed to a WebUI server unchanged."
    )


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


class RefinerKeywords(TypedDict, total=False):
    """The settings of `RefinerConfig` by name."""

    enabled: bool
    checkpoint: Required[str]
    switch_at: float


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


class AdetailerKeywords(RenderingKeywords, AdetailerUnitKeywords, total=False):
    """The settings of `AdetailerConfig` by name."""

    seed: int
    model: str | None
    vae: str | None
    units: Sequence[AdetailerUnit | AdetailerUnitKeywords]


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


class WorkflowConfig(RenderingConfig):
    """Run a ComfyUI workflow of one's own; the file stays as it is, settings go where they are bound.

    A setting that is not set stays as in the file; the seed is that of the image wherever one is bound.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[WorkflowKeywords]) -> None: ...

    section = "workflow"
    file: Path | None = Field(
        default=None, description="The workflow as ComfyUI writes it with Workflow > Export (API)."
    )
    graph: dict[str, JsonValue] = Field(
        default_factory=dict, description="The same as nodes by id, read from the file where it is left out."
    )
    bind: dict[str, str | list[str]] = Field(
        default_factory=dict,
        description=(
            "Where settings go: a setting, image, output or any name, to id.input or title.input, such as prompt to "
            "6.text. Others are found by titles (rx:prompt), by parameter nodes and placeholders, or inferred."
        ),
    )
    values: dict[str, JsonValue] = Field(
        default_factory=dict, description="Values of names of one's own that are bound."
    )
    prompt: str | None = Field(default=None, description="What the picture shows; None: as in the file.")
    negative_prompt: str | None = Field(
        default=None, description="What the picture should not show; None: as in the file."
    )
    images: Annotated[Whole, Field(ge=1, le=100_000)] = Field(
        default=1,
        description="How many images, each with a seed of its own; only the first stage may have more than 1.",
    )
    seed: Seed = Field(
        default=-1,
        description="Seed of the first image, each further image has one more; -1: random, or the one it has already.",
    )
    steps: Steps | None = Field(default=None, description="Sampling steps, 1 to 1000; None: as in the file.")
    cfg_scale: CfgScale | None = Field(
        default=None, description="How closely the prompt is followed, 0 to 100; None: as in the file."
    )
    width: Pixels | None = Field(
        default=None, description="Width in px, 64 to 8192, a multiple of 8; None: as in the file."
    )
    height: Pixels | None = Field(
        default=None, description="Height in px, 64 to 8192, a multiple of 8; None: as in the file."
    )
    sampler_name: str | None = Field(default=None, description="Sampler, such as Euler a; None: as in the file.")
    scheduler: str | None = Field(default=None, description="Noise schedule, such as Karras; None: as in the file.")
    denoising_strength: Fraction | None = Field(
        default=None, description="How much an input is changed, 0 to 1; None: as in the file."
    )
    model: str | None = Field(default=None, description="Checkpoint by name; None: as in the file.")

    @model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        """Read the file where the graph is not given with it."""
        if not isinstance(values, dict):
            return values
        file, graph = values.get("file"), values.get("graph")
        if graph:
            return {**values, "graph": checked_graph(graph, "graph")}
        if not isinstance(file, str | Path):
            raise ValueError("file is missing; allowed: what ComfyUI writes with Workflow > Export (API)")  # noqa: TRY004
        return {**values, "graph": read_graph(Path(file).expanduser())}

    @model_validator(mode="after")
    def _bound(self) -> Self:
        """Refuse a binding that names nothing, and a setting that goes nowhere."""
        found = self.bindings
        for name in (*BINDABLE, *self.values):
            is_set = name in self.values or getattr(self, name, None) is not None
            if is_set and name not in found:
                why = found.unbound.get(name, "nothing is bound to it")
                raise ValueError(
                    f"{name} goes nowhere: {why}; bind it, such as {name} to {next(iter(self.graph))}.input"
                )
        return self

    @property
    def nodes(self) -> Graph:
        """The graph's nodes by id."""
        return cast("Graph", self.graph)

    @property
    def bindings(self) -> Bindings:
        """Where the settings go, and why others do not."""
        return bindings_of(self.nodes, self.bind)


SECTIONS: Mapping[str, type[StageConfig]] = MappingProxyType(
    {"txt2img": Txt2ImgConfig, "img2img": Img2ImgConfig, "adetailer": AdetailerConfig, "upscale": UpscaleConfig}
)
"""The sections of a config that have settings of their own, by name, in the order in which they run."""

STAGE_SECTIONS: Mapping[str, type[StageConfig]] = MappingProxyType(
    {"txt2img": Txt2ImgConfig, "workflow": WorkflowConfig, **{name: SECTIONS[name] for name in list(SECTIONS)[1:]}}
)
"""All sections that are stages, by name, in the order in which they run."""


class CustomKeywords(StageKeywords, total=False):
    """The settings of `CustomConfig` by name."""

    name: Required[str]
    kind: Required[Literal["function", "generator", "operator"]]
    settings: Mapping[str, JsonValue]
    registered: str | None


class CustomConfig(StageConfig):
    """A custom stage as the plan has it: a function on artifacts or an Rx operator."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[CustomKeywords]) -> None: ...

    section = "custom"
    name: Annotated[str, Field(pattern=r"^[^\W\d][\w .-]*$")] = Field(
        description="Name of the stage: letters, digits, spaces, _, . and -, beginning with a letter or _."
    )
    kind: Literal["function", "generator", "operator"] = Field(
        description="A function on artifacts, a generator that makes several of one, or an Rx operator on their stream."
    )
    settings: dict[str, JsonValue] = Field(
        default_factory=dict, description="What is recorded about the stage; plain JSON values."
    )
    registered: str | None = Field(
        default=None, description="Name under which a package registers it; None: it was made in code."
    )


class OwnStageKeywords(TypedDict, total=False):
    """The settings of `OwnStageConfig` by name."""

    enabled: bool
    stage: str | None
    after: str | None
    on_error: OnError | None
    settings: Mapping[str, JsonValue]


class OwnStageConfig(Config):
    """A stage that a package registers, or a ready-made one. Further keys are its settings."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[OwnStageKeywords]) -> None: ...

    section = "custom"
    enabled: bool = Field(default=True, description="Whether the stage runs; false is the same as leaving it out.")
    stage: str | None = Field(
        default=None, description="Name under which it is registered; None: the name of its section."
    )
    after: str | None = Field(
        default=None, description="Stage or section that it follows; None: all of those before it in the file."
    )
    on_error: OnError | None = Field(
        default=None, description="What happens to an image that fails; None: as the stage itself says."
    )
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="What the stage is called with.")

    @model_validator(mode="before")
    @classmethod
    def _further_keys(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        further = {name: value for name, value in values.items() if name not in cls.model_fields}
        kept = {name: value for name, value in values.items() if name in cls.model_fields}
        return {**kept, "settings": {**further, **kept.get("settings", {})}} if further else kept


class RetryKeywords(TypedDict, total=False):
    """The settings of `RetryConfig` by name."""

    attempts: int
    first_delay_s: float
    factor: float
    max_delay_s: float
    jitter: float


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
        __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_writable)]]

    model_config = ConfigDict(extra="allow")
    section = "metadata"
    run_id: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        default=None, description="Name of the run, up to 100 characters; None: made when the run starts."
    )
    one_click_action: str | None = Field(
        default=None, description="Name of the action that started the run; None: not recorded."
    )


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


class VariantsConfig(Config):
    """Draw many variants of a config: of its prompts, which may hold alternatives, and of any setting.

    In prompts {a|b} is one of two, {2$$a|b|c} two of three, __name__ a line of a wildcard, [[name]] a value of a slot.
    """

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[VariantsKeywords]) -> None: ...

    section = "variants"
    mode: Literal["all", "random"] = Field(
        default="all", description="all: every combination; random: prompts by chance, by the weights in them."
    )
    count: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="How many prompts mode random draws; None: one for each image of the first stage.",
    )
    slots: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Values of each [[slot]] of the prompts, by name."
    )
    wildcards: tuple[Path, ...] = Field(
        default=(), description="Folders and files of wildcards: text with a value a line, YAML or JSON."
    )
    sweep: dict[str, JsonValue] = Field(
        default_factory=dict,
        description=(
            'Values of settings by name, such as "txt2img.cfg_scale" = "5,7,9": a list, or a text with ranges such as '
            "1-10 (+3) and 1-10 [4]."
        ),
    )
    replace: tuple[tuple[str, ...], ...] = Field(
        default=(), description="Words of the prompts with those that replace them: the first of each list is sought."
    )
    seeds: Literal["fixed", "per_image", "counted"] = Field(
        default="per_image",
        description=(
            "per_image: every variant has the same seeds, one for each of its images; fixed: all images have the same "
            "seed; counted: every image of the run has one more."
        ),
    )
    seed: Annotated[Whole, Field(ge=0, le=MAX_SEED)] | None = Field(
        default=None, description="Seed of what mode random chooses; None: that of the run."
    )
    limit: Annotated[Whole, Field(ge=1, le=10_000_000)] = Field(
        default=1000, description="Most variants; more are refused before anything is drawn."
    )


class RunSettingsKeywords(TypedDict, total=False):
    """The settings of `RunSettings` by name."""

    order: Order
    chunk: int
    input: Paths
    out: Path | str | None
    save: Save
    format: ImageFormat
    quality: int
    embed: Embed
    name: str | None
    retry: RetryConfig | RetryKeywords
    max_failures_in_a_row: int
    timeout_s: float | None
    variants: VariantsConfig | VariantsKeywords | None
    metadata: RunMetadata | dict[str, Any]


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
        default=RetryConfig(), description="How often a failed rendering is retried (section retry)."
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
        default=RunMetadata(),
        description="Metadata of the run, any JSON values; written into the files.",
    )


class PipelineKeywords(RunSettingsKeywords, total=False):
    """The settings of `PipelineConfig` by name."""

    txt2img: Txt2ImgConfig | Txt2ImgKeywords | None
    workflow: WorkflowConfig | WorkflowKeywords | None
    img2img: Img2ImgConfig | Img2ImgKeywords | None
    adetailer: AdetailerConfig | AdetailerKeywords | None
    upscale: UpscaleConfig | UpscaleKeywords | None
    custom: Mapping[str, OwnStageConfig | OwnStageKeywords]


class PipelineConfig(RunSettings):
    """The whole config: a section per stage, and how to run them. An absent section is None."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[PipelineKeywords]) -> None: ...

    section = "pipeline"
    txt2img: Txt2ImgConfig | None = Field(
        default=None, description="Generate pictures from a prompt; None: no such stage."
    )
    workflow: WorkflowConfig | None = Field(
        default=None, description="Run a ComfyUI workflow of one's own; None: no such stage."
    )
    img2img: Img2ImgConfig | None = Field(default=None, description="Redraw pictures; None: no such stage.")
    adetailer: AdetailerConfig | None = Field(
        default=None, description="Find faces or hands and redraw each; None: no such stage."
    )
    upscale: UpscaleConfig | None = Field(default=None, description="Enlarge pictures; None: no such stage.")
    custom: dict[str, OwnStageConfig] = Field(
        default_factory=dict, description="Stages of installed packages and ready-made ones, by a name of your choice."
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object], *, source: str = "") -> PipelineConfig:
        """Return a config from plain values, as read from a TOML, YAML or JSON file.

        Args:
            values: sections and settings by name.
            source: its name in errors, such as the file's; "" for none.

        Raises:
            ConfigError: lists every unknown key with the nearest valid one and every wrong value with what is allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ConfigError as error:
            head = f"{source}: " if source else ""
            raise ConfigError([head + problem for problem in error.problems]) from None

    @classmethod
    def load(cls, path: Path | str, *, overrides: Sequence[str] = ()) -> PipelineConfig:
        """Return the config in a TOML, YAML or JSON file, told apart by their content.

        Args:
            path: the file, UTF-8.
            overrides: "stage.key=value" each, applied on top of the file.

        Raises:
            ConfigError: the file cannot be read or parsed, or holds what is not allowed.
        """
        path = Path(path)
        return cls.from_mapping(override(read_values(path), overrides), source=path.name)


def override(values: Mapping[str, object], assignments: Iterable[str]) -> dict[str, object]:
    """Return the *values* of a `PipelineConfig` with "stage.key=value" applied.

    A setting that holds text, such as a prompt, takes the value as it stands; any other as JSON, as an inline table or
    a list of TOML, or as YAML reads a scalar or a list. An empty value, `null` and `~` are None where None is allowed.
    A name with a dot in it stands in quotes: `txt2img.payload."sample.cfg"=5`.

    Raises:
        ConfigError: an assignment is not of that form.
    """
    return assign(values, assignments, PipelineConfig)
