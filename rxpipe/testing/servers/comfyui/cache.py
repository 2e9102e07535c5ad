"""Which nodes run again, and in which order: results are kept by content, of the last graph only."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.testing.servers.comfyui.files import FileStore
    from rxpipe.testing.servers.comfyui.nodes import Result
    from rxpipe.testing.servers.comfyui.validation import Graph

_READS_A_FILE = ("LoadImage", "LoadImageMask", "LoadImageOutput")
_ALWAYS_RUNS = ("SaveImageWebsocket", "ETN_SendImageWebSocket")


def is_link(value: Any) -> bool:
    """Return whether an input is a link to another node's output."""
    match value:
        case [str(), int()]:
            return True
    return False


@dataclass(slots=True)
class ResultCache:
    """Results by the content of their node: class and inputs, links followed, node ids left out."""

    files: FileStore
    results: dict[str, Result] = field(default_factory=dict)
    _keys: dict[str, str] = field(default_factory=dict)

    def begin(self, graph: Graph) -> None:
        """Take a graph: what was kept of nodes that it does not have is dropped."""
        self._keys = {}
        for node_id in graph:
            self._key(graph, node_id)
        known = set(self._keys.values())
        self.results = {key: result for key, result in self.results.items() if key in known}

    def get(self, node_id: str) -> Result | None:
        """Return the kept result of a node of the graph, None where it must run."""
        return self.results.get(self._keys.get(node_id, ""))

    def keep(self, node_id: str, result: Result) -> None:
        """Keep the result of a node."""
        self.results[self._keys[node_id]] = result

    def clear(self) -> None:
        """Forget everything, as POST /free does."""
        self.results.clear()

    def _key(self, graph: Graph, node_id: str) -> str:
        if node_id in self._keys:
            return self._keys[node_id]
        node = graph.get(node_id)
        if node is None or "inputs" not in node:
            return f"absent {node_id}"
        self._keys[node_id] = f"cycle {node_id}"  # until it is known
        inputs: dict[str, Any] = {}
        for name, value in sorted(node["inputs"].items()):
            inputs[name] = [self._key(graph, value[0]), value[1]] if is_link(value) else [value]
        content = json.dumps([node["class_type"], inputs, self._changes(node)], sort_keys=True, default=repr)
        self._keys[node_id] = hashlib.sha256(content.encode()).hexdigest()
        return self._keys[node_id]

    def _changes(self, node: dict[str, Any]) -> Any:
        """Return what else a node's result depends on: the bytes of its file, or the moment."""
        if node["class_type"] in _ALWAYS_RUNS:
            return time.time_ns()
        name = node["inputs"].get("image")
        if node["class_type"] not in _READS_A_FILE or not isinstance(name, str):
            return None
        file = self.files.find(name)
        return None if file is None else hashlib.sha256(file.data).hexdigest()


@dataclass(slots=True)
class Order:
    """The nodes of a graph in the order in which they run.

    Outputs first as soon as they can run, then what an output waits for, then the rest as they were found.
    """

    graph: Graph
    is_cached: Callable[[str], bool]
    is_output: Callable[[str], bool]
    _open: dict[str, set[str]] = field(default_factory=dict)  # node to the nodes that it waits for
    _waits: dict[str, list[str]] = field(default_factory=dict)  # node to those that wait for it

    def add(self, output: str) -> None:
        """Add an output and everything above it that is not cached."""
        to_visit, links = [output], []
        while to_visit:
            node_id = to_visit.pop()
            if node_id in self._open:
                continue
            self._open[node_id] = set()
            self._waits[node_id] = []
            for value in self.graph[node_id]["inputs"].values():
                if is_link(value) and value[0] in self.graph and not self.is_cached(value[0]):
                    to_visit.append(value[0])
                    links.append((value[0], node_id))
        for source, node_id in links:
            if source not in self._open[node_id]:
                self._open[node_id].add(source)
                self._waits[source].append(node_id)

    @property
    def left(self) -> list[str]:
        """The nodes that have not run yet."""
        return list(self._open)

    def next(self) -> str | None:
        """Return the node that runs next, None where none is left."""
        ready = [node_id for node_id, sources in self._open.items() if not sources]
        if not ready:
            return None
        for distance in range(3):
            for node_id in ready:
                if self._leads_to_output(node_id, distance):
                    return node_id
        return ready[0]

    def done(self, node_id: str) -> None:
        """Note that a node has run."""
        del self._open[node_id]
        for waiting in self._waits.pop(node_id):
            self._open[waiting].discard(node_id)

    def _leads_to_output(self, node_id: str, distance: int) -> bool:
        """Return whether an output waits for a node over exactly `distance` others."""
        if not distance:
            return self.is_output(node_id)
        return any(self._leads_to_output(waiting, distance - 1) for waiting in self._waits[node_id])
