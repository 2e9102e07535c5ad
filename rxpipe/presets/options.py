"""Apply options to the values of a config: `--stages`, `--prompt`, `--set stage.key=value`. Pure.

An option such as a prompt goes to the first stage that runs and takes it; later stages inherit it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rxpipe.config import STAGE_SECTIONS, override
from rxpipe.config.reading import parse_assignment
from rxpipe.errors import ConfigError, suggestion
from rxpipe.presets.handing import handed_on
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_NONE: Mapping[str, object] = MappingProxyType({})


_OPTIONS = {"denoising_strength": "--denoise", "sampler_name": "--sampler", "embed": "--metadata"}


def option_of(setting: str) -> str:
    """Return the option of the command line that sets *setting*."""
    return _OPTIONS.get(setting) or "--" + setting.replace("_", "-")


def stage_that_takes(name: str, stages: Iterable[str]) -> str | None:
    """Return the first of *stages* that has a setting called *name*; None where none has."""
    return next((stage for stage in stages if name in STAGE_SECTIONS[stage].model_fields), None)


def check_twice(sets: Sequence[str]) -> None:
    """Refuse two assignments to one setting, of which the later would win in silence.

    Raises:
        ConfigError: names each such setting with its values.
    """
    given: dict[str, list[str]] = {}
    for assignment in sets:
        keys, text = parse_assignment(assignment)
        given.setdefault(".".join(keys), []).append(cut(text))
    if twice := [
        f"--set {key}: is given {len(texts)} times ({', '.join(texts)}); give it once"
        for key, texts in given.items()
        if len(texts) > 1
    ]:
        raise ConfigError(twice)


def apply(
    values: Mapping[str, object],
    *,
    stages: Sequence[str] | None = None,
    generation: Mapping[str, object] = _NONE,
    settings: Mapping[str, object] = _NONE,
    sets: Sequence[str] = (),
) -> dict[str, Any]:
    """Return *values*, which stay as they are, with options applied; of the stages only those that run are left.

    What these would have inherited from a stage that an option leaves out is among their settings.

    Args:
        values: of a config, unchecked.
        stages: names in order, switched on if need be; None for those of *values* that are not switched off.
        generation: settings of stages by name; each goes to the first stage that runs and takes it.
        settings: of the run as a whole. Pictures under "input" replace txt2img unless *stages* names it.
        sets: "stage.key=value" each; any other option precedes them.

    Raises:
        ConfigError: names every stage, option and assignment that cannot be applied, as options of a command line.
    """
    changed: dict[str, Any] = {**override(values, sets), **settings}
    if stages is None:
        skipped = {"txt2img"} if settings.get("input") else set()
        names = [name for name in STAGE_SECTIONS if _is_enabled(changed.get(name)) and name not in skipped]
        _check_switched_off(changed, sets)
    else:
        _check_stages(stages, sets)
        names = list(stages)
    for name in STAGE_SECTIONS:
        if name in names:
            changed[name] = _as_section(changed.get(name), switch_on=stages is not None)
        else:
            changed.pop(name, None)
    changed |= handed_on(left_out(values, changed, sets), changed)[0]
    _assign(changed, names, generation)
    return changed


def left_out(
    values: Mapping[str, object], applied: Mapping[str, object], sets: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Return the sections of the stages that run by *values* and, with the options, no longer by *applied*.

    Args:
        values, sets: as of `apply`. applied: what it returned.
    """
    before = override(values, sets)
    stages = [name for name in STAGE_SECTIONS if name not in applied]
    return {
        name: section
        for name in stages
        if isinstance(section := before.get(name), dict) and (_is_enabled(values.get(name)) or _is_enabled(section))
    }


def _assign(values: dict[str, Any], stages: Sequence[str], generation: Mapping[str, object]) -> None:
    problems = []
    for name, value in generation.items():
        stage = stage_that_takes(name, stages)
        if stage is None:
            problems.append(
                f"{option_of(name)}: none of the stages that run takes it ({', '.join(stages) or 'none runs'})"
            )
        elif isinstance(values[stage], dict):
            before = values[stage].get(name)
            values[stage][name] = {**before, **value} if isinstance(before, dict) and isinstance(value, dict) else value
    if problems:
        raise ConfigError(problems)


def _check_switched_off(values: Mapping[str, object], sets: Sequence[str]) -> None:
    """Refuse an assignment to a stage that is switched off, which would change nothing."""
    problems = []
    for assignment in sets:
        stage, *keys = parse_assignment(assignment).keys
        switches = keys == ["enabled"] or not keys  # as --set upscale=null does
        if stage in STAGE_SECTIONS and not switches and not _is_enabled(values.get(stage)):
            problems.append(
                f"--set {cut(assignment)}: {stage} is switched off; add --set {stage}.enabled=true, or leave this out"
            )
    if problems:
        raise ConfigError(problems)


def _is_enabled(section: object) -> bool:
    """Whether a section is there and not switched off; one that is no table is kept, for the config to refuse."""
    if isinstance(section, dict):
        return section.get("enabled", True) is not False
    return section is not None


def _as_section(section: object, *, switch_on: bool) -> object:
    """Return a table of its own; one whose stage was named is switched on."""
    if section is None:
        return {}
    if not isinstance(section, dict):
        return section
    return {**section, "enabled": True} if switch_on and "enabled" in section else dict(section)


def _check_stages(names: Sequence[str], sets: Sequence[str]) -> None:
    problems = [
        f"--stages: there is no stage {name!r}; {suggestion(name, STAGE_SECTIONS)}"
        for name in names
        if name not in STAGE_SECTIONS
    ]
    if problems:
        raise ConfigError(problems)
    in_order = [name for name in STAGE_SECTIONS if name in names]
    if list(names) != in_order:
        raise ConfigError(
            [f"--stages {','.join(names)}: each stage runs once, in the order {', '.join(STAGE_SECTIONS)}."],
            hint=f"Write --stages {','.join(in_order)}, or compose another order in code with rxpipe.chain(...).",
        )
    unused = {parse_assignment(assignment).keys[0] for assignment in sets} & STAGE_SECTIONS.keys() - set(names)
    if unused:
        listed = ", ".join(name for name in STAGE_SECTIONS if name in unused)
        raise ConfigError([f"--set changes {listed}, which --stages {','.join(names)} leaves out"])
