"""Names for values in a diagram: the expected ones, a value's own text if that is short, else a free letter.

Equal values share a name. What a name stands for is in the legend. Ten thousand values take a moment, not minutes:
values are found by a key, and only matchers are asked one after another, so many times and no more.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from rxpipe.testing.grammar import Mark
from rxpipe.testing.signals import Recorded, same_thing
from rxpipe.testing.values import is_expectation, key_of, short

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

__tracebackhide__ = True  # pytest shows the test's line, not ours

LETTERS = "abcdefghijklmnopqrstuvwxyz"
LONGEST = 16
MOST_COMPARISONS = 20_000
MOST_SEEN = 3


def name_values(marks: Sequence[Recorded], known: Sequence[Recorded] = ()) -> tuple[tuple[Mark, ...], dict[str, str]]:
    """Return names for *marks*, those of *known* where the values match, and a legend for names that are not enough."""
    names = Names(known)
    return names.row(marks), names.legend()


def _plain(value: object) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


class Names:
    """The names of the values in one failure or picture; the names of *known* are kept."""

    def __init__(self, known: Sequence[Recorded] = ()) -> None:
        self._values: dict[str, Recorded] = {}
        self._by_key: dict[Hashable, str] = {}
        self._to_ask: list[Recorded] = []
        self._seen: dict[str, list[str]] = {}
        self._free = itertools.chain(LETTERS, (f"v{n}" for n in itertools.count()))
        self._asked = 0
        for recorded in known:
            if recorded.kind == "next" and recorded.name and recorded.name not in self._values:
                self._take(recorded.name, recorded, key_of(recorded.value))

    def row(self, marks: Sequence[Recorded], beside: Sequence[Recorded] = ()) -> tuple[Mark, ...]:
        """Return *marks* named. beside: what was expected of each, which a matcher is asked about first."""
        pairs = itertools.zip_longest(marks, beside)
        return tuple(Mark(mark.at, mark.kind, self._of(mark, other)) for mark, other in pairs if mark is not None)

    def _take(self, name: str, recorded: Recorded, key: Hashable | None) -> str:
        self._values[name] = recorded._replace(name=name)
        if key is None:
            self._to_ask.append(self._values[name])
        else:
            self._by_key.setdefault(key, name)
        return name

    def _of(self, recorded: Recorded, beside: Recorded | None) -> str:
        if recorded.kind != "next" or recorded.name:
            return recorded.name
        key = key_of(recorded.value)
        if key is not None and (name := self._by_key.get(key)) is not None:
            return name
        if (name := self._matching(recorded, beside)) is not None:
            return name
        own = _plain(recorded.value)
        fits = 0 < len(own) <= LONGEST and not set(own) & set("{}\n") and own not in self._values
        return self._take(own if fits else next(n for n in self._free if n not in self._values), recorded, key)

    def _matching(self, recorded: Recorded, beside: Recorded | None) -> str | None:
        first = [beside] if beside is not None and beside.name in self._values else []
        for known in itertools.chain(first, self._to_ask):
            if self._asked >= MOST_COMPARISONS:
                return None
            self._asked += 1
            if same_thing(known, recorded):
                self._note(known, recorded)
                return known.name
        return None

    def _note(self, known: Recorded, recorded: Recorded) -> None:
        """Remember what a matcher let through, so that its name in the legend does not hide it."""
        seen = self._seen.setdefault(known.name, [])
        if is_expectation(known.value) and len(seen) <= MOST_SEEN and (text := short(recorded.value, 40)) not in seen:
            seen.append(text)

    def legend(self, names: Sequence[str] | None = None) -> dict[str, str]:
        """Return what *names* stand for, where their text is not enough; None for all."""
        found = {}
        for name in self._values if names is None else names:
            if name not in self._values:  # a name that the recording gave itself says all
                continue
            value = self._values[name].value
            text = short(value)
            if name in {text, _plain(value)}:
                continue
            found[name] = text + self._came(name)
        return found

    def _came(self, name: str) -> str:
        seen = [text for text in self._seen.get(name, ()) if text]
        more = ", ..." if len(seen) > MOST_SEEN else ""
        return f"; came: {', '.join(seen[:MOST_SEEN])}{more}" if seen else ""
