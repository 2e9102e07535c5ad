"""A preset or a picture, as the config that it tells: what Load takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.config import PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.metadata import read_info
from rxpipe.views.gui.wish import STAGES

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.metadata import ImageInfo

PRESETS = (".toml", ".yaml", ".yml", ".json")
_FIELDS = {
    "Steps": "steps",
    "Sampler": "sampler_name",
    "Schedule type": "scheduler",
    "CFG scale": "cfg_scale",
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Seed": "seed",
    "Model": "model",
    "VAE": "vae",
    "Clip skip": "clip_skip",
}


def read_job(path: Path) -> PipelineConfig:
    """The config in a preset file, or the one that draws a picture again: one image of the same seed.

    Raises:
        ConfigError: the file is no preset, or the picture does not say how it was made.
        BadImage: neither a preset nor a picture that can be read.
    """
    if path.suffix.lower() in PRESETS:
        return PipelineConfig.load(path)
    info = read_info(path)
    values = _by_lineage(info) or _by_words(info)
    if not values:
        raise ConfigError([f"{path.name}: the picture does not say how it was made"])
    return PipelineConfig.from_mapping(values, source=path.name)


def _by_lineage(info: ImageInfo) -> dict[str, Any]:
    """The sections that rxpipe noted, for stages that a config can name."""
    values: dict[str, Any] = {}
    for record in info.lineage.lineage if info.lineage else ():
        if record.stage in STAGES:
            known = STAGES[record.stage].model_fields.keys() - {"images", "batch_size"}
            values[record.stage] = {name: value for name, value in record.settings.items() if name in known}
    return values


def _by_words(info: ImageInfo) -> dict[str, Any]:
    """txt2img as the other tools' words have it."""
    if not info.prompt and info.seed is None:
        return {}
    section: dict[str, Any] = {"prompt": info.prompt, "negative_prompt": info.negative_prompt}
    section |= {_FIELDS[key]: value for key, value in info.settings.items() if key in _FIELDS}
    if info.seed is not None:
        section["seed"] = info.seed
    width, x, height = info.settings.get("Size", "").partition("x")
    if x:
        section |= {"width": width, "height": height}
    return {"txt2img": section}
