"""Wildcards: lists of values by name, in text files, YAML and JSON, in a folder and the folders below it."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING, Any

from rxpipe.config.bounds import MAX_BYTES
from rxpipe.errors import ConfigError, suggestion
from rxpipe.variants.syntax import Option, parse_prompt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

__all__ = ["Wildcards"]

_WEIGHT = re.compile(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*::(.*)", re.DOTALL)
_ENDINGS = frozenset({".txt", ".yaml", ".yml", ".json"})


class Wildcards:
    """The values of all wildcards below some folders and files; a file is read when it is first asked for.

    `colours.txt` is `__colours__`, `people/hair.txt` is `__people/hair__`; what stands in a YAML or JSON file under the
    keys animals and cats is `__animals/cats__`. A name may hold `*` and `?`.

    Args:
        paths: folders and files.

    Raises:
        ConfigError: a path does not exist.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = tuple(paths)
        self._texts: dict[str, Path] = {}
        self._lists: dict[str, tuple[str, ...]] = {}
        self._options: dict[str, tuple[Option, ...]] = {}
        for path in self._paths:
            path = path.expanduser()  # noqa: PLW2901  # as people write it
            if not path.exists():
                raise ConfigError([f"wildcards {path}: there is no such folder or file"])
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if file.suffix.lower() in _ENDINGS and file.is_file():
                    self._add(file, path if path.is_dir() else path.parent)

    def _add(self, file: Path, root: Path) -> None:
        name = file.relative_to(root).with_suffix("").as_posix()
        if file.suffix.lower() == ".txt":
            self._texts.setdefault(name, file)
            return
        for inner, values in _lists_in(_structured(file), file):
            self._lists.setdefault(inner or name, values)

    @property
    def names(self) -> Sequence[str]:
        """All names, sorted."""
        return sorted({*self._texts, *self._lists})

    def options(self, name: str, where: str) -> tuple[Option, ...]:
        """Return the values of a wildcard, or of all that match, each once, in the order of their files.

        Args:
            name: may hold `*` and `?`. where: it stands, for messages.

        Raises:
            ConfigError: there is none of that name, or it has no value.
        """
        if name not in self._options:
            self._options[name] = self._read(name, where)
        return self._options[name]

    def _read(self, name: str, where: str) -> tuple[Option, ...]:
        names = [each for each in self.names if fnmatch.fnmatchcase(each, name)] if set(name) & set("*?") else [name]
        if names == [name] and name not in self._texts and name not in self._lists:
            names = [each for each in self.names if each.rpartition("/")[2] == name][:1]  # a name without its folder
        if not names:
            advice = suggestion(name, self.names) if self.names else "none are given; name a folder with --wildcards"
            raise ConfigError(
                [f"{where}: there is no wildcard __{name}__; {advice}"], hint='Write "\\_\\_" for the signs themselves.'
            )
        lines = dict.fromkeys(line for each in names for line in self._lines(each))
        if not lines:
            raise ConfigError([f"{where}: the wildcard __{name}__ has no values"])
        return tuple(_option(line, f"wildcard {name}") for line in lines)

    def _lines(self, name: str) -> Iterator[str]:
        if name in self._lists:
            yield from self._lists[name]
        if name in self._texts:
            for line in _text(self._texts[name]).splitlines():
                if line.strip() and not line.lstrip().startswith("#"):
                    yield line.strip()


def _option(line: str, where: str) -> Option:
    found = _WEIGHT.fullmatch(line)
    weight, text = (float(found[1]), found[2].strip()) if found else (1.0, line)
    return Option(parse_prompt(text, where), weight)


def _text(file: Path) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ConfigError([f"wildcards {file}: cannot be read: {error.strerror}"]) from error
    if len(data) > MAX_BYTES:
        raise ConfigError([f"wildcards {file}: has more than {MAX_BYTES} bytes"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")  # lists of the time before UTF-8


def _structured(file: Path) -> Any:
    from rxpipe.config.yaml_values import parse_yaml  # noqa: PLC0415  # loaded for such files only

    try:
        return json.loads(_text(file)) if file.suffix.lower() == ".json" else parse_yaml(_text(file))
    except (ValueError, RecursionError) as error:
        raise ConfigError([f"wildcards {file}: not well-formed: {error}"]) from None


def _lists_in(values: Any, file: Path, path: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(values, dict):
        for key, inner in values.items():
            yield from _lists_in(inner, file, f"{path}/{key}" if path else str(key))
    elif isinstance(values, list):
        yield path, tuple(str(each) for each in values if not isinstance(each, dict | list) and each is not None)
    elif isinstance(values, str | int | float):
        yield path, (str(values),)
