"""Misbehaving on purpose: sources that break Rx's grammar, subscribers that raise, dawdle or leave, all interleavings.

An ordinary `subscribe` guards its observer against a bad source; these sources go round that guard, so that what is
tested meets the fault itself.
"""

from __future__ import annotations

import threading
from itertools import groupby
from typing import TYPE_CHECKING, Any, Protocol

from reactivex import abc
from reactivex.disposable import Disposable
from reactivex.internal import default_error, noop

from rxpipe.testing.clock import Duration, MarbleError
from rxpipe.testing.grammar import FRAME_US, Mark, parse
from rxpipe.testing.recording import Recording
from rxpipe.testing.rendering import render
from rxpipe.testing.signals import Recorded, deliver
from rxpipe.testing.streams import ColdSource, Harness

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from reactivex.typing import OnCompleted, OnError, OnNext

__tracebackhide__ = True  # pytest shows the test's line, not ours

PATIENCE_S = 0.2
"""How long, in real seconds, a call waits for another thread's before it is sure that they are serialised."""


UNRULY_SOURCES: Mapping[str, Mapping[str, Any]] = {
    "a value after the end": {"text": "-a-b|c"},
    "two ends": {"text": "-a-b||"},
    "an error after the end": {"text": "-a-b|#"},
    "a value after an error": {"text": "-a-b#c"},
    "ignores_dispose to dispose": {"text": "-a-b-c|", "ignores_dispose": True},
    "two simultaneous threads": {"text": "-(ab)-(cd)|", "threads": True},
}
"""Arguments for `marbles.unruly(**...)`, to parametrize a test by its keys."""

SUBSCRIBER_HABITS: Mapping[str, Mapping[str, Any]] = {
    "raises": {"raise_at": 1},
    "is slow": {"slow": "3ms"},
    "leaves inside a callback": {"dispose_at": 1},
}
"""Arguments for `marbles.subscriber(**...)`, to parametrize a test by its keys."""


class SubscriberFault(Exception):
    """The error that a subscriber raises on request."""


class ThreadedHarness(Harness, Protocol):
    """A test whose own sources may start threads."""

    def start_thread(self, thread: threading.Thread) -> None:
        """Start an intended thread."""


class _Bare(abc.ObserverBase[Any]):
    """Three callbacks as an observer that receives everything, after an end too."""

    def __init__(self, on_next: OnNext[Any], on_error: OnError, on_completed: OnCompleted) -> None:
        self._on_next, self._on_error, self._on_completed = on_next, on_error, on_completed

    def on_next(self, value: Any) -> None:
        self._on_next(value)

    def on_error(self, error: Exception) -> None:
        self._on_error(error)

    def on_completed(self) -> None:
        self._on_completed()


class UnrulySource(ColdSource):
    """Plays a diagram that may break the grammar, directly into its subscriber.

    Args:
        ignores_dispose: continues after it was disposed.
        threads: marks at one instant come from one thread each, simultaneously; time waits for them.
    """

    def __init__(
        self,
        harness: ThreadedHarness,
        plays: tuple[tuple[Recorded, ...], ...],
        *,
        ignores_dispose: bool = False,
        threads: bool = False,
    ) -> None:
        super().__init__(harness, plays)
        self._harness = harness
        self._ignores_dispose = ignores_dispose
        self._threads = threads
        self._observers: list[abc.ObserverBase[Any]] = []

    def subscribe(
        self,
        on_next: abc.ObserverBase[Any] | OnNext[Any] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: abc.SchedulerBase | None = None,
    ) -> abc.DisposableBase:
        """Subscribe without the guard that Rx puts around an observer."""
        if isinstance(on_next, abc.ObserverBase) or hasattr(on_next, "on_completed"):
            return self._subscribe_core(on_next, scheduler)
        return self._subscribe_core(_Bare(on_next or noop, on_error or default_error, on_completed or noop), scheduler)

    def _subscribe_core(self, observer: Any, scheduler: abc.SchedulerBase | None = None) -> abc.DisposableBase:
        self._observers.append(observer)
        if self._threads:
            return self._play_in_threads(observer)
        subscription = super()._subscribe_core(observer, scheduler)
        return Disposable(self._ignore_disposal) if self._ignores_dispose else subscription

    def _ignore_disposal(self) -> None:
        """Ignore a disposal: the source continues to emit."""

    def emit(self, value: Any) -> None:
        """Emit *value* to all subscribers now, on the calling thread: re-entrant from inside a callback."""
        for observer in tuple(self._observers):
            observer.on_next(value)

    def _play_in_threads(self, observer: abc.ObserverBase[Any]) -> abc.DisposableBase:
        close, clock = self.subscriptions.open(), self._harness.clock
        groups = [(at, tuple(group)) for at, group in groupby(self.marks, key=lambda recorded: recorded.at)]
        planned = [clock.schedule_at_us(clock.now_us + at, self._at_once(group, observer)) for at, group in groups]

        def dispose() -> None:
            close()
            for action in () if self._ignores_dispose else planned:
                action.dispose()

        return Disposable(dispose)

    def _at_once(self, group: tuple[Recorded, ...], observer: abc.ObserverBase[Any]) -> abc.ScheduledAction[Any]:
        def play(*_: object) -> None:
            together = threading.Barrier(len(group))

            def emit(recorded: Recorded) -> None:
                together.wait()
                deliver(recorded, observer)

            threads = [threading.Thread(target=emit, args=(recorded,), daemon=True) for recorded in group]
            for thread in threads:
                self._harness.start_thread(thread)
            for thread in threads:
                thread.join()

        return play


class UnrulySubscriber(Recording):
    """A recording subscriber with bad habits.

    `most_at_once` counts how many calls were inside it at one time; 1 means that whatever it listens to takes turns.

    Args:
        raise_at: raises `SubscriberFault` in its nth `on_next`, 1.., after recording the value.
        dispose_at: disposes its subscription inside its nth `on_next`.
        slow: moves time by that much in every `on_next`, holding up everything else.
        inside: called within the nth `on_next`; to feed a source from there makes it re-entrant.
        meet: waits in each `on_next` until so many threads are in one, or real time shows that they take turns.
    """

    def __init__(
        self,
        harness: Harness,
        *,
        name: str = "",
        raise_at: int | None = None,
        dispose_at: int | None = None,
        slow: Duration = 0.0,
        inside: Mapping[int, Callable[[], None]] | None = None,
        meet: int = 1,
    ) -> None:
        super().__init__(harness, name)
        self.most_at_once = 0
        self._raise_at, self._dispose_at, self._slow, self._inside = raise_at, dispose_at, slow, dict(inside or {})
        self._count = self._now_inside = 0
        self._lock = threading.Lock()
        self._meeting = threading.Barrier(meet)

    def on_next(self, value: Any) -> None:
        """Record *value*, then misbehave."""
        with self._lock:
            self._count += 1
            nth = self._count
            self._now_inside += 1
            self.most_at_once = max(self.most_at_once, self._now_inside)
        try:
            super().on_next(value)
            self._wait_for_others()
            self._misbehave(nth)
        finally:
            with self._lock:
                self._now_inside -= 1

    def _wait_for_others(self) -> None:
        if self._meeting.parties > 1 and not self._meeting.broken:
            try:
                self._meeting.wait(PATIENCE_S)
            except threading.BrokenBarrierError:
                return  # no other call follows: they are serialised, as they should be

    def _misbehave(self, nth: int) -> None:
        if self._slow:
            self.harness.clock.spend(self._slow)
        if nth in self._inside:
            self._inside[nth]()
        if nth == self._dispose_at:
            self.dispose()
        if nth == self._raise_at:
            raise SubscriberFault(f"asked to raise at value {nth}")


def interleavings(*texts: str) -> Iterator[tuple[str, ...]]:
    """Yield every order in which the marks of k emitters can follow each other, as k diagrams with a frame a mark.

    Times in *texts* are not looked at, only the order within each. `interleavings("ab", "x")` gives
    ("ab", "--x"), ("a-b", "-x") and ("-ab", "x"). The order of orders is always the same.

    Raises:
        MarbleError: there would be more than 100,000.
    """
    emitters = [parse(text).marks for text in texts]
    if _count(list(map(len, emitters))) > 100_000:  # noqa: PLR2004 - documented above
        raise MarbleError(f"{texts} can be interleaved in more than 100,000 ways.")
    yield from (tuple(map(render, rows)) for rows in _merges(emitters))


def _count(lengths: list[int]) -> int:
    ways, total = 1, 0
    for length in lengths:
        for taken in range(1, length + 1):
            total += 1
            ways = ways * total // taken
    return ways


def _merges(emitters: list[tuple[Mark, ...]], frame: int = 0) -> Iterator[list[list[Mark]]]:
    if not any(emitters):
        yield [[] for _ in emitters]
        return
    for index, marks in enumerate(emitters):
        if not marks:
            continue
        rest = [other[1:] if other is marks and nth == index else other for nth, other in enumerate(emitters)]
        for rows in _merges(rest, frame + 1):
            rows[index].insert(0, marks[0]._replace(at=frame * FRAME_US))
            yield rows
