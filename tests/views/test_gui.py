"""The whole window under X, driven by clicks and keys: from start to a window closed in the middle of a run."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import tkinter as tk
from dataclasses import replace
from pathlib import Path
from tkinter import ttk
from tkinter.font import Font
from types import SimpleNamespace

import pytest
import yaml
from hands import below, button_of, click, ended, press, settle
from PIL import ImageTk
from staged import Easel, picture

import rxpipe as rxp
from rxpipe.config import SECTIONS
from rxpipe.testing.servers.webui import WebUIServer, noise
from rxpipe.views.gui import connection, file_manager, form_values
from rxpipe.views.gui.state import WindowState
from rxpipe.views.gui.viewer import PictureWindow, facts
from rxpipe.views.gui.window import MainWindow

DATA = Path(__file__).parents[1] / "data"


# -- a run -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_click_on_run_draws_and_hangs_up_pictures_one_by_one(open_window, tmp_path):
    """Each finished picture appears while the next is in progress, with its seed under it."""
    window = open_window()
    window.form.write(replace(window.form.read(), seed="77", images="12"))
    counts = []
    click(window, window.run_button)
    assert settle(window, lambda: counts.append(len(window.gallery.pictures)) or ended(window), 10)
    assert counts == sorted(counts)
    assert len(set(counts)) >= 3
    canvas = window.gallery.canvas
    captions = sorted(canvas.find_withtag("seed"), key=lambda item: canvas.coords(item)[::-1])  # as they are read
    shown = [canvas.itemcget(item, "text") for item in captions]
    assert shown == [str(seed) for seed in range(77, 89)]
    assert all(one.path.is_file() and tmp_path in one.path.parents for one in window.gallery.pictures)
    assert window.bar.message["text"] == "Completed"


@pytest.mark.slow
def test_the_picture_in_work_is_to_be_seen(open_window):
    window = open_window()
    window.form.fields["images"].write("30")
    click(window, window.run_button)
    assert settle(window, lambda: window.preview.shown_size is not None and window.status.active, 5)
    assert window.preview.caption["text"].startswith("txt2img · image ")


def test_control_enter_in_the_prompt_runs_and_writes_no_line(open_window):
    window = open_window()
    prompt = window.form.fields["prompt"]
    prompt.write("a castle")
    press(window, "ctrl+Return", focus=prompt.text)
    assert settle(window, lambda: ended(window), 10)
    assert prompt.read() == "a castle"
    assert window.controller.last_plan.stages[0].config.prompt == "a castle"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("how", ["click", "Escape"])
def test_stop_stops_a_backend_that_never_answers(open_window, how):
    """The run ends without its answer, and Stop is off again afterwards."""
    window = open_window(easel := Easel(silent=True))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    if how == "click":
        click(window, window.stop_button)
    else:
        press(window, "Escape")
    assert settle(window, lambda: window.status.state == "cancelled", 10)
    assert easel.interrupts == 1
    assert window.stop_button.instate(["disabled"])


@pytest.mark.slow
def test_a_second_run_follows_a_stopped_one(open_window):
    window = open_window(easel := Easel(silent=True))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    click(window, window.stop_button)
    assert settle(window, lambda: ended(window), 2)
    easel.silent = False
    click(window, window.run_button)
    assert settle(window, lambda: window.status.state == "completed", 10)
    assert len(window.gallery.pictures) == 3


@pytest.mark.slow
def test_stop_after_this_image_keeps_it(open_window):
    """With F6; the image in progress is finished, and stands in the gallery."""
    window = open_window()
    window.form.fields["images"].write("60")
    click(window, window.run_button)
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    press(window, "F6")
    assert settle(window, lambda: window.status.state == "cancelled", 5)
    assert 1 <= len(window.gallery.pictures) < 60


def test_skip_goes_on_with_the_next_image(open_window):
    window = open_window(easel := Easel(silent=True))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.stage == "txt2img", 5)
    easel.silent = False
    click(window, window.skip_button)
    assert settle(window, lambda: ended(window), 10)
    assert window.controller.last_result.tally.cancelled == 1
    assert len(window.gallery.pictures) == 2


@pytest.mark.slow
def test_run_while_running_queues_and_the_queue_can_be_cleared(open_window):
    window = open_window(Easel(silent=True))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.active, 5)
    assert window.run_button["text"] == "Add to queue"
    click(window, window.run_button)
    click(window, window.run_button)
    assert len(window.controller.queued) == 2
    clear = button_of(window.root, "Clear queue")
    assert settle(window, lambda: clear.instate(["!disabled"]), 1)
    click(window, clear)
    assert window.controller.queued == ()
    assert settle(window, lambda: clear.instate(["disabled"]), 1)


def test_run_before_the_main_loop_is_not_lost(root, tmp_path):
    """Pressed while the backend is still being looked for, before anything turns the loop."""
    window = MainWindow(root, backend=Easel(), state_path=tmp_path / "m.json", dark=True)
    window.form.write(replace(window.form.read(), out=str(tmp_path / "out"), images="1"))
    window.run()
    root.after(10_000, root.quit)
    window.connection.states.subscribe(
        lambda _: (
            window.controller
            and window.controller.status.subscribe(lambda status: status.state == "completed" and root.quit())
        )
    )
    root.mainloop()
    assert window.status.state == "completed"
    window.close()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_failed_run_says_why_and_what_to_do(open_window):
    error = rxp.BackendRejected("txt2img: /sdapi/v1/txt2img answered 422.", hint="Choose another sampler.")
    window = open_window(Easel(error=error))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.state == "failed", 5)
    assert "answered 422" in window.notice.text
    assert "Choose another sampler." in window.notice.text
    assert window.bar.message["text"].startswith("Error")


@pytest.mark.slow
def test_warnings_are_shown_after_the_run(open_window):
    """The server took another sampler; the run completed, and the window says so."""
    window = open_window(warned := Easel())
    warned.check = lambda _: ["sampler 'X' is not there, 'Euler' was taken"]
    click(window, window.run_button)
    assert settle(window, lambda: ended(window), 10)
    assert "'Euler' was taken" in window.notice.text


def test_without_a_screen_main_says_so():
    """As an error of ours with a hint, not a traceback of Tk."""
    words = "import rxpipe.views.gui as gui; gui.main('sketch')"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "RxPipeError: No window can be opened" in done.stderr


def test_a_label_says_what_its_setting_means(open_window):
    """In the words of `rxpipe stages`, those of its own section."""
    cards = open_window().form.cards
    assert cards["upscale"].tips["scale"].text == SECTIONS["upscale"].model_fields["scale"].description
    assert {stage: set(card.tips) for stage, card in cards.items()} == {
        stage: {name.partition(".")[2] for name in card.fields} for stage, card in cards.items()
    }


def test_wrong_fields_are_marked_and_named_and_nothing_runs(open_window):
    window = open_window()
    window.form.fields["txt2img.steps"].write("many")
    window.form.fields["txt2img.width"].write("513")
    click(window, window.run_button)
    assert "txt2img.steps: got 'many'" in window.notice.text
    assert "512 or 520" in window.notice.text
    wrong = {n for n, f in window.form.fields.items() if isinstance(f, ttk.Entry) and f.instate(["invalid"])}
    assert wrong == {"txt2img.steps", "txt2img.width"}
    assert window.status.state == "idle"
    window.form.fields["txt2img.steps"].write("20")
    window.form.fields["txt2img.width"].write("512")
    click(window, window.run_button)
    assert settle(window, lambda: ended(window), 10)
    assert not window.form.fields["txt2img.steps"].instate(["invalid"])


@pytest.mark.slow
def test_closing_in_the_middle_of_a_run_ends_the_program_at_once(display, tmp_path):
    """A program of its own: the window is closed during a run, and the process, which waits for no thread, is gone."""
    program = textwrap.dedent(
        """
        import sys, threading, tkinter as tk
        sys.path.insert(0, sys.argv[1])
        from staged import Easel
        from rxpipe.views.gui.window import MainWindow
        from pathlib import Path
        root = tk.Tk()
        window = MainWindow(root, backend=Easel(silent=True), state_path=Path(sys.argv[2]) / "m.json")
        window.run()
        def look():
            if window.status.stage == "txt2img":
                root.tk.eval(root.protocol("WM_DELETE_WINDOW"))  # as a click on its cross does
            else:
                root.after(5, look)
        look()
        root.mainloop()
        print(*[thread.name for thread in threading.enumerate() if not thread.daemon])
        """
    )
    words = [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own words
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "MainThread\n")
    assert display


def test_closing_leaves_no_thread(open_window):
    """After a run that was going on, and twice."""
    window = open_window(Easel(silent=True))
    window.run()
    assert settle(window, lambda: window.status.active, 5)
    window.close()
    window.close()
    deadline = time.monotonic() + 3
    named = ("rxpipe-run", "rxpipe-connection", "rxpipe-pictures", "rxpipe-intent")
    while (left := [t for t in threading.enumerate() if t.name.startswith(named)]) and time.monotonic() < deadline:
        left[0].join(0.1)
    assert left == []


@pytest.mark.slow
def test_closing_leaves_nothing_that_python_would_ask_tk_to_free(root, tmp_path):
    """Pictures, fonts and variables are freed by whatever thread collects garbage, which then waits for a dead Tk."""

    def owned():
        gc.collect()
        kinds = (tk.Variable, tk.Image, ImageTk.PhotoImage)
        found = [o for o in gc.get_objects() if isinstance(o, kinds)]
        return len(found) + sum(isinstance(o, Font) and o.delete_font for o in gc.get_objects())

    before = owned()
    window = MainWindow(root, backend=Easel(), state_path=tmp_path / "m.json", dark=True)
    window.form.write(replace(window.form.read(), out=str(tmp_path / "out"), images="1"))
    window.run()
    assert settle(window, lambda: ended(window) and window.gallery.loaded == 1, 10)
    viewer = window.open_picture(0)
    assert settle(window, lambda: viewer.shown_size is not None, 5)
    assert owned() > before
    window.close()
    assert owned() == before


# -- the backend and its light -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_slow_backend_never_blocks_the_window(open_window):
    """The light says connecting while the window answers; then ready, without a click."""
    gate = threading.Event()

    def slow(_):
        gate.wait(30)
        return Easel()

    window = open_window(opener=slow)
    window.connection.connect("slow")
    settle(window)
    beats = []
    window.root.after(0, lambda: beats.append(1))
    settle(window)
    assert beats == [1]
    assert window.status_light.state == "connecting"
    gate.set()
    assert settle(window, lambda: window.status_light.state == "ready", 5)


@pytest.mark.slow
def test_choosing_another_backend_shows_its_light(open_window):
    """Typed and Return pressed: an error for one that cannot be, then ready for one that can."""

    def opener(where):
        if where == "easel":
            return Easel()
        raise rxp.ConfigError([f"backend {where!r}: allowed: 'easel'"])

    window = open_window(Easel(), opener=opener)
    for where, status in (("nonsense", "error"), ("easel", "ready")):
        window.where.write(where)
        press(window, "Return", focus=window.where)
        assert settle(window, lambda status=status: window.status_light.state == status, 5)
    assert window.notice.text == ""


@pytest.mark.slow
def test_the_error_of_a_backend_is_shown_once_and_gone_when_it_is_back(open_window):
    """A server that is not there yet: red; it starts: green without a click, and runs."""
    with WebUIServer(draw=noise) as server:
        url = server.url
    window = open_window(url, opener=rxp.open_backend, retry_s=0.2)
    assert settle(window, lambda: window.status_light.state == "error", 10)
    assert "no server answers" in window.notice.text
    with WebUIServer(draw=noise, port=int(url.rpartition(":")[2])):
        assert settle(window, lambda: window.status_light.state == "ready", 10)
        assert window.notice.text == ""
        assert settle(window, lambda: bool(window.connection.state.names), 10)
        assert "Euler a" in window.form.fields["txt2img.sampler_name"]["values"]
        window.form.write(replace(window.form.read(), images="1"))
        click(window, window.run_button)
        assert settle(window, lambda: ended(window), 20)
        assert window.status.state == "completed"


@pytest.mark.slow
def test_the_backend_cannot_be_changed_while_a_run_goes_on(open_window):
    window = open_window(Easel(silent=True))
    click(window, window.run_button)
    assert settle(window, lambda: window.status.active, 5)
    assert window.where.instate(["disabled"])
    click(window, window.stop_button)
    assert settle(window, lambda: ended(window), 2)
    assert window.where.instate(["!disabled"])


def test_what_comes_late_from_a_backend_given_up_is_forgotten(marbles):
    """Two were requested; the first is opened last, closed, and not shown."""
    marbles.allow_threads()
    gate, closed = threading.Event(), threading.Event()

    class Late(Easel):
        name = "late"

        def close(self):
            closed.set()

    def opener(where):
        if where == "late":
            gate.wait(30)
            return Late()
        return Easel()

    pump = rxp_pump()
    states = []
    way = connection.BackendConnection(pump, opener=opener)
    way.states.subscribe(states.append)
    way.connect("late")
    way.connect("easel")
    assert pumped(pump, lambda: way.state.status == "ready")
    gate.set()
    assert pumped(pump, closed.is_set)
    assert way.state.backend.name == "easel"
    assert [(state.status, state.where) for state in states][-1] == ("ready", "easel")
    way.close()


def rxp_pump():
    from rxpipe.rx.mainloop import PumpScheduler  # noqa: PLC0415  beside its use

    return PumpScheduler()


def pumped(pump, until, limit_s=5):
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        pump.pump()
    return until()


# -- stages and settings -----------------------------------------------------------------------------------------------


def test_a_click_on_a_switch_opens_the_card_and_puts_the_stage_into_the_run(open_window):
    window = open_window()
    card = window.form.cards["upscale"]
    settle(window)
    window.form.column.show(card)
    settle(window)
    click(window, card.switch, at=(10, card.switch.winfo_height() // 2))
    assert card.on
    assert form_values.config_of(window.form.read()).upscale.scale == 2.0
    press(window, "alt+4")
    assert not card.on
    assert form_values.config_of(window.form.read()).upscale is None


@pytest.mark.slow
def test_the_slider_and_its_number_say_the_same(open_window):
    window = open_window()
    window.form.cards["img2img"].on = True
    strength = window.form.fields["img2img.denoising_strength"]
    strength.write("0.75")
    settle(window)
    assert strength.slider.get() == pytest.approx(0.75)
    strength.slider.set(0.5)
    assert strength.read() == "0.5"


def test_without_txt2img_the_window_asks_for_a_picture(open_window, tmp_path):
    """And says so if there is none; with one it runs."""
    window = open_window()
    window.form.cards["txt2img"].flip()
    window.form.cards["img2img"].flip()
    click(window, window.run_button)
    assert "no picture to start from" in window.notice.text
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture(kind="PNG"))
    window.form.start_from([str(photo)])
    window.form.write(replace(window.form.read(), images="1"))
    click(window, window.run_button)
    assert settle(window, lambda: ended(window), 10)
    assert window.status.state == "completed"
    assert window.controller.last_plan.settings.input == (photo,)


@pytest.mark.slow
def test_random_and_reuse_set_the_seed(open_window):
    window = open_window()
    assert window.form.reuse.instate(["disabled"])
    window.form.fields["seed"].write("5")
    click(window, window.run_button)
    assert settle(window, lambda: ended(window), 10)
    click(window, window.form.random)
    assert window.form.fields["seed"].read() == "-1"
    click(window, window.form.reuse)
    assert window.form.fields["seed"].read() == "5"


@pytest.mark.slow
def test_the_theme_switch_changes_every_surface(open_window):
    window = open_window()
    dark = (
        window.root["background"],
        window.form.fields["prompt"].text["background"],
        window.gallery.canvas["background"],
    )
    click(window, window.dark_switch, at=(10, window.dark_switch.winfo_height() // 2))
    light = (
        window.root["background"],
        window.form.fields["prompt"].text["background"],
        window.gallery.canvas["background"],
    )
    assert all(before != after for before, after in zip(dark, light, strict=True))
    assert window.bar.palette.ground != window.theme.skin.ground or window.bar.palette is window.theme.skin.palette


# -- presets, pictures, state ------------------------------------------------------------------------------------------


def test_a_preset_fills_the_form_and_keeps_what_the_form_has_no_field_for(open_window, tmp_path):
    preset = tmp_path / "night.toml"
    preset.write_text(
        '[txt2img]\nprompt = "night"\nsteps = 33\nclip_skip = 2\ntiling = true\n'
        "[txt2img.hires]\nscale = 1.5\n[upscale]\nscale = 3\n"
    )
    window = open_window()
    window.files.load(preset)
    assert window.form.fields["prompt"].read() == "night"
    assert window.form.cards["upscale"].on
    assert "tiling" in form_values.further(window.form.read(), "txt2img")
    card = window.form.cards["txt2img"]
    assert any("tiling" in label["text"] for label in below(card) if isinstance(label, ttk.Label))
    assert card.more_open  # clip skip and hires are among the further settings
    config = form_values.config_of(window.form.read())
    assert (config.txt2img.steps, config.txt2img.clip_skip, config.txt2img.hires.scale) == (33, 2, 1.5)
    assert config.txt2img.tiling


@pytest.mark.slow
def test_a_saved_preset_is_the_same_wish(open_window, tmp_path):
    window = open_window()
    window.form.cards["adetailer"].on = True
    window.files.save(tmp_path / "mine.yaml")
    assert rxp.PipelineConfig.load(tmp_path / "mine.yaml") == form_values.config_of(window.form.read())
    assert yaml.safe_load((tmp_path / "mine.yaml").read_text())["txt2img"]["prompt"].startswith("a lighthouse")


@pytest.mark.slow
def test_a_picture_made_here_is_drawn_again_with_its_seed(open_window):
    window = open_window()
    window.form.write(replace(window.form.read(), images="1", seed="42", prompt="a boat"))
    click(window, window.run_button)
    assert settle(window, lambda: ended(window), 10)
    made = window.gallery.pictures[0]
    window.form.write(form_values.first_values())
    window.files.load(made.path)
    values = window.form.read()
    assert (values.prompt, values.seed, values.images) == ("a boat", "42", "1")


@pytest.mark.parametrize("name", ["forge-txt2img.png", "a1111-img2img.png"])
def test_a_picture_of_another_tool_fills_the_form(name):
    """Its prompt, seed, steps and size, as its text has them."""
    said = rxp_info(DATA / name)
    config = rxp.recall(DATA / name, input="photo.png" if said.source else ()).config
    section = config.img2img if said.source else config.txt2img
    assert section.prompt == said.prompt
    assert section.seed == said.seed
    assert section.steps == int(said.settings["Steps"])


def rxp_info(path):
    from rxpipe.pictures.metadata import read_info  # noqa: PLC0415  beside its use

    return read_info(path)


def test_a_file_that_cannot_be_loaded_is_reported(open_window, tmp_path):
    """A picture without words, a torn one, a preset with a wrong key; the form stays as it was."""
    plain = tmp_path / "plain.png"
    plain.write_bytes(picture(kind="PNG"))
    torn = tmp_path / "torn.png"
    torn.write_bytes(picture(kind="PNG")[:60])
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"txt2img": {"stps": 3}}))
    window = open_window()
    before = window.form.read()
    for path, words in ((plain, "does not say"), (torn, "torn.png"), (wrong, "did you mean 'steps'")):
        window.files.load(path)
        assert words in window.notice.text
    assert window.form.read() == before


def test_the_window_remembers_itself(root, tmp_path):
    """Form, theme, backend and place; and no password."""
    state_path = tmp_path / "deep" / "gui.json"
    window = MainWindow(root, backend=Easel(), dark=False, state_path=state_path)
    settle(window, lambda: window.connection.state.status == "ready", 5)
    window.form.write(replace(window.form.read(), prompt="remember me", images="7"))
    root.geometry("900x600+30+20")
    settle(window)
    window.connection.state = replace(window.connection.state, where="http://me:secret@127.0.0.1:7860")
    window.close()
    kept = WindowState.load(state_path)
    assert (kept.form.prompt, kept.form.images, kept.dark) == ("remember me", "7", False)
    assert kept.backend == "http://127.0.0.1:7860"
    assert kept.geometry.startswith("900x600")
    assert "secret" not in state_path.read_text()


@pytest.mark.parametrize("text", ["", "{", '{"geometry": "wide"}', '{"form": {"fields": 3}}'])
def test_a_memory_that_cannot_be_read_is_as_good_as_none(tmp_path, text):
    (tmp_path / "gui.json").write_text(text)
    assert WindowState.load(tmp_path / "gui.json") == WindowState()


@pytest.mark.slow
def test_a_place_off_the_screen_is_not_gone_back_to(root, tmp_path):
    """The screen it was on is not plugged in any more."""
    state_path = tmp_path / "gui.json"
    WindowState(geometry="900x600+4000+3000").save(state_path)
    window = MainWindow(root, backend=Easel(), state_path=state_path)
    settle(window)
    assert 0 <= root.winfo_x() < root.winfo_screenwidth() - 100
    assert 0 <= root.winfo_y() < root.winfo_screenheight() - 60
    window.close()


# -- finished pictures -------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(open_window):
    """A window after a run of three pictures."""
    window = open_window()
    window.form.write(replace(window.form.read(), seed="100"))
    click(window, window.run_button)
    assert settle(window, lambda: ended(window) and window.gallery.loaded == 3, 10)
    return window


def viewer_of(window):
    return next((child for child in window.root.winfo_children() if isinstance(child, PictureWindow)), None)


@pytest.mark.slow
def test_a_click_on_a_picture_opens_it_with_its_metadata(finished):
    """Full size at a click, the next with an arrow, away with Escape."""
    click(finished, finished.gallery.canvas, at=finished.gallery.centre_of(1))
    viewer = viewer_of(finished)
    assert settle(finished, lambda: viewer.shown_size is not None, 5)
    words = viewer.words.get("1.0", "end")
    assert "101" in words
    assert "a lighthouse" in words
    press(finished, "space", focus=viewer)
    assert viewer.full_size
    assert viewer.shown_size == (512, 384)
    press(finished, "Right", focus=viewer)
    assert viewer.picture.seed == 102
    press(finished, "Escape", focus=viewer)
    assert viewer_of(finished) is None


@pytest.mark.slow
def test_the_gallery_can_be_walked_with_the_keyboard(finished):
    canvas = finished.gallery.canvas
    press(finished, "Right", "Right", "Left", focus=canvas)
    assert finished.gallery.selected == 0
    press(finished, "Return", focus=canvas)
    assert viewer_of(finished).picture.seed == 100


@pytest.mark.slow
def test_copy_parameters_puts_a1111s_text_on_the_clipboard(finished):
    click(finished, button_of(finished.open_picture(0), "Copy parameters"))
    text = finished.root.clipboard_get()
    assert text.startswith("a lighthouse at dusk")
    assert "Seed: 100" in text


@pytest.mark.slow
def test_use_its_settings_and_start_from_this_picture(finished):
    finished.form.fields["prompt"].write("something else")
    viewer = finished.open_picture(2)
    click(finished, button_of(viewer, "Use its settings"))
    assert finished.form.read().seed == "102"
    assert finished.form.read().prompt.startswith("a lighthouse")
    click(finished, button_of(viewer, "Start from this picture"))
    assert finished.form.read().inputs == (str(finished.gallery.pictures[2].path),)
    assert not finished.form.cards["txt2img"].on


@pytest.mark.slow
def test_open_folder_asks_the_systems_file_manager(finished, monkeypatch):
    started = []
    system = SimpleNamespace(Popen=lambda words, **_: started.append(words), DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(file_manager, "subprocess", system)
    finished.files.open_folder(finished.gallery.pictures[0])
    press(finished, "F8")
    assert [Path(words[-1]).name for words in started][-1] == "out"
    assert len(started) == 2


@pytest.mark.parametrize(
    ("platform", "words"),
    [("win32", ["explorer", "/select,"]), ("darwin", ["open", "-R"]), ("linux", ["xdg-open"])],
)
def test_each_system_has_its_own_way_to_show_a_file(tmp_path, platform, words):
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    assert file_manager.command(file, platform)[: len(words)] == words


@pytest.mark.slow
def test_a_file_that_is_gone_is_reported(finished):
    gone = replace(finished.gallery.pictures[0], path=Path("/nowhere/at all/x.png"))
    finished.files.open_folder(gone)
    assert "no such folder" in finished.notice.text
    finished.files.copy_parameters(gone)
    assert "no such file" in finished.notice.text
    assert ("Problem", facts(gone.path)[1][1]) in facts(gone.path)


# -- how it looks ------------------------------------------------------------------------------------------------------


def cut_off(window):
    """Buttons, labels and fields that have less room than they ask for."""
    kinds = ttk.Button | ttk.Checkbutton | ttk.Entry
    for widget in below(window.root):
        if isinstance(widget, kinds) and widget.winfo_ismapped():
            right = widget.winfo_rootx() + widget.winfo_width()
            edge = window.root.winfo_rootx() + window.root.winfo_width()
            if widget.winfo_width() < widget.winfo_reqwidth() or right > edge:
                yield str(widget), widget.winfo_width(), widget.winfo_reqwidth()


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("scale", "size"), [(1.0, "1366x700"), (1.0, "1000x600"), (2.0, "2480x1400")])
def test_nothing_is_cut_off(open_window, scale, size):
    """At the size of a small laptop, smaller, and at twice the size."""
    window = open_window(scale=scale)
    for card in window.form.cards.values():
        card.on = True
    window.root.geometry(f"{size}+0+0")
    settle(window, limit_s=0.5)
    assert list(cut_off(window)) == []
    assert window.preview.winfo_height() > 150 * scale


def test_every_button_does_something(open_window):
    """No widget stands there for looks: each button, switch and list has a command or a binding."""
    window = open_window()
    buttons = [w for w in below(window.root) if isinstance(w, ttk.Button | ttk.Checkbutton)]
    assert len(buttons) >= 14
    assert [str(b) for b in buttons if not str(b["command"]) and b is not window.form.reuse] == []


def test_the_window_needs_no_tk_to_be_imported():
    """The package can be asked for before anybody knows whether there is a screen."""
    words = "import sys, rxpipe.views.gui; sys.exit('tkinter' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words], check=False, timeout=60).returncode == 0  # noqa: S603  # fixed words


# -- the form's meaning, without a window ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config",
    [
        rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="x", seed=3)),
        rxp.PipelineConfig(img2img=rxp.Img2ImgConfig(prompt="y", images=2), input=(Path("a.png"), Path("b.png"))),
        rxp.PipelineConfig(adetailer=rxp.AdetailerConfig(prompt="z", confidence=0.5), input=(Path("a.png"),)),
        rxp.PipelineConfig(upscale=rxp.UpscaleConfig(scale=2.5, mode="img2img"), input=(Path("a.png"),)),
        rxp.PipelineConfig(
            txt2img=rxp.Txt2ImgConfig(prompt="x", hires=rxp.HiresConfig(scale=1.5), styles=("a",)),
            upscale=rxp.UpscaleConfig(enabled=False),
            order="image",
            retry=rxp.RetryConfig(attempts=1),
        ),
    ],
)
def test_a_config_comes_back_from_the_form_as_the_same_plan(config):
    """What the form shows and what it does not, whatever stage draws first."""
    again = form_values.config_of(form_values.form_of(config))
    expected, came = rxp.build_stage_execution_plan(config), rxp.build_stage_execution_plan(again)
    assert [stage.generation for stage in came.stages] == [stage.generation for stage in expected.stages]
    assert came.settings == expected.settings
    assert came.images == expected.images


def test_the_next_run_does_not_take_the_id_of_the_one_loaded():
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(), metadata=rxp.RunMetadata(run_id="old", note="kept"))
    again = form_values.config_of(form_values.form_of(config)).metadata
    assert again.run_id is None
    assert again.model_extra == {"note": "kept"}
