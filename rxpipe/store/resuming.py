"""What a run needs in order to continue where it stood, or to be drawn again with changes."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.errors import ResumeError
from rxpipe.store.answers import Answers
from rxpipe.store.locks import RunLock, holder_text
from rxpipe.store.schema import translated

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from rxpipe.events import StageEvent
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.store.reading import Store
    from rxpipe.store.records import StoredRun

__all__ = ["Resumption", "check_identities", "plan_of", "resumable", "resumption", "taken_over"]


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a run takes over from an earlier one.

    run_id: of the run that is resumed; None for a new run that reuses pictures of another. attempt: of the run.
    seed: of its first image. config: digest of its plan, empty for a new one. answers: what need not be drawn.
    earlier: its events so far, without steps. parent: the run whose pictures are reused.
    lock: of the run that is resumed.
    """

    run_id: str | None
    attempt: int
    seed: int
    config: str
    answers: Answers
    earlier: tuple[StageEvent, ...] = ()
    parent: str | None = None
    lock: RunLock | None = None

    def release(self) -> None:
        """Give the run up that was to be resumed. Harmless twice."""
        if self.lock is not None:
            self.lock.release()

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the run has written so far; none of another run, and none that a person gave it."""
        if self.run_id is None:
            return ()
        return tuple(cell.path for cell in self.answers.cells if cell.path and cell.key and cell.outcome == "done")


def resumable(store: Store, run_id: str) -> tuple[StoredRun, StageExecutionPlan]:
    """Return a run and the plan that it is resumed with.

    Raises:
        ResumeError: it kept its pictures in memory, or is known from its pictures only.
        StoreError: the store cannot be read, or has no such run.
    """
    run = store.run(run_id)
    plan = plan_of(run)
    if plan.settings.out is None:
        raise ResumeError(
            f"run {run_id} kept its pictures in memory (out=None), and they went with its process.",
            hint="Run it again, with out= a folder if it is to be resumed.",
        )
    return run, plan


def plan_of(run: StoredRun) -> StageExecutionPlan:
    """Return the plan of a run; its relative paths are those of the folder in which it was begun.

    Raises:
        ResumeError: it is known from its pictures only.
    """
    if run.plan is None:
        raise ResumeError(
            f"run {run.summary.run_id} is known from its pictures only, which do not tell its whole plan.",
            hint="Draw a picture of it again: rxpipe run PICTURE.",
        )
    return _from_folder(run.plan, run.cwd)


def resumption(store: Store, run_id: str) -> Resumption:
    """Return what the next attempt of a run takes over from those before, and hold the run.

    Raises:
        ResumeError: another process, or another run of this one, runs it.
        StoreError: the store cannot be read, or its folder cannot be written.
    """
    with translated(store.path):
        lock = RunLock.acquire(store.path, run_id)
    if lock is None:
        raise ResumeError(
            f"run {run_id} is in progress: {holder_text(store.path, run_id)}.", hint="`rxpipe watch` shows it."
        )
    try:  # what was read before it was held may have changed
        run = store.run(run_id)
        return Resumption(
            run_id=run_id,
            attempt=run.summary.attempt + 1,
            seed=run.summary.seed or 0,
            config=run.config,
            answers=Answers(store.cells(run_id, skip_damaged=True), run_id),
            earlier=tuple(event for _, event in store.events(run_id, steps=False)),
            lock=lock,
        )
    except BaseException:
        lock.release()
        raise


def taken_over(store: Store, run_id: str) -> Resumption:
    """Return what a new run takes over from another one, and from those that this one took over from.

    Raises:
        StoreError: the store cannot be read, or has no such run.
    """
    summary = store.run(run_id).summary
    cells = store.cells(run_id, skip_damaged=True)
    return Resumption(None, 1, summary.seed or 0, "", Answers(cells, None), parent=run_id)


def check_identities(
    run: StoredRun,
    plan: StageExecutionPlan,
    identities: Mapping[int, Mapping[str, Any]],
    redraw: Collection[str] | bool,
) -> None:
    """Raise ResumeError unless the stages are those that the run was begun with.

    Args:
        run: as recorded. plan, identities: of the chain that is to resume it.
        redraw: names of custom stages whose code may differ, since their cells are to be drawn anew; True for all.
    """
    before, now = run.summary.stages, plan.stage_types
    if before != tuple(map(str, now)):
        gone = tuple(name for name in before if name not in now)
        raise ResumeError(
            f"run {run.summary.run_id} has the stages {', '.join(before)}; given: {', '.join(now)}.",
            hint=f"Missing: {', '.join(gone)}." if gone else "Give the same stages in the same order.",
            stages=gone,
        )
    changed = [n for n in range(len(before)) if run.identities.get(n, {}) != _plain(identities.get(n, {}))]
    refused = tuple(before[index] for index in changed if redraw is not True and before[index] not in (redraw or ()))
    if refused:
        kept = {index: run.identities.get(index, {}) for index in changed}
        where = "; ".join(
            f"{before[index]} (stage {index + 1}, function {known.get('function', '?')} of {known.get('module', '?')})"
            for index, known in kept.items()
            if before[index] in refused
        )
        names = ", ".join(map(repr, refused))
        raise ResumeError(
            f"run {run.summary.run_id}: the code or the arguments of these stages changed since: {where}.",
            hint=f"Give redraw=[{names}] to draw their images and what follows from them anew, or restore the code.",
            stages=refused,
        )


def _plain(identity: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an identity as a store holds it."""
    plain: Mapping[str, Any] = json.loads(json.dumps(dict(identity), default=str))
    return plain


def _from_folder(plan: StageExecutionPlan, folder: Path | None) -> StageExecutionPlan:
    """Return the plan with the paths that were relative to *folder*, if that is not the working directory."""
    if folder is None or os.path.realpath(folder) == os.path.realpath(Path.cwd()):
        return plan
    settings = plan.settings
    changes: dict[str, Any] = {"input": tuple(folder / path.expanduser() for path in settings.input)}
    if settings.variants is not None:
        wildcards = tuple(folder / path.expanduser() for path in settings.variants.wildcards)
        changes["variants"] = settings.variants.model_copy(update={"wildcards": wildcards})
    if settings.out is not None:
        changes["out"] = folder / settings.out.expanduser()
    stages = tuple(
        stage.model_copy(update={"config": stage.config.model_copy(update={"mask": folder / mask})})
        if (mask := getattr(stage.config, "mask", None)) is not None
        else stage
        for stage in plan.stages
    )
    return plan.model_copy(update={"stages": stages, "settings": settings.model_copy(update=changes)})
