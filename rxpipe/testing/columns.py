"""How wide text is on a terminal, where emoji take two columns and what joins them none."""

from __future__ import annotations

import unicodedata

JOINER = "\u200d"


def text_width(text: str) -> int:
    """Return how many columns of a terminal *text* takes: two for an emoji, none for a joiner."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for before, char in zip(" " + text, text, strict=False) if before != JOINER)


def _char_width(char: str) -> int:
    if (
        unicodedata.combining(char)
        or "\U0001f3fb" <= char <= "\U0001f3ff"
        or unicodedata.category(char) in {"Cf", "Mn", "Me"}
    ):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def padded(text: str, width: int, fill: str = " ") -> str:
    """Return *text* filled up to *width* columns."""
    return text + fill * (width - text_width(text))
