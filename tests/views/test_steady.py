"""Nothing that can be clicked moves under the pointer, and no slip of a key loses a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hands import below, button_of, click, ended, places, press, settle
from staged import Easel, picture

import rxpipe as rxp
from rxpipe.views.gui.dialogs import Question
from rxpipe.views.gui.viewer import PictureWindow

LONG = " ".join(["a message that is longer than the room under the buttons"] * 12)


def question_of(window):
    """The question that is open, None if there is none."""
    return next((w for w in below(window.root) if isinstance(w, Question)), None)


def test_no_button_and_no_field_moves_in_any_state(open_window, tmp_path):
    """Idle, running, with runs that wait, stopped, failed, with messages, without a server, with a start picture."""
    window = open_window(easel := Easel(silent=True))
    window.root.geometry("1366x700+0+0")
    settle(window, limit_s=0.3)
    before = places(window)
    seen = {}

    def note(state):
        settle(window, limit_s=0.05)
        seen[state] = places(window)

    window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    note("running")
    window.run()
    window.run()
    note("with runs that wait")
    window.controller.withdraw()
    window.stop()
    assert settle(window, lambda: ended(window), 5)
    note("stopped")
    easel.error = rxp.BackendRejected("no", hint=LONG)
    window.run()
    assert settle(window, lambda: window.status.state == "failed", 5)
    note("failed, with a long message")
    easel.silent, easel.error = False, None
    window.run()
    assert settle(window, lambda: window.status.state == "completed", 5)
    note("with pictures")
    window.connection.connect("http://127.0.0.1:9")
    assert settle(window, lambda: window.connection.state.status == "error", 10)
    note("without a server")
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(kind="PNG"))
    window.form.inputs.show([str(photo)], used=True, mask="")
    assert settle(window, lambda: window.form.inputs.has_thumbnail, 5)
    note("with a start picture")
    window.form.fields["txt2img.steps"].write("many")
    window.run()
    note("with a wrong field")
    assert len(before) >= 25
    assert {state: moved(before, after) for state, after in seen.items()} == {state: {} for state in seen}


def moved(before, after):
    """What is elsewhere than before, or came or went."""
    return {name: (before.get(name), after.get(name)) for name in before | after if before.get(name) != after.get(name)}


@pytest.mark.slow
def test_the_switch_that_was_clicked_stays_under_the_pointer(open_window):
    """Each of the four, on and off; what is above it stays too."""
    window = open_window()
    window.root.geometry("1366x700+0+0")
    settle(window)
    for stage, card in window.form.cards.items():
        window.form.column.show(card)
        settle(window)
        switch = str(card.switch)
        for _ in range(2):
            before = places(window)
            click(window, card.switch, at=(10, card.switch.winfo_height() // 2))
            assert places(window)[switch] == before[switch], stage


@pytest.mark.slow
def test_a_long_message_can_be_read_to_its_end(open_window):
    window = open_window(Easel(error=rxp.BackendRejected("no", hint=LONG)))
    window.run()
    assert settle(window, lambda: ended(window), 5)
    assert window.notice.text.endswith(LONG)
    assert window.notice.winfo_height() < 100


def test_escape_twice_in_the_viewer_stops_no_run(open_window):
    """Nor thrice; after a click in the window the key means the run again."""
    window = open_window(easel := Easel())
    window.form.write(replace(window.form.read(), images="1"))
    window.run()
    assert settle(window, lambda: ended(window), 5)
    easel.silent = True
    window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    viewer = window.open_picture(0)
    press(window, "Escape", focus=viewer)
    assert not any(isinstance(w, PictureWindow) for w in window.root.winfo_children())
    press(window, "Escape", "Escape")
    assert window.status.state == "running"
    assert "press Stop" in window.notice.text
    click(window, window.preview)
    press(window, "Escape")
    assert settle(window, lambda: window.status.state == "cancelled", 5)


@pytest.mark.slow
def test_stopping_a_long_run_asks_once(open_window):
    """Keep running keeps it; a second Stop while the question is open asks no second time; yes stops it."""
    window = open_window(Easel(silent=True), ask_after_s=0.0)
    window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    click(window, window.stop_button)
    assert "has gone on for" in str([w["text"] for w in below(question_of(window)) if "text" in w.keys()])  # noqa: SIM118  # a widget's
    press(window, "Return", focus=question_of(window).no)
    assert question_of(window) is None
    assert window.status.state == "running"
    window.stop()
    window.stop()
    assert len([w for w in below(window.root) if isinstance(w, Question)]) == 1
    click(window, button_of(question_of(window), "Stop the run"))
    assert settle(window, lambda: window.status.state == "cancelled", 5)
    assert question_of(window) is None


@pytest.mark.slow
def test_the_question_goes_with_the_run_it_asks_about(open_window):
    window = open_window(Easel(), ask_after_s=0.0)
    window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    window.stop()
    assert question_of(window) is not None
    assert settle(window, lambda: ended(window) and question_of(window) is None, 10)
    assert window.status.state == "completed"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("waiting", [0, 2])
@pytest.mark.slow
def test_closing_asks_where_something_would_be_lost(open_window, waiting):
    """A long run, or runs that wait; Escape keeps the window, yes closes it."""
    window = open_window(Easel(silent=True), ask_after_s=1e6 if waiting else 0.0)
    for _ in range(1 + waiting):
        window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    window.root.tk.eval(window.root.protocol("WM_DELETE_WINDOW"))
    press(window, "Escape", focus=question_of(window))
    assert window.status.state == "running"
    press(window, "Escape")
    assert window.status.state == "running"
    window.leave()
    question_of(window).yes.invoke()
    assert not window.root.tk.eval("info commands .")


@pytest.mark.slow
def test_a_short_run_is_stopped_and_closed_without_a_question(open_window):
    window = open_window(Easel(silent=True))
    window.run()
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    window.leave()
    assert not window.root.tk.eval("info commands .")
