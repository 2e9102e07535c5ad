"""How large the content of a config may be: every file and every assignment is held to the same limits.

They lie far above what a run has any use for, and so low that reading and refusing takes a second and some megabytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "MAX_BYTES",
    "MAX_DEPTH",
    "MAX_DIGITS",
    "MAX_VALUES",
    "GivenTwice",
    "OutOfBounds",
    "check",
    "check_digits",
    "read_int",
    "too_deep",
    "too_large",
    "too_many",
]

MAX_BYTES = 1 << 20
"""Bytes of a file: a list of some ten thousand pictures, and what YAML takes a second to read."""

MAX_DEPTH = 64
"""Levels of sections, lists and dotted keys. Arguments of extensions have five; every parser takes more than these."""

MAX_VALUES = 100_000
"""Values in all, each counted as often as an alias repeats it: as many as a run may have images."""

MAX_DIGITS = 100
"""Digits of a whole number. A seed has 19; of thousands, Python refuses to print one and takes long to read one."""

_LARGEST = 10**MAX_DIGITS


class OutOfBounds(ValueError):
    """The content exceeds a limit; the message says which, and what is allowed."""


class GivenTwice(ValueError):
    """A key stands twice in one table, so that one of its values would be lost. lines: where, None if not known."""

    def __init__(self, key: str, lines: tuple[int, int] | None = None) -> None:
        first, second = lines or (0, 0)
        where = "" if lines is None else f" (line{f's {first} and' if first < second else ''} {second})"
        super().__init__(f"{shown(key)} is given twice{where}; keep one of them")


def too_deep() -> OutOfBounds:
    """Return the error about content that is nested too deeply."""
    return OutOfBounds(f"nested too deeply; at most {MAX_DEPTH} levels are allowed")


def too_many(what: str = "it holds") -> OutOfBounds:
    """Return the error about too many values."""
    return OutOfBounds(f"{what} more than {MAX_VALUES:,} values, the most that is allowed")


def too_large() -> OutOfBounds:
    """Return the error about a file of too many bytes."""
    return OutOfBounds(f"larger than {MAX_BYTES >> 20} MiB, the most that is allowed for a config")


def check_digits(text: str) -> None:
    """Check the length of a whole number as it is written.

    Raises:
        OutOfBounds: it has too many digits.
    """
    if len(text) > MAX_DIGITS:
        raise _too_long(len(text))


def read_int(text: str) -> int:
    """Return the whole number in *text*; raises as `check_digits`."""
    check_digits(text)
    return int(text)


def check(values: object) -> None:
    """Check the depth, the number and the digits of plain values that a parser returned.

    Raises:
        OutOfBounds: one of the limits is exceeded.
    """
    level: list[object] = [values]
    seen = depth = 0
    while level:
        seen += len(level)
        if seen > MAX_VALUES:
            raise too_many()
        if depth > MAX_DEPTH:
            raise too_deep()
        level = [inner for value in level for inner in _inside(value)]
        depth += 1


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, int) and not -_LARGEST < value < _LARGEST:
        raise _too_long(round(value.bit_length() * 0.30103))
    if isinstance(value, Mapping):
        return [*value.values(), *(key for key in value if not isinstance(key, str))]
    return value if isinstance(value, list | tuple | set) else ()


def _too_long(digits: int) -> OutOfBounds:
    return OutOfBounds(f"a number of about {digits:,} digits; at most {MAX_DIGITS} are allowed")
