"""StableNew's prompt packs: a prompt for each block of a text or slot of JSON, with the values of `[[slots]]`."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.errors import ConfigError
from rxpipe.pictures.dialects.parsed import loras_in
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MOST_PROMPTS", "Prompt", "is_pack_text", "pack_of_slots", "pack_of_text", "with_slots"]

MOST_PROMPTS = 8192
"""Prompts that one pack can make, StableNew's own limit."""

_BLOCKS = re.compile(r"\n[ \t]*\n")
_NEGATIVE = re.compile(r"\s*neg(?:ative)?\s*:", re.IGNORECASE)
_EMBEDDING = re.compile(r"<embedding:([^<>:]+)(?::([^<>]+))?>")
_SLOT = re.compile(r"\[\[\s*([^\[\]]+?)\s*\]\]")
_EACH_ITS_OWN = frozenset({"random", "per_prompt"})
_IN_TURN = frozenset({"rotate", "sequential", "round_robin"})


class Prompt(NamedTuple):
    """A prompt of a pack. name: which it is, for a heading."""

    prompt: str
    negative_prompt: str
    name: str


def is_pack_text(text: str) -> bool:
    """Whether a text is a prompt pack by itself: it says what is excluded."""
    return any(line.casefold().startswith("neg:") for line in text.splitlines())


def pack_of_text(text: str, *, tabs: bool = False) -> list[Prompt]:
    """Return the prompts of a `.txt` pack, block by block; of a `.tsv` one, line by line.

    Lines that begin with "#" are comments; those with "neg:" say what is excluded, however many a block has.
    """
    if tabs:
        rows = [line.split("\t", 1) for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        return [_prompt(row[0], row[1] if len(row) > 1 else "", number) for number, row in enumerate(rows, 1)]
    prompts: list[Prompt] = []
    for block in _BLOCKS.split(text.replace("\r\n", "\n").replace("\r", "\n")):
        lines = [line.strip() for line in block.splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        wanted = " ".join(line for line in lines if not _NEGATIVE.match(line))
        excluded = " ".join(_NEGATIVE.sub("", line).strip() for line in lines if _NEGATIVE.match(line))
        if wanted or excluded:
            prompts.append(_prompt(wanted, excluded, len(prompts) + 1))
    return prompts


def pack_of_slots(data: object) -> list[Prompt]:
    """Return the prompts of a pack in JSON (`pack_data`); none where it holds none."""
    slots = data.get("slots", data.get("prompts")) if isinstance(data, Mapping) else None
    prompts: list[Prompt] = []
    for listed in slots if isinstance(slots, list) else []:
        slot = {"text": listed} if isinstance(listed, str) else listed
        if not isinstance(slot, Mapping):
            continue
        wanted = " ".join([*_embedded(slot.get("positive_embeddings")), _text(slot.get("text"))]).strip()
        loras = [f"<lora:{name}:{weight:g}>" for name, weight in loras_in(slot.get("loras"))]
        excluded = " ".join([*_embedded(slot.get("negative_embeddings")), _text(slot.get("negative"))]).strip()
        if wanted:
            prompts.append(_prompt(" ".join([wanted, *loras]), excluded, len(prompts) + 1))
    return prompts


def _prompt(wanted: str, excluded: str, number: int) -> Prompt:
    return Prompt(_plain(wanted.strip()), _plain(excluded.strip()), f"prompt {number}")


def _plain(text: str) -> str:
    """Return a text in which embeddings stand as A1111 has them: their name, in brackets with a weight."""
    return _EMBEDDING.sub(lambda found: f"({found[1]}:{found[2]})" if found[2] else found[1], text)


def _embedded(names: object) -> list[str]:
    listed = names if isinstance(names, list) else []
    return [str(name[0] if isinstance(name, list) and name else name) for name in listed]


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def with_slots(prompts: list[Prompt], matrix: Mapping[str, Any] | None, where: str) -> list[Prompt]:
    """Return the prompts with each `[[slot]]` replaced by its values, as often as the matrix says.

    Mode fanout, grid or all gives every combination, up to the limit; random as many by chance as the limit says, else
    one, the same in every run; rotate and sequential the next one for each prompt.

    Raises:
        ConfigError: a slot has no values, or there would be too many prompts.
    """
    values = _values(matrix or {})
    mode = str((matrix or {}).get("mode", "fanout"))
    limit = (matrix or {}).get("limit")
    most = limit if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else 0
    found: list[Prompt] = []
    for number, prompt in enumerate(prompts):
        found += _filled(prompt, values, mode, most, number, where)
        if len(found) > MOST_PROMPTS:
            raise ConfigError([f"{where}: its slots make more than {MOST_PROMPTS:,} prompts, the most that is allowed"])
    return found


def _values(matrix: Mapping[str, Any]) -> dict[str, list[str]]:
    slots = matrix.get("slots")
    tables = [slot for slot in slots if isinstance(slot, Mapping)] if isinstance(slots, list) else []
    return {
        str(slot.get("name")): [str(value) for value in listed]
        for slot in tables
        if isinstance(listed := slot.get("values"), list) and listed
    }


def _filled(  # noqa: PLR0917  a prompt, and how its slots are filled
    prompt: Prompt, values: Mapping[str, list[str]], mode: str, most: int, number: int, where: str
) -> Iterator[Prompt] | list[Prompt]:
    names = list(dict.fromkeys(_SLOT.findall(f"{prompt.prompt}\n{prompt.negative_prompt}")))
    if not names:
        return [prompt]
    missing = [name for name in names if name not in values]
    if missing:
        listed = ", ".join(f"[[{name}]]" for name in missing[:5])
        allowed = ", ".join(sorted(values)[:20]) or "none"
        raise ConfigError(
            [f"{where}: {prompt.name}: no values for {shown(listed)[1:-1]}; slots with values: {allowed}"],
            hint="They stand in the matrix of the pack's JSON file, or of the preset.",
        )
    total = 1
    for name in names:
        total *= len(values[name])
    if mode in _IN_TURN:
        chosen = [number % total]
    elif mode in _EACH_ITS_OWN:
        chosen = sorted(random.Random(number).sample(range(total), min(total, most or 1)))  # noqa: S311  no secret
    else:
        chosen = list(range(min(total, most or total, MOST_PROMPTS + 1)))
    return [_with_values(prompt, names, values, index) for index in chosen]


def _with_values(prompt: Prompt, names: list[str], values: Mapping[str, list[str]], index: int) -> Prompt:
    """Return a prompt with one combination of values: the last slot changes first."""
    picked: dict[str, str] = {}
    for name in reversed(names):
        index, at = divmod(index, len(values[name]))
        picked[name] = values[name][at]
    listed = ", ".join(f"{name} {picked[name]}" for name in names)
    return Prompt(_fill(prompt.prompt, picked), _fill(prompt.negative_prompt, picked), f"{prompt.name}, {listed}")


def _fill(text: str, picked: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda found: picked[found[1]], text)
