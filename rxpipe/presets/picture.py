"""A picture made earlier, as the config that renders it again: from rxpipe's own record, else from A1111's text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.config import SECTIONS, PipelineConfig
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures import a1111
from rxpipe.pictures.formats import picture_format
from rxpipe.pictures.metadata import read_info
from rxpipe.pictures.names import sampler_named, scheduler_named

if TYPE_CHECKING:
    from rxpipe.pictures.lineage import Lineage
    from rxpipe.pictures.metadata import ImageInfo

ALLOWED_PICTURE = "a picture that says how it was made (PNG, JPEG, WebP, AVIF, GIF, ...)"

_FIELDS = {label: name for name, label in a1111.SETTING_NAMES.items()} | {
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Seed": "seed",
}
_ONCE = ("images", "batch_size")
_OF_ITS_MAKER = ("payload", "mask")
"""What a stranger's picture must not decide: what is sent to a server unchecked, and which file here is read."""


def config_from_picture(path: Path | str) -> PipelineConfig:
    """Return the config that renders a picture again: one image of the same seed, through the same stages.

    Understands what rxpipe, A1111, Forge, ComfyUI and others write into their pictures. `payload` and a mask are left
    out: a picture by somebody else would decide what is sent to a server, and which file is read.

    Raises:
        BadImage: the picture cannot be read. ConfigError: it does not say how it was made, or what no config can say.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadImage(f"{path}: cannot be read: {error.strerror}.", hint="Give the path of a picture.") from error
    return PipelineConfig.from_mapping(values_of_picture(data, path), source=path.name)


def is_picture(head: bytes) -> bool:
    """Whether these first bytes of a file are of a picture; text that happens to begin like one is text."""
    return picture_format(head) is not None and (b"\0" in head or head[0] > 127)  # noqa: PLR2004  # ASCII


def values_of_picture(data: bytes, path: Path) -> dict[str, Any]:
    """Return the values of a config whose sections render the picture again.

    Args:
        path: names the picture in errors.

    Raises:
        BadImage: it is damaged. ConfigError: it does not say how it was made, or what no config can say.
    """
    try:
        info = read_info(data)
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", hint=error.hint) from error
    if info.lineage is not None and info.lineage.lineage:
        return _from_lineage(path, info.lineage)
    if not info.prompt and info.seed is None:
        raise ConfigError(
            [f"{path}: the picture does not say how it was made."],
            hint="To work on the picture itself, give it as input (on the command line: --input).",
        )
    return {"txt2img": _from_settings(info)}


def _from_lineage(path: Path, lineage: Lineage) -> dict[str, Any]:
    went = [record.stage for record in lineage.lineage]
    if went != [name for name in SECTIONS if name in went]:
        raise ConfigError(
            [f"{path}: it went through {', '.join(went)}, which no config can say; run the code that made it"]
        )
    values: dict[str, Any] = {}
    for record in lineage.lineage:
        left_out = {*_ONCE, *_OF_ITS_MAKER}
        if "scale" in record.settings:  # width and height are then those that resulted
            left_out |= {"width", "height"}
        known = SECTIONS[record.stage].model_fields.keys() - left_out
        values[record.stage] = {name: value for name, value in record.settings.items() if name in known}
    return values


def _from_settings(info: ImageInfo) -> dict[str, Any]:
    values: dict[str, Any] = {"prompt": info.prompt, "negative_prompt": info.negative_prompt}
    values |= {_FIELDS[key]: value for key, value in info.settings.items() if key in _FIELDS}
    values |= _by_a1111s_names(values)
    if "seed" not in values and info.seed is not None:
        values["seed"] = info.seed
    width, x, height = info.settings.get("Size", "").partition("x")
    if x:
        values |= {"width": width, "height": height}
    return values


def _by_a1111s_names(values: dict[str, Any]) -> dict[str, Any]:
    """Return sampler and scheduler by A1111's names, where another program's are known."""
    sampler, scheduler = values.get("sampler_name"), values.get("scheduler")
    named: dict[str, Any] = {}
    if isinstance(scheduler, str) and (known := scheduler_named(scheduler)) is not None:
        named["scheduler"] = known
    if isinstance(sampler, str) and (found := sampler_named(sampler)) is not None:
        named["sampler_name"] = found.sampler
        if found.scheduler is not None:
            named["scheduler"] = found.scheduler
    return named
