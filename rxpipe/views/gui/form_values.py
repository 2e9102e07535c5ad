"""The texts of the form, and the config they mean: FormValues to PipelineConfig and back. Pure, no Tk.

The window has one prompt, seed and number of images; they are assigned to the first stage that is enabled. Settings of
a preset without a field in the window are kept in `base`. A field such as "hires.scale" is one of a section inside its
stage's, which `hires.enabled` switches.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping  # noqa: TC003  # pydantic reads the annotations of FormValues
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rxpipe.chains import build_chain
from rxpipe.config import SECTIONS, HiresConfig, PipelineConfig, StageConfig, Txt2ImgConfig
from rxpipe.errors import RxPipeError
from rxpipe.presets import apply, dump, stage_that_takes
from rxpipe.variants.syntax import has_syntax
from rxpipe.views.gui.variant_values import VARIANT_FIELDS, texts_of, with_fields

FIELDS: dict[str, tuple[str, ...]] = {
    "txt2img": (
        *("width", "height", "steps", "cfg_scale", "sampler_name", "scheduler", "model"),
        *("vae", "clip_skip", "batch_size", "styles"),
        *("hires.enabled", "hires.scale", "hires.denoising_strength", "hires.upscaler", "hires.steps"),
    ),
    "img2img": ("denoising_strength", "steps", "mask", "mask_blur", "inpaint_full_res"),
    "adetailer": ("detector", "confidence", "denoising_strength"),
    "upscale": ("scale", "upscaler"),
}
ON = "on"
_ENABLED = "enabled"
SHARED = ("prompt", "negative_prompt", "seed", "images")


@dataclass(frozen=True)
class FormValues:
    """The values of the form, all as text.

    enabled: which stages are on. fields: "stage.field" to text, "" where the backend decides. inputs: pictures to start
    from where txt2img is off. base: what a preset holds beyond the fields, as plain values by section.
    """

    prompt: str = ""
    negative_prompt: str = ""
    seed: str = "-1"
    images: str = "1"
    enabled: Mapping[str, bool] = field(default_factory=lambda: dict.fromkeys(SECTIONS, False))
    fields: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    out: str = "outputs"
    base: Mapping[str, Any] = field(default_factory=dict)


def first_values() -> FormValues:
    """Return the form of a window that is opened for the first time."""
    config = PipelineConfig(txt2img=Txt2ImgConfig(prompt="a lighthouse at dusk, warm light, waves", images=4))
    return form_of(config)


def config_of(form: FormValues) -> PipelineConfig:
    """Return the config that the form means; disabled stages are left out.

    Raises:
        ConfigError: names every field that is wrong, with what is allowed.
    """
    values = {name: deepcopy(value) for name, value in form.base.items() if name not in SECTIONS}
    for stage in SECTIONS:
        if form.enabled.get(stage):
            values[stage] = _section(form, stage)
    stages = [stage for stage in SECTIONS if stage in values]
    shared = {name: getattr(form, name) for name in SHARED if stage_that_takes(name, stages)}
    values = apply(values, stages=stages, generation=shared)
    variants = with_fields(values.get("variants"), form.fields)
    if variants or any(map(has_syntax, (form.prompt, form.negative_prompt))) or "variants" in values:
        values["variants"] = variants  # alternatives in prompts mean what they mean on the command line
    values["input"] = () if "txt2img" in stages else form.inputs
    values["out"] = str(Path(form.out or "outputs").expanduser())
    return PipelineConfig.from_mapping(values)


def variant_count(form: FormValues) -> int | None:
    """Return how many pictures a run with variants draws first; None without variants, or where that is not known."""
    return variants_of(form)[0]


def variants_of(form: FormValues) -> tuple[int | None, str]:
    """Return how many pictures a run with variants draws first, and that in words.

    None without variants, or where that is not known: the words are what is wrong then, "" without variants.
    """
    if not _varies(form):
        return None, ""
    try:
        variants = build_chain(config_of(form)).variants
    except RxPipeError as error:
        return None, str(error)
    if variants is None:
        return None, ""
    each = variants.count // variants.variants
    count = f"{variants.variants:,} variant{'s' if variants.variants > 1 else ''}"
    return variants.count, count if each == 1 else f"{count} of {each:,} images: {variants.count:,}"


def _varies(form: FormValues) -> bool:
    fields = any(form.fields.get(f"variants.{name}", "").strip() for name in VARIANT_FIELDS)
    return fields or "variants" in form.base or has_syntax(f"{form.prompt} {form.negative_prompt}")


def form_of(config: PipelineConfig) -> FormValues:
    """Return the form that means *config*, without its run_id: the next run gets its own."""
    in_form = {"input", "out"}
    base: dict[str, Any] = {k: v for k, v in dump(config).items() if v is not None and k not in in_form}
    base.get("metadata", {}).pop("run_id", None)
    sections = {stage: getattr(config, stage) for stage in SECTIONS}
    present = {stage: section for stage, section in sections.items() if section is not None and section.enabled}
    shared = {name: _text(value) for name in SHARED if (value := _shared_value(present, name)) is not None}
    fields = {
        f"{stage}.{name}": _text(_value_of(sections[stage] or SECTIONS[stage](), name))
        for stage, names in FIELDS.items()
        for name in names
    }
    fields |= texts_of(base.get("variants"))
    return FormValues(
        **shared,
        enabled={stage: stage in present for stage in SECTIONS},
        fields=fields,
        inputs=tuple(map(str, config.input)),
        out=str(config.out or "outputs"),
        base=base,
    )


def _shared_value(present: Mapping[str, StageConfig], name: str) -> object:
    stage = stage_that_takes(name, present)
    return None if stage is None else getattr(present[stage], name)


def further(form: FormValues, stage: str) -> tuple[str, ...]:
    """Return the fields of a stage that are set and have no field in the window."""
    shown = {*FIELDS[stage], *SHARED, _ENABLED}
    section = form.base.get(stage)
    if not isinstance(section, dict):
        return ()
    nested = {name.partition(".")[0] for name in FIELDS[stage] if "." in name}
    names = [
        f"{name}.{inner}" if name in nested else name
        for name, value in section.items()
        for inner in (value if name in nested and isinstance(value, dict) else ("",))
    ]
    return tuple(name for name in names if name not in shown and name not in nested)


def default_text(stage: str, name: str) -> str:
    """Return the text of a field that nothing was written into."""
    return _text(_value_of(SECTIONS[stage](), name))


def _section(form: FormValues, stage: str) -> dict[str, Any]:
    before = form.base.get(stage)
    section: dict[str, Any] = {**deepcopy(before), "enabled": True} if isinstance(before, dict) else {}
    for name in FIELDS[stage]:
        head, _, inner = name.partition(".")
        text = form.fields.get(f"{stage}.{name}", "").strip()
        if not inner:
            _put(section, name, text)
        elif form.fields.get(f"{stage}.{head}.{_ENABLED}") != ON:
            section.pop(head, None)
        else:
            nested = section.get(head)
            section[head] = nested if isinstance(nested, dict) else {}
            _put(section[head], inner, text)
    return section


def _put(section: dict[str, Any], name: str, text: str) -> None:
    if not text:
        section.pop(name, None)
    elif name == "styles":
        section[name] = names_in(text)
    else:
        section[name] = text


def names_in(text: str) -> list[str]:
    """Return the names in a list such as 'photo, "film, grainy"'; quotes keep a comma in a name."""
    rows = csv.reader([text], skipinitialspace=True)
    return [name.strip() for row in rows for name in row if name.strip()]


def _value_of(section: StageConfig, name: str) -> object:
    """Return the value of a field; of a section inside that is absent, what it would have."""
    head, _, inner = name.partition(".")
    value = getattr(section, head)
    if not inner:
        return value
    absent = value is None or not value.enabled
    if inner == _ENABLED:
        return not absent
    return getattr(value if value is not None else HiresConfig(), inner)


def _text(value: object) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return ON
    if isinstance(value, tuple):
        return ", ".join(f'"{name}"' if "," in name else name for name in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
