"""A1111's prompt syntax, read once for every backend: weights, LoRAs, BREAK and AND.

Nested weights are multiplied out, `[x]` is a weight below 1. Prompt editing and alternation, which only A1111 has, are
replaced by their nearest part, with a warning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOUDER, _QUIETER = 1.1, 1 / 1.1
_NETWORK = re.compile(r"<(\w+):([^<>]*)>")
_BREAK = re.compile(r"(?<!\w)BREAK(?!\w)")
_AND = re.compile(r"\s+AND\s+|\s+AND$|^AND\s+")
_PART_WEIGHT = re.compile(r"^(?P<text>.*?):\s*(?P<weight>[-+]?\d*\.?\d+)\s*$", re.DOTALL)
_TOKEN = re.compile(r"\\[\\()\[\]:|]|[()\[\]]|[^\\()\[\]]+|\\", re.DOTALL)
_CLOSING_WEIGHT = re.compile(r":\s*([-+]?\d*\.?\d+)\s*$")
_EDIT = re.compile(r"\[(?P<before>[^\[\]():|]*:)?(?P<after>[^\[\]():|]*):\s*(?P<when>\d*\.?\d+)\s*\]")
_ALTERNATE = re.compile(r"(?<!\\)\[(?P<parts>[^\[\]]*\|[^\[\]]*)\]")


class Lora(NamedTuple):
    """A LoRA of a prompt. clip, unet: its strengths on the text encoder and on the model."""

    name: str
    clip: float
    unet: float


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in parts.

    parts: of AND, each the texts between BREAKs, still with weights. loras: in order. warnings: what the program cannot
    say.
    """

    parts: tuple[tuple[str, ...], ...]
    loras: tuple[Lora, ...] = ()
    warnings: tuple[str, ...] = ()


def networks_of(prompt: str) -> list[str]:
    """Return the networks that a prompt names, such as "lora:detail", without their strengths."""
    return [f"{kind}:{rest.partition(':')[0]}" for kind, rest in _NETWORK.findall(prompt)]


def parsed(prompt: str, *, program: str, steps: int = 20) -> Prompt:
    """Return the parts of a prompt in A1111's syntax.

    Args:
        prompt: in A1111's syntax.
        program: that renders it, for the warnings.
        steps: of the sampling, for a prompt that changes at a step.
    """
    warnings: list[str] = []
    text, loras = _without_networks(prompt, program, warnings)
    text = _without_schedules(text, steps, program, warnings)
    parts = []
    for joined in _AND.split(text):
        weighed = _PART_WEIGHT.match(joined) if _AND.search(text) else None
        if weighed is not None:
            warnings.append(f"{program} weighs the parts of AND alike, so the weight {weighed['weight']} has no effect")
        piece = weighed["text"] if weighed else joined
        parts.append(tuple(part.strip() for part in _BREAK.split(piece)))
    return Prompt(tuple(parts), loras, tuple(dict.fromkeys(warnings)))


def _without_networks(prompt: str, program: str, warnings: list[str]) -> tuple[str, tuple[Lora, ...]]:
    loras: list[Lora] = []

    def take(found: re.Match[str]) -> str:
        kind, rest = found[1].lower(), found[2]
        if kind not in {"lora", "lyco"}:
            warnings.append(f"{program} has no {found[1]}, so {found[0]} is left out")
            return ""
        lora = _lora(rest)
        if lora is None:
            warnings.append(f"{found[0]} cannot be read and is left out; a LoRA is <lora:name:0.8>")
        else:
            loras.append(lora)
        return ""

    return _NETWORK.sub(take, prompt), tuple(loras)


def _lora(text: str) -> Lora | None:
    name, *values = (part.strip() for part in text.split(":"))
    named = dict(value.split("=", 1) for value in values if "=" in value)
    plain = [value for value in values if "=" not in value]
    try:
        clip = float(named.get("te", plain[0] if plain else 1.0))
        unet = float(named.get("unet", plain[1] if len(plain) > 1 else clip))
    except ValueError:
        return None
    return Lora(name, clip, unet) if name else None


def _without_schedules(text: str, steps: int, program: str, warnings: list[str]) -> str:
    def edited(found: re.Match[str]) -> str:
        when = float(found["when"])
        share = when / steps if when > 1 or "." not in found["when"] else when
        before, after = (found["before"] or "").removesuffix(":"), found["after"]
        kept = after if share <= 1 / 2 else before
        warnings.append(f"{program} changes no prompt while it samples: {found[0]} is taken as {kept.strip()!r}")
        return kept

    def alternating(found: re.Match[str]) -> str:
        kept = found["parts"].split("|")[0]
        warnings.append(f"{program} alternates between no words: {found[0]} is taken as {kept.strip()!r}")
        return kept

    before = None
    while before != text:
        before, text = text, _ALTERNATE.sub(alternating, _EDIT.sub(edited, text))
    return text


# -- weights ----------------------------------------------------------------------------------------------------------


def weighed_pieces(text: str) -> list[tuple[str, float]]:
    """Return the parts of a text with the weight of each, neighbours of one weight joined."""
    weights: list[list[float]] = []
    pieces: list[list[str]] = []
    open_at: list[tuple[str, int]] = []

    def multiply(begin: int, factor: float) -> None:
        for index in range(begin, len(pieces)):
            weights[index][0] *= factor

    for sign in _TOKEN.findall(text):
        if sign in {"(", "["}:
            open_at.append((sign, len(pieces)))
        elif sign == ")" and open_at and open_at[-1][0] == "(":
            begin = open_at.pop()[1]
            found = _CLOSING_WEIGHT.search(pieces[-1][0]) if len(pieces) > begin else None
            if found is not None:
                pieces[-1][0] = pieces[-1][0][: found.start()]
            multiply(begin, _LOUDER if found is None else float(found[1]))
        elif sign == "]" and open_at and open_at[-1][0] == "[":
            multiply(open_at.pop()[1], _QUIETER)
        else:
            pieces.append([sign[1:] if len(sign) > 1 and sign[0] == "\\" else sign])
            weights.append([1.0])
    for bracket, begin in open_at:  # A1111 closes what is open at the end
        multiply(begin, _LOUDER if bracket == "(" else _QUIETER)
    return _joined([(piece[0], weight[0]) for piece, weight in zip(pieces, weights, strict=True)])


def _joined(pieces: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    joined: list[tuple[str, float]] = []
    for text, weight in pieces:
        if joined and joined[-1][1] == weight:
            joined[-1] = (joined[-1][0] + text, weight)
        elif text:
            joined.append((text, weight))
    return joined
