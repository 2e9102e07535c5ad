"""A recorded stream as the text of a test: its diagram, its values as Python writes them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from reactivex import Observable

from rxpipe.testing.clock import MarbleError
from rxpipe.testing.marbles import Marbles
from rxpipe.testing.naming import Names
from rxpipe.testing.rendering import render

if TYPE_CHECKING:
    from rxpipe.testing.recording import Recording
    from rxpipe.testing.signals import Recorded


def stream_as_test(source: Recording | Observable[Any] | Any, name: str) -> str:
    """Return a test module in which a source emits what was recorded and an operator of yours can stand.

    Args:
        source: a recording; or a stream, which is run to its end in virtual time.
        name: of the test.

    Raises:
        MarbleError: a value or an error whose `repr` is no Python, or a stream as a value.
    """
    messages = tuple(_run(source) if isinstance(source, Observable) else source.messages)
    names = Names()
    marks = names.row(messages)
    values = {mark.name: each.value for mark, each in zip(marks, messages, strict=True) if each.kind == "next"}
    plain = all(isinstance(value, str) and value == name for name, value in values.items())
    error = next((each.value for each in messages if each.kind == "error"), None)
    table = [] if plain else ["    values = {", *(f"        {key!r}: {_code(values[key])}," for key in values), "    }"]
    given = ("" if plain else ", values") + ("" if error is None else ", error=error")
    lines = [
        *(f"def {name}(marbles):",),
        *table,
        *([] if error is None else [f"    error = {_code(error)}"]),
        f'    source = marbles.cold("{render(marks)}"{given})',
        f'    marbles.expect(source).to_be("{render(marks)}"{given})',
    ]
    return "\n".join(lines) + "\n"


def _run(stream: Observable[Any]) -> list[Recorded]:
    with Marbles() as marbles:
        recording = marbles.expect(stream)
        marbles.run()
        return recording.accept().messages


def _code(value: object) -> str:
    text = repr(value)
    try:
        ast.parse(text, mode="eval")
    except SyntaxError as error:
        kind = type(value).__name__
        raise MarbleError(
            f"A value of type {kind} cannot be written as code: {text[:60]}.", hint="Map it first."
        ) from error
    return text
