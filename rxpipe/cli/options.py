"""The options of `rxpipe run` as a PipelineConfig.

The base is a config file, a picture made earlier, or the four stages of a first try; options override it. A generation
option (`--prompt`, `--steps`, ...) is assigned to the first stage that has the field; later stages inherit it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS, PipelineConfig, override, read_values
from rxpipe.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif", ".gif"})

_FIRST_TRY: Mapping[str, Mapping[str, object]] = {
    "txt2img": {"prompt": "portrait of a woman by the sea, evening light", "images": 2},
    "img2img": {"denoising_strength": 0.25},
    "adetailer": {},
    "upscale": {"scale": 2},
}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options of `rxpipe run`.

    source: a config file or a picture; None for the four stages of a first try.
    generation: txt2img's names to values, of the options that were given. settings: of the run as a whole, likewise.
    stages: names in order, None for those of the source. assignments: "stage.key=value" each.
    """

    source: Path | None = None
    generation: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    input: Sequence[Path] = ()
    stages: Sequence[str] | None = None
    assignments: Sequence[str] = ()

    def config(self) -> PipelineConfig:
        """Return the config that these options result in.

        Raises:
            ConfigError: names everything that is wrong and what is allowed.
            BadImage: the picture to run again cannot be read.
        """
        values = {**override(self._base_values(), self.assignments), **self.settings}
        if self.input:
            values["input"] = [str(path) for path in self.input]
        names = self._chosen(values)
        for name in SECTIONS.keys() - set(names):
            values.pop(name, None)
        for name in names:
            values[name] = _as_section(values.get(name), whole=self.stages is not None)
        self._assign_options(values, names)
        return PipelineConfig.from_mapping(values, source=self.source.name if self.source else "")

    def _base_values(self) -> dict[str, Any]:
        if self.source is None:
            return {name: dict(section) for name, section in _FIRST_TRY.items()}
        if self.source.suffix.lower() in PICTURES:
            from rxpipe.presets.picture import recall  # noqa: PLC0415  # needed only to run a picture again

            return recall(self.source)
        if not self.source.suffix and not self.source.is_file():
            raise ConfigError(
                [f"{self.source}: no such config file or picture."], hint='To generate it: rxpipe run --prompt "..."'
            )
        return dict(read_values(self.source))

    def _chosen(self, values: Mapping[str, object]) -> list[str]:
        """Return the stages that run, in order."""
        if self.stages is None:
            skipped = {"txt2img"} if self.input else set()
            return [name for name in SECTIONS if _enabled(values.get(name)) and name not in skipped]
        _check_stages(self.stages)
        unused = {a.partition(".")[0].strip() for a in self.assignments} & SECTIONS.keys() - set(self.stages)
        if unused:
            names = ", ".join(name for name in SECTIONS if name in unused)
            raise ConfigError([f"--set changes {names}, which --stages {','.join(self.stages)} leaves out"])
        return list(self.stages)

    def _assign_options(self, values: dict[str, Any], names: Sequence[str]) -> None:
        problems = []
        for key, value in self.generation.items():
            stage = next((name for name in names if key in SECTIONS[name].model_fields), None)
            if stage is None:
                option = "--" + key.removesuffix("_name").replace("_", "-")
                problems.append(f"{option}: none of the stages that run takes it ({', '.join(names) or 'none runs'})")
            elif isinstance(values[stage], dict):
                values[stage][key] = value
        if problems:
            raise ConfigError(problems)


def _enabled(section: object) -> bool:
    """Return whether a section exists and is enabled; one that is no table is kept, for the config to reject."""
    if isinstance(section, dict):
        return section.get("enabled", True) is not False
    return section is not None


def _as_section(section: object, *, whole: bool) -> object:
    """Return a copy of the section; one that was requested by name is enabled."""
    if section is None:
        return {}
    if not isinstance(section, dict):
        return section
    return {**section, "enabled": True} if whole and "enabled" in section else dict(section)


def _check_stages(names: Sequence[str]) -> None:
    problems = [
        f"--stages: there is no stage {name!r}; {suggestion(name, SECTIONS)}" for name in names if name not in SECTIONS
    ]
    if problems:
        raise ConfigError(problems)
    in_order = [name for name in SECTIONS if name in names]
    if list(names) != in_order:
        raise ConfigError(
            [f"--stages {','.join(names)}: each stage runs once, in the order {', '.join(SECTIONS)}."],
            hint=f"Write --stages {','.join(in_order)}, or compose another order in code with rxpipe.chain(...).",
        )
