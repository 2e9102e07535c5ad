"""Asking several backends at the same time: those that do not answer take as long as one of them."""

from __future__ import annotations

import functools
import math
import queue
import time
from typing import TYPE_CHECKING, TypeVar

from rxpipe import threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

_T = TypeVar("_T")
_R = TypeVar("_R")


def ask_all(asked: Sequence[_T], question: Callable[[_T], _R]) -> list[_R]:
    """Return the answers in order, each asked on a thread of its own; raise the first error. Blocking."""
    found = ask_until(asked, question, lambda _: False)
    return [found[at] for at in range(len(asked))]


def ask_until(
    asked: Sequence[_T], question: Callable[[_T], _R], enough: Callable[[dict[int, _R]], bool], patience_s: float = 0.0
) -> dict[int, _R]:
    """Return answers by the place of what was asked: all, or once *enough* of them are there those within a time.

    Each is asked on a thread of its own, which is left behind where it does not answer. Blocking.

    Args:
        asked: what is asked. question: called with each; its error is raised.
        enough: whether these answers do without the others.
        patience_s: since the first answer.
    """
    if not threads.ENABLED or len(asked) <= 1:
        return {at: question(each) for at, each in enumerate(asked)}
    coming: queue.SimpleQueue[tuple[int, Future[_R]]] = queue.SimpleQueue()
    for at, each in enumerate(asked):
        answer = threads.submit(functools.partial(question, each))
        answer.add_done_callback(functools.partial(lambda at, done: coming.put((at, done)), at))
    answers: dict[int, _R] = {}
    end_s = math.inf
    while len(answers) < len(asked):
        left_s = max(0.0, end_s - time.monotonic()) if answers and enough(answers) else None
        try:
            at, done = coming.get(timeout=left_s)
        except queue.Empty:
            break
        answers[at] = done.result()
        end_s = min(end_s, time.monotonic() + patience_s)
    return answers
