"""SerialQueue: values from any thread, delivered in one order by one thread at a time."""

from __future__ import annotations

from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")

_DRAINER = "drainer"


class SerialQueue(Generic[_T]):
    """Values that any thread puts in and one thread at a time delivers, in order, with no lock held meanwhile.

    A call of `drain` that finds another one draining returns immediately, whether it is nested or on another thread:
    the other one delivers its values too. An exception raised by *step* propagates to the caller of `drain`; what still
    waits is delivered by the next call. That holds for a KeyboardInterrupt at any moment as well, which is why the
    drainer is recorded by an atomic operation on a dict: a signal between the acquisition of a lock and the `try` that
    releases it would leave it locked, and a signal handler that drains must not block.

    Args:
        step: called with `waiting` while it is not empty; delivers the first value and removes it. A value that must
            survive an interrupt is removed after it was delivered, one that must not be delivered twice before.
    """

    def __init__(self, step: Callable[[deque[_T]], None]) -> None:
        self.waiting: deque[_T] = deque()
        self.put: Callable[[_T], None] = self.waiting.append
        self._step = step
        self._claims: dict[str, list[int]] = {}

    @property
    def is_draining_here(self) -> bool:
        """Whether the caller is inside *step*, on the thread that drains."""
        claim = self._claims.get(_DRAINER)
        return claim is not None and claim[0] == get_ident()

    def drain(self) -> None:
        """Deliver what waits, unless another call does so already."""
        waiting, step, claims = self.waiting, self._step, self._claims
        claim = [get_ident()]  # a list, since its identity tells this call from a nested one
        try:
            while waiting and claims.setdefault(_DRAINER, claim) is claim:
                while waiting:
                    step(waiting)
                del claims[_DRAINER]
        except BaseException:
            if claims.get(_DRAINER) is claim:
                del claims[_DRAINER]
            raise


def call_first(waiting: deque[Callable[[], object]]) -> None:
    """Remove the first action and call it: the *step* of a queue of actions of which none is called twice."""
    waiting.popleft()()
