"""A1111's `parameters` text: what is written is what A1111 reads, and the other way round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpipe.pictures import a1111

DATA = Path(__file__).parents[1] / "data"
INFOTEXTS = [entry["text"] for entry in json.loads((DATA / "infotexts.json").read_text(encoding="utf-8"))]


@pytest.mark.parametrize("text", INFOTEXTS)
def test_infotexts_of_real_servers_survive_parse_and_format(text):
    """Every text that A1111 and Forge sent comes out as it came in."""
    told = a1111.parse_parameters(text)
    assert a1111.format_parameters(told.prompt, told.negative_prompt, told.settings) == text
    assert told.prompt == "a cat"
    assert {"Steps", "Sampler", "Seed", "Size", "Model", "Version"} <= told.settings.keys()


def test_parameters_have_a1111s_order_and_quotes():
    """Known keys in its order, others behind them, Version last; comma, colon and newline are quoted as JSON."""
    settings = {
        "Version": "rxpipe 1",
        "Lora hashes": "a: 1, b: 2",
        "ADetailer prompt": "é\nline",
        "Seed": 5,
        "Clip skip": None,
        "CFG scale": 7.0,
        "Size": "64x32",
        "Steps": 20,
    }
    assert a1111.format_parameters("a cat,\nsitting", "dog", settings) == (
        "a cat,\nsitting\nNegative prompt: dog\nSteps: 20, CFG scale: 7.0, Seed: 5, Size: 64x32, "
        'Lora hashes: "a: 1, b: 2", ADetailer prompt: "é\\nline", Version: rxpipe 1'
    )


def test_the_paste_button_splits_sizes_and_assumes_defaults():
    """`WxH` becomes two fields; missing Clip skip, RNG and Schedule type mean 1, GPU and Automatic."""
    told = a1111.parse_parameters("a cat\nSteps: 2, Size: 64x32, RNG: CPU")
    assert told.fields() == {
        "Steps": "2", "Size-1": "64", "Size-2": "32", "RNG": "CPU", "Clip skip": "1", "Schedule type": "Automatic",
    }  # fmt: skip
    assert told.settings == {"Steps": "2", "Size": "64x32", "RNG": "CPU"}


def test_fewer_than_three_pairs_are_no_settings():
    """Readers take such a line for the prompt, so it is not written, and read as they read it."""
    assert a1111.parse_parameters("a cat\nSteps: 2, Seed: 1") == a1111.Parameters("a cat\nSteps: 2, Seed: 1")
    assert a1111.format_parameters("a cat", "dog", {"Steps": 2, "Seed": 1}) == "a cat\nNegative prompt: dog"


def test_text_without_prompt_has_settings_only():
    """An empty prompt leaves no empty line."""
    told = a1111.parse_parameters(a1111.format_parameters("", "dog", {"Steps": 2, "Seed": 1, "Size": "8x8"}))
    assert (told.prompt, told.negative_prompt, told.settings["Seed"]) == ("", "dog", "1")


@pytest.mark.parametrize("key", ["", "x", "Lora: a", "a,b", "a\nb"])
def test_a_key_that_no_reader_would_know_is_refused(key):
    """Rather than written so that the line falls apart."""
    with pytest.raises(ValueError, match="cannot be a key"):
        a1111.format_parameters("a", "", {key: 1})


LINES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1).map(str.strip)
PROMPTS = st.lists(LINES.filter(lambda line: line and not line.startswith("Negative prompt:")), max_size=3).map(
    "\n".join
)
WORDS = st.text("abcdefgHIJ 019-/_ä猫", min_size=2, max_size=12).filter(lambda key: key[0].isalnum())
SETTINGS = st.dictionaries(WORDS, st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=9)


@given(PROMPTS, PROMPTS, SETTINGS)
def test_what_is_formatted_is_parsed_back(prompt, negative, settings):
    """Prompt, negative prompt and every setting, whatever characters stand in them."""
    told = a1111.parse_parameters(a1111.format_parameters(prompt, negative, settings))
    assert told == a1111.Parameters(prompt, negative, settings)


@given(st.text())
def test_parsing_never_raises_and_is_stable(text):
    """Any text is at least a prompt; what was understood once is understood the same way again."""
    told = a1111.parse_parameters(text)
    if len(told.settings) >= 3:
        again = a1111.format_parameters(told.prompt, told.negative_prompt, told.settings)
        assert a1111.parse_parameters(again) == told


def test_a_long_hostile_line_does_not_stall_the_parser():
    """A megabyte of words without a colon costs no more than a moment; the test's own timeout is the judge."""
    assert a1111.parse_parameters("a:b:c:" + "word " * 200_000).settings == {}
