"""The plan: a config's stages in order, each with the settings it renders with.

Pure; raises PlanError and touches neither disk nor network. What only a run can know (a seed of -1, a missing run_id)
stays unset here; `StageExecution.for_image` fills it in for one image.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from rxpipe.config import (
    AdetailerConfig,
    CustomConfig,
    Img2ImgConfig,
    PipelineConfig,
    RunSettings,
    Txt2ImgConfig,
    UpscaleConfig,
    WorkflowConfig,
)
from rxpipe.config.bindings import IMAGE, value_in
from rxpipe.config.models.base import MAX_SEED, build_defaults
from rxpipe.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from rxpipe.config import OwnStageConfig


class StageType(StrEnum):
    """The four stages that every backend renders. A ComfyUI workflow's is "workflow", a custom stage's its own name."""

    TXT2IMG = "txt2img"
    IMG2IMG = "img2img"
    ADETAILER = "adetailer"
    UPSCALE = "upscale"


SectionConfig = Annotated[
    Txt2ImgConfig | WorkflowConfig | Img2ImgConfig | AdetailerConfig | UpscaleConfig | CustomConfig,
    Field(union_mode="smart"),
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> dict[str, Any]:
        """Describe it as pydantic does, its defaults too."""
        build_defaults(cls)
        return handler(core_schema)


_HOW = frozenset({"enabled", "on_error", "on_interrupted"})


def _dumped(value: Any) -> Any:
    """Return a value as `model_dump` does, without the schema of the model that it stands in."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, tuple | list):
        return type(value)(map(_dumped, value))
    return {key: _dumped(each) for key, each in value.items()} if isinstance(value, dict) else value


class GenerationSettings(_Frozen):
    """What a stage renders with: the values of its own section, else those of txt2img or img2img before it.

    No stage inherits from adetailer or upscale (the prompt of a face, for example).
    None: not set, the backend's default applies. width, height: px, never inherited; None: the size of the input.
    """

    prompt: str = ""
    negative_prompt: str = ""
    steps: int | None = None
    cfg_scale: float | None = None
    width: int | None = None
    height: int | None = None
    sampler_name: str | None = None
    scheduler: str | None = None
    model: str | None = None
    vae: str | None = None
    modules: tuple[str, ...] = ()
    clip_skip: int | None = None


class StageExecution(_Frozen):
    """One stage as it will run.

    stage_type: a `StageType`, "workflow", or a custom stage's name. stage_index: index in the plan, from 0.
    config: the section, values exactly as given. generation: what it renders with, inherited values included.
    requires_input_image: False for txt2img, and for a workflow that begins with none.
    group: stages of one group take each image through all of them before the next; see `order`.
    image_index: 1.., in the order in which images enter the stage; None except in `for_image`.
    seed: of this image; in the plan the section's own, None if it is random or inherited.
    """

    stage_type: str
    stage_index: int
    config: SectionConfig
    generation: GenerationSettings = GenerationSettings.model_construct()
    requires_input_image: bool
    group: int = 0
    image_index: int | None = None
    seed: int | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """The values that were set in the section, without those that only say how it runs."""
        config = self.config
        names = [name for name in type(config).model_fields if name in config.model_fields_set and name not in _HOW]
        return {name: _dumped(getattr(config, name)) for name in names}

    def for_image(self, *, image_index: int, seed: int | None) -> StageExecution:
        """Return the same stage for one image; image_index is 1.. in this stage."""
        return self.model_copy(update={"image_index": image_index, "seed": seed})


class AdetailerStageExecution(StageExecution):
    """An adetailer stage as it will run: a stage of its own, never a setting of another."""

    config: AdetailerConfig


class PlannedImages:
    """What differs from image to image of a plan: here nothing but the seed, which counts up.

    `rxpipe.variants.Variants` is one whose images differ in their settings.
    """

    def seeded(self, seed: int) -> PlannedImages:
        """Return the images of a run with this seed."""
        del seed
        return self

    def execution(self, planned: StageExecution, number: int) -> StageExecution:
        """Return a stage as it runs for the planned image *number*, 1..; *planned*: as in the plan."""
        del number
        return planned

    def checked(self, plan: StageExecutionPlan) -> StageExecutionPlan:
        """Return what a backend checks before a run of *plan*: its stages with every name that they will ask for."""
        return plan

    def seed_offset(self, number: int) -> int:
        """Return what is added to a stage's seed for the planned image *number*, 1.."""
        return number - 1

    def first_seed(self, seed: int, number: int) -> int:
        """Return the seed that an image begins with; *seed*: of the run."""
        return seed + self.seed_offset(number)

    def largest_seed(self, planned: StageExecution, images: int) -> int | None:
        """Return the largest seed that a stage gives to one of *images*; None if it has none of its own."""
        return None if planned.seed is None else planned.seed + images - 1

    def metadata(self, number: int) -> Mapping[str, object]:
        """Return what is recorded about an image from its beginning, plain JSON."""
        del number
        return {}


class StageExecutionPlan(_Frozen):
    """All stages in order, and the settings of the run.

    images: how many are planned. seed: of the first one; None for a random one, chosen when the run starts.
    run_id: None for one that is made when the run starts.
    """

    stages: tuple[AdetailerStageExecution | StageExecution, ...]
    images: int
    seed: int | None = None
    run_id: str | None = None
    one_click_action: str | None = None
    settings: RunSettings = RunSettings.model_construct()

    @property
    def stage_types(self) -> tuple[str, ...]:
        """The stages' names in order."""
        return tuple(stage.stage_type for stage in self.stages)

    def check(self, images: PlannedImages | None = None) -> None:
        """Raise unless the plan can run.

        Args:
            images: what differs from image to image, of the same chain; None for those of a plan without variants.

        Raises:
            PlanError: there is no stage, no picture to start from, no stage that uses the input pictures, or a seed
                that counts up to more than a seed can be.
        """
        if not self.stages:
            raise PlanError(
                "No pipeline stages enabled.", hint="Enable at least one of txt2img, img2img, adetailer, upscale."
            )
        first = self.stages[0]
        if first.requires_input_image and not self.settings.input:
            raise PlanError(
                f"{first.stage_type} (stage 1 of {len(self.stages)}) has no picture to start from.",
                hint="Put txt2img before it or give input=[...] (on the command line: --input PHOTO).",
            )
        if self.settings.input and not first.requires_input_image:
            raise PlanError(
                f"txt2img uses no input picture, so the {len(self.settings.input)} input picture(s) would not be used.",
                hint="Leave txt2img out to start from the picture, or leave the input out.",
            )
        self._check_seeds(images or PlannedImages())

    def _check_seeds(self, images: PlannedImages) -> None:
        for stage in self.stages:
            last = images.largest_seed(stage, self.images)
            if last is not None and last > MAX_SEED:
                where = f"{stage.stage_type}.seed"
                raise PlanError(
                    f"{where}: {self.images} images count up to {last}; the largest seed is {MAX_SEED}.",
                    hint="Use a smaller seed or fewer images.",
                )


def build_stage_execution_plan(config: PipelineConfig) -> StageExecutionPlan:
    """Return the plan of a config: its enabled sections in the order txt2img, workflow, img2img, adetailer, upscale.

    A stage of `custom` stands behind the one that it follows, by default behind all of those.

    Raises:
        PlanError: the stages cannot work in this order, a stage follows one that there is not, or adetailer has neither
            a generation stage before it nor an input picture.
    """
    given = (config.txt2img, config.workflow, config.img2img, config.adetailer, config.upscale)
    sections = _with_own(tuple(section for section in given if section is not None), config.custom)
    names = set(RunSettings.model_fields)
    settings = RunSettings.model_construct(names, **{name: getattr(config, name) for name in names})
    plan = plan_stages(sections, settings)
    if plan.stage_types[:1] == (StageType.ADETAILER,) and not settings.input:
        raise PlanError(
            f"adetailer (stage 1 of {len(plan.stages)}) has nothing to detail: no generation stage before it and no "
            "input picture.",
            hint="Put txt2img or img2img before it or give input=[...].",
        )
    return plan


def _with_own(sections: Sequence[SectionConfig], own: Mapping[str, OwnStageConfig]) -> list[SectionConfig]:
    """Return the sections with the registered stages among them, each behind the one that it follows.

    Raises:
        PlanError: one follows a stage that there is not.
    """
    row: list[tuple[str, str, SectionConfig]] = [(stage_type_of(each), "", each) for each in sections]
    for name, given in own.items():
        section = CustomConfig.model_validate(
            {
                "name": name,
                "kind": "function",
                "registered": given.stage or name,
                "settings": given.settings,
                "enabled": given.enabled,
                **({"on_error": given.on_error} if given.on_error is not None else {}),
            }
        )
        row.insert(_place(name, given.after, row), (name, given.after or "", section))
    return [section for _, _, section in row]


def _place(name: str, after: str | None, row: Sequence[tuple[str, str, SectionConfig]]) -> int:
    if after is None:
        return len(row)
    names = [each for each, _, _ in row]
    if after not in names:
        raise PlanError(
            f"custom.{name}: follows {after!r}, and the stages before it are {', '.join(names) or 'none'}.",
            hint="Name one of them with after=, or leave it out for the end.",
        )
    place = names.index(after) + 1
    while place < len(row) and row[place][1] == after:  # those that follow the same one keep their order
        place += 1
    return place


def plan_stages(sections: Iterable[SectionConfig], settings: RunSettings) -> StageExecutionPlan:
    """Return the plan of *sections* in the order given; those that are not enabled are left out.

    Raises:
        PlanError: txt2img is not the first stage, or a later img2img asks for more than one image.
    """
    row = [section for section in sections if section.enabled]
    _check_order(row)
    stages: list[StageExecution] = []
    for section in row:
        stages.append(_execution(section, stages, settings))
    first = row[0] if row else None
    return StageExecutionPlan.model_construct(
        stages=tuple(stages),
        images=_planned(first, settings),
        seed=_own_seed(first),
        run_id=settings.metadata.run_id,
        one_click_action=settings.metadata.one_click_action,
        settings=settings,
    )


def stage_type_of(section: SectionConfig) -> str:
    """Return the stage type of a section."""
    return section.name if isinstance(section, CustomConfig) else section.section


def _check_order(row: list[SectionConfig]) -> None:
    for index, section in enumerate(row):
        where = f"{stage_type_of(section)} (stage {index + 1} of {len(row)})"
        if isinstance(section, Txt2ImgConfig) and index:
            raise PlanError(f"{where} would throw away the pictures before it.", hint="Put txt2img first.")
        if isinstance(section, Img2ImgConfig | WorkflowConfig) and index and section.images > 1:
            raise PlanError(
                f"{where} asks for {section.images} variants of each picture.",
                hint="Only the first stage can; set txt2img.images instead.",
            )


def _execution(section: SectionConfig, before: list[StageExecution], settings: RunSettings) -> StageExecution:
    last = before[-1] if before else None
    drawing = (Txt2ImgConfig, Img2ImgConfig, WorkflowConfig)
    generated = [stage.generation for stage in before if isinstance(stage.config, drawing)]
    generation = _generation(section, generated[-1] if generated else GenerationSettings.model_construct())
    return _execution_type(section).model_construct(
        stage_type=stage_type_of(section),
        stage_index=len(before),
        config=section,
        generation=generation,
        requires_input_image=_requires_image(section, after=bool(before), settings=settings),
        group=_group(section, generation, last, settings),
        seed=_own_seed(section),
    )


def _requires_image(section: SectionConfig, *, after: bool, settings: RunSettings) -> bool:
    """Whether a stage works on a picture; a workflow that may load one does where there is one."""
    if not isinstance(section, WorkflowConfig):
        return not isinstance(section, Txt2ImgConfig)
    found = section.bindings
    return found.takes_image or (IMAGE in found and (after or bool(settings.input)))


def _execution_type(section: SectionConfig) -> type[StageExecution]:
    return AdetailerStageExecution if isinstance(section, AdetailerConfig) else StageExecution


def _generation(section: SectionConfig, inherited: GenerationSettings) -> GenerationSettings:
    """Return the inherited settings with those of the section on top; the size is never inherited."""
    own = {
        name: value
        for name in GenerationSettings.model_fields
        if (value := getattr(section, name, None)) is not None and not (name in {"model", "vae"} and value == "")
    }
    if isinstance(section, CustomConfig):
        own = {}
    if isinstance(section, WorkflowConfig):
        own = _of_workflow(section) | own
    if isinstance(section, UpscaleConfig):  # its width and height are a box that the picture is brought to
        own |= {"width": None, "height": None}
    return inherited.model_copy(update={"width": None, "height": None, **own})


def _of_workflow(section: WorkflowConfig) -> dict[str, Any]:
    """Return what a workflow draws with as its file stands, for the stages after it."""
    kinds = {"steps": int, "cfg_scale": int | float, "width": int, "height": int}
    found = section.bindings
    values = {name: value_in(section.nodes, found[name]) for name in GenerationSettings.model_fields if name in found}
    return {name: value for name, value in values.items() if isinstance(value, kinds.get(name, str))}


def _group(
    section: SectionConfig, generation: GenerationSettings, last: StageExecution | None, settings: RunSettings
) -> int:
    """Return the group of a stage.

    In stage order each stage is one, in image order all are one, and in auto neighbours with the same checkpoints.
    """
    if last is None or settings.order == "image":
        return 0
    checkpoints, before = _checkpoints(section, generation), _checkpoints(last.config, last.generation)
    return last.group if settings.order == "auto" and checkpoints == before else last.group + 1


def _checkpoints(section: SectionConfig, generation: GenerationSettings) -> set[str | None]:
    """Return the checkpoints that one image of the stage needs; None stands for the one that is loaded."""
    if not isinstance(section, AdetailerConfig):
        return {generation.model}
    return {unit.checkpoint or generation.model for unit in (section, *section.units)}


def _own_seed(section: SectionConfig | None) -> int | None:
    seed = getattr(section, "seed", None)
    return None if seed is None or seed < 0 else int(seed)


def images_each(plan: StageExecutionPlan) -> int:
    """Return how many images are planned of one input picture, or of the prompt where there is none."""
    return int(getattr(plan.stages[0].config, "images", 1)) if plan.stages else 1


def _planned(first: SectionConfig | None, settings: RunSettings) -> int:
    if first is None:
        return 0
    variants = getattr(first, "images", 1)
    if not _requires_image(first, after=False, settings=settings):
        return int(variants)
    return len(settings.input) * int(variants)
