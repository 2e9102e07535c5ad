"""Stopping requests: an interrupt, while our job is the running one, and then seeing that the job is gone.

Many servers interrupt whatever runs: sent while our job waits, an interrupt hits another client's job, sent before the
start it is lost. So a stop asks first, on a thread of its own, and interrupts again where the job continues. After the
grace time the socket is shut down, which frees the call's thread; a job that still waits in the server's queue is
interrupted when it begins.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from rxpipe.errors import BackendError, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from rxpipe.backends.http.connection import Connection, ConnectionPool

_FAST_S = 0.02  # between questions while the grace lasts
_SLOW_S = 0.5  # and afterwards
_ASK_S = 2.0  # longest wait for one answer once the grace is over
_GONE_TWICE = 2
_TIMES_A_RENDER = 3
TOO_OFTEN = "answered 429"


class StoppableJob(Protocol):
    """A job on a server, as far as stopping it needs. Its methods are called by one thread at a time."""

    @property
    def answered(self) -> threading.Event:
        """Set once the answer came or the connection broke."""
        ...

    @property
    def hits_others(self) -> bool:
        """Whether an interrupt for it may have stopped another job of ours, unseen by `is_ours`."""
        ...

    @property
    def stops_unseen(self) -> bool:
        """Whether it is interrupted by what was last known where the server answers no question."""
        ...

    @property
    def began(self) -> bool:
        """Whether the job was seen running."""
        ...

    def turn(self, timeout_s: float) -> AbstractContextManager[bool]:
        """Return what is entered from `is_ours` to `interrupt`; False where another job was in it for *timeout_s*."""
        ...

    def is_ours(self, connection: Connection, timeout_s: float) -> bool:
        """Ask the server whether an interrupt would hit our job now. Raises BackendError."""
        ...

    def interrupt(self, connection: Connection, timeout_s: float) -> None:
        """Interrupt the job. Raises BackendError."""
        ...

    def continues(self) -> bool:
        """Whether the job went on after the interrupt, by what `is_ours` read since: it was sent before the begin."""
        ...

    def is_gone(self, connection: Connection, timeout_s: float, *, interrupted: bool, after_grace: bool) -> bool:
        """Whether the job has ended, by what `is_ours` just read; may ask again. Raises BackendError."""
        ...

    @property
    def aborted(self) -> bool:
        """Whether no answer comes any more, though the job may be there."""
        ...

    def abort(self) -> None:
        """Free the thread that waits for the answer: the grace time is over."""
        ...

    def end(self) -> None:
        """Note that the job has ended, or that it is followed no longer."""
        ...


class Interrupter:
    """Interrupts the jobs of one backend and waits until they are gone. Safe from any thread.

    Args:
        connections: to ask over.
        name: of the threads.
        grace_s: until the call's socket is shut down.
        idle_timeout_s: how long a job that waits in the server's queue is followed.
        idle_least_s: see `idle_limit_s`.
    """

    def __init__(
        self,
        connections: ConnectionPool,
        *,
        grace_s: float,
        idle_timeout_s: float,
        idle_least_s: float = 30.0,
        name: str = "rxpipe-http",
    ) -> None:
        self._connections = connections
        self._name = name
        self.grace_s = grace_s
        self.idle_timeout_s = idle_timeout_s
        self._idle_least_s = idle_least_s
        self._longest_s: float | None = None
        self._hangs = False
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
        """How many stopped jobs are followed no longer and were not seen gone."""
        with self._changed:
            return self._abandoned

    def start(self, job: StoppableJob) -> None:
        """Stop a job; returns immediately.

        The thread is no daemon while the grace lasts, so that a program that ends right after a cancel still sends its
        interrupt.
        """
        interrupt = _Interrupt(self, job)
        with self._changed:
            self._stopping.append(interrupt)
            self._in_grace += 1
        try:
            threading.Thread(target=self._run_interrupt, args=(interrupt,), name=f"{self._name}-stop").start()
        except RuntimeError:  # the program ends and starts no thread any more
            self._run_interrupt(interrupt)

    @property
    def idle_limit_s(self) -> float:
        """How long the server is waited for: three times its longest render, at least `idle_least_s`.

        An interrupted job ends with the rest of its picture at the latest. `idle_timeout_s` before the first render.
        """
        with self._changed:
            if self._longest_s is None:
                return self.idle_timeout_s
            return min(self.idle_timeout_s, max(self._idle_least_s, _TIMES_A_RENDER * self._longest_s))

    @property
    def hangs(self) -> bool:
        """Whether the server was not seen idle in time, and a stopped job of that time is not gone yet."""
        with self._changed:
            self._hangs = self._hangs and bool(self._stopping)
            return self._hangs

    def note_rendered(self, seconds: float) -> None:
        """Note how long a render took that the server has answered."""
        with self._changed:
            self._longest_s = max(seconds, self._longest_s or 0.0)

    def note_hang(self) -> None:
        """Note that the server was not seen idle in time, and count the abandoned anew."""
        with self._changed:
            self._hangs, self._abandoned = True, 0

    def close(self, *, wait: bool = True) -> None:
        """Follow no job any longer; *wait*: until every grace time is over."""
        if wait:
            with self._changed:
                self._changed.wait_for(lambda: self._in_grace == 0, timeout=self.grace_s + _ASK_S)
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
                self._start_draining(interrupt)

    def _start_draining(self, interrupt: _Interrupt) -> None:
        drain = threading.Thread(target=self._drain, args=(interrupt,), name=f"{self._name}-drain", daemon=True)
        try:
            drain.start()
        except RuntimeError:  # as in `start`
            self._ended(interrupt, gone=False)

    def _drain(self, interrupt: _Interrupt) -> None:
        gone = False
        try:
            gone = interrupt.wait_until_gone()
        finally:
            self._ended(interrupt, gone=gone)

    def _ended(self, interrupt: _Interrupt, *, gone: bool) -> None:
        interrupt.job.end()
        with self._changed:
            self._stopping.remove(interrupt)
            self._abandoned += not gone
            self._changed.notify_all()

    # -- for its interrupts -------------------------------------------------------------------------------------------

    def others(self, interrupt: _Interrupt) -> list[StoppableJob]:
        """Return the other jobs that are being stopped and have no answer yet."""
        with self._changed:
            return [other.job for other in self._stopping if other is not interrupt and not other.job.answered.is_set()]

    def pause(self, seconds: float) -> bool:
        """Wait; True where the backend was closed meanwhile."""
        return self._closed.wait(seconds)

    @property
    def connections(self) -> ConnectionPool:
        """To ask over."""
        return self._connections


class _Interrupt:
    """One job being stopped; used by one thread at a time."""

    def __init__(self, interrupter: Interrupter, job: StoppableJob) -> None:
        self._interrupter = interrupter
        self.job = job
        self._begin_s = time.monotonic()
        self._interrupt_sent = False
        self._others: Sequence[StoppableJob] = ()  # of ours, which our interrupt may have hit
        self._gone = 0
        self._was_ours = job.began

    @property
    def _left_s(self) -> float:
        return self._begin_s + self._interrupter.grace_s - time.monotonic()

    @property
    def _aborted(self) -> bool:
        """Whether no answer comes any more, though the job may be there."""
        return self.job.aborted

    def interrupt(self) -> bool:
        """Interrupt the job once it runs; True once it is over. Shuts the socket down when the grace is over."""
        while self._left_s > 0 and not self._over:
            if self._hit_another():
                self._interrupt_sent = False
            self._try(max(_FAST_S, self._left_s / 2))  # half for connecting, half for the answer
            if self._wait(max(0.0, min(self._left_s, _FAST_S))):
                break
        if self._over:
            return True
        self.job.abort()
        return False

    @property
    def _over(self) -> bool:
        """Whether the answer came, or the job was seen gone where its connection brings none."""
        return self._gone >= _GONE_TWICE if self._aborted else self.job.answered.is_set()

    def _wait(self, seconds: float) -> bool:
        """Wait for the answer where one may come; True where the backend was closed meanwhile."""
        if self._aborted:
            return self._interrupter.pause(seconds)
        self.job.answered.wait(seconds)
        return False

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

    def _hit_another(self) -> bool:
        """Whether our interrupt ended another job of ours: it was before ours in the queue, and ours runs now."""
        return any(other.answered.is_set() and not other.aborted for other in self._others)

    def _try(self, timeout_s: float) -> None:
        try:
            with self._interrupter.connections.borrowed() as connection:
                self._look(connection, timeout_s)
        except BackendUnavailable as error:
            busy = TOO_OFTEN in error.message  # it says nothing of the job
            self._gone = 0 if busy else self._gone + 1  # the job died with its server
        except BackendTimeout:
            if (
                self._was_ours and self._left_s <= 0 and self.job.stops_unseen
            ):  # ours when last seen: better than leaving it to run
                self._interrupt_unseen()
        except BackendError:
            self._gone = 0

    def _look(self, connection: Connection, timeout_s: float) -> None:
        with self.job.turn(timeout_s) as free:
            if free:
                self._stop(connection, timeout_s)
        gone = self.job.is_gone(connection, timeout_s, interrupted=self._interrupt_sent, after_grace=self._left_s <= 0)
        self._gone = self._gone + 1 if gone else 0

    def _stop(self, connection: Connection, timeout_s: float) -> None:
        self._was_ours = self.job.is_ours(connection, timeout_s)
        answered = self.job.answered.is_set() and not self._aborted  # our abort ends the call too
        if self._was_ours and not answered and (not self._interrupt_sent or self.job.continues()):
            self._interrupt_sent = self.job.hits_others  # else one that failed is sent again
            self._others = self._interrupter.others(self) if self.job.hits_others else ()
            try:
                self.job.interrupt(connection, timeout_s)
            except BackendTimeout:
                self._interrupt_sent = True  # only its answer is late
                raise
            self._interrupt_sent = True

    def _interrupt_unseen(self) -> None:
        if self._interrupt_sent:
            return
        try:
            with self._interrupter.connections.borrowed() as connection, self.job.turn(_ASK_S) as free:
                self._interrupt_sent = free
                if free:
                    self.job.interrupt(connection, _ASK_S)
        except BackendError:
            self._gone = 0
