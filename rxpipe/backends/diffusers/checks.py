"""Checks of a plan before it runs: every name is known, every file is there, and what has no effect is a warning.

Neither torch nor diffusers is imported.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

from rxpipe.backends.catalog import Catalog, CatalogItem, name_references
from rxpipe.backends.diffusers.detectors import detector_used
from rxpipe.backends.diffusers.files import MODELS_VARIABLE, ModelFile, find_detector, find_model, items
from rxpipe.backends.diffusers.inversions import unknown_names
from rxpipe.backends.diffusers.loading import refuse_family
from rxpipe.backends.diffusers.passes import PROGRAM
from rxpipe.backends.diffusers.samplers import SAMPLERS, choose, sampler_items, schedule_items
from rxpipe.backends.diffusers.upscalers import LATENT
from rxpipe.backends.masks import check_masks
from rxpipe.backends.prompts import parsed
from rxpipe.backends.sizes import sizes
from rxpipe.config import AdetailerConfig, CustomConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendRejected, require
from rxpipe.pictures.faces import looks_for_faces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.plan import StageExecution, StageExecutionPlan

_FOR_SERVERS = ("payload", "override_settings", "alwayson_scripts")
_SWITCHES = ("tiling", "restore_faces", "styles", "modules", "distilled_cfg_scale", "gfpgan_visibility")
_FACES = ("codeformer_visibility",)


def catalog_of(file: ModelFile) -> Catalog:
    """Return what there is by name, the model *file* included."""
    own = CatalogItem(file.name, (file.path.name, str(file.path)))
    usual = (CatalogItem("Lanczos"), CatalogItem("None"), CatalogItem("Nearest"))
    latent = tuple(CatalogItem(f"Latent{name.removeprefix('latent')}") for name in LATENT)
    return Catalog(
        samplers=sampler_items(),
        schedulers=schedule_items(),
        upscalers=(*usual, *latent, *items("upscaler")),
        models=tuple({item.name: item for item in (own, *items("checkpoint"))}.values()),
        vaes=items("vae"),
        loras=items("lora"),
    )


def check_plan(file: ModelFile, plan: StageExecutionPlan) -> list[str]:
    """Return warnings about a plan.

    Raises:
        BackendRejected: unknown names, a file that is missing or cannot be drawn with, a stage that is not drawn here.
        MissingPackage: a stage needs a package that is not installed.
    """
    catalog = catalog_of(file)
    problems = [problem for problem in catalog.problems(plan) if not _is_path(problem, plan)]
    if problems:
        sentences = (problem if problem.endswith("?") else f"{problem}." for problem in problems)
        raise BackendRejected(
            "\n".join(sentences).replace("the server has", f"{PROGRAM} has"), hint="RXPIPE_MODELS names the folders."
        )
    check_masks(plan)
    sizes(plan)
    warnings: dict[str, None] = {}
    for stage in plan.stages:
        if isinstance(stage.config, CustomConfig):
            continue
        if isinstance(stage.config, WorkflowConfig):
            raise BackendRejected(f"{stage.stage_type}: a workflow runs on a ComfyUI only.")
        _check_files(stage)
        warnings |= dict.fromkeys(f"{stage.stage_type}: {warning}" for warning in _warnings(stage))
    return list(warnings)


def _is_path(problem: str, plan: StageExecutionPlan) -> bool:
    """Whether the name that a problem is about is the path of a file, which the catalog need not list."""
    names = {reference.name for stage in plan.stages for reference in name_references(stage)}
    return any(repr(name) in problem and ("/" in name or "\\" in name) for name in names)


def _check_files(stage: StageExecution) -> None:
    for reference in name_references(stage):
        if reference.kind == "models" and ("/" in reference.name or "\\" in reference.name):
            refuse_family(find_model(reference.name, "checkpoint"))
        if reference.kind == "samplers":
            chosen = choose(reference.name, None)
            needs = SAMPLERS[chosen.sampler].needs if chosen.sampler else None
            if needs is not None and importlib.util.find_spec(needs) is None:
                raise BackendRejected(
                    f"{stage.stage_type}.{reference.field}: {reference.name} needs {needs}, which is not installed.",
                    hint=f"Run: pip install {needs} (with the torch that you have pinned), or take DPM++ 2M SDE.",
                )
    for lora in parsed(stage.generation.prompt, program=PROGRAM).loras:
        require("Drawing with a LoRA", "peft")
        find_model(lora.name, "lora")
    if isinstance(stage.config, AdetailerConfig):
        used = [detector_used(unit.detector) for unit in (stage.config, *stage.config.units)]
        if None in used:
            require("Finding faces", "numpy", "skimage")


def _warnings(stage: StageExecution) -> Iterator[str]:
    config = stage.config
    unused = [name for name in (*_FOR_SERVERS, *_SWITCHES, *_FACES) if getattr(config, name, None)]
    if unused:
        yield f"{', '.join(unused)} mean nothing to a local model and are not used"
    if isinstance(config, Txt2ImgConfig) and config.batch_size > 1:
        yield "batch_size has no effect: pictures are drawn one by one, each with its own seed"
    if isinstance(config, AdetailerConfig):
        yield from _of_detectors(config)
    if isinstance(config, UpscaleConfig) and config.mode == "single":
        return
    yield from _of_prompts(stage)
    yield from _of_samplers(stage)


def _of_detectors(config: AdetailerConfig) -> Iterator[str]:
    for unit in (config, *config.units):
        if detector_used(unit.detector) is not None:
            continue
        if not looks_for_faces(unit.detector):
            yield f"{unit.detector} is not here, only faces are found"
        elif find_detector(unit.detector) is not None:
            yield f"{unit.detector} needs ultralytics, which is not installed; rxpipe's own detector finds the faces"


def _of_prompts(stage: StageExecution) -> Iterator[str]:
    steps = stage.generation.steps or 20
    for text in (stage.generation.prompt, stage.generation.negative_prompt):
        found = parsed(text, program=PROGRAM, steps=steps)
        yield from found.warnings
        for name in unknown_names(text):
            yield f"there is no embedding {name!r} in the folders of {MODELS_VARIABLE}; it is taken as words"
        if len(found.parts) > 1:
            yield "AND is taken as BREAK: its parts are not drawn separately"
    if parsed(stage.generation.negative_prompt, program=PROGRAM).loras:
        yield "a LoRA in the negative prompt has no effect"


def _of_samplers(stage: StageExecution) -> Iterator[str]:
    config, generation = stage.config, stage.generation
    pairs = [(generation.sampler_name, generation.scheduler)]
    if isinstance(config, Txt2ImgConfig) and config.hires is not None and config.hires.enabled:
        hires = config.hires
        pairs.append((hires.sampler_name or generation.sampler_name, hires.scheduler or generation.scheduler))
    if isinstance(config, AdetailerConfig):
        units = (config, *config.units)
        pairs = [(one.sampler_name or generation.sampler_name, one.scheduler or generation.scheduler) for one in units]
    for sampler, schedule in dict.fromkeys(pairs):
        choice = choose(sampler, schedule)
        if choice.dropped is not None:
            whose = sampler or "the model's own sampler"
            yield f"{whose} has no schedule {choice.dropped}, and draws with its own"
        if choice.sampler is not None and SAMPLERS[choice.sampler].note:
            yield f"{choice.sampler} is {SAMPLERS[choice.sampler].note}"
