"""Timeline: the one place that numbers, stamps, keeps and sends a run's events."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from rxpipe.events import RunEnd

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from rxpipe.events import StageEvent
    from rxpipe.subject import EventSubject


class Timeline:
    """Emits the events of one run: seq without a gap, time never decreasing, nothing after RunEnd. From any thread.

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
        self._closed = False

    def emit(self, kind: type[StageEvent], fields: dict[str, Any]) -> None:
        """Send one event of that kind; nothing if the run has ended. *fields*: its own; a dict to be used up."""
        with self._lock:  # numbered and queued in one step, delivered without the lock
            if self._closed:
                return
            self._last = max(self._last, self._now())
            fields["run_id"], fields["seq"], fields["timestamp"] = self.run_id, len(self.events), self._last
            event = kind.model_validate(fields)
            self._closed = kind is RunEnd
            self.events.append(event)
            self._subject.enqueue(event)
        self._subject.drain()
