"""Pull what a stream emits, one by one: `with marbles.turbine(stream) as t: t.item()`.

Every signal has to be taken: what is left when the block ends fails the test. In virtual time `item()` moves the clock
as far as it takes; with a limit it waits for real threads, in real seconds.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Self

from reactivex import abc

from rxpipe.testing.clock import Duration, MarbleError, microseconds, spoken
from rxpipe.testing.matchers import matches
from rxpipe.testing.mismatch import Mismatch, shown
from rxpipe.testing.origin import current_line, show
from rxpipe.testing.signals import Recorded
from rxpipe.testing.values import short

if TYPE_CHECKING:
    from types import TracebackType

    from reactivex import Observable

    from rxpipe.testing.clock import VirtualClock
    from rxpipe.testing.grammar import Kind

__tracebackhide__ = True  # pytest shows the test's line, not ours

US_PER_S = 1_000_000


class Turbine(abc.ObserverBase[Any]):
    """A subscription whose signals are taken one by one. Subscribes where the `with` begins, disposes at its end.

    Args:
        stream: what is tested.
        clock: the virtual time to move; None for real time, then *limit* is needed.
        limit: how long, in real time, each of its methods waits for a signal.
        name: stands in failures.
    """

    def __init__(
        self, stream: Observable[Any], clock: VirtualClock | None, limit: Duration | None, name: str = ""
    ) -> None:
        if clock is None and limit is None:
            raise MarbleError("A turbine in real time needs a limit.", hint='Such as limit="2s".')
        self._stream, self._clock, self._name = stream, clock, name
        self._limit_us = None if limit is None else microseconds(limit)
        self._signals: list[Recorded] = []
        self._taken = 0
        self._changed = threading.Condition()
        self._subscription: abc.DisposableBase | None = None
        self._zero_us = self._now_us()

    def __enter__(self) -> Self:
        self._zero_us = self._now_us()
        self._subscription = self._stream.subscribe(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
        if error is None and self._taken < len(self._signals):
            left = self._signals[self._taken :]
            names = ", ".join(map(shown, left[:5])) + (", ..." if len(left) > 5 else "")  # noqa: PLR2004 - a line's worth
            cause = next((signal.value for signal in left if signal.kind == "error"), None)
            raise self._failure(f"{len(left)} signals were never taken: {names}") from cause

    def on_next(self, value: Any) -> None:
        """Keep *value* until it is taken."""
        self._add("next", value)

    def on_error(self, error: Exception) -> None:
        """Keep the error until it is taken."""
        self._add("error", error)

    def on_completed(self) -> None:
        """Keep the end until it is taken."""
        self._add("end", None)

    def _add(self, kind: Kind, value: Any) -> None:
        with self._changed:
            self._signals.append(Recorded(self._now_us() - self._zero_us, kind, value))
            self._changed.notify_all()

    def _now_us(self) -> int:
        return self._clock.now_us if self._clock is not None else time.monotonic_ns() // 1000

    def cancel(self) -> None:
        """Unsubscribe now."""
        if self._subscription is not None:
            self._subscription.dispose()

    def item(self, expected: Any = ...) -> Any:
        """Wait for the next value and return it.

        Args:
            expected: what it must match; if not given, anything.

        Raises:
            Mismatch: the stream ended or failed instead, nothing came, or another value did.
        """
        signal = self._take("a value", "next")
        if expected is not ... and not matches(expected, signal.value):
            raise self._failure(f"the value is {short(signal.value)}, not {short(expected)}")
        return signal.value

    def items(self, count: int) -> list[Any]:
        """Wait for *count* values and return them."""
        return [self.item() for _ in range(count)]

    def completed(self) -> None:
        """Wait for the end.

        Raises:
            Mismatch: a value or an error came instead, or nothing.
        """
        self._take("the end", "end")

    def error(self, expected: Any = Exception) -> Exception:
        """Wait for the stream to fail; return the error, which must match *expected*: a type, an error, a matcher."""
        signal = self._take("an error", "error")
        if not matches(expected, signal.value):
            raise self._failure(f"the error is {short(signal.value)}, not {short(expected)}") from signal.value
        error: Exception = signal.value
        return error

    def no_more_for(self, duration: Duration) -> None:
        """Let *duration* pass, and fail if anything comes in it, or is left from before.

        Raises:
            Mismatch: names what came.
        """
        end_us = self._now_us() + microseconds(duration)
        if self._clock is None:
            self._wait(end_us)
        elif self._taken == len(self._signals):
            self._clock.advance_to_us(end_us)
        if self._taken < len(self._signals):
            came = shown(self._signals[self._taken])
            raise self._failure(f"{came} came within {spoken(microseconds(duration))} of silence")

    def _take(self, what: str, kind: Kind) -> Recorded:
        if self._subscription is None:
            raise MarbleError("This turbine has not subscribed.", hint="with marbles.turbine(stream) as t: ...")
        if not self._wait(None if self._limit_us is None else self._now_us() + self._limit_us):
            waited = "nothing is planned" if self._limit_us is None else f"it took more than {spoken(self._limit_us)}"
            raise self._failure(f"{what} was expected; none came, and {waited}")
        signal = self._signals[self._taken]
        if signal.kind != kind:
            cause = signal.value if signal.kind == "error" else None
            raise self._failure(f"{what} was expected; {shown(signal)} came") from cause
        self._taken += 1
        return signal

    def _wait(self, until_us: int | None) -> bool:
        """Wait for a signal that was not taken yet; return whether there is one."""
        if self._clock is not None and self._limit_us is None:
            return self._has_more() or self._clock.run_until(self._has_more)
        with self._changed:
            return self._changed.wait_for(self._has_more, self._seconds_to(until_us))

    def _has_more(self) -> bool:
        return self._taken < len(self._signals)

    def _seconds_to(self, until_us: int | None) -> float:
        until_us = self._limit_us if until_us is None else until_us - self._now_us()
        return max(0.0, (until_us or 0) / US_PER_S)

    def _failure(self, why: str) -> Mismatch:
        taken, came = tuple(self._signals[: self._taken]), tuple(self._signals)
        title = f"{self._name}: {why}" if self._name else why
        return Mismatch(title, taken, came, where=show(current_line()))


def turbine(stream: Observable[Any], limit: Duration = "2s", *, name: str = "") -> Turbine:
    """Return a turbine on a stream of real threads; each of its methods waits at most *limit* of real time."""
    return Turbine(stream, None, limit, name)
