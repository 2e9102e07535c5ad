"""The left side of the window: the prompt and a card for each stage, with its main settings and a switch."""

from __future__ import annotations

import tkinter as tk
from dataclasses import replace
from pathlib import Path
from tkinter import filedialog, ttk
from typing import TYPE_CHECKING

from rxpipe.config import SECTIONS
from rxpipe.views.gui.cards import StageCard
from rxpipe.views.gui.fields import ChoiceField, Field, NumberField, ProseField, TextField
from rxpipe.views.gui.form_values import FIELDS, FormValues, default_text, further, variants_of
from rxpipe.views.gui.inputs import InputsCard
from rxpipe.views.gui.lora import LoraWindow
from rxpipe.views.gui.tokens import CHUNK, token_text
from rxpipe.views.gui.variant_values import VARIANT_FIELDS, field_of_problem
from rxpipe.views.gui.variants import VariantsCard
from rxpipe.views.gui.widgets import ScrolledColumn, Tooltip

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from rxpipe.views.gui.gallery import PictureLoader
    from rxpipe.views.gui.theme import Theme


class Form(ttk.Frame):
    """The settings of a run. `read` and `write` all of them at once; an invalid field is marked.

    painting: called by the button for a mask over the first start picture.
    """

    def __init__(
        self, master: tk.Misc, theme: Theme, loader: PictureLoader, *, painting: Callable[[], object] = lambda: None
    ) -> None:
        super().__init__(master)
        self._theme, self._loader, self._painting = theme, loader, painting
        self._loras: tuple[str, ...] = ()
        self._values = FormValues()
        self._before_inputs = {stage: stage == "txt2img" for stage in SECTIONS}
        self.fields: dict[str, Field] = {}
        self.column = ScrolledColumn(self, lambda: theme.skin.ground)
        self.column.pack(fill="both", expand=True)
        self._prompt_card()
        self._inputs_card()
        self.cards = {stage: StageCard(self.column.inner, theme, stage, self._show_inputs) for stage in SECTIONS}
        for card in self.cards.values():
            self.fields |= card.fields
            self._stack(card)
        self.variants = VariantsCard(self.column.inner, theme, changed=self._count_tokens, value=self._value_of)
        self.fields |= self.variants.fields
        self._stack(self.variants)
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
                full = f"{stage}.{name}"
                self.fields[full].write(values.fields.get(full, default_text(stage, name)))
            card.on = bool(values.enabled.get(stage))
            card.more_open = card.more_open or self._has_more(stage)
            card.show_further(further(values, stage))
        for name in VARIANT_FIELDS:
            self.fields[f"variants.{name}"].write(values.fields.get(f"variants.{name}", ""))
        self.mark(())
        self._count_tokens()
        self._show_inputs()

    def start_from(self, paths: Iterable[str]) -> None:
        """Use these pictures as input: img2img on, txt2img off, and the card with them in sight."""
        chosen = tuple(paths)
        if not self._values.inputs:
            self._before_inputs = {stage: card.on for stage, card in self.cards.items()}
        if chosen != self._values.inputs and "{stem}" not in self.mask:
            self.mask = ""  # it was painted over another picture
        self._values = replace(self._values, inputs=chosen)
        self.cards["txt2img"].on, self.cards["img2img"].on = False, True
        self._show_inputs()
        self.column.show(self.inputs)

    def start_from_nothing(self) -> None:
        """Use no picture as input; the stages are on again that were on before one was chosen."""
        self._values = replace(self._values, inputs=())
        self.mask = ""
        for stage in ("txt2img", "img2img"):
            self.cards[stage].on = self._before_inputs[stage]
        self._show_inputs()

    @property
    def start_pictures(self) -> tuple[Path, ...]:
        """The pictures to start from, whether or not the stages that are on take them."""
        return tuple(map(Path, self._values.inputs))

    @property
    def mask(self) -> str:
        """The path of the mask of img2img, "" for none."""
        return self.fields["img2img.mask"].read()

    @mask.setter
    def mask(self, path: str) -> None:
        self.fields["img2img.mask"].write(path)
        self._show_inputs()

    def offer(self, names: Mapping[str, tuple[str, ...]]) -> None:
        """Offer the names that a server has."""
        self._loras = names.get("loras", self._loras)
        for name, choices in names.items():
            field = self.fields.get(name)
            if isinstance(field, ChoiceField):
                field.offer(choices)

    def mark(self, problems: Iterable[str]) -> None:
        """Mark the fields that *problems* (lines of a ConfigError) speak of, and only those."""
        named = [problem.partition(":")[0] for problem in problems]
        for name, field in self.fields.items():
            short = name.rpartition(".")[2]
            wrong = any(
                name in {where, field_of_problem(where)} or ("." not in name and where.endswith(f".{short}"))
                for where in named
            )
            field.mark(wrong=wrong)

    # -- building -----------------------------------------------------------------------------------------------------

    def _stack(self, widget: tk.Widget) -> None:
        widget.pack(fill="x", padx=(0, self._theme.px(2)), pady=(0, self._theme.px(8)))

    def _prompt_card(self) -> None:
        px = self._theme.px
        card = ttk.Frame(self.column.inner, style="Card.TFrame", padding=px(12))
        self._prose(card, "prompt", "Prompt", 3, self._count_tokens)
        self._prose(card, "negative_prompt", "Negative prompt", 2, self._count_tokens)
        row = ttk.Frame(card, style="Inner.TFrame")
        row.pack(fill="x")
        seed = self.fields["seed"] = TextField(row, width=10)
        images = self.fields["images"] = NumberField(row, 1, 100_000, 1, width=4)
        for event in ("<KeyRelease>", "<<Increment>>", "<<Decrement>>"):
            images.bind(event, lambda _event: self.after_idle(self._count_tokens), add="+")
        self.random = ttk.Button(row, text="⚄", style="Card.Ghost.TButton", command=lambda: seed.write("-1"))
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

    def _prose(
        self, card: ttk.Frame, name: str, title: str, lines: int, changed: Callable[[], object] = lambda: None
    ) -> None:
        """A field for a prompt, its title above it; above the first one also its length, and a button for LoRAs."""
        px = self._theme.px
        head = ttk.Frame(card, style="Inner.TFrame")
        head.pack(fill="x")
        ttk.Label(head, text=title, style="Card.Small.TLabel").pack(side="left")
        if name == "prompt":
            self.lora = ttk.Button(head, text="LoRA…", style="Card.Ghost.TButton", command=self.pick_loras)
            self.lora.pack(side="right")
            Tooltip(self.lora, "Small additions to the model that teach it a style or a figure, each with a weight")
            self.tokens = ttk.Label(head, style="Card.Small.TLabel", anchor="e", width=34)
            self.tokens.pack(side="right", padx=px(8))
            Tooltip(
                self.tokens,
                f"About how long the prompt is for the model, which reads {CHUNK} tokens at once: most words are one "
                "token, and so is each comma. What is further back counts less.",
            )
        field = self.fields[name] = ProseField(card, self._theme, lines=lines, changed=changed)
        field.pack(fill="x", pady=(px(3), px(8)))

    def _count_tokens(self) -> None:
        if not {"images", "variants.count", "out"} <= self.fields.keys():
            return  # while the form is built
        count, said = variants_of(self.read())
        variants = "" if count is None else f"{count} pictures in all · "
        self.tokens.configure(text=f"{variants}{token_text(self.fields['prompt'].read())}")
        self.variants.show(said or "by a sweep, wildcards, or {a|b} in the prompt")

    def _value_of(self, setting: str) -> str:
        """Return what the field of a setting shows, "" where it has none or the backend decides."""
        field = self.fields.get(setting)
        return "" if field is None else field.read()

    def pick_loras(self) -> LoraWindow:
        """Open the window that adds LoRAs to the prompt and weighs them."""
        prompt = self.fields["prompt"]
        return LoraWindow(self, self._theme, self._loras, read=prompt.read, write=prompt.write)

    def _has_more(self, stage: str) -> bool:
        """Whether one of the settings that are not shown at first is set."""
        shown = {"txt2img": 7, "img2img": 2}.get(stage, 0)
        names = FIELDS[stage][shown:] if shown else ()
        if stage == "txt2img" and not self.fields["txt2img.hires.enabled"].read():
            names = tuple(name for name in names if not name.startswith("hires."))
        return any(self.fields[f"{stage}.{name}"].read() != default_text(stage, name) for name in names)

    def _inputs_card(self) -> None:
        """The pictures to start from; always there, so that nothing below it moves."""
        self.inputs = InputsCard(
            self.column.inner,
            self._theme,
            self._loader,
            chosen=self.start_from,
            removed=self.start_from_nothing,
            painting=self._painting,
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

    def _show_inputs(self) -> None:
        used = not self.cards["txt2img"].on
        self.inputs.show(self._values.inputs, used=used, mask=self.mask)

    def _choose_out(self) -> None:
        chosen = filedialog.askdirectory(
            parent=self, title="Folder for the pictures", initialdir=self.fields["out"].read()
        )
        if chosen:
            self.fields["out"].write(chosen)
