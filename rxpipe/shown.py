"""Text from outside as it may be shown: cut to a length, on one line, without anything that steers a terminal.

Values of configs, pictures and servers pass through here before they stand in a message or on a terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from itertools import islice

__all__ = ["LONGEST", "cut", "escaped", "plain", "shown"]

LONGEST = 80
"""Characters of a value that a message shows: as many as a line of a terminal has."""

_BITS_PER_DIGIT = 3.3219
_FEW_BITS = 256  # up to here a number is printed; Python refuses to print those of thousands of digits
_FEW_ITEMS = 8
_GLYPHS = "━─·"
_SPELT = str.maketrans({"━": "#", "─": ".", "·": "-", "…": "...", "→": "->"})


def cut(text: str, longest: int = LONGEST) -> str:
    """Return *text*, at most *longest* characters of it; three dots stand for the rest."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def shown(value: object, longest: int = LONGEST) -> str:
    """Return what `repr` begins with, without ever making more of it than is shown.

    A number of very many digits is described, since printing one takes long or raises.
    """
    if isinstance(value, int) and value.bit_length() > _FEW_BITS:
        return f"a number of about {int(value.bit_length() / _BITS_PER_DIGIT)} digits"
    if isinstance(value, str | bytes):
        return cut(repr(value[: longest + 1]), longest)
    if isinstance(value, Mapping):
        pairs = islice(value.items(), _FEW_ITEMS if longest else 0)
        parts = [f"{shown(key, longest // 2)}: {shown(inner, longest // 2)}" for key, inner in pairs]
        return cut(_listed("{}", parts, len(value)), longest)
    if isinstance(value, list | tuple | set | frozenset):
        ends = {list: "[]", tuple: "()"}.get(type(value), "{}")
        parts = [shown(inner, longest // 2) for inner in islice(value, _FEW_ITEMS if longest else 0)]
        return cut(_listed(ends, parts, len(value)), longest)
    return cut(repr(value), longest)


def _listed(ends: str, parts: list[str], count: int) -> str:
    return ends[0] + ", ".join([*parts, "..."] if count > len(parts) else parts) + ends[1]


def escaped(text: str, *, keep: str = "") -> str:
    r"""Return *text* with a backslash escape for each control character that is not in *keep*.

    Those are the codes that terminals obey, line ends of every kind, and the invisible characters that turn the
    direction of writing. Blanks of any width stay.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) or char in keep else _escape(char) for char in text)


def _is_harmless(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


def plain(text: str, encoding: str) -> str:
    """Return the text on one line, as *encoding* can hold it, without control sequences.

    Every text that goes to a terminal, or to a file that may be shown on one, goes through this.
    """
    line = escaped(" ".join(text.split("\n")) if "\n" in text else text)
    try:
        line.encode(encoding)
        _GLYPHS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return line.translate(_SPELT).encode(_known(encoding), "backslashreplace").decode(_known(encoding))
    return line


def _known(encoding: str) -> str:
    try:
        "".encode(encoding)
    except LookupError:
        return "ascii"
    return encoding
