"""A picture made earlier, as the config that renders it again: from rxpipe's own record, else from A1111's text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, get_origin

from rxpipe.config import SECTIONS
from rxpipe.config.fields import kinds, model_in
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures import a1111
from rxpipe.pictures.formats import picture_format
from rxpipe.pictures.metadata import read_open
from rxpipe.pictures.names import sampler_named, scheduler_named
from rxpipe.shown import cut

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pydantic.fields import FieldInfo

    from rxpipe.pictures.lineage import Lineage
    from rxpipe.pictures.metadata import ImageInfo

ALLOWED_PICTURE = "a picture that says how it was made (PNG, JPEG, WebP, AVIF, GIF, ...)"

_FIELDS = {label: name for name, label in a1111.SETTING_NAMES.items()} | {
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Seed": "seed",
}
_ONCE = ("images", "batch_size")
_PROSE = frozenset({"prompt", "negative_prompt"})
_LONGEST_LIST = 200  # characters of names of stages
_LIMITS = frozenset({"max_megapixels"})
_FILES = frozenset({"mask"})
_ELSEWHERE = re.compile(r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|://")

Held: TypeAlias = Mapping[str, Mapping[str, object]]
"""Settings of a picture that do more than draw, by stage and name: options and scripts of a server, styles, names that
are paths to elsewhere, files that are read here, and limits."""


def is_picture(head: bytes) -> bool:
    """Whether these first bytes of a file are of a picture; text that happens to begin like one is text."""
    return picture_format(head) is not None and (b"\0" in head or head[0] > 127)  # noqa: PLR2004  # ASCII


def values_of_picture(file: BinaryIO, path: Path) -> tuple[dict[str, Any], Held]:
    """Return the values of a config whose sections render the picture again, and apart those that do more than draw.

    Args:
        path: names the picture in errors.

    Raises:
        BadImage: it is damaged. ConfigError: it does not say how it was made, or what no config can say.
    """
    try:
        info = read_open(file)
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", hint=error.hint) from error
    values = _values(path, info)
    held = {stage: held for stage, section in values.items() if (held := _held(stage, section))}
    plain = {
        stage: {name: value for name, value in section.items() if name not in held.get(stage, {})}
        for stage, section in values.items()
    }
    return plain, held


def _values(path: Path, info: ImageInfo) -> dict[str, dict[str, Any]]:
    if info.lineage is not None and info.lineage.lineage:
        return _from_lineage(path, info.lineage)
    if not info.prompt and info.seed is None:
        raise ConfigError(
            [f"{path}: the picture does not say how it was made."],
            hint="To work on the picture itself, give it as input (on the command line: --input).",
        )
    return {"txt2img": _from_settings(info)}


def _held(stage: str, section: Mapping[str, object]) -> dict[str, object]:
    fields = SECTIONS[stage].model_fields
    return {
        name: value
        for name, value in section.items()
        if name not in _PROSE and value and _does_more(fields[name], name, value)
    }


def _does_more(field: FieldInfo, name: str, value: object) -> bool:
    raises_a_limit = name in _LIMITS and value != field.default
    return raises_a_limit or name in _FILES or not _draws(field.annotation) or _leaves_the_folder(value)


def _draws(annotation: Any) -> bool:
    """Whether a setting is a number, a name or a text, or a section or list of sections of those; not a free table."""
    members = list(kinds(annotation))
    models = [model for member in members if (model := model_in(member)) is not None]
    if models:
        return all(_draws(field.annotation) for model in models for field in model.model_fields.values())
    return all(get_origin(member) not in {dict, list, tuple} for member in members)


def _leaves_the_folder(value: object) -> bool:
    """Whether a name, here or within, is a path to somewhere else than below the server's folder of its kind."""
    if isinstance(value, dict):
        return any(_leaves_the_folder(inner) for name, inner in value.items() if name not in _PROSE)
    if isinstance(value, list):
        return any(map(_leaves_the_folder, value))
    return isinstance(value, str) and _ELSEWHERE.search(value) is not None


def _from_lineage(path: Path, lineage: Lineage) -> dict[str, dict[str, Any]]:
    went = [record.stage for record in lineage.lineage]
    if went != [name for name in SECTIONS if name in went]:
        stages = cut(", ".join(went), _LONGEST_LIST)
        raise ConfigError([f"{path}: it went through {stages}, which no config can say; run the code that made it"])
    values: dict[str, Any] = {}
    for record in lineage.lineage:
        left_out = {*_ONCE}
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
