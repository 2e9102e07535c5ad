"""RequestLog: every request and connection of a server, and the one lock of the whole server.

Outlives a crash of the simulated program. Everything below `changed` is written only while it is held, and every
write notifies, so that `wait_for` needs no polling.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.requests import RecordedRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rxpipe.testing.servers.core.clock import Clock


WAIT_S = 30.0
"""Real seconds after which a wait for an event gives up, however busy the machine."""


class RequestLog:
    """The counters of a server. Read from any thread; hold `changed` to read several at one moment."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.clock = clock
        self.calls: list[RecordedRequest] = []
        self.connections = 0
        self.in_flight = 0
        self.max_in_flight = 0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Hold the lock for a change and wake every thread that waits for one."""
        with self.changed:
            yield
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Return whether `predicate` came true within `timeout_s` seconds of real time; called with the lock held."""
        with self.changed:
            return self.changed.wait_for(predicate, timeout_s)

    def note_death(self) -> None:
        """Record that the server died; the log of one that has jobs counts them as lost."""

    def new_call(self, **fields: Any) -> RecordedRequest:
        """Record a request, its number and times filled in."""
        with self.noting():
            call = RecordedRequest(
                len(self.calls) + 1, at_s=self.clock.now(), at_monotonic_s=time.monotonic(), **fields
            )
            self.calls.append(call)
            return call

    @contextmanager
    def in_progress(self, call: RecordedRequest) -> Iterator[None]:
        """Count a request that renders as in flight for as long as the block runs, its wait in the queue included."""
        with self.noting():
            self.in_flight += call.stage is not None
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.noting():
                self.in_flight -= call.stage is not None
