"""Marks as text: the shortest diagram that the grammar reads as the same marks.

The reader is `rxpipe.testing.grammar`; `parse(render(marks)).marks == marks`.
"""

from __future__ import annotations

from itertools import groupby, pairwise
from typing import TYPE_CHECKING

from rxpipe.testing.clock import MarbleError, in_words
from rxpipe.testing.grammar import EMOJI, FRAME_US, NAME, SIGNS, Mark, Subscription

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__tracebackhide__ = True  # pytest shows the test's line, not ours

LONGEST_DASHES = 12
SKINS = frozenset("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")


def render(marks: Iterable[Mark]) -> str:
    """Return the shortest text that parses to *marks*; `parse(render(marks)).marks == marks`.

    Raises:
        MarbleError: times that fall, or a name that holds a brace or a line break.
    """
    groups = [(at, list(group)) for at, group in groupby(marks, key=lambda mark: mark.at)]
    if any(later <= at for (at, _), (later, _) in pairwise(groups)):
        raise MarbleError("Marks to render must be in order of time.")
    early = bool(groups) and groups[0][0] < 0
    if early:
        groups = _with_zero(groups)
    return "".join(_apart(_lay_out(groups, early=early))).strip()


def _apart(tokens: Iterable[str]) -> Iterator[str]:
    """Yield the tokens, and a blank where two would be read as one: a digit and a letter, an emoji and a skin."""
    before = ""
    for text in tokens:
        if (before[-1:].isdigit() and text[:1] in {"u", "m", "s"}) or text[:1] in SKINS:
            yield " "
        yield text
        before = text or before


def _with_zero(groups: list[tuple[int, list[Mark]]]) -> list[tuple[int, list[Mark]]]:
    zero = Mark(0, "on")
    if any(at == 0 for at, _ in groups):
        return [(at, [zero, *marks] if at == 0 else marks) for at, marks in groups]
    return sorted([*groups, (0, [zero])])


def _lay_out(groups: list[tuple[int, list[Mark]]], *, early: bool) -> Iterator[str]:
    at = groups[0][0] if early else 0
    for index, (start, marks) in enumerate(groups):
        if start < at:
            if early and start <= 0:
                raise MarbleError("Up to time zero, each mark needs a frame of its own.")
            yield f" @{in_words(start)} "
        else:
            yield _gap(start - at)
        following = groups[index + 1][0] if index + 1 < len(groups) else None
        text, width = _cell(marks, following if following is None else following - start)
        yield text
        at = start + width


def _gap(us: int) -> str:
    if us % FRAME_US == 0 and us <= LONGEST_DASHES * FRAME_US:
        return "-" * (us // FRAME_US)
    return f" {in_words(us)} "


def _cell(marks: list[Mark], room_us: int | None) -> tuple[str, int]:
    tokens = "".join(_apart(token(mark) for mark in marks))
    if len(marks) == 1:
        return tokens, FRAME_US
    wide = FRAME_US * (len(marks) + 2)
    return (f"({tokens})", wide) if room_us is None or room_us >= wide else (f"[{tokens}]", FRAME_US)


def token(mark: Mark) -> str:
    """Return how one mark is written: its symbol, its letter, or its {name}."""
    if mark.kind != "next":
        return SIGNS[mark.kind]
    is_blank = mark.name.isspace()  # some blanks lie between the pictures
    if (len(mark.name) == 1 and mark.name.isalnum()) or (EMOJI.fullmatch(mark.name) and not is_blank):
        return mark.name
    if not NAME.fullmatch("{" + mark.name + "}"):
        raise MarbleError(f"{mark.name!r} cannot be a name in a diagram.")
    return "{" + mark.name + "}"


def render_subscription(subscription: Subscription | None) -> str:
    """Return `^--!` for a subscription that is over, `^` for one that is not, nothing for none."""
    if subscription is None:
        return ""
    marks = [Mark(subscription.on_us, "on")]
    if subscription.off_us is not None:
        marks.append(Mark(subscription.off_us, "off"))
    return render(marks)
