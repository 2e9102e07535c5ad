"""PumpScheduler: the queue of a thread whose loop calls `pump()`, and of tests with a time of their own."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from reactivex.internal.constants import UTC_ZERO

from rxpipe.logs import logger
from rxpipe.rx.mainloop.base import BUDGET_S, MainLoopScheduler

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime


class PumpScheduler(MainLoopScheduler):
    """For any other loop (pygame, Kivy, Textual, wx): call `pump()` from it, once a frame or when woken.

    Args:
        on_wake: called from the producer's thread, once per batch, when `pump` should be called soon (`wx.CallAfter`,
            `GLib.idle_add`, Textual's `call_from_thread` are such). Absent: the loop calls `pump` every frame anyway.
        clock: seconds since 1970 UTC, for tests with a time of their own. Absent: the system's.
        budget_s, on_error: as for `MainLoopScheduler`.
    """

    def __init__(
        self,
        *,
        on_wake: Callable[[], object] | None = None,
        clock: Callable[[], float] | None = None,
        budget_s: float = BUDGET_S,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        super().__init__(budget_s=budget_s, on_error=on_error)
        self._on_wake = on_wake
        self._clock = clock

    @property
    def now(self) -> datetime:
        """Return the time of the wall clock, or of the given clock."""
        return super().now if self._clock is None else UTC_ZERO + timedelta(seconds=self._clock())

    def monotonic(self) -> float:
        """Return seconds on the clock of the due times."""
        return super().monotonic() if self._clock is None else self._clock()

    def pump(self, budget_s: float | None = None) -> float | None:
        """Run what is due on the calling thread, with the budget and the result of `drain`."""
        return self._turn(budget_s)

    def _wake(self) -> None:
        if self._on_wake is None:
            return
        try:
            self._on_wake()
        except Exception as error:  # noqa: BLE001  # user code, called on the producer's thread
            logger.opt(exception=error).error("the wake hook of the GUI scheduler raised {}", type(error).__name__)
