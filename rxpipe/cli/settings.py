"""`rxpipe stages`: every stage and setting, with its default, its range and what it means.

Ranges and defaults are read off the config models; only the words stand here.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.config import SECTIONS, AdetailerUnit, HiresConfig, PipelineConfig, RefinerConfig, RetryConfig, RunSettings
from rxpipe.errors import ConfigError, suggestion
from rxpipe.views.console import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

TABLES: dict[str, tuple[type[BaseModel], str]] = {
    "txt2img": (SECTIONS["txt2img"], "generate pictures from a prompt"),
    "txt2img.hires": (HiresConfig, "a second pass of txt2img at a larger size"),
    "txt2img.refiner": (RefinerConfig, "another checkpoint for the last part of txt2img"),
    "img2img": (SECTIONS["img2img"], "redraw a picture"),
    "adetailer": (SECTIONS["adetailer"], "find faces (or hands) and redraw each, the rest stays as it was"),
    "adetailer.units": (AdetailerUnit, "further detectors, a list; each has the settings of adetailer itself"),
    "upscale": (SECTIONS["upscale"], "make a picture larger"),
    "": (RunSettings, "the run as a whole"),
    "retry": (RetryConfig, "how often a failed image is retried"),
}
"""Every section of a config file, by the name it has there, and what it is for."""

WORDS = {
    "alwayson_scripts": "passed to a WebUI unchanged",
    "attempts": "in total; 1 for no retry",
    "batch_size": "pictures a request, for GPUs that like batches",
    "cfg_scale": "how closely the prompt is followed",
    "checkpoint": "the model that renders this part",
    "clip_skip": "layers of CLIP left out, counted from its end",
    "codeformer_visibility": "CodeFormer's share in the faces, 0 is off",
    "codeformer_weight": "0 strongest effect, 1 weakest",
    "confidence": "finds below it are ignored",
    "denoising_strength": "0 unchanged, 1 rendered anew",
    "detector": "what looks for faces or hands",
    "dilate_erode": "px by which a find is widened, below 0 narrowed",
    "distilled_cfg_scale": "of models such as Flux",
    "enabled": "false is the same as leaving the section out",
    "factor": "each pause is so many times the one before",
    "first_delay_s": "seconds before the second attempt",
    "gfpgan_visibility": "GFPGAN's share in the faces, 0 is off",
    "height": "px, a multiple of 8",
    "hires": "see txt2img.hires",
    "images": "how many; on img2img, of each input, and only if it is the first stage",
    "inpaint_height": "px, a multiple of 8; the size a find is redrawn at",
    "inpaint_only_masked": "redraw a find enlarged, not the whole picture",
    "inpaint_width": "px, a multiple of 8; the size a find is redrawn at",
    "input": "pictures to start from, where no txt2img is first",
    "jitter": "fraction of a pause that is random",
    "mask_blur": "px of soft edge",
    "mask_filter_method": "what makes a find large: its area or its confidence",
    "mask_k_largest": "only so many of the finds, 0 for all",
    "mask_max_ratio": "finds that cover more of the picture are ignored",
    "mask_merge_invert": "all finds as one, or all but the finds",
    "mask_min_ratio": "finds that cover less of the picture are ignored",
    "max_delay_s": "no pause is longer",
    "max_failures_in_a_row": "so many failed pictures end the stage",
    "max_megapixels": "no result may be larger",
    "metadata": "what is known about the run from outside; goes into the files",
    "mode": "resample or run an upscaler model; or redraw at the larger size",
    "model": "checkpoint; none: the one loaded",
    "negative_prompt": "what the pictures must not show",
    "on_error": "a picture that fails is dropped, passed on unchanged, or stops the stage",
    "order": "what comes first: a stage for all, a picture to its end, or few checkpoint switches",
    "out": "folder for the pictures; null keeps them in memory",
    "override_settings": "passed to a WebUI unchanged",
    "padding": "px around a find that are looked at too",
    "prompt": "what the pictures show",
    "refiner": "see txt2img.refiner",
    "resize_mode": "0 stretch, 1 crop, 2 fill, 3 stretch latents",
    "resize_x": "px instead of a factor, 0 for the factor",
    "resize_y": "px instead of a factor, 0 for the factor",
    "restore_faces": "a WebUI's own face restorer",
    "retry": "see retry",
    "sampler_name": "such as Euler a; none: the backend's own",
    "save": "every stage's pictures, or the final ones only",
    "scale": "factor; the result is so many times the input",
    "scheduler": "such as Karras; none: the backend's own",
    "seed": "of the first picture, the next has one more; -1: random",
    "steps": "of the sampler",
    "styles": "a WebUI's prompt styles, by name",
    "subseed": "what the picture is varied by; -1: random",
    "subseed_strength": "how much it is varied",
    "switch_at": "fraction of the steps after which it takes over",
    "tiling": "a picture that tiles seamlessly",
    "timeout_s": "longest time one image may take, in seconds",
    "units": "see adetailer.units",
    "upscaler": "by name; none: the backend's own",
    "vae": "by name; none: the one loaded",
    "width": "px, a multiple of 8",
}
"""One line per setting, by its name."""

_LARGE = 2**31
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_RUN = "run"


def print_settings(stage: str | None = None) -> None:
    """All sections, or one stage's.

    Raises:
        ConfigError: there is no such stage.
    """
    names = [name for name in TABLES if stage is None or (name or _RUN).split(".")[0] == stage]
    if not names:
        allowed = [*SECTIONS, _RUN, "retry"]
        raise ConfigError([f"there is no stage {stage!r}; {suggestion(str(stage), allowed)}"])
    shown = Console()
    for index, name in enumerate(names):
        _print_section(shown, name, first=index == 0)


def print_schema() -> None:
    """The JSON schema of a config file."""
    typer.echo(json.dumps(schema_of(PipelineConfig)))


def _print_section(shown: Console, name: str, *, first: bool) -> None:
    model, purpose = TABLES[name]
    if not first:
        shown.print()
    heading = f"{name}: {purpose}" if name else f"{purpose}, in no section: --set order=image"
    shown.print(Text(plain(heading, shown.encoding), style="bold"))
    if name == "adetailer.units":
        return
    rows = Table.grid(padding=(0, 2))
    for number in range(4):
        rows.add_column(no_wrap=number < 2, overflow="fold")  # noqa: PLR2004  name and default stay whole
    for row in settings_of(model):
        rows.add_row(*(Text(plain(cell, shown.encoding)) for cell in ("  " + row[0], *row[1:])))
    shown.print(rows)


def settings_of(model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """Of every setting its name, its default, what is allowed, and what it means."""
    schema = schema_of(model)
    needed = schema.get("required", [])
    for name, field in schema["properties"].items():
        if name not in SECTIONS:
            default = "needed" if name in needed else _default(field.get("default", {}))
            yield name, default, _allowed(field), WORDS.get(name, "")


def schema_of(model: type[BaseModel]) -> Any:
    """Return the JSON schema of a section, or of a whole config."""
    return _renamed(model.model_json_schema())


def _renamed(schema: Any) -> Any:
    """Bounds under JSON schema's names; pydantic keeps its own for numbers that are looked at before they are read."""
    if isinstance(schema, list):
        return [_renamed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {_BOUNDS.get(key, key): _renamed(value) for key, value in schema.items()}


def _default(value: Any) -> str:
    if value is None or value == "":
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return ", ".join(map(str, value)) if value and isinstance(value, list) else "-"
    return str(value)


def _allowed(field: dict[str, Any]) -> str:
    parts = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    part = {**field, **parts[0]} if parts else field
    if "enum" in part:
        return " | ".join(part["enum"])
    low, high = part.get("minimum", part.get("exclusiveMinimum")), part.get("maximum")
    if low is not None and high is not None and high < _LARGE:
        return f"{low} .. {high}"
    if low is not None:
        return f"> {low}" if "exclusiveMinimum" in part else f">= {low}"
    names = {"boolean": "true | false", "array": "list", "string": "text", "integer": "number", "object": "table"}
    return names.get(part.get("type", ""), "table" if "$ref" in part else "")
