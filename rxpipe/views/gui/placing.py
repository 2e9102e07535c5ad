"""Where the window stands on the screen, and its icon."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageTk

if TYPE_CHECKING:
    import tkinter as tk

    from rxpipe.views.gui.theme import Theme


def restore_geometry(root: tk.Tk, theme: Theme, geometry: str) -> None:
    """Restore the saved geometry if it is on the screen; else centre the window at a good size."""
    px = theme.px
    screen = (root.winfo_screenwidth(), root.winfo_screenheight())
    room = (screen[0] - px(16), screen[1] - px(64))
    root.minsize(min(px(760), room[0]), min(px(480), room[1]))
    if geometry and _on_screen(geometry, screen):
        root.geometry(geometry)
        return
    width, height = min(px(1240), room[0]), min(px(820), room[1])
    root.geometry(f"{width}x{height}+{(screen[0] - width) // 2}+{max(0, (screen[1] - height) // 3)}")


def _on_screen(geometry: str, screen: tuple[int, int]) -> bool:
    """Return whether enough of a window would be visible to grab it."""
    found = re.fullmatch(r"(\d+)x(\d+)\+(-?\d+)\+(-?\d+)", geometry)
    if found is None:
        return False
    width, height, x, y = map(int, found.groups())
    return width <= screen[0] and height <= screen[1] and 0 <= x < screen[0] - 100 and 0 <= y < screen[1] - 60


def icon(theme: Theme) -> ImageTk.PhotoImage:
    """Return the icon: three stages in a row, the last one done."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((0, 0, 63, 63), 14, fill=theme.skin.accent)
    draw.line((16, 32, 48, 32), fill="#ffffff", width=5)
    for x, size in ((16, 6), (32, 7), (48, 10)):
        draw.ellipse((x - size, 32 - size, x + size, 32 + size), fill="#ffffff")
    return ImageTk.PhotoImage(picture, master=theme.root)
