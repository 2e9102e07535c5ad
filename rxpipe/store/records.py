"""What is read from a store: frozen records of runs, cells and times, and the rows they are made of."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rxpipe.events import ErrorInfo, Outcome, RunOutcome

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from rxpipe.plan import StageExecutionPlan

__all__ = ["CellRecord", "RunStatus", "RunSummary", "StageTiming", "StoredRun"]

RunStatus = Literal["running", "interrupted", "rebuilt"] | RunOutcome
"""interrupted: it has no end, and no process runs it; of a run on another machine, whose store is on a network, nobody
here can tell, and it is "running". rebuilt: known from its pictures only."""

_LEAST = -(2**63)
_OUTCOMES = ("done", "passed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as one row of a list.

    number: rises with each run that was begun; no clock has a say in it. attempt: how often it was begun, 1 unless it
    was resumed. began, ended: aware UTC, of the latest attempt; ended is None while it has no end. images: planned.
    done, failed, cancelled, filtered: planned images by outcome; 0 while it has no end. seed: of the first image.
    stages: their names in order. prompt, negative_prompt, model, sampler, scheduler, steps, cfg_scale: of the first
    stage that has them; None if not set. backend: kind; backend_spec: as `open_backend` takes it, without credentials.
    out: folder of the pictures, None if they were kept in memory. parent: the run that it is a re-run of.
    error: of a failed run. warnings: of the run as a whole. version: of rxpipe. host, pid: where it ran last.
    """

    run_id: str
    number: int
    status: RunStatus
    attempt: int
    began: datetime
    ended: datetime | None
    images: int
    seed: int | None
    stages: tuple[str, ...]
    prompt: str
    negative_prompt: str
    model: str | None
    sampler: str | None
    scheduler: str | None
    steps: int | None
    cfg_scale: float | None
    backend: str
    backend_spec: str
    out: Path | None
    parent: str | None
    error: ErrorInfo | None
    warnings: tuple[str, ...]
    done: int
    failed: int
    cancelled: int
    filtered: int
    version: str
    host: str
    pid: int | None

    @property
    def unfinished(self) -> bool:
        """Whether there is something left to draw, and `rxpipe resume` would draw it."""
        return self.out is not None and self.status in {"interrupted", "partial", "failed", "cancelled"}

    @property
    def duration_s(self) -> float | None:
        """Seconds that the latest attempt took; None while it has no end."""
        return None if self.ended is None else max(0.0, (self.ended - self.began).total_seconds())


@dataclass(frozen=True, slots=True)
class StageTiming:
    """Where the time of one stage went, over all its cells that were drawn.

    drawn: cells that the backend was asked for; recalled: cells taken from a journal. total_s, longest_s: seconds
    between the beginning of a cell and its event, retries, queues and the writing of its file included; cells in
    parallel count each. began, ended: of its first and its last cell, aware UTC; None before the first one.
    outcomes: how many cells were done, passed, failed, cancelled. servers: seconds by member of a pool.
    """

    stage_index: int
    stage_type: str
    drawn: int
    recalled: int
    total_s: float
    longest_s: float
    began: datetime | None
    ended: datetime | None
    outcomes: Mapping[str, int]
    servers: Mapping[str, float]

    @property
    def mean_s(self) -> float | None:
        """Seconds per cell that was drawn; None if there is none."""
        return self.total_s / self.drawn if self.drawn else None


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it is shown: its summary, its plan, and where its time went, a stage each in their order.

    plan: None of a run that was rebuilt from pictures. cells: how many there are; `Store.cells` has them.
    events: how many are stored, steps included; `Store.events` has them.
    identities: what is known of the code of custom stages, by stage index.
    cwd: the folder in which it was begun, which relative paths are relative to.
    """

    summary: RunSummary
    plan: StageExecutionPlan | None
    timings: tuple[StageTiming, ...]
    cells: int
    events: int
    config: str
    identities: Mapping[int, Mapping[str, Any]]
    cwd: Path | None


@dataclass(frozen=True, slots=True)
class CellRecord:
    """One image in one stage, as the run's journal has it.

    number: rises with each cell that was recorded. image_index: in its stage, 1.., as in its event. image_number: of
    the planned image, 1... key: what it was drawn from (see `rxpipe.store.keys`). attempt: of the run, the one that
    drew it. resumed: taken from a journal. path: its file, None without one; digest: SHA-256 of the file; size: bytes.
    server: the member of a pool that drew it. began, ended: aware UTC. entry: its lineage entry: stage, backend,
    settings; None if the picture was left unchanged. metadata: what stages and users recorded about the image.
    parent: the image that an operator derived it from. favourite, trashed, rating, tags: what people said of the image.
    """

    run_id: str
    number: int
    artifact_id: str
    stage_index: int
    stage_type: str
    image_index: int
    image_number: int
    key: str
    attempt: int
    resumed: bool
    outcome: Outcome
    path: Path | None
    digest: str | None
    size: int | None
    seed: int | None
    server: str | None
    began: datetime
    ended: datetime
    duration_s: float
    warnings: tuple[str, ...]
    error: ErrorInfo | None
    entry: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    parent: str | None
    favourite: bool = False
    trashed: bool = False
    rating: int | None = None
    tags: tuple[str, ...] = ()


# -- rows ---------------------------------------------------------------------------------------------------------


def checksum(values: Sequence[object]) -> int:
    """Return a check of a row's values, so that a damaged one is never read as another picture."""
    return zlib.crc32(repr(values).encode(errors="surrogatepass"))


def to_bytes(path: Path | None) -> bytes | None:
    """Return a path as it is stored, whatever bytes its name holds."""
    return None if path is None else os.fsencode(path)


def to_path(stored: bytes | None) -> Path | None:
    """Return a path from what was stored."""
    return None if stored is None else Path(os.fsdecode(stored))


def to_integer(number: int | None) -> int | bytes | None:
    """Return a whole number as it is stored: SQLite's end at 2^63 - 1, and seeds do not; those beyond are digits."""
    return number if number is None or _LEAST <= number <= -_LEAST - 1 else str(number).encode()


def integer_of(stored: float | bytes | None) -> int | None:
    """Return a whole number from what was stored; ValueError if it is none."""
    return None if stored is None else int(stored)


def to_text(text: str) -> str:
    """Return a text that SQLite can hold; what is no UTF-8 is escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def time_of(stored: float) -> datetime:
    """Return a stored time, aware UTC."""
    return datetime.fromtimestamp(stored, UTC)


def error_of(stored: str | None) -> ErrorInfo | None:
    """Return a stored error."""
    return None if stored is None else ErrorInfo.model_validate_json(stored)


CELL_COLUMNS = (
    "artifact_id", "stage_index", "stage_type", "image_index", "image_number", "key", "attempt", "resumed", "outcome",
    "path", "digest", "size", "seed", "server", "began", "ended", "duration_s", "warnings", "error", "entry",
    "metadata", "parent",
)  # fmt: skip
"""The columns of a cell that its checksum covers, in order."""


CELL_QUERY = (
    f"SELECT {', '.join(f'cells.{name}' for name in CELL_COLUMNS)}, cells.number, cells.sum, runs.run_id, "  # noqa: S608  # names of ours
    "marks.favourite, marks.trashed, marks.rating, marks.tags FROM cells JOIN runs ON runs.number = cells.run "
    "LEFT JOIN marks ON marks.run = cells.run AND marks.artifact_id = cells.artifact_id"
)
"""What `cell_of` reads; conditions are put behind it."""


def cell_of(row: Sequence[Any]) -> CellRecord:
    """Return the record in a row of `CELL_QUERY`; ValueError if it is damaged."""
    values, (number, own_sum, run_id, favourite, trashed, rating, tags) = row[: len(CELL_COLUMNS)], row[-7:]
    fields = dict(zip(CELL_COLUMNS, values, strict=True))
    if own_sum != checksum(list(values)) or fields["outcome"] not in _OUTCOMES:
        raise ValueError("checksum of a cell")
    fields |= {
        "resumed": bool(fields["resumed"]),
        "seed": integer_of(fields["seed"]),
        "path": to_path(fields["path"]),
        "began": time_of(fields["began"]),
        "ended": time_of(fields["ended"]),
        "warnings": _list_of(fields["warnings"]),
        "error": error_of(fields["error"]),
        "entry": None if fields["entry"] is None else json.loads(fields["entry"]),
        "metadata": json.loads(fields["metadata"]) if fields["metadata"] != "{}" else {},
    }
    return CellRecord(
        run_id=run_id,
        number=number,
        **fields,
        favourite=bool(favourite),
        trashed=bool(trashed),
        rating=rating,
        tags=_list_of(tags or "[]"),
    )


def _list_of(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text != "[]" else ()


PLAN_COLUMNS = ("plan", "config", "identities", "seed", "images", "stages", "out", "cwd", "backend")
"""The columns of a run that its checksum covers: what a resumed run is begun from."""


def summary_of(row: sqlite3.Row, *, running: bool) -> RunSummary:
    """Return the record in a row of runs.

    Args:
        running: whether a process holds the run, which only matters for one without an end.
    """
    status: Any = row["status"]
    if status == "running" and not running:
        status = "interrupted"
    return RunSummary(
        run_id=row["run_id"],
        number=row["number"],
        status=status,
        attempt=row["attempt"],
        began=time_of(row["began"]),
        ended=None if row["ended"] is None else time_of(row["ended"]),
        images=row["images"],
        seed=integer_of(row["seed"]),
        stages=tuple(json.loads(row["stages"])),
        prompt=row["prompt"],
        negative_prompt=row["negative_prompt"],
        model=row["model"],
        sampler=row["sampler"],
        scheduler=row["scheduler"],
        steps=row["steps"],
        cfg_scale=row["cfg_scale"],
        backend=row["backend"],
        backend_spec=row["backend_spec"],
        out=to_path(row["out"]),
        parent=row["parent"],
        error=error_of(row["error"]),
        warnings=tuple(json.loads(row["warnings"])),
        done=row["done"],
        failed=row["failed"],
        cancelled=row["cancelled"],
        filtered=row["filtered"],
        version=row["version"],
        host=row["host"],
        pid=row["pid"],
    )
