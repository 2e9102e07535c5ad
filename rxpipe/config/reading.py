"""Read the plain values of a config: from TOML, YAML and JSON files, and from `--set stage.key=value`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from rxpipe.config.bounds import MAX_BYTES, MAX_DEPTH, OutOfBounds, too_deep
from rxpipe.config.fields import kinds_at
from rxpipe.config.texts import parse_config
from rxpipe.errors import ConfigError
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel


def read_values(path: Path) -> dict[str, object]:
    """Return the plain values of a TOML, YAML or JSON file, told apart by their content.

    Raises:
        ConfigError: unreadable, not of a known kind, not well-formed, or not a table at its top.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    return parse_config(data, path)


def assign(values: Mapping[str, object], assignments: Iterable[str], model: type[BaseModel]) -> dict[str, object]:
    """Return *values* with "stage.key=value" applied, each value read by the type that *model* has for it.

    Raises:
        ConfigError: an assignment is not of that form.
    """
    changed: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in values.items()}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        keys = [key.strip() for key in name.split(".")]
        if not equals or not all(keys):
            raise ConfigError([f"{shown(assignment)}: not of the form stage.key=value, such as txt2img.steps=30"])
        if len(keys) > MAX_DEPTH:
            raise ConfigError([f"{shown(assignment)}: {too_deep()}"])
        table = changed
        for key in keys[:-1]:
            inner = table.get(key)
            table[key] = dict(inner) if isinstance(inner, Mapping) else {}
            table = table[key]
        try:
            table[keys[-1]] = _given(text.strip(), kinds_at(model, keys))
        except OutOfBounds as error:
            raise ConfigError([f"{shown(assignment)}: {error}"]) from None
    return changed


def _given(text: str, kinds: set[object]) -> object:
    """A value from a command line: text as it stands where text is wanted, else as YAML reads it."""
    if not kinds & {str, Path}:
        return _scalar(text)
    if NoneType in kinds and text in {"", "null", "~"}:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    value = _scalar(text) if quoted else text
    return value if isinstance(value, str) else text


def _scalar(text: str) -> object:
    """A value as YAML reads it; what happens not to be YAML stays text. Raises OutOfBounds."""
    from rxpipe.config.yaml_values import parse_yaml  # noqa: PLC0415  # only who overrides pays for it

    try:
        value = parse_yaml(text)
    except OutOfBounds:
        raise
    except ValueError:
        return text
    return text if isinstance(value, dict) else value
