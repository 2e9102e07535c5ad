"""The keys, the clipboard and the wheel of the window: before Tk's own, some of which mean something else."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import TYPE_CHECKING, Any

from rxpipe.views.gui.fields import KEYS, select_all_keys
from rxpipe.views.gui.handing import has_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from rxpipe.views.gui.widgets import ScrolledColumn


class EscapeGuard:
    """Tells an Escape that is meant for a run from one that comes too late for a picture that it closed.

    After a picture was closed by Escape, the key stops no run until something else was pressed or clicked.
    """

    def __init__(self, root: tk.Tk) -> None:
        self._root = root
        self.open = True
        root.bind_all("<Key>", lambda event: self._used(event.keysym), add="+")
        root.bind_all("<ButtonPress>", lambda _event: self._used(""), add="+")

    def closed_a_window(self) -> None:
        """Note that Escape has just closed something."""
        self.open = False

    def _used(self, keysym: str) -> None:
        if keysym != "Escape":
            self.open = True


def bind_keys(root: tk.Tk, commands: Mapping[str, Callable[[], object]]) -> None:
    """Let *commands* follow their keys anywhere in the window, and give the fields the usual ones."""
    select_all_keys(root)
    for keys, command in commands.items():
        root.bind_class(KEYS, keys, lambda _event, command=command: _run_and_break(command))  # type: ignore[misc]  # a default binds the loop's value
    root.bindtags((*root.bindtags(), KEYS))
    for widget in descendants(root):
        if KEYS not in widget.bindtags() and isinstance(widget, ttk.Button | ttk.Checkbutton | tk.Canvas):
            widget.bindtags((KEYS, *widget.bindtags()))
    for name in ("TCombobox", "TSpinbox"):
        for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>", "<Shift-Button-4>", "<Shift-Button-5>"):
            root.unbind_class(name, wheel)  # the wheel scrolls the form and changes nothing in it


def bind_paste(root: tk.Tk, paste: Callable[[], object]) -> None:
    """Let *paste* take what is on the clipboard, unless a field takes it as text."""

    def pasted(event: tk.Event[Any]) -> None:
        in_field = isinstance(event.widget, tk.Text | ttk.Entry)
        if not in_field or not has_text(root):
            paste()

    root.bind("<<Paste>>", pasted)


def bind_wheel(root: tk.Tk, column: ScrolledColumn) -> None:
    """Let the wheel scroll *column* wherever it is turned on something in it."""

    def turned(event: tk.Event[Any]) -> None:
        if isinstance(event.widget, tk.Misc) and column.holds(event.widget):
            column.wheel(event)

    for wheel in ("<MouseWheel>", "<Button-4>", "<Button-5>"):
        root.bind(wheel, turned)


def descendants(widget: tk.Misc) -> Iterator[tk.Misc]:
    """Yield every widget below *widget*."""
    for child in widget.winfo_children():
        yield child
        yield from descendants(child)


def _run_and_break(command: Callable[[], object]) -> str:
    """Run the command, and stop all further bindings of the key."""
    command()
    return "break"
