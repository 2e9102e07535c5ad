"""The server's time: the machine's, or one that a test moves by hand."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow, and how to sleep on a condition until some have passed."""

    def now(self) -> float:
        """Return the seconds since an arbitrary moment."""
        ...

    def sleep(self, condition: threading.Condition, seconds: float) -> None:
        """Release the held `condition` for at most `seconds`; may return early, so check again."""
        ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return the seconds of `time.monotonic`."""
        return time.monotonic()

    def sleep(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a notification, at most `seconds`."""
        condition.wait(seconds)


class ManualClock:
    """Stands still until `advance`: a job of ten hours ends when a test advances the clock. Safe from any thread."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = threading.Lock()
        self._sleeping: set[threading.Condition] = set()

    def now(self) -> float:
        """Return the seconds that `advance` was given so far."""
        with self._lock:
            return self._now

    def sleep(self, condition: threading.Condition, seconds: float) -> None:
        """Wait for a notification or for `advance`; `seconds` of this clock are nothing to a real one."""
        del seconds
        with self._lock:
            self._sleeping.add(condition)
        condition.wait()

    def advance(self, seconds: float) -> None:
        """Let `seconds` (>= 0) pass and wake all waiting threads. Raises ValueError below 0."""
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds})")
        with self._lock:
            self._now += seconds
            sleeping = tuple(self._sleeping)
        for condition in sleeping:
            with condition:
                condition.notify_all()
