"""What FastAPI does to a body before a handler sees it: defaults, conversions, and a 422 in pydantic's words.

Driven by the flavour's own OpenAPI document. Forge speaks pydantic 2, A1111 pydantic 1.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from rxpipe.testing.servers.core.wire import Answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.testing.servers.webui.flavour import Flavour

_URL = "https://errors.pydantic.dev/2.8/v/"
_NEVER_NULL = {"sampler_index", "script_args", "send_images", "save_images", "alwayson_scripts", "include_init_images"}
_V1 = {
    "int": ("value is not a valid integer", "type_error.integer"),
    "float": ("value is not a valid float", "type_error.float"),
    "string": ("str type expected", "type_error.str"),
    "bool": ("value could not be parsed to a boolean", "type_error.bool"),
    "list": ("value is not a valid list", "type_error.list"),
    "dict": ("value is not a valid dict", "type_error.dict"),
}
_V2 = {
    "int_parsing": "Input should be a valid integer, unable to parse string as an integer",
    "int_type": "Input should be a valid integer",
    "int_from_float": "Input should be a valid integer, got a number with a fractional part",
    "float_parsing": "Input should be a valid number, unable to parse string as a number",
    "float_type": "Input should be a valid number",
    "string_type": "Input should be a valid string",
    "bool_parsing": "Input should be a valid boolean, unable to interpret input",
    "bool_type": "Input should be a valid boolean",
    "list_type": "Input should be a valid list",
    "dict_type": "Input should be a valid dictionary",
}
_BOOLS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "on": True, "off": False}
_LIMITS: dict[str, tuple[str, str, Callable[[Any, float], bool]]] = {
    "minimum": ("ge", "greater than or equal to", lambda value, limit: value >= limit),
    "maximum": ("le", "less than or equal to", lambda value, limit: value <= limit),
    "exclusiveMinimum": ("gt", "greater than", lambda value, limit: value > limit),
}


class _Wrong(ValueError):
    """A value that does not fit; `kind` is pydantic 2's name of the reason."""

    def __init__(self, kind: str, limit: tuple[str, str, float] | None = None) -> None:
        super().__init__(kind)
        self.kind = kind
        self.limit = limit


class Invalid(Exception):
    """A body that is refused; `answer` is the 422."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


def parse_json(flavour: Flavour, body: bytes) -> Any:
    """Return the body's JSON. Raises Invalid, as the servers do even before they look at credentials."""
    if not body:
        raise Invalid(_missing(flavour, ["body"], None))
    try:
        return json.loads(body)
    except ValueError as error:
        if not isinstance(error, json.JSONDecodeError):
            raise Invalid(flavour.http_error(400, "There was an error parsing the body")) from error
        raise Invalid(_malformed(flavour, error)) from error


def _malformed(flavour: Flavour, error: json.JSONDecodeError) -> Answer:
    loc: list[str | int] = ["body", error.pos]
    if flavour.base == "forge":
        ctx = {"error": error.msg}
        entry = {"type": "json_invalid", "loc": loc, "msg": "JSON decode error", "input": {}, "ctx": ctx}
    else:
        names = ("msg", "doc", "pos", "lineno", "colno")
        ctx = {name: getattr(error, name) for name in names}
        entry = {"loc": loc, "msg": str(error), "type": "value_error.jsondecode", "ctx": ctx}
    return json_answer({"detail": [entry]}, 422)


def _missing(flavour: Flavour, loc: list[str], given: Any) -> Answer:
    if flavour.base == "forge":
        entry = {"type": "missing", "loc": loc, "msg": "Field required", "input": given, "url": f"{_URL}missing"}
    else:
        entry = {"loc": loc, "msg": "field required", "type": "value_error.missing"}
    return json_answer({"detail": [entry]}, 422)


def validate(flavour: Flavour, model: str, given: Any) -> dict[str, Any]:
    """Return the body with the defaults of a request model, in its order; fields it does not know are dropped.

    Args:
        flavour: whose model and whose words.
        model: a schema's name in the OpenAPI document.
        given: the parsed body.

    Raises:
        Invalid: with every wrong field in it.
    """
    return validate_against(flavour, flavour.openapi["components"]["schemas"][model], given)


def validate_against(flavour: Flavour, schema: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Return the same by a schema that is in no document."""
    if not isinstance(given, dict):
        raise Invalid(_wrong(flavour, [(["body"], given, _Wrong("dict_type"))]))
    for name in schema.get("required", ()):
        if name not in given:
            raise Invalid(_missing(flavour, ["body", name], given))
    values, problems = {}, []
    for name, rule in schema["properties"].items():
        try:
            values[name] = (
                _convert(flavour, name, rule, given[name]) if name in given else deepcopy(rule.get("default"))
            )
        except _Wrong as wrong:
            problems.append((["body", name], given[name], wrong))
    if problems:
        raise Invalid(_wrong(flavour, problems))
    return values


def _convert(flavour: Flavour, name: str, rule: Mapping[str, Any], value: Any) -> Any:
    rules = rule.get("anyOf", [rule])
    if value is None and (_allows_null(rules) or (flavour.base == "a1111" and name not in _NEVER_NULL)):
        return None
    kind = next((entry["type"] for entry in rules if entry.get("type") not in (None, "null")), None)
    converted = _CONVERT[kind](value, flavour.base == "forge") if kind else value
    for limit, (code, words, fits) in _LIMITS.items():
        if limit in rule and not fits(converted, rule[limit]):
            raise _Wrong("limit", (code, words, rule[limit]))
    return converted


def _allows_null(rules: list[Mapping[str, Any]]) -> bool:
    return any(entry.get("type") == "null" for entry in rules)


def _integer(value: Any, strict: bool) -> int:
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            raise _Wrong("int_parsing") from None
    if not isinstance(value, int | float):
        raise _Wrong("int_type")
    if strict and value != int(value):
        raise _Wrong("int_from_float")
    return int(value)


def _number(value: Any, strict: bool) -> float:
    del strict
    if not isinstance(value, int | float | str):
        raise _Wrong("float_type")
    try:
        return float(value)
    except ValueError:
        raise _Wrong("float_parsing") from None


def _string(value: Any, strict: bool) -> str:
    if isinstance(value, int | float) and not strict:
        return str(value)
    if not isinstance(value, str):
        raise _Wrong("string_type")
    return value


def _boolean(value: Any, strict: bool) -> bool:
    del strict
    known = _BOOLS.get(str(value).lower())
    if known is None or isinstance(value, float):
        raise _Wrong("bool_parsing" if isinstance(value, str | int) else "bool_type")
    return known


def _list(value: Any, strict: bool) -> list[Any]:
    del strict
    if not isinstance(value, list):
        raise _Wrong("list_type")
    return value


def _dict(value: Any, strict: bool) -> dict[str, Any]:
    del strict
    if not isinstance(value, dict):
        raise _Wrong("dict_type")
    return value


_CONVERT = {
    "integer": _integer,
    "number": _number,
    "string": _string,
    "boolean": _boolean,
    "array": _list,
    "object": _dict,
}


def _wrong(flavour: Flavour, problems: list[tuple[list[str], Any, _Wrong]]) -> Answer:
    say = _in_pydantic_2 if flavour.base == "forge" else _in_pydantic_1
    return json_answer({"detail": [say(loc, given, wrong) for loc, given, wrong in problems]}, 422)


def _in_pydantic_2(loc: list[str], given: Any, wrong: _Wrong) -> dict[str, Any]:
    if wrong.limit:
        code, words, limit = wrong.limit
        kind = words.replace(" or equal to", "_equal").replace(" than", "_than").replace(" ", "_")
        entry = {"type": kind, "loc": loc, "msg": f"Input should be {words} {limit:g}", "input": given}
        return entry | {"ctx": {code: limit}, "url": _URL + kind}
    return {"type": wrong.kind, "loc": loc, "msg": _V2[wrong.kind], "input": given, "url": _URL + wrong.kind}


def _in_pydantic_1(loc: list[str], given: Any, wrong: _Wrong) -> dict[str, Any]:
    del given
    if wrong.limit:
        code, words, limit = wrong.limit
        msg = f"ensure this value is {words} {limit:g}"
        return {"loc": loc, "msg": msg, "type": f"value_error.number.not_{code}", "ctx": {"limit_value": limit}}
    msg, kind = _V1[wrong.kind.split("_")[0]]
    return {"loc": loc, "msg": msg, "type": kind}
