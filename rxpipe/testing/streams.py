"""Streams from diagrams: cold ones play anew for each subscriber, hot ones play once, and both log their subscribers.

Where RxPY's own test streams lose `|` for the second subscriber or the first frame of a hot one, these do not.
The surprise: like a Subject, a hot stream that has ended emits its end to late subscribers.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpipe.testing.clock import MarbleError
from rxpipe.testing.diagram import MarblePicture
from rxpipe.testing.grammar import (
    Diagram,
    Kind,
    Mark,
    Subscription,
    parse,
    parse_subscription,
    render,
    render_subscription,
)
from rxpipe.testing.matchers import matches, short

if TYPE_CHECKING:
    from rxpipe.testing.clock import VirtualClock

__tracebackhide__ = True  # pytest shows the test's line, not ours

Values = Mapping[str, Any] | Callable[[str], Any] | None
"""What the names of a diagram stand for: a mapping, a function of the name (`int`), or None: each for itself."""


class Fault(Exception):
    """What `#` stands for where no error is given."""


class Recorded(NamedTuple):
    """What was emitted or is expected: `at` in microseconds, `value` a value, an error or None, `name` its name."""

    at: int
    kind: Kind
    value: Any = None
    name: str = ""


class Harness(Protocol):
    """What streams and recordings need of the test they belong to."""

    clock: VirtualClock

    def line(self) -> str:
        """Return the line of the test that is running, `file:line: source`."""

    def finish(self) -> None:
        """Run virtual time until nothing is planned."""


def resolve(diagram: Diagram, values: Values = None, error: object = None) -> tuple[Recorded, ...]:
    """Return the marks of *diagram* with values for names and an error for `#`.

    Raises:
        MarbleError: a name that *values* does not know.
    """
    return tuple(_resolve(mark, values, Fault("#") if error is None else error) for mark in diagram.marks)


def _resolve(mark: Mark, values: Values, error: object) -> Recorded:
    if mark.kind != "next":
        return Recorded(mark.at, mark.kind, error if mark.kind == "error" else None)
    return Recorded(mark.at, "next", _value(mark.name, values), mark.name)


def _value(name: str, values: Values) -> Any:
    if values is None:
        return name
    if callable(values):
        return values(name)
    if name not in values:
        raise MarbleError(f"No value for {name!r}; there are values for {', '.join(map(repr, values)) or 'nothing'}.")
    return values[name]


def deliver(recorded: Recorded, observer: abc.ObserverBase[Any]) -> None:
    """Emit *recorded* to *observer*."""
    if recorded.kind == "next":
        observer.on_next(recorded.value)
    elif recorded.kind == "error":
        observer.on_error(recorded.value)
    else:
        observer.on_completed()


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

    def _now(self) -> int:
        return self._harness.clock.now_us - self._zero

    def to_be(self, *diagrams: str) -> None:
        """Fail unless there was one subscription per diagram, as it shows: "^--!"; with none, no subscription.

        Raises:
            AssertionError: shows both lists.
        """
        expected = [parse_subscription(diagram) for diagram in diagrams if diagram]
        if expected != self.entries:
            rows = [("expected", each) for each in expected] + [("actual  ", each) for each in self.entries]
            shown = "\n".join(f"  {label}  {render_subscription(each)}" for label, each in rows)
            raise AssertionError(f"{self._reason(expected)}\n\n{shown}\n\n  {self._harness.line()}")

    def _reason(self, expected: list[Subscription | None]) -> str:
        if len(expected) != len(self.entries):
            return f"{len(self.entries)} subscriptions where {len(expected)} were expected"
        index, (one, other) = next(
            (index, pair)
            for index, pair in enumerate(zip(expected, self.entries, strict=True), 1)
            if pair[0] != pair[1]
        )
        if one is not None and one.on_us == other.on_us:
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
        planned = [clock.schedule_at_us(clock.now_us + recorded.at, _delivery(recorded, observer)) for recorded in play]

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
        now = harness.clock.now_us
        for recorded in self.marks:
            if recorded.at >= 0:
                harness.clock.schedule_at_us(now + recorded.at, self._emission(recorded))

    def _emission(self, recorded: Recorded) -> abc.ScheduledAction[Any]:
        def emit(_: abc.SchedulerBase, __: Any) -> None:
            if recorded.kind != "next":
                self._ended = recorded
            for observer in tuple(self._observers):
                deliver(recorded, observer)

        return emit

    def _subscribe_core(
        self, observer: abc.ObserverBase[Any], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        del scheduler  # a test has one clock
        if self._epoch != self.harness.clock.epoch:
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


def same_stream(stream: object, expected: tuple[Recorded, ...], actual: object) -> bool:
    """Return whether *actual*, an emitted value, is *stream* or was recorded as *expected*."""
    recorded: list[Recorded] | None = getattr(actual, "messages", None)
    if recorded is None:
        return actual is stream
    return getattr(actual, "stream", None) is stream or (
        len(expected) == len(recorded) and all(map(same, expected, recorded))
    )


def same(expected: Recorded, actual: Recorded) -> bool:
    """Return whether the same was emitted at the same time."""
    return expected.at == actual.at and same_thing(expected, actual)


def same_thing(expected: Recorded, actual: Recorded) -> bool:
    """Return whether the same was emitted, at any time."""
    if expected.kind != actual.kind:
        return False
    if isinstance(expected.value, Observable) and not isinstance(expected.value, Source):
        return getattr(actual.value, "stream", actual.value) is expected.value
    return matches(expected.value, actual.value)


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


def name_values(
    marks: tuple[Recorded, ...], known: tuple[Recorded, ...] = ()
) -> tuple[tuple[Mark, ...], dict[str, str]]:
    """Return names for *marks*, those of *known* where the values match, and a legend for names that are not enough."""
    names = _Names(known)
    named = tuple(Mark(recorded.at, recorded.kind, names.of(recorded)) for recorded in marks)
    return named, names.legend


def _plain(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


class _Names:
    """Gives values names: the expected ones, the value's own text if short, else a free letter."""

    LETTERS = "abcdefghijklmnopqrstuvwxyz"
    LONGEST = 16

    def __init__(self, known: tuple[Recorded, ...]) -> None:
        self.used: set[str] = set()
        self.plain: dict[tuple[type, Any], str] = {}
        self.others: list[Recorded] = []
        self.legend: dict[str, str] = {}
        self._free = itertools.chain(self.LETTERS, (f"v{n}" for n in itertools.count()))
        for recorded in known:
            if recorded.kind == "next" and recorded.name and recorded.name not in self.used:
                self.take(recorded.name, recorded)

    def take(self, name: str, recorded: Recorded) -> str:
        self.used.add(name)
        if _plain(recorded.value):
            self.plain.setdefault((type(recorded.value), recorded.value), name)
        else:
            self.others.append(recorded._replace(name=name))
        text = short(recorded.value)
        if name not in {text, _plain(recorded.value)}:
            self.legend[name] = text
        return name

    def of(self, recorded: Recorded) -> str:
        if recorded.kind != "next" or recorded.name:
            return recorded.name
        own = _plain(recorded.value)
        if own and (name := self.plain.get((type(recorded.value), recorded.value))) is not None:
            return name
        for known in self.others:
            if same_thing(known, recorded):
                return known.name
        fits = 0 < len(own) <= self.LONGEST and not set(own) & set("{}\n") and own not in self.used
        return self.take(own if fits else next(name for name in self._free if name not in self.used), recorded)
