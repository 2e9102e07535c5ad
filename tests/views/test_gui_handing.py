"""Pictures handed to the window: dropped, pasted, chosen; the start picture's thumbnail; masks painted over it."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hands import click, press, settle
from PIL import Image
from staged import Easel, picture

from rxpipe.views.gui.form_values import config_of
from rxpipe.views.gui.handing import paths_in, sorted_out
from rxpipe.views.gui.mask import Mask


@pytest.fixture
def photo(tmp_path):
    """A picture of 200 x 100."""
    path = tmp_path / "photo.png"
    path.write_bytes(picture(200, 100, kind="PNG"))
    return path


def test_a_start_picture_shows_itself_and_switches_img2img_on(open_window, photo):
    """With its thumbnail, and words where one looks; the x takes it back and the stages are as before."""
    window = open_window()
    window.files.use_inputs([photo])
    assert settle(window, lambda: window.form.inputs.has_thumbnail, 5)
    assert (window.form.cards["txt2img"].on, window.form.cards["img2img"].on) == (False, True)
    assert "img2img is on" in window.notice.text
    assert window.form.inputs.name["text"] == "photo.png"
    click(window, window.form.inputs.remove)
    assert not window.form.inputs.has_thumbnail
    assert (window.form.cards["txt2img"].on, window.form.cards["img2img"].on) == (True, False)
    assert window.form.read().inputs == ()


@pytest.mark.slow
def test_a_start_picture_that_cannot_be_read_says_so(open_window, tmp_path):
    window = open_window()
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"no picture")
    window.files.use_inputs([torn])
    assert settle(window, lambda: "cannot be read" in window.form.inputs.says["text"], 5)


def test_what_is_dropped_is_taken_by_its_kind(open_window, photo, tmp_path):
    """Pictures to start from, a preset into the form, and a word about anything else."""
    window = open_window()
    preset = tmp_path / "night.toml"
    preset.write_text('[txt2img]\nprompt = "night"\n')
    window.files.take([preset])
    assert window.form.fields["prompt"].read() == "night"
    window.files.take([photo, photo])
    assert len(window.form.start_pictures) == 2
    window.files.take([tmp_path / "notes.txt"])
    assert "notes.txt is neither" in window.notice.text


@pytest.mark.slow
def test_the_window_takes_drops(open_window):
    """The window is a target for files, by the library that brings them."""
    window = open_window()
    assert "Drop:DND_Files" in str(window.root.tk.call("bind", window.root))


def test_a_path_on_the_clipboard_is_pasted(open_window, photo):
    """With Ctrl+V, where no field has the focus; in a field it is text."""
    window = open_window()
    window.root.clipboard_clear()
    window.root.clipboard_append(str(photo))
    press(window, "ctrl+v", focus=window.run_button)
    assert window.form.start_pictures == (photo,)
    press(window, "ctrl+a", "ctrl+v", focus=window.form.fields["out"])
    assert window.form.fields["out"].read() == str(photo)


@pytest.mark.slow
def test_a_picture_on_the_clipboard_is_pasted(open_window):
    """As its pixels: it gets a file of its own, the same one for the same picture."""
    window = open_window()
    data = picture(32, 24, kind="PNG")
    offer(window.root, data)
    window.files.paste()
    window.files.paste()
    (path,) = window.form.start_pictures
    assert path.read_bytes() == data
    assert len(list(path.parent.iterdir())) == 1


def offer(root, data):
    """Own the clipboard with a picture and no text, as an image editor does."""
    numbers = " ".join(f"0x{byte:02x}" for byte in data)

    def part(offset, _length):
        return numbers if int(offset) == 0 else ""

    root.clipboard_clear()
    root.selection_own(selection="CLIPBOARD")
    command = root.register(part)
    root.tk.call("selection", "handle", "-selection", "CLIPBOARD", "-type", "image/png", ".", command)
    assert data


@pytest.mark.parametrize("text", ["", "hello", "/nowhere/at/all.png", "file:///nowhere.png", "\0", "x" * 5000])
def test_text_that_names_no_file_is_none(text):
    assert paths_in(text) == ()


def test_urls_and_quoted_paths_are_files(tmp_path):
    path = tmp_path / "a b ü.png"
    path.write_bytes(b"")
    assert paths_in(f"copy\n{path.as_uri()}\n") == (path,)
    assert paths_in(f'"{path}"') == (path,)


def test_kinds_by_ending():
    names = ["a.PNG", "b.yaml", "c.txt"]
    assert [[path.name for path in kind] for kind in sorted_out(list(map(Path, names)))] == [[n] for n in names]


# -- masks -------------------------------------------------------------------------------------------------------------


def test_strokes_erasing_inversion_and_steps_back():
    mask = Mask((100, 50))
    assert mask.empty
    mask.begin()
    mask.stroke([(10, 25), (90, 25)], 10, erase=False)
    assert mask.picture.getpixel((50, 25)) == 255
    assert mask.picture.getpixel((50, 40)) == 0
    mask.begin()
    mask.stroke([(50, 25)], 12, erase=True)
    assert mask.picture.getpixel((50, 25)) == 0
    mask.invert()
    assert mask.picture.getpixel((50, 25)) == 255
    for expected in (0, 255, 0):
        mask.back()
        assert mask.picture.getpixel((50, 25)) == expected
    assert mask.empty
    mask.back()


def test_a_painted_mask_goes_into_the_run(open_window, photo):
    """Painted with the mouse, at the picture's own size; another picture drops it."""
    window = open_window()
    window.files.use_inputs([photo])
    painter = window.files.paint_mask()
    settle(window, lambda: painter.canvas.winfo_width() > 100, 5)
    click(window, painter.canvas)
    painter.done.invoke()
    config = config_of(window.form.read())
    with Image.open(config.img2img.mask) as mask:
        assert mask.size == (200, 100)
        assert mask.getpixel((100, 50)) == 255
        assert mask.getpixel((3, 3)) == 0
    again = window.files.paint_mask()
    assert not again.mask.empty
    again.mask.clear()
    again.finish()
    assert config_of(window.form.read()).img2img.mask is None


@pytest.mark.slow
def test_a_mask_is_not_kept_for_another_picture(open_window, photo, tmp_path):
    window = open_window()
    window.files.use_inputs([photo])
    window.form.mask = str(photo)
    other = tmp_path / "other.png"
    other.write_bytes(photo.read_bytes())
    window.files.use_inputs([other])
    assert window.form.mask == ""
    window.form.mask = str(tmp_path / "{stem}_mask.png")  # means each picture's own
    window.files.use_inputs([photo])
    assert window.form.mask.endswith("{stem}_mask.png")


@pytest.mark.slow
def test_a_run_with_a_mask_ends(open_window, photo):
    window = open_window(Easel())
    window.files.use_inputs([photo])
    mask = io.BytesIO()
    Image.new("L", (200, 100), 255).save(mask, "PNG")
    (photo.parent / "m.png").write_bytes(mask.getvalue())
    window.form.mask = str(photo.parent / "m.png")
    window.run()
    assert settle(window, lambda: window.status.state == "completed", 10)
