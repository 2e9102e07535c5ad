"""Streams from diagrams: cold ones play anew for each subscriber, hot ones play once, and both log their subscribers.

Where RxPY's own test streams lose `|` for the second subscriber or the first frame of a hot one, these do not.
The surprise: like a Subject, a hot stream that has ended emits its end to late subscribers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpipe.testing.clock import MarbleError
from rxpipe.testing.diagram import MarblePicture
from rxpipe.testing.grammar import Kind, Subscription, parse, parse_subscription
from rxpipe.testing.naming import name_values
from rxpipe.testing.origin import current_line, placed
from rxpipe.testing.rendering import render, render_subscription
from rxpipe.testing.signals import Recorded, Values, deliver, resolve, same_stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rxpipe.testing.clock import Runaway, VirtualClock
    from rxpipe.testing.rewriting import Rewrites
    from rxpipe.testing.spelling import NamesUsed

__tracebackhide__ = True  # pytest shows the test's line, not ours


class Harness(Protocol):
    """What streams and recordings need of the test they belong to."""

    clock: VirtualClock
    names: NamesUsed
    numbers: Iterator[int]
    rewrites: Rewrites | None

    def line(self) -> str:
        """Return the line of the test that is running, `file:line: source`."""

    def finish(self) -> None:
        """Run virtual time until nothing is planned."""

    def runaway(self, error: Runaway | RecursionError) -> Runaway:
        """Return *error* with the name of the stream that does not end."""


class SubscriptionLog:
    """The subscriptions of a stream, in order of subscribing; times from the stream's making."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self._zero = harness.clock.now_us
        self.entries: list[Subscription] = []

    def open(self) -> Callable[[], None]:
        """Note a subscription now; call what it returns on unsubscribing."""
        index = len(self.entries)
        self.entries.append(Subscription(self._now()))

        def close() -> None:
            if self.entries[index].off_us is None:
                self.entries[index] = self.entries[index]._replace(off_us=self._now())

        return close

    @property
    def is_open(self) -> bool:
        """Whether somebody is still subscribed."""
        return any(entry.off_us is None for entry in self.entries)

    def _now(self) -> int:
        return self._harness.clock.now_us - self._zero

    def to_be(self, *diagrams: str | Sequence[str]) -> None:
        """Fail unless there was one subscription per diagram, as it shows: "^--!"; none for "-----".

        Raises:
            AssertionError: shows both lists.
        """
        texts = [text for given in diagrams for text in ([given] if isinstance(given, str) else given)]
        expected = [times for times in map(parse_subscription, texts) if times is not None]
        if expected != self.entries and not self._is_rewritten(texts):
            rows = [("expected", each) for each in expected] + [("actual  ", each) for each in self.entries]
            shown = "\n".join(f"  {label}  {render_subscription(each)}" for label, each in rows)
            place = "\n".join(f"  {line}" for line in placed(self._harness.line()))
            raise AssertionError(f"{self._reason(expected)}\n\n{shown}\n\n{place}")

    def _is_rewritten(self, texts: list[str]) -> bool:
        """Return whether the texts that differ are to be rewritten, to what was logged, in the test's file."""
        rewrites, came = self._harness.rewrites, list(map(render_subscription, self.entries))
        if rewrites is None or len(texts) != len(came):
            return False
        differing = [
            (old, new)
            for old, new in zip(texts, came, strict=True)
            if parse_subscription(old) != parse_subscription(new)
        ]
        return all(rewrites.propose(old, new) for old, new in differing)

    def _reason(self, expected: list[Subscription]) -> str:
        if len(expected) != len(self.entries):
            count = f"{len(self.entries)} subscription{'' if len(self.entries) == 1 else 's'}"
            return f"{count} where {len(expected)} {'was' if len(expected) == 1 else 'were'} expected"
        index, (one, other) = next(
            (index, pair)
            for index, pair in enumerate(zip(expected, self.entries, strict=True), 1)
            if pair[0] != pair[1]
        )
        if one.on_us == other.on_us:
            return f"subscription {index} {'is still open' if other.off_us is None else 'ended at another time'}"
        return f"subscription {index} began at another time"

    def __len__(self) -> int:
        return len(self.entries)

    def __repr__(self) -> str:
        return repr([render_subscription(entry) for entry in self.entries])


class Source(Observable[Any]):
    """A stream of a test; `subscriptions` logs its subscribers. As an expected value it stands for its own marks."""

    def __init__(self, harness: Harness, plays: tuple[tuple[Recorded, ...], ...]) -> None:
        super().__init__()
        self.harness = harness
        self.plays = plays
        self.made_at = current_line()
        self.subscriptions = SubscriptionLog(harness)

    @property
    def marks(self) -> tuple[Recorded, ...]:
        """What it plays, times from time zero; of several plays the first."""
        return self.plays[0]

    def picture(self) -> MarblePicture:
        """Return what it plays as a picture; a row for each play."""
        named = [name_values(play, play) for play in self.plays]
        label = type(self).__name__.removesuffix("Source").lower()
        return MarblePicture(
            tuple((f"{label} {n}" if n > 1 else label, marks) for n, (marks, _) in enumerate(named, 1)),
            legend={name: meaning for _, legend in named for name, meaning in legend.items()},
        )

    def _repr_svg_(self) -> str:
        return self.picture().svg()

    def __repr__(self) -> str:
        texts = ", ".join(f'"{render(name_values(play, play)[0])}"' for play in self.plays)
        return f"{type(self).__name__.removesuffix('Source').lower()} {texts}"

    def matches(self, actual: object) -> bool:
        """Return whether *actual* is this stream, or a recording of a stream that played the same."""
        return same_stream(self, self.marks, actual)


class ColdSource(Source):
    """Plays for each subscriber from when it subscribes; of several plays the nth for the nth, the last repeating."""

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        del scheduler  # a test has one clock
        play = self.plays[min(len(self.subscriptions), len(self.plays) - 1)]
        close = self.subscriptions.open()
        clock = self.harness.clock
        planned = [
            clock.schedule_at_us(clock.now_us + recorded.at, _delivery(recorded, observer), origin=self.made_at)
            for recorded in play
        ]

        def dispose() -> None:
            close()
            for action in planned:
                action.dispose()

        return Disposable(dispose)


def _delivery(recorded: Recorded, observer: abc.ObserverBase[Any]) -> abc.ScheduledAction[Any]:
    def play(_: abc.SchedulerBase, __: Any) -> None:
        deliver(recorded, observer)

    return play


class HotSource(Source):
    """Plays once, from its making (or its `^`), whether it has subscribers or not."""

    def __init__(self, harness: Harness, plays: tuple[tuple[Recorded, ...], ...]) -> None:
        super().__init__(harness, plays)
        self._observers: list[abc.ObserverBase[Any]] = []
        self._ended: Recorded | None = None
        self._epoch = harness.clock.epoch
        self._zero = now = harness.clock.now_us
        for recorded in self.marks:
            if recorded.at >= 0:
                harness.clock.schedule_at_us(now + recorded.at, self._emission(recorded), origin=self.made_at)

    def _emission(self, recorded: Recorded) -> abc.ScheduledAction[Any]:
        return lambda *_: self._send(recorded)

    def _send(self, recorded: Recorded) -> None:
        if recorded.kind != "next":
            self._ended = recorded
        for observer in tuple(self._observers):
            deliver(recorded, observer)

    def emit(self, *values: Any) -> None:
        """Emit *values* now, by hand, beside what the diagram plays."""
        for value in values:
            self._emit("next", value)

    def complete(self) -> None:
        """End now, by hand."""
        self._emit("end")

    def fail(self, error: Exception) -> None:
        """End with *error* now, by hand."""
        self._emit("error", error)

    def _emit(self, kind: Kind, value: Any = None) -> None:
        if self._ended is not None:
            raise MarbleError("This hot stream has ended.", hint="marbles.unruly(...) emits after an end.")
        self._send(Recorded(self.harness.clock.now_us - self._zero, kind, value))

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        del scheduler  # a test has one clock
        if self.marks and self._epoch != self.harness.clock.epoch:
            raise MarbleError(
                "This hot stream has already played.", hint="Call every expect(...) first, and only then to_be(...)."
            )
        close = self.subscriptions.open()
        if self._ended is not None:
            deliver(self._ended, observer)
        self._observers.append(observer)

        def dispose() -> None:
            close()
            if observer in self._observers:
                self._observers.remove(observer)

        return Disposable(dispose)


class Inner:
    """A stream expected as a value, by its diagram; times count from its emission."""

    def __init__(self, text: str, values: Values = None, error: object = None) -> None:
        self.text = text
        self.marks = resolve(parse(text, past=False), values, error)

    def matches(self, actual: object) -> bool:
        """Return whether *actual* was recorded as the diagram shows."""
        return same_stream(self, self.marks, actual)

    def __repr__(self) -> str:
        return f'stream "{self.text}"'
