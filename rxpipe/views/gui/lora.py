"""LoRAs of a prompt: read, set and removed as `<lora:name:weight>`, and the window that picks them."""

from __future__ import annotations

import re
import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.views.gui.fields import ChoiceField, SliderField

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rxpipe.views.gui.theme import Theme

_TAG = re.compile(r"<lora:([^:<>]+)(?::([^<>]*))?>")
_USUAL = 0.8


def loras_in(prompt: str) -> dict[str, str]:
    """Return the LoRAs of a prompt with their weights as text, in their order."""
    return {name: weight or "1" for name, weight in _TAG.findall(prompt)}


def with_lora(prompt: str, name: str, weight: float | str) -> str:
    """Return the prompt with that LoRA at that weight: changed where it has it, else added at the end."""
    text = f"{weight:g}" if isinstance(weight, float) else weight
    tag = f"<lora:{name}:{text}>"
    if name in loras_in(prompt):
        return _TAG.sub(lambda found: tag if found[1] == name else found[0], prompt)
    return f"{prompt.rstrip()} {tag}".lstrip()


def without_lora(prompt: str, name: str) -> str:
    """Return the prompt without that LoRA."""
    return re.sub(r" *<lora:" + re.escape(name) + r"(:[^<>]*)?>", "", prompt).strip()


class LoraWindow(tk.Toplevel):
    """The LoRAs of the prompt with their weights, and those of the server to add.

    Args:
        names: what the server has; may be empty, then a name is typed.
        read, write: the prompt, which is changed at once.
    """

    def __init__(
        self,
        master: tk.Misc,
        theme: Theme,
        names: Sequence[str],
        *,
        read: Callable[[], str],
        write: Callable[[str], object],
    ) -> None:
        super().__init__(master, background=theme.skin.ground)
        self._theme, self._read, self._write = theme, read, write
        self.title("LoRAs")
        self.transient(master.winfo_toplevel())
        px = theme.px
        body = ttk.Frame(self, style="Card.TFrame", padding=px(14))
        body.pack(fill="both", expand=True, padx=px(10), pady=px(10))
        row = ttk.Frame(body, style="Inner.TFrame")
        row.pack(fill="x")
        self.names = ChoiceField(row, names, default=False, width=28)
        self.names.pack(side="left", fill="x", expand=True)
        self.add = ttk.Button(row, text="Add", style="Card.TButton", command=self._add)
        self.add.pack(side="left", padx=(px(8), 0))
        self._rows = ttk.Frame(body, style="Inner.TFrame")
        self._rows.pack(fill="both", expand=True, pady=(px(10), 0))
        self._rows.columnconfigure(1, weight=1)
        self.weights: dict[str, SliderField] = {}
        for event in ("<Return>", "<<ComboboxSelected>>"):
            self.names.bind(event, lambda _event: self._add(), add="+")
        self.bind("<Escape>", lambda _event: self.destroy())
        self._fill()
        self.minsize(px(420), px(220))
        self.names.focus_set()

    def _add(self) -> None:
        name = self.names.read()
        if name and name not in loras_in(self._read()):
            self._write(with_lora(self._read(), name, _USUAL))
            self._fill()
        self.names.write("")

    def _remove(self, name: str) -> None:
        self._write(without_lora(self._read(), name))
        self._fill()

    def _weigh(self, name: str) -> None:
        weight = self.weights[name].read()
        if weight:
            self._write(with_lora(self._read(), name, weight))

    def _fill(self) -> None:
        px = self._theme.px
        for child in self._rows.winfo_children():
            child.destroy()
        self.weights.clear()
        loras = loras_in(self._read())
        if not loras:
            ttk.Label(self._rows, text="The prompt uses none.", style="Card.Small.TLabel").grid(row=0, column=0)
        for number, (name, weight) in enumerate(loras.items()):
            ttk.Label(self._rows, text=name, style="Card.TLabel").grid(row=number, column=0, sticky="w")
            slider = self.weights[name] = SliderField(self._rows, -1, 2, px=px, changed=partial(self._weigh, name))
            slider.write(weight)
            slider.grid(row=number, column=1, sticky="ew", padx=px(10), pady=px(3))
            remove = ttk.Button(self._rows, text="✕", style="Card.Ghost.TButton", command=partial(self._remove, name))
            remove.grid(row=number, column=2)
