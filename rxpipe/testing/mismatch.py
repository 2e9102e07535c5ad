"""What a failure says: a reason in one line, both rows on one time axis, what differs inside a value, the test's line.

Written for a terminal of 80 columns, of which pytest takes 8.
"""

from __future__ import annotations

import textwrap
from functools import cached_property
from typing import TYPE_CHECKING

from rxpipe.testing.clock import spoken
from rxpipe.testing.diagram import MarblePicture, aligned
from rxpipe.testing.difference import MOST, differences, distinguished, is_structured, summary
from rxpipe.testing.naming import Names
from rxpipe.testing.origin import placed, raised_at
from rxpipe.testing.rendering import render
from rxpipe.testing.signals import Recorded, same, same_thing
from rxpipe.testing.values import short

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.grammar import Mark

__tracebackhide__ = True  # pytest shows the test's line, not ours

WIDTH = 72
ROW = WIDTH - 12
MOST_NAMES = 10
MOST_LINES = 6
MOST_AT_ONCE = 40


class Mismatch(AssertionError):
    """What was emitted is not what was expected; `reason`, `expected` and `actual` hold the parts of the message."""

    __module__ = "rxpipe.testing"  # where users import it from, and what a failure should call it

    def __init__(
        self, reason: str, expected: tuple[Recorded, ...], actual: tuple[Recorded, ...], *, where: str = ""
    ) -> None:
        self.reason, self.expected, self.actual, self.where = reason, expected, actual, where
        super().__init__(self.text())

    def text(self) -> str:
        """Return the whole failure as text."""
        picture = self._picture
        parts = [
            aligned(picture.rows, picture.carets, ROW),
            [*wrapped_legend(picture.legend), *self._errors()],
            self._inside(),
            [*as_code("actual as text:", picture.rows[1][1]), *placed(self.where)],
        ]
        body = "\n\n".join("\n".join(f"  {line}".rstrip() for line in part) for part in parts if part)
        return f"{wrapped_reason(self.reason)}\n\n{body}"

    def picture(self) -> MarblePicture:
        """Return both rows, named alike, the differences, and a legend of the names around the first difference."""
        return self._picture

    @cached_property
    def _picture(self) -> MarblePicture:
        names = Names(self.expected)
        expected = names.row(self.expected)
        actual = names.row(self.actual, self.expected)
        carets = differing(self.expected, self.actual)
        shown = _names_near(min(carets, default=0), expected, actual)
        return MarblePicture(
            (("expected", expected), ("actual", actual)),
            title=self.reason,
            carets=carets,
            legend=names.legend(shown),
        )

    def _errors(self) -> list[str]:
        lines = []
        for label, row in (("expected", self.expected), ("actual", self.actual)):
            for recorded in row:
                if recorded.kind == "error":
                    lines.append(f"# {label} = {short(recorded.value)}")
                    lines += [f"    {line}" for line in raised_at(recorded.value)]
        return lines

    def _inside(self) -> list[str]:
        """Return where the first value that differs does so, if it is one with parts."""
        pair = _first_pair(self.expected, self.actual)
        if pair is None:
            return []
        one, other = pair
        text = one.value if isinstance(one.value, str) and one.value == one.name else None
        if text is not None and isinstance(other.value, int | float) and str(other.value) == text:
            return [f"{one.value!r} is a text, as names are without values; values=int makes numbers."]
        found = differences(one.value, other.value)
        if len(found) < 2:  # noqa: PLR2004 - one is in the reason
            return []
        more = ["  and more"] if len(found) > MOST else []
        title = f"{shown(one)} at {spoken(one.at)}:"
        lines = [textwrap.wrap(str(each), WIDTH - 4, subsequent_indent="    ") for each in found[:MOST]]
        return [title, *(f"  {line}" for each in lines for line in each), *more]

    def svg(self) -> str:
        """Return the failure as a picture."""
        return self._picture.svg()

    def _repr_svg_(self) -> str:
        return self.svg()


def _names_near(at: int, *rows: tuple[Mark, ...]) -> list[str]:
    """Return the names of the marks nearest to an instant, in the order of the rows."""
    nearest: list[Mark] = []
    for row in rows:
        values = [mark for mark in row if mark.kind == "next"]
        first = max(0, next((n for n, mark in enumerate(values) if mark.at >= at), len(values)) - MOST_NAMES // 2)
        nearest += values[first : first + MOST_NAMES]
    return list(dict.fromkeys(mark.name for mark in nearest))[:MOST_NAMES]


def wrapped_reason(reason: str) -> str:
    """Return a reason in lines that have room beside pytest's margin and, in the first, the name of the error."""
    name = "rxpipe.testing.Mismatch: "
    lines = textwrap.wrap(reason, WIDTH, initial_indent=" " * len(name), subsequent_indent="  ")
    return "\n".join([lines[0][len(name) :], *lines[1:]])


def wrapped_legend(legend: Mapping[str, str]) -> list[str]:
    """Return the lines of a legend."""
    entries = (f"{name} = {meaning}" for name, meaning in legend.items())
    return [line for entry in entries for line in textwrap.wrap(entry, WIDTH - 2, subsequent_indent="    ")]


def as_code(label: str, marks: Sequence[Mark]) -> list[str]:
    """Return *label* and the diagram of *marks* as Python has it: one text, or several that Python joins."""
    text = render(marks)
    if len(text) + len(label) + 5 < WIDTH:
        return [f'{label} "{text}"']
    pieces = _pieces(text, WIDTH - 8)
    if len(pieces) > MOST_LINES:
        return [f"{label} {len(marks):,} marks, too long to show (see text() of it)"]
    return [label, *(f'  "{piece}"' for piece in pieces)]


def _pieces(text: str, width: int) -> list[str]:
    """Return *text* in pieces, none of which ends inside a name, a time or a group if that can be helped."""
    pieces: list[str] = []
    while len(text) > width and len(pieces) <= MOST_LINES:
        cut = max(text.rfind(" ", 0, width) + 1, text.rfind("-", 0, width) + 1) or width
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text]


def differing(expected: tuple[Recorded, ...], actual: tuple[Recorded, ...]) -> frozenset[int]:
    """Return the instants at which the rows do not hold the same, in the same order."""
    rows: tuple[dict[int, list[Recorded]], ...] = ({}, {})
    for row, messages in zip(rows, (expected, actual), strict=True):
        for recorded in messages:
            row.setdefault(recorded.at, []).append(recorded)
    return frozenset(
        at for at in rows[0].keys() | rows[1].keys() if not _alike(rows[0].get(at, []), rows[1].get(at, []))
    )


def _alike(expected: list[Recorded], actual: list[Recorded]) -> bool:
    return len(expected) == len(actual) and all(map(same, expected, actual))


def _first_pair(expected: tuple[Recorded, ...], actual: tuple[Recorded, ...]) -> tuple[Recorded, Recorded] | None:
    """Return the first value that came in place of another one, at its time."""
    for one, other in zip(expected, actual, strict=False):
        if not same(one, other):
            return (one, other) if one.kind == other.kind == "next" and one.at == other.at else None
    return None


def reason(expected: tuple[Recorded, ...], actual: tuple[Recorded, ...]) -> str | None:
    """Return the first difference in one line, None where there is none."""
    for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
        if not same(one, other):
            order = _order(one.at, expected, actual) if one.at == other.at else None
            return order or _reason_at(index, expected, actual)
    if len(expected) > len(actual):
        return f"{shown(expected[len(actual)])} is missing"
    if len(expected) < len(actual):
        return _extra(len(expected), actual)
    return None


def _order(at: int, expected: tuple[Recorded, ...], actual: tuple[Recorded, ...]) -> str | None:
    """Return that the same came at one instant in another order; None if it did not."""
    rows = [[recorded for recorded in row if recorded.at == at] for row in (expected, actual)]
    if len(rows[0]) != len(rows[1]) or len(rows[0]) > MOST_AT_ONCE:
        return None
    left = list(rows[0])
    came = []
    for recorded in rows[1]:
        found = next((one for one in left if same_thing(one, recorded)), None)
        if found is None:
            return None
        came.append(found)
        left.remove(found)
    while came[-1] is rows[0][len(came) - 1]:  # what is in its place says nothing about the order
        came.pop()
    names = [" ".join(map(shown, row[: len(came)])) for row in (came, rows[0])]
    return f"at {spoken(at)} the order is {names[0]}, not {names[1]}"


def _reason_at(index: int, expected: tuple[Recorded, ...], actual: tuple[Recorded, ...]) -> str:
    one, other = expected[index], actual[index]
    if same_thing(one, other):
        late = other.at - one.at
        return f"{shown(one)} came {spoken(abs(late))} {'late' if late > 0 else 'early'}"
    if any(same(each, other) for each in expected[index + 1 :]):
        return f"{shown(one)} is missing"
    if any(same(one, each) for each in actual[index + 1 :]):
        return _extra(index, actual)
    if one.kind == other.kind == "error":
        came, wanted = distinguished(other.value, one.value, WIDTH)
        return f"the error is {came}, not {wanted}"
    if one.at == other.at:
        return f"at {spoken(one.at)} {_instead(one, other)}"
    came, wanted = _names_apart(one, other)
    return f"{wanted} was expected at {spoken(one.at)}; {came} came at {spoken(other.at)}"


def _instead(one: Recorded, other: Recorded) -> str:
    if one.kind == other.kind == "next":
        found = differences(one.value, other.value)
        if found and (found[0].path or (is_structured(one.value) and is_structured(other.value))):
            return f"{shown(one)} is not as expected: {summary(found)}"
    came, wanted = _names_apart(one, other)
    return f"{came} came where {wanted} was expected"


def _names_apart(one: Recorded, other: Recorded) -> tuple[str, str]:
    came, wanted = shown(other), shown(one)
    alike = came == wanted or (one.kind == other.kind == "next" and short(one.value) == short(other.value))
    return distinguished(other.value, one.value, 40) if alike else (came, wanted)


def _extra(index: int, actual: tuple[Recorded, ...]) -> str:
    recorded = actual[index]
    if any(before.kind != "next" for before in actual[:index]):
        return f"{shown(recorded)} after the end"
    return f"{shown(recorded)} at {spoken(recorded.at)} was not expected"


def shown(recorded: Recorded) -> str:
    """Return what was emitted as a failure calls it: its name, or a short form of its value."""
    return {"end": "the end", "error": "the error"}.get(recorded.kind) or recorded.name or short(recorded.value, 40)
