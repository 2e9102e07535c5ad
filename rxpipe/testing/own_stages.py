"""Stages of the user's own in an exported run: the code the user names, or a function that stands in for theirs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rxpipe.config import CustomConfig
from rxpipe.plan import StageType
from rxpipe.testing.clock import MarbleError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.plan import StageExecutionPlan


def own_config(name: str) -> CustomConfig:
    """Return the section of a stage that is known by its name alone."""
    return CustomConfig(name=name, kind="function")


class OwnStages:
    """The stages of a recorded run that are none of rxpipe's.

    Args:
        events: of the run, RunStart first.
        plan: None where only events are known; a stage then counts as a function.
        code: what makes a stage, by its name.

    Raises:
        MarbleError: an operator stage that *code* does not make.
    """

    def __init__(self, events: Sequence[Any], plan: StageExecutionPlan | None, code: Mapping[str, str]) -> None:
        self.names = {stage for stage in events[0].stages if stage not in set(StageType)}
        self._code = {**{name: f"{_identifier(name)}()" for name in self.names}, **code}
        self._stand_ins = sorted(self.names - code.keys())
        self._failed = {name: _failed_in(events, name) for name in self._stand_ins}
        operators = {stage.stage_type for stage in plan.stages if _is_operator(stage.config)} if plan else set()
        for name in sorted(operators & set(self._stand_ins)):
            raise MarbleError(
                f"The run has an operator of your own, {name}, whose function no record can carry.",
                hint=f'Say what makes it: to_marbles(..., stages={{"{name}": "my_operator()"}}).',
            )

    def definitions(self) -> list[str]:
        """Return the functions that stand in for those of the user, as lines of code."""
        lines = []
        for name in self._stand_ins:
            lines += ["", "", f'@rxp.image_stage(name="{name}")', f"def {_identifier(name)}(artifact):"]
            lines += [f'    """Stands in for your stage {name}: hands each image on."""']
            if self._failed[name]:
                lines += [f"    if artifact.number in {self._failed[name]}:", '        raise ValueError("as recorded")']
            lines += ["    return artifact.to_image()"]
        return lines

    def in_code(self, lines: Sequence[str]) -> list[str]:
        """Return the lines of a chain with each stage of the user's own made by its code."""
        made = {f"            {name},": f"            {code}," for name, code in self._code.items()}
        return [made.get(line, line) for line in lines]


def _is_operator(config: Any) -> bool:
    return isinstance(config, CustomConfig) and config.kind == "operator"


def _identifier(name: str) -> str:
    return re.sub(r"\W", "_", name)


def _failed_in(events: Sequence[Any], name: str) -> set[int]:
    """Return the numbers of the images that failed in a stage."""
    return {
        event.image_index
        for event in events
        if event.kind == "stage_image_progress" and event.stage_type == name and event.outcome != "done"
    }
