"""Names in `values` that no diagram has: most likely misspelt, and never compared.

Letters are let pass, as tables of them are shared by many diagrams; a name of several characters is meant for one.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rxpipe.testing.clock import MarbleError

if TYPE_CHECKING:
    from rxpipe.testing.grammar import Diagram

__tracebackhide__ = True  # pytest shows the test's line, not ours


class NamesUsed:
    """The names that the diagrams of a test have, for each mapping of values that came with them."""

    def __init__(self) -> None:
        self._tables: dict[int, tuple[Mapping[Any, Any], set[str], str]] = {}

    def note(self, values: Any, diagram: Diagram, line: str) -> None:
        """Note that *values* came with *diagram*.

        Raises:
            MarbleError: a key of *values* is neither a text nor a number.
        """
        if not isinstance(values, Mapping):
            return
        wrong = [key for key in values if not isinstance(key, str | int)]
        if wrong:
            raise MarbleError(f"values has a key {wrong[0]!r}, which is no name.", hint="Keys are texts, or digits.")
        _, names, _ = self._tables.setdefault(id(values), (values, set(), line))
        names.update(mark.name for mark in diagram.marks)

    def require_used(self) -> None:
        """Fail if a table of values has a long name that none of its diagrams has.

        Raises:
            MarbleError: names it, and the nearest in the diagrams.
        """
        for values, names, line in self._tables.values():
            for key in values:
                if isinstance(key, str) and len(key) > 1 and key.isascii() and key not in names:
                    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
                    hint = f"Did you mean {near[0]!r}?" if near else f"They have {', '.join(sorted(names)) or 'none'}."
                    raise MarbleError(f"values has {key!r}, which no diagram has that it came with. {hint}\n  {line}")
