"""What a test asserts afterwards: calls, jobs, interrupts, switches, busy time.

Outlives a crash of the simulated WebUI. `changed` is the one lock of the whole server; everything below it is
written only by the thread that holds it, and every write notifies, so that `wait_for` needs no polling.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rxpipe.testing.webui_server.clock import Clock
    from rxpipe.testing.webui_server.faults import Fault

Outcome = Literal["queued", "running", "done", "interrupted", "failed", "lost"]

_KEPT = 1000  # characters of a string in a body, where bodies are not kept whole
_STAGE_OF_PATH = {
    "/sdapi/v1/txt2img": "txt2img",
    "/sdapi/v1/img2img": "img2img",
    "/sdapi/v1/extra-single-image": "upscale",
}


@dataclass(slots=True)
class RecordedRequest:
    """One HTTP request that reached the server.

    number: 1.. in the order of arrival, over all paths.
    stage: txt2img, img2img, adetailer (an img2img with skip_img2img) or upscale; None for everything else.
    body: the parsed JSON, None without one or where it is malformed.
    at_s: when it was read, on the server's clock; `at_monotonic_s` on the machine's.
    connection: number of the connection it came over, 1.. .
    status: what was answered; None while it is in progress, or where no answer was sent.
    """

    number: int
    method: str
    path: str
    query: dict[str, str]
    body: Any = field(repr=False)
    at_s: float
    at_monotonic_s: float
    connection: int
    headers: dict[str, str] = field(repr=False)
    fault: Fault | None = None
    status: int | None = None

    @property
    def stage(self) -> str | None:
        """The stage this call is for, None if it renders nothing."""
        stage = _STAGE_OF_PATH.get(self.path) if self.method == "POST" else None
        return "adetailer" if stage == "img2img" and skips_img2img(self.body) else stage

    def matches(self, target: str) -> bool:
        """Return whether `target` means this call: its stage, its path, the path's last part, or "*"."""
        return target in ("*", self.path, self.stage, self.path.rsplit("/", 1)[-1] if not self.stage else None)


def skips_img2img(body: Any) -> bool:
    """Return whether a body of /img2img asks ADetailer to work on the given picture and nothing else."""
    scripts = body.get("alwayson_scripts") if isinstance(body, dict) else None
    for name, script in scripts.items() if isinstance(scripts, dict) else ():
        args = script.get("args") if isinstance(script, dict) else None
        if name.lower() == "adetailer" and isinstance(args, list):
            return len(args) > 1 and args[1] is True
    return False


def shorten(value: Any) -> Any:
    """Return a body with its long strings cut: what a call remembers where bodies are not kept."""
    if isinstance(value, str):
        return value if len(value) <= _KEPT else f"{value[:20]}... ({len(value)} characters)"
    if isinstance(value, list):
        return [shorten(entry) for entry in value]
    if isinstance(value, dict):
        return {name: shorten(entry) for name, entry in value.items()}
    return value


@dataclass(slots=True)
class Job:
    """One call that renders, from its arrival in the queue to its end. Times are of the server's clock.

    name: what progress shows, scripts_txt2img, scripts_img2img or Upscale.
    task_id: the request's force_task_id or one made up, None for an upscale.
    outcome: interrupted where an interrupt hit it, whatever it returned then; lost where the server died.
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


class RequestLog:
    """Every counter of a server. Read from any thread; hold `changed` to read several at one moment."""

    def __init__(self, clock: Clock) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.clock = clock
        self.calls: list[RecordedRequest] = []
        self.jobs: list[Job] = []
        self.interrupts: list[Interrupt] = []
        self.skips: list[Interrupt] = []
        self.switches: list[str] = []
        self.connections = 0
        self.active_drawings = 0
        self.max_active_drawings = 0
        self.in_flight = 0
        self.max_in_flight = 0
        self.running: Job | None = None
        self._busy_s = 0.0

    @contextmanager
    def noting(self) -> Iterator[None]:
        """Hold the lock for a change, and notify all waiting threads."""
        with self.changed:
            yield
            self.changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Return whether `predicate` came true within `timeout_s` seconds of real time; called with the lock held."""
        with self.changed:
            return self.changed.wait_for(predicate, timeout_s)

    @property
    def busy_s(self) -> float:
        """Seconds of the server's clock during which a job held the queue, the running one's included."""
        with self.changed:
            running = self.running
            since = self.clock.now() - running.started_s if running and running.started_s is not None else 0.0
            return self._busy_s + since

    def note_call(self, call: RecordedRequest) -> None:
        """A request was read."""
        with self.noting():
            self.calls.append(call)

    @contextmanager
    def in_progress(self, call: RecordedRequest) -> Iterator[None]:
        """Around the handling of a call, its wait in the queue included."""
        with self.noting():
            self.in_flight += call.stage is not None
            self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            yield
        finally:
            with self.noting():
                self.in_flight -= call.stage is not None

    def note_start(self, job: Job) -> None:
        """A job has got the queue's lock."""
        with self.noting():
            job.started_s, job.outcome, self.running = self.clock.now(), "running", job

    def note_end(self, job: Job, outcome: Outcome) -> None:
        """A job has released the lock."""
        with self.noting():
            job.ended_s, job.outcome, self.running = self.clock.now(), outcome, None
            if job.started_s is not None:
                self._busy_s += job.ended_s - job.started_s

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Around one call of the drawing function."""
        with self.noting():
            self.active_drawings += 1
            self.max_active_drawings = max(self.max_active_drawings, self.active_drawings)
        try:
            yield
        finally:
            with self.noting():
                self.active_drawings -= 1

    def new_call(self, **fields: Any) -> RecordedRequest:
        """Return a call with its number and times filled in, noted."""
        with self.changed:
            call = RecordedRequest(
                len(self.calls) + 1, at_s=self.clock.now(), at_monotonic_s=time.monotonic(), **fields
            )
            self.note_call(call)
            return call
