"""Faults of Rx for Python, each as the smallest test of what should be: a version that mends one is noticed.

Every test here is expected to fail, and fails the suite once it passes: then what works around the fault can go.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.notification import OnError, OnNext
from reactivex.scheduler import EventLoopScheduler, HistoricalScheduler, TimeoutScheduler
from reactivex.scheduler.mainloop import QtScheduler
from reactivex.testing import TestScheduler
from reactivex.testing.marbles import marbles_testing

PATIENCE_S = 5.0
SILENCE_S = 0.15
"""How long, in real seconds, a delivery may take that comes in microseconds where it comes at all."""


def seen_in(version, what):
    """A fault, the version it was seen in, and what goes wrong."""
    wrong = (AssertionError, pytest.fail.Exception)  # any other error is a fault of the test
    return pytest.mark.xfail(reason=f"reactivex {version}: {what}", raises=wrong, strict=True)


@seen_in("6.1.0", "after 100 actions at one instant time moves by 1.0 each hundred")
def test_any_number_of_actions_share_an_instant_of_the_test_scheduler():
    scheduler, times = TestScheduler(), []
    for _ in range(350):
        scheduler.schedule_absolute(250.0, lambda *_: times.append(scheduler.clock))
    scheduler.start()
    assert set(times) == {250.0}


@pytest.mark.slow
@seen_in("6.1.0", "after 100 actions at one instant it waits for a lock that it holds")
def test_any_number_of_actions_share_an_instant_of_the_historical_scheduler():
    scheduler, done = HistoricalScheduler(datetime(2026, 1, 1, tzinfo=UTC)), []
    for _ in range(150):
        scheduler.schedule(lambda *_: done.append(1))
    running = threading.Thread(target=scheduler.start, daemon=True)
    running.start()
    running.join(PATIENCE_S)
    assert len(done) == 150


@seen_in("6.1.0", "the list of observers is changed while it is walked: the second of three gets no end")
def test_every_subscriber_of_a_hot_stream_gets_its_end():
    scheduler, ends = TestScheduler(), []
    source = rx.hot("--|", timespan=1.0, scheduler=scheduler)
    for name in "abc":
        source.subscribe(on_completed=lambda name=name: ends.append(name))
    scheduler.start()
    assert ends == ["a", "b", "c"]


@seen_in("6.1.0", "the first marble of a hot stream is lost")
def test_the_first_frame_of_a_hot_test_stream_is_heard():
    with marbles_testing(timespan=1.0) as (start, _, hot, expected):
        assert start(hot("a--|")) == expected("a--|")


@seen_in("6.1.0", "times are cut to whole ticks")
def test_a_timespan_below_one_compares():
    with marbles_testing(timespan=0.5) as (start, cold, _, expected):
        assert start(cold("-a-|")) == expected("-a-|")


@seen_in("6.1.0", "values at one instant need commas, or are one value, and the end a part of it")
def test_a_group_holds_values_and_the_end():
    scheduler, seen = TestScheduler(), []
    rx.from_marbles("(ab|)", timespan=1.0, scheduler=scheduler).subscribe(
        seen.append, on_completed=lambda: seen.append("|")
    )
    scheduler.start()
    assert seen == ["a", "b", "|"]


@seen_in("6.1.0", "errors compare by their text alone")
def test_errors_of_different_types_differ():
    assert OnError(ValueError("x")) != OnError(RuntimeError("x"))


@seen_in("6.1.0", "compares by ==, where True is 1")
def test_true_is_not_one():
    assert OnNext(1) != OnNext(True)


@seen_in("6.1.0", "the value passes after the error that ended the stream")
def test_a_value_whose_action_raised_does_not_pass():
    """Behind an observer without Rx's guard, as an operator of one's own may be."""
    seen = []

    class Unguarded(rx.abc.ObserverBase):
        def on_next(self, value):
            seen.append(value)

        def on_error(self, error):
            seen.append(type(error))

        def on_completed(self):
            seen.append("end")

    source = rx.subject.Subject()
    source.pipe(ops.do_action(lambda _: 1 // 0))._subscribe_core(Unguarded())
    source.on_next("a")
    assert seen == [ZeroDivisionError]


@seen_in("6.1.0", "without on_error nothing is raised and nothing printed (#563)")
def test_an_error_nobody_handles_is_raised():
    with pytest.raises(ZeroDivisionError):
        rx.of(0).pipe(ops.map(lambda n: 1 // n)).subscribe(lambda _: None)


@seen_in("6.1.0", "asks ImmediateScheduler for the time, not the scheduler it documents")
def test_timestamp_asks_the_scheduler_it_documents(monkeypatch):
    then = datetime(2000, 1, 1, tzinfo=UTC)
    monkeypatch.setattr(TimeoutScheduler, "now", then)
    stamped = []
    rx.of("a").pipe(ops.timestamp()).subscribe(lambda each: stamped.append(each.timestamp))
    assert stamped == [then]


@seen_in("6.1.0", "an exception of one stream ends the thread for all")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_one_exception_leaves_an_event_loop_scheduler_to_the_others():
    scheduler, heard = EventLoopScheduler(), threading.Event()
    one, other = rx.subject.Subject(), rx.subject.Subject()
    one.pipe(ops.observe_on(scheduler)).subscribe(lambda n: 1 // n)
    other.pipe(ops.observe_on(scheduler)).subscribe(lambda _: heard.set())
    one.on_next(0)
    other.on_next("a")
    came = heard.wait(SILENCE_S)
    scheduler.dispose()
    assert came


@seen_in("6.1.0", "a timer of the calling thread is used, which has no event loop: the event is lost")
def test_qt_delivers_what_a_worker_schedules(qt_app):
    from PySide6 import QtCore  # noqa: PLC0415 - with the application

    delivered = []
    scheduler = QtScheduler(QtCore)
    worker = threading.Thread(target=lambda: scheduler.schedule(lambda *_: delivered.append(1)))
    worker.start()
    worker.join()
    for _ in range(20):
        qt_app.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 5)
    assert delivered == [1]


@seen_in("6.1.0", "a shared stream that has ended gives a later subscriber its end alone")
def test_share_begins_anew_after_its_end(marbles):
    shared = marbles.cold("-a|").pipe(ops.share())
    marbles.expect(shared).to_be("-a|")
    marbles.expect(shared).to_be("-a|")
