"""The laws of operators hold for Rx's and ours, and are reported, with a test to paste, where one breaks them."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable, Disposable

from rxpipe.rx.operators import barrier, coalesce, deadline, observe, retry_backoff
from rxpipe.testing import MarbleError, prove
from rxpipe.testing.operator_laws import OperatorLawBroken

MS = 0.001
TWO = ("-a-b|", "--c-d-|")

OF_ONE = {
    "map": ops.map(str.upper),
    "scan": ops.scan(lambda all_, one: all_ + one),
    "take": ops.take(2),
    "first": ops.first(),
    "last": ops.last(),
    "start_with": ops.start_with("x"),
    "repeat": ops.repeat(2),
    "retry": ops.retry(2),
    "debounce": ops.debounce(3 * MS),
    "delay": ops.delay(2 * MS),
    "sample": ops.sample(2 * MS),
    "timeout": ops.timeout(4 * MS),
    "throttle_first": ops.throttle_first(2 * MS),
    "materialize": ops.materialize(),
    "group_by": ops.group_by(lambda value: value),
    "group_by_until": ops.group_by_until(lambda value: value, None, lambda _: rx.timer(2 * MS)),
    "buffer_with_time": ops.buffer_with_time(3 * MS),
    "window_with_time": ops.window_with_time(3 * MS),
    "window_with_time_or_count": ops.window_with_time_or_count(3 * MS, 2),
    "our barrier": barrier,
    "our coalesce": coalesce(3 * MS, key=lambda _: 0, passes=lambda value: value == "b"),
    "our deadline": deadline(4 * MS, TimeoutError),
    "our observe": observe(lambda _: None),
    "our retry_backoff": retry_backoff([2 * MS]),
}
OF_TWO = {
    "merge": lambda one, two: one.pipe(ops.merge(two)),
    "zip": lambda one, two: one.pipe(ops.zip(two)),
    "amb": lambda one, two: one.pipe(ops.amb(two)),
    "concat": lambda one, two: one.pipe(ops.concat(two)),
    "catch": lambda one, two: one.pipe(ops.catch(two)),
    "take_until": lambda one, two: one.pipe(ops.take_until(two)),
    "skip_until": lambda one, two: one.pipe(ops.skip_until(two)),
    "combine_latest": lambda one, two: one.pipe(ops.combine_latest(two)),
    "with_latest_from": lambda one, two: one.pipe(ops.with_latest_from(two)),
    "concat_map": lambda one, two: one.pipe(ops.concat_map(lambda _: two)),
    "flat_map_latest": lambda one, two: one.pipe(ops.flat_map_latest(lambda _: two)),
    "on_error_resume_next": lambda one, two: one.pipe(ops.on_error_resume_next(two)),
    "join": lambda one, two: one.pipe(ops.join(two, lambda _: rx.timer(2 * MS), lambda _: rx.timer(2 * MS))),
}


@pytest.mark.parametrize("name", OF_ONE)
@pytest.mark.sampled(12)
def test_operators_of_one_source_keep_the_laws(name):
    assert prove(OF_ONE[name]) >= 40


@pytest.mark.parametrize("name", OF_TWO)
def test_operators_of_two_sources_keep_the_laws(name):
    assert prove(OF_TWO[name], *TWO) >= 30


def test_a_shared_stream_is_not_pure():
    """In Rx for Python `share` gives a second subscriber only the end, once the first has seen it."""
    assert prove(ops.share(), pure=False)
    with pytest.raises(OperatorLawBroken, match="subscribing twice gives the same"):
        prove(ops.share())


def keeps_its_source(source):
    """Never unsubscribes."""

    def subscribe(observer, scheduler=None):
        source.subscribe(observer, scheduler=scheduler)
        return Disposable()

    return Observable(subscribe)


def keeps_its_timer(source):
    """Plans an action that nobody takes back."""

    def subscribe(observer, scheduler=None):
        rx.timer(60.0).subscribe(lambda _: None)
        return source.subscribe(observer, scheduler=scheduler)

    return Observable(subscribe)


def swallows_errors(source):
    """An error is neither passed nor an end."""
    return Observable(lambda observer, _=None: source.subscribe(observer.on_next, lambda _: None))


def emits_after_its_end(source):
    """A value follows the end."""

    def subscribe(observer, scheduler=None):
        def end():
            observer.on_completed()
            observer.on_next("more")

        return source.subscribe(observer.on_next, observer.on_error, end, scheduler=scheduler)

    return Observable(subscribe)


def emits_after_it_was_left(source):
    """What is disposed before its end says goodbye."""

    def subscribe(observer, scheduler=None):
        ended = []
        inner = source.subscribe(
            observer.on_next,
            lambda error: ended.append(1) or observer.on_error(error),
            lambda: ended.append(1) or observer.on_completed(),
            scheduler=scheduler,
        )
        return CompositeDisposable(inner, Disposable(lambda: ended or observer.on_next("bye")))

    return Observable(subscribe)


def remembers(source, seen=None):
    """Counts over all subscriptions."""
    seen = []
    return source.pipe(ops.map(lambda value: seen.append(value) or str(len(seen))))


@pytest.mark.parametrize(
    ("operator", "law"),
    [
        (keeps_its_source, "unsubscribing releases everything: a subscription was never disposed"),
        (keeps_its_timer, "unsubscribing releases everything: a subscription was never disposed"),
        (swallows_errors, "an error is never lost: the source failed"),
        (emits_after_its_end, "after its end it emits nothing: at 7 ms the value more"),
        (emits_after_it_was_left, "nothing comes after unsubscribing: at 0 ms the value bye"),
        (remembers, 'subscribing twice gives the same: the first saw "-1-2-3-|", the second "-4-5-6-|"'),
    ],
)
def test_a_law_that_is_broken_is_named_with_a_test_that_shows_it(operator, law):
    with pytest.raises(OperatorLawBroken) as broken:
        prove(operator)
    text = str(broken.value)
    assert text.startswith(law)
    assert "def test_found(marbles):" in text
    compile(text.partition("This test shows it:\n\n")[2], "found", "exec")


def test_diagrams_too_long_to_try_are_refused():
    with pytest.raises(MarbleError, match="too long to try every frame"):
        prove(ops.map(str), "-a 1m |")
