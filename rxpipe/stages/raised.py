"""What a user's function or operator raised, as an error that says where: file and line, the traceback as its cause."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.errors import RxPipeError, StageFunctionError
from rxpipe.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["cause_of", "function_error", "log_traceback"]

_PACKAGE = str(Path(__file__).parents[1])
_LIBRARIES = tuple({path for name in ("stdlib", "purelib", "platlib") if (path := sysconfig.get_path(name))})


def function_error(name: str, error: BaseException, *, retryable: bool = False) -> RxPipeError:
    """Return what a function raised as an error of the stage *name*; one of `rxpipe.errors` as it is.

    The message ends with the file, the line and the function where it was raised: the innermost of the user's own
    code, else of the library that it called.
    """
    if isinstance(error, RxPipeError):
        return error
    where = _where(error)
    message = f"{name} raised {type(error).__name__}: {error}" + (f" ({where})" if where else "")
    made = StageFunctionError(message, retryable=retryable)
    made.__cause__ = error
    return made


def cause_of(error: BaseException) -> BaseException:
    """Return what a person debugs: the exception of a user's function, with its traceback; else the error itself."""
    cause = error.__cause__
    return cause if isinstance(error, StageFunctionError) and cause is not None else error


def log_traceback(where: str, error: BaseException) -> None:
    """Write the whole traceback of what a user's function raised to the log."""
    cause = cause_of(error)
    if cause is not error:
        logger.opt(exception=cause).debug("{}: {}", where, type(cause).__name__)


def _where(error: BaseException) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(_PACKAGE)]
    frame = _last(frame for frame in frames if not frame.filename.startswith(_LIBRARIES)) or _last(frames)
    return f"{_short(frame.filename)}, line {frame.lineno}, in {frame.name}" if frame is not None else ""


def _last(frames: Iterable[traceback.FrameSummary]) -> traceback.FrameSummary | None:
    return next(iter(list(frames)[-1:]), None)


def _short(filename: str) -> str:
    """Return a path relative to the working directory if it lies below it; a cell's or a prompt's name as it is."""
    with contextlib.suppress(ValueError, OSError):
        return str(Path(filename).relative_to(Path.cwd()))
    return filename
