"""The card for variants: sweeps over settings, wildcards, seeds, and how many pictures they are before Run."""

from __future__ import annotations

import tkinter as tk
from tkinter import filedialog, ttk
from typing import TYPE_CHECKING

from rxpipe.config import SECTIONS
from rxpipe.views.gui.fields import ChoiceField, NumberField, ProseField, TextField
from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.views.gui.fields import Field
    from rxpipe.views.gui.theme import Theme

_FIRST = (
    "txt2img.cfg_scale", "txt2img.steps", "txt2img.sampler_name", "txt2img.scheduler", "txt2img.model",
    "img2img.denoising_strength", "upscale.upscaler", "upscale.scale",
)  # fmt: skip
_NOT_SWEPT = frozenset(
    {"enabled", "on_error", "on_interrupted", "images", "batch_size", "prompt", "negative_prompt", "payload",
     "override_settings", "alwayson_scripts", "units", "hires", "refiner", "styles", "modules"}
)  # fmt: skip


class VariantsCard(ttk.Frame):
    """What varies from picture to picture beyond the alternatives in the prompts. Always there, and always as high.

    fields: by name. says: how many pictures there will be, or what is wrong.

    Args:
        changed: called when a field has changed.
        value: returns the text of the form's field of a setting, "" for none.
    """

    def __init__(
        self, master: tk.Misc, theme: Theme, *, changed: Callable[[], object], value: Callable[[str], str]
    ) -> None:
        super().__init__(master, style="Card.TFrame", padding=(theme.px(12), theme.px(8)))
        self._theme, self._changed, self._value = theme, changed, value
        self.fields: dict[str, Field] = {}
        self.says = ttk.Label(self, style="Card.Small.TLabel", anchor="e", width=8)
        self._tip = Tooltip(self.says)
        self.add = ChoiceField(self, settings(), default=False, width=18)
        self._lay_out()

    def show(self, text: str) -> None:
        """Say how many pictures there will be, or what is wrong; in a place that is always there."""
        self.says.configure(text=text)
        self._tip.text = text

    def insert(self, setting: str) -> None:
        """Begin a line of the sweep for *setting* with the value that it has, and leave the cursor behind it."""
        sweep = self.fields["variants.sweep"]
        if not isinstance(sweep, ProseField) or setting not in settings():
            return
        lines = [line for line in sweep.read().splitlines() if line.strip()]
        before = self._value(setting)
        sweep.write("\n".join([*lines, f"{setting} = {before}{', ' if before else ''}"]))
        sweep.text.mark_set("insert", "end-1c")
        sweep.text.see("insert")
        sweep.text.focus_set()
        self.add.write("")
        self._changed()

    def _lay_out(self) -> None:
        px = self._theme.px
        self.columnconfigure((1, 3), weight=1, uniform="fields")
        self.columnconfigure((0, 2), minsize=px(62))
        ttk.Label(self, text="Variants", style="Card.TLabel").grid(row=0, column=0, sticky="w")
        self.says.grid(row=0, column=1, columnspan=3, sticky="ew")
        sweep = self.fields["variants.sweep"] = ProseField(self, self._theme, lines=2, changed=self._changed)
        self._row(
            1,
            "Sweep",
            sweep,
            "Each line a setting and its values, all of which are drawn: upscale.scale = 2, 3. "
            "Ranges are 5-9, 1-10 (+3) and 1-10 [4].",
        )
        self._row(2, "Add", self.add, "Begins a line of the sweep for this setting")
        self.add.bind("<<ComboboxSelected>>", lambda _event: self.insert(self.add.read()), add="+")
        self.add.bind("<Return>", lambda _event: self.insert(self.add.read()), add="+")
        wildcards = self.fields["variants.wildcards"] = TextField(self)
        self._row(
            3, "Wildcards", wildcards, "A folder or file of values for __name__ in the prompts; several with commas"
        )
        choose = ttk.Button(self, text="Choose…", style="Card.Ghost.TButton", command=self._choose)
        choose.grid(row=3, column=3, sticky="e", pady=(px(6), 0))
        wildcards.grid_configure(columnspan=2)
        seeds = self.fields["variants.seeds"] = ChoiceField(self, ("fixed", "counted"), width=8)
        self._pair(
            4,
            0,
            "Seeds",
            seeds,
            "default: every variant has the same seeds, one for each of its images; fixed: "
            "one seed for all; counted: one more for each image",
        )
        count = self.fields["variants.count"] = NumberField(self, 1, 1_000_000, 1)
        self._pair(4, 2, "At random", count, "So many prompts by chance, in place of every combination")
        for field in (wildcards, seeds, count):
            for event in ("<KeyRelease>", "<<Increment>>", "<<Decrement>>", "<<ComboboxSelected>>"):
                field.bind(event, lambda _event: self.after_idle(self._changed), add="+")

    def _row(self, row: int, name: str, field: tk.Widget, tip: str) -> None:
        label = ttk.Label(self, text=name, style="Card.Small.TLabel")
        label.grid(row=row, column=0, sticky="nw", pady=(self._theme.px(8), 0))
        field.grid(row=row, column=1, columnspan=3, sticky="ew", pady=(self._theme.px(6), 0))
        Tooltip(label, tip)

    def _pair(self, row: int, column: int, name: str, field: tk.Widget, tip: str) -> None:
        px = self._theme.px
        label = ttk.Label(self, text=name, style="Card.Small.TLabel")
        label.grid(row=row, column=column, sticky="w", padx=(px(8) if column else 0, px(6)), pady=(px(6), 0))
        field.grid(row=row, column=column + 1, sticky="ew", pady=(px(6), 0))
        Tooltip(label, tip)

    def _choose(self) -> None:
        chosen = filedialog.askdirectory(parent=self, title="Folder of wildcards")
        if chosen:
            self.fields["variants.wildcards"].write(f'"{chosen}"' if "," in chosen else chosen)
            self._changed()


def settings() -> tuple[str, ...]:
    """Return the settings that can be swept, the usual ones first."""
    every = [f"{stage}.{name}" for stage, model in SECTIONS.items() for name in model.model_fields]
    swept = [name for name in every if name.partition(".")[2] not in _NOT_SWEPT]
    return (*_FIRST, *(name for name in swept if name not in _FIRST))
