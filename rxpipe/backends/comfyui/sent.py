"""A job that was posted: found again after a lost answer, stopped by the newest call that its server has."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Literal

from rxpipe.backends.comfyui.api import cancel_job, delete_history, delete_waiting, interrupt, place_of, read_queue
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from rxpipe.backends.comfyui.api import Place, QueueView
    from rxpipe.backends.comfyui.ours import OurJobs
    from rxpipe.backends.comfyui.progress import JobTracker
    from rxpipe.backends.comfyui.server import Server
    from rxpipe.backends.http.connection import Connection

_WENT_ON = 2  # steps after the interrupt; the first may be of the one in progress
_LATE_S = 1.0  # in which messages of steps before the interrupt may still come
_AGAIN_S = 5.0  # until an interrupt that names the job is repeated while the job runs, whatever is heard of it
_THERE = ("waiting", "running")


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
        self._seen = False
        self._cancels = server.cancels_jobs
        self._place: Place | None = None
        self._waiting: tuple[str, ...] = ()  # of ours that are being stopped, by the last look
        self._call: Literal["remove", "interrupt"] = "remove"  # the last one that was sent
        self._call_s = 0.0
        self._steps = 0
        self._said = False
        ours.add(mark, mark)

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def note_posted(self, job: str, *, seen: bool) -> None:
        """Note the id that the server gave it; *seen*: the server has named it."""
        self._seen = seen
        self._ours.add(self._mark, job)
        self.job = job
        self._posted.set()

    @property
    def posted(self) -> bool:
        """Whether the server has it, as far as is known."""
        return self._posted.is_set()

    @property
    def exposed(self) -> bool:
        """Whether an interrupt for another job of ours may have hit it."""
        return self._ours.is_exposed(self._mark)

    @property
    def stopping(self) -> bool:
        """Whether it is being stopped, which ends it."""
        return self._ours.is_stopping(self._mark)

    def note_stopping(self) -> bool:
        """Note that a stop follows; False where one does already."""
        return self._ours.note_stopping(self._mark)

    def note_calls_over(self) -> None:
        """Note that the call's thread asks nothing more over its connection."""
        self._calls_over.set()

    # -- as a StoppableJob --------------------------------------------------------------------------------------------

    @property
    def answered(self) -> threading.Event:
        """Set once the server is done with the job."""
        return self.tracker.finished

    hits_others = False
    """The queue says which job runs."""

    @property
    def stops_unseen(self) -> bool:
        """Whether the server's interrupt names the job."""
        return self.server.interrupts_one

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

    def turn(self, timeout_s: float) -> AbstractContextManager[bool]:
        """Keep the backend's other stops away, and its posts where an interrupt could hit what is posted."""
        return self._ours.turn(timeout_s)

    def is_ours(self, connection: Connection, timeout_s: float) -> bool:
        """Whether a stop would hit our job now, and nothing else."""
        if not self._posted.is_set() or self.answered.is_set() or self.tracker.ends:
            return False
        if self._cancels:
            return True
        if self.server.interrupts_one and self.tracker.started and self._ours.count == 1:
            self._place, self._waiting = "running", ()
            return True
        queue = self._look(connection, timeout_s)
        if self._place == "running" and not self.server.interrupts_one:
            return self._is_alone(queue)
        return self._place in _THERE

    def _look(self, connection: Connection, timeout_s: float) -> QueueView:
        queue = read_queue(connection, self._ours.ids, timeout_s=timeout_s)
        stopping = self._ours.stopping
        stopping |= {job for mark, job in queue.marked.items() if mark in stopping}
        self._place = queue.place(self.job)
        self._waiting = tuple(job for job in queue.waiting if job in stopping)
        return queue

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
        """Stop the job by the newest call that the server has.

        Jobs of ours that are being stopped and wait are taken out first: else the next one began when this one ends.
        """
        if self._cancels:
            self._note_call("interrupt")
            answer = cancel_job(connection, self.job, timeout_s=timeout_s)
            if answer is not None:
                self._call = "interrupt" if answer else "remove"  # else it was not there
                return
            self._cancels = False
            self._look(connection, timeout_s)
        if self._waiting:
            self._note_call("remove")
            delete_waiting(connection, self._waiting, timeout_s=timeout_s)
        if self._place == "waiting":
            return
        if self.server.interrupts_one:
            self._note_call("interrupt")
            interrupt(connection, self.job, timeout_s=timeout_s)
        elif not self._waiting or self.is_ours(connection, timeout_s):
            self._interrupt_any(connection, timeout_s)

    def _interrupt_any(self, connection: Connection, timeout_s: float) -> None:
        """Interrupt whatever runs, which is our job by the last look."""
        self._ours.note_exposed()
        self._note_call("interrupt")
        interrupt(connection, None, timeout_s=timeout_s)
        self._ours.note_interrupted()

    def _note_call(self, call: Literal["remove", "interrupt"]) -> None:
        self._call, self._call_s, self._steps = call, time.monotonic(), self.tracker.steps_done

    def continues(self) -> bool:
        """Whether the job went on: it began before it was taken out, or its begin cleared the interrupt."""
        if self._call == "remove":
            return self._place in _THERE
        since_s = time.monotonic() - self._call_s
        if since_s < _LATE_S:
            self._steps = self.tracker.steps_done
            return False
        again = self.server.interrupts_one and since_s >= _AGAIN_S and self._place in _THERE
        return again or self.tracker.steps_done - self._steps >= _WENT_ON

    def is_gone(self, connection: Connection, timeout_s: float, *, interrupted: bool, after_grace: bool) -> bool:
        """Whether the job has ended."""
        del interrupted, after_grace
        if self.answered.is_set():
            return True
        if not self._posted.is_set():
            return self._calls_over.is_set() and not self._came_late(connection, timeout_s)
        place = place_of(connection, self.server, self.job, timeout_s=timeout_s)
        self._place = place
        if place == "done" or (place == "unknown" and self._seen):  # one that is taken out says nothing
            self.tracker.finish()
        if place == "done":
            delete_history(connection, self.job, timeout_s=timeout_s)
        return place in {"done", "unknown"}

    def _came_late(self, connection: Connection, timeout_s: float) -> bool:
        """Whether a post without an answer has reached the queue after all, of a server that gives ids of its own."""
        job = read_queue(connection, self._ours.ids, timeout_s=timeout_s).marked.get(self._mark)
        if job is not None:
            self.note_posted(job, seen=True)
        return job is not None

    def end(self) -> None:
        """Note that the job has ended, or is followed no longer."""
        self._ours.remove(self._mark, heard=self.tracker.heard_end)
        for job in {self._mark, self.job}:
            self._forget(job)
