"""Finished pictures: decoded off the window's thread, shown as thumbnails with their seeds."""

from __future__ import annotations

import io
import tkinter as tk
from dataclasses import dataclass, replace
from tkinter import font as tkfont
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageDraw, ImageOps, ImageTk

from rxpipe.errors import BadImage
from rxpipe.pictures.opening import upright
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.views.gui.widgets import wheel_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from reactivex import abc

    from rxpipe.views.gui.theme import Theme

USUAL_PX, LEAST_PX, MOST_PX = 104, 64, 320  # the side of a thumbnail at 96 dpi
_RESIZE_MS = 120
_KEPT = 500
"""Thumbnails in the gallery; older ones leave it, never the disk."""


@dataclass(frozen=True, slots=True)
class GalleryItem:
    """A finished picture.

    key: the image's id, the same after every stage. stage: the last finished one. earlier: stages and files of the
    image before it, oldest first. run_id: of its run. favourite: whether a person has marked it.
    """

    key: str
    path: Path
    seed: int | None
    stage: str
    earlier: tuple[tuple[str, Path], ...] = ()
    run_id: str = ""
    favourite: bool = False

    @property
    def title(self) -> str:
        """A title such as "seed 1234567"."""
        return f"seed {self.seed}" if self.seed is not None else self.path.name


class PictureLoader:
    """Reads and decodes files on one thread and delivers them on the window's.

    Args:
        scheduler: of the window.
    """

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        self._scheduler = scheduler
        self._worker = WorkerScheduler("rxpipe-pictures")

    def load(self, path: Path, then: Callable[[Image.Image | None], object], *, side: int | None = None) -> None:
        """Call *then* with the picture, upright, at most *side* px; None if it cannot be read."""

        def read(*_: object) -> None:
            picture = _decoded(path, side)
            self._scheduler.schedule(lambda *_: _ignored(then(picture)))

        self._worker.schedule(read)

    def close(self) -> None:
        """Stop loading."""
        self._worker.close()


def _ignored(_: object) -> None:
    """Drop what a callback returns; a scheduler would read it as a disposable."""


def _decoded(path: Path, side: int | None) -> Image.Image | None:
    try:
        picture = upright(path).convert("RGB")
    except BadImage:
        return None
    if side is not None:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return picture


def as_bytes(picture: Image.Image) -> bytes:
    """Return the picture in an encoding that is cheap to make."""
    buffer = io.BytesIO()
    picture.save(buffer, "PPM")
    return buffer.getvalue()


class Gallery(ttk.Frame):
    """Thumbnails in rows, the latest last; a click or Return opens one.

    The latest is scrolled into sight, but not while the pointer is over the pictures: none moves away under it.

    opened, menu: called with the index of the picture; menu also with the pointer's position on the screen.
    empty: what is said where there is none. at_end: called when the last row comes into sight.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        loader: PictureLoader,
        *,
        opened: Callable[[int], object],
        menu: Callable[[int, int, int], object],
        empty: str = "Finished pictures appear here, one by one, with their seeds.",
        at_end: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(master, style="Inner.TFrame")
        self.pictures: list[GalleryItem] = []
        self._gone = False
        self.selected = -1
        self._theme, self._loader, self._opened, self._menu = theme, loader, opened, menu
        self._empty, self._at_end = empty, at_end
        self._resizing: str | None = None
        self._photos: dict[str, ImageTk.PhotoImage] = {}
        self._font = tkfont.Font(self, name="RxSmall", exists=True)
        self._side, self._gap = theme.px(USUAL_PX), theme.px(10)
        self.canvas = tk.Canvas(self, highlightthickness=0, yscrollincrement=1, takefocus=True, height=self._row_height)
        self._bar = ttk.Scrollbar(self, style="Card.Vertical.TScrollbar", command=self.canvas.yview)
        self.canvas.configure(yscrollcommand=self._scrolled)
        self.canvas.grid(row=0, column=0, sticky="nsew")
        self.rowconfigure(0, weight=1)
        self.columnconfigure(0, weight=1)
        self.columnconfigure(1, minsize=self._bar.winfo_reqwidth())
        self._listen()
        self._recolour()

    def add(self, picture: GalleryItem) -> None:
        """Add *picture*, or replace an earlier state of the same image."""
        index = next((n for n, other in enumerate(self.pictures) if other.key == picture.key), None)
        if index is not None:
            before = self.pictures[index]
            picture = replace(picture, earlier=(*before.earlier, (before.stage, before.path)))
            self.pictures[index] = picture
            self._draw_one(index)
        elif len(self.pictures) < _KEPT:
            self.pictures.append(picture)
            self._draw_one(len(self.pictures) - 1)
            self._set_region()
        else:
            self._photos.pop(self.pictures.pop(0).key, None)
            self.pictures.append(picture)
            self._draw()
        if not self._pointed_at():
            self.canvas.yview_moveto(1.0)
        self._load(picture)

    def show_all(self, pictures: Sequence[GalleryItem], *, keep: bool = False) -> None:
        """Show these pictures, from the first on; *keep* where they continue those that are shown."""
        if not keep:
            self.selected = -1
            self.canvas.yview_moveto(0)
        files = {picture.key: picture.path for picture in self.pictures}
        fresh = [picture for picture in pictures if files.get(picture.key) != picture.path]
        self.pictures = list(pictures)
        gone = files.keys() - {picture.key for picture in pictures}
        for key in gone | {picture.key for picture in fresh}:
            self._photos.pop(key, None)
        self._draw()
        for picture in fresh:
            self._load(picture)

    def put(self, index: int, picture: GalleryItem | None) -> None:
        """Put another record in the place of one, or remove it for None."""
        if picture is None:
            self._photos.pop(self.pictures.pop(index).key, None)
            self.selected = min(self.selected, len(self.pictures) - 1)
        else:
            self.pictures[index] = picture
        self._draw()

    @property
    def side_px(self) -> int:
        """The side of a thumbnail in pixels at 96 dpi; setting it shows all anew, a moment later."""
        return round(self._side / self._theme.scale)

    @side_px.setter
    def side_px(self, pixels: int) -> None:
        pixels = min(MOST_PX, max(LEAST_PX, pixels))
        if pixels != self.side_px:
            self._side = self._theme.px(pixels)
            if self._resizing is not None:
                self.after_cancel(self._resizing)
            self._resizing = self.after(_RESIZE_MS, self._resized)

    def _resized(self) -> None:
        self._resizing = None
        self._photos.clear()
        self.canvas.configure(height=min(self._row_height, self.canvas.winfo_height()))
        self._draw()
        for picture in self.pictures:
            self._load(picture)

    def destroy(self) -> None:
        """End, and free the thumbnails."""
        if self._resizing is not None:
            self.after_cancel(self._resizing)
            self._resizing = None
        self._gone = True
        self._photos.clear()
        super().destroy()

    def _load(self, picture: GalleryItem) -> None:
        self._loader.load(picture.path, lambda image: self._loaded(picture, image), side=2 * self._side)

    def _pointed_at(self) -> bool:
        x, y = self.winfo_pointerxy()
        over = self.winfo_containing(x, y)
        return over is not None and str(over).startswith(str(self))

    def clear(self) -> None:
        """Remove all pictures."""
        self.pictures.clear()
        self._photos.clear()
        self._draw()

    @property
    def loaded(self) -> int:
        """How many of the pictures are shown, and not only their places."""
        return len(self._photos)

    def index_at(self, x: int, y: int) -> int | None:
        """Return the index of the picture at that point of the canvas."""
        column, row = (x - self._gap // 2) // self._pitch, int(self.canvas.canvasy(y)) // self._row_height
        index = row * self._columns + column
        return index if 0 <= column < self._columns and 0 <= index < len(self.pictures) else None

    def centre_of(self, index: int) -> tuple[int, int]:
        """Return the centre of a picture on the visible canvas."""
        row, column = divmod(index, self._columns)
        x = self._gap + column * self._pitch + self._side // 2
        y = row * self._row_height + self._gap // 2 + self._side // 2
        return x, y - int(self.canvas.canvasy(0))

    @property
    def _pitch(self) -> int:
        return self._side + self._gap

    @property
    def _row_height(self) -> int:
        return self._side + self._font.metrics("linespace") + self._gap + self._theme.px(6)

    @property
    def _columns(self) -> int:
        return max(1, (self.canvas.winfo_width() - self._gap) // self._pitch)

    def _listen(self) -> None:
        canvas = self.canvas
        canvas.bind("<Configure>", lambda _event: self._draw())
        canvas.bind("<Button-1>", self._clicked)
        for button in (
            ("<Button-2>", "<Button-3>") if self.tk.call("tk", "windowingsystem") == "aqua" else ("<Button-3>",)
        ):
            canvas.bind(button, self._asked)
        canvas.bind("<Motion>", self._moved)
        canvas.bind("<FocusIn>", lambda _event: self._draw())
        canvas.bind("<FocusOut>", lambda _event: self._draw())
        for key, step in (("<Left>", -1), ("<Right>", 1), ("<Up>", -2), ("<Down>", 2)):
            canvas.bind(key, lambda _event, step=step: self._step(step))  # type: ignore[misc]  # a default binds the loop's value
        canvas.bind("<Menu>", lambda _event: self._asked_by_key())
        canvas.bind("<Shift-F10>", lambda _event: self._asked_by_key())
        canvas.bind("<Return>", lambda _event: self._open(self.selected))
        for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
            canvas.bind(wheel, self._wheel)
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")

    def _scrolled(self, first: float, last: float) -> None:
        self._bar.set(first, last)
        if float(last) >= 1.0 and float(first) > 0.0:
            self._at_end()

    def _loaded(self, picture: GalleryItem, image: Image.Image | None) -> None:
        if image is None or self._gone or picture not in self.pictures:
            return  # a later stage has replaced it meanwhile
        cut = ImageOps.fit(image, (self._side, self._side), Image.Resampling.LANCZOS)
        cut.putalpha(_corners(self._side, self._theme.px(7)))
        self._photos[picture.key] = ImageTk.PhotoImage(cut, master=self)
        self._draw_one(self.pictures.index(picture))

    def _draw(self) -> None:
        self.canvas.delete("all")
        if not self.pictures:
            width, where = max(1, self.canvas.winfo_width() - 2 * self._gap), (self._gap, self._gap)
            muted = self._theme.skin.palette.muted
            self.canvas.create_text(
                *where, text=self._empty, anchor="nw", width=width, fill=muted, font="RxSmall", tags=("empty",)
            )
        for index in range(len(self.pictures)):
            self._draw_one(index)
        self._set_region()

    def _set_region(self) -> None:
        """Set the scroll region, and show a scrollbar if it is higher than the canvas."""
        height = -(-len(self.pictures) // self._columns) * self._row_height
        self.canvas.configure(scrollregion=(0, 0, 1, max(height, 1)))
        if height > self.canvas.winfo_height():
            self._bar.grid(row=0, column=1, sticky="ns")
        else:
            self._bar.grid_remove()

    def _draw_one(self, index: int) -> None:
        picture, own = self.pictures[index], f"item{index}"
        self.canvas.delete("empty", own)
        row, column = divmod(index, self._columns)
        left, top = self._gap + column * self._pitch, row * self._row_height + self._gap // 2
        palette, side = self._theme.skin.palette, self._side
        photo = self._photos.get(picture.key)
        if photo is None:
            self.canvas.create_rectangle(left, top, left + side, top + side, outline=palette.track, tags=(own,))
        else:
            self.canvas.create_image(left, top, anchor="nw", image=photo, tags=(own,))
        if index == self.selected and self.canvas.focus_get() is self.canvas:
            box = (left - 2, top - 2, left + side + 1, top + side + 1)
            self.canvas.create_rectangle(*box, outline=palette.busy, width=self._theme.px(2), tags=(own,))
        caption = str(picture.seed) if picture.seed is not None else picture.path.stem
        if picture.favourite:
            caption = f"★ {caption}"
        middle, line = left + side // 2, top + side + self._theme.px(3)
        self.canvas.create_text(
            middle, line, text=caption, anchor="n", fill=palette.muted, font="RxSmall", tags=(own, "seed")
        )

    def _clicked(self, event: tk.Event[Any]) -> None:
        self.canvas.focus_set()
        index = self.index_at(event.x, event.y)
        if index is not None:
            self._open(index)

    def _asked(self, event: tk.Event[Any]) -> None:
        index = self.index_at(event.x, event.y)
        if index is not None:
            self.selected = index
            self._menu(index, event.x_root, event.y_root)

    def _asked_by_key(self) -> None:
        if 0 <= self.selected < len(self.pictures):
            x, y = self.centre_of(self.selected)
            self._menu(self.selected, self.canvas.winfo_rootx() + x, self.canvas.winfo_rooty() + y)

    def _moved(self, event: tk.Event[Any]) -> None:
        self.canvas.configure(cursor="hand2" if self.index_at(event.x, event.y) is not None else "")

    def _step(self, step: int) -> None:
        if self.pictures:
            step = step if abs(step) == 1 else (step // 2) * self._columns
            self.selected = min(max(0, self.selected + step), len(self.pictures) - 1)
            self._draw()
            self._scroll_to(self.selected)

    def _scroll_to(self, index: int) -> None:
        """Scroll as far as it takes to see a picture."""
        rows = -(-len(self.pictures) // self._columns)
        top = (index // self._columns) * self._row_height
        first, room = int(self.canvas.canvasy(0)), self.canvas.winfo_height()
        if top < first or top + self._row_height > first + room:
            wanted = top if top < first else top + self._row_height - room
            self.canvas.yview_moveto(max(0, wanted) / max(1, rows * self._row_height))

    def _open(self, index: int) -> None:
        if 0 <= index < len(self.pictures):
            self.selected = index
            self._opened(index)

    def _wheel(self, event: tk.Event[Any]) -> None:
        self.canvas.yview_scroll(60 * wheel_turn(event), "units")

    def _recolour(self) -> None:
        self.canvas.configure(background=self._theme.skin.card)
        self._draw()


def _corners(side: int, radius: int) -> Image.Image:
    """Return the alpha mask of a square with smooth round corners."""
    mask = Image.new("L", (side * 4, side * 4))
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, side * 4 - 1, side * 4 - 1), radius * 4, fill=255)
    return ImageChops.lighter(mask.resize((side, side), Image.Resampling.BOX), Image.new("L", (side, side)))
