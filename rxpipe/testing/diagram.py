"""Diagrams on one time axis: rows of marks as aligned text, with carets where they differ.

Every instant that any row knows becomes a column as wide as its widest cell; long gaps are written as a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.testing.clock import in_words
from rxpipe.testing.grammar import FRAME_US, LONGEST_DASHES, Mark, token

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

Row = tuple[str, "Sequence[Mark]"]


def cells(marks: Sequence[Mark]) -> dict[int, str]:
    """What a row writes at each instant: a token, or several in brackets."""
    found: dict[int, list[str]] = {}
    for mark in marks:
        found.setdefault(mark.at, []).append(token(mark))
    return {at: tokens[0] if len(tokens) == 1 else f"[{''.join(tokens)}]" for at, tokens in found.items()}


def aligned(rows: Sequence[Row], carets: Collection[int] = ()) -> list[str]:
    """*rows* of (label, marks) as lines of one time axis, and under them a caret at each time in *carets*."""
    labels = max((len(label) for label, _ in rows), default=0)
    texts = [cells(marks) for _, marks in rows]
    times = sorted({at for text in texts for at in text} | set(carets))
    lines = ["" for _ in rows]
    pointer = ""
    before = 0
    for at in times:
        gap = _gap(at - before)
        width = max([len(text.get(at, "")) for text in texts] or [1]) or 1
        pointer += " " * len(gap) + ("^" if at in carets else " ").ljust(width)
        lines = [line + gap + text.get(at, "").ljust(width, "-") for line, text in zip(lines, texts, strict=True)]
        before = at + FRAME_US
    shown = [f"{label:<{labels}}  {_end(line)}" for (label, _), line in zip(rows, lines, strict=True)]
    return [*shown, f"{'':<{labels}}  {pointer}".rstrip()] if carets else shown


def _gap(us: int) -> str:
    if us <= 0:
        return ""
    if us % FRAME_US == 0 and us <= LONGEST_DASHES * FRAME_US:
        return "-" * (us // FRAME_US)
    return f" {in_words(us)} "


def _end(line: str) -> str:
    """A row that has ended shows nothing after its end."""
    end = max(line.rfind("|"), line.rfind("#"))
    tail = line[end + 1 :]
    return line[: end + 1] + "]" * tail.startswith("]") if end >= 0 and set(tail) <= set("-] 0123456789.ums") else line


def legend_lines(legend: Mapping[str, str]) -> list[str]:
    """One line for each name that does not say what it stands for."""
    return [f"{name} = {text}" for name, text in legend.items()]
