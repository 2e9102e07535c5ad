"""A preset or a picture as a config: what Load reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.config import PipelineConfig
from rxpipe.presets.picture import recall

if TYPE_CHECKING:
    from pathlib import Path

PRESETS = (".toml", ".yaml", ".yml", ".json")


def read_job(path: Path) -> PipelineConfig:
    """Return the config in a preset file, or the one that renders a picture again: one image of the same seed.

    Raises:
        ConfigError: the file is no preset, or the picture has no usable metadata.
        BadImage: neither a preset nor a picture that can be read.
    """
    if path.suffix.lower() in PRESETS:
        return PipelineConfig.load(path)
    return PipelineConfig.from_mapping(recall(path), source=path.name)
