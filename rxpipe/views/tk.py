"""A run in a Tk window: StatusBar, PreviewPane, StageTimeline; each is a frame to be packed into any window.

    bar = StatusBar(root); bar.pack(fill="x")
    bar.attach(controller)

They follow the colours of the window they stand in, light or dark, and scale with its fonts. Only the thread that made
them may call them, which a controller with `scheduler=TkScheduler(root)` sees to.
"""

from __future__ import annotations

import threading
import tkinter as tk
from tkinter import font as tkfont
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageTk
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.errors import BadImage
from rxpipe.pictures.opening import PREVIEW_PIXELS, opened
from rxpipe.status import RunStatus
from rxpipe.views.in_work import Tile, Tiles, columns_for, image_caption
from rxpipe.views.palette import Palette, Watchable, detail, palette_on, stage_caption, tone_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reactivex import abc

    from rxpipe.events import StagePreview
    from rxpipe.status import StageStatus

_BAR_PX, _DOT_PX, _GAP_PX = 160, 9, 10  # at 96 dots per inch
_ELLIPSIS = "…"


class _View(tk.Frame):
    """What the three share: colours of the window around them, the scale of its fonts, and subscriptions that end."""

    def __init__(self, master: tk.Misc) -> None:
        super().__init__(master, borderwidth=0, highlightthickness=0)
        self._thread = threading.get_ident()
        self._subscription = SerialDisposable()
        self._scale = max(1.0, self.winfo_fpixels("1i") / 96, float(self.tk.call("tk", "scaling")) / (96 / 72))
        self._normal = tkfont.nametofont("TkDefaultFont", root=self)
        self._bold = self._normal.copy()
        self._bold.configure(weight="bold")
        self.palette = palette_on(128, 128, 128)
        self.bind("<<ThemeChanged>>", lambda _event: self.restyle(), add="+")
        self.bind("<Destroy>", self._destroyed, add="+")

    def attach(self, source: Watchable) -> None:
        """Show *source* from now on, in place of what was shown before. Ends with the widget, or with `detach`."""
        self._subscription.disposable = CompositeDisposable(*self._watch(source))

    def detach(self) -> None:
        """Follow nothing any more; what is shown stays."""
        self._subscription.disposable = CompositeDisposable()

    def restyle(self) -> None:
        """Take the colours of the window again; a change of the ttk theme is noticed without it."""
        ground = _ground_of(self.master)
        red, green, blue = (channel // 256 for channel in self.winfo_rgb(ground))
        self.palette = palette_on(red, green, blue)
        self.configure(background=ground)
        self._paint(self.palette, ground)

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        raise NotImplementedError

    def _paint(self, palette: Palette, ground: str) -> None:
        raise NotImplementedError

    def _px(self, pixels: float) -> int:
        return round(pixels * self._scale)

    def _require_own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                f"{type(self).__name__} was called on {threading.current_thread().name}, not on the thread of its "
                "window. Give the controller scheduler=TkScheduler(root)."
            )

    def _fail(self, error: Exception) -> None:
        self.nametowidget(".").report_callback_exception(type(error), error, error.__traceback__)

    def _destroyed(self, event: tk.Event[Any]) -> None:
        if event.widget is self:
            self._subscription.dispose()
            # Freed here: Python would do it on any thread, and a worker would wait there for a Tk that is busy or gone.
            self._bold = self._normal


class StatusBar(_View):
    """One line: state, where the run is, a bar, percent, time left, and Stop.

    Args:
        master: the window or frame to stand in.
        stop: whether there is a Stop button.
    """

    def __init__(self, master: tk.Misc, *, stop: bool = True) -> None:
        super().__init__(master)
        self._source: Watchable | None = None
        self.status = RunStatus()
        self._dot = tk.Canvas(self, width=self._px(_DOT_PX), height=self._px(_DOT_PX), highlightthickness=0)
        self._words = tk.Frame(self)
        self.message = tk.Label(self._words, font=self._bold, anchor="w", padx=0)
        self.detail = tk.Label(self._words, font=self._normal, anchor="w", padx=0)
        self._bar = tk.Canvas(self, width=self._px(_BAR_PX), height=self._px(_DOT_PX), highlightthickness=0)
        self.percent = tk.Label(self, font=self._normal, anchor="e", width=5, padx=0)
        self.eta = tk.Label(self, font=self._normal, anchor="w", width=10, padx=0)
        self.stop = tk.Button(self, text="Stop", command=self._stop, font=self._normal, takefocus=True)
        self._lay_out(stop=stop)
        self._tip = _Tip(self.message)
        self._words.bind("<Configure>", lambda _event: self._fill_words())
        self._bar.bind("<Configure>", lambda _event: self._draw_bar())
        self.stop.bind("<Return>", lambda _event: self.stop.invoke())
        self.restyle()
        self.show(self.status)

    def show(self, status: RunStatus) -> None:
        """Show *status*; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        self.status = status
        running = status.active or status.fraction > 0
        self.percent.configure(text=status.percent_text if running else "")
        self.eta.configure(text=status.eta_text)
        if status.active:
            self.eta.grid()
        else:
            self.eta.grid_remove()
        # Its room is then the message's, which may be that of an error; the bar as a whole asks for as much as before.
        spared = 0 if status.active else self.eta.winfo_reqwidth() + self._px(_GAP_PX)
        self._words.configure(width=self._words_px + spared)
        can_stop = status.state == "running" and self._source is not None
        self.stop.configure(state="normal" if can_stop else "disabled")
        self._draw_dot()
        self._draw_bar()
        self._fill_words()

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        self._source = source
        yield source.status.subscribe(on_next=self.show, on_error=self._fail)

    def detach(self) -> None:
        """Follow nothing any more; what is shown stays, and Stop is off."""
        super().detach()
        self._source = None
        self.stop.configure(state="disabled")

    def _stop(self) -> None:
        self.stop.configure(state="disabled")  # immediately; "Stopping" follows from the source
        if self._source is not None:
            self._source.cancel()

    def _lay_out(self, *, stop: bool) -> None:
        gap, edge = self._px(_GAP_PX), self._px(6)
        self._dot.grid(row=0, column=0, padx=(gap, self._px(7)), pady=edge)
        self._words.grid(row=0, column=1, sticky="ew")
        self.message.pack(side="left")
        self.detail.pack(side="left", padx=(gap, 0))
        self._bar.grid(row=0, column=2, padx=(gap, self._px(6)))
        self.percent.grid(row=0, column=3)
        self.eta.grid(row=0, column=4, padx=(gap, 0))
        if stop:
            self.stop.grid(row=0, column=5, padx=(0, gap), pady=edge)
        self.columnconfigure(1, weight=1)
        self._words_px = self._bold.measure("Running adetailer") + self._px(2 * _GAP_PX)
        self._words.configure(height=self.message.winfo_reqheight(), width=self._words_px)
        self._words.pack_propagate(False)

    def _paint(self, palette: Palette, ground: str) -> None:
        for widget in (self._dot, self._words, self._bar):
            widget.configure(background=ground)
        for label in (self.detail, self.percent, self.eta):
            label.configure(background=ground, foreground=palette.muted)
        self.message.configure(background=ground, foreground=palette.text)
        self.stop.configure(
            background=ground,
            activebackground=palette.track,
            foreground=palette.text,
            activeforeground=palette.text,
            disabledforeground=palette.quiet,
            highlightbackground=palette.track,
            highlightcolor=palette.busy,
            highlightthickness=self._px(1),
            relief="flat",
            overrelief="flat",
            borderwidth=0,
            padx=self._px(12),
            pady=self._px(2),
        )
        self._draw_dot()
        self._draw_bar()

    def _draw_dot(self) -> None:
        size = self._px(_DOT_PX)
        self._dot.delete("all")
        colour = self.palette.of(tone_of(self.status.state))
        self._dot.create_oval(0, 0, size - 1, size - 1, fill=colour, outline=colour)

    def _draw_bar(self) -> None:
        width, height = max(self._bar.winfo_width(), 2), max(self._bar.winfo_height(), 2)
        self._bar.delete("all")
        colour = self.palette.of(tone_of(self.status.state))
        _draw_bar(self._bar, (0, 0, width, height), self.status.fraction, colour, self.palette.track)

    def _fill_words(self) -> None:
        laid_out = self._words.winfo_width() > 1
        room = self._words.winfo_width() if laid_out else self._bold.measure(self.status.message)
        message = _elided(self.status.message, self._bold, room)
        self.message.configure(text=message)
        self._tip.text = self.status.message if message != self.status.message else ""
        left = room - self._bold.measure(message) - self._px(_GAP_PX + 4)
        self.detail.configure(text=_elided(detail(self.status), self._normal, left))


class StageTimeline(_View):
    """The run's stages side by side: name, bar, and how many images came through in what time."""

    def __init__(self, master: tk.Misc) -> None:
        super().__init__(master)
        self.status = RunStatus()
        self._line = self._normal.metrics("linespace")
        self._canvas = tk.Canvas(self, height=self._height(), width=self._px(320), highlightthickness=0)
        self._canvas.pack(fill="both", expand=True)
        self._canvas.bind("<Configure>", lambda _event: self._draw())
        self.restyle()

    def show(self, status: RunStatus) -> None:
        """Show the stages of *status*; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        if status.stages is not self.status.stages:
            self.status = status
            self._draw()

    @property
    def texts(self) -> tuple[tuple[str, str], ...]:
        """Name and caption of each stage as they stand there, from left to right."""
        return tuple((stage.name, stage_caption(stage)) for stage in self.status.stages)

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        yield source.status.subscribe(on_next=self.show, on_error=self._fail)

    def _paint(self, palette: Palette, ground: str) -> None:  # noqa: ARG002  drawn with self.palette
        self._canvas.configure(background=ground)
        self._draw()

    def _height(self) -> int:
        return 2 * self._line + self._px(8 + 6 + 6 + 4 + 8)

    def _draw(self) -> None:
        self._canvas.delete("all")
        stages, gap = self.status.stages, self._px(_GAP_PX)
        if not stages:
            return
        width = (max(self._canvas.winfo_width(), 1) - gap) / len(stages)
        for index, stage in enumerate(stages):
            self._draw_stage(stage, round(gap + index * width), round(width - gap))

    def _draw_stage(self, stage: StageStatus, left: int, width: int) -> None:
        colours, y = self.palette, self._px(8)
        name_colour = colours.muted if stage.state in {"waiting", "skipped"} else colours.text
        name_font = self._bold if stage.state == "running" else self._normal
        self._write(left, y, _elided(stage.name, name_font, width), name_colour, name_font)
        y += self._line + self._px(6)
        bar = (left, y, left + width, y + self._px(6))
        _draw_bar(self._canvas, bar, stage.fraction, colours.of(tone_of(stage.state)), colours.track)
        colour = colours.bad if stage.failed or stage.state == "failed" else colours.muted
        caption = _elided(stage_caption(stage), self._normal, width)
        self._write(left, y + self._px(6 + 4), caption, colour, self._normal)

    def _write(self, left: int, top: int, text: str, colour: str, font: tkfont.Font) -> None:
        self._canvas.create_text(left, top, text=text, anchor="nw", fill=colour, font=font)


class PreviewPane(_View):
    """The image in progress, as large as the pane allows, with a line that says which one it is.

    Where a run works on several at the same time, they stand side by side, each with a line and a bar of its own.
    """

    def __init__(self, master: tk.Misc) -> None:
        super().__init__(master)
        self._tiles: Tiles[Image.Image] = Tiles()
        self._photos: list[ImageTk.PhotoImage] = []
        self._fitting: str | None = None
        self._canvas = tk.Canvas(self, width=self._px(256), height=self._px(256), highlightthickness=0)
        self.caption = tk.Label(self, text=self._tiles.caption, font=self._normal)
        self.caption.pack(side="bottom", fill="x", pady=self._px(4))
        self._canvas.pack(fill="both", expand=True)
        self._canvas.bind("<Configure>", lambda _event: self._fit_soon())
        self.restyle()

    def show(self, preview: StagePreview) -> None:
        """Show *preview*; to be subscribed to a controller's `previews`."""
        caption = image_caption(preview.stage_type, preview.shown_number)
        self.show_picture(preview.data, caption, preview.shown_number)

    def show_status(self, status: RunStatus) -> None:
        """Show which images are in work, and how far they are; to be subscribed to a controller's `status`."""
        self._require_own_thread()
        if self._tiles.follow(status):
            self._fit_soon()

    def show_picture(self, data: bytes, caption: str, image_number: int | None = None) -> None:
        """Show an encoded picture of any format that Pillow reads; one that cannot be read leaves the last standing.

        Args:
            data: the file's bytes.
            caption: the line below.
            image_number: whose picture it is, 1..; where several are shown it stands in that image's place, and is left
                out if there is none.
        """
        self._require_own_thread()
        self._tiles.put(_read(data), caption, image_number)
        self._fit_soon()

    def clear(self) -> None:
        """Show nothing."""
        self._tiles.clear()
        self._fit_soon()

    def holds(self, image_number: int | None) -> bool:
        """Whether several images are shown, and that one among them."""
        return len(self._tiles) > 1 and any(tile.image_number == image_number for tile in self._tiles.tiles)

    @property
    def texts(self) -> tuple[tuple[str, float | None], ...]:
        """Line and fraction (None: no bar) of each image shown, from left to right and from top to bottom."""
        return self._tiles.texts

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the first picture in the pane, None while there is none."""
        return (self._photos[0].width(), self._photos[0].height()) if self._photos else None

    def _watch(self, source: Watchable) -> Iterable[abc.DisposableBase]:
        yield source.status.subscribe(on_next=self.show_status, on_error=self._fail)
        yield source.previews.subscribe(on_next=self.show, on_error=self._fail)

    def _paint(self, palette: Palette, ground: str) -> None:
        self._canvas.configure(background=ground)
        self.caption.configure(background=ground, foreground=palette.muted)
        self._fit_soon()

    def _fit_soon(self) -> None:
        self.caption.configure(text=self._tiles.caption)
        if self._fitting is None:
            self._fitting = self.after_idle(self._fit)

    def _fit(self) -> None:
        self._fitting = None
        self._canvas.delete("all")
        self._photos.clear()
        width, height, edge = self._canvas.winfo_width(), self._canvas.winfo_height(), self._px(_GAP_PX)
        count = len(self._tiles)
        columns = columns_for(count, width, height)
        across, down = width / columns, height / -(-count // columns)
        foot = self._px(6 + 6 + 4) + self._normal.metrics("linespace") if count > 1 else 0
        for number, tile in enumerate(self._tiles.tiles):
            left, top = number % columns * across + edge, number // columns * down + edge
            box = (round(left), round(top), round(left + across - 2 * edge), round(top + down - 2 * edge - foot))
            self._draw_picture(tile, box)
            if count > 1:
                self._draw_foot(tile, box)

    def _draw_picture(self, tile: Tile[Image.Image], box: tuple[int, int, int, int]) -> None:
        left, top, right, bottom = box
        if tile.picture is None:
            self._canvas.create_rectangle(*box, outline=self.palette.track, dash=(4, 4))
            return
        room = (max(1, right - left), max(1, bottom - top))
        scale = min(room[0] / tile.picture.width, room[1] / tile.picture.height)
        size = (max(1, round(tile.picture.width * scale)), max(1, round(tile.picture.height * scale)))
        photo = ImageTk.PhotoImage(tile.picture.resize(size, Image.Resampling.BILINEAR), master=self)
        self._photos.append(photo)
        self._canvas.create_image((left + right) // 2, (top + bottom) // 2, image=photo)

    def _draw_foot(self, tile: Tile[Image.Image], box: tuple[int, int, int, int]) -> None:
        left, _top, right, bottom = box
        y, colours = bottom + self._px(6), self.palette
        if tile.fraction is not None:
            bar = (left, y, right, y + self._px(6))
            _draw_bar(self._canvas, bar, tile.fraction, colours.busy, colours.track)
        text = _elided(tile.caption, self._normal, right - left)
        self._canvas.create_text(
            (left + right) // 2, y + self._px(6 + 4), text=text, anchor="n", fill=colours.muted, font=self._normal
        )

    def _destroyed(self, event: tk.Event[Any]) -> None:
        super()._destroyed(event)
        if event.widget is self:
            self._photos.clear()  # freed here, as the font is
            if self._fitting is not None:
                self.after_cancel(self._fitting)


def _read(data: bytes) -> Image.Image | None:
    try:
        with opened(data, most_pixels=PREVIEW_PIXELS) as image:
            return image.convert("RGB")
    except BadImage:
        return None


class _Tip:
    """The full text of a label that had to be shortened, while the pointer rests on it."""

    def __init__(self, owner: tk.Widget) -> None:
        self.text = ""
        self._owner = owner
        self._window: tk.Toplevel | None = None
        owner.bind("<Enter>", lambda _event: self._open())
        owner.bind("<Leave>", lambda _event: self._close())
        owner.bind("<Destroy>", lambda _event: self._close())

    def _open(self) -> None:
        if not self.text or self._window is not None:
            return
        self._window = tk.Toplevel(self._owner)
        self._window.wm_overrideredirect(boolean=True)
        label = tk.Label(self._window, text=self.text, background="#ffffe4", foreground="#1d2129", padx=8, pady=4)
        label.configure(wraplength=480, justify="left", borderwidth=1, relief="solid")
        label.pack()
        x, y = self._owner.winfo_rootx(), self._owner.winfo_rooty()
        self._window.update_idletasks()
        self._window.wm_geometry(f"+{x}+{max(0, y - self._window.winfo_reqheight() - 4)}")

    def _close(self) -> None:
        window, self._window = self._window, None
        if window is not None:
            window.destroy()


def _ground_of(master: tk.Misc | None) -> str:
    """Return the colour of the window around; a ttk widget has it from its style, a classic one itself."""
    if isinstance(master, ttk.Widget):
        style = ttk.Style(master)
        ground = style.lookup(str(master.cget("style")) or master.winfo_class(), "background")
        return str(ground) or str(master.winfo_toplevel().cget("background"))
    return str(master.cget("background")) if master is not None else "#ffffff"


def _draw_bar(canvas: tk.Canvas, box: tuple[int, int, int, int], fraction: float, colour: str, track: str) -> None:
    """A bar with round ends, filled from the left."""
    left, top, right, bottom = box
    thick, middle = bottom - top, (top + bottom) / 2
    begin, end = left + thick / 2, right - thick / 2
    canvas.create_line(begin, middle, end, middle, width=thick, capstyle="round", fill=track)
    if fraction > 0:
        reach = begin + (end - begin) * min(1.0, fraction)
        canvas.create_line(begin, middle, reach, middle, width=thick, capstyle="round", fill=colour)


def _elided(text: str, font: tkfont.Font, room: int) -> str:
    """As much of *text* as fits into *room* pixels, with an ellipsis if that is not all; "" if nothing does."""
    if not text or font.measure(text) <= room:
        return text
    fits, too_long = 0, len(text)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if font.measure(text[:middle].rstrip() + _ELLIPSIS) <= room:
            fits = middle
        else:
            too_long = middle
    return text[:fits].rstrip() + _ELLIPSIS if fits else ""
