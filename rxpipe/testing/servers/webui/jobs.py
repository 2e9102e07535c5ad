"""The queue and the state of a WebUI: one FIFO lock, one global progress, flags that act on the running job.

The oddities are the recorded servers': 0.01 at the start with the last job's step count, job_count -1, leftovers
when idle, and an upscale that fails leaves its state behind.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.jobs import Interrupt
from rxpipe.testing.servers.core.site import Life, ServerGone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.testing.servers.core.jobs import Job, JobGate, JobLog, Outcome
    from rxpipe.testing.servers.core.requests import RecordedRequest

_FINISHED_KEPT = 16  # tasks that /internal/progress still calls completed


class JobError(Exception):
    """An exception inside a job, by the name and text that the server's error body shows."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(f"{error}: {message}")
        self.error = error
        self.message = message


@dataclass(slots=True)
class State:
    """`shared.state` of a WebUI: what GET /sdapi/v1/progress is computed from. One for the whole server."""

    skipped: bool = False
    interrupted: bool = False
    stopping_generation: bool = False
    job: str = ""
    job_count: int = 0
    job_timestamp: str = "0"
    job_no: int = 0
    sampling_step: int = 0
    sampling_steps: int = 0
    time_start_s: float = 0.0
    preview: bytes | None = None
    preview_step: int = 0
    preview_id: int = 0

    def begin(self, job: str, now_s: float) -> None:
        """Start a job: the flags are cleared, the step count of the last one stays."""
        self.job, self.job_count, self.job_no = job, -1, 0
        self.job_timestamp = time.strftime("%Y%m%d%H%M%S")
        self.skipped = self.interrupted = self.stopping_generation = False
        self.sampling_step = self.preview_step = self.preview_id = 0
        self.preview, self.time_start_s = None, now_s

    def next_job(self) -> None:
        """Count a batch of the running job as done."""
        self.job_no += 1
        self.sampling_step = self.preview_step = 0

    def end(self) -> None:
        """End the job; what is not reset here stays for the next reader."""
        self.job, self.job_count = "", 0

    @property
    def flagged(self) -> bool:
        """Whether the running batch is to stop."""
        return self.interrupted or self.skipped

    def shown(self) -> dict[str, Any]:
        """Return the `state` of a progress answer."""
        names = ("skipped", "interrupted", "stopping_generation", "job", "job_count", "job_timestamp", "job_no")
        return {name: getattr(self, name) for name in (*names, "sampling_step", "sampling_steps")}


@dataclass(slots=True)
class JobQueue:
    """One job at a time, first come first served. Any thread may call any method."""

    job_log: JobLog
    life: Life
    holds: list[JobGate]
    state: State = field(default_factory=State)
    waiting: deque[Job] = field(default_factory=deque)
    current_task: str | None = None
    pending_tasks: dict[str, float] = field(default_factory=dict)
    finished_tasks: deque[str] = field(default_factory=lambda: deque(maxlen=_FINISHED_KEPT))
    _running: Job | None = None
    _due_s: float = 0.0  # where the running job should be by the clock

    @contextmanager
    def turn(self, job: Job) -> Iterator[None]:
        """Wait for the lock, hold it, release it. Raises ServerGone when the server dies."""
        with self.job_log.noting():
            self.waiting.append(job)
            if job.task_id is not None:
                self.pending_tasks[job.task_id] = self.job_log.clock.now()
        self._wait_for_lock(job)
        outcome: Outcome = "failed"
        try:
            yield
            outcome = "interrupted" if self.state.interrupted else "done"
        except ServerGone:
            outcome = "lost"
            raise
        finally:
            with self.job_log.noting():
                self._running = None
                self.job_log.note_end(job, outcome)

    def _wait_for_lock(self, job: Job) -> None:
        with self.job_log.changed:
            self.job_log.changed.wait_for(lambda: self.life.gone or (self._running is None and self.waiting[0] is job))
            if self.life.gone:
                job.outcome = "lost"
                raise ServerGone
            self.waiting.popleft()
            self._running = job
            self.job_log.note_start(job)
            self._due_s = self.job_log.clock.now()

    def begin(self, name: str, task_id: str | None) -> None:
        """Start the job that holds the lock."""
        with self.job_log.noting():
            self.state.begin(name, self.job_log.clock.now())
            if task_id is not None:
                self.current_task = task_id
                self.pending_tasks.pop(task_id, None)

    def finish(self, task_id: str) -> None:
        """Note that a task has ended. One that raises never does: it stays the current one, as on the real servers."""
        with self.job_log.noting():
            self.current_task = None
            self.finished_tasks.append(task_id)

    def set(self, **fields: Any) -> None:
        """Change the state."""
        with self.job_log.noting():
            for name, value in fields.items():
                setattr(self.state, name, value)

    def next_job(self) -> None:
        """Count a batch as done."""
        with self.job_log.noting():
            self.state.next_job()

    def end(self) -> None:
        """End the job in the state."""
        with self.job_log.noting():
            self.state.end()

    def work(self, seconds: float) -> None:
        """Let the running job be `seconds` of the server's clock further; less where an interrupt or a skip arrives.

        Counted from where the job should be, so that the time drawing takes is part of the latency and not on top
        of it. Raises ServerGone.
        """
        clock, changed = self.job_log.clock, self.job_log.changed
        with changed:
            self._due_s += seconds
            while not self.life.gone and not self.state.flagged and (left := self._due_s - clock.now()) > 0:
                clock.sleep(changed, left)
            if self.life.gone:
                raise ServerGone
            if self.state.flagged:
                self._due_s = clock.now()

    def stand(self, job: Job, step: int) -> None:
        """Stop at every hold that a test has put here. An interrupt or a skip frees it too. Raises ServerGone."""
        with self.job_log.changed:
            for hold in [hold for hold in self.holds if hold.stage in (job.stage, "*") and hold.step == step]:
                if hold.released:
                    continue
                hold.reached += 1
                self.job_log.changed.notify_all()
                self.life.wait_until(lambda hold=hold: hold.released or self.state.flagged)  # type: ignore[misc]  # a default binds the loop's value
                self._due_s = self.job_log.clock.now()

    def interrupt(self, call: RecordedRequest) -> None:
        """Apply POST /interrupt to the running job; while idle the flag is set, and cleared by the next start."""
        with self.job_log.noting():
            self.state.interrupted = True
            self.job_log.interrupts.append(Interrupt(self.job_log.clock.now(), self._running, call))

    def skip(self, call: RecordedRequest) -> None:
        """Apply POST /skip: end the batch in progress."""
        with self.job_log.noting():
            self.state.skipped = True
            self.job_log.skips.append(Interrupt(self.job_log.clock.now(), self._running, call))
