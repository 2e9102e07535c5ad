"""The README's code runs, its configuration loads, its promises about itself hold; as does the code of docstrings."""

from __future__ import annotations

import inspect
import re
import shlex
import tkinter as tk
from pathlib import Path

import pytest
import typer.main
from PySide6.QtWidgets import QApplication

import rxpipe as rxp
from rxpipe.backends import base
from rxpipe.cli.app import app
from rxpipe.config import PipelineConfig
from rxpipe.rx.mainloop import AsyncioScheduler
from rxpipe.testing import Mismatch
from rxpipe.views import qt

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
MAX_LINES, MAX_COLUMNS = 250, 100


def blocks(language, text=TEXT, *, mark=""):
    """The code blocks of a language; with *mark*, only those right behind that mark."""
    head = f"<!-- {mark} -->\n" if mark else ""
    return re.findall(rf"^{head}```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def section(title):
    """The text below a heading, up to the next."""
    [text] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE)
    return text


def run_block(title):
    """The block of a section that is marked to run."""
    [block] = blocks("python", section(title), mark="run")
    return block


@pytest.fixture(autouse=True)
def _embedded(monkeypatch, tmp_path):
    """In an empty folder, on the embedded backend."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RXPIPE_BACKEND", "embedded")


def execute(block, namespace=None):
    """Run a block by itself, from a file of its own, so that its source can be inspected; return its names."""
    path = Path(f"block_{abs(hash(block))}.py").absolute()
    path.write_text(block, encoding="utf-8")
    namespace = {} if namespace is None else namespace
    exec(compile(block, str(path), "exec"), namespace)  # noqa: S102  # our own README
    return namespace


# -- the blocks, each by itself ----------------------------------------------------------------------------------------


def test_every_python_block_has_a_mark():
    """By which it is found here, wherever it stands."""
    marked = [block for mark in ("run", "test", "window") for block in blocks("python", mark=mark)]
    assert sorted(marked) == sorted(blocks("python"))


def test_the_quick_start_prints_a_picture(capsys):
    names = execute(run_block("Quick start"))
    path = Path(capsys.readouterr().out.strip())
    assert path.is_file()
    assert path.relative_to(Path.cwd()).parts[:2] == ("outputs", "extras-images")
    assert names["result"].status == "completed"


def test_the_composed_pipeline_has_the_tally_that_is_shown(capsys):
    block = run_block("Compose a pipeline")
    execute(block)
    assert capsys.readouterr().out == re.search(r"print\(result.tally\)  # (.*\n)", block)[1]
    assert len(list(Path("pictures").rglob("*.png"))) == 4 + 2 + 2


def test_the_watched_run_prints_its_events_and_is_cancelled(capsys):
    execute(run_block("Watch and stop it"))
    printed = capsys.readouterr().out
    assert "kind='run_start'" in printed
    assert "kind='stage_step'" in printed
    assert printed.endswith("\ncancelled\n")


def test_the_backend_of_the_port_s_docstring_renders(capsys):
    [block] = blocks("python", base.__doc__)
    execute(block)
    assert capsys.readouterr().out == "completed\n"


def test_the_test_that_is_shown_passes_and_fails_as_shown(marbles):
    """It is a test module of its own; the failure is what the text says of a slower txt2img."""
    [block] = blocks("python", mark="test")
    [name] = re.findall(r"def (test_\w+)", block)
    execute(block)[name](marbles)

    [shown] = blocks("text", section("Test your pipeline"))
    with pytest.raises(Mismatch) as raised:
        execute(block.replace('"--o|"', '"---o|"'))[name](marbles)
    failure = [line.strip() for line in str(raised.value).splitlines()]
    assert [line for line in shown.splitlines() if line.strip() not in failure] == []


# -- windows -----------------------------------------------------------------------------------------------------------


def finish(controller, turn):
    """Turn a window's loop until its run is over."""
    over = []
    controller.events.subscribe(lambda event: over.append(event) if isinstance(event, rxp.RunEnd) else None)
    while not over:
        turn()
    assert over[0].status == "completed"


def example(documented):
    """The code block in a docstring."""
    [block] = blocks("python", inspect.getdoc(documented))
    return block


def test_the_tk_lines_run(display, monkeypatch):  # noqa: ARG001  # the window needs one
    """Until the run is over; then the window is closed."""
    [block] = blocks("python", mark="window")
    namespace = {}

    def mainloop(root):
        finish(namespace["controller"], root.update)
        root.destroy()

    monkeypatch.setattr(tk.Misc, "mainloop", mainloop)
    execute(block, namespace)


def test_the_qt_lines_run(qt_app, monkeypatch):
    """Until the run is over; then the widget is closed."""
    namespace = {}
    monkeypatch.setattr(QApplication, "exec", lambda *_: finish(namespace["controller"], qt_app.processEvents))
    execute(example(qt), namespace)
    namespace["bar"].close()


def test_the_asyncio_lines_run(capsys):
    """They end by themselves."""
    execute(example(AsyncioScheduler))
    assert "100 % Completed" in capsys.readouterr().out


# -- commands and configs ----------------------------------------------------------------------------------------------


COMMANDS = [
    shlex.split(line, comments=True)[1:]
    for block in blocks("sh")
    for line in block.splitlines()
    if line.startswith("rxpipe ")
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_line_is_understood(arguments):
    """Its name, options and arguments exist; nothing is run."""
    for name in ("photo.jpg", "picture.png", "pipeline.toml"):
        Path(name).touch()
    command = typer.main.get_command(app).commands[arguments[0]]
    command.make_context(arguments[0], arguments[1:])


def test_commands_and_options_in_the_text_exist():
    """As those in the blocks do."""
    commands = typer.main.get_command(app).commands
    options = {option for command in commands.values() for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"\brxpipe ([a-z]+)\b", " ".join(re.findall(r"`[^`\n]+`", TEXT)))) <= commands.keys()
    assert set(re.findall(r"--[a-z-]+", section("Command line"))) <= options
    assert "--backend" in options


def test_the_configuration_loads(tmp_path):
    """The TOML block is a config, and the mistake shown is reported in the words shown."""
    [toml] = blocks("toml")
    path = tmp_path / "pipeline.toml"
    path.write_text(toml)
    assert PipelineConfig.load(path).upscale.scale == 2
    path.write_text(toml.replace("steps =", "stpes ="))
    with pytest.raises(rxp.ConfigError) as raised:
        PipelineConfig.load(path)
    assert f"`{raised.value}`" in TEXT


# -- the text ----------------------------------------------------------------------------------------------------------


def test_the_readme_is_short():
    """A page, not a manual."""
    lines = TEXT.splitlines()
    assert len(lines) <= MAX_LINES
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


def test_the_map_names_every_module():
    """And nothing that is not there."""
    package = README.parent / "rxpipe"
    there = {path.name for path in package.glob("*.py") if not path.name.startswith("_")}
    there |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    shown = re.findall(r"^([a-z0-9_]+(?:\.py|/))  ", rxp.__doc__, re.MULTILINE)
    assert sorted(shown) == sorted(there)


def test_files_that_the_text_links_to_exist():
    """Links into the repository lead somewhere."""
    for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", TEXT):
        assert (README.parent / target).is_file(), target
