"""Timeline: the one place that numbers, stamps, folds and emits a run's events, and that enforces their grammar.

One thread may cancel while another renders: an event that comes too late, because the other thread has ended the stage
or the run, is dropped here, under the lock that numbers.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING, Any

from rxpipe.events import TERMINALS, RunEnd, StageStart, StageStep, make_event
from rxpipe.result import RunUpdate, reduce

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rxpipe.events import StageEvent
    from rxpipe.result import PipelineRunResult
    from rxpipe.rx.subject import EventSubject


class Timeline:
    """Emits the events of one run: seq without a gap, time never decreasing, nothing before RunStart or after RunEnd.

    Nothing of a stage is emitted before its StageStart or after its terminal. Safe from any thread and signal handler.

    result: the run so far; each event is folded into it once, and emitted with the result that includes it.

    Args:
        run_id: of every event.
        now: aware UTC, from the run's scheduler.
        clock_s: seconds that no correction of the date moves, from the same.
        updates: where events go, in the order of their seq.
        result: of a run without an event.
    """

    def __init__(
        self,
        run_id: str,
        now: Callable[[], datetime],
        clock_s: Callable[[], float],
        updates: EventSubject[RunUpdate],
        result: PipelineRunResult,
    ) -> None:
        self.run_id = run_id
        self.result = result
        self._now, self._clock_s = now, clock_s
        self._began_s: float | None = None
        self._updates = updates
        self._lock = threading.RLock()
        self._last = now()
        self._count = 0
        self._pending: RunUpdate | None = None
        self._started: set[int] = set()
        self._open: set[int] = set()
        self._ending = self._closed = False

    def emit(self, kind: type[StageEvent], fields: dict[str, Any]) -> None:
        """Emit one event of that kind, unless the grammar forbids it. *fields*: its own; the dict is modified."""
        self.put(kind, fields)
        self._updates.drain()

    def put(self, kind: type[StageEvent], fields: dict[str, Any]) -> None:
        """As `emit`, but leave delivery to the next drain of the updates; for callers that hold a lock of their own."""
        with self._lock:  # numbered and queued in one step, delivered without the lock
            if self._pending is not None:  # an interrupt cut it short
                self._record(self._pending)
            while self._fits(kind, fields.get("stage_index")):
                self._last = max(self._last, self._now())
                now_s = self._clock_s()
                self._began_s = now_s if self._began_s is None else self._began_s
                fields["elapsed_s"] = round(now_s - self._began_s, 6)
                fields["run_id"], fields["seq"], fields["timestamp"] = self.run_id, self._count, self._last
                event = make_event(kind, fields)
                if event.seq == self._count:  # else a signal handler emitted one of its own meanwhile
                    self._pending = RunUpdate(event, reduce(self.result, event))
                    self._record(self._pending)
                    return

    def end_stages(self) -> None:
        """Accept no further StageStart, and of the open stages nothing but their terminals."""
        with self._lock:
            self._ending = True

    def _record(self, update: RunUpdate) -> None:
        """Record an event; called again if an interrupt cut that short, which changes nothing that is done already."""
        event, result = update
        if not isinstance(event, StageStep):
            self._note(event)
        if event.seq == self._count:
            # One statement, so that no interrupt between two of them has it sent twice or never.
            _, self._count = self._updates.enqueue(update), self._count + 1  # type: ignore[func-returns-value]  # None
        self.result = result
        self._pending = None

    def _fits(self, kind: type[StageEvent], stage: int | None) -> bool:
        if self._closed:
            return False
        if stage is None:
            return kind is RunEnd or not self._count  # RunStart, from the first thread that emits it
        if kind is StageStart:
            return not self._ending and stage not in self._started
        return stage in self._open and (not self._ending or kind in TERMINALS)

    def _note(self, event: StageEvent) -> None:
        if isinstance(event, RunEnd):
            self._closed = True
        elif isinstance(event, StageStart):
            self._started.add(event.stage_index)
            self._open.add(event.stage_index)
        elif isinstance(event, TERMINALS):
            self._open.discard(event.stage_index)


def new_run_id(now: datetime) -> str:
    """Return an id that no other run has: the second, then its 4,096th part and 48 random bits in hexadecimal.

    Ids sort by time, to 0.25 ms. *now*: UTC.
    """
    part = now.microsecond * 4096 // 1_000_000
    return f"{now:%Y%m%d-%H%M%S}-{part:03x}{secrets.token_hex(6)}"
