"""Prompts with alternatives: the syntax, its counts and orders, wildcards, chance, and what is refused."""

from __future__ import annotations

import random
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.errors import ConfigError
from rxpipe.variants.choices import Combinations
from rxpipe.variants.syntax import has_syntax, parse_prompt
from rxpipe.variants.wildcards import Wildcards


def read(text, folder=None, **slots):
    return Combinations(parse_prompt(text, "prompt"), Wildcards([folder] if folder else []), "prompt", slots)


def listed(text, folder=None, **slots):
    found = read(text, folder, **slots)
    return [found.nth(index, slots) for index in range(found.count)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a mill", ["a mill"]),
        ("a {red|blue} {x|y}", ["a red x", "a red y", "a blue x", "a blue y"]),
        ("{a|{b|c}} d", ["a d", "b d", "c d"]),
        ("{|a}", ["", "a"]),
        ("{a}", ["a"]),
        ("{a|b,c}", ["a", "b,c"]),
        ("{0.5::a|2::b}", ["a", "b"]),
        ("{2$$a|b|c}", ["a, b", "a, c", "b, a", "b, c", "c, a", "c, b"]),
        ("{2$$ and $$a|b}", ["a and b", "b and a"]),
        ("{1-2$$a|b}", ["a", "b", "a, b", "b, a"]),
        ("{2-$$a|b}", ["a, b", "b, a"]),
        ("{-2$$a|b}", ["a", "b", "a, b", "b, a"]),
        ("{0-1$$a|b}", ["", "a", "b"]),
        ("{2$${a|b}|c}", ["a, c", "b, c", "c, a", "c, b"]),
        ("{~a|b} {!c|d}", ["a c", "a d", "b c", "b d"]),
        ("${x={red|blue}}a ${x} and ${x}", ["a red and red", "a blue and blue"]),
        ("a # not this\nb", ["a \nb"]),
        ("a #1 b", ["a #1 b"]),
        (r"\{a\|b\} (c:1.2) [d]", ["{a|b} (c:1.2) [d]"]),
        ("<lora:paper__v2:0.8> <lora:b__c:1>", ["<lora:paper__v2:0.8> <lora:b__c:1>"]),
        ("<lora:a:{0.5|1}>", ["<lora:a:0.5>", "<lora:a:1>"]),
        ("100 % a_b __", ["100 % a_b __"]),
    ],
)
def test_combinations(text, expected):
    """In the order of Dynamic Prompts, where that is documented: the last alternative changes first."""
    assert listed(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a {b|c", "{ without its }"),
        ("a b}", "} without a {"),
        ("[[time", "[[ without a name"),
        ("[[a|b]]", "[[a|b]] lists values where a slot has its name"),
        ("[[time]]", "the slot [[time]] has no values; slots with values: none"),
        ("__missing__", "there is no wildcard __missing__; none are given"),
        ("${x} a", "${x} is used and has no value"),
        ("{3$$a|b}", "3 of 2 alternatives"),
        ("{2-1$$a|b}", "2 of 2 alternatives"),
        ("{0::a|0::b}", "all alternatives have the weight 0"),
        ("{" * 60 + "a" + "}" * 60, "more than 50 deep"),
    ],
)
def test_what_cannot_be_resolved_is_refused(text, words):
    """What came, where, and what to write; before anything is drawn."""
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert words in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "colour.txt").write_text("\ufeffred\n# a comment\n\nblue\n2::green\n__shade__\n", encoding="utf-8")
    (tmp_path / "shade.txt").write_text("dark {grey|black}\n")
    (tmp_path / "loop.txt").write_text("a\n__pool__\n")
    (tmp_path / "pool.txt").write_text("__loop__\n")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "hair.txt").write_text("long\nshort\n")
    (tmp_path / "animals.yaml").write_text("animals:\n  cats: [tabby, siamese]\n  dogs:\n    - pug\n")
    (tmp_path / "old.txt").write_bytes("caf\xe9\n".encode("latin-1"))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__colour__", ["red", "blue", "green", "dark grey", "dark black"]),
        ("__people/hair__", ["long", "short"]),
        ("__hair__", ["long", "short"]),
        ("__animals/cats__ a", ["tabby a", "siamese a"]),
        ("__animals/*__", ["tabby", "siamese", "pug"]),
        ("{2$$__hair__|x}", ["long, short", "long, x", "short, long", "short, x", "x, long", "x, short"]),
        ("<lora:__hair__:1>", ["<lora:long:1>", "<lora:short:1>"]),
        ("__old__", ["caf\xe9"]),
    ],
)
def test_wildcards(folder, text, expected):
    """Files, folders below, YAML; a name without its folder; a BOM and an old encoding."""
    assert listed(text, folder) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__loop__", "a wildcard holds itself: __loop__ > __pool__ > __loop__"),
        ("__empty__", "__empty__ has no values"),
        ("__colours__", "did you mean 'colour'?"),
        ("__x/*__", "there is no wildcard __x/*__"),
    ],
)
def test_wrong_wildcards(folder, text, words):
    with pytest.raises(ConfigError) as caught:
        read(text, folder)
    assert words in str(caught.value)


def test_slots_take_one_value_wherever_they_stand():
    assert read("[[t]] and [[ t ]]", t=("x",)).nth(0, {"t": "dawn"}) == "dawn and dawn"


@st.composite
def prompts(draw, depth=2):
    words = st.sampled_from(["a", "b", " ", "c d"])
    if not depth:
        return draw(words)
    parts = draw(st.lists(st.one_of(words, prompts(depth=depth - 1)), min_size=1, max_size=3))
    if draw(st.booleans()):
        return "".join(parts)
    count = draw(st.sampled_from(["", "", "1$$", "1-2$$", "0-1$$"]))
    return "{" + count + "|".join(parts) + "}"


@given(prompts(), st.integers(0, 1000))
def test_the_nth_of_any_prompt_is_one_of_its_list(text, seed):
    """Each index gives a text; chance gives none that is not in the list."""
    found = read(text)
    whole = {found.nth(index, {}) for index in range(min(found.count, 500))}
    if found.count <= 500:
        assert found.chosen(random.Random(seed), {}) in whole  # noqa: S311  # keeps no secret


def test_chance_follows_the_weights():
    """Nine of ten times, in a thousand."""
    found, chance = read("{9::a|1::b}"), random.Random(1)  # noqa: S311  # keeps no secret
    assert 850 < sum(found.chosen(chance, {}) == "a" for _ in range(1000)) < 950


def test_a_hundred_thousand_combinations_cost_no_memory():
    """The last is computed without those before it."""
    found = read(" ".join("{" + "|".join("abcdefghij") + "}" for _ in range(12)))
    assert found.count == 10**12
    tracemalloc.start()
    assert found.nth(10**12 - 1, {}) == " ".join("j" * 12)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("text", "says"),
    [("a {b|c}", True), ("__x__", True), ("[[x]]", True), ("a b", False), ("(a:1.1) [b]", False),
     ("<lora:a__b__c:1>", False), (r"\{a\}", False), ("a_b __ c", False)],
)  # fmt: skip
def test_has_syntax(text, says):
    assert has_syntax(text) is says
