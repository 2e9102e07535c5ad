"""A test's setup: its virtual time, the streams it makes, and what it expects of others.

`with Marbles() as marbles:` is all it takes; in pytest the fixture `marbles` is just that. Inside, operators that
are handed no scheduler run on `marbles.clock`. At the end, whatever came and was never compared fails the test.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from rxpipe.testing.clock import Duration, MarbleError, Runaway, VirtualClock, in_words, microseconds
from rxpipe.testing.diagram import MarblePicture
from rxpipe.testing.endless import named
from rxpipe.testing.grammar import Diagram, Subscription, parse, parse_moment, parse_subscription
from rxpipe.testing.leaks import describe_leaks, require_released, require_seen
from rxpipe.testing.misbehave import UnrulySource, UnrulySubscriber
from rxpipe.testing.mismatch import Mismatch
from rxpipe.testing.order import require_order
from rxpipe.testing.origin import Line, current_line, show
from rxpipe.testing.patience import wait_until
from rxpipe.testing.probe import Probe
from rxpipe.testing.pulling import Turbine
from rxpipe.testing.recording import Recording
from rxpipe.testing.signals import Recorded, Values, resolve
from rxpipe.testing.spelling import NamesUsed
from rxpipe.testing.streams import ColdSource, HotSource, Inner, Source
from rxpipe.testing.virtual import VirtualTime

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from reactivex import Observable, abc

    from rxpipe.chains import Chain
    from rxpipe.config import PipelineConfig
    from rxpipe.testing.asynctime import VirtualLoop
    from rxpipe.testing.rewriting import Rewrites
    from rxpipe.testing.scripted import Errors, Script, ScriptedBackend, ScriptedRun

__tracebackhide__ = True  # pytest shows the test's line, not ours

S = TypeVar("S", bound=Source)
T = TypeVar("T")
Drawable = str | MarblePicture | Recording | Source | Mismatch


class Marbles:
    """Virtual time, streams from diagrams, expectations. One per test; 1 frame is 1 ms.

    Args:
        clock: a clock of your own, for other limits; None makes one.
        verify: whether leaving the `with` verifies; the pytest plugin does that within the test.
    """

    def __init__(self, clock: VirtualClock | None = None, *, verify: bool = True) -> None:
        self.clock = clock or VirtualClock()
        self.recordings: list[Recording] = []
        self.names = NamesUsed()
        self.rewrites: Rewrites | None = None
        self.numbers: Iterator[int] = itertools.count()
        self._sources: list[Source] = []
        self._leaks_allowed = self._drops_allowed = False
        self._of_fixtures: frozenset[Line] = frozenset()
        """The lines of what fixtures have begun, while the test runs."""
        self._passed = False
        self._time = VirtualTime(self.clock)
        self._loop: VirtualLoop | None = None
        self._step = ""
        self._verifies = verify

    def __enter__(self) -> Self:
        self._time.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None and self._verifies:
                self.verify()
        finally:
            self._time.close()

    def verify(self) -> None:
        """Fail if a real thread started, if a stream was never compared or did more afterwards, if something is left.

        What this test expects of streams is unsubscribed first; whatever then still goes on is left behind.

        Raises:
            AssertionError: `RealThread`, `Mismatch`, `SignalDropped` or `Leaked`.
            MarbleError: a name in `values` that no diagram has.
        """
        self._time.verify()
        for recording in self.recordings:
            recording.require_accounted()
        self.names.require_used()
        for recording in self.recordings:
            recording.release()
        if not self._drops_allowed:
            require_seen(self._time.lost())
        if not self._leaks_allowed:
            require_released(*self._held())
        self._passed, self._of_fixtures = True, frozenset()

    def begin_test(self) -> None:
        """Leave what goes on now to the fixtures that began it, until they have ended; the plugin calls it."""
        subscriptions, sources, timers = self._held()
        self._of_fixtures = frozenset([*subscriptions, *(line for _, line in sources), *timers])

    def end_fixtures(self) -> None:
        """Fail if something goes on that fixtures have begun, unless the test itself has failed.

        Raises:
            Leaked: names each with its line.
        """
        if self._passed and not self._leaks_allowed:
            require_released(*self._held())

    def _held(self) -> tuple[list[Line], list[tuple[str, Line]], list[Line]]:
        """Return what goes on: subscriptions, sources, timers."""
        theirs = self._of_fixtures
        sources = [(repr(source), source.made_at) for source in self._sources if source.subscriptions.is_open]
        return (
            [each.line for each in self._time.subscriptions if each.line not in theirs and each.is_held],
            [(name, line) for name, line in sources if line not in theirs],
            [line for line in self.clock.left_over() if line not in theirs],
        )

    def left_behind(self) -> tuple[list[str], list[str], list[str]]:
        """Return in words what is still held, which signals reached nobody, and which came after unsubscribing."""
        return describe_leaks(*self._held()), list(map(str, self._time.lost())), list(map(str, self._time.late))

    def allow_leaks(self) -> None:
        """Allow this test to leave subscriptions open, timers planned and sources held."""
        self._leaks_allowed = True

    def allow_dropped(self) -> None:
        """Allow values and errors that reach nobody, after an end or a disposal."""
        self._drops_allowed = True

    def allow_threads(self) -> None:
        """Allow real threads in this test; without it the first one fails the test and is named."""
        self._time.allow_threads()

    def step(self, name: str) -> None:
        """Name what the test does from here on; failures show it."""
        self._step = name

    def cold(self, text: str, values: Values = None, error: object = None) -> ColdSource:
        """Return a stream that plays *text* for each subscriber, from when it subscribes."""
        return self.attempts(text, values=values, error=error)

    def attempts(self, *texts: str, values: Values = None, error: object = None) -> ColdSource:
        """Return a cold stream that plays the nth text for its nth subscriber; the last repeats."""
        if not texts:
            raise MarbleError("attempts() needs at least one diagram.")
        plays = tuple(self._resolved(parse(text, past=False), values, error) for text in texts)
        return self._known(ColdSource(self, plays))

    def hot(self, text: str = "", values: Values = None, error: object = None) -> HotSource:
        """Return a stream that plays *text* once, from now; a `^` in it marks now, and what is before it is past.

        `emit(value)`, `complete()` and `fail(error)` of it emit by hand, now; without a text nothing else comes.
        """
        return self._known(HotSource(self, (self._resolved(parse(text), values, error),)))

    def _resolved(self, diagram: Diagram, values: Values, error: object) -> tuple[Recorded, ...]:
        resolved = resolve(diagram, values, error)
        if values is not None:
            self.names.note(values, diagram, self.line())
        return resolved

    def _known(self, source: S) -> S:
        self._sources.append(source)
        return source

    def unruly(
        self,
        text: str,
        values: Values = None,
        error: object = None,
        *,
        ignores_dispose: bool = False,
        threads: bool = False,
    ) -> UnrulySource:
        """Return a cold stream that may break Rx's grammar, and reaches its subscriber without Rx's guard around it.

        A test that makes one expects signals to be dropped.

        Args:
            text: marks may follow the end: "a|b|".
            ignores_dispose: continues after it was disposed.
            threads: marks at one instant, "(ab)", are emitted by one thread each, simultaneously.
        """
        self.allow_dropped()
        play = self._resolved(parse(text, lawful=False, past=False), values, error)
        return UnrulySource(self, (play,), ignores_dispose=ignores_dispose, threads=threads)

    def subscriber(self, name: str = "", **habits: Any) -> UnrulySubscriber:
        """Return a recording observer with bad habits, to hand to `listen`; see `UnrulySubscriber` for them."""
        subscriber = UnrulySubscriber(self, name=name, **habits)
        self.recordings.append(subscriber)
        return subscriber

    def start_thread(self, thread: threading.Thread) -> None:
        """Start an intended real thread, without lifting the ban on others."""
        self._time.start_thread(thread)

    def inner(self, text: str, values: Values = None, error: object = None) -> Inner:
        """Return a stream expected as a value; *text* counts from its emission."""
        return Inner(text, values, error)

    def svg(self, shown: Drawable) -> str:
        """Return an SVG document of a recording, a stream of this test, a failure, a marble picture or a diagram."""
        if isinstance(shown, str):
            shown = MarblePicture((("stream", parse(shown).marks),))
        return (shown if isinstance(shown, MarblePicture) else shown.picture()).svg()

    def expect(self, stream: Observable[Any], subscription: str = "^", *, name: str = "") -> Recording:
        """Subscribe to *stream* and record it, to compare with `to_be` and the like.

        Args:
            stream: what is tested.
            subscription: "--^---!" subscribes and unsubscribes at those frames from now, before anything else then;
                "-----!" subscribes immediately.
            name: stands in failures.
        """
        times = _listening(subscription)
        recording = Recording(self, name, stream)
        self.recordings.append(recording)
        self.at(times.on_us, lambda *_: self._subscribe(recording, stream))
        if times.off_us is not None:
            self.at(times.off_us, lambda *_: recording.dispose())
        return recording

    def _subscribe(self, recording: Recording, stream: Observable[Any]) -> None:
        try:
            recording.subscription = stream.subscribe(recording)
        except (Runaway, RecursionError) as error:
            raise self.runaway(error) from None

    def turbine(self, stream: Observable[Any], *, limit: Duration | None = None, name: str = "") -> Turbine:
        """Return a subscription whose signals are taken one by one: `with marbles.turbine(stream) as t: t.item()`.

        Args:
            stream: what is tested.
            limit: for a stream on real threads: how long each method waits, in real time; None for virtual time.
            name: stands in failures.
        """
        return Turbine(stream, None if limit is not None else self.clock, limit, name)

    def probe(self, stream: Observable[Any], name: str = "") -> Probe:
        """Return *stream* with a log of its subscriptions, how they ended, and how many values passed."""
        return Probe(self, stream, name)

    def eventually(self, check: Callable[[], object], within: Duration = "1m") -> None:
        """Move time until *check* neither returns something false nor raises an AssertionError.

        Where threads are allowed and nothing is planned, it is asked again in real time.

        Raises:
            AssertionError: that of *check*, or one that says so, if it did not come true in time.
        """
        wait_until(check, self.clock, microseconds(within), real=self._time.threads_allowed)

    def expect_order(self, rows: Mapping[Recording, str], values: Values = None) -> None:
        """Run time to its end, then fail unless the streams emitted in the order of these diagrams, at any times.

        Args:
            rows: a diagram for each recording; what is in an earlier column comes first, one column in any order.
            values: what the names stand for.

        Raises:
            AssertionError: names the first signal out of turn, and draws both orders.
        """
        self.finish()
        require_order(rows, values, self.line())
        for recording in rows:
            recording.accept()

    def observer(self, name: str = "") -> Recording:
        """Return a bare observer that records, to hand to `subscribe` oneself."""
        recording = Recording(self, name)
        self.recordings.append(recording)
        return recording

    def at(self, delay_us: int, action: abc.ScheduledAction[Any]) -> None:
        """Do *action* in *delay_us* microseconds, before anything else of that instant; immediately if that is now."""
        if delay_us:
            self.clock.schedule_at_us(self.clock.now_us + delay_us, action, first=True)
        else:
            action(self.clock, None)

    @overload
    def run(self) -> None: ...

    @overload
    def run(
        self,
        job: PipelineConfig | Chain,
        backend: Mapping[str, Script] | ScriptedBackend | None = None,
        *,
        errors: Mapping[str, Errors] | None = None,
        cancel: str | None = None,
        inputs: Sequence[Path | str] = (),
    ) -> ScriptedRun: ...

    def run(
        self,
        job: PipelineConfig | Chain | None = None,
        backend: Mapping[str, Script] | ScriptedBackend | None = None,
        *,
        errors: Mapping[str, Errors] | None = None,
        cancel: str | None = None,
        inputs: Sequence[Path | str] = (),
    ) -> ScriptedRun | None:
        """Run time until nothing is planned; with a *job*, run that on a backend that plays scripts.

        Args:
            job: a chain or a config. It writes no files and its retries have no jitter unless it asks for them.
            backend: per stage type a diagram that plays on every call, or several, the nth on the nth call; see
                `rxpipe.testing.scripted` for the letters. A stage without one plays "--o|".
            errors: what `#` stands for, per stage type.
            cancel: "-----!" cancels at that frame, before anything else that happens then.
            inputs: pictures to start from.

        Returns:
            The run with its events, timeline, previews, result, and the backend with its calls.
        """
        if job is None:
            self._run()
            return None
        from rxpipe.testing.scripted import play  # noqa: PLC0415 - a test of plain Rx streams pays for no pipeline

        return play(self, job, backend, errors=errors, cancel=cancel, inputs=inputs)

    def run_async(self, main: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end in virtual time and return its result; `async def` tests with the fixture run so.

        `asyncio.sleep`, timeouts, `await stream` and AsyncIOScheduler are on `clock`.

        Raises:
            MarbleError: it waits, and nothing is planned that could wake it; names the line.
        """
        from rxpipe.testing import asynctime  # noqa: PLC0415 - most tests need no loop

        self._loop = asynctime.VirtualLoop(self.clock, lambda: self._time.threads_allowed)
        result: T = asynctime.run(self._loop, main)
        return result

    async def idle(self) -> None:
        """Wait, in an `async def` test, until nothing is planned any more; then compare.

        Raises:
            MarbleError: the test is not run by `run_async`.
        """
        if self._loop is None:
            raise MarbleError("idle() belongs in an `async def` test.", hint="In others, to_be(...) runs time.")
        await self._loop.idle()

    def finish(self) -> None:
        """Run time until nothing is planned; hot streams made before have then played for good."""
        if self._loop is not None and self._loop.has_timers:
            raise MarbleError("asyncio has timers that only its loop can run.", hint="First: await marbles.idle()")
        self._run()
        self.clock.epoch += 1

    def _run(self) -> None:
        try:
            self.clock.run()
        except (Runaway, RecursionError) as error:
            raise self.runaway(error) from None

    def runaway(self, error: Runaway | RecursionError) -> Runaway:
        """Return *error* with the name of the stream that does not end, and what came of it."""
        if isinstance(error, RecursionError):
            error = Runaway(f"it calls itself, deeper than Python lets it, at {in_words(self.clock.now_us)}")
        return named(error, self.recordings, self.clock.recent())

    def line(self) -> str:
        """Return the test's own line that is running: `file:line: source`, with the name of the step."""
        step = f"  (step: {self._step})" if self._step else ""
        return show(current_line(2)) + step


def _listening(text: str) -> Subscription:
    if "!" in text and "^" not in text:
        return Subscription(0, parse_moment(text))
    times = parse_subscription(text)
    if times is None:
        raise MarbleError("expect() needs a '^' in its subscription.", hint='Such as "--^---!".')
    return times
