"""The small parts of the window: switch, status light, notice, tooltip, a column that scrolls."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from rxpipe.views.palette import palette_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.views.gui.theme import Theme

_NOTICE_LINES = 3
_X11_WHEEL_UP = 4


def wheel_turn(event: tk.Event[Any]) -> int:
    """1 for the wheel turned towards the user, -1 for away; X11 has buttons for it."""
    return -1 if event.num == _X11_WHEEL_UP or event.delta > 0 else 1


class StatusLight(tk.Canvas):
    """A round light in the colour of a connection's state."""

    def __init__(self, master: tk.Misc, theme: Theme) -> None:
        self._theme, self._size, self.state = theme, theme.px(11), "connecting"
        super().__init__(master, width=self._size, height=self._size, highlightthickness=0)
        self.bind("<<ThemeChanged>>", lambda _event: self.show(self.state), add="+")
        self.show(self.state)

    @property
    def colour(self) -> str:
        """The colour shown."""
        palette = self._theme.skin.palette
        return {"ready": palette.good, "connecting": palette.warn, "error": palette.bad}[self.state]

    def show(self, state: str) -> None:
        """Show the colour of "ready", "connecting" or "error"."""
        self.state = state
        self.configure(background=self._theme.skin.ground)
        self.delete("all")
        self.create_oval(1, 1, self._size - 2, self._size - 2, fill=self.colour, outline=self.colour)


class Notice(ttk.Frame):
    """A message in the room of some lines, which is there whether or not one is shown; a longer one is scrolled.

    It never changes its size, so nothing beside it moves when a message comes or goes. The text can be selected.
    """

    def __init__(self, master: tk.Misc, theme: Theme) -> None:
        super().__init__(master)
        self._theme, self.bad = theme, False
        self._text = tk.Text(
            self, height=_NOTICE_LINES, width=10, wrap="word", borderwidth=0, highlightthickness=0, font="TkDefaultFont"
        )
        self._bar = ttk.Scrollbar(self, command=self._text.yview)
        self._text.configure(yscrollcommand=self._scrolled, state="disabled", cursor="")
        self._text.grid(row=0, column=0, sticky="nsew")
        self.columnconfigure(0, weight=1)
        self.columnconfigure(1, minsize=self._bar.winfo_reqwidth())
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self._recolour()

    @property
    def text(self) -> str:
        """The message shown, "" for none."""
        return str(self._text.get("1.0", "end-1c"))

    def show(self, text: str, *, bad: bool = False) -> None:
        """Show a message in place of the last one; *bad* in the colour of errors."""
        self.bad = bad
        self._text.configure(state="normal", takefocus=bool(text))
        self._text.delete("1.0", "end")
        self._text.insert("1.0", text)
        self._text.configure(state="disabled")
        self._recolour()

    def _scrolled(self, first: float, last: float) -> None:
        self._bar.set(first, last)
        if float(first) > 0 or float(last) < 1:
            self._bar.grid(row=0, column=1, sticky="ns")
        else:
            self._bar.grid_remove()

    def _recolour(self) -> None:
        skin = self._theme.skin
        colour = skin.palette.bad if self.bad else skin.palette.muted
        self._text.configure(background=skin.ground, foreground=colour, selectbackground=skin.selection)
        self._text.configure(selectforeground=skin.palette.text, inactiveselectbackground=skin.selection)


class Tooltip:
    """A short text under a widget while the pointer rests on it. `text` may change at any time, "" shows none."""

    _DELAY_MS = 500

    def __init__(self, owner: tk.Widget, text: str = "") -> None:
        self.text = text
        self._owner = owner
        self._window: tk.Toplevel | None = None
        self._planned: str | None = None
        owner.bind("<Enter>", lambda _event: self._plan(), add="+")
        for end in ("<Leave>", "<ButtonPress>", "<Destroy>"):
            owner.bind(end, lambda _event: self._close(), add="+")

    def _plan(self) -> None:
        self._close()
        if self.text:
            self._planned = self._owner.after(self._DELAY_MS, self._open)

    def _open(self) -> None:
        self._planned = None
        window = self._window = tk.Toplevel(self._owner)
        window.wm_overrideredirect(boolean=True)
        palette = palette_on(255, 255, 255)
        label = tk.Label(window, text=self.text, background="#fbfbe8", foreground=palette.text, justify="left")
        label.configure(wraplength=480, padx=8, pady=5, borderwidth=1, relief="solid")
        label.pack()
        window.update_idletasks()
        x = min(self._owner.winfo_rootx(), self._owner.winfo_screenwidth() - window.winfo_reqwidth())
        y = self._owner.winfo_rooty() + self._owner.winfo_height() + 4
        if y + window.winfo_reqheight() > self._owner.winfo_screenheight():
            y = self._owner.winfo_rooty() - window.winfo_reqheight() - 4
        window.wm_geometry(f"+{max(0, x)}+{max(0, y)}")

    def _close(self) -> None:
        if self._planned is not None:
            self._owner.after_cancel(self._planned)
            self._planned = None
        window, self._window = self._window, None
        if window is not None:
            window.destroy()


class ScrolledColumn(ttk.Frame):
    """A column of widgets in `inner`, with a scrollbar where it is higher than its room; the wheel scrolls it.

    The scrollbar's room is always kept, so that nothing gets narrower when it comes.

    Args:
        ground: colour of what is behind, looked up in the theme at every change.
    """

    def __init__(self, master: tk.Misc, ground: Callable[[], str]) -> None:
        super().__init__(master)
        self._ground = ground
        self.canvas = tk.Canvas(self, highlightthickness=0, borderwidth=0, yscrollincrement=1)
        self.inner = ttk.Frame(self.canvas)
        self._bar = ttk.Scrollbar(self, command=self.canvas.yview)
        self._item = self.canvas.create_window(0, 0, anchor="nw", window=self.inner)
        self.canvas.configure(yscrollcommand=self._bar.set)
        self.canvas.grid(row=0, column=0, sticky="nsew")
        self.rowconfigure(0, weight=1)
        self.columnconfigure(0, weight=1)
        self.columnconfigure(1, minsize=self._bar.winfo_reqwidth())
        self.inner.bind("<Configure>", lambda _event: self._fit())
        self.canvas.bind("<Configure>", lambda _event: self._fit())
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self.winfo_toplevel().bind("<<TraverseIn>>", self._traversed, add="+")
        self._recolour()

    def show(self, widget: tk.Misc) -> None:
        """Scroll as far as it takes to see a widget anywhere in the column."""
        self.update_idletasks()
        self._fit()
        top = widget.winfo_rooty() - self.inner.winfo_rooty()
        bottom = top + widget.winfo_height()
        first, room = int(self.canvas.canvasy(0)), self.canvas.winfo_height()
        wanted = top if top < first else bottom - room if bottom > first + room else first
        self.canvas.yview_moveto(max(0, wanted) / max(1, self.inner.winfo_reqheight()))

    def wheel(self, event: tk.Event[Any]) -> None:
        """Scroll as the wheel says; nothing where everything is to be seen."""
        if self.inner.winfo_reqheight() > self.canvas.winfo_height():
            self.canvas.yview_scroll(60 * wheel_turn(event), "units")

    def holds(self, widget: tk.Misc) -> bool:
        """Return whether a widget is in this column."""
        return str(widget).startswith(str(self))

    def _traversed(self, event: tk.Event[Any]) -> None:
        """Show the field that the Tab key has come to."""
        if isinstance(event.widget, tk.Misc) and self.holds(event.widget):
            self.show(event.widget)

    def _fit(self) -> None:
        self.canvas.itemconfigure(self._item, width=self.canvas.winfo_width())
        height = self.inner.winfo_reqheight()
        self.canvas.configure(scrollregion=(0, 0, 1, height))
        if height > self.canvas.winfo_height():
            self._bar.grid(row=0, column=1, sticky="ns")
        else:
            self._bar.grid_remove()
            self.canvas.yview_moveto(0)

    def _recolour(self) -> None:
        self.canvas.configure(background=self._ground())
