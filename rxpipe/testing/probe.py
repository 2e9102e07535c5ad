"""A probe round any observable: was it subscribed to, when, how did each subscription end, what passed.

Rx for Python has no requests to count: values are pushed, and `received` holds how many passed to each subscriber.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from reactivex import Observable
from reactivex.disposable import Disposable

from rxpipe.testing.streams import Harness, SubscriptionLog

if TYPE_CHECKING:
    from reactivex import abc

__tracebackhide__ = True  # pytest shows the test's line, not ours

End = Literal["open", "completed", "failed", "disposed"]


class Probe(Observable[Any]):
    """The stream it is given, watched.

    Attributes:
        subscriptions: compared with `to_be("^--!")`, as those of a source; times from the probe's making.
        ends: how each subscription ended, in the order of subscribing.
        received: how many values passed in each.
    """

    def __init__(self, harness: Harness, stream: Observable[Any], name: str = "") -> None:
        super().__init__()
        self._stream = stream
        self.name = name
        self.subscriptions = SubscriptionLog(harness)
        self.ends: list[End] = []
        self.received: list[int] = []

    @property
    def was_subscribed(self) -> bool:
        """Whether anybody ever subscribed."""
        return len(self.subscriptions) > 0

    @property
    def disposals(self) -> int:
        """How many subscriptions were left before they had ended."""
        return self.ends.count("disposed")

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        close, index = self.subscriptions.open(), len(self.ends)
        self.ends.append("open")
        self.received.append(0)

        def end(how: End) -> None:
            if self.ends[index] == "open":
                self.ends[index] = how
            close()

        def on_next(value: Any) -> None:
            self.received[index] += 1
            observer.on_next(value)

        def on_error(error: Exception) -> None:
            end("failed")
            observer.on_error(error)

        def on_completed() -> None:
            end("completed")
            observer.on_completed()

        inner = self._stream.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        def dispose() -> None:
            end("disposed")
            inner.dispose()

        return Disposable(dispose)

    def __repr__(self) -> str:
        ends = ", ".join(self.ends) or "never subscribed to"
        return f"probe {self.name}: {ends}".replace(" :", ":")
