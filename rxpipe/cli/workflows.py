"""ComfyUI workflows on the command line: where settings go in one, and the stages of a config as one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rxpipe.backends import open_backend
from rxpipe.cli.options import RunOptions
from rxpipe.cli.outcome import problem
from rxpipe.config import WorkflowConfig
from rxpipe.config.bindings import OUTPUT, value_in
from rxpipe.config.graphs import described
from rxpipe.errors import ConfigError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rxpipe.config import PipelineConfig

_SHOWN = 48


def print_bindings(file: Path, bind: Sequence[str]) -> None:
    """Print where the settings of a stage go in a workflow, what stands there, and what is not bound and why.

    Raises:
        ConfigError: the file is no workflow that can be run, or a binding names nothing.
    """
    config = RunOptions(workflow=file, bind=bind).runs()[0].config.workflow
    if not isinstance(config, WorkflowConfig):
        raise ConfigError([f"{file}: no workflow"])
    found, table = config.bindings, Table(box=None, pad_edge=False)
    for head in ("setting", "goes to", "found", "in the file"):
        table.add_column(head, overflow="fold")
    for name, binding in found.bound.items():
        places = ", ".join(str(target) for target in binding.targets)
        node = described(config.nodes, binding.targets[0].node)
        value = "" if name == OUTPUT else json.dumps(value_in(config.nodes, binding), ensure_ascii=False)
        cells = (name, f"{places}  {node}", binding.how, cut(value, _SHOWN))
        table.add_row(*(Text(cell) for cell in cells))
    shown = Console()
    shown.print(table)
    for name, why in found.unbound.items():
        typer.echo(f"{name}: not bound, {why}")
    typer.echo(f"\nTo try it: rxpipe run --workflow {file} --dry-run")


def export_runs(configs: Sequence[PipelineConfig], backend: str, path: Path) -> None:
    """Write the stages of a config as one workflow, by the names of a ComfyUI server.

    Raises:
        ConfigError: the backend is no ComfyUI, there are several runs, or the file cannot be written.
        BackendError: the server does not answer, or lacks something.
    """
    if len(configs) != 1:
        raise ConfigError([f"--export-comfyui: {len(configs)} runs; give one config"])
    with open_backend(backend) as opened:
        from rxpipe.backends.comfyui.backend import ComfyUIBackend  # noqa: PLC0415  # HTTP only where it is used

        if not isinstance(opened, ComfyUIBackend):
            raise ConfigError(
                [f"--export-comfyui: needs a ComfyUI, and --backend {backend} gives none"],
                hint="Start a ComfyUI, or give the address of one: --backend comfyui://127.0.0.1:8188.",
            )
        nodes, warnings = opened.export(build_stage_execution_plan(configs[0]))
    try:
        path.write_text(json.dumps(nodes, indent=1) + "\n", "utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from error
    for warning in warnings:
        problem(f"warning: {warning}")
    typer.echo(f"{path}: {len(nodes)} nodes; ComfyUI opens it with Workflow > Open")
