"""ProcessBackend: a backend in a process of its own, which may die without taking another with it.

The two talk over the child's standard input and output in pickles, each behind its length; nobody else can reach them.
The child's own output goes to standard error. A child that has ended is started again by the next picture.
"""

from __future__ import annotations

import itertools
import os
import pickle
import struct
import subprocess
import sys
import threading
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend
from rxpipe.errors import BackendFailed, BackendRejected, BackendUnavailable, RxPipeError
from rxpipe.rx.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.plan import StageExecution, StageExecutionPlan

_LENGTH = struct.Struct("<Q")
_ENDED = "the process of {} ended ({})"


def send(stream: IO[bytes], lock: threading.Lock, message: object) -> None:
    """Write one message. Raises OSError or ValueError where the other side is gone."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    with lock:
        stream.write(_LENGTH.pack(len(data)))
        stream.write(data)
        stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """Read one message; raises EOFError where the other side is gone."""
    head = _exactly(stream, _LENGTH.size)
    return pickle.loads(_exactly(stream, _LENGTH.unpack(head)[0]))  # noqa: S301  # of our own child or parent


def _exactly(stream: IO[bytes], count: int) -> bytes:
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data


class ProcessBackend(Backend):
    """Renders in a child process with a backend that is made there.

    Args:
        make: makes the backend, in the child and once here for `check` and `catalog`; it must pickle.
        label: for people, such as "cuda:1".
        environment: variables that the child gets where the program has none of their names.

    The child starts with the first picture. If it ends, what it was rendering fails with BackendUnavailable, and the
    next picture starts another.
    """

    def __init__(
        self, make: Callable[[], Backend], *, label: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._make, self.label = make, label
        self._environment = dict(environment)
        self._here = make()
        self.name = self._here.name
        self.capacity, self.queue_ahead = self._here.capacity, self._here.queue_ahead
        self.description = f"{self._here.description}, in a process of its own"
        self._closed = False
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Begin anew in a child process: the backend's process is the parent's."""
        self._lock = threading.Lock()
        self._child: _Child | None = None

    @property
    def kind(self) -> str:
        """The kind of the backend in the child."""
        return self._here.kind

    @property
    def where(self) -> str:
        """Where the backend in the child is."""
        return self._here.where

    @property
    def pid(self) -> int | None:
        """The child's process id, None while there is none."""
        child = self._child
        return None if child is None or child.ended else child.pid

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture, rendered in the child; see `Backend.render`."""

        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            call = _Call(observer, scheduler)
            child = self._running()
            if child is None:
                call.end(BackendRejected("the backend is closed.", hint="Open it again."))
                return Disposable()
            return child.begin(call, "render", stage, source)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Check here; the child need not run for it."""
        return self._here.check(plan)

    def catalog(self) -> Catalog:
        """List here, as `check` does."""
        return self._here.catalog()

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Diagnose here, as `check` does."""
        return self._here.diagnose(trial=trial)

    def wait_idle(self) -> Observable[None]:
        """Complete once the child is idle; at once where there is none."""

        def subscribe(
            observer: abc.ObserverBase[None], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            with self._lock:
                child = self._child
            if child is None or child.ended:
                return rx.empty().subscribe(observer, scheduler=scheduler)
            return child.begin(_Call(observer, scheduler), "wait_idle")

        return Observable(subscribe)

    def close(self) -> None:
        """End the child. Harmless twice."""
        with self._lock:
            self._closed = True
            child, self._child = self._child, None
        if child is not None:
            child.stop()
        self._here.close()

    def _running(self) -> _Child | None:
        with self._lock:
            if self._closed:
                return None
            if self._child is None or self._child.ended:
                self._child = _Child(self._make, self.label or self.name, self._environment)
            return self._child


class _Call:
    """A subscription to something that the child does."""

    def __init__(self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None) -> None:
        self._observer, self._scheduler = observer, scheduler
        self.over = False

    def next(self, value: object) -> None:
        self._deliver(lambda: self._observer.on_next(value))

    def end(self, error: Exception | None) -> None:
        def finish() -> None:
            self.over = True
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)

        self._deliver(finish)

    def _deliver(self, emit: Callable[[], None]) -> None:
        def act(_: abc.SchedulerBase | None = None, state: object = None) -> None:
            del state
            if not self.over:
                emit()

        if self._scheduler is None:
            act()
        else:
            self._scheduler.schedule(act)


class _Child:
    """A running child process and the calls that it is at."""

    def __init__(self, make: Callable[[], Backend], label: str, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "rxpipe.backends.child"]
        paths = os.pathsep.join(dict.fromkeys(os.path.abspath(path) for path in sys.path))  # noqa: PTH100  # "" is here
        self._process = subprocess.Popen(  # noqa: S603  # fixed words
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**environment, **os.environ, "PYTHONPATH": paths},
        )
        self._label = label
        self._write, self._lock = threading.Lock(), threading.Lock()
        self._calls: dict[int, _Call] = {}
        self._numbers = itertools.count(1)
        self.ended = False
        self.pid = self._process.pid
        threading.Thread(target=self._listen, name=f"rxpipe-child-{label}", daemon=True).start()
        self._send(make)

    def begin(self, call: _Call, what: str, *given: object) -> abc.DisposableBase:
        """Have the child do something; disposing has it stop."""
        number = next(self._numbers)
        with self._lock:
            ended = self.ended
            if not ended:
                self._calls[number] = call
        if ended:
            call.end(self._gone())
            return Disposable()
        self._send((what, number, *given))

        def dispose() -> None:
            over, call.over = call.over, True
            with self._lock:
                known = self._calls.pop(number, None)
            if known is not None and not over:
                self._send(("dispose", number))

        return Disposable(dispose)

    def stop(self) -> None:
        """End the child: it ends by itself once nobody writes to it."""
        if self._process.stdin is not None:
            with self._write:
                _close(self._process.stdin)
        try:
            self._process.wait(2.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: object) -> None:
        stream = self._process.stdin
        try:
            if stream is not None:
                send(stream, self._write, message)
        except (OSError, ValueError):  # it has ended, which the listener sees
            return

    def _listen(self) -> None:
        stream = self._process.stdout
        try:
            while stream is not None:
                self._take(*receive(stream))
        except (EOFError, OSError, pickle.UnpicklingError):
            self._end()

    def _take(self, number: int, what: str, value: Any) -> None:
        with self._lock:
            call = self._calls.get(number) if what == "next" else self._calls.pop(number, None)
        if call is None:
            return
        if what == "next":
            call.next(value)
        else:
            call.end(value)

    def _end(self) -> None:
        self._process.kill()  # where only its output ended
        self._process.wait()
        with self._lock:
            self.ended = True
            calls, self._calls = list(self._calls.values()), {}
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                _close(stream)
        for call in calls:
            call.end(self._gone())

    def _gone(self) -> BackendUnavailable:
        code = self._process.returncode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return BackendUnavailable(
            f"{_ENDED.format(self._label, how)}.", hint="Its last words are above, on standard error.", scope="image"
        )


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except OSError:  # what was not written yet cannot be
        return


def portable(error: Exception) -> RxPipeError:
    """Return an error that another process can read: one of rxpipe's, by its text where it does not pickle."""
    if isinstance(error, RxPipeError):
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  # written a moment ago
        except Exception:  # noqa: BLE001  # whatever keeps it from being written
            return BackendFailed(str(error), retryable=error.retryable)
        return error
    return BackendFailed(f"the drawing failed: {type(error).__name__}: {error}.")
