"""What a stream emits: a value, an error or the end, at a time; read from a diagram, delivered to an observer."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from reactivex import Observable, abc

from rxpipe.testing.clock import MarbleError
from rxpipe.testing.grammar import parse
from rxpipe.testing.matchers import Matching, matches

if TYPE_CHECKING:
    from rxpipe.testing.grammar import Diagram, Kind, Mark

__tracebackhide__ = True  # pytest shows the test's line, not ours


Values = Mapping[Any, Any] | Sequence[Any] | Callable[[str], Any] | None
"""What the names of a diagram stand for: a mapping (a digit may be its number), a list (by digits), a function of the
name (`int`), or None: each for itself."""


class Fault(Exception):
    """What `#` stands for where no error is given."""


class Recorded(NamedTuple):
    """What was emitted or is expected: `at` in microseconds, `value` a value, an error or None, `name` its name."""

    at: int
    kind: Kind
    value: Any = None
    name: str = ""


def resolve(diagram: Diagram, values: Values = None, error: object = None) -> tuple[Recorded, ...]:
    """Return the marks of *diagram* with values for names and an error for `#`; what is before `^` needs no value.

    Raises:
        MarbleError: a name that *values* does not know.
    """
    fault = Fault("#") if error is None else error
    return tuple(_resolve(mark, values, fault) for mark in diagram.marks)


def _resolve(mark: Mark, values: Values, error: object) -> Recorded:
    if mark.kind != "next":
        return Recorded(mark.at, mark.kind, error if mark.kind == "error" else None)
    if values is None:
        return Recorded(mark.at, "next", mark.name, mark.name)
    if mark.at < 0 and not callable(values) and mark.name not in _names(values):
        return Recorded(mark.at, "next", mark.name, mark.name)
    return Recorded(mark.at, "next", _value(mark.name, values), mark.name)


def _value(name: str, values: Any) -> Any:
    if callable(values):
        return values(name)
    if isinstance(values, Mapping) and name in values:
        return values[name]
    if name.isdecimal() and (int(name) in values if isinstance(values, Mapping) else int(name) < len(values)):
        return values[int(name)]
    known = _names(values)
    longer = [other for other in known if len(other) > 1 and other.startswith(name)]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean {near[0]!r}?" if near else None
    if longer and len(name) == 1:
        hint = f"A name of more than one character stands in braces: {{{longer[0]}}}."
    raise MarbleError(f"No value for {name!r}; there are values for {_listed(known)}.", hint=hint)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:20])) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "nothing"  # noqa: PLR2004 - as many as are read


def _names(values: Any) -> list[str]:
    return [str(name) for name in (values if isinstance(values, Mapping) else range(len(values)))]


def deliver(recorded: Recorded, observer: abc.ObserverBase[Any]) -> None:
    """Emit *recorded* to *observer*."""
    if recorded.kind == "next":
        observer.on_next(recorded.value)
    elif recorded.kind == "error":
        observer.on_error(recorded.value)
    else:
        observer.on_completed()


def same_stream(stream: object, expected: tuple[Recorded, ...], actual: object) -> bool:
    """Return whether *actual*, an emitted value, is *stream* or was recorded as *expected*."""
    recorded: list[Recorded] | None = getattr(actual, "messages", None)
    if recorded is None:
        return actual is stream
    return getattr(actual, "stream", None) is stream or (
        len(expected) == len(recorded) and all(map(same, expected, recorded))
    )


def same(expected: Recorded, actual: Recorded) -> bool:
    """Return whether the same was emitted at the same time."""
    return expected.at == actual.at and same_thing(expected, actual)


def same_thing(expected: Recorded, actual: Recorded) -> bool:
    """Return whether the same was emitted, at any time."""
    if expected.kind != actual.kind:
        return False
    if isinstance(expected.value, Observable) and not hasattr(type(expected.value), "matches"):
        return getattr(actual.value, "stream", actual.value) is expected.value
    try:
        return matches(expected.value, actual.value)
    except RecursionError:
        kind = type(actual.value).__name__
        hint = "Compare a part of it, by a function or a matcher."
        raise MarbleError(f"A {kind} nests too deeply, or holds itself, to be compared.", hint=hint) from None


def notification(text: str, values: Values = None, error: object = None) -> Matching:
    """Match a notification as `ops.materialize` emits it: one mark, "a" a value, "|" the end, "#" the error."""
    (mark,) = resolve(parse(text), values, error)
    kinds = {"N": "next", "C": "end", "E": "error"}

    def came(actual: Any) -> bool:
        if kinds.get(getattr(actual, "kind", "")) != mark.kind:
            return False
        return mark.kind == "end" or matches(mark.value, actual.value if mark.kind == "next" else actual.exception)

    return Matching(came, f'notification "{text}"')
