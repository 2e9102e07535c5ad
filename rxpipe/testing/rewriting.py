"""Snapshot mode: an expectation that differs is rewritten in the test's file, where it stands there as a text.

`pytest --marbles-update` does it, when all tests have run. Rewritten is only what then passes: a text given to `to_be`
of a stream, of its subscriptions or of a timeline, to `to_be_so_far`, or to `==`, on the line that failed, whose values
the test names.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.testing.origin import current_line, relative

if TYPE_CHECKING:
    from collections.abc import Iterator

__tracebackhide__ = True  # pytest shows the test's line, not ours

METHODS = frozenset({"to_be", "to_be_so_far"})


class _Place(NamedTuple):
    """A text in a file: its line, 1.., and where on it, in bytes."""

    line: int
    begin: int
    end: int


class Rewrites:
    """What is to be rewritten, by file and place."""

    def __init__(self) -> None:
        self._proposed: dict[str, dict[_Place, tuple[str, str]]] = {}

    def propose(self, old: str, new: str) -> bool:
        """Plan to write *new* for *old* on the test's line that runs now; return whether it stands there as a text."""
        path, line = current_line()
        places = list(_places(path, line, old)) if path else []
        if len(places) != 1 or '"' in new or "\\" in new:
            return False
        known = self._proposed.setdefault(path, {}).setdefault(places[0], (old, new))
        return known == (old, new)  # a test with parameters may want several texts in one place

    def apply(self) -> list[str]:
        """Write the files; return what was done, a line for each."""
        done = []
        for path, places in self._proposed.items():
            lines = Path(path).read_bytes().splitlines(keepends=True)
            for place, (_, new) in sorted(places.items(), reverse=True):
                text = lines[place.line - 1]
                lines[place.line - 1] = text[: place.begin] + f'"{new}"'.encode() + text[place.end :]
            Path(path).write_bytes(b"".join(lines))
            done += [f'{relative(path)}:{at.line}: "{old}" is now "{new}"' for at, (old, new) in sorted(places.items())]
        return done


def _places(path: str, line: int, text: str) -> Iterator[_Place]:
    """Yield where *text* stands as an expectation in the statement of that line."""
    for node in ast.walk(ast.parse(Path(path).read_bytes())):
        if not isinstance(node, ast.Call | ast.Compare) or not node.lineno <= line <= (node.end_lineno or 0):
            continue
        for given in _expectations(node):
            if isinstance(given, ast.Constant) and given.value == text and given.lineno == given.end_lineno:
                yield _Place(given.lineno, given.col_offset, given.end_col_offset or 0)


def _expectations(node: ast.Call | ast.Compare) -> list[ast.expr]:
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        return sides + [each.elts[0] for each in sides if isinstance(each, ast.Tuple) and each.elts]
    if not isinstance(node.func, ast.Attribute) or node.func.attr not in METHODS:
        return []
    given = [*node.args, *(each.value for each in node.keywords)]
    tables = [each.values for each in given if isinstance(each, ast.Dict)]
    return [*given, *(value for values in tables for value in values)]
