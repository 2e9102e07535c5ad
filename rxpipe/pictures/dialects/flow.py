"""What flows into the sampler of a ComfyUI graph: its texts, its checkpoint and LoRAs, the picture it begins with."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

from rxpipe.pictures.dialects.graph import DEPTH, Graph, Node, Port
from rxpipe.pictures.dialects.parsed import Lora, file_stem, loras_in, name_of, number_of

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Model", "Role", "TextWalk", "loras_of", "model_behind"]

Role = Literal["positive", "negative"]

_TEXT_NAMES = (
    *("populated_text", "text", "text_g", "t5xxl", "text_l", "clip_g", "clip_l", "prompt", "Text", "prompt_text"),
    *("string", "value", "wildcard_text", "text_0", "result", "String", "string_field", "multiline", "user_prompt"),
)
_OF_ROLE = {
    "positive": ("positive", "positive_prompt", "text_positive", "positive_text", "text_pos", "pos", "prompt_positive"),
    "negative": ("negative", "negative_prompt", "text_negative", "negative_text", "text_neg", "neg", "prompt_negative"),
}
_BY_TYPE = re.compile(
    r"cond|text|string|prompt|guider|embeds|pipe|ctx|context|any|value|source|input|^[a-d]$", re.IGNORECASE
)
_NO_TEXT = re.compile(
    r"^(model|clip|vae|image|images|pixels|mask|latent|latent_image|samples|noise|sigmas|sampler|control_net|upscale_model"
    r"|seed|steps|cfg|width|height|clip_vision.*|.*_model|bbox_detector)$"
)
_JOINED = re.compile(r"concat|join|combine|merge|append|addition", re.IGNORECASE)
_REPLACED = re.compile(r"replace", re.IGNORECASE)
_ERASING = re.compile(r"ZeroOut", re.IGNORECASE)
_OPAQUE = re.compile(
    r"TextGenerate|LLM|Ollama|GPT|Florence|Interrogat|Tagger|Caption|DPRandom|DPCombin|RandomPrompts|DynamicPrompts|Vision.*Text|JoyTag|Wildcard.*Loader"
)
_STYLER = re.compile(r"styler", re.IGNORECASE)
_SEPARATORS = ("delimiter", "separator", "seperator", "sep")
_PARTS = re.compile(
    r"(string|text|prompt|str|part|input|conditioning|cond)?_?([a-hA-H]|\d{1,2}|to|from|1st|2nd)$", re.IGNORECASE
)
_MOST_VISITS = 2000
_KEEPS_ROLES = re.compile(r"loader|context|pipe|\bbus\b|ctx", re.IGNORECASE)


class TextWalk:
    """The walk from an input of a sampler to the text that it is given; one for each input.

    crossed: the ids of the nodes on the way. problems: what could not be followed.
    """

    def __init__(self, graph: Graph, role: Role) -> None:
        self.graph = graph
        self.role: Role = role
        self.crossed: set[str] = set()
        self.problems: list[str] = []
        self._visits = _MOST_VISITS
        self._open: set[tuple[str, int, str]] = set()

    def text(self, value: object) -> str | None:
        """Return the text behind an input; None where none was found, "" where it is empty or erased on purpose."""
        if isinstance(value, str):
            return value
        port = self.graph.port(value)
        return None if port is None else self._behind(port, self.role)

    def _behind(self, port: Port, role: Role) -> str | None:
        key = (port.node.id, port.slot, role)
        self._visits -= 1
        if key in self._open or self._visits < 0 or len(self._open) > DEPTH:
            return None
        self._open.add(key)
        try:
            return self._of_node(port, role)
        finally:
            self._open.discard(key)

    def _of_node(self, port: Port, role: Role) -> str | None:
        node = port.node
        self.crossed.add(node.id)
        if _ERASING.search(node.kind):
            return ""
        if _OPAQUE.search(node.kind):
            self.problems.append(
                f"the text of {node.kind} (node {node.id}) was made at run time and is not in the file"
            )
            return None
        onward = self.graph.onward(node)
        if onward is not None:
            found = self._value(onward, role)
            if found is None:
                found = self._any_branch(node, onward, role)
            shown = node.inputs.get("text_0")  # what a node that shows a text showed last
            return shown if found is None and isinstance(shown, str) else found
        role = _role_of(self.graph, port, role)
        if _REPLACED.search(node.kind):
            return self._replaced(node, role)
        if _JOINED.search(node.kind) and (joined := self._joined(node, role)) is not None:
            return joined
        if _STYLER.search(node.kind):
            self.problems.append(
                f"the style of {node.kind} (node {node.id}) was applied at run time and is not in the text"
            )
        return self._named(node, role)

    def _named(self, node: Node, role: Role) -> str | None:
        """Return the text under the usual names, else what flows in from any input that can hold text."""
        inputs = node.inputs
        empty: str | None = None
        for name in (*_OF_ROLE[role], *_TEXT_NAMES):
            if name in inputs:
                found = self._value(inputs[name], role)
                if found:
                    return found
                empty = found if empty is None else empty
        if empty is not None:
            return empty
        others = [name for name in inputs if not _NO_TEXT.match(name) and self.graph.port(inputs[name]) is not None]
        opposite = _OF_ROLE["negative" if role == "positive" else "positive"]
        others = [name for name in others if name not in opposite]
        for name in sorted(others, key=lambda name: _BY_TYPE.search(name) is None):
            found = self._value(inputs[name], role)
            if found is not None:
                return found
        return None

    def _value(self, value: object, role: Role) -> str | None:
        if isinstance(value, str):
            return value
        port = self.graph.port(value)
        return None if port is None else self._behind(port, role)

    def _any_branch(self, node: Node, chosen: object, role: Role) -> str | None:
        """Return the text of another branch, where the chosen one has none in the file."""
        others = [value for value in node.inputs.values() if value is not chosen and self.graph.port(value) is not None]
        return next((found for value in others if (found := self._value(value, role))), None)

    def _joined(self, node: Node, role: Role) -> str | None:
        """Return the parts of a node that joins texts or prompts; None where it has no parts that are named so."""
        names = [
            name for name in node.inputs if _PARTS.fullmatch(name) and not isinstance(node.inputs[name], int | float)
        ]
        found = [self._value(node.inputs[name], role) for name in sorted(names, key=_part_order)]
        parts = [part for part in found if part]
        if not parts:
            return None
        return self._separator(node).join(parts)

    def _separator(self, node: Node) -> str:
        given = next((node.inputs[name] for name in _SEPARATORS if name in node.inputs), None)
        if isinstance(given, str):
            return given.replace("\\n", "\n")
        if "conditioning" in node.kind.casefold():
            return " AND " if "combine" in node.kind.casefold() else " BREAK "
        return ", " if node.inputs.get("linebreak_addition") in ("false", False, None) else "\n"

    def _replaced(self, node: Node, role: Role) -> str | None:
        inputs = node.inputs
        text = self._named(node, role)
        old = self.graph.value(inputs.get("find", inputs.get("old", inputs.get("search"))))
        new = self.graph.value(inputs.get("replace", inputs.get("new", inputs.get("replacement", ""))))
        if (
            text is None
            or not isinstance(old, str)
            or not old
            or not isinstance(new, str)
            or "regex" in node.kind.casefold()
        ):
            return text
        return text.replace(old, new)


def _part_order(name: str) -> tuple[int, str]:
    tail = name.rpartition("_")[2].casefold()
    return ({"to": -2, "from": -1}.get(tail, 0), f"{int(tail):04}" if tail.isdigit() else name.casefold())


def _role_of(graph: Graph, port: Port, role: Role) -> Role:
    """Return the role that an output has: a node that is given both prompts hands on the first one first."""
    inputs = port.node.inputs
    if _KEEPS_ROLES.search(port.node.kind) or port.slot > 1:
        return role
    if graph.port(inputs.get("positive")) is None or graph.port(inputs.get("negative")) is None:
        return role
    return "positive" if port.slot == 0 else "negative"


# -- checkpoint and LoRAs ----------------------------------------------------------------------------------------------

_MODEL_NAMES = ("ckpt_name", "unet_name", "base_ckpt_name", "model_name", "gguf_name", "checkpoint", "model_path")
_ONWARD = ("model", "MODEL", "model1", "base_model", "unet", "model_opt", "transformer")
_STACK = re.compile(r"lora_stack|lora_info|loras|prev_lora|lora", re.IGNORECASE)
_NUMBER = re.compile(r"(?:lora_name|lora|lora_)_?0*(\d+)$", re.IGNORECASE)


class Model(NamedTuple):
    """A checkpoint, None where the walk found none, with the LoRAs on it, and the ids of the nodes on the way."""

    name: str | None
    loras: tuple[Lora, ...]
    crossed: tuple[str, ...]


def model_behind(graph: Graph, value: object) -> Model:
    """Return what flows into a sampler's `model`."""
    loras: list[Lora] = []
    crossed: list[str] = []
    for _ in range(DEPTH):
        port = graph.source(value)
        if port is None or port.node.id in crossed:
            break
        node = port.node
        crossed.append(node.id)
        loras = [*loras_of(graph, node), *loras]
        given = next(((key, node.inputs[key]) for key in _MODEL_NAMES if key in node.inputs), None)
        text = None if given is None else name_of(graph.value(given[1], given[0]) or given[1])
        if text:
            return Model(text, tuple(loras), tuple(crossed))
        names = (*_ONWARD, *("context", "base_ctx", "ctx", "pipe", "basic_pipe", "guider"))
        value = next((node.inputs[key] for key in names if graph.port(node.inputs.get(key)) is not None), None)
    return Model(None, tuple(loras), tuple(crossed))


def loras_of(graph: Graph, node: Node) -> list[Lora]:
    """Return the LoRAs that a node adds: a loader of one, a loader of many, or a stack that flows in."""
    found = list(_own_loras(graph, node))
    seen = {node.id}
    value = _stack_input(graph, node)
    for _ in range(DEPTH):
        port = graph.source(value)
        if port is None or port.node.id in seen:
            break
        seen.add(port.node.id)
        found = [*_own_loras(graph, port.node), *found]
        value = _stack_input(graph, port.node)
    return found


def _stack_input(graph: Graph, node: Node) -> object | None:
    names = [name for name in node.inputs if _STACK.fullmatch(name)]
    return next((node.inputs[name] for name in names if graph.port(node.inputs[name]) is not None), None)


def _own_loras(graph: Graph, node: Node) -> Iterator[Lora]:
    inputs = node.inputs
    named = inputs.get("lora_name")
    if name := name_of(graph.value(named, "lora_name") or named):
        yield from _lora(name, graph.value(inputs.get("strength_model", inputs.get("lora_model_strength", 1.0))))
    listed = inputs.get("loras")
    if isinstance(listed, dict):
        listed = listed.get("__value__")
    if isinstance(listed, list):
        yield from loras_in([each for each in listed if not (isinstance(each, dict) and each.get("active") is False)])
    for key, value in inputs.items():
        number = _NUMBER.fullmatch(key)
        if number is None:
            continue
        if isinstance(value, dict):  # rgthree: {"on": true, "lora": ..., "strength": 1}
            if value.get("on", True) is not False:
                yield from _lora(value.get("lora"), value.get("strength"))
        elif isinstance(value, str) and _is_on(inputs, int(number[1])):
            yield from _lora(value, _weight(graph, inputs, int(number[1])))


def _is_on(inputs: object, number: int) -> bool:
    values = inputs if isinstance(inputs, dict) else {}
    count = number_of(values.get("lora_count"))
    return values.get(f"switch_{number}", "On") not in ("Off", False) and (count is None or number <= count)


def _weight(graph: Graph, inputs: object, number: int) -> object:
    values = inputs if isinstance(inputs, dict) else {}
    names = ("lora_wt", "model_weight", "model_str", "strength", "strength_model", "lora_weight")
    simple = [graph.value(values[f"{name}_{number}"]) for name in names if f"{name}_{number}" in values]
    return (
        simple[0]
        if simple
        else next((values[f"{name}_0{number}"] for name in names if f"{name}_0{number}" in values), 1.0)
    )


def _lora(name: object, weight: object) -> Iterator[Lora]:
    number = number_of(weight)
    if isinstance(name, str) and name not in {"", "None", "none"}:
        yield file_stem(name), 1.0 if number is None else number
