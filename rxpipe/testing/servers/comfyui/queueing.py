"""The server's queue: one worker, lowest number first, one interrupt flag for everybody, and the history."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.jobs import Interrupt
from rxpipe.testing.servers.core.site import ServerGone

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.testing.servers.comfyui.faults import Fault
    from rxpipe.testing.servers.comfyui.validation import Graph
    from rxpipe.testing.servers.core.jobs import Job, JobGate, JobLog
    from rxpipe.testing.servers.core.requests import RecordedRequest
    from rxpipe.testing.servers.core.site import Life

_HISTORY_KEPT = 10_000


class Interrupted(Exception):
    """The flag was seen by a node; the job ends here."""


@dataclass(slots=True)
class Item:
    """One job: what was posted, and what became of it.

    number: its place in the queue, lower first.
    job: as the log has it. fault: what it meets while it runs.
    """

    number: float
    prompt_id: str
    graph: Graph
    extra_data: dict[str, Any]
    outputs: list[str]
    job: Job
    fault: Fault | None = None

    def shown(self) -> list[Any]:
        """Return it as /queue and /history show it."""
        return [self.number, self.prompt_id, self.graph, self.extra_data, self.outputs]

    @property
    def client_id(self) -> str | None:
        """The socket that gets its events, None for everybody's."""
        return self.extra_data.get("client_id")


@dataclass(slots=True)
class Entry:
    """One finished job in the history.

    visible_s: on the server's clock; before it /history does not show it.
    """

    item: Item
    outputs: dict[str, Any]
    meta: dict[str, Any]
    messages: list[tuple[str, dict[str, Any]]]
    status: str
    visible_s: float = 0.0

    def shown(self) -> dict[str, Any]:
        """Return it as /history shows it."""
        status = {"status_str": self.status, "completed": self.status == "success", "messages": self.messages}
        return {"prompt": self.item.shown(), "outputs": self.outputs, "status": status, "meta": self.meta}


@dataclass(slots=True)
class JobQueue:
    """What waits, what runs, what is done. Any thread may call any method; the log's lock guards everything.

    on_change: sends `status` to every socket; called after each change, with the lock held.
    """

    job_log: JobLog
    life: Life
    holds: list[JobGate]
    on_change: Callable[[], None] = lambda: None
    waiting: list[tuple[float, int, Item]] = field(default_factory=list)
    running: Item | None = None
    history: dict[str, Entry] = field(default_factory=dict)
    flagged: bool = False
    next_number: int = 0
    _arrivals: int = 0
    _due_s: float = 0.0  # where the running job should be by the clock

    @property
    def remaining(self) -> int:
        """Jobs that wait or run."""
        with self.job_log.changed:
            return len(self.waiting) + (self.running is not None)

    def number(self, body: dict[str, Any]) -> float:
        """Return the number of a job that is being posted."""
        with self.job_log.changed:
            if "number" in body:
                return float(body["number"])
            number = self.next_number
            self.next_number += 1
            return -number if body.get("front") else number

    def put(self, item: Item) -> None:
        """Add a job."""
        with self.job_log.noting():
            self._arrivals += 1
            heapq.heappush(self.waiting, (item.number, self._arrivals, item))
            self.job_log.jobs.append(item.job)
            self.on_change()

    def take(self) -> Item:
        """Wait for a job and let it run. Raises ServerGone."""
        with self.job_log.changed:
            self.life.wait_until(lambda: bool(self.waiting))
            _, _, item = heapq.heappop(self.waiting)
            self.running = item
            self.job_log.note_start(item.job)
            self._due_s = self.job_log.clock.now()
            self.on_change()
            return item

    def finish(self, item: Item, entry: Entry | None) -> None:
        """End the running job; None where it leaves no history."""
        with self.job_log.noting():
            self.running = None
            if entry is not None:
                while len(self.history) >= _HISTORY_KEPT:
                    self.history.pop(next(iter(self.history)))
                self.history[item.prompt_id] = entry
            self.on_change()

    # -- what clients do ----------------------------------------------------------------------------------------------

    def pending(self) -> list[Item]:
        """Return what waits, in the heap's order, which is not the order of execution."""
        with self.job_log.changed:
            return [item for _, _, item in self.waiting]

    def delete(self, prompt_id: str) -> bool:
        """Remove a waiting job; return whether there was one. Its client is not notified."""
        with self.job_log.noting():
            found = next((entry for entry in self.waiting if entry[2].prompt_id == prompt_id), None)
            if found is None:
                return False
            self.waiting.remove(found)
            heapq.heapify(self.waiting)
            found[2].job.outcome = "lost"
            if not self.waiting:
                self.on_change()  # the real server empties the queue in this case, which is a change of its own
            self.on_change()
            return True

    def clear(self) -> None:
        """Remove every waiting job, whosever it is."""
        with self.job_log.noting():
            for _, _, item in self.waiting:
                item.job.outcome = "lost"
            self.waiting.clear()
            self.on_change()

    def interrupt(self, call: RecordedRequest, prompt_id: str | None = None) -> bool:
        """Set the flag; return whether a job that runs was meant. While idle it is lost.

        prompt_id: only if this job runs; None for whatever runs.
        """
        with self.job_log.noting():
            running = self.running
            meant = running is not None and prompt_id in (None, running.prompt_id)
            if meant or prompt_id is None:
                self.flagged = True
            hit = running.job if running is not None and meant else None
            self.job_log.interrupts.append(Interrupt(self.job_log.clock.now(), hit, call))
            return meant

    def cancel(self, call: RecordedRequest, prompt_id: str) -> bool:
        """Remove a waiting job or interrupt a running one, under one lock; return whether there was one."""
        with self.job_log.changed:
            if self.running is not None and self.running.prompt_id == prompt_id:
                return self.interrupt(call, prompt_id)
            return self.delete(prompt_id)

    def find(self, prompt_id: str) -> Entry | None:
        """Return a finished job that the history shows, None for any other."""
        with self.job_log.changed:
            entry = self.history.get(prompt_id)
            return entry if entry is not None and entry.visible_s <= self.job_log.clock.now() else None

    # -- what the running job does ------------------------------------------------------------------------------------

    def clear_flag(self) -> None:
        """Forget an interrupt from before the job began."""
        with self.job_log.noting():
            self.flagged = False

    def check(self) -> None:
        """Raise Interrupted if the flag is set, and clear it."""
        with self.job_log.noting():
            if self.life.gone:
                raise ServerGone
            if self.flagged:
                self.flagged = False
                raise Interrupted

    def work(self, seconds: float, *, deaf: bool) -> None:
        """Let the job be `seconds` of the server's clock further, counted from where it should be.

        deaf: the flag is not looked at meanwhile; it ends the wait otherwise.

        Raises:
            ServerGone: the server died meanwhile.
        """
        clock, changed = self.job_log.clock, self.job_log.changed
        with changed:
            self._due_s += seconds
            while not self.life.gone and (deaf or not self.flagged) and (left := self._due_s - clock.now()) > 0:
                clock.sleep(changed, left)
            if self.life.gone:
                raise ServerGone
            if self.flagged:
                self._due_s = clock.now()

    def stand(self, keys: tuple[str, ...], step: int) -> None:
        """Stop at every hold that a test has put here; an interrupt frees it too. Raises ServerGone."""
        with self.job_log.changed:
            for hold in [hold for hold in self.holds if hold.stage in keys and hold.step == step]:
                if hold.released:
                    continue
                hold.reached += 1
                self.job_log.changed.notify_all()
                self.life.wait_until(lambda hold=hold: hold.released or self.flagged)  # type: ignore[misc]  # a default binds the loop's value
                self._due_s = self.job_log.clock.now()
