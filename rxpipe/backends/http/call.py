"""One drawing on its way: posted on a thread of the backend's, watched on the subscriber's time, stopped at once.

Four threads meet here: the subscriber's scheduler (emissions, ticks), the call's (the POST), the poll's (questions),
and whoever disposes. What ends a call is decided once, under its lock.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reactivex.disposable import SerialDisposable

from rxpipe.backends.base import Preview
from rxpipe.backends.http.stopping import InFlightRequest
from rxpipe.backends.webui.progress import JobTracker
from rxpipe.errors import BackendError, BackendTimeout
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.backends.base import Output, RenderEvent, StepProgress
    from rxpipe.backends.http.connection import Connection, ConnectionPool
    from rxpipe.backends.http.stopping import Interrupter
    from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Size, Txt2ImgRequest
    from rxpipe.backends.webui.progress import ProgressClient, ProgressSnapshot, ServerSnapshot


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a server may take, all in seconds; None where there is no limit.

    poll_s: between two questions for progress. ask_s: for the answer to a small question. stalled_s: without a step
    until the phase is "stalled". silence_s: without any sign of life until the call is abandoned. unknown_job_s: in
    which a server that knows nothing of the job may still answer.
    """

    poll_s: float
    ask_s: float
    stalled_s: float
    silence_s: float | None
    unknown_job_s: float


@dataclass(frozen=True, slots=True)
class RenderRequest:
    """What is to be posted. label: for messages. source_size: of the input picture, None for txt2img."""

    label: str
    payload: Txt2ImgRequest | Img2ImgRequest | ExtrasRequest
    picture: bytes | None = field(default=None, repr=False)
    source_size: Size | None = None
    task: str | None = None


class WorkerPool:
    """Threads for calls: taken for one call, given back, made when none is free. Safe from any thread."""

    def __init__(self) -> None:
        self._free: list[WorkerScheduler] = []
        self._all: list[WorkerScheduler] = []
        self._lock = threading.Lock()

    def acquire(self) -> WorkerScheduler:
        """A thread for the caller alone."""
        with self._lock:
            if self._free:
                return self._free.pop()
            worker = WorkerScheduler("rxpipe-webui-call")
            self._all.append(worker)
            return worker

    def release(self, worker: WorkerScheduler) -> None:
        """The thread is free again."""
        with self._lock:
            self._free.append(worker)

    def close(self) -> None:
        """Let every thread end after what it does."""
        with self._lock:
            for worker in self._all:
                worker.close()


class InFlightCalls:
    """The calls of one backend that were sent and are not over, oldest first. Safe from any thread."""

    def __init__(self) -> None:
        self._trackers: list[JobTracker] = []
        self._lock = threading.Lock()

    @property
    def latest(self) -> JobTracker | None:
        """The one sent last, None if there is none."""
        with self._lock:
            return next((tracker for tracker in reversed(self._trackers) if not tracker.ended.is_set()), None)

    def add(self, tracker: JobTracker) -> None:
        """It is about to be sent."""
        with self._lock:
            self._trackers = [*(one for one in self._trackers if not one.ended.is_set()), tracker]


@dataclass(frozen=True, slots=True)
class CallServices:
    """What all calls of a backend share."""

    connections: ConnectionPool
    workers: WorkerPool
    polls: WorkerScheduler
    progress_client: ProgressClient
    interrupter: Interrupter
    in_flight: InFlightCalls
    timeouts: Timeouts
    previews: bool


class RenderCall:
    """One drawing, from subscription to its end.

    Args:
        services: of the backend.
        prepare: on the call's thread: what to post, or the picture where it is there already.
        post: on the call's thread: posts a request over a connection and makes a picture of the answer.
        observer: notified on *clock*.
        clock: the scheduler that emissions and ticks run on.
    """

    def __init__(
        self,
        services: CallServices,
        prepare: Callable[[], RenderRequest | Output],
        post: Callable[[RenderRequest, Connection], Output],
        observer: abc.ObserverBase[RenderEvent],
        clock: abc.SchedulerBase,
    ) -> None:
        self._services = services
        self._prepare = prepare
        self._post = post
        self._observer = observer
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: InFlightRequest | None = None
        self._sent_s = 0.0
        self._received = 0
        self._label = ""
        self._ended = False  # answered, failed or stopped: nothing but that is emitted any more
        self._tick = SerialDisposable()
        self._shown: StepProgress | None = None

    def start(self) -> None:
        """Post it."""
        worker = self._services.workers.acquire()
        worker.schedule(lambda *_: self._run(worker))
        self._plan_tick()

    def stop(self) -> None:
        """Interrupt it unless it is over; nothing is emitted afterwards. Returns at once; harmless twice."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
            sent = self._sent
        self._tick.dispose()
        if sent is not None and not sent.answered.is_set():
            self._services.interrupter.start(sent)

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def _run(self, worker: WorkerScheduler) -> None:
        try:
            prepared = self._prepare() if not self._ended else None
            picture = self._posted(prepared) if isinstance(prepared, RenderRequest) else prepared
        except Exception as error:  # noqa: BLE001  # whatever it is, who subscribed must hear of it
            trouble = error  # the name of an except clause is gone outside it
            self._finish_on_clock(lambda: self._observer.on_error(trouble))
        else:
            if picture is not None:
                self._finish_on_clock(lambda: self._emit(picture))
        finally:
            self._services.workers.release(worker)

    def _posted(self, request: RenderRequest) -> Output | None:
        """The picture; None where the call was stopped before it was sent."""
        connection = self._services.connections.acquire()
        try:
            sent = self._register(connection, request)
            if sent is None:
                return None
            try:
                return self._post(request, connection)
            finally:
                sent.note_answered()
        finally:
            self._services.connections.release(connection)

    def _register(self, connection: Connection, request: RenderRequest) -> InFlightRequest | None:
        tracker = JobTracker(request.payload, stalled_s=self._services.timeouts.stalled_s)
        task = request.task if request.task and self._tells_tasks(connection) else None
        if task is None:
            tracker.baseline = self._baseline(connection)
            tracker.queued_behind = self._services.in_flight.latest
        sent = InFlightRequest(connection, tracker, task)
        with self._lock:
            if self._ended:
                return None
            self._label = request.label
            self._services.in_flight.add(tracker)
            self._sent, self._sent_s, self._received = sent, time.monotonic(), connection.received
        return sent

    def _tells_tasks(self, connection: Connection) -> bool:
        try:
            return self._services.progress_client.probe(connection, timeout_s=self._services.timeouts.ask_s)
        except BackendError:
            return False  # the POST itself will say what is wrong

    def _baseline(self, connection: Connection) -> ServerSnapshot | None:
        """The progress before ours, so that a stranger's job and leftovers are known again."""
        try:
            return self._services.progress_client.read_server(connection, timeout_s=self._services.timeouts.ask_s)
        except BackendError:
            return None  # the POST itself will say what is wrong

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

    def _plan_tick(self) -> None:
        self._tick.disposable = self._clock.schedule_relative(self._services.timeouts.poll_s, self._ticked)

    def _ticked(self, *_: object) -> None:
        sent = self._sent
        if sent is None or sent.answered.is_set():
            self._plan_tick()
            return
        self._services.polls.schedule(lambda *_: self._poll(sent))

    def _poll(self, sent: InFlightRequest) -> None:
        """On the poll's thread: ask, and go back to the clock with what came."""
        snapshot: ProgressSnapshot | None = None
        if not (self._ended or sent.answered.is_set()):
            connection = self._services.connections.acquire()
            try:
                snapshot = self._read(connection, sent)
            except BackendError:
                snapshot = None  # no news; the call itself tells what is wrong
            finally:
                self._services.connections.release(connection)
        self._clock.schedule(lambda *_: self._observed(sent, snapshot))

    def _read(self, connection: Connection, sent: InFlightRequest) -> ProgressSnapshot:
        timeout_s, preview = self._services.timeouts.ask_s, self._services.previews
        if sent.task is None:
            return self._services.progress_client.read_server(connection, timeout_s=timeout_s, preview=preview)
        last = sent.tracker.preview_id
        return self._services.progress_client.read_task(
            connection, sent.task, timeout_s=timeout_s, last_preview=last, preview=preview
        )

    def _observed(self, sent: InFlightRequest, snapshot: ProgressSnapshot | None) -> None:
        if self._ended:
            return
        now_s = self._clock.to_seconds(self._clock.now)
        if self._received != sent.connection.received:
            self._received = sent.connection.received
            sent.tracker.note_activity(now_s)
        if snapshot is not None:
            self._show(sent, snapshot, now_s)
        trouble = None if sent.answered.is_set() else self._trouble(sent, snapshot, now_s)
        if trouble is None:
            self._plan_tick()
        elif not self._ended:
            self.stop()
            self._observer.on_error(trouble)

    def _show(self, sent: InFlightRequest, snapshot: ProgressSnapshot, now_s: float) -> None:
        progress, preview = sent.tracker.observe(snapshot, now_s)
        if progress != self._shown:
            self._shown = progress
            self._observer.on_next(progress)
        if preview is not None and not self._ended:
            self._observer.on_next(Preview(preview))

    def _trouble(self, sent: InFlightRequest, snapshot: ProgressSnapshot | None, now_s: float) -> BackendTimeout | None:
        timeouts, silent_s = self._services.timeouts, sent.tracker.silent_s(now_s)
        if timeouts.silence_s is not None and silent_s > timeouts.silence_s:
            return BackendTimeout(
                f"{self._label}: {sent.tracker.request.path}: no sign of life for {silent_s:.0f} s.",
                hint="See the server's console; a slow machine needs a longer silence_s.",
            )
        unknown = (
            snapshot is not None and silent_s > timeouts.unknown_job_s and sent.tracker.owner_of(snapshot) == "nobody"
        )
        if unknown:
            return BackendTimeout(
                f"{self._label}: {sent.tracker.request.path}: no answer, and the server knows nothing of the job.",
                hint="It may have been restarted; see its console.",
            )
        return None
