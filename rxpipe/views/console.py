"""A run on a console: a live block on a terminal, one plain line per lifecycle event anywhere else.

A view: it folds events into RunStatus and shows that; it controls nothing. What the console's encoding cannot hold is
written in ASCII; text from outside (paths, a server's messages) cannot move the cursor.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from rxpipe.events import RunEnd, RunStart, StageImageProgress, StageRetry, is_lifecycle
from rxpipe.shown import plain
from rxpipe.sinks.log import line
from rxpipe.status import RunStatus, reduce_status
from rxpipe.views.in_work import Tile, Tiles
from rxpipe.views.palette import duration_text, stage_caption, tone_of

if TYPE_CHECKING:
    from reactivex import Observable, abc

    from rxpipe.events import ErrorInfo, Moment, StageEvent
    from rxpipe.status import StageStatus

__all__ = ["ConsoleView", "takes_live"]

_STYLES = {"quiet": "dim", "busy": "cyan", "good": "green", "warn": "yellow", "bad": "red"}
_PER_SECOND = 8
_BAR = range(8, 37)
_BESIDE_THE_BAR = 58
_NAME_WIDTH = 20
_PERCENT_WIDTH = 5
_IMAGE_WIDTH = 11
_TURNING = "-\\|/"


class ConsoleView:
    """Shows runs on a console.

    closed: True once the reader is gone (a closed pipe) or the disk is full; nothing is written after that.
    failure: the error that closed it; None for a reader that is gone.

    Args:
        console: rich's; by default one on stdout.
        live: whether to draw the block that moves; None: if the console is a terminal that can.
        verbose: on a live console, a line above the block for every lifecycle event, not only for what went wrong.
        end_error: whether the error of a failed run is shown; False where the caller prints it.
    """

    def __init__(
        self,
        console: Console | None = None,
        *,
        live: bool | None = None,
        verbose: bool = False,
        end_error: bool = True,
    ) -> None:
        self.console = console or Console()
        self.live = takes_live(self.console) if live is None else live
        self.closed = False
        self.failure: OSError | None = None
        self._verbose = verbose
        self._end_error = end_error
        self._shown_errors: set[str] = set()
        self._status = RunStatus()
        self._tiles: Tiles[None] = Tiles()
        self._began: Moment | None = None
        self._took_s = 0.0
        self._block: Live | None = None
        self._closing = threading.Lock()

    def attach(self, events: Observable[StageEvent]) -> abc.DisposableBase:
        """Show the events, on the thread that emits them, until disposed."""
        return events.subscribe(self._show)

    def say(self, text: str) -> None:
        """Print a line; above the block while there is one."""
        if self.closed:
            return
        try:
            self.console.print(Text(plain(text, self.console.encoding)), soft_wrap=True)
            self.console.file.flush()
        except (
            OSError,
            SystemExit,
        ) as error:  # rich leaves the program at a closed pipe, not a view's to do
            self.closed = True
            self.failure = error if isinstance(error, OSError) else None

    def has_shown(self, error: ErrorInfo) -> bool:
        """Whether an error was shown already, as that of the image whose failure ended the run."""
        return error.message.endswith(tuple(self._shown_errors))

    def stopping(self) -> None:
        """Show that the run is stopping."""
        self._status = self._status.stopping()

    def close(self) -> None:
        """Leave the block as it is and release the console. Idempotent."""
        with self._closing:
            block, self._block = self._block, None
        if block is not None:
            block.stop()

    def _show(self, event: StageEvent) -> None:
        self._status = self._folded(event)
        event = self._without_repetition(event)
        if not self.live:
            if is_lifecycle(event):
                self.say(line(event, self._status.images))
            return
        if isinstance(event, RunStart):
            self._open()
        elif isinstance(event, RunEnd):
            self.close()
            if event.error is not None:
                self.say(str(event.error))
            for warning in event.warnings:
                self.say(f"warning: {warning}")
        elif self._verbose and is_lifecycle(event):
            self.say(line(event, self._status.images))
        elif (trouble := _trouble(event, self._status.images)) is not None:
            self.say(trouble)

    def _without_repetition(self, event: StageEvent) -> StageEvent:
        """Return an event without an error that was shown, or that the caller shows."""
        if isinstance(event, RunStart):
            self._shown_errors.clear()
        elif isinstance(event, RunEnd) and event.error is not None:
            if not self._end_error or self.has_shown(event.error):
                return event.model_copy(update={"error": None})
        elif isinstance(event, StageImageProgress) and event.error is not None and event.outcome == "failed":
            self._shown_errors.add(event.error.message)
        return event

    def _folded(self, event: StageEvent) -> RunStatus:
        if isinstance(event, RunStart) or self._began is None:
            self._began = event.moment
        self._took_s = event.moment.since_s(self._began)
        after = reduce_status(self._status, event)
        return after.stopping() if self._status.state == "stopping" else after

    # -- the block ------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self.close()
        self._block = Live(
            get_renderable=lambda: self.block(self._status),
            console=self.console,
            refresh_per_second=_PER_SECOND,
            vertical_overflow="crop",
        )
        self._block.start()

    def block(self, status: RunStatus) -> Group:
        """Return a row per stage, one per image where several are in work at the same time, and one for the run.

        What does not fit is cut off at the right. Called on one thread at a time.
        """
        name_width = min(_NAME_WIDTH, max((len(stage.name) for stage in status.stages), default=0))
        self._tiles.follow(status)
        if several := len(self._tiles) > 1 and status.active:
            name_width = max(name_width, _IMAGE_WIDTH)
        rows = [self._row(status, stage, name_width) for stage in status.stages]
        rows += [self._image(tile, name_width) for tile in self._tiles.tiles] if several else []
        block = Text("\n").join([*rows, self._foot(status)])
        block.no_wrap, block.overflow = True, "crop"
        return Group(block)  # a bare Text would lose these two where it is printed next to another

    def _row(self, status: RunStatus, stage: StageStatus, name_width: int) -> Text:
        style, running = _STYLES[tone_of(stage.state)], stage.state == "running"
        percent = f"{int(stage.fraction * 100)} %" if stage.fraction or running else ""
        parts = (
            self._text(stage.name[:name_width].ljust(name_width), style if running else ""),
            self._bar(stage.fraction, style),
            self._text(percent.rjust(_PERCENT_WIDTH)),
            self._text(_doing(status, stage), "" if running else style),
        )
        return Text("  ").join(parts)

    def _image(self, tile: Tile[None], name_width: int) -> Text:
        stage, _, image = tile.caption.partition(" · ")
        busy = tile.fraction is not None
        percent = f"{int((tile.fraction or 0.0) * 100)} %" if busy else ""
        parts = (
            self._text(f"  {image}"[:name_width].ljust(name_width), "" if busy else "dim"),
            self._bar(tile.fraction or 0.0, _STYLES["busy"]),
            self._text(percent.rjust(_PERCENT_WIDTH)),
            self._text(stage if busy else "", "dim"),
        )
        return Text("  ").join(parts)

    def _bar(self, fraction: float, style: str) -> Text:
        width = min(_BAR[-1], max(_BAR[0], self.console.width - _BESIDE_THE_BAR))
        full = int(width * fraction)
        return self._text("━" * full, style).append(self._text("─" * (width - full), "dim"))

    def _foot(self, status: RunStatus) -> Text:
        style = _STYLES[tone_of(status.state)]
        if not status.active:
            end = "Failed" if status.state == "failed" else status.message
            return self._text(f"{end} in {duration_text(self._took_s)}", style)
        words = "  ".join(part for part in (status.message, status.percent_text, status.eta_text) if part)
        turning = _TURNING[int(self.console.get_time() * _PER_SECOND) % len(_TURNING)]
        stop = "" if status.state == "stopping" else "Ctrl+C stops"
        return Text("  ").join((self._text(turning), self._text(words, style), self._text(stop, "dim")))

    def _text(self, text: str, style: str = "") -> Text:
        return Text(plain(text, self.console.encoding), style=style)


def takes_live(console: Console) -> bool:
    """Return whether a block can be redrawn on *console*: a real terminal that is not a dumb one.

    FORCE_COLOR makes rich treat a pipe as a terminal; a file may hold colours, but no moving block.
    """
    isatty = getattr(console.file, "isatty", None)
    return bool(isatty and isatty()) and console.is_terminal and not console.is_dumb_terminal


def _trouble(event: StageEvent, images: int) -> str | None:
    """Return the line to print above the block for a retry, a failure or a warning; None for other events."""
    if isinstance(event, StageRetry):
        return line(event, images)
    if not isinstance(event, StageImageProgress) or (event.error is None and not event.warnings):
        return None
    messages = [str(event.error)] if event.error else []
    outcome = "left as it was" if event.outcome == "passed" else event.outcome
    return f"{event.stage_type} image {event.shown_number} {outcome}: {'; '.join([*messages, *event.warnings])}"


def _doing(status: RunStatus, stage: StageStatus) -> str:
    """Return the text next to a stage's bar: the position of the current one, the outcome of the others."""
    here = status.stage_number and status.stages[status.stage_number - 1] is stage
    if stage.state != "running" or not here:
        return stage_caption(stage)
    waits = {"queued": "waiting in the queue", "loading": "loading a model", "stalled": "no progress"}
    parts = (
        _of("image", status.image_number, status.images or None),
        _of("step", stage.step, stage.steps),
        waits.get(stage.phase, ""),
        f"{stage.failed} failed" if stage.failed else "",
    )
    return " · ".join(part for part in parts if part)


def _of(noun: str, number: int | None, total: int | None) -> str:
    if number is None:
        return ""
    return f"{noun} {number}" if total is None else f"{noun} {number} of {total}"
