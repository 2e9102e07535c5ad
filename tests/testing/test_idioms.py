"""What people know from RxJS and its kin works as they know it: values, past marks, dashes, hand-fed streams."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxpipe.testing import MarbleError, Marbles, anything, notification


def test_values_are_not_demanded_of_what_is_past(marbles):
    """Nobody hears the marks before `^`."""
    marbles.expect(marbles.hot("-x-^-a|", {"a": 1})).to_be("--a|", {"a": 1})


@pytest.mark.parametrize("past", [{"x": 5}, None, str])
def test_values_of_the_past_may_be_given(marbles, past):
    marbles.expect(marbles.hot("-x-^-x|", past)).to_be("--x|", past)


def test_dashes_may_trail_after_an_end(marbles):
    marbles.expect(marbles.cold("-a-|---")).to_be("-a-|--")
    marbles.expect(marbles.cold("-a-#---")).to_be("-a-#-------")


@pytest.mark.parametrize("texts", [(), ("-----",), ("",), ([],), (["---"],)])
def test_a_source_that_nobody_subscribed_to_has_no_subscriptions(marbles, texts):
    marbles.cold("-a|").subscriptions.to_be(*texts)


def test_a_subscription_where_none_is_expected_is_named(marbles):
    source = marbles.cold("-a|")
    marbles.expect(source).to_be("-a|")
    with pytest.raises(AssertionError, match="1 subscription where 0 were expected"):
        source.subscriptions.to_be("-----")


def test_subscriptions_may_come_as_a_list(marbles):
    source = marbles.cold("-a|")
    marbles.expect(source.pipe(ops.repeat(2))).to_be("-a-a|")
    source.subscriptions.to_be(["^-!", "--^-!"])


def test_values_may_be_a_list_or_have_numbers_as_keys(marbles):
    """Digits are their indices."""
    marbles.expect(marbles.cold("-0-1|", ["x", "y"])).to_be("-a-b|", {"a": "x", "b": "y"})
    marbles.expect(marbles.cold("-1-2|", {1: "x", 2: "y"})).to_be("-1-2|", {"1": "x", 2: "y"})


@pytest.mark.parametrize(
    ("text", "values", "problem"),
    [
        ("-2", ["x", "y"], "No value for '2'; there are values for '0', '1'"),
        ("-a", ["x"], "No value for 'a'"),
        ("-{upscal}", {"upscale": 1}, "Did you mean 'upscale'"),
        ("-up", {"up": 1}, "A name of more than one character stands in braces: {up}"),
        ("-a", {"a": 1, 2.5: 1}, "values has a key 2.5, which is no name"),
        ("-a", {}, "there are values for nothing"),
    ],
)
def test_a_name_without_a_value_says_what_there_is(marbles, text, values, problem):
    with pytest.raises(MarbleError) as refused:
        marbles.cold(text, values)
    assert problem in str(refused.value)


def test_a_misspelt_name_in_values_is_refused():
    """It would never be compared."""
    values = {"upscale": 1, "upscael": 2}
    with pytest.raises(MarbleError) as refused, Marbles() as marbles:
        marbles.expect(marbles.cold("-{upscale}|", values)).to_be("-{upscale}|", values)
    assert "values has 'upscael', which no diagram has" in str(refused.value)
    assert "Did you mean 'upscale'?" in str(refused.value)


def test_a_table_of_values_may_serve_several_diagrams(marbles):
    """Each name is in one of them; letters may be left over."""
    values = {"begin": 1, "end": 2, "z": 3}
    marbles.expect(marbles.cold("-{begin}|", values).pipe(ops.map(lambda n: n + 1))).to_be("-{end}|", values)


def test_emoji_are_values(marbles):
    """One frame each, whatever they are made of."""
    marbles.expect(marbles.cold("-👍-🇩🇪👩🏽‍🚀|")).to_be("-x-y{👩🏽‍🚀}|", {"x": "👍", "y": "🇩🇪", "👩🏽‍🚀": "👩🏽‍🚀"})
    assert repr(marbles.cold("-👍🇩🇪|")) == 'cold "-👍🇩🇪|"'


def test_notifications_are_expected_as_values(marbles):
    """As `materialize` emits them; `dematerialize` undoes it."""
    source = marbles.cold("-a-#", error=ValueError("torn"))
    marbles.expect(source.pipe(ops.materialize())).to_be(
        "-x-(y|)", {"x": notification("a"), "y": notification("#", error=ValueError("torn"))}
    )
    marbles.expect(marbles.cold("a|").pipe(ops.materialize())).to_be(
        "x(y|)", {"x": notification("v", {"v": "a"}), "y": notification("|")}
    )
    marbles.expect(marbles.cold("-a-b|").pipe(ops.materialize(), ops.dematerialize())).to_be("-a-b|")


@pytest.mark.parametrize("wrong", [notification("b"), notification("|"), notification("#")])
def test_another_notification_does_not_match(marbles, wrong):
    stream = marbles.expect(marbles.cold("a").pipe(ops.materialize()))
    with pytest.raises(AssertionError):
        stream.to_be("x", {"x": wrong})


def test_a_hot_stream_is_fed_by_hand(marbles):
    """Between the steps of a test, beside what its diagram plays."""
    clicks = marbles.hot("--a")
    stream = marbles.expect(clicks.pipe(ops.map(str.upper)))
    clicks.emit("x", "y")
    marbles.clock.advance_by("4ms")
    clicks.emit("b")
    clicks.complete()
    stream.to_be("[xy]-a-(b|)", {"x": "X", "y": "Y", "a": "A", "b": "B"})
    with pytest.raises(MarbleError, match="has ended"):
        clicks.emit("c")


def test_a_hot_stream_fails_by_hand(marbles):
    """A later subscriber gets the error too; without a diagram nothing else is played."""
    stream = marbles.hot()
    early, late = marbles.expect(stream), marbles.expect(stream, "-^")
    stream.fail(OSError("unplugged"))
    early.to_be("#", error=OSError("unplugged"))
    late.to_be("-#", error=OSError)


def test_time_after_the_mark_zero_counts_from_it(marbles):
    """`@` is a time of the test, in a hot stream with a past too."""
    marbles.expect(marbles.hot("-a-^-b @3s c")).to_be("--b @3s c")


def test_a_run_of_equal_texts_and_numbers_says_which_is_which(marbles):
    """Without values, names are texts; numbers are read by values=int."""
    stream = marbles.expect(rx.of(1, 2, 3))
    with pytest.raises(AssertionError, match=r"at 0 ms 1 \(int\) came where '1' \(str\) was"):
        stream.to_be("(123|)")
    stream.to_be("(123|)", int)
    stream.to_be("(abc|)", {"a": 1, "b": anything(), "c": 3})
