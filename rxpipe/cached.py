"""cached_value: a property that is computed once, without a lock.

`functools.cached_property` of Python 3.11 holds one lock per class while it computes: a slow value of one run would
stall every other run that computes its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class cached_value(Generic[_T]):  # noqa: N801  # used as `property` is
    """Compute a property on first access and keep it in the instance.

    Two threads that access it at the same time may both compute it, so the function must be pure.
    """

    def __init__(self, function: Callable[[Any], _T]) -> None:
        self._function = function
        self._name = function.__name__
        self.__doc__ = function.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type | None = None) -> _T: ...

    def __get__(self, instance: object | None, owner: type | None = None) -> Self | _T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self._function(instance)
        return value
