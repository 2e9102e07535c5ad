"""How a run looks in any toolkit: texts, tones and colours that all views share.

Pure, so that terminal, window and notebook cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.status import RunStatus, StageStatus

Tone = Literal["quiet", "busy", "good", "warn", "bad"]


class Watchable(Protocol):
    """What a view attaches to: a `PipelineController`, or anything with the same streams and verbs."""

    @property
    def status(self) -> Observable[RunStatus]:
        """The current state, then every change."""

    @property
    def events(self) -> Observable[StageEvent]:
        """The events of the run."""

    @property
    def previews(self) -> Observable[StagePreview]:
        """Previews of the image in progress."""

    def cancel(self) -> object:
        """Stop the active run."""


@dataclass(frozen=True, slots=True)
class Palette:
    """Colours as "#rrggbb".

    ground: behind everything. text, muted: what is written. track: the empty part of a bar, and lines.
    busy, good, warn, bad, quiet: the tones.
    """

    ground: str
    text: str
    muted: str
    track: str
    busy: str
    good: str
    warn: str
    bad: str
    quiet: str

    def of(self, tone: Tone) -> str:
        """Return the colour of a tone."""
        return {"busy": self.busy, "good": self.good, "warn": self.warn, "bad": self.bad, "quiet": self.quiet}[tone]


LIGHT = Palette(
    ground="#f7f7f8",
    text="#1d2129",
    muted="#5f6775",
    track="#d9dce2",
    busy="#2f6fde",
    good="#2b8a4b",
    warn="#b26a00",
    bad="#c5303a",
    quiet="#8a92a0",
)
DARK = Palette(
    ground="#1f2228",
    text="#e8eaee",
    muted="#a0a8b5",
    track="#3a3f49",
    busy="#6ea2ff",
    good="#5cc486",
    warn="#e8ae4d",
    bad="#f27680",
    quiet="#7c8492",
)

_TONES: dict[str, Tone] = {
    "idle": "quiet",
    "waiting": "quiet",
    "running": "busy",
    "stopping": "warn",
    "completed": "good",
    "partial": "warn",
    "failed": "bad",
    "cancelled": "quiet",
    "skipped": "quiet",
}


def palette_on(red: int, green: int, blue: int) -> Palette:
    """Return the palette that is readable on a background of that colour, each channel 0..255."""
    luminance = (0.299 * red + 0.587 * green + 0.114 * blue) / 255
    return LIGHT if luminance > 0.5 else DARK  # noqa: PLR2004  half-way between black and white


def tone_of(state: str) -> Tone:
    """Return the tone of a run's or a stage's state."""
    return _TONES[state]


def detail(status: RunStatus) -> str:
    """Return the position of the run, such as "image 2 of 4 · step 12 of 30 · stage 1 of 4"; "" when nothing runs.

    The most important part comes first, since a narrow window cuts the end off.
    """
    if not status.active or not status.stage_number:
        return ""
    stage = status.stages[status.stage_number - 1]
    return " · ".join(
        part
        for part in (
            _of("image", status.image_number, status.images or None),
            _of("step", stage.step, stage.steps),
            _of("stage", status.stage_number, status.stage_count) if status.stage_count > 1 else "",
        )
        if part
    )


def _of(noun: str, number: int | None, total: int | None) -> str:
    if number is None:
        return ""
    return f"{noun} {number}" if total is None else f"{noun} {number} of {total}"


def stage_caption(stage: StageStatus) -> str:
    """Return the line under a stage's name: "waiting", "2 of 4", "4 in 12.3 s", "3 of 4, 1 failed", "failed", ..."""
    count = str(stage.finished) if stage.total is None else f"{stage.finished} of {stage.total}"
    failed = f", {stage.failed} failed" if stage.failed else ""
    if stage.state == "completed":
        took = f" in {duration_text(stage.duration_s)}" if stage.duration_s is not None else ""
        return f"{stage.finished - stage.failed}{took}{failed}"
    return f"{count}{failed}" if stage.state == "running" else stage.state


def duration_text(seconds: float) -> str:
    """Return a duration such as "0.4 s", "12.3 s", "3:05 min"."""
    if round(seconds, 1) < 60:  # noqa: PLR2004  seconds in a minute
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min"
