"""Looking at a plan before it runs: is somebody there, has it an API, does it know every name, is nothing too large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.webui.names import ServerCatalogs, fetch_catalogs, kinds_of, problems_of
from rxpipe.backends.webui.payloads import Size, adetailer_unit, guard_size
from rxpipe.config import AdetailerConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendFailed, BackendRejected

if TYPE_CHECKING:
    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.progress import ProgressClient
    from rxpipe.plan import StageExecution, StageExecutionPlan


def check_plan(
    connection: Connection, progress_client: ProgressClient, plan: StageExecutionPlan, *, timeout_s: float
) -> tuple[ServerCatalogs, tuple[str, ...]]:
    """What the server knows of the plan's names, and warnings.

    Raises:
        BackendUnavailable: nobody answers.
        BackendRejected: no API, credentials refused, unknown names (all of them at once), or a result too large.
    """
    progress_client.read_server(connection, timeout_s=timeout_s)
    progress_client.probe(connection, timeout_s=timeout_s)
    catalogs = fetch_catalogs(connection, kinds_of(plan), timeout_s=timeout_s)
    problems = problems_of(plan, catalogs)
    if problems:
        sentences = (problem if problem.endswith("?") else f"{problem}." for problem in problems)
        raise BackendRejected("\n".join(sentences), hint="`rxpipe doctor` lists what the server has.")
    for stage in plan.stages:
        _check_units(stage, catalogs)
    _check_sizes(plan)
    return catalogs, tuple(_warnings(plan, catalogs))


def _check_units(stage: StageExecution, catalogs: ServerCatalogs) -> None:
    if isinstance(stage.config, AdetailerConfig):
        for unit in (stage.config, *stage.config.units):
            adetailer_unit(unit, catalogs.unit_schema)


def _check_sizes(plan: StageExecutionPlan) -> None:
    """Follow the picture's size through the plan, as far as it is known beforehand."""
    size: Size | None = None
    for stage in plan.stages:
        config, generation = stage.config, stage.generation
        if isinstance(config, Txt2ImgConfig):
            size = _first_size(config)
        elif isinstance(config, UpscaleConfig) and size is not None:
            try:
                size = guard_size(config, size)
            except BackendFailed as error:
                raise BackendRejected(error.message, hint=error.hint) from error
        elif generation.width and generation.height:
            size = Size(generation.width, generation.height)


def _first_size(config: Txt2ImgConfig) -> Size | None:
    size, hires = Size(config.width, config.height), config.hires
    if hires is None or not hires.enabled:
        return size
    return None if hires.resize_x or hires.resize_y else size.scaled(hires.scale)


def _warnings(plan: StageExecutionPlan, catalogs: ServerCatalogs) -> list[str]:
    wanted = {stage.generation.vae or "None" for stage in plan.stages} - {"Automatic", "None"}
    if wanted and catalogs.vaes is None:
        return [f"the server does not list its VAEs, so {', '.join(map(repr, sorted(wanted)))} was not looked up"]
    return []
