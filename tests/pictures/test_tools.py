"""Pictures of many tools: what is read of them, and what of it a run gets."""

from __future__ import annotations

import pytest
from tool_pictures import CASES
from tools_table import FIELDS, agrees, carried, recalled, table, written

from rxpipe.errors import ConfigError
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
