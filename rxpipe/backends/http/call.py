"""One render over HTTP: sent on a thread of the backend's, watched on the subscriber's scheduler, stopped immediately.

Four threads meet here: the subscriber's scheduler (emissions, ticks), the call's (the request), the poll's (questions
for progress), and the one that disposes. What ends a call is decided once, under its lock. What differs between servers
is in a `RenderJob`.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from reactivex.disposable import SerialDisposable

from rxpipe.backends.base import Preview
from rxpipe.errors import BackendError, BackendRejected, BackendTimeout, BackendUnavailable
from rxpipe.rx.worker import WorkerScheduler, elapsed_s

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.backends.base import Output, RenderEvent, StepProgress
    from rxpipe.backends.http.connection import Connection, ConnectionPool

ReadingT = TypeVar("ReadingT")
_ETA_SHOWN_S = 1.0  # no event for less
_NEWS_S = 0.03  # in which several steps become one event
_FREE_WORKERS = 2  # threads that wait for the next call; a batch uses more for moments only


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, all in seconds; None where there is no limit.

    poll_s: between two questions for progress. ask_s: for the answer to a small question. stalled_s: without a step
    until the phase is "stalled". silence_s: without any sign of life until the call is abandoned. unknown_job_s: in
    which a server that does not know the job may still answer. unanswered_s: without an answer to any question.
    answer_s: from the head of an answer to its end, for a small one.
    """

    poll_s: float
    ask_s: float
    stalled_s: float
    silence_s: float | None
    unknown_job_s: float
    unanswered_s: float | None = None
    answer_s: float = 60.0


class WorkerPool:
    """Threads for calls, reused; one is made when none is free. Safe from any thread."""

    def __init__(self, name: str = "rxpipe-http-call") -> None:
        self._name = name
        self._free: list[WorkerScheduler] = []
        self._all: list[WorkerScheduler] = []
        self._lock = threading.Lock()
        self._closed = False

    def acquire(self) -> WorkerScheduler:
        """Return a thread for the caller alone.

        Raises:
            BackendRejected: the backend was closed.
        """
        with self._lock:
            if self._closed:
                raise BackendRejected("the backend was closed.", hint="Open another one.")
            if self._free:
                return self._free.pop()
            worker = WorkerScheduler(self._name)
            self._all.append(worker)
            return worker

    def release(self, worker: WorkerScheduler) -> None:
        """Make the thread free again; it ends where enough are free."""
        with self._lock:
            if len(self._free) < _FREE_WORKERS:
                self._free.append(worker)
                return
            self._all.remove(worker)
        worker.close()

    def close(self) -> None:
        """Let every thread end after the action in progress."""
        with self._lock:
            self._closed = True
            for worker in self._all:
                worker.close()


@dataclass(frozen=True, slots=True)
class CallServices:
    """What all calls of a backend share."""

    connections: ConnectionPool
    workers: WorkerPool
    polls: WorkerScheduler
    timeouts: Timeouts


@dataclass(frozen=True, slots=True)
class Ready:
    """What a call does next. picture: makes the Output on the call's thread; None sends the request."""

    picture: Callable[[], Output] | None = None


class RenderJob(ABC, Generic[ReadingT]):
    """One image on one kind of server: the hooks of a `RenderCall`, each on the thread that is named.

    path: of the request, for messages.
    """

    path: str = ""

    def listen(self, notify: Callable[[], None]) -> None:
        """Call *notify* when `latest` has something new: from any thread, briefly, as often as there is."""

    def latest(self) -> ReadingT | None:
        """Return the last reading that came by itself, on the subscriber's scheduler; None where none does."""
        return None

    @abstractmethod
    def prepare(self, resume: Callable[[Ready], None]) -> Ready | None:
        """Make the request, on the call's thread; return what is next, or None and call *resume* later.

        Raises:
            RxPipeError: the image cannot be asked for.
        """

    def before_send(self, connection: Connection) -> None:
        """Ask the server what `send` needs to know, on the call's thread."""

    def begin(self, connection: Connection) -> None:
        """Note that `send` follows, on the call's thread and under the call's lock; from now on it is in flight."""

    @abstractmethod
    def send(self, connection: Connection) -> Output:
        """Send the request and return its picture, on the call's thread.

        Raises:
            BackendError: as in `Backend.render`.
        """

    @property
    @abstractmethod
    def connection(self) -> Connection | None:
        """The connection while the job is in flight, on any thread; None before and afterwards."""

    @abstractmethod
    def poll(self, connection: Connection) -> ReadingT | None:
        """Read how far the job is, on the poll's thread. A BackendError is no news: `send` raises what is wrong."""

    @abstractmethod
    def observe(self, reading: ReadingT, now_s: float) -> tuple[StepProgress, bytes | None]:
        """Return the progress after a reading, and a preview where a new one came, on the subscriber's scheduler."""

    @abstractmethod
    def is_unknown(self, reading: ReadingT) -> bool:
        """Whether the server does not know the job, by this reading; on the subscriber's scheduler."""

    @abstractmethod
    def note_activity(self, now_s: float) -> None:
        """Note that bytes of the answer came, on the subscriber's scheduler."""

    @abstractmethod
    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the last sign of life, on the subscriber's scheduler."""

    def withdraw(self) -> None:
        """Wait for nothing any more: the call failed. On any thread, returns immediately."""

    @abstractmethod
    def stop(self) -> None:
        """Interrupt the job if it is in flight: the call was disposed or timed out. On any thread, immediately."""


class RenderCall(Generic[ReadingT]):
    """One render, from subscription to its end.

    Args:
        services: of the backend.
        job: what is asked for.
        observer: notified on *clock*.
        clock: the scheduler of emissions and ticks.
    """

    def __init__(
        self,
        services: CallServices,
        job: RenderJob[ReadingT],
        observer: abc.ObserverBase[RenderEvent],
        clock: abc.SchedulerBase,
    ) -> None:
        self._services = services
        self._job = job
        self._observer = observer
        self._clock = clock
        self._lock = threading.Lock()
        self._received = self._sent = 0
        self._ended = False  # answered, failed or stopped: nothing but that is emitted any more
        self._tick = SerialDisposable()
        self._shown: StepProgress | None = None
        self._unanswered_since_s: float | None = None
        self._notified = False

    def start(self) -> None:
        """Prepare and send it."""
        self._job.listen(self._notify)
        self._on_worker(self._prepare)
        self._plan_tick()

    def stop(self) -> None:
        """Interrupt it unless it has ended; nothing is emitted afterwards. Returns immediately; harmless twice.

        A request that has not left yet never does: its connection is shut down.
        """
        with self._lock:
            if self._ended:
                return
            self._ended = True
            connection = self._job.connection
            unsent = connection is not None and connection.sent == self._sent
        self._tick.dispose()
        self._job.stop()
        if connection is not None and unsent:
            connection.abort()

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def _on_worker(self, work: Callable[[], Output | None]) -> None:
        try:
            worker = self._services.workers.acquire()
        except BackendRejected as error:
            self._fail(error)
        else:
            worker.schedule(lambda *_: self._run(worker, work))

    def _run(self, worker: WorkerScheduler, work: Callable[[], Output | None]) -> None:
        try:
            output = None if self._ended else work()
        except Exception as error:  # noqa: BLE001  # whatever it is, the subscriber gets it
            self._fail(error)
        else:
            if output is not None:
                self._finish_on_clock(lambda: self._emit(output))
        finally:
            self._services.workers.release(worker)

    def _prepare(self) -> Output | None:
        ready = self._job.prepare(self._resume)
        return None if ready is None else self._go_on(ready)

    def _resume(self, ready: Ready) -> None:
        self._on_worker(lambda: self._go_on(ready))

    def _go_on(self, ready: Ready) -> Output | None:
        """Return the Output; None where the call was stopped before the request was sent."""
        if ready.picture is not None:
            return ready.picture()
        with self._services.connections.borrowed() as connection:
            self._job.before_send(connection)
            with self._lock:
                if self._ended:
                    return None
                self._job.begin(connection)
                self._received, self._sent = connection.received, connection.sent
            before_s = connection.transfer_s
            output = self._job.send(connection)
            own_s = time.monotonic() - connection.answered_s
            return replace(output, transfer_s=connection.transfer_s - before_s, own_s=own_s)

    def _fail(self, error: Exception) -> None:
        self._job.withdraw()
        self._finish_on_clock(lambda: self._observer.on_error(error))

    def _finish_on_clock(self, end: Callable[[], None]) -> None:
        def on_clock(*_: object) -> None:
            with self._lock:
                if self._ended:
                    return
                self._ended = True
            self._tick.dispose()
            end()

        with self._lock:
            if self._ended:
                return
        self._clock.schedule(on_clock)

    def _emit(self, output: Output) -> None:
        self._observer.on_next(output)
        self._observer.on_completed()

    # -- watching -----------------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        """Look at what came by itself, on the clock and shortly; what comes until then is looked at with it."""
        with self._lock:
            if self._ended or self._notified:
                return
            self._notified = True
        self._clock.schedule_relative(_NEWS_S, self._look)

    def _look(self, *_: object) -> None:
        self._notified = False
        reading = None if self._ended else self._job.latest()
        if reading is not None:
            self._show(reading, elapsed_s(self._clock))

    def _plan_tick(self) -> None:
        self._tick.disposable = self._clock.schedule_relative(self._services.timeouts.poll_s, self._ticked)

    def _ticked(self, *_: object) -> None:
        if self._job.connection is None:
            self._plan_tick()
        else:
            self._services.polls.schedule(lambda *_: self._poll())

    def _poll(self) -> None:
        """Ask, on the poll's thread, and return to the clock with the reading."""
        reading: ReadingT | None = None
        answered = True
        if not self._ended and self._job.connection is not None:
            with self._services.connections.borrowed() as connection:
                try:
                    reading = self._job.poll(connection)
                except (BackendTimeout, BackendUnavailable):
                    answered = False
                except BackendError:
                    reading = None  # no news; the request itself raises what is wrong
        self._clock.schedule(lambda *_: self._observed(reading, answered=answered))

    def _observed(self, reading: ReadingT | None, *, answered: bool) -> None:
        if self._ended:
            return
        now_s = elapsed_s(self._clock)
        if answered:
            self._unanswered_since_s = None
        elif self._unanswered_since_s is None:
            self._unanswered_since_s = now_s
        connection = self._job.connection
        if connection is not None and connection.received != self._received:
            self._received, self._unanswered_since_s = connection.received, None
            self._job.note_activity(now_s)
        if reading is not None:
            self._show(reading, now_s)
        failure = None if self._job.connection is None else self._timed_out(reading, now_s)
        if failure is None:
            self._plan_tick()
        elif not self._ended:
            self.stop()
            self._observer.on_error(failure)

    def _show(self, reading: ReadingT, now_s: float) -> None:
        progress, preview = self._job.observe(reading, now_s)
        if self._shown is None or _says_more(progress, self._shown):
            self._shown = progress
            self._observer.on_next(progress)
        if preview is not None and not self._ended:
            self._observer.on_next(Preview(preview))

    def _timed_out(self, reading: ReadingT | None, now_s: float) -> BackendTimeout | None:
        timeouts, silent_s = self._services.timeouts, self._job.silent_s(now_s)
        if timeouts.silence_s is not None and silent_s > timeouts.silence_s:
            return BackendTimeout(
                f"no sign of life for {silent_s:.0f} s ({self._job.path}).",
                hint="See the server's console; a slow machine needs a longer silence_s.",
            )
        since_s = self._unanswered_since_s
        if timeouts.unanswered_s is not None and since_s is not None and now_s - since_s > timeouts.unanswered_s:
            return BackendTimeout(
                f"the server has answered no question for {now_s - since_s:.0f} s ({self._job.path}).",
                hint="It hangs, or the line to it is dead; see its console.",
            )
        if reading is not None and silent_s > timeouts.unknown_job_s and self._job.is_unknown(reading):
            return BackendTimeout(
                f"no answer, and the server does not know the job ({self._job.path}).",
                hint="It may have been restarted; see its console.",
            )
        return None


def _says_more(progress: StepProgress, shown: StepProgress) -> bool:
    """Whether a progress differs from the one shown last by more than less than a second of its time left."""
    if progress.eta_s is None or shown.eta_s is None or abs(progress.eta_s - shown.eta_s) >= _ETA_SHOWN_S:
        return progress != shown
    return replace(progress, eta_s=shown.eta_s) != shown
