"""Stopping calls: one interrupt, while our job is the running one, and then seeing it gone.

An interrupt hits whoever runs: sent while ours waits it hits a stranger's job, sent before the start it is lost. So a
stop asks first, on a thread of its own. After the grace time the socket is shut down, which gives back the call's
thread; a job that still waits in the server's queue is interrupted when its turn comes.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.errors import BackendError, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.http.connection import Connection, ConnectionPool
    from rxpipe.backends.webui.progress import JobOwner, JobTracker, ProgressClient, ProgressSnapshot

_FAST_S = 0.02  # between questions while the grace lasts
_SLOW_S = 0.5  # and afterwards
_ASK_S = 2.0  # longest wait for one answer once the grace is over
_GONE_TWICE = 2
_INTERRUPT = "/sdapi/v1/interrupt"


@dataclass(slots=True)
class InFlightRequest:
    """A call that was sent, as far as stopping it needs to know.

    connection: that it was sent over. tracker: what was seen of its job. task: None where progress is global.
    answered: set once its answer came or its connection broke, or we shut it down.
    """

    connection: Connection
    tracker: JobTracker
    task: str | None
    answered: threading.Event = field(default_factory=threading.Event)

    def note_answered(self) -> None:
        """The call is over; so is its job, unless it was we who hung up."""
        self.answered.set()
        if not self.connection.aborted:
            self.tracker.end()


class Interrupter:
    """Interrupts the calls of one backend and waits until their jobs are gone. Safe from any thread.

    Args:
        connections: to ask over.
        progress_client: asks how far the server is.
        grace_s: until the call's socket is shut down.
        idle_timeout_s: how long a job that waits in the server's queue is followed.
    """

    def __init__(
        self, connections: ConnectionPool, progress_client: ProgressClient, *, grace_s: float, idle_timeout_s: float
    ) -> None:
        self._connections = connections
        self._progress_client = progress_client
        self._grace_s = grace_s
        self._idle_timeout_s = idle_timeout_s
        self._closed = threading.Event()
        self._changed = threading.Condition()
        self._stopping: list[_Interrupt] = []
        self._in_grace = 0
        self._abandoned = 0

    @property
    def pending(self) -> int:
        """How many stopped jobs were not yet seen gone."""
        with self._changed:
            return len(self._stopping)

    @property
    def abandoned(self) -> int:
        """How many stopped jobs were abandoned without having been seen gone."""
        with self._changed:
            return self._abandoned

    def start(self, sent: InFlightRequest) -> None:
        """Stop a call; returns at once.

        The thread is no daemon while the grace lasts, so that a program that ends right after a cancel still sends its
        interrupt.
        """
        interrupt = _Interrupt(self, sent)
        with self._changed:
            self._stopping.append(interrupt)
            self._in_grace += 1
        threading.Thread(target=self._run_interrupt, args=(interrupt,), name="rxpipe-webui-stop").start()

    def reset_abandoned(self) -> None:
        """Start counting anew."""
        with self._changed:
            self._abandoned = 0

    def close(self) -> None:
        """Wait until no grace lasts any more, then follow no job any longer."""
        with self._changed:
            self._changed.wait_for(lambda: self._in_grace == 0, timeout=self._grace_s + _ASK_S)
        self._closed.set()

    def _run_interrupt(self, interrupt: _Interrupt) -> None:
        gone = False
        try:
            gone = interrupt.interrupt()
        finally:
            with self._changed:
                self._in_grace -= 1
                self._changed.notify_all()
            if gone:
                self._ended(interrupt, gone=True)
            else:
                threading.Thread(target=self._drain, args=(interrupt,), name="rxpipe-webui-drain", daemon=True).start()

    def _drain(self, interrupt: _Interrupt) -> None:
        gone = False
        try:
            gone = interrupt.wait_until_gone()
        finally:
            self._ended(interrupt, gone=gone)

    def _ended(self, interrupt: _Interrupt, *, gone: bool) -> None:
        interrupt.sent.tracker.end()
        with self._changed:
            self._stopping.remove(interrupt)
            self._abandoned += not gone
            self._changed.notify_all()

    # -- for its interrupts -------------------------------------------------------------------------------------------

    @property
    def grace_s(self) -> float:
        """Until a call's socket is shut down."""
        return self._grace_s

    @property
    def idle_timeout_s(self) -> float:
        """How long a job in the queue is followed."""
        return self._idle_timeout_s

    def others(self, interrupt: _Interrupt) -> list[InFlightRequest]:
        """The calls that are being stopped beside this one and have no answer yet."""
        with self._changed:
            return [
                other.sent for other in self._stopping if other is not interrupt and not other.sent.answered.is_set()
            ]

    def pause(self, seconds: float) -> bool:
        """Wait; True where the backend was closed meanwhile."""
        return self._closed.wait(seconds)

    def with_connection(self, ask: Callable[[Connection], object]) -> None:
        """Do *ask* over a connection that is free."""
        connection = self._connections.acquire()
        try:
            ask(connection)
        finally:
            self._connections.release(connection)

    def is_idle(self, connection: Connection, timeout_s: float) -> bool:
        """Whether the server works on nothing at all."""
        return self._progress_client.read_server(connection, timeout_s=timeout_s).state.job_count == 0

    def read(self, connection: Connection, sent: InFlightRequest, timeout_s: float) -> ProgressSnapshot:
        """What the server says of the call's job."""
        if sent.task is not None:
            return self._progress_client.read_task(connection, sent.task, timeout_s=timeout_s)
        return self._progress_client.read_server(connection, timeout_s=timeout_s)


class _Interrupt:
    """One call being stopped; used by one thread at a time."""

    def __init__(self, interrupter: Interrupter, sent: InFlightRequest) -> None:
        self._interrupter = interrupter
        self.sent = sent
        self._begin_s = time.monotonic()
        self._interrupt_sent = False
        self._others: list[InFlightRequest] = []  # of ours, whom our interrupt may have hit
        self._aborted = False
        self._gone = 0
        self._last: JobOwner | None = "ours" if sent.tracker.began else None

    @property
    def _left_s(self) -> float:
        return self._begin_s + self._interrupter.grace_s - time.monotonic()

    def interrupt(self) -> bool:
        """Interrupt if it is our turn; True once the answer came. Shuts the socket down at the end of the grace."""
        while self._left_s > 0 and not self.sent.answered.is_set():
            if not self._interrupt_sent or self._hit_another():
                self._interrupt_sent = False
                self._try(max(_FAST_S, self._left_s / 2))  # half for connecting, half for the answer
            self.sent.answered.wait(max(0.0, min(self._left_s, _FAST_S)))
        if self.sent.answered.is_set():
            return True
        self._aborted = True
        self.sent.connection.abort()
        return False

    def _hit_another(self) -> bool:
        """Our interrupt ended another call of ours: it had come before ours in the queue, and ours runs now."""
        return any(other.answered.is_set() and not other.connection.aborted for other in self._others)

    def wait_until_gone(self) -> bool:
        """Follow the job, without its connection, until it is gone; False where the time was up before."""
        pause_s, self._gone = _FAST_S, 0
        while time.monotonic() - self._begin_s < self._interrupter.idle_timeout_s:
            if self._interrupter.pause(pause_s):
                return False
            self._try(_ASK_S)
            if self._gone >= _GONE_TWICE:
                return True
            pause_s = min(2 * pause_s, _SLOW_S)
        return False

    def _try(self, timeout_s: float) -> None:
        try:
            self._interrupter.with_connection(lambda connection: self._look(connection, timeout_s))
        except BackendUnavailable:
            self._gone += 1  # nobody there: the job died with its server
        except BackendTimeout:
            if self._last == "ours" and self._left_s <= 0:  # ours when last seen: better than leaving it to run
                self._interrupt_unseen()
        except BackendError:
            self._gone = 0

    def _look(self, connection: Connection, timeout_s: float) -> None:
        snapshot = self._interrupter.read(connection, self.sent, timeout_s)
        self._last = owner = self.sent.tracker.owner_of(snapshot)
        answered = self.sent.answered.is_set() and not self._aborted  # hanging up ends the call too
        if owner == "ours" and not self._interrupt_sent and not answered:
            self._interrupt_sent, self._others = True, self._interrupter.others(self)
            connection.post(_INTERRUPT, timeout_s=timeout_s)
        self._gone = self._gone + 1 if self._is_over(connection, owner, timeout_s) else 0

    def _is_over(self, connection: Connection, owner: JobOwner, timeout_s: float) -> bool:
        if owner == "ours" and self.sent.task is not None and self._left_s <= 0:
            # a task that raised stays the active one until the next begins
            return self._interrupter.is_idle(connection, timeout_s)
        return owner == "nobody" or (owner == "other" and self._interrupt_sent)

    def _interrupt_unseen(self) -> None:
        if self._interrupt_sent:
            return
        self._interrupt_sent = True
        try:
            self._interrupter.with_connection(lambda connection: connection.post(_INTERRUPT, timeout_s=_ASK_S))
        except BackendError:
            self._gone = 0
