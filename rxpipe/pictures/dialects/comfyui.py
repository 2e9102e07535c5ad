"""ComfyUI's metadata: its graph of nodes, followed by links from the sampler that began the picture.

A text of A1111's form that a saving node wrote beside the graph fills in what the graph does not say; where the two
differ, the graph is right.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rxpipe.pictures.a1111 import parse_parameters
from rxpipe.pictures.dialects import webui
from rxpipe.pictures.dialects.enlarging import between, enlarging, factor
from rxpipe.pictures.dialects.flow import TextWalk, model_behind
from rxpipe.pictures.dialects.graph import Graph, Node, graph_of
from rxpipe.pictures.dialects.parsed import Parsed, as_settings, file_stem, json_object, main_text, number_of
from rxpipe.pictures.dialects.passes import (
    MOST_COMPARED,
    OUTPUT,
    begin_of,
    first_sampler,
    is_detailer,
    is_sampler,
    sampler_values,
)
from rxpipe.pictures.dialects.workflow import graph_of_workflow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.pictures.dialects.flow import Model, Role
    from rxpipe.pictures.dialects.parsed import Dialect, Found, Lora

__all__ = ["read", "read_graph"]

_STEERING = re.compile(
    r"controlnet|ipadapter|instantid|pulid|stylemodel|redux|freeu|perturbed|\bsag\b|selfattention|rescalecfg|hypertile"
    r"|deepshrink|photomaker|gligen|unclip|hypernetwork|clipvision|modelmerge|t2iadapter|regional|conditioningset"
    r"|differentialdiffusion|latentblend|latentcomposite|dynamicthresholding|skiplayer|layerdiff|attentioncouple"
    r"|imageedit|referencelatent|kontext|instructpix|ultimatesdupscale|faceswap|reactor|colormatch|sharpen|conditioningaverage",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"controlnetapply|applycontrolnet|controlnet.*apply", re.IGNORECASE)
_NTH = {1: "", 2: " 2nd", 3: " 3rd"}


def read(found: Found) -> Parsed | None:
    """Return what ComfyUI wrote into a picture; None where the texts are of another kind."""
    texts = found.texts
    graph = graph_of(json_object(texts.get("prompt")) or {})
    workflow = json_object(texts.get("workflow")) or {}
    if graph is None and "nodes" not in workflow:
        return None
    graph = graph or graph_of_workflow(workflow)
    parsed = Parsed(dialect="comfyui") if graph is None else read_graph(graph, found.size)
    return _with_summary(parsed, main_text(texts))


def _with_summary(parsed: Parsed, text: str) -> Parsed:
    """Return what the graph says, and of what a saving node wrote beside it that which the graph does not say."""
    if json_object(text) is not None:
        return parsed
    summary = parse_parameters(text)
    if not summary.settings:
        return parsed
    if not parsed.settings and not parsed.prompt:
        return webui.read_text(text, "comfyui") or parsed
    named = parsed.prompt or not parsed.problems
    settings = {
        key: value
        for key, value in summary.settings.items()
        if key not in _SAYS_NOTHING or value not in _SAYS_NOTHING[key]
    }
    return Parsed(
        dialect=parsed.dialect,
        prompt=parsed.prompt or summary.prompt.removesuffix("unknown").strip(),
        negative_prompt=parsed.negative_prompt
        if parsed.prompt
        else (parsed.negative_prompt or summary.negative_prompt),
        settings={**settings, **parsed.settings},
        loras=parsed.loras,
        source=parsed.source,
        unread=parsed.unread,
        problems=parsed.problems if named else (),
    )


_SAYS_NOTHING: Mapping[str, frozenset[str]] = {
    "Seed": frozenset({"0", "-1", "unknown"}),
    "Model": frozenset({"unknown", ""}),
    "Sampler": frozenset({"unknown", ""}),
}
"""What saving nodes write where they were given nothing."""


def read_graph(graph: Graph, size: tuple[int, int], dialect: Dialect = "comfyui") -> Parsed:
    """Return the prompts and settings in a graph, of the sampler that began the picture and of what came behind it.

    Args:
        graph: any graph. size: of the picture, px. dialect: the program whose graph it is.
    """
    reached = _reached(graph)
    first, behind = first_sampler(graph, reached, size)
    if first is None:
        return _without_sampler(graph, reached, size, dialect)
    return _Reading(graph, reached, size, dialect).of(first, behind)


def _reached(graph: Graph) -> dict[str, int]:
    """Return the nodes that flow into what was saved; all, where nothing saves."""
    consumed = {port.node.id for node in graph.nodes.values() for _, port in graph.links(node)}
    ends = [node for key, node in graph.nodes.items() if key not in consumed]
    saving = [node for node in ends if OUTPUT.search(node.kind)][:MOST_COMPARED]
    ends = ends[:MOST_COMPARED]
    drawing = [node for node in ends if any(is_sampler(graph.nodes[key]) for key in graph.upstream([node]))]
    final = [node for node in saving if "preview" not in node.kind.casefold()] or saving or drawing or ends
    reached = graph.upstream(final)
    if any(is_sampler(graph.nodes[key]) for key in reached):
        return reached
    return graph.upstream(graph.nodes.values())


class _Reading:
    """The reading of one graph: what was found so far."""

    def __init__(self, graph: Graph, reached: Mapping[str, int], size: tuple[int, int], dialect: Dialect) -> None:
        self.graph = graph
        self.reached = reached
        self.size = size
        self.dialect: Dialect = dialect
        self.settings: dict[str, str] = {}
        self.problems: list[str] = []
        self.crossed: set[str] = set()
        self.prompt = self.negative = ""

    def of(self, first: Node, behind: list[Node]) -> Parsed:
        graph = self.graph
        prompt = self.prompt = self._prompt(first, "positive")
        negative = self.negative = self._prompt(first, "negative")
        model = self._model(first)
        begin = begin_of(graph, first)
        self._base(first, model, over=bool(begin.picture))
        size = begin.size or (None if behind else self.size)
        if begin.size is not None or begin.picture:
            self._set("Size", _pixels(size))
        rest = self._later_passes(behind, model, size)
        self._final_upscale(behind[-1] if behind else first, size)
        self._details()
        unread = [*rest, *self._steering()]
        denoise = number_of(self.settings.get("Denoising strength"))
        whole = denoise is not None and denoise >= 1
        source = begin.picture if not whole or begin.masked else ""
        if source and begin.masked:
            unread.append("the mask of the part that was drawn")
        return Parsed(
            dialect=self.dialect,
            prompt=prompt,
            negative_prompt=negative,
            settings=self.settings,
            loras=_not_in(prompt, model.loras),
            source=source,
            unread=tuple(dict.fromkeys(unread)),
            problems=tuple(dict.fromkeys(self.problems)),
        )

    def of_picture(self, source: str) -> Parsed:
        """Read a graph that only mends or enlarges a picture."""
        details = [self.graph.nodes[key] for key in self.reached if is_detailer(self.graph.nodes[key])]
        prompt = self._prompt(details[-1], "positive") if details else ""
        negative = self._prompt(details[-1], "negative") if details else ""
        self._details()
        ends = [self.graph.nodes[key] for key, distance in self.reached.items() if distance == 0][:MOST_COMPARED]
        for end in ends:
            upscaler, scale = enlarging(self.graph, end, None, self.size)
            self._set("Postprocess upscaler", upscaler)
            self._set("Postprocess upscale by", scale)
        return Parsed(
            dialect=self.dialect,
            prompt=prompt,
            negative_prompt=negative,
            settings=self.settings,
            source=source,
            unread=tuple(self._steering()),
        )

    def _set(self, label: str, value: object) -> None:
        if value is not None and value != "":
            self.settings[label] = as_settings({label: value})[label]

    def _prompt(self, sampler: Node, role: Role) -> str:
        walk = TextWalk(self.graph, role)
        value = _prompt_input(self.graph, sampler, role)
        text = walk.text(value) if value is not None else None
        self.crossed |= walk.crossed
        self.problems += walk.problems
        if text is None and (role == "positive" or value is not None) and not walk.problems:
            self.problems.append(f"no {role} prompt was found behind {sampler.kind} (node {sampler.id})")
        return text or ""

    def _model(self, sampler: Node) -> Model:
        value = next(
            (
                sampler.inputs[name]
                for name in ("model", "guider", "context", "base_ctx", "pipe", "basic_pipe")
                if name in sampler.inputs
            ),
            None,
        )
        return model_behind(self.graph, value)

    def _base(self, sampler: Node, model: Model, *, over: bool) -> None:
        values = sampler_values(self.graph, sampler)
        start, steps = number_of(values.get("start_at_step")), number_of(values.get("steps"))
        if over and start is not None and steps:
            values.setdefault("denoise", round(1 - start / steps, 4))
        for name, label in _BASE.items():
            self._set(label, values.get(name))
        self._set("Model", model.name)
        self._set("VAE", self._vae())
        for key in self.crossed | set(model.crossed):
            node = self.graph.nodes[key]
            if "guidance" in node.inputs:
                self._set("Distilled CFG Scale", self.graph.value(node.inputs["guidance"]))
        clip = [
            number_of(self.graph.value(self.graph.nodes[key].inputs["stop_at_clip_layer"]))
            for key in self.reached
            if "stop_at_clip_layer" in self.graph.nodes[key].inputs
        ]
        if clip and clip[-1] and abs(clip[-1]) > 1:
            self._set("Clip skip", int(abs(clip[-1])))

    def _vae(self) -> str | None:
        """Return the VAE that decoded the picture, where it is not the checkpoint's own."""
        for key in self.reached:
            node = self.graph.nodes[key]
            if "samples" in node.inputs and (port := self.graph.source(node.inputs.get("vae"))) is not None:
                name = port.node.inputs.get("vae_name")
                return name if isinstance(name, str) else None
        return None

    def _later_passes(self, behind: list[Node], model: Model, size: tuple[int, int] | None) -> list[str]:
        """Read what samplers behind the first did: the refiner, the hires pass; name the others."""
        rest: list[str] = []
        for node in behind:
            values = sampler_values(self.graph, node)
            other = self._model(node)
            start = number_of(values.get("start_at_step"))
            if start:
                if other.name and other.name != model.name:
                    self._set("Refiner", file_stem(other.name))
                    total = number_of(values.get("steps"))
                    self._set("Refiner switch at", round(start / total, 4) if total else None)
            elif "Hires upscale" not in self.settings:
                self._hires(node, values, size)
                self._other_model(model, other)
                rest += self._other_words(node, values)
            else:
                rest.append(f"a further pass of {node.kind} (node {node.id})")
        return rest

    def _other_model(self, model: Model, other: Model) -> None:
        if other.name and other.name != model.name:
            self._set("Hires checkpoint", file_stem(other.name))

    def _other_words(self, node: Node, values: Mapping[str, object]) -> list[str]:
        """Read the prompts of a second pass where they are its own; name its seed where that is."""
        problems = list(self.problems)
        wanted, excluded = self._prompt(node, "positive"), self._prompt(node, "negative")
        self._set("Hires prompt", wanted if wanted != self.prompt else None)
        self._set("Hires negative prompt", excluded if excluded != self.negative else None)
        self.problems = problems
        return [] if str(values.get("seed")) == self.settings.get("Seed") else ["the seed of the second pass"]

    def _hires(self, node: Node, values: Mapping[str, object], size: tuple[int, int] | None) -> None:
        upscaler, scale = enlarging(self.graph, node, size, self.size)
        self._set("Hires upscale", 1 if scale is None else scale)
        self._set("Hires upscaler", upscaler)
        steps = values.get("steps")
        self._set("Hires steps", None if str(steps) == self.settings.get("Steps") else steps)
        self._set("Denoising strength", values.get("denoise", 1.0))
        for name, label in (("sampler_name", "Sampler"), ("scheduler", "Schedule type"), ("cfg", "CFG scale")):
            if str(values.get(name, self.settings.get(label))) != self.settings.get(label):
                self._set(_HIRES[label], values.get(name))

    def _final_upscale(self, last: Node, size: tuple[int, int] | None) -> None:
        """Read what enlarged the picture behind the last sampler."""
        ends = [self.graph.nodes[key] for key, distance in self.reached.items() if distance == 0][:MOST_COMPARED]
        for end in ends:
            nodes = between(self.graph, end)
            enlarges = any("upscale_model" in node.inputs or "scale_by" in node.inputs for node in nodes)
            if not enlarges or last.id not in self.graph.upstream([end]):
                continue
            upscaler, scale = enlarging(self.graph, end, size, self.size)
            before = number_of(self.settings.get("Hires upscale", "1")) or 1
            whole = factor(self.size, size) if size else scale
            by = round(whole / before, 4) if whole and size else scale
            self._set("Postprocess upscale by", by if by and by > 1 else None)
            self._set("Postprocess upscaler", upscaler)
            return

    def _details(self) -> None:
        """Read what found faces and redrew them, as units of ADetailer."""
        units = [self.graph.nodes[key] for key in self.reached if is_detailer(self.graph.nodes[key])]
        for number, node in enumerate(reversed(units), start=1):
            nth = _NTH.get(number, f" {number}th")
            name = self._detector(node)
            self._set(f"ADetailer model{nth}", name.rpartition("/")[2] if isinstance(name, str) else "face_yolov8n.pt")
            for key, label in _DETAILS.items():
                value = self.graph.value(node.inputs[key]) if key in node.inputs else None
                self._set(f"{label}{nth}", value if isinstance(value, str | int | float) else None)

    def _detector(self, node: Node) -> object:
        """Return the name of the model that finds what a node redraws."""
        pipe = self.graph.source(node.inputs.get("detailer_pipe"))
        inputs = node.inputs if pipe is None else {**pipe.node.inputs, **node.inputs}
        start = self.graph.source(inputs.get("bbox_detector", inputs.get("segs")))
        for key in () if start is None else self.graph.upstream([start.node]):
            found = self.graph.nodes[key]
            if "model_name" in found.inputs and "detector" in f"{found.kind} {key}".casefold():
                return found.inputs["model_name"]
        return None

    def _steering(self) -> list[str]:
        """Name the nodes that take part in the picture and that no setting says."""
        names = []
        control = 0
        for key in self.reached:
            node = self.graph.nodes[key]
            if _CONTROL.search(node.kind):
                loader = self.graph.source(node.inputs.get("control_net"))
                model = None if loader is None else loader.node.inputs.get("control_net_name")
                self._set(
                    f"ControlNet {control}", f"Model: {model or node.kind}, Weight: {node.inputs.get('strength', 1)}"
                )
                control += 1
            elif _STEERING.search(node.kind) and "loader" not in node.kind.casefold():
                names.append(f"{node.kind} (node {node.id})")
        return names


_BASE = {
    "seed": "Seed",
    "steps": "Steps",
    "cfg": "CFG scale",
    "sampler_name": "Sampler",
    "scheduler": "Schedule type",
    "denoise": "Denoising strength",
}
_HIRES = {"Sampler": "Hires sampler", "Schedule type": "Hires schedule type", "CFG scale": "Hires CFG Scale"}
_DETAILS = {
    "bbox_threshold": "ADetailer confidence",
    "denoise": "ADetailer denoising strength",
    "bbox_dilation": "ADetailer dilate erode",
    "steps": "ADetailer steps",
    "cfg": "ADetailer CFG scale",
    "sampler_name": "ADetailer sampler",
    "scheduler": "ADetailer scheduler",
}


def _pixels(size: tuple[int, int] | None) -> str | None:
    return None if size is None else f"{size[0]}x{size[1]}"


def _not_in(prompt: str, loras: tuple[Lora, ...]) -> tuple[Lora, ...]:
    return tuple(each for each in loras if f"<lora:{each[0]}:" not in prompt)


def _prompt_input(graph: Graph, sampler: Node, role: Role) -> object | None:
    """Return the input that leads to a prompt: of the sampler, else of its guider, its pipe or its context."""
    names = (role, "conditioning") if role == "positive" else (role,)
    guider = graph.source(sampler.inputs.get("guider"))
    holders = [sampler] if guider is None else [guider.node, sampler]
    for node in holders:
        for name in names:
            if name in node.inputs:
                return node.inputs[name]
    for name in ("text_embeds", "pipe", "basic_pipe", "context", "base_ctx", "sdxl_tuple"):
        if name in sampler.inputs:
            return sampler.inputs[name]
    return None


def _without_sampler(graph: Graph, reached: Mapping[str, int], size: tuple[int, int], dialect: Dialect) -> Parsed:
    """Return what a graph without a sampler says: of a picture that it mends, or of nodes that are a service each."""
    loaded = next((name for key in reached if (name := _loaded(graph.nodes[key]))), "")
    if loaded:
        return _Reading(graph, reached, size, dialect).of_picture(loaded)
    nodes = [graph.nodes[key] for key in reached]
    values: dict[str, object] = {}
    for node in nodes:
        for name in ("seed", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "ckpt_name", "unet_name"):
            value = graph.value(node.inputs[name], name) if name in node.inputs else None
            if isinstance(value, str | int | float):
                values.setdefault(name, value)
    wanted, excluded = TextWalk(graph, "positive"), TextWalk(graph, "negative")
    prompt = _first_text(wanted, nodes, ("positive", "conditioning", "prompt", "text", "positive_prompt"))
    negative = _first_text(excluded, nodes, ("negative", "negative_prompt"))
    missing = () if prompt else ("the graph has no sampler, and no prompt was found in it",)
    return Parsed(
        dialect=dialect,
        prompt=prompt,
        negative_prompt=negative,
        settings=as_settings(values),
        problems=(*wanted.problems, *missing),
    )


def _loaded(node: Node) -> str:
    """Return the name of the picture that a node loads; "" for any other node."""
    name = node.inputs.get("image")
    return name if isinstance(name, str) and "load" in node.kind.casefold() else ""


def _first_text(walk: TextWalk, nodes: list[Node], names: tuple[str, ...]) -> str:
    texts = (walk.text(node.inputs[name]) for node in nodes for name in names if name in node.inputs)
    return next((text for text in texts if text), "")
