"""The README's code runs, its configuration loads, its promises about itself hold."""

from __future__ import annotations

import re
import tkinter as tk
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

import rxpipe as rxp
from rxpipe.config import PipelineConfig

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
WINDOW = "<!-- a window -->\n"


def blocks(language, *, after=""):
    """The code blocks of a language; with *after*, only those behind that marker."""
    return re.findall(rf"{after}```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(autouse=True)
def _embedded(monkeypatch, tmp_path):
    """In an empty folder, on the embedded backend."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RXPIPE_BACKEND", "embedded")


def execute(block, namespace):
    """Run a block from a file of its own, where whoever inspects its source finds it."""
    path = Path(f"block_{abs(hash(block))}.py").absolute()
    path.write_text(block, encoding="utf-8")
    exec(compile(block, str(path), "exec"), namespace)  # noqa: S102  # our own README


def windows():
    return blocks("python", after=WINDOW)


def test_the_plain_blocks_run_one_after_the_other(capsys):
    """As one script, which is how a reader types them; what they print is what the text says."""
    namespace = {"__name__": "readme"}
    for block in blocks("python"):
        if block in windows() or "def test_" in block:
            continue
        execute(block, namespace)
    printed = capsys.readouterr().out
    assert "run_start" in printed
    assert "stage_end upscale" in printed
    assert "completed ['" in printed
    assert "Tally(planned=4, done=2, failed=0, cancelled=0, filtered=2, pending=0) [" in printed
    assert "\ncancelled\n" in printed
    assert printed.endswith("completed\n")


@pytest.mark.filterwarnings("ignore::hypothesis.errors.NonInteractiveExampleWarning")
def test_the_tests_that_are_shown_pass(marbles):
    """Each block is a test module of its own; a test that takes the fixture is given it."""
    shown = [block for block in blocks("python") if "def test_" in block]
    assert len(shown) == 3
    namespace = {"rxp": rxp}
    for block in shown:
        execute(block, namespace)
        [name] = re.findall(r"def (test_\w+)", block)
        namespace[name](marbles) if "(marbles)" in block else namespace[name]()


def finish(controller, turn):
    """Turn a window's loop until its run is over."""
    over = []
    controller.events.subscribe(lambda event: over.append(event) if isinstance(event, rxp.RunEnd) else None)
    while not over:
        turn()
    assert over[0].status == "completed"


def test_the_tk_lines_run(display, monkeypatch):  # noqa: ARG001  # the window needs one
    """Until the run is over; then the window is closed."""
    [block] = [block for block in windows() if "tkinter" in block]
    namespace = {}

    def mainloop(root):
        finish(namespace["controller"], root.update)
        root.destroy()

    monkeypatch.setattr(tk.Misc, "mainloop", mainloop)
    execute(block, namespace)


def test_the_qt_lines_run(qt_app, monkeypatch):
    """Until the run is over; then the widget is closed."""
    [block] = [block for block in windows() if "PySide6" in block]
    namespace = {}
    monkeypatch.setattr(QApplication, "exec", lambda *_: finish(namespace["controller"], qt_app.processEvents))
    execute(block, namespace)
    namespace["bar"].close()


def test_the_asyncio_lines_run(capsys):
    """They end by themselves."""
    [block] = [block for block in windows() if "asyncio" in block]
    execute(block, {})
    assert "100 % Completed" in capsys.readouterr().out


def test_the_configuration_loads(tmp_path):
    """The TOML block is a config, and the mistake shown is told in the words shown."""
    [toml] = blocks("toml")
    path = tmp_path / "pipeline.toml"
    path.write_text(toml)
    assert PipelineConfig.load(path).upscale.scale == 2
    path.write_text(toml.replace("steps =", "stpes ="))
    with pytest.raises(rxp.ConfigError) as raised:
        PipelineConfig.load(path)
    assert f"`{raised.value}`" in TEXT


def test_the_map_names_every_module():
    """And nothing that is not there."""
    package = README.parent / "rxpipe"
    there = {path.name for path in package.glob("*.py") if not path.name.startswith("_")}
    there |= {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").is_file()}
    shown = set(re.findall(r"(?:^  |  )([a-z0-9_]+(?:\.py|/))  ", TEXT.split("## The map")[1], re.MULTILINE))
    assert shown == there


def test_pictures_and_notebooks_that_the_text_names_exist():
    """Links into the repository lead somewhere."""
    for target in re.findall(r"\]\(((?!http|#)[^)]+)\)", TEXT):
        assert (README.parent / target).is_file(), target
