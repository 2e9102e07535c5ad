"""Laws that every Rx operator keeps, checked in one line: `prove(my_operator())`.

1. Whenever it is unsubscribed, it releases every source and every timer, and emits nothing more.
2. Two subscriptions of one stream see the same.
3. An error of a source, whenever it comes, passes, ends the stream, or makes it subscribe again: it is never lost.
4. After its end it emits nothing, and it holds nothing.

Each is tried at every frame of the given diagrams, in virtual time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.testing.clock import MarbleError, in_words
from rxpipe.testing.grammar import FRAME_US, Mark, parse
from rxpipe.testing.marbles import Marbles
from rxpipe.testing.naming import name_values
from rxpipe.testing.rendering import render
from rxpipe.testing.signals import Recorded, Values, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from reactivex import Observable

    from rxpipe.testing.recording import Recording
    from rxpipe.testing.streams import ColdSource

__tracebackhide__ = True  # pytest shows the test's line, not ours

MOST_FRAMES = 2_000
DEFAULT = "-a-b-c-|"


class OperatorLawBroken(AssertionError):
    """An operator breaks a law; the message names it, draws the case, and ends with a test that shows it."""

    __module__ = "rxpipe.testing"


class _Case(NamedTuple):
    """One try: what the sources play, when the stream is unsubscribed, and what came of it."""

    texts: tuple[str, ...]
    cancel: str
    sources: list[ColdSource]
    stream: Recording
    lost: list[str]
    held: list[str]
    late: list[str]


class _Failure(Exception):
    """The error that a source ends with."""


def prove(operator: Callable[..., Observable[Any]], *texts: str, values: Values = None, pure: bool = True) -> int:
    """Check the laws above for an operator.

    Args:
        operator: makes the stream of as many sources as there are *texts*: `ops.debounce(0.003)`, or
            `lambda one, two: one.pipe(ops.merge(two))`.
        texts: a diagram for each source; one of three values if none is given.
        values: what their names stand for.
        pure: whether two subscriptions must see the same; False for what shares its source on purpose.

    Returns:
        How many cases were tried.

    Raises:
        OperatorLawBroken: with a test that shows it.
        MarbleError: more than 2,000 frames.
    """
    prover = _Prover(operator, texts or (DEFAULT,), values)
    tried = 0
    for broken in (prover.undisturbed(pure=pure), prover.cancelled(), prover.failing()):
        for problem in broken:
            tried += 1
            if problem is not None:
                raise OperatorLawBroken(problem)
    return tried


class _Prover:
    """Tries one operator; each case yields None, or what is wrong."""

    def __init__(self, operator: Callable[..., Observable[Any]], texts: tuple[str, ...], values: Values) -> None:
        self._operator, self._texts, self._values = operator, texts, values
        length_us = max((parse(text, past=False).length_us for text in texts), default=0)
        self._frames = length_us // FRAME_US + 1
        if self._frames > MOST_FRAMES:
            raise MarbleError(f"{in_words(length_us)} are too long to try every frame.", hint="Shorten the diagrams.")

    def _try(self, texts: tuple[str, ...], cancel_us: int | None = None, times: int = 1) -> _Case:
        with Marbles(verify=False) as marbles:
            sources = [marbles.cold(text, self._values, error=_Failure("of a source")) for text in texts]
            stream = self._operator(*sources)
            held: list[str] = []

            def release(*_: object) -> None:
                for each in marbles.recordings:  # with the streams that came: a used window keeps its source
                    each.accept().release()
                held.extend(marbles.left_behind()[0])

            for _ in range(times):
                marbles.expect(stream)
                if cancel_us is not None:
                    marbles.at(cancel_us, release)
                marbles.finish()
            if cancel_us is None:
                release()
            _, lost, late = marbles.left_behind()
            cancel = "" if cancel_us is None else render([Mark(0, "on"), Mark(cancel_us, "off")])
            return _Case(texts, cancel, sources, marbles.recordings[-1], lost, held, late)

    def undisturbed(self, *, pure: bool) -> Iterator[str | None]:
        """Yield what is wrong where nobody unsubscribes: signals after the end, what is held, a second subscription."""
        first = self._try(self._texts)
        yield self._problem("after its end it emits nothing", first, first.lost)
        yield self._problem("an end releases everything", first, first.held)
        if pure:
            again = self._try(self._texts, times=2)
            one, other = (name_values(case.stream.messages)[0] for case in (first, again))
            same_again = len(first.stream.messages) == len(again.stream.messages) and all(
                map(same, _as_expected(first.stream), again.stream.messages)
            )
            why = [] if same_again else [f'the first saw "{render(one)}", the second "{render(other)}"']
            yield self._problem("subscribing twice gives the same", again, why)

    def cancelled(self) -> Iterator[str | None]:
        """Yield what is wrong where the stream is unsubscribed at each frame."""
        for frame in range(self._frames + 1):
            case = self._try(self._texts, frame * FRAME_US)
            yield self._problem("unsubscribing releases everything", case, case.held)
            yield self._problem("nothing comes after unsubscribing", case, [*case.late, *case.lost])

    def failing(self) -> Iterator[str | None]:
        """Yield what is wrong where a source fails at each frame."""
        for index, text in enumerate(self._texts):
            for frame in range(parse(text, past=False).length_us // FRAME_US + 1):
                texts = (*self._texts[:index], _failing_at(text, frame * FRAME_US), *self._texts[index + 1 :])
                case = self._try(texts)
                yield self._problem("an error is never lost", case, _lost_error(case, index))
                yield self._problem("an error releases everything", case, case.held)

    def _problem(self, law: str, case: _Case, found: list[str]) -> str | None:
        if not found:
            return None
        came = render(name_values(case.stream.messages)[0])
        sources = [f'  source {n}   "{text}"' for n, text in enumerate(case.texts, 1)]
        drawn = [*sources, *([f'  listened   "{case.cancel}"'] if case.cancel else []), f'  came       "{came}"']
        return "\n".join([f"{law}: {found[0]}", "", *drawn, "", "This test shows it:", "", *self._as_test(case)])

    def _as_test(self, case: _Case) -> list[str]:
        names = [f"source_{n}" for n in range(1, len(case.texts) + 1)]
        lines = ["def test_found(marbles):"]
        lines += [f'    {name} = marbles.cold("{text}")' for name, text in zip(names, case.texts, strict=True)]
        listened = f', "{case.cancel}"' if case.cancel else ""
        lines.append(f"    stream = marbles.expect(operator({', '.join(names)}){listened})")
        came = render(name_values(case.stream.messages)[0])
        lines.append(f'    stream.to_be("{came}")')
        lines += [f'    {name}.subscriptions.to_be("^!")' for name in names[:1] if case.held]
        return lines


def _as_expected(recording: Recording) -> list[Recorded]:
    """Return what came as an expectation: streams that came as values by what they did."""
    return [
        each._replace(value=_Alike(each.value)) if hasattr(each.value, "messages") else each
        for each in recording.messages
    ]


class _Alike:
    """Matches a recorded stream that did the same."""

    def __init__(self, recording: Any) -> None:
        self._marks = _as_expected(recording)

    def matches(self, actual: Any) -> bool:
        messages = getattr(actual, "messages", None)
        return messages is not None and len(messages) == len(self._marks) and all(map(same, self._marks, messages))


def _failing_at(text: str, at_us: int) -> str:
    marks = [mark for mark in parse(text, past=False).marks if mark.at < at_us and mark.kind == "next"]
    return render([*marks, Mark(at_us, "error")])


def _lost_error(case: _Case, index: int) -> list[str]:
    """Return how the error of a source got lost: the source failed, and the stream is as if it had not."""
    source, messages = case.sources[index], case.stream.messages
    if not source.subscriptions or any(each.kind != "next" for each in messages):
        return []
    if len(source.subscriptions) > 1 or any(isinstance(each.value, Exception) for each in messages):
        return []
    if any(_ended_inside(each.value) or _tells_of(each.value) for each in messages):
        return []
    play_us = source.marks[-1].at
    (entry,) = source.subscriptions.entries
    if entry.off_us is not None and entry.off_us - entry.on_us < play_us:
        return []  # it was left before it failed
    return ["the source failed;\n  the stream neither failed nor ended nor subscribed to it again"]


def _ended_inside(value: Any) -> bool:
    return any(each.kind == "error" for each in getattr(value, "messages", ()))


def _tells_of(value: Any) -> bool:
    return isinstance(getattr(value, "exception", None), Exception)
