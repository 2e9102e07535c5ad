"""The small parts of the window: texts, numbers, choices, sliders, a status light, a tooltip, a column that scrolls."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import TYPE_CHECKING, Any, Protocol

from rxpipe.views.palette import palette_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxpipe.views.gui.theme import Theme

DEFAULT = "default"
"""Stands in a field for "the backend decides"."""

KEYS = "RxpipeKeys"
"""The bind tag for the window's shortcuts, before Tk's own keys, some of which mean something else."""


class Field(Protocol):
    """The interface of every field of the form."""

    def read(self) -> str:
        """Return the value as text, "" for the backend's default."""

    def write(self, text: str) -> None:
        """Show *text*."""

    def mark(self, *, wrong: bool) -> None:
        """Show whether the value was refused."""


_X11_WHEEL_UP = 4


def wheel_turn(event: tk.Event[Any]) -> int:
    """1 for the wheel turned towards the user, -1 for away; X11 has buttons for it."""
    return -1 if event.num == _X11_WHEEL_UP or event.delta > 0 else 1


def with_keys(widget: tk.Misc) -> None:
    """Let the window's shortcuts come before the widget's own keys."""
    widget.bindtags((KEYS, *widget.bindtags()))


class _Line(ttk.Entry):
    """A field of one line. No Tk variable stands behind it: those are freed by Python on whatever thread it likes."""

    _default_text = ""

    def read(self) -> str:
        """Return the value as text, "" for the backend's default."""
        text = self.get().strip()
        return "" if text == self._default_text else text

    def write(self, text: str) -> None:
        """Show *text*."""
        self.delete(0, "end")
        self.insert(0, text or self._default_text)

    def mark(self, *, wrong: bool) -> None:
        """Show whether the value was refused."""
        self.state(["invalid" if wrong else "!invalid"])


class NumberField(ttk.Spinbox, _Line):
    """A number with arrows. *default* says that it may be left to the backend."""

    def __init__(
        self, master: tk.Misc, low: float, high: float, step: float, *, default: bool = False, width: int = 5
    ) -> None:
        self._default_text = DEFAULT if default else ""
        digits = "%.0f" if float(step).is_integer() else "%.1f"
        super().__init__(master, from_=low, to=high, increment=step, width=width, format=digits)
        self.write("")
        with_keys(self)


class TextField(_Line):
    """One line of text."""

    def __init__(self, master: tk.Misc, *, width: int = 12) -> None:
        super().__init__(master, width=width)
        with_keys(self)


class ChoiceField(ttk.Combobox, _Line):
    """A text with suggestions, the first of which is the backend's default unless *default* is False."""

    def __init__(self, master: tk.Misc, choices: Sequence[str], *, default: bool = True, width: int = 8) -> None:
        self._default_text = DEFAULT if default else ""
        super().__init__(master, width=width)
        self.bind("<<ComboboxSelected>>", lambda _event: self.selection_clear(), add="+")
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self.offer(choices)
        self.write("")
        with_keys(self)

    def write(self, text: str) -> None:
        """Show *text*, also while the field is disabled."""
        self.set(text or self._default_text)

    def offer(self, choices: Sequence[str]) -> None:
        """Suggest these from now on; what stands in the field stays."""
        self.configure(values=[*([DEFAULT] if self._default_text else []), *choices])

    def _recolour(self) -> None:
        """The list that drops down is a classic widget, coloured when it was made."""
        style = ttk.Style(self)
        ground, text = style.lookup("TEntry", "fieldbackground"), style.lookup("TEntry", "foreground")
        listbox = f"[ttk::combobox::PopdownWindow {self}].f.l"
        self.tk.eval(f"{listbox} configure -background {ground} -foreground {text}")


class SliderField(ttk.Frame):
    """A number between two bounds: a slider, and the number as text next to it."""

    def __init__(self, master: tk.Misc, low: float, high: float, *, px: Callable[[float], int]) -> None:
        super().__init__(master, style="Inner.TFrame")
        self.slider = ttk.Scale(self, from_=low, to=high, command=self._slid, takefocus=False)
        self.entry = TextField(self, width=5)
        self.entry.configure(justify="right")
        self.slider.pack(side="left", fill="x", expand=True, padx=(0, px(8)))
        self.entry.pack(side="left")
        self.entry.bind("<KeyRelease>", lambda _event: self._typed())

    def read(self) -> str:
        """Return the value as text."""
        return self.entry.read()

    def write(self, text: str) -> None:
        """Show *text*."""
        self.entry.write(text)
        self._typed()

    def mark(self, *, wrong: bool) -> None:
        """Show whether the value was refused."""
        self.entry.mark(wrong=wrong)

    def _slid(self, value: str) -> None:
        self.entry.write(f"{round(float(value), 2):g}")

    def _typed(self) -> None:
        try:
            number = float(self.entry.get())
        except ValueError:
            return  # half a number; the run says so if it stays like that
        self.slider.configure(value=number)


class Switch(ttk.Checkbutton):
    """On or off, with its name next to it."""

    def __init__(
        self,
        master: tk.Misc,
        text: str,
        *,
        on: bool,
        changed: Callable[[bool], object],
        style: str = "Switch.TCheckbutton",
    ) -> None:
        self._changed = changed
        super().__init__(master, text=text, style=style, command=lambda: changed(self.on))
        self.tk.call(self, "configure", "-variable", f"on_{id(self):x}")  # a Tcl name, see `_Line`
        self.on = on
        with_keys(self)

    @property
    def on(self) -> bool:
        """Whether it is on; setting it makes no callback."""
        return bool(self.instate(["selected"]))

    @on.setter
    def on(self, on: bool) -> None:
        self.setvar(str(self.cget("variable")), "1" if on else "0")


class ProseField(ttk.Frame):
    """Some lines of text, with undo. Tab leaves it."""

    def __init__(self, master: tk.Misc, theme: Theme, *, lines: int) -> None:
        super().__init__(master, style="Sunk.TFrame", padding=theme.px(6))
        self._theme = theme
        self.text = tk.Text(
            self, height=lines, width=20, wrap="word", undo=True, borderwidth=0, highlightthickness=0, font="TkTextFont"
        )
        self.text.pack(fill="both", expand=True)
        self.text.bind("<FocusIn>", lambda _event: self.state(["focus"]), add="+")
        self.text.bind("<FocusOut>", lambda _event: self.state(["!focus"]), add="+")
        self.text.bind("<Tab>", self._leave)
        self.text.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self._recolour()
        with_keys(self.text)

    def read(self) -> str:
        """Return the value as text."""
        return str(self.text.get("1.0", "end-1c")).strip()

    def write(self, text: str) -> None:
        """Show *text*; undo does not go back behind it."""
        self.text.delete("1.0", "end")
        self.text.insert("1.0", text)
        self.text.edit_reset()

    def mark(self, *, wrong: bool) -> None:
        """A prompt is never refused."""

    def _leave(self, event: tk.Event[Any]) -> str:
        event.widget.tk_focusNext().focus_set()
        return "break"

    def _recolour(self) -> None:
        skin = self._theme.skin
        self.text.configure(
            background=skin.field,
            foreground=skin.palette.text,
            insertbackground=skin.palette.text,
            selectbackground=skin.selection,
            selectforeground=skin.palette.text,
        )


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

    Args:
        ground: colour of what is behind, looked up in the theme at every change.
    """

    def __init__(self, master: tk.Misc, ground: Callable[[], str], *, card: bool = False) -> None:
        prefix = "Card." if card else ""
        super().__init__(master, style="Inner.TFrame" if card else "TFrame")
        self._ground = ground
        self.canvas = tk.Canvas(self, highlightthickness=0, borderwidth=0, yscrollincrement=1)
        self.inner = ttk.Frame(self.canvas, style="Inner.TFrame" if card else "TFrame")
        self._bar = ttk.Scrollbar(self, style=f"{prefix}Vertical.TScrollbar", command=self.canvas.yview)
        self._item = self.canvas.create_window(0, 0, anchor="nw", window=self.inner)
        self.canvas.configure(yscrollcommand=self._bar.set)
        self.canvas.grid(row=0, column=0, sticky="nsew")
        self.rowconfigure(0, weight=1)
        self.columnconfigure(0, weight=1)
        self.inner.bind("<Configure>", lambda _event: self._fit())
        self.canvas.bind("<Configure>", lambda _event: self._fit())
        self.bind("<<ThemeChanged>>", lambda _event: self._recolour(), add="+")
        self._recolour()

    def scroll_to_end(self) -> None:
        """Show the last of what is in the column."""
        self.update_idletasks()
        self._fit()
        self.canvas.yview_moveto(1.0)

    def wheel(self, event: tk.Event[Any]) -> None:
        """Scroll as the wheel says; nothing where everything is to be seen."""
        if self.inner.winfo_reqheight() > self.canvas.winfo_height():
            self.canvas.yview_scroll(60 * wheel_turn(event), "units")

    def holds(self, widget: tk.Misc) -> bool:
        """Return whether a widget is in this column."""
        return str(widget).startswith(str(self))

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
