"""Timeline: the one place that numbers, stamps, keeps and sends a run's events, and where their grammar holds.

Who cancels and who draws are two threads: what one of them says too late, because the other has ended the stage or the
run meanwhile, is dropped here, under the lock that numbers.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rxpipe.events import TERMINALS, RunEnd, StageStart

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rxpipe.events import StageEvent
    from rxpipe.rx.subject import EventSubject


class Timeline:
    """Emits the events of one run: seq without a gap, time never decreasing, nothing before RunStart or after RunEnd.

    Of a stage nothing is emitted before its StageStart or after its terminal. From any thread.

    events: all of them so far, the oldest first; appended to, never changed.

    Args:
        run_id: of every event.
        now: aware UTC, from the run's scheduler.
        subject: where events go, in the order of their seq.
    """

    def __init__(
        self,
        run_id: str,
        now: Callable[[], datetime],
        subject: EventSubject[StageEvent],
    ) -> None:
        self.run_id = run_id
        self.events: list[StageEvent] = []
        self._now = now
        self._subject = subject
        self._lock = threading.Lock()
        self._last = now()
        self._open: set[int] = set()
        self._ending = self._closed = False

    def emit(self, kind: type[StageEvent], fields: dict[str, Any]) -> None:
        """Send one event of that kind, if there is a place for it. *fields*: its own; a dict to be used up."""
        self.put(kind, fields)
        self._subject.drain()

    def put(self, kind: type[StageEvent], fields: dict[str, Any]) -> None:
        """As `emit`, but delivered by whoever drains the subject next. For those who hold a lock of their own."""
        with self._lock:  # numbered and queued in one step, delivered without the lock
            stage = fields.get("stage_index")
            if not self._fits(kind, stage):
                return
            self._last = max(self._last, self._now())
            fields["run_id"], fields["seq"], fields["timestamp"] = self.run_id, len(self.events), self._last
            event = kind.model_validate(fields)
            self._note(kind, stage)
            self.events.append(event)
            self._subject.enqueue(event)

    def end_stages(self) -> None:
        """From here on no stage begins, and of those that are open only the terminals are taken."""
        with self._lock:
            self._ending = True

    def _fits(self, kind: type[StageEvent], stage: int | None) -> bool:
        if self._closed:
            return False
        if stage is None:
            return kind is RunEnd or not self.events  # RunStart, from whoever comes first
        if kind is StageStart:
            return not self._ending
        return stage in self._open and (not self._ending or kind in TERMINALS)

    def _note(self, kind: type[StageEvent], stage: int | None) -> None:
        if stage is None:
            self._closed = kind is RunEnd
        elif kind is StageStart:
            self._open.add(stage)
        elif kind in TERMINALS:
            self._open.remove(stage)
