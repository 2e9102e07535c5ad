"""Drawings: one time axis for all rows, readable lines, pictures that are valid SVG."""

from __future__ import annotations

import time
from xml.etree import ElementTree as ET

import numpy as np
import pytest

import rxpipe as rxp
from rxpipe.errors import BackendUnavailable
from rxpipe.testing import MarbleError, MarblePicture, Mismatch, parse, timeline
from rxpipe.testing.diagram import WIDEST, aligned


def rows(*texts):
    return tuple((name, parse(text).marks) for name, text in zip(("expected", "actual"), texts, strict=False))


def test_rows_share_one_time_axis():
    """What happens at one time stands in one column, whatever the width of its cells."""
    assert aligned(rows("--a--[bc]d", "--a---b-|"), {5_000, 6_000, 8_000}) == [
        "expected  --a--[bc]d--",
        "actual    --a------b-|",
        "               ^   ^ ^",
        "ms          2  5   6 8",
    ]


def test_long_gaps_are_written_as_a_time():
    """In all rows alike."""
    assert aligned(rows("a 2s b|", "a 2s -b|")) == ["expected  a 2s b|", "actual    a 2s -b|"]


def test_long_lines_are_cut_to_the_neighbourhood_of_the_first_caret():
    """With an ellipsis where something is left out."""
    text = "ab" * 200
    lines = aligned(rows(text, text), {200_000})
    assert all(len(line) <= WIDEST + 12 for line in lines)
    assert lines[0].startswith("expected  …")
    assert lines[0].endswith("…")
    assert lines[2].strip() == "^"


@pytest.mark.parametrize(
    ("expected", "actual", "reason"),
    [
        ("--a--b|", "--a----b|", "b came 2 ms late"),
        ("--a--b|", "--a-b-|", "b came 1 ms early"),
        ("--a--b|", "--a--b", "the end is missing"),
        ("--a|", "--a-c|", "the end was expected at 3 ms; c came at 4 ms"),
        ("--[ab]|", "--[ba]|", "at 2 ms the order is b a, not a b"),
        ("--[ab]|", "--[bc]|", "a is missing"),
        ("--a--b|", "--a--c|", "at 5 ms c came where b was expected"),
        ("--a--b-|", "--a----|", "b is missing"),
        ("--a-----|", "--a--c--|", "c at 5 ms was not expected"),
        ("--a--b|", "--a--#", "at 5 ms the error came where b was expected"),
        ("--a--#", "--a--|", "at 5 ms the end came where the error was expected"),
        ("", "-a", "a at 1 ms was not expected"),
        ("-a", "", "a is missing"),
    ],
)
def test_a_failure_says_in_one_line_what_is_wrong(marbles, expected, actual, reason):
    """The first difference, in words."""
    stream = marbles.expect(marbles.cold(actual))
    with pytest.raises(Mismatch) as failed:
        stream.to_be(expected)
    assert failed.value.reason == reason


def test_long_values_stand_in_a_legend(marbles):
    """A letter in the row, the value below it."""
    stream = marbles.expect(marbles.cold("a-b|", {"a": {"seed": 7, "size": (512, 512)}, "b": 2}))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("a-b|", {"a": dict, "b": 3})
    text = str(failed.value)
    assert "at 2 ms 2 came where b was expected" in text
    assert "  b = 3" in text
    assert "  a = dict" in text


@pytest.mark.parametrize("text", ["", "a", "--a--[bc]-{a < b} 3s d|", "(ab)#", "-a-^-b-|"])
def test_a_picture_is_valid_svg_and_shows_every_mark(text):
    """Names are escaped; nothing is drawn outside."""
    marks = parse(text).marks
    root = ET.fromstring(MarblePicture((("stream", marks),), title="a & b").svg())  # noqa: S314 - we made it
    shown = "".join(root.itertext())
    assert all(mark.name in shown for mark in marks)
    xs = [float(each.get("x") or each.get("cx") or 0) for each in root.iter()]
    assert max(xs) <= float(root.get("width"))


def test_streams_recordings_and_failures_draw_themselves(marbles):
    """As a notebook asks for it, and by marbles.svg."""
    source = marbles.attempts("--#", "--a|")
    stream = marbles.expect(source)
    stream.to_be("--#")
    for shown in (source, stream, stream.picture()):
        assert shown._repr_svg_() == marbles.svg(shown)
    assert "cold 2" in marbles.svg(source)
    assert "upscale" in marbles.svg("--{upscale}--|")


def test_the_timeline_of_a_run_has_a_row_for_each_stage(marbles):
    """In text and as a picture; a stage that comes twice is numbered."""
    chain = rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale(), rxp.upscale(), retry=rxp.RetryConfig(first_delay_s=0.002))
    run = marbles.run(chain, {"upscale": ["-#", "o|"]}, errors={"upscale": BackendUnavailable("nobody")})
    assert str(timeline(run.result.events)).splitlines() == [
        "run        s-------------|",
        "txt2img    s--[1|]",
        "upscale    ---s---r--[1|]",
        "upscale/2  ----------s---[1|]",
    ]
    assert run._repr_svg_().startswith("<svg")


@pytest.mark.slow
def test_ten_thousand_events_that_differ_are_told_at_once(marbles):
    """The cost of a failure grows with its length, not with its square; the message stays short."""
    text = "".join(f"{{{n}}}" for n in range(10_000))
    stream = marbles.expect(marbles.cold(text))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("-" + text)
    assert failed.value.reason == "0 came 1 ms early"
    assert max(map(len, str(failed.value).splitlines()[:6])) < WIDEST + 20


class Unhashable:
    def __hash__(self):
        raise RuntimeError("no hash")

    def __eq__(self, other):
        return False

    def __repr__(self):
        return "Unhashable()"


class Unshowable:
    """Its repr fails."""

    def __repr__(self):
        raise RuntimeError("no")


def holding_itself():
    """A list that is its own element."""
    found = []
    found.append(found)
    return found


@pytest.mark.parametrize(
    ("came", "expected", "reason"),
    [
        (Unshowable(), 2, "at 1 ms <Unshowable with a bad repr> came where a was expected"),
        (float("nan"), float("nan"), "at 1 ms another nan (float) came where nan (float) was expected"),
        ((1, 2), [1, 2], "at 1 ms a is not as expected: (1, 2), not [1, 2]"),
        ({1: "x"}, {1: "y"}, "at 1 ms a is not as expected: [1] is x, not y"),
        ({"x"}, {"y"}, "at 1 ms a is not as expected: {y} is missing, and 1 more"),
        ({1}, {2, 1}, "at 1 ms a is not as expected: {2} is missing"),
        ([{1, 2}], [{1}], "at 1 ms a is not as expected: [0]{2} is there, and was not expected"),
        (
            b"\0" * 99 + b"\1",
            b"\0" * 100,
            (
                r"at 1 ms a is not as expected: ...b'\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01', not "
                r"...b'\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00', from byte 100"
            ),
        ),
        (Unhashable(), 2, "at 1 ms Unhashable() came where a was expected"),
        (None, "None", "at 1 ms None (NoneType) came where 'None' (str) was expected"),
        (b"a", "a", "at 1 ms b'a' came where a was expected"),
        (True, 1, "at 1 ms True came where a was expected"),
    ],
)
def test_odd_values_are_distinguished(marbles, came, expected, reason):
    stream = marbles.expect(marbles.cold("-a", {"a": came}))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("-a", {"a": expected})
    assert failed.value.reason == reason


def test_a_value_that_holds_itself_is_refused(marbles):
    stream = marbles.expect(marbles.cold("a", {"a": holding_itself()}))
    with pytest.raises(MarbleError, match="nests too deeply, or holds itself"):
        stream.to_be("a", {"a": holding_itself()})
    stream.accept()


def test_an_expected_type_of_error_is_shown(marbles):
    stream = marbles.expect(marbles.cold("-#"))
    with pytest.raises(Mismatch, match="# expected = KeyError"):
        stream.to_be("-#", error=KeyError)


def test_a_group_of_errors_is_compared_member_by_member(marbles):
    """Its text counts them only."""
    came, wanted = (ExceptionGroup("many", [ValueError("a"), kind("b")]) for kind in (TypeError, KeyError))
    stream = marbles.expect(marbles.cold("-#", error=came))
    stream.to_be("-#", error=ExceptionGroup("many", [ValueError("a"), TypeError("b")]))
    with pytest.raises(Mismatch, match="KeyError"):
        marbles.expect(marbles.cold("-#", error=came)).to_be("-#", error=wanted)


def test_the_notes_of_an_error_are_shown(marbles):
    """The first line of each."""
    error = ValueError("boom")
    error.add_note("while it was read\nfrom a file")
    stream = marbles.expect(marbles.cold("-#", error=error))
    with pytest.raises(Mismatch) as failed:
        stream.to_be("-#", error=ValueError("other"))
    assert "    note: while it was read\n" in str(failed.value)
    assert "from a file" not in str(failed.value)


@pytest.mark.slow
def test_a_large_picture_is_compared_in_one_look(marbles):
    """16 million pixels were widened to floats, twice, for each of several comparisons."""
    came, wanted = (np.full((4000, 4000), value, np.uint8) for value in (0, 1))
    began = time.process_time()
    stream = marbles.expect(marbles.cold("a|", {"a": came}))
    stream.to_be("a|", {"a": came.copy()})
    same_s = time.process_time() - began
    with pytest.raises(Mismatch, match="unlike in"):
        marbles.expect(marbles.cold("a|", {"a": came})).to_be("a|", {"a": wanted})
    assert same_s < 2
