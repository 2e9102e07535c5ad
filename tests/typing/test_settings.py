"""Type checkers see a wrong setting; what they read follows the models."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from types import NoneType
from typing import Any, Required, get_args, get_origin, get_type_hints

import pytest

from rxpipe import config as config_package
from rxpipe.config import Config, RunMetadata, models
from rxpipe.config.fields import kinds, model_in

TEN = Path(__file__).with_name("ten_wrong_settings.py")
OWN = Path(__file__).with_name("own_stages.py")

MYPY = """[mypy]
follow_imports = skip
{plugins}
[mypy-rxpipe,rxpipe.config.*,rxpipe.chains,rxpipe.stages.*,pydantic.*,pydantic_core.*]
follow_imports = silent
"""
"""Only what the script needs, which takes a third of the time."""


@pytest.mark.sampled(1)
@pytest.mark.parametrize("script", [TEN, OWN], ids=["settings", "own stages"])
@pytest.mark.parametrize("plugins", ["", "plugins = pydantic.mypy"], ids=["without plugin", "with plugin"])
@pytest.mark.slow
def test_mypy_flags_each_wrong_setting_and_nothing_else(tmp_path, plugins, script):
    """Names and types, in configs, in makers of stages, in nested sections, in chains; in stages of one's own."""
    text = MYPY.format(plugins=plugins)
    (tmp_path / "mypy.ini").write_text(text if script == TEN else text.replace("= skip", "= silent"))
    options = ["--config-file", tmp_path / "mypy.ini", "--cache-dir", os.devnull]
    root = Path(config_package.__file__).parents[2]
    ran = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "mypy", *options, script.name],
        cwd=script.parent,
        env={**os.environ, "MYPYPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )

    flagged = [int(line) for line in re.findall(rf"^{script.name}:(\d+): error", ran.stdout, re.MULTILINE)]
    wrong = [number for number, line in enumerate(script.read_text().splitlines(), 1) if "  # wrong: " in line]
    assert (flagged, ran.stderr) == (wrong, "")
    assert len(wrong) == 10


CONFIGS = [
    model
    for model in vars(models).values()
    if isinstance(model, type) and issubclass(model, Config) and model not in {Config, RunMetadata}
]


def keywords_name(model):
    """The name of the keywords of a model."""
    return model.__name__.removesuffix("Config") + "Keywords"


def accepted(annotation):
    """What code may give for a setting of that type: also a path as text, a section as a table, a list for a tuple."""
    return reduce(or_, (_accepted(kind) for kind in kinds(annotation)))


def _accepted(kind):
    inner, origin = model_in(kind), get_origin(kind)
    if kind is Path:
        return Path | str
    if kind == tuple[Path, ...]:
        return models.Paths
    if kind is RunMetadata:
        return RunMetadata | dict[str, Any]
    if origin is dict:
        name, value = get_args(kind)
        return Mapping[name, accepted(value)]
    if inner is not None:
        section = inner | getattr(models, keywords_name(inner))
        return Sequence[section] if origin is tuple else section
    if origin is tuple:
        item = accepted(get_args(kind)[0])
        return list[item] | tuple[item, ...]
    return NoneType if kind is None else kind


@pytest.mark.parametrize("model", CONFIGS)
def test_the_keywords_of_a_config_are_its_settings(model):
    """By name and type; the required ones are required."""
    keywords = getattr(models, keywords_name(model))
    names = {"Mapping": Mapping, "Sequence": Sequence}
    required = [name for name, field in model.model_fields.items() if field.is_required()]

    assert get_type_hints(keywords, localns=names) == {
        name: accepted(field.annotation) for name, field in model.model_fields.items()
    }
    marked = get_type_hints(keywords, localns=names, include_extras=True)
    assert [name for name, found in marked.items() if get_origin(found) is Required] == required


def test_every_config_is_made_by_its_own_keywords():
    """In the `__init__` that type checkers see; metadata, which takes further keys, names its two in place."""
    tree = ast.parse(Path(models.__file__).read_text(encoding="utf-8"))
    made_by = {
        found.name: method.args.kwarg.annotation
        for found in tree.body
        if isinstance(found, ast.ClassDef)
        for block in found.body
        if isinstance(block, ast.If)
        for method in block.body
    }

    assert {name: ast.unparse(annotation) for name, annotation in made_by.items()} == {
        **{model.__name__: f"Unpack[{keywords_name(model)}]" for model in CONFIGS},
        "RunMetadata": "JsonValue",
    }
