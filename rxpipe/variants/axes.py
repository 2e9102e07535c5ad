"""Axes of variants: sweeps over settings, with values as people write them, and words that others replace."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config import STAGE_SECTIONS, CustomConfig, PipelineConfig
from rxpipe.config.fields import kinds_at
from rxpipe.config.reading import given_value
from rxpipe.errors import ConfigError, suggestion
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.plan import StageExecutionPlan

__all__ = ["Axis", "replacement_axis", "short", "sweep_axis"]

_NUMBER = r"[-+]?\d+(?:\.\d+)?"
_STEPPED = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*(?:\(\s*([-+]\d+(?:\.\d+)?)\s*\))?\s*")
_COUNTED = re.compile(rf"\s*({_NUMBER})\s*-\s*({_NUMBER})\s*\[\s*(\d+)\s*\]\s*")
_MOST_VALUES = 100_000
_RUN_ONLY = frozenset({"images", "batch_size", "enabled", "on_error", "on_interrupted"})
_CHECKPOINTS = frozenset({"model", "vae", "modules", "checkpoint"})


class Axis(NamedTuple):
    """One thing that varies. name: the setting, such as "txt2img.cfg_scale", or the word. values: what it takes.

    stage: index of the stage in the plan, keys: of the setting in its section; None and () for a word.
    """

    name: str
    values: tuple[Any, ...]
    stage: int | None = None
    keys: tuple[str, ...] = ()

    @property
    def switches_checkpoint(self) -> bool:
        """Whether each value costs the loading of a model, so that it changes last."""
        return bool(self.keys) and self.keys[-1] in _CHECKPOINTS


def sweep_axis(name: str, values: object, plan: StageExecutionPlan) -> Axis:
    """Return the axis of a sweep.

    Args:
        name: "stage.setting", or a setting alone for the first stage that has it.
        values: a list; or a text of values with commas between them, and ranges: "5-9", "1-10 (+3)", "1-10 [4]".
        plan: whose stages have the setting.

    Raises:
        ConfigError: there is no such stage or setting, or a range has no value.
    """
    stage, keys = _place(name, plan)
    section = plan.stages[stage].config.section
    listed = _texts(values, name) if isinstance(values, str) else values
    if not isinstance(listed, list | tuple) or not listed:
        raise ConfigError([f"sweep {name}: got {cut(str(values))}; give values, such as {name}=5,7,9"])
    kinds = kinds_at(PipelineConfig, (section, *keys))
    whole = int in kinds and float not in kinds
    read = [_read(each, kinds, whole=whole, name=name) if isinstance(each, str) else [each] for each in listed]
    flat = tuple(dict.fromkeys(_hashable(value) for part in read for value in part))
    return Axis(f"{plan.stages[stage].stage_type}.{'.'.join(keys)}", flat, stage, keys)


def replacement_axis(words: Sequence[str], texts: Sequence[str]) -> Axis:
    """Return the axis of a search: the first of *words* is replaced by each of them, itself included.

    Raises:
        ConfigError: there are fewer than two words, or the first stands in none of *texts*.
    """
    if len(words) < 2 or not words[0]:  # noqa: PLR2004  # the word and another
        raise ConfigError([f"replace {', '.join(words)}: give the word and at least one other, such as mill,castle"])
    if not any(words[0] in text for text in texts):
        raise ConfigError([f"replace {', '.join(words)}: {words[0]!r} stands in no prompt"])
    return Axis(words[0], tuple(dict.fromkeys(words)))


def short(name: str) -> str:
    """Return the last part of an axis's name, as file names and sheets show it."""
    return name.rpartition(".")[2]


def _hashable(value: Any) -> Any:
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _place(name: str, plan: StageExecutionPlan) -> tuple[int, tuple[str, ...]]:
    types = [str(stage.stage_type) for stage in plan.stages]
    first, *rest = name.split(".")
    if first in types and rest:
        stage, keys = types.index(first), tuple(rest)
        config = plan.stages[stage].config
        if isinstance(config, CustomConfig):
            raise ConfigError([f"sweep {name}: {first} is a stage of your own, whose arguments are fixed in its chain"])
        if rest[0] not in type(config).model_fields:
            raise ConfigError([f"sweep {name}: unknown setting; {suggestion(rest[0], type(config).model_fields)}"])
    else:
        taking = (n for n, each in enumerate(plan.stages) if first in type(each.config).model_fields)
        found = next((n for n in taking if not isinstance(plan.stages[n].config, CustomConfig)), None)
        if found is None:
            allowed = [*types, *(f for n in plan.stages for f in type(n.config).model_fields)]
            known = f"{first} does not run; the stages are {', '.join(types)}" if first in STAGE_SECTIONS else ""
            raise ConfigError([f"sweep {name}: {known or 'unknown setting; ' + suggestion(first, allowed)}"])
        stage, keys = found, (first, *rest)
    if keys[0] in _RUN_ONLY:
        raise ConfigError([f"sweep {name}: {keys[0]} says how a run is made and cannot differ within it"])
    return stage, keys


def _texts(values: str, name: str) -> list[str]:
    try:
        rows = list(csv.reader([values.replace("\n", " ")], skipinitialspace=True, strict=True))
    except csv.Error as error:
        raise ConfigError([f"sweep {name}: {cut(values)}: {error}"]) from None
    return [each.strip() for each in rows[0]] if rows else []


def _read(text: str, kinds: set[object], *, whole: bool, name: str) -> list[Any]:
    if not kinds & {int, float}:
        return [given_value(text, kinds)]
    if stepped := _STEPPED.fullmatch(text):
        return _steps(float(stepped[1]), float(stepped[2]), float(stepped[3] or 1), whole=whole, name=name)
    if counted := _COUNTED.fullmatch(text):
        return _spread(float(counted[1]), float(counted[2]), int(counted[3]), whole=whole, name=name)
    return [given_value(text, kinds)]


def _steps(first: float, last: float, step: float, *, whole: bool, name: str) -> list[Any]:
    step = -step if step > 0 > last - first and step == 1 else step
    if not step or (last - first) * step < 0:
        raise ConfigError([f"sweep {name}: no value lies between {first:g} and {last:g} in steps of {step:+g}"])
    count = int((last - first) / step + 1e-9) + 1
    return _numbers([first + number * step for number in range(_checked(count, name))], whole=whole)


def _spread(first: float, last: float, count: int, *, whole: bool, name: str) -> list[Any]:
    if count < 1:
        raise ConfigError([f"sweep {name}: a range of {count} values"])
    if count == 1:
        return _numbers([first], whole=whole)
    step = (last - first) / (_checked(count, name) - 1)
    return _numbers([first + number * step for number in range(count)], whole=whole)


def _checked(count: int, name: str) -> int:
    if count > _MOST_VALUES:
        raise ConfigError([f"sweep {name}: a range of {count} values; at most {_MOST_VALUES}"])
    return count


def _numbers(values: list[float], *, whole: bool) -> list[Any]:
    return [round(value) if whole or value.is_integer() else round(value, 6) for value in values]


def with_changes(section: Mapping[str, Any], keys: tuple[str, ...], value: Any) -> dict[str, Any]:
    """Return the values of a section with that of the setting at *keys* changed."""
    inner = section.get(keys[0])
    if len(keys) == 1:
        return {**section, keys[0]: value}
    return {**section, keys[0]: with_changes(inner if isinstance(inner, dict) else {}, keys[1:], value)}
