"""ComfyUI's metadata: its graph of nodes, or A1111's text where a saving node wrote that.

Settings are those of the graph's first sampler, prompts the nearest texts that flow into it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from rxpipe.pictures import a1111
from rxpipe.pictures.dialect import LABELS, Parsed, as_settings, json_object, main_text, text_in

_Nodes = Mapping[str, dict[str, object]]
_GRAPH_SETTINGS = frozenset(
    {*LABELS, "width", "height", "denoise", "upscale_method", "scale_by"} - {"model", "vae", "scale", "strength"}
)


def read(texts: Mapping[str, str]) -> Parsed | None:
    """Return what ComfyUI wrote into a picture; None where the texts are of another kind."""
    graph = json_object(texts.get("prompt")) or {}
    nodes = {key: node for key, node in graph.items() if isinstance(node, dict) and "class_type" in node}
    if not nodes and "nodes" not in (json_object(texts.get("workflow")) or {}):
        return None
    summary = a1111.read_text(main_text(texts), "comfyui")  # some of its saving nodes write A1111's text too
    if summary is not None and summary.settings:
        return summary
    return _read_graph(nodes)


def _read_graph(nodes: _Nodes) -> Parsed:
    """Read prompts and settings of a graph: of its first sampler, and of the nodes that feed it."""
    sampler = _sampler(nodes)
    order = sorted(nodes, key=lambda key: key != sampler)
    values: dict[str, object] = {}
    for key in order:
        for name, value in _inputs(nodes, key).items():
            if name in _GRAPH_SETTINGS and isinstance(value, str | int | float):
                values.setdefault(name, value)
    feeds = _inputs(nodes, sampler)
    prompt = _text_behind(nodes, feeds.get("positive", feeds.get("conditioning")))
    negative = _text_behind(nodes, feeds.get("negative"))
    return Parsed(dialect="comfyui", prompt=prompt, negative_prompt=negative, settings=as_settings(values))


def _sampler(nodes: _Nodes) -> str:
    """Return the node that the prompts flow into, preferably one with steps (KSampler); "" if there is none."""
    for required in ({"positive", "negative", "steps"}, {"positive", "negative"}, {"conditioning"}):
        for key in nodes:
            if required <= _inputs(nodes, key).keys():
                return key
    return ""


def _inputs(nodes: _Nodes, key: str) -> Mapping[str, object]:
    inputs = nodes.get(key, {}).get("inputs")
    return inputs if isinstance(inputs, dict) else {}


def _text_behind(nodes: _Nodes, link: object) -> str:
    """Return the nearest text that flows into *link*, through any nodes between."""
    waiting, seen = deque([link]), set()
    while waiting:
        at = waiting.popleft()
        key = at[0] if isinstance(at, list) and at else None
        if not isinstance(key, str) or key in seen:
            continue
        seen.add(key)
        inputs = _inputs(nodes, key)
        if text := text_in(
            {k: v for k, v in inputs.items() if isinstance(v, str)}, "text", "text_g", "text_l", "value"
        ):
            return text
        waiting.extend(value for value in inputs.values() if isinstance(value, list))
    return ""
