"""One picture in a window of its own: at any size, beside an earlier state of itself, with its metadata."""

from __future__ import annotations

import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage
from rxpipe.pictures.metadata import read_info
from rxpipe.views.gui.fields import ChoiceField
from rxpipe.views.gui.widgets import Tooltip
from rxpipe.views.gui.zoom import ZoomCanvas

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from PIL import Image

    from rxpipe.pictures.metadata import ImageInfo
    from rxpipe.views.gui.gallery import GalleryItem, PictureLoader
    from rxpipe.views.gui.theme import Theme


ALONE = "the picture alone"


class PictureWindow(tk.Toplevel):
    """A picture and what is written in it. A click changes between fitted and full size, arrows go to the next one.

    The wheel zooms, a drag moves; an earlier stage can be laid beside it, with a divider that is dragged.

    Args:
        pictures: all pictures, for the arrow keys. index: which one to begin with.
        actions: buttons by name; each is called with the picture shown.
        escaped: called when Escape has closed the window.
        states: returns the earlier states of a picture, oldest first: names of stages and files.
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
        states: Callable[[GalleryItem], Sequence[tuple[str, Path]]] = lambda picture: picture.earlier,
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self._theme, self._loader, self._pictures, self._index = theme, loader, tuple(pictures), index
        self._escaped, self._states = escaped, states
        self._earlier: dict[str, Path] = {}
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
        super().destroy()

    def show(self, index: int) -> None:
        """Show another one."""
        self._index = max(0, min(index, len(self._pictures) - 1))
        picture = self.picture
        self.title(f"{picture.title} · {picture.path.name}")
        self.canvas.show(None)
        self._write(facts(picture.path))
        self._loader.load(picture.path, lambda image: self._loaded(picture, image))
        self._earlier = dict(self._states(picture))
        self.before.offer([ALONE, *self._earlier])
        self.before.write(ALONE)
        self.before.configure(state="readonly" if self._earlier else "disabled")

    def compare_with(self, stage: str) -> None:
        """Lay the picture as that stage left it beside this one; ALONE for the picture alone."""
        self.before.write(stage)
        path = self._earlier.get(stage)
        if path is None:
            self.canvas.compare(None)
            return
        picture = self.picture
        self._loader.load(path, lambda image: self._compare(picture, stage, image))

    def _compare(self, picture: GalleryItem, stage: str, image: Image.Image | None) -> None:
        if self._there and picture == self.picture and self.before.get() == stage:
            self.canvas.compare(image)

    def _loaded(self, picture: GalleryItem, image: Image.Image | None) -> None:
        if self._there and picture == self.picture:
            self.canvas.show(image)

    def _build(self, actions: Mapping[str, Callable[[GalleryItem], object]]) -> None:
        px = self._theme.px
        side = ttk.Frame(self, style="Card.TFrame", padding=px(12))
        side.pack(side="right", fill="y", padx=px(10), pady=px(10))
        for name, action in actions.items():
            button = ttk.Button(side, text=name, style="Card.TButton", command=partial(self._do, action))
            button.pack(side="bottom", fill="x", pady=(px(6), 0))
        ttk.Label(side, text="Before and after", style="Card.Small.TLabel").pack(anchor="w")
        self.before = ChoiceField(side, (ALONE,), default=False)
        self.before.bind("<<ComboboxSelected>>", lambda _event: self.compare_with(self.before.get()), add="+")
        self.before.pack(fill="x", pady=(px(3), px(8)))
        Tooltip(self.before, "Lay the picture as an earlier stage left it beside this one, and drag the line")
        self.words = tk.Text(side, width=38, wrap="word", borderwidth=0, highlightthickness=0, font="TkTextFont")
        self.words.pack(fill="both", expand=True)
        self.canvas = ZoomCanvas(self, self._theme)
        self.canvas.pack(side="left", fill="both", expand=True, padx=(px(10), 0), pady=px(10))
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self._recolour()

    def _listen(self) -> None:
        self.bind("<Left>", lambda _event: self.show(self._index - 1))
        self.bind("<Right>", lambda _event: self.show(self._index + 1))
        self.bind("<space>", lambda _event: self.canvas.toggle())
        for keys, factor in (("<plus>", 1.25), ("<KP_Add>", 1.25), ("<minus>", 0.8), ("<KP_Subtract>", 0.8)):
            self.bind(keys, lambda _event, factor=factor: self.canvas.zoom(factor))  # type: ignore[misc]  # a default binds the loop's value
        self.bind("<Key-0>", lambda _event: self.canvas.fit())
        self.bind("<Escape>", lambda _event: self._escape())
        self.focus_set()

    def _escape(self) -> None:
        self.destroy()
        self._escaped()

    def _do(self, action: Callable[[GalleryItem], object]) -> None:
        action(self.picture)

    @property
    def full_size(self) -> bool:
        """Whether one pixel of the picture is one of the screen."""
        return self.canvas.full_size

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in pixels as shown, None while it is loaded."""
        return self.canvas.shown_size

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
