"""Whole runs in real windows: start, watch, stop, once more, an error, closed in the middle; Tk and Qt alike."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
import shiboken6
from PySide6.QtCore import Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QVBoxLayout, QWidget
from staged import Easel

import rxpipe as rxp
from rxpipe.errors import BackendRejected
from rxpipe.rx.mainloop import QtScheduler, TkScheduler
from rxpipe.views import qt as qt_views
from rxpipe.views import tk as tk_views

TWO = rxp.chain(rxp.txt2img(images=2), rxp.upscale(), out=None)


class TkWindow:
    def __init__(self, root):
        self.root = root
        root.geometry("900x500+0+0")
        self.scheduler = TkScheduler(root)
        self.bar, self.timeline, self.pane = (
            view(root) for view in (tk_views.StatusBar, tk_views.StageTimeline, tk_views.PreviewPane)
        )
        for view in (self.timeline, self.pane, self.bar):
            view.pack(fill="x")

    def turn(self):
        self.root.update()

    def press_stop(self):
        self.bar.stop.invoke()

    def close(self):
        self.root.destroy()

    @property
    def timers(self):
        return len(self.root.tk.splitlist(self.root.tk.call("after", "info")))

    @property
    def message(self):
        return self.bar.message["text"]

    @property
    def percent(self):
        return self.bar.percent["text"]


class QtWindow:
    def __init__(self, app):
        self.app = app
        self.window = QWidget()
        self.scheduler = QtScheduler(self.window)
        self.bar, self.timeline, self.pane = qt_views.StatusBar(), qt_views.StageTimeline(), qt_views.PreviewPane()
        layout = QVBoxLayout(self.window)
        for view in (self.timeline, self.pane, self.bar):
            layout.addWidget(view)
        self.window.resize(900, 500)
        self.window.show()

    def turn(self):
        self.app.processEvents()

    def press_stop(self):
        QTest.mouseClick(self.bar.stop, Qt.MouseButton.LeftButton)

    def close(self):
        shiboken6.delete(self.window)

    @property
    def timers(self):
        return sum(timer.isActive() for timer in self.app.findChildren(QTimer))

    @property
    def message(self):
        return self.bar.message.full_text()

    @property
    def percent(self):
        return self.bar.percent.text()


@pytest.fixture(params=["tk", "qt"])
def window(request):
    if request.param == "tk":
        window = TkWindow(request.getfixturevalue("root"))
    else:
        window = QtWindow(request.getfixturevalue("qt_app"))
    yield window
    if not window.scheduler.closed:
        window.close()


@pytest.fixture
def run_in(window):
    """A controller over a backend, shown in the window by two lines a view."""
    made = []

    def connect(backend):
        controller = rxp.PipelineController(rxp.PipelineRunner(backend), scheduler=window.scheduler)
        made.append(controller)
        for view in (window.bar, window.timeline, window.pane):
            view.attach(controller)
        return controller

    yield connect
    for controller in made:
        controller.close()


def turn_until(window, condition, limit_s=10.0):
    deadline = time.monotonic() + limit_s
    while not condition() and time.monotonic() < deadline:
        window.turn()
    assert condition()


def said(stderr):
    """What was written there, but for what Qt says of drawing off screen."""
    return stderr.replace("This plugin does not support propagateSizeHints()\n", "")


def test_a_run_from_start_to_end(window, run_in):
    """The bar, the stages and the preview follow; progress never falls, and all is delivered on the window's thread."""
    controller, seen = run_in(Easel()), []
    controller.status.subscribe(lambda status: seen.append((status, threading.current_thread())))
    controller.start(TWO)
    turn_until(window, lambda: window.message == "Completed")
    fractions = [status.fraction for status, _ in seen]
    assert window.percent == "100 %"
    assert fractions == sorted(fractions)
    assert len(set(fractions)) > 3
    assert {thread for _, thread in seen} == {threading.main_thread()}
    assert [name for name, _ in window.timeline.texts] == ["txt2img", "upscale"]
    assert window.timeline.texts[0][1].startswith("2 in ")
    assert window.pane.shown_size is not None


def test_a_run_that_began_before_the_loop_is_shown_whole(window, run_in):
    """The window opens late; nothing was lost and no thread waited for it."""
    controller, events = run_in(Easel()), []
    controller.events.subscribe(events.append)
    run = controller.start(TWO).run
    assert run.wait(10)
    assert window.message == "Idle"
    turn_until(window, lambda: window.message == "Completed")
    assert [event.kind for event in events if event.kind != "stage_step"] == [
        event.kind for event in run.result.events if event.kind != "stage_step"
    ]


def test_stop_shows_at_once_and_ends_a_run_that_gets_no_answer(window, run_in):
    """Stopping is on the screen a few frames after the click, then the end; one interrupt was sent, no answer came."""
    backend = Easel(silent=True)
    controller = run_in(backend)
    controller.start(TWO)
    turn_until(window, lambda: window.message == "Running txt2img")
    clicked = window.scheduler.counters.drains
    window.press_stop()
    turn_until(window, lambda: window.message != "Running txt2img")
    seen = window.scheduler.counters.drains - clicked
    turn_until(window, lambda: window.message == "Cancelled")
    assert seen <= 6  # frames with something to show
    assert backend.interrupts == 1


@pytest.mark.slow
def test_ten_runs_started_and_stopped_leave_nothing_behind(window, run_in):
    """No thread, no timer, no pending action and no growing heap."""
    controller, sizes = run_in(Easel(silent=True)), []
    for cycle in range(10):
        controller.start(TWO)
        turn_until(window, lambda: window.message == "Running txt2img")
        window.press_stop()
        turn_until(window, lambda: window.message == "Cancelled")
        turn_until(window, lambda: controller.active is None and window.scheduler.pending == 0)
        if cycle >= 4:
            gc.collect()
            sizes.append((len(gc.get_objects()), window.timers))
    turn_until(window, lambda: [t.name for t in threading.enumerate() if t.name.startswith("rxpipe")] == [])
    objects, timers = [size[0] for size in sizes], [size[1] for size in sizes]
    # The first look makes Qt load enums, once. Lists and frames come and go; a run left behind has thousands.
    assert objects[-1] - objects[1] < 300
    assert max(timers) <= 3


def test_an_error_is_shown_and_the_next_run_is_not_hurt_by_it(window, run_in):
    """What the server said stands in the bar; then it heals."""
    backend = Easel(error=BackendRejected("txt2img: the server wants a password.", hint="Give auth=..."))
    controller = run_in(backend)
    controller.start(TWO)
    turn_until(window, lambda: window.message.startswith("Error: "))
    assert "password" in window.bar.status.message
    backend.error = None
    controller.start(TWO)
    turn_until(window, lambda: window.message == "Completed")


@pytest.mark.slow
def test_the_window_is_closed_in_the_middle_of_a_run(window, run_in, capfd):
    """The run goes on without it and is not disturbed; nothing is written to stderr."""
    controller = run_in(Easel())
    run = controller.start(TWO).run
    turn_until(window, lambda: window.pane.shown_size is not None)
    window.close()
    assert run.wait(10)
    assert run.result.status == "completed"
    assert window.scheduler.closed
    assert said(capfd.readouterr().err) == ""


PROGRAMS = {
    "tk": """
        import tkinter
        from rxpipe.rx.mainloop import TkScheduler
        from rxpipe.views.tk import StatusBar
        root = tkinter.Tk()
        controller = rxp.PipelineController(rxp.PipelineRunner(Easel(silent=True)), scheduler=TkScheduler(root))
        bar = StatusBar(root)
        bar.pack()
        bar.attach(controller)
        controller.start(chain)
        root.after(300, root.destroy)
        root.mainloop()
        """,
    "qt": """
        from PySide6.QtCore import QTimer
        from PySide6.QtWidgets import QApplication
        from rxpipe.rx.mainloop import QtScheduler
        from rxpipe.views.qt import StatusBar
        app = QApplication([])
        controller = rxp.PipelineController(rxp.PipelineRunner(Easel(silent=True)), scheduler=QtScheduler(app))
        bar = StatusBar()
        bar.show()
        bar.attach(controller)
        controller.start(chain)
        QTimer.singleShot(300, bar.close)
        app.exec()
        """,
}


@pytest.mark.sampled(1)
@pytest.mark.usefixtures("display")
@pytest.mark.parametrize("toolkit", ["tk", "qt"])
@pytest.mark.slow
def test_an_application_closed_during_a_run_exits_at_once(toolkit):
    """The user closes the window while the server gives no answer: the process waits for no thread, and is gone."""
    head = f"""
        import sys, threading
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        import rxpipe as rxp
        from staged import Easel
        chain = rxp.chain(rxp.txt2img(images=2), rxp.upscale(), out=None)
        """
    tail = "\nprint(*[thread.name for thread in threading.enumerate() if not thread.daemon])\n"
    source = textwrap.dedent(head) + textwrap.dedent(PROGRAMS[toolkit]) + tail
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own text
    assert said(done.stderr) == ""
    assert done.returncode == 0
    assert done.stdout == "MainThread\n"


@pytest.mark.slow
def test_no_toolkit_is_loaded_but_by_a_view():
    """All modules but the views with a toolkit are imported in one fresh interpreter, and none of them loads one."""
    source = """
        import importlib, pkgutil, sys, rxpipe

        def walk(package):  # pkgutil's own walk would import the packages left out here
            for module in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
                yield module
                if module.ispkg and not module.name.startswith(views):
                    yield from walk(importlib.import_module(module.name))

        views = ("rxpipe.views.tk", "rxpipe.views.qt", "rxpipe.views.notebook", "rxpipe.views.gui")
        for module in walk(rxpipe):
            if not module.name.startswith(views) and not module.name.endswith("__main__"):
                importlib.import_module(module.name)
                loaded = {"tkinter", "PySide6", "PyQt6", "IPython", "ipywidgets"} & set(sys.modules)
                assert not loaded, (module.name, loaded)
        """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own text
    assert done.returncode == 0, done.stderr
