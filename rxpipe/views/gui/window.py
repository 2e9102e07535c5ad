"""The window: form on the left, what happens on the right, one controller behind both.

It shows what the controller emits and calls it for the buttons; nothing here knows how a run works.
"""

from __future__ import annotations

import re
import tkinter as tk
from dataclasses import replace
from pathlib import Path
from tkinter import filedialog, ttk
from typing import TYPE_CHECKING, Any

import yaml
from PIL import Image, ImageDraw, ImageTk
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.backends import open_backend
from rxpipe.backends.resolve import usual_url
from rxpipe.config import SECTIONS
from rxpipe.controller import PipelineController
from rxpipe.errors import RxPipeError
from rxpipe.events import RunEnd, RunStart, StageImageProgress
from rxpipe.pictures.metadata import read_info
from rxpipe.presets import dump, read_job
from rxpipe.runner import PipelineRunner
from rxpipe.rx.mainloop import TkScheduler
from rxpipe.status import RunStatus
from rxpipe.store.reading import default_store
from rxpipe.views.gui.connection import RETRY_S, BackendConnection, ConnectionState
from rxpipe.views.gui.file_manager import reveal
from rxpipe.views.gui.form import Form
from rxpipe.views.gui.form_values import config_of, form_of
from rxpipe.views.gui.gallery import Gallery, GalleryItem, PictureLoader, as_bytes
from rxpipe.views.gui.state import WindowState, default_state_path
from rxpipe.views.gui.theme import Theme
from rxpipe.views.gui.viewer import PictureWindow, parameters_of
from rxpipe.views.gui.widgets import KEYS, ChoiceField, StatusLight, Switch, Tooltip
from rxpipe.views.tk import PreviewPane, StageTimeline, StatusBar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from rxpipe.backends.base import Backend
    from rxpipe.config import PipelineConfig
    from rxpipe.controller import RunRequest
    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.presets import Job
    from rxpipe.views.gui.form_values import FormValues

_WHERES = ("auto", "embedded", usual_url())
_PREVIEW_PX = 1024
_LOADABLE = [
    ("Presets and pictures", "*.toml *.yaml *.yml *.json *.png *.jpg *.jpeg *.webp *.avif"),
    ("All files", "*"),
]


class MainWindow:
    """The whole application in one Tk root.

    Args:
        root: made by the caller, whose thread it stays on.
        backend: a text for `open_backend`, or a backend; None for the one used last.
        dark: the theme; None for the one used last.
        scale: pixels per pixel at 96 dpi; None for the screen's own.
        state_path: the file that the window keeps its state in.
        opener: opens the backend that a text names.
        retry_s: seconds until a backend that does not answer is checked again.
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
        sinks: Iterable[object] = (),
    ) -> None:
        self.root, self._sinks = root, tuple(sinks)
        self._state_path = state_path or default_state_path()
        remembered = WindowState.load(self._state_path)
        self.scheduler = TkScheduler(root)
        self.theme = Theme(root, scale=scale)
        self.theme.use(dark=remembered.dark if dark is None else dark)
        self.loader = PictureLoader(self.scheduler)
        self.connection = BackendConnection(self.scheduler, opener=opener, retry_s=retry_s)
        self.controller: PipelineController | None = None
        self._backend: Backend | None = None
        self._subscriptions = SerialDisposable()
        self.status = RunStatus()
        self._latest_preview: tuple[str, int, int | None] | None = None
        self._trouble = ""
        self._pending_config: PipelineConfig | None = None  # to be run once there is a backend
        self._closed = False
        self._build()
        self._restore_geometry(remembered.geometry)
        self._bind_keys()
        self.form.write(remembered.form)
        self._show_buttons()
        self.connection.states.subscribe(self._show_connection)
        self.connection.connect(backend or remembered.backend)

    # -- intents ------------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Start a run of the form's config; it is queued behind an active run, or until a backend is connected."""
        self._say("")
        self.form.mark(())
        config = self._read_config()
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
            self._say(str(error), bad=True)

    def _read_config(self) -> PipelineConfig | None:
        """Return the config of the form; show the error and return None if it is invalid."""
        try:
            return config_of(self.form.read())
        except RxPipeError as error:
            self.form.mark(getattr(error, "problems", ()))
            self._say(str(error), bad=True)
            return None

    def stop(self) -> None:
        """Stop the run now."""
        if self.controller is not None:
            self.controller.cancel()

    def stop_after_image(self) -> None:
        """Stop once the image in progress is finished."""
        if self.controller is not None:
            self.controller.stop_after_image()

    def skip(self) -> None:
        """Skip the image in progress and continue with the next."""
        if self.controller is not None:
            self.controller.skip_image()

    def load(self, path: Path | None = None) -> None:
        """Fill the form from a preset or a picture; opens a file dialog if none is given."""
        if path is None:
            chosen = filedialog.askopenfilename(parent=self.root, title="Preset or picture", filetypes=_LOADABLE)
            if not chosen:
                return
            path = Path(chosen)
        try:
            job = read_job(path)
            values = form_of(job.config(trust=False))  # a window has no place that shows what else would be sent
        except RxPipeError as error:
            self._say(str(error), bad=True)
            return
        if job.kind == "picture":
            values = _with_folder(values, self.form.fields["out"].read())
        self.form.write(values)
        self._say(_loaded(job))

    def save(self, path: Path | None = None) -> None:
        """Write the form as a preset; opens a file dialog if no path is given."""
        config = self._read_config()
        if config is None:
            return
        if path is None:
            chosen = filedialog.asksaveasfilename(
                parent=self.root, title="Save preset", defaultextension=".yaml", filetypes=[("Preset", "*.yaml")]
            )
            if not chosen:
                return
            path = Path(chosen)
        try:
            path.write_text(yaml.safe_dump(dump(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
        except (OSError, UnicodeError) as error:
            self._say(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}", bad=True)
        else:
            self._say(f"Saved {path.name}")

    def open_folder(self, picture: GalleryItem | None = None) -> None:
        """Show a picture's folder, or the one that pictures are saved to."""
        path = picture.path if picture is not None else Path(self.form.fields["out"].read() or "outputs").expanduser()
        try:
            reveal(path.absolute())
        except RxPipeError as error:
            self._say(str(error), bad=True)

    def copy_parameters(self, picture: GalleryItem) -> None:
        """Put a picture's A1111 text on the clipboard."""
        try:
            text = parameters_of(read_info(picture.path))
        except RxPipeError as error:
            self._say(str(error), bad=True)
            return
        self.root.clipboard_clear()
        self.root.clipboard_append(text)
        self._say("Copied the parameters")

    def start_from(self, picture: GalleryItem) -> None:
        """Use a finished picture as the input of the next run."""
        self.form.start_from([str(picture.path)])
        self._say(f"Starting from {picture.path.name}")

    def open_picture(self, index: int) -> PictureWindow:
        """Show a finished picture in a window of its own."""
        return PictureWindow(
            self.root, self.theme, self.loader, pictures=self.gallery.pictures, index=index, actions=self._actions
        )

    def use_theme(self, *, dark: bool) -> None:
        """Change to the dark or the light theme."""
        self.dark_switch.on = dark
        self.theme.use(dark=dark)

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
        self._free_pictures()
        self.root.destroy()

    def _free_pictures(self) -> None:
        """Free all pictures now; Python would do it on any thread, and wait there for a Tk that has ended."""
        for child in self.root.winfo_children():
            if isinstance(child, PictureWindow):
                child.destroy()
        self.preview.clear()
        self.root.update_idletasks()
        self.gallery.clear()
        self.theme.close()
        del self._icon

    @property
    def _actions(self) -> dict[str, Callable[[GalleryItem], object]]:
        """What can be done with a finished picture; the viewer stacks its buttons from the bottom."""
        return {
            "Open folder": self.open_folder,
            "Copy parameters": self.copy_parameters,
            "Start from this picture": self.start_from,
            "Use its settings": lambda picture: self.load(picture.path),
        }

    # -- updates ------------------------------------------------------------------------------------------------------

    def _show_connection(self, state: ConnectionState) -> None:
        self.status_light.show(state.status)
        self._status_tooltip.text = self._connection_tooltip.text = state.text
        words = {"ready": "Ready", "connecting": "Connecting…", "error": "Error"}[state.status]
        self._connection_text.configure(text=words)
        self.where.write(state.where)
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
            PipelineRunner(backend, store=default_store()), scheduler=self.scheduler, sinks=self._sinks
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
        self._show_buttons()

    def _on_event(self, event: StageEvent) -> None:
        match event:
            case RunStart():
                self._latest_preview = None
                self.preview.clear()
                self._say("")
            case StageImageProgress(path=Path() as path, outcome="done" | "passed"):
                picture = GalleryItem(event.artifact_id, path, event.seed, event.stage_type)
                self.gallery.add(picture)
                self.loader.load(path, lambda image: self._finished(event, image), side=_PREVIEW_PX)
            case RunEnd(error=error) if error is not None:
                self._say(str(error), bad=True)
            case _:
                pass
        if isinstance(event, RunEnd):
            self._report_result(event)

    def _previewed(self, preview: StagePreview) -> None:
        self._latest_preview = (preview.run_id, preview.stage_index, preview.image_index)

    def _finished(self, event: StageImageProgress, image: Image.Image | None) -> None:
        """Show the finished picture in place of its last preview, unless the next image has a preview already."""
        own = (event.run_id, event.stage_index, event.image_index)
        if image is not None and self._latest_preview in {None, own}:
            self.preview.show_picture(as_bytes(image), f"{event.stage_type} · image {event.image_index} · finished")

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
        if waiting:
            self._waiting.configure(text=f"{len(waiting)} waiting")
            self._queue.grid()
        else:
            self._queue.grid_remove()

    def _show_buttons(self) -> None:
        active, running = self.status.active, self.status.state == "running"
        self.run_button.configure(text="Add to queue" if active else "Run")
        self.stop_button.configure(state="normal" if active else "disabled")
        self.after_button.configure(state="normal" if running else "disabled")
        self.skip_button.configure(state="normal" if running else "disabled")
        self.where.configure(state="disabled" if active else "normal")

    def _say(self, text: str, *, bad: bool = False) -> None:
        """Show one message under the buttons, until the next."""
        self.notice.configure(text=text, style="Bad.TLabel" if bad else "Muted.TLabel")
        if text:
            self.notice.grid()
        else:
            self.notice.grid_remove()

    # -- building -----------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        px, root = self.theme.px, self.root
        root.title("rxpipe")
        self._icon = _icon(self.theme)
        root.wm_iconphoto(True, str(self._icon))
        root.columnconfigure(1, weight=1)
        root.rowconfigure(1, weight=1)
        self._build_top()
        left = ttk.Frame(root, width=px(432))
        left.grid(row=1, column=0, sticky="ns", padx=(px(12), 0))
        left.grid_propagate(False)
        left.rowconfigure(0, weight=1)
        left.columnconfigure(0, weight=1)
        self.form = Form(left, self.theme)
        self.form.grid(row=0, column=0, sticky="nsew")
        self._build_buttons(left)
        self._build_right()
        self.bar = StatusBar(root, stop=False)
        self.bar.grid(row=2, column=0, columnspan=2, sticky="ew", padx=px(4))

    def _build_top(self) -> None:
        px = self.theme.px
        top = ttk.Frame(self.root, padding=(px(14), px(8), px(12), px(8)))
        top.grid(row=0, column=0, columnspan=2, sticky="ew")
        ttk.Label(top, text="rxpipe", style="Title.TLabel").pack(side="left", padx=(0, px(12)))
        for text, command, tip in (
            ("Load…", self.load, "Fill the form from a preset or from a picture  (Ctrl+O)"),
            ("Save preset…", self.save, "Write the form to a file  (Ctrl+S)"),
            ("Open folder", self.open_folder, "The folder that pictures are saved to  (F8)"),
        ):
            button = ttk.Button(top, text=text, command=command, style="Ghost.TButton")
            button.pack(side="left")
            Tooltip(button, tip)
        dark = self.theme.skin.name.endswith("dark")
        self.dark_switch = Switch(top, "Dark", on=dark, changed=lambda on: self.use_theme(dark=on))
        self.dark_switch.pack(side="right", padx=(px(16), 0))
        self._connection_text = ttk.Label(top, style="Muted.TLabel")
        self._connection_text.pack(side="right")
        self.status_light = StatusLight(top, self.theme)
        self.status_light.pack(side="right", padx=(px(10), px(6)))
        self.where = ChoiceField(top, _WHERES, default=False, width=28)
        self.where.configure(style="Top.TCombobox")
        self.where.pack(side="right")
        ttk.Label(top, text="Backend", style="Muted.TLabel").pack(side="right", padx=(px(14), px(8)))
        self._status_tooltip, self._connection_tooltip = Tooltip(self.status_light), Tooltip(self._connection_text)
        for event in ("<<ComboboxSelected>>", "<Return>"):
            self.where.bind(event, lambda _event: self._connect(), add="+")

    def _build_buttons(self, left: ttk.Frame) -> None:
        px = self.theme.px
        box = ttk.Frame(left, padding=(0, px(8), 0, px(4)))
        box.grid(row=1, column=0, sticky="ew")
        box.columnconfigure((0, 1), weight=1, uniform="buttons")
        self.run_button = ttk.Button(box, text="Run", style="Accent.TButton", command=self.run)
        self.stop_button = ttk.Button(box, text="Stop", command=self.stop)
        self.after_button = ttk.Button(box, text="Stop after this image", command=self.stop_after_image)
        self.skip_button = ttk.Button(box, text="Skip this image", command=self.skip)
        for index, (button, tip) in enumerate(
            (
                (self.run_button, "Ctrl+Enter"),
                (self.stop_button, "Stop now; finished pictures are kept  (Esc)"),
                (self.after_button, "Finish the image in progress, then stop  (F6)"),
                (self.skip_button, "Skip the image in progress, continue with the next  (F7)"),
            )
        ):
            row, column = divmod(index, 2)
            gap = (0, px(4)) if column == 0 else (px(4), 0)
            button.grid(row=row, column=column, sticky="ew", padx=gap, pady=(0, px(6)))
            Tooltip(button, tip)
        self._queue = ttk.Frame(box)
        self._queue.grid(row=2, column=0, columnspan=2, sticky="ew")
        self._waiting = ttk.Label(self._queue, style="Muted.TLabel")
        self._waiting.pack(side="left")
        clear = ttk.Button(self._queue, text="Clear queue", style="Ghost.TButton", command=self._clear_queue)
        clear.pack(side="right")
        self._queue.grid_remove()
        self.notice = ttk.Label(box, wraplength=px(424), justify="left")
        self.notice.grid(row=3, column=0, columnspan=2, sticky="ew")
        self.notice.grid_remove()

    def _build_right(self) -> None:
        px = self.theme.px
        panes = ttk.Panedwindow(self.root, orient="vertical")
        panes.grid(row=1, column=1, sticky="nsew", padx=px(12))
        upper_card = ttk.Frame(panes, style="Card.TFrame", padding=px(8))
        upper = ttk.Frame(upper_card, style="Inner.TFrame")
        upper.pack(fill="both", expand=True)
        self.preview = PreviewPane(upper)
        self.timeline = StageTimeline(upper)
        self.timeline.pack(side="bottom", fill="x")
        self.preview.pack(fill="both", expand=True)
        lower = ttk.Frame(panes, style="Card.TFrame", padding=(px(8), px(8), px(4), px(4)))
        self.gallery = Gallery(lower, self.theme, self.loader, opened=self.open_picture, menu=self._menu)
        self.gallery.pack(fill="both", expand=True)
        panes.add(upper_card, weight=3)
        panes.add(lower, weight=1)

    def _menu(self, index: int, x: int, y: int) -> None:
        picture = self.gallery.pictures[index]
        menu = tk.Menu(self.root, tearoff=False)
        menu.add_command(label="Open", command=lambda: self.open_picture(index))
        for name, action in reversed(self._actions.items()):
            menu.add_command(label=name, command=lambda action=action: action(picture))  # type: ignore[misc]  # a default binds the loop's value
        menu.tk_popup(x, y)

    def _bind_keys(self) -> None:
        root = self.root
        commands = {
            "<Control-Return>": self.run,
            "<Control-KP_Enter>": self.run,
            "<Escape>": self.stop,
            "<F6>": self.stop_after_image,
            "<F7>": self.skip,
            "<F8>": self.open_folder,
            "<Control-o>": self.load,
            "<Control-s>": self.save,
            **{f"<Alt-Key-{n}>": self.form.cards[stage].flip for n, stage in enumerate(SECTIONS, 1)},
        }
        for keys, command in commands.items():
            root.bind_class(KEYS, keys, lambda _event, command=command: _run_and_break(command))  # type: ignore[misc]  # a default binds the loop's value
        root.bindtags((*root.bindtags(), KEYS))
        for widget in _descendants(root):
            if KEYS not in widget.bindtags() and isinstance(widget, ttk.Button | ttk.Checkbutton | tk.Canvas):
                widget.bindtags((KEYS, *widget.bindtags()))
        for name in ("TCombobox", "TSpinbox"):
            for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>", "<Shift-Button-4>", "<Shift-Button-5>"):
                root.unbind_class(name, wheel)  # the wheel scrolls the form and changes nothing in it
        for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
            root.bind(wheel, self._wheel)
        root.protocol("WM_DELETE_WINDOW", self.close)

    def _wheel(self, event: tk.Event[Any]) -> None:
        if isinstance(event.widget, tk.Misc) and self.form.column.holds(event.widget):
            self.form.column.wheel(event)

    def _connect(self) -> None:
        where = self.where.read() or "auto"
        if where != self.connection.state.where or self.connection.state.status == "error":
            self.connection.connect(where)

    def _clear_queue(self) -> None:
        if self.controller is not None:
            self.controller.withdraw()

    def _restore_geometry(self, geometry: str) -> None:
        """Restore the saved geometry if it is on the screen; else centre the window at a good size."""
        root, px = self.root, self.theme.px
        screen = (root.winfo_screenwidth(), root.winfo_screenheight())
        room = (screen[0] - px(16), screen[1] - px(64))
        root.minsize(min(px(760), room[0]), min(px(480), room[1]))
        if geometry and _on_screen(geometry, screen):
            root.geometry(geometry)
            return
        width, height = min(px(1240), room[0]), min(px(780), room[1])
        root.geometry(f"{width}x{height}+{(screen[0] - width) // 2}+{max(0, (screen[1] - height) // 3)}")

    def _remember(self) -> None:
        WindowState(
            geometry=self.root.geometry(),
            dark=self.dark_switch.on,
            backend=self.connection.state.where or "auto",
            form=self.form.read(),
        ).save(self._state_path)


def _loaded(job: Job) -> str:
    """Return what to say of a file that fills the form: what it leaves out, and what it needs."""
    held = ", ".join(f"{stage}.{name}" for stage, settings in job.held.items() for name in settings)
    parts = [f"Loaded {job.path.name}", f"without its {held}" if held else ""]
    parts.append(f"not carried over: {', '.join(job.left)}" if job.left else "")
    parts.append(f"it was drawn over {job.source}: choose the picture to start from" if job.source else "")
    parts.append("it names no prompt" if job.no_prompt else "")
    return ", ".join(part for part in parts if part)


def _with_folder(values: FormValues, out: str) -> FormValues:
    """Return *values* with the folder *out*, since a picture does not say where the next one is saved."""
    return replace(values, out=out or values.out)


def _run_and_break(command: Callable[[], object]) -> str:
    """Run the command, and stop all further bindings of the key."""
    command()
    return "break"


def _descendants(widget: tk.Misc) -> Iterator[tk.Misc]:
    for child in widget.winfo_children():
        yield child
        yield from _descendants(child)


def _on_screen(geometry: str, screen: tuple[int, int]) -> bool:
    """Return whether enough of a window would be visible to grab it."""
    found = re.fullmatch(r"(\d+)x(\d+)\+(-?\d+)\+(-?\d+)", geometry)
    if found is None:
        return False
    width, height, x, y = map(int, found.groups())
    return width <= screen[0] and height <= screen[1] and 0 <= x < screen[0] - 100 and 0 <= y < screen[1] - 60


def _icon(theme: Theme) -> ImageTk.PhotoImage:
    """Return the icon: three stages in a row, the last one done."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, 63, 63), 14, fill=theme.skin.accent)
    draw.line((16, 32, 48, 32), fill="#ffffff", width=5)
    for x, size in ((16, 6), (32, 7), (48, 10)):
        draw.ellipse((x - size, 32 - size, x + size, 32 + size), fill="#ffffff")
    return ImageTk.PhotoImage(picture, master=theme.root)
