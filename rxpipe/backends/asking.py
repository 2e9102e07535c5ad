"""Asking several backends at the same time: those that do not answer take as long as one of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_T = TypeVar("_T")
_R = TypeVar("_R")

AT_ONCE = True
"""False in virtual time, which has no threads: one after the other, and before it goes on."""


def ask_all(asked: Sequence[_T], question: Callable[[_T], _R]) -> list[_R]:
    """Return the answers in order, each asked on a thread of its own; raise the first error. Blocking."""
    if not AT_ONCE or len(asked) <= 1:
        return [question(each) for each in asked]
    with ThreadPoolExecutor(len(asked), thread_name_prefix="rxpipe-ask") as threads:
        return list(threads.map(question, asked))


def ask_beside(question: Callable[[], None]) -> None:
    """Call *question* on a thread of its own; return immediately."""
    if AT_ONCE:
        threading.Thread(target=question, name="rxpipe-ask", daemon=True).start()
    else:
        question()
