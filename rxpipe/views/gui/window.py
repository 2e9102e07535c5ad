"""The window: form on the left, what happens on the right, one controller behind both.

It shows what the controller emits and calls it for the buttons; nothing here knows how a run works.
"""

from __future__ import annotations

import threading
import tkinter as tk
from pathlib import Path
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.backends import open_backend
from rxpipe.config import SECTIONS
from rxpipe.controller import PipelineController
from rxpipe.errors import RxPipeError
from rxpipe.events import RunEnd, RunStart, StageImageProgress, StageRetry
from rxpipe.runner import PipelineRunner
from rxpipe.rx.mainloop import TkScheduler
from rxpipe.status import RunStatus
from rxpipe.store.reading import default_store
from rxpipe.views.gui.buttons import RunButtons
from rxpipe.views.gui.connection import LOOK_S, RETRY_S, BackendConnection, ConnectionState
from rxpipe.views.gui.dialogs import Question
from rxpipe.views.gui.files import Files
from rxpipe.views.gui.form import Form
from rxpipe.views.gui.gallery import Gallery, GalleryItem, PictureLoader, as_bytes
from rxpipe.views.gui.handing import accept_drops
from rxpipe.views.gui.history import History
from rxpipe.views.gui.keys import EscapeGuard, bind_keys, bind_paste, bind_wheel
from rxpipe.views.gui.placing import icon, restore_geometry
from rxpipe.views.gui.shelf import PresetShelf, default_shelf
from rxpipe.views.gui.state import WindowState, default_state_path
from rxpipe.views.gui.theme import Theme
from rxpipe.views.gui.topbar import TopBar
from rxpipe.views.gui.viewer import PictureWindow
from rxpipe.views.gui.wall import Wall
from rxpipe.views.palette import duration_text
from rxpipe.views.tk import PreviewPane, StageTimeline, StatusBar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime

    from PIL import Image

    from rxpipe.backends.base import Backend
    from rxpipe.config import PipelineConfig
    from rxpipe.controller import RunRequest
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.store.records import RunSummary

_PREVIEW_PX = 1024
_FORM_PX = 440
ASK_AFTER_S = 60.0


class MainWindow:
    """The whole application in one Tk root.

    Args:
        root: made by the caller, whose thread it stays on.
        backend: a text for `open_backend`, or a backend; None for the one used last.
        dark: the theme; None for the one used last.
        scale: pixels per pixel at 96 dpi; None for the screen's own.
        state_path: the file that the window keeps its state in; presets are kept beside it. None: the user's own.
        opener: opens the backend that a text names.
        retry_s: seconds until a backend that does not answer is checked again.
        look_s: seconds until one that answered is looked at again, while nothing runs.
        ask_after_s: a run that went on for longer is stopped only after a question.
        sinks: passed to every controller, such as a `LearningRecordWriter`.
    """

    def __init__(
        self,
        root: tk.Tk,
        *,
        backend: str | Backend | None = None,
        dark: bool | None = None,
        scale: float | None = None,
        state_path: Path | None = None,
        opener: Callable[[str], Backend] = open_backend,
        retry_s: float = RETRY_S,
        look_s: float = LOOK_S,
        ask_after_s: float = ASK_AFTER_S,
        sinks: Iterable[object] = (),
    ) -> None:
        self.root, self._sinks = root, tuple(sinks)
        self._state_path = state_path or default_state_path()
        remembered = WindowState.load(self._state_path)
        self.scheduler = TkScheduler(root)
        self.theme = Theme(root, scale=scale)
        self.theme.use(dark=remembered.dark if dark is None else dark)
        self.loader = PictureLoader(self.scheduler)
        self._earlier_loader = PictureLoader(self.scheduler)
        self._store = default_store()
        self._history = History(self._store, self.scheduler, failed=lambda text: self._say(text, bad=True))
        self.connection = BackendConnection(self.scheduler, opener=opener, retry_s=retry_s, look_s=look_s)
        self.controller: PipelineController | None = None
        self._backend: Backend | None = None
        self._subscriptions = SerialDisposable()
        self.status = RunStatus()
        self._latest_preview: tuple[str, int, int | None] | None = None
        self._trouble = ""
        self._pending_config: PipelineConfig | None = None  # to be run once there is a backend
        self._ask_after_s = ask_after_s
        self._began: datetime | None = None
        self._question: Question | None = None
        self._closed = False
        self._escape = EscapeGuard(root)
        self._shelf = PresetShelf(state_path.parent / "presets") if state_path else default_shelf()
        self.files = Files(
            root,
            self.theme,
            say=self._say,
            shelf=self._shelf,
            folder=self._state_path.parent,
            escaped=self._escape.closed_a_window,
        )
        self._build()
        restore_geometry(root, self.theme, remembered.geometry)
        self._bind_keys()
        self.form.write(remembered.form)
        self._show_buttons()
        self.wall.refresh()
        self.connection.states.subscribe(self._show_connection)
        self.connection.connect(backend or remembered.backend)

    # -- intents ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start a run of the form's config; it is queued behind an active run, or until a backend is connected."""
        self._say("")
        config = self.files.read_config()
        if config is None:
            return
        self._remember()
        if self.controller is None:
            self._pending_config = config
            self._say("Starts as soon as the backend is connected.")
            return
        try:
            self.controller.start(config, queue=True)
        except RxPipeError as error:
            self.form.mark(getattr(error, "problems", ()))
            self._say(str(error), bad=True)

    def stop(self) -> None:
        """Stop the run now; one that went on for long only after a question, asked once."""
        if self.controller is None or not self.status.active:
            return
        if self.worked_long:
            self._ask(
                f"This run has gone on for {self._worked_text()}. Finished pictures are kept; the one in progress is "
                "lost.",
                yes="Stop the run",
                agreed=self.controller.cancel,
            )
        else:
            self.controller.cancel()

    def escape(self) -> None:
        """Stop the run, unless the key was meant for a picture that it has closed already."""
        if self._escape.open:
            self.stop()
        elif self.status.active:
            self._say("Escape has closed another window. To stop the run, press Stop, or click here first.")

    @property
    def worked_long(self) -> bool:
        """Whether a run is in progress that has gone on for so long that it is not stopped by a slip."""
        return self.status.active and self._worked_s() >= self._ask_after_s

    def stop_after_image(self) -> None:
        """Stop once the image in progress is finished."""
        if self.controller is not None:
            self.controller.stop_after_image()

    def skip(self) -> None:
        """Skip the image in progress and continue with the next."""
        if self.controller is not None:
            self.controller.skip_image()

    def open_picture(self, index: int, gallery: Gallery | None = None) -> PictureWindow:
        """Show a picture of a gallery, absent: of this session's, in a window of its own."""
        return PictureWindow(
            self.root,
            self.theme,
            self.loader,
            pictures=(gallery or self.gallery).pictures,
            index=index,
            actions=self._actions,
            escaped=self._escape.closed_a_window,
            states=self._states_of,
        )

    def resume(self, run: RunSummary) -> None:
        """Continue an earlier run where it stood."""
        if self.controller is None or self.status.active:
            self._say("A run is resumed once the backend is connected and no other run is in progress.")
            return
        executor = self.controller.runner.executor

        def begin() -> None:
            try:
                executor.resume(run.run_id)
            except RxPipeError as error:
                text = str(error)
                self.scheduler.schedule(lambda *_: self._say(text, bad=True))

        self._say(f"Continuing the run {run.run_id}")
        threading.Thread(target=begin, name="rxpipe-resume", daemon=True).start()

    def use_theme(self, *, dark: bool) -> None:
        """Change to the dark or the light theme."""
        self.dark_switch.on = dark
        self.theme.use(dark=dark)

    def leave(self) -> None:
        """Close the window as its cross does: after a question where a long run or runs that wait would be lost."""
        waiting = len(self.controller.queued) if self.controller is not None else 0
        if not (self.worked_long or waiting):
            self.close()
            return
        lost = [f"a run that has gone on for {self._worked_text()}"] if self.worked_long else []
        lost += [f"{waiting} waiting run{'' if waiting == 1 else 's'}"] if waiting else []
        self._ask(
            f"Closing stops {' and '.join(lost)}. Finished pictures are kept.", yes="Close anyway", agreed=self.close
        )

    def close(self) -> None:
        """Save the state, cancel the run, and destroy the window. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._remember()
        self._subscriptions.dispose()
        if self.controller is not None:
            self.controller.close()
        self.connection.close()
        self.loader.close()
        self._earlier_loader.close()
        self._history.close()
        self._free_pictures()
        self.root.destroy()

    def _free_pictures(self) -> None:
        """Free all pictures now; Python would do it on any thread, and wait there for a Tk that has ended."""
        for child in self.root.winfo_children():
            if isinstance(child, PictureWindow):
                child.destroy()
        self.preview.clear()
        self.root.update_idletasks()
        self.wall.clear()
        self.form.inputs.clear()
        self.theme.close()
        del self._icon

    @property
    def _actions(self) -> dict[str, Callable[[GalleryItem], object]]:
        """What can be done with a finished picture; the viewer stacks its buttons from the bottom."""
        return {
            "Open folder": self.files.open_folder,
            "Copy parameters": self.files.copy_parameters,
            "Start from this picture": lambda picture: self.files.use_inputs([picture.path]),
            "Use its settings": lambda picture: self.files.load(picture.path),
        }

    def _states_of(self, picture: GalleryItem) -> Sequence[tuple[str, Path]]:
        """Return the earlier states of a picture: as this session saw them, else as the store knows them."""
        states = picture.earlier or self._history.files(picture)
        return [(stage, path) for stage, path in states if path != picture.path]

    # -- updates ------------------------------------------------------------------------------------------------------

    def _show_connection(self, state: ConnectionState) -> None:
        self.top.show(state)
        if state.names:
            self.form.offer(state.names)
        trouble = state.text if state.status == "error" else ""
        if trouble != self._trouble and state.status != "connecting":
            self._say(trouble, bad=True)  # once, not with every try
            self._trouble = trouble
        if state.backend is not self._backend:
            self._use_backend(state.backend)
        self._show_buttons()

    def _use_backend(self, backend: Backend | None) -> None:
        """Use another backend from now on."""
        self._subscriptions.disposable = CompositeDisposable()
        if self.controller is not None:
            self.controller.close()
        self._backend, self.controller = backend, None
        for view in (self.bar, self.timeline, self.preview):
            view.detach()
        if backend is None:
            return
        controller = self.controller = PipelineController(
            PipelineRunner(backend, store=self._store), scheduler=self.scheduler, sinks=self._sinks
        )
        self._subscriptions.disposable = CompositeDisposable(
            controller.status.subscribe(self._show_status),
            controller.events.subscribe(self._on_event),
            controller.previews.subscribe(self._previewed),
            controller.queue.subscribe(self._show_queue),
        )
        for view in (self.bar, self.timeline, self.preview):
            view.attach(controller)
        pending, self._pending_config = self._pending_config, None
        if pending is not None:
            self._say("")
            controller.start(pending)

    def _show_status(self, status: RunStatus) -> None:
        self.status = status
        head = f"{status.percent_text} · " if status.active else ""
        self.root.title(f"{head}rxpipe")
        self.connection.paused = status.active
        if not status.active and self._question is not None and not self._closed:
            self._question.destroy()  # what it asks about is over
        self._show_buttons()

    def _on_event(self, event: StageEvent) -> None:
        match event:
            case RunStart():
                self._began = self.scheduler.now
                self._latest_preview = None
                self.preview.clear()
                self._say("")
            case StageImageProgress(path=Path() as path, outcome="done" | "passed"):
                picture = GalleryItem(event.artifact_id, path, event.seed, event.stage_type, run_id=event.run_id)
                self.gallery.add(picture)
                self.loader.load(path, lambda image: self._finished(event, image), side=_PREVIEW_PX)
            case RunEnd(error=error) if error is not None:
                self._say(str(error), bad=True)
                self.connection.recheck()
            case StageRetry():
                self.connection.recheck()
            case _:
                pass
        if isinstance(event, RunEnd):
            self._report_result(event)
            self.wall.refresh()

    def _previewed(self, preview: StagePreview) -> None:
        self._latest_preview = (preview.run_id, preview.stage_index, preview.shown_number)

    def _finished(self, event: StageImageProgress, image: Image.Image | None) -> None:
        """Show the finished picture in place of its last preview, unless the next image has a preview already."""
        own, number = (event.run_id, event.stage_index, event.shown_number), event.shown_number
        if image is not None and (self._latest_preview in {None, own} or self.preview.holds(number)):
            caption = f"{event.stage_type} · image {number} · finished"
            self.preview.show_picture(as_bytes(image), caption, number)

    def _report_result(self, end: RunEnd) -> None:
        """Offer the seed of an ended run for reuse, and show its warnings."""
        result = self.controller.last_result if self.controller else None
        if result is None:
            return
        seed = next((variant.seed for variant in result.variants if variant.seed is not None), None)
        if seed is not None:
            self.form.reuse.configure(state="normal", command=lambda: self.form.fields["seed"].write(str(seed)))
        if result.warnings and end.error is None:
            more = f" (and {len(result.warnings) - 1} more)" if len(result.warnings) > 1 else ""
            self._say(f"{result.warnings[0]}{more}")

    def _show_queue(self, waiting: tuple[RunRequest, ...]) -> None:
        self.buttons.show_waiting(len(waiting))

    def _show_buttons(self) -> None:
        self.buttons.show(self.status)
        self.where.configure(state="disabled" if self.status.active else "normal")

    def _say(self, text: str, *, bad: bool = False) -> None:
        """Show one message under the buttons, until the next."""
        self.notice.show(text, bad=bad)

    def _ask(self, text: str, *, yes: str, agreed: Callable[[], object]) -> None:
        """Ask a question in place of the last one; the same one comes to the front and is not asked twice."""
        if self._question is not None and self._question.winfo_exists():
            if self._question.yes["text"] == yes:
                self._question.lift()
                return
            self._question.destroy()
        no = "Keep running" if self.status.active else "Keep open"
        self._question = Question(
            self.root, self.theme, text, yes=yes, no=no, agreed=agreed, escaped=self._escape.closed_a_window
        )

    def _worked_s(self) -> float:
        return 0.0 if self._began is None else (self.scheduler.now - self._began).total_seconds()

    def _worked_text(self) -> str:
        return duration_text(self._worked_s())

    # -- building -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        px, root = self.theme.px, self.root
        root.title("rxpipe")
        self._icon = icon(self.theme)
        root.wm_iconphoto(True, str(self._icon))
        root.columnconfigure(0, weight=1)
        root.rowconfigure(1, weight=1)
        self.top = TopBar(
            root,
            self.theme,
            picker=self.files.make_picker,
            load=self.files.load,
            open_folder=self.files.open_folder,
            connect=self._connect,
            themed=lambda on: self.use_theme(dark=on),
        )
        self.top.grid(row=0, column=0, sticky="ew")
        self.where, self.status_light, self.dark_switch = self.top.where, self.top.light, self.top.dark_switch
        self._sash = ttk.Panedwindow(root, orient="horizontal")
        self._sash.grid(row=1, column=0, sticky="nsew", padx=px(12))
        left = ttk.Frame(self._sash, width=px(_FORM_PX))
        left.grid_propagate(False)
        left.rowconfigure(0, weight=1)
        left.columnconfigure(0, weight=1)
        self.form = self.files.form = Form(left, self.theme, self.loader, painting=self.files.paint_mask)
        self.form.grid(row=0, column=0, sticky="nsew")
        self._build_buttons(left)
        self._sash.add(left, weight=0)
        self._sash.add(self._build_right(), weight=1)
        self._sash.bind("<Configure>", self._place_sash, add="+")
        self.bar = StatusBar(root, stop=False)
        self.bar.grid(row=2, column=0, sticky="ew", padx=px(4))

    def _place_sash(self, event: tk.Event[Any]) -> None:
        """Give the form its width as soon as the window has its own; ttk would divide what it has before that."""
        if event.width > self.theme.px(_FORM_PX):
            self._sash.unbind("<Configure>")
            self._sash.sashpos(0, self.theme.px(_FORM_PX))  # type: ignore[no-untyped-call]  # typeshed has no types for it

    def _build_buttons(self, left: ttk.Frame) -> None:
        self.buttons = RunButtons(
            left,
            self.theme,
            run=self.run,
            stop=self.stop,
            stop_after=self.stop_after_image,
            skip=self.skip,
            clear=self._clear_queue,
        )
        self.buttons.grid(row=1, column=0, sticky="ew")
        self.run_button, self.stop_button = self.buttons.run, self.buttons.stop
        self.skip_button = self.buttons.skip
        self.notice = self.buttons.notice

    def _build_right(self) -> ttk.Panedwindow:
        px = self.theme.px
        panes = ttk.Panedwindow(self._sash, orient="vertical")
        upper_card = ttk.Frame(panes, style="Card.TFrame", padding=px(8))
        upper = ttk.Frame(upper_card, style="Inner.TFrame")
        upper.pack(fill="both", expand=True)
        self.preview = PreviewPane(upper)
        self.timeline = StageTimeline(upper)
        self.timeline.pack(side="bottom", fill="x")
        self.preview.pack(fill="both", expand=True)
        self.wall = Wall(
            panes,
            self.theme,
            loader=self.loader,
            earlier_loader=self._earlier_loader,
            history=self._history,
            opened=lambda gallery, index: self.open_picture(index, gallery),
            actions=self._actions,
            resume=self.resume,
            say=self._say,
        )
        self.gallery = self.wall.session
        panes.add(upper_card, weight=3)
        panes.add(self.wall, weight=1)
        return panes

    def _bind_keys(self) -> None:
        root = self.root
        commands: dict[str, Callable[[], object]] = {
            "<Control-Return>": self.run,
            "<Control-KP_Enter>": self.run,
            "<Escape>": self.escape,
            "<F6>": self.stop_after_image,
            "<F7>": self.skip,
            "<F8>": self.files.open_folder,
            "<Control-o>": self.files.load,
            "<Control-s>": self.files.save_preset,
            "<Control-Shift-S>": self.files.save,
            **{f"<Alt-Key-{n}>": self.form.cards[stage].flip for n, stage in enumerate(SECTIONS, 1)},
        }
        bind_keys(root, commands)
        bind_paste(root, self.files.paste)
        accept_drops(root, self.files.take)
        bind_wheel(root, self.form.column)
        root.protocol("WM_DELETE_WINDOW", self.leave)

    def _connect(self) -> None:
        where = self.where.read() or "auto"
        if where != self.connection.state.where or self.connection.state.status == "error":
            self.connection.connect(where)

    def _clear_queue(self) -> None:
        if self.controller is not None:
            self.controller.withdraw()

    def _remember(self) -> None:
        WindowState(
            geometry=self.root.geometry(),
            dark=self.dark_switch.on,
            backend=self.connection.state.where or "auto",
            form=self.form.read(),
        ).save(self._state_path)
