"""ScheduledItem: an action that waits in a scheduler, and the disposable that cancels it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from reactivex import abc

if TYPE_CHECKING:
    from reactivex import typing


class ScheduledItem(abc.DisposableBase):
    """A scheduled action. Disposing works from any thread, takes no lock, and releases what the item holds immediately.

    RxPY's class of this name keeps the action of a cancelled item until it is due, and has a lock for each.

    Attributes:
        due: when to run, on the clock of its scheduler.
        action: None once it runs or is disposed.
        disposed: whether it was disposed, before or after it ran.
    """

    __slots__ = ("_inner", "_state", "action", "disposed", "due")

    def __init__(self, action: typing.ScheduledAction[Any], state: Any, due: float = 0.0) -> None:
        self.action: typing.ScheduledAction[Any] | None = action
        self._state = state
        self._inner: abc.DisposableBase | None = None
        self.due = due
        self.disposed = False

    def run(self, scheduler: abc.SchedulerBase) -> bool:
        """Run the action, once; False if it was disposed before."""
        state = self._state
        action = self.action  # read last, as `dispose` clears it first: an action that is still there has its state
        self.action = self._state = None
        if action is None:
            return False
        inner = action(scheduler, state)
        if inner is not None and isinstance(inner, abc.DisposableBase):  # the second alone is slow where it is None
            self._inner = inner
            if self.disposed:  # disposed meanwhile; disposing twice is harmless, not at all is not
                inner.dispose()
        return True

    def dispose(self) -> None:
        """Cancel the action, or dispose what it returned."""
        self.disposed = True
        self.action = self._state = None  # from left to right
        inner, self._inner = self._inner, None
        if inner is not None:
            inner.dispose()
