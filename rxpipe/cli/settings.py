"""`rxpipe stages`: the stages and the names of their settings; of one stage each setting's default, range and meaning.

All of it is read from the config models.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from rxpipe.config import (
    SECTIONS,
    STAGE_SECTIONS,
    AdetailerUnit,
    HiresConfig,
    PipelineConfig,
    RefinerConfig,
    RetryConfig,
    RunSettings,
    VariantsConfig,
    WorkflowConfig,
)
from rxpipe.errors import ConfigError, suggestion
from rxpipe.shown import plain
from rxpipe.stages.registry import registered

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
    "workflow": (WorkflowConfig, "run a ComfyUI workflow of your own"),
    "": (RunSettings, "the run as a whole"),
    "variants": (VariantsConfig, "many variants of the prompts and of any setting"),
    "retry": (RetryConfig, "how often a failed image is retried"),
}
"""Every section of a config file, by the name it has there, and what it is for."""

_COMMON = {"enabled", "on_error", "on_interrupted", "payload", "override_settings", "alwayson_scripts"}
_LARGE = 2**31
_BOUNDS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}
_RUN = "run"


def print_settings(stage: str | None = None) -> None:
    """Print every section with the names of its settings, or one stage's settings with all about them.

    Raises:
        ConfigError: there is no such stage.
    """
    names = [name for name in TABLES if stage is None or (name or _RUN).split(".")[0] == stage]
    if not names and _print_registered(stage):
        return
    if not names:
        allowed = [*STAGE_SECTIONS, _RUN, "retry"]
        raise ConfigError([f"there is no stage {stage!r}; {suggestion(str(stage), allowed)}"])
    shown = Console()
    if stage is None:
        _print_names(shown)
        return
    for index, name in enumerate(names):
        _print_section(shown, name, first=index == 0)


def _print_names(shown: Console) -> None:
    for name, (model, purpose) in TABLES.items():
        shown.print(Text(plain(_heading(name, purpose), shown.encoding), style="bold"))
        if name != "adetailer.units":
            every = [row[0] for row in settings_of(model)]
            names = [*(each for each in every if each not in _COMMON), *(each for each in every if each in _COMMON)]
            shown.print(Padding(Text(plain(", ".join(names), shown.encoding)), (0, 0, 0, 2)))
    head = "custom.NAME: a registered stage, behind the one that after names; further keys are its settings"
    shown.print(Text(head, style="bold"))
    known = registered().values()
    names = [each.name if each.package == "rxpipe" else f"{each.name} ({each.package})" for each in known]
    shown.print(Padding(Text(plain(", ".join(names), shown.encoding)), (0, 0, 0, 2)))
    listed = ", ".join([*STAGE_SECTIONS, _RUN, "retry"])
    shown.print(Text(f"\nrxpipe stages NAME: defaults, ranges and meanings. NAME is one of {listed}."))


def _heading(name: str, purpose: str) -> str:
    return f"{name}: {purpose}" if name else f"{purpose}, in no section: --set order=image"


def _print_registered(name: str | None) -> bool:
    """Print a registered stage with what it takes; return False if there is none of that name."""
    found = registered().get(name or "")
    if found is None:
        return False
    shown = Console()
    shown.print(Text(plain(f"{found.name} of {found.package}: {found.summary}", shown.encoding), style="bold"))
    rows = Table.grid(padding=(0, 2))
    for each in found.parameters.values():
        default = "needed" if each.default is each.empty else str(each.default)
        allowed = "" if each.annotation is each.empty else str(getattr(each.annotation, "__name__", each.annotation))
        rows.add_row(*(Text(plain(cell, shown.encoding)) for cell in (f"  {each.name}", default, allowed)))
    shown.print(rows)
    return True


def print_schema() -> None:
    """The JSON schema of a config file."""
    typer.echo(json.dumps(schema_of(PipelineConfig)))


def _print_section(shown: Console, name: str, *, first: bool) -> None:
    model, purpose = TABLES[name]
    if not first:
        shown.print()
    shown.print(Text(plain(_heading(name, purpose), shown.encoding), style="bold"))
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
        if name not in STAGE_SECTIONS:
            default = "needed" if name in needed else _default(field.get("default", {}))
            yield name, default, _allowed(field), field.get("description", "")


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
