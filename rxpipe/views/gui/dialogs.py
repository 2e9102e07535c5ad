"""Questions in windows of their own: yes or no, and a line of text. They answer by a callback and block nothing."""

from __future__ import annotations

import tkinter as tk
from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.views.gui.fields import TextField

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.views.gui.theme import Theme


class Question(tk.Toplevel):
    """A question with two buttons; Escape, Return and closing the window mean the harmless one.

    Args:
        text: what is asked, with what would be lost.
        yes: the button for what was asked for. no: the button for leaving all as it is, which has the focus.
        agreed: called when *yes* was pressed. escaped: called when Escape has closed it.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        text: str,
        *,
        yes: str,
        no: str,
        agreed: Callable[[], object],
        escaped: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self.text = text
        self._agreed, self._escaped = agreed, escaped
        body = _body(self, theme, text)
        row = ttk.Frame(body)
        row.pack(fill="x", pady=(theme.px(14), 0))
        self.no = ttk.Button(row, text=no, style="Accent.TButton", command=self.destroy)
        self.yes = ttk.Button(row, text=yes, command=self._accept)
        self.no.pack(side="right")
        self.yes.pack(side="right", padx=(0, theme.px(8)))
        for button in (self.yes, self.no):
            button.bind("<Return>", lambda event: event.widget.invoke())
        self.bind("<Escape>", lambda _event: self._escape())
        _open(self, master)
        self.no.focus_set()

    def _accept(self) -> None:
        self.destroy()
        self._agreed()

    def _escape(self) -> None:
        self.destroy()
        self._escaped()


class TextQuestion(tk.Toplevel):
    """A question that is answered with a line of text; Escape answers nothing.

    Args:
        given: called with the text when Return or the button was pressed, unless it is empty.
    """

    def __init__(
        self, master: tk.Misc, theme: Theme, text: str, *, value: str = "", yes: str, given: Callable[[str], object]
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self._given = given
        body = _body(self, theme, text)
        self.field = TextField(body, width=32)
        self.field.write(value)
        self.field.pack(fill="x", pady=(theme.px(8), theme.px(14)))
        self.yes = ttk.Button(body, text=yes, style="Accent.TButton", command=self._accept)
        self.yes.pack(side="right")
        self.bind("<Return>", lambda _event: self._accept())
        self.bind("<Escape>", lambda _event: self.destroy())
        _open(self, master)
        self.field.selection_range(0, "end")
        self.field.focus_set()

    def _accept(self) -> None:
        text = self.field.read()
        if text:
            self.destroy()
            self._given(text)


def _body(window: tk.Toplevel, theme: Theme, text: str) -> ttk.Frame:
    window.title("rxpipe")
    body = ttk.Frame(window, padding=theme.px(18))
    body.pack(fill="both", expand=True)
    ttk.Label(body, text=text, wraplength=theme.px(380), justify="left").pack(anchor="w")
    return body


def _open(window: tk.Toplevel, master: tk.Misc) -> None:
    """Put the window over the middle of its master, in front of it."""
    root = master.winfo_toplevel()
    window.transient(root)
    window.resizable(width=False, height=False)
    window.update_idletasks()
    x = root.winfo_rootx() + (root.winfo_width() - window.winfo_reqwidth()) // 2
    y = root.winfo_rooty() + (root.winfo_height() - window.winfo_reqheight()) // 3
    window.geometry(f"+{max(0, x)}+{max(0, y)}")
    window.lift()
