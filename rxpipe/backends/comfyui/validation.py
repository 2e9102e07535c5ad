"""A graph checked against what the server says of its classes: what is there, choices, ranges, links."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from rxpipe.backends.comfyui.names import IMPACT_PACKS
from rxpipe.backends.comfyui.nodes import NUMBERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.comfyui.graph import Nodes
    from rxpipe.backends.comfyui.nodes import InputSpec, NodeClass

_SHOWN = 8
_ANY = "*"
_LINKED = frozenset(
    {"MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET", "UPSCALE_MODEL", "CLIP_VISION"}
    | {"NOISE", "GUIDER", "SAMPLER", "SIGMAS", "BBOX_DETECTOR"}
)
"""Types that only a link can give; those of packs may be values."""
_PACKS = {
    "FaceDetailer": IMPACT_PACKS,
    "UltralyticsDetectorProvider": IMPACT_PACKS,
    "SaveImageWebsocket": "ComfyUI's own custom_nodes folder",
}
_PREFIXES = {"ETN_": "comfyui-tooling-nodes", "Impact": "ComfyUI-Impact-Pack", "easy ": "ComfyUI-Easy-Use"}


def is_link(value: Any) -> bool:
    """Whether an input is a link: an id and the number of an output."""
    return (
        isinstance(value, list)
        and len(value) == 2  # noqa: PLR2004  # a pair
        and isinstance(value[0], str)
        and isinstance(value[1], int)
        and not isinstance(value[1], bool)
    )


def graph_problems(nodes: Nodes, classes: Mapping[str, NodeClass | None]) -> list[str]:
    """Return one line for each thing that the server would refuse, or would do otherwise without a word."""
    problems = []
    for node, held in nodes.items():
        where = described(nodes, node)
        known = classes.get(str(held.get("class_type")))
        if known is None:
            problems.append(f"{where}: the server has no such class{_from_pack(str(held.get('class_type')))}")
            continue
        inputs = held.get("inputs") or {}
        for name, spec in known.inputs.items():
            if name not in inputs:
                if spec.required and spec.kind != "IMAGEUPLOAD":
                    problems.append(f"{where}: the input {name} is missing")
                continue
            problem = _input_problem(nodes, classes, spec, inputs[name])
            if problem:
                problems.append(f"{where}: {name} {problem}")
        problems += [f"{where}: {problem}" for problem in _unknown(known, inputs)]
    return problems


def described(nodes: Nodes, node: str) -> str:
    """Return a node for people: its id, its title where that says more, and its class."""
    held = nodes.get(node, {})
    kind, title = held.get("class_type"), (held.get("_meta") or {}).get("title")
    shown = f" {title!r}" if title and title not in {kind, node} else ""
    return f"node {node}{shown} ({kind})"


def _from_pack(kind: str) -> str:
    pack = _PACKS.get(kind) or next((pack for head, pack in _PREFIXES.items() if kind.startswith(head)), None)
    return f"; install {pack}" if pack else "; install the pack that has it (ComfyUI-Manager finds it)"


def _unknown(known: NodeClass, inputs: Mapping[str, Any]) -> list[str]:
    """Return a line for each input that a class of ComfyUI's own does not have, and would ignore."""
    own = known.pack == "nodes" or known.pack.startswith("comfy_extras")
    if not own:
        return []
    odd = [name for name in inputs if name not in known.inputs and "." not in name and not is_link(inputs[name])]
    return [
        f"it has no input {name!r}; {_nearest(name, known.inputs)}"
        for name in odd
        if not known.inputs or difflib.get_close_matches(name, known.inputs, n=1, cutoff=0.7)
    ]


def _input_problem(nodes: Nodes, classes: Mapping[str, NodeClass | None], spec: InputSpec, value: Any) -> str | None:
    if is_link(value):
        return _link_problem(nodes, classes, spec, value)
    if isinstance(value, list) and spec.kind in _LINKED:
        return f"is no link: {value!r}"
    if spec.options is not None:
        return None if spec.upload else _choice_problem(spec.options, value)
    if spec.kind in NUMBERS:
        return _number_problem(spec, value)
    if spec.kind in _LINKED and spec.required:
        return f"must be a link to a {spec.kind}, not {value!r}"
    return None


def _link_problem(
    nodes: Nodes, classes: Mapping[str, NodeClass | None], spec: InputSpec, link: list[Any]
) -> str | None:
    node, slot = link
    if node not in nodes:
        return f"is linked to node {node!r}, which is not there"
    source = classes.get(str(nodes[node].get("class_type")))
    if source is None or not source.outputs:
        return None
    if not 0 <= slot < len(source.outputs):
        return f"is linked to output {slot} of {described(nodes, node)}, which has {len(source.outputs)}"
    given = source.outputs[slot]
    if _fits(given, spec.kind):
        return None
    return f"takes {spec.kind}, and output {slot} of {described(nodes, node)} gives {given}"


def _fits(given: Any, wanted: str) -> bool:
    if not isinstance(given, str) or _ANY in given or _ANY in wanted or "COMFY_" in given or "COMFY_" in wanted:
        return True
    if wanted == "COMBO" or given == "COMBO":
        return True
    numbers = {given, wanted} <= {"INT", "FLOAT", "BOOLEAN"}
    return numbers or bool(set(given.split(",")) & set(wanted.split(",")))


def _choice_problem(options: tuple[Any, ...], value: Any) -> str | None:
    if value in options or not options:
        return None if value in options else f"is {value!r}, and the server has none to choose from"
    texts = [str(option) for option in options]
    if str(value) in texts:
        return None
    return f"is {value!r}, which is not one of the server's; {_nearest(str(value), texts)}"


def _number_problem(spec: InputSpec, value: Any) -> str | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return f"is {value!r}; allowed: a number"
    if spec.minimum is not None and number < spec.minimum:
        return f"is {value}; allowed: at least {spec.minimum:g}"
    if spec.maximum is not None and number > spec.maximum:
        return f"is {value}; allowed: at most {spec.maximum:g}"
    return None


def _nearest(name: str, names: Any) -> str:
    listed = list(names)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return f"allowed: {', '.join(listed[:_SHOWN])}{more}"
