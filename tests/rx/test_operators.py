"""retry_backoff, deadline, observe and barrier, each: never, empty, one, many, error, no end, disposed, a throw."""

from __future__ import annotations

import itertools
import sys
import threading

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import TimeoutScheduler
from reactivex.subject import Subject

from rxpipe.errors import BackendTimeout
from rxpipe.rx.mainloop import PumpScheduler
from rxpipe.rx.operators import Handlers, barrier, deadline, lift, observe, retry_backoff

MS = 0.001
ROUNDS, VALUES = 300, 20
PATIENCE_S = 10.0
"""Only a failing test waits so long."""


class Late(Exception):
    """What `deadline` is told to end with."""


def fault():
    return Late("too late")


def throw(*_):
    raise ZeroDivisionError("thrown")


THROWN = ZeroDivisionError("thrown")


# -- retry_backoff ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("------", "------", id="never"),
        pytest.param("---|", "---|", id="empty"),
        pytest.param("--a|", "--a|", id="one"),
        pytest.param("-a-b-c|", "-a-b-c|", id="many"),
        pytest.param("-a-b---", "-a-b---", id="no end"),
    ],
)
def test_retry_backoff_leaves_a_stream_that_does_not_fail_alone(marbles, source, expected):
    """One subscription, ended when the stream ends."""
    stream = marbles.cold(source)
    marbles.expect(stream.pipe(retry_backoff([2 * MS]))).to_be(expected)
    stream.subscriptions.to_be("^" + "-" * (source.index("|") - 1) + "!" if "|" in source else "^")


def test_retry_backoff_waits_before_the_second_attempt(marbles):
    """A failure is tried again after the delay, with a fresh subscription."""
    source = marbles.attempts("--#", "--a|", error=BackendTimeout("no answer in 2 s"))
    marbles.expect(source.pipe(retry_backoff([2 * MS]))).to_be("------a|")
    source.subscriptions.to_be("^-!", "----^--!")


def test_retry_backoff_passes_the_last_error_when_no_delay_is_left(marbles):
    """Two delays make three attempts; the values of failed attempts stay told."""
    source = marbles.cold("a-#")
    marbles.expect(source.pipe(retry_backoff([1 * MS, 3 * MS]))).to_be("a--a----a-#")
    source.subscriptions.to_be("^-!", "---^-!", "--------^-!")


def test_retry_backoff_without_delays_is_the_source(marbles):
    """No delay, no second attempt."""
    source = marbles.cold("-a-#")
    marbles.expect(source.pipe(retry_backoff([]))).to_be("-a-#")
    source.subscriptions.to_be("^--!")


def test_retry_backoff_reads_its_delays_once(marbles):
    """A generator of delays serves every subscription alike."""
    stream = marbles.cold("#").pipe(retry_backoff(n * MS for n in (1, 1)))
    first, second = marbles.expect(stream), marbles.expect(stream)
    first.to_be("--#")
    second.to_be("--#")


def test_retry_backoff_asks_its_function_with_the_attempt_that_failed_and_its_error(marbles):
    """Counted from 1, anew for every subscription; None means no further attempt."""
    asked = []

    def delay_of(attempt, error):
        asked.append((attempt, str(error)))
        return 1 * MS if attempt < 3 else None

    stream = marbles.attempts("#", "-#", error=Late("x")).pipe(retry_backoff(delay_of))
    marbles.expect(stream).to_be("----#", error=Late("x"))
    assert asked == [(1, "x"), (2, "x"), (3, "x")]


def test_retry_backoff_tells_of_a_retry_before_it_pauses(marbles):
    """The failed attempt, the delay and the error, at the moment of the failure."""
    told = []
    source = marbles.attempts("--#", "|", error=Late("x"))
    stream = source.pipe(retry_backoff([4 * MS], on_retry=lambda *what: told.append((marbles.clock.now_us, *what))))
    marbles.expect(stream).to_be("------|")
    assert [(at, attempt, delay_s, str(error)) for at, attempt, delay_s, error in told] == [(2000, 1, 4 * MS, "x")]


def test_retry_backoff_settles_before_it_pauses(marbles):
    """The pause begins when what settles has completed; its values are nobody's."""
    source, settling = marbles.attempts("-#", "a|"), marbles.cold("xy-|")
    marbles.expect(source.pipe(retry_backoff([2 * MS], before_retry=lambda _: settling))).to_be("------a|")
    source.subscriptions.to_be("^!", "------^!")
    settling.subscriptions.to_be("-^--!")


@pytest.mark.parametrize("scheduler", [True, False], ids=["scheduler given", "no scheduler given"])
def test_retry_backoff_survives_settling_at_once(marbles, scheduler):
    """What completes while it is being subscribed to does not take the pause behind it along."""
    source = marbles.attempts("--#", "--a|")
    at_once = Observable(lambda observer, _: observer.on_completed())
    seen = marbles.observer()
    stream = source.pipe(retry_backoff([2 * MS], before_retry=lambda _: at_once))
    stream.subscribe(seen, scheduler=marbles.clock if scheduler else None)
    seen.to_be("------a|")
    source.subscriptions.to_be("^-!", "----^--!")


def test_retry_backoff_survives_a_source_that_fails_while_being_subscribed_to(marbles):
    """A refusal at once is paused for like any other."""
    source = marbles.cold("-a|")
    refusals = iter([rx.throw(Late("x"), scheduler=rx.scheduler.ImmediateScheduler()), source])
    stream = rx.defer(lambda _: next(refusals)).pipe(retry_backoff([3 * MS]))
    marbles.expect(stream).to_be("----a|")
    source.subscriptions.to_be("---^-!")


def test_retry_backoff_passes_an_error_of_settling(marbles):
    """No further attempt is made on what could not settle."""
    source = marbles.attempts("-#", "a|")
    stream = source.pipe(retry_backoff([2 * MS], before_retry=lambda _: marbles.cold("--#", error=Late("stuck"))))
    marbles.expect(stream).to_be("---#", error=Late("stuck"))
    source.subscriptions.to_be("^!")


@pytest.mark.parametrize("which", ["delays", "on_retry", "before_retry"])
def test_retry_backoff_ends_with_what_its_functions_raise(marbles, which):
    """A bug in any of the three ends the stream with that error; nothing hangs, the source is let go."""
    source = marbles.cold("--#")
    functions = {"delays": [2 * MS], which: throw}
    stream = source.pipe(retry_backoff(functions.pop("delays"), **functions))
    marbles.expect(stream).to_be("--#", error=THROWN)
    source.subscriptions.to_be("^-!")


@pytest.mark.parametrize(
    ("until", "attempts", "settlings"),
    [
        pytest.param("^!", ["^!"], [], id="in the attempt"),
        pytest.param("^---!", ["^-!"], ["--^-!"], id="while settling"),
        pytest.param("^-----!", ["^-!"], ["--^--!"], id="in the pause"),
        pytest.param("^---------!", ["^-!", "--------^-!"], ["--^--!"], id="in the second attempt"),
    ],
)
def test_disposing_ends_whatever_retry_backoff_is_at(marbles, until, attempts, settlings):
    """Nothing comes afterwards, and nothing is left planned."""
    source, settling = marbles.attempts("--#", "----a|"), marbles.cold("---|")
    stream = source.pipe(retry_backoff([3 * MS], before_retry=lambda _: settling))
    marbles.expect(stream, until).to_be("")
    source.subscriptions.to_be(*attempts)
    settling.subscriptions.to_be(*settlings)
    assert marbles.clock.pending == 0


def test_retry_backoff_pauses_on_the_scheduler_of_the_subscription(marbles):
    """Also where the source pays it no attention."""
    own = marbles.clock
    schedulers = []

    def subscribe(observer, scheduler):
        schedulers.append(scheduler)
        observer.on_error(Late("x"))

    seen = marbles.observer()
    Observable(subscribe).pipe(retry_backoff([1 * MS])).subscribe(seen, scheduler=own)
    seen.to_be("-#", error=Late("x"))
    assert schedulers == [own, own]


# -- deadline ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("--------", "-----#", id="never"),
        pytest.param("---|", "---|", id="empty"),
        pytest.param("--a|", "--a|", id="one"),
        pytest.param("-a-b|", "-a-b|", id="many"),
        pytest.param("--#", "--#", id="error"),
        pytest.param("-a-b-c-d-", "-a-b-#", id="no end: values do not put it off"),
        pytest.param("-a-b--c|", "-a-b-#", id="an end too late"),
        pytest.param("----(a|)", "----(a|)", id="an end just in time"),
    ],
)
def test_deadline_on_one_time_line(marbles, source, expected):
    """A deadline of five frames from the subscription on."""
    error = Late("too late") if expected.endswith("-#") and "#" not in source else None
    marbles.expect(marbles.cold(source).pipe(deadline(5 * MS, fault))).to_be(expected, error=error)
    assert marbles.clock.pending == 0


def test_deadline_disposes_its_source_before_it_tells_the_error(marbles):
    """So that who hears the error can rely on the work being over."""
    source = marbles.cold("--------a|")
    stopped_first = []
    source.pipe(deadline(5 * MS, fault)).subscribe(
        on_error=lambda _: stopped_first.append(source.subscriptions.entries[0].off_us is not None)
    )
    marbles.run()
    assert stopped_first == [True]
    source.subscriptions.to_be("^----!")


def test_deadline_counts_anew_for_every_subscription(marbles):
    """Two subscribers, two deadlines."""
    stream = marbles.cold("--------a|").pipe(deadline(5 * MS, fault))
    first, second = marbles.expect(stream), marbles.expect(stream, "--^")
    first.to_be("-----#", error=Late("too late"))
    second.to_be("-------#", error=Late("too late"))


def test_disposing_takes_the_deadline_back(marbles):
    """No timer is left, and no error comes."""
    source = marbles.cold("--a-----")
    marbles.expect(source.pipe(deadline(5 * MS, fault)), "^--!").to_be("--a")
    source.subscriptions.to_be("^--!")
    assert marbles.clock.pending == 0


def test_a_source_that_ends_at_once_leaves_no_timer(marbles):
    """The deadline of a stream that was over before it began is taken back too."""
    marbles.expect(rx.of("a").pipe(deadline(5 * MS, fault))).to_be("(a|)")
    assert marbles.clock.pending == 0


def test_deadline_ends_with_what_its_error_function_raises(marbles):
    """Rather than never."""
    source = marbles.cold("--a-------")
    marbles.expect(source.pipe(deadline(4 * MS, throw))).to_be("--a-#", error=THROWN)
    source.subscriptions.to_be("^---!")


def test_deadline_is_kept_for_each_attempt_of_a_retry(marbles):
    """The pair a stage is made of: a silent attempt is given up, the next one has its full time again."""
    source = marbles.attempts("-------", "--a|")
    stream = source.pipe(deadline(4 * MS, fault), retry_backoff([2 * MS]))
    marbles.expect(stream).to_be("--------a|")
    source.subscriptions.to_be("^---!", "------^--!")


@pytest.fixture
def eager_threads():
    """Threads that take turns every few bytecodes."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_deadline_serializes_its_error_with_a_source_on_another_thread():
    """Whenever it strikes: never two callbacks at once, one end, nothing after it, values in order from the first."""
    for _ in range(ROUNDS):
        seen, inside, overlaps = [], [], []

        def hear(what, seen=seen, inside=inside, overlaps=overlaps):
            overlaps.extend(inside)
            inside.append(what)
            seen.append(what)
            inside.pop()

        source, clock, begun = Subject(), PumpScheduler(clock=itertools.count().__next__), threading.Event()
        source.pipe(deadline(1, fault)).subscribe(
            hear, lambda _, hear=hear: hear("#"), lambda hear=hear: hear("|"), scheduler=clock
        )

        def emit(source=source, begun=begun):
            begun.set()
            for number in range(VALUES):
                source.on_next(number)
            source.on_completed()

        emitting = threading.Thread(target=emit, daemon=True)
        emitting.start()
        assert begun.wait(PATIENCE_S)
        while clock.pending and emitting.is_alive():
            clock.pump()
        emitting.join(PATIENCE_S)
        assert overlaps == []
        assert seen[-1] in ("#", "|")
        assert seen[:-1] == list(range(len(seen) - 1))


def test_an_error_due_while_a_value_is_being_delivered_follows_it():
    """The source is disposed immediately, on the thread of the clock, which does not wait for the subscriber."""
    disposed, seen, clock = [], [], PumpScheduler(clock=itertools.count().__next__)
    observers = []

    def subscribe(observer, _=None):
        observers.append(observer)
        return Disposable(lambda: disposed.append(True))

    def slow(value):
        while clock.pending:
            clock.pump()
        seen.append((value, bool(disposed)))

    rx.create(subscribe).pipe(deadline(1, fault)).subscribe(slow, lambda _: seen.append("#"), scheduler=clock)
    observers[0].on_next("a")
    observers[0].on_next("b")
    assert seen == [("a", True), "#"]


# -- lift and observe -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["-----", "---|", "--a|", "-a-b-c|", "-a-b-#", "-a-b---"])
@pytest.mark.parametrize("observed", [True, False], ids=["observed", "neither function given"])
def test_observe_passes_everything_on(marbles, source, observed):
    """In its time, whether anything looks on or not."""
    operator = observe(lambda _: None, lambda: None) if observed else observe()
    marbles.expect(marbles.cold(source).pipe(operator)).to_be(source)


def test_observe_calls_its_functions_before_the_notification_passes():
    """Values and the end; there is no function for an error."""
    seen, source = [], Subject()
    source.pipe(observe(lambda value: seen.append(("observed", value)), lambda: seen.append("ending"))).subscribe(
        lambda value: seen.append(("passed", value)), on_completed=lambda: seen.append("ended")
    )
    source.on_next("a")
    source.on_completed()
    assert seen == [("observed", "a"), ("passed", "a"), "ending", "ended"]


def test_disposing_early_lets_the_source_of_observe_go(marbles):
    """Nothing is observed after it."""
    seen, source = [], marbles.cold("-a-b-c|")
    marbles.expect(source.pipe(observe(seen.append)), "^---!").to_be("-a-b")
    source.subscriptions.to_be("^---!")
    assert seen == ["a", "b"]


def test_what_a_function_of_observe_raises_propagates_and_its_value_does_not_pass():
    """To the source, as what a subscriber raises does."""
    source, got = Subject(), []
    source.pipe(observe(throw)).subscribe(got.append)
    with pytest.raises(ZeroDivisionError):
        source.on_next("a")
    assert got == []


def test_lift_makes_an_operator_that_changes_each_kind_of_notification(marbles):
    """A value becomes two, an error the end; state is of one subscription."""

    def handlers(observer):
        count = itertools.count(1)

        def twice(value):
            observer.on_next(value)
            observer.on_next(f"{value}{next(count)}")

        return Handlers(twice, on_error=lambda _: observer.on_completed())

    stream = marbles.cold("-a-b-#").pipe(lift(handlers))
    first, second = marbles.expect(stream), marbles.expect(stream)
    for recorded in (first, second):
        recorded.to_be("-[ax]-[by]-|", {"a": "a", "x": "a1", "b": "b", "y": "b2"})


# -- barrier ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("-----", "-----", id="never"),
        pytest.param("---|", "---|", id="empty"),
        pytest.param("--a--|", "-----(a|)", id="one"),
        pytest.param("-a-b-c-|", "-------(abc|)", id="many"),
        pytest.param("-a-b-#", "-----#", id="error"),
        pytest.param("-a-b----", "--------", id="no end"),
    ],
)
def test_barrier_on_one_time_line(marbles, source, expected):
    """All at the end, nothing before, none if it fails."""
    stream = marbles.cold(source)
    marbles.expect(barrier(stream)).to_be(expected)
    assert len(stream.subscriptions) == 1


def test_barrier_keeps_nothing_between_subscriptions(marbles):
    """Two subscribers get the values once each."""
    stream = barrier(marbles.cold("-a-b|"))
    first, second = marbles.expect(stream), marbles.expect(stream)
    first.to_be("----(ab|)")
    second.to_be("----(ab|)")


def test_disposing_early_lets_the_source_of_a_barrier_go(marbles):
    """Nothing of what was gathered comes."""
    source = marbles.cold("-a-b-c|")
    marbles.expect(barrier(source), "^---!").to_be("")
    source.subscriptions.to_be("^---!")


def test_disposing_while_a_barrier_gives_out_stops_the_rest(marbles):
    """Values after the one that was enough do no work."""
    worked = []
    stream = barrier(marbles.cold("-a-b-c|")).pipe(ops.do_action(worked.append), ops.take(1))
    marbles.expect(stream).to_be("------(a|)")
    assert worked == ["a"]


def test_the_default_clock_of_operators_is_the_timeout_scheduler(marbles):
    """Without a scheduler at subscribe they take Rx's, which virtual time replaces."""
    assert TimeoutScheduler.singleton() is marbles.clock
