"""Whatever RxPY's own test scheduler gets right, comes out the same here: any stream, through each timed operator."""

from __future__ import annotations

import pytest
from hypothesis import given
from reactivex import operators as ops
from reactivex.testing import ReactiveTest, TestScheduler

from rxpipe.testing import Marbles, parse, strategies

BEGIN = 10
KINDS = {"N": "next", "E": "error", "C": "end"}

TIMED = {
    "debounce": ops.debounce,
    "delay": ops.delay,
    "throttle_first": ops.throttle_first,
    "sample": ops.sample,
    "take_with_time": ops.take_with_time,
    "skip_with_time": ops.skip_with_time,
    "take_last_with_time": ops.take_last_with_time,
    "buffer_with_time": ops.buffer_with_time,
    "timeout": ops.timeout,
}


def here(text, operator):
    """What comes out, with times in frames."""
    with Marbles() as marbles:
        stream = marbles.expect(marbles.hot(text).pipe(operator(0.003)))
        marbles.run()
        return [
            (seen.at / 1000, seen.kind, seen.value if seen.kind == "next" else None)
            for seen in stream.accept().messages
        ]


def there(text, operator):
    """The same with reactivex.testing, a frame a tick."""
    make = {
        "next": ReactiveTest.on_next,
        "error": lambda at, _: ReactiveTest.on_error(at, Exception("#")),
        "end": lambda at, _: ReactiveTest.on_completed(at),
    }
    scheduler = TestScheduler()
    messages = [make[mark.kind](BEGIN + mark.at // 1000, mark.name) for mark in parse(text).marks]
    source = scheduler.create_hot_observable(messages)
    seen = scheduler.start(lambda: source.pipe(operator(3.0)), created=1, subscribed=BEGIN, disposed=10_000).messages
    return [(m.time - BEGIN, KINDS[m.value.kind], m.value.value if m.value.kind == "N" else None) for m in seen]


@pytest.mark.parametrize("name", TIMED)
@given(text=strategies.streams(ends="|#").map("-".__add__))
@pytest.mark.sampled(4)
def test_a_timed_operator_does_the_same_in_both(name, text):
    """To the frame and in order, for streams with bursts, gaps, ends and errors."""
    assert here(text, TIMED[name]) == there(text, TIMED[name])
