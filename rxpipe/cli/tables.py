"""What the commands print: the plan of a run, a picture's metadata, the diagnosis of a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.config import UpscaleConfig
from rxpipe.shown import cut, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rxpipe.pictures.metadata import ImageInfo
    from rxpipe.plan import StageExecution, StageExecutionPlan
    from rxpipe.variants.source import Variants

_MOST, _LONGEST = 200, 10_000
"""Rows of a table, and characters of a cell: a hundred pages of a stranger's text. Laying out more takes minutes."""

_ORDERS = {
    "stage": "all pictures through one stage, then the next",
    "image": "each picture through all stages, then the next",
    "auto": "stages that share a checkpoint picture by picture, group after group",
}


def print_plan(plan: StageExecutionPlan) -> None:
    """Print the stages in order with the settings of each, and the order of the run."""
    settings = plan.settings
    shown = Console()
    print_stages(shown, plan)
    if settings.out is None:
        files = "none, the pictures stay in memory"
    else:
        files = f"{settings.out.absolute()}, {'of every stage' if settings.save == 'all' else 'the final ones only'}"
    print_pairs(
        shown,
        [
            ("pictures", str(plan.images)),
            ("seed", _seeds(plan)),
            ("input", ", ".join(str(path) for path in settings.input)),
            ("order", f"{settings.order}: {_ORDERS[settings.order]}{_chunks(plan)}"),
            ("files", files),
        ],
    )


def _seeds(plan: StageExecutionPlan) -> str:
    if plan.seed is None:
        return "by chance, when the run starts"
    seeds = plan.settings.variants.seeds if plan.settings.variants else "counted"
    steps = {"counted": "the next has one more", "fixed": "for all", "per_image": "the same for each variant"}
    return f"{plan.seed}, {steps[seeds]}"


def print_variants(variants: Variants) -> None:
    """Print each variant on a line: its number, and what it has on each axis."""
    for each in variants:
        values = ", ".join(f"{name}: {_said_value(value)}" for name, value in each.values.items())
        typer.echo(plain(f"  {each.number}  {values}", "utf-8"))


def _said_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _chunks(plan: StageExecutionPlan) -> str:
    chunked = plan.settings.order == "auto" and plan.stages[-1].group and plan.images > plan.settings.chunk
    return f", {plan.settings.chunk} pictures at a time" if chunked else ""


def print_stages(shown: Console, plan: StageExecutionPlan) -> None:
    """Print the stages in order with the settings of each."""
    rows = Table.grid(padding=(0, 2))
    for number, stage in enumerate(plan.stages, start=1):
        rows.add_row(*_cells(shown, str(number), stage.stage_type, _drawn_with(stage)))
    shown.print(rows)


def print_info(path: Path, info: ImageInfo) -> None:
    """Print one picture's format, size and metadata."""
    shown = Console()
    dialect = info.dialect or ("of an unknown tool" if info.texts else "none")
    print_line(shown, f"{path}: {info.format}, {info.width}x{info.height}, metadata {dialect}")
    pairs = [("prompt", info.prompt), ("negative prompt", info.negative_prompt), *info.settings.items()]
    pairs += [("LoRA", f"{name} {weight:g}") for name, weight in info.loras]
    pairs += [("drawn over", info.source), *(("takes part", each) for each in info.unread)]
    lineage = info.lineage
    if lineage is not None:
        pairs.append(("image", f"{lineage.id}, rxpipe {lineage.rxpipe}"))
        went = lineage.lineage
        pairs += [
            (f"{n}. {record.stage}", f"by {record.backend}: {_said(record.settings)}")
            for n, record in enumerate(went, 1)
        ]
        pairs += [(key, str(value)) for key, value in lineage.metadata.items()]
    pairs += [("not understood", problem) for problem in info.problems]
    pairs.append(("texts in the file", ", ".join(f"{cut(key)} ({len(text)})" for key, text in info.texts.items())))
    print_pairs(shown, [(cut(name), cut(value, _LONGEST)) for name, value in _most(pairs)], indent="  ")


def _most(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    more = len(pairs) - _MOST
    return pairs if more <= 0 else [*pairs[:_MOST], ("...", f"{more:,} more; --json prints all")]


def print_line(console: Console, text: str) -> None:
    """Print a line, neither wrapped nor coloured."""
    console.print(Text(plain(text, console.encoding)), soft_wrap=True)


def print_pairs(console: Console, pairs: Iterable[tuple[str, str]], indent: str = "") -> None:
    """Print names next to their values; names without a value are left out."""
    rows = Table.grid(padding=(0, 2))
    for name, value in pairs:
        if value:
            rows.add_row(*_cells(console, indent + name, value))
    if rows.row_count:
        console.print(rows)


def _cells(console: Console, *texts: str) -> Iterable[Text]:
    return (Text(plain(text, console.encoding)) for text in texts)


def _drawn_with(stage: StageExecution) -> str:
    generation = {name: value for name, value in stage.generation if value is not None}
    if isinstance(stage.config, UpscaleConfig) and stage.config.mode == "single":
        generation = {}  # a resize renders nothing
    known = type(stage.config).model_fields
    return _said({**{k: v for k, v in generation.items() if k in known}, **stage.payload}) or "as it is by default"


def _said(values: Mapping[str, Any]) -> str:
    given = ((name, value) for name, value in values.items() if value not in (None, "", (), [], {}))
    return ", ".join(f"{name} {_quoted(value)}" for name, value in given)


def _quoted(value: object) -> str:
    if isinstance(value, str):
        value = cut(value, _LONGEST)
        return f'"{value}"' if " " in value or "," in value else value
    return json.dumps(value, ensure_ascii=False, default=str)
