"""A user's hands and eyes for tests of the window: real clicks and keys, and where its parts are."""

from __future__ import annotations

import _tkinter
import contextlib
import subprocess
import time
from tkinter import ttk

_TICK_MS = 5


def xdotool(*words):
    """Move, click or press."""
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=10)  # noqa: S603, S607  our own words


def settle(window, until=lambda: False, limit_s=0.1):
    """Turn the loop until the condition holds, for at most *limit_s* seconds; whether it holds."""
    deadline = time.monotonic() + limit_s
    interpreter = window.root.tk
    while not until() and time.monotonic() < deadline:  # one event at a time: update() ends once nothing is left to do
        if not interpreter.dooneevent(_tkinter.DONT_WAIT):
            interpreter.call("after", _TICK_MS, "set settled 1")
            interpreter.dooneevent(0)
    return until()


def click(window, widget, at=None, button=1):
    """Press in the middle of a widget, or at a place in it, and let the window answer."""
    window.root.update()
    x, y = at or (widget.winfo_width() // 2, widget.winfo_height() // 2)
    with answered(window, "<ButtonRelease>"):
        xdotool("mousemove", widget.winfo_rootx() + x, widget.winfo_rooty() + y, "click", button)


def press(window, *keys, focus=None):
    """Press keys while a widget has the focus."""
    (focus or window.root).focus_force()
    window.root.update()
    with answered(window, "<KeyRelease>"):
        xdotool("key", *keys)


@contextlib.contextmanager
def answered(window, event):
    """Leave the block once the event has come, and what it leads to at once is done."""
    came = []
    window.root.bind_all(event, lambda _event: came.append(1))
    yield
    settle(window, lambda: bool(came), 0.5)
    settle(window, limit_s=0.06)


def ended(window):
    """Whether a run has begun and ended."""
    return window.status.state in {"completed", "partial", "failed", "cancelled"}


def below(widget):
    """Every widget in a widget, itself first."""
    yield widget
    for child in widget.winfo_children():
        yield from below(child)


def button_of(widget, text):
    """The button with that text."""
    return next(w for w in below(widget) if isinstance(w, ttk.Button) and w["text"] == text)


def places(window):
    """Where everything is that can be clicked or typed into, in pixels of the window."""
    kinds = ttk.Button | ttk.Checkbutton | ttk.Entry | ttk.Scale
    left, top = window.root.winfo_rootx(), window.root.winfo_rooty()
    return {
        str(w): (w.winfo_rootx() - left, w.winfo_rooty() - top, w.winfo_width(), w.winfo_height())
        for w in below(window.root)
        if isinstance(w, kinds) and w.winfo_ismapped() and w.winfo_toplevel() is window.root
    }
