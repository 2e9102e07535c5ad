"""The arguments of a user's function: bound, checked by its annotations, and as the plain values that are recorded."""

from __future__ import annotations

import inspect
import json
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from rxpipe.errors import ConfigError
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Arguments", "bind", "parameters_of", "plain", "stage_name"]


class Arguments(NamedTuple):
    """The arguments of a call, as the function gets them and as they are recorded."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    recorded: dict[str, Any]


def stage_name(function: object, default: str = "operator") -> str:
    """Return the name of a stage made of *function*: its own if that is an identifier, else *default*."""
    name = str(getattr(function, "__name__", "")).strip("_")
    return name if name.isidentifier() else default


def parameters_of(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return what a user gives: all parameters but the artifact, which comes first, and `report`; of a class all.

    Raises:
        TypeError: it takes no artifact.
    """
    parameters = dict(inspect.signature(function).parameters)
    if not inspect.isclass(function):
        if not parameters:
            raise TypeError(f"{stage_name(function)}() takes no artifact; a stage's function takes one first")
        parameters.pop(next(iter(parameters)))
    parameters.pop("report", None)
    return parameters


def bind(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Arguments:
    """Return the arguments that follow the artifact, checked.

    An argument whose parameter has an annotation is converted to it as a setting of a config is: "3" to 3 for an int.

    Raises:
        TypeError: the function does not take these arguments after the artifact.
        ConfigError: a value is not what its annotation allows; lists them all.
    """
    name, taken = stage_name(function, "function"), parameters_of(function)
    signature = inspect.Signature(list(taken.values()))
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}(...): {error}; it takes {_taken(function)}") from None
    problems: list[str] = []
    hints = _hints(function)
    for key, value in bound.arguments.items():
        if key in hints and taken[key].kind not in {inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL}:
            bound.arguments[key] = _checked(f"{name}.{key}", value, hints[key], problems)
    if problems:
        raise ConfigError(problems)
    recorded = {key: plain(value) for key, value in bound.arguments.items()}
    return Arguments(bound.args, bound.kwargs, recorded)


def _taken(function: Callable[..., Any]) -> str:
    given = "" if inspect.isclass(function) else " and is given the first"
    return f"{inspect.signature(function)}{given}"


def _hints(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return the annotations that can be evaluated: those under TYPE_CHECKING cannot, and check nothing."""
    inner: Any = function.__init__ if inspect.isclass(function) else function
    inner = inner if inspect.isroutine(inner) else type(inner).__call__
    try:
        return typing.get_type_hints(inner, include_extras=True)
    except Exception:  # whatever evaluating the annotations of user code raises  # noqa: BLE001
        return _hints_one_by_one(inspect.unwrap(inner))


def _hints_one_by_one(function: Any) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, annotation in getattr(function, "__annotations__", {}).items():
        holder: Any = type("_Holder", (), {"__annotations__": {key: annotation}})
        try:
            found |= typing.get_type_hints(holder, getattr(function, "__globals__", {}), include_extras=True)
        except Exception:  # as above  # noqa: BLE001, S112
            continue
    return found


def _checked(where: str, value: Any, hint: Any, problems: list[str]) -> Any:
    try:
        is_model = isinstance(hint, type) and issubclass(hint, BaseModel)
        adapter: TypeAdapter[Any] = TypeAdapter(
            hint, config=None if is_model else ConfigDict(arbitrary_types_allowed=True)
        )
    except (PydanticUserError, TypeError, NameError):  # an annotation that says nothing of values
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        for each in error.errors()[:3]:
            inner = "".join(f".{part}" for part in each["loc"])
            problems.append(f"{where}{inner}: got {shown(value)}; {each['msg'][:1].lower()}{each['msg'][1:]}")
        return value


def plain(value: Any) -> Any:
    """Return a value as plain JSON: a path as text, a function by its name, what has no such form as it prints."""
    if isinstance(value, Path):
        return str(value)
    if inspect.isroutine(value):
        return stage_name(value)
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError):
        return repr(value)
