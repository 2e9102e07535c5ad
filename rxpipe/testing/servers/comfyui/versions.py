"""Which release of ComfyUI the server is: what it knows and since when, and the three that were recorded."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

Feature = Literal[
    "client ids",
    "feature flags",
    "progress state",
    "error tips",
    "partial targets",
    "typed lists",
    "targeted interrupt",
    "interrupt within a step",
    "create time",
    "preview method",
    "jobs",
    "missing node type",
    "fetch site check",
    "named cycles",
    "uuid ids",
    "job cancel",
    "face landmarks",
]

RECORDED = ("0.3.40", "0.3.64", "0.33.0")
"""The releases whose answers were recorded; another one takes the nearest older one's lists."""

_SINCE: dict[Feature, str] = {
    "client ids": "0.3.45",
    "feature flags": "0.3.45",
    "progress state": "0.3.45",
    "error tips": "0.3.45",
    "partial targets": "0.3.48",
    "typed lists": "0.3.48",
    "targeted interrupt": "0.3.57",
    "interrupt within a step": "0.3.66",
    "create time": "0.3.69",
    "preview method": "0.5.0",
    "jobs": "0.6.0",
    "missing node type": "0.12.0",
    "fetch site check": "0.19.0",
    "named cycles": "0.20.0",
    "uuid ids": "0.25.0",
    "job cancel": "0.26.0",
    "face landmarks": "0.23.0",
}
_LOSES_OUTPUTS = ("0.19.0", "0.28.0")  # first with the fault, first without


@dataclass(frozen=True, slots=True)
class Version:
    """A release of the server.

    text: such as "0.3.64".
    recorded: what the recorded release nearest below it answers: its lists, its system, its features.
    """

    text: str
    recorded: dict[str, Any]

    def has(self, feature: Feature) -> bool:
        """Return whether this release has a feature."""
        return _number(self.text) >= _number(_SINCE[feature])

    @property
    def is_newest(self) -> bool:
        """Whether its lists are those of the newest recorded release."""
        return _number(self.text) >= _number(RECORDED[-1])

    @property
    def loses_outputs(self) -> bool:
        """Whether a cached result of a job without a client has no outputs in the history."""
        low, high = _LOSES_OUTPUTS
        return _number(low) <= _number(self.text) < _number(high)


def load_version(text: str) -> Version:
    """Return a release by its number.

    Raises:
        ValueError: it is no number of a release, or older than the oldest recorded one.
    """
    oldest = RECORDED[0]
    if not re.fullmatch(r"\d+\.\d+\.\d+", text) or _number(text) < _number(oldest):
        raise ValueError(f"version must be a release from {oldest} on, such as {', '.join(RECORDED)}, not {text!r}")
    nearest = max((name for name in RECORDED if _number(name) <= _number(text)), key=_number)
    return Version(text, recorded_answers()["versions"][nearest])


@cache
def recorded_answers() -> dict[str, Any]:
    """Return the recorded lists: object_info by class, and what each recorded release answers."""
    data = resources.files(__package__).joinpath("data/recorded.json.gz").read_bytes()
    answers: dict[str, Any] = json.loads(gzip.decompress(data))
    return answers


def _number(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))
