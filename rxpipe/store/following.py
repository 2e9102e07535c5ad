"""The events of a run of another process, live: the store is looked at again and again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex import Observable
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxpipe.errors import StoreError
from rxpipe.events import RunEnd

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.events import StageEvent
    from rxpipe.store.reading import Store

__all__ = ["follow"]

_AT_ONCE = 2_000


def follow(store: Store, run_id: str, *, period_s: float = 0.2) -> Observable[StageEvent]:
    """Return the events of the latest attempt of a run, from its beginning on, as they are written.

    Cold. It completes after the RunEnd, or once no process runs the run any more, and emits on the scheduler given to
    subscribe, which has to be one that waits, such as a `WorkerScheduler`. Its error is a StoreError; a store that is
    locked for a moment is asked again.

    Args:
        store: that the run is recorded in.
        run_id: of the run.
        period_s: seconds between two looks; the writer waits up to 0.2 s for more to write.
    """

    def subscribe(
        observer: abc.ObserverBase[StageEvent], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        if scheduler is None:
            raise ValueError("follow: subscribe with a scheduler that waits, such as a WorkerScheduler")
        due = SerialDisposable()
        look = _look(store, run_id, observer)

        def again(*_: object) -> None:
            if look():
                due.disposable = scheduler.schedule_relative(period_s, again)

        return CompositeDisposable(due, scheduler.schedule(again))

    return Observable(subscribe)


def _look(store: Store, run_id: str, observer: abc.ObserverBase[StageEvent]) -> Callable[[], bool]:
    """Return a function that emits what is new, and returns whether more may come."""
    after: tuple[int, int] | None = None

    def look() -> bool:
        nonlocal after
        try:
            summary = store.run(run_id).summary
            after = (summary.attempt, -1) if after is None else after
            found = store.events(run_id, after=after, limit=_AT_ONCE)
        except StoreError as error:
            if "locked" in error.message:
                return True
            observer.on_error(error)
            return False
        for attempt, event in found:
            after = (attempt, event.seq)
            observer.on_next(event)
            if isinstance(event, RunEnd):
                observer.on_completed()
                return False
        if not found and summary.status != "running":
            observer.on_completed()
            return False
        return True

    return look
