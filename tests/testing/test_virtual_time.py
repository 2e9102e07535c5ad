"""All time is virtual: each scheduler's `now`, own trampolines, stream.run(); Rx is restored in any order."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.observer import AutoDetachObserver, Observer
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    ThreadPoolScheduler,
    TimeoutScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.scheduler import Scheduler

from rxpipe.testing import MarbleError, Marbles, RealThread, Runaway, VirtualClock

EPOCH = datetime.fromtimestamp(0, tz=UTC)
EARLIER = TimeoutScheduler.singleton(), CurrentThreadScheduler(), TrampolineScheduler()


def rx_as_it_is():
    """Everything in Rx that the kit replaces."""
    methods = ("schedule", "schedule_relative", "schedule_absolute")
    observers = ("on_next", "on_error", "on_completed")
    return [
        vars(target)[name]
        for target, names in (
            (TimeoutScheduler, ("singleton", *methods)),
            (TrampolineScheduler, methods),
            (CurrentThreadScheduler, ("singleton",)),
            (Scheduler, ("now",)),
            (threading.Thread, ("start",)),
            (AutoDetachObserver, observers),
            (Observer, observers),
            (Observable, ("subscribe",)),
        )
        for name in names
    ]


@pytest.mark.parametrize(
    "scheduler",
    [
        None,
        ImmediateScheduler.singleton(),
        CurrentThreadScheduler(),
        TrampolineScheduler(),
        EARLIER[0],
        NewThreadScheduler(),
    ],
)
def test_every_scheduler_has_virtual_time(marbles, scheduler):
    """`timestamp` reads its scheduler's clock; nothing reads this year's."""
    stamped = marbles.cold("-a--b|").pipe(ops.timestamp(scheduler), ops.map(lambda each: each.timestamp))
    seen = marbles.expect(stamped)
    marbles.run()
    assert [round((at - EPOCH).total_seconds() * 1000) for at in seen.accept().values] == [1, 4]


@pytest.mark.parametrize("scheduler", [CurrentThreadScheduler(), TrampolineScheduler(), *EARLIER])
def test_timers_on_schedulers_of_ones_own_take_no_real_time(marbles, scheduler):
    """A trampoline would sleep for an hour."""
    marbles.expect(rx.timer(3600.0, scheduler=scheduler)).to_be("60m (0|)", int)


def test_own_trampolines_keep_their_order(marbles):
    """What is scheduled inside runs after what is running, at one instant."""
    scheduler, seen = TrampolineScheduler(), []

    def outer(*_):
        scheduler.schedule(lambda *_: seen.append("inner"))
        seen.append("outer")

    scheduler.schedule(outer)
    assert seen == ["outer", "inner"]
    marbles.expect(rx.range(0, 3, scheduler=scheduler)).to_be("(012|)", int)


@pytest.mark.parametrize("make", [NewThreadScheduler, lambda: ThreadPoolScheduler(1), EventLoopScheduler])
def test_real_threads_of_schedulers_fail_the_test(make):
    with pytest.raises(RealThread), Marbles():
        rx.of(1).pipe(ops.observe_on(make())).subscribe(lambda _: None)


def test_where_threads_are_allowed_their_schedulers_tell_real_time(marbles):
    """A loop in a real thread would wait for ever for a clock that stands still."""
    marbles.allow_threads()
    done = threading.Event()
    scheduler = EventLoopScheduler()
    scheduler.schedule_relative(0.001, lambda *_: done.set())
    assert done.wait(20)
    scheduler.dispose()
    assert ImmediateScheduler.singleton().now == EPOCH


def test_run_returns_the_last_value_in_virtual_time(marbles):
    """An hour passes in no time; an error is raised; what never ends is said instead of waited for."""
    assert rx.timer(3600.0).pipe(ops.map(lambda _: "x")).run() == "x"
    assert marbles.clock.now_us == 3_600_000_000
    with pytest.raises(ValueError, match="torn"):
        marbles.cold("-#", error=ValueError("torn")).run()
    with pytest.raises(rx.internal.exceptions.SequenceContainsNoElementsError):
        rx.empty().run()
    with pytest.raises(MarbleError, match="waits for ever"):
        rx.never().run()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)])
def test_rx_is_restored_in_whatever_order_marbles_are_closed(order):
    before = rx_as_it_is()
    several = [Marbles(verify=False) for _ in range(3)]
    for marbles in several:
        marbles.__enter__()
    assert TimeoutScheduler.singleton() is several[2].clock
    for index in order:
        assert rx_as_it_is() != before
        several[index].__exit__(None, None, None)
    assert rx_as_it_is() == before


def test_the_one_that_is_left_serves_again():
    with Marbles() as outer:
        with Marbles() as inner:
            inner.expect(rx.timer(1.0)).to_be("1s (0|)", int)
        outer.expect(rx.timer(2.0)).to_be("2s (0|)", int)


def test_two_tests_in_two_threads_do_not_meet():
    """Each has its own clock; the one that began first ends first; Rx is restored by the last."""
    before = rx_as_it_is()
    both_in, first_out = threading.Barrier(2), threading.Event()
    seen = {}

    def test(name, seconds, leave_first):
        with Marbles() as marbles:
            both_in.wait(20)
            stream = marbles.expect(rx.timer(seconds).pipe(ops.delay(seconds)))
            if not leave_first:
                first_out.wait(20)
            marbles.run()
            seen[name] = stream.accept().text()
        first_out.set()

    threads = [
        threading.Thread(target=test, args=("a", 1.0, True)),
        threading.Thread(target=test, args=("b", 2.0, False)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == {"a": "2s (0|)", "b": "4s (0|)"}
    assert rx_as_it_is() == before


def test_rx_is_restored_after_many_tests_in_many_threads():
    """Whatever the order in which they enter and leave."""
    before, wrong = rx_as_it_is(), []

    def several():
        for _ in range(30):
            with Marbles() as marbles:
                stream = marbles.expect(rx.timer(1.0))
                marbles.run()
                if stream.accept().text() != "1s (0|)":
                    wrong.append(stream.text())

    threads = [threading.Thread(target=several) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (wrong, rx_as_it_is()) == ([], before)


def test_closing_twice_is_harmless():
    before = rx_as_it_is()
    with Marbles() as marbles:
        marbles.__exit__(None, None, None)
    assert rx_as_it_is() == before


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (lambda: rx.interval(0.001), "5,000 actions"),
        (lambda: rx.interval(0.0), "5,000 actions"),
        (lambda: rx.generate(0, lambda _: True, lambda n: n + 1), "5,000 actions"),
        (lambda: rx.of(1).pipe(ops.repeat()), "5,000 actions"),
        (lambda: rx.throw(OSError()).pipe(ops.retry()), "5,000 actions"),
        (lambda: rx.of(1).pipe(ops.expand(rx.of)), "it calls itself"),
    ],
)
@pytest.mark.sampled(3)
def test_a_stream_that_never_ends_is_named_drawn_and_stopped_soon(stream, why):
    """Its line, its first values, and what to do; not a minute of library code."""
    with pytest.raises(Runaway) as failed, Marbles(VirtualClock(max_actions=5_000, max_at_once=5_000)) as marbles:
        marbles.expect(stream(), name="ticks").to_be("|")
    text = str(failed.value)
    assert text.startswith(f"ticks never ends: {why}")
    assert "ticks  " in text or "nothing came" in text
    assert "test_virtual_time.py:" in text
    assert "Let it end:" in text
    assert max(map(len, text.splitlines())) < 80
