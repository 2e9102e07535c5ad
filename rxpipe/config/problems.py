"""Describe what is wrong with a config, in the terms of a config file: one line per wrong setting."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel

from rxpipe.config.fields import names_at, sections
from rxpipe.config.foreign import advice
from rxpipe.errors import suggestion
from rxpipe.shown import cut, escaped, shown

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_WANTED = {
    "missing": "missing; it has no default",
    "int_type": "should be a whole number",
    "int_parsing": "should be a whole number",
    "int_from_float": "should be a whole number",
    "float_type": "should be a number",
    "float_parsing": "should be a number",
    "finite_number": "should be a finite number",
    "bool_type": "should be true or false",
    "bool_parsing": "should be true or false",
    "string_type": "should be text",
    "string_too_short": "should not be empty",
    "path_type": "should be a path",
    "tuple_type": "should be a list",
    "dict_type": "should be a table of keys and values",
    "model_type": "should be a section, a table of settings",
    "model_attributes_type": "should be a section, a table of settings",
    "invalid_key": "names of settings are text",
    "greater_than": "should be above {gt}",
    "greater_than_equal": "should be at least {ge}",
    "less_than_equal": "should be at most {le}",
    "recursion_loop": "refers to itself",
}
"""What is allowed, in the terms of a config file and not of Python, by pydantic's type of error."""

_MOST = 50
"""Problems that one error lists; looking for the nearest names of very many keys takes minutes."""

_LONGEST_MESSAGE = 300
"""Characters of what pydantic says, which may quote the value."""


def problems_of(error: ValidationError, model: type[BaseModel], root: type[BaseModel]) -> list[str]:
    """Return one line per wrong setting of *model*: stage, setting, the value, what is allowed.

    A name that *model* does not have is searched in all sections below *root*.
    """
    section = getattr(model, "section", "")
    prefix = () if section in {"", "pipeline"} else (section,)
    details = error.errors(include_url=False)
    problems = [_problem(model, prefix, detail, root) for detail in details[:_MOST]]
    return [*problems, f"and {len(details) - _MOST:,} more"] if len(details) > _MOST else problems


def _problem(model: type[BaseModel], prefix: tuple[str, ...], detail: ErrorDetails, root: type[BaseModel]) -> str:
    where = ".".join([*prefix, *(escaped(cut(str(key))) for key in detail["loc"])]) or model.__name__
    if detail["type"] == "extra_forbidden":
        names = names_at(model, detail["loc"][:-1])
        return f"{where}: unknown key; {_nearest(cut(str(detail['loc'][-1])), names, root)}"
    message = wanted(detail)
    if isinstance(detail["input"], Mapping | BaseModel):
        return f"{where}: {message}"
    return f"{where}: got {shown(detail['input'])}, {message}"


def wanted(detail: ErrorDetails) -> str:
    """Return what is allowed in place of a value that pydantic refused."""
    text = _WANTED.get(detail["type"])
    if text is not None:
        text = text.format(**detail.get("ctx", {}))
    else:
        text = detail["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
    return escaped(cut(text, _LONGEST_MESSAGE))


def _nearest(name: str, names: list[str], root: type[BaseModel]) -> str:
    if (known := advice(name, names)) is not None:
        return known
    homes = [path for path, model in sections(root) if name in model.model_fields]
    if homes and not difflib.get_close_matches(name, names, n=1, cutoff=0.8):
        return f"it is a setting of {', '.join(homes)}"
    return suggestion(name, names)
