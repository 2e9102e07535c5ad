"""What enlarges a picture between two nodes of a ComfyUI graph: by which upscaler, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.graph import DEPTH
from rxpipe.pictures.dialects.parsed import file_stem, number_of
from rxpipe.pictures.dialects.passes import is_sampler, size_in

if TYPE_CHECKING:
    from rxpipe.pictures.dialects.graph import Graph, Node

__all__ = ["between", "enlarging", "factor"]

_LATENT = {"bicubic": "Latent (bicubic)", "nearest-exact": "Latent (nearest-exact)"}
_FACTORS = ("scale_by", "upscale_by", "rescale_factor", "factor")
_HANDED_ON = (
    "latent_image",
    "latent",
    "samples",
    "pixels",
    "image",
    "images",
    "optional_latent",
    "input_image",
    "base_ctx",
    "context",
    "pipe",
)


def enlarging(
    graph: Graph, end: Node, size: tuple[int, int] | None, result: tuple[int, int]
) -> tuple[str | None, float | None]:
    """Return upscaler and factor between a node and the sampler before it; None where nothing enlarges, or is unknown.

    Args:
        graph: any graph. end: the node. size: before, px. result: of the picture, px, which says by how much a model
            enlarged it.
    """
    nodes = between(graph, end)
    upscaler = next((name for node in nodes if (name := _model_of(graph, node))), None)
    upscaler = upscaler or next((name for node in nodes if (name := _method_of(node))), None)
    scale, by_model = 1.0, False
    for node in nodes:
        target = size_in(graph, node) if "cale" in node.kind else None
        if target and size:
            return upscaler, round(scale * target[0] / size[0], 4)
        by_model = by_model or "upscale_model" in node.inputs
        given = next((node.inputs[name] for name in _FACTORS if name in node.inputs), None)
        scale *= number_of(graph.value(given)) or 1.0
    if by_model:  # by how much a model enlarges is not in the graph
        return upscaler, factor(result, size) if size else None
    return upscaler, round(scale, 4) if scale != 1 else None


def between(graph: Graph, end: Node) -> list[Node]:
    """Return the nodes that hand latents or pictures from the sampler before to *end*, nearest first."""
    found: list[Node] = []
    node = end
    for _ in range(DEPTH):
        value = next((node.inputs[name] for name in _HANDED_ON if graph.port(node.inputs.get(name)) is not None), None)
        port = graph.source(value)
        if port is None or is_sampler(port.node) or port.node in found:
            break
        node = port.node
        found.append(node)
    return found


def factor(size: tuple[int, int], before: tuple[int, int]) -> float:
    """Return by how much a picture is wider than before."""
    return round(size[0] / before[0], 4) if before[0] else 1.0


def _model_of(graph: Graph, node: Node) -> str | None:
    loader = graph.source(node.inputs.get("upscale_model"))
    name = None if loader is None else graph.value(loader.node.inputs.get("model_name"))
    return file_stem(name) if isinstance(name, str) else None


def _method_of(node: Node) -> str | None:
    """Return the upscaler that a node is which enlarges without a model; None for any other node."""
    method = node.inputs.get("upscale_method", node.inputs.get("method"))
    if not isinstance(method, str) or "cale" not in node.kind:
        return None
    if "samples" in node.inputs:
        return _LATENT.get(method, "Latent")
    return "Lanczos" if method == "lanczos" else "Nearest"
