"""What the commands about earlier runs do: resume, rerun, runs, show, report, watch."""

from __future__ import annotations

import contextlib
import json
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.backends import open_backend
from rxpipe.cli.continuing import chosen_text
from rxpipe.cli.outcome import Exit, problem
from rxpipe.cli.planned import check_out
from rxpipe.cli.running import JsonLines, run_one, until_interrupted
from rxpipe.cli.tables import print_line, print_pairs, print_stages
from rxpipe.config import SECTIONS, CustomConfig, PipelineConfig
from rxpipe.errors import ConfigError, ResumeError, suggestion
from rxpipe.presets import dump
from rxpipe.presets.options import apply, check_twice
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.shown import cut, plain
from rxpipe.store.following import follow
from rxpipe.store.pictures import PictureDigests
from rxpipe.store.reading import Store, default_store
from rxpipe.store.rebuilding import rebuild
from rxpipe.store.resuming import plan_of, resumable
from rxpipe.views.console import ConsoleView
from rxpipe.views.palette import duration_text
from rxpipe.views.report import report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.store.records import RunSummary, StoredRun

_STATUSES = ("running", "interrupted", "completed", "partial", "failed", "cancelled", "rebuilt")
_PROMPT = 60  # characters of it in a list


def store_at(path: Path | None) -> Store:
    """Return the store of that path, else the user's.

    Raises:
        ConfigError: it is switched off.
    """
    found = default_store() if path is None else Store(path)
    if found is None:
        raise ConfigError(["RXPIPE_STORE switches the store of runs off; name one with --store PATH"])
    return found


def resume_run(name: str | None, backend: str | None, path: Path | None, *, as_json: bool, verbose: bool) -> Exit:
    """Continue a run to its end and print it as `run` does.

    Raises:
        ResumeError: there is none to resume, or it cannot be. StoreError: there is no such run.
    """
    store = store_at(path)
    found = store.latest(unfinished=True) if name is None else store.find(name)
    if found is None:
        raise ResumeError(f"the store {store.path} has no unfinished run.", hint="`rxpipe runs` lists those it has.")
    if found.status == "completed" and _is_intact(store, found.run_id):
        typer.echo(f"run {found.run_id} is complete, and its pictures are intact")
        return Exit.COMPLETED
    resumable(store, found.run_id)  # before a backend is looked for
    opened = open_backend(backend or found.backend_spec or None)
    why = f" ({chosen_text(store, found)})" if name is None else ""
    title = f"resuming {found.run_id}{why}, attempt {found.attempt + 1}"
    with contextlib.closing(opened):
        return run_one(
            title, lambda executor: executor.resume(found.run_id), opened, store, as_json=as_json, verbose=verbose
        )


def _is_intact(store: Store, run_id: str) -> bool:
    """Whether the last picture of each image of a run is as it was written."""
    digests = PictureDigests()
    cells = store.cells(run_id, last=True, skip_damaged=True)
    return all(cell.path is None or digests.is_intact(cell.path, cell.digest) for cell in cells)


def run_again(  # the options of the command
    name: str,
    assignments: Sequence[str],
    backend: str | None,
    out: Path | None,
    path: Path | None,
    *,
    as_json: bool,
    verbose: bool,
) -> Exit:
    """Run a run again with changes, or the image of one of its pictures; print it as `run` does.

    Raises:
        StoreError: there is no such run. ResumeError: its plan is not known, or has stages of one's own.
        ConfigError: a change is wrong.
    """
    store = store_at(path)
    cell = store.cell_of_file(name)
    if cell is None and Path(name).is_file():
        raise ConfigError(
            [f"{name}: no run of the store {store.path} has drawn it"], hint=f"To draw it again: rxpipe run {name}"
        )
    found = store.find(name)
    run = store.run(found.run_id)
    image = None if cell is None else (cell.image_number, cell.seed)
    config = _config_again(run, assignments, out, image)
    if config.out is not None:
        check_out(config.out)
    opened = open_backend(backend or found.backend_spec or None)
    with contextlib.closing(opened):
        return run_one(
            f"{found.run_id} again",
            lambda executor: executor.start(config, reuse=found.run_id),
            opened,
            store,
            as_json=as_json,
            verbose=verbose,
        )


def _config_again(
    run: StoredRun, assignments: Sequence[str], out: Path | None, image: tuple[int, int | None] | None
) -> PipelineConfig:
    """Return the config of a run with changes; of one image of it, if its number and seed are given."""
    plan = plan_of(run)
    own = tuple(stage.config.name for stage in plan.stages if isinstance(stage.config, CustomConfig))
    if own:
        raise ResumeError(
            f"run {run.summary.run_id} has stages of your own ({', '.join(own)}), whose functions no store holds.",
            hint="In code: runner.run(chain(...), reuse=RUN_ID).",
            stages=own,
        )
    names = [str(name) for name in plan.stage_types]
    if names != [name for name in SECTIONS if name in names]:
        raise ResumeError(
            f"run {run.summary.run_id} was composed in code, as {', '.join(names)}, which no config can say.",
            hint="In code: runner.run(chain(...), reuse=RUN_ID).",
        )
    check_twice(assignments)
    values: dict[str, Any] = dump(plan)
    values.get("metadata", {}).pop("run_id", None)
    values |= {} if out is None else {"out": str(out)}
    values |= {"input": [str(path) for path in plan.settings.input]} if plan.settings.input else {}
    if image is not None:
        _narrow(values, plan.images, image)
    return PipelineConfig.from_mapping(apply(values, sets=assignments, stages=names))


def _narrow(values: dict[str, Any], images: int, image: tuple[int, int | None]) -> None:
    """Leave one image of a run's config."""
    number, seed = image
    first = values["txt2img"] if "txt2img" in values else values.get("img2img", {})
    if inputs := values.get("input"):
        values["input"] = [inputs[(number - 1) // (images // len(inputs))]]
    if "txt2img" in values or "images" in first:
        first["images"] = 1
    if seed is not None and first:
        first["seed"] = seed


def list_runs(path: Path | None, *, rebuild_from: Path | None, as_json: bool, **conditions: Any) -> None:
    """Print the runs for which all conditions hold, the newest first; see `Store.runs`.

    Raises:
        StoreError: the store cannot be read. ConfigError: a folder to rebuild from is none.
    """
    store = store_at(path)
    if conditions.get("status") not in {None, *_STATUSES}:
        raise ConfigError([f"--status: got {conditions['status']!r}; {suggestion(conditions['status'], _STATUSES)}"])
    if rebuild_from is not None:
        if not rebuild_from.is_dir():
            raise ConfigError([f"--rebuild {rebuild_from}: there is no such folder"])
        entered, pictures = rebuild(store, rebuild_from)
        if not as_json:
            typer.echo(f"{entered} runs with {pictures} pictures entered from {rebuild_from}")
    found = store.runs(**conditions)
    if as_json:
        for run in found:
            typer.echo(json.dumps(_plain(run)))
        return
    if not found:
        narrowed = any(conditions[name] for name in conditions if name != "limit")
        print_line(Console(), "no such run" if narrowed else f"no run yet in {store.path}")
        return
    _print_runs(found)


def _print_runs(found: Sequence[RunSummary]) -> None:
    shown = Console()
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("run", "begun", "status", "images", "stages", "prompt"):
        rows.add_column(title, no_wrap=True, overflow="ellipsis", min_width=20 if title == "run" else None)
    for run in found:
        rows.add_row(*(Text(plain(text, shown.encoding)) for text in _columns(run)))
    if not shown.is_terminal:
        shown.width = 10_000  # a pipe gets every column whole
    shown.print(rows)


def _columns(run: RunSummary) -> tuple[str, ...]:
    done = f"{run.done} of {run.images}" if run.ended else f"of {run.images}"
    prompt = cut(" ".join(run.prompt.split()), _PROMPT)
    begun = f"{run.began.astimezone():%Y-%m-%d %H:%M}"
    return run.run_id, begun, run.status, done, "+".join(run.stages), prompt


def show_run(name: str, path: Path | None, *, images: int, as_json: bool) -> None:
    """Print one run. Raises StoreError if there is no such run, or the store cannot be read."""
    store = store_at(path)
    summary = store.find(name)
    run = store.run(summary.run_id)
    last = store.cells(summary.run_id, last=True, limit=None if as_json else images + 1)
    if as_json:
        values = _plain(run)
        values["plan"] = None if run.plan is None else dump(run.plan)
        values["images"] = [_plain(cell) for cell in last]
        typer.echo(json.dumps(values))
        return
    shown = Console()
    print_pairs(shown, _facts(run))
    if run.plan is not None:
        print_stages(shown, run.plan)
    _print_timings(shown, run)
    for cell in last[:images]:
        where = str(cell.path) if cell.path is not None else "no file"
        error = f": {cell.error.message}" if cell.error is not None else ""
        print_line(
            shown, f"image {cell.image_number}  seed {cell.seed}  {cell.stage_type} {cell.outcome}  {where}{error}"
        )
    if len(last) > images:
        print_line(shown, f"and more; --images {summary.images} lists them all")
    if summary.unfinished:
        print_line(shown, f"To continue: {_resuming(summary, store)}")


def _resuming(run: RunSummary, store: Store) -> str:
    """Return the command that continues a run."""
    usual = default_store()
    where = "" if usual is not None and usual.path == store.path else f" --store {shlex.quote(str(store.path))}"
    return f"rxpipe resume {run.run_id}{where}"


def _facts(run: StoredRun) -> list[tuple[str, str]]:
    summary = run.summary
    counts = ("done", "failed", "cancelled", "filtered")
    ended = ", ".join(f"{count} {what}" for what in counts if (count := getattr(summary, what)))
    took = "" if summary.duration_s is None or summary.status == "rebuilt" else f", {duration_text(summary.duration_s)}"
    attempt = f", attempt {summary.attempt}" if summary.attempt > 1 else ""
    return [
        ("run", summary.run_id),
        ("status", f"{summary.status}{attempt}"),
        ("begun", f"{summary.began.astimezone():%Y-%m-%d %H:%M:%S}{took}"),
        ("images", f"{summary.images}" + (f": {ended}" if ended else "")),
        ("seed", "" if summary.seed is None else str(summary.seed)),
        ("prompt", summary.prompt),
        ("negative prompt", summary.negative_prompt),
        ("backend", summary.backend_spec or summary.backend),
        ("files", str(summary.out or "")),
        ("run again from", summary.parent or ""),
        ("error", str(summary.error or "")),
        ("warnings", "; ".join(summary.warnings)),
        ("rxpipe", f"{summary.version} on {summary.host}" if summary.host else summary.version),
    ]


def _print_timings(shown: Console, run: StoredRun) -> None:
    """Print where the time went: a row a stage, the members of a pool below it."""
    if run.summary.status == "rebuilt":
        return  # pictures do not tell how long they took
    whole = sum(timing.total_s for timing in run.timings)
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("stage", "drawn", "kept", "time", "share", "a picture", "longest", "outcomes"):
        left = title in {"stage", "outcomes"}  # servers of one host differ at the end of their address
        rows.add_column(title, justify="left" if left else "right", overflow="fold" if left else "ellipsis")
    for timing in run.timings:
        mean = "" if timing.mean_s is None else f"{timing.mean_s:.1f} s"
        share = f"{timing.total_s / whole:.0%}" if whole else ""
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in timing.outcomes.items())
        values = (
            *(str(timing.stage_type), str(timing.drawn), str(timing.recalled or "")),
            *(duration_text(timing.total_s), share, mean, f"{timing.longest_s:.1f} s", outcomes),
        )
        rows.add_row(*(Text(plain(value, shown.encoding)) for value in values))
        for server, seconds in timing.servers.items():
            text = Text(plain(f"  {server}", shown.encoding), style="dim")
            rows.add_row(text, "", "", duration_text(seconds), "", "", "", "")
    if run.timings:
        shown.print(rows)


def report_run(name: str, path: Path | None, out: Path | None, trace: Path | None) -> None:
    """Write a run as a page, and as a trace if a file is named for it; print where they are.

    Raises:
        StoreError, ConfigError, SaveError: as of `rxpipe.report`.
    """
    page = report(name, out, trace=trace, store=store_at(path))
    typer.echo(str(page))
    if trace is not None:
        typer.echo(f"{trace}  (https://ui.perfetto.dev opens it)")


def watch_run(name: str | None, path: Path | None, *, as_json: bool, verbose: bool) -> Exit:
    """Show a run as it runs in another process, until it ends or Ctrl+C.

    Raises:
        StoreError: there is no run, or the store cannot be read. ResumeError: of the run only the pictures are left.
    """
    store = store_at(path)
    found = store.find(name or "last")
    if found.status == "rebuilt":
        raise ResumeError(
            f"run {found.run_id} is known from its pictures only, which do not tell how it ran.",
            hint=f"`rxpipe show {found.run_id}` shows them.",
        )
    view = ConsoleView(verbose=verbose)
    output = JsonLines() if as_json else view
    worker = WorkerScheduler("rxpipe-watch")
    with contextlib.closing(view), contextlib.closing(worker):
        code = until_interrupted(follow(store, found.run_id), output, worker, live=view.live and not as_json)
    left = store.run(found.run_id).summary
    if left.status == "interrupted":
        hint = f" To continue: {_resuming(left, store)}" if left.unfinished else ""
        problem(f"run {left.run_id} has no end: its process is gone.{hint}")
        return Exit.FAILED
    return code


def _plain(record: Any) -> dict[str, Any]:
    """Return a record as JSON values."""

    def value(item: object) -> object:
        if hasattr(item, "model_dump"):
            return item.model_dump(mode="json")
        return item.isoformat() if hasattr(item, "isoformat") else str(item)

    fields: dict[str, Any] = asdict(record) if not hasattr(record, "plan") else _of_run(record)
    plain_values: dict[str, Any] = json.loads(json.dumps(fields, default=value))
    return plain_values


def _of_run(run: StoredRun) -> dict[str, Any]:
    """Return the fields of a run but for its plan."""
    return {
        **asdict(run.summary),
        "timings": [asdict(timing) for timing in run.timings],
        "cells": run.cells,
        "events": run.events,
    }
