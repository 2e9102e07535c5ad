"""Lane: as many pieces of work in progress as it has slots, for a whole chain of operators."""

from __future__ import annotations

import itertools
import threading

import pytest
import reactivex as rx
from reactivex import Observable

from rxpipe.rx.lane import Lane

PATIENCE_S = 10.0
"""Only a failing test waits so long."""

THROWN = ZeroDivisionError("thrown")


def throw(*_):
    raise ZeroDivisionError("thrown")


@pytest.fixture
def work(marbles):
    """`work(lane, text, ...)`: an operator that plays *text* for each value; `work.started` is what began when."""
    started = []

    def make(lane, text, key=0, name="", **company):
        def project(value, _slot):
            started.append((marbles.clock.now_us // 1000, f"{name}{value}"))
            return marbles.cold(text, {"o": f"{value}{name}"})

        return lane.concat_map(project, key=lambda _: key, **company)

    make.started = started
    return make


# -- one operator -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("-----", "-----", id="never"),
        pytest.param("---|", "---|", id="empty"),
        pytest.param("-a-|", "---[a|]", id="one"),
        pytest.param("(ab|)", "--a-[b|]", id="many, one after the other"),
        pytest.param("-a------#", "---a----#", id="error"),
        pytest.param("-ab-#", "---a#", id="error while a value waits"),
        pytest.param("-a-------", "---a-----", id="no end"),
    ],
)
def test_a_lane_of_one_operator_is_concat_map(marbles, work, source, expected):
    """Two frames of work a value."""
    marbles.expect(marbles.cold(source).pipe(work(Lane(), "--(o|)"))).to_be(expected)


def test_a_value_is_projected_only_when_its_turn_has_come(marbles, work):
    """Nothing is started ahead."""
    marbles.expect(marbles.cold("(abc|)").pipe(work(Lane(), "---|"))).to_be("---------|")
    assert work.started == [(0, "a"), (3, "b"), (6, "c")]


def test_work_that_ends_at_once_does_not_pile_up_the_stack(marbles):
    """Ten thousand values whose work is over before it returns."""
    at_once = Observable(lambda observer, _: observer.on_completed())
    stream = rx.from_iterable(range(10_000)).pipe(Lane().concat_map(lambda *_: at_once, key=lambda _: 0))
    marbles.expect(stream).to_be("|")


def test_a_project_that_raises_ends_its_operator_with_that(marbles):
    """As a failing inner observable would."""
    source = marbles.cold("-a----|")
    marbles.expect(source.pipe(Lane().concat_map(throw, key=lambda _: 0))).to_be("-#", error=THROWN)
    source.subscriptions.to_be("^!")


def test_an_inner_error_ends_its_operator(marbles):
    """And lets the source go."""
    source = marbles.cold("-a----|")
    stream = source.pipe(Lane().concat_map(lambda *_: marbles.cold("--#"), key=lambda _: 0))
    marbles.expect(stream).to_be("---#")
    source.subscriptions.to_be("^--!")


def test_disposing_lets_the_source_go(marbles, work):
    """Nothing is heard any more; the work in hand is the lane's, and ends when that is closed."""
    source = marbles.cold("-a-b-c|")
    marbles.expect(source.pipe(work(Lane(), "-(o|)")), "^--!").to_be("--a")
    source.subscriptions.to_be("^--!")


# -- several operators ------------------------------------------------------------------------------------------------


def test_operators_on_one_lane_never_work_at_once(marbles, work):
    """Two streams, one lane: the oldest first among equal keys."""
    lane = Lane()
    one = marbles.expect(marbles.hot("(ab)").pipe(work(lane, "--(o|)", name="1")))
    two = marbles.expect(marbles.hot("-(xy)").pipe(work(lane, "--(o|)", name="2")))
    one.to_be("--{a1}-{b1}", str)
    two.to_be("------{x2}-{y2}", str)
    assert work.started == [(0, "1a"), (2, "1b"), (4, "2x"), (6, "2y")]


@pytest.mark.parametrize(
    ("keys", "order"),
    [
        pytest.param((0, 1), ["1a", "1b", "1c", "2a1", "2b1", "2c1"], id="rising keys: stage after stage"),
        pytest.param((1, 0), ["1a", "2a1", "1b", "2b1", "1c", "2c1"], id="falling keys: value after value"),
        pytest.param((0, 0), ["1a", "1b", "1c", "2a1", "2b1", "2c1"], id="equal keys: by age"),
    ],
)
def test_keys_decide_which_way_a_chain_is_walked(marbles, work, keys, order):
    """The same chain of two; the values that come out are the same."""
    lane = Lane()
    stream = marbles.cold("(abc|)").pipe(work(lane, "-(o|)", keys[0], "1"), work(lane, "-(o|)", keys[1], "2"))
    recorded = marbles.expect(stream)
    marbles.run()
    assert [name for _, name in work.started] == order
    assert [at for at, _ in work.started] == list(range(6))
    assert recorded.values == ["a12", "b12", "c12"]
    assert recorded.messages[-1].kind == "end"
    recorded.accept()


def test_at_no_time_are_two_pieces_at_work(marbles):
    """Counted inside the work, for three operators and nine values."""
    lane, inside, most = Lane(), [], []

    def project(value, _slot):
        def subscribe(observer, _):
            inside.append(value)
            most.append(len(inside))
            return marbles.cold("--o|").subscribe(lambda _: inside.remove(value), None, observer.on_completed)

        return Observable(subscribe)

    streams = [marbles.cold("a-b--(c|)").pipe(lane.concat_map(project, key=lambda _: key)) for key in (2, 0, 1)]
    recordings = [marbles.expect(stream) for stream in streams]
    marbles.run()
    assert most == [1] * 9
    for recording in recordings:
        recording.accept()


# -- company ----------------------------------------------------------------------------------------------------------


class Scripted:
    """Work of which a test holds every string: lets the next begin, acts in order, gives and ends when told to."""

    def __init__(self):
        self.slots, self.observers, self.order = {}, {}, []

    def project(self, value, slot):
        self.order.append(value)
        self.slots[value] = slot

        def subscribe(observer, _):
            self.observers[value] = observer

        return Observable(subscribe)


@pytest.fixture
def scripted():
    return Scripted()


def subscribed(lane, scripted, values="abcd", key=0, **settings):
    """What comes out of an operator on *lane* that gets all *values* immediately."""
    seen = []
    rx.from_iterable(values).pipe(lane.concat_map(scripted.project, key=lambda _: key, **settings)).subscribe(
        seen.append, lambda error: seen.append(repr(error)), lambda: seen.append("|")
    )
    return seen


def test_by_default_letting_the_next_begin_changes_nothing(scripted):
    """One piece in hand is one piece in hand."""
    subscribed(Lane(), scripted)
    scripted.slots["a"].free()
    assert scripted.order == ["a"]
    scripted.observers["a"].on_completed()
    assert scripted.order == ["a", "b"]


def test_the_next_may_begin_while_the_last_finishes(scripted):
    """beside=1, one slot: two pieces begun, one of them past `free`."""
    subscribed(Lane(beside=1), scripted)
    assert scripted.order == ["a"]
    scripted.slots["a"].free()
    assert scripted.order == ["a", "b"]
    scripted.slots["b"].free()
    assert scripted.order == ["a", "b"]
    scripted.observers["a"].on_completed()
    assert scripted.order == ["a", "b", "c"]


def test_as_many_begin_as_there_are_slots(scripted):
    """Two slots, and a third piece in flight once one of them is free."""
    subscribed(Lane(2, beside=1), scripted)
    assert scripted.order == ["a", "b"]
    scripted.slots["a"].free()
    assert scripted.order == ["a", "b", "c"]


def test_the_slots_are_those_of_the_whole_lane(scripted):
    """Two operators share two slots; where one leaves a slot, the other takes it."""
    lane, other = Lane(2), Scripted()
    subscribed(lane, scripted, "abc")
    subscribed(lane, other, "xy", key=-1)
    assert (scripted.order, other.order) == (["a", "b"], [])
    scripted.observers["a"].on_completed()
    assert (scripted.order, other.order) == (["a", "b"], ["x"])
    scripted.observers["b"].on_completed()
    assert (scripted.order, other.order) == (["a", "b"], ["x", "y"])
    other.observers["x"].on_completed()
    assert (scripted.order, other.order) == (["a", "b", "c"], ["x", "y"])


def test_a_completion_waits_for_its_own_pieces_only(scripted):
    """The last piece to end is the end, whatever another operator has in flight."""
    lane, other = Lane(3), Scripted()
    seen = subscribed(lane, scripted, "ab")
    subscribed(lane, other, "x")
    scripted.observers["b"].on_completed()
    assert seen == []
    scripted.observers["a"].on_completed()
    assert seen == ["|"]
    assert other.order == ["x"]


def test_actions_in_order_wait_for_every_earlier_piece_of_their_operator(scripted):
    """The second piece is ready first and acts second; another operator's piece does not wait."""
    acted, lane, other = [], Lane(3), Scripted()
    subscribed(lane, scripted, "ab")
    subscribed(lane, other, "x")
    scripted.slots["b"].in_order(lambda: acted.append("b"))
    assert acted == []
    other.slots["x"].in_order(lambda: acted.append("x"))
    scripted.slots["a"].in_order(lambda: acted.append("a"))
    assert acted == ["x", "a"]
    scripted.observers["a"].on_completed()
    assert acted == ["x", "a", "b"]


def test_without_order_an_action_waits_for_nothing(scripted):
    acted = []
    subscribed(Lane(2, keeps_order=False), scripted, "ab")
    scripted.slots["b"].in_order(lambda: acted.append("b"))
    scripted.slots["a"].in_order(lambda: acted.append("a"))
    assert acted == ["b", "a"]


def test_a_batch_is_one_piece_to_the_slots(scripted):
    """Two slots hold two batches of two; the next begins when the first has ended whole."""
    subscribed(Lane(2), scripted, "abcdef", batch=2)
    assert scripted.order == list("abcd")
    scripted.observers["a"].on_completed()
    assert scripted.order == list("abcd")
    scripted.observers["b"].on_completed()
    assert scripted.order == list("abcdef")


def test_work_that_needs_no_slot_begins_beside_what_has_them_one_piece_at_a_time(scripted):
    lane, other = Lane(), Scripted()
    subscribed(lane, scripted, "a")
    subscribed(lane, other, "xy", occupies=False)
    assert (scripted.order, other.order) == (["a"], ["x"])
    other.observers["x"].on_completed()
    assert other.order == ["x", "y"]


def test_nothing_begins_while_the_gate_is_shut(scripted):
    """And what is in flight is not disturbed."""
    may_begin = [True]
    seen = subscribed(Lane(may_begin=lambda: may_begin[0]), scripted, "ab")
    may_begin[0] = False
    scripted.observers["a"].on_next("A")
    scripted.observers["a"].on_completed()
    assert (scripted.order, seen) == (["a"], ["A"])


def test_a_lane_without_a_slot_is_refused():
    with pytest.raises(ValueError, match="at least 1 slot, got 0"):
        Lane(0)


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_disposes_the_work_in_hand_and_starts_no_other(marbles):
    """Nothing of it is heard again, and what comes later waits for ever."""
    lane, started, inner = Lane(), [], marbles.cold("---o|")

    def project(value, _slot):
        started.append(value)
        return inner

    stream = marbles.expect(marbles.hot("(ab)--c").pipe(lane.concat_map(project, key=lambda _: 0)))
    marbles.at(2000, lambda *_: lane.close())
    stream.to_be("")
    inner.subscriptions.to_be("^-!")
    assert started == ["a"]


def test_closing_from_inside_the_work_and_twice_is_harmless(marbles):
    """The value in hand is the last, and its stream is disposed as soon as it is there."""
    lane, started, inner = Lane(), [], marbles.cold("-o|")

    def project(value, _slot):
        started.append(value)
        lane.close()
        lane.close()
        return inner

    marbles.expect(marbles.cold("(ab|)").pipe(lane.concat_map(project, key=lambda _: 0))).to_be("")
    assert started == ["a"]
    inner.subscriptions.to_be("(^!)")


def test_closing_gives_up_the_latest_piece_first():
    """So that none moves up while it is given up."""
    lane, given_up = Lane(2), []

    def project(value, _slot):
        return Observable(lambda *_: rx.disposable.Disposable(lambda: given_up.append(value)))

    rx.from_iterable("abc").pipe(lane.concat_map(project, key=lambda _: 0)).subscribe()
    lane.close()
    assert given_up == ["b", "a"]


# -- threads ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_values_of_several_threads_are_worked_on_one_at_a_time():
    """Four writers of two thousand values: all done, never two at once, each writer's in its order."""
    lane, inside, done, overlaps = Lane(), [], [], []

    def project(value, _slot):
        overlaps.extend(inside)
        inside.append(value)
        done.append(value)
        inside.remove(value)
        return rx.empty()

    subjects = [rx.subject.Subject() for _ in range(4)]
    for subject in subjects:
        subject.pipe(lane.concat_map(project, key=lambda _: 0)).subscribe(on_error=pytest.fail)

    def write(name):
        for number in range(2000):
            subjects[name].on_next((name, number))

    threads = [threading.Thread(target=write, args=(name,), daemon=True) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert overlaps == []
    assert len(done) == 8000
    for name in range(4):
        numbers = [number for writer, number in done if writer == name]
        assert numbers == list(range(2000))
        assert all(before < after for before, after in itertools.pairwise(numbers))


@pytest.mark.parametrize(("source", "subscription", "told"), [("(xx)-#", "^", "-----#"), ("(xx)---", "^----!", "-")])
def test_an_error_or_a_dispose_gives_the_lane_back(marbles, source, subscription, told):
    """What waits of that operator is never projected, what it had in hand is disposed, and others go on."""
    lane = Lane()
    first, second = marbles.cold("------a|"), marbles.cold("-b|")
    one = lane.concat_map(lambda _value, _slot: first, key=lambda _: 0)
    other = lane.concat_map(lambda _value, _slot: second, key=lambda _: 0)
    broken = marbles.expect(marbles.hot(source).pipe(one), subscription)
    fine = marbles.expect(marbles.hot("--y|").pipe(other))
    broken.to_be(told)
    fine.to_be("------b|")
    first.subscriptions.to_be("^----!")
