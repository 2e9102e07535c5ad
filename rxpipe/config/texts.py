"""Read the values in a config file by its content: TOML, YAML or JSON, whatever the file is called.

Its first line tells the three apart. The ending of its name only decides whose error is reported, and stands in where
the content could be any of them.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING

from rxpipe.config.bounds import MAX_BYTES, MAX_DEPTH, GivenTwice, OutOfBounds, check, read_int, too_deep, too_large
from rxpipe.errors import ConfigError
from rxpipe.pictures.formats import picture_format
from rxpipe.shown import cut, escaped

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["ALLOWED", "is_binary", "parse_config", "parse_toml"]

ALLOWED = "a config in TOML, YAML or JSON, with sections such as txt2img"

_SUFFIXES = {".toml": "TOML", ".yaml": "YAML", ".yml": "YAML", ".json": "JSON"}
_TOML_LINE = re.compile(r"""\[\[?\s*[A-Za-z_"'][^\[\],]*\]\]?\s*(#.*)?$|[\w.'" -]+=""")
_YAML_LINE = re.compile(r"""---|[%!&]|[?-]\s|("[^"]*"|'[^']*'|[^\s:#'"][^:#]*)\s*:(\s|$)""")
_MAY_BE_EMPTY = {"TOML", "YAML"}
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_FIRST_LINE = 1000  # characters of it that are looked at
_SHOWN = 40  # characters of a text that is no config
_REASON = 300  # characters of what a parser says, which may hold a value of any length
_TOML_PART = re.compile(r'"""|\'\'\'|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[^"\'#.]+|\.')
_INDENTED_BY_TAB = re.compile(r"^ *\t+[ \t]*\S", re.MULTILINE)
_TOML_ENDS = {'"""': re.compile(r'(?:[^"\\]|\\.|"(?!""))*"""', re.DOTALL), "'''": re.compile(r".*?'''", re.DOTALL)}


def is_binary(data: bytes) -> bool:
    """Whether the bytes are no text; text in UTF-16 is text."""
    return b"\0" in data and not data.startswith(_UTF16)


def parse_config(data: bytes, path: Path, *, allowed: str = ALLOWED) -> dict[str, object]:
    """Return the values in the bytes of a config file; an empty .toml or .yaml file holds none.

    Args:
        path: names the file in errors. allowed: what could stand there instead, for errors.

    Raises:
        ConfigError: not UTF-8, of no known kind, not well-formed, or not a table at its top.
    """
    if len(data) > MAX_BYTES:
        raise ConfigError([f"{path}: {too_large()}"], hint=f"Allowed: {allowed}.")
    text = _decoded(data, path, allowed)
    by_suffix = _SUFFIXES.get(path.suffix.lower())
    kinds = _kinds(text, by_suffix)
    failures: dict[str, Exception] = {}
    came = _plain_text(text)
    for kind in kinds:
        try:
            values = _PARSERS[kind](text)
        except (ValueError, RecursionError) as error:
            failures[kind] = error
            if isinstance(error, OutOfBounds):
                kinds = (kind,)
                break
            continue
        if isinstance(values, dict):
            return values
        if not isinstance(values, str):  # YAML reads almost any text as a string
            came = f"{kind} that holds a {type(values).__name__} where sections such as txt2img are expected"
    if not failures:
        raise ConfigError([f"{path}: looks like {came}; allowed: {allowed}"])
    kind = by_suffix if by_suffix in failures else kinds[0]
    raise _malformed(path, kind, failures[kind], text) from failures[kind]


def _kinds(text: str, by_suffix: str | None) -> tuple[str, ...]:
    """The kinds to try, likeliest first; none where neither the content nor the file's name says one."""
    looks = _looks_like(text)
    if by_suffix is None or by_suffix == looks:
        return (looks,) if looks else ()
    if looks is None:
        return (by_suffix,) if by_suffix in _MAY_BE_EMPTY else ()
    return (looks, by_suffix)


def _decoded(data: bytes, path: Path, allowed: str) -> str:
    if is_binary(data):
        name = picture_format(data)
        came = f"a picture ({name})" if name else "binary data"
        raise ConfigError([f"{path}: looks like {came}; allowed: {allowed}"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 (at byte {error.start}); save it as UTF-8"]) from error


def _looks_like(text: str) -> str | None:
    """The kind that the first line which is no comment belongs to."""
    lines = (line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))
    first = next(lines, "").strip()[:_FIRST_LINE]
    if first.startswith("{"):
        inside = (first[1:] or next(lines, "")).lstrip()
        return "JSON" if inside[:1] in {'"', "}"} else "YAML"
    if _TOML_LINE.match(first):
        return "TOML"
    if first.startswith("["):
        return "JSON"
    return "YAML" if _YAML_LINE.match(first) else None


def _plain_text(text: str) -> str:
    first = " ".join(text[: 2 * _SHOWN].split())
    if not first:
        return "an empty file"
    return f"plain text ({first[:_SHOWN]!r}{'...' if len(first) > _SHOWN else ''})"


def _malformed(path: Path, kind: str, error: Exception, text: str) -> ConfigError:
    if isinstance(error, GivenTwice):
        return ConfigError([f"{path}: {error}"])
    reason = too_deep() if isinstance(error, RecursionError) else error
    what = "" if isinstance(error, OutOfBounds) else "not well-formed "
    return ConfigError([f"{path}: {what}{kind}: {escaped(cut(str(reason), _REASON))}"], hint=_advice(kind, error, text))


def _advice(kind: str, error: Exception, text: str) -> str | None:
    """Return a hint for the mistakes that are made most often."""
    if kind == "YAML" and (tab := _INDENTED_BY_TAB.search(text)):
        line = text.count("\n", 0, tab.start()) + 1
        return f"Line {line} is indented with a tab; YAML takes spaces only."
    if isinstance(error, json.JSONDecodeError):
        return _advice_for_json(error)
    if kind == "TOML" and ("Cannot overwrite" in str(error) or "Cannot declare" in str(error)):
        return "A key or a section is given twice; keep one of them."
    escapes = isinstance(error, tomllib.TOMLDecodeError) and any(word in str(error) for word in ("hex value", "\\"))
    return r"In TOML, paths with backslashes need single quotes: out = 'C:\pictures'." if escapes else None


def _advice_for_json(error: json.JSONDecodeError) -> str | None:
    rest = error.doc[error.pos :].lstrip()
    if rest.startswith(("//", "/*", "#")):
        return "JSON has no comments: remove them, or write the file as TOML or YAML, which have comments after #."
    before = error.doc[: error.pos].rstrip()
    if (rest[:1] in {"}", "]"} and before.endswith(",")) or before.endswith((",}", ",]")):
        return "JSON has no comma after the last value of a table or list; remove it."
    return None


# -- the three kinds ----------------------------------------------------------------------------------------------


def _parse_yaml(text: str) -> object:
    from rxpipe.config.yaml_values import parse_yaml  # noqa: PLC0415  # needed only to read YAML

    value = parse_yaml(text)
    return {} if value is None else value


def _parse_json(text: str) -> object:
    try:
        value = json.loads(text, parse_int=read_int, object_pairs_hook=_without_repeats)
    except GivenTwice:
        _parse_yaml(text)  # JSON is YAML too, and there the lines are known
        raise
    check(value)
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return the table of *pairs*.

    Raises:
        ValueError: a key stands in it twice, so that one value would be lost.
    """
    table = dict(pairs)
    if len(table) < len(pairs):
        once = set(table)
        for key, _ in pairs:
            if key not in once:
                raise GivenTwice(key)
            once.remove(key)
    return table


def parse_toml(text: str) -> dict[str, object]:
    """Return the values in *text*, which may be any text.

    Raises:
        OutOfBounds: it exceeds a limit of configs.
        ValueError: it is not well-formed.
    """
    if len(text) > MAX_BYTES:
        raise too_large()
    _check_keys(text)
    values = tomllib.loads(text)
    check(values)
    return values


def _check_keys(text: str) -> None:
    """Refuse a dotted key of very many parts, for which the parser takes memory by the square of their number."""
    at = dots = 0
    while part := _TOML_PART.match(text, at):
        word, at = part[0], part.end()
        if word in _TOML_ENDS:
            end = _TOML_ENDS[word].match(text, at)
            if end is None:  # a text without an end: the parser comes no further either
                return
            at = end.end()
        elif word == ".":
            dots += 1
            if dots > MAX_DEPTH:
                raise too_deep()
        elif any(sign in word for sign in "=,[{\n"):
            dots = 0


_PARSERS: Mapping[str, Callable[[str], object]] = {"TOML": parse_toml, "YAML": _parse_yaml, "JSON": _parse_json}
