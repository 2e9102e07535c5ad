"""EventSubject: one order for many writers and many readers, who cannot hurt each other."""

from __future__ import annotations

import gc
import sys
import threading
import weakref

import pytest
from reactivex import operators as ops

from rxpipe.rx.subject import EventSubject
from rxpipe.testing import SubscriberFault, interleavings

PATIENCE_S = 10.0
"""Only a failing test waits so long."""


class Reports(list):
    """What subscribers raised, in order; itself the function that is told."""

    def __call__(self, error):
        self.append(error)


@pytest.fixture
def reports():
    return Reports()


class Gate:
    """A subscriber that stays inside the callback of one value until it is opened."""

    def __init__(self, value):
        self.value, self.entered, self.opened = value, threading.Event(), threading.Event()

    def __call__(self, value):
        if value == self.value:
            self.entered.set()
            assert self.opened.wait(PATIENCE_S)


def in_thread(work):
    """*work* begun on a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def finished(thread):
    """Whether *thread* came to its end."""
    thread.join(PATIENCE_S)
    return not thread.is_alive()


# -- one subscriber, many ---------------------------------------------------------------------------------------------


def test_values_reach_every_subscriber_in_order():
    """Both see all, the first subscriber first."""
    subject, seen = EventSubject(), []
    subject.observable.subscribe(lambda value: seen.append(("one", value)))
    subject.observable.subscribe(lambda value: seen.append(("two", value)))
    subject.on_next("a")
    subject.on_next("b")
    assert seen == [("one", "a"), ("two", "a"), ("one", "b"), ("two", "b")]


def test_values_without_a_subscriber_are_gone():
    """Hot: a late subscriber gets only what comes later."""
    subject, seen = EventSubject(), []
    subject.on_next("a")
    subject.observable.subscribe(seen.append)
    subject.on_next("b")
    assert seen == ["b"]


@pytest.mark.parametrize("value", [None, (), ("a",), print, 0, ValueError("a value too")], ids=repr)
def test_any_value_is_a_value(value):
    """None, tuples and functions are delivered like anything else, replayed ones too."""
    subject, seen = EventSubject(replay_latest=True), []
    subject.observable.subscribe(seen.append)
    subject.on_next(value)
    subject.observable.subscribe(seen.append)
    assert seen == [value, value]


def test_an_unsubscribed_subscriber_hears_nothing_more():
    """And is let go; disposing twice is harmless."""
    subject, seen = EventSubject(), []
    subscription = subject.observable.subscribe(seen.append)
    subject.on_next("a")
    subscription.dispose()
    subscription.dispose()
    subject.on_next("b")
    assert seen == ["a"]
    assert subject.subscribers == 0


@pytest.mark.slow
def test_a_subscriber_is_not_kept_alive():
    """What it held is free once it has unsubscribed."""

    class Held:
        def hear(self, value):
            """Listen."""

    subject, held = EventSubject(replay_latest=True), Held()
    gone = weakref.ref(held)
    subject.on_next("a")
    subject.observable.subscribe(held.hear).dispose()
    del held
    gc.collect()
    assert gone() is None


def test_one_subscriber_may_unsubscribe_another_within_a_callback():
    """The other does not even get the value in delivery."""
    subject, seen = EventSubject(), []
    others = []
    subject.observable.subscribe(lambda _: others[0].dispose())
    others.append(subject.observable.subscribe(seen.append))
    subject.on_next("a")
    assert seen == []
    assert subject.subscribers == 1


def test_a_subscriber_that_comes_within_a_callback_gets_what_comes_later():
    """Not the value in delivery."""
    subject, seen = EventSubject(), []
    subject.observable.pipe(ops.take(1)).subscribe(lambda _: subject.observable.subscribe(seen.append))
    subject.on_next("a")
    subject.on_next("b")
    assert seen == ["b"]


def test_operators_on_it_end_without_ending_it():
    """take(1) completes its own subscriber; the subject goes on for the others."""
    subject, one, all_of_them = EventSubject(), [], []
    subject.observable.pipe(ops.take(1)).subscribe(one.append, on_completed=lambda: one.append("|"))
    subject.observable.subscribe(all_of_them.append)
    for value in "abc":
        subject.on_next(value)
    assert one == ["a", "|"]
    assert all_of_them == ["a", "b", "c"]


# -- re-entrancy ------------------------------------------------------------------------------------------------------


def test_a_value_written_within_a_callback_follows_in_turn(marbles):
    """Both subscribers see the same order, where Rx's own Subject gives the second one b before a."""
    subject = EventSubject()
    first = marbles.subscriber(inside={1: lambda: subject.on_next("b")}).listen(subject.observable)
    second = marbles.expect(subject.observable)
    subject.on_next("a")
    first.to_be("[ab]")
    second.to_be("[ab]")


def test_nested_writes_keep_their_order_at_any_depth():
    """Values written in the callbacks of written values stand in the order in which they were written."""
    subject, first, second = EventSubject(), [], []

    def echo(value):
        first.append(value)
        if len(value) < 3:
            subject.on_next(value + "0")
            subject.on_next(value + "1")

    subject.observable.subscribe(echo)
    subject.observable.subscribe(second.append)
    subject.on_next("x")
    assert first == second == ["x", "x0", "x1", "x00", "x01", "x10", "x11"]


def test_ten_thousand_nested_writes_need_no_stack():
    """A loop and not a recursion."""
    subject, seen = EventSubject(), []

    def count(value):
        seen.append(value)
        if value < 10_000:
            subject.on_next(value + 1)

    subject.observable.subscribe(count)
    subject.on_next(1)
    assert seen[-1] == 10_000


# -- failing subscribers ----------------------------------------------------------------------------------------------


def test_a_raising_subscriber_hurts_nobody_and_is_reported_once(marbles, reports):
    """The writer and the others never see it; it hears no more, as Rx has it."""
    subject = EventSubject(report=reports)
    before = marbles.expect(subject.observable)
    bad = marbles.subscriber(raise_at=2).listen(subject.observable)
    after = marbles.expect(subject.observable)
    for value in "abc":
        subject.on_next(value)
    before.to_be("[abc]")
    bad.to_be("[ab]")
    after.to_be("[abc]")
    assert [str(error) for error in reports] == ["asked to raise at value 2"]
    assert subject.subscribers == 2


def test_an_operator_that_raises_is_reported_where_nobody_asked_for_its_error(reports):
    """`map` turns the exception into on_error; without one it comes back and is reported, not swallowed."""
    subject, seen = EventSubject(report=reports), []
    subject.observable.pipe(ops.map(lambda value: 1 // value)).subscribe(seen.append)
    subject.observable.subscribe(seen.append)
    subject.on_next(0)
    subject.on_next(5)
    assert seen == [0, 5]
    assert [type(error) for error in reports] == [ZeroDivisionError]


def test_an_operator_that_raises_is_nobodys_business_where_its_error_is_asked_for(reports):
    """on_error gets it; there is nothing to report."""
    subject, errors = EventSubject(report=reports), []
    subject.observable.pipe(ops.map(lambda value: 1 // value)).subscribe(on_error=errors.append)
    subject.on_next(0)
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert reports == []


def test_a_subscriber_that_raises_on_the_replayed_value_is_reported_too(reports):
    """Subscribing itself does not fail."""
    subject = EventSubject(replay_latest=True, report=reports)
    subject.on_next(0)

    def bad(_):
        raise SubscriberFault("at once")

    subject.observable.subscribe(bad)
    assert [str(error) for error in reports] == ["at once"]
    assert subject.subscribers == 0


def test_by_default_the_traceback_goes_to_the_excepthook(monkeypatch):
    """Seen by whoever looks at stderr, and by tools that hook in there."""
    told = []
    monkeypatch.setattr(
        sys, "excepthook", lambda kind, error, trace: told.append((kind, str(error), trace is not None))
    )
    subject = EventSubject()

    def bad(_):
        raise SubscriberFault("no")

    subject.observable.subscribe(bad)
    subject.on_next("a")
    assert told == [(SubscriberFault, "no", True)]


# -- threads ----------------------------------------------------------------------------------------------------------


def test_two_threads_take_turns_and_lose_nothing(marbles):
    """Two writers at one instant: never two callbacks at once, both values told."""
    subject, observer = EventSubject(), marbles.subscriber(meet=2)
    observer.listen(subject.observable)
    marbles.unruly("--(ab)", threads=True).subscribe(subject.on_next)
    marbles.run()
    assert observer.most_at_once == 1
    observer.to_be("--[xy]", {"x": str, "y": str})


def test_a_writer_does_not_wait_for_a_slow_subscriber_of_another_thread():
    """Its value is delivered by the thread that is at it already."""
    subject, seen, gate = EventSubject(), [], Gate("a")
    subject.observable.subscribe(gate)
    subject.observable.subscribe(lambda value: seen.append((value, threading.current_thread())))
    first = in_thread(lambda: subject.on_next("a"))
    assert gate.entered.wait(PATIENCE_S)
    second = in_thread(lambda: subject.on_next("b"))
    assert finished(second)
    assert seen == []
    gate.opened.set()
    assert finished(first)
    assert seen == [("a", first), ("b", first)]


def test_subscribing_and_unsubscribing_wait_for_no_callback():
    """No lock is held while subscribers are called."""
    subject, gate, seen = EventSubject(), Gate("a"), []
    subject.observable.subscribe(gate)
    first = in_thread(lambda: subject.on_next("a"))
    assert gate.entered.wait(PATIENCE_S)
    subject.observable.subscribe(seen.append).dispose()
    subject.observable.subscribe(seen.append)
    assert subject.subscribers == 2
    gate.opened.set()
    assert finished(first)
    subject.on_next("b")
    assert seen == ["b"]


@pytest.mark.parametrize("texts", list(interleavings("ab", "xy")), ids=" ".join)
def test_every_interleaving_of_two_writers_is_one_order_for_all(marbles, texts):
    """Two subscribers, the first of which writes on: they agree on every order."""
    subject, one, two = EventSubject(), [], []

    def feeding(value):
        one.append(value)
        if value.islower():
            subject.on_next(value.upper())

    subject.observable.subscribe(feeding)
    subject.observable.subscribe(two.append)
    for text in texts:
        marbles.cold(f"{text}|").subscribe(subject.on_next)
    marbles.run()
    assert one == two
    assert sorted(one) == sorted("abxyABXY")
    assert [value for value in one if value in "ab"] == ["a", "b"]
    assert [value for value in one if value in "xy"] == ["x", "y"]


def test_four_writers_at_full_speed_give_all_subscribers_one_order():
    """Eight thousand values: nothing lost, nothing doubled, each writer's own order kept, the same for both."""
    subject, one, two = EventSubject(), [], []
    subject.observable.subscribe(one.append)
    subject.observable.subscribe(two.append)
    together = threading.Barrier(4)

    def write(name):
        together.wait(PATIENCE_S)
        for number in range(2000):
            subject.on_next((name, number))

    writers = [in_thread(lambda name=name: write(name)) for name in "abcd"]
    assert all(map(finished, writers))
    assert one == two
    assert len(one) == 8000
    for name in "abcd":
        assert [number for writer, number in one if writer == name] == list(range(2000))


# -- replay_latest ----------------------------------------------------------------------------------------------------


def test_replay_latest_gives_a_late_subscriber_the_latest_value(marbles):
    """One, not all; and nothing where there was none."""
    subject = EventSubject(replay_latest=True)
    early = marbles.expect(subject.observable)
    subject.on_next("a")
    subject.on_next("b")
    late = marbles.expect(subject.observable)
    subject.on_next("c")
    early.to_be("[abc]")
    late.to_be("[bc]")


def test_replay_latest_within_a_callback_neither_misses_nor_doubles():
    """Subscribed while a is delivered and b waits: admitted after b, so it starts with b."""
    subject, seen = EventSubject(replay_latest=True), []

    def joins(value):
        if value == "a":
            subject.on_next("b")
            subject.observable.subscribe(seen.append)
            subject.on_next("c")

    subject.observable.subscribe(joins)
    subject.on_next("a")
    assert seen == ["b", "c"]


@pytest.mark.parametrize(
    ("written_first", "expected"), [(True, ["b", "c"]), (False, ["a", "b", "c"])], ids=["b first", "subscribed first"]
)
def test_replay_latest_while_another_thread_delivers(written_first, expected):
    """Whichever of the write and the subscription comes first, no value is missed in between and none comes twice."""
    subject, seen, gate = EventSubject(replay_latest=True), [], Gate("a")
    subject.observable.subscribe(gate)
    writer = in_thread(lambda: subject.on_next("a"))
    assert gate.entered.wait(PATIENCE_S)
    if written_first:
        subject.on_next("b")
    subject.observable.subscribe(seen.append)
    if not written_first:
        subject.on_next("b")
    gate.opened.set()
    assert finished(writer)
    subject.on_next("c")
    assert seen == expected


def test_subscribers_that_join_a_flood_see_an_unbroken_rest_of_it():
    """Fifty of them, while a thread writes: each begins somewhere and misses nothing from there on."""
    subject, all_seen, started = EventSubject(replay_latest=True), [], threading.Event()

    def write():
        for number in range(5000):
            subject.on_next(number)
            started.set()

    writer = in_thread(write)
    assert started.wait(PATIENCE_S)
    for _ in range(50):
        seen = []
        all_seen.append(seen)
        subject.observable.subscribe(seen.append)
    assert finished(writer)
    for seen in all_seen:
        assert seen == list(range(seen[0], 5000))


def test_unsubscribing_before_being_admitted_leaves_nobody_behind():
    """Subscribed and unsubscribed while a value is delivered: nothing heard, nothing kept."""
    subject, seen = EventSubject(replay_latest=True), []
    subject.observable.subscribe(lambda _: subject.observable.subscribe(seen.append).dispose())
    subject.on_next("a")
    subject.on_next("b")
    assert seen == []
    assert subject.subscribers == 1


def test_without_replay_no_value_is_kept_alive():
    """A picture that was told is not held by the subject that told it."""

    class Picture:
        """Something that can be watched."""

    subject, picture = EventSubject(), Picture()
    gone = weakref.ref(picture)
    subject.observable.subscribe(lambda _: None)
    subject.on_next(picture)
    del picture
    gc.collect()
    assert gone() is None


# -- enqueue, drain, call_when_drained --------------------------------------------------------------------------------


def test_enqueue_takes_a_place_and_drain_delivers():
    """For a writer that holds a lock of its own while it decides the order."""
    subject, seen = EventSubject(), []
    subject.observable.subscribe(seen.append)
    subject.enqueue("a")
    subject.enqueue("b")
    assert seen == []
    subject.drain()
    subject.drain()
    assert seen == ["a", "b"]


def test_what_was_enqueued_goes_before_what_is_written_later():
    """The place counts, not the moment of delivery."""
    subject, seen = EventSubject(), []
    subject.observable.subscribe(seen.append)
    subject.enqueue("a")
    subject.on_next("b")
    assert seen == ["a", "b"]


def test_after_all_is_called_at_once_where_nothing_waits():
    """Also without a subscriber."""
    subject, called = EventSubject(), []
    subject.call_when_drained(lambda: called.append("done"))
    assert called == ["done"]


def test_after_all_waits_for_every_subscriber_of_every_value_before_it():
    """And for none after it."""
    subject, seen = EventSubject(), []

    def first(value):
        if value == "a":
            subject.on_next("b")
            subject.call_when_drained(lambda: seen.append("done"))
            subject.on_next("c")

    subject.observable.subscribe(first)
    subject.observable.subscribe(seen.append)
    subject.on_next("a")
    assert seen == ["a", "b", "done", "c"]


def test_after_all_from_another_thread_waits_for_the_callback_in_delivery():
    """It is called by the thread that delivers, once that is through."""
    subject, gate, called = EventSubject(), Gate("a"), []
    subject.observable.subscribe(gate)
    writer = in_thread(lambda: subject.on_next("a"))
    assert gate.entered.wait(PATIENCE_S)
    subject.call_when_drained(lambda: called.append(threading.current_thread()))
    assert called == []
    gate.opened.set()
    assert finished(writer)
    assert called == [writer]


def test_an_interrupt_in_a_callback_passes_and_loses_no_value():
    """Ctrl+C is nobody's bug: it reaches the writer, and the next write goes on where it struck."""
    subject, seen = EventSubject(), []

    def interrupted(value):
        if value == "a":
            subject.on_next("b")
            raise KeyboardInterrupt

    subject.observable.subscribe(interrupted)
    subject.observable.subscribe(seen.append)
    with pytest.raises(KeyboardInterrupt):
        subject.on_next("a")
    assert not subject.is_delivering_here
    subject.on_next("c")
    assert seen == ["a", "b", "c"]


def test_an_interrupt_in_the_second_of_three_subscribers_costs_the_others_nothing(reports):
    """The first does not get the value twice, the third gets it, and all get what waited behind it."""
    subject, first, second, third = EventSubject(report=reports), [], [], []

    def interrupted(value):
        second.append(value)
        if value == "b":
            raise KeyboardInterrupt

    for subscriber in (first.append, interrupted, third.append):
        subject.observable.subscribe(subscriber)
    for value in "abc":
        subject.enqueue(value)
    with pytest.raises(KeyboardInterrupt):
        subject.drain()
    assert (first, second, third) == (["a", "b"], ["a", "b"], ["a"])
    subject.drain()
    assert first == second == third == ["a", "b", "c"]
    assert reports == []
    assert subject.subscribers == 3


def test_what_an_interrupt_left_goes_only_to_those_subscribed_then():
    """Who subscribed after the value was first delivered does not get it; who unsubscribed gets nothing more."""
    subject, late, gone = EventSubject(), [], []
    subject.observable.pipe(ops.do_action(interrupt_once())).subscribe(lambda _: None)
    leaving = subject.observable.subscribe(gone.append)
    with pytest.raises(KeyboardInterrupt):
        subject.on_next("a")
    leaving.dispose()
    subject.observable.subscribe(late.append)
    subject.on_next("b")
    assert late == ["b"]
    assert gone == []


def test_an_interrupt_in_the_action_after_all_calls_it_again():
    """What ends a run must not be lost; values behind it wait for it."""
    subject, seen = EventSubject(), []
    interrupt = interrupt_once()

    def action():
        interrupt(None)
        seen.append("done")

    subject.observable.subscribe(seen.append)
    with pytest.raises(KeyboardInterrupt):
        subject.call_when_drained(action)
    subject.on_next("a")
    assert seen == ["done", "a"]


def test_an_interrupt_of_a_replayed_value_admits_the_subscriber_once():
    """It is subscribed and gets what comes later, each value once."""
    subject, seen = EventSubject(replay_latest=True), []
    subject.on_next("a")
    interrupt = interrupt_once()

    def subscriber(value):
        interrupt(value)
        seen.append(value)

    with pytest.raises(KeyboardInterrupt):
        subject.observable.subscribe(subscriber)
    subject.on_next("b")
    assert seen == ["b"]
    assert subject.subscribers == 1


@pytest.mark.parametrize("replay_latest", [False, True], ids=["hot", "replaying"])
def test_an_interrupt_on_any_line_loses_no_value(replay_latest):
    """Wherever Ctrl+C strikes, the rest is delivered once and in order; only one struck at the call itself lacks it."""
    line, complete, reached = 0, 0, True
    while reached:
        subject, seen = EventSubject(replay_latest=replay_latest), ([], [], [])
        for values in seen:
            subject.observable.subscribe(values.append)
        subject.enqueue("a")
        subject.enqueue("b")
        reached = interrupted_at(line, subject.drain)
        subject.on_next("c")
        assert not subject.is_delivering_here, line
        assert all(values in (["a", "b", "c"], ["b", "c"], ["a", "c"]) for values in seen), (line, seen)
        assert sum(map(len, seen)) >= 8, (line, seen)
        complete += sum(map(len, seen)) == 9
        line += 1
    assert complete > line / 2 > 10


def interrupted_at(number, work):
    """Whether *work* executed a line of that number, counted from 0 over rxpipe.rx, and was interrupted there."""
    left = number

    def trace(frame, kind, _):
        nonlocal left
        if not frame.f_globals["__name__"].startswith("rxpipe.rx."):
            return None
        if kind == "line":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def interrupt_once():
    """A function of one argument whose first call raises KeyboardInterrupt."""
    calls = iter([KeyboardInterrupt])

    def interrupt(_):
        for error in calls:
            raise error

    return interrupt


def test_an_action_after_all_that_raises_is_reported_and_called_once(reports):
    """The writer never sees it, and what waits behind it is delivered."""
    subject, seen = EventSubject(report=reports), []
    subject.observable.subscribe(seen.append)

    def broken():
        subject.on_next("a")
        raise SubscriberFault("no")

    subject.call_when_drained(broken)
    assert seen == ["a"]
    assert [str(error) for error in reports] == ["no"]


def test_a_subscriber_that_calls_exit_is_isolated_like_one_that_raises():
    """SystemExit inside a callback is that subscriber's end, not the writer's."""
    reported, seen = [], []
    subject = EventSubject(report=reported.append)

    def leave(_):
        raise SystemExit(3)

    subject.observable.subscribe(leave)
    subject.observable.subscribe(seen.append)
    subject.on_next(1)
    subject.on_next(2)
    assert seen == [1, 2]
    assert [error.code for error in reported] == [3]
