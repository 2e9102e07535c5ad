"""Typer with help that prints no type for switches, and with messages of our own for a wrong command line."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from rxpipe.cli.outcome import problem
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_CommandLineError: Any = typer.BadParameter.__mro__[
    2
]  # of the parser in use, which typer has itself or takes from click


def _lighter(parameters: list[Any]) -> list[Any]:
    for parameter in parameters:
        if parameter.param_type_name == "option" and parameter.metavar is None:
            parameter.metavar = "" if parameter.is_flag else _value_of(parameter)
        if not isinstance(getattr(parameter.process_value, "__self__", None), _OnlyGiven):
            parameter.process_value = _OnlyGiven(parameter).process_value
    return parameters


def _value_of(parameter: Any) -> str | None:
    """Return what an option takes, as its help says it; None leaves that to typer, which names the type of Python."""
    return _VALUES.get(_kind_of(parameter))


def _kind_of(parameter: Any) -> Any:
    annotation = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
    return next(iter(get_args(annotation)), annotation)


def _check_paths(parameter: Any, value: object, context: Any) -> None:
    """Refuse an empty text for a path, as an unset variable of a shell gives it: it would be the working directory.

    Raises:
        typer.BadParameter: it is one.
    """
    given = value if isinstance(value, list | tuple) else (value,)
    if _kind_of(parameter) is Path and any(isinstance(text, str) and not text.strip() for text in given):
        raise typer.BadParameter("got '', should be a path", ctx=context, param=parameter)


_VALUES: dict[Any, str] = {int: "NUMBER", float: "NUMBER", str: "TEXT", Path: "PATH", datetime: "DATE"}


class _OnlyGiven:
    """Reads the value of an option only where one was given: typer builds a reader for each, of some milliseconds."""

    def __init__(self, parameter: Any) -> None:
        self._parameter, self._read = parameter, parameter.process_value

    def process_value(self, context: Any, value: Any) -> Any:
        """Return the value as the command takes it."""
        parameter = self._parameter
        if value is not None or parameter.required:
            _check_paths(parameter, value, context)
            return self._read(context, value)
        nothing = () if getattr(parameter, "multiple", False) or parameter.nargs == -1 else None
        return nothing if parameter.callback is None else parameter.callback(context, parameter, nothing)


class _Command(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _lighter(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for name, values in _given_again(self.params, args):
            problem(f"{name}: is given {len(values)} times; the last one counts, {cut(values[-1])}")
        return super().parse_args(ctx, args)


def _given_again(parameters: list[Any], words: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each option that takes one value and is given with several, of which the parser drops all but the last.

    Raises:
        typer.BadParameter: a switch is given both on and off.
    """
    options = [each for each in parameters if each.param_type_name == "option"]
    by_name = {name: each for each in options for name in (*each.opts, *each.secondary_opts)}
    given: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        if word == "--":
            break
        name, sign, value = word.partition("=") if word.startswith("--") else (word, "", "")
        option = by_name.get(name)
        if option is None or option.multiple:
            if option is not None and not sign:
                next(rest, "")
            continue
        text = name if option.is_flag else value if sign else next(rest, "")
        given.setdefault(option.name, []).append(text)
    for key, values in given.items():
        option = next(each for each in options if each.name == key)
        if len(set(values)) > 1:
            if option.is_flag and {*values} & {*option.opts} and {*values} & {*option.secondary_opts}:
                raise typer.BadParameter(f"{' and '.join(dict.fromkeys(values))} contradict each other; give one")
            if not option.is_flag:
                yield option.opts[0], values


class _Group(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _lighter(super().get_params(ctx))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> NoReturn:
        """Run a command line and leave the program; one that is wrong is answered by one line."""
        try:
            code = super().main(args, *rest, **{**options, "standalone_mode": False})
        except _CommandLineError as error:
            sys.exit(_refuse(error, sys.argv[1:] if args is None else args))
        except typer.Abort:
            sys.exit(1)
        sys.exit(code)


def _refuse(error: Any, words: Sequence[str]) -> int:
    """Print what is wrong with a command line, or the help where there is none; return the exit code."""
    if type(error).__name__ == "NoArgsIsHelpError":
        typer.echo(error.ctx.get_help())
        return int(error.exit_code)
    from rxpipe.cli.usage import usage_problem  # noqa: PLC0415  # loaded for a wrong command line only

    problem(usage_problem(error, words))
    return int(error.exit_code)


class App(typer.Typer):
    """A Typer application whose switches have no type in its help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(cls=_Group, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        """Register a function as a command; the options are those of `typer.Typer.command`."""
        return super().command(name, cls=_Command, **options)
