"""Plain values as the text of a TOML file."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rxpipe.config import PipelineConfig
from rxpipe.errors import ConfigError
from rxpipe.presets.shape import dump

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["config_toml", "toml_text"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def config_toml(config: PipelineConfig) -> str:
    """Return a config as TOML, from which the same config is read.

    Raises:
        ConfigError: it holds a null that is not the same as leaving the setting out, which TOML has no word for.
    """
    values = dump(config)
    text = toml_text(values)
    if PipelineConfig.from_mapping(tomllib.loads(text)) != config:
        nulls = ", ".join(_nulls(values, ()))
        raise ConfigError(
            [f"TOML has no null, and without it these would mean something else: {nulls or 'some settings'}"],
            hint="Keep the file in JSON or YAML; both can be run.",
        )
    return text


def _nulls(value: object, path: tuple[str, ...]) -> Iterator[str]:
    if value is None:
        yield ".".join(path)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _nulls(inner, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value, 1):
            yield from _nulls(inner, (*path, str(number)))


def toml_text(values: Mapping[str, object]) -> str:
    """Return values as TOML; those that are None are left out, since TOML has no word for them."""
    return "\n".join(_table(values, ())).strip() + "\n"


def _table(values: Mapping[str, object], path: tuple[str, ...]) -> Iterator[str]:
    plain = {key: value for key, value in values.items() if value is not None and not _is_section(value)}
    if path and (plain or not any(map(_is_section, values.values()))):
        yield ""
        yield f"[{'.'.join(map(_key, path))}]"
    for key, value in plain.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in values.items():
        if isinstance(value, Mapping) and _is_section(value):
            yield from _table(value, (*path, key))


def _is_section(value: object) -> bool:
    return isinstance(value, Mapping)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _quoted(key)


def _quoted(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, but for DEL and surrogates."""
    safe = text.encode("utf-8", "replace").decode()
    return json.dumps(safe, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_key(key)} = {_value(inner)}" for key, inner in value.items() if inner is not None)
        return "{ " + ", ".join(pairs) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(inner) for inner in value if inner is not None) + "]"
    return _quoted(str(value))
