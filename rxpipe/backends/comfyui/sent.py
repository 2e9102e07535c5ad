"""A job that was posted: found again after a lost answer, stopped by the newest call that its server has."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from loguru import logger

from rxpipe.backends.comfyui.api import cancel_job, delete_history, delete_waiting, interrupt, place_of, read_queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.comfyui.api import Place, QueueView
    from rxpipe.backends.comfyui.progress import JobTracker
    from rxpipe.backends.comfyui.server import Server
    from rxpipe.backends.http.connection import Connection

_WENT_ON = 2  # steps after the interrupt; the first may be of the one in progress


class OurJobs:
    """The jobs that one backend has on its server, by the ids that we chose. Safe from any thread."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._lock = threading.Lock()
        self._shared = False

    def add(self, mark: str, job: str) -> None:
        """Note a job, and the id that the server gave it."""
        with self._lock:
            self._ids[mark] = job

    def remove(self, mark: str) -> None:
        """Note that a job has ended."""
        with self._lock:
            self._ids.pop(mark, None)

    @property
    def ids(self) -> frozenset[str]:
        """The server's ids of those that have not ended."""
        with self._lock:
            return frozenset(self._ids.values())

    @property
    def shared(self) -> bool:
        """Whether another client's job was seen on the server since the backend was opened."""
        with self._lock:
            return self._shared

    def note_queue(self, count: int) -> None:
        """Note how many jobs run and wait on the server; more than ours are of others."""
        with self._lock:
            self._shared |= count > len(self._ids)

    def note_strangers(self) -> None:
        """Note that another client has a job there."""
        with self._lock:
            self._shared = True


class SentJob:
    """One job on the server, as a `StoppableJob`.

    Args:
        server: what it can do.
        tracker: what is heard of the job.
        connection: that it is posted over.
        ours: jobs of this backend.
        mark: our id of the job.
        forget: called with its id once it has ended.

    job: its id; before the answer to its POST our own.
    """

    def __init__(
        self,
        server: Server,
        tracker: JobTracker,
        connection: Connection,
        ours: OurJobs,
        *,
        mark: str,
        forget: Callable[[str], None],
    ) -> None:
        self.server = server
        self.tracker = tracker
        self.job = mark
        self._mark = mark
        self._forget = forget
        self._connection = connection
        self._ours = ours
        self._aborted = False
        self._posted = threading.Event()
        self._calls_over = threading.Event()
        self._place: Place | None = None
        self._steps = 0
        self._said = False
        ours.add(mark, mark)

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def note_posted(self, job: str) -> None:
        """Note the id that the server gave it."""
        self._ours.add(self._mark, job)
        self.job = job
        self._posted.set()

    @property
    def posted(self) -> bool:
        """Whether the server has it, as far as is known."""
        return self._posted.is_set()

    def note_calls_over(self) -> None:
        """Note that the call's thread asks nothing more over its connection."""
        self._calls_over.set()

    # -- as a StoppableJob --------------------------------------------------------------------------------------------

    @property
    def answered(self) -> threading.Event:
        """Set once the server is done with the job."""
        return self.tracker.finished

    @property
    def hits_any(self) -> bool:
        """Whether the server's interrupt names no job."""
        return not self.server.interrupts_one

    @property
    def began(self) -> bool:
        """Whether it was seen running."""
        return self.tracker.started

    @property
    def aborted(self) -> bool:
        """Whether the grace time was over before the job was."""
        return self._aborted

    def abort(self) -> None:
        """Free the call's thread where it waits for an answer."""
        self._aborted = True
        if not self._calls_over.is_set():
            self._connection.abort()

    def is_ours(self, connection: Connection, timeout_s: float) -> bool:
        """Whether a stop would hit our job now, and nothing else."""
        if not self._posted.is_set() or self.answered.is_set():
            return False
        if self.server.cancels_jobs:
            return True
        if self.server.interrupts_one and self.tracker.started:
            self._place = "running"
            return True
        queue = read_queue(connection, self._ours.ids, timeout_s=timeout_s)
        self._place = queue.place(self.job)
        if self._place == "running" and not self.server.interrupts_one:
            return self._is_alone(queue)
        return self._place in {"running", "waiting"}

    def _is_alone(self, queue: QueueView) -> bool:
        """Whether an interrupt, which names no job on this server, can hit no stranger's.

        Ours may end and theirs begin before it arrives; so one stranger that was ever seen is enough. The very first
        job of the first stranger can still be hit, if it comes after the look at the queue: such a server cannot tell.
        """
        if queue.strangers:
            self._ours.note_strangers()
        shared = self._ours.shared
        if shared and not self._said:
            self._said = True
            logger.bind(backend="comfyui").warning(
                "{} cannot interrupt one job, and others have jobs there: the cancelled one runs to its end; "
                "0.3.57 and later can",
                self.server.name,
            )
        return not shared

    def interrupt(self, connection: Connection, timeout_s: float) -> None:
        """Stop the job by the newest call that the server has."""
        self._steps = self.tracker.steps_done
        if self.server.cancels_jobs and cancel_job(connection, self.job, timeout_s=timeout_s):
            return
        if self._place == "waiting":
            delete_waiting(connection, self.job, timeout_s=timeout_s)
        else:
            interrupt(connection, self.job if self.server.interrupts_one else None, timeout_s=timeout_s)

    def continues(self) -> bool:
        """Whether the job went on: it had just begun, or the flag was cleared by its begin."""
        return self.tracker.steps_done - self._steps >= _WENT_ON

    def is_gone(self, connection: Connection, timeout_s: float, *, interrupted: bool, after_grace: bool) -> bool:
        """Whether the job has ended."""
        del interrupted, after_grace
        if self.answered.is_set():
            return True
        if not self._posted.is_set():
            return self._calls_over.is_set()
        place = place_of(connection, self.server, self.job, timeout_s=timeout_s)
        if place == "done":
            self.tracker.finish()
            delete_history(connection, self.job, timeout_s=timeout_s)
        return place in {"done", "unknown"}

    def end(self) -> None:
        """Note that the job has ended, or is followed no longer."""
        self._ours.remove(self._mark)
        for job in {self._mark, self.job}:
            self._forget(job)
