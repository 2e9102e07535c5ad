"""A plan as text, and back: the sections in order and the settings of the run, with nothing but what was set.

What was set and what is a default must stay apart: a backend sends only the former.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS, CustomConfig, RunSettings
from rxpipe.plan import StageExecutionPlan, plan_stages

if TYPE_CHECKING:
    from rxpipe.plan import SectionConfig

__all__ = ["plan_from_text", "plan_to_text"]


def plan_to_text(plan: StageExecutionPlan) -> str:
    """Return a plan as one line of JSON in ASCII."""
    stages = [[stage.config.section, _values(stage.config)] for stage in plan.stages]
    return json.dumps({"settings": _values(plan.settings), "stages": stages})


def plan_from_text(text: str) -> StageExecutionPlan:
    """Return the plan in a text of `plan_to_text`; ValueError (pydantic's and json's are) if it holds none."""
    values = json.loads(text)
    sections = [_section(name, settings) for name, settings in values["stages"]]
    return plan_stages(sections, RunSettings.model_validate(values["settings"]))


def _values(config: Any) -> dict[str, Any]:
    values: dict[str, Any] = config.model_dump(mode="json", exclude_unset=True)
    return values


def _section(name: str, settings: dict[str, Any]) -> SectionConfig:
    return (SECTIONS.get(name) or CustomConfig).model_validate(settings)  # type: ignore[return-value]  # the table's types are wider
