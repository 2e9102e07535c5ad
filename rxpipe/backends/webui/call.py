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
from rxpipe.backends.webui.progress import Watch
from rxpipe.backends.webui.stops import Sent
from rxpipe.errors import BackendError, BackendTimeout
from rxpipe.worker import WorkerScheduler

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.backends.base import Output, Rendering, StepProgress
    from rxpipe.backends.webui.client import Connection, ConnectionPool
    from rxpipe.backends.webui.payloads import ExtrasRequest, Img2ImgRequest, Size, Txt2ImgRequest
    from rxpipe.backends.webui.progress import Reader, Reading, ServerReading
    from rxpipe.backends.webui.stops import Stops


@dataclass(frozen=True, slots=True)
class Times:
    """How long a server may take, all in seconds; None where there is no limit.

    poll: between two questions for progress. ask: for the answer to a small question. stalled: without a step until the
    phase is "stalled". silence: without any sign of life until the call is given up. lost: in which a server that knows
    nothing of the job may still answer.
    """

    poll: float
    ask: float
    stalled: float
    silence: float | None
    lost: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is to be posted. label: for messages. source_size: of the input picture, None for txt2img."""

    label: str
    request: Txt2ImgRequest | Img2ImgRequest | ExtrasRequest
    picture: bytes | None = field(default=None, repr=False)
    source_size: Size | None = None
    task: str | None = None


class Workers:
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


class Flights:
    """The calls of one backend that were sent and are not over, oldest first. Safe from any thread."""

    def __init__(self) -> None:
        self._watches: list[Watch] = []
        self._lock = threading.Lock()

    @property
    def last(self) -> Watch | None:
        """The one sent last, None if there is none."""
        with self._lock:
            return next((watch for watch in reversed(self._watches) if not watch.over.is_set()), None)

    def began(self, watch: Watch) -> None:
        """It is about to be sent."""
        with self._lock:
            self._watches = [*(one for one in self._watches if not one.over.is_set()), watch]


@dataclass(frozen=True, slots=True)
class Means:
    """What all calls of a backend share."""

    connections: ConnectionPool
    workers: Workers
    polls: WorkerScheduler
    reader: Reader
    stops: Stops
    flights: Flights
    times: Times
    previews: bool


class Call:
    """One drawing, from subscription to its end.

    Args:
        means: of the backend.
        prepare: on the call's thread: what to post, or the picture where it is there already.
        draw: on the call's thread: posts a drawing over a connection and makes a picture of the answer.
        observer: told on *clock*.
        clock: the scheduler that emissions and ticks run on.
    """

    def __init__(
        self,
        means: Means,
        prepare: Callable[[], Drawing | Output],
        draw: Callable[[Drawing, Connection], Output],
        observer: abc.ObserverBase[Rendering],
        clock: abc.SchedulerBase,
    ) -> None:
        self._means = means
        self._prepare = prepare
        self._draw = draw
        self._observer = observer
        self._clock = clock
        self._lock = threading.Lock()
        self._sent: Sent | None = None
        self._sent_s = 0.0
        self._received = 0
        self._label = ""
        self._over = False  # answered, failed or stopped: nothing but that is emitted any more
        self._tick = SerialDisposable()
        self._shown: StepProgress | None = None

    def start(self) -> None:
        """Post it."""
        worker = self._means.workers.acquire()
        worker.schedule(lambda *_: self._run(worker))
        self._plan_tick()

    def stop(self) -> None:
        """Interrupt it unless it is over; nothing is emitted afterwards. Returns at once; harmless twice."""
        with self._lock:
            if self._over:
                return
            self._over = True
            sent = self._sent
        self._tick.dispose()
        if sent is not None and not sent.answered.is_set():
            self._means.stops.start(sent)

    # -- on the call's thread -----------------------------------------------------------------------------------------

    def _run(self, worker: WorkerScheduler) -> None:
        try:
            prepared = self._prepare() if not self._over else None
            picture = self._posted(prepared) if isinstance(prepared, Drawing) else prepared
        except Exception as error:  # noqa: BLE001  # whatever it is, who subscribed must hear of it
            trouble = error  # the name of an except clause is gone outside it
            self._hand_over(lambda: self._observer.on_error(trouble))
        else:
            if picture is not None:
                self._hand_over(lambda: self._emit(picture))
        finally:
            self._means.workers.release(worker)

    def _posted(self, drawing: Drawing) -> Output | None:
        """The picture; None where the call was stopped before it was sent."""
        connection = self._means.connections.acquire()
        try:
            sent = self._sent_over(connection, drawing)
            if sent is None:
                return None
            try:
                return self._draw(drawing, connection)
            finally:
                sent.note_answered()
        finally:
            self._means.connections.release(connection)

    def _sent_over(self, connection: Connection, drawing: Drawing) -> Sent | None:
        watch = Watch(drawing.request, stalled_s=self._means.times.stalled)
        task = drawing.task if drawing.task and self._tells_tasks(connection) else None
        if task is None:
            watch.baseline = self._baseline(connection)
            watch.ahead = self._means.flights.last
        sent = Sent(connection, watch, task)
        with self._lock:
            if self._over:
                return None
            self._label = drawing.label
            self._means.flights.began(watch)
            self._sent, self._sent_s, self._received = sent, time.monotonic(), connection.received
        return sent

    def _tells_tasks(self, connection: Connection) -> bool:
        try:
            return self._means.reader.probe(connection, timeout_s=self._means.times.ask)
        except BackendError:
            return False  # the POST itself will say what is wrong

    def _baseline(self, connection: Connection) -> ServerReading | None:
        """The progress before ours, so that a stranger's job and leftovers are known again."""
        try:
            return self._means.reader.read_server(connection, timeout_s=self._means.times.ask)
        except BackendError:
            return None  # the POST itself will say what is wrong

    def _hand_over(self, end: Callable[[], None]) -> None:
        def on_clock(*_: object) -> None:
            with self._lock:
                if self._over:
                    return
                self._over = True
            self._tick.dispose()
            end()

        with self._lock:
            if self._over:
                return
        self._clock.schedule(on_clock)

    def _emit(self, output: Output) -> None:
        self._observer.on_next(output)
        self._observer.on_completed()

    # -- watching -----------------------------------------------------------------------------------------------------

    def _plan_tick(self) -> None:
        self._tick.disposable = self._clock.schedule_relative(self._means.times.poll, self._ticked)

    def _ticked(self, *_: object) -> None:
        sent = self._sent
        if sent is None or sent.answered.is_set():
            self._plan_tick()
            return
        self._means.polls.schedule(lambda *_: self._poll(sent))

    def _poll(self, sent: Sent) -> None:
        """On the poll's thread: ask, and go back to the clock with what came."""
        reading: Reading | None = None
        if not (self._over or sent.answered.is_set()):
            connection = self._means.connections.acquire()
            try:
                reading = self._read(connection, sent)
            except BackendError:
                reading = None  # no news; the call itself tells what is wrong
            finally:
                self._means.connections.release(connection)
        self._clock.schedule(lambda *_: self._observed(sent, reading))

    def _read(self, connection: Connection, sent: Sent) -> Reading:
        timeout_s, preview = self._means.times.ask, self._means.previews
        if sent.task is None:
            return self._means.reader.read_server(connection, timeout_s=timeout_s, preview=preview)
        last = sent.watch.preview_id
        return self._means.reader.read_task(
            connection, sent.task, timeout_s=timeout_s, last_preview=last, preview=preview
        )

    def _observed(self, sent: Sent, reading: Reading | None) -> None:
        if self._over:
            return
        now_s = self._clock.to_seconds(self._clock.now)
        if self._received != sent.connection.received:
            self._received = sent.connection.received
            sent.watch.touch(now_s)
        if reading is not None:
            self._show(sent, reading, now_s)
        trouble = None if sent.answered.is_set() else self._trouble(sent, reading, now_s)
        if trouble is None:
            self._plan_tick()
        elif not self._over:
            self.stop()
            self._observer.on_error(trouble)

    def _show(self, sent: Sent, reading: Reading, now_s: float) -> None:
        progress, preview = sent.watch.observe(reading, now_s)
        if progress != self._shown:
            self._shown = progress
            self._observer.on_next(progress)
        if preview is not None and not self._over:
            self._observer.on_next(Preview(preview))

    def _trouble(self, sent: Sent, reading: Reading | None, now_s: float) -> BackendTimeout | None:
        times, silent_s = self._means.times, sent.watch.silent_s(now_s)
        if times.silence is not None and silent_s > times.silence:
            return BackendTimeout(
                f"{self._label}: {sent.watch.request.path}: no sign of life for {silent_s:.0f} s.",
                hint="See the server's console; a slow machine needs a longer silence_s.",
            )
        lost = reading is not None and silent_s > times.lost and sent.watch.judge(reading) == "nobody"
        if lost:
            return BackendTimeout(
                f"{self._label}: {sent.watch.request.path}: no answer, and the server knows nothing of the job.",
                hint="It may have been restarted; see its console.",
            )
        return None
