"""One picture in a window of its own: at full size or fitted, with its metadata."""

from __future__ import annotations

import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageTk

from rxpipe.errors import BadImage
from rxpipe.pictures.metadata import read_info

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from rxpipe.pictures.metadata import ImageInfo
    from rxpipe.views.gui.gallery import GalleryItem, PictureLoader
    from rxpipe.views.gui.theme import Theme


class PictureWindow(tk.Toplevel):
    """A picture and what is written in it. A click changes between fitted and full size, arrows go to the next one.

    Args:
        pictures: all pictures, for the arrow keys. index: which one to begin with.
        actions: buttons by name; each is called with the picture shown.
        escaped: called when Escape has closed the window.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        loader: PictureLoader,
        *,
        pictures: Sequence[GalleryItem],
        index: int,
        actions: Mapping[str, Callable[[GalleryItem], object]],
        escaped: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self._theme, self._loader, self._pictures, self._index = theme, loader, tuple(pictures), index
        self._escaped = escaped
        self._image: Image.Image | None = None
        self._photo: ImageTk.PhotoImage | None = None
        self.full_size = False
        self._there = True
        self._build(actions)
        self._listen()
        px, screen = theme.px, (self.winfo_screenwidth(), self.winfo_screenheight())
        width, height = min(px(1080), screen[0] - px(60)), min(px(680), screen[1] - px(90))
        self.geometry(f"{width}x{height}+{(screen[0] - width) // 2}+{max(0, (screen[1] - height) // 3)}")
        self.show(index)

    @property
    def picture(self) -> GalleryItem:
        """The picture shown."""
        return self._pictures[self._index]

    def destroy(self) -> None:
        """Close the window and free its picture, now, and not on any thread that Python chooses."""
        self._there = False
        self._photo = self._image = None
        super().destroy()

    def show(self, index: int) -> None:
        """Show another one."""
        self._index = max(0, min(index, len(self._pictures) - 1))
        picture = self.picture
        self.title(f"{picture.title} · {picture.path.name}")
        self._image = None
        self._write(facts(picture.path))
        self._loader.load(picture.path, lambda image: self._loaded(picture, image))

    def _loaded(self, picture: GalleryItem, image: Image.Image | None) -> None:
        if self._there and picture == self.picture:
            self._image = image
            self._draw()

    def _build(self, actions: Mapping[str, Callable[[GalleryItem], object]]) -> None:
        px = self._theme.px
        side = ttk.Frame(self, style="Card.TFrame", padding=px(12))
        side.pack(side="right", fill="y", padx=px(10), pady=px(10))
        for name, action in actions.items():
            button = ttk.Button(side, text=name, style="Card.TButton", command=partial(self._do, action))
            button.pack(side="bottom", fill="x", pady=(px(6), 0))
        self.words = tk.Text(side, width=38, wrap="word", borderwidth=0, highlightthickness=0, font="TkTextFont")
        self.words.pack(fill="both", expand=True)
        self.canvas = tk.Canvas(self, highlightthickness=0, cursor="hand2")
        self.canvas.pack(side="left", fill="both", expand=True, padx=(px(10), 0), pady=px(10))
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self._recolour()

    def _listen(self) -> None:
        self.canvas.bind("<Configure>", lambda _event: self._draw())
        self.canvas.bind("<ButtonPress-1>", self._pressed)
        self.canvas.bind("<B1-Motion>", lambda event: self.canvas.scan_dragto(event.x, event.y, gain=1))
        self.canvas.bind("<ButtonRelease-1>", self._released)
        self.bind("<Left>", lambda _event: self.show(self._index - 1))
        self.bind("<Right>", lambda _event: self.show(self._index + 1))
        self.bind("<space>", lambda _event: self._toggle())
        self.bind("<Escape>", lambda _event: self._escape())
        self.focus_set()

    def _escape(self) -> None:
        self.destroy()
        self._escaped()

    def _do(self, action: Callable[[GalleryItem], object]) -> None:
        action(self.picture)

    def _pressed(self, event: tk.Event[Any]) -> None:
        self._from = (event.x, event.y)
        self.canvas.scan_mark(event.x, event.y)

    def _released(self, event: tk.Event[Any]) -> None:
        """A click changes the size, a drag has moved the picture."""
        if abs(event.x - self._from[0]) + abs(event.y - self._from[1]) < self._theme.px(4):
            self._toggle()

    def _toggle(self) -> None:
        self.full_size = not self.full_size
        self._draw()

    def _draw(self) -> None:
        self.canvas.delete("all")
        width, height = self.canvas.winfo_width(), self.canvas.winfo_height()
        self.canvas.scan_mark(0, 0)
        if self._image is None:
            return
        image = self._image
        if not self.full_size:
            scale = min(width / image.width, height / image.height)
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
        self._photo = ImageTk.PhotoImage(image, master=self)
        self.canvas.xview_moveto(0)
        self.canvas.yview_moveto(0)
        self.canvas.create_image(width // 2, height // 2, image=self._photo)

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in pixels as shown, None while it is loaded."""
        return (self._photo.width(), self._photo.height()) if self._photo is not None else None

    def _write(self, rows: Sequence[tuple[str, str]]) -> None:
        self.words.configure(state="normal")
        self.words.delete("1.0", "end")
        for name, value in rows:
            self.words.insert("end", f"{name}\n", "name", f"{value}\n", "value")
        self.words.configure(state="disabled")

    def _recolour(self) -> None:
        skin = self._theme.skin
        self.configure(background=skin.ground)
        self.canvas.configure(background=skin.ground)
        self.words.configure(background=skin.card, foreground=skin.palette.text, selectbackground=skin.selection)
        self.words.tag_configure("name", foreground=skin.palette.muted, font="RxSmall", spacing1=self._theme.px(7))
        self.words.tag_configure("value", foreground=skin.palette.text)


def facts(path: Path) -> list[tuple[str, str]]:
    """Return what a picture says about itself, as names and values to be read by a person."""
    try:
        info = read_info(path)
    except BadImage as error:
        return [("File", str(path)), ("Problem", error.message)]
    rows = [("File", path.name), ("Size", f"{info.width} x {info.height} px, {info.format}")]
    rows += [
        (name, value) for name, value in (("Prompt", info.prompt), ("Negative prompt", info.negative_prompt)) if value
    ]
    rows += [(name, value) for name, value in info.settings.items() if name not in {"Size", "Version"}]
    if info.lineage is not None and info.lineage.lineage:
        rows.append(("Made by", " > ".join(f"{entry.stage}" for entry in info.lineage.lineage)))
        rows.append(("Backend", info.lineage.lineage[-1].backend))
    return [*rows, *(("Problem", problem) for problem in info.problems), ("Folder", str(path.parent))]


def parameters_of(info: ImageInfo) -> str:
    """A1111's text of a picture, made from what was understood where it has none."""
    if "parameters" in info.texts:
        return info.texts["parameters"]
    lines = [info.prompt, f"Negative prompt: {info.negative_prompt}" if info.negative_prompt else ""]
    lines.append(", ".join(f"{name}: {value}" for name, value in info.settings.items()))
    return "\n".join(line for line in lines if line)
