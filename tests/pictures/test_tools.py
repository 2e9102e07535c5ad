"""Pictures of many tools: what is read of them, and what of it a run gets."""

from __future__ import annotations

import copy
import json
import random
import time

import pytest
from tool_pictures import CASES, png
from tools_table import FIELDS, agrees, carried, recalled, table, written

from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures.dialects import READERS
from rxpipe.pictures.metadata import read_info
from rxpipe.presets import recall

_DESCRIBES = {"ADetailer version", "Version", "Model hash", "date", "app_version"}


@pytest.mark.sampled(30)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_what_a_picture_says_is_carried_over(case, tmp_path):
    """Every field that it has, by A1111's names; what has no place is named, and nothing else is."""
    path = written(case, tmp_path)
    info = read_info(path)
    assert info.dialect == case.dialect
    config, left = recalled(case, path)
    got = {name: carried(config, name) for name in case.want}
    assert {name: value for name, value in got.items() if not agrees(case.want[name], value)} == {}, got
    assert left == case.left
    assert not _DESCRIBES & set(left)


def test_the_table_of_dialects_and_fields_is_full():
    """At least 60 pictures of 18 tools; each reader has some, and each field of a dialect's pictures is right."""
    counts = table()
    assert len(CASES) >= 60
    assert len({case.tool for case in CASES}) >= 18
    assert set(counts) == set(READERS)
    assert {
        (dialect, name) for dialect, cells in counts.items() for name, (right, of) in cells.items() if right != of
    } == set()
    assert {name for cells in counts.values() for name in cells} == set(FIELDS)


@pytest.mark.parametrize("case", [case for case in CASES if case.no_prompt], ids=lambda case: case.id)
def test_no_prompt_is_made_up(case, tmp_path):
    """Where none is in the file, the reason is told and one is asked for."""
    with pytest.raises(ConfigError, match=r"no prompt: .*--prompt"):
        recall(written(case, tmp_path))


# -- strangers' metadata ----------------------------------------------------------------------------------------------

_VALUES = [
    *(None, True, 0, -1, 1e308, 2**70, "", "None", "x" * 3000, [], {}, [[["s", 0]]], float("nan")),
    *(["pos", 0], ["s", 1], ["s", 0], ["s", True], ["s", [1]], ["s", 99], {"a": ["s", 0]}),
]
_KEYS = ["positive", "model", "text", "latent_image", "samples", "seed", "guider", "switch", "select", "inputs"]


def _mutated(chance, value):
    """The same with some values in it gone or others, and some keys that mean something added."""
    for _ in range(chance.randint(1, 8)):
        table = value
        for _ in range(chance.randint(0, 4)):
            inner = table.values() if isinstance(table, dict) else table
            deeper = [each for each in inner if isinstance(each, dict | list) and each]
            table = chance.choice(deeper) if deeper else table
        other = copy.deepcopy(chance.choice(_VALUES))
        if isinstance(table, list):
            table[chance.randrange(len(table))] = other
        elif table and chance.random() < 0.3:
            table.pop(chance.choice(list(table)), None)
        else:
            table[chance.choice([*table, *_KEYS])] = other
        if not value:
            return value
    return value


def _texts_of_json():
    for case in CASES:
        texts = read_info(case.data).texts
        for key, text in texts.items():
            if text.lstrip().startswith("{"):
                yield key, json.loads(text.rstrip("\0")), {name: text for name, text in texts.items() if text.isascii()}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("part", range(50))
def test_mutated_metadata_is_read_or_refused(tmp_path, part):
    """100 of 5,000 a part: graphs and JSON in which values are missing or of another kind; nothing else is raised."""
    chance = random.Random(part)  # noqa: S311 - keeps no secret
    sources = list(_texts_of_json())
    for _ in range(100):
        key, value, texts = chance.choice(sources)
        path = tmp_path / "mutated.png"
        path.write_bytes(png({**texts, key: json.dumps(_mutated(chance, copy.deepcopy(value)))}))
        try:
            recall(path, input="photo.png", trust=True, prompt="a")
        except (ConfigError, BadImage) as error:
            assert "mutated.png" in str(error)  # noqa: PT017  any of two is right


def _node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


HOSTILE = {
    "a chain of texts": {str(n): _node("Join", text_a=[str(n + 1), 0], text_b=[str(n + 1), 0]) for n in range(1900)},
    "a chain of samplers": {
        str(n): _node("KSampler", seed=n, steps=1, model=["0", 0], positive=["0", 0], latent_image=[str(n + 1), 0])
        for n in range(1900)
    },
    "samplers side by side": {
        str(n): _node("KSampler", seed=n, steps=1, model=["0", 0], positive=["0", 0]) for n in range(1900)
    },
    "rings of switches": {str(n): _node("Switch", select=1, input1=[str((n + 1) % 1900), 0]) for n in range(1900)},
    "every node with every other": {
        str(n): _node("CLIPTextEncode", **{f"text_{m}": [str(m), 0] for m in range(60)}) for n in range(300)
    },
    "too many nodes": {str(n): _node("X") for n in range(50_000)},
}


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_graph_takes_no_time(name):
    """Whatever its size and its rings, with a sampler at its head."""
    first = next(iter(HOSTILE[name]))
    head = _node(
        "KSampler",
        seed=1,
        steps=1,
        cfg=1,
        positive=[first, 0],
        negative=[first, 0],
        latent_image=[first, 0],
        model=[first, 0],
    )
    data = png({"prompt": {**HOSTILE[name], "head": head, "save": _node("SaveImage", images=["head", 0])}})
    begun = time.process_time()
    read_info(data)
    assert time.process_time() - begun < 2
