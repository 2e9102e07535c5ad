"""ComfyUI's graph of nodes as values: what a link leads to, through whatever nodes only hand something on.

An input holds a value, or a link `["10", 1]`: output 1 of node 10. Graphs come from strangers, so that every walk ends:
at a node seen before, at a depth, at a count.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.pictures.dialects.parsed import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["DEPTH", "Graph", "Node", "Port", "graph_of"]

DEPTH = 60
"""Nodes that a walk goes through one behind the other."""

_MOST_NODES = 2000
_SWITCH = re.compile(r"switch|\bif\b|ifelse|if_else|select(?!.*scheduler)|\bmux\b|coalesce", re.IGNORECASE)
_CHOICES = ("select", "index", "input", "choice", "select_positive", "selected", "Input")
_FLAGS = ("switch", "boolean", "condition", "value", "boolean_value", "enabled", "bool")
_TRUE = ("on_true", "true", "if_true", "input_true", "tt_value", "true_value", "input1", "a")
_FALSE = ("on_false", "false", "if_false", "input_false", "ff_value", "false_value", "input2", "b")
_NUMBERED = re.compile(r"(\D*?)_?0*(\d+)$")
_VALUE_NAMES = (
    "value",
    "Value",
    "int",
    "float",
    "number",
    "Number",
    "INT",
    "FLOAT",
    "seed",
    "noise_seed",
    "string",
    "text",
)
_CONTEXTS = ("context", "base_ctx", "ctx", "pipe", "basic_pipe", "bus", "sdxl_tuple", "script")


@dataclass(frozen=True, slots=True)
class Node:
    """A node: its kind (ComfyUI's `class_type`) and its inputs by name."""

    id: str
    kind: str
    inputs: Mapping[str, object] = field(default_factory=dict)


class Port(NamedTuple):
    """An output of a node."""

    node: Node
    slot: int


class Graph:
    """The nodes of a graph by id."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = nodes

    def port(self, value: object) -> Port | None:
        """Return the output that a value links to; None where it is no link, or leads nowhere."""
        if not isinstance(value, list | tuple) or len(value) != 2:  # noqa: PLR2004  id and slot
            return None
        key, slot = value
        if (
            isinstance(key, bool)
            or not isinstance(key, str | int)
            or isinstance(slot, bool)
            or not isinstance(slot, int)
        ):
            return None
        node = self.nodes.get(str(key))
        return None if node is None else Port(node, slot)

    def links(self, node: Node) -> list[tuple[str, Port]]:
        """Return the inputs of a node that are links."""
        ports = ((name, self.port(value)) for name, value in node.inputs.items())
        return [(name, port) for name, port in ports if port is not None]

    def source(self, value: object) -> Port | None:
        """Return where a link begins, behind reroutes and switches."""
        port = self.port(value)
        for _ in range(DEPTH):
            if port is None:
                return None
            onward = self.onward(port.node)
            if onward is None:
                return port
            port = self.port(onward)
        return None

    def onward(self, node: Node) -> object | None:
        """Return the input that a node hands on unchanged; None for any other node."""
        if _SWITCH.search(node.kind):
            return self._chosen(node)
        if "reroute" in node.kind.casefold() or node.kind in _RELAYS:
            return next((value for value in node.inputs.values() if self.port(value) is not None), None)
        return None

    def _chosen(self, node: Node) -> object | None:
        """Return the input that a switch has chosen; the first that is there where it does not say."""
        inputs = node.inputs
        flag = next((self.value(inputs[name]) for name in _FLAGS if name in inputs), None)
        if isinstance(flag, bool):
            return next((inputs[name] for name in (_TRUE if flag else _FALSE) if name in inputs), None)
        number = next((number_of(self.value(inputs[name])) for name in _CHOICES if name in inputs), None)
        numbered = {int(found[2]): value for name, value in inputs.items() if (found := _NUMBERED.fullmatch(name))}
        if number is not None and int(number) in numbered:
            return numbered[int(number)]
        return next((value for value in inputs.values() if self.port(value) is not None), None)

    def value(self, value: object, *names: str) -> object | None:
        """Return the value behind an input: itself, or what the node that it links to holds under one of *names*.

        A context, a pipe or a config node hands on what it was given under the same name.
        """
        for _ in range(DEPTH):
            port = self.source(value)
            if port is None:
                return None if isinstance(value, list | tuple | Mapping) else value
            inputs = port.node.inputs
            name = next((each for each in (*names, *_VALUE_NAMES) if each in inputs), None)
            if name is None:
                name = next((each for each in _CONTEXTS if self.port(inputs.get(each)) is not None), None)
            if name is None:
                return None
            value = inputs[name]
        return None

    def upstream(self, starts: Iterable[Node]) -> dict[str, int]:
        """Return the ids of all nodes that flow into *starts*, themselves first, nearest first, with their distance."""
        seen: dict[str, int] = {}
        level = list(starts)
        distance = 0
        while level:
            onward = []
            for node in level:
                if node.id not in seen:
                    seen[node.id] = distance
                    onward += [port.node for port in self._inflow(node)]
            level, distance = onward, distance + 1
        return seen

    def _inflow(self, node: Node) -> Iterator[Port]:
        """Yield the outputs that flow into a node; of a switch the chosen one only."""
        if self.onward(node) is not None:
            ports = [self.port(self.onward(node))]
            yield from (port for port in ports if port is not None)
            return
        for _, port in self.links(node):
            yield port


_RELAYS = frozenset(
    {"PreviewAny", "Anything Everywhere", "GetNode", "SetNode", "easy showAnything", "ShowText|pysssss"}
)


def graph_of(values: Mapping[str, object]) -> Graph | None:
    """Return the graph in values of ComfyUI's API format; None where no node is in them."""
    nodes = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(kind := value.get("class_type"), str):
            inputs = value.get("inputs")
            nodes[key] = Node(key, kind, inputs if isinstance(inputs, Mapping) else {})
    return Graph(nodes) if nodes and len(nodes) <= _MOST_NODES else None
