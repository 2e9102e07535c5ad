"""The Qt views, drawn off screen: what they say, real mouse and key events, and how they end."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
import shiboken6
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt
from PySide6.QtGui import QColor, QPalette
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QDialog, QLineEdit, QVBoxLayout, QWidget
from staged import COMPLETED, ERROR, FAILED, RUNNING, FakeController, picture

from rxpipe.views.palette import DARK, LIGHT
from rxpipe.views.qt import PreviewPane, StageTimeline, StatusBar


@pytest.fixture
def window(qt_app):
    window = QWidget()
    window.setLayout(QVBoxLayout())
    window.resize(1000, 300)
    window.show()
    yield window
    if shiboken6.isValid(window):
        shiboken6.delete(window)
    qt_app.processEvents()


@pytest.fixture
def bar(window, qt_app):
    bar = StatusBar()
    window.layout().addWidget(bar)
    qt_app.processEvents()
    return bar


def texts(bar):
    QCoreApplication.processEvents()
    return bar.message.text(), bar.detail.text(), bar.percent.text(), bar.eta.text(), bar.stop.isEnabled()


def test_status_bar_is_idle_before_anything(bar):
    """No numbers, and a Stop that cannot be pressed."""
    assert texts(bar) == ("Idle", "", "", "", False)


def test_status_bar_shows_the_snapshot_at_once_and_then_every_change(bar):
    """Attaching in the middle of a run shows where it is; the end and the next idle clear the numbers."""
    controller = FakeController(RUNNING)
    bar.attach(controller)
    where = "image 2 of 4 · step 12 of 30 · stage 2 of 4"
    assert texts(bar) == ("Running img2img", where, "50 %", "ETA: 00:30", True)
    controller.tell(RUNNING.stopping())
    assert texts(bar) == ("Stopping", where, "50 %", "", False)
    controller.tell(COMPLETED)
    assert texts(bar) == ("Completed", "", "100 %", "", False)
    controller.tell(COMPLETED.idle())
    assert texts(bar) == ("Idle", "", "", "", False)


@pytest.mark.parametrize("press", [None, Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_stop_tells_the_controller_once_and_is_off_at_once(bar, controller, press):
    """A click, Space, Return or Enter on Stop; a second one before the state has changed does nothing."""
    bar.attach(controller)
    controller.tell(RUNNING)
    for _ in range(2):
        if press is None:
            QTest.mouseClick(bar.stop, Qt.MouseButton.LeftButton)
        else:
            QTest.keyClick(bar.stop, press)
    assert controller.cancels == 1
    assert not bar.stop.isEnabled()


def test_return_in_a_field_of_a_dialog_does_not_stop_the_run(qt_app, controller):
    """A dialog presses its first automatic default button; Stop is none."""
    dialog = QDialog()
    dialog.setLayout(QVBoxLayout())
    field, bar = QLineEdit(), StatusBar()
    dialog.layout().addWidget(field)
    dialog.layout().addWidget(bar)
    bar.attach(controller)
    controller.tell(RUNNING)
    dialog.show()
    qt_app.processEvents()
    QTest.keyClick(field, Qt.Key.Key_Return)
    assert controller.cancels == 0
    shiboken6.delete(dialog)


def test_a_second_run_can_be_stopped_again(bar, controller):
    """Stop comes back with the next run."""
    bar.attach(controller)
    for run in ("a", "b"):
        controller.tell(replace(RUNNING, run_id=run))
        QTest.mouseClick(bar.stop, Qt.MouseButton.LeftButton)
        controller.tell(replace(RUNNING, run_id=run, state="cancelled", message="Cancelled"))
    assert controller.cancels == 2


def test_a_long_error_is_shortened_and_whole_in_the_tool_tip(bar, window, controller):
    """The bar keeps its Stop in the window, whatever the server said."""
    window.resize(620, 100)
    bar.attach(controller)
    controller.tell(FAILED)
    shown = texts(bar)[0]
    assert shown.startswith("Error: upscale")
    assert shown.endswith("…")
    assert bar.message.toolTip() == ERROR
    assert bar.stop.mapTo(window, QPoint(bar.stop.width(), 0)).x() <= 620


@pytest.mark.parametrize(("ground", "palette"), [("#f0f0f0", LIGHT), ("#1f2228", DARK)])
def test_views_follow_the_palette_of_their_window(bar, window, qt_app, ground, palette):
    """From light to dark while they are shown; what is drawn has the colours of it."""
    colours = QPalette()
    colours.setColor(QPalette.ColorRole.Window, QColor(ground))
    window.setPalette(colours)
    bar.show_status(RUNNING)
    qt_app.processEvents()
    drawn = bar.grab().toImage()
    centre = bar.progress.geometry().center().y()
    left, right = bar.progress.geometry().left() + 10, bar.progress.geometry().right() - 10
    assert bar.colours is palette
    assert drawn.pixelColor(left, centre).name() == palette.busy
    assert drawn.pixelColor(right, centre).name() == palette.track


def test_a_view_called_off_its_thread_says_so(bar):
    """Qt would crash; the message says what to give to the controller."""
    messages = []

    def call():
        try:
            bar.show_status(RUNNING)
        except RuntimeError as error:
            messages.append(str(error))

    thread = threading.Thread(target=call, name="worker-1")
    thread.start()
    thread.join()
    assert messages == [
        "StatusBar was called on worker-1, not on the GUI thread. Give the controller scheduler=QtScheduler(app)."
    ]


@pytest.mark.parametrize("view", [StatusBar, StageTimeline, PreviewPane])
@pytest.mark.parametrize("end", ["deleted", "close and deleteLater"])
def test_a_destroyed_view_follows_nothing_any_more(qt_app, controller, view, end):
    """Closing the window ends the subscriptions; what comes later reaches nobody."""
    widget = view()
    widget.attach(controller)
    assert controller.watchers >= 1
    if end == "deleted":
        shiboken6.delete(widget)
    else:
        widget.close()
        widget.deleteLater()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qt_app.processEvents()
    controller.tell(RUNNING)
    controller.preview(picture())
    assert controller.watchers == 0


def test_attaching_anew_lets_the_first_controller_go(bar):
    """One bar may follow one controller after another; detached it stays as it is, without Stop."""
    first, second = FakeController(RUNNING), FakeController(RUNNING)
    bar.attach(first)
    bar.attach(second)
    assert (first.watchers, second.watchers) == (0, 1)
    QTest.mouseClick(bar.stop, Qt.MouseButton.LeftButton)
    assert (first.cancels, second.cancels) == (0, 1)
    bar.detach()
    second.tell(COMPLETED)
    assert texts(bar)[0] == "Running img2img"
    assert not bar.stop.isEnabled()


def test_timeline_shows_every_stage(window, qt_app, controller):
    """Names and captions, and a bar in the colour of each state; a run without stages shows nothing."""
    timeline = StageTimeline()
    window.layout().addWidget(timeline)
    timeline.attach(controller)
    assert timeline.texts == ()
    controller.tell(RUNNING)
    qt_app.processEvents()
    assert timeline.texts == (
        ("txt2img", "4 in 12.3 s"),
        ("img2img", "1 of 4, 1 failed"),
        ("adetailer", "waiting"),
        ("upscale", "skipped"),
    )
    drawn = timeline.grab().toImage()
    row = 8 + timeline.fontMetrics().height() + 6 + 3
    seen = {drawn.pixelColor(x, row).name() for x in range(drawn.width())}
    assert {timeline.colours.good, timeline.colours.busy, timeline.colours.track} <= seen


def test_preview_fits_the_pane_and_keeps_its_shape(qt_app, controller):
    """As large as there is room, and centred; what is drawn is the picture."""
    pane = PreviewPane()
    pane.resize(520, 420)
    pane.attach(controller)
    controller.preview(picture(512, 256, kind="PNG"))
    pane.show()
    qt_app.processEvents()
    assert pane.shown_size == (500, 250)
    assert pane.caption == "img2img · image 2"
    assert pane.grab().toImage().pixelColor(260, 200).name() == "#c81e3c"
    pane.resize(270, 420)
    assert pane.shown_size == (250, 125)
    shiboken6.delete(pane)


def test_a_preview_that_cannot_be_read_leaves_the_last_one_standing(qt_app, controller):
    """A torn picture costs nothing but itself."""
    pane = PreviewPane()
    pane.attach(controller)
    controller.preview(picture(400, 400))
    before = pane.shown_size
    controller.preview(b"no picture", image_index=3)
    assert pane.shown_size == before
    assert pane.caption == "img2img · image 3 · this preview cannot be read"
    pane.clear()
    pane.show()
    qt_app.processEvents()
    assert (pane.shown_size, pane.caption) == (None, "No preview yet")
    shiboken6.delete(pane)


def test_a_bar_without_stop(qt_app):
    """For windows that have a Stop of their own."""
    bar = StatusBar(stop=False)
    bar.show()
    qt_app.processEvents()
    assert not bar.stop.isVisible()
    shiboken6.delete(bar)
