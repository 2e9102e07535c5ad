"""The options of `rxpipe run`, as a PipelineConfig.

The base is a config file, a picture made earlier, or four default stages; options are applied on top of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS, PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.presets.options import apply, option_of, stage_that_takes
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_SIZE = re.compile(r"(\d{1,9})\s*[xX*×]\s*(\d{1,9})")  # noqa: RUF001  people write the sign

_FIRST_TRY: Mapping[str, Mapping[str, object]] = {
    "txt2img": {"prompt": "portrait of a woman by the sea, evening light", "images": 2},
    "img2img": {"denoising_strength": 0.25},
    "adetailer": {},
    "upscale": {"scale": 2},
}


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The options given to `rxpipe run`.

    source: a config file or a picture; None for four default stages.
    generation: settings of stages by name, of the options that were given. settings: of the run as a whole, likewise.
    size: "WIDTHxHEIGHT" in px, None where it was not given.
    stages: names in order, None for those of the source. assignments: "stage.key=value" each.
    trust: whether settings of a picture that do more than draw are used; None: refuse a picture that has some.
    """

    source: Path | None = None
    generation: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    size: str | None = None
    input: Sequence[Path] = ()
    stages: Sequence[str] | None = None
    assignments: Sequence[str] = ()
    trust: bool | None = None

    def config(self) -> PipelineConfig:
        """Return the config that these options describe.

        Raises:
            ConfigError: names everything that is wrong and what is allowed.
            BadImage: the picture to run again cannot be read.
        """
        pictures = {"input": [str(path) for path in self.input]} if self.input else {}
        values = apply(
            self._base_values(),
            stages=self.stages,
            generation={**self.generation, **self._size()},
            settings={**self.settings, **pictures},
            sets=self.assignments,
        )
        try:
            return PipelineConfig.from_mapping(values, source=self.source.name if self.source else "")
        except ConfigError as error:
            raise ConfigError([self._by_option(line, values) for line in error.problems], hint=error.hint) from error

    def _by_option(self, problem: str, values: Mapping[str, object]) -> str:
        """Return a problem of the config, named by the option whose value it is about."""
        source = f"{self.source.name}: " if self.source else ""
        stages = [name for name in SECTIONS if name in values]
        given = {f"{stage_that_takes(name, stages)}.{name}": option_of(name) for name in self.generation}
        given |= {name: option_of(name) for name in self.settings}
        given |= {"txt2img.hires.scale": "--hires"} if "hires" in self.generation else {}
        given |= {f"txt2img.{name}": "--size" for name in self._size()}
        for where, option in given.items():
            if problem.startswith(f"{source}{where}:"):
                return option + problem.removeprefix(f"{source}{where}")
        return problem

    def _size(self) -> Mapping[str, object]:
        if self.size is None:
            return {}
        parts = _SIZE.fullmatch(self.size.strip())
        if parts is None:
            raise ConfigError([f"--size: got {shown(self.size)}, should be WIDTHxHEIGHT in px, such as 768x512"])
        if both := [f"--{name}" for name in ("width", "height") if name in self.generation]:
            raise ConfigError([f"--size and {' and '.join(both)} say the same twice; give one of them"])
        return {"width": int(parts[1]), "height": int(parts[2])}

    def _base_values(self) -> Mapping[str, Any]:
        if self.source is None:
            return _FIRST_TRY
        if not self.source.suffix and not self.source.exists():
            raise ConfigError(
                [f"{self.source}: no such config file or picture."], hint='To generate it: rxpipe run --prompt "..."'
            )
        from rxpipe.presets.jobs import read_job  # noqa: PLC0415  # readers of pictures are loaded for a file only

        return read_job(self.source).trusted(trust=self.trust).values
