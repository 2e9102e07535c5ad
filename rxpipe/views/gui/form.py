"""The left side of the window: the prompt and a card for each stage, with its main settings and a switch."""

from __future__ import annotations

import tkinter as tk
from dataclasses import replace
from tkinter import filedialog, ttk
from typing import TYPE_CHECKING

from rxpipe.config import SECTIONS
from rxpipe.views.gui.fields import ChoiceField, Field, NumberField, ProseField, SliderField, TextField
from rxpipe.views.gui.form_values import FIELDS, FormValues, further
from rxpipe.views.gui.inputs import InputsCard
from rxpipe.views.gui.widgets import ScrolledColumn, Switch, Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rxpipe.views.gui.gallery import PictureLoader
    from rxpipe.views.gui.theme import Theme

_SAYS = {
    "txt2img": "Generate from the prompt",
    "img2img": "Redraw the picture",
    "adetailer": "Mend faces and hands",
    "upscale": "Make it larger",
}
_SAMPLERS = ("Euler a", "Euler", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DDIM", "UniPC", "LCM")
_DETECTORS = ("face_yolov8n.pt", "face_yolov8s.pt", "hand_yolov8n.pt", "person_yolov8n-seg.pt", "mediapipe_face_full")
_UPSCALERS = ("Lanczos", "Nearest", "ESRGAN_4x", "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B")


class Form(ttk.Frame):
    """The settings of a run. `read` and `write` all of them at once; an invalid field is marked.

    changed: called after a stage was switched on or off.
    """

    def __init__(
        self, master: tk.Misc, theme: Theme, loader: PictureLoader, *, changed: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(master)
        self._theme, self._loader, self._changed = theme, loader, changed
        self._values = FormValues()
        self._before_inputs = {stage: stage == "txt2img" for stage in SECTIONS}
        self.fields: dict[str, Field] = {}
        self.column = ScrolledColumn(self, lambda: theme.skin.ground)
        self.column.pack(fill="both", expand=True)
        self._prompt_card()
        self._inputs_card()
        self.cards = {stage: StageCard(self.column.inner, theme, stage, self._switched) for stage in SECTIONS}
        for card in self.cards.values():
            self.fields |= card.fields
            self._stack(card)
        self._out_card()

    def read(self) -> FormValues:
        """Return the texts of the form."""
        texts = {name: field.read() for name, field in self.fields.items()}
        return FormValues(
            prompt=texts["prompt"],
            negative_prompt=texts["negative_prompt"],
            seed=texts["seed"],
            images=texts["images"],
            out=texts["out"],
            enabled={stage: card.on for stage, card in self.cards.items()},
            fields={name: text for name, text in texts.items() if "." in name},
            inputs=self._values.inputs,
            base=self._values.base,
        )

    def write(self, values: FormValues) -> None:
        """Show *values*, and keep what they hold beyond the fields."""
        self._values = values
        for name in ("prompt", "negative_prompt", "seed", "images", "out"):
            self.fields[name].write(getattr(values, name))
        for stage, card in self.cards.items():
            for name in FIELDS[stage]:
                self.fields[f"{stage}.{name}"].write(values.fields.get(f"{stage}.{name}", ""))
            card.on = bool(values.enabled.get(stage))
            card.show_further(further(values, stage))
        self.mark(())
        self._show_inputs()

    def start_from(self, paths: Iterable[str]) -> None:
        """Use these pictures as input: img2img on, txt2img off, and the card with them in sight."""
        if not self._values.inputs:
            self._before_inputs = {stage: card.on for stage, card in self.cards.items()}
        self._values = replace(self._values, inputs=tuple(paths))
        self.cards["txt2img"].on, self.cards["img2img"].on = False, True
        self._show_inputs()
        self.column.show(self.inputs)

    def start_from_nothing(self) -> None:
        """Use no picture as input; the stages are on again that were on before one was chosen."""
        self._values = replace(self._values, inputs=())
        for stage in ("txt2img", "img2img"):
            self.cards[stage].on = self._before_inputs[stage]
        self._show_inputs()

    def offer(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """Offer the names that a server has."""
        for name, choices in names.items():
            field = self.fields.get(name)
            if isinstance(field, ChoiceField):
                field.offer(choices)

    def mark(self, problems: Iterable[str]) -> None:
        """Mark the fields that *problems* (lines of a ConfigError) speak of, and only those."""
        named = [problem.partition(":")[0] for problem in problems]
        for name, field in self.fields.items():
            short = name.rpartition(".")[2]
            wrong = any(where == name or ("." not in name and where.endswith(f".{short}")) for where in named)
            field.mark(wrong=wrong)

    # -- building -----------------------------------------------------------------------------------------------------

    def _stack(self, widget: tk.Widget) -> None:
        widget.pack(fill="x", padx=(0, self._theme.px(2)), pady=(0, self._theme.px(8)))

    def _prompt_card(self) -> None:
        px = self._theme.px
        card = ttk.Frame(self.column.inner, style="Card.TFrame", padding=px(12))
        for name, title, lines in (("prompt", "Prompt", 3), ("negative_prompt", "Negative prompt", 2)):
            ttk.Label(card, text=title, style="Card.Small.TLabel").pack(anchor="w")
            field = ProseField(card, self._theme, lines=lines)
            field.pack(fill="x", pady=(px(3), px(8)))
            self.fields[name] = field
        row = ttk.Frame(card, style="Inner.TFrame")
        row.pack(fill="x")
        seed = self.fields["seed"] = TextField(row, width=10)
        images = self.fields["images"] = NumberField(row, 1, 100_000, 1, width=4)
        self.random = ttk.Button(row, text="Random", style="Card.Ghost.TButton", command=lambda: seed.write("-1"))
        self.reuse = ttk.Button(row, text="Reuse", style="Card.Ghost.TButton", state="disabled")
        Tooltip(self.random, "Another seed for every run (-1)")
        Tooltip(self.reuse, "The seed of the last run again")
        ttk.Label(row, text="Seed", style="Card.Small.TLabel").pack(side="left", padx=(0, px(6)))
        seed.pack(side="left", fill="x", expand=True)
        self.random.pack(side="left", padx=(px(4), 0))
        self.reuse.pack(side="left", padx=(0, px(4)))
        ttk.Label(row, text="Images", style="Card.Small.TLabel").pack(side="left", padx=(0, px(6)))
        images.pack(side="left")
        self._stack(card)

    def _inputs_card(self) -> None:
        """The pictures to start from; always there, so that nothing below it moves."""
        self.inputs = InputsCard(
            self.column.inner,
            self._theme,
            self._loader,
            chosen=self.start_from,
            removed=self.start_from_nothing,
            painting=lambda: None,
        )
        self._stack(self.inputs)

    def _out_card(self) -> None:
        px = self._theme.px
        card = ttk.Frame(self.column.inner, style="Card.TFrame", padding=px(12))
        ttk.Label(card, text="Save to", style="Card.Small.TLabel").pack(side="left", padx=(0, px(8)))
        out = self.fields["out"] = TextField(card)
        out.pack(side="left", fill="x", expand=True)
        choose = ttk.Button(card, text="Choose…", style="Card.Ghost.TButton", command=self._choose_out)
        choose.pack(side="right", padx=(px(4), 0))
        self._stack(card)

    def _switched(self) -> None:
        self._show_inputs()
        self._changed()

    def _show_inputs(self) -> None:
        used = not self.cards["txt2img"].on
        self.inputs.show(self._values.inputs, used=used, mask="")

    def _choose_out(self) -> None:
        chosen = filedialog.askdirectory(
            parent=self, title="Folder for the pictures", initialdir=self.fields["out"].read()
        )
        if chosen:
            self.fields["out"].write(chosen)


class StageCard(ttk.Frame):
    """One stage: a switch with its name, and its main settings while it is on."""

    def __init__(self, master: tk.Misc, theme: Theme, stage: str, switched: Callable[[], object]) -> None:
        super().__init__(master, style="Card.TFrame", padding=(theme.px(12), theme.px(8)))
        self._theme, self._stage, self._switched = theme, stage, switched
        self.fields: dict[str, Field] = {}
        self.tips: dict[str, Tooltip] = {}
        self.switch = Switch(self, stage, on=False, changed=self._flipped, style="Card.Switch.TCheckbutton")
        self._says = ttk.Label(self, text=_SAYS[stage], style="Card.Small.TLabel")
        self._body = ttk.Frame(self, style="Inner.TFrame", padding=(0, theme.px(8), 0, theme.px(4)))
        self._further = ttk.Label(self._body, style="Card.Small.TLabel")
        self.switch.grid(row=0, column=0, sticky="w")
        self._says.grid(row=0, column=1, sticky="e")
        self.columnconfigure(1, weight=1)
        self._body.columnconfigure((1, 3), weight=1, uniform="fields")
        getattr(self, f"_fill_{stage}")()
        self.on = False

    @property
    def on(self) -> bool:
        """Whether the stage is part of the run."""
        return self.switch.on

    @on.setter
    def on(self, on: bool) -> None:
        self.switch.on = on
        if on:
            self._body.grid(row=1, column=0, columnspan=2, sticky="ew")
        else:
            self._body.grid_remove()

    def flip(self) -> None:
        """Switch on or off, as a click does."""
        self.switch.invoke()

    def show_further(self, names: tuple[str, ...]) -> None:
        """Say which settings a preset has made that the card has no field for."""
        if names:
            self._further.configure(text=f"From the preset: {', '.join(names)}")
            self._further.grid(row=9, column=0, columnspan=4, sticky="w", pady=(self._theme.px(4), 0))
        else:
            self._further.grid_remove()

    def _flipped(self, on: bool) -> None:
        self.on = on
        self._switched()

    def _fill_txt2img(self) -> None:
        self._pair(0, "width", "Width", NumberField(self._body, 64, 8192, 64), 0)
        self._pair(0, "height", "Height", NumberField(self._body, 64, 8192, 64), 1)
        self._pair(1, "steps", "Steps", NumberField(self._body, 1, 1000, 1), 0)
        self._pair(1, "cfg_scale", "CFG scale", NumberField(self._body, 0, 100, 0.5), 1)
        self._pair(2, "sampler_name", "Sampler", ChoiceField(self._body, _SAMPLERS), 0)
        self._pair(2, "model", "Model", ChoiceField(self._body, ()), 1)

    def _fill_img2img(self) -> None:
        self._row(0, "denoising_strength", "Strength", self._slider())
        self._pair(1, "steps", "Steps", NumberField(self._body, 1, 1000, 1, default=True), 0)

    def _fill_adetailer(self) -> None:
        self._row(0, "detector", "Detector", ChoiceField(self._body, _DETECTORS, default=False))
        self._row(1, "confidence", "Confidence", self._slider())
        self._row(2, "denoising_strength", "Strength", self._slider())

    def _fill_upscale(self) -> None:
        self._pair(0, "scale", "Factor", NumberField(self._body, 1, 8, 0.5), 0)
        self._pair(0, "upscaler", "Upscaler", ChoiceField(self._body, _UPSCALERS), 1)

    def _slider(self) -> SliderField:
        return SliderField(self._body, 0, 1, px=self._theme.px)

    def _pair(self, row: int, name: str, title: str, field: NumberField | ChoiceField, index: int) -> None:
        """A short field, the first or second of its row."""
        self._label(row, 2 * index, title, name)
        field.grid(row=row, column=2 * index + 1, sticky="ew", pady=self._theme.px(3))
        self.fields[f"{self._stage}.{name}"] = field

    def _row(self, row: int, name: str, title: str, field: ChoiceField | SliderField) -> None:
        """A field that has a row to itself."""
        self._label(row, 0, title, name)
        field.grid(row=row, column=1, columnspan=3, sticky="ew", pady=self._theme.px(3))
        self.fields[f"{self._stage}.{name}"] = field

    def _label(self, row: int, column: int, title: str, name: str) -> None:
        gap = self._theme.px(12) if column else 0
        label = ttk.Label(self._body, text=title, style="Card.Small.TLabel")
        label.grid(row=row, column=column, sticky="w", padx=(gap, self._theme.px(8)))
        self.tips[name] = Tooltip(label, SECTIONS[self._stage].model_fields[name].description or "")
