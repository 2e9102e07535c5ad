"""A wrong command line: which option, what came, what is allowed, what to do; of every command."""

from __future__ import annotations

import re
import shlex

import pytest
import typer
from typer.testing import CliRunner

from rxpipe.cli.app import app

DAY = "should be a day such as 2026-11-26, or a day and a time such as 2026-11-26T14:30"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --seed abc", "--seed: got 'abc', should be a whole number"),
        ("run --cfg abc", "--cfg-scale: got 'abc', should be a number"),
        ("run --pace -1", "--pace: got '-1', should be at least 0"),
        ("run --promt x", "run: there is no option --promt; did you mean --prompt?"),
        ("run --cfg_scale 5", "run: there is no option --cfg_scale; did you mean --cfg-scale?"),
        ("run --clip-skip 2", "run: there is no option --clip-skip; as a setting: --set txt2img.clip_skip=VALUE"),
        ("run --enable_hr", "run: there is no option --enable_hr; as a setting: --set txt2img.hires.enabled=VALUE"),
        ("run --n_iter 3", "run: there is no option --n_iter; here it is --images"),
        ("run --zzz", "run: there is no option --zzz; rxpipe run --help lists those there are"),
        ("run --prompt", "--prompt: needs a value behind it"),
        ("run --out", "--out: needs a value behind it"),
        ("run --set", "--set: needs a value behind it"),
        ("run --dry-run=yes", "--dry-run: takes no value; leave the = and what follows out"),
        ("runs --since yesterday", f"--since: got 'yesterday', {DAY}"),
        ("runs --until 2026-13-01", f"--until: got '2026-13-01', {DAY}"),
        ("runs --limit 0", "--limit: got '0', should be at least 1"),
        ("rate last 9", "STARS: got '9', should be at most 5"),
        ("rate last", "rate: STARS is missing; usage: rxpipe rate RUN|PICTURE STARS [OPTIONS]"),
        ("learn sumary", "there is no command 'sumary'; did you mean 'summary'?"),
        ("learn summary --least x", "--least: got 'x', should be a whole number"),
        ("doctor a b", "doctor: nothing is known to do with 'b'; usage: rxpipe doctor URL [OPTIONS]"),
        ("runn", "there is no command 'runn'; did you mean 'run'?"),
        ("four.toml", "there is no command 'four.toml'; to run a file: rxpipe run four.toml"),
        ("'a cat'", "there is no command 'a cat'; to draw it: rxpipe run --prompt \"a cat\""),
        (
            "--prompt 'a cat'",
            'there is no option --prompt before a command; put the command first: rxpipe run --prompt "a cat"',
        ),
        ("--bogus", "there is no option --bogus; rxpipe --help lists those there are"),
        ("testserver --port 80000", "--port: got '80000', should be at most 65535"),
        ("run --out ''", "--out: got '', should be a path"),
        ("run --input ' '", "--input: got '', should be a path"),
        ("run ''", "[FILE]...: got '', should be a path"),
        ("info a.png ''", "PICTURE...: got '', should be a path"),
        ("info", "info: PICTURE... is missing; usage: rxpipe info PICTURE... [OPTIONS]"),
    ],
)
def test_a_wrong_command_line_is_answered_by_one_line(words, said):
    """Without the box and the words of the parser's library."""
    done = CliRunner().invoke(app, shlex.split(words))
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"rxpipe: {said}\n")


def test_every_option_of_every_command_has_an_answer():
    """An option that is not there, a value that is missing, and one of a wrong type."""
    for name, command in typer.main.get_command(app).commands.items():
        for option in [each for each in command.params if each.param_type_name == "option" and not each.is_flag]:
            said = CliRunner().invoke(app, [name, option.opts[0]]).stderr
            assert said.startswith(f"rxpipe: {option.opts[0]}: needs a value"), said
        said = CliRunner().invoke(app, [name, "--nothing-like-it"]).stderr
        assert said.startswith(f"rxpipe: {name}: there is no option --nothing-like-it; "), said


def test_learn_alone_is_its_summary(tmp_path, monkeypatch):
    """And not its help with an exit code of wrong usage."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: tmp_path / name)
    alone, named = CliRunner().invoke(app, ["learn"]), CliRunner().invoke(app, ["learn", "summary"])
    assert (alone.exit_code, alone.stdout) == (0, named.stdout)
    assert "nothing is rated yet" in alone.stdout


def test_the_help_of_every_command_says_values_in_words(monkeypatch):
    """And no types of Python, no formats of its clock."""
    monkeypatch.setenv("COLUMNS", "200")
    for name in typer.main.get_command(app).commands:
        shown = CliRunner().invoke(app, [name, "--help"]).stdout
        options = shown.partition("Options")[2]
        assert not re.search(r"<(str|int|float|path|bool|list|%)|range>", options), f"{name}: {options}"
