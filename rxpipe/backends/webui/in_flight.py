"""What the jobs of a WebUI backend share, and a job that was sent, as far as stopping it needs."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.backends.http.backend import HTTPServices

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from rxpipe.backends.http.batches import Batches
    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.names import NameLookup
    from rxpipe.backends.webui.options import OptionKeeper
    from rxpipe.backends.webui.progress import JobOwner, JobTracker, ProgressClient, ProgressSnapshot

_INTERRUPT = "/sdapi/v1/interrupt"
_LOST_AFTER = 2  # rises of the progress; the first may be of the step in progress
_SETTLE_S = 1.0  # until options are looked at again


class InFlightJobs:
    """The jobs of one backend that were sent and have not ended, oldest first. Safe from any thread."""

    def __init__(self) -> None:
        self._trackers: list[JobTracker] = []
        self._lock = threading.Lock()

    @property
    def latest(self) -> JobTracker | None:
        """The one sent last, None if there is none."""
        with self._lock:
            return next((tracker for tracker in reversed(self._trackers) if not tracker.ended.is_set()), None)

    def add(self, tracker: JobTracker) -> JobTracker | None:
        """Note that its request is about to be sent; return the one that was sent last, None if there is none."""
        with self._lock:
            before = [one for one in self._trackers if not one.ended.is_set()]
            self._trackers = [*before, tracker]
            return before[-1] if before else None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebUIServices(HTTPServices):
    """What all jobs of a backend share."""

    progress_client: ProgressClient
    in_flight: InFlightJobs
    batches: Batches
    names: NameLookup
    options: OptionKeeper

    def close_own(self) -> None:
        """End what waits for another image's answer, with an error."""
        self.batches.wake_all()

    def settle_options(self, connection: Connection) -> tuple[str, ...]:
        """Put options back that stayed changed, unless a job of ours runs; return warnings.

        Where another client's job runs, which may bring back what it found, that is done again later.
        """
        if not self.options.has_open or self.in_flight.latest is not None:
            return ()
        warnings = self.options.after_request(connection)
        if self.options.has_open:
            self.calls.polls.schedule_relative(_SETTLE_S, lambda *_: self._settle_later())
        return warnings

    def _settle_later(self) -> None:
        with self.calls.connections.borrowed() as connection:
            self.settle_options(connection)


@dataclass(slots=True)
class InFlightRequest:
    """A request that was sent, as a `StoppableJob`.

    connection: that it was sent over. tracker: what was seen of its job. task: None where progress is global.
    answered: set once its answer came or its connection broke, or we shut it down.
    """

    connection: Connection
    tracker: JobTracker
    task: str | None
    services: WebUIServices
    answered: threading.Event = field(default_factory=threading.Event)
    hits_others: bool = True
    stops_unseen: bool = True
    _owner: JobOwner | None = None
    _gone: bool = False
    _progress: float = 0.0
    _rises: int = 0

    @property
    def _progress_client(self) -> ProgressClient:
        return self.services.progress_client

    @property
    def began(self) -> bool:
        """Whether the job was seen running."""
        return self.tracker.began

    @property
    def aborted(self) -> bool:
        """Whether the connection was shut down on our side."""
        return self.connection.aborted

    def abort(self) -> None:
        """Shut the connection down."""
        self.connection.abort()

    def note_answered(self) -> None:
        """Note that the request is over; its job has ended with it, unless we aborted the connection."""
        self.answered.set()
        if not self.connection.aborted:
            self.tracker.end()

    def read(
        self, connection: Connection, timeout_s: float, *, preview: bool = False, last_preview: int = -1
    ) -> ProgressSnapshot:
        """Return what the server reports of the job."""
        if self.task is None:
            return self._progress_client.read_server(connection, timeout_s=timeout_s, preview=preview)
        return self._progress_client.read_task(
            connection, self.task, timeout_s=timeout_s, last_preview=last_preview, preview=preview
        )

    def turn(self, timeout_s: float) -> AbstractContextManager[bool]:
        """Return at once: a progress report is of one moment whatever else is asked."""
        del timeout_s
        return nullcontext(enter_result=True)

    def is_ours(self, connection: Connection, timeout_s: float) -> bool:
        """Ask whether our job is the running one, which an interrupt would hit."""
        snapshot = self.read(connection, timeout_s)
        self._owner = self.tracker.owner_of(snapshot)
        progress = snapshot.progress or 0.0
        if self._owner == "ours":
            self._rises += progress > self._progress
            self._progress = progress
        return self._owner == "ours"

    def continues(self) -> bool:
        """Whether more than the step in progress was done since the interrupt."""
        return self._rises >= _LOST_AFTER

    def interrupt(self, connection: Connection, timeout_s: float) -> None:
        """Interrupt the running job."""
        self._rises = 0
        connection.post(_INTERRUPT, timeout_s=timeout_s)

    def is_gone(self, connection: Connection, timeout_s: float, *, interrupted: bool, after_grace: bool) -> bool:
        """Whether the job has ended, by the last reading."""
        self._gone = self._has_ended(connection, timeout_s, interrupted=interrupted, after_grace=after_grace)
        return self._gone

    def _has_ended(self, connection: Connection, timeout_s: float, *, interrupted: bool, after_grace: bool) -> bool:
        if self._owner == "ours" and self.task is not None and after_grace:
            # a task that raised stays the active one until the next begins
            snapshot = self._progress_client.read_server(connection, timeout_s=timeout_s)
            return snapshot.state.job_count == 0
        return self._owner == "none" or (self._owner == "other" and interrupted)

    def end(self) -> None:
        """Note that the job has ended, or that it is followed no longer."""
        self.tracker.end()
        over = self._gone or (self.answered.is_set() and not self.connection.aborted)
        if over and self.services.options.has_open:
            with self.services.calls.connections.borrowed() as connection:
                self.services.settle_options(connection)
