"""The config models: PipelineConfig and one frozen model per kind of stage.

Pure; no Rx, no network. Setting names are those of the WebUI payloads, so that presets and habits carry over. However a
config is made, one ConfigError lists every wrong setting.
"""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
)
from pydantic_core import PydanticSerializationError, to_json

from rxpipe.config.problems import problems_of
from rxpipe.config.reading import assign, read_values
from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OnError = Literal["drop", "pass", "stop"]
Order = Literal["stage", "image", "auto"]
Save = Literal["all", "final"]

_MAX_SEED = 2**63 - 1


def _multiple_of_8(value: int) -> int:
    if value % 8:
        low = value - value % 8
        raise ValueError(f"must be a multiple of 8 (px), such as {low} or {low + 8}")
    return value


def _no_flag(value: object) -> object:
    if isinstance(value, bool):  # which Python would take for 0 or 1
        raise ValueError("should be a number")  # noqa: TRY004  # pydantic collects ValueErrors
    return value


def _writable(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | BaseModel):
        return value
    try:
        to_json(value)
    except PydanticSerializationError:
        raise ValueError("cannot be written as JSON in UTF-8, as events and files are") from None
    return value


Whole = Annotated[int, BeforeValidator(_no_flag)]
Number = Annotated[float, BeforeValidator(_no_flag)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Pixels = Annotated[Whole, Field(ge=64, le=8192), AfterValidator(_multiple_of_8)]
Seed = Annotated[Whole, Field(ge=-1, le=_MAX_SEED)]
Steps = Annotated[Whole, Field(ge=1, le=1000)]
CfgScale = Annotated[Number, Field(ge=0, le=100)]


class Config(BaseModel):
    """The base of all config models: frozen, unknown keys refused, `section` is its name in a file."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True, defer_build=True
    )
    section: ClassVar[str] = ""
    _is_writable = field_validator("*")(_writable)

    def __init__(self, /, **values: object) -> None:
        """Validate as loading from a file does, with the same ConfigError."""
        try:
            self.__pydantic_validator__.validate_python(values, self_instance=self)
        except ValidationError as error:
            raise ConfigError(problems_of(error, type(self), PipelineConfig)) from None

    # Nested sections are validated in place and not through __init__, so that an error keeps its full path.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]  # pydantic's own switch, on a function

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """As pydantic's own; what is wrong is told as a ConfigError."""
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise ConfigError(problems_of(error, cls, PipelineConfig)) from None

    @classmethod
    def model_validate_json(cls, json_data: str | bytes | bytearray, **options: Any) -> Self:
        """As pydantic's own; what is wrong is told as a ConfigError."""
        try:
            return super().model_validate_json(json_data, **options)
        except ValidationError as error:
            raise ConfigError(problems_of(error, cls, PipelineConfig)) from None


class StageConfig(Config):
    """What every stage can be told.

    enabled: False is the same as the section being absent.
    on_error: an image that fails is dropped, passed on unchanged, or stops the stage.
    """

    enabled: bool = True
    on_error: OnError = "drop"


class HiresConfig(Config):
    """The hires fix: a second pass of txt2img at a larger size. A setting of txt2img, never a stage.

    scale: factor, 1..8; steps 0: as many as the first pass; sampler_name, scheduler, checkpoint None: the same.
    """

    section = "hires"
    enabled: bool = True
    scale: Annotated[Number, Field(ge=1, le=8)] = 2.0
    upscaler: str = "Latent"
    steps: Annotated[Whole, Field(ge=0, le=1000)] = 0
    denoising_strength: Fraction = 0.7
    sampler_name: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    resize_x: Annotated[Whole, Field(ge=0, le=8192)] = 0
    resize_y: Annotated[Whole, Field(ge=0, le=8192)] = 0


class RefinerConfig(Config):
    """The refiner: another checkpoint for the last part of the sampling. A setting of txt2img, never a stage.

    switch_at: fraction 0..1 of the steps after which it takes over.
    """

    section = "refiner"
    enabled: bool = True
    checkpoint: str
    switch_at: Fraction = 0.8


class Txt2ImgConfig(StageConfig):
    """Draw pictures from a prompt.

    images: how many, each with a seed of its own (seed, seed + 1, ...); seed -1: drawn once per run.
    model, vae: None or "" means what the server has loaded; sampler_name, scheduler None: the backend's default.
    batch_size: pictures per request, for GPUs that like batches.
    override_settings, alwayson_scripts: handed to a WebUI as they are.
    """

    section = "txt2img"
    prompt: str = ""
    negative_prompt: str = ""
    images: Annotated[Whole, Field(ge=1, le=100_000)] = 1
    steps: Steps = 20
    cfg_scale: CfgScale = 7.0
    width: Pixels = 512
    height: Pixels = 512
    seed: Seed = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    vae: str | None = None
    clip_skip: Annotated[Whole, Field(ge=1, le=12)] | None = None
    batch_size: Annotated[Whole, Field(ge=1, le=64)] = 1
    subseed: Seed = -1
    subseed_strength: Fraction = 0.0
    distilled_cfg_scale: CfgScale | None = None
    tiling: bool = False
    restore_faces: bool = False
    styles: tuple[str, ...] = ()
    hires: HiresConfig | None = None
    refiner: RefinerConfig | None = None
    override_settings: dict[str, JsonValue] = Field(default_factory=dict)
    alwayson_scripts: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("on_error")
    @classmethod
    def _nothing_to_pass(cls, value: OnError) -> OnError:
        if value == "pass":
            raise ValueError("which hands on the stage's input, and txt2img has none; allowed: 'drop', 'stop'")
        return value


class Img2ImgConfig(StageConfig):
    """Redraw a picture.

    denoising_strength: 0 (unchanged) .. 1 (drawn anew).
    width, height: None means the size of the picture that comes in.
    images: variants per input picture; only the first stage of a chain may ask for more than one.
    Any other None: as the drawing stage before it, else the backend's default.
    """

    section = "img2img"
    denoising_strength: Fraction = 0.3
    prompt: str | None = None
    negative_prompt: str | None = None
    images: Annotated[Whole, Field(ge=1, le=100_000)] = 1
    steps: Steps | None = None
    cfg_scale: CfgScale | None = None
    width: Pixels | None = None
    height: Pixels | None = None
    seed: Seed = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    vae: str | None = None
    clip_skip: Annotated[Whole, Field(ge=1, le=12)] | None = None
    resize_mode: Annotated[Whole, Field(ge=0, le=3)] = 0
    override_settings: dict[str, JsonValue] = Field(default_factory=dict)
    alwayson_scripts: dict[str, JsonValue] = Field(default_factory=dict)


class AdetailerUnit(Config):
    """What one detector looks for and how what it finds is redrawn.

    detector: name of the detector (`face_yolov8n.pt`, `hand_yolov8n.pt`, `mediapipe_face_full`); the embedded backend
        has a face detector of its own and takes any name that speaks of faces.
    confidence: 0..1; finds below it are ignored. denoising_strength: 0..1.
    dilate_erode, mask_blur, padding: px. mask_min_ratio, mask_max_ratio: size of a find as a fraction of the picture.
    mask_k_largest: only the k largest finds, 0 for all. inpaint_width, inpaint_height: None for the picture's.
    Any other None: as the drawing stage before it, else the backend's default. prompt None: the main prompt.
    """

    section = "adetailer.units"
    detector: str = "face_yolov8n.pt"
    confidence: Fraction = 0.3
    denoising_strength: Fraction = 0.4
    prompt: str | None = None
    negative_prompt: str | None = None
    steps: Steps | None = None
    cfg_scale: CfgScale | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    checkpoint: str | None = None
    mask_filter_method: Literal["Area", "Confidence"] = "Area"
    mask_k_largest: Annotated[Whole, Field(ge=0, le=100)] = 0
    mask_min_ratio: Fraction = 0.0
    mask_max_ratio: Fraction = 1.0
    mask_merge_invert: Literal["None", "Merge", "Merge and Invert"] = "None"
    dilate_erode: Annotated[Whole, Field(ge=-128, le=128)] = 4
    mask_blur: Annotated[Whole, Field(ge=0, le=64)] = 4
    inpaint_only_masked: bool = True
    padding: Annotated[Whole, Field(ge=0, le=256)] = 32
    inpaint_width: Pixels | None = None
    inpaint_height: Pixels | None = None


class AdetailerConfig(StageConfig, AdetailerUnit):
    """Find faces (or hands) and redraw each; the rest of the picture stays as it was.

    The fields of the section itself are the first unit; `units` holds further ones, run in order.
    on_error is "pass" by default: a face that could not be mended never costs the picture.
    seed -1: the image's own seed.
    """

    section = "adetailer"
    on_error: OnError = "pass"
    seed: Seed = -1
    model: str | None = None
    vae: str | None = None
    units: tuple[AdetailerUnit, ...] = ()


AdetailerStageConfig = AdetailerConfig
"""The same under the name that says that it is a stage of its own."""


class UpscaleConfig(StageConfig):
    """Make a picture larger.

    scale: factor, 1..8; the result's size is the input's times it.
    upscaler: None means the backend's default (Lanczos on the embedded one).
    mode: "single" resamples or runs an upscaler model; "img2img" redraws at the larger size.
    gfpgan_visibility, codeformer_visibility, codeformer_weight: 0..1, face restorers of a WebUI, 0 is off.
    max_megapixels: guard on the size of the result.
    """

    section = "upscale"
    scale: Annotated[Number, Field(ge=1, le=8)] = 2.0
    upscaler: str | None = None
    mode: Literal["single", "img2img"] = "single"
    denoising_strength: Fraction = 0.35
    steps: Steps | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    gfpgan_visibility: Fraction = 0.0
    codeformer_visibility: Fraction = 0.0
    codeformer_weight: Fraction = 0.0
    max_megapixels: Annotated[Number, Field(gt=0)] = 32.0


SECTIONS: Mapping[str, type[StageConfig]] = MappingProxyType(
    {"txt2img": Txt2ImgConfig, "img2img": Img2ImgConfig, "adetailer": AdetailerConfig, "upscale": UpscaleConfig}
)
"""The sections of a config by name, in the order in which they run."""


class CustomConfig(StageConfig):
    """A stage of the user's own, as the plan sees it: a function on artifacts or an Rx operator.

    settings: what the user wants recorded about it; plain JSON values.
    """

    section = "custom"
    name: Annotated[str, Field(pattern=r"^[^\W\d][\w .-]*$")]
    kind: Literal["function", "operator"]
    settings: dict[str, JsonValue] = Field(default_factory=dict)


class RetryConfig(Config):
    """How often and after what pause a failed drawing is tried again, where trying can heal.

    attempts: in total, 1 for never again. The pause grows from first_delay_s by factor up to max_delay_s;
    jitter: fraction of it that is random.
    """

    section = "retry"
    attempts: Annotated[Whole, Field(ge=1, le=100)] = 3
    first_delay_s: Annotated[Number, Field(ge=0)] = 1.0
    factor: Annotated[Number, Field(ge=1)] = 2.0
    max_delay_s: Annotated[Number, Field(ge=0)] = 30.0
    jitter: Fraction = 0.1


class RunMetadata(Config):
    """What is known about a run from outside. Further keys are kept as they are; their values are what JSON can hold.

    run_id: None means drawn when the run starts.
    """

    model_config = ConfigDict(extra="allow")
    section = "metadata"
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_writable)]]
    run_id: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    one_click_action: str | None = None


class RunSettings(Config):
    """How a run goes about its stages, whatever they are.

    order: "stage" all images through one stage, then the next; "image" each image through all of them; "auto" stages
        that share a checkpoint image by image, group after group.
    input: pictures to start from, for a chain that does not begin with txt2img.
    out: folder for the files; None keeps every picture in memory.
    save: "all" stages' pictures, or only each image's "final" one.
    max_failures_in_a_row: so many failed images in a row end the stage.
    timeout_s: longest time one drawing may take, None for no limit.
    """

    order: Order = "stage"
    input: tuple[Path, ...] = ()
    out: Path | None = Path("outputs")
    save: Save = "all"
    retry: RetryConfig = RetryConfig()
    max_failures_in_a_row: Annotated[Whole, Field(ge=1)] = 3
    timeout_s: Annotated[Number, Field(gt=0)] | None = None
    metadata: RunMetadata = RunMetadata()


class PipelineConfig(RunSettings):
    """The whole of what is wished: sections for the stages, and how to run them. An absent section is None."""

    section = "pipeline"
    txt2img: Txt2ImgConfig | None = None
    img2img: Img2ImgConfig | None = None
    adetailer: AdetailerConfig | None = None
    upscale: UpscaleConfig | None = None

    @classmethod
    def from_mapping(cls, values: Mapping[str, object], *, source: str = "") -> PipelineConfig:
        """A config from plain values, as a TOML, YAML or JSON file gives them.

        Args:
            values: sections and settings by name.
            source: what to call it in errors, such as the file's name.

        Raises:
            ConfigError: names every unknown key with the nearest valid one and every wrong value with what is allowed.
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

    A setting that holds text, such as a prompt, takes the value as it stands; any other as YAML reads a scalar or a
    list. An empty value, `null` and `~` are None where None is allowed.

    Raises:
        ConfigError: an assignment is not of that form.
    """
    return assign(values, assignments, PipelineConfig)
