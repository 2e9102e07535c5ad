"""The whole config: its stages by the names of their sections, and how it is read."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from pydantic import Field

from rxpipe.config.models.adetailer import AdetailerConfig
from rxpipe.config.models.custom import OwnStageConfig
from rxpipe.config.models.img2img import Img2ImgConfig
from rxpipe.config.models.run import RunSettings
from rxpipe.config.models.txt2img import Txt2ImgConfig
from rxpipe.config.models.upscale import UpscaleConfig
from rxpipe.config.models.workflow import WorkflowConfig
from rxpipe.config.reading import assign, read_values
from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Unpack

    from rxpipe.config.keywords import PipelineKeywords
    from rxpipe.config.models.stage import StageConfig


SECTIONS: Mapping[str, type[StageConfig]] = MappingProxyType(
    {"txt2img": Txt2ImgConfig, "img2img": Img2ImgConfig, "adetailer": AdetailerConfig, "upscale": UpscaleConfig}
)
"""The sections of a config that have settings of their own, by name, in the order in which they run."""

STAGE_SECTIONS: Mapping[str, type[StageConfig]] = MappingProxyType(
    {"txt2img": Txt2ImgConfig, "workflow": WorkflowConfig, **{name: SECTIONS[name] for name in list(SECTIONS)[1:]}}
)
"""All sections that are stages, by name, in the order in which they run."""


class PipelineConfig(RunSettings):
    """The whole config: a section per stage, and how to run them. An absent section is None."""

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[PipelineKeywords]) -> None: ...

    section = "pipeline"
    txt2img: Txt2ImgConfig | None = Field(
        default=None, description="Generate pictures from a prompt; None: no such stage."
    )
    workflow: WorkflowConfig | None = Field(
        default=None, description="Run a ComfyUI workflow of one's own; None: no such stage."
    )
    img2img: Img2ImgConfig | None = Field(default=None, description="Redraw pictures; None: no such stage.")
    adetailer: AdetailerConfig | None = Field(
        default=None, description="Find faces or hands and redraw each; None: no such stage."
    )
    upscale: UpscaleConfig | None = Field(default=None, description="Enlarge pictures; None: no such stage.")
    custom: dict[str, OwnStageConfig] = Field(
        default_factory=dict, description="Stages of installed packages and ready-made ones, by a name of your choice."
    )

    @classmethod
    def from_mapping(cls, values: Mapping[str, object], *, source: str = "") -> PipelineConfig:
        """Return a config from plain values, as read from a TOML, YAML or JSON file.

        Args:
            values: sections and settings by name.
            source: its name in errors, such as the file's; "" for none.

        Raises:
            ConfigError: lists every unknown key with the nearest valid one and every wrong value with what is allowed.
        """
        try:
            return cls.model_validate(dict(values))
        except ConfigError as error:
            head = f"{source}: " if source else ""
            raise ConfigError([head + problem for problem in error.problems]) from None

    @classmethod
    def load(cls, path: Path | str, *, overrides: Sequence[str] = ()) -> PipelineConfig:
        """Return the config in a TOML, YAML or JSON file, recognised by its content.

        Args:
            path: the file, UTF-8.
            overrides: "stage.key=value" each, applied on top of the file.

        Raises:
            ConfigError: the file cannot be read or parsed, or holds what is not allowed.
        """
        path = Path(path)
        return cls.from_mapping(override(read_values(path), overrides), source=path.name)


def override(values: Mapping[str, object], assignments: Iterable[str]) -> dict[str, object]:
    """Return the *values* of a `PipelineConfig` with "stage.key=value" applied.

    A setting that holds text, such as a prompt, takes the value as it stands; any other as JSON, as an inline table or
    a list of TOML, or as YAML reads a scalar or a list. An empty value, `null` and `~` are None where None is allowed.
    A name with a dot in it stands in quotes: `txt2img.payload."sample.cfg"=5`.

    Raises:
        ConfigError: an assignment is not of that form.
    """
    return assign(values, assignments, PipelineConfig)
