"""ComfyUI's workflow, as its editor saves it, in the form of its API: nodes with inputs by name.

A picture has it beside the graph that ran; some have it alone. Muted nodes are gone, bypassed ones hand on what they
were given, subgraphs are laid out with ids such as "57:3".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.pictures.dialects.graph import Graph, Node

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["graph_of_workflow"]

_MUTED, _BYPASSED = 2, 4
_SUBGRAPH_INPUT, _SUBGRAPH_OUTPUT = -10, -20
_MOST_NODES, _DEEPEST = 2000, 10
_AFTER_SEED = frozenset({"fixed", "randomize", "increment", "decrement"})
_WIDGETS: Mapping[str, tuple[str, ...]] = {
    "KSampler": ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        *("add_noise", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step"),
        "return_with_leftover_noise",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", "cfg"),
    "CLIPTextEncode": ("text",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "VAELoader": ("vae_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "CFGGuider": ("cfg",),
    "FluxGuidance": ("guidance",),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "ImageScaleBy": ("upscale_method", "scale_by"),
    "UpscaleModelLoader": ("model_name",),
    "LoadImage": ("image",),
    "SaveImage": ("filename_prefix",),
    "ControlNetLoader": ("control_net_name",),
    "ControlNetApply": ("strength",),
    "ControlNetApplyAdvanced": ("strength", "start_percent", "end_percent"),
    "PrimitiveNode": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
}
"""Names of the values that a node of older editors holds in a row."""


class _End(NamedTuple):
    """Where a link begins: a node's id within its graph, and its output."""

    node: object
    slot: int


class _Sheet:
    """The nodes and links of a workflow, or of a subgraph within one."""

    def __init__(
        self, values: Mapping[str, object], prefix: str = "", outer: Mapping[int, object] | None = None
    ) -> None:
        self.prefix = prefix
        self.outer = outer or {}
        self.nodes = {
            node["id"]: node for node in _tables(values.get("nodes")) if isinstance(node.get("id"), int | str)
        }
        self.links = dict(_links(values.get("links")))

    def source(self, link: object, depth: int = 0) -> object | None:
        """Return a link in the form of the API, behind bypassed nodes; None where it leads nowhere."""
        end = self.links.get(link) if isinstance(link, int | str) else None
        if end is None or depth > _MOST_NODES // 100:
            return None
        if end.node == _SUBGRAPH_INPUT:
            return self.outer.get(end.slot)
        node = self.nodes.get(end.node)
        if node is None or node.get("mode") == _MUTED:
            return None
        if node.get("mode") == _BYPASSED:
            return self._through(node, end.slot, depth + 1)
        return [f"{self.prefix}{end.node}", end.slot]

    def _through(self, node: Mapping[str, object], slot: int, depth: int) -> object | None:
        """Return what a bypassed node was given of the type that its output has."""
        outputs = _tables(node.get("outputs"))
        wanted = outputs[slot].get("type") if slot < len(outputs) else None
        fitting = [
            each for each in _tables(node.get("inputs")) if each.get("type") == wanted and each.get("link") is not None
        ]
        return self.source(fitting[0].get("link"), depth) if fitting else None


def graph_of_workflow(values: Mapping[str, object]) -> Graph | None:
    """Return the graph that a workflow stands for; None where it holds no node that runs."""
    definitions = values.get("definitions")
    listed = _tables(definitions.get("subgraphs")) if isinstance(definitions, Mapping) else []
    layout = _Layout({each["id"]: each for each in listed if isinstance(each.get("id"), str)})
    layout.add(_Sheet(values))
    return Graph(layout.linked()) if layout.nodes else None


class _Layout:
    """The nodes of a workflow and of its subgraphs in one table."""

    def __init__(self, subgraphs: Mapping[object, Mapping[str, object]]) -> None:
        self.nodes: dict[str, Node] = {}
        self._subgraphs = subgraphs
        self._outputs: dict[tuple[str, int] | None, object] = {}

    def _kept(self, sheet: _Sheet, node: Mapping[str, object]) -> dict[str, object]:
        """Return what a GetNode hands on: what the SetNode of its name was given."""
        wanted = _first_value(node)
        for other in sheet.nodes.values():
            if other.get("type") == "SetNode" and wanted is not None and _first_value(other) == wanted:
                links = [sheet.source(each.get("link")) for each in _tables(other.get("inputs"))]
                return {"value": next((link for link in links if link is not None), None)}
        return {}

    def add(self, sheet: _Sheet, depth: int = 0) -> None:
        """Add the nodes of a sheet that run; those of subgraphs in place of the node that stands for one."""
        for key, node in sheet.nodes.items():
            kind = node.get("type")
            if node.get("mode") in (_MUTED, _BYPASSED) or not isinstance(kind, str) or len(self.nodes) > _MOST_NODES:
                continue
            name = f"{sheet.prefix}{key}"
            inner = self._subgraphs.get(kind)
            if inner is None:
                given = self._kept(sheet, node) if kind == "GetNode" else _inputs(sheet, node, kind)
                self.nodes[name] = Node(name, kind, given)
            elif depth < _DEEPEST:
                self._add_inner(_inputs(sheet, node, ""), name, inner, depth + 1)

    def _add_inner(self, given: Mapping[str, object], name: str, inner: Mapping[str, object], depth: int) -> None:
        names = [each.get("name") for each in _tables(inner.get("inputs"))]
        outer = {slot: given[each] for slot, each in enumerate(names) if isinstance(each, str) and each in given}
        within = _Sheet(inner, f"{name}:", outer)
        self.add(within, depth)
        for link in _tables(inner.get("links")):
            slot = link.get("target_slot")
            if link.get("target_id") == _SUBGRAPH_OUTPUT and isinstance(slot, int):
                self._outputs[name, slot] = within.source(link.get("id"))

    def linked(self) -> dict[str, Node]:
        """Return the nodes with every link to a subgraph's output replaced by one to the node within it."""
        return {
            key: Node(key, node.kind, {name: self._inside(value) for name, value in node.inputs.items()})
            for key, node in self.nodes.items()
        }

    def _inside(self, value: object) -> object:
        for _ in range(_DEEPEST):
            end = _end_of(value)
            if end not in self._outputs:
                return value
            value = self._outputs[end]
        return None


def _inputs(sheet: _Sheet, node: Mapping[str, object], kind: str) -> dict[str, object]:
    inputs = dict(_widgets(node, kind))
    for each in _tables(node.get("inputs")):
        name, value = each.get("name"), sheet.source(each.get("link"))
        if isinstance(name, str) and value is not None:
            inputs[name] = value
    return inputs


def _widgets(node: Mapping[str, object], kind: str) -> Iterator[tuple[str, object]]:
    values = node.get("widgets_values")
    if isinstance(values, Mapping):
        yield from ((name, value) for name, value in values.items() if isinstance(name, str))
        return
    if not isinstance(values, list):
        return
    named = [each.get("name") for each in _tables(node.get("inputs")) if isinstance(each.get("widget"), Mapping)]
    names = _WIDGETS.get(kind) or tuple(name for name in named if isinstance(name, str))
    at = 0
    for name in names:
        if at >= len(values):
            return
        yield name, values[at]
        at += 1
        if name in {"seed", "noise_seed"} and at < len(values) and str(values[at]) in _AFTER_SEED:
            at += 1


def _end_of(value: object) -> tuple[str, int] | None:
    """Return the node's id and its output in a link of the API's form; None where it is none."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[1], int):  # noqa: PLR2004  id and slot
        return str(value[0]), value[1]
    return None


def _first_value(node: Mapping[str, object]) -> object | None:
    values = node.get("widgets_values")
    return values[0] if isinstance(values, list) and values else None


def _tables(value: object) -> list[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _links(value: object) -> Iterator[tuple[object, _End]]:
    for link in value if isinstance(value, list) else []:
        match link:
            case [int() | str() as number, origin, int() as slot, *_]:
                yield number, _End(_key(origin), slot)
            case {"id": int() | str() as number}:
                slot = link.get("origin_slot")
                yield number, _End(_key(link.get("origin_id")), slot if isinstance(slot, int) else 0)


def _key(value: object) -> object:
    return value if isinstance(value, int | str) else None
