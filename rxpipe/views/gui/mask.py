"""Painting a mask over a picture: white is redrawn by img2img, what is not painted stays.

The mask has the picture's size; strokes are drawn into it and into a small copy for the screen.
"""

from __future__ import annotations

import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageChops, ImageDraw, ImageTk

from rxpipe.views.gui.fields import Switch
from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxpipe.views.gui.theme import Theme

_TINT = (240, 60, 90)
_KEPT = 30  # steps back
Point = tuple[float, float]


class Mask:
    """A mask in work: strokes, inversion, steps back. No Tk.

    picture: grey, of the picture's size, white where it is redrawn.
    """

    def __init__(self, size: tuple[int, int], before: Image.Image | None = None) -> None:
        self.picture = Image.new("L", size) if before is None else before.convert("L").resize(size)
        self._before: list[Image.Image] = []

    @property
    def empty(self) -> bool:
        """Whether nothing is painted."""
        return self.picture.getbbox() is None

    def begin(self) -> None:
        """Begin something that one step back undoes."""
        self._before = [*self._before[1 - _KEPT :], self.picture.copy()]

    def stroke(self, points: Sequence[Point], width: float, *, erase: bool) -> None:
        """Paint along *points*, or erase; all in px of the picture."""
        draw, colour, radius = ImageDraw.Draw(self.picture), 0 if erase else 255, max(0.5, width / 2)
        if len(points) > 1:
            draw.line(list(points), fill=colour, width=max(1, round(width)))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    def invert(self) -> None:
        """Exchange what is painted and what is not."""
        self.begin()
        self.picture = ImageChops.invert(self.picture)

    def clear(self) -> None:
        """Paint nothing."""
        self.begin()
        self.picture = Image.new("L", self.picture.size)

    def back(self) -> None:
        """Take the last step back, if there is one."""
        if self._before:
            self.picture = self._before.pop()


class MaskWindow(tk.Toplevel):
    """A picture to paint a mask over: left paints, right erases, [ and ] change the brush.

    Closing it keeps what was painted.

    Args:
        picture: decoded, upright. before: the mask so far.
        done: called when it is closed, with the mask, None for an empty one.
        escaped: called when Escape has closed it.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        picture: Image.Image,
        before: Image.Image | None,
        *,
        done: Callable[[Image.Image | None], object],
        escaped: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self._theme, self._whole, self._done, self._escaped = theme, picture, done, escaped
        self.mask = Mask(picture.size, before)
        self._photo: ImageTk.PhotoImage | None = None
        self._small = self._tinted = picture
        self._last: Point | None = None
        self._drawing: str | None = None
        self.title("Mask: paint what is to be redrawn")
        self._build()
        screen = (self.winfo_screenwidth(), self.winfo_screenheight())
        width, height = min(theme.px(900), screen[0] - theme.px(60)), min(theme.px(700), screen[1] - theme.px(90))
        self.geometry(f"{width}x{height}+{(screen[0] - width) // 2}+{max(0, (screen[1] - height) // 3)}")
        self.protocol("WM_DELETE_WINDOW", self.finish)
        self.canvas.focus_set()

    def finish(self) -> None:
        """Close the window and hand the mask on."""
        mask = None if self.mask.empty else self.mask.picture
        self.destroy()
        self._done(mask)

    def destroy(self) -> None:
        """Close the window and free its picture, now, and not on any thread that Python chooses."""
        if self._drawing is not None:
            self.after_cancel(self._drawing)
        self._photo = self._drawing = None
        super().destroy()

    @property
    def scale(self) -> float:
        """Pixels on the screen per pixel of the picture."""
        width, height = max(1, self.canvas.winfo_width()), max(1, self.canvas.winfo_height())
        return min(width / self._whole.width, height / self._whole.height)

    def _build(self) -> None:
        px = self._theme.px
        bar = ttk.Frame(self, style="Card.TFrame", padding=px(10))
        bar.pack(side="bottom", fill="x", padx=px(8), pady=px(8))
        ttk.Label(bar, text="Brush", style="Card.Muted.TLabel").pack(side="left")
        longest = max(self._whole.size)
        self.brush = ttk.Scale(bar, from_=2, to=longest / 3, value=longest / 14, length=px(150))
        self.brush.pack(side="left", padx=px(8))
        self.erase = Switch(bar, "Erase", on=False, changed=lambda _on: None, style="Card.Small.Switch.TCheckbutton")
        self.erase.pack(side="left", padx=px(8))
        for text, command, tip in (
            ("Undo", self._back, "Take the last step back  (Ctrl+Z)"),
            ("Invert", self._invert, "Redraw what is not painted, and keep what is"),
            ("Clear", self._clear, "Paint nothing: the whole picture is redrawn"),
        ):
            button = ttk.Button(bar, text=text, style="Card.Ghost.TButton", command=command)
            button.pack(side="left")
            Tooltip(button, tip)
        self.done = ttk.Button(bar, text="Done", style="Accent.TButton", command=self.finish)
        self.done.pack(side="right")
        self.canvas = tk.Canvas(self, highlightthickness=0, cursor="crosshair", background=self._theme.skin.ground)
        self.canvas.pack(fill="both", expand=True, padx=px(8), pady=(px(8), 0))
        self.canvas.bind("<Configure>", lambda _event: self._fit())
        for number, erase in ((1, False), (3, True)):
            self.canvas.bind(f"<ButtonPress-{number}>", partial(self._press, erase=erase))
            self.canvas.bind(f"<B{number}-Motion>", partial(self._paint, erase=erase))
        self.bind("<Control-z>", lambda _event: self._back())
        self.bind("<bracketleft>", lambda _event: self._resize(0.8))
        self.bind("<bracketright>", lambda _event: self._resize(1.25))
        self.bind("<Escape>", lambda _event: self._escape())

    def _escape(self) -> None:
        self.finish()
        self._escaped()

    def _press(self, event: tk.Event[Any], *, erase: bool) -> None:
        self.mask.begin()
        self._last = None
        self._paint(event, erase=erase)

    def _paint(self, event: tk.Event[Any], *, erase: bool) -> None:
        scale = self.scale
        left = (self.canvas.winfo_width() - self._whole.width * scale) / 2
        top = (self.canvas.winfo_height() - self._whole.height * scale) / 2
        point = ((event.x - left) / scale, (event.y - top) / scale)
        points = [point] if self._last is None else [self._last, point]
        self._last = point
        self.mask.stroke(points, float(self.brush.get()), erase=erase or self.erase.on)
        self._draw_soon()

    def _resize(self, factor: float) -> None:
        self.brush.set(float(self.brush.get()) * factor)

    def _invert(self) -> None:
        self.mask.invert()
        self._draw_soon()

    def _clear(self) -> None:
        self.mask.clear()
        self._draw_soon()

    def _back(self) -> None:
        self.mask.back()
        self._draw_soon()

    def _fit(self) -> None:
        size = (max(1, round(self._whole.width * self.scale)), max(1, round(self._whole.height * self.scale)))
        self._small = self._whole.convert("RGB").resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        self._tinted = Image.blend(self._small, Image.new("RGB", size, _TINT), 0.55)
        self._draw_soon()

    def _draw_soon(self) -> None:
        if self._drawing is None:
            self._drawing = self.after_idle(self._draw)

    def _draw(self) -> None:
        self._drawing = None
        mask = self.mask.picture.resize(self._small.size, Image.Resampling.BILINEAR, reducing_gap=2.0)
        self._photo = ImageTk.PhotoImage(Image.composite(self._tinted, self._small, mask), master=self)
        self.canvas.delete("all")
        self.canvas.create_image(self.canvas.winfo_width() // 2, self.canvas.winfo_height() // 2, image=self._photo)
