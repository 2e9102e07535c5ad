"""A graph in ComfyUI's API format, while it is made and as it is sent.

Ids of nodes are words ("sample", "decode"), so that a setting of any node can be reached by name: `payload` holds
{"sample.cfg": 5}.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.errors import BackendRejected, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

Wire = list[Any]
"""A link to a node's output: its id and the number of the output, from 0."""

Nodes = dict[str, dict[str, Any]]
"""Nodes by id: class_type, inputs, _meta."""

LAST_STEP = 10000
"""`end_at_step` for "to the last step"."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph that is ready to be posted.

    output: id of the node whose pictures are the result. steps: sampling steps by id of the node that runs them.
    found: ids of the nodes that show what a detector has found, all black for nothing. images: names of uploaded files
    as LoadImage has them.
    """

    nodes: Nodes
    output: str
    steps: Mapping[str, int] = field(default_factory=dict)
    found: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def with_payload(self, payload: Mapping[str, Any]) -> Graph:
        """Return the graph with values of the section's `payload` in its nodes.

        Args:
            payload: "node.input" to a value, or an id to {"class_type", "inputs"} for a node that is added or replaced.

        Raises:
            BackendRejected: a key names no node and holds none.
        """
        if not payload:
            return self
        nodes = copy.deepcopy(self.nodes)
        for key, value in payload.items():
            node, dot, name = key.partition(".")
            if isinstance(value, dict) and "class_type" in value:
                nodes[key] = {"inputs": {}, **value}
            elif dot and node in nodes:
                nodes[node]["inputs"][name] = value
            else:
                raise BackendRejected(
                    f"payload: {key!r} is no input of a node; {suggestion(node, nodes)}",
                    hint='A key is "node.input", such as "sample.cfg"; `--export-comfyui FILE` shows the nodes.',
                )
        return Graph(nodes, self.output, self.steps, self.found, self.warnings)

    def renamed(self, files: Mapping[str, str]) -> Graph:
        """Return the graph with other names of uploaded pictures, by the names that it has now."""
        if all(old == new for old, new in files.items()):
            return self
        nodes = copy.deepcopy(self.nodes)
        for node in nodes.values():
            if (name := node["inputs"].get("image")) in files and isinstance(name, str):
                node["inputs"]["image"] = files[name]
        return Graph(nodes, self.output, self.steps, self.found, self.warnings)


class GraphBuilder:
    """Collects nodes; what they were made from is not changed."""

    def __init__(self) -> None:
        self.nodes: Nodes = {}
        self.steps: dict[str, int] = {}
        self.warnings: list[str] = []

    def add(self, name: str, class_type: str, title: str = "", /, **inputs: Any) -> str:
        """Add a node under *name*, with a number behind it where that is taken; return its id."""
        node, number = name, 1
        while node in self.nodes:
            number += 1
            node = f"{name}{number}"
        self.nodes[node] = {"class_type": class_type, "inputs": inputs, "_meta": {"title": title or node}}
        return node

    def out(self, name: str, class_type: str, slot: int = 0, /, **inputs: Any) -> Wire:
        """Add a node; return the link to one of its outputs."""
        return [self.add(name, class_type, **inputs), slot]

    def warn(self, warning: str) -> None:
        """Note what is not as asked for, once."""
        if warning not in self.warnings:
            self.warnings.append(warning)

    def finish(self, image: Wire, found: tuple[str, ...] = ()) -> Graph:
        """Return the graph whose result is *image*. PreviewImage leaves nothing in the server's output folder."""
        output = self.add("out", "PreviewImage", "Result", images=image)
        return Graph(self.nodes, output, self.steps, found, tuple(self.warnings))
