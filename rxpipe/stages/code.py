"""What a function is, so that a later process can tell whether it is still the same: its name, module and source."""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType

__all__ = ["code_identity"]

_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 5  # functions in closures of functions: what keep_best is made of and what it was given


def code_identity(function: Callable[..., Any]) -> Mapping[str, object]:
    """Return what a function is, as plain values: its name, its module, and a digest of its source.

    The source counts with that of the functions that it holds in its closure or has as defaults, not with those that
    it calls by name. Without a source, as at a prompt, its compiled code counts.
    """
    inner = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    named = inner if hasattr(inner, "__qualname__") else type(inner)
    digest = hashlib.sha256()
    for text in _texts(inner, _DEEPEST):
        digest.update(text.encode(errors="surrogatepass"))
    return {
        "function": str(getattr(named, "__qualname__", named)),
        "module": str(getattr(named, "__module__", "")),
        "source": digest.hexdigest()[:32],
    }


def _texts(value: object, depth: int) -> Iterator[str]:
    """Yield the sources of a function and of what it holds; of any other value what it prints as."""
    if isinstance(value, functools.partial):
        yield from _texts((value.func, value.args, sorted(value.keywords.items())), depth)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item, depth)
    elif not inspect.isroutine(value) and not inspect.isclass(value):
        yield _shown(value)
    elif depth:
        yield _source(value)
        if inspect.isfunction(value):
            yield from _texts((value.__defaults__, [_content(cell) for cell in value.__closure__ or ()]), depth - 1)


def _shown(value: object) -> str:
    try:
        return _ADDRESS.sub("", repr(value))
    except Exception:  # noqa: BLE001  # whatever a value's own repr raises
        return type(value).__name__


def _content(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not set yet
        return None


def _source(function: Any) -> str:
    try:
        return inspect.getsource(function)
    except (OSError, TypeError):
        code: CodeType | None = getattr(function, "__code__", None)
        return repr(function) if code is None else f"{code.co_code!r} {_shown(code.co_consts)}"
