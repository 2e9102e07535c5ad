"""How a run that has not completed is continued, as commands to paste; and which one a bare `rxpipe resume` takes."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rxpipe.store.reading import default_store

if TYPE_CHECKING:
    from rxpipe.result import PipelineRunResult
    from rxpipe.store.reading import Store
    from rxpipe.store.records import RunSummary

__all__ = ["chosen_text", "how_to_continue"]

_LOOKED_AT = 100  # of the runs begun last
_OTHER_BACKEND = "rxpipe resume {run} --backend ADDRESS{where}"
_ADVICE = {
    "BackendUnavailable": "once it answers: rxpipe resume {run}{where}; on another backend: " + _OTHER_BACKEND,
    "BackendRejected": _OTHER_BACKEND,
    "MissingPackage": "once it is installed: rxpipe resume {run}{where}; on another backend: " + _OTHER_BACKEND,
    "SaveError": "rxpipe rerun {run} --out FOLDER{where}",
}
"""By the error of a run that drew nothing, since resumed as it is it would fail in the same way."""


def how_to_continue(result: PipelineRunResult, store: Store) -> str | None:
    """Return the command that continues a run, with what must change first; None for one that cannot be continued.

    Args:
        result: of a run that has not completed. store: that has recorded it.
    """
    if result.plan is None or result.plan.settings.out is None:
        return None
    usual = default_store()
    where = "" if usual is not None and usual.path == store.path else f" --store {shlex.quote(str(store.path))}"
    refused = _refused_setting(result)
    if refused is not None:
        return f"rxpipe rerun {result.run_id} --set {refused}=VALUE{where}"
    error = result.error.type if result.error is not None and not _has_drawn(result) else ""
    return _ADVICE.get(error, "rxpipe resume {run}{where}").format(run=result.run_id, where=where)


def _has_drawn(result: PipelineRunResult) -> bool:
    inputs = result.plan.settings.input if result.plan is not None else ()
    return any(image.path is not None and image.path not in inputs for image in result.images)


def _refused_setting(result: PipelineRunResult) -> str | None:
    """Return the setting that a run failed for because no server has its value, as --set names it."""
    error = result.error
    if error is None or error.type != "BackendRejected" or result.plan is None:
        return None
    stage, dot, rest = error.message.partition(".")
    key, colon, _ = rest.partition(":")
    return f"{stage}.{key}" if dot and colon and key.isidentifier() and stage in result.plan.stage_types else None


def chosen_text(store: Store, run: RunSummary) -> str:
    """Return why a run is the one that is resumed where none was named."""
    if run.status == "failed" and not store.cells(run.run_id):
        return f"the last unfinished run; it {run.status} before its first picture, and no other is unfinished"
    newer = [each for each in store.runs(limit=_LOOKED_AT) if each.unfinished and each.number > run.number]
    if not newer:
        return "the last unfinished run"
    others = f"run {newer[0].run_id}" if len(newer) == 1 else f"{len(newer)} runs"
    return f"the last unfinished run with a picture; {others} begun later failed before the first"
