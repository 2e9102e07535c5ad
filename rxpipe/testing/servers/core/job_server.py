"""JobServer: a loopback server whose site has a queue of jobs, and what a test may do to them and read about them."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, TypeVar

from rxpipe.testing.servers.core.jobs import Interrupt, Job, JobGate, JobLog
from rxpipe.testing.servers.core.request_log import WAIT_S
from rxpipe.testing.servers.core.server import LoopbackServer
from rxpipe.testing.servers.core.site import Site

if TYPE_CHECKING:
    from collections.abc import Callable


class JobSite(Site):
    """A site that renders one job after the other."""

    @property
    @abstractmethod
    def waiting_jobs(self) -> int:
        """Jobs behind the running one."""


JobSiteT = TypeVar("JobSiteT", bound=JobSite)


class JobServer(LoopbackServer[JobSiteT]):
    """A LoopbackServer with jobs. Any thread may call any method; times are of the log's clock, timeouts are real.

    holds: the gates that the sites look at.
    """

    request_log: JobLog

    def __init__(
        self,
        new_site: Callable[[], JobSiteT],
        request_log: JobLog,
        holds: list[JobGate],
        *,
        port: int = 0,
        gzip_level: int | None = None,
        keep_alive_s: float | None = 30.0,
        keep_bodies: bool = True,
    ) -> None:
        self._holds = holds
        super().__init__(
            new_site,
            request_log,
            port=port,
            gzip_level=gzip_level,
            keep_alive_s=keep_alive_s,
            keep_bodies=keep_bodies,
        )

    def hold(self, stage: str, step: int = 0) -> JobGate:
        """Stop every job of `stage` ("*" for all) when it reaches `step`, until `release`; see JobGate."""
        hold = JobGate(stage, step, request_log=self.request_log)
        with self.request_log.noting():
            self._holds.append(hold)
        return hold

    @property
    def jobs(self) -> tuple[Job, ...]:
        """Every request that reached the queue, in order, with its outcome."""
        with self.request_log.changed:
            return tuple(self.request_log.jobs)

    @property
    def interrupts(self) -> tuple[Interrupt, ...]:
        """Every interrupt, with the job it hit."""
        with self.request_log.changed:
            return tuple(self.request_log.interrupts)

    @property
    def switches(self) -> tuple[str, ...]:
        """The checkpoints loaded after the first, in order."""
        with self.request_log.changed:
            return tuple(self.request_log.switches)

    @property
    def busy_s(self) -> float:
        """Seconds during which a job held the queue."""
        return self.request_log.busy_s

    @property
    def max_active_drawings(self) -> int:
        """The most renderings that ran at the same time; 1, or the queue is broken."""
        return self.request_log.max_active_drawings

    @property
    def idle(self) -> bool:
        """Whether no job runs and none waits."""
        with self.request_log.changed:
            return self.request_log.running is None and not self.site.waiting_jobs

    def wait_running(self, stage: str = "*", timeout_s: float = WAIT_S) -> bool:
        """Return whether a job of `stage` ran within `timeout_s` real seconds."""
        running = lambda: (job := self.request_log.running) is not None and job.call.matches(stage)  # noqa: E731  # read in one expression
        return self.wait_for(running, timeout_s)

    def wait_queued(self, count: int, timeout_s: float = WAIT_S) -> bool:
        """Return whether `count` jobs waited behind the running one within `timeout_s` real seconds."""
        return self.wait_for(lambda: self.site.waiting_jobs >= count, timeout_s)

    def wait_idle(self, timeout_s: float = WAIT_S) -> bool:
        """Return whether the queue was empty within `timeout_s` real seconds."""
        return self.wait_for(lambda: self.idle, timeout_s)

    def summary(self) -> str:
        """Return what `serve_forever` announces at the end: how much was served."""
        return f"{super().summary()}, {len(self.jobs)} jobs"
