"""Configs that are right or nearly: values drawn from the settings' schema, a few of them beside what is allowed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rxpipe.config import PipelineConfig

if TYPE_CHECKING:
    import random

SCHEMA = PipelineConfig.model_json_schema()
NEARLY = 0.005
"""How many of the values are beside what is allowed."""

TEXTS = ["a lighthouse at dusk", "", "Euler a", "DPM++ 2M Karras", "ümlaut 灯台 👍🏽", "line\nline", 'q"\'\\',
         "x" * 300, "1.5", "true", "null", "# none", "a: b", "@file", "=1", "{}", " blank ", "m [a]"]  # fmt: skip
FREE: list[dict[str, Any]] = [
    {},
    {"a": 1, "b.c": [True, 1.5, "x"], "": {"deep": {"er": -1}}},
    {"ControlNet": {"args": [{"image": "x", "weight": 0.5}]}},
    {"args": [1, None, "third"], "none": None},
]
SKIPPED = {"workflow", "custom", "variants", "input", "out", "name", "run_id", "mask", "schedule"}
"""What needs a file, or a grammar of its own."""


def valid_config(chance: random.Random) -> dict[str, Any]:
    """A mapping as a config file holds it."""
    top = SCHEMA["properties"]
    sections = {"txt2img": 0.8, "img2img": 0.5, "adetailer": 0.4, "upscale": 0.5}
    found = {name: _value(chance, top[name]) for name, share in sections.items() if chance.random() < share}
    found = {name: value for name, value in found.items() if value is not None} or {"txt2img": {}}
    for name, schema in top.items():
        if name not in {*sections, *SKIPPED} and chance.random() < 0.2:
            found[name] = _value(chance, schema)
    if "txt2img" not in found:
        found["input"] = ["photo.png"] * chance.choice([1, 3])
    elif chance.random() < 0.2:
        found["variants"] = {"sweep": {"txt2img.cfg_scale": chance.choice([[1, 2.5], "5,7,9", "1-10 (+3)"])}}
    return found


def _value(chance: random.Random, schema: dict[str, Any]) -> Any:
    if chance.random() < NEARLY:
        return chance.choice([None, -1, 10**30, "", [], {}, "nonsense", 1.5, True])
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return chance.choice(FREE) if name == "JsonValue" else _table(chance, SCHEMA["$defs"][name])
    for kind in ("anyOf", "oneOf"):
        if kind in schema:
            return _value(chance, chance.choice(schema[kind]))
    if "enum" in schema:
        return chance.choice([value for value in schema["enum"] if value != "pass"])  # which txt2img refuses
    if "const" in schema:
        return schema["const"]
    return _PLAIN.get(schema.get("type", ""), lambda *_: "x")(chance, schema)


def _table(chance: random.Random, schema: dict[str, Any]) -> dict[str, Any]:
    share = chance.choice([0.05, 0.3, 0.9])
    required = schema.get("required", ())
    return {
        name: _value(chance, inner)
        for name, inner in schema.get("properties", {}).items()
        if name not in SKIPPED and (name in required or chance.random() < share)
    }


def _number(chance: random.Random, schema: dict[str, Any]) -> float:
    low, high = _limits(schema)
    value = chance.choice([low, high, round(chance.uniform(low, min(high, low + 30)), 3), float(math.ceil(low))])
    return value if value > low or "gt" not in schema else low + 0.5


def _integer(chance: random.Random, schema: dict[str, Any]) -> int:
    low, high = map(int, _limits(schema))
    step = 8 if "multiple of 8" in schema.get("description", "") or (low, high) == (64, 8192) else 1
    return chance.choice([low, high, low + step * chance.randint(0, min(64, (high - low) // step))])


def _limits(schema: dict[str, Any]) -> tuple[float, float]:
    low = schema.get("ge", schema.get("minimum", schema.get("gt", schema.get("exclusiveMinimum", 0))))
    return low, schema.get("le", schema.get("maximum", low + 1000))


def _array(chance: random.Random, schema: dict[str, Any]) -> list[Any]:
    return [_value(chance, schema.get("items", {"type": "string"})) for _ in range(chance.choice([0, 1, 2]))]


def _free(chance: random.Random) -> dict[str, Any]:
    """A table that is handed on unchecked; one in ten with nulls, which TOML lacks."""
    return chance.choice(FREE if chance.random() < 0.1 else FREE[:3])


_PLAIN = {
    "number": _number,
    "integer": _integer,
    "array": _array,
    "string": lambda chance, _: chance.choice(TEXTS),
    "boolean": lambda chance, _: chance.random() < 0.5,
    "null": lambda *_: None,
    "object": lambda chance, schema: _free(chance) if "additionalProperties" in schema else _table(chance, schema),
}
