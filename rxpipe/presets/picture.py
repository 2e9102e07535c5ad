"""A picture made earlier, as the config that renders it again: from rxpipe's own record, else from its metadata."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, get_origin

from rxpipe.config import SECTIONS
from rxpipe.config.fields import kinds, model_in
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures.formats import picture_format
from rxpipe.pictures.metadata import read_open
from rxpipe.presets.carried import Carried, carried_over
from rxpipe.shown import cut

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from pydantic.fields import FieldInfo

    from rxpipe.pictures.lineage import Lineage
    from rxpipe.pictures.metadata import ImageInfo

ALLOWED_PICTURE = "a picture that says how it was made (PNG, JPEG, WebP, AVIF, GIF, ...)"

_ONCE = ("images", "batch_size")
_PROSE = frozenset({"prompt", "negative_prompt"})
_LONGEST_LIST = 200  # characters of names of stages
_LIMITS = frozenset({"max_megapixels"})
_FILES = frozenset({"mask"})
_NAMES = frozenset({"modules"})
_ELSEWHERE = re.compile(r"^[/\\~]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)|://")
_NO_TRACE = frozenset({"width", "height", "scale"})
"""Settings in a record that only say what resulted."""

Held: TypeAlias = Mapping[str, Mapping[str, object]]
"""Settings of a picture that do more than draw, by stage and name: options and scripts of a server, styles, names that
are paths to elsewhere, files that are read here, and limits."""


class FromPicture(NamedTuple):
    """What a picture says of a config.

    values: whose sections render it again. held: those of them that do more than draw, which *values* are without.
    left: what is not carried over. source: the picture that it was drawn over, "" for none. no_prompt: why there is no
    prompt, "" where there is one.
    """

    values: dict[str, Any]
    held: Held
    left: tuple[str, ...]
    source: str = ""
    no_prompt: str = ""


def is_picture(head: bytes) -> bool:
    """Whether these first bytes of a file are of a picture; text that happens to begin like one is text."""
    return picture_format(head) is not None and (b"\0" in head or head[0] > 127)  # noqa: PLR2004  # ASCII


def values_of_picture(file: BinaryIO, path: Path) -> FromPicture:
    """Return the values of a config whose sections render the picture again, and what they leave out.

    Args:
        path: names the picture in errors.

    Raises:
        BadImage: it is damaged. ConfigError: it does not say how it was made, or what no config can say.
    """
    try:
        info = read_open(file)
    except BadImage as error:
        raise BadImage(f"{path}: {error.message}", hint=error.hint) from error
    values, left = _values(path, info)
    held = {stage: held for stage, section in values.items() if (held := _held(stage, section))}
    plain = {
        stage: {name: value for name, value in section.items() if name not in held.get(stage, {})}
        for stage, section in values.items()
    }
    damage = (f"what stands behind the damage ({info.damage.rstrip('.')})",) if info.damage else ()
    return FromPicture(plain, held, (*left, *damage), _source(values, info), _no_prompt(values, info))


def _values(path: Path, info: ImageInfo) -> Carried:
    if info.lineage is not None and info.lineage.lineage:
        return _from_lineage(path, info.lineage)
    if not info.prompt and info.seed is None and not info.settings:
        raise ConfigError(
            [f"{path}: the picture does not say how it was made.", *info.problems][:5],
            hint="To work on the picture itself, give it as input (on the command line: --input).",
        )
    return carried_over(info)


def _source(values: Mapping[str, object], info: ImageInfo) -> str:
    if info.lineage is not None and info.lineage.lineage:
        return "" if "txt2img" in values else "a picture"
    return info.source


def _no_prompt(values: Mapping[str, Mapping[str, object]], info: ImageInfo) -> str:
    """Return why there is no prompt; an empty one that the metadata says is one."""
    if info.dialect == "rxpipe" or any(section.get("prompt") for section in values.values()):
        return ""
    if info.dialect == "a1111" and info.settings:
        return ""  # its text has no line for an empty prompt
    if info.dialect == "comfyui" and not info.problems:
        return ""
    return "; ".join(info.problems) or "the metadata names none"


def _held(stage: str, section: Mapping[str, object]) -> dict[str, object]:
    fields = SECTIONS[stage].model_fields
    return {
        name: value
        for name, value in section.items()
        if name not in _PROSE and value and _does_more(fields[name], name, value)
    }


def _does_more(field: FieldInfo, name: str, value: object) -> bool:
    raises_a_limit = name in _LIMITS and value != field.default
    steers = name not in _NAMES and not _draws(field.annotation)
    return raises_a_limit or name in _FILES or steers or _leaves_the_folder(value)


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


def _from_lineage(path: Path, lineage: Lineage) -> Carried:
    went = [record.stage for record in lineage.lineage]
    if went != [name for name in SECTIONS if name in went]:
        stages = cut(", ".join(went), _LONGEST_LIST)
        raise ConfigError([f"{path}: it went through {stages}, which no config can say; run the code that made it"])
    values: dict[str, Any] = {}
    left: list[str] = []
    for record in lineage.lineage:
        left_out = {*_ONCE}
        if "scale" in record.settings:  # width and height are then those that resulted
            left_out |= {"width", "height"}
        fields = SECTIONS[record.stage].model_fields
        known = fields.keys() - left_out
        values[record.stage] = {name: value for name, value in record.settings.items() if name in known}
        strange = [
            name for name, value in record.settings.items() if name not in fields and value not in (None, "", [], {})
        ]
        left += [f"{record.stage}.{cut(str(name))}" for name in strange if not _inherited(name)]
    return Carried(values, tuple(left))


def _inherited(name: str) -> bool:
    """Whether a setting in a record is of the stage before, which has it too; or only says what resulted."""
    return name in _NO_TRACE or any(name in model.model_fields for model in SECTIONS.values())
