"""The pictures to start from: the first one as a thumbnail, with what removes it and what paints a mask over it.

The card is always there and always as high, so that nothing below it moves when a picture comes or goes.
"""

from __future__ import annotations

import tkinter as tk
from pathlib import Path
from tkinter import filedialog, ttk
from typing import TYPE_CHECKING

from PIL import Image, ImageTk

from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxpipe.views.gui.gallery import PictureLoader
    from rxpipe.views.gui.theme import Theme

PICTURES = [("Pictures", "*.png *.jpg *.jpeg *.webp *.avif *.gif *.bmp"), ("All files", "*")]
_SIDE = 52


class InputsCard(ttk.Frame):
    """Which pictures a run starts from.

    Args:
        chosen: called with the paths that were chosen in the file dialog.
        removed: called by the x. painting: called by the button for a mask.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        loader: PictureLoader,
        *,
        chosen: Callable[[Sequence[str]], object],
        removed: Callable[[], object],
        painting: Callable[[], object],
    ) -> None:
        super().__init__(master, style="Card.TFrame", padding=theme.px(8))
        self._theme, self._loader, self._chosen = theme, loader, chosen
        self._photo: ImageTk.PhotoImage | None = None
        self._paths: tuple[str, ...] = ()
        self._wanted = ""
        self._side = theme.px(_SIDE)
        self.thumbnail = tk.Canvas(self, width=self._side, height=self._side, highlightthickness=0)
        self.name = ttk.Label(self, style="Card.TLabel", anchor="w", width=6)
        self.says = ttk.Label(self, style="Card.Small.TLabel", anchor="w", width=6)
        self.choose = self._button("Choose…", self._ask, "Pictures to start from, in place of the prompt alone")
        self.mask = self._button("Mask…", painting, "Paint over the part that img2img is to redraw; the rest stays")
        self.remove = self._button("✕", removed, "Start from no picture")
        self._lay_out()
        self._tip = Tooltip(self.name)
        self.bind("<<ThemeChanged>>", lambda _event: self._draw(), add="+")
        self.show((), used=False, mask="")

    @property
    def has_thumbnail(self) -> bool:
        """Whether the first picture is to be seen."""
        return self._photo is not None

    def show(self, paths: Sequence[str], *, used: bool, mask: str) -> None:
        """Show *paths*; *used* says whether the stages that are on take them, *mask* is the file of the mask."""
        first = paths[0] if paths else ""
        self._paths = tuple(paths)
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        self.name.configure(text=f"{Path(first).name}{more}" if first else "No start picture")
        self.says.configure(text=_words(paths, used=used, mask=mask))
        self._tip.text = "\n".join(paths[:20])
        self.remove.configure(state="normal" if first else "disabled")
        self.mask.configure(state="normal" if len(paths) == 1 else "disabled")
        if first != self._wanted:
            self._wanted, self._photo = first, None
            if first:
                self._loader.load(Path(first), lambda image: self._loaded(first, image), side=2 * self._side)
        self._draw()

    def clear(self) -> None:
        """Free the thumbnail."""
        self._photo = None
        self._wanted = ""
        self.thumbnail.delete("all")

    def _loaded(self, path: str, image: Image.Image | None) -> None:
        if path != self._wanted or not self.winfo_exists():
            return
        if image is None:
            self.says.configure(text="cannot be read as a picture")
            return
        image.thumbnail((self._side, self._side))
        self._photo = ImageTk.PhotoImage(image, master=self)
        self._draw()

    def _draw(self) -> None:
        skin, side = self._theme.skin, self._side
        self.thumbnail.configure(background=skin.card)
        self.thumbnail.delete("all")
        if self._photo is not None:
            self.thumbnail.create_image(side // 2, side // 2, image=self._photo)
        else:
            edge = self._theme.px(3)
            box = (edge, edge, side - edge, side - edge)
            self.thumbnail.create_rectangle(*box, outline=skin.palette.track, dash=(3, 3))

    def _lay_out(self) -> None:
        px = self._theme.px
        self.thumbnail.grid(row=0, column=0, rowspan=2, padx=(0, px(10)))
        self.name.grid(row=0, column=1, sticky="sew", columnspan=2)
        self.says.grid(row=1, column=1, sticky="new", columnspan=4)
        self.choose.grid(row=0, column=3, sticky="se")
        self.mask.grid(row=0, column=4, sticky="se")
        self.remove.grid(row=0, column=5, sticky="se")
        self.columnconfigure(1, weight=1)
        self.rowconfigure((0, 1), weight=1, uniform="lines")

    def _button(self, text: str, command: Callable[[], object], tip: str) -> ttk.Button:
        button = ttk.Button(self, text=text, style="Card.Ghost.TButton", command=command)
        Tooltip(button, tip)
        return button

    def _ask(self) -> None:
        chosen = filedialog.askopenfilenames(parent=self, title="Pictures to start from", filetypes=PICTURES)
        if chosen:
            self._chosen(chosen)


def _words(paths: Sequence[str], *, used: bool, mask: str) -> str:
    if not paths:
        return "choose one, drop it here, or press Ctrl+V" if not used else "needed, since txt2img is off"
    if not used:
        return "not used: txt2img is on, which starts from the prompt"
    if mask:
        return f"img2img redraws what {Path(mask).name} shows white"
    return "the run starts from it; txt2img is off"
