"""`progress_state`: what every node of the running job is doing, as the server repeats it at each change."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ProgressState:
    """The nodes of one job that have begun, in that order."""

    prompt_id: str
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin(self, node_id: str) -> None:
        """Note that a node runs."""
        self.nodes[node_id] = self._entry(node_id, 0.0, 1.0, "running")

    def step(self, node_id: str, value: int, of: int) -> None:
        """Note how far a node is."""
        self.nodes[node_id] = self._entry(node_id, value, of, "running")

    def finish(self, node_id: str) -> None:
        """Note that a node is done."""
        largest = self.nodes[node_id]["max"] if node_id in self.nodes else 1
        self.nodes[node_id] = self._entry(node_id, largest, largest, "finished")

    def shown(self) -> dict[str, Any]:
        """Return the message."""
        return {"prompt_id": self.prompt_id, "nodes": self.nodes}

    def metadata(self, node_id: str, image_type: str) -> dict[str, Any]:
        """Return what event 4 tells about a picture of a node."""
        return {
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
            "image_type": image_type,
        }

    def _entry(self, node_id: str, value: float, of: float, state: str) -> dict[str, Any]:
        return {
            "value": value,
            "max": of,
            "state": state,
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": node_id,
            "parent_node_id": None,
            "real_node_id": node_id,
        }
