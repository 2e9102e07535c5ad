"""Checks of a plan before it runs: the server answers and has an API, has every name, and no result is too large."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rxpipe.backends.base import LeftOut
from rxpipe.backends.catalog import CatalogItem, find, nearest
from rxpipe.backends.masks import check_masks
from rxpipe.backends.sizes import sizes
from rxpipe.backends.webui.names import LORA, WebUICatalog, fetch_catalog, kinds_of, prompts_of, read_optional
from rxpipe.backends.webui.options import format_warnings, read_options
from rxpipe.backends.webui.outputs import check_request, overrides_of
from rxpipe.config import CustomConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BackendFailed, BackendRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.progress import ProgressClient
    from rxpipe.plan import StageExecution, StageExecutionPlan


def check_plan(
    connection: Connection, progress_client: ProgressClient, plan: StageExecutionPlan, *, timeout_s: float
) -> tuple[WebUICatalog, tuple[str, ...]]:
    """Return what the server has of the names in the plan, and warnings.

    Raises:
        BackendUnavailable: no answer.
        BackendRejected: no API, credentials refused, unknown names (all of them together), or a result too large.
    """
    progress_client.read_server(connection, timeout_s=timeout_s)
    progress_client.probe(connection, timeout_s=timeout_s)
    catalog = fetch_catalog(connection, kinds_of(plan), timeout_s=timeout_s)
    problems = [*catalog.problems(plan), *_unknown_scripts(connection, plan, timeout_s)]
    if problems:
        sentences = (problem if problem.endswith("?") else f"{problem}." for problem in problems)
        raise BackendRejected("\n".join(sentences), hint="`rxpipe doctor` lists what the server has.")
    ignored = [_ignored(stage, check_request(stage, catalog), catalog) for stage in plan.stages]
    check_masks(plan)
    sizes(plan)
    options = read_options(connection, timeout_s=timeout_s)
    _check_frames(plan, catalog, options)
    found = (
        _warnings(plan, catalog)
        + _misses(plan, catalog)
        + format_warnings(options)
        + _ignoring(plan, catalog, options)
        + _restoring(plan, options)
    )
    return catalog, (*found, *(warning for warning in ignored if warning), *unread_warnings(catalog))


def _unknown_scripts(connection: Connection, plan: StageExecutionPlan, timeout_s: float) -> list[str]:
    """Return one line for each script that a stage names and the server does not have; it would refuse the request."""
    wanted = [(stage, name) for stage in plan.stages for name in _scripts_of(stage)]
    try:
        listed = read_optional(connection, "/sdapi/v1/scripts", timeout_s=timeout_s) if wanted else None
    except BackendFailed:
        listed = None
    lines = []
    for stage, name in wanted:
        tab = "txt2img" if isinstance(stage.config, Txt2ImgConfig) else "img2img"
        known = listed.get(tab) if isinstance(listed, dict) else None
        items = [CatalogItem(str(one)) for one in known] if isinstance(known, list) else None
        if items is not None and name.casefold() not in {item.name.casefold() for item in items}:
            lines.append(f"{stage.stage_type}: the server has no script {name!r}; {nearest(items, name)}")
    return lines


def _scripts_of(stage: StageExecution) -> list[str]:
    """Return the scripts that the requests of a stage name."""
    config, payload = stage.config, getattr(stage.config, "payload", {})
    if isinstance(config, CustomConfig) or (isinstance(config, UpscaleConfig) and config.mode != "img2img"):
        return []
    further = payload.get("alwayson_scripts")
    script = payload.get("script_name")
    names = [*config.alwayson_scripts, *(further if isinstance(further, dict) else ())]
    return list(dict.fromkeys([*names, *([script] if isinstance(script, str) and script else ())]))


def overrides_in(plan: StageExecutionPlan, catalog: WebUICatalog) -> dict[str, Any]:
    """Return the server's options that requests of a plan override, unless the server restores all of them."""
    if catalog.flavour.restores_options:
        return {}
    return {name: value for stage in plan.stages for name, value in overrides_of(stage, catalog).items()}


def unread_warnings(catalog: WebUICatalog) -> list[str]:
    """Return a warning for each list that the server fails to answer."""
    return [f"the server fails to list its {kind}, so their names are not looked up" for kind in catalog.unread]


def _ignored(stage: StageExecution, fields: tuple[str, ...], catalog: WebUICatalog) -> str:
    return f"{stage.stage_type}: {catalog.flavour.name} has no {', '.join(fields)} and ignores it" if fields else ""


def _check_frames(plan: StageExecutionPlan, catalog: WebUICatalog, options: Mapping[str, object]) -> None:
    """Raise where a batch would be the frames of one picture.

    Raises:
        BackendRejected: a model for videos, and a batch.
    """
    pattern = catalog.flavour.frames
    for stage in plan.stages if pattern else ():
        model = str(stage.generation.model or options.get("sd_model_checkpoint") or "")
        if isinstance(stage.config, Txt2ImgConfig) and stage.config.batch_size > 1 and re.search(pattern, model):
            raise BackendRejected(
                f"txt2img.batch_size is {stage.config.batch_size}: with {model!r} {catalog.flavour.name} takes it as "
                "a number of frames.",
                hint="Set batch_size to 1; images says how many there are.",
            )


def _ignoring(plan: StageExecutionPlan, catalog: WebUICatalog, options: Mapping[str, object]) -> list[str]:
    """Return a warning for each option of the server by which it ignores what requests override."""
    overridden = [name for stage in plan.stages for name in overrides_of(stage, catalog)]
    return [
        f"the server's option {name} is on: it ignores {', '.join(dict.fromkeys(overridden))} of the requests"
        for name in catalog.flavour.ignoring
        if options.get(name) and overridden
    ]


def _restoring(plan: StageExecutionPlan, options: Mapping[str, object]) -> list[str]:
    """Return a warning where faces are to be restored and the server's options name nothing for it."""
    asked = any(isinstance(stage.config, Txt2ImgConfig) and stage.config.restore_faces for stage in plan.stages)
    if not asked or options.get("face_restoration_model", "unknown"):
        return []
    return ["txt2img.restore_faces has no effect: the server's option face_restoration_model names none"]


def _misses(plan: StageExecutionPlan, catalog: WebUICatalog) -> list[str]:
    """Return warnings about what the server leaves out silently: styles and LoRAs that it does not have."""
    wanted: dict[tuple[str, str, str], None] = {}
    for stage in plan.stages:
        if isinstance(stage.config, Txt2ImgConfig):
            wanted |= dict.fromkeys(("styles", "style", name) for name in stage.config.styles)
        for prompt in prompts_of(stage):
            wanted |= dict.fromkeys(("loras", "LoRA", name) for name in LORA.findall(prompt))
    return [
        LeftOut(f"the server has no {what} {name!r} and leaves it out; {nearest(items, name).removesuffix('?')}")
        for kind, what, name in wanted
        if (items := catalog.items(kind)) is not None and find(items, name) is None
    ]


def _warnings(plan: StageExecutionPlan, catalog: WebUICatalog) -> list[str]:
    return [*_of_vaes(plan, catalog), *(warning for stage in plan.stages for warning in _without_effect(stage))]


def _without_effect(stage: StageExecution) -> list[str]:
    config = stage.config
    if not isinstance(config, UpscaleConfig) or config.mode == "img2img":
        if "samples_format" not in getattr(config, "override_settings", ()):
            return []
        why = "a server encodes pictures after it has put its options back"
        return [f"{stage.stage_type}: override_settings.samples_format has no effect: {why}"]
    unused = [name for name in ("override_settings", "alwayson_scripts") if getattr(config, name)]
    return [f"{stage.stage_type}: {name} has no effect in mode single; set mode to img2img" for name in unused]


def _of_vaes(plan: StageExecutionPlan, catalog: WebUICatalog) -> list[str]:
    wanted = {stage.generation.vae or "None" for stage in plan.stages} - {"Automatic", "None"}
    if wanted and catalog.vaes is None:
        return [f"the server does not list its VAEs, so {', '.join(map(repr, sorted(wanted)))} was not looked up"]
    return []
