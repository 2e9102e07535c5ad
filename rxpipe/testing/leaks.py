"""What a test must not leave behind: subscriptions, timers, sources that are still held, signals that nobody saw."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from reactivex import Observable, abc

from rxpipe.rx.scheduled import ScheduledItem
from rxpipe.testing.origin import Line, is_own, placed, show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from rxpipe.testing.dropped import Dropped
    from rxpipe.testing.patches import Replacement

__tracebackhide__ = True  # pytest shows the test's line, not ours

MOST = 6
WIDTH = 66


class Leaked(AssertionError):
    """A test has ended and something goes on; the message names each with its line."""

    __module__ = "rxpipe.testing"


class SignalDropped(AssertionError):
    """A value or an error reached nobody; the message names each with its line."""

    __module__ = "rxpipe.testing"


class TrackedSubscription:
    """A subscription that the user's own code made: its line, and whether it is open and holds something."""

    def __init__(self, line: Line, subscription: Any) -> None:
        self.line = line
        self._subscription = subscription

    @property
    def is_held(self) -> bool:
        """Whether it holds what somebody would have to release: a stream of the test, a timer, a resource.

        One of a subject holds nothing: it is gone with the subject.
        """
        return _holds(self._subscription)


RX_PARTS = ("_subscription", "current", "disposable", "underlying_disposable", "_disposables")
"""Where Rx's disposables keep others."""


def _holds(subscription: Any) -> bool:
    """Return whether *subscription* or one that it keeps would call a function of neither Rx nor the pipeline."""
    seen: set[int] = set()
    to_look_at = [subscription]
    while to_look_at:
        disposable = to_look_at.pop()
        if id(disposable) in seen or getattr(disposable, "is_disposed", False):
            continue
        seen.add(id(disposable))
        if isinstance(disposable, ScheduledItem):
            if not disposable.disposed and disposable.action is not None:
                return True
            continue
        action = getattr(disposable, "action", None)
        owner = getattr(action, "__self__", None)
        if owner is None and callable(action) and _is_resource(action):
            return True
        to_look_at += [owner] if owner is not None else _parts(disposable)
    return False


def _parts(disposable: Any) -> list[Any]:
    if getattr(disposable, "is_stopped", False):
        return []
    parts = [getattr(disposable, name, None) for name in RX_PARTS]
    listed = [each for part in parts for each in (part if isinstance(part, list | tuple) else [part])]
    return [each for each in listed if isinstance(each, abc.DisposableBase)]


def _is_resource(action: Any) -> bool:
    module = getattr(action, "__module__", None) or ""
    return not module.startswith("reactivex.") and (
        module.startswith("rxpipe.testing") or not module.startswith("rxpipe.")
    )


def replacements(current: Callable[[], Any | None]) -> Iterator[Replacement]:
    """Yield `Observable.subscribe` with a note of who called it."""
    real = Observable.subscribe

    def subscribe(stream: Any, *arguments: Any, **more: Any) -> Any:
        subscription = real(stream, *arguments, **more)
        caller = sys._getframe(1)  # noqa: SLF001 - the cheap way to the caller
        if is_own(caller.f_code.co_filename) and (time := current()) is not None:
            line = (caller.f_code.co_filename, caller.f_lineno)
            time.subscriptions.append(TrackedSubscription(line, subscription))
        return subscription

    yield Observable, "subscribe", subscribe


def require_seen(dropped: Sequence[Dropped]) -> None:
    """Fail if a signal was dropped.

    Raises:
        SignalDropped: names what, when, by whom, and the line that planned it.
    """
    if dropped:
        what = "a signal reached nobody" if len(dropped) == 1 else f"{len(dropped)} signals reached nobody"
        hint = "marbles.allow_dropped() says that it is meant."
        raise SignalDropped(_listing(what, map(str, dropped), hint))


def require_released(
    subscriptions: Iterable[Line], sources: Iterable[tuple[str, Line]], timers: Iterable[Line]
) -> None:
    """Fail if something goes on after the test.

    Raises:
        Leaked: names each with its line.
    """
    found = describe_leaks(subscriptions, sources, timers)
    if found:
        hint = "Dispose it or let it end; marbles.allow_leaks() says that it is meant."
        raise Leaked(_listing("the test has ended, and something goes on", found, hint))


def describe_leaks(
    subscriptions: Iterable[Line], sources: Iterable[tuple[str, Line]], timers: Iterable[Line]
) -> list[str]:
    """Return what goes on, each in words with its line, none twice."""
    held = list(subscriptions)
    found = [_named("a subscription was never disposed, and holds something", line) for line in held]
    found += [_named(f"{name} is still subscribed to", line) for name, line in sources]
    found += [_named("a timer is still planned", line) for line in timers if line not in held]
    return list(dict.fromkeys(found))


def _named(what: str, line: Line) -> str:
    return "\n".join([what, *(f"    {each}" for each in placed(show(line), WIDTH))])


def _listing(title: str, found: Iterable[str], hint: str) -> str:
    lines = list(found)
    more = [f"and {len(lines) - MOST} more"] if len(lines) > MOST else []
    body = "\n".join(f"  {line}" for each in [*lines[:MOST], *more] for line in each.split("\n"))
    return f"{title}\n\n{body}\n\n  {hint}"
