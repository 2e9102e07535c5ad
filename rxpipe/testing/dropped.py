"""Signals that reach nobody: a value or an error after the end, an error after the subscription was disposed.

Rx drops them in silence. These methods stand in for those of its observers, and note what is dropped. An error that
reached somebody by another way, as through two windows of one stream, is not lost.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from reactivex.observer import AutoDetachObserver, Observer

from rxpipe.testing.clock import spoken
from rxpipe.testing.origin import placed, raised_at, relative, show
from rxpipe.testing.values import short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rxpipe.testing.origin import Line
    from rxpipe.testing.patches import Replacement

__tracebackhide__ = True  # pytest shows the test's line, not ours

ENDED = "_ended_in_this_test"
MOST = 100
WIDTH = 70
AFTER_END = "after the end"


class Dropped(NamedTuple):
    """A signal that nobody saw: `at` in microseconds, `kind` value or error, `after` what, `by` whom, planned where."""

    at: int
    kind: str
    value: Any
    after: str
    by: str
    line: Line

    def __str__(self) -> str:
        what = f"at {spoken(self.at)} the {self.kind} {short(self.value, 40)}, {self.after}, dropped by {self.by}"
        lines = textwrap.wrap(what, WIDTH, subsequent_indent="    ")
        raised = raised_at(self.value) if isinstance(self.value, Exception) else []
        return "\n".join([*lines, *(f"    {line}" for line in [*raised, *placed(show(self.line), WIDTH - 4)])])


class Noting(Protocol):
    """Who keeps what is dropped."""

    def drop(self, kind: str, value: Any, after: str, by: str) -> None:
        """Note a dropped signal."""

    def deliver(self, error: Exception) -> None:
        """Note an error that somebody outside of Rx received."""


Note = Callable[[Any, str, Any], None]


def replacements(current: Callable[[], Noting | None]) -> Iterator[Replacement]:
    """Yield the methods of Rx's two kinds of observer, with a note of what they drop."""

    def note(observer: Any, kind: str, value: Any) -> None:
        after = AFTER_END if getattr(observer, ENDED, False) else "after it was disposed"
        noting = current()
        if noting is not None:
            noting.drop(kind, value, after, name_of(observer))

    def received(observer: Any, error: Exception) -> None:
        module = getattr(observer._on_error, "__module__", None) or ""  # noqa: SLF001 - whom it calls
        noting = current()
        if noting is not None and not module.startswith(("reactivex.", __name__)):
            noting.deliver(error)

    yield from _of_subscriptions(note, received)
    yield from _of_subjects(note)


def _of_subscriptions(note: Note, received: Callable[[Any, Exception], None]) -> Iterator[Replacement]:
    def on_next(observer: Any, value: Any) -> None:
        if observer.is_stopped:
            note(observer, "value", value)
            return
        observer._on_next(value)  # noqa: SLF001 - stands in for a method of the observer

    def on_error(observer: Any, error: Exception) -> None:
        if observer.is_stopped:
            note(observer, "error", error)
        else:
            received(observer, error)
            end(observer, observer._on_error, error)  # noqa: SLF001 - as above

    def on_completed(observer: Any) -> None:
        if not observer.is_stopped:
            end(observer, observer._on_completed)  # noqa: SLF001 - as above

    def end(observer: Any, send: Callable[..., None], *error: Exception) -> None:
        observer.is_stopped = True
        setattr(observer, ENDED, True)
        try:
            send(*error)
        finally:
            observer.dispose()

    for method in (on_next, on_error, on_completed):
        yield AutoDetachObserver, method.__name__, method


def _of_subjects(note: Note) -> Iterator[Replacement]:
    def on_next(observer: Any, value: Any) -> None:
        if observer.is_stopped:
            note(observer, "value", value)
        else:
            observer._on_next_core(value)  # noqa: SLF001 - stands in for a method of the observer

    def on_error(observer: Any, error: Exception) -> None:
        if observer.is_stopped:
            note(observer, "error", error)
            return
        observer.is_stopped = True
        setattr(observer, ENDED, True)
        observer._on_error_core(error)  # noqa: SLF001 - as above

    def on_completed(observer: Any) -> None:
        if not observer.is_stopped:
            observer.is_stopped = True
            setattr(observer, ENDED, True)
            observer._on_completed_core()  # noqa: SLF001 - as above

    for method in (on_next, on_error, on_completed):
        yield Observer, method.__name__, method


def name_of(observer: Any) -> str:
    """Return what an observer belongs to: the operator, the recording, the function it calls."""
    target = getattr(observer, "_on_next", observer)
    while isinstance(owner := getattr(target, "__self__", None), AutoDetachObserver):
        target = getattr(owner, "_on_next", None)
    if (made_at := getattr(owner, "made_at", None)) is not None:
        return f"the stream expected at {str(made_at).partition(': ')[0]}"
    module = getattr(target, "__module__", None) or type(observer).__module__
    if owner is None and module.startswith("reactivex.operators"):
        return module.rpartition(".")[2].strip("_")
    code = getattr(target, "__code__", None)
    if code is not None and module != "reactivex.internal.utils":
        return f"{target.__name__} ({relative(code.co_filename)}:{code.co_firstlineno})"
    return f"a {type(owner or observer).__name__}"
