"""RunJournal: the journal of one run in progress: what it answers a stage from, and what it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rxpipe.errors import BadImage
from rxpipe.events import RunEnd, StageStep, json_line
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.rx.subject import to_excepthook
from rxpipe.store.keys import cell_key
from rxpipe.store.locks import RunLock, holder_text
from rxpipe.store.pictures import PictureDigests
from rxpipe.store.port import Journal, Recalled
from rxpipe.store.records import CELL_COLUMNS, checksum, to_text
from rxpipe.store.rows import RunFacts, cell_values, copy_rows, index_prompts, run_values
from rxpipe.store.schema import store_error

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from reactivex import Observable, abc

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution
    from rxpipe.result import RunUpdate
    from rxpipe.store.reading import Store

__all__ = ["NotRecorded", "RunFacts", "RunJournal", "open_journal"]

_THROUGH = frozenset({"done", "passed"})


class NotRecorded(Journal):
    """The journal of a run that should have one and has none: it says why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why the run is not recorded."""
        return (self._reason,)


def open_journal(store: Store | None, facts: RunFacts) -> Journal:
    """Return the journal of a run that begins; without a store, or with one that cannot be used, it keeps nothing."""
    if store is None:
        return Journal()
    try:
        lock = (facts.resumed and facts.resumed.lock) or RunLock.acquire(store.path, facts.run_id)
    except OSError as error:
        return NotRecorded(f"{store_error(store.path, error)} The run is not recorded and cannot be resumed.")
    if lock is not None:
        return RunJournal(store, lock, facts)
    who = holder_text(store.path, facts.run_id)
    return NotRecorded(f"run {facts.run_id} is not recorded: {who} under the same run_id.")


class RunJournal(Journal):
    """Writes what a run does to its store, and answers cells that were drawn before.

    Args:
        store: keeps it.
        lock: of the run; released when its last event is durable.
        facts: of the run.
    """

    def __init__(self, store: Store, lock: RunLock, facts: RunFacts) -> None:
        self.attempt, self.resumes = facts.attempt, facts.plan.settings.out is not None
        self._facts, self._lock, self._writer = facts, lock, store.writer
        self._began = facts.now()
        self._number = 0  # of the run in its store; only the writing thread uses it
        self._digests = PictureDigests()
        self._begun: dict[tuple[str, int], tuple[str, datetime]] = {}
        self._closed = False
        self._writer.begin(self)
        self._writer.put(self._insert_run)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why rows could not be written so far."""
        problem = self._writer.problem
        return () if problem is None else (f"{problem} What this run does is not recorded there.",)

    def begin(self) -> None:
        """Wait until the run's row is durable; files without one would look like a stranger's."""
        self._writer.commit(lambda _: None)

    # -- cells --------------------------------------------------------------------------------------------------------

    def recall(
        self,
        execution: StageExecution,
        artifact: Artifact,
        settings: Callable[[StageExecution], Mapping[str, object]],
        backend: str,
    ) -> Recalled | None:
        """See `Journal.recall`."""
        try:
            key = cell_key(
                execution,
                settings(execution),
                backend=backend,
                source=self._digests.of_picture(artifact),
                identity=self._facts.identities.get(execution.stage_index, {}),
            )
        except (OSError, BadImage, TypeError, ValueError):  # unreadable: the stage itself will say so
            key = ""
        self._begun[artifact.id, execution.stage_index] = key, self._facts.now()
        answers = self._facts.answers
        cell = answers.find(key, execution, artifact) if answers is not None and key else None
        if cell is None:
            return None
        through = artifact
        if cell.outcome == "done":
            if cell.path is None or not self._digests.is_intact(cell.path, cell.digest):
                return None
            through = replace(
                artifact.with_path(cell.path), seed=cell.seed, metadata=MappingProxyType(dict(cell.metadata))
            )
            if cell.entry is not None:
                through = through.with_lineage(LineageEntry(**cell.entry))
        fields = {
            "outcome": cell.outcome,
            "error": cell.error,
            "duration_s": cell.duration_s,
            "warnings": cell.warnings,
            "server": cell.server,
            "attempt": cell.attempt if cell.run_id == self._facts.run_id else 1,
            "resumed": True,
        }
        return Recalled(through, fields)

    def record(self, execution: StageExecution, artifact: Artifact, fields: Mapping[str, object]) -> None:
        """See `Journal.record`; what has no new file is written soon, and nothing waits for it."""
        key, began = self._begun.pop((artifact.id, execution.stage_index), ("", self._facts.now()))
        if fields.get("resumed") and self._facts.parent is None:
            return  # its row is of this run
        try:
            digests = self._digests.of_file(artifact.path) if fields["outcome"] in _THROUGH else (None, None)
            times = (began, self._facts.now())
            values = cell_values(execution, artifact, fields, key=key, times=times, digests=digests)
        except Exception as error:  # noqa: BLE001  # whatever a picture or its metadata does, the run goes on
            self._writer.report(store_error(self._writer.path, error))
            return

        def insert(db: sqlite3.Connection) -> None:
            names = ", ".join(("run", "sum", *CELL_COLUMNS))
            marks = ", ".join("?" * (len(CELL_COLUMNS) + 2))
            row = (self._number, checksum(values), *values)
            db.execute(f"INSERT OR REPLACE INTO cells ({names}) VALUES ({marks})", row)  # noqa: S608  # names of ours

        if key and not fields.get("resumed") and fields["outcome"] in _THROUGH:
            self._writer.commit(insert)
        else:
            self._writer.put(insert)

    # -- events -------------------------------------------------------------------------------------------------------

    def attach(self, updates: Observable[RunUpdate]) -> abc.DisposableBase:
        """See `Journal.attach`."""
        return updates.subscribe(self._on_update, on_error=to_excepthook)

    def _on_update(self, update: RunUpdate) -> None:
        event, result = update
        if event.run_id != self._facts.run_id or self._closed:
            return
        attempt = self.attempt

        def insert(db: sqlite3.Connection) -> None:
            row = (self._number, attempt, event.seq, event.kind, json_line(event))
            db.execute("INSERT OR REPLACE INTO events (run, attempt, seq, kind, body) VALUES (?, ?, ?, ?, ?)", row)

        self._writer.put(insert, may_be_lost=isinstance(event, StageStep))
        if isinstance(event, RunEnd):
            self._writer.put(lambda db: self._update_end(db, event, result))

    def close(self) -> None:
        """Give the run up once everything of it is durable, which is soon; return immediately."""
        if not self._closed:
            self._closed = True
            self._writer.put(lambda _: None, after=self._release)

    def _release(self) -> None:
        self._writer.end(self)
        self._lock.release()

    # -- rows of the run, on the writing thread -----------------------------------------------------------------------

    def moved(self, before: sqlite3.Connection, after: sqlite3.Connection) -> None:
        """Copy the run to the store that follows one that was deleted."""
        old = self._number
        after.execute("BEGIN IMMEDIATE")
        self._number = copy_rows(before, after, "runs", where=("number", old, None)) or 0
        for table in ("cells", "events", "marks"):
            copy_rows(before, after, table, where=("run", old, self._number))
        index_prompts(after, self._number)
        after.execute("COMMIT")

    def _insert_run(self, db: sqlite3.Connection) -> None:
        run_id = to_text(self._facts.run_id)
        values = run_values(self._facts, self._began)
        found = db.execute("SELECT number, attempt FROM runs WHERE run_id = ?", (run_id,)).fetchone()
        if found is not None and self.attempt > 1:
            self._number = found[0]
            sets = ", ".join(f"{name} = ?" for name in values)
            db.execute(f"UPDATE runs SET {sets} WHERE number = ?", (*values.values(), self._number))  # noqa: S608  # names of ours
        else:
            if found is not None:  # a person gave two runs one name: the later one has it
                db.execute("UPDATE runs SET run_id = ? WHERE number = ?", (f"{run_id}~{found[0]}", found[0]))
            values |= {"run_id": run_id}
            names, marks = ", ".join(values), ", ".join("?" * len(values))
            made = db.execute(f"INSERT INTO runs ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608  # names of ours
            self._number = made.lastrowid or 0
            index_prompts(db, self._number)

    def _update_end(self, db: sqlite3.Connection, event: RunEnd, result: Any) -> None:
        tally = result.tally
        db.execute(
            "UPDATE runs SET status = ?, ended = ?, error = ?, warnings = ?, done = ?, failed = ?, cancelled = ?, "
            "filtered = ? WHERE number = ?",
            (
                event.status,
                event.timestamp.timestamp(),
                None if event.error is None else event.error.model_dump_json(),
                json.dumps(list(result.warnings)),
                tally.done,
                tally.failed,
                tally.cancelled,
                tally.filtered,
                self._number,
            ),
        )
