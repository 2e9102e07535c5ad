"""The runs that the options of `rxpipe run` describe: checked before any of them runs, then printed or run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import typer

from rxpipe.cli.outcome import Exit, problem
from rxpipe.config import CustomConfig
from rxpipe.errors import BadImage, ConfigError, PlanError, SaveError
from rxpipe.plan import build_stage_execution_plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rxpipe.cli.options import PlannedRun
    from rxpipe.config import PipelineConfig
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.variants.source import Variants


def check_run(run: PlannedRun) -> None:
    """Reject what cannot run: a wrong order of stages, inputs and masks that are not pictures, no folder to save in.

    Raises:
        PlanError, BadImage, ConfigError: names what and why.
    """
    try:
        plan, variants = _planned(run.config)
        plan.check(variants)
    except PlanError as error:
        if not run.file:
            raise
        raise PlanError(f"{run.file}: {error.message}", hint=error.hint) from error
    if any(getattr(stage.config, "mask", None) for stage in plan.stages):
        from rxpipe.backends.masks import check_masks  # noqa: PLC0415  # Pillow's drawing is loaded for masks only

        check_masks(plan)
    if run.config.input:
        _check_inputs(run.config.input)
    if run.config.out is not None:
        check_out(run.config.out)
    if run.config.name is not None:
        from rxpipe.sinks.names import NamePattern  # noqa: PLC0415  # loaded for a pattern only

        NamePattern(run.config.name)


def _planned(config: PipelineConfig) -> tuple[StageExecutionPlan, Variants | None]:
    """Return the plan and the variants of a config, as its chain has them."""
    plan = build_stage_execution_plan(config)
    if any(isinstance(stage.config, CustomConfig) for stage in plan.stages):
        from rxpipe.chains import build_chain  # noqa: PLC0415  # loaded for functions, which check their arguments

        chain = build_chain(config)
        return chain.plan, chain.variants
    if plan.settings.variants is None:
        return plan, None
    from rxpipe.variants.source import Variants  # noqa: PLC0415  # loaded for variants only

    variants = Variants(plan, plan.settings.variants)
    return plan.model_copy(update={"images": variants.count}), variants


def check_out(folder: Path) -> None:
    """Reject a folder that pictures cannot be saved in.

    Raises:
        ConfigError: names what is in the way.
    """
    from rxpipe.sinks.folder import check_folder  # noqa: PLC0415  # loaded for a folder only

    try:
        check_folder(folder)
    except SaveError as error:
        raise ConfigError([error.message], hint=error.hint) from error


def _check_inputs(paths: Sequence[Path]) -> None:
    from rxpipe.pictures.metadata import read_info  # noqa: PLC0415  # loaded for input pictures only

    for path in paths:
        if damage := read_info(path).damage:
            raise BadImage(f"{path}: {damage}", hint="Fetch or render it again.")


def report_unused(run: PlannedRun, *, variants: bool | None) -> None:
    """Print on stderr what of a file is not carried over, and that a prompt with alternatives is drawn as it stands.

    Args:
        run: of any source.
        variants: whether alternatives were asked for; None: neither that nor the contrary.
    """
    if run.left:
        head = f"{run.name}: " if run.name else ""
        problem(f"{head}not carried over: {', '.join(run.left)}")
    if run.config.variants is not None or variants is False or not run.kind:
        return
    from rxpipe.variants.syntax import has_syntax  # noqa: PLC0415  # loaded for a file only

    section = run.config.txt2img or run.config.img2img
    if section is not None and has_syntax(section.prompt or ""):
        problem(f"{run.name or 'the prompt'}: is drawn as it stands; --variants draws its alternatives")


def print_run(run: PlannedRun, *, as_json: bool) -> None:
    """Print the plan and its variants: as tables, or as one line of JSON."""
    plan, found = _planned(run.config)
    variants = found.seeded(plan.seed or 0) if found else None
    if as_json:
        dumped = plan.model_dump(mode="json")
        listed = [] if variants is None else [{"number": each.number, **each.values} for each in variants]
        typer.echo(json.dumps(dumped if variants is None else {**dumped, "variants": listed}))
        return
    from rxpipe.cli.tables import print_plan, print_variants  # noqa: PLC0415  # rich's tables are loaded for them only

    if run.name:
        typer.echo(f"{run.name}:")
    print_plan(plan)
    if variants is not None:
        print_variants(variants)


def start_runs(
    runs: Sequence[PlannedRun],
    backend: str,
    options: Mapping[str, Any],
    store: Path | None,
    *,
    no_store: bool,
    as_json: bool,
    verbose: bool,
    grid: bool,
) -> Exit:
    """Run one after another, and return what the program exits with.

    Args:
        runs: checked.
        backend: as `open_backend` takes it, with its *options*.
        store: where they are recorded; None: in the user's data folder.
        no_store: whether they are not recorded.
        as_json: whether events are printed as JSON. verbose: whether every event is printed.
        grid: whether a sheet of the variants is drawn.

    Raises:
        ConfigError: options that contradict each other.
        BackendError, PlanError: it cannot be opened, or does not run them.
    """
    from rxpipe.backends import open_backend  # noqa: PLC0415  # backends are loaded for a run only
    from rxpipe.cli.running import run_configs  # noqa: PLC0415  # the executor is loaded for a run only
    from rxpipe.store.reading import Store, default_store  # noqa: PLC0415  # as above

    if no_store and store is not None:
        raise ConfigError(["--store and --no-store contradict each other; give one of them"])
    if "pace_s" in options and backend not in {"auto", "embedded"}:
        raise ConfigError([f"--pace: {backend} has its own speed; only the embedded backend takes a pace"])
    kept = None if no_store else default_store() if store is None else Store(store)
    opened = open_backend("embedded" if "pace_s" in options else backend, **options)
    configs = [(each.name, each.config) for each in runs]
    return run_configs(configs, opened, kept, as_json=as_json, verbose=verbose, grid=grid)
