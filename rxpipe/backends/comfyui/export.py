"""All stages of a plan as one graph: the picture of each flows into the next, and the last one is shown."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from rxpipe.backends.comfyui.checks import sample_graph
from rxpipe.backends.comfyui.inputs import found_by_server
from rxpipe.backends.sizes import Size, sizes
from rxpipe.config import AdetailerConfig, CustomConfig, Img2ImgConfig
from rxpipe.config.graphs import link_of, links
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.comfyui.graph import Graph, Nodes, Wire
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.plan import StageExecution, StageExecutionPlan

_USUAL = Size(512, 512)


def exported(plan: StageExecutionPlan, catalog: ComfyCatalog) -> tuple[Nodes, list[str]]:
    """Return the nodes of a plan for one image, and warnings about what a graph cannot say.

    Raises:
        BackendRejected: nothing of the plan can be said by a graph.
    """
    nodes: Nodes = {}
    warnings: list[str] = []
    image: Wire | None = None
    known = sizes(plan)
    file = str(plan.settings.input[0].name) if plan.settings.input else "picture.png"
    several = len(plan.stages) > 1
    for index, stage in enumerate(plan.stages):
        if (why := _unsaid(stage, catalog)) is not None:
            warnings.append(f"{stage.stage_type} is left out: {why}")
            continue
        before = (known[index - 1] if index else None) or _USUAL
        narrowed = stage.for_image(image_index=1, seed=plan.seed or stage.seed or 0)
        graph = sample_graph(narrowed, catalog, file, before)
        warnings += [f"{stage.stage_type}: {warning}" for warning in graph.warnings]
        prefix = f"{stage.stage_type}_" if several else ""
        image = _added(nodes, graph, prefix, {file: image} if image is not None else {})
    if image is None:
        raise BackendRejected("no stage can be written as a graph: " + "; ".join(warnings))
    nodes["out"] = {"class_type": "PreviewImage", "inputs": {"images": image}, "_meta": {"title": "rx:output"}}
    kept = _reached(nodes, "out")
    return {node: held for node, held in nodes.items() if node in kept}, list(dict.fromkeys(warnings))


def _reached(nodes: Nodes, output: str) -> set[str]:
    """Return the nodes that an output needs."""
    waiting, seen = [output], set[str]()
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            waiting += [source[0] for _, source in links(nodes, node)]
    return seen


def _unsaid(stage: StageExecution, catalog: ComfyCatalog) -> str | None:
    config = stage.config
    if isinstance(config, CustomConfig):
        return "it is a function of your own"
    if isinstance(config, AdetailerConfig):
        here = [one.detector for one in (config, *config.units) if not found_by_server(one, catalog)]
        return f"{', '.join(here)} would be found by rxpipe, not by the server" if here else None
    if isinstance(config, Img2ImgConfig) and config.mask is not None:
        return "its mask is made for each picture"
    return None


def _added(nodes: Nodes, graph: Graph, prefix: str, pictures: Mapping[str, Wire]) -> Wire:
    """Add the nodes of a stage; return its picture.

    Args:
        nodes: added to.
        graph: of the stage.
        prefix: of the ids.
        pictures: what stands for loaded files, by their names.
    """
    loaded = {
        node: pictures[held["inputs"]["image"]]
        for node, held in graph.nodes.items()
        if held["class_type"] == "LoadImage" and held["inputs"].get("image") in pictures
    }

    def renamed(value: Any) -> Any:
        link = link_of(value)
        if link is None or link[0] not in graph.nodes:
            return value
        return loaded.get(link[0]) or [f"{prefix}{link[0]}", link[1]]

    for node, held in graph.nodes.items():
        if node not in loaded and node != graph.output:
            inputs = {name: renamed(value) for name, value in held["inputs"].items()}
            nodes[f"{prefix}{node}"] = {**copy.deepcopy(held), "inputs": inputs}
    return cast("Wire", renamed(graph.nodes[graph.output]["inputs"]["images"]))
