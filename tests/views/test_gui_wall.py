"""The wall and the viewer: earlier runs, search, favourites, the trash, resume; zoom, drag, before and after."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hands import click, ended, press, settle, xdotool
from PIL import Image
from staged import Easel

from rxpipe.errors import RxPipeError
from rxpipe.views.gui.theme import Theme
from rxpipe.views.gui.trash import to_trash, trash_folder
from rxpipe.views.gui.viewer import ALONE
from rxpipe.views.gui.zoom import ZoomCanvas


def run(window, prompt, **fields):
    """Run the form with that prompt to its end."""
    window.form.write(replace(window.form.read(), prompt=prompt, **fields))
    window.run()
    assert settle(window, lambda: window.status.active, 5)
    assert settle(window, lambda: ended(window), 10)


def earlier(window, until):
    """Wait until the wall of earlier runs is as it should be; what it shows."""
    assert settle(window, lambda: until(window.wall.earlier.pictures), 5), window.wall.earlier.pictures
    return window.wall.earlier.pictures


@pytest.mark.slow
def test_search_favourites_and_trash(open_window, tmp_path, monkeypatch):
    """Earlier runs, the newest first; words of the prompt find them; what is deleted is in the trash."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    window = open_window()
    run(window, "a boat at night", images="2", seed="10")
    run(window, "a castle", images="1", seed="20")
    click(window, window.wall.earlier_tab)
    assert [one.seed for one in earlier(window, lambda found: len(found) == 3)] == [20, 11, 10]
    click(window, window.wall.search)
    press(window, "b", "o", "a", focus=window.wall.search)
    assert [one.seed for one in earlier(window, lambda found: len(found) == 2)] == [11, 10]
    window.wall.toggle_favourite(window.wall.earlier, 1)
    window.wall.favourites.invoke()
    assert [one.seed for one in earlier(window, lambda found: len(found) == 1)] == [10]
    (liked,) = window.wall.earlier.pictures
    assert liked.favourite
    window.wall.delete(window.wall.earlier, 0)
    assert not liked.path.exists()
    assert (tmp_path / "data" / "Trash" / "files" / liked.path.name).is_file()
    assert "is in the trash" in window.notice.text
    window.wall.favourites.invoke()
    window.wall.search.write("")
    window.wall.refresh()
    assert [one.seed for one in earlier(window, lambda found: len(found) == 2)] == [20, 11]


@pytest.mark.slow
def test_an_interrupted_run_is_resumed_from_the_wall(open_window):
    """The button is on once a run was left unfinished; nothing is drawn twice."""
    window = open_window()
    window.form.write(replace(window.form.read(), images="8", seed="30"))
    window.run()
    assert settle(window, lambda: len(window.gallery.pictures) >= 2, 10)
    window.stop()
    assert settle(window, lambda: ended(window), 5)
    assert settle(window, lambda: window.wall.resume.instate(["!disabled"]), 5)
    click(window, window.wall.resume)
    assert settle(window, lambda: window.status.state == "completed", 15)
    assert {one.seed for one in window.gallery.pictures} == set(range(30, 38))
    assert settle(window, lambda: window.wall.resume.instate(["disabled"]), 5)


@pytest.mark.slow
def test_without_a_store_the_wall_says_so(open_window, monkeypatch):
    monkeypatch.setenv("RXPIPE_STORE", "none")
    window = open_window()
    window.wall.show("earlier")
    settle(window)
    texts = [window.wall.earlier.canvas.itemcget(item, "text") for item in window.wall.earlier.canvas.find_all()]
    assert "The history of runs is off." in texts


@pytest.mark.slow
def test_a_new_picture_does_not_scroll_away_what_is_under_the_pointer(open_window):
    """Elsewhere the latest one is scrolled into sight."""
    window = open_window()
    window.wall.session.side_px = 300
    run(window, "x", images="8")
    assert window.gallery.canvas.yview()[1] == pytest.approx(1.0)
    window.gallery.canvas.yview_moveto(0)
    canvas = window.gallery.canvas
    xdotool("mousemove", canvas.winfo_rootx() + 40, canvas.winfo_rooty() + 20)
    settle(window)
    run(window, "x", images="4")
    assert canvas.yview()[0] == pytest.approx(0.0)


@pytest.mark.slow
def test_the_slider_changes_the_size_of_the_thumbnails(open_window):
    window = open_window()
    run(window, "x", images="1")
    assert settle(window, lambda: window.gallery.loaded == 1, 5)
    click(window, window.wall.thumbnail_size, at=(window.wall.thumbnail_size.winfo_width() - 10, 8))
    window.wall.thumbnail_size.set(300)
    assert settle(window, lambda: window.gallery.side_px == 300 and window.gallery.loaded == 1, 5)


@pytest.mark.slow
def test_a_stage_before_lies_beside_the_picture(open_window):
    """The stages that the image went through are offered; the divider is dragged."""
    window = open_window(Easel())
    window.form.cards["upscale"].on = True
    run(window, "x", images="1")
    (picture,) = window.gallery.pictures
    assert [stage for stage, _ in picture.earlier] == ["txt2img"]
    viewer = window.open_picture(0)
    assert settle(window, lambda: viewer.shown_size is not None, 5)
    assert list(viewer.before["values"]) == [ALONE, "txt2img"]
    viewer.compare_with("txt2img")
    assert settle(window, lambda: viewer.canvas.comparing, 5)
    canvas = viewer.canvas
    middle = (canvas.winfo_rootx() + canvas.winfo_width() // 2, canvas.winfo_rooty() + canvas.winfo_height() // 2)
    settle(window)
    xdotool("mousemove", *middle, "mousedown", 1, "mousemove", middle[0] + 60, middle[1], "mouseup", 1)
    assert settle(window, lambda: canvas.divider > 0.52, 3)
    viewer.compare_with(ALONE)
    assert not canvas.comparing


# -- zoom --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def canvas(root):
    """A canvas of 400 x 300 with a picture of 800 x 300, red on the left half."""
    picture = Image.new("RGB", (800, 300), "blue")
    picture.paste((255, 0, 0), (0, 0, 400, 300))
    canvas = ZoomCanvas(root, Theme(root, scale=1.0))
    canvas.configure(width=400, height=300)
    canvas.pack()
    root.update()
    canvas.show(picture)
    root.update()
    return canvas


def test_a_picture_is_fitted_and_zoomed_at_the_pointer(canvas, root):
    """What is under the pointer stays there."""
    assert canvas.shown_size == (400, 150)
    canvas.zoom(2.0, 100, 150)
    root.update()
    assert canvas.shown_size == (800, 300)
    assert canvas.full_size
    assert canvas._centre == (300.0, 150.0)  # 200, 150 of the picture is at 100, 150 as before
    for _ in range(60):
        canvas.zoom(0.5)
    for _ in range(60):
        canvas.zoom(2.0)
    canvas.fit()
    root.update()
    assert canvas.shown_size == (400, 150)


def test_a_huge_zoom_scales_only_what_is_in_sight(canvas, root):
    canvas.zoom(1000.0)
    root.update()
    assert canvas.scale_now == 32.0
    assert canvas._photo.width() <= 400 + 2 * 32  # the picture as a whole would have 25600


def test_another_size_of_the_earlier_state_is_fitted(canvas, root):
    canvas.compare(Image.new("RGB", (80, 30), "green"))
    root.update()
    assert canvas.comparing
    assert canvas.shown_size == (400, 150)


# -- trash -------------------------------------------------------------------------------------------------------------


def test_the_trash_keeps_everything_and_says_where_it_came_from(tmp_path):
    folder = tmp_path / "Trash" / "files"
    for text in ("one", "two"):
        (tmp_path / "a ü.png").write_text(text)
        to_trash(tmp_path / "a ü.png", folder)
    assert sorted(path.read_text() for path in folder.iterdir()) == ["one", "two"]
    notes = sorted((tmp_path / "Trash" / "info").iterdir())
    assert [note.name for note in notes] == ["a ü 2.png.trashinfo", "a ü.png.trashinfo"]
    assert "Path=" in notes[0].read_text()
    assert "a%20%C3%BC.png" in notes[0].read_text()


def test_what_is_gone_cannot_be_deleted(tmp_path):
    with pytest.raises(RxPipeError, match="cannot be moved to the trash"):
        to_trash(tmp_path / "gone.png", tmp_path / "t")


@pytest.mark.parametrize(("platform", "name"), [("linux", "files"), ("darwin", ".Trash"), ("win32", "trash")])
def test_each_system_has_its_trash(platform, name):
    assert trash_folder(platform).name == name
