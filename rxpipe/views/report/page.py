"""The page of a report: what `page.html` shows, worked out."""

from __future__ import annotations

import functools
import os
import re
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from rxpipe.shown import cut, escaped
from rxpipe.views.palette import DARK, LIGHT, duration_text, tone_of
from rxpipe.views.report.bars import KINDS
from rxpipe.views.report.gantt import charts_of, clock_text
from rxpipe.views.report.thumbnails import MOST, thumbnails
from rxpipe.views.report.times import IDLE, by_server, by_stage, shares

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jinja2 import Environment

    from rxpipe.views.palette import Palette
    from rxpipe.views.report.bars import Attempt
    from rxpipe.views.report.shown_run import Picture, ShownRun
    from rxpipe.views.report.times import Row

__all__ = ["page_text"]

_MOST_WARNINGS, _MOST_TROUBLES = 100, 300
_SHORT_S = 0.1
_LONGEST = 20_000  # characters of a text
_LIGHT_STAGES = ("#4472c4", "#2e9d6b", "#c77b1b", "#9a5cc6", "#c24f7f", "#2596a8", "#8a8f2a", "#7f8fa6")
_DARK_STAGES = ("#7ba2ea", "#58c796", "#e5a04c", "#bf8ee6", "#e682ab", "#57c0d1", "#bfc45a", "#9fb0c8")
_WORDS = {"pending": "left to draw"}
_INDEX = re.compile(r", image \d+:")


def page_text(run: ShownRun, beside: Path | None = None) -> str:
    """Return the page.

    Args:
        run: that is shown.
        beside: folder that the page will be in, from which its links to the pictures lead; None for no links.
    """
    from markupsafe import Markup  # noqa: PLC0415  # comes with jinja2

    images = thumbnails(run.pictures)
    warnings = Counter(_INDEX.sub(":", text) for text in run.warnings)
    troubles = list(_troubles(run))
    values = {
        "run": run,
        "tone": _tone(run.status),
        "light": _colours(LIGHT, "#ffffff", _LIGHT_STAGES),
        "dark": _colours(DARK, "#262a31", _DARK_STAGES),
        "css": Markup(_file("page.css")),  # noqa: S704  # a file of ours
        "numbers": _numbers(run),
        "warnings": warnings.most_common(_MOST_WARNINGS),
        "more_warnings": max(0, len(warnings) - _MOST_WARNINGS),
        "pictures": [_shown_picture(picture, images, beside) for picture in run.pictures[:MOST]],
        "more_pictures": max(0, len(run.pictures) - MOST),
        "side": _side(len(run.pictures)),
        "shares": _shares(run),
        "tables": _tables(run),
        "attempts": [_attempt(run, attempt) for attempt in run.attempts if attempt.bars],
        "troubles": troubles[:_MOST_TROUBLES],
        "more_troubles": max(0, len(troubles) - _MOST_TROUBLES),
    }
    return _environment().from_string(_file("page.html")).render(values)


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415  # importing rxpipe loads no jinja2

    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters["t"] = _text
    made.filters["n"] = lambda number: f"{number:.3f}".rstrip("0").rstrip(".")
    return made


def _tone(status: str) -> str:
    """Return the tone of a run's status, those that only a store knows among them."""
    return {"interrupted": "warn", "rebuilt": "quiet", "pending": "quiet"}.get(status) or tone_of(status)


def _text(value: object) -> str:
    """Return a text without what no page may hold; it is escaped as all others are."""
    return escaped(cut(str(value), _LONGEST), keep="\n")


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _colours(palette: Palette, card: str, stages: Sequence[str]) -> str:
    names = ("ground", "text", "muted", "track", "busy", "good", "warn", "bad", "quiet")
    pairs = [(name, getattr(palette, name)) for name in names]
    pairs += [("card", card), *((f"s{number}", colour) for number, colour in enumerate(stages))]
    return " ".join(f"--{name}: {colour};" for name, colour in pairs)


def _side(count: int) -> int:
    """Return the width of a picture on the page in px."""
    return 260 if count <= 24 else 150 if count <= 120 else 88  # noqa: PLR2004  # as many as `thumbnails` makes of a size


def _numbers(run: ShownRun) -> Iterator[tuple[str, str]]:
    done = run.count("done")
    yield f"{done} of {run.images}", "images finished" if run.images != 1 else "image finished"
    for outcome in ("failed", "cancelled", "filtered", "pending"):
        if count := run.count(outcome):
            yield str(count), _WORDS.get(outcome, outcome)
    if run.attempts:
        yield duration_text(run.length_s), "in all"
        if done:
            yield duration_text(run.length_s / done), "per finished image"
        if busy_s := shares(run.attempts).get("server"):
            yield f"{busy_s / run.length_s:.0%}" if run.length_s else "", "rendering"
    if run.retries:
        yield str(run.retries), "retry" if run.retries == 1 else "retries"
    if len(run.attempts) > 1:
        yield str(len(run.attempts)), "attempts"
    if run.began is not None:
        yield f"{run.began.astimezone():%d %b %Y, %H:%M}", "begun"


def _shown_picture(picture: Picture, images: Mapping[str, str], beside: Path | None) -> dict[str, Any]:
    image = images.get(picture.artifact_id)
    reason = (
        picture.error.message if picture.error else "its file is gone or broken" if picture.source is not None else ""
    )
    parts = [
        f"image {picture.name}, {picture.outcome}",
        "" if picture.seed is None else f"seed {picture.seed}",
        "" if picture.duration_s is None else duration_text(picture.duration_s),
        ", ".join(f"{axis} {value}" for axis, value in picture.variant),
        str(picture.path or ""),
        ", ".join(picture.tags),
        *picture.warnings[:5],
        reason if picture.outcome == "failed" else "",
    ]
    return {
        "name": picture.name,
        "outcome": picture.outcome,
        "word": _WORDS.get(picture.outcome, picture.outcome),
        "seed": picture.seed,
        "image": image,
        "link": _link(picture.path, beside) if image else None,
        "alt": f"image {picture.name}",
        "title": "\n".join(filter(None, parts)),
        "reason": cut(reason, 200),
        "warned": bool(picture.warnings),
        "favourite": picture.favourite,
        "rating": picture.rating,
    }


def _link(path: Path | None, beside: Path | None) -> str | None:
    """Return the way from the page to a picture; None if there is none, as to another drive."""
    if path is None or beside is None:
        return None
    try:
        way = os.path.relpath(path, beside)
    except ValueError:
        return None
    return "./" + quote(os.fsencode(Path(way).as_posix()))


def _shares(run: ShownRun) -> list[dict[str, Any]]:
    """Return what a template shows of where the time of a run went, most first."""
    found = shares(run.attempts)
    whole = sum(found.values()) or 1.0
    words = {IDLE: IDLE, **{str(kind): words for kind, words in KINDS.items()}}
    return [
        {
            "css": kind if kind != IDLE else "idle",
            "name": words[kind],
            "text": _seconds(seconds),
            "percent": f"{100 * seconds / whole:.1f}",
        }
        for kind, seconds in found.items()
    ]


def _tables(run: ShownRun) -> list[dict[str, Any]]:
    stages, servers = by_stage(run.attempts), by_server(run.attempts)
    if not stages:
        return []
    tables = [_table("stage", stages, [f"s{number % 8}" for number in range(len(stages))])]
    return [*tables, _table("server", servers, [])] if servers else tables


def _seconds(seconds: float) -> str:
    """Return a duration, short ones in milliseconds."""
    return duration_text(seconds) if seconds >= _SHORT_S or seconds == 0 else f"{1000 * seconds:.0f} ms"


def _table(title: str, rows: Sequence[Row], colours: Sequence[str]) -> dict[str, Any]:
    """Return a table of rows, without the columns that are empty in all of them."""
    spent = [kind for kind in KINDS if any(row.by_kind.get(kind) for row in rows)]
    heads = ["drawn", "kept", "failed", "retries", "an image", "longest", *(KINDS[kind] for kind in spent), "all"]
    cells = [
        [
            *(str(count or "") for count in (row.drawn, row.kept, row.failed, row.retries)),
            *(_seconds(row.mean_s), _seconds(row.longest_s)),
            *(_seconds(seconds) if (seconds := row.by_kind.get(kind)) else "" for kind in spent),
            _seconds(row.total_s),
        ]
        for row in rows
    ]
    filled = [number for number in range(len(heads)) if any(row[number] for row in cells)]
    return {
        "title": title,
        "heads": [heads[number] for number in filled],
        "rows": [
            {"name": row.name, "css": css, "cells": [texts[number] for number in filled]}
            for row, texts, css in zip(rows, cells, colours or [""] * len(rows), strict=True)
        ],
    }


def _attempt(run: ShownRun, attempt: Attempt) -> dict[str, Any]:
    names = {picture.artifact_id: picture.name for picture in run.pictures}
    charts = charts_of(attempt, names)
    kinds = {span.kind for bar in attempt.bars for span in bar.spans}
    marks = {mark.css for chart in charts for mark in chart.marks}
    legend = [(f"s{number % 8}", name) for number, name in enumerate(attempt.stages)]
    legend += [
        (css, words)
        for shown, css, words in (
            ("queue" in kinds, "pale", "in a queue"),
            ("pause" in kinds, "hatched", "pause before a retry"),
            (bool(kinds & {"loading", "transfer", "ours"}), "half", "loading, transfer, writing"),
            ("stalled" in kinds, "stalled", "no progress"),
            ("retry" in marks, "retry", "retry"),
            ("failed" in marks, "failed", "failure"),
            ("kept" in marks, "kept", "kept from before"),
        )
        if shown
    ]
    return {
        "number": attempt.number,
        "began": f"{attempt.began.astimezone():%Y-%m-%d %H:%M:%S}",
        "length": duration_text(attempt.length_s),
        "charts": charts,
        "legend": legend,
    }


def _troubles(run: ShownRun) -> Iterator[tuple[str, ...]]:
    names = {picture.artifact_id: picture.name for picture in run.pictures}
    for attempt in run.attempts:
        for bar in attempt.bars:
            image = names.get(bar.artifact_id or "", str(bar.image_number))
            for retry in bar.retries:
                what = f"retry after try {retry.number}, {duration_text(retry.delay_s)} later"
                yield clock_text(retry.at_s, 0.1), bar.stage_type, image, what, str(retry.error)
            if bar.error is not None:
                what = "left unchanged" if bar.outcome == "passed" else str(bar.outcome)
                yield clock_text(bar.end_s, 0.1), bar.stage_type, image, what, str(bar.error)
