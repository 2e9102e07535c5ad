"""Store: the history of runs, to list, search and show; and the place where journals of new runs are opened.

Every question opens the file anew and closes it: a store may be shared by threads, replaced and deleted. One that is
not there yet is an empty one. Whatever is wrong with it is a StoreError, which says what to do.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from rxpipe.errors import StoreError
from rxpipe.events import parse_event
from rxpipe.result import PipelineRunResult
from rxpipe.store.distant import copied, is_distant
from rxpipe.store.locks import holder_of
from rxpipe.store.plans import plan_from_text
from rxpipe.store.queries import Conditions, stages_condition, timings
from rxpipe.store.records import (
    CELL_QUERY,
    PLAN_COLUMNS,
    CellRecord,
    RunStatus,
    RunSummary,
    StoredRun,
    cell_of,
    checksum,
    summary_of,
    to_bytes,
    to_path,
    to_text,
)
from rxpipe.store.schema import open_to_read, translated
from rxpipe.store.writing import StoreWriter, is_written_here

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from rxpipe.events import StageEvent

__all__ = ["STORE_VARIABLE", "Store", "default_store"]

STORE_VARIABLE = "RXPIPE_STORE"
"""Environment variable that names the store's file where no other is named; "none" for no store."""

_NAME = "runs.sqlite3"
_OFF = ("none", "off", "0")
_STARS = range(1, 6)
_LAST = (
    "NOT EXISTS (SELECT 1 FROM cells later WHERE later.run = cells.run AND later.artifact_id = cells.artifact_id "
    "AND later.stage_index > cells.stage_index)"
)


def default_store() -> Store | None:
    """Return the store of the user: RXPIPE_STORE, else `runs.sqlite3` in the user's data folder; None if it is off."""
    named = os.environ.get(STORE_VARIABLE, "").strip()
    if named.lower() in _OFF:
        return None
    return Store(named or platformdirs.user_data_path("rxpipe", appauthor=False) / _NAME)


class Store:
    """The runs of one file. May be used from any thread, and by several processes at once.

    Args:
        path: of the file, made by the first run that is recorded; or a folder, for `runs.sqlite3` in it.
    """

    def __init__(self, path: Path | str) -> None:
        path = Path(path).expanduser().absolute()
        self.path = path / _NAME if path.is_dir() else path
        self.writer = StoreWriter(self.path)
        self._is_distant = is_distant(self.path)

    def __repr__(self) -> str:
        return f"<Store {self.path}>"

    # -- runs ---------------------------------------------------------------------------------------------------------

    def runs(
        self,
        *,
        limit: int | None = 100,
        before: int | None = None,
        status: RunStatus | None = None,
        model: str | None = None,
        seed: int | None = None,
        stage: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        search: str = "",
    ) -> tuple[RunSummary, ...]:
        """Return the runs for which all of this holds, the newest first.

        Args:
            limit: at most so many; None for all.
            before: only those with a lower `RunSummary.number`, for the next page.
            status: "interrupted" are those without an end that no process runs.
            model: a part of its name, upper or lower case.
            seed: of one of its images.
            stage: name of a stage that it has.
            since, until: it was begun at or after, or before that moment; aware.
            search: words, all of which begin a word in a prompt or a negative prompt of the run.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading() as db:
            if db is None:
                return ()
            conditions = Conditions(db)
            conditions.add("runs.number < ?", before)
            conditions.add("runs.status = ?", "running" if status == "interrupted" else status)
            conditions.add("instr(lower(runs.model), ?)", None if model is None else model.lower())
            conditions.add_seed(seed)
            conditions.add_time("runs.began >= ?", since)
            conditions.add_time("runs.began < ?", until)
            if stage is not None:
                conditions.add(*stages_condition(stage))
            conditions.add_search(search)
            rows = db.execute(
                f"SELECT * FROM runs{conditions.where} ORDER BY runs.number DESC",  # noqa: S608  # of fixed words
                conditions.values,
            )
            found: list[RunSummary] = []
            for row in rows:
                if limit is not None and len(found) >= limit:
                    break
                summary = self._summary(row)
                if status is None or summary.status == status:
                    found.append(summary)
            return tuple(found)

    def latest(self, *, unfinished: bool = False) -> RunSummary | None:
        """Return the run begun last; or, if *unfinished*, the last one that can be resumed; None if there is none.

        A run that failed before it drew anything, as at a wrong address, comes after all others that can be resumed.
        """
        before, without_picture = None, None
        while page := self.runs(limit=100, before=before):
            for run in page:
                if not unfinished or (run.unfinished and (run.status != "failed" or self.cells(run.run_id))):
                    return run
                if run.unfinished:
                    without_picture = without_picture or run
            before = page[-1].number
        return without_picture

    def find(self, name: str | Path) -> RunSummary:
        """Return the run of that name: its id, the beginning of one id only, "last", or a picture that it drew.

        Raises:
            StoreError: there is no such run, or several begin so; or the store cannot be read.
        """
        text = str(name)
        if text == "last" and (latest := self.latest()) is not None:
            return latest
        with self._reading() as db:
            rows = [] if db is None else _named(db, text) or _of_picture(db, Path(text))
            if len(rows) == 1:
                return self._summary(rows[0])
        if rows:
            names = ", ".join(row["run_id"] for row in rows[:5])
            raise StoreError(f"several runs begin with {text!r}: {names}.", hint="Give more of its id.")
        if Path(text).is_file():
            raise StoreError(
                f"no run of the store {self.path} has drawn {text}.",
                hint="`rxpipe runs --rebuild FOLDER` enters the runs of pictures below a folder.",
            )
        raise StoreError(f"the store {self.path} has no run {text!r}.", hint="`rxpipe runs` lists them.")

    def run(self, run_id: str) -> StoredRun:
        """Return a run with its plan and its times.

        Raises:
            StoreError: there is no such run, or the store cannot be read.
        """
        with self._reading() as db:
            row = None if db is None else _row_of(db, run_id)
            if db is None or row is None:
                raise StoreError(f"the store {self.path} has no run {run_id!r}.", hint="`rxpipe runs` lists them.")
            summary = self._summary(row)
            if row["plan"] and row["sum"] != checksum([row[name] for name in PLAN_COLUMNS]):
                raise ValueError("checksum of a run")
            count = "SELECT count(*) FROM {} WHERE run = ?"
            return StoredRun(
                summary=summary,
                plan=plan_from_text(row["plan"]) if row["plan"] else None,
                timings=timings(db, row["number"], summary.stages),
                cells=db.execute(count.format("cells"), (row["number"],)).fetchone()[0],
                events=db.execute(count.format("events"), (row["number"],)).fetchone()[0],
                config=row["config"],
                identities={int(index): value for index, value in json.loads(row["identities"]).items()},
                cwd=to_path(row["cwd"]),
            )

    # -- cells --------------------------------------------------------------------------------------------------------

    def cells(
        self,
        run_id: str,
        *,
        stage_index: int | None = None,
        artifact_id: str | None = None,
        limit: int | None = None,
        offset: int = 0,
        last: bool = False,
        skip_damaged: bool = False,
    ) -> tuple[CellRecord, ...]:
        """Return the cells of a run in the order of its images and stages; none of a run that is not in the store.

        Args:
            stage_index: only of that stage. artifact_id: only of that image.
            limit: at most so many, from the one after *offset*; None for all.
            last: only the last one of each image.
            skip_damaged: leave out rows that are damaged, where one of them would be an error.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading() as db:
            row = None if db is None else _row_of(db, run_id)
            if db is None or row is None:
                return ()
            conditions = Conditions(db)
            conditions.add("cells.run = ?", row["number"])
            conditions.add("cells.stage_index = ?", stage_index)
            conditions.add("cells.artifact_id = ?", artifact_id)
            if last:
                conditions.add(_LAST)
            order = "cells.image_number, cells.artifact_id, cells.stage_index LIMIT ? OFFSET ?"
            values = [*conditions.values, limit or -1, offset]
            return _cells(db, f"{conditions.where} ORDER BY {order}", values, skip_damaged=skip_damaged)

    def pictures(
        self,
        *,
        limit: int | None = 100,
        before: int | None = None,
        favourite: bool | None = None,
        search: str = "",
    ) -> tuple[CellRecord, ...]:
        """Return the last cell with a file of each image of each run, the one recorded last first.

        Args:
            limit: at most so many; None for all.
            before: only those with a lower `CellRecord.number`, for the next page.
            favourite: only favourites, or only the others; None for both.
            search: as of `runs`.

        Images that are marked as trashed are left out.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading() as db:
            if db is None:
                return ()
            conditions = Conditions(db)
            conditions.add("cells.path IS NOT NULL AND cells.outcome IN ('done', 'passed')")
            conditions.add(f"{_LAST[:-1]} AND later.path IS NOT NULL)")
            conditions.add("coalesce(marks.trashed, 0) = 0")
            conditions.add("cells.number < ?", before)
            conditions.add("coalesce(marks.favourite, 0) = ?", favourite)
            conditions.add_search(search)
            return _cells(
                db, f"{conditions.where} ORDER BY cells.number DESC LIMIT ?", [*conditions.values, limit or -1]
            )

    def cell_of_file(self, path: Path | str) -> CellRecord | None:
        """Return the cell that has that file, the one recorded last; None if no run of the store wrote it.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading() as db:
            if db is None:
                return None
            found = _cells(db, " WHERE cells.path = ? ORDER BY cells.number DESC LIMIT 1", [to_bytes(_absolute(path))])
            return found[0] if found else None

    # -- events -------------------------------------------------------------------------------------------------------

    def events(
        self, run_id: str, *, steps: bool = True, after: tuple[int, int] = (0, -1), limit: int | None = None
    ) -> tuple[tuple[int, StageEvent], ...]:
        """Return the events of a run in their order, each with the attempt that it is of.

        Each attempt has a RunStart and counts `seq` from 0; one that was killed has no RunEnd.

        Args:
            steps: whether StageSteps are among them, which are most of them.
            after: only those behind that attempt and seq, for one who follows a run.
            limit: at most so many.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading() as db:
            row = None if db is None else _row_of(db, run_id)
            if db is None or row is None:
                return ()
            rows = db.execute(
                "SELECT attempt, body FROM events WHERE run = ? AND (attempt, seq) > (?, ?) "
                "AND (? OR kind != 'stage_step') ORDER BY attempt, seq LIMIT ?",
                (row["number"], *after, steps, limit or -1),
            )
            return tuple((attempt, parse_event(body)) for attempt, body in rows)

    def result(self, run_id: str, *, steps: bool = False) -> PipelineRunResult:
        """Return the result of a run, folded from the events of all of its attempts.

        Args:
            run_id: the whole id, as in its events.
            steps: whether its timeline has the StageSteps, which are most of the events.

        Raises:
            StoreError: there is no such run, or the store cannot be read.
        """
        plan = self.run(run_id).plan
        return PipelineRunResult.from_events((event for _, event in self.events(run_id, steps=steps)), plan)

    # -- changes ------------------------------------------------------------------------------------------------------

    def mark(
        self,
        run_id: str,
        artifact_id: str,
        *,
        favourite: bool | None = None,
        trashed: bool | None = None,
        rating: int | None = None,
        tags: Sequence[str] | None = None,
    ) -> None:
        """Remember what a person says of an image; what is None stays as it was. Returns once it is durable.

        Args:
            run_id: the whole id, as in its events.
            artifact_id: as in `StageImageProgress` and `CellRecord`; one that the run does not have is remembered too.
            favourite, trashed: marks, which `cells` has.
            rating: 1 to 5 stars.
            tags: in place of those that it has.

        Raises:
            ValueError: *rating* is out of range.
            StoreError: there is no such run, or the store cannot be written.
        """
        if rating is not None and rating not in _STARS:
            raise ValueError(f"rating: got {rating!r}, allowed: {_STARS[0]} to {_STARS[-1]}, or None to leave it")
        given = {"favourite": favourite, "trashed": trashed, "rating": rating}
        changes = {name: int(value) for name, value in given.items() if value is not None}
        values: dict[str, object] = dict(changes)
        if tags is not None:
            values["tags"] = json.dumps(list(tags))

        def change(db: sqlite3.Connection) -> None:
            row = _row_of(db, run_id)
            if row is None:
                return
            image = (row["number"], to_text(artifact_id))
            db.execute("INSERT OR IGNORE INTO marks (run, artifact_id) VALUES (?, ?)", image)
            for name, value in values.items():
                db.execute(f"UPDATE marks SET {name} = ? WHERE run = ? AND artifact_id = ?", (value, *image))  # noqa: S608  # names of ours

        self.run(run_id)
        self.writer.change(change)

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until all that was recorded is durable; return False if it is not after *timeout_s* seconds."""
        return self.writer.flush(timeout_s)

    def close(self, timeout_s: float = 30.0) -> bool:
        """Flush, and let the writing thread end; return as `flush` does. The store may be used again afterwards."""
        return self.writer.close(timeout_s)

    # -- inside -------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """Open the store for one question, with one state of it for all of that; None if there is no store yet."""
        with translated(self.path):
            if not self.path.exists():
                yield None
                return
            with contextlib.ExitStack() as stack:
                away = self._is_distant and not is_written_here(self.path)
                path = stack.enter_context(copied(self.path)) if away else self.path
                db = stack.enter_context(contextlib.closing(open_to_read(path)))
                db.row_factory = sqlite3.Row
                db.execute("BEGIN")
                yield db

    def _summary(self, row: sqlite3.Row) -> RunSummary:
        elsewhere = self._is_distant and row["host"] != platform.node()  # its locks are not seen here
        running = row["status"] == "running" and (elsewhere or holder_of(self.path, row["run_id"]) is not None)
        return summary_of(row, running=running)


def _row_of(db: sqlite3.Connection, run_id: str) -> sqlite3.Row | None:
    db.row_factory = sqlite3.Row
    row: sqlite3.Row | None = db.execute("SELECT * FROM runs WHERE run_id = ?", (to_text(run_id),)).fetchone()
    return row


def _named(db: sqlite3.Connection, text: str) -> list[sqlite3.Row]:
    """Return the run of that id, else those whose ids begin so."""
    exact = _row_of(db, text)
    if exact is not None or not text:
        return [] if exact is None else [exact]
    return db.execute("SELECT * FROM runs WHERE substr(run_id, 1, ?) = ?", (len(text), to_text(text))).fetchall()


def _of_picture(db: sqlite3.Connection, path: Path) -> list[sqlite3.Row]:
    return db.execute(
        "SELECT runs.* FROM runs JOIN cells ON cells.run = runs.number WHERE cells.path = ? "
        "ORDER BY cells.resumed, cells.number DESC LIMIT 1",
        (to_bytes(_absolute(path)),),
    ).fetchall()


def _absolute(path: Path | str) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100  # resolve() would follow links, which the names of pictures do not


def _cells(
    db: sqlite3.Connection, rest: str, values: list[object], *, skip_damaged: bool = False
) -> tuple[CellRecord, ...]:
    found = []
    db.row_factory = None  # rows by name are slow
    for row in db.execute(CELL_QUERY + rest, values):
        try:
            found.append(cell_of(row))
        except (ValueError, TypeError, LookupError):
            if not skip_damaged:
                raise
    return tuple(found)
