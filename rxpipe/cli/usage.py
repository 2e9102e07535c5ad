"""What is wrong with a command line, in one line: which option, what came, what is allowed, what to do.

Loaded once a command line is refused. The parser's own texts are those of its library.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rxpipe.config import STAGE_SECTIONS
from rxpipe.config.foreign import advice
from rxpipe.config.problems import wanted
from rxpipe.errors import suggestion
from rxpipe.presets.options import option_of
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["usage_problem"]

_DAY = "should be a day such as 2026-11-26, or a day and a time such as 2026-11-26T14:30"
_EXTRA = re.compile(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", re.DOTALL)
_OLDER = {
    r"'(.*)' is not a valid integer": "should be a whole number",
    r"'(.*)' is not a valid float": "should be a number",
    r"'(.*)' does not match the format": _DAY,
}
_OUTSIDE = re.compile(r"(\S+) is not in the range (?:(\S+?)<=)?x(?:<=(\S+?))?(?:>=(\S+?))?\.?$")
_QUOTED = re.compile(r"'([^']*)'")


def usage_problem(error: Any, words: Sequence[str]) -> str:
    """Return what is wrong with a command line.

    Args:
        error: the parser's, with its context. words: the command line without the program's name.
    """
    context = getattr(error, "ctx", None)
    command = _command(context)
    head = f"{command}: " if command else ""
    kind = type(error).__name__
    if kind == "NoSuchOption":
        return head + _no_option(error.option_name, context, command, words)
    if kind == "MissingParameter":
        return f"{head}{_name(error.param)} is missing; {_usage(context)}"
    if kind == "BadOptionUsage":
        return f"{error.option_name}: {_needs(error)}"
    if kind == "BadParameter":
        return str(error.message) if error.param is None else f"{_name(error.param)}: {_wrong_value(error)}"
    if (extra := _EXTRA.search(error.message)) is not None:
        return f"{head}nothing is known to do with {shown(extra[1])}; {_usage(context)}"
    if error.message.startswith("No such command"):
        return _no_command(error.message, words, context)
    return f"{head}{error.format_message()}"


def _command(context: Any) -> str:
    """Return the command as a person writes it, however the program was started."""
    names: list[str] = []
    while context is not None and context.parent is not None:
        names.insert(0, str(context.info_name))
        context = context.parent
    return " ".join(names)


def _usage(context: Any) -> str:
    arguments = [_name(each) for each in context.command.params if each.param_type_name == "argument"]
    return f"usage: {' '.join(['rxpipe', _command(context), *arguments])} [OPTIONS]"


def _name(parameter: Any) -> str:
    """Return an option by the first of its names, an argument as the usage line has it."""
    if parameter.param_type_name == "option":
        return str(max(parameter.opts, key=lambda name: name.startswith("--")))
    return str(parameter.metavar or parameter.name.upper())


# -- values -----------------------------------------------------------------------------------------------------------


def _wrong_value(error: Any) -> str:
    cause: Any = error.__cause__
    details = cause.errors(include_url=False) if hasattr(cause, "errors") else []
    if not details:
        return _wrong_text(str(error.message))
    detail = details[0]
    text = _DAY if "datetime" in detail["type"] or "does not match the format" in detail["msg"] else wanted(detail)
    return f"got {shown(detail['input'])}, {text.removesuffix('.0')}"


def _wrong_text(message: str) -> str:
    """Return what the parser of older versions says, who have no more than a text, in our words."""
    for pattern, text in _OLDER.items():
        if (found := re.match(pattern, message, re.DOTALL)) is not None:
            return f"got {shown(found[1])}, {text}"
    if (found := _OUTSIDE.match(message)) is None:
        return message
    value, low, high = found[1].removesuffix(".0"), found[2] or found[4], found[3]
    below = low is not None and float(value) < float(low)
    return f"got {shown(value)}, should be at {f'least {low}' if below else f'most {high}'}"


def _needs(error: Any) -> str:
    """Return what an option lacks, or has too much."""
    takes_none = "does not take a value" in error.message
    return "takes no value; leave the = and what follows out" if takes_none else "needs a value behind it"


# -- names ------------------------------------------------------------------------------------------------------------


def _no_option(name: str, context: Any, command: str, words: Sequence[str]) -> str:
    known = [opt for each in context.command.params for opt in (*each.opts, *each.secondary_opts)]
    said = f"there is no option {cut(name)}"
    close = difflib.get_close_matches(name, [opt for opt in known if opt.startswith("--")], n=1, cutoff=0.75)
    if close:
        return f"{said}; did you mean {close[0]}?"
    found = _setting(name.lstrip("-").replace("-", "_").lower()) if "--set" in known else ""
    if found:
        option = option_of(found.rpartition(".")[2])
        return f"{said}; " + (f"here it is {option}" if option in known else f"as a setting: --set {found}=VALUE")
    elsewhere = "" if command else _command_with(name, context)
    if elsewhere:
        rest = " ".join(f'"{cut(word)}"' if " " in word else cut(word) for word in words[:4])
        return f"{said} before a command; put the command first: rxpipe {elsewhere} {rest}"
    return f"{said}; {' '.join(['rxpipe', *command.split()])} --help lists those there are"


def _command_with(name: str, context: Any) -> str:
    commands = getattr(context.command, "commands", {})
    having = [each for each, command in commands.items() if any(name in param.opts for param in command.params)]
    return "run" if "run" in having else next(iter(having), "")


def _setting(key: str) -> str:
    """Return the setting that is meant by an option, as --set names it; "" for none."""
    for stage, model in STAGE_SECTIONS.items():
        if key in model.model_fields:
            return f"{stage}.{key}"
    here = advice(key, [name for model in STAGE_SECTIONS.values() for name in model.model_fields]) or ""
    meant = here.removeprefix("here it is ").removeprefix("did you mean '").removesuffix("'?")
    if "." in meant and " " not in meant:
        return meant
    return _setting(meant) if meant.isidentifier() and meant != key else ""


def _no_command(message: str, words: Sequence[str], context: Any) -> str:
    quoted = _QUOTED.search(message)
    name = quoted[1] if quoted else next(iter(words), "")
    said = f"there is no command {shown(name)}"
    if Path(name).is_file() or Path(name).suffix.lower() in {".toml", ".yaml", ".yml", ".json", ".png", ".txt"}:
        return f"{said}; to run a file: rxpipe run {name}"
    if " " in name:
        return f'{said}; to draw it: rxpipe run --prompt "{cut(name)}"'
    commands = list(getattr(context.command, "commands", {}))
    return f"{said}; {suggestion(name, commands)}"
