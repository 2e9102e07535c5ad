"""StoreWriter: the one thread of a process that writes a store.

What is put in is written in its order, many changes in one transaction. A store that is locked or full keeps them
waiting and is retried; one that is damaged, foreign or read-only is abandoned, and the runs go on without it; one
that was deleted is begun anew, with the runs that are in progress.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

from rxpipe.errors import StoreError
from rxpipe.logs import logger
from rxpipe.rx.forks import renew_after_fork
from rxpipe.store.schema import open_to_write, store_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["StoreWriter", "flush_all", "is_written_here"]


PATIENCE_S = 2.0
"""Seconds that a run waits for one commit before it continues without it; the row follows when it can."""

_BATCH_S = 0.2  # so long events wait for others, to be written in one transaction
_IDLE_S = 1.0  # after so long without a run and without work the thread ends
_BUSY_MS = 500
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 1.0
_MOST_WAITING = 50_000  # changes that wait for a store that cannot be written; then those that may be lost are
_MOST_AT_ONCE = 2_000
_TRANSIENT = ("locked", "busy", "full", "disk i/o")

_writers: WeakSet[StoreWriter] = WeakSet()


def flush_all(timeout_s: float) -> None:
    """Wait until all stores of the process are written, at most so many seconds for each.

    One without room is not waited for: what waits for room may wait for ever, and costs a history and no picture.
    """
    for writer in list(_writers):
        full = writer.problem is not None and "locked" not in writer.problem.message
        writer.flush(min(timeout_s, PATIENCE_S) if full else timeout_s)


def is_written_here(path: Path) -> bool:
    """Return whether this process has a store open to write it; opening and closing its file would unlock it."""
    return any(writer.path == path and writer.is_open for writer in list(_writers))


class OpenRun(Protocol):
    """What the writer asks of a run in progress."""

    def moved(self, before: sqlite3.Connection, after: sqlite3.Connection) -> None:
        """Copy the run from a store that was deleted to the one that follows it."""


def _nothing() -> None:
    """Do nothing."""


@dataclass(slots=True)
class _Waiting:
    """A change that waits.

    may_be_lost: the first to go where too many wait. urgent: the others with it are written at once.
    after: called once it is durable, or abandoned. ended: set then, for who waits. error: why it was not written.
    """

    change: Callable[[sqlite3.Connection], None]
    may_be_lost: bool = False
    urgent: bool = False
    after: Callable[[], None] = _nothing
    ended: threading.Event | None = None
    error: StoreError | None = None

    def end(self, error: StoreError | None = None) -> None:
        self.error = self.error or error
        self.after()
        if self.ended is not None:
            self.ended.set()

    def wait(self, timeout_s: float) -> bool:
        """Return whether it ended in time."""
        return self.ended is None or self.ended.wait(timeout_s)


class StoreWriter:
    """Writes one store. Safe from any thread.

    problem: why nothing is written at the moment, or any more; None while all is well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: StoreError | None = None
        self.after_fork()
        renew_after_fork(self)
        _writers.add(self)

    def after_fork(self) -> None:
        """Begin anew in a child process; what waits is the parent's."""
        self._wake = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._writing: Sequence[_Waiting] = ()
        self._runs: list[OpenRun] = []
        self._thread: threading.Thread | None = None
        self._db: sqlite3.Connection | None = None
        self._identity: os.stat_result | None = None  # of the file that is open
        self._given_up = self._closing = False

    @property
    def is_open(self) -> bool:
        """Whether the file is open."""
        return self._db is not None

    # -- for runs -----------------------------------------------------------------------------------------------------

    def begin(self, run: OpenRun) -> None:
        """Write for a run, until `end`; a store that was abandoned is retried."""
        with self._wake:
            self._runs.append(run)
            if self._given_up:
                self._given_up, self.problem = False, None

    def end(self, run: OpenRun) -> None:
        """Forget a run."""
        with self._wake:
            if run in self._runs:
                self._runs.remove(run)
            self._wake.notify_all()

    def put(
        self,
        change: Callable[[sqlite3.Connection], None],
        *,
        may_be_lost: bool = False,
        after: Callable[[], None] = _nothing,
    ) -> None:
        """Write a change some time soon, then call *after* on the writing thread; return immediately."""
        self._enter(_Waiting(change, may_be_lost=may_be_lost, after=after))

    def commit(self, change: Callable[[sqlite3.Connection], None]) -> bool:
        """Write a change and wait until it is durable; return False if the store cannot be written now.

        It is then written later, if that becomes possible. Waits `PATIENCE_S` at most, and not at all while the store
        is known to be locked or full.
        """
        item = _Waiting(change, urgent=True, ended=threading.Event())
        stuck = self.problem is not None
        self._enter(item)
        return item.wait(0 if stuck else PATIENCE_S) and item.error is None

    def change(self, change: Callable[[sqlite3.Connection], None], timeout_s: float = 30.0) -> None:
        """Write a change and wait until it is durable.

        Raises:
            StoreError: it was not written.
        """
        with self._wake:
            if self._given_up and not self._runs:
                self._given_up, self.problem = False, None
        item = _Waiting(change, urgent=True, ended=threading.Event())
        self._enter(item)
        if not item.wait(timeout_s):
            raise self.problem or StoreError(f"the store {self.path} was not written within {timeout_s:g} s.")
        if item.error is not None:
            raise item.error

    def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until what was put in before is durable; return False if it is not."""
        with self._wake:
            if self._given_up or (not self._queue and not self._writing):
                return not self._given_up
        item = _Waiting(lambda _: None, urgent=True, ended=threading.Event())
        self._enter(item)
        return item.wait(timeout_s) and item.error is None

    def close(self, timeout_s: float = 30.0) -> bool:
        """Flush, and end the thread; the next change starts another."""
        written = self.flush(timeout_s)
        with self._wake:
            thread, self._closing = self._thread, True
            self._wake.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)
        self._closing = False
        return written

    # -- the thread ---------------------------------------------------------------------------------------------------

    def _enter(self, item: _Waiting) -> None:
        with self._wake:
            if self._given_up:
                item.end(self.problem)
                return
            if self.problem is not None and len(self._queue) >= _MOST_WAITING:
                self._drop_steps()
            self._queue.append(item)
            if item.urgent or len(self._queue) == 1:
                self._wake.notify_all()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="rxpipe-store", daemon=True)
                thread.start()
                self._thread = thread

    def _drop_steps(self) -> None:
        kept = deque(waiting for waiting in self._queue if not waiting.may_be_lost)
        if dropped := len(self._queue) - len(kept):
            logger.warning("{} events of sampler steps are not kept: the store cannot be written", dropped)
        self._queue = kept

    def _run(self) -> None:
        while batch := self._next_batch():
            try:
                self._write(batch)
            except BaseException as error:  # noqa: BLE001  # a bug of ours costs the journal, never the run
                self._give_up(store_error(self.path, error))
            with self._wake:
                self._writing = ()

    def _next_batch(self) -> Sequence[_Waiting]:
        """Wait for changes, a moment longer if none of them is urgent; nothing once the thread is to end."""
        with self._wake:
            end = time.monotonic() + _IDLE_S
            while not self._queue:
                left_s = None if self._runs else end - time.monotonic()
                if self._closing or (left_s is not None and left_s <= 0):
                    self._thread = None
                    self._close()
                    return ()
                self._wake.wait(left_s)
            end = time.monotonic() + _BATCH_S
            while not self._closing and not any(item.urgent for item in self._queue) and self._runs:
                if (left_s := end - time.monotonic()) <= 0:
                    break
                self._wake.wait(left_s)
            self._writing = [self._queue.popleft() for _ in range(min(len(self._queue), _MOST_AT_ONCE))]
            return self._writing

    def _write(self, batch: Sequence[_Waiting]) -> None:
        pause_s, since = _FIRST_PAUSE_S, time.monotonic()
        while True:
            try:
                self._transact(batch)
            except StoreError as error:
                return self._give_up(error)
            except (sqlite3.Error, OSError) as error:
                found = store_error(self.path, error)
                if not any(word in str(error).lower() for word in _TRANSIENT):
                    return self._give_up(found)
                if time.monotonic() - since > PATIENCE_S / 2:
                    self.report(found)
                with self._wake:
                    self._wake.wait(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)
            else:
                self.problem = None
                for item in batch:
                    item.end()
                return None

    def _transact(self, batch: Sequence[_Waiting]) -> None:
        db = self._opened()
        durable = any(item.urgent for item in batch)
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")  # without power a batch of events may go
        db.execute("BEGIN IMMEDIATE")
        try:
            for item in batch:
                _apply(item, db)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise

    def _opened(self) -> sqlite3.Connection:
        before = self._db
        if before is not None and _is_open_at(self.path, self._identity):
            return before
        after = open_to_write(self.path)
        after.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        if before is not None:
            logger.warning("the store {} was deleted; it is begun anew with the runs in progress", self.path)
            for run in list(self._runs):
                run.moved(before, after)
            before.close()
        self._db, self._identity = after, os.stat(self.path)  # noqa: PTH116  # one call, for a result to compare with
        return after

    def _close(self) -> None:
        if self._db is not None:
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _give_up(self, error: StoreError) -> None:
        self.report(error)
        with self._wake:
            self._given_up = True
            waiting = [*self._writing, *self._queue]
            self._queue.clear()
            self._close()
        for item in waiting:
            item.end(error)

    def report(self, error: StoreError) -> None:
        """Log a problem, each once, and keep it for the run's warnings."""
        if self.problem is None or self.problem.message != error.message:
            logger.warning("{}", error)
        self.problem = error


def _apply(item: _Waiting, db: sqlite3.Connection) -> None:
    """Make one change; one that the store refuses for what it says is dropped, and the others follow."""
    try:
        item.change(db)
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError, ValueError, OverflowError) as error:
        logger.warning("a row of the store was refused: {}", error)
        item.error = StoreError(f"the store refused a row: {error}.")


def _is_open_at(path: Path, identity: os.stat_result | None) -> bool:
    try:
        return identity is not None and os.path.samestat(path.stat(), identity)
    except OSError:
        return False
