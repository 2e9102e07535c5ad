"""The controller that views are shown in their tests."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hands import settle
from staged import Easel, FakeController


@pytest.fixture
def controller():
    return FakeController()


@pytest.fixture
def open_window(root, tmp_path):
    """Makes main windows that share no state unless *options* say so, and closes them."""
    opened = []

    def make(backend=None, **options):
        from rxpipe.views.gui.window import MainWindow  # noqa: PLC0415  # needs Tk, which other views do without

        options = {"state_path": tmp_path / "gui.json", "dark": True, **options}
        window = MainWindow(root, backend=backend or Easel(), **options)
        values = window.form.read()
        window.form.write(replace(values, out=str(tmp_path / "out"), images="3"))
        opened.append(window)
        settle(window, lambda: window.connection.state.status != "connecting", 5)
        settle(window, lambda: window.run_button.winfo_ismapped() and window.form.winfo_height() > 100, 5)
        return window

    yield make
    for window in opened:
        window.close()
