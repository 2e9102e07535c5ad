"""Calls on threads of their own, while the caller goes on."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["in_parallel", "start", "submit"]

T = TypeVar("T")

ENABLED = True
"""False in virtual time, which has no threads: each call is made on the caller's, before it goes on."""


def in_parallel(
    calls: Iterable[Callable[[], T]], *, at_a_time: int = 2, pause_s: float = 0.02
) -> Generator[T | None, None, None]:
    """Make calls on threads of their own, and yield what each returns, in their order.

    For calls that hold no lock of Python's. The threads are daemons and no executor's: those take nothing any more once
    the main thread has ended, while other threads may still wait for a run.

    Args:
        calls: the next one is taken, on the caller's thread, when there is room for it.
        at_a_time: the most that are under way, 1 or more.
        pause_s: between two pauses while a call is awaited.

    Yields:
        What a call returned; None at each pause. Closed in between, calls that have begun end on their own, and no
        other begins.

    Raises:
        Exception: what a call raised, in its place.
    """
    under_way: deque[Future[T]] = deque()
    for call in calls:
        under_way.append(submit(call))
        if len(under_way) == at_a_time:
            yield from _awaited(under_way.popleft(), pause_s)
    for result in under_way:
        yield from _awaited(result, pause_s)


def submit(call: Callable[[], T]) -> Future[T]:
    """Make a call on a thread of its own, and return immediately what will hold its result or error."""
    result: Future[T] = Future()

    def make() -> None:
        try:
            made = call()
        except BaseException as error:  # noqa: BLE001  # it is the caller's
            result.set_exception(error)
        else:
            result.set_result(made)

    start(make)
    return result


def start(call: Callable[[], object]) -> None:
    """Make a call on a thread of its own, and return immediately; what it raises is the thread's."""
    if ENABLED:
        threading.Thread(target=call, name="rxpipe-call", daemon=True).start()
    else:
        call()


def _awaited(result: Future[T], pause_s: float) -> Generator[T | None, None, None]:
    while not wait([result], pause_s).done:
        yield None
    yield result.result()
