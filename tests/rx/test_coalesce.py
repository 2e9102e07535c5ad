"""coalesce: lifecycle values all and in order, of the rest the latest per key and period."""

from __future__ import annotations

import threading

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxpipe.rx.mainloop import PumpScheduler
from rxpipe.rx.operators import coalesce
from rxpipe.testing.marbles import Marbles


@pytest.fixture
def marbles():
    with Marbles() as started:
        yield started


def upper_pass(period_s=0.005):
    """Upper-case values pass; digits share one key, lower-case letters another."""
    return coalesce(period_s, key=str.isdigit, passes=str.isupper)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("----------", "----------", id="never"),
        pytest.param("---|", "---|", id="empty"),
        pytest.param("---#", "---#", id="error"),
        pytest.param("--S-abc-----E|", "--S------c--E|", id="the latest of a period, a period after its first"),
        pytest.param("--S-abcE---|", "--S----[cE]---|", id="what waits goes before a value that passes"),
        pytest.param("-a|", "--[a|]", id="what waits goes before the end"),
        pytest.param("-a#", "--[a#]", id="what waits goes before an error"),
        pytest.param("-ABC|", "-ABC|", id="values that pass are not touched"),
        pytest.param("-a1b-----|", "------[1b]--|", id="one of each key, in the order of what is left"),
        pytest.param("-a1-----b2|", "------[a1]---[b2|]", id="each period anew"),
        pytest.param("-a--E-b---------|", "----[aE]------b----|", id="a value that passes ends the period"),
    ],
)
def test_coalesce_on_one_time_line(marbles, source, expected):
    """The rule as pictures, period of five frames."""
    marbles.expect(marbles.cold(source).pipe(upper_pass())).to_be(expected)


def test_disposing_early_drops_what_waits_and_the_timer(marbles):
    """After the unsubscription nothing comes, and no timer is left behind."""
    source = marbles.cold("-a--------")
    marbles.expect(source.pipe(upper_pass()), "^--!").to_be("----------")


@pytest.mark.parametrize("broken", ["key", "passes"])
def test_a_function_that_raises_ends_the_stream_with_its_error(broken):
    """What waited is sent, then the error; the source is let go."""
    functions = {"key": lambda _value: 0, "passes": lambda _value: False}
    good = functions[broken]
    functions[broken] = lambda value: 1 / 0 if value == "b" else good(value)
    source, got, errors = Subject(), [], []
    source.pipe(coalesce(1.0, **functions, scheduler=PumpScheduler())).subscribe(got.append, errors.append)
    source.on_next("a")
    source.on_next("b")
    source.on_next("c")
    assert got == ["a"]
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert source.observers == []


@pytest.mark.parametrize("period_s", [0, -1.0])
def test_a_period_of_nothing_is_refused_at_once(period_s):
    """Not at the first subscription, but where it was written."""
    with pytest.raises(ValueError, match="above 0 seconds"):
        coalesce(period_s, key=str, passes=bool)


def test_each_subscription_has_its_own_pending_values(marbles):
    """The operator keeps nothing between subscriptions."""
    stream = marbles.cold("-a-----|").pipe(upper_pass())
    first, second = marbles.expect(stream), marbles.expect(stream)
    first.to_be("------a|")
    second.to_be("------a|")


def test_a_subscriber_may_emit_again(marbles):
    """A nested value follows in turn, behind the one being delivered."""
    source, got = Subject(), []

    def subscriber(value):
        if value == "S":
            source.on_next("T")
        got.append(value)

    source.pipe(coalesce(1.0, key=str, passes=str.isupper)).subscribe(on_next=subscriber, on_error=pytest.fail)
    source.on_next("S")
    assert got == ["S", "T"]
    marbles.run()


def test_two_writers_and_a_timer_deliver_one_at_a_time_and_lose_nothing_that_passes():
    """Values that pass arrive complete and in each writer's order, whoever delivers them; callbacks never overlap."""
    source, inside, overlaps, got = Subject(), [], [], []
    clock = PumpScheduler()

    def subscriber(value):
        overlaps.extend(inside)
        inside.append(value)
        got.append(value)
        inside.pop()

    source.pipe(coalesce(0.0005, key=lambda v: v[0], passes=lambda v: v[1] % 5 == 0, scheduler=clock)).subscribe(
        on_next=subscriber, on_error=pytest.fail
    )
    writers = [
        threading.Thread(target=lambda name=name: [source.on_next((name, n)) for n in range(2000)]) for name in "ab"
    ]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        clock.pump()
    source.on_completed()
    assert overlaps == []
    for name in "ab":
        numbers = [number for writer, number in got if writer == name]
        assert numbers == sorted(set(numbers))
        assert [number for number in numbers if number % 5 == 0] == list(range(0, 2000, 5))
        assert numbers[-1] == 1999


def test_a_flood_becomes_a_handful(marbles):
    """Ten thousand steps between two events cost one value a period."""
    steps = rx.from_iterable(range(1, 10_000))
    got = []
    rx.concat(rx.of(0), steps, rx.of(0)).pipe(
        coalesce(0.016, key=lambda _v: "step", passes=lambda v: v == 0), ops.to_list()
    ).subscribe(got.extend, pytest.fail)
    marbles.run()
    assert got == [0, 9999, 0]
