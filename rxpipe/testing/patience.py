"""Wait until something is so: in virtual time action by action, in real time where threads are allowed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rxpipe.testing.clock import spoken
from rxpipe.testing.values import short

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.testing.clock import VirtualClock

__tracebackhide__ = True  # pytest shows the test's line, not ours

PAUSE_S = 0.002
US_PER_S = 1_000_000


def wait_until(check: Callable[[], object], clock: VirtualClock, within_us: int, *, real: bool) -> None:
    """Move *clock*, at most by *within_us*, until *check* holds; *real*: and then wait as long in real time.

    Raises:
        AssertionError: that of *check*, or one of our own.
    """
    end_us, failure = clock.now_us + within_us, _failure(check)
    while failure is not None and (due_us := clock.next_due_us) is not None and due_us <= end_us:
        clock.advance_to_us(due_us)
        failure = _failure(check)
    deadline = time.monotonic() + within_us / US_PER_S
    while real and failure is not None and time.monotonic() < deadline:
        threading.Event().wait(PAUSE_S)
        failure = _failure(check)
    if failure is not None:
        raise AssertionError(f"not so within {spoken(within_us)}: {failure}") from failure


def _failure(check: Callable[[], object]) -> AssertionError | None:
    """Return why *check* does not hold; None if it does. One that returns None holds unless it raises."""
    try:
        answer = check()
    except AssertionError as error:
        return error
    return None if answer is None or answer else AssertionError(f"{short(check)} is {answer!r}")
