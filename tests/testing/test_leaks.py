"""What a test leaves behind fails it: open subscriptions, timers, held sources, and signals that reached nobody."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from rxpipe.rx.operators import deadline
from rxpipe.testing import Leaked, Marbles, SignalDropped


def left_by(body, *, error=Leaked):
    """The failure of a test with *body*."""
    with pytest.raises(error) as failed, Marbles() as marbles:
        body(marbles)
    return str(failed.value)


def test_an_interval_still_running_is_named_with_its_line():
    text = left_by(lambda _: rx.interval(0.001).subscribe(print))
    assert "a subscription was never disposed, and holds something" in text
    assert "test_leaks.py" in text
    assert "rx.interval(0.001).subscribe(print)" in text


def test_a_pending_timer_fails_the_test():
    text = left_by(lambda marbles: marbles.clock.schedule_relative(3.0, lambda *_: None))
    assert "a timer is still planned" in text
    assert "lambda marbles: marbles.clock.schedule_rel" in text


def test_a_timer_planned_by_a_timer_goes_back_to_the_line_that_began_it():
    def body(marbles):
        rx.timer(0.001, 0.002).subscribe(lambda _: None)
        marbles.clock.advance_by("9ms")

    assert "rx.timer(0.001, 0.002)" in left_by(body)


def test_a_source_never_released_is_named_with_the_line_that_made_it():
    def body(marbles):
        source = marbles.hot("-a-b")

        def deaf(observer, scheduler=None):
            source.subscribe(observer, scheduler=scheduler)
            return Disposable()

        marbles.expect(rx.create(deaf)).to_be("-a-b")

    text = left_by(body)
    assert 'hot "-a-b" is still subscribed to' in text
    assert 'source = marbles.hot("-a-b")' in text


def test_a_subscription_never_disposed_that_holds_a_resource_is_named():
    def body(_):
        stream = Observable(lambda *_: Disposable(lambda: None))
        stream.pipe(ops.map(str), ops.filter(bool)).subscribe(print)

    text = left_by(body)
    assert "a subscription was never disposed" in text
    assert "subscribe(print)" in text


@pytest.mark.parametrize("operator", [deadline(1.0, TimeoutError), ops.debounce(1.0), ops.timeout(1.0), ops.delay(1.0)])
def test_an_operator_that_is_left_waiting_is_seen(operator):
    def body(marbles):
        subject = Subject()
        subject.pipe(operator).subscribe(lambda _: None)
        subject.on_next("a")
        marbles.clock.advance_by("1ms")

    text = left_by(body)
    assert "a timer is still planned" in text or "a subscription was never disposed" in text
    assert "subject" in text


@pytest.mark.parametrize(
    "body",
    [
        lambda marbles: marbles.expect(rx.interval(0.001), "^---!").to_be("-012", int),
        lambda marbles: marbles.expect(marbles.hot("-a-b")).to_be("-a-b"),
        lambda _: Subject().subscribe(print),
        lambda _: rx.never().subscribe(print),
        lambda _: rx.interval(1.0).subscribe(print).dispose(),
        lambda marbles: marbles.expect(rx.timer(1.0)).to_be_so_far(""),
        lambda marbles: marbles.hot("-a-b-c"),
        lambda marbles: marbles.expect(marbles.cold("-a")).to_equal(marbles.cold("-a")),
        lambda marbles: marbles.expect(marbles.cold("-a")).to_equal(marbles.expect(marbles.cold("-a"))),
        lambda marbles: marbles.subscriber().listen(marbles.cold("-a")).to_be("-a"),
        lambda marbles: marbles.expect(marbles.probe(marbles.cold("-a"))).to_be("-a"),
        lambda marbles: marbles.expect(rx.merge(marbles.cold("-a"), marbles.hot("--b"))).to_be("-ab"),
        lambda marbles: marbles.expect(marbles.cold("-a").pipe(ops.share())).to_be("-a"),
        lambda marbles: marbles.expect(marbles.cold("-a").pipe(ops.group_by(str))).to_be(
            "-x", {"x": marbles.inner("a")}
        ),
        lambda marbles: marbles.expect(marbles.cold("-a").pipe(ops.delay(1.0))).to_be_so_far(""),
        lambda marbles: marbles.expect(marbles.cold("-a").pipe(ops.window(rx.never()))).to_be(
            "x", {"x": marbles.inner("-a")}
        ),
    ],
)
def test_what_holds_nothing_or_is_released_passes(body):
    """The kit unsubscribes what it expects of streams before it looks."""
    with Marbles() as marbles:
        body(marbles)


def test_leaks_may_be_allowed():
    with Marbles() as marbles:
        marbles.allow_leaks()
        rx.interval(0.001).subscribe(print)


def test_a_value_after_the_end_of_a_subject_is_a_dropped_signal():
    def body(marbles):
        hub = Subject()
        marbles.expect(hub).to_be_so_far("")
        rx.of("a").subscribe(hub)
        rx.of("b").subscribe(hub)
        marbles.recordings[0].accept()

    text = left_by(body, error=SignalDropped)
    assert "a signal reached nobody" in text
    assert "at 0 ms the value b, after the end, dropped by a Subject" in text
    assert 'rx.of("b").subscribe(hub)' in text


def test_a_source_that_emits_after_its_end_is_seen():
    def body(marbles):
        def lawless(observer, _=None):
            observer.on_next("a")
            observer.on_completed()
            observer.on_next("b")
            observer.on_error(ValueError("c"))
            return Disposable()

        marbles.expect(rx.create(lawless).pipe(ops.map(str.upper))).to_be("(A|)")

    text = left_by(body, error=SignalDropped)
    assert "2 signals reached nobody" in text
    assert "the value b, after the end, dropped by map" in text
    assert "the error ValueError('c'), after the end, dropped by map" in text


def test_an_error_after_disposal_is_seen_and_a_value_is_not():
    """What was under way when somebody left is no fault; a failure that nobody hears of is."""

    def body(marbles):
        observers = []
        stream = rx.create(lambda observer, _: observers.append(observer) or Disposable())
        marbles.expect(stream, "^-!").to_be("")
        observers[0].on_next("late")
        observers[0].on_error(OSError("disk full"))

    text = left_by(body, error=SignalDropped)
    assert "a signal reached nobody" in text
    assert "OSError('disk full'), after it was disposed" in text


def test_a_failure_that_rx_swallows_is_seen():
    """A mapper under `of` fails, nobody gave an on_error: without the kit nothing is raised and nothing printed."""
    text = left_by(lambda _: rx.of(0).pipe(ops.map(lambda n: 1 // n)).subscribe(print), error=SignalDropped)
    assert "ZeroDivisionError" in text


def test_an_error_that_reached_somebody_by_another_way_is_not_lost(marbles):
    """It comes through the window and through the stream of windows; one of them has been left."""
    marbles.expect(marbles.hot("-#").pipe(ops.buffer_with_time(0.003))).to_be("-#")


def test_dropped_signals_may_be_allowed(marbles):
    marbles.allow_dropped()
    hub = Subject()
    hub.on_completed()
    hub.on_next("a")


def test_a_test_that_fails_is_not_told_of_what_it_left():
    """Its own failure says more."""
    with pytest.raises(ZeroDivisionError), Marbles():
        raise ZeroDivisionError(rx.interval(1.0).subscribe(print))


def test_a_long_chain_of_operators_is_looked_through(marbles):
    """However deep the resource lies that it holds."""
    stream = Observable(lambda *_: Disposable(lambda: None))
    for _ in range(60):
        stream = stream.pipe(ops.map(str))
    subscription = stream.subscribe(lambda _: None)
    held, _, _ = marbles.left_behind()
    assert ["a subscription was never disposed" in each for each in held] == [True]
    subscription.dispose()
    assert marbles.left_behind()[0] == []
