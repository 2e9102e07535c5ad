"""Where a value differs from the expected one: a path, what came and what was expected, for anything that nests.

Follows `matchers.matches`: what matches there has no difference here, what does not has at least one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice, zip_longest
from typing import Any, NamedTuple

from rxpipe.testing.matchers import matches
from rxpipe.testing.values import fields_of, is_array, short

__tracebackhide__ = True  # pytest shows the test's line, not ours

DEEPEST = 20
NEAR = 18
MOST = 6
"""How many differences a failure lists."""
SHOWN = 30
_ABSENT = object()


class Difference(NamedTuple):
    """One place where two values differ: the path to it, empty at the top, and what is there."""

    path: str
    words: str

    def __str__(self) -> str:
        return f"{self.path} is {self.words}" if self.path else self.words


def differences(expected: object, actual: object) -> list[Difference]:
    """Return where *actual* differs from *expected*, at most `MOST` + 1 places in the order of *expected*."""
    return list(islice(_walk("", expected, actual, 0), MOST + 1))


def is_structured(value: object) -> bool:
    """Return whether a value has parts, so that a line for the whole does not show where it differs."""
    if isinstance(value, str | bytes):
        return len(value) > SHOWN
    return isinstance(value, Mapping | list | tuple | AbstractSet) or is_array(value) or fields_of(value) is not None


def _walk(path: str, expected: Any, actual: Any, depth: int) -> Iterator[Difference]:
    if matches(expected, actual):
        return
    explain = getattr(type(expected), "explain", None)
    if explain is not None:
        for inner, one, other in explain(expected, actual):
            yield from _walk(path + inner, one, other, depth + 1) if inner else [Difference(path, _apart(one, other))]
    elif isinstance(expected, AbstractSet) and isinstance(actual, AbstractSet) and expected ^ actual:
        yield from _sets_apart(path, expected, actual)
    elif is_array(expected) and is_array(actual):
        yield Difference(path, _arrays_apart(expected, actual))
    elif depth < DEEPEST and (parts := _parts(expected, actual)) is not None:
        yield from _walk_parts(path, parts, expected, actual, depth + 1)
    else:
        yield Difference(path, _apart(expected, actual))


Parts = Iterator[tuple[str, Any, Any]]


def _walk_parts(path: str, parts: Parts, expected: Any, actual: Any, depth: int) -> Iterator[Difference]:
    found = False
    for step, one, other in parts:
        if other is _ABSENT:
            yield Difference(path + step, f"missing; {short(one, SHOWN)} was expected")
        elif one is _ABSENT:
            yield Difference(path + step, f"{short(other, SHOWN)}, and was not expected")
        else:
            if matches(one, other):
                continue
            yield from _walk(path + step, one, other, depth)
        found = True
    if not found:
        yield Difference(path, _apart(expected, actual))


def _parts(expected: Any, actual: Any) -> Parts | None:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        keys = dict.fromkeys([*expected, *actual])
        return ((f"[{short_key(key)}]", expected.get(key, _ABSENT), actual.get(key, _ABSENT)) for key in keys)
    if isinstance(expected, list | tuple) and type(expected) is type(actual):
        names = getattr(expected, "_fields", None)
        pairs = enumerate(zip_longest(expected, actual, fillvalue=_ABSENT))
        return ((f".{names[n]}" if names else f"[{n}]", *pair) for n, pair in pairs)
    names = fields_of(expected)
    if names is not None and type(expected) is type(actual):
        return ((f".{name}", getattr(expected, name, _ABSENT), getattr(actual, name, _ABSENT)) for name in names)
    return None


def short_key(key: object) -> str:
    """Return a key of a mapping as it stands in a path."""
    return f'"{key}"' if isinstance(key, str) and key.isprintable() else short(key, SHOWN)


def _sets_apart(path: str, expected: AbstractSet[Any], actual: AbstractSet[Any]) -> Iterator[Difference]:
    for each in sorted(expected - actual, key=repr):
        yield Difference(f"{path}{{{short(each, SHOWN)}}}", "missing")
    for each in sorted(actual - expected, key=repr):
        yield Difference(f"{path}{{{short(each, SHOWN)}}}", "there, and was not expected")


def _apart(expected: object, actual: object) -> str:
    """Return both in words that differ: texts from where they differ, types where the texts are the same."""
    if isinstance(expected, str) and isinstance(actual, str) and len(expected) + len(actual) > SHOWN:
        return _texts_apart(expected, actual, "character")
    if isinstance(expected, bytes) and isinstance(actual, bytes) and len(expected) + len(actual) > SHOWN:
        return _texts_apart(expected, actual, "byte")
    came, wanted = distinguished(actual, expected, SHOWN)
    return f"{came}, not {wanted}"


def distinguished(one: object, other: object, width: int) -> tuple[str, str]:
    """Return both in a line each; with quotes and types where they would read the same."""
    lines = short(one, width), short(other, width)
    return lines if lines[0].strip("'\"") != lines[1].strip("'\"") else _typed(one, other, width)


def _typed(one: object, other: object, width: int) -> tuple[str, str]:
    kinds = type(one), type(other)
    exact = tuple(f"{_exactly(each, width)} ({kind.__name__})" for each, kind in zip((one, other), kinds, strict=True))
    if exact[0] != exact[1]:
        return exact[0], exact[1]
    if kinds[0] is not kinds[1]:
        return f"{exact[0]} of {kinds[0].__module__}", f"{exact[1]} of {kinds[1].__module__}"
    return f"another {exact[0]}", exact[1]


def _exactly(value: object, width: int) -> str:
    return repr(value) if isinstance(value, str) and len(value) <= width else short(value, width)


def _texts_apart(expected: str | bytes, actual: str | bytes, word: str) -> str:
    at = next((n for n, pair in enumerate(zip(expected, actual, strict=False)) if pair[0] != pair[1]), None)
    if at is None:
        at = min(len(expected), len(actual))
    return f"{_around(actual, at)}, not {_around(expected, at)}, from {word} {at + 1}"


def _around(text: str | bytes, at: int) -> str:
    begin, end = max(0, at - NEAR // 2), at + NEAR
    return f"{'...' if begin else ''}{text[begin:end]!r}{'...' if end < len(text) else ''}"


def _arrays_apart(expected: Any, actual: Any) -> str:
    for name in ("mode", "shape", "size", "dtype"):
        pair = getattr(actual, name, None), getattr(expected, name, None)
        if pair[0] != pair[1] and not (name == "dtype" and _same_but_for_type(expected, actual)):
            return f"of {name} {pair[0]}, not {pair[1]}"
    import numpy as np  # noqa: PLC0415 - only a test with arrays pays for numpy, and has it

    one, other = np.asarray(expected), np.asarray(actual)
    apart = one != other
    if _are_numbers(one, other):
        apart &= ~(np.isnan(one) & np.isnan(other))
    if not apart.any():
        return "alike in every element, and not equal"
    where = tuple(int(n) for n in np.unravel_index(int(apart.argmax()), apart.shape))
    first = f"first at [{', '.join(map(str, where))}]: {other[where]}, not {one[where]}"
    largest = ""
    if _are_numbers(one, other):
        wide = complex if "c" in (one.dtype.kind, other.dtype.kind) else float
        largest = f", by up to {np.nanmax(np.abs(other[apart].astype(wide) - one[apart].astype(wide))):g}"
    return f"unlike in {int(apart.sum())} of {apart.size} elements{largest}, {first}"


def _are_numbers(one: Any, other: Any) -> bool:
    return one.dtype.kind in "biufc" and other.dtype.kind in "biufc"


def _same_but_for_type(expected: Any, actual: Any) -> bool:
    return bool(expected.dtype.kind in "biufc" and actual.dtype.kind in "biufc")


def summary(found: Sequence[Difference]) -> str:
    """Return the first difference in a line, and how many more there are."""
    more = len(found) - 1
    if more >= MOST:
        return f"{found[0]}, and more"
    return f"{found[0]}, and {more} more" if more else str(found[0])
