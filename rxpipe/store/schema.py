"""The tables of a store, and how a connection to them is opened; what SQLite raises becomes a StoreError.

`PRAGMA user_version` counts the migrations that a file has had: a file with fewer gets the rest in one transaction, one
with more is of a newer rxpipe and is left alone, and so is any file that is no store.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from typing import TYPE_CHECKING

from rxpipe.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["MIGRATIONS", "has_search", "open_to_read", "open_to_write", "store_error", "translated"]

APPLICATION_ID = 0x72787069  # "rxpi", in the head of the file
_BUSY_S = 5.0
_CHECKED_BYTES = 64 << 20  # a larger file is not read as a whole before each run

_FIRST = """
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    began REAL NOT NULL,
    ended REAL,
    images INTEGER NOT NULL,
    seed INTEGER,
    stages TEXT NOT NULL,
    prompt TEXT NOT NULL DEFAULT '',
    negative_prompt TEXT NOT NULL DEFAULT '',
    model TEXT,
    sampler TEXT,
    scheduler TEXT,
    steps INTEGER,
    cfg_scale REAL,
    backend TEXT NOT NULL DEFAULT '',
    backend_spec TEXT NOT NULL DEFAULT '',
    out BLOB,
    cwd BLOB,
    plan TEXT NOT NULL DEFAULT '',
    config TEXT NOT NULL DEFAULT '',
    identities TEXT NOT NULL DEFAULT '{}',
    parent TEXT,
    error TEXT,
    warnings TEXT NOT NULL DEFAULT '[]',
    done INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    cancelled INTEGER NOT NULL DEFAULT 0,
    filtered INTEGER NOT NULL DEFAULT 0,
    version TEXT NOT NULL DEFAULT '',
    host TEXT NOT NULL DEFAULT '',
    pid INTEGER,
    sum INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX runs_of_status ON runs (status);
CREATE TABLE cells (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL,
    artifact_id TEXT NOT NULL,
    stage_index INTEGER NOT NULL,
    stage_type TEXT NOT NULL,
    image_index INTEGER NOT NULL,
    image_number INTEGER NOT NULL,
    key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    resumed INTEGER NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL,
    path BLOB,
    digest TEXT,
    size INTEGER,
    seed INTEGER,
    server TEXT,
    began REAL NOT NULL,
    ended REAL NOT NULL,
    duration_s REAL NOT NULL,
    warnings TEXT NOT NULL DEFAULT '[]',
    error TEXT,
    entry TEXT,
    metadata TEXT NOT NULL DEFAULT '{}',
    parent TEXT,
    sum INTEGER NOT NULL DEFAULT 0,
    UNIQUE (run, artifact_id, stage_index)
);
CREATE INDEX cells_of_stage ON cells (run, stage_index, outcome, duration_s);
CREATE INDEX cells_of_key ON cells (key);
CREATE INDEX cells_of_image ON cells (run, image_number, artifact_id, stage_index);
CREATE INDEX cells_of_path ON cells (path);
CREATE TABLE events (
    run INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    kind TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (run, attempt, seq)
) WITHOUT ROWID;
CREATE TABLE marks (
    run INTEGER NOT NULL,
    artifact_id TEXT NOT NULL,
    favourite INTEGER NOT NULL DEFAULT 0,
    trashed INTEGER NOT NULL DEFAULT 0,
    rating INTEGER,
    tags TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY (run, artifact_id)
) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (_FIRST,)
"""What makes version n + 1 out of version n. Only ever appended to: files of every version are out there."""

_SEARCH = (
    "CREATE VIRTUAL TABLE prompts USING fts5 (prompt, negative_prompt, tokenize = 'unicode61 remove_diacritics 2')"
)

_KEEP = "The pictures are not affected."
_HINTS = (
    (("malformed", "not a database", "corrupt", "decode to utf-8"), "is damaged",
     f"{_KEEP} Move the file away: a new one is begun, and `rxpipe runs --rebuild FOLDER` restores the history."),
    (("locked", "busy"), "is locked by another program", "Close what holds it; rows wait until it is free."),
    (("full",), "has no room on its disk", "Free some space, or choose another place with --store PATH."),
    (("readonly", "read-only", "permission"), "is read-only",
     "Make the file and its folder writable, or choose another place with --store PATH."),
    (("unable to open",), "cannot be opened", "Check the folder, or choose another place with --store PATH."),
    (("disk i/o",), "cannot be read or written", "Check the disk, or choose another place with --store PATH."),
)  # fmt: skip


def store_error(path: Path, error: BaseException) -> StoreError:
    """Return an error of SQLite or of the file system as what a person can act on."""
    text = str(error).lower()
    for words, what, hint in _HINTS:
        if any(word in text for word in words):
            return StoreError(f"the store {path} {what} ({error}).", hint=hint)
    return StoreError(f"the store {path} cannot be used: {type(error).__name__}: {error}.", hint=f"{_KEEP}")


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise what reading a store raises as a StoreError: of SQLite, of the disk, or of a row that makes no sense."""
    try:
        yield
    except StoreError:
        raise
    except (sqlite3.Error, OSError) as error:
        raise store_error(path, error) from error
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
        damaged = sqlite3.DatabaseError(f"malformed row: {type(error).__name__}")
        raise store_error(path, damaged) from error


def open_to_read(path: Path) -> sqlite3.Connection:
    """Open a store that is there, to read only; one that lacks migrations is given them first.

    Raises:
        sqlite3.Error, OSError: it cannot be read. StoreError: it is no store, or of a newer version.
    """
    db = _readable(path)
    try:
        version = _version(db, path)
    except BaseException:
        db.close()
        raise
    if version < len(MIGRATIONS):
        db.close()
        open_to_write(path).close()
        db = _connect(path, "ro")
    return db


def _readable(path: Path) -> sqlite3.Connection:
    """Return a connection that reads: one that writes nothing, where its log allows that.

    A log without the memory that belongs to it, as in a copy, is taken over by writing; a folder that cannot be written
    has no place for either, and then no log.
    """
    has_log = path.with_name(path.name + "-wal").exists()
    ways = [("ro", ""), ("rw", "")] if has_log else [("ro", ""), ("ro", "&immutable=1")]
    for number, (mode, more) in enumerate(ways, 1):
        db = _connect(path, mode, more)
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError:
            db.close()
            if number == len(ways):
                raise
        else:
            return db
    raise AssertionError  # the last way returns or raises


def open_to_write(path: Path) -> sqlite3.Connection:
    """Open a store, made if it is not there, with all migrations.

    Raises:
        sqlite3.Error, OSError: it cannot be written. StoreError: it is no store, or of a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_private(path)
    db = _connect(path, "rwc")
    try:
        if _version(db, path) < len(MIGRATIONS):
            _migrate(db, path)
        if path.stat().st_size <= _CHECKED_BYTES:
            _check(db)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


def _make_private(path: Path) -> None:
    """Make a file that is not there yet readable for its owner only: prompts are their author's.

    It gets its name after it was closed: closing a file releases the locks that SQLite holds on it in this process.
    """
    if path.exists():
        return
    empty = path.with_name(f".{path.name}-{uuid.uuid4().hex}")
    with contextlib.suppress(OSError):  # a file system without links: SQLite makes the file
        os.close(os.open(empty, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            os.link(empty, path)
        finally:
            empty.unlink()


def _check(db: sqlite3.Connection) -> None:
    """Raise unless the pages of the file fit together; what is written into one that is damaged damages it further."""
    found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise sqlite3.DatabaseError(f"malformed: {found.splitlines()[-1]}")


def has_search(db: sqlite3.Connection) -> bool:
    """Return whether the store has an index of its prompts; some builds of SQLite cannot make one."""
    return db.execute("SELECT 1 FROM sqlite_master WHERE name = 'prompts'").fetchone() is not None


def _connect(path: Path, mode: str, more: str = "") -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}{more}"
    db = sqlite3.connect(uri, uri=True, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
    db.execute("PRAGMA cell_size_check = ON")
    return db


def _version(db: sqlite3.Connection, path: Path) -> int:
    """Return how many migrations the file has had; raise StoreError unless it is a store that can be read."""
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    owner = int(db.execute("PRAGMA application_id").fetchone()[0])
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (tables or version):
        raise StoreError(f"{path} is a database of another program.", hint="Choose another file with --store PATH.")
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the store {path} was written by a newer rxpipe (version {version}; this one knows {len(MIGRATIONS)}).",
            hint="Update rxpipe, or choose another file with --store PATH. It was left as it is.",
        )
    return version


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db, path)  # another process may have been faster
        for migration in MIGRATIONS[version:]:
            for statement in filter(str.strip, migration.split(";\n")):
                db.execute(statement)
        if version == 0:
            with contextlib.suppress(sqlite3.OperationalError):  # built without FTS5: searched row by row
                db.execute(_SEARCH)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        db.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.execute("ROLLBACK")
        raise
