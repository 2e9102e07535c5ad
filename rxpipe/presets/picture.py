"""A picture made earlier, as what draws it again: from rxpipe's own record in it, else from A1111's text.

Beside the plan in the row: it needs configs and metadata, and whatever offers to run a picture again needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS
from rxpipe.errors import ConfigError
from rxpipe.pictures.metadata import read_info

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.pictures.lineage import Lineage
    from rxpipe.pictures.metadata import ImageInfo

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
_ONCE = ("images", "batch_size")


def recall(path: Path) -> dict[str, Any]:
    """The values of a config whose sections draw the picture again, one image of the same seed.

    Raises:
        BadImage: it cannot be read. ConfigError: it does not say how it was made, or by more than a config can say.
    """
    info = read_info(path)
    if info.lineage is not None and info.lineage.lineage:
        return _from_lineage(path, info.lineage)
    if not info.prompt and info.seed is None:
        raise ConfigError(
            [f"{path}: the picture does not say how it was made."],
            hint="To work on the picture itself, give it as input (on the command line: --input).",
        )
    return {"txt2img": _from_words(info)}


def _from_lineage(path: Path, lineage: Lineage) -> dict[str, Any]:
    went = [record.stage for record in lineage.lineage]
    if went != [name for name in SECTIONS if name in went]:
        raise ConfigError(
            [f"{path}: it went through {', '.join(went)}, which no config can say; run the code that made it"]
        )
    values: dict[str, Any] = {}
    for record in lineage.lineage:
        known = SECTIONS[record.stage].model_fields
        values[record.stage] = {
            name: value for name, value in record.settings.items() if name in known and name not in _ONCE
        }
    return values


def _from_words(info: ImageInfo) -> dict[str, Any]:
    values: dict[str, Any] = {"prompt": info.prompt, "negative_prompt": info.negative_prompt}
    values |= {_FIELDS[key]: value for key, value in info.settings.items() if key in _FIELDS}
    if "seed" not in values and info.seed is not None:
        values["seed"] = info.seed
    width, x, height = info.settings.get("Size", "").partition("x")
    if x:
        values |= {"width": width, "height": height}
    return values
