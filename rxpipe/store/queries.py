"""The questions that a store answers, as SQL: conditions of a list of runs, words of a search, times of stages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from rxpipe.store.records import StageTiming, integer_of, time_of
from rxpipe.store.schema import has_search

if TYPE_CHECKING:
    import sqlite3
    from datetime import datetime

__all__ = ["Conditions", "timings"]

_FIRST_IDEOGRAPH = "\u2e80"  # from here on languages write without blanks, and an index of words finds nothing


class Conditions:
    """The conditions of a list of runs, all of which must hold.

    Args:
        db: to look whether there is an index of the prompts.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._parts: list[str] = []
        self.values: list[Any] = []

    @property
    def where(self) -> str:
        """The WHERE clause, empty if every run is wanted."""
        return f" WHERE {' AND '.join(self._parts)}" if self._parts else ""

    def add(self, condition: str, *values: Any) -> None:
        """Add a condition with its values, unless one of them is None."""
        if None not in values:
            self._parts.append(condition)
            self.values += values

    def add_time(self, condition: str, moment: datetime | None) -> None:
        """Add a condition on a moment, unless that is None."""
        self.add(condition, None if moment is None else moment.timestamp())

    def add_seed(self, seed: int | None) -> None:
        """Add that one of the images of a run has that seed, unless it is None."""
        if seed is not None:
            self._db.create_function("has_seed", 2, lambda first, images: _has_seed(first, images, seed))
            self.add("has_seed(runs.seed, runs.images)")

    def add_search(self, text: str) -> None:
        """Add that every word of *text* begins a word of the prompts."""
        for word in text.split():
            if any(char >= _FIRST_IDEOGRAPH for char in word) or not has_search(self._db):
                like = "%" + word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
                self.add("(runs.prompt LIKE ? ESCAPE '\\' OR runs.negative_prompt LIKE ? ESCAPE '\\')", like, like)
            elif any(char.isalnum() for char in word):  # marks alone are no word of an index
                quoted = '"' + word.replace('"', '""') + '"*'
                self.add("runs.number IN (SELECT rowid FROM prompts WHERE prompts MATCH ?)", quoted)


def _has_seed(first: int | bytes | None, images: int, seed: int) -> bool:
    """Whether *seed* is one of so many from *first* on; in Python, since SQLite's numbers end before seeds do."""
    number = integer_of(first)
    return number is not None and number <= seed < number + images


def timings(db: sqlite3.Connection, run: int, stages: tuple[str, ...]) -> tuple[StageTiming, ...]:
    """Return where the time of a run went, one entry per stage that a cell of it reached, in their order."""
    outcomes: dict[int, dict[str, int]] = {}
    servers: dict[int, dict[str, float]] = {}
    for stage, outcome, count in db.execute(
        "SELECT stage_index, outcome, count(*) FROM cells WHERE run = ? GROUP BY stage_index, outcome", (run,)
    ):
        outcomes.setdefault(stage, {})[outcome] = count
    for stage, server, seconds in db.execute(
        "SELECT stage_index, server, sum(duration_s) FROM cells WHERE run = ? AND server IS NOT NULL "
        "GROUP BY stage_index, server",
        (run,),
    ):
        servers.setdefault(stage, {})[server] = seconds
    rows = db.execute(
        "SELECT stage_index, sum(resumed = 0), sum(resumed), sum(duration_s * (resumed = 0)), max(duration_s), "
        "min(began), max(ended) FROM cells WHERE run = ? GROUP BY stage_index ORDER BY stage_index",
        (run,),
    )
    return tuple(
        StageTiming(
            stage_index=stage,
            stage_type=stages[stage] if stage < len(stages) else str(stage),
            drawn=drawn,
            recalled=recalled,
            total_s=total_s,
            longest_s=longest_s,
            began=time_of(began),
            ended=time_of(ended),
            outcomes=outcomes.get(stage, {}),
            servers=servers.get(stage, {}),
        )
        for stage, drawn, recalled, total_s, longest_s, began, ended in rows
    )


def stages_condition(stage: str) -> tuple[str, str]:
    """Return the condition that a run has a stage of that name, and its value."""
    return "runs.stages LIKE ?", f"%{json.dumps(stage)}%"
