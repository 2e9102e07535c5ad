"""Read the plain values of a config: from TOML, YAML and JSON files, and from `--set stage.key=value`."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.config.bounds import MAX_BYTES, MAX_DEPTH, OutOfBounds, check, read_int, too_deep
from rxpipe.config.fields import kinds_at
from rxpipe.config.texts import parse_config
from rxpipe.errors import ConfigError
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

_KEY = re.compile(r"""\s*("[^"]*"|'[^']*'|[^."'=\s]+(?:[ \t]+[^."'=\s]+)*)\s*([.=])""")


def read_values(path: Path) -> dict[str, object]:
    """Return the plain values of a TOML, YAML or JSON file, recognised by its content.

    Raises:
        ConfigError: unreadable, not of a known kind, not well-formed, or not a table at its top.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    return parse_config(data, path)


class Assignment(NamedTuple):
    """What "stage.key=value" sets: the names on the way to it, and the text of its value."""

    keys: tuple[str, ...]
    text: str


def parse_assignment(assignment: str) -> Assignment:
    """Return the parts of "stage.key=value"; a name with a dot in it stands in quotes.

    Raises:
        ConfigError: it is not of that form.
    """
    keys, at = list[str](), 0
    while found := _KEY.match(assignment, at):
        at = found.end()
        keys.append(found[1].strip("\"'"))
        if found[2] == "=" and all(keys):
            return Assignment(tuple(keys), assignment[at:].strip())
    raise ConfigError([f"{shown(assignment)}: not of the form stage.key=value, such as txt2img.steps=30"])


def assign(values: Mapping[str, object], assignments: Iterable[str], model: type[BaseModel]) -> dict[str, object]:
    """Return *values* with "stage.key=value" applied, each value read by the type that *model* has for it.

    Raises:
        ConfigError: an assignment is not of that form.
    """
    changed: dict[str, Any] = {key: dict(v) if isinstance(v, Mapping) else v for key, v in values.items()}
    for assignment in assignments:
        keys, text = parse_assignment(assignment)
        if len(keys) > MAX_DEPTH:
            raise ConfigError([f"{shown(assignment)}: {too_deep()}"])
        table = changed
        for key in keys[:-1]:
            inner = table.get(key)
            table[key] = dict(inner) if isinstance(inner, Mapping) else {}
            table = table[key]
        try:
            table[keys[-1]] = given_value(text, kinds_at(model, keys))
        except OutOfBounds as error:
            raise ConfigError([f"{shown(assignment)}: {error}"]) from None
    return changed


def given_value(text: str, kinds: set[object]) -> object:
    """Return a value from a command line: text as it stands where text is wanted, else a plain value."""
    if not kinds & {str, Path}:
        return _plain_value(text)
    if NoneType in kinds and text in {"", "null", "~"}:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    value = _plain_value(text) if quoted else text
    return value if isinstance(value, str) else text


def _plain_value(text: str) -> object:
    """A value as JSON, TOML or YAML reads it, the first that can; what happens to be none of them stays text.

    Raises OutOfBounds.
    """
    for read in (_json, _toml):
        try:
            return read(text)
        except OutOfBounds:
            raise
        except (ValueError, RecursionError):
            continue
    return _yaml(text)


def _json(text: str) -> object:
    value: object = json.loads(text, parse_constant=_no_constant, parse_int=read_int)
    check(value)
    return value


def _no_constant(name: str) -> object:
    raise ValueError(name)  # Infinity and NaN are none of JSON's


def _toml(text: str) -> object:
    """An inline table or a list; single values are left to YAML, whose rules files have had before."""
    if text[:1] not in {"{", "["} or "\n" in text:  # a second line would be a second key
        raise ValueError(text)
    value: object = tomllib.loads(f"value = {text}")["value"]
    check(value)
    return value


def _yaml(text: str) -> object:
    from rxpipe.config.yaml_values import parse_yaml  # noqa: PLC0415  # only who overrides pays for it

    try:
        value = parse_yaml(text)
    except OutOfBounds:
        raise
    except ValueError:
        return text
    return text if isinstance(value, dict) else value
