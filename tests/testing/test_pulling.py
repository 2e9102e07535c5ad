"""Pulling signals one by one, waiting until something is so, the order across streams, probes, `assert stream ==`."""

from __future__ import annotations

import threading
import time

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler
from reactivex.subject import Subject

from rxpipe.testing import MarbleError, Mismatch, error_like, turbine


def test_signals_are_taken_one_by_one(marbles):
    """Each `item` moves time as far as it takes."""
    with marbles.turbine(marbles.cold("--a---bc-|")) as t:
        assert t.item() == "a"
        assert marbles.clock.now_us == 2_000
        assert t.items(2) == ["b", "c"]
        t.no_more_for("1ms")
        t.completed()


def test_an_error_is_taken_too(marbles):
    with marbles.turbine(marbles.cold("-a-#", error=OSError("disk full"))) as t:
        t.item("a")
        assert str(t.error(error_like(OSError, "full"))) == "disk full"


def test_silence_is_asserted_by_time(marbles):
    with marbles.turbine(rx.timer(3.0)) as t:
        t.no_more_for("2s")
        t.item(0)
        t.completed()


@pytest.mark.parametrize(
    ("text", "take", "why"),
    [
        ("-a-b|", lambda t: t.item("b"), "the value is a, not b"),
        ("-|", lambda t: t.item(), "a value was expected; the end came"),
        ("-#", lambda t: t.item(), "a value was expected; the error came"),
        ("-a", lambda t: t.completed(), "the end was expected; a came"),
        ("-a", lambda t: t.items(2), "a value was expected; none came, and nothing is planned"),
        ("-a", lambda t: t.no_more_for("2ms"), "a came within 2 ms of silence"),
        ("-#", lambda t: t.error(OSError), "the error is Fault('#'), not OSError"),
    ],
)
def test_what_came_instead_is_said(marbles, text, take, why):
    def body():
        with marbles.turbine(marbles.cold(text)) as t:
            take(t)

    with pytest.raises(Mismatch) as failed:
        body()
    assert failed.value.reason == why


def test_signals_never_taken_fail_the_block(marbles):
    """All are named, and an error among them is the cause."""

    def body():
        with marbles.turbine(marbles.cold("-a-b-#", error=OSError("disk full")), name="log") as t:
            marbles.run()
            t.item("a")

    with pytest.raises(Mismatch) as failed:
        body()
    assert failed.value.reason == "log: 2 signals were never taken: b, the error"
    assert isinstance(failed.value.__cause__, OSError)


def test_a_failure_in_the_block_is_not_hidden_by_what_was_not_taken(marbles):
    def body():
        with marbles.turbine(marbles.cold("(ab|)")):
            marbles.run()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()


def test_leaving_the_block_unsubscribes(marbles):
    source = marbles.cold("-a-b-c")
    with marbles.turbine(source) as t:
        t.item()
    source.subscriptions.to_be("^!")


def test_streams_on_real_threads_are_pulled_with_a_time_limit():
    """Without virtual time; each call waits at most so long."""
    with turbine(rx.timer(0.01, scheduler=NewThreadScheduler()), limit="20s") as t:
        assert t.item() == 0
        t.completed()
    began = time.monotonic()
    with pytest.raises(Mismatch, match=r"it took\s+more than 10 ms"), turbine(rx.never(), limit="10ms") as t:
        t.item()
    assert time.monotonic() - began < 10


def test_real_time_and_virtual_time_may_meet(marbles):
    marbles.allow_threads()
    subject = Subject()
    with marbles.turbine(subject, limit="20s") as t:
        threading.Thread(target=subject.on_next, args=("a",)).start()
        assert t.item() == "a"
        t.no_more_for("1ms")


def test_eventually_moves_time_no_further_than_it_takes(marbles):
    seen = []
    rx.interval(1.0).pipe(ops.take(5)).subscribe(seen.append)
    marbles.eventually(lambda: len(seen) == 2)
    assert marbles.clock.now_us == 2_000_000

    def three():
        assert seen[2:] == [2]

    marbles.eventually(three, within="2s")
    with pytest.raises(AssertionError, match="not so within 1 s: the lambda of line"):
        marbles.eventually(lambda: len(seen) == 99, within="1s")
    marbles.run()


def test_eventually_waits_for_threads_where_they_are_allowed(marbles):
    marbles.allow_threads()
    done = threading.Event()
    threading.Timer(0.01, done.set).start()
    marbles.eventually(done.is_set, within="20s")


def test_the_order_across_streams_is_expected_as_columns(marbles):
    """Whatever the times are; what stands in one column may come in any order."""
    one = marbles.expect(marbles.cold("--a-----b|"), name="one")
    two = marbles.expect(marbles.cold("----x---y"), name="two")
    marbles.expect_order({one: "a-b|", two: "-xy"})


def test_signals_out_of_turn_are_named_and_drawn(marbles):
    one = marbles.expect(marbles.cold("--a-b|"), name="one")
    two = marbles.expect(marbles.cold("---x"), name="two")
    with pytest.raises(AssertionError) as failed:
        marbles.expect_order({one: "ab-|", two: "--x"})
    text = str(failed.value)
    assert text.startswith("order: x of two came before b of one")
    assert "  expected one  ab-|\n  expected two  --x-" in text
    assert "  actual one  a-b|\n  actual two  -x--" in text
    one.accept()
    two.accept()


@pytest.mark.parametrize(
    ("rows", "why"), [("a", "b of a stream was not expected"), ("abc", "c of a stream is missing")]
)
def test_too_many_and_too_few_are_said(marbles, rows, why):
    stream = marbles.expect(marbles.cold("ab"))
    with pytest.raises(AssertionError, match=why):
        marbles.expect_order({stream: rows})
    stream.accept()


def test_a_probe_shows_who_subscribed_and_how_it_ended(marbles):
    """Any stream, not only those of the test."""
    used = marbles.probe(rx.timer(0.002), "timer")
    unused = marbles.probe(rx.never(), "fallback")
    failing = marbles.probe(rx.throw(OSError()))
    marbles.expect(used.pipe(ops.catch(unused))).to_be("--(0|)", int)
    marbles.expect(used, "^!").to_be("")
    marbles.expect(failing).to_be("#", error=OSError)
    used.subscriptions.to_be("^-!", "--^!")
    assert (used.ends, used.received, used.disposals) == (["completed", "disposed"], [1, 0], 1)
    assert not unused.was_subscribed
    assert failing.ends == ["failed"]
    assert repr(unused) == "probe fallback: never subscribed to"
    assert repr(used) == "probe timer: completed, disposed"


def test_a_plain_assert_compares_a_stream(marbles):
    """With values and an error where they are needed."""
    stream = marbles.expect(marbles.cold("-1-2|", int))
    assert stream == ("-1-2|", int)
    assert stream == ("-a-b|", {"a": 1, "b": 2})
    assert stream != "-1-2|"
    assert stream == stream  # noqa: PLR0124 - itself
    assert stream != 3
    assert len({stream, stream}) == 1
    assert "--#" == marbles.expect(marbles.cold("--#"))  # noqa: SIM300 - either way round


def test_a_turbine_in_real_time_needs_a_limit():
    with pytest.raises(MarbleError, match="needs a limit"):
        turbine(rx.never(), limit=None)


def test_a_turbine_belongs_in_a_with(marbles):
    with pytest.raises(MarbleError, match="has not subscribed"):
        marbles.turbine(marbles.cold("a")).item()
