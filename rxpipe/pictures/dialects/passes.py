"""The samplers of a ComfyUI graph in the order of their work: which one began the picture, and what came behind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.pictures.dialects.graph import DEPTH, Graph, Node
from rxpipe.pictures.dialects.parsed import number_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "MOST_COMPARED",
    "OUTPUT",
    "Begin",
    "Sampler",
    "begin_of",
    "first_sampler",
    "is_detailer",
    "is_sampler",
    "sampler_values",
]

OUTPUT = re.compile(r"save|preview|image.?output|websocket|output", re.IGNORECASE)
_LATENT_NAMES = ("latent_image", "latent", "samples", "optional_latent", "latents", "latent_opt", "image_embeds")
_PROMPT_NAMES = ("positive", "guider", "text_embeds", "pipe", "basic_pipe", "context", "base_ctx", "conditioning")
_SAMPLING = re.compile(r"sampler", re.IGNORECASE)
_NOT_SAMPLING = re.compile(r"select|config|loader|provider|params|settings|preset", re.IGNORECASE)
MOST_COMPARED = 60
"""Samplers, and ends, of a graph that are compared with each other; people's graphs have a handful."""

_SIDES = re.compile(r"(\d{2,5})\s*[x\u00d7*]\s*(\d{2,5})")
_SIZE_NAMES = {
    "width": ("width", "empty_latent_width", "Width", "w"),
    "height": ("height", "empty_latent_height", "Height", "h"),
}
_PRETEXT = ("dimensions", "resolution", "size", "aspect_ratio")


@dataclass(frozen=True, slots=True)
class Begin:
    """What a sampler begins with.

    size: of an empty latent, px; None if unknown. picture: what was loaded and encoded, "" for none. masked: whether
    only a part is drawn.
    """

    size: tuple[int, int] | None = None
    picture: str = ""
    masked: bool = False


@dataclass(slots=True)
class Sampler:
    """A sampler, and the nodes that it has its settings from. passed: ids of nodes between it and the one before."""

    node: Node
    values: dict[str, object] = field(default_factory=dict)


def is_detailer(node: Node) -> bool:
    """Whether a node finds faces or other things and redraws each."""
    return bool({"bbox_detector", "segs", "detailer_pipe"} & node.inputs.keys()) and "denoise" in node.inputs


def is_sampler(node: Node) -> bool:
    """Whether a node draws a picture from noise."""
    inputs = node.inputs
    if is_detailer(node) or "upscale_by" in inputs:
        return False
    if "guider" in inputs and "sigmas" in inputs:
        return True
    seeded = "seed" in inputs or "noise_seed" in inputs
    prompted = any(name in inputs for name in _PROMPT_NAMES)
    if seeded and prompted and ("steps" in inputs or "sigmas" in inputs):
        return True
    named = _SAMPLING.search(node.kind) is not None and _NOT_SAMPLING.search(node.kind) is None
    return named and prompted and any(name in inputs for name in (*_LATENT_NAMES, "model"))


def first_sampler(graph: Graph, reached: Mapping[str, int], size: tuple[int, int]) -> tuple[Node | None, list[Node]]:
    """Return the sampler that began the picture, and those behind it in order of their work.

    Of several that begin a picture, one that begins with an empty latent comes first, then one of the picture's
    proportions, then the one nearest to what was saved.
    """
    samplers = [graph.nodes[key] for key in reached if is_sampler(graph.nodes[key])][:MOST_COMPARED]
    above = {node.id: set(graph.upstream([node])) - {node.id} for node in samplers}
    beginning = [node for node in samplers if not any(other.id in above[node.id] for other in samplers)]
    if not beginning:
        return (samplers[-1], []) if samplers else (None, [])

    def rank(node: Node) -> tuple[bool, bool, int, int]:
        begin = begin_of(graph, node)
        fits = begin.size is not None and abs(begin.size[0] * size[1] - begin.size[1] * size[0]) <= size[0] + size[1]
        later = sum(node.id in others for others in above.values())
        return (begin.size is None, not fits, -later, reached[node.id])

    first = min(beginning, key=rank)
    behind = [node for node in samplers if first.id in above[node.id]]
    return first, sorted(behind, key=lambda node: len([other for other in behind if other.id in above[node.id]]))


def latent_of(node: Node) -> object | None:
    """Return the input that a node has its latent from."""
    return next((node.inputs[name] for name in _LATENT_NAMES if name in node.inputs), None)


def begin_of(graph: Graph, sampler: Node) -> Begin:
    """Return what a sampler begins with, behind the nodes that change a latent and hand it on."""
    value, masked = latent_of(sampler), False
    for _ in range(DEPTH):
        port = graph.source(value)
        if port is None:
            break
        node = port.node
        masked = masked or "mask" in node.inputs or "noise_mask" in node.inputs
        pixels = next((node.inputs[name] for name in ("pixels", "image", "images") if name in node.inputs), None)
        if pixels is not None and graph.port(pixels) is not None:
            return Begin(None, _picture_behind(graph, pixels), masked)
        size = size_in(graph, node)
        if size is not None:
            return Begin(size)
        value = latent_of(node)
        if value is None:
            value = next((node.inputs[name] for name in ("context", "pipe", "base_ctx") if name in node.inputs), None)
    return Begin(size_in(graph, sampler), "", masked)


def size_in(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Return the size that a node makes, px."""
    sides = []
    for side, names in _SIZE_NAMES.items():
        given = next((node.inputs[name] for name in names if name in node.inputs), None)
        number = number_of(graph.value(given, side)) if given is not None else None
        sides.append(0 if number is None else int(number))
    if all(sides):
        return sides[0], sides[1]
    for name in _PRETEXT:
        text = node.inputs.get(name)
        if isinstance(text, str) and (found := _SIDES.search(text)):
            return int(found[1]), int(found[2])
    return None


def _picture_behind(graph: Graph, value: object) -> str:
    """Return the name of the file that a picture was loaded from; some other words where it has none."""
    port = graph.source(value)
    if port is None:
        return "a picture"
    for key in graph.upstream([port.node]):
        node = graph.nodes[key]
        if "load" in node.kind.casefold() and isinstance(
            name := node.inputs.get("image", node.inputs.get("path")), str
        ):
            return name if len(name) <= 200 else "a picture"  # noqa: PLR2004  some hold the picture itself
        if is_sampler(node):
            return ""
    return "a picture"


def sampler_values(graph: Graph, node: Node) -> dict[str, object]:
    """Return seed, steps, cfg, sampler_name, scheduler and denoise of a sampler, by those names, where they are given.

    What the node does not hold itself is in the nodes that it is given: noise, guider, sampler, sigmas.
    """
    sources = _settings_nodes(graph, node)
    values: dict[str, object] = {}
    for name, spellings in _SETTINGS.items():
        for holder in sources:
            given = next((holder.inputs[each] for each in spellings if each in holder.inputs), None)
            value = None if given is None else graph.value(given, name, *spellings)
            if isinstance(value, str | int | float) and not isinstance(value, bool):
                values[name] = value
                break
    split = next((node for node in sources if "SplitSigmas" in node.kind and "step" in node.inputs), None)
    step = None if split is None else number_of(graph.value(split.inputs["step"]))
    if step is not None:
        values["start_at_step"] = step
    if "scheduler" not in values:
        values |= _special_schedule(sources)
    return values


_SETTINGS = {
    "seed": ("seed", "noise_seed"),
    "steps": ("steps", "steps_total"),
    "cfg": ("cfg", "cfg_conds", "guidance_scale"),
    "sampler_name": ("sampler_name", "sampler"),
    "scheduler": ("scheduler", "scheduler_name"),
    "denoise": ("denoise", "denoise_strength"),
    "start_at_step": ("start_at_step",),
    "end_at_step": ("end_at_step",),
}
_SPECIAL = {
    "AlignYourSteps": "Align Your Steps",
    "GITS": "Align Your Steps GITS",
    "Turbo": "Turbo",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "polyexponential",
    "BetaSampling": "beta",
}


def _settings_nodes(graph: Graph, sampler: Node) -> list[Node]:
    """Return the sampler and the nodes that it is given its settings by, nearest first."""
    found = [sampler]
    names = ("noise", "guider", "sampler", "sigmas", "pipe", "basic_pipe", "context", "base_ctx", "sdxl_tuple")
    waiting = [sampler]
    for _ in range(DEPTH):
        if not waiting:
            break
        node = waiting.pop(0)
        for name in names if node is sampler else ("sigmas", "sampler", "guider", "context", "base_ctx", "pipe"):
            port = graph.source(node.inputs.get(name))
            if port is not None and port.node not in found and not is_sampler(port.node):
                found.append(port.node)
                waiting.append(port.node)
    return found


def _special_schedule(sources: Iterable[Node]) -> dict[str, object]:
    for node in sources:
        for part, name in _SPECIAL.items():
            if part in node.kind and "cheduler" in node.kind:
                return {"scheduler": name}
    return {}
