"""What `rxpipe rate` and `rxpipe learn` do: ratings as learning records, and what they tell."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.cli.history import store_at
from rxpipe.errors import StoreError
from rxpipe.shown import plain
from rxpipe.sinks.learning import LearningRecord, LearningRecordWriter, VariantRecord, latest_records
from rxpipe.sinks.ratings import rated, summary_of_ratings

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rxpipe.store.records import CellRecord, RunSummary


def rate(name: str, stars: int, tags: Sequence[str], path: Path | None) -> None:
    """Rate a run or a picture: a learning record that supersedes the run's earlier one, and a mark in the store.

    Raises:
        StoreError: there is no such run, or it has not ended; or the store cannot be read or written.
    """
    store = store_at(path)
    run, cell = store.find(name), store.cell_of_file(name)
    image = None if cell is None else cell.artifact_id
    if cell is not None and cell.run_id != run.run_id:
        run = store.run(cell.run_id).summary
    result = store.result(run.run_id)
    if run.status != "rebuilt" and result.status in {"pending", "running"}:
        raise StoreError(f"run {run.run_id} has not ended ({run.status}).", hint="Rate it once it has.")
    writer = LearningRecordWriter()
    earlier = latest_records(writer.path).get(run.run_id)
    if earlier is None and run.status == "rebuilt":
        earlier = _of_pictures(run, store.cells(run.run_id, last=True))
    record = rated(earlier, result, stars=stars, tags=tags, image=image)
    writer.write(record)
    images = [image] if image else [variant.image for variant in record.variants if variant.paths]
    for each in images:
        store.mark(run.run_id, each, rating=stars, tags=tags or None)
    count = f"{len(images)} image{'s' if len(images) != 1 else ''}"
    what = f"image {cell.image_number} of run {run.run_id}" if cell else f"run {run.run_id}, {count}"
    typer.echo(f"{what}: {stars} of 5{', ' + ', '.join(tags) if tags else ''}")


def _of_pictures(run: RunSummary, cells: Sequence[CellRecord]) -> LearningRecord:
    """Return the record of a run that is known from its pictures only."""
    paths = [cell.path for cell in cells if cell.path is not None]
    return LearningRecord(
        run_id=run.run_id,
        timestamp=run.ended or run.began,
        stages=run.stages,
        variants=tuple(
            VariantRecord(
                image=cell.artifact_id,
                seed=cell.seed,
                outcome=cell.outcome,
                paths=() if cell.path is None else (cell.path,),
            )
            for cell in cells
        ),
        primary_model=run.model,
        sampler=run.sampler,
        scheduler=run.scheduler,
        steps=run.steps,
        cfg_scale=run.cfg_scale,
        outputs=tuple(paths),
    )


def print_summary(*, least: int, as_json: bool) -> None:
    """Print which settings were rated best, with counts."""
    records = latest_records(LearningRecordWriter().path).values()
    found = summary_of_ratings(records, least=least)
    if as_json:
        typer.echo(json.dumps(found))
        return
    if not any(found.values()):
        typer.echo("nothing is rated yet: rxpipe rate RUN|PICTURE 1..5")
        return
    shown = Console()
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("setting", "value", "rating", "images"):
        rows.add_column(title, justify="right" if title in {"rating", "images"} else "left")
    for setting, values in found.items():
        for number, (value, mean, count) in enumerate(values):
            texts = (setting if number == 0 else "", str(value), f"{mean:.1f}", str(count))
            rows.add_row(*(Text(plain(text, shown.encoding)) for text in texts))
    shown.print(rows)
