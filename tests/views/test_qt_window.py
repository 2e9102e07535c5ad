"""The example of a whole Qt window, and the views on the other binding and at their natural size."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtTest import QTest
from staged import RUNNING, Easel, FakeController

from rxpipe.views.qt import StatusBar

EXAMPLE = Path(__file__).parents[2] / "notebooks" / "qt_window.py"


def processed(until, limit_s=10):
    """Turn the loop until the condition holds; whether it does."""
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        QCoreApplication.processEvents()
        QTest.qWait(5)
    return until()


@pytest.fixture
def window(qt_app, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    window = runpy.run_path(str(EXAMPLE))["Window"](Easel())
    window.show()
    qt_app.processEvents()
    yield window
    window.close()
    qt_app.processEvents()


def test_the_example_draws_stops_and_says_what_is_wrong(window):
    """With real clicks: pictures appear, Stop stops, a run that cannot be is explained; no button moves meanwhile."""
    places = [button.geometry() for button in (window.run, window.stop, window.skip)]
    window.images.setValue(2)
    QTest.mouseClick(window.run, Qt.MouseButton.LeftButton)
    assert processed(lambda: window.bar.status.state == "completed")
    assert window.pictures.count() == 2
    assert [name for name, _ in window.timeline.texts] == ["txt2img", "upscale"]
    assert window.preview.shown_size is not None
    window.images.setValue(90)
    QTest.mouseClick(window.run, Qt.MouseButton.LeftButton)
    assert processed(lambda: window.bar.status.stage == "txt2img")
    QTest.mouseClick(window.stop, Qt.MouseButton.LeftButton)
    assert processed(lambda: window.bar.status.state == "cancelled")
    window.message.setText("one\ntwo\nthree")
    QCoreApplication.processEvents()
    assert [button.geometry() for button in (window.run, window.stop, window.skip)] == places


@pytest.mark.parametrize(
    "message",
    [
        *(
            "Idle",
            "Starting",
            "Running adetailer",
            "Running upscale: waiting in the queue",
            "Stopping after this image",
        ),
        *("Running img2img: loading a model", "Completed, 12 warnings", "Partly completed", "Cancelled"),
    ],
)
def test_a_bar_at_its_natural_size_shows_its_message_whole(qt_app, message):
    """The size it asks for, taken once, does for every usual message."""
    bar = StatusBar()
    bar.resize(bar.sizeHint())
    bar.show()
    bar.attach(FakeController(replace(RUNNING, message=message)))
    qt_app.processEvents()
    assert bar.message.text() == message
    assert bar.detail.text().startswith("image 2 of 4")
    bar.close()


@pytest.mark.slow
def test_the_views_work_on_pyqt6():
    """In a process of its own: a process has one binding."""
    program = textwrap.dedent(
        """
        import sys
        from PyQt6.QtWidgets import QApplication
        sys.path.insert(0, sys.argv[1])
        app = QApplication([])
        from staged import COMPLETED, RUNNING, FakeController, picture
        from rxpipe.rx.mainloop import QtScheduler
        from rxpipe.views import qt, qt_binding
        controller = FakeController(RUNNING)
        views = [qt.StatusBar(), qt.StageTimeline(), qt.PreviewPane()]
        for view in views:
            view.resize(900, 200)
            view.show()
            view.attach(controller)
        controller.preview(picture())
        controller.tell(RUNNING)
        app.processEvents()
        pictures = [view.grab().toImage() for view in views]
        shades = [len({one.pixel(x, y) for x in range(0, 900, 7) for y in range(0, 200, 3)}) for one in pictures]
        done = []
        QtScheduler(app).schedule(lambda *_: done.append(1))
        while not done:
            app.processEvents()
        controller.tell(COMPLETED)
        app.processEvents()
        print(qt_binding.BINDING, views[0].message.text(), min(shades) > 1, views[2].shown_size is not None)
        """
    )
    done = subprocess.run(  # noqa: S603  # our own words
        [sys.executable, "-c", program, str(Path(__file__).parent)],
        env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "PyQt6 Completed True True\n")
    assert "Error" not in done.stderr


def test_the_binding_is_the_one_in_use():
    from rxpipe.views import qt_binding  # noqa: PLC0415  # beside its use

    assert qt_binding.BINDING == "PySide6"
    assert issubclass(StatusBar, qt_binding.QWidget)
