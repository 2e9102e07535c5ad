"""The options of `rxpipe run`, as a PipelineConfig.

The base is a config file, a picture made earlier, or four default stages; options are applied on top of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.config import PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.presets import apply, read_job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
    stages: names in order, None for those of the source. assignments: "stage.key=value" each.
    trust: whether settings of a picture that do more than draw are used; None: refuse a picture that has some.
    """

    source: Path | None = None
    generation: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
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
            generation=self.generation,
            settings={**self.settings, **pictures},
            sets=self.assignments,
        )
        return PipelineConfig.from_mapping(values, source=self.source.name if self.source else "")

    def _base_values(self) -> Mapping[str, Any]:
        if self.source is None:
            return _FIRST_TRY
        if not self.source.suffix and not self.source.exists():
            raise ConfigError(
                [f"{self.source}: no such config file or picture."], hint='To generate it: rxpipe run --prompt "..."'
            )
        return read_job(self.source).trusted(trust=self.trust).values
