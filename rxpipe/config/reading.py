"""Read the plain values of a config: from TOML, YAML and JSON files, and from `--set stage.key=value`."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from rxpipe.config.fields import kinds_at
from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import BaseModel


def read_values(path: Path) -> dict[str, object]:
    """The plain values of a TOML, YAML or JSON file.

    Raises:
        ConfigError: unreadable, not of a known kind, not well-formed, or not a table at its top.
    """
    parsers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".json": json.loads,
        ".yaml": _parse_yaml,
        ".yml": _parse_yaml,
    }
    parse = parsers.get(path.suffix.lower())
    if parse is None:
        raise ConfigError([f"{path}: not a kind of config file that is known; allowed: {', '.join(parsers)}"])
    try:
        values = parse(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 (at byte {error.start}); save it as UTF-8"]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: not well-formed: {error}"], hint=_advice(error)) from error
    except RecursionError:
        raise ConfigError([f"{path}: not well-formed: nested too deeply"]) from None
    if not isinstance(values, dict):
        raise ConfigError([f"{path}: holds a {type(values).__name__} where sections such as txt2img are expected"])
    return values


def _advice(error: ValueError) -> str | None:
    """For the one mistake that nearly every path on Windows is."""
    escapes = isinstance(error, tomllib.TOMLDecodeError) and any(word in str(error) for word in ("hex value", "\\"))
    return r"In TOML, paths with backslashes want single quotes: out = 'C:\pictures'." if escapes else None


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
            raise ConfigError([f"{assignment!r}: not of the form stage.key=value, such as txt2img.steps=30"])
        table = changed
        for key in keys[:-1]:
            inner = table.get(key)
            table[key] = dict(inner) if isinstance(inner, Mapping) else {}
            table = table[key]
        table[keys[-1]] = _given(text.strip(), kinds_at(model, keys))
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
    """A value as YAML reads it; what happens not to be YAML stays text."""
    import yaml  # noqa: PLC0415  # only who overrides pays for it

    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):  # ValueError: a date without such a day
        return text
    return text if isinstance(value, dict) else value


def _parse_yaml(text: str) -> object:
    import yaml  # noqa: PLC0415  # only who reads YAML pays for it

    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    return {} if value is None else value
