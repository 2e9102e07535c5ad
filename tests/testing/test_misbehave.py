"""Misbehaving sources and subscribers do what they are asked to, and show who guards against it."""

from __future__ import annotations

from math import comb

import pytest
from reactivex import operators as ops
from reactivex.subject import Subject

from rxpipe.rx.subject import EventSubject
from rxpipe.testing import SUBSCRIBER_HABITS, UNRULY_SOURCES, MarbleError, SubscriberFault, interleavings


@pytest.mark.parametrize("text", ["a|b", "a||", "a#|", "a|#b", "(a|b)"])
def test_an_unruly_source_breaks_the_grammar_in_the_face_of_its_subscriber(marbles, text):
    """Values after the end, two ends, an end after an error."""
    observer = marbles.observer()
    marbles.unruly(text).subscribe(observer)
    marbles.run()
    assert [seen.kind for seen in observer.messages] == [
        {"a": "next", "b": "next", "|": "end", "#": "error"}[char] for char in text.strip("()")
    ]
    observer.accept()


def test_an_operator_guards_what_is_behind_it(marbles):
    """Behind Rx's own operators the first end is the last thing that comes."""
    marbles.expect(marbles.unruly("a|b|").pipe(ops.map(str.upper))).to_be("A|")


def test_a_deaf_source_goes_on_after_it_was_disposed(marbles):
    """Its subscriber hears it; the log shows that nobody could end it."""
    source = marbles.unruly("-a-b-c|", ignores_dispose=True)
    observer = marbles.subscriber(dispose_at=1).listen(source)
    observer.to_be("-a-b-c|")
    source.subscriptions.to_be("^")


def test_a_source_with_threads_is_in_two_calls_at_once(marbles):
    """A bare subscriber is entered by both threads; time does not move meanwhile."""
    observer = marbles.subscriber(meet=2).listen(marbles.unruly("--(ab)", threads=True))
    marbles.run()
    assert observer.most_at_once == 2
    observer.to_be("--[xy]", {"x": str, "y": str})


def test_an_event_subject_lets_two_threads_take_turns(marbles):
    """The same two threads, through rxpipe's EventSubject."""
    subject, observer = EventSubject(), marbles.subscriber(meet=2)
    observer.listen(subject.observable)
    marbles.unruly("--(ab)", threads=True).subscribe(subject.on_next)
    marbles.run()
    assert observer.most_at_once == 1
    observer.to_be("--[xy]", {"x": str, "y": str})


@pytest.mark.parametrize("habit", SUBSCRIBER_HABITS)
@pytest.mark.parametrize("fault", UNRULY_SOURCES)
def test_an_event_subject_withstands_bad_sources_and_bad_subscribers(marbles, fault, habit):
    """Whoever else misbehaves, a good subscriber sees every value once, and no end."""
    raised = []
    subject = EventSubject(report=raised.append)
    bad = marbles.subscriber(**SUBSCRIBER_HABITS[habit]).listen(subject.observable)
    good = marbles.expect(subject.observable)
    source = marbles.unruly(**UNRULY_SOURCES[fault])
    source.subscribe(subject.on_next, on_error=lambda _: None)
    marbles.run()
    assert sorted(good.accept().values) == sorted(seen.value for seen in source.marks if seen.kind == "next")
    assert [seen.kind for seen in good.messages] == ["next"] * len(good.messages)
    assert len(raised) == (habit == "raises")
    assert bad.accept().values[:1] == good.values[:1]


def test_a_subject_is_reordered_by_a_re_entrant_source(marbles):
    """What one subscriber feeds back overtakes what the other has yet to hear."""
    subject = Subject()
    first = marbles.subscriber(inside={1: lambda: subject.on_next("b")}).listen(subject)
    second = marbles.expect(subject)
    subject.on_next("a")
    first.to_be("[ab]")
    second.to_be("[ba]")


def test_an_unruly_source_can_be_fed_from_inside_a_callback(marbles):
    """`emit` tells its subscribers now."""
    source = marbles.unruly("-a")
    observer = marbles.subscriber(inside={1: lambda: source.emit("b")}).listen(source)
    observer.to_be("-[ab]")


def test_a_subscriber_raises_at_the_nth_value(marbles):
    """Into whoever calls it, after recording the value."""
    observer = marbles.subscriber(raise_at=2).listen(marbles.cold("-a-b-c|"))
    with pytest.raises(SubscriberFault):
        marbles.run()
    observer.to_be("-a-b-c|")


def test_a_slow_subscriber_holds_up_what_is_due(marbles):
    """Three frames in each callback: the next value comes late."""
    observer = marbles.subscriber(slow="3ms").listen(marbles.hot("-ab--|"))
    observer.to_be("-a--b--|")


def test_a_subscriber_disposes_itself_inside_a_callback(marbles):
    """And hears nothing more."""
    source = marbles.cold("-a-b-c|")
    marbles.subscriber(dispose_at=2).listen(source).to_be("-a-b")
    source.subscriptions.to_be("^--!")


def test_all_interleavings_of_two_emitters():
    """Each order once, always in the same order, as diagrams."""
    assert list(interleavings("ab", "x")) == [("ab", "--x"), ("a-b", "-x"), ("-ab", "x")]
    assert len(set(interleavings("abc|", "xyz|"))) == comb(8, 4)


def test_too_many_interleavings_are_refused():
    """Rather than running for hours."""
    with pytest.raises(MarbleError, match="more than 100,000"):
        next(interleavings("abcdefghij", "abcdefghij", "abcdefghij"))


@pytest.mark.parametrize("texts", list(interleavings("ab|", "xy|")), ids=" ".join)
def test_merge_loses_nothing_in_any_interleaving(marbles, texts):
    """All twenty orders of two emitters."""
    one, two = (marbles.hot(text) for text in texts)
    stream = marbles.expect(one.pipe(ops.merge(two)))
    marbles.run()
    assert sorted(stream.values) == ["a", "b", "x", "y"]
    assert stream.text().endswith("|")
    stream.accept()
