"""The Tk views in a real window under X: what they say, real clicks and keys, and how they end."""

from __future__ import annotations

import subprocess
import threading
import time
import tkinter as tk
from dataclasses import replace
from tkinter import ttk

import pytest
from staged import COMPLETED, ERROR, FAILED, RUNNING, FakeController, picture

from rxpipe.status import RunStatus
from rxpipe.views.palette import DARK, LIGHT
from rxpipe.views.tk import PreviewPane, StageTimeline, StatusBar


def xdotool(*words):
    """The user's hand."""
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=10)  # noqa: S603, S607  our own words


def click(widget):
    x, y = widget.winfo_rootx() + widget.winfo_width() // 2, widget.winfo_rooty() + widget.winfo_height() // 2
    xdotool("mousemove", x, y, "click", 1)


def settle(root, until=lambda: False, limit_s=0.2):
    """Turn the loop until the condition holds, for at most *limit_s* seconds; whether it holds."""
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        root.update()
    return until()


def colours(canvas):
    """The colours that are drawn on a canvas."""
    return {canvas.itemcget(item, "fill") for item in canvas.find_all()}


@pytest.fixture
def bar(root):
    root.geometry("1000x300+0+0")
    bar = StatusBar(root)
    bar.pack(fill="x")
    settle(root)
    return bar


def texts(bar):
    return bar.message["text"], bar.detail["text"], bar.percent["text"], bar.eta["text"], bar.stop["state"]


def test_status_bar_is_idle_before_anything(bar):
    """No numbers, and a Stop that cannot be pressed."""
    assert texts(bar) == ("Idle", "", "", "", "disabled")


def test_status_bar_shows_the_snapshot_at_once_and_then_every_change(bar, root):
    """Attaching in the middle of a run shows where it is; the end and the next idle clear the numbers."""
    controller = FakeController(RUNNING)
    bar.attach(controller)
    settle(root)
    where = "image 2 of 4 · step 12 of 30 · stage 2 of 4"
    assert texts(bar) == ("Running img2img", where, "50 %", "ETA: 00:30", "normal")
    controller.tell(RUNNING.stopping())
    assert texts(bar) == ("Stopping", where, "50 %", "", "disabled")
    controller.tell(COMPLETED)
    assert texts(bar) == ("Completed", "", "100 %", "", "disabled")
    controller.tell(COMPLETED.idle())
    assert texts(bar) == ("Idle", "", "", "", "disabled")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("press", ["click", "space", "Return"])
def test_stop_tells_the_controller_once_and_is_off_at_once(bar, root, controller, press):
    """A click, Space or Return on Stop; a second one before the state has changed does nothing."""
    bar.attach(controller)
    controller.tell(RUNNING)
    settle(root)
    bar.stop.focus_force()
    settle(root, lambda: root.focus_get() is bar.stop, limit_s=2)
    for _ in range(2):
        click(bar.stop) if press == "click" else xdotool("key", press)
        settle(root, lambda: controller.cancels, limit_s=3)
    settle(root)
    assert controller.cancels == 1
    assert bar.stop["state"] == "disabled"


def test_a_second_run_can_be_stopped_again(bar, root, controller):
    """Stop comes back with the next run."""
    bar.attach(controller)
    for run in ("a", "b"):
        controller.tell(replace(RUNNING, run_id=run))
        settle(root)
        bar.stop.invoke()
        controller.tell(replace(RUNNING, run_id=run, state="cancelled", message="Cancelled"))
    assert controller.cancels == 2


def test_a_long_error_is_shortened_and_shown_in_full_under_the_pointer(bar, root, controller):
    """The bar keeps its Stop in the window, whatever the server said."""
    root.geometry("620x200+0+300")
    bar.attach(controller)
    controller.tell(FAILED)
    settle(root)
    shown = bar.message["text"]
    assert shown.startswith("Error: upscale")
    assert shown.endswith("…")
    assert bar.stop.winfo_x() + bar.stop.winfo_width() <= 620
    xdotool("mousemove", bar.message.winfo_rootx() + 5, bar.message.winfo_rooty() + 5)

    def tips():
        return [w for w in bar.message.winfo_children() if isinstance(w, tk.Toplevel)]

    assert settle(root, lambda: tips() and tips()[0].winfo_viewable(), limit_s=3)
    assert tips()[0].winfo_children()[0]["text"] == ERROR
    xdotool("mousemove", 5, 5)
    assert settle(root, lambda: not tips(), limit_s=3)


@pytest.mark.parametrize(("ground", "palette"), [("#f0f0f0", LIGHT), ("#1f2228", DARK)])
def test_views_take_the_colours_of_their_window(root, ground, palette):
    """In a dark window the text is light, and the other way round."""
    root.configure(background=ground)
    bar, timeline, pane = StatusBar(root), StageTimeline(root), PreviewPane(root)
    assert (bar.palette, timeline.palette, pane.palette) == (palette, palette, palette)
    assert (bar.message["background"], bar.message["foreground"]) == (ground, palette.text)


def test_views_follow_a_change_of_the_ttk_theme(root):
    """In a ttk frame the ground is that of the theme, now and after a change of it."""
    frame = ttk.Frame(root)
    frame.pack()
    bar = StatusBar(frame)
    bar.pack()
    settle(root)
    assert bar.palette is LIGHT
    style = ttk.Style(root)
    style.theme_create("night", parent="default", settings={"TFrame": {"configure": {"background": "#202020"}}})
    style.theme_use("night")
    settle(root, lambda: bar.palette is DARK, limit_s=2)
    assert bar.palette is DARK


def test_a_view_called_off_its_thread_says_so(bar):
    """Tk would crash or hang; the message says what to give to the controller."""
    messages = []

    def call():
        try:
            bar.show(RUNNING)
        except RuntimeError as error:
            messages.append(str(error))

    thread = threading.Thread(target=call, name="worker-1")
    thread.start()
    thread.join()
    (message,) = messages
    assert "StatusBar was called on worker-1, not on the thread of its window." in message
    assert "Give the controller scheduler=TkScheduler(root)." in message


@pytest.mark.parametrize("view", [StatusBar, StageTimeline, PreviewPane])
def test_a_destroyed_view_follows_nothing_any_more(root, controller, view):
    """Closing the window ends the subscriptions; what comes later reaches nobody."""
    widget = view(root)
    widget.pack()
    widget.attach(controller)
    assert controller.watchers >= 1
    root.destroy()
    controller.tell(RUNNING)
    controller.preview(picture())
    assert controller.watchers == 0


def test_attaching_anew_lets_the_first_controller_go(bar, root):
    """One bar may follow one controller after another; detached it stays as it is, without Stop."""
    first, second = FakeController(RUNNING), FakeController(RUNNING)
    bar.attach(first)
    bar.attach(second)
    assert (first.watchers, second.watchers) == (0, 1)
    settle(root)
    bar.stop.invoke()
    assert (first.cancels, second.cancels) == (0, 1)
    bar.detach()
    second.tell(COMPLETED)
    assert bar.message["text"] == "Running img2img"
    assert bar.stop["state"] == "disabled"


def test_timeline_shows_every_stage(root, controller):
    """Names and captions, the failed one in red; a run without stages shows nothing."""
    timeline = StageTimeline(root)
    timeline.pack(fill="x")
    timeline.attach(controller)
    assert timeline.texts == ()
    controller.tell(RUNNING)
    settle(root)
    assert timeline.texts == (
        ("txt2img", "4 in 12.3 s"),
        ("img2img", "1 of 4, 1 failed"),
        ("adetailer", "waiting"),
        ("upscale", "skipped"),
    )
    assert {timeline.palette.good, timeline.palette.busy, timeline.palette.bad} <= colours(timeline.winfo_children()[0])


@pytest.fixture
def pane(root):
    root.geometry("520x420+0+0")
    pane = PreviewPane(root)
    pane.pack(fill="both", expand=True)
    settle(root)
    return pane


def test_preview_fits_the_pane_and_keeps_its_shape(pane, root, controller):
    """As large as there is room, also after the window was resized."""
    pane.attach(controller)
    controller.preview(picture(512, 256))
    settle(root)
    width, height = pane.shown_size
    assert width == 500
    assert height == 250
    assert pane.caption["text"] == "img2img · image 2"
    root.geometry("270x420")
    assert settle(root, lambda: pane.shown_size == (250, 125), limit_s=3)


def test_a_preview_that_cannot_be_read_leaves_the_last_one_standing(pane, root, controller):
    """A torn picture costs nothing but itself."""
    pane.attach(controller)
    controller.preview(picture(400, 400))
    settle(root)
    before = pane.shown_size
    controller.preview(b"no picture", image_index=3)
    settle(root)
    assert pane.shown_size == before
    assert pane.caption["text"] == "img2img · image 3 · this preview cannot be read"
    pane.clear()
    settle(root)
    assert (pane.shown_size, pane.caption["text"]) == (None, "No preview yet")


def test_a_bar_without_stop(root):
    """For windows that have a Stop of their own."""
    bar = StatusBar(root, stop=False)
    bar.pack()
    settle(root)
    assert not bar.stop.winfo_ismapped()
    bar.show(RunStatus())


def test_the_commonest_message_fits_and_the_width_asked_for_never_changes(bar, root):
    """In a window that is as large as the bar wants: nothing cut off, no jump at the end of a run."""
    root.geometry("")
    controller = FakeController(RUNNING)
    bar.attach(controller)
    settle(root)
    width = bar.winfo_reqwidth()
    assert bar.message["text"] == RUNNING.message
    controller.tell(COMPLETED)
    settle(root)
    assert bar.winfo_reqwidth() == width
