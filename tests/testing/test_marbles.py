"""The stage of a test: streams from diagrams, expectations, subscriptions, virtual time as Rx's default."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pytest
import reactivex as rx
from PIL import Image
from reactivex import operators as ops
from reactivex.scheduler import CurrentThreadScheduler, NewThreadScheduler, TimeoutScheduler
from reactivex.subject import ReplaySubject, Subject

from rxpipe.testing import (
    MarbleError,
    Marbles,
    MarbleSyntaxError,
    Mismatch,
    RealThread,
    Runaway,
    anything,
    close_to,
    error_like,
    instance,
    one_of,
)


@dataclass
class Holding:
    pixels: object
    name: object


def refused(check, *arguments, **options):
    """The text of the failure that *check* ends in."""
    with pytest.raises(AssertionError) as failed:
        check(*arguments, **options)
    return str(failed.value)


def test_a_cold_stream_plays_for_each_subscriber_from_its_subscription(marbles):
    """Two subscribers at different times see the same diagram, each from its own zero."""
    source = marbles.cold("-a-b|")
    one, two = marbles.expect(source), marbles.expect(source, "--^")
    one.to_be("-a-b|")
    two.to_be("---a-b|")
    source.subscriptions.to_be("^---!", "--^---!")


def test_a_hot_stream_plays_once_and_everybody_hears_its_end(marbles):
    """Of three subscribers the second gets `|` too, which it does not in reactivex.testing."""
    source = marbles.hot("-a-b|")
    streams = [marbles.expect(source, "^"), marbles.expect(source, "--^"), marbles.expect(source, "^-!")]
    streams[0].to_be("-a-b|")
    streams[1].to_be("---b|")
    streams[2].to_be("-a-")
    source.subscriptions.to_be("^---!", "^-!", "--^-!")


def test_the_first_frame_of_a_hot_stream_is_heard(marbles):
    """A mark at time zero reaches whoever subscribed before time ran."""
    marbles.expect(marbles.hot("a--|")).to_be("a--|")


def test_a_hot_stream_may_have_a_past(marbles):
    """What stands before `^` happened before the test."""
    marbles.expect(marbles.hot("-a-^-b|")).to_be("--b|")


def test_a_late_subscriber_of_an_ended_hot_stream_hears_the_end(marbles):
    """As with a Subject."""
    marbles.expect(marbles.hot("a|"), "---^").to_be("---|")


def test_attempts_play_the_nth_text_to_the_nth_subscription(marbles):
    """A retry sees the second text; the last text repeats."""
    source = marbles.attempts("--#", "--a|")
    marbles.expect(source.pipe(ops.retry(2))).to_be("----a|")
    source.subscriptions.to_be("^-!", "--^--!")


def test_unsubscribing_comes_before_what_else_happens_at_that_instant(marbles):
    """`!` at the frame of b means that b is not heard."""
    source = marbles.hot("--a--b--|")
    marbles.expect(source, "^----!").to_be("--a--")
    source.subscriptions.to_be("^----!")


def test_a_subscription_without_a_beginning_begins_at_once(marbles):
    """As RxJS has it."""
    marbles.expect(rx.interval(0.001), "------!").to_be("-01234", int)


def test_values_stand_for_names(marbles):
    """By a mapping, by a function of the name, or each for itself."""
    source = marbles.cold("a-{big}-1|", {"a": 1, "big": [2], "1": None})
    marbles.expect(source).to_be("x-y-z|", {"x": 1, "y": [2], "z": None})
    marbles.expect(marbles.cold("1-2|", int).pipe(ops.sum())).to_be("---(3|)", int)


def test_a_name_without_a_value_is_refused(marbles):
    """Rather than standing for itself among values that do not."""
    with pytest.raises(MarbleError, match="No value for 'b'"):
        marbles.cold("a-b", {"a": 1})


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (int, 3),
        (lambda value: value > 2, 3),
        (instance(complex, real=1.0), 1 + 2j),
        (close_to(0.3), 0.1 + 0.2),
        (one_of(1, 2), 2),
        (anything(), object()),
        (np.arange(3), np.arange(3)),
        (2.0, np.float64(2.0)),
        (2, np.int64(2)),
        (np.float32(0.5), 0.5),
        (Holding(np.arange(3), anything()), Holding(np.arange(3), "x")),
        (close_to(np.zeros((2, 2)), 0.1), np.full((2, 2), 0.05)),
        (close_to(Image.new("RGB", (2, 2), (9, 9, 9)), 2), Image.new("RGB", (2, 2), (10, 8, 9))),
        ({"a": np.arange(3)}, {"a": np.arange(3)}),
        ([1, (2, str)], [1, (2, "x")]),
    ],
)
def test_a_value_may_be_expected_by(marbles, expected, actual):
    """Type, predicate, matcher, tolerance, content of arrays and images, containers of all of them."""
    marbles.expect(marbles.cold("a|", {"a": actual})).to_be("a|", {"a": expected})


@pytest.mark.parametrize(
    ("expected", "actual"),
    [
        (1, True),
        (0, False),
        ([1], [True]),
        ([1], (1,)),
        (2.0, np.array(2.0)),
        (Holding(np.arange(3), "x"), Holding(np.arange(4), "x")),
        (Holding(1, anything()), Holding(2, "x")),
        (np.arange(3), np.arange(4)),
        (np.arange(3), [0, 1, 2]),
        (close_to(np.zeros((2, 2)), 0.1), np.full((2, 2), 0.5)),
        (Image.new("RGB", (2, 2)), Image.new("L", (2, 2))),
        (instance(complex, real=1.0), 2 + 2j),
        (int, "3"),
    ],
)
def test_values_that_are_not_the_same_do_not_match(marbles, expected, actual):
    """True is not 1, a list is no tuple, an array is compared by its shape and content."""
    stream = marbles.expect(marbles.cold("a|", {"a": actual}))
    refused(stream.to_be, "a|", {"a": expected})


def test_errors_compare_by_type_and_message(marbles):
    """A RuntimeError is no ValueError, whatever its text."""
    stream = marbles.expect(marbles.cold("-#", error=ValueError("x")))
    stream.to_be("-#", error=ValueError("x"))
    stream.to_be("-#", error=ValueError)
    stream.to_be("-#", error=error_like(Exception, "x"))
    text = refused(stream.to_be, "-#", error=RuntimeError("x"))
    assert text.startswith("the error is ValueError('x'), not\n  RuntimeError('x')\n")
    refused(stream.to_be, "-#", error=ValueError("y"))
    refused(stream.to_be, "-#")


def test_inner_streams_are_expected_by_their_diagrams(marbles):
    """Each from the moment it came; a cold stream of the test stands for its own marks."""
    source = marbles.hot("-a-b-a-b|")
    groups = source.pipe(ops.group_by(lambda value: value))
    marbles.expect(groups).to_be("-x-y----|", {"x": marbles.inner("a---a--|"), "y": marbles.cold("b---b|")})


def test_a_wrong_inner_stream_fails(marbles):
    """Nested diagrams compare by content, not by identity."""
    stream = marbles.expect(marbles.hot("-a-b|").pipe(ops.window_with_count(2)))
    text = refused(stream.to_be, "x--(y|)", {"x": marbles.inner("-a|"), "y": anything()})
    assert 'at 0 ms stream "-a-(b|)" came where x' in text
    assert 'x = stream "-a|"' in text


def test_a_stream_equals_another(marbles):
    """Compared mark for mark, without a diagram."""
    marbles.expect(marbles.cold("1-2|", int).pipe(ops.map(lambda n: n * 2))).to_equal(marbles.cold("2-4|", int))
    stream = marbles.expect(marbles.cold("a-b|"))
    refused(stream.to_equal, marbles.cold("a--b|"))


def test_no_event_for_a_time(marbles):
    """Silence is expected by moving time; what came too soon is named."""
    stream = marbles.expect(marbles.cold("3s a|"))
    stream.no_event_for("2s")
    assert "a came within 2 s of silence" in refused(stream.no_event_for, "2s")


def test_time_can_be_moved_by_hand_and_compared_so_far(marbles):
    """For tests that act between the events."""
    stream = marbles.expect(marbles.hot("-a---b-|"))
    marbles.clock.advance_by("3ms")
    stream.to_be_so_far("-a")
    stream.to_be("-a---b-|")


def test_a_stream_that_nothing_is_expected_of_fails_the_test():
    """An `expect` without a comparison proves nothing, and says where it stands."""

    def check():
        with Marbles() as marbles:
            marbles.expect(marbles.cold("a|"))

    assert "nothing was ever expected of this stream" in refused(check)


def test_what_comes_after_the_last_comparison_fails_the_test():
    """Nothing is left unconsumed without the test knowing."""

    def check():
        subject = Subject()
        with Marbles() as marbles:
            marbles.expect(subject).to_be("")
            subject.on_next("late")

    assert "late came after the last comparison" in refused(check)


def test_steps_and_streams_can_be_named(marbles):
    """A failure says which stream, and in which step of the test."""
    marbles.step("after the cancel")
    stream = marbles.expect(marbles.cold("a|"), name="previews")
    text = refused(stream.to_be, "b|")
    assert text.startswith("previews: at 0 ms a came where b was expected")
    assert "(step: after the cancel)" in text


def test_a_hot_stream_that_has_played_cannot_be_expected_any_more(marbles):
    """The second expect came too late; the message says what to do."""
    source = marbles.hot("-a|")
    marbles.expect(source).to_be("-a|")
    with pytest.raises(MarbleError, match=r"already played.*Call every expect"):
        marbles.expect(source).to_be("-a|")


def test_subscriptions_are_compared(marbles):
    """The number, the beginning and the end of each."""
    source = marbles.cold("-a|")
    marbles.expect(source).to_be("-a|")
    source.subscriptions.to_be("^-!")
    assert "subscription 1 ended at another time" in refused(source.subscriptions.to_be, "^!")
    assert "1 subscription where 0 were expected" in refused(source.subscriptions.to_be)
    assert "subscription 1 began at another time" in refused(source.subscriptions.to_be, "-^!")
    marbles.cold("a").subscriptions.to_be()


def test_cold_streams_and_expectations_refuse_diagrams_that_make_no_sense(marbles):
    """`^` in a cold stream, `!` in a stream, an expectation that never subscribes."""
    with pytest.raises(MarbleSyntaxError):
        marbles.cold("-^-a")
    with pytest.raises(MarbleSyntaxError):
        marbles.inner("-^a")
    with pytest.raises(MarbleSyntaxError):
        marbles.hot("-a-!")
    with pytest.raises(MarbleError):
        marbles.expect(marbles.cold("a"), "---")


@pytest.mark.parametrize(
    ("operator", "text"),
    [
        (ops.delay(0.003), "----a-b-c|"),
        (ops.debounce(0.003), "------(c|)"),
        (ops.throttle_first(0.003), "-a---c|"),
        (ops.timeout(0.001), "-#"),
        (ops.take_with_time(0.004), "-a-b|"),
        (ops.skip_with_time(0.002), "---b-c|"),
        (ops.sample(0.003), "---b--(c|)"),
        (ops.buffer_with_time(0.004), "----x-(y|)"),
        (ops.delay_subscription(0.002), "---a-b-c|"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_operators_that_are_handed_no_scheduler_run_in_virtual_time(marbles, operator, text):
    """A forgotten `scheduler=` gets the virtual clock, for every timed operator."""
    values = {"a": "a", "b": "b", "c": "c", "x": ["a", "b"], "y": ["c"]}
    marbles.expect(marbles.cold("-a-b-c|").pipe(operator)).to_be(text, values, error=Exception)


def test_creation_and_subjects_that_are_handed_no_scheduler_run_in_virtual_time(marbles):
    """timer, interval, from_marbles and a ReplaySubject's window read the virtual clock."""
    marbles.expect(rx.timer(0.002)).to_be("--(0|)", int)
    marbles.expect(rx.interval(0.002), "^-----!").to_be("--0-1-", int)
    marbles.expect(rx.from_marbles("a-b|", timespan=0.001)).to_be("a-b|")
    replay = ReplaySubject(window=0.003)
    filling = marbles.hot("a--b").subscribe(replay)
    marbles.expect(replay, " 5ms ^").to_be(" 5ms b")
    filling.dispose()


def test_immediate_streams_arrive_at_once(marbles):
    """What needs no time takes none, in the order Rx delivers it."""
    marbles.expect(rx.of("a", "b").pipe(ops.concat(rx.of("c")))).to_be("(abc|)")


def test_delays_on_the_current_thread_take_no_real_time(marbles):
    """Rx would sleep; here the clock moves."""
    marbles.expect(rx.timer(1.5, scheduler=CurrentThreadScheduler.singleton())).to_be("1.5s (0|)", int)


def test_a_real_thread_fails_the_test_and_is_named():
    """With the line of the test that led to it."""
    with pytest.raises(RealThread, match=r'Thread "Thread-\d+(.|\n)*test_marbles.py:\d+'), Marbles() as marbles:
        marbles.expect(rx.timer(0.1, scheduler=NewThreadScheduler())).to_be("100ms (a|)")


def test_a_real_timer_fails_the_test_even_if_an_operator_swallowed_the_error():
    """The end of the test raises what was caught on the way."""
    stream = rx.just(1).pipe(ops.do_action(lambda _: threading.Timer(9, print).start()))
    with pytest.raises(RealThread, match="Timer"), Marbles():
        stream.subscribe(on_error=lambda _: None)


def test_a_test_may_ask_for_real_threads(marbles):
    """Then it starts as many as it likes."""
    marbles.allow_threads()
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()


def test_rx_has_its_own_time_back_afterwards():
    """The singletons are what they were."""
    before = TimeoutScheduler.singleton(), CurrentThreadScheduler.singleton(), threading.Thread.start
    with Marbles() as marbles:
        assert TimeoutScheduler.singleton() is marbles.clock
    assert before == (TimeoutScheduler.singleton(), CurrentThreadScheduler.singleton(), threading.Thread.start)


def test_a_runaway_in_a_trampoline_is_stopped(marbles):
    """A stream that never lets go of its instant fails with its last actions, without time having moved."""
    marbles.clock.max_at_once = 2_000
    with pytest.raises(Runaway, match="2,000 actions at 0ms and no end"):
        marbles.expect(rx.generate(0, lambda _: True, lambda n: n + 1)).to_be("|")


def test_a_bare_observer_records_what_it_receives(marbles):
    """For subjects of one's own, which a stream would guard."""
    observer = marbles.observer("hub")
    observer.on_next("a")
    observer.on_completed()
    observer.to_be("(a|)")
    assert observer.values == ["a"]
    assert observer.text() == "(a|)"


def test_a_mismatch_holds_its_parts(marbles):
    """For reports that draw it."""
    stream = marbles.expect(marbles.cold("a|"))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("b|")
    assert (failed.value.expected[0].name, failed.value.actual[0].value) == ("b", "a")
