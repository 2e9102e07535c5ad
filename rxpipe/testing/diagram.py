"""Marble pictures: rows of marks on one time axis, as aligned text and as an SVG picture.

Every instant that any row knows becomes a column as wide as its widest cell; long gaps are written as a time.
A notebook shows a `MarblePicture` as its picture. The surprise: columns are for the eye; what parses back is `render`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING

from rxpipe.testing.clock import in_words, spoken
from rxpipe.testing.columns import padded, text_width
from rxpipe.testing.grammar import FRAME_US, Mark
from rxpipe.testing.rendering import LONGEST_DASHES, token

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

WIDEST = 112
Row = tuple[str, "Sequence[Mark]"]


def cells(marks: Sequence[Mark]) -> dict[int, str]:
    """Return what a row writes at each instant: a token, or several in brackets."""
    found: dict[int, list[str]] = {}
    for mark in marks:
        found.setdefault(mark.at, []).append(token(mark))
    return {at: tokens[0] if len(tokens) == 1 else f"[{''.join(tokens)}]" for at, tokens in found.items()}


def aligned(rows: Sequence[Row], carets: Collection[int] = (), width: int = WIDEST) -> list[str]:
    """Return *rows* of (label, marks) as lines of one time axis; with *carets*, carets at those times, and the times.

    Rows longer than *width* columns are cut to the neighbourhood of the first caret; an ellipsis stands for the rest.
    """
    texts = [{at: _fitting(text, width // 2) for at, text in cells(marks).items()} for _, marks in rows]
    columns = _columns(texts, carets)
    first, last = _window(columns, carets, width)
    ends = [marks[-1].at if marks and marks[-1].kind != "next" else None for _, marks in rows]
    left = "…" if first else ""
    lines, pointer, axis = [left for _ in rows], " " * len(left), ""
    for number, (at, gap, wide) in enumerate(columns[first : last + 1], first):
        silence = "" if number == first and left else gap
        pointer += " " * len(silence) + ("^" if at in carets else " ").ljust(wide)
        axis = _time_at(axis, len(pointer) - wide, at)
        lines = [line + _cell(text, end, at, silence, wide) for line, text, end in zip(lines, texts, ends, strict=True)]
    if last + 1 < len(columns):
        lines = [
            line + "…" * (end is None or end >= columns[last + 1][0]) for line, end in zip(lines, ends, strict=True)
        ]
    labels = [*(label for label, _ in rows), *(["", "ms"] if carets else [])]
    margin = max(map(text_width, labels), default=0)
    every = [*lines, *([pointer, axis] if carets else [])]
    return [f"{padded(label, margin)}  {line}".rstrip() for label, line in zip(labels, every, strict=True)]


def _fitting(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 2]}…{text[-1]}"


Column = tuple[int, str, int]
"""An instant in microseconds, the silence before it as text, and how wide its cells are."""


def _columns(texts: Sequence[Mapping[int, str]], carets: Collection[int]) -> list[Column]:
    columns, before = [], 0
    for at in sorted({at for text in texts for at in text} | set(carets)):
        wide = max((text_width(text.get(at, "")) for text in texts), default=0) or 1
        columns.append((at, _gap(at - before), wide))
        before = at + FRAME_US
    return columns


def _window(columns: Sequence[Column], carets: Collection[int], width: int) -> tuple[int, int]:
    """Return the first and last column to show: all, or as many around the first caret as fit."""
    if not columns or sum(len(gap) + wide for _, gap, wide in columns) <= width:
        return 0, len(columns) - 1
    first = last = next((n for n, (at, _, _) in enumerate(columns) if at in carets), 0)
    room = width - columns[first][2] - 2
    while first > 0 and (needed := columns[first - 1][2] + len(columns[first][1])) <= room - width // 2:
        first, room = first - 1, room - needed
    while last + 1 < len(columns) and (needed := len(columns[last + 1][1]) + columns[last + 1][2]) <= room:
        last, room = last + 1, room - needed
    return first, last


def _cell(text: Mapping[int, str], end: int | None, at: int, silence: str, wide: int) -> str:
    """Return a row's piece of a column; blank after the row's end."""
    if end is not None and at > end:
        return " " * (len(silence) + wide)
    return silence + padded(text.get(at, ""), wide, " " if at == end else "-")


def _time_at(axis: str, column: int, at: int) -> str:
    """Return *axis* with the milliseconds of *at* written at *column*, if there is room."""
    if axis and len(axis) + 1 > column:
        return axis
    return axis.ljust(column) + in_words(at).removesuffix("ms") if in_words(at).endswith("ms") else axis


def _gap(us: int) -> str:
    if us <= 0:
        return ""
    if us % FRAME_US == 0 and us <= LONGEST_DASHES * FRAME_US:
        return "-" * (us // FRAME_US)
    return f" {in_words(us)} "


@dataclass(frozen=True)
class MarblePicture:
    """Rows of marks with a title, carets where they differ (microseconds), and a legend for names.

    `str()` of it is the text, `svg()` the picture; IPython shows the picture.
    """

    rows: tuple[Row, ...]
    title: str = ""
    carets: frozenset[int] = frozenset()
    legend: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return title, aligned rows and legend."""
        legend = [f"{name} = {meaning}" for name, meaning in self.legend.items()]
        return "\n".join([*filter(None, [self.title]), *aligned(self.rows, self.carets), *legend])

    def svg(self) -> str:
        """Return the picture as an SVG document, as wide as it needs to be."""
        return _SvgLayout(self).document()

    def _repr_svg_(self) -> str:
        return self.svg()

    __str__ = text


COLOURS = ("#4c78a8", "#e8833a", "#54a24b", "#b279a2", "#c9a227", "#5fa8a0", "#d1605e", "#8c6d5a")
ROW_PX, RADIUS_PX, SHIFT_PX, LINE_PX, MARGIN_PX = 46, 13, 23, 18, 14
NARROWEST_PX, WIDEST_PX, LETTER_PX = 32, 92, 7.2


class _SvgLayout:
    """Lays a picture out: one column an instant, its distance from the one before by time but within limits."""

    def __init__(self, picture: MarblePicture) -> None:
        self.picture = picture
        self.times = sorted({mark.at for _, marks in picture.rows for mark in marks} | picture.carets | {0})
        self.left = MARGIN_PX + LETTER_PX * max((len(label) for label, _ in picture.rows), default=0) + 18
        self.x = self._columns()
        self.right = self.x[self.times[-1]] + 40 + SHIFT_PX * (self._crowd(self.times[-1]) - 1)
        names = dict.fromkeys(mark.name for _, marks in picture.rows for mark in marks)
        self.colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
        self.top = MARGIN_PX + LINE_PX * bool(picture.title)

    def _columns(self) -> dict[int, float]:
        x = {self.times[0]: self.left + RADIUS_PX}
        for before, at in pairwise(self.times):
            room = NARROWEST_PX + SHIFT_PX * (self._crowd(before) - 1)
            x[at] = x[before] + min(max(room, (at - before) / FRAME_US * 20), max(WIDEST_PX, room))
        return x

    def _crowd(self, at: int) -> int:
        return max((sum(mark.at == at for mark in marks) for _, marks in self.picture.rows), default=0) or 1

    def document(self) -> str:
        body = "\n".join(self._parts())
        legend = [f"{name} = {meaning}" for name, meaning in self.picture.legend.items()]
        below = self.top + ROW_PX * len(self.picture.rows) + 30
        notes = "\n".join(_text(MARGIN_PX, below + LINE_PX * (n + 1), line) for n, line in enumerate(legend))
        widest = max(map(len, [self.picture.title, *legend]), default=0) * LETTER_PX + 2 * MARGIN_PX
        width, height = max(self.right + MARGIN_PX, widest), below + LINE_PX * len(legend) + MARGIN_PX
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="ui-monospace, Menlo, Consolas, monospace" '
            f'font-size="12">\n<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n{notes}\n</svg>\n'
        )

    def _parts(self) -> Iterator[str]:
        if self.picture.title:
            yield _text(MARGIN_PX, MARGIN_PX + 8, self.picture.title, weight="bold")
        for at in self.picture.carets:
            wide = 2 * RADIUS_PX + 6 + SHIFT_PX * (self._crowd(at) - 1)
            height = ROW_PX * len(self.picture.rows)
            yield (
                f'<rect x="{self.x[at] - RADIUS_PX - 3:.1f}" y="{self.top + 4}" width="{wide}" '
                f'height="{height - 2}" rx="5" fill="#fde7e4"/>'
            )
        for index, (label, marks) in enumerate(self.picture.rows):
            yield from self._row(label, marks, self.top + ROW_PX * index + ROW_PX / 2)
        yield from self._axis(self.top + ROW_PX * len(self.picture.rows) + 14)

    def _row(self, label: str, marks: Sequence[Mark], y: float) -> Iterator[str]:
        yield _text(MARGIN_PX, y + 4, label)
        ended = bool(marks) and marks[-1].kind != "next"
        shift = SHIFT_PX * (sum(mark.at == marks[-1].at for mark in marks) - 1) if marks else 0
        end = self.x[marks[-1].at] + shift if ended else self.right
        yield f'<path d="M{self.left:.1f} {y}H{end:.1f}" stroke="#333" stroke-width="1.5" fill="none"/>'
        if not ended:
            yield f'<path d="M{end - 6:.1f} {y - 4}l8 4l-8 4" stroke="#333" stroke-width="1.5" fill="none"/>'
        crowd: dict[int, int] = {}
        for mark in marks:
            nth = crowd[mark.at] = crowd.get(mark.at, -1) + 1
            yield self._mark(mark, self.x[mark.at] + nth * SHIFT_PX, y)

    def _mark(self, mark: Mark, x: float, y: float) -> str:
        if mark.kind == "end":
            return f'<path d="M{x:.1f} {y - 13}v26" stroke="#333" stroke-width="3"/>'
        if mark.kind != "next":
            cross = f"M{x - 7:.1f} {y - 7}l14 14m0 -14l-14 14"
            return f'<path d="{cross}" stroke="{"#c0392b" if mark.kind == "error" else "#333"}" stroke-width="3"/>'
        circle = f'<circle cx="{x:.1f}" cy="{y}" r="{RADIUS_PX}" fill="{self.colours[mark.name]}" stroke="#fff"/>'
        short = len(mark.name) <= 3  # noqa: PLR2004 - what fits into the circle
        name = _text(x, y + 4, mark.name, anchor="middle", fill="#fff") if short else ""
        return circle + (name or _text(x, y - RADIUS_PX - 2, mark.name, anchor="middle", size=10))

    def _axis(self, y: float) -> Iterator[str]:
        last = -1e9
        for at in self.times:
            words = spoken(at)
            if self.x[at] - last > len(words) * 6 + 8:
                yield _text(self.x[at], y, words, anchor="middle", fill="#777", size=9)
                last = self.x[at]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", fill: str = "#222", size: int = 12, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{fill}" font-size="{size}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
