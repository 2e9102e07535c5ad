"""Charts: the bars of an attempt as rows of rectangles, by stage, by image and by server.

Widths and positions are in percent of the attempt, so that a chart is as wide as its page; heights are in px. What is
narrower than a pixel is drawn together with its neighbour, so that a chart of any run stays small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rxpipe.views.palette import duration_text
from rxpipe.views.report.bars import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rxpipe.views.report.bars import Attempt, Bar

__all__ = ["MOST_ROWS", "Chart", "Mark", "Rect", "Tick", "charts_of"]

MOST_ROWS = 600
_FEW_ROWS = 40
_TALL, _FLAT = 18, 7
_LANE = 14
_MOST_LANES = 8
_LONGEST_LABEL = 19  # characters
_THIN = 0.12  # percent; about a pixel
_BINS = 800
_MOST_MARKS = 1_000
_TICKS = 8
_LAST_TICK = 96  # percent; the text of a later one would not fit
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)


@dataclass(frozen=True, slots=True)
class Rect:
    """A rectangle. x, width: percent. y, height: px. css: its classes. title: shown while the pointer rests on it."""

    x: float
    width: float
    y: int
    height: int
    css: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """A point. x: percent. y: px. css: "retry", "failed" or "kept"."""

    x: float
    y: int
    css: str
    title: str


@dataclass(frozen=True, slots=True)
class Label:
    """The name of a row. y: px of its middle."""

    text: str
    y: int


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the time axis. x: percent."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. height: px. more: rows that are left out."""

    title: str
    height: int
    labels: tuple[Label, ...]
    rects: tuple[Rect, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    more: int = 0


def charts_of(attempt: Attempt, names: dict[str, str]) -> tuple[Chart, ...]:
    """Return the charts of an attempt: by stage, by image, and by server where there were several.

    Args:
        attempt: of the run.
        names: of the images, by artifact id.
    """
    if not attempt.bars or attempt.length_s <= 0:
        return ()
    servers = sorted({bar.server for bar in attempt.bars if bar.server is not None})
    charts = [_by_lanes("By stage", attempt, list(enumerate(attempt.stages)), lambda bar: bar.stage_index)]
    charts.append(_by_image(attempt, names))
    if servers:
        charts.append(_by_lanes("By server", attempt, [(name, name) for name in servers], lambda bar: bar.server))
    return tuple(charts)


def _by_lanes(
    title: str, attempt: Attempt, rows: Sequence[tuple[object, str]], row_of: Callable[[Bar], object]
) -> Chart:
    """Return a chart with a row each, in which images at the same time are below one another."""
    rects: list[Rect] = []
    marks: list[Mark] = []
    labels: list[Label] = []
    top = 2
    for key, name in rows:
        bars = [bar for bar in attempt.bars if row_of(bar) == key]
        lanes = _lanes(bars)
        for lane, part in enumerate(lanes):
            y = top + lane * _LANE
            rects += _together([rect for bar in part for rect in _rects(bar, attempt, y, _LANE - 2)])
            marks += [mark for bar in part for mark in _marks(bar, attempt, y + _LANE // 2 - 1)]
        marks = marks[:_MOST_MARKS]
        height = max(1, len(lanes)) * _LANE
        labels.append(Label(_short(name), top + height // 2))
        top += height + 8
    return Chart(title, top, tuple(labels), tuple(rects), tuple(marks), _ticks(attempt.length_s))


def _short(name: str) -> str:
    """Return a name that fits beside its row: the end of an address tells more than its beginning."""
    name = name.removeprefix("http://").removeprefix("https://")
    return name if len(name) <= _LONGEST_LABEL else f"...{name[-_LONGEST_LABEL:]}"


def _lanes(bars: Sequence[Bar]) -> list[list[Bar]]:
    """Return bars in rows in which none begins before the one before it has ended, as far as there are rows."""
    lanes: list[list[Bar]] = []
    for bar in sorted(bars, key=lambda each: (each.begin_s, each.end_s)):
        free = [lane for lane in lanes if lane[-1].end_s <= bar.begin_s + 1e-6]
        if free:
            max(free, key=lambda lane: lane[-1].end_s).append(bar)
        elif len(lanes) < _MOST_LANES:
            lanes.append([bar])
        else:
            min(lanes, key=lambda lane: lane[-1].end_s).append(bar)
    return lanes


def _by_image(attempt: Attempt, names: dict[str, str]) -> Chart:
    planned = {name: artifact_id for artifact_id, name in names.items()}
    rows: dict[str, list[Bar]] = {name: [] for name in names}
    for bar in attempt.bars:
        rows.setdefault(_row_of(bar, planned), []).append(bar)
    reached = {name: bars for name, bars in rows.items() if bars}
    shown = dict(list(reached.items())[:MOST_ROWS])
    step = _TALL if len(shown) <= _FEW_ROWS else _FLAT
    rects: list[Rect] = []
    marks: list[Mark] = []
    labels: list[Label] = []
    for number, (name, bars) in enumerate(shown.items()):
        y = 2 + number * step
        rects += [rect for bar in bars for rect in _rects(bar, attempt, y, step - (4 if step == _TALL else 1))]
        marks += [mark for bar in bars for mark in _marks(bar, attempt, y + step // 2 - 1)]
        if step == _TALL or number % 5 == 0:
            labels.append(Label(names.get(name, name), y + step // 2 - 1))
    more = len(reached) - len(shown)
    height = 4 + len(shown) * step
    return Chart("By image", height, tuple(labels), tuple(rects), tuple(marks), _ticks(attempt.length_s), more)


def _row_of(bar: Bar, planned: dict[str, str]) -> str:
    """Return the id of an image; of one that was not finished, what is known: images enter the first stage in order."""
    if bar.artifact_id is not None:
        return bar.artifact_id
    unknown = f"{bar.stage_type} {bar.image_number}"
    return planned.get(str(bar.image_number), unknown) if bar.stage_index == 0 else unknown


def _rects(bar: Bar, attempt: Attempt, y: int, height: int) -> Iterable[Rect]:
    """Return the rectangles of a bar, one a span; the stage is their colour, the span how they are filled."""
    stage = f"s{bar.stage_index % 8}"
    for span in bar.spans:
        title = f"{_title(bar)} · {KINDS[span.kind]} {duration_text(span.length_s)}"
        width = 100 * span.length_s / attempt.length_s
        yield Rect(100 * span.begin_s / attempt.length_s, width, y, height, f"{stage} {span.kind}", title)


def _together(rects: Sequence[Rect]) -> list[Rect]:
    """Return the rectangles of one row, those thinner than a pixel drawn as one; of very many, a sketch."""
    if len(rects) > _BINS:
        return _binned(rects)
    drawn: list[Rect] = []
    for rect in rects:
        last = drawn[-1] if drawn else None
        if last is not None and rect.width < _THIN and rect.css == last.css and rect.x - last.x - last.width < _THIN:
            drawn[-1] = Rect(last.x, rect.x + rect.width - last.x, last.y, last.height, last.css)
        else:
            drawn.append(rect)
    return drawn


def _binned(rects: Sequence[Rect]) -> list[Rect]:
    """Return _BINS rectangles at most, each as what covers the most of it; those alike beside one another are one."""
    covered: list[dict[str, float]] = [{} for _ in range(_BINS)]
    size = 100 / _BINS
    for rect in rects:
        first, last = int(rect.x / size), int((rect.x + rect.width) / size)
        for number in range(min(first, _BINS - 1), min(last, _BINS - 1) + 1):
            part = min(rect.x + rect.width, (number + 1) * size) - max(rect.x, number * size)
            covered[number][rect.css] = covered[number].get(rect.css, 0.0) + max(0.0, part)
    drawn: list[Rect] = []
    for number, found in enumerate(covered):
        css = max(found, key=lambda name: found[name], default=None)
        if css is None or sum(found.values()) < size / 2:
            continue
        last_one = drawn[-1] if drawn else None
        if last_one is not None and last_one.css == css and abs(last_one.x + last_one.width - number * size) < size / 2:
            drawn[-1] = Rect(last_one.x, (number + 1) * size - last_one.x, last_one.y, last_one.height, css)
        else:
            drawn.append(Rect(number * size, size, rects[0].y, rects[0].height, css))
    return drawn


def _marks(bar: Bar, attempt: Attempt, y: int) -> Iterable[Mark]:
    where = f"{bar.stage_type}, image {bar.image_number}"
    for retry in bar.retries:
        text = f"{where}: try {retry.number} failed, again after {duration_text(retry.delay_s)}: {retry.error.message}"
        yield Mark(100 * retry.at_s / attempt.length_s, y, "retry", text)
    if bar.outcome == "failed" or bar.error is not None:
        reason = bar.error.message if bar.error is not None else ""
        what = "left unchanged" if bar.outcome == "passed" else "failed"
        yield Mark(100 * bar.end_s / attempt.length_s, y, "failed", f"{where} {what}: {reason}")
    elif bar.resumed:
        yield Mark(100 * bar.end_s / attempt.length_s, y, "kept", f"{where}: kept from before")


def _title(bar: Bar) -> str:
    seed = "" if bar.seed is None else f", seed {bar.seed}"
    server = "" if bar.server is None else f", {bar.server}"
    return f"{bar.stage_type}, image {bar.image_number}{seed}{server}: {duration_text(bar.length_s)}"


def _ticks(length_s: float) -> tuple[Tick, ...]:
    step_s = next((step for step in _STEPS_S if length_s / step <= _TICKS), _STEPS_S[-1])
    step_s = max(step_s, length_s / (4 * _TICKS))
    count = math.floor(length_s / step_s)
    ticks = (Tick(100 * n * step_s / length_s, clock_text(n * step_s, step_s)) for n in range(count + 1))
    return tuple(tick for tick in ticks if tick.x < _LAST_TICK)


def clock_text(seconds: float, step_s: float = 1.0) -> str:
    """Return a moment of an axis such as "0.4", "12 s", "3:05", "2:03:05"."""
    if seconds < 60:  # noqa: PLR2004  # seconds in a minute
        return f"{seconds:.1f} s" if step_s < 1 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
