"""Attributes of Rx replaced for as long as one user needs it; the last to leave restores them, in any order.

Replaced functions serve the virtual time that their own thread entered last; a thread that entered none is served by
the one entered last of all. So two tests in two threads do not meet, and one inside another does.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__tracebackhide__ = True  # pytest shows the test's line, not ours

T = TypeVar("T")
Replacement = tuple[Any, str, Any]
"""An object, the name of its attribute, and what stands there meanwhile."""

_ABSENT = object()


class Patches(Generic[T]):
    """Who needs the replacements now, and what was there before.

    Args:
        replacements: makes them, once, when the first ever enters; they call what was there then.
    """

    def __init__(self, replacements: Callable[[], Iterable[Replacement]]) -> None:
        self._replacements = replacements
        self._made: list[Replacement] = []
        self._lock = threading.RLock()
        self._saved: list[Replacement] = []
        self._open: list[tuple[int, T]] = []
        self._last: T | None = None
        self._of_thread: dict[int, T] = {}

    def current(self) -> T | None:
        """Return who serves this thread; None when nobody needs the replacements any more."""
        return self._of_thread.get(threading.get_ident(), self._last)

    def enter(self, user: T) -> None:
        """Add *user* for this thread, and replace what is not yet replaced."""
        with self._lock:
            self._open.append((threading.get_ident(), user))
            self._update()
            if not self._saved:
                self._replace()

    def leave(self, user: T) -> None:
        """Remove *user*, from any thread; the last to leave restores everything. Leaving twice is harmless."""
        with self._lock:
            self._open = [each for each in self._open if each[1] is not user]
            self._update()
            if not self._open:
                self._restore()

    def _update(self) -> None:
        self._of_thread = dict(self._open)  # the last of each thread
        self._last = self._open[-1][1] if self._open else None

    def _replace(self) -> None:
        self._made = self._made or list(self._replacements())
        for target, name, new in self._made:
            self._saved.append((target, name, vars(target).get(name, _ABSENT)))
            setattr(target, name, new)

    def _restore(self) -> None:
        while self._saved:
            target, name, old = self._saved.pop()
            if old is _ABSENT:
                delattr(target, name)
            else:
                setattr(target, name, old)
