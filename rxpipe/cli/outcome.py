"""How a command ends: exit codes, error messages, and closed pipes."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn

import typer

from rxpipe.errors import BadImage, ConfigError, PlanError, ResumeError, RxPipeError
from rxpipe.shown import plain

if TYPE_CHECKING:
    from collections.abc import Iterator


_OUT_ARGUMENT = re.compile(r"with out=(?=[.\s]|$)")  # what the library calls it, and people here do not


class Exit(IntEnum):
    """The exit codes of a command."""

    COMPLETED = 0
    FAILED = 1
    USAGE = 2
    PARTIAL = 3
    CANCELLED = 130


def problem(text: str) -> None:
    """Print one line on stderr, prefixed with the program's name."""
    _to_stderr(f"rxpipe: {_OUT_ARGUMENT.sub('with --out', text)}")


def _to_stderr(text: str) -> None:
    with contextlib.suppress(OSError):  # stderr is closed: there is nowhere left to report it
        typer.echo(plain(text, getattr(sys.stderr, "encoding", None) or "utf-8"), err=True)


@contextlib.contextmanager
def report_errors() -> Iterator[None]:
    """Print an error as a message without a traceback and exit with its code."""
    try:
        yield
    except ConfigError as error:
        _print_problems(error)
    except (PlanError, BadImage, ResumeError) as error:
        _leave(str(error), Exit.USAGE)
    except RxPipeError as error:
        _leave(str(error), Exit.FAILED)


def _print_problems(error: ConfigError) -> NoReturn:
    count = len(error.problems)
    if count == 1:
        _leave(str(error), Exit.USAGE)
    problem(f"{count} settings are wrong, so nothing was run:")
    for line in error.problems:
        _to_stderr(f"  {line}")
    if error.hint:
        _to_stderr(f"  {error.hint}")
    raise typer.Exit(Exit.USAGE)


def _leave(text: str, code: Exit) -> NoReturn:
    problem(text)
    raise typer.Exit(code)


def open_closed_streams() -> None:
    """Open what the caller has closed (`>&-`) to nowhere: else the next file or socket would become stdout."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115  # by number, as long as the program


def escape_unencodable() -> None:
    """Let stdout and stderr escape what their encoding cannot hold, where they would raise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_stdout() -> None:
    """Flush stdout; with its reader gone (`| head`), leave nothing for the interpreter's own flush to complain of.

    Raises:
        SystemExit: what was printed could not be written, so that the command did not succeed.
    """
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except (OSError, ValueError) as error:
        lose_stdout(error)
        raise SystemExit(Exit.FAILED) from None


def lose_stdout(error: OSError | ValueError) -> None:
    """Report that stdout cannot be written, unless its reader has left; nothing more goes there."""
    if not isinstance(error, BrokenPipeError):
        problem(f"the output cannot be written: {getattr(error, 'strerror', None) or error}")
    _drop_stdout()


def _drop_stdout() -> None:
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
