"""Variants: what each image of a run with variants is drawn with, computed from its number."""

from __future__ import annotations

import copy
import functools
import itertools
import math
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.artifact import VARIANT
from rxpipe.errors import ConfigError
from rxpipe.plan import PlannedImages, StageExecution, images_each, plan_stages
from rxpipe.variants.axes import Axis, replacement_axis, short, sweep_axis, with_changes
from rxpipe.variants.choices import Combinations
from rxpipe.variants.syntax import parse_prompt
from rxpipe.variants.wildcards import Wildcards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rxpipe.config import VariantsConfig
    from rxpipe.plan import SectionConfig, StageExecutionPlan

__all__ = ["Variant", "Variants"]

_PROMPTS = ("prompt", "negative_prompt")
_CHECKED, _CHECKED_PROMPTS = 1_000, 100  # combinations of names, and variants, that a backend checks before a run
_KEPT = 64  # variants whose stages are kept, so that the stages of one image are planned once


class Variant(NamedTuple):
    """One variant. number: 1... values: what it has on each axis, by name, in the order of the axes.

    changes: the settings that differ from the plan's, by index of the stage and keys within its section.
    """

    number: int
    values: Mapping[str, Any]
    changes: Mapping[tuple[int, tuple[str, ...]], Any]


class _Prompt(NamedTuple):
    """A prompt that varies. place: index of its stage, and its name there. name: of its axis."""

    place: tuple[int, tuple[str, ...]]
    name: str
    text: str
    combinations: Combinations


class Variants(PlannedImages):
    """The variants of a plan. The first axes change last; those that load another model change last of all.

    count: planned images, of all variants. variants: how many those are.

    Args:
        plan: of one variant.
        config: what varies.

    Raises:
        ConfigError: lists what is wrong with prompts, axes and values; or there are more variants than the limit.
    """

    def __init__(self, plan: StageExecutionPlan, config: VariantsConfig) -> None:
        self._plan, self._config = plan, config
        self._each = images_each(plan)  # images of a prompt, or of each input picture
        slots = {name: tuple(values) for name, values in config.slots.items()}
        self._prompts = self._read_prompts(slots)
        self._axes = self._read_axes(slots)
        self._random = config.mode == "random"
        settings = math.prod(len(axis.values) for axis in self._axes)
        if self._random and config.count and config.count > 1 and not self._prompts:
            raise ConfigError(
                [f"{config.count} prompts by chance are asked for, and no prompt has alternatives"],
                hint="Write some, such as {dawn|dusk}, or take --random (variants.count) out.",
            )
        if self._random:
            prompts = config.count or self._each
            self._each = self._each if config.count else 1
        else:
            prompts = math.prod(each.combinations.count for each in self._prompts)
        self.variants = settings * prompts
        if self.variants > config.limit:
            raise ConfigError(
                [f"variants: {self._sizes(prompts)} are {self.variants:,}; the limit is {config.limit:,}"],
                hint="Raise it (--limit, variants.limit), or take some by chance: --random 100.",
            )
        self._inputs = max(1, len(plan.settings.input))
        self.count = self.variants * self._inputs * self._each
        self._seed = config.seed if config.seed is not None else (plan.seed if plan.seed is not None else 0)
        self._executions = functools.lru_cache(_KEPT)(self._planned)
        self._check_values()

    # -- what varies --------------------------------------------------------------------------------------------------

    def _read_prompts(self, slots: Mapping[str, object]) -> list[_Prompt]:
        wildcards = Wildcards(self._config.wildcards)
        found, problems = list[_Prompt](), list[str]()
        hint = None
        for stage in self._plan.stages:
            for name in _PROMPTS:
                text = getattr(stage.config, name, None)
                if not isinstance(text, str) or not text:
                    continue
                where = f"{stage.stage_type}.{name}"
                try:
                    read = Combinations(parse_prompt(text, where), wildcards, where, slots)
                except ConfigError as error:
                    problems += error.problems
                    hint = error.hint
                    continue
                if read.count > 1 or read.slots or read.nth(0, {}) != text:
                    found.append(_Prompt((stage.stage_index, (name,)), where, text, read))
        if problems:
            raise ConfigError(problems, hint=hint)
        return found

    def _read_axes(self, slots: Mapping[str, tuple[str, ...]]) -> list[Axis]:
        used = dict.fromkeys(name for each in self._prompts for name in each.combinations.slots)
        if unused := [name for name in slots if name not in used]:
            listed = ", ".join(f"[[{name}]]" for name in unused)
            raise ConfigError(
                [f"{listed} stands in no prompt, and has values"],
                hint="Write it into a prompt, or leave its values out (--slot, [variants.slots]).",
            )
        texts = [str(getattr(stage.config, name, None) or "") for stage in self._plan.stages for name in _PROMPTS]
        axes = [Axis(name, slots[name]) for name in used]
        axes += [replacement_axis(words, texts) for words in self._config.replace]
        axes += [sweep_axis(name, values, self._plan) for name, values in self._config.sweep.items()]
        return sorted(axes, key=lambda axis: not axis.switches_checkpoint)

    def _sizes(self, prompts: int) -> str:
        parts = [f"{prompts:,} prompts"] if prompts > 1 else []
        return " x ".join([*parts, *(f"{len(axis.values)} {short(axis.name)}" for axis in self._axes)])

    def _check_values(self) -> None:
        """Plan with each value of each axis once, so that a wrong one is an error before anything is drawn."""
        problems: list[str] = []
        for axis in self._axes:
            stage = axis.stage
            for value in axis.values if stage is not None else ():
                try:
                    self._sections({(stage or 0, axis.keys): value})
                except ConfigError as error:
                    problems += [f"sweep {line}" for line in error.problems]
        if problems:
            raise ConfigError(list(dict.fromkeys(problems)))

    # -- one of them --------------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Variant]:
        return map(self.variant, range(1, self.variants + 1))

    def seeded(self, seed: int) -> Variants:
        """Return the variants of a run: what is chosen by chance follows its seed, unless the config has one."""
        if self._config.seed is not None:
            return self
        made = copy.copy(self)
        made._seed = seed  # noqa: SLF001  # of this class
        made._executions = functools.lru_cache(_KEPT)(made._planned)  # noqa: SLF001  # as above
        return made

    @property
    def axes(self) -> Mapping[str, tuple[Any, ...]]:
        """The axes by name, with their values, in order; prompts with alternatives are none."""
        return {axis.name: axis.values for axis in self._axes}

    def variant(self, number: int) -> Variant:
        """Return the variant *number*, 1 to `variants`."""
        index, picked = number - 1, list[Any]()
        inner = [axis for axis in self._axes if not axis.switches_checkpoint]
        outer = [axis for axis in self._axes if axis.switches_checkpoint]
        for axis in reversed(inner):
            index, at = divmod(index, len(axis.values))
            picked.append(axis.values[at])
        prompts = self.variants // math.prod(len(axis.values) for axis in self._axes)
        index, prompt = divmod(index, prompts)
        for axis in reversed(outer):
            index, at = divmod(index, len(axis.values))
            picked.append(axis.values[at])
        return self._made(number, prompt, dict(zip(self._axes, reversed(picked), strict=True)))

    def _made(self, number: int, prompt: int, picked: Mapping[Axis, Any]) -> Variant:
        slots = {axis.name: str(value) for axis, value in picked.items() if axis.stage is None}
        texts: dict[tuple[int, tuple[str, ...]], str] = {}
        if self._random:
            chance = random.Random(f"{self._seed}/{prompt}")  # noqa: S311  # pictures are no secrets
            texts = {each.place: each.combinations.chosen(chance, slots) for each in self._prompts}
        else:
            for each in reversed(self._prompts):
                prompt, at = divmod(prompt, each.combinations.count)
                texts[each.place] = each.combinations.nth(at, slots)
        changes: dict[tuple[int, tuple[str, ...]], Any] = dict(texts)
        for axis, value in picked.items():
            if axis.stage is not None:
                changes[axis.stage, axis.keys] = value
            elif not self._is_slot(axis):
                self._replace(changes, axis.name, str(value))
        values = {axis.name: value for axis, value in picked.items()}
        values |= {each.name: texts[each.place] for each in self._prompts if each.combinations.count > 1}
        return Variant(number, values, changes)

    def _is_slot(self, axis: Axis) -> bool:
        return axis.name in self._config.slots

    def _replace(self, changes: dict[tuple[int, tuple[str, ...]], Any], word: str, other: str) -> None:
        for stage in self._plan.stages:
            for name in _PROMPTS:
                place = (stage.stage_index, (name,))
                text = changes.get(place, getattr(stage.config, name, None))
                if isinstance(text, str) and word in text:
                    changes[place] = text.replace(word, other)

    # -- an image -----------------------------------------------------------------------------------------------------

    def execution(self, planned: StageExecution, number: int) -> StageExecution:
        """Return a stage with the settings of the variant that the planned image *number* belongs to."""
        varied = self._executions(self._number_of(number))[planned.stage_index]
        return varied.model_copy(update={"group": planned.group})

    def checked(self, plan: StageExecutionPlan) -> StageExecutionPlan:
        """Return the plan with its stages for every value of a sweep, in all combinations of those that are no numbers.

        Of more than 1,000 it has the first; LoRAs in prompts are those of the first 100 variants.
        """
        named = [axis for axis in self._axes if axis.stage is not None and not all(map(_is_number, axis.values))]
        first = self.variant(1).changes
        prompts = [str(getattr(stage.config, name, None)) for stage in plan.stages for name in _PROMPTS]
        networks = self.variants if any("<" in prompt for prompt in prompts) else 0  # such as <lora:detail:0.8>
        drawn = [self._executions(number) for number in range(1, min(networks, _CHECKED_PROMPTS) + 1)]
        for values in itertools.islice(itertools.product(*(axis.values for axis in named)), _CHECKED):
            own = {(axis.stage or 0, axis.keys): value for axis, value in zip(named, values, strict=True)}
            drawn.append(self._stages({**first, **own}))
        stages = {repr(stage): stage for each in drawn for stage in each}
        return plan.model_copy(update={"stages": tuple(stages.values())})

    def seed_offset(self, number: int) -> int:
        """Return what is added to a stage's seed: by `seeds` of the config."""
        if self._config.seeds == "counted":
            return number - 1
        return 0 if self._config.seeds == "fixed" else (number - 1) % (self._inputs * self._each)

    def first_seed(self, seed: int, number: int) -> int:
        """Return the seed that an image begins with: of its variant, where that has one."""
        own = self._executions(self._number_of(number))[0].seed
        return (seed if own is None else own) + self.seed_offset(number)

    def largest_seed(self, planned: StageExecution, images: int) -> int | None:
        """Return the largest seed that a stage gives to one of *images*, over all values that it takes."""
        swept = (axis.values for axis in self._axes if (axis.stage, axis.keys) == (planned.stage_index, ("seed",)))
        seed = max((value for values in swept for value in values if isinstance(value, int)), default=planned.seed)
        offsets = {"counted": images, "fixed": 1, "per_image": min(images, self._inputs * self._each)}
        return None if seed is None else seed + offsets[self._config.seeds] - 1

    def metadata(self, number: int) -> Mapping[str, object]:
        """Return the variant's number and its value on each axis."""
        variant = self.variant(self._number_of(number))
        return {VARIANT: {"number": variant.number, **variant.values}}

    def _number_of(self, number: int) -> int:
        return (number - 1) // (self._inputs * self._each) + 1

    def _planned(self, number: int) -> tuple[StageExecution, ...]:
        return self._stages(self.variant(number).changes)

    def _stages(self, changes: Mapping[tuple[int, tuple[str, ...]], Any]) -> tuple[StageExecution, ...]:
        return plan_stages(self._sections(changes), self._plan.settings).stages

    def _sections(self, changes: Mapping[tuple[int, tuple[str, ...]], Any]) -> list[SectionConfig]:
        sections: list[SectionConfig] = []
        for stage in self._plan.stages:
            own = {keys: value for (index, keys), value in changes.items() if index == stage.stage_index}
            config: Any = stage.config
            if own:
                values = config.model_dump(exclude_unset=True)
                for keys, value in own.items():
                    values = with_changes(values, keys, value)
                config = type(config).model_validate(values)
            sections.append(config)
        return sections


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
