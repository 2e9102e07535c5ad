"""What a stream did, recorded, and the comparisons a test makes with it.

`to_be` runs virtual time to its end, compares everything, and on a difference raises `Mismatch`: a reason in one
line, both diagrams on one time axis, and the line of the test.
The surprise: a comparison has to account for all that came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from reactivex import Observable, abc

from rxpipe.testing.clock import Duration, MarbleError, Runaway, microseconds, spoken
from rxpipe.testing.diagram import MarblePicture
from rxpipe.testing.grammar import parse
from rxpipe.testing.mismatch import Mismatch, reason, shown
from rxpipe.testing.naming import Names, name_values
from rxpipe.testing.rendering import render
from rxpipe.testing.signals import Recorded, Values, resolve
from rxpipe.testing.virtual import RealThread

if TYPE_CHECKING:
    from rxpipe.testing.streams import Harness

__tracebackhide__ = True  # pytest shows the test's line, not ours


class Recording(abc.ObserverBase[Any]):
    """Everything one subscriber saw, with the comparisons; `messages` in order, times from its making.

    A value that is a stream is recorded too, from the moment it came, so that a diagram can be expected of it.
    """

    def __init__(self, harness: Harness, name: str = "", stream: object = None) -> None:
        self.harness = harness
        self.name = name
        self.stream = stream
        self.messages: list[Recorded] = []
        self.numbers: list[int] = []
        """The place of each message among all that the test recorded."""
        self.mismatch: Mismatch | None = None
        self.compared = -1
        self.made_at = harness.line()
        self.subscription: abc.DisposableBase | None = None
        self._zero = harness.clock.now_us

    def on_next(self, value: Any) -> None:
        """Record *value*, and if it is a stream, what it does."""
        if not isinstance(value, Observable):
            self._add("next", value)
            return
        inner = Recording(self.harness, stream=value)
        self._add("next", inner)
        inner.subscription = value.subscribe(inner)

    def on_error(self, error: Exception) -> None:
        """Record the error."""
        self._add("error", error)

    def on_completed(self) -> None:
        """Record the end."""
        self._add("end", None)

    def _add(self, kind: Any, value: Any) -> None:
        self.numbers.append(next(self.harness.numbers))
        self.messages.append(Recorded(self.harness.clock.now_us - self._zero, kind, value))

    @property
    def values(self) -> list[Any]:
        """The values alone, in order."""
        return [recorded.value for recorded in self.messages if recorded.kind == "next"]

    def listen(self, stream: Observable[Any]) -> Self:
        """Subscribe to *stream* now; returns itself."""
        self.stream = stream
        self.subscription = stream.subscribe(self)
        return self

    def release(self) -> None:
        """Unsubscribe from the stream, and from those that came as values."""
        self.dispose()
        for recorded in self.messages:
            if isinstance(recorded.value, Recording):
                recorded.value.release()

    def dispose(self) -> None:
        """Unsubscribe now."""
        if self.subscription is not None:
            self.subscription.dispose()

    def to_be(self, text: str, values: Values = None, error: object = None) -> None:
        """Run time to its end, then fail unless the stream did what *text* shows, and nothing else.

        Args:
            text: a diagram; time zero is where `expect` was called.
            values: what its names stand for: values, types, predicates or matchers; None: each name for itself.
            error: the error `#` stands for; None: the one `#` stands for in sources.

        Raises:
            Mismatch: with the reason, both diagrams and the line of the test.
        """
        expected = self._expected(text, values, error)
        self._finish()
        if not self._is_rewritten(text, values, error, expected):
            self._compare(expected)

    def _is_rewritten(self, text: str, values: Values, error: object, expected: tuple[Recorded, ...]) -> bool:
        """Return whether the expectation differs and is to be rewritten, to what came, in the test's file."""
        rewrites = self.harness.rewrites
        if rewrites is None:
            return False
        actual = tuple(self.messages)
        if reason(expected, actual) is None:
            return False
        new = render(Names(expected).row(actual, expected))
        try:
            again = resolve(parse(new, past=False), values, error)
        except MarbleError:
            return False  # a value that the test has no name for
        return reason(again, actual) is None and rewrites.propose(text, new)

    def _expected(self, text: str, values: Values, error: object) -> tuple[Recorded, ...]:
        diagram = parse(text, past=False)
        expected = resolve(diagram, values, error)
        if values is not None:
            self.harness.names.note(values, diagram, self.harness.line())
        return expected

    def __eq__(self, other: object) -> bool:
        """Return whether the stream did what a diagram shows: `assert stream == "--a|"`, or `== ("--a|", values)`.

        Runs time to its end. Where it did not, pytest shows what `to_be` shows.
        """
        text, *values = other if isinstance(other, tuple) else (other,)
        if not isinstance(text, str) or len(values) > 2:  # noqa: PLR2004 - values and an error
            return self is other
        try:
            self.to_be(text, *values)
        except Mismatch as mismatch:
            self.mismatch = mismatch
            return False
        return True

    __hash__ = object.__hash__

    def to_be_so_far(self, text: str, values: Values = None, error: object = None) -> None:
        """Fail unless the stream, up to this moment, did what *text* shows. Moves no time."""
        expected = self._expected(text, values, error)
        if self._is_rewritten(text, values, error, expected):
            self.compared = len(self.messages)
        else:
            self._compare(expected)

    def to_equal(self, other: Observable[Any] | Recording) -> None:
        """Run time to its end, then fail unless *other*, a stream or what was recorded of one, did the same."""
        recorded = other if isinstance(other, Recording) else Recording(self.harness)
        if not isinstance(other, Recording):
            recorded.subscription = other.subscribe(recorded)
        self._finish()
        recorded.compared = len(recorded.messages)
        if recorded is not other:
            recorded.release()
        self._compare(tuple(recorded.messages))

    def no_event_for(self, duration: Duration) -> None:
        """Move time by *duration*, and fail if this stream emits anything in it."""
        before = tuple(self.messages)
        self.harness.clock.advance_by(duration)
        if len(self.messages) > len(before):
            came = self.messages[len(before)]
            self._fail(f"{shown(came)} came within {spoken(microseconds(duration))} of silence", before)
        self.compared = max(self.compared, 0)

    def accept(self) -> Self:
        """Accept everything so far: the test has checked `messages` or `values` itself. Returns itself."""
        self.compared = len(self.messages)
        return self

    def unaccounted(self) -> str | None:
        """Return what no comparison has seen: a reason in one line, None if there is nothing."""
        if self.compared < 0:
            return "nothing was ever expected of this stream"
        if len(self.messages) > self.compared:
            return f"{shown(self.messages[self.compared])} came after the last comparison"
        return None

    def require_accounted(self) -> None:
        """Fail if something was emitted that no comparison has seen.

        Raises:
            Mismatch: names what came, and the line of `expect`.
        """
        if (why := self.unaccounted()) is not None:
            self._fail(why, tuple(self.messages[: max(self.compared, 0)]), where=self.made_at)

    def picture(self) -> MarblePicture:
        """Return what was emitted as a picture."""
        marks, legend = name_values(tuple(self.messages))
        return MarblePicture(((self.name or "stream", marks),), legend=legend)

    def _repr_svg_(self) -> str:
        return self.picture().svg()

    def text(self) -> str:
        """Return what was emitted as a diagram; times from zero, names from the values."""
        return render(name_values(tuple(self.messages))[0])

    def _finish(self) -> None:
        try:
            self.harness.finish()
        finally:
            self.compared = len(self.messages)

    def _compare(self, expected: tuple[Recorded, ...]) -> None:
        actual = tuple(self.messages)
        self.compared = len(actual)
        last = actual[-1] if actual else None
        if last is not None and isinstance(last.value, Runaway | RecursionError):
            raise self.harness.runaway(last.value) from None
        if last is not None and isinstance(last.value, MarbleError | RealThread):
            raise last.value
        if (why := reason(expected, actual)) is not None:
            self._fail(why, expected)

    def _fail(self, why: str, expected: tuple[Recorded, ...], *, where: str = "") -> None:
        self.compared = len(self.messages)
        title = f"{self.name}: {why}" if self.name else why
        raise Mismatch(title, expected, tuple(self.messages), where=where or self.harness.line())

    def __repr__(self) -> str:
        return f'stream "{self.text()}"'
