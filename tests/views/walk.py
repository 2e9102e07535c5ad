"""A program for a test: forty real clicks and keys through the window on a screen of its own, looked at after each.

    python walk.py WIDTHxHEIGHT SCALE light|dark FOLDER

It writes a picture of the screen per step into FOLDER, and prints, as JSON, what moved and what was cut off, by step.
"""

from __future__ import annotations

import json
import os
import sys
import tkinter as tk
from pathlib import Path
from tkinter import ttk

from hands import below, button_of, click, places, press, settle, xdotool
from PIL import ImageGrab
from screens import screen

import rxpipe as rxp
from rxpipe.views.gui.dialogs import Question
from rxpipe.views.gui.lora import LoraWindow
from rxpipe.views.gui.mask import MaskWindow
from rxpipe.views.gui.viewer import PictureWindow
from rxpipe.views.gui.window import MainWindow


class Walk:
    """The window, and what was seen of it."""

    def __init__(self, size, scale, dark, folder):
        self.folder = Path(folder)
        self.root = tk.Tk()
        state = self.folder / "state" / "gui.json"
        self.window = MainWindow(
            self.root,
            backend=rxp.open_backend("embedded", pace_s=0.06),
            dark=dark,
            scale=scale,
            state_path=state,
            ask_after_s=2.0,
        )
        self.root.geometry(f"{size}+0+0")
        self.window.form.fields["out"].write(str(self.folder / "out"))
        settle(self.window, lambda: self.window.connection.state.status == "ready", 20)
        settle(self.window, limit_s=0.6)
        self.number, self.moved, self.cut = 0, {}, {}
        self.before = self.fixed()
        self.note("opened")

    def fixed(self):
        """The places of what is outside the form, which nobody scrolls."""
        form = str(self.window.form)
        return {name: place for name, place in places(self.window).items() if not name.startswith(form)}

    def note(self, name):
        """Look: a picture of the screen, what moved, what is cut off."""
        settle(self.window, limit_s=0.15)
        self.number += 1
        ImageGrab.grab(xdisplay=os.environ["DISPLAY"]).save(
            self.folder / f"{self.number:02}-{name}.png", compress_level=1
        )
        after = self.fixed()
        if after != self.before:
            keys = self.before | after
            self.moved[name] = {
                key: (self.before.get(key), after.get(key)) for key in keys if self.before.get(key) != after.get(key)
            }
        if cut := list(self.cut_off()):
            self.cut[name] = cut

    def cut_off(self):
        """What has less room than it asks for."""
        edge = self.root.winfo_rootx() + self.root.winfo_width()
        for widget in below(self.root):
            if isinstance(widget, ttk.Button | ttk.Checkbutton) and widget.winfo_ismapped():
                right = widget.winfo_rootx() + widget.winfo_width()
                if widget.winfo_width() < widget.winfo_reqwidth() or right > max(edge, self.root.winfo_screenwidth()):
                    yield str(widget)

    def find(self, kind):
        """The window of that kind that is open."""
        return next((w for w in below(self.root) if isinstance(w, kind)), None)

    def click(self, name, widget, at=None):
        """One real click."""
        click(self.window, widget, at)
        self.note(name)

    def press(self, name, *keys, focus=None):
        """Real keys."""
        press(self.window, *keys, focus=focus or self.root.focus_get() or self.root)
        self.note(name)

    def wait(self, name, until, limit_s=90):
        """Wait for something, and look."""
        done = settle(self.window, until, limit_s)
        self.note(name)
        if not done:
            self.cut[name] = ["it did not come to that"]


def go(walk):
    """Do it all."""
    fill_in(walk)
    run(walk)
    look_at_pictures(walk)
    start_from_one(walk)


def fill_in(walk):
    """Fill the form."""
    window, form = walk.window, walk.window.form
    fields, cards = form.fields, form.cards
    switch_at = (10, cards["upscale"].switch.winfo_height() // 2)
    walk.click("prompt", fields["prompt"].text)
    walk.press("all-of-it", "ctrl+a")
    xdotool("type", "portrait of a woman, soft light")
    walk.note("typed")
    walk.click("images", fields["images"], at=(12, 10))
    walk.press("images-12", "ctrl+a", "1", "2")
    walk.press("tab", "Tab")
    walk.click("dice", form.random)
    walk.click("swap", cards["txt2img"].swap)
    walk.click("sizes", cards["txt2img"].sizes)
    walk.press("sizes-closed", "Escape")
    walk.click("more", cards["txt2img"].more)
    walk.click("fewer", cards["txt2img"].more)
    walk.press("adetailer-on", "alt+3")
    form.column.show(cards["upscale"])
    settle(window)
    walk.click("upscale-on", cards["upscale"].switch, at=switch_at)
    form.column.show(form.lora)
    settle(window)
    walk.click("loras", form.lora)
    walk.press("loras-closed", "Escape", focus=walk.find(LoraWindow))


def run(walk):
    """Run, queue, skip, stop after a question, resume."""
    window = walk.window
    walk.click("run", window.run_button)
    walk.wait("first-picture", lambda: len(window.gallery.pictures) >= 1)
    walk.click("queued", window.run_button)
    walk.click("queued-twice", window.run_button)
    walk.click("queue-cleared", window.buttons.clear)
    walk.click("skipped", window.skip_button)
    walk.click("asked", window.stop_button)
    walk.press("kept-running", "Escape", focus=walk.find(Question))
    walk.press("escape-again", "Escape")
    walk.click("asked-again", window.stop_button)
    walk.click("stopped", button_of(walk.find(Question), "Stop the run"))
    walk.wait("over", lambda: window.status.state == "cancelled", 20)
    walk.wait("can-resume", lambda: window.wall.resume.instate(["!disabled"]), 10)
    walk.click("resumed", window.wall.resume)
    walk.wait("completed", lambda: not window.status.active)


def look_at_pictures(walk):
    """The viewer, and the wall of earlier runs."""
    window = walk.window
    last = len(window.gallery.pictures) - 1
    walk.click("viewer", window.gallery.canvas, at=window.gallery.centre_of(last))
    viewer = walk.find(PictureWindow)
    settle(window, lambda: viewer.shown_size is not None, 10)
    viewer.compare_with("txt2img")
    walk.wait("before-after", lambda: viewer.canvas.comparing, 10)
    walk.press("zoomed", "plus", "plus", focus=viewer.canvas)
    walk.press("next", "Left", focus=viewer)
    walk.press("viewer-closed", "Escape", focus=viewer)
    walk.click("earlier", window.wall.earlier_tab)
    walk.click("search", window.wall.search)
    walk.press("found", "p", "o", "r")
    walk.wait("found-some", lambda: len(window.wall.earlier.pictures) >= 5, 10)


def start_from_one(walk):
    """A picture to start from, a mask over it, a wrong field, the other theme."""
    window, form = walk.window, walk.window.form
    window.files.use_inputs([window.gallery.pictures[0].path])
    settle(window, lambda: form.inputs.has_thumbnail, 5)
    walk.click("mask", form.inputs.mask)
    painter = walk.find(MaskWindow)
    settle(window, lambda: painter.canvas.winfo_width() > 100, 5)
    walk.click("painted", painter.canvas)
    walk.click("mask-done", painter.done)
    walk.click("input-removed", form.inputs.remove)
    form.fields["txt2img.steps"].write("many")
    walk.click("wrong", window.run_button)
    walk.click("theme", window.dark_switch, at=(10, 8))
    walk.press("theme-back", "space", focus=window.dark_switch)


def main():
    """Walk, and print what was seen."""
    size, scale, theme, folder = sys.argv[1:]
    os.environ["RXPIPE_STORE"] = str(Path(folder) / "runs.sqlite3")
    with screen(size):
        walk = Walk(size, float(scale), theme == "dark", folder)
        go(walk)
        sys.stdout.write(json.dumps({"steps": walk.number, "moved": walk.moved, "cut": walk.cut}))
        walk.window.close()


if __name__ == "__main__":
    main()
