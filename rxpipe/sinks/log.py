"""The log as a sink of the events: one bound loguru line per lifecycle event.

As a library rxpipe is silent until `logger.enable("rxpipe")` is called. Bound fields: run, stage, image, kind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.events import (
    RunEnd,
    RunStart,
    StageCancelled,
    StageEnd,
    StageFailed,
    StageImageProgress,
    StageRetry,
    StageStart,
    StageStep,
)
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from reactivex import Observable, abc

    from rxpipe.events import StageEvent


_LAZY = logger.opt(lazy=True)
"""Formats nothing while the log is off."""


def log_events(events: Observable[StageEvent]) -> abc.DisposableBase:
    """Log every lifecycle event of a stream (all but steps) until disposed; return the subscription."""
    log = _Log()
    return events.subscribe(log, lambda error: logger.error("{}", _plain(f"the stream of events failed: {error!r}")))


class _Log:
    """Logs the events of one run after another; images: how many the one in progress has."""

    def __init__(self) -> None:
        self.images: int | None = None

    def __call__(self, event: StageEvent) -> None:
        if isinstance(event, StageStep):
            return
        if isinstance(event, RunStart):
            self.images = event.images
        stage, image = getattr(event, "stage_type", None), getattr(event, "shown_number", None)
        bound = _LAZY.bind(run=event.run_id, kind=event.kind, stage=stage, image=image)
        bound.log(_level(event), "{}", lambda: line(event, self.images))


def _level(event: StageEvent) -> str:
    match event:
        case StageFailed() | RunEnd(status="failed"):
            return "ERROR"
        case StageRetry() | StageImageProgress(outcome="failed") | RunEnd(status="partial"):
            return "WARNING"
        case StageImageProgress() if event.warnings or event.error:
            return "WARNING"
        case RunEnd() if event.warnings:
            return "WARNING"
        case _:
            return "INFO"


def line(event: StageEvent, images: int | None = None) -> str:
    """Return the event as one plain line for a person, the same in a log and on a console that is not a terminal.

    An image has its number in the run, the same in every stage; *images* is how many the run has, None if unknown.
    Line breaks and control characters in messages and names become blanks.
    """
    return _plain(_text(event, images))


def _plain(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)


def _text(event: StageEvent, images: int | None) -> str:
    match event:
        case RunStart():
            return f"run {event.run_id} started: {' > '.join(event.stages)}, {_images(event.images)}"
        case StageStart():
            return f"{event.stage_type} started" + (f", {_images(event.total_images)}" if event.total_images else "")
        case StageStep():
            percent = "" if event.fraction is None else f" {min(99, int(event.fraction * 100 + 1e-9))} %"
            ahead = "" if event.ahead is None else f", {event.ahead} before it"
            return f"{event.stage_type} {_of(event, images)} {event.phase}{ahead}{percent}"
        case StageImageProgress():
            return _image(event, images)
        case StageRetry():
            again = f"attempt {event.attempt} failed, again in {event.delay_s:.1f} s"
            return f"{event.stage_type} {_of(event, images)} {again}: {event.error}"
        case StageEnd():
            return f"{event.stage_type} completed in {event.duration_s:.1f} s: {_counts(event)}"
        case StageFailed():
            return f"{event.stage_type} failed: {event.error}"
        case StageCancelled():
            return f"{event.stage_type} cancelled" + (f" at {_of(event, images)}" if event.image_index else "")
        case RunEnd():
            text = f"run {event.run_id} {event.status}" + (f": {event.error}" if event.error else "")
            return _with_warnings(text, event.warnings)


def _image(event: StageImageProgress, images: int | None) -> str:
    text = f"{event.stage_type} {_of(event, images)} {event.outcome}{' before' if event.resumed else ''}"
    if event.duration_s is not None:
        text += f" in {event.duration_s:.1f} s"
    if event.seed is not None:
        text += f", seed {event.seed}"
    if event.path is not None:
        text += f", {event.path}"
    if event.error is not None:
        text += f": {event.error}"
    return _with_warnings(text, event.warnings)


def _with_warnings(text: str, warnings: Sequence[str]) -> str:
    return "; ".join([text, *(f"warning: {warning}" for warning in warnings)])


def _of(event: StageStep | StageImageProgress | StageRetry | StageCancelled, images: int | None) -> str:
    total = images if event.image_number is not None else event.total_images
    return f"image {event.shown_number}" + (f"/{total}" if total else "")


def _counts(event: StageEnd) -> str:
    counts = ((name, getattr(event, name)) for name in ("done", "passed", "failed", "cancelled", "filtered"))
    return ", ".join(f"{count} {name}" for name, count in counts if count) or "no image"


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"
