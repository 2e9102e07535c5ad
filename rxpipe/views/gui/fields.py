"""The fields of the form: texts, numbers, choices, sliders, prose. Each reads and writes its value as text."""

from __future__ import annotations

import tkinter as tk
from tkinter import font as tkfont
from tkinter import ttk
from typing import TYPE_CHECKING, Any, Protocol

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


def select_all_keys(root: tk.Misc) -> None:
    """Let Ctrl+A select all in every field, with Shift and Caps Lock too; Tk uses it for the beginning of the line."""
    for keys in ("<Control-a>", "<Control-A>", "<Control-Lock-a>", "<Control-Lock-A>"):
        for other in ("<<LineStart>>", "<<SelectLineStart>>"):
            root.event_delete(other, keys)
        root.event_add("<<SelectAll>>", keys)


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
    """A text with suggestions, the first of which is the backend's default unless *default* is False.

    The list that drops down is as wide as its longest name. *several*: a choice is added to what stands there, with a
    comma between.
    """

    def __init__(
        self,
        master: tk.Misc,
        choices: Sequence[str],
        *,
        default: bool = True,
        several: bool = False,
        width: int = 8,
        style: str = "TCombobox",
    ) -> None:
        self._default_text = DEFAULT if default and not several else ""
        self._several, self._before = several, ""
        self._base_style = style
        super().__init__(master, width=width, postcommand=self._widen_list, style=style)
        self.bind("<<ComboboxSelected>>", lambda _event: self._chosen(), add="+")
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

    @property
    def list_width(self) -> int:
        """Pixels that the longest suggestion needs in the list, its scrollbar and edges included."""
        font = tkfont.nametofont("TkTextFont", root=self)
        longest = max((font.measure(name) for name in self.cget("values")), default=0)
        return longest + font.measure("0") * 4

    def _chosen(self) -> None:
        if self._several and self._before and self.get():
            chosen = f'"{self.get()}"' if "," in self.get() else self.get()
            self.set(f"{self._before}, {chosen}")
        self.selection_clear()

    def _widen_list(self) -> None:
        """Give the list the width of its names, as far as the screen goes; ttk has it only as an offset of a style."""
        self._before = self.read()
        own, left = self.winfo_width(), self.winfo_rootx()
        wanted = min(max(own, self.list_width), self.winfo_screenwidth())
        shift = min(0, self.winfo_screenwidth() - left - wanted)
        style = f"List{wanted - own}{'m' if shift else 'p'}{abs(shift)}.{self._base_style}"
        ttk.Style(self).configure(style, postoffset=(shift, 0, wanted - own, 0))
        self.configure(style=style)

    def _recolour(self) -> None:
        """The list that drops down is a classic widget, coloured when it was made."""
        style = ttk.Style(self)
        ground, text = style.lookup("TEntry", "fieldbackground"), style.lookup("TEntry", "foreground")
        listbox = f"[ttk::combobox::PopdownWindow {self}].f.l"
        self.tk.eval(f"{listbox} configure -background {ground} -foreground {text}")


class SliderField(ttk.Frame):
    """A number between two bounds: a slider, and the number as text next to it.

    changed: called when a person has changed the number.
    """

    def __init__(
        self,
        master: tk.Misc,
        low: float,
        high: float,
        *,
        px: Callable[[float], int],
        changed: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(master, style="Inner.TFrame")
        self._changed = changed
        self.slider = ttk.Scale(self, from_=low, to=high, command=self._slid, takefocus=False)
        self.entry = TextField(self, width=5)
        self.entry.configure(justify="right")
        self.slider.pack(side="left", fill="x", expand=True, padx=(0, px(8)))
        self.entry.pack(side="left")
        self.entry.bind("<KeyRelease>", lambda _event: self._typed_by_hand())

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
        text = f"{round(float(value), 2):g}"
        if text != self.entry.read():
            self.entry.write(text)
            self._changed()

    def _typed_by_hand(self) -> None:
        self._typed()
        self._changed()

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


class SwitchField(Switch):
    """A field that is on or off: "on" as text, or ""."""

    def __init__(self, master: tk.Misc, text: str) -> None:
        super().__init__(master, text, on=False, changed=lambda _on: None, style="Card.Small.Switch.TCheckbutton")

    def read(self) -> str:
        """Return "on" or ""."""
        return "on" if self.on else ""

    def write(self, text: str) -> None:
        """Show *text*."""
        self.on = text == "on"

    def mark(self, *, wrong: bool) -> None:
        """On and off are never refused."""


class ProseField(ttk.Frame):
    """Some lines of text, with undo. Tab leaves it.

    changed: called after every change of the text.
    """

    def __init__(
        self, master: tk.Misc, theme: Theme, *, lines: int, changed: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(master, style="Sunk.TFrame", padding=theme.px(6))
        self._theme = theme
        self.text = tk.Text(
            self, height=lines, width=20, wrap="word", undo=True, borderwidth=0, highlightthickness=0, font="TkTextFont"
        )
        self.text.pack(fill="both", expand=True)
        self.text.bind("<FocusIn>", lambda _event: self.state(["focus"]), add="+")
        self.text.bind("<FocusOut>", lambda _event: self.state(["!focus"]), add="+")
        self.text.bind("<Tab>", self._leave)
        self.text.bind("<<Modified>>", lambda _event: self._modified(), add="+")
        self._changed = changed
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
        """Show whether the text was refused."""
        self.state(["invalid" if wrong else "!invalid"])

    def _modified(self) -> None:
        if self.text.edit_modified():
            self.text.edit_modified(False)
            self._changed()

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
