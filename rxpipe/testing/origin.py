"""The lines of a test: the one that is running, the one that raised; none of Rx, of the kit or of Python."""

from __future__ import annotations

import functools
import linecache
import os
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import reactivex

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__tracebackhide__ = True  # pytest shows the test's line, not ours

KIT = str(Path(__file__).parent) + os.sep
PACKAGE = str(Path(__file__).parents[1]) + os.sep
OPERATORS = PACKAGE + "rx" + os.sep
MOST_NOTES = 3
RX = str(Path(reactivex.__file__).parent) + os.sep
INTERPRETER = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})

Line = tuple[str, int]
"""A file and the number of a line in it; "" and 0 for none."""


@functools.lru_cache(maxsize=4096)
def is_own(path: str) -> bool:
    """Return whether a file is neither Rx's nor rxpipe's nor the interpreter's: the test, or what it tests."""
    return not path.startswith((PACKAGE, RX, "<")) and not path.startswith(INTERPRETER)


@functools.lru_cache(maxsize=4096)
def _is_passed_over(path: str) -> bool:
    return path.startswith((PACKAGE, RX))


def current_line(depth: int = 1) -> Line:
    """Return the innermost line that runs now and is neither Rx's nor rxpipe's."""
    frame: FrameType | None = sys._getframe(depth)  # noqa: SLF001 - the cheap way to a line; inspect reads files
    while frame is not None and _is_passed_over(frame.f_code.co_filename):
        frame = frame.f_back
    return ("", 0) if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def is_in_pipeline() -> bool:
    """Return whether a run of rxpipe does what is done now, and not the kit, the test or an operator."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - as above
    while frame is not None and frame.f_code.co_filename.startswith((RX, KIT, OPERATORS)):
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(PACKAGE)


def show(line: Line) -> str:
    """Return a line as `file:line: source`; nothing for no line."""
    path, number = line
    return f"{relative(path)}:{number}: {linecache.getline(path, number).strip()}" if path else ""


def placed(where: str, width: int = 70) -> list[str]:
    """Return a place, `file:line: source`, in a line or two, and what follows it."""
    first, _, rest = where.partition("\n")
    place, _, source = first.partition(": ")
    cut = source if len(source) <= width - 4 else source[: width - 7] + "..."
    lines = [first] if len(first) <= width else [f"{place}:", f"    {cut}"]
    return [*lines, *rest.split("\n")] if rest else lines


def relative(path: str) -> str:
    """Return *path* relative to the current folder, if it lies in it; a notebook's cell by that name."""
    return "cell" if "ipykernel" in path else path.removeprefix(os.getcwd() + os.sep)  # noqa: PTH109 - at a tenth of the cost of a Path


def shortened(path: str) -> str:
    """Return *path* from its package on if it is Rx's, relative if it is in the current folder."""
    return f"reactivex/{path[len(RX) :]}" if path.startswith(RX) else relative(path)


def raised_at(error: object) -> list[str]:
    """Return where *error* was raised in code of one's own, its function and line, its notes, and what caused it."""
    if not isinstance(error, BaseException):  # an expectation: a type, a matcher
        return []
    frames = list(_frames(error))
    own = next((frame for frame in reversed(frames) if is_own(frame[0])), None)
    lines = []
    if own is not None:
        path, number, function = own
        source = linecache.getline(path, number).strip()
        lines = [f"raised in {function}, {relative(path)}:{number}", f"  {source[:60]}"]
    notes = [str(note) for note in getattr(error, "__notes__", ())]
    lines += [f"note: {note.splitlines()[0] if note.strip() else ''}"[:68] for note in notes[:MOST_NOTES]]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines if cause is None else [*lines, f"caused by {cause!r}"[:68]]


def _frames(error: BaseException) -> Iterator[tuple[str, int, str]]:
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        yield code.co_filename, trace.tb_lineno, code.co_name
        trace = trace.tb_next
