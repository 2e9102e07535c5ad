"""What stages hand on when an option leaves them out, so that the stages behind them draw with the same settings. Pure.

In a run, later stages inherit the prompt and the rest from txt2img or img2img before them; without it they would draw
with nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.config import STAGE_SECTIONS
from rxpipe.config.bindings import bindings_of
from rxpipe.config.graphs import read_graph
from rxpipe.errors import RxPipeError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["handed_on"]

_DRAWING = ("txt2img", "workflow", "img2img")
_INHERITED = frozenset(
    {"prompt", "negative_prompt", "steps", "cfg_scale", "sampler_name", "scheduler", "model", "vae", "clip_skip"}
)
_OWN = frozenset({"enabled", "width", "height", "batch_size", "file", "graph", "bind", "values"})
"""Settings that mean something else, or nothing, in another stage."""
_OF_WORKFLOWS = frozenset({"images", "seed"})
"""Settings that a workflow takes wherever they are bound, if at all."""


def handed_on(
    left_out: Mapping[str, Mapping[str, Any]], running: Mapping[str, object]
) -> tuple[dict[str, dict[str, Any]], tuple[str, ...]]:
    """Return the sections of the stages that run, with what they would have inherited from those left out.

    The first that draws takes every setting that it has too, and hands it on itself; detailers and upscalers before it
    take what they inherit. What a section says itself stays.

    Args:
        left_out: the sections of stages that an option takes away. running: those of the stages that run, in order.

    Returns:
        The sections that change; and the settings that no stage takes, as stage.key, without those that are off.
    """
    changed: dict[str, dict[str, Any]] = {}
    lost: list[str] = []
    for name in _DRAWING:
        if name in left_out:
            section = {key: value for key, value in left_out[name].items() if key != "enabled"}
            taken = _give(section, _heirs(name, running), running, changed)
            lost += [f"{name}.{key}" for key, value in section.items() if key not in taken and _is_set(value)]
    return changed, tuple(lost)


def _heirs(name: str, running: Mapping[str, object]) -> Sequence[str]:
    """Return the stages that inherit from *name* directly: those behind it up to the next that draws."""
    order = list(STAGE_SECTIONS)
    heirs: list[str] = []
    for stage in order[order.index(name) + 1 :]:
        if isinstance(running.get(stage), dict):
            heirs.append(stage)
            if stage in _DRAWING:
                break
    return heirs


def _give(
    section: Mapping[str, Any], heirs: Sequence[str], running: Mapping[str, Any], changed: dict[str, dict[str, Any]]
) -> set[str]:
    taken: set[str] = set()
    for heir in heirs:
        own = {**running[heir], **changed.get(heir, {})}
        keys = section.keys() & _taken_by(heir, own)
        missing = {key: section[key] for key in section if key in keys and _is_left_open(key, own.get(key))}
        changed[heir] = {**own, **missing}
        taken |= keys
    return taken


def _taken_by(heir: str, own: Mapping[str, Any]) -> set[str]:
    """Return the settings of a stage left out that *heir* takes; *own*: its section."""
    fields = set(STAGE_SECTIONS[heir].model_fields)
    if heir == "workflow":
        return fields & (_bound_in(own) | _OF_WORKFLOWS)
    return fields - _OWN if heir in _DRAWING else fields & _INHERITED


def _bound_in(workflow: Mapping[str, Any]) -> set[str]:
    """Return what a workflow has a place for; nothing where it cannot be read, as the config says then."""
    try:
        graph = workflow.get("graph") or read_graph(Path(str(workflow.get("file"))).expanduser())
        return set(bindings_of(graph, workflow.get("bind") or {}).bound)
    except (ValueError, RxPipeError):
        return set()


def _is_left_open(key: str, value: object) -> bool:
    return value is None or (value == "" and key in {"model", "vae"})


def _is_set(value: object) -> bool:
    return value is not None and value is not False and value not in ("", 0)
