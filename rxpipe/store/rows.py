"""Rows: what a journal writes of a run and of its cells, as the values of their columns."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.config import CustomConfig
from rxpipe.store.plans import plan_to_text
from rxpipe.store.records import PLAN_COLUMNS, checksum, to_bytes, to_integer, to_text
from rxpipe.store.schema import has_search

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution, StageExecutionPlan
    from rxpipe.store.answers import Answers
    from rxpipe.store.resuming import Resumption

__all__ = ["RunFacts", "cell_values", "copy_rows", "index_prompts", "run_values"]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a journal keeps of a run when it begins.

    config: digest of the plan. backend: kind of it; backend_spec: as `open_backend` takes it.
    now: the time of the run's scheduler, aware UTC. identities: of custom stages, by stage index.
    resumed: what it takes over from an earlier attempt, or from another run; None if all is drawn.
    """

    run_id: str
    plan: StageExecutionPlan
    config: str
    seed: int
    backend: str
    backend_spec: str
    now: Callable[[], datetime]
    identities: Mapping[int, Mapping[str, object]] = field(default_factory=dict)
    resumed: Resumption | None = None

    @property
    def attempt(self) -> int:
        """1, or one more than the attempt that is resumed."""
        return self.resumed.attempt if self.resumed else 1

    @property
    def answers(self) -> Answers | None:
        """The cells of earlier attempts or runs; None if all are drawn."""
        return self.resumed.answers if self.resumed else None

    @property
    def parent(self) -> str | None:
        """The run that it takes pictures over from, None if it is none or the run itself."""
        return self.resumed.parent if self.resumed else None


def cell_values(
    execution: StageExecution,
    artifact: Artifact,
    fields: Mapping[str, Any],
    *,
    key: str,
    times: tuple[datetime, datetime],
    digests: tuple[str | None, int | None],
) -> list[object]:
    """Return the values of a cell's row, in the order of `CELL_COLUMNS`.

    Args:
        execution: the stage for the image. artifact: as it leaves. fields: of its event.
        key: what it was drawn from. times: its beginning and its end. digests: of its file, and the file's size.
    """
    operator = isinstance(execution.config, CustomConfig) and execution.config.kind == "operator"
    drawn = fields["outcome"] == "done" and not operator
    entry = artifact.lineage[-1] if drawn and artifact.lineage else None
    error = fields.get("error")
    return [
        to_text(artifact.id),
        execution.stage_index,
        to_text(str(execution.stage_type)),
        fields["image_index"],
        artifact.number,
        key,
        fields.get("attempt", 1),
        int(bool(fields.get("resumed"))),
        fields["outcome"],
        to_bytes(artifact.path),
        *digests,
        to_integer(artifact.seed),
        fields.get("server"),
        *(moment.timestamp() for moment in times),
        float(fields.get("duration_s") or 0.0),
        json.dumps(list(fields.get("warnings") or ())),
        None if error is None else error.model_dump_json(),
        None if entry is None else _json({"stage": entry.stage, "backend": entry.backend, "settings": entry.settings}),
        _json(artifact.metadata),
        None if artifact.parent is None else to_text(artifact.parent),
    ]


def run_values(facts: RunFacts, began: datetime) -> dict[str, object]:
    """Return the values of a run's row when it begins, by column, all but its id."""
    plan, out = facts.plan, facts.plan.settings.out
    identities = {str(index): dict(value) for index, value in facts.identities.items() if value}
    values: dict[str, object] = {
        "status": "running",
        "attempt": facts.attempt,
        "began": began.timestamp(),
        "ended": None,
        "images": plan.images,
        "seed": to_integer(facts.seed),
        "stages": json.dumps([str(name) for name in plan.stage_types]),
        "backend": facts.backend,
        "backend_spec": to_text(facts.backend_spec),
        "out": to_bytes(None if out is None else out.expanduser().absolute()),
        "cwd": to_bytes(Path.cwd()),
        "plan": plan_to_text(plan),
        "config": facts.config,
        "identities": json.dumps(identities, default=str),
        "parent": None if facts.parent is None else to_text(facts.parent),
        "error": None,
        "warnings": "[]",
        "version": importlib.metadata.version("rxpipe"),
        "host": platform.node(),
        "pid": os.getpid(),
        **_drawn_with(plan),
    }
    return values | {"sum": checksum([values[name] for name in PLAN_COLUMNS])}


_DRAWN_WITH = {
    "model": "model",
    "sampler": "sampler_name",
    "scheduler": "scheduler",
    "steps": "steps",
    "cfg_scale": "cfg_scale",
}


def _drawn_with(plan: StageExecutionPlan) -> dict[str, object]:
    """Return the settings by which runs are searched: all prompts, and of the others the first that is set."""
    drawn = [stage.generation for stage in plan.stages]
    found = {
        column: next((value for each in drawn if (value := getattr(each, name)) is not None), None)
        for column, name in _DRAWN_WITH.items()
    }
    found |= {
        name: "\n".join(dict.fromkeys(text for each in drawn if (text := getattr(each, name))))
        for name in ("prompt", "negative_prompt")
    }
    return {name: to_text(value) if isinstance(value, str) else value for name, value in found.items()}


def index_prompts(db: sqlite3.Connection, number: int) -> None:
    """Enter the prompts of a run into the index that is searched."""
    if has_search(db):
        db.execute("DELETE FROM prompts WHERE rowid = ?", (number,))
        db.execute(
            "INSERT INTO prompts (rowid, prompt, negative_prompt) SELECT number, prompt, negative_prompt FROM runs "
            "WHERE number = ?",
            (number,),
        )


def copy_rows(
    before: sqlite3.Connection, after: sqlite3.Connection, table: str, *, where: tuple[str, int, int | None]
) -> int | None:
    """Copy the rows of one run to another store; return the number of the last one there.

    Args:
        where: a column with the run's number, that number, and the one that it has in the other store.
    """
    column, old, new = where
    rows = before.execute(f"SELECT * FROM {table} WHERE {column} = ?", (old,))  # noqa: S608  # names of ours
    names = [each[0] for each in rows.description]
    last = None
    for row in rows:
        values = {**dict(zip(names, row, strict=True)), column: new}
        if table == "cells":
            values["number"] = None
        marks = ", ".join("?" * len(values))
        insert = f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})"  # noqa: S608  # names of ours
        last = after.execute(insert, tuple(values.values())).lastrowid
    return last


def _json(values: Mapping[str, object]) -> str:
    return json.dumps(dict(values), default=lambda value: dict(value) if hasattr(value, "keys") else str(value))
