"""Checks of a plan before it runs: the server has every name and every node, and no result is too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.comfyui.api import load_name
from rxpipe.backends.comfyui.graphs import RegionFile, Source, graph_of
from rxpipe.backends.comfyui.inputs import found_by_server, own_filters
from rxpipe.backends.comfyui.names import stem_of
from rxpipe.backends.masks import check_masks
from rxpipe.backends.regions import Box
from rxpipe.backends.sizes import Size, sizes
from rxpipe.config import AdetailerConfig, CustomConfig, Img2ImgConfig, Txt2ImgConfig, UpscaleConfig, WorkflowConfig
from rxpipe.errors import BackendRejected, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.backends.comfyui.graph import Graph
    from rxpipe.backends.comfyui.knowledge import Knowledge
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.backends.http.connection import Connection
    from rxpipe.config import StageConfig
    from rxpipe.plan import StageExecution, StageExecutionPlan

_ANY_SIZE = Size(512, 512)
_ANY_FILE = load_name("picture.png")


def check_plan(connection: Connection, knowledge: Knowledge, plan: StageExecutionPlan) -> tuple[str, ...]:
    """Return warnings about a plan.

    Raises:
        BackendUnavailable: no answer.
        BackendRejected: unknown names or nodes, all of a stage together, or a result too large.
        MissingPackage: a stage finds faces on our side, and what finds them is not installed.
    """
    known = knowledge.refresh(connection)
    problems = known.catalog.problems(plan)
    if problems:
        sentences = (problem if problem.endswith("?") else f"{problem}." for problem in problems)
        raise BackendRejected("\n".join(sentences), hint="`rxpipe doctor` lists what the server has.")
    check_masks(plan)
    sizes(plan)
    warnings: dict[str, None] = {}
    for stage in plan.stages:
        if isinstance(stage.config, CustomConfig):
            continue
        graph = sample_graph(stage, known.catalog)
        knowledge.check_graph(connection, graph.nodes)
        found = (*graph.warnings, *_without_effect(stage, known.catalog))
        warnings |= dict.fromkeys(f"{stage.stage_type}: {warning}" for warning in found)
    return (*warnings, *_of_models(plan, known.catalog), *_of_server(known.catalog))


def sample_graph(stage: StageExecution, catalog: ComfyCatalog, file: str = _ANY_FILE, size: Size = _ANY_SIZE) -> Graph:
    """Return the graph of a stage over a picture of any size, with one part to redraw where it redraws parts."""
    config = stage.config
    if isinstance(config, Txt2ImgConfig) or not stage.requires_input_image:
        return graph_of(stage, None, catalog)
    part = (RegionFile(Box(0, 0, *size), size, file),)
    source = Source(file, size)
    if isinstance(config, AdetailerConfig):
        units = (config, *config.units)
        here = [unit for unit in units if not found_by_server(unit, catalog)]
        if here:
            require("Finding faces for ComfyUI", "numpy", "skimage")
        source = Source(file, size, regions=tuple(part if unit in here else None for unit in units))
    elif isinstance(config, Img2ImgConfig) and config.mask is not None:
        alone = (part,) if config.inpaint_full_res else ()
        source = Source(file, size, mask=None if alone else file, regions=alone)
    return graph_of(stage, source, catalog)


def _of_models(plan: StageExecutionPlan, catalog: ComfyCatalog) -> list[str]:
    drawing = [stage for stage in plan.stages if not isinstance(stage.config, CustomConfig | WorkflowConfig)]
    drawing = [one for one in drawing if not isinstance(one.config, UpscaleConfig) or one.config.mode == "img2img"]
    if all(stage.generation.model for stage in drawing) or len(catalog.models or ()) <= 1:
        return []
    return [f"no model is named, and ComfyUI keeps none loaded: {stem_of(catalog.model(None))} is used"]


def _of_server(catalog: ComfyCatalog) -> list[str]:
    if catalog.server.interrupts_one:
        return []
    return [
        f"{catalog.server.name} cannot interrupt one job of several: where others work too, a cancelled one runs on"
    ]


def _without_effect(stage: StageExecution, catalog: ComfyCatalog) -> Iterator[str]:
    config = stage.config
    if isinstance(config, WorkflowConfig):
        return
    unused = [name for name in ("override_settings", "alwayson_scripts") if getattr(config, name)]
    unused += [name for name in _FOR_WEBUI.get(type(config), ()) if _is_set(config, name)]
    if unused:
        yield f"ComfyUI has no {', '.join(unused)} and ignores it; a workflow of your own can do more"
    if isinstance(config, Txt2ImgConfig) and config.batch_size > 1:
        yield "batch_size has no effect: each picture is a job of its own, so that each has its own seed"
    if isinstance(config, AdetailerConfig):
        for unit in (config, *config.units):
            if found_by_server(unit, catalog) and (names := own_filters(unit)):
                yield f"Impact-Pack has no {', '.join(names)}, which have no effect for {unit.detector}"


_FOR_WEBUI: dict[type[StageConfig], tuple[str, ...]] = {
    Txt2ImgConfig: ("subseed_strength", "tiling", "restore_faces", "styles"),
    UpscaleConfig: ("gfpgan_visibility", "codeformer_visibility"),
}


def _is_set(config: StageConfig, name: str) -> bool:
    return bool(getattr(config, name) != type(config).model_fields[name].default)
