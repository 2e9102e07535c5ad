"""A run in a notebook: one output that stays in place, as HTML with small pictures, as text where there is no HTML.

    view = NotebookView()
    view.attach(controller)
    controller.start(config)
    view.wait()                    # if the cell is to last as long as the run; interrupting the kernel cancels it

Needs IPython only; where ipywidgets is installed there is a Stop button. The output is replaced at most four times a
second, from a daemon thread of the view's own, so that it moves while a cell blocks.
"""

from __future__ import annotations

import base64
import html
import importlib
import importlib.util
import io
import sys
import threading
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.errors import BadImage, missing
from rxpipe.events import RunEnd, RunStart, StageImageProgress
from rxpipe.pictures.opening import MOST_PIXELS, PREVIEW_PIXELS, opened
from rxpipe.rx.operators import coalesce
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.status import RunStatus
from rxpipe.views.in_work import in_work
from rxpipe.views.palette import Watchable, detail, stage_caption, tone_of

try:
    from IPython import get_ipython
    from IPython.display import display, update_display
except ModuleNotFoundError as error:
    raise missing("rxpipe.views.notebook", "IPython") from error

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.status import StageStatus

PERIOD_S = 0.25
THUMBNAIL_PX = 192
_SHOWN = 12
# Readable on white and on black, since an output does not know the colour of its page.
_COLOURS = {"quiet": "#8a92a0", "busy": "#3f82ec", "good": "#279a58", "warn": "#c98200", "bad": "#e0484f"}
_TRACK = "rgba(128,128,128,.25)"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture. data: JPEG, at most THUMBNAIL_PX wide and high. title: shown while the pointer rests on it."""

    data: bytes
    caption: str
    title: str = ""
    in_progress: bool = False


@dataclass(frozen=True, slots=True)
class RunCard:
    """What the output shows at one moment: itself HTML (`_repr_html_`) and text (`repr`)."""

    status: RunStatus = field(default_factory=RunStatus)
    thumbnails: tuple[Thumbnail, ...] = ()
    more: int = 0
    warnings: tuple[str, ...] = ()

    def __repr__(self) -> str:
        status = self.status
        head = " · ".join(part for part in (_head(status), detail(status), status.eta_text) if part)
        width = max((len(stage.name) for stage in status.stages), default=0)
        stages = (f"  {stage.name:{width}}  {stage_caption(stage)}" for stage in status.stages)
        return "\n".join([head, *stages, *(f"  warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        status = self.status
        colour = _COLOURS[tone_of(status.state)]
        numbers = " &nbsp; ".join(part for part in (_percent(status), status.eta_text) if part)
        return (
            "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;max-width:860px;"
            "padding:10px 2px'>"
            "<div style='display:flex;align-items:center;gap:8px'>"
            f"<span style='width:9px;height:9px;border-radius:50%;background:{colour};flex:none'></span>"
            f"<b>{html.escape(status.message)}</b>"
            f"<span style='opacity:.7'>{html.escape(detail(status))}</span>"
            f"<span style='margin-left:auto;opacity:.7;white-space:nowrap'>{numbers}</span></div>"
            f"{_bar(status.fraction, colour, 'margin:6px 0 10px')}"
            f"<div style='display:flex;gap:12px'>{''.join(map(_stage, status.stages))}</div>"
            f"<div style='display:flex;gap:10px;flex-wrap:wrap;margin-top:10px'>{self._pictures()}</div>"
            f"{self._warnings()}</div>"
        )

    def _warnings(self) -> str:
        shown = "".join(f"<li>{html.escape(warning)}</li>" for warning in self.warnings)
        return f"<ul style='margin:8px 0 0;padding-left:18px;color:{_COLOURS['warn']}'>{shown}</ul>" if shown else ""

    def _pictures(self) -> str:
        more = f"<span style='align-self:center;opacity:.7'>and {self.more} more</span>" if self.more else ""
        return "".join(map(_picture, self.thumbnails)) + more


class NotebookView:
    """One output of a cell that follows a controller.

    Args:
        period_s: seconds between two updates, at least PERIOD_S.
    """

    def __init__(self, *, period_s: float = PERIOD_S) -> None:
        self._period_s = max(period_s, PERIOD_S)
        self._id = uuid.uuid4().hex
        self._subscription = SerialDisposable()
        self._source: Watchable | None = None
        self._over = threading.Event()
        self._run_id: str | None = None  # of the last run that was seen active
        self._lock = threading.Lock()
        self._pictures: dict[str, StageImageProgress] = {}
        self._made: dict[Path, bytes | None] = {}  # thumbnails, read once; None for a file that is no picture
        self._previews: dict[int, StagePreview] = {}  # the latest of each image in work, by its index
        self._warnings: dict[str, None] = {}
        self.card = RunCard()

    def attach(self, source: Watchable) -> None:
        """Put the output here, and show *source* in it from now on, until `detach`."""
        self._source = source
        self._over.clear()
        self._display_stop()
        display(self.card, display_id=self._id)  # type: ignore[no-untyped-call]  # IPython ships no types for it
        worker = WorkerScheduler("rxpipe-notebook")
        rarely = coalesce(self._period_s, key=lambda _: None, passes=lambda _: False, scheduler=worker)
        self._subscription.disposable = CompositeDisposable(
            source.events.subscribe(on_next=self._note, on_error=_report),
            source.previews.subscribe(on_next=self._note_preview, on_error=_report),
            source.status.pipe(ops.do_action(self._note_run), rarely, ops.observe_on(worker)).subscribe(
                on_next=self._update, on_error=_report
            ),
            worker,
        )

    def detach(self) -> None:
        """Stop following; the output stays as it is."""
        self._subscription.disposable = CompositeDisposable()
        self._source = None

    def wait(self, timeout_s: float | None = None) -> bool:
        """Block until the active run, or else the next one, has ended and is shown as such; True if it has.

        Interrupting the kernel cancels the run, and then raises KeyboardInterrupt.

        Args:
            timeout_s: the longest wait; absent: none.
        """
        try:
            ended = self._over.wait(timeout_s)
        except KeyboardInterrupt:
            if self._source is not None:
                self._source.cancel()
            self._over.wait(1.0)
            raise
        self._over.clear()
        return ended

    def _note(self, event: StageEvent) -> None:
        with self._lock:
            if isinstance(event, RunStart):
                self._pictures.clear()
                self._made.clear()
                self._previews.clear()
                self._warnings.clear()
            elif isinstance(event, RunEnd):
                self._warnings |= dict.fromkeys(event.warnings)
            elif isinstance(event, StageImageProgress):
                self._previews.pop(event.image_index or 0, None)
                self._warnings |= dict.fromkeys(event.warnings)
                if event.path is not None and event.outcome in {"done", "passed"}:
                    self._pictures[event.artifact_id] = event

    def _note_run(self, status: RunStatus) -> None:
        if status.active:
            self._run_id = status.run_id
            self._over.clear()

    def _note_preview(self, preview: StagePreview) -> None:
        with self._lock:
            self._previews[preview.image_index] = preview

    def _update(self, status: RunStatus) -> None:
        with self._lock:
            pictures, warnings = list(self._pictures.values()), tuple(self._warnings)
            previews = [self._previews[index] for index in sorted(self._previews)] if status.active else []
        thumbnails = [thumbnail for event in pictures[-_SHOWN:] if (thumbnail := self._thumbnail(event))]
        thumbnails += [
            Thumbnail(data, _progress_text(preview, status, several=len(previews) > 1), in_progress=True)
            for preview in previews
            if (data := _shrunk(preview.data))
        ]
        self.card = RunCard(status, tuple(thumbnails), max(0, len(pictures) - _SHOWN), warnings[:_SHOWN])
        if _in_place() or not status.active:
            update_display(self.card, display_id=self._id)  # type: ignore[no-untyped-call]  # as above
        if not status.active and status.run_id is not None and status.run_id == self._run_id:
            self._over.set()

    def _thumbnail(self, event: StageImageProgress) -> Thumbnail | None:
        path = event.path
        if path is None:
            return None
        if path not in self._made:
            self._made[path] = _shrunk(path)
        data = self._made[path]
        caption = event.stage_type if event.seed is None else f"{event.stage_type} · seed {event.seed}"
        return Thumbnail(data, caption, str(path)) if data is not None else None

    def _display_stop(self) -> None:
        if importlib.util.find_spec("ipywidgets") is None:
            return
        button = importlib.import_module("ipywidgets").Button(description="Stop", tooltip="Stop the run")
        button.on_click(lambda _button: self._source.cancel() if self._source is not None else None)
        display(button)  # type: ignore[no-untyped-call]  # as above


def _progress_text(preview: StagePreview, status: RunStatus, *, several: bool) -> str:
    """Return "upscale · in progress"; of several "upscale · image 3 · 40 %", as far as that is known."""
    if not several:
        return f"{preview.stage_type} · in progress"
    works = {work.image_index: work for work in in_work(status)}
    work = works.get(preview.image_index)
    percent = f" · {int(work.fraction * 100)} %" if work else ""
    return f"{preview.stage_type} · image {preview.image_index}{percent}"


def _report(error: Exception) -> None:
    sys.excepthook(type(error), error, error.__traceback__)


def _in_place() -> bool:
    """Return whether an output can be replaced; a terminal would write it anew each time, and gets the end only."""
    shell: Any = get_ipython()
    return getattr(shell, "kernel", None) is not None


def _shrunk(picture: Path | bytes) -> bytes | None:
    """Return a JPEG of at most THUMBNAIL_PX; None if it cannot be read, which costs only the thumbnail."""
    try:
        with opened(picture, most_pixels=PREVIEW_PIXELS if isinstance(picture, bytes) else MOST_PIXELS) as image:
            image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
            small = image.convert("RGB")
        small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    except BadImage:
        return None
    target = io.BytesIO()
    small.save(target, "JPEG", quality=82)
    return target.getvalue()


def _head(status: RunStatus) -> str:
    return " · ".join(part for part in (status.message, _percent(status)) if part)


def _percent(status: RunStatus) -> str:
    return status.percent_text if status.active or status.fraction > 0 else ""


def _bar(fraction: float, colour: str, style: str = "") -> str:
    filled = f"<div style='width:{fraction * 100:.1f}%;height:100%;border-radius:3px;background:{colour}'></div>"
    return f"<div style='height:6px;border-radius:3px;background:{_TRACK};{style}'>{filled}</div>"


def _stage(stage: StageStatus) -> str:
    name = html.escape(stage.name)
    title = f"<b>{name}</b>" if stage.state == "running" else name
    colour = _COLOURS[tone_of(stage.state)]
    caption = html.escape(stage_caption(stage))
    bar = _bar(stage.fraction, colour, "margin:3px 0")
    return f"<div style='flex:1;min-width:0'>{title}{bar}<span style='opacity:.7'>{caption}</span></div>"


def _picture(thumbnail: Thumbnail) -> str:
    line = f"outline:2px dashed {_COLOURS['busy']};" if thumbnail.in_progress else ""
    source = "data:image/jpeg;base64," + base64.b64encode(thumbnail.data).decode()
    return (
        f"<figure style='margin:0' title='{html.escape(thumbnail.title, quote=True)}'>"
        f"<img src='{source}' alt='' style='height:112px;border-radius:4px;display:block;{line}'>"
        f"<figcaption style='opacity:.7;font-size:11px'>{html.escape(thumbnail.caption)}</figcaption></figure>"
    )
