"""The grammar: what a diagram says, what is refused with a caret, and that rendering parses back."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.testing.grammar import MarbleSyntaxError, Mark, Subscription, parse, parse_subscription
from rxpipe.testing.rendering import render

MS = 1_000


def marks(text, **options):
    return [(mark.at / MS, mark.name or mark.kind) for mark in parse(text, **options).marks]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("---", []),
        ("a", [(0, "a")]),
        ("-a-1-|", [(1, "a"), (3, "1"), (5, "end")]),
        ("--#", [(2, "error")]),
        (" - a  - b", [(1, "a"), (3, "b")]),
        ("-(ab|)", [(1, "a"), (1, "b"), (1, "end")]),
        ("(ab)-c", [(0, "a"), (0, "b"), (5, "c")]),
        ("[ab]-c", [(0, "a"), (0, "b"), (2, "c")]),
        ("({upscale}|)", [(0, "upscale"), (0, "end")]),
        ("-{txt2img}-{a b}|", [(1, "txt2img"), (3, "a b"), (4, "end")]),
        ("a 9ms b 1.5s c 2m |", [(0, "a"), (10, "b"), (1511, "c"), (121512, "end")]),
        ("100ms a", [(100, "a")]),
        ("a 2m", [(0, "a")]),
        ("a @0.5ms b", [(0, "a"), (0.5, "b")]),
        ("--a-^-b-|", [(-2, "a"), (2, "b"), (4, "end")]),
        ("-[a^]b", [(0, "a"), (1, "b")]),
        ("1e3", [(0, "1"), (1, "e"), (2, "3")]),
        ("-a|---", [(1, "a"), (2, "end")]),
        ("12-345", [(0, "1"), (1, "2"), (3, "3"), (4, "4"), (5, "5")]),
        ("(12 3)", [(0, "1"), (0, "2"), (0, "3")]),
        ("-👍-🇩🇪👩🏽‍🚀|", [(1, "👍"), (3, "🇩🇪"), (4, "👩🏽‍🚀"), (5, "end")]),
        ("--a-^-b @3s c", [(-2, "a"), (2, "b"), (3000, "c")]),
        ("-\u2139\ufe0f-b", [(1, "\u2139\ufe0f"), (3, "b")]),
        ("(a {b c}1)-[👍5|]", [(0, "a"), (0, "b c"), (0, "1"), (6, "👍"), (6, "5"), (6, "end")]),
    ],
)
def test_a_diagram_says(text, expected):
    """Every piece of the grammar, with its times in milliseconds."""
    assert marks(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "problem"),
    [
        ("a100msb", 1, "needs spaces"),
        ("-1m-", 1, "needs spaces"),
        ("--^--!", 5, "belongs in a subscription"),
        ("(a|", 0, "never closed"),
        ("a)", 1, "closes nothing"),
        ("(a]", 2, r"closes '\('"),
        ("()", 0, "empty group"),
        ("((a))", 1, "cannot contain a group"),
        ("(a-b)", 2, "cannot pass inside a group"),
        ("(a 5ms b)", 3, "cannot pass inside a group"),
        ("(a,b)", 2, "means nothing"),
        ("a--*", 3, "means nothing"),
        ("-{}", 1, "a name needs"),
        ("-{up", 1, "a name needs"),
        ("up}", 2, "means nothing"),
        ("--a|-b", 5, "nothing can follow the end"),
        ("(|a)", 2, "nothing can follow the end"),
        ("#|", 1, "nothing can follow the end"),
        ("a^b^", 3, "a second"),
        ("ab @0.5ms c", 3, "lies before the mark before it"),
        ("@b", 0, "needs a time"),
        ("0.0001ms a", 0, "finer than a microsecond"),
        ("a @3ms b ^", 2, "stands before it"),
        ("9999999999999999m a", 0, "beyond what a clock"),
    ],
)
def test_a_mistake_is_refused_with_a_caret_under_it(text, position, problem):
    """Nothing is guessed: the message shows the text and where it went wrong."""
    with pytest.raises(MarbleSyntaxError, match=problem) as refused:
        parse(text)
    lines = str(refused.value).splitlines()
    assert lines[1:3] == [f"  {text}", f"  {' ' * position}^"]


def test_the_caret_stands_under_the_mistake_behind_emoji():
    """Which are two columns wide, of however many characters; and they stay whole."""
    with pytest.raises(MarbleSyntaxError) as refused:
        parse("-👩🏽‍🚀👍,")
    assert str(refused.value).splitlines()[1:3] == ["  -👩🏽‍🚀👍,", "       ^"]


def test_an_unruly_source_may_go_on_after_its_end():
    """Only where the test asks for misbehaviour."""
    assert marks("a|b", lawful=False) == [(0, "a"), (1, "end"), (2, "b")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("^", Subscription(0)),
        ("--^--!", Subscription(2_000, 5_000)),
        ("^ 1s !", Subscription(0, 1_001_000)),
        ("-[^!]", Subscription(1_000, 1_000)),
        ("---", None),
        ("", None),
    ],
)
def test_a_subscription_says(text, expected):
    """`^` and `!` count from the beginning of the text."""
    assert parse_subscription(text) == expected


@pytest.mark.parametrize("text", ["a^", "^|", "^!!", "!^", "!", "^-#"])
def test_a_bad_subscription_is_refused(text):
    """Values, ends, a second `!`, or `!` before `^`."""
    with pytest.raises(MarbleSyntaxError):
        parse_subscription(text)


NEIGHBOURS = [*"15msu👍🏽²㊗-|^", "ms", "us", "👍🏽", "🇩🇪", "\u2139", "\u2139\ufe0f", "1\ufe0f\u20e3", "㊗️", "@1ms"]
"""Names that could be read as one with the name beside them."""

NAMES = st.one_of(
    st.text(st.characters(exclude_characters="{}\n", exclude_categories=["Cs"]), min_size=1, max_size=4),
    st.sampled_from([*NEIGHBOURS]),
)


@st.composite
def lawful_marks(draw):
    """Marks in order of time, to the microsecond, some at one instant, with or without an end."""
    gaps = draw(st.lists(st.one_of(st.sampled_from([0, 0, 1, 999, 1000, 2000, 13_000]), st.integers(0, 10**8))))
    times = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    found = [Mark(at, "next", draw(NAMES)) for at in times]
    end = draw(st.sampled_from([None, "end", "error"]))
    last = (times[-1] if times else 0) + draw(st.integers(0, 10**6))
    return tuple(found) if end is None else (*found, Mark(last, end))


@given(lawful_marks())
def test_rendering_parses_back_to_the_same(found):
    """parse(render(x)) == x for every stream, to the microsecond."""
    assert parse(render(found)).marks == found


@given(st.lists(st.integers(1, 40), min_size=1), st.integers(0, 400))
def test_rendering_keeps_what_came_before_time_zero(gaps, zero):
    """A hot stream's past is written before its `^`."""
    times = [sum(gaps[: index + 1]) * MS - zero * MS for index in range(len(gaps))]
    found = tuple(Mark(at, "next", "a") for at in times)
    assert parse(render(found)).marks == found


def test_rendering_keeps_a_name_of_one_character():
    """Any at all, blanks of every width included."""
    chars = [*range(1, 0x3400), *range(0xFE00, 0xFF00), *range(0x1F000, 0x1FB00)]
    for char in filter(lambda char: char not in "{}\n", map(chr, chars)):
        found = (Mark(0, "next", char), Mark(5_000, "next", char))
        assert parse(render(found)).marks == found, ascii(char)


@pytest.mark.parametrize("unit", ["u", "us", "m", "ms", "s"])
def test_rendering_keeps_a_digit_before_a_letter_apart_from_a_time(unit):
    """In a group, and in frames next to each other."""
    names = ["8", *unit]
    apart = tuple(Mark(index * 1000, "next", name) for index, name in enumerate(names))
    together = tuple(Mark(0, "next", name) for name in names)
    for found in (apart, together):
        assert parse(render(found)).marks == found


def test_rendering_is_what_a_person_would_write():
    """Dashes for short gaps, a time for long ones, the group that leaves room for what follows."""
    assert render(parse("--a--[bc]-d 90ms (e|)").marks) == "--a--[bc]-d 90ms (e|)"
    assert render(parse("(ab)--c").marks) == "(ab)--c"


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "piece", ["-a-b-c", "abc", "-1-2", "-{up}-", " 5ms a", "(ab)-", "123456", "-👍", "👍🏽", " 1.5ms", "{a}{b}"]
)
@pytest.mark.sampled(2)
def test_the_time_to_read_grows_with_the_length_and_not_faster(piece):
    """Four times the text takes about four times the time; a quadratic reader takes sixteen."""
    short, long = (piece * (length // len(piece)) for length in (MEGABYTE // 128, MEGABYTE // 32))
    read(short)
    assert read(long) < 10 * read(short)


def read(text):
    """The processor's seconds for reading *text*, the least of three."""
    times = []
    for _ in range(3):
        began = time.process_time()
        parse(text)
        times.append(time.process_time() - began)
    return min(times)
