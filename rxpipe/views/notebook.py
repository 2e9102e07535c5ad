"""A run in a notebook: one output that stays in place, as HTML with small pictures, as text where there is no HTML.

    view = NotebookView()
    view.attach(controller)
    controller.start(config)
    view.wait()                    # if the cell is to last as long as the run; interrupting the kernel cancels it

Needs IPython only; where ipywidgets is installed there is a Stop button. The output is replaced at most four times a
second, from a daemon thread of the view's own, so that it moves while a cell blocks.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.errors import missing
from rxpipe.events import RunEnd, RunStart, StageImageProgress
from rxpipe.rx.operators import coalesce
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.views.in_work import in_work
from rxpipe.views.run_card import SHOWN, RunCard, Thumbnail, shrunk

try:
    from IPython import get_ipython
    from IPython.display import display, update_display
except ModuleNotFoundError as error:
    raise missing("rxpipe.views.notebook", "IPython") from error

if TYPE_CHECKING:
    from pathlib import Path

    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.status import RunStatus
    from rxpipe.views.palette import Watchable

PERIOD_S = 0.25


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
                self._previews.pop(event.shown_number or 0, None)
                self._warnings |= dict.fromkeys(event.warnings)
                if event.path is not None and event.outcome in {"done", "passed"}:
                    self._pictures[event.artifact_id] = event

    def _note_run(self, status: RunStatus) -> None:
        if status.active:
            self._run_id = status.run_id
            self._over.clear()

    def _note_preview(self, preview: StagePreview) -> None:
        with self._lock:
            self._previews[preview.shown_number] = preview

    def _update(self, status: RunStatus) -> None:
        with self._lock:
            pictures, warnings = list(self._pictures.values()), tuple(self._warnings)
            previews = [self._previews[index] for index in sorted(self._previews)] if status.active else []
        thumbnails = [thumbnail for event in pictures[-SHOWN:] if (thumbnail := self._thumbnail(event))]
        thumbnails += [
            Thumbnail(
                data,
                _progress_text(preview, several=len(previews) > 1),
                in_progress=True,
                fraction=_fraction(preview, status),
            )
            for preview in previews
            if (data := shrunk(preview.data))
        ]
        self.card = RunCard(status, tuple(thumbnails), max(0, len(pictures) - SHOWN), warnings[:SHOWN])
        if _in_place() or not status.active:
            update_display(self.card, display_id=self._id)  # type: ignore[no-untyped-call]  # as above
        if not status.active and status.run_id is not None and status.run_id == self._run_id:
            self._over.set()

    def _thumbnail(self, event: StageImageProgress) -> Thumbnail | None:
        path = event.path
        if path is None:
            return None
        if path not in self._made:
            self._made[path] = shrunk(path)
        data = self._made[path]
        caption = event.stage_type if event.seed is None else f"{event.stage_type} · seed {event.seed}"
        return Thumbnail(data, caption, str(path)) if data is not None else None

    def _display_stop(self) -> None:
        if importlib.util.find_spec("ipywidgets") is None:
            return
        button = importlib.import_module("ipywidgets").Button(description="Stop", tooltip="Stop the run")
        button.on_click(lambda _button: self._source.cancel() if self._source is not None else None)
        display(button)  # type: ignore[no-untyped-call]  # as above


def _progress_text(preview: StagePreview, *, several: bool) -> str:
    return f"{preview.stage_type} · {f'image {preview.shown_number}' if several else 'in progress'}"


def _fraction(preview: StagePreview, status: RunStatus) -> float | None:
    return next((work.fraction for work in in_work(status) if work.image_number == preview.shown_number), None)


def _report(error: Exception) -> None:
    sys.excepthook(type(error), error, error.__traceback__)


def _in_place() -> bool:
    """Return whether an output can be replaced; a terminal would write it anew each time, and gets the end only."""
    shell: Any = get_ipython()
    return getattr(shell, "kernel", None) is not None
