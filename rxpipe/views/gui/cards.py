"""A card for each stage: a switch with its name, its main settings while it is on, and more of them on demand."""

from __future__ import annotations

import tkinter as tk
from functools import partial
from tkinter import ttk
from typing import TYPE_CHECKING

from rxpipe.config import SECTIONS, HiresConfig
from rxpipe.views.gui.fields import ChoiceField, NumberField, SliderField, Switch, SwitchField, TextField
from rxpipe.views.gui.widgets import Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.views.gui.fields import Field
    from rxpipe.views.gui.theme import Theme

SAYS = {
    "txt2img": "Generate from the prompt",
    "img2img": "Redraw the picture",
    "adetailer": "Mend faces and hands",
    "upscale": "Make it larger",
}
SIZES = (
    *((512, 512), (512, 768), (768, 512), (768, 768)),
    *((1024, 1024), (832, 1216), (1216, 832), (896, 1152), (1152, 896), (1344, 768), (768, 1344)),
)
_SAMPLERS = ("Euler a", "Euler", "DPM++ 2M", "DPM++ SDE", "DPM++ 2M SDE", "DDIM", "UniPC", "LCM")
_SCHEDULERS = ("Automatic", "Uniform", "Karras", "Exponential", "Polyexponential", "SGM Uniform", "Simple", "Beta")
_DETECTORS = ("face_yolov8n.pt", "face_yolov8s.pt", "hand_yolov8n.pt", "person_yolov8n-seg.pt", "mediapipe_face_full")
_UPSCALERS = ("Lanczos", "Nearest", "ESRGAN_4x", "R-ESRGAN 4x+", "R-ESRGAN 4x+ Anime6B")
_HIRES_UPSCALERS = ("Latent", "Latent (bicubic)", "Latent (nearest)", *_UPSCALERS)
_IN_OTHER_WORDS = {
    "cfg_scale": "CFG: classifier-free guidance. High values follow the prompt at the cost of natural colours.",
    "denoising_strength": "Denoising: how much noise is put over the picture before it is drawn again.",
    "sampler_name": "The sampler takes the steps from noise to picture; samplers differ in speed and in grain.",
    "scheduler": "The scheduler says how much noise each step takes away.",
    "vae": "The VAE turns what the model has drawn into pixels; it decides on colours and fine detail.",
    "clip_skip": "CLIP reads the prompt; anime models were often trained to stop one layer early: 2.",
    "model": "The checkpoint: the weights that draw, and with them the style.",
    "hires.enabled": "Draws small first and then larger, which avoids doubled heads and bodies at large sizes.",
    "styles": "Named pieces of prompt that the server keeps, with a comma between them.",
    "confidence": "Below this certainty something is not taken for a face or a hand.",
}


class StageCard(ttk.Frame):
    """One stage: a switch with its name, and its settings while it is on.

    fields: by name. tips: what each setting means, by name.
    """

    def __init__(self, master: tk.Misc, theme: Theme, stage: str, switched: Callable[[], object]) -> None:
        super().__init__(master, style="Card.TFrame", padding=(theme.px(12), theme.px(8)))
        self._theme, self._stage, self._switched = theme, stage, switched
        self.fields: dict[str, Field] = {}
        self.tips: dict[str, Tooltip] = {}
        self.switch = Switch(self, stage, on=False, changed=self._flipped, style="Card.Switch.TCheckbutton")
        self._says = ttk.Label(self, text=SAYS[stage], style="Card.Small.TLabel", anchor="e", width=8)
        self._says_tip = Tooltip(self._says)
        self._body = ttk.Frame(self, style="Inner.TFrame", padding=(0, theme.px(8), 0, theme.px(4)))
        self._more_body = ttk.Frame(self, style="Inner.TFrame", padding=(0, 0, 0, theme.px(4)))
        self._target = self._body
        self.more: ttk.Button | None = None
        self._more_open = False
        self.switch.grid(row=0, column=0, sticky="w")
        self._says.grid(row=0, column=1, sticky="ew")
        self.columnconfigure(1, weight=1)
        for body in (self._body, self._more_body):
            body.columnconfigure((1, 3), weight=1, uniform="fields")
            body.columnconfigure((0, 2), minsize=theme.px(62))
        getattr(self, f"_fill_{stage}")()
        self.on = False

    @property
    def on(self) -> bool:
        """Whether the stage is part of the run."""
        return self.switch.on

    @on.setter
    def on(self, on: bool) -> None:
        self.switch.on = on
        self._arrange()

    @property
    def more_open(self) -> bool:
        """Whether the further settings are to be seen."""
        return self._more_open

    @more_open.setter
    def more_open(self, more: bool) -> None:
        self._more_open = more
        if self.more is not None:
            self.more.configure(text="Fewer settings" if more else "More settings…")
        self._arrange()

    def flip(self) -> None:
        """Switch on or off, as a click does."""
        self.switch.invoke()

    def show_further(self, names: tuple[str, ...]) -> None:
        """Say which settings a preset has made that the card has no field for; in a place that is always there."""
        self._says.configure(text=f"also: {', '.join(names)}" if names else SAYS[self._stage])
        self._says_tip.text = f"From the preset: {', '.join(names)}" if names else ""

    def _arrange(self) -> None:
        for body, row, shown in ((self._body, 1, self.on), (self._more_body, 2, self.on and self._more_open)):
            if shown:
                body.grid(row=row, column=0, columnspan=2, sticky="ew")
            else:
                body.grid_remove()

    def _flipped(self, on: bool) -> None:
        self.on = on
        self._switched()

    def _fill_txt2img(self) -> None:
        width, height = NumberField(self._body, 64, 8192, 64), NumberField(self._body, 64, 8192, 64)
        self._pair(0, "width", "Width", width, 0)
        self._pair(0, "height", "Height", height, 1)
        height.grid_configure(columnspan=1)
        self._size_buttons(width, height)
        self._pair(1, "steps", "Steps", NumberField(self._body, 1, 1000, 1), 0)
        self._pair(1, "cfg_scale", "CFG scale", NumberField(self._body, 0, 100, 0.5), 1)
        self._pair(2, "sampler_name", "Sampler", ChoiceField(self._body, _SAMPLERS), 0)
        self._pair(2, "scheduler", "Scheduler", ChoiceField(self._body, _SCHEDULERS), 1)
        self._row(3, "model", "Model", ChoiceField(self._body, ()))
        self._begin_more(4)
        more = self._more_body
        self._pair(0, "vae", "VAE", ChoiceField(more, ()), 0)
        self._pair(0, "clip_skip", "Clip skip", NumberField(more, 1, 12, 1, default=True), 1)
        self._pair(1, "batch_size", "Batch", NumberField(more, 1, 64, 1), 0)
        self._pair(1, "styles", "Styles", ChoiceField(more, (), several=True), 1)
        self._switch(2, "hires.enabled", "Hires fix")
        self._pair(2, "hires.scale", "Factor", NumberField(more, 1, 8, 0.25), 1)
        self._pair(3, "hires.upscaler", "Upscaler", ChoiceField(more, _HIRES_UPSCALERS, default=False), 0)
        self._pair(3, "hires.steps", "Steps", NumberField(more, 0, 1000, 1), 1)
        self._row(4, "hires.denoising_strength", "Strength", self._slider())

    def _fill_img2img(self) -> None:
        self._row(0, "denoising_strength", "Strength", self._slider())
        self._pair(1, "steps", "Steps", NumberField(self._body, 1, 1000, 1, default=True), 0)
        self._begin_more(1)
        self._row(0, "mask", "Mask", TextField(self._more_body))
        self._pair(1, "mask_blur", "Blur", NumberField(self._more_body, 0, 64, 1), 0)
        self._switch(1, "inpaint_full_res", "Only the mask", column=2)

    def _fill_adetailer(self) -> None:
        self._row(0, "detector", "Detector", ChoiceField(self._body, _DETECTORS, default=False))
        self._row(1, "confidence", "Confidence", self._slider())
        self._row(2, "denoising_strength", "Strength", self._slider())

    def _fill_upscale(self) -> None:
        self._pair(0, "scale", "Factor", NumberField(self._body, 1, 8, 0.5), 0)
        self._pair(0, "upscaler", "Upscaler", ChoiceField(self._body, _UPSCALERS), 1)

    def _slider(self) -> SliderField:
        return SliderField(self._target, 0, 1, px=self._theme.px)

    def _size_buttons(self, width: NumberField, height: NumberField) -> None:
        def put(size: tuple[int | str, int | str]) -> None:
            width.write(str(size[0]))
            height.write(str(size[1]))

        def swap() -> None:
            put((height.read(), width.read()))

        sizes = tk.Menu(self, tearoff=False)
        for size in SIZES:
            sizes.add_command(label=f"{size[0]} x {size[1]}", command=partial(put, size))
        self.swap = ttk.Button(self._body, text="⇄", style="Card.Ghost.TButton", command=swap)
        self.sizes = ttk.Button(self._body, text="▾", style="Card.Ghost.TButton")
        self.sizes.configure(
            command=lambda: sizes.tk_popup(
                self.sizes.winfo_rootx(), self.sizes.winfo_rooty() + self.sizes.winfo_height()
            )
        )
        Tooltip(self.swap, "Swap width and height")
        Tooltip(self.sizes, "Usual sizes")
        self.swap.grid(row=0, column=4)
        self.sizes.grid(row=0, column=5)

    def _begin_more(self, row: int) -> None:
        """Put further fields into a part of their own, which a button shows."""
        self.more = ttk.Button(self._body, style="Card.Ghost.TButton", command=self._flip_more)
        self.more.grid(row=row, column=3, columnspan=3, sticky="e")
        self._target = self._more_body
        self.more_open = False

    def _flip_more(self) -> None:
        self.more_open = not self.more_open

    def _pair(self, row: int, name: str, title: str, field: NumberField | ChoiceField, index: int) -> None:
        """A short field, the first or second of its row."""
        self._label(row, 2 * index, title, name)
        field.grid(row=row, column=2 * index + 1, columnspan=1 + 2 * index, sticky="ew", pady=self._theme.px(3))
        self.fields[f"{self._stage}.{name}"] = field

    def _row(self, row: int, name: str, title: str, field: ChoiceField | SliderField | TextField) -> None:
        """A field that has a row to itself."""
        self._label(row, 0, title, name)
        field.grid(row=row, column=1, columnspan=5, sticky="ew", pady=self._theme.px(3))
        self.fields[f"{self._stage}.{name}"] = field

    def _switch(self, row: int, name: str, title: str, column: int = 0) -> None:
        """A field that is on or off."""
        field = SwitchField(self._target, title)
        gap = self._theme.px(12) if column else 0
        field.grid(row=row, column=column, columnspan=2, sticky="w", pady=self._theme.px(3), padx=(gap, 0))
        self.tips[name] = Tooltip(field, self._explained(name))
        self.fields[f"{self._stage}.{name}"] = field

    def _label(self, row: int, column: int, title: str, name: str) -> None:
        gap = self._theme.px(12) if column else 0
        label = ttk.Label(self._target, text=title, style="Card.Small.TLabel")
        label.grid(row=row, column=column, sticky="w", padx=(gap, self._theme.px(8)))
        self.tips[name] = Tooltip(label, self._explained(name))

    def _explained(self, name: str) -> str:
        """Return what a setting means: its description, and what the trade's word in it means."""
        head, _, inner = name.partition(".")
        model, field = (HiresConfig, inner) if inner else (SECTIONS[self._stage], head)
        words = model.model_fields[field].description or ""
        more = _IN_OTHER_WORDS.get(name) or _IN_OTHER_WORDS.get(inner, "")
        return f"{words}\n{more}".strip()
