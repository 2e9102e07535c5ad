"""The virtual clock: exact times, first in first out, and a guard that names what ran away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxpipe.testing import MarbleError, Runaway, VirtualClock
from rxpipe.testing.clock import in_words, microseconds


def test_ten_thousand_events_at_one_instant_keep_their_time_and_order():
    """Where RxPY's test scheduler moves time by 1.0 after a hundred, this one moves nothing."""
    clock, seen = VirtualClock(), []
    for number in range(10_000):
        clock.schedule_relative(0.25, lambda clock, number: seen.append((number, clock.now_us)), number)
    clock.run()
    assert seen == [(number, 250_000) for number in range(10_000)]


def test_times_finer_than_a_frame_are_exact():
    """0.1 s ten times is 1 s to the microsecond."""
    clock, seen = VirtualClock(), []
    rx.interval(0.1, scheduler=clock).pipe(ops.take(10)).subscribe(lambda _: seen.append(clock.now_us))
    clock.run()
    assert seen == [100_000 * n for n in range(1, 11)]


def test_now_counts_from_1970_in_utc():
    """An event stamped by the clock shows its virtual time."""
    clock = VirtualClock()
    clock.advance_by("1.5s")
    assert clock.now == datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)


def test_advance_by_runs_the_last_instant_too():
    """What is due exactly at the target runs; what is due after it waits."""
    clock, seen = VirtualClock(), []
    for due in (0.001, 0.002, 0.003):
        clock.schedule_relative(due, lambda _, due: seen.append(due), due)
    clock.advance_by("2ms")
    assert (seen, clock.now_us, clock.pending) == ([0.001, 0.002], 2_000, 1)


def test_an_action_planned_in_the_past_runs_now():
    """Absolute times that have gone by, and negative delays, mean this instant."""
    clock, seen = VirtualClock(), []
    clock.advance_to("1s")
    clock.schedule_absolute(datetime(1970, 1, 1, tzinfo=UTC), lambda *_: seen.append(clock.now_us))
    clock.schedule_relative(timedelta(seconds=-1), lambda *_: seen.append(clock.now_us))
    clock.run()
    assert seen == [1_000_000, 1_000_000]


def test_a_disposed_action_never_runs_and_one_that_ran_disposes_what_it_returned():
    """The disposable of `schedule` covers both sides of the action."""
    clock, seen = VirtualClock(), []
    clock.schedule(lambda *_: seen.append("never")).dispose()
    ran = clock.schedule(lambda *_: rx.disposable.Disposable(lambda: seen.append("returned")))
    clock.run()
    ran.dispose()
    assert seen == ["returned"]


def test_a_runaway_loop_fails_with_its_last_actions():
    """An action that plans itself again at once ends in an error that names it, at the time it began."""
    clock = VirtualClock(max_at_once=1_000)

    def again(scheduler, _):
        return scheduler.schedule(again)

    clock.schedule_relative(0.007, again)
    with pytest.raises(Runaway, match=r"1,000 actions at 7ms and no end(.|\n)*again \(.*test_clock.py:\d+\)"):
        clock.run()
    assert clock.now_us == 7_000


def test_a_stream_that_never_ends_fails_the_run():
    """An interval without a limit is reported, instead of running for ever."""
    clock = VirtualClock(max_actions=500)
    rx.interval(1, scheduler=clock).subscribe(lambda _: None)
    with pytest.raises(Runaway, match="500 actions up to"):
        clock.run()


def test_time_does_not_run_backwards():
    """Advancing to a moment that has passed is a mistake of the test."""
    clock = VirtualClock()
    clock.advance_by(3)
    with pytest.raises(MarbleError, match="at 3s and cannot go back to 1s"):
        clock.advance_to(1)


def test_time_is_not_run_from_inside_an_action():
    """A clock that runs inside its own run would reorder the instant; it says so instead."""
    clock = VirtualClock()
    clock.schedule(lambda *_: clock.run())
    with pytest.raises(MarbleError, match="already running"):
        clock.run()


def test_an_action_that_raises_leaves_the_clock_usable():
    """The error reaches the test; the rest of the queue is still there."""
    clock, seen = VirtualClock(), []
    clock.schedule(lambda *_: 1 // 0)
    clock.schedule(lambda *_: seen.append("after"))
    with pytest.raises(ZeroDivisionError):
        clock.run()
    clock.run()
    assert seen == ["after"]


@pytest.mark.parametrize(
    ("text", "us"), [("250us", 250), ("100ms", 100_000), ("1.5s", 1_500_000), ("2m", 120_000_000), (0.5, 500_000)]
)
def test_durations_read_as_written(text, us):
    """Units us, ms, s, m; a bare number is seconds."""
    assert microseconds(text) == us


@pytest.mark.parametrize("text", ["", "5", "1h", "-1s", "0.1us"])
def test_a_bad_duration_is_refused(text):
    """No unit, an unknown one, a sign, or finer than a microsecond."""
    with pytest.raises(MarbleError):
        microseconds(text)


@pytest.mark.parametrize("us", [0, 1, 250, 1_000, 62_000, 999_999, 1_500_000, 90_000_000, 61_000_000, 1_000_000_000])
def test_durations_written_read_back_the_same(us):
    """What `in_words` writes is what `microseconds` reads."""
    assert microseconds(in_words(us)) == us
