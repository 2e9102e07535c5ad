"""Type checkers see a wrong setting; what they read follows the models."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

import pytest
from pydantic import JsonValue

from rxpipe import config as config_package
from rxpipe.config import Config, RunMetadata, models
from rxpipe.config.fields import kinds, model_in

TEN = Path(__file__).with_name("ten_wrong_settings.py")
KEYWORDS = Path(config_package.__file__).with_name("keywords.py")
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


CONFIGS = sorted(
    {
        model
        for model in vars(models).values()
        if isinstance(model, type) and issubclass(model, Config) and model not in {Config, RunMetadata}
    },
    key=lambda model: (len(model.__mro__), model.__name__),  # what others inherit from comes first
)

HEAD = '''"""What code may pass to each config model, for type checkers: wider than the types of the validated settings.

Made from the models by the test of it: REWRITE=1 pytest tests/typing/test_settings.py
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Required, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pydantic import JsonValue

    from rxpipe.config.models import {sections}

    Paths = list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]
    """Paths as code passes them; not Sequence[str], which a single string is too."""
'''


def keywords_name(model):
    """The name of the keywords of a model."""
    return model.__name__.removesuffix("Config") + "Keywords"


def accepted(annotation):
    """What code may give for a setting of that type: also a path as text, a section as a table, a list for a tuple."""
    return " | ".join(_accepted(kind) for kind in kinds(annotation))


def _accepted(kind):
    inner, origin = model_in(kind), get_origin(kind)
    if kind in SPELLED:
        return SPELLED[kind]
    if origin is dict:
        name, value = get_args(kind)
        return f"Mapping[{accepted(name)}, {accepted(value)}]"
    if inner is not None:
        section = f"{inner.__name__} | {keywords_name(inner)}"
        return f"Sequence[{section}]" if origin is tuple else section
    if origin is tuple:
        item = accepted(get_args(kind)[0])
        return f"list[{item}] | tuple[{item}, ...]"
    if origin is list:
        return f"list[{accepted(get_args(kind)[0])}]"
    if origin is Literal:
        return f"Literal[{', '.join(json.dumps(value) for value in get_args(kind))}]"
    return kind.__name__


SPELLED = {
    Path: "Path | str",
    tuple[Path, ...]: "Paths",
    RunMetadata: "RunMetadata | dict[str, Any]",
    NoneType: "None",
    JsonValue: "JsonValue",
}


def keywords_of(model):
    """The keywords of a model: the settings that no other model gives it."""
    inherited = [base for base in model.__bases__ if base in CONFIGS]
    bases = [keywords_name(base) for base in inherited] or ["TypedDict"]
    lines = [f"class {keywords_name(model)}({', '.join(bases)}, total=False):"]
    lines += [f'    """The settings of `{model.__name__}` by name."""', ""]
    for name, field in model.model_fields.items():
        if not any(name in base.model_fields for base in inherited):
            kind = accepted(field.annotation)
            lines.append(f"    {name}: {f'Required[{kind}]' if field.is_required() else kind}")
    return "\n".join(lines)


def test_the_keywords_of_the_configs_are_their_settings():
    """By name and type; the required ones are required."""
    body = "".join(f"\n\n{keywords_of(model)}\n" for model in CONFIGS)
    made_of = {model.__name__ for model in [RunMetadata, *CONFIGS]}
    named = sorted(name for name in made_of if re.search(rf"\b{name} \|", body))
    text = HEAD.replace("{sections}", f"({''.join(f'{chr(10)}        {name},' for name in named)}\n    )") + body
    if os.environ.get("REWRITE"):
        KEYWORDS.write_text(text, encoding="utf-8")
    assert KEYWORDS.read_text(encoding="utf-8") == text


def test_every_config_is_made_by_its_own_keywords():
    """In the `__init__` that type checkers see; metadata, which takes further keys, names its two in place."""
    made_by = {
        found.name: method.args.kwarg.annotation
        for path in Path(models.__file__).parent.glob("*.py")
        for found in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(found, ast.ClassDef)
        for block in found.body
        if isinstance(block, ast.If)
        for method in block.body
    }

    assert {name: ast.unparse(annotation) for name, annotation in made_by.items()} == {
        **{model.__name__: f"Unpack[{keywords_name(model)}]" for model in CONFIGS},
        "RunMetadata": "JsonValue",
    }
