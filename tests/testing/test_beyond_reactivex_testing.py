"""Each fault known of reactivex.testing 6.1.0 as a test that passes here."""

from __future__ import annotations

import numpy as np
import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxpipe.testing import MarbleSyntaxError, Mismatch, parse, render


def test_every_subscriber_of_a_hot_stream_gets_its_end(marbles):
    """There the second of three never completes."""
    source = marbles.hot("--a--|")
    streams = [marbles.expect(source) for _ in range(3)]
    for stream in streams:
        stream.to_be("--a--|")


def test_more_than_a_hundred_events_at_one_instant_move_no_time(marbles):
    """There 350 events at 250 are recorded at 250, 251, 252 and 253."""
    source = marbles.hot("250ms a")
    stream = marbles.expect(source.pipe(ops.flat_map(lambda _: rx.from_iterable(range(10_000)))))
    marbles.run()
    assert {seen.at for seen in stream.messages} == {250_000}
    stream.to_be(render(parse("250ms a").marks * 10_000), lambda _: int)


def test_times_finer_than_a_frame_compare_exactly(marbles):
    """There a timespan of 0.5 or 0.1 makes a correct test fail."""
    marbles.expect(marbles.cold("a-b|").pipe(ops.delay(0.0005))).to_be("0.5ms a-b|")
    marbles.expect(rx.interval(0.0001).pipe(ops.take(2))).to_be("0.1ms a @0.2ms (b|)", {"a": 0, "b": 1})


def test_errors_bools_and_arrays_are_told_apart(marbles):
    """There errors compare by text alone, 1 is True, and an array's `==` is no answer."""
    for came, expected in [(1, True), (np.array([1, 2]), np.array([1, 3]))]:
        stream = marbles.expect(marbles.cold("a|", {"a": came}))
        with pytest.raises(Mismatch):
            stream.to_be("a|", {"a": expected})
    failing = marbles.expect(marbles.cold("#", error=ValueError("x")))
    with pytest.raises(Mismatch):
        failing.to_be("#", error=RuntimeError("x"))


@pytest.mark.parametrize("text", ["a100ms b|", "--^--!", "(a|", "a)", "a|b", "(a,b)"])
def test_mistakes_in_a_diagram_are_refused(text):
    """There each of these means something, silently."""
    with pytest.raises(MarbleSyntaxError):
        parse(text)


def test_numbers_and_words_stay_what_was_written(marbles):
    """There `1e3` and `nan` turn into floats."""
    marbles.expect(marbles.cold("{1e3}-{nan}|")).to_be("x-y|", {"x": "1e3", "y": "nan"})


def test_cold_and_hot_streams_log_their_subscriptions(marbles):
    """There those of marbles_testing do not."""
    cold, hot = marbles.cold("-a|"), marbles.hot("-a|")
    marbles.expect(rx.merge(cold, hot)).to_be("-[aa]|")
    cold.subscriptions.to_be("^-!")
    hot.subscriptions.to_be("^-!")


def test_nothing_is_cut_off_after_a_thousand_frames(marbles):
    """There everything after t=1000 is silently lost."""
    marbles.expect(marbles.cold("1999ms a 60m |")).to_be("1999ms a 60m |")


def test_a_test_may_run_time_as_often_as_it_likes(marbles):
    """There one start() per context."""
    for text in ("a|", "-b|", "--#"):
        marbles.expect(marbles.cold(text)).to_be(text)


def test_unsubscribing_at_time_zero_is_meant(marbles):
    """There a 0 for created or subscribed is ignored."""
    source = marbles.cold("a|")
    marbles.expect(source, "[^!]").to_be("")
    source.subscriptions.to_be("[^!]")


def test_nested_streams_compare_by_content(marbles):
    """There group_by and window compare by identity."""
    windows = marbles.hot("-a-b|").pipe(ops.window_with_count(1))
    marbles.expect(windows).to_be(
        "xy-z|", {"x": marbles.inner("-(a|)"), "y": marbles.inner("--(b|)"), "z": marbles.inner("-|")}
    )


def test_a_recording_written_as_text_reads_back_the_same(marbles):
    """There two simultaneous values print as one, and an error as a value."""
    stream = marbles.expect(marbles.cold("a-[bc]-#"))
    marbles.run()
    assert stream.text() == "a-[bc]-#"
    stream.to_be(stream.text())


def test_a_failure_shows_diagrams_a_reason_and_the_line(marbles):
    """There it is a list diff of OnNext(C)@205.0."""
    stream = marbles.expect(marbles.cold("--a--c|"))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("--a--b|")
    text = str(failed.value)
    assert text.startswith("at 5 ms c came where b was expected")
    assert "  expected  --a--b|\n  actual    --a--c|\n                 ^" in text
    assert 'stream.to_be("--a--b|")' in text


def test_operators_pick_up_virtual_time_by_themselves(marbles):
    """There a forgotten scheduler= runs on real threads."""
    subject = Subject()
    stream = marbles.expect(subject.pipe(ops.debounce(1.0)))
    subject.on_next("a")
    stream.to_be("1s a")
