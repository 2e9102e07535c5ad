"""A workflow of one's own as the graph of one image: the file's nodes, with the settings of the stage where they go."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from rxpipe.backends.comfyui.graph import LAST_STEP, Graph
from rxpipe.config.bindings import BINDABLE, IMAGE, OUTPUT, Target, default_of, filled
from rxpipe.config.graphs import class_of, described, inputs_of, links
from rxpipe.errors import BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.comfyui.graphs import Source
    from rxpipe.backends.comfyui.names import ComfyCatalog
    from rxpipe.config import WorkflowConfig
    from rxpipe.config.bindings import Bindings
    from rxpipe.plan import StageExecution

_BY_SOCKET = ("SaveImageWebsocket", "ETN_SendImageWebSocket")


def workflow_graph(
    stage: StageExecution, config: WorkflowConfig, source: Source | None, catalog: ComfyCatalog
) -> Graph:
    """Return the graph for one image. The file's own nodes are not changed; a link is never replaced by a value.

    Raises:
        BackendRejected: it is not clear where its picture comes out, or a picture that it needs is not there.
    """
    found = config.bindings
    output = _output(config.nodes, found)
    nodes = {node: copy.deepcopy(dict(held)) for node, held in config.nodes.items()}
    warnings = []
    for name, value in _values(stage, config, source, catalog, found).items():
        for target in found[name].targets:
            _put(nodes, target, value)
    if stage.seed is not None and "seed" not in found and config.images > 1:
        why = found.unbound.get("seed", "none is bound")
        warnings.append(f"every image of this workflow is the same: its seed stays as in the file ({why})")
    _fill_defaults(nodes, found)
    return Graph(nodes, output, _steps(nodes), warnings=tuple(warnings)).with_payload(config.payload)


def _output(graph: Mapping[str, Any], found: Bindings) -> str:
    if OUTPUT not in found:
        raise BackendRejected(
            f"workflow: {found.unbound.get(OUTPUT, 'no output')}.", hint='Bind it, such as bind = {output = "9"}.'
        )
    node = found[OUTPUT].targets[0].node
    if class_of(graph, node) in _BY_SOCKET:
        raise BackendRejected(
            f"workflow: node {described(graph, node)} sends its picture over a websocket, and keeps no file.",
            hint="Use PreviewImage or SaveImage there.",
        )
    return node


def _values(
    stage: StageExecution,
    config: WorkflowConfig,
    source: Source | None,
    catalog: ComfyCatalog,
    found: Bindings,
) -> dict[str, Any]:
    """Return what is put into the graph, by the names that are bound."""
    values = {name: getattr(config, name) for name in BINDABLE if getattr(config, name, None) is not None}
    values |= config.values
    if "sampler_name" in values or "scheduler" in values:
        values |= _sampling(values, catalog, found)
    if "model" in values:
        values["model"] = catalog.model(str(values["model"]))
    if stage.seed is not None and "seed" in found:
        values["seed"] = stage.seed
    if source is not None and IMAGE in found:
        values[IMAGE] = source.picture
    return values


def _sampling(values: Mapping[str, Any], catalog: ComfyCatalog, found: Bindings) -> dict[str, Any]:
    """Return sampler and scheduler in the server's names; a name may hold both."""
    sampler, scheduler = values.get("sampler_name"), values.get("scheduler")
    resolved = catalog.sampling(sampler, scheduler)
    names = {"sampler_name": resolved.comfy_sampler, "scheduler": resolved.comfy_scheduler}
    wanted = {
        "sampler_name": sampler is not None,
        "scheduler": scheduler is not None or resolved.scheduler != "Automatic",
    }
    return {name: value for name, value in names.items() if wanted[name] and name in found}


def _put(nodes: Nodes, target: Target, value: Any) -> None:
    inputs = nodes[target.node].setdefault("inputs", {})
    if target.placeholder is None:
        inputs[target.input] = value
    elif isinstance(inputs.get(target.input), str):
        inputs[target.input] = filled(inputs[target.input], target.placeholder, value)


def _fill_defaults(nodes: Nodes, found: Bindings) -> None:
    """Put the default of each placeholder that nothing was put into."""
    missing = []
    for name, binding in found.bound.items():
        for target in binding.targets:
            held = nodes[target.node]["inputs"].get(target.input)
            if target.placeholder is None or not isinstance(held, str) or target.placeholder not in held:
                continue
            default = default_of(target.placeholder)
            if default is None:
                missing.append(f"{name} ({target.placeholder} in {described(nodes, target.node)})")
            else:
                _put(nodes, target, _number(default))
    if missing:
        raise BackendRejected(f"workflow: placeholders without a value: {', '.join(missing)}.", hint="Set them.")


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _steps(nodes: Nodes) -> dict[str, int]:
    """Return how many steps each sampler runs, as far as its values say."""
    found = {}
    for node in nodes:
        if "Sampler" not in class_of(nodes, node):
            continue
        inputs = inputs_of(nodes, node)
        steps = inputs.get("steps")
        if steps is None:
            behind = [source for name, source in links(nodes, node) if name == "sigmas"]
            steps = inputs_of(nodes, behind[0][0]).get("steps") if behind else None
        if isinstance(steps, int) and not isinstance(steps, bool):
            begin, end = inputs.get("start_at_step", 0), inputs.get("end_at_step", LAST_STEP)
            last = min(steps, end) if isinstance(end, int) else steps
            found[node] = max(1, last - (begin if isinstance(begin, int) else 0))
    return found
