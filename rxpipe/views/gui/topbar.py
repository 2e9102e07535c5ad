"""The top of the window: presets, files, the backend with its light, dark or light."""

from __future__ import annotations

from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.backends.resolve import usual_url
from rxpipe.views.gui.fields import ChoiceField, Switch
from rxpipe.views.gui.widgets import StatusLight, Tooltip

if TYPE_CHECKING:
    import tkinter as tk
    from collections.abc import Callable

    from rxpipe.views.gui.connection import ConnectionState
    from rxpipe.views.gui.theme import Theme

_WHERES = ("auto", "embedded", usual_url())
_WORDS = {"ready": "Ready", "connecting": "Connecting…", "error": "Error"}


class TopBar(ttk.Frame):
    """A row whose parts never change their places.

    Args:
        picker: makes the list of presets.
        load, open_folder: what the buttons do.
        connect: called when a backend was chosen.
        themed: called with whether it is dark.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        *,
        picker: Callable[[ttk.Frame], ttk.Frame],
        load: Callable[[], object],
        open_folder: Callable[[], object],
        connect: Callable[[], object],
        themed: Callable[[bool], object],
    ) -> None:
        px = theme.px
        super().__init__(master, padding=(px(14), px(8), px(12), px(8)))
        ttk.Label(self, text="rxpipe", style="Title.TLabel").pack(side="left", padx=(0, px(12)))
        ttk.Label(self, text="Preset", style="Muted.TLabel").pack(side="left", padx=(0, px(8)))
        picker(self).pack(side="left", padx=(0, px(6)))
        for text, command, tip in (
            ("Load…", load, "Fill the form from a preset or from a picture  (Ctrl+O)"),
            ("Open folder", open_folder, "The folder that pictures are saved to  (F8)"),
        ):
            button = ttk.Button(self, text=text, command=command, style="Ghost.TButton")
            button.pack(side="left")
            Tooltip(button, tip)
        dark = theme.skin.name.endswith("dark")
        self.dark_switch = Switch(self, "Dark", on=dark, changed=themed)
        self.dark_switch.pack(side="right", padx=(px(16), 0))
        self.words = ttk.Label(self, style="Muted.TLabel", width=len(_WORDS["connecting"]), anchor="w")
        self.words.pack(side="right")
        self.light = StatusLight(self, theme)
        self.light.pack(side="right", padx=(px(10), px(6)))
        self.where = ChoiceField(self, _WHERES, default=False, width=18, style="Top.TCombobox")
        self.where.pack(side="right")
        ttk.Label(self, text="Backend", style="Muted.TLabel").pack(side="right", padx=(px(14), px(8)))
        self._tips = Tooltip(self.light), Tooltip(self.words)
        for event in ("<<ComboboxSelected>>", "<Return>"):
            self.where.bind(event, lambda _event: connect(), add="+")

    def show(self, state: ConnectionState) -> None:
        """Show the state of the connection."""
        self.light.show(state.status)
        for tip in self._tips:
            tip.text = state.text
        self.words.configure(text=_WORDS[state.status])
        if self.where.read() != state.where and self.focus_get() is not self.where:
            self.where.write(state.where)
