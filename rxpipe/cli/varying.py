"""The options of `rxpipe run` that make variants, as the section variants of a config."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rxpipe.errors import ConfigError
from rxpipe.shown import shown
from rxpipe.variants.syntax import has_syntax

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = ["VARIANTS", "VaryOptions"]

VARIANTS = {
    "variants.count": "--random", "variants.limit": "--limit", "variants.seeds": "--seeds", "variants.slots": "--slot",
    "variants.sweep": "--sweep", "variants.replace": "--replace", "variants.wildcards": "--wildcards",
}  # fmt: skip
"""The settings of the section variants that have an option."""


@dataclass(frozen=True, kw_only=True)
class VaryOptions:
    """What varies, as given on the command line.

    on: whether prompts are read for alternatives; None: those given as options are, those of files are not.
    sweep: "setting=values" each. replace: "word,other,..." each. slots: "name=a,b" each. wildcards: folders and files.
    chance: how many prompts are drawn by chance; None: every combination. seeds, limit: as in `VariantsConfig`.
    """

    on: bool | None = None
    sweep: Sequence[str] = ()
    replace: Sequence[str] = ()
    slots: Sequence[str] = ()
    wildcards: Sequence[Path] = ()
    chance: int | None = None
    seeds: str | None = None
    limit: int | None = None

    def applied(self, values: Mapping[str, Any], prompts: Sequence[str]) -> dict[str, Any]:
        """Return the values of a config with these options; *prompts*: those that were given as options.

        Raises:
            ConfigError: an option is not of its form, or contradicts --no-variants.
        """
        given = self._given()
        before = values.get("variants")
        if self.on is False:
            if given:
                raise ConfigError([f"--no-variants and {self._named(given)} contradict each other"])
            return {name: value for name, value in values.items() if name != "variants"}
        if not (self.on or given or before is not None or any(map(has_syntax, prompts))):
            return dict(values)
        section = {**(before if isinstance(before, dict) else {}), **given}
        if section.get("mode") == "random" and section.get("seed") is None and _seed_of(values) < 0:
            import secrets  # noqa: PLC0415  # loads OpenSSL, for chance only

            section["seed"] = secrets.randbelow(2**32)  # here, so that --dry-run shows what can be run
        return {**values, "variants": section}

    def _given(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if self.sweep:
            given["sweep"] = _once(
                (_pair(text, "--sweep", "txt2img.cfg_scale=5,7,9") for text in self.sweep), "--sweep"
            )
        if self.slots:
            pairs = _once((_pair(text, "--slot", "time=dawn,dusk") for text in self.slots), "--slot").items()
            given["slots"] = {name: _cells(values) for name, values in pairs}
        if self.replace:
            given["replace"] = [_words(text) for text in self.replace]
        if self.wildcards:
            given["wildcards"] = [str(path) for path in self.wildcards]
        if self.chance is not None:
            given |= {"mode": "random", "count": self.chance}
        if self.seeds is not None:
            given["seeds"] = self.seeds.replace("-", "_")
        if self.limit is not None:
            given["limit"] = self.limit
        return given

    @staticmethod
    def _named(given: Mapping[str, Any]) -> str:
        options = {"slots": "--slot", "mode": "--random"}
        return ", ".join(options.get(name, f"--{name}") for name in given if name != "count")


def _seed_of(values: Mapping[str, Any]) -> int:
    sections = (values.get(name) for name in ("txt2img", "img2img"))
    seeds = (section.get("seed", -1) for section in sections if isinstance(section, dict))
    return next((seed for seed in seeds if isinstance(seed, int)), -1)


def _pair(text: str, option: str, example: str) -> tuple[str, str]:
    name, sign, values = text.partition("=")
    if not sign or not name.strip() or not values.strip():
        raise ConfigError([f"{option}: got {shown(text)}, should be like {example}"])
    return name.strip(), values.strip()


def _once(pairs: Iterable[tuple[str, str]], option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, values in pairs:
        if name in found:
            raise ConfigError([f"{option} {shown(name)[1:-1]}: is given twice; give all its values in one"])
        found[name] = values
    return found


def _words(text: str) -> list[str]:
    words = _cells(text)
    if len(words) < 2:  # noqa: PLR2004  the word and another
        raise ConfigError([f"--replace: got {shown(text)}, should be the word and at least one other: mill,castle"])
    return words


def _cells(text: str) -> list[str]:
    return [cell.strip() for row in csv.reader([text], skipinitialspace=True) for cell in row if cell.strip()]
