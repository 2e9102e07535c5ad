"""A chain: stages in order and how to run them, in code where `PipelineConfig` is data."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import reactivex as rx

from rxpipe.artifact import Artifact, image_id
from rxpipe.cached import cached_value
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
from rxpipe.errors import PlanError
from rxpipe.pictures.opening import opened
from rxpipe.plan import PlannedImages, StageExecutionPlan, build_stage_execution_plan, images_each, plan_stages
from rxpipe.rx.operators import barrier
from rxpipe.stages import (
    AdetailerStage,
    ForkStage,
    ImageFunction,
    Img2ImgStage,
    Stage,
    StageOperator,
    StageTracker,
    TeeStage,
    Txt2ImgStage,
    UpscaleStage,
    WhenStage,
    WorkflowStage,
    adetailer,
    expand,
    gate,
    grid,
    image_stage,
    img2img,
    keep_best,
    keep_if,
    operator_stage,
    txt2img,
    upscale,
)
from rxpipe.stages.arguments import stage_name
from rxpipe.stages.base import batch_size
from rxpipe.stages.registry import made
from rxpipe.stages.tracker import priority
from rxpipe.variants.source import Variants

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from reactivex import Observable

    from rxpipe.config.keywords import RunSettingsKeywords
    from rxpipe.plan import SectionConfig
    from rxpipe.stages.scope import RunScope


@dataclass(frozen=True)
class Chain:
    """Stages in order and how to run them. Immutable.

    plan: one execution per enabled stage.
    """

    stages: tuple[Stage, ...]
    settings: RunSettings = RunSettings()  # noqa: RUF009  # frozen

    @cached_value
    def plan(self) -> StageExecutionPlan:
        """The chain as data, computed on first access.

        Raises:
            PlanError: the stages cannot work in this order.
        """
        plan = self._base_plan
        return plan if self.variants is None else plan.model_copy(update={"images": self.variants.count})

    @cached_value
    def _base_plan(self) -> StageExecutionPlan:
        """The plan of one variant."""
        return plan_stages((part.config for part in self.parts), self.settings)

    @property
    def parts(self) -> tuple[Stage, ...]:
        """The stages as the plan has them, those within others before them; without those that are not enabled."""
        parts = (part for stage in self.stages if stage.config.enabled for part in stage.parts)
        return tuple(part for part in parts if part.config.enabled)

    @cached_value
    def variants(self) -> Variants | None:
        """The variants of `settings.variants`, computed on first access; None without.

        Raises:
            ConfigError: a prompt or an axis is wrong, or there are more than the limit.
        """
        given = self.settings.variants
        return None if given is None else Variants(self._base_plan, given)

    @property
    def images(self) -> PlannedImages:
        """What differs from image to image: the seed only, or with variants the settings."""
        return self.variants or PlannedImages()

    def connect(
        self, scope: RunScope, sources: Iterator[Artifact], images: PlannedImages
    ) -> tuple[Observable[Artifact], list[StageTracker]]:
        """Return the chain as one cold observable of the images that finish it, and the trackers of its stages.

        Args:
            scope: of the run. sources: the planned images, each asked for when it can begin. images: what differs
                among them.


        All stages share the lane, which decides what begins. In stage order a stage waits for the one before it.
        """
        linking = _Linking(self.plan, scope, images)
        stream = linking.through(self.stages, linking.source(sources), self.plan.images)
        return stream, linking.trackers


class _Linking:
    """Connects the stages of a chain within one run. trackers: of the stages, in the order of the plan."""

    def __init__(self, plan: StageExecutionPlan, scope: RunScope, images: PlannedImages) -> None:
        self.trackers: list[StageTracker] = []
        self._plan, self._scope, self._images = plan, scope, images
        settings = plan.settings
        self._by_stage = settings.order == "stage"
        self._chunk = settings.chunk if settings.order == "auto" and plan.stages[-1].group else None

    def source(self, sources: Iterator[Artifact]) -> Observable[Artifact]:
        """Return the stream of the planned images, each asked for when its first stage can begin."""
        first = self._plan.stages[0]
        return self._scope.lane.source(
            sources,
            self._plan.images,
            key=lambda number: priority(first, number, self._chunk),
            batch=batch_size(first, self._scope.backend),
        )

    def through(
        self, stages: Iterable[Stage], stream: Observable[Artifact], planned: int | None
    ) -> Observable[Artifact]:
        """Return the stream after these stages; *planned*: how many images it has, None if that is unknown."""
        for stage in stages:
            if not stage.config.enabled:
                continue
            if self.trackers and self._by_stage:
                stream = barrier(stream)
            if isinstance(stage, ForkStage):
                stream = stage.joined(stream, [functools.partial(self._branch, branch) for branch in stage.branches])
            tracker = self._tracker(stage, planned)
            stream = stage.bind(tracker)(stream)
            planned = None if _changes_count(stage) else planned
        return stream

    def _branch(self, stages: Iterable[Stage], source: Observable[Artifact]) -> Observable[Artifact]:
        return self.through(stages, source, None)

    def _tracker(self, stage: Stage, planned: int | None) -> StageTracker:
        tracker = StageTracker(
            self._plan.stages[len(self.trackers)],
            self._scope,
            planned,
            stage_count=len(self._plan.stages),
            chunk=self._chunk,
            blocking=stage.blocking,
            images=self._images,
        )
        self.trackers.append(tracker)
        return tracker


def _changes_count(stage: Stage) -> bool:
    return isinstance(stage.config, CustomConfig) and stage.config.kind != "function"


def chain(*parts: Stage | ImageFunction[...] | StageOperator, **settings: Unpack[RunSettingsKeywords]) -> Chain:
    """Return a chain of stages in the order given.

        chain(txt2img(prompt="a lighthouse", images=8), keep_best(2, by=sharpness), upscale(scale=2), out="pictures")

    Args:
        parts: stages; functions made into stages by `@image_stage`; or plain Rx operators on artifacts, which become
            stages named after their function.
        settings: as in `RunSettings`, such as order, input, out, save, retry, timeout_s.

    Raises:
        ConfigError: a setting is wrong.
        PlanError: the stages cannot work in this order, or a part is not a stage.
    """
    composed = Chain(tuple(_stage(part) for part in parts), RunSettings(**settings))
    _ = composed.plan  # raises PlanError here and not when the run starts
    return composed


def tee(*chains: Chain | Stage | ImageFunction[...] | StageOperator) -> TeeStage:
    """Return a stage that passes each image on, and in addition what each of *chains* makes of it.

        chain(txt2img("a lighthouse"), tee(upscale(upscaler="Lanczos"), upscale(upscaler="R-ESRGAN 4x+")))

    Each result is an image of its own, derived from the one that came.

    Args:
        chains: stages, or chains made by `chain(...)`, whose own run settings have no effect here. At least one.

    Raises:
        PlanError: there is none, or one begins with txt2img.
    """
    if not chains:
        raise PlanError("tee() was given no chain.", hint="Give a stage: tee(upscale(scale=2)).")
    return TeeStage("tee", [_branch("tee", each) for each in chains])


def when(
    predicate: Callable[[Artifact], bool], *parts: Chain | Stage | ImageFunction[...] | StageOperator
) -> WhenStage:
    """Return a stage that sends the images for which *predicate* is true through *parts*; the others pass it by.

        chain(txt2img("a street"), when(has_face, adetailer()), upscale())

    Raises:
        PlanError: there is no stage, or one is txt2img.
    """
    if not parts:
        raise PlanError("when(...) was given no stage.", hint="Give one: when(predicate, upscale(scale=2)).")
    return WhenStage(predicate, [stage for part in parts for stage in _branch("when", part)])


def _branch(where: str, part: object) -> tuple[Stage, ...]:
    stages = part.stages if isinstance(part, Chain) else (_stage(part),)
    if any(isinstance(stage, Txt2ImgStage) for stage in stages):
        raise PlanError(f"{where}: txt2img would throw away the picture that it is given.", hint="Use img2img there.")
    return stages


def build_chain(job: PipelineConfig | StageExecutionPlan | Chain) -> Chain:
    """Return the chain of a config or of a plan; a chain unchanged.

    Raises:
        PlanError: the stages cannot work in this order, or the plan holds a custom stage, whose function a
            plan does not contain.
    """
    if isinstance(job, Chain):
        return job
    if not isinstance(job, PipelineConfig | StageExecutionPlan):
        raise PlanError(f"a run was given {job!r}.", hint="Allowed: a PipelineConfig, or a chain made by chain(...).")
    plan = build_stage_execution_plan(job) if isinstance(job, PipelineConfig) else job
    return Chain(tuple(_built_in(stage.config) for stage in plan.stages), plan.settings)


def with_settings(job: Chain, **changes: Unpack[RunSettingsKeywords]) -> Chain:
    """Return the same chain with changed run settings; *changes* as in `RunSettings`.

    Raises:
        ConfigError: a setting is wrong.
    """
    kept = {name: getattr(job.settings, name) for name in job.settings.model_fields_set}
    return replace(job, settings=RunSettings.model_validate({**kept, **changes}))


def sources(
    plan: StageExecutionPlan, run_id: str, seed: int, images: PlannedImages | None = None
) -> Iterator[Artifact]:
    """Return the planned images before any stage, one by one: with seeds from *seed* on, and input pictures if any.

    Args:
        plan: of the run. run_id: part of their ids. seed: of the run. images: what differs among them.

    Raises:
        BadImage: an input file does not exist, or is not a picture.
    """
    inputs = plan.settings.input if plan.stages and plan.stages[0].requires_input_image else ()
    for path in dict.fromkeys(inputs):
        _check_input(path)
    return _sources(plan, run_id, seed, images or PlannedImages(), inputs)


def _sources(
    plan: StageExecutionPlan, run_id: str, seed: int, images: PlannedImages, inputs: Sequence[Path]
) -> Iterator[Artifact]:
    each = images_each(plan)  # of one input picture
    for number in range(1, plan.images + 1):
        image = Artifact(id=image_id(run_id, number), number=number, seed=images.first_seed(seed, number))
        if inputs:
            given = Artifact.open(inputs[(number - 1) // each % len(inputs)])
            image = replace(image, path=given.path, origin=given.origin)
        metadata = images.metadata(number)
        yield image.with_metadata(**metadata) if metadata else image


def _check_input(path: Path) -> None:
    """Raise BadImage unless Pillow knows the file by its header; the pixels are not decoded here."""
    Artifact.open(path)
    with opened(path, f"input {path}"):
        pass


def seeds(first: int, images: int = 1) -> Observable[Artifact]:
    """Return images that have only a seed yet (first, first + 1, ...): the source of a txt2img stage on its own."""
    return rx.from_iterable(
        [Artifact(id=image_id("seed", n), number=n, seed=first + n - 1) for n in range(1, images + 1)]
    )


_LONGEST = 40
"""Characters that a message shows of a part that is not a stage."""

_MAKERS: list[object] = [
    *(txt2img, img2img, adetailer, upscale, keep_best, keep_if, expand, operator_stage, image_stage),
    *(tee, when, gate, grid),
]


def _stage(part: object) -> Stage:
    if isinstance(part, Stage):
        return part
    if isinstance(part, ImageFunction):
        return part()
    if part in _MAKERS:
        name = part.__name__  # type: ignore[attr-defined]  # all of them are functions
        raise PlanError(f"a chain was given the function {name} itself.", hint=f"Call it: {name}(...) makes the stage.")
    if callable(part):
        _check_operator(part)
        return operator_stage(_operator_name(part), part)
    shown = repr(part)
    shown = shown if len(shown) <= _LONGEST else f"a {type(part).__name__}"
    raise PlanError(
        f"a chain was given {shown}.", hint="Allowed: stages, functions under @image_stage, Rx operators on artifacts."
    )


def _check_operator(part: Callable[..., Any]) -> None:
    """Refuse a function on artifacts that lacks its decorator: as an operator it would fail at the first image."""
    if not inspect.isroutine(part):
        return
    annotations = [str(annotation) for name, annotation in part.__annotations__.items() if name != "return"]
    if any(annotation.endswith(("Artifact", "Artifact'>")) for annotation in annotations[:1]):
        name = stage_name(part, "the function")
        raise PlanError(
            f"a chain was given {name}, a function on artifacts, and takes Rx operators as they are.",
            hint=f"Decorate it with @rxpipe.image_stage, or write image_stage({name}).",
        )


def _operator_name(operator: Callable[..., Any]) -> str:
    """Return the name of an operator's function.

    RxPY makes all of its own with one wrapper, which holds the function that was wrapped in its closure.
    """
    made_by = inspect.getclosurevars(operator).nonlocals if inspect.isfunction(operator) else {}
    return stage_name(
        made_by.get("fun", operator) if getattr(operator, "__name__", "") == "_wrap_curried" else operator
    )


def _built_in(section: SectionConfig) -> Stage:
    match section:
        case Txt2ImgConfig():
            return Txt2ImgStage(section)
        case WorkflowConfig():
            return WorkflowStage(section)
        case Img2ImgConfig():
            return Img2ImgStage(section)
        case AdetailerConfig():
            return AdetailerStage(section)
        case UpscaleConfig():
            return UpscaleStage(section)
        case CustomConfig() if section.registered is not None:
            return made(section)
        case CustomConfig():
            raise PlanError(f"{section.name} is a stage of your own.", hint="Compose it in code with chain(...).")
