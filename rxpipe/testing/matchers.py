"""Compare what was emitted with what was expected: by equality, type, predicate, matcher; errors by type and message.

Stricter than `==` where `==` surprises: True is not 1, an error is not another error with the same text, and arrays
and images compare by shape and content. The one surprise of ours: a function as expectation is a predicate.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

from rxpipe.testing.values import fields_of, is_array, key_of, short

if TYPE_CHECKING:
    from PIL.Image import Image


class Matcher(Protocol):
    """An expectation with its own comparison; failures show its repr."""

    def matches(self, actual: object) -> bool:
        """Return whether *actual* is what was expected."""


Unlike = tuple[str, Any, Any]
"""A part that does not match: its path, what was expected there, what came."""


class Matching:
    """A matcher from a predicate and the words that describe it.

    explain: the parts of an actual value that make it not match; if not given, the whole.
    """

    def __init__(
        self,
        predicate: Callable[[Any], bool],
        words: str,
        explain: Callable[[Any], Sequence[Unlike]] | None = None,
    ) -> None:
        self._predicate = predicate
        self._words = words
        self._explain = explain

    def explain(self, actual: object) -> Sequence[Unlike]:
        """Return the parts of *actual* that do not match; with an empty path the whole."""
        return (self._explain(actual) if self._explain is not None else ()) or [("", self, actual)]

    def matches(self, actual: object) -> bool:
        """Return whether the predicate holds for *actual*; an exception of it belongs to the test and propagates."""
        return bool(self._predicate(actual))

    def __repr__(self) -> str:
        return self._words


def matches(expected: object, actual: object) -> bool:
    """Return whether *actual* matches *expected*.

    In this order: a matcher decides; the same object matches; an exception matches by exact type and message, a group
    by its members too; a type matches its instances; a function is asked; arrays and images compare shape and content;
    containers element by element; everything else by `==`, where a bool only equals a bool.
    """
    if hasattr(type(expected), "matches"):  # as isinstance(expected, Matcher), at a tenth of the cost
        return bool(cast("Matcher", expected).matches(actual))
    if expected is actual:
        return True
    if isinstance(expected, BaseException):
        return _same_error(expected, actual)
    if isinstance(expected, type):
        return isinstance(actual, expected)
    if callable(expected) and hasattr(expected, "__code__"):
        return bool(expected(actual))
    if is_array(expected) or is_array(actual):
        return same_pixels(expected, actual, 0.0)
    return _same_container(expected, actual)


def _same_error(expected: BaseException, actual: object) -> bool:
    if type(expected) is not type(actual) or str(expected) != str(actual):
        return False
    if isinstance(expected, BaseExceptionGroup) and isinstance(actual, BaseExceptionGroup):
        return _all_match(expected.exceptions, actual.exceptions)  # the text of a group counts them only
    return True


def _same_container(expected: object, actual: object) -> bool:
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return expected.keys() == actual.keys() and all(matches(expected[key], actual[key]) for key in expected)
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        return _same_kind(expected, actual) and _all_match(expected, actual)
    if isinstance(expected, bool) is not isinstance(actual, bool):
        return False
    try:
        if expected == actual:
            return True
    except (TypeError, ValueError):  # an array inside, whose truth is ambiguous
        return _same_fields(expected, actual)
    return fields_of(expected) is not None and key_of(expected) is None and _same_fields(expected, actual)


def _same_fields(expected: object, actual: object) -> bool:
    """Whether two models of one type match field by field: what holds an array or a matcher has no `==` to ask."""
    names = fields_of(expected)
    return (
        names is not None
        and type(expected) is type(actual)
        and all(matches(getattr(expected, name, None), getattr(actual, name, None)) for name in names)
    )


def _same_kind(expected: Sequence[object], actual: Sequence[object]) -> bool:
    return isinstance(expected, list) is isinstance(actual, list) and len(expected) == len(actual)


def _all_match(expected: Sequence[object], actual: Sequence[object]) -> bool:
    return all(matches(one, other) for one, other in zip(expected, actual, strict=True))


def same_pixels(expected: object, actual: object, tolerance: float) -> bool:
    """Return whether two arrays, images or numbers have one shape and no element differs by more than *tolerance*."""
    if is_array(expected) is not is_array(actual) or getattr(expected, "mode", None) != getattr(actual, "mode", None):
        return False
    if not is_array(expected):
        return _same_numbers(expected, actual, tolerance)
    if hasattr(expected, "tobytes") and hasattr(expected, "mode"):
        return _same_pictures(cast("Image", expected), cast("Image", actual), tolerance)
    import numpy as np  # noqa: PLC0415 - only a test with arrays pays for numpy, and has it

    one, other = np.asarray(expected), np.asarray(actual)
    if one.shape != other.shape:
        return False
    if one.dtype.kind not in "biufc" or other.dtype.kind not in "biufc":
        return bool(np.array_equal(one, other))
    if not tolerance:
        return bool(np.array_equal(one, other, equal_nan=True))
    wide = complex if "c" in (one.dtype.kind, other.dtype.kind) else float
    return bool(np.allclose(one.astype(wide), other.astype(wide), rtol=0, atol=tolerance, equal_nan=True))


def _same_numbers(one: object, other: object, tolerance: float) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(same_pixels(*pair, tolerance) for pair in zip(one, other, strict=True))
    if isinstance(one, int | float | complex) and isinstance(other, int | float | complex):
        return one == other or abs(one - other) <= tolerance or (one != one and other != other)  # noqa: PLR0124 - NaN
    return bool(one == other)


def _same_pictures(one: Image, other: Image, tolerance: float) -> bool:
    """Whether two Pillow images of one mode are alike; without numpy, which a test of pictures may not have."""
    if one.size != other.size:
        return False
    scale = 1 / 255 if one.mode == "1" else 1  # what is 0 and 1 there is 0 and 255 in bytes
    a, b = (_samples(image) for image in (one, other))
    return a == b or all(_same_numbers(x * scale, y * scale, tolerance) for x, y in zip(a, b, strict=True))


def _samples(image: Image) -> array[Any]:
    picture = image.convert("L") if image.mode == "1" else image
    return array(_SAMPLES.get(image.mode, "B"), picture.tobytes())


_SAMPLES = {"I": "i", "F": "f", "I;16": "H"}
"""How modes of more than 8 bits a channel lie in memory."""


def close_to(expected: object, tolerance: float = 1e-6) -> Matching:
    """Match a number, an array or an image of the same shape (and mode) within *tolerance* per element."""
    return Matching(
        lambda actual: same_pixels(expected, actual, tolerance), f"close_to({short(expected)}, {tolerance})"
    )


def instance(kind: type, **fields: object) -> Matching:
    """Match an instance of *kind* whose attributes match *fields*, each by the rules of `matches`."""
    words = ", ".join(f"{name}={short(value)}" for name, value in fields.items())
    return Matching(
        lambda actual: (
            isinstance(actual, kind)
            and all(hasattr(actual, name) and matches(value, getattr(actual, name)) for name, value in fields.items())
        ),
        f"{kind.__name__}({words})",
        lambda actual: [
            (f".{name}", value, getattr(actual, name, None))
            for name, value in fields.items()
            if isinstance(actual, kind) and not matches(value, getattr(actual, name, None))
        ],
    )


def error_like(kind: type[BaseException], message: str = "") -> Matching:
    """Match an error of *kind* or a subclass whose text contains *message*."""
    return Matching(
        lambda actual: isinstance(actual, kind) and message in str(actual), f"{kind.__name__}(...{message}...)"
    )


def one_of(*expected: object) -> Matching:
    """Match what matches any of *expected*."""
    words = " or ".join(map(short, expected))
    return Matching(lambda actual: any(matches(each, actual) for each in expected), words)


def anything() -> Matching:
    """Match every value."""
    return Matching(lambda _: True, "anything")


def _event(kind: str) -> Callable[..., Matching]:
    def matcher(**fields: object) -> Matching:
        from rxpipe import events  # noqa: PLC0415 - a test of plain Rx streams pays for no pipeline

        renamed = {"stage_type" if name == "stage" else name: value for name, value in fields.items()}
        return instance(getattr(events, kind), **renamed)

    matcher.__doc__ = f"Match a `{kind}` whose fields match; `stage` stands for `stage_type`."
    return matcher


run_start = _event("RunStart")
stage_start = _event("StageStart")
stage_step = _event("StageStep")
stage_image = _event("StageImageProgress")
stage_retry = _event("StageRetry")
stage_end = _event("StageEnd")
stage_failed = _event("StageFailed")
stage_cancelled = _event("StageCancelled")
run_end = _event("RunEnd")
