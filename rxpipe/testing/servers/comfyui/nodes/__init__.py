"""What each node class does: functions of its inputs, by class name. `NODES` holds them all once this is imported."""

from rxpipe.testing.servers.comfyui.nodes import (
    detailing,
    effects,
    images,
    loaders,
    masks,
    primitives,
    sampling,
    saving,
)
from rxpipe.testing.servers.comfyui.nodes.registry import NODES, NodeError, Result, Work

__all__ = [
    "NODES",
    "NodeError",
    "Result",
    "Work",
    "detailing",
    "effects",
    "images",
    "loaders",
    "masks",
    "primitives",
    "sampling",
    "saving",
]
