"""A ComfyUI graph in API format as a file holds it, and how its nodes are connected. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MOST_BYTES = 32 << 20
_REROUTES = ("Reroute", "ReroutePrimitive", "Reroute (rgthree)")

Graph = Mapping[str, Mapping[str, Any]]
"""Nodes by id: class_type, inputs, _meta."""


def read_graph(path: Path) -> dict[str, Any]:
    """Return the graph in a file.

    Raises:
        ValueError: it cannot be read, or is no graph in API format; says what it is and what to do.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > _MOST_BYTES:
        raise ValueError(f"{path}: {len(data)} bytes are no workflow")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        if data.startswith((b"\x89PNG", b"RIFF", b"\xff\xd8")):
            raise ValueError(f"{path}: a picture; what it was drawn with is run by `rxpipe run {path}`") from None
        raise ValueError(f"{path}: no JSON; allowed is what ComfyUI writes with Workflow > Export (API)") from None
    return checked_graph(value, str(path))


def checked_graph(value: Any, name: str) -> dict[str, Any]:
    """Return the graph that a value is.

    Raises:
        ValueError: it is none in API format.
    """
    if isinstance(value, dict) and isinstance(value.get("prompt"), dict):
        value = value["prompt"]  # as it is posted
    if isinstance(value, dict) and ("nodes" in value or "links" in value) and "class_type" not in value:
        raise ValueError(
            f"{name}: a workflow of ComfyUI's page, which cannot be run as it is; "
            "export it there with Workflow > Export (API)"
        )
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{name}: no graph; allowed is what ComfyUI writes with Workflow > Export (API)")
    for node, held in value.items():
        if not _is_node(held):
            raise ValueError(
                f"{name}: {node!r} is no node: it has no class_type, or no table of inputs; "
                "export with Workflow > Export (API)"
            )
    return value


def _is_node(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("class_type"), str)
        and isinstance(value.get("inputs", {}), dict)
    )


def class_of(graph: Graph, node: str) -> str:
    """Return a node's class, "" where it is not there."""
    return str(graph.get(node, {}).get("class_type", ""))


def inputs_of(graph: Graph, node: str) -> Mapping[str, Any]:
    """Return a node's inputs."""
    found: Mapping[str, Any] = graph.get(node, {}).get("inputs") or {}
    return found


def title_of(graph: Graph, node: str) -> str:
    """Return a node's title, its class where it has none."""
    meta = graph.get(node, {}).get("_meta")
    title = meta.get("title") if isinstance(meta, Mapping) else None
    return str(title) if title else class_of(graph, node)


def described(graph: Graph, node: str) -> str:
    """Return a node for people."""
    title, kind = title_of(graph, node), class_of(graph, node)
    return f"{node} ({kind})" if title == kind else f"{node} {title!r} ({kind})"


def link_of(value: Any) -> tuple[str, int] | None:
    """Return the node and the output that an input is linked to; None for a value."""
    pair = isinstance(value, list) and len(value) == 2  # noqa: PLR2004  # an id and a number
    if pair and isinstance(value[0], str) and isinstance(value[1], int) and not isinstance(value[1], bool):
        return value[0], value[1]
    return None


def source_of(graph: Graph, value: Any) -> tuple[str, int] | None:
    """Return the node and output behind a link, reroutes left out; None for a value or a link to nothing."""
    seen: set[str] = set()
    link = link_of(value)
    while link is not None and link[0] in graph and link[0] not in seen:
        if class_of(graph, link[0]) not in _REROUTES:
            return link
        seen.add(link[0])
        link = next((found for given in inputs_of(graph, link[0]).values() if (found := link_of(given))), None)
    return None


def linked(graph: Graph) -> set[str]:
    """Return the nodes that another one is linked to."""
    return {link[0] for node in graph for value in inputs_of(graph, node).values() if (link := link_of(value))}


def links(graph: Graph, node: str) -> Iterator[tuple[str, tuple[str, int]]]:
    """Yield the inputs of a node that are linked, with the node and output behind each."""
    for name, value in inputs_of(graph, node).items():
        source = source_of(graph, value)
        if source is not None:
            yield name, source
