"""A picture to be looked at closely: the wheel zooms at the pointer, a drag moves it, a slider compares two states."""

from __future__ import annotations

import tkinter as tk
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageTk

from rxpipe.views.gui.widgets import wheel_turn

if TYPE_CHECKING:
    from rxpipe.views.gui.theme import Theme

_STEP = 1.25
_MOST, _LEAST = 32.0, 0.02
_PIXELS_SEEN = 4.0  # from here on single pixels are shown as squares


class ZoomCanvas(tk.Canvas):
    """One picture, fitted or at a scale of its own. Only the part in sight is ever scaled.

    full_size: whether one pixel of the picture is one of the screen. divider: where the earlier state ends and the
    picture begins, 0..1 of its width.
    """

    def __init__(self, master: tk.Misc, theme: Theme) -> None:
        super().__init__(master, highlightthickness=0, cursor="hand2")
        self._theme = theme
        self._image: Image.Image | None = None
        self._before: Image.Image | None = None
        self._photo: ImageTk.PhotoImage | None = None
        self._scale: float | None = None
        self._centre = (0.0, 0.0)
        self._from = self._last = (0, 0)
        self._drawing: str | None = None
        self.divider = 0.5
        self.bind("<Configure>", lambda _event: self._draw_soon())
        self.bind("<ButtonPress-1>", self._pressed)
        self.bind("<B1-Motion>", self._dragged)
        self.bind("<ButtonRelease-1>", self._released)
        for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
            self.bind(wheel, lambda event: self.zoom(1 / _STEP if wheel_turn(event) > 0 else _STEP, event.x, event.y))

    def show(self, image: Image.Image | None, *, keep: bool = False) -> None:
        """Show another picture, fitted; None for nothing. *keep* leaves place and scale as they are."""
        if image is None:
            self._image = self._photo = self._before = None
        else:
            same = self._image is not None and self._image.size == image.size
            self._image = image
            if not (keep and same):
                self.fit()
        self._draw_soon()

    def compare(self, before: Image.Image | None) -> None:
        """Show an earlier state of the picture left of the divider; None for the picture alone."""
        self._before = before
        self._draw_soon()

    @property
    def comparing(self) -> bool:
        """Whether there is a divider."""
        return self._before is not None and self._image is not None

    @property
    def full_size(self) -> bool:
        """Whether one pixel of the picture is one of the screen."""
        return self._scale == 1.0

    @property
    def shown_size(self) -> tuple[int, int] | None:
        """Width and height in pixels of the whole picture at this scale, None while there is none."""
        if self._image is None or self._photo is None:
            return None
        return round(self._image.width * self.scale_now), round(self._image.height * self.scale_now)

    @property
    def scale_now(self) -> float:
        """Pixels on the screen per pixel of the picture."""
        return self._scale if self._scale is not None else self._fitting()

    def fit(self) -> None:
        """Show the whole picture."""
        self._scale = None
        if self._image is not None:
            self._centre = (self._image.width / 2, self._image.height / 2)
        self._draw_soon()

    def toggle(self) -> None:
        """Change between the whole picture and full size."""
        if self.full_size:
            self.fit()
        else:
            self._scale = 1.0
            self._draw_soon()

    def zoom(self, factor: float, x: int | None = None, y: int | None = None) -> None:
        """Enlarge by *factor*; the point of the picture under x, y stays there, absent: the one in the middle."""
        if self._image is None:
            return
        x = self.winfo_width() // 2 if x is None else x
        y = self.winfo_height() // 2 if y is None else y
        before = self.scale_now
        after = min(_MOST, max(_LEAST, before * factor))
        off = (x - self.winfo_width() / 2, y - self.winfo_height() / 2)
        self._centre = tuple(  # type: ignore[assignment]  # two of them
            centre + offset / before - offset / after for centre, offset in zip(self._centre, off, strict=True)
        )
        self._scale = after
        self._draw_soon()

    def destroy(self) -> None:
        """Free the picture, now, and not on any thread that Python chooses."""
        if self._drawing is not None:
            self.after_cancel(self._drawing)
        self._drawing = self._photo = self._image = self._before = None
        super().destroy()

    def _fitting(self) -> float:
        if self._image is None:
            return 1.0
        width, height = max(1, self.winfo_width()), max(1, self.winfo_height())
        return min(width / self._image.width, height / self._image.height)

    def _pressed(self, event: tk.Event[Any]) -> None:
        self.focus_set()
        self._from = self._last = (event.x, event.y)
        self._held = self.comparing and abs(event.x - self._divider_x()) < self._theme.px(14)

    def _dragged(self, event: tk.Event[Any]) -> None:
        if self._held and self._image is not None:
            left = self.winfo_width() / 2 - self._centre[0] * self.scale_now
            self.divider = min(1.0, max(0.0, (event.x - left) / (self._image.width * self.scale_now)))
        else:
            if self._scale is None:
                self._scale = self._fitting()
            dx, dy = event.x - self._last[0], event.y - self._last[1]
            self._centre = (self._centre[0] - dx / self.scale_now, self._centre[1] - dy / self.scale_now)
        self._last = (event.x, event.y)
        self._draw_soon()

    def _released(self, event: tk.Event[Any]) -> None:
        """A click changes the size, a drag has moved the picture or the divider."""
        moved = abs(event.x - self._from[0]) + abs(event.y - self._from[1])
        if moved < self._theme.px(4) and not self._held:
            self.toggle()

    def _divider_x(self) -> float:
        width = 0 if self._image is None else self._image.width
        return self.winfo_width() / 2 + (self.divider * width - self._centre[0]) * self.scale_now

    def _draw_soon(self) -> None:
        if self._drawing is None:
            self._drawing = self.after_idle(self._draw)

    def _draw(self) -> None:
        self._drawing = None
        self.delete("all")
        image = self._image
        if image is None:
            self._photo = None
            return
        scale, width, height = self.scale_now, self.winfo_width(), self.winfo_height()
        if self._scale is None:
            self._centre = (image.width / 2, image.height / 2)
        left, top = self._centre[0] - width / 2 / scale, self._centre[1] - height / 2 / scale
        box = (
            max(0.0, left),
            max(0.0, top),
            min(image.width, left + width / scale),
            min(image.height, top + height / scale),
        )
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            return  # dragged out of sight
        part = self._part(image, box, scale)
        corner = (round((box[0] - left) * scale), round((box[1] - top) * scale))
        if self._before is not None:
            cut = min(part.width, max(0, round(self._divider_x()) - corner[0]))
            across, down = self._before.width / image.width, self._before.height / image.height
            earlier = self._part(
                self._before, (box[0] * across, box[1] * down, box[2] * across, box[3] * down), scale, part.size
            )
            part.paste(earlier.crop((0, 0, cut, part.height)), (0, 0))
        self._photo = ImageTk.PhotoImage(part, master=self)
        self.create_image(*corner, image=self._photo, anchor="nw")
        if self._before is not None:
            self._draw_divider(corner[1], part.height)

    def _draw_divider(self, top: int, height: int) -> None:
        x, radius, middle = self._divider_x(), self._theme.px(9), top + height / 2
        accent = self._theme.skin.accent
        self.create_line(x, top, x, top + height, fill="#ffffff", width=self._theme.px(2))
        self.create_oval(
            x - radius, middle - radius, x + radius, middle + radius, fill=accent, outline="#ffffff", width=2
        )

    @staticmethod
    def _part(
        image: Image.Image, box: tuple[float, float, float, float], scale: float, size: tuple[int, int] | None = None
    ) -> Image.Image:
        size = size or (max(1, round((box[2] - box[0]) * scale)), max(1, round((box[3] - box[1]) * scale)))
        filters = Image.Resampling
        resample = filters.NEAREST if scale >= _PIXELS_SEEN else filters.LANCZOS if scale < 1 else filters.BICUBIC
        return image.resize(size, resample, box=box, reducing_gap=2.0 if scale < 1 else None)
