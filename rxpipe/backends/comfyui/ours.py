"""The jobs that one backend has on its server: which are ours, which of them are being stopped, who else is there."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class OurJobs:
    """The jobs that one backend has on its server, by the ids that we chose. Safe from any thread."""

    def __init__(self) -> None:
        self._ids: dict[str, str] = {}
        self._stopping: set[str] = set()
        self._exposed: set[str] = set()
        self._lock = threading.Lock()
        self._turn = threading.Lock()
        self._shared = False
        self._loose = False
        self._unheard = 0  # that have ended while the socket may still bring counts with them

    def add(self, mark: str, job: str) -> None:
        """Note a job, and the id that the server gave it."""
        with self._lock:
            if self._loose:
                self._exposed.add(mark)
            self._ids[mark] = job

    def remove(self, mark: str, *, heard: bool) -> None:
        """Note that a job has ended; *heard*: on the socket, so that what follows there does not count it."""
        with self._lock:
            self._unheard += self._ids.pop(mark, None) is not None and not heard
            self._stopping.discard(mark)
            self._loose &= mark not in self._exposed
            self._exposed.discard(mark)

    @property
    def ids(self) -> frozenset[str]:
        """What those that have not ended are called: by the server, and by us where it has not answered yet."""
        with self._lock:
            return frozenset(self._ids) | frozenset(self._ids.values())

    @property
    def count(self) -> int:
        """How many have not ended."""
        with self._lock:
            return len(self._ids)

    # -- stopping -----------------------------------------------------------------------------------------------------

    @contextmanager
    def turn(self, timeout_s: float = -1) -> Iterator[bool]:
        """Hold the one turn in which the queue is read and, by what was read, a job is stopped; False after a timeout.

        So nothing that we do makes such a reading untrue. On a server whose interrupt names no job a post takes a turn
        too: no job of ours can begin between the reading and the interrupt unless it was read.
        """
        free = self._turn.acquire(timeout=timeout_s)
        try:
            yield free
        finally:
            if free:
                self._turn.release()

    def note_stopping(self, mark: str) -> bool:
        """Note that a job is being stopped; False where it was already, or has ended."""
        with self._lock:
            begins = mark in self._ids and mark not in self._stopping
            if begins:
                self._stopping.add(mark)
            return begins

    def is_stopping(self, mark: str) -> bool:
        """Whether a job is being stopped."""
        with self._lock:
            return mark in self._stopping

    @property
    def stopping(self) -> frozenset[str]:
        """What those that are being stopped are called; see `ids`."""
        with self._lock:
            return frozenset(self._stopping) | {self._ids[mark] for mark in self._stopping}

    def note_exposed(self) -> None:
        """Note that an interrupt follows which names no job: it hits one that goes on should it come too late.

        The one that is posted next as well, until `note_interrupted`.
        """
        with self._lock:
            self._exposed |= self._ids.keys() - self._stopping
            self._loose = True

    def note_interrupted(self) -> None:
        """Note that the interrupt was answered: it hits nothing that is posted from now on."""
        with self._lock:
            self._loose = False

    def is_exposed(self, mark: str) -> bool:
        """Whether an interrupt for another job of ours may have hit this one."""
        with self._lock:
            return mark in self._exposed

    # -- other clients ------------------------------------------------------------------------------------------------

    @property
    def shared(self) -> bool:
        """Whether another client's job was seen on the server since the backend was opened."""
        with self._lock:
            return self._shared

    def note_queue(self, count: int) -> None:
        """Note how many jobs run and wait on the server; more than ours are of others."""
        with self._lock:
            others = max(0, count - len(self._ids))
            self._shared |= others > self._unheard
            self._unheard = min(self._unheard, others)

    def note_strangers(self) -> None:
        """Note that another client has a job there."""
        with self._lock:
            self._shared = True
