"""Where the time of a run went: its wall time by what was done, and the seconds of each stage and each server."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.views.report.bars import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rxpipe.views.report.bars import Attempt, Bar, Kind

__all__ = ["IDLE", "Row", "by_server", "by_stage", "shares"]

IDLE = "no image in progress"
_ORDER = {kind: number for number, kind in enumerate(KINDS)}


@dataclass(slots=True)
class Row:
    """The images of one stage, or of one server.

    drawn: images that were not taken from a journal. kept: those that were. failed, retries: counts. total_s: seconds
    that the images drawn spent in it, those at the same time each for itself. longest_s: of one. by_kind: the same
    seconds by what they were spent on.
    """

    name: str
    drawn: int = 0
    kept: int = 0
    failed: int = 0
    retries: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0
    by_kind: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def mean_s(self) -> float:
        """Seconds an image; 0 if none was drawn."""
        return self.total_s / self.drawn if self.drawn else 0.0

    def add(self, bar: Bar) -> None:
        """Count an image."""
        if bar.resumed:
            self.kept += 1
            return
        self.drawn += 1
        self.failed += bar.outcome == "failed"
        self.retries += len(bar.retries)
        self.total_s += bar.length_s
        self.longest_s = max(self.longest_s, bar.length_s)
        for span in bar.spans:
            self.by_kind[span.kind] += span.length_s


def shares(attempts: Iterable[Attempt]) -> dict[str, float]:
    """Return the wall time of a run in seconds by what was done, most first; their sum is that of the attempts.

    A moment in which several images are in progress counts as the first kind in `KINDS` that one of them is in: while
    anything is rendered, nothing is lost by another image that waits.
    """
    totals: Counter[str] = Counter()
    for attempt in attempts:
        totals.update(_shares_of(attempt))
    return {kind: seconds for kind, seconds in totals.most_common() if seconds > 0}


def _shares_of(attempt: Attempt) -> Mapping[str, float]:
    spans = [span for bar in attempt.bars for span in bar.spans]
    edges = [(span.begin_s, 1, span.kind) for span in spans] + [(span.end_s, -1, span.kind) for span in spans]
    edges.append((attempt.length_s, 0, "queue"))
    totals: dict[str, float] = defaultdict(float)
    running: Counter[Kind] = Counter()
    before_s = 0.0
    for at_s, change, kind in sorted(edges, key=lambda edge: edge[0]):
        now = [each for each, count in running.items() if count]
        totals[min(now, key=_ORDER.__getitem__) if now else IDLE] += max(0.0, at_s - before_s)
        before_s = max(before_s, at_s)
        running[kind] += change
    return totals


def by_stage(attempts: Iterable[Attempt]) -> tuple[Row, ...]:
    """Return a row a stage that an image reached, in their order."""
    rows: dict[int, Row] = {}
    for attempt in attempts:
        for bar in attempt.bars:
            rows.setdefault(bar.stage_index, Row(bar.stage_type)).add(bar)
    return tuple(rows[index] for index in sorted(rows))


def by_server(attempts: Iterable[Attempt]) -> tuple[Row, ...]:
    """Return a row a member of the pool, by name; none where there was only one backend."""
    rows: dict[str, Row] = {}
    for attempt in attempts:
        for bar in attempt.bars:
            if bar.server is not None and not bar.resumed:
                rows.setdefault(bar.server, Row(bar.server)).add(bar)
    return tuple(rows[name] for name in sorted(rows))
