"""A history from the pictures alone: what a lost store knew that their lineage tells."""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage
from rxpipe.pictures.metadata import read_info
from rxpipe.store.keys import file_digest
from rxpipe.store.records import CELL_COLUMNS, checksum, to_bytes, to_integer, to_text
from rxpipe.store.rows import index_prompts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from rxpipe.pictures.lineage import Lineage
    from rxpipe.store.reading import Store

__all__ = ["rebuild"]

_ID = re.compile(r"(?P<run>.+)-(?P<number>\d+)(?:\.[\w.]+)?")
_MOST = 10**9  # of an image's number, and of what is counted in a setting; a stranger's picture may claim any
_TIME = re.compile(r"\d{8}-\d{6}(?=-)")
_ENDINGS = frozenset({".png", ".jpg", ".jpeg", ".webp", ".avif"})


@dataclass(slots=True)
class _Found:
    """The pictures of one run. stages: the longest row of stages that one of them went through."""

    pictures: list[tuple[Path, Lineage]] = field(default_factory=list)
    stages: tuple[str, ...] = ()


def rebuild(store: Store, folder: Path) -> tuple[int, int]:
    """Enter the runs whose pictures are below *folder* and that the store does not have.

    Of a run the pictures tell its images, their stages and settings, and not its whole plan: it is shown and searched,
    and cannot be resumed. A run that the store has stays as it is.

    Returns:
        How many runs and how many pictures were entered.

    Raises:
        StoreError: the store cannot be written.
    """
    known = {run.run_id for run in store.runs(limit=None)}
    found = _pictures_below(folder)
    new = {run_id: run for run_id, run in found.items() if to_text(run_id) not in known}
    in_order = sorted(new.items(), key=lambda item: min(_began(item[0], path) for path, _ in item[1].pictures))
    for run_id, run in in_order:
        rows = [_cell(path, lineage) for path, lineage in run.pictures]
        values = _run(run_id, run)
        store.writer.change(lambda db, values=values, rows=rows: _insert(db, values, rows))  # type: ignore[misc]  # bound now
    return len(new), sum(len(run.pictures) for run in new.values())


def _pictures_below(folder: Path) -> dict[str, _Found]:
    found: dict[str, _Found] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _ENDINGS or path.name.startswith(".") or not path.is_file():
            continue
        try:
            lineage = read_info(path).lineage
        except (BadImage, OSError):
            continue
        name = _ID.fullmatch(lineage.id) if lineage is not None else None
        if lineage is None or name is None or not lineage.lineage or not 1 <= lineage.number <= _MOST:
            continue
        run = found.setdefault(name["run"], _Found())
        run.pictures.append((path.absolute(), lineage))
        stages = tuple(entry.stage for entry in lineage.lineage)
        run.stages = max(run.stages, stages, key=len)
    return found


def _began(run_id: str, path: Path) -> float:
    """Return when a run began: ids of runs tell it, and files that were copied do not."""
    found = _TIME.match(run_id)
    with contextlib.suppress(ValueError):
        return datetime.strptime(found[0] if found else "", "%Y%m%d-%H%M%S").replace(tzinfo=UTC).timestamp()
    return path.stat().st_mtime


def _run(run_id: str, run: _Found) -> dict[str, object]:
    times = [_began(run_id, path) for path, _ in run.pictures]
    numbers = {lineage.number for _, lineage in run.pictures}
    first = min((lineage for _, lineage in run.pictures), key=lambda lineage: lineage.number)
    settings: Mapping[str, object] = first.lineage[0].settings
    seeds = [lineage.seed - lineage.number + 1 for _, lineage in run.pictures if lineage.seed is not None]
    prompts = _texts(run.pictures, "prompt")
    return {
        "run_id": to_text(run_id),
        "status": "rebuilt",
        "attempt": 1,
        "began": min(times),
        "ended": max(times),
        "images": max(numbers),
        "seed": to_integer(min(seeds, default=None)),
        "stages": json.dumps(list(run.stages)),
        "prompt": prompts,
        "negative_prompt": _texts(run.pictures, "negative_prompt"),
        **{
            column: _value(settings.get(name))
            for column, name in {
                "model": "model",
                "sampler": "sampler_name",
                "scheduler": "scheduler",
                "steps": "steps",
                "cfg_scale": "cfg_scale",
            }.items()
        },
        "backend": to_text(first.lineage[0].backend),
        "version": to_text(first.rxpipe),
        "done": len(numbers),
    }


def _value(given: object) -> str | float | None:
    """Return a setting as a column holds it; None of what no server was ever asked for."""
    if isinstance(given, str):
        return to_text(given)
    return given if isinstance(given, int | float) and abs(given) <= _MOST else None


def _texts(pictures: Iterable[tuple[Path, Lineage]], name: str) -> str:
    texts = (entry.settings.get(name) for _, lineage in pictures for entry in lineage.lineage)
    return to_text("\n".join(dict.fromkeys(text for text in texts if isinstance(text, str) and text)))


def _cell(path: Path, lineage: Lineage) -> list[object]:
    stat, last = path.stat(), lineage.lineage[-1]
    when = datetime.fromtimestamp(stat.st_mtime, UTC).timestamp()
    entry = {"stage": last.stage, "backend": last.backend, "settings": dict(last.settings)}
    return [
        to_text(lineage.id),
        len(lineage.lineage) - 1,
        to_text(lineage.stage or last.stage),
        lineage.number,
        lineage.number,
        "",
        1,
        0,
        "done",
        to_bytes(path),
        file_digest(path),
        stat.st_size,
        to_integer(lineage.seed),
        None,
        when,
        when,
        0.0,
        "[]",
        None,
        json.dumps(entry, default=str),
        json.dumps(lineage.metadata),
        None if lineage.parent is None else to_text(lineage.parent),
    ]


def _insert(db: sqlite3.Connection, values: Mapping[str, object], rows: Iterable[list[object]]) -> None:
    names, marks = ", ".join(values), ", ".join("?" * len(values))
    made = db.execute(f"INSERT OR IGNORE INTO runs ({names}) VALUES ({marks})", tuple(values.values()))  # noqa: S608  # names of ours
    if not made.rowcount:
        return  # another process was faster
    number = made.lastrowid or 0
    names = ", ".join(("run", "sum", *CELL_COLUMNS))
    marks = ", ".join("?" * (len(CELL_COLUMNS) + 2))
    insert = f"INSERT OR REPLACE INTO cells ({names}) VALUES ({marks})"  # noqa: S608  # names of ours
    db.executemany(insert, [(number, checksum(row), *row) for row in rows])
    index_prompts(db, number)
