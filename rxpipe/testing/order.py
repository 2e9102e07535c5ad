"""The order across streams: who emitted what before whom, whatever the times are."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.testing.diagram import aligned
from rxpipe.testing.grammar import FRAME_US, Mark, parse
from rxpipe.testing.mismatch import ROW, shown
from rxpipe.testing.naming import Names
from rxpipe.testing.origin import placed
from rxpipe.testing.signals import Recorded, Values, resolve, same_thing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rxpipe.testing.recording import Recording

__tracebackhide__ = True  # pytest shows the test's line, not ours


class _Signal(NamedTuple):
    recording: Recording
    recorded: Recorded


def require_order(rows: Mapping[Recording, str], values: Values, line: str) -> None:
    """Fail unless the streams emitted what *rows* show, in that order; marks in one column come in any order.

    Raises:
        AssertionError: names the first that came out of turn, and draws both orders, a frame a signal.
    """
    wanted = [
        (mark.at, _Signal(recording, mark))
        for recording, text in rows.items()
        for mark in resolve(parse(text, past=False), values)
    ]
    wanted.sort(key=lambda pair: pair[0])
    columns = [[signal for _, signal in group] for _, group in groupby(wanted, key=lambda pair: pair[0])]
    came = [
        signal
        for _, signal in sorted(
            (number, _Signal(recording, recorded))
            for recording in rows
            for number, recorded in zip(recording.numbers, recording.messages, strict=True)
        )
    ]
    if (why := _out_of_turn(columns, list(came))) is not None:
        raise AssertionError(_text(why, list(rows), columns, came, line))


def _out_of_turn(columns: Sequence[Sequence[_Signal]], came: list[_Signal]) -> str | None:
    for column in columns:
        left = list(column)
        while left:
            if not came:
                return f"{_of(left[0])} is missing"
            signal = came.pop(0)
            found = next((each for each in left if _same(each, signal)), None)
            if found is None:
                return f"{_of(signal)} came before {_of(left[0])}"
            left.remove(found)
    return f"{_of(came[0])} was not expected" if came else None


def _same(one: _Signal, other: _Signal) -> bool:
    return one.recording is other.recording and same_thing(one.recorded, other.recorded)


def _of(signal: _Signal) -> str:
    return f"{shown(signal.recorded)} of {signal.recording.name or 'a stream'}"


def _text(why: str, rows: list[Recording], columns: Sequence[Sequence[_Signal]], came: list[_Signal], line: str) -> str:
    names = Names([signal.recorded for column in columns for signal in column])
    expected = _drawn("expected", rows, columns, names)
    actual = _drawn("actual", rows, [[signal] for signal in came], names)
    legend = [f"{name} = {meaning}" for name, meaning in names.legend().items()]
    parts = [*expected, "", *actual, *([""] if legend else []), *legend, "", *placed(line)]
    return "\n".join([f"order: {why}", "", *(f"  {part}".rstrip() for part in parts)])


def _drawn(label: str, rows: list[Recording], columns: Sequence[Sequence[_Signal]], names: Names) -> list[str]:
    marks: dict[int, list[Mark]] = {id(row): [] for row in rows}
    for frame, column in enumerate(columns):
        for signal in column:
            (mark,) = names.row([signal.recorded])
            marks[id(signal.recording)].append(mark._replace(at=frame * FRAME_US))
    named: Any = [(f"{label} {row.name or n}", marks[id(row)]) for n, row in enumerate(rows, 1)]
    return aligned(named, (), ROW)
