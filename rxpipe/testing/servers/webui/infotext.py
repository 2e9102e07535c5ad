"""The texts of a picture: A1111's infotext, the `info` string, and the sampler that a name really means."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"^(\d+)x(\d+)$")


class Sampling(NamedTuple):
    """What the server samples with. schedule_field: as extra_generation_params have it, None if unchanged."""

    sampler: str
    schedule: str
    schedule_field: str | None


def resolve_sampling(
    samplers: Sequence[Mapping[str, Any]], schedulers: Sequence[Mapping[str, Any]], name: str, scheduler: str | None
) -> Sampling:
    """Return the sampler and schedule for the names of a request: unknown ones fall back silently.

    A sampler is known by its exact name only, not by an alias or in another case. An unknown one becomes the first of
    the list, an unknown scheduler "Automatic"; "DPM++ 2M Karras" is taken apart; "Automatic" is the sampler's own
    schedule where it has one.
    """
    chosen = next((entry for entry in schedulers if scheduler in (entry["name"], entry["label"])), schedulers[0])
    for entry in schedulers:
        for option in (entry["label"], entry["name"], *(entry["aliases"] or ())):
            if name.endswith(f" {option}") and not _find_sampler(samplers, name):
                chosen, name = entry, name.removesuffix(f" {option}")
    sampler = _find_sampler(samplers, name) or samplers[0]
    own = (sampler.get("options") or {}).get("scheduler")
    if chosen["name"] == "automatic" and own:
        chosen = next(entry for entry in schedulers if entry["name"] == own)
    schedule_field = None if chosen["name"] == "automatic" else chosen["label"]
    return Sampling(sampler["name"], chosen["label"], schedule_field)


def _find_sampler(samplers: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((entry for entry in samplers if name == entry["name"]), None)


def write_infotext(prompt: str, negative: str, fields: Mapping[str, Any]) -> str:
    """Return prompt, negative prompt if any, and a line of `name: value`; None is left out, commas are quoted."""
    listed = ", ".join(f"{name}: {_quote(value)}" for name, value in fields.items() if value is not None)
    return f"{prompt}\nNegative prompt: {negative}\n{listed}" if negative else f"{prompt}\n{listed}"


def _quote(value: Any) -> str:
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",:\n") else text


def read_infotext(text: str) -> dict[str, Any]:
    """Return the fields of an infotext as /png-info gives them: strings, sizes taken apart. Empty for an empty text."""
    if not text:
        return {}
    *head, last = text.strip().split("\n")
    if len(_FIELD.findall(last)) < 3:  # noqa: PLR2004 - as the WebUI decides that there is no such line
        head, last = [*head, last], ""
    prompt, _, negative = "\n".join(head).partition("\nNegative prompt:")
    found: dict[str, Any] = {}
    for name, value in _FIELD.findall(last):
        plain = json.loads(value) if value.startswith('"') else value
        size = _SIZE.match(plain)
        found |= {f"{name}-1": size[1], f"{name}-2": size[2]} if size else {name: plain}
    return found | {"Prompt": prompt.strip(), "Negative prompt": negative.strip()}
