"""What a value is made of: its parts by name, a key that equals that of an equal value, one line to show it.

Nothing here compares; `matchers` does, and `difference` says where two values differ.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from reactivex import Observable

DEEPEST = 40
PLAIN = (str, bytes, bool, type(None))


def is_array(value: object) -> bool:
    """Return whether *value* is an array or a Pillow image: something whose `==` is no plain truth.

    A number of numpy's is none.
    """
    kind = type(value)  # what a value of any kind makes of unknown attributes does not matter
    if not (hasattr(kind, "__array_interface__") or hasattr(kind, "__array__")):
        return False
    return hasattr(kind, "__len__") or hasattr(value, "mode")


def fields_of(value: object) -> tuple[str, ...] | None:
    """Return the names of the fields that `==` of a dataclass, pydantic or attrs model compares; None for others."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.compare)
    if isinstance(models := getattr(kind, "model_fields", None), dict):
        return tuple(models)
    if isinstance(attributes := getattr(kind, "__attrs_attrs__", None), tuple):
        return tuple(attribute.name for attribute in attributes if attribute.eq)
    return None


def is_expectation(value: object) -> bool:
    """Return whether *value* is more than a value: a matcher, a type, a function that decides, or a stream."""
    return (
        hasattr(type(value), "matches")
        or isinstance(value, type | Observable)
        or (callable(value) and hasattr(value, "__code__"))
    )


def key_of(value: object, depth: int = 0) -> Hashable | None:
    """Return a key that equal values have in common and different ones have not; None where only a comparison decides.

    What cannot be looked into, such as an object with an `==` of its own that is not hashable, gives None.
    """
    if isinstance(value, PLAIN):
        return (type(value), value)
    if isinstance(value, int | float | complex):
        return ("number", value)
    if depth > DEEPEST or is_expectation(value) or hasattr(value, "messages"):
        return None
    if isinstance(value, BaseException):
        members = value.exceptions if isinstance(value, BaseExceptionGroup) else ()
        return (type(value), str(value), tuple(key_of(member, depth + 1) for member in members))
    if is_array(value):
        return _array_key(value)
    return _container_key(value, depth + 1)


def _array_key(value: Any) -> Hashable:
    mode_or_type = getattr(value, "mode", None) or str(getattr(value, "dtype", ""))
    shape = getattr(value, "shape", None) or getattr(value, "size", None)
    return ("array", mode_or_type, shape, value.tobytes()) if hasattr(value, "tobytes") else ("array", id(value))


def _container_key(value: object, depth: int) -> Hashable | None:
    if isinstance(value, Mapping):
        return _joined("mapping", (value.keys(), value.values()), depth)
    if isinstance(value, list | tuple):
        return _joined("list" if isinstance(value, list) else "tuple", (value,), depth)
    if isinstance(value, AbstractSet):
        return ("set", frozenset(value))
    names = fields_of(value)
    if names is not None:
        return _joined(type(value).__qualname__, ([getattr(value, name, None) for name in names],), depth)
    if type(value).__hash__ is None:
        return None
    try:
        return (type(value), hash(value), value)
    except Exception:  # noqa: BLE001 - of the value's own __hash__
        return None


def _joined(label: Hashable, parts: tuple[Any, ...], depth: int) -> Hashable | None:
    keys = [tuple(key_of(each, depth) for each in part) for part in parts]
    if any(key is None for part in keys for key in part):
        return None
    return (label, frozenset(zip(*keys, strict=True)) if len(keys) > 1 else keys[0])


def short(value: object, width: int = 60) -> str:
    """Return one line for a value in a failure; long ones are cut, arrays and images show their shape."""
    if isinstance(value, str) and value.isidentifier() and len(value) <= width:
        return value
    if is_array(value):
        return f"<{type(value).__name__} {getattr(value, 'shape', None) or getattr(value, 'size', '')}>"
    if isinstance(value, str | bytes | list | tuple | dict) and len(value) > width:
        return _beginning(value, width)
    return _cut(_described(value), width)


def _described(value: object) -> str:
    try:
        code = getattr(value, "__code__", None)
        if code is not None and getattr(value, "__name__", "") == "<lambda>":
            return f"the lambda of line {code.co_firstlineno}"
        return str(getattr(value, "__qualname__", None) or repr(value))
    except Exception:  # noqa: BLE001 - a repr that fails must not hide the failure that shows it
        return f"<{type(value).__name__} with a bad repr>"


def _beginning(value: Any, width: int) -> str:
    """Return the repr's beginning without making all of it."""
    if isinstance(value, dict):
        value = dict(zip(list(value)[:width], value.values(), strict=False))
    return _cut(repr(value[:width] if not isinstance(value, dict) else value) + " " * width, width)


def _cut(text: str, width: int) -> str:
    text = " ".join(text.split()) if len(text) <= width * 4 else " ".join(text[: width * 4].split()) + " " * width
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."
