"""Jobs of a server that renders one image after another: a record of each, and a log of all of them.

Nothing here schedules: a server's own queue does, and reports to the log.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rxpipe.testing.servers.core.gates import Gate
from rxpipe.testing.servers.core.request_log import RequestLog

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.testing.servers.core.clock import Clock
    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.requests import RecordedRequest

Outcome = Literal["queued", "running", "done", "interrupted", "failed", "lost"]


@dataclass(slots=True)
class Job:
    """One request that renders, from its arrival in the queue to its end. Times are of the server's clock.

    name: what the server shows as its progress.
    task_id: the id by which clients ask for it, None where it has none.
    outcome: interrupted where an interrupt stopped it, whatever it returned then; lost where the server died.
    """

    number: int
    stage: str
    name: str
    task_id: str | None
    call: RecordedRequest
    queued_s: float
    fault: Fault | None = None
    started_s: float | None = None
    ended_s: float | None = None
    outcome: Outcome = "queued"


@dataclass(frozen=True, slots=True)
class Interrupt:
    """An interrupt or a skip that came in. `job` is the running one it stopped, None where the server was idle."""

    at_s: float
    job: Job | None
    call: RecordedRequest


@dataclass(slots=True)
class JobGate(Gate):
    """Stops every job of a stage at a step until `release`. Made by the server's `hold`."""

    stage: str
    step: int


class JobLog(RequestLog):
    """A RequestLog that also counts jobs, interrupts and renderings."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.jobs: list[Job] = []
        self.interrupts: list[Interrupt] = []
        self.skips: list[Interrupt] = []
        self.switches: list[str] = []
        self.active_drawings = 0
        self.max_active_drawings = 0
        self.running: Job | None = None
        self._busy_s = 0.0

    @property
    def busy_s(self) -> float:
        """Seconds of the server's clock during which a job held the queue, the running one's included."""
        with self.changed:
            running = self.running
            since = self.clock.now() - running.started_s if running and running.started_s is not None else 0.0
            return self._busy_s + since

    def note_start(self, job: Job) -> None:
        """Record that a job has acquired the queue's lock."""
        with self.noting():
            job.started_s, job.outcome, self.running = self.clock.now(), "running", job

    def note_end(self, job: Job, outcome: Outcome) -> None:
        """Record that a job has released the lock. Does nothing for one that was lost with its server."""
        with self.noting():
            if job.outcome == "lost":
                return
            job.ended_s, job.outcome = self.clock.now(), outcome
            if self.running is job:
                self.running = None
            if job.started_s is not None:
                self._busy_s += job.ended_s - job.started_s

    def note_death(self) -> None:
        """Record that the jobs that ran and waited are lost; their threads end later."""
        with self.noting():
            for job in self.jobs:
                if job.outcome in {"queued", "running"}:
                    self.note_end(job, "lost")

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Count a rendering as active for as long as the block runs."""
        with self.noting():
            self.active_drawings += 1
            self.max_active_drawings = max(self.max_active_drawings, self.active_drawings)
        try:
            yield
        finally:
            with self.noting():
                self.active_drawings -= 1
