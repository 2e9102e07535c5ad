"""Write what to run in the shape of a preset file: settings of the run, and a section for each stage."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from rxpipe.config import SECTIONS, PipelineConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import JsonValue

    from rxpipe.config import RunSettings, StageConfig


class _PlannedStage(Protocol):
    @property
    def stage_type(self) -> str: ...
    @property
    def config(self) -> StageConfig: ...


class Planned(Protocol):
    """What `dump` reads of a StageExecutionPlan."""

    @property
    def settings(self) -> RunSettings:
        """Of the run as a whole."""
        ...

    @property
    def stages(self) -> Sequence[_PlannedStage]:
        """In their order."""
        ...


def dump(what: PipelineConfig | Planned) -> dict[str, JsonValue]:
    """Return plain JSON values that a preset file holds: everything that was set, and no defaults.

    Of a plan, a second stage of the same type is "upscale 2", and a custom stage has its name; a file that holds such a
    section is a record, which no config can be read from.
    """
    if isinstance(what, PipelineConfig):
        values: dict[str, JsonValue] = what.model_dump(mode="json", exclude_unset=True)
        return {name: value for name, value in values.items() if value is not None or name not in SECTIONS}
    values = what.settings.model_dump(mode="json", exclude_unset=True)
    seen: Counter[str] = Counter()
    for stage in what.stages:
        seen[stage.stage_type] += 1
        number = seen[stage.stage_type]
        name = stage.stage_type if number == 1 else f"{stage.stage_type} {number}"
        values[name] = json.loads(stage.config.model_dump_json(exclude_unset=True))
    return values
