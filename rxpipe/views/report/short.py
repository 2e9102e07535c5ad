"""The short form of a report: what a notebook shows of a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.views.palette import duration_text
from rxpipe.views.report.gantt import charts_of
from rxpipe.views.report.page import rendered, shares_of, shown_pictures, tone_of_run
from rxpipe.views.report.shown_run import run_of_result

if TYPE_CHECKING:
    from rxpipe.result import PipelineRunResult
    from rxpipe.views.report.shown_run import ShownRun

__all__ = ["short_html"]

_PICTURES, _WARNINGS, _SHARES = 12, 6, 4
# Readable on white and on black, since an output does not know the colour of its page.
_COLOURS = {"quiet": "#8a92a0", "busy": "#3f82ec", "good": "#279a58", "warn": "#c98200", "bad": "#e0484f"}


def short_html(result: PipelineRunResult) -> str:
    """Return a result as a part of a page: its outcome, its first pictures, its timeline and its warnings."""
    run = run_of_result(result)
    last = run.attempts[-1:]
    charts = [chart for attempt in last for chart in charts_of(attempt, {})[:1]]
    return rendered(
        "short.html",
        run=run,
        colour=_COLOURS[tone_of_run(run.status)],
        numbers=_numbers(run),
        pictures=shown_pictures(run.pictures[:_PICTURES], None, size=224),
        more_pictures=max(0, len(run.pictures) - _PICTURES),
        charts=charts,
        shares=shares_of(run)[:_SHARES],
        warnings=run.warnings[:_WARNINGS],
        more_warnings=max(0, len(run.warnings) - _WARNINGS),
        **{name: _COLOURS[name] for name in ("bad", "warn", "quiet")},
    )


def _numbers(run: ShownRun) -> str:
    noun = "image" if run.images == 1 else "images"
    counts = [f"{run.count('done')} of {run.images} {noun}"]
    counts += [f"{count} {outcome}" for outcome in ("failed", "cancelled", "filtered") if (count := run.count(outcome))]
    retries = [f"{run.retries} {'retry' if run.retries == 1 else 'retries'}"] if run.retries else []
    return " · ".join([*counts, *retries, *([duration_text(run.length_s)] if run.attempts else [])])
