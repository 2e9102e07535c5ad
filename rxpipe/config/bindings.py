"""Where the settings of a stage go in a graph of one's own: said, by titles, by parameter nodes, or inferred.

In this order of precedence, setting by setting. A link is never overwritten by a value: where an input is linked to a
node that only holds a value, that one is bound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from rxpipe.config.graphs import class_of, described, inputs_of, link_of, linked, links, source_of, title_of
from rxpipe.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rxpipe.config.graphs import Graph

How = Literal["given", "title", "parameter", "placeholder", "inferred"]

OUTPUT, IMAGE = "output", "image"
SETTINGS = (
    *("prompt", "negative_prompt", "seed", "steps", "cfg_scale", "sampler_name", "scheduler", "denoising_strength"),
    *("width", "height", "model", IMAGE, OUTPUT),
)
"""Settings that are looked for; a binding may have any other name too."""

BINDABLE = tuple(name for name in SETTINGS if name not in {"seed", IMAGE, OUTPUT})
"""Settings that must go somewhere where they are set."""

_TITLE = re.compile(r"^\s*\$?rx:\s*([\w-]+)\s*$", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"\$\{(\w+)(?:([+-])(\d+))?(?::([^{}]*))?\}|%(\w+)%")
_NAMES = {
    "negative": "negative_prompt", "negativeprompt": "negative_prompt", "positive": "prompt", "text": "prompt",
    "cfg": "cfg_scale", "cfgscale": "cfg_scale", "sampler": "sampler_name", "denoise": "denoising_strength",
    "checkpoint": "model", "ckpt_name": "model", "noise_seed": "seed", "init_image": IMAGE, "initimage": IMAGE,
}  # fmt: skip
_MAIN = {
    "prompt": ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "value", "string"),
    "negative_prompt": ("text", "text_g", "text_l", "clip_l", "t5xxl", "prompt", "value", "string"),
    "seed": ("seed", "noise_seed", "value"),
    IMAGE: ("image", "value"),
    "model": ("ckpt_name", "unet_name", "value"),
    "sampler_name": ("sampler_name", "value"),
    "scheduler": ("scheduler", "value"),
    "steps": ("steps", "value"),
    "cfg_scale": ("cfg", "guidance", "value"),
    "denoising_strength": ("denoise", "value"),
    "width": ("width", "value"),
    "height": ("height", "value"),
}
_ANY_MAIN = ("text", "value", "seed", "noise_seed", "image", "string", "float", "int", "strength", "amount")
_TOGETHER = (("text_g", "text_l"), ("clip_l", "t5xxl"))
_PRIMITIVES = ("value", "seed", "noise_seed", "int", "float", "string", "text", "Value", "Number", "STRING")
_PICTURES_OUT = re.compile(r"^(SaveImage|PreviewImage|ETN_SendImageWebSocket|Image Save|SaveImage.*|ETN_KritaOutput)$")
_OTHERS_OUT = re.compile(r"VideoCombine|SaveVideo|SaveWEBM|SaveAnimated|SaveAudio|PreviewAudio|Save3D", re.IGNORECASE)
_SWITCH = re.compile(r"switch|select|choose|if.?else", re.IGNORECASE)


class Target(NamedTuple):
    """One input of one node. placeholder: the part of its text that is replaced; None for the whole value."""

    node: str
    input: str = ""
    placeholder: str | None = None

    def __str__(self) -> str:
        return f"{self.node}.{self.input}" if self.input else self.node


@dataclass(frozen=True, slots=True)
class Binding:
    """Where one setting goes, and how that was found."""

    name: str
    targets: tuple[Target, ...]
    how: How


@dataclass(frozen=True, slots=True)
class Bindings:
    """Everything that is bound. unbound: why a setting that was looked for is not, by its name."""

    bound: Mapping[str, Binding] = field(default_factory=dict)
    unbound: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Binding:
        return self.bound[name]

    def __contains__(self, name: object) -> bool:
        return name in self.bound

    @property
    def takes_image(self) -> bool:
        """Whether a picture goes in by more than a guess."""
        return IMAGE in self.bound and self.bound[IMAGE].how != "inferred"


def bindings_of(graph: Graph, given: Mapping[str, str | Sequence[str]] | None = None) -> Bindings:
    """Return where the settings of a stage go in a graph.

    Args:
        graph: in API format.
        given: a setting, or any name of one's own, to "id.input" or "title.input", or a list of them; for the output
            only a node.

    Raises:
        ValueError: a binding that is given names no input; says what there is.
    """
    found: dict[str, Binding] = {}
    for name, wanted in (given or {}).items():
        texts = [wanted] if isinstance(wanted, str) else list(wanted)
        key = _setting(name)
        found[key] = Binding(key, tuple(_given(graph, key, text) for text in texts), "given")
    unbound: dict[str, str] = {}
    for binding in (*_titled(graph), *_parameters(graph), *_placeholders(graph)):
        _add(found, binding)
    for name, guess in _Guesses(graph).all():
        if name in found:
            continue
        if isinstance(guess, str):
            unbound[name] = guess
        else:
            found[name] = Binding(name, guess, "inferred")
    return Bindings(found, unbound)


def value_in(graph: Graph, binding: Binding) -> Any:
    """Return what a graph has where a setting goes; None where it has no value there, or several."""
    values = [inputs_of(graph, target.node).get(target.input) for target in binding.targets if not target.placeholder]
    return values[0] if values and all(value == values[0] for value in values) else None


def _add(found: dict[str, Binding], binding: Binding) -> None:
    before = found.get(binding.name)
    if before is None:
        found[binding.name] = binding
    elif before.how == binding.how != "given":
        found[binding.name] = Binding(binding.name, (*before.targets, *binding.targets), binding.how)


def _setting(name: str) -> str:
    plain = name.strip().lower().replace(" ", "_")
    return _NAMES.get(plain, plain)


# -- given ------------------------------------------------------------------------------------------------------------


def _given(graph: Graph, name: str, text: str) -> Target:
    node = _node(graph, name, text)
    if name == OUTPUT:
        if node is None:
            raise ValueError(f"bind.{name}: {text!r} is no node; {_nodes(graph)}")
        return Target(node)
    where, dot, slot = text.rpartition(".")
    if node is not None and not dot:
        return _main(graph, name, node)
    node = _node(graph, name, where) if dot else None
    if node is None:
        raise ValueError(f"bind.{name}: {text!r} names no input; allowed: id.input or title.input; {_nodes(graph)}")
    inputs = inputs_of(graph, node)
    if slot not in inputs:
        near = suggestion(slot, inputs)
        raise ValueError(f"bind.{name}: node {described(graph, node)} has no input {slot!r}; {near}")
    return _behind(graph, node, slot) or _linked_error(graph, name, node, slot)


def _linked_error(graph: Graph, name: str, node: str, slot: str) -> Target:
    source = source_of(graph, inputs_of(graph, node)[slot])
    behind = described(graph, source[0]) if source else "nothing"
    raise ValueError(
        f"bind.{name}: {slot} of node {described(graph, node)} is linked to {behind}; bind an input of that one"
    )


def _node(graph: Graph, name: str, text: str) -> str | None:
    """Return the node of an id or of a title, which must be of one node only."""
    if text in graph:
        return text
    titled = [node for node in graph if title_of(graph, node) == text]
    if len(titled) > 1:
        listed = ", ".join(described(graph, node) for node in titled)
        raise ValueError(f"bind.{name}: {len(titled)} nodes have the title {text!r}: {listed}; use the id")
    return titled[0] if titled else None


def _main(graph: Graph, name: str, node: str) -> Target:
    inputs = inputs_of(graph, node)
    for slot in _MAIN.get(name, _ANY_MAIN):
        if slot in inputs and (target := _behind(graph, node, slot)) is not None:
            return target
    raise ValueError(
        f"bind.{name}: which input of node {described(graph, node)}? It has {', '.join(inputs) or 'none'}; "
        f"allowed: {node}.input"
    )


def _nodes(graph: Graph) -> str:
    listed = [described(graph, node) for node in graph]
    more = f" and {len(listed) - 12} more" if len(listed) > 12 else ""  # noqa: PLR2004  # what fits a message
    return f"it has {', '.join(listed[:12])}{more}"


def _behind(graph: Graph, node: str, slot: str) -> Target | None:
    """Return where the value of an input stands: there, or in the node that it is linked to and that only holds one."""
    for _ in range(len(graph) + 1):
        value = inputs_of(graph, node).get(slot)
        if link_of(value) is None:
            return None if isinstance(value, list | dict) else Target(node, slot)
        source = source_of(graph, value)
        if source is None or _SWITCH.search(class_of(graph, source[0])):
            return None
        node = source[0]
        slots = [name for name in _PRIMITIVES if name in inputs_of(graph, node)]
        if len(slots) != 1:
            return None
        slot = slots[0]
    return None


# -- titles, parameters, placeholders ---------------------------------------------------------------------------------


def _titled(graph: Graph) -> Iterator[Binding]:
    for node in graph:
        match = _TITLE.match(title_of(graph, node))
        if match is None:
            continue
        name = _setting(match[1])
        if name == "size":
            for side in ("width", "height"):
                if side in inputs_of(graph, node):
                    yield Binding(side, (_main(graph, side, node),), "title")
        elif name == OUTPUT:
            yield Binding(name, (Target(node),), "title")
        else:
            yield Binding(name, _texts(graph, node, name) or (_main(graph, name, node),), "title")


def _texts(graph: Graph, node: str, name: str) -> tuple[Target, ...]:
    """Return the inputs of a text encoder that has several for one text."""
    inputs = inputs_of(graph, node)
    if name in {"prompt", "negative_prompt"}:
        for slots in _TOGETHER:
            found = [_behind(graph, node, slot) for slot in slots if slot in inputs]
            if len(found) == len(slots):
                return tuple(dict.fromkeys(target for target in found if target is not None))
    return ()


def _parameters(graph: Graph) -> Iterator[Binding]:
    for node in graph:
        inputs = inputs_of(graph, node)
        if class_of(graph, node) == "ETN_Parameter" and isinstance(inputs.get("name"), str) and "default" in inputs:
            name = inputs["name"].rpartition("/")[2].partition(". ")
            yield Binding(_setting(name[2] or name[0]), (Target(node, "default"),), "parameter")


def _placeholders(graph: Graph) -> Iterator[Binding]:
    for node in graph:
        for slot, value in inputs_of(graph, node).items():
            for match in _PLACEHOLDER.finditer(value) if isinstance(value, str) else ():
                if match[5] and match[0] != value:
                    continue  # %width% within a file's name is the server's own
                yield Binding(_setting(match[1] or match[5]), (Target(node, slot, match[0]),), "placeholder")


def filled(text: str, placeholder: str, value: Any) -> Any:
    """Return a text with a placeholder replaced; the value itself where the text is nothing else."""
    match = _PLACEHOLDER.fullmatch(placeholder)
    if match and match[2] and isinstance(value, int):
        value = value + int(match[3]) if match[2] == "+" else value - int(match[3])
    return value if text == placeholder else text.replace(placeholder, str(value))


def default_of(placeholder: str) -> str | None:
    """Return the default that a placeholder holds, None for none."""
    match = _PLACEHOLDER.fullmatch(placeholder)
    return match[4] if match else None


# -- inferred ---------------------------------------------------------------------------------------------------------


class _Guesses:
    """What a graph shows by its samplers, its text encoders, its empty latents and its outputs."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._samplers = [node for node in graph if self._is_sampler(node)]

    def all(self) -> Iterator[tuple[str, tuple[Target, ...] | str]]:
        """Yield for each setting where it goes, or why that is not clear."""
        yield from self._of_samplers()
        yield "prompt", self._prompt("positive")
        yield "negative_prompt", self._prompt("negative")
        for side in ("width", "height"):
            yield side, self._one_value(self._latents(), (side,), f"{side} of an empty latent")
        loaders = [node for node in self._graph if "ckpt_name" in inputs_of(self._graph, node)]
        yield "model", self._one_value(loaders, ("ckpt_name",), "checkpoint")
        yield IMAGE, self._image()
        yield OUTPUT, self._output()

    def _is_sampler(self, node: str) -> bool:
        inputs, kind = inputs_of(self._graph, node), class_of(self._graph, node)
        latent = "latent_image" in inputs or "latent" in inputs or "samples" in inputs
        return ("Sampler" in kind and latent) or ({"positive", "negative", "steps"} <= inputs.keys() and latent)

    def _of_samplers(self) -> Iterator[tuple[str, tuple[Target, ...] | str]]:
        nodes = [*self._samplers, *self._feeding("noise", "guider", "sampler", "sigmas")]
        whole = [node for node in nodes if not self._is_part(node)]
        seeds = [node for node in nodes if inputs_of(self._graph, node).get("add_noise") != "disable"]
        yield "seed", self._all_values(seeds, ("seed", "noise_seed"), "seed")
        steps = self._one_value(whole, ("steps",), "number of steps")
        split = len(whole) < len(nodes) and any(self._is_part(node) for node in self._samplers)
        yield "steps", "a sampler begins or ends at a step of its own" if split else steps
        yield "cfg_scale", self._one_value(nodes, ("cfg",), "cfg")
        yield "sampler_name", self._one_value(nodes, ("sampler_name",), "sampler")
        yield "scheduler", self._one_value(nodes, ("scheduler",), "scheduler")
        yield "denoising_strength", self._one_value(nodes, ("denoise",), "denoise")

    def _is_part(self, node: str) -> bool:
        inputs = inputs_of(self._graph, node)
        steps, end = inputs.get("steps"), inputs.get("end_at_step")
        return bool(inputs.get("start_at_step")) or (isinstance(end, int) and isinstance(steps, int) and end < steps)

    def _feeding(self, *names: str) -> list[str]:
        """Return the nodes that are linked to these inputs of a sampler."""
        found = [source[0] for node in self._samplers for name, source in links(self._graph, node) if name in names]
        return list(dict.fromkeys(found))

    def _targets(self, nodes: Iterable[str], slots: Sequence[str]) -> tuple[list[Target], bool]:
        """Return where inputs stand, and whether one stands behind something that cannot be followed."""
        found, hidden = list[Target](), False
        for node in nodes:
            for slot in slots:
                if slot in inputs_of(self._graph, node):
                    target = _behind(self._graph, node, slot)
                    hidden |= target is None
                    found += [] if target is None else [target]
        return list(dict.fromkeys(found)), hidden

    def _all_values(self, nodes: Iterable[str], slots: Sequence[str], what: str) -> tuple[Target, ...] | str:
        found, hidden = self._targets(nodes, slots)
        if found:
            return tuple(found)
        return f"the {what} comes from nodes that compute it" if hidden else f"no node has a {what}"

    def _one_value(self, nodes: Iterable[str], slots: Sequence[str], what: str) -> tuple[Target, ...] | str:
        """Return where a value stands; in several places only where it is the same in all of them."""
        found, hidden = self._targets(nodes, slots)
        if not found or hidden:
            return f"the {what} comes from nodes that compute it" if hidden else f"no node has a {what}"
        values = [inputs_of(self._graph, target.node)[target.input] for target in found]
        if all(value == values[0] for value in values):
            return tuple(found)
        return f"{', '.join(map(str, found))} differ"

    def _latents(self) -> list[str]:
        return [
            node
            for node in self._graph
            if re.search(r"Empty.*Latent", class_of(self._graph, node)) and "width" in inputs_of(self._graph, node)
        ]

    def _prompt(self, side: str) -> tuple[Target, ...] | str:
        what = "prompt" if side == "positive" else "negative prompt"
        starts = [
            source
            for node in (*self._samplers, *self._feeding("guider"))
            for name, source in links(self._graph, node)
            if name == side or (side == "positive" and name == "conditioning")
        ]
        if not starts:
            return f"no sampler has a {what}"
        texts = {target: None for start in starts for target in self._texts_behind(start)}
        if not texts:
            return f"no text flows into the {what} of a sampler that can be followed"
        found = list(texts)
        values = {str(inputs_of(self._graph, target.node)[target.input]) for target in found}
        nodes = {target.node for target in found}
        if len(nodes) > 1 and len(values) > 1:
            return f"several texts flow into it: {', '.join(map(str, found))}"
        return tuple(found)

    def _texts_behind(self, start: tuple[str, int]) -> list[Target]:
        """Return the nearest texts behind a link."""
        waiting, seen, found = [start], set[str](), list[Target]()
        while waiting:
            node, slot = waiting.pop(0)
            if node in seen or class_of(self._graph, node) == "ConditioningZeroOut":
                continue
            seen.add(node)
            together = _texts(self._graph, node, "prompt")
            single = "text" in inputs_of(self._graph, node) and _behind(self._graph, node, "text")
            if together or single:
                found += together or ([single] if isinstance(single, Target) else [])
                continue
            if _SWITCH.search(class_of(self._graph, node)):
                return []
            waiting += self._sources(node, slot)
        return found

    def _sources(self, node: str, slot: int) -> list[tuple[str, int]]:
        named = dict(links(self._graph, node))
        if {"positive", "negative"} <= named.keys():  # ControlNet and the like: one output for each side
            return [named["negative" if slot == 1 else "positive"]]
        return [source for name, source in named.items() if "cond" in name.lower() or name in {"positive", "negative"}]

    def _image(self) -> tuple[Target, ...] | str:
        found = [
            Target(node, "image")
            for node in self._graph
            if class_of(self._graph, node) in {"LoadImage", "LoadImageOutput"}
            and isinstance(inputs_of(self._graph, node).get("image"), str)
        ]
        if len(found) > 1:
            return f"several nodes load a picture: {', '.join(map(str, found))}"
        return tuple(found) or "no node loads a picture"

    def _output(self) -> tuple[Target, ...] | str:
        used = linked(self._graph)
        ends = [node for node in self._graph if node not in used]
        found = [node for node in ends if _PICTURES_OUT.match(class_of(self._graph, node))]
        if len(found) == 1:
            return (Target(found[0]),)
        if found:
            return f"several nodes put pictures out: {', '.join(described(self._graph, node) for node in found)}"
        others = [node for node in ends if _OTHERS_OUT.search(class_of(self._graph, node))]
        if others:
            return f"it makes no pictures: {', '.join(described(self._graph, node) for node in others)}"
        return "no node puts a picture out; add a PreviewImage or a SaveImage"
