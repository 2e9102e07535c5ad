"""Artifact: immutable, a picture in memory or in a file, decoded only for who asks, told plainly when it cannot be."""

from __future__ import annotations

import copy
import dataclasses
import io
import pickle

import numpy as np
import pytest
from PIL import Image

from rxpipe.artifact import Artifact, image_id
from rxpipe.errors import BadImage
from rxpipe.pictures.lineage import LineageEntry

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image, kind="PNG", **options):
    """The bytes of *image* in a format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def two_tone(mode="RGB"):
    """A picture of 6 x 4, red on the left and blue on the right."""
    image = Image.new("RGB", (6, 4), RED)
    image.paste(BLUE, (3, 0, 6, 4))
    return image.convert(mode)


@pytest.fixture
def artifact():
    return Artifact(id="run-1", seed=7, data=encoded(two_tone()))


def test_image_ids_are_the_runs_id_and_a_number():
    """Planned images are told apart by their number, 1.."""
    assert image_id("20260101-120000-ab12", 3) == "20260101-120000-ab12-3"


def test_an_artifact_cannot_be_changed(artifact):
    """Not its fields, not its metadata, not what its lineage records."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.seed = 8
    with pytest.raises(TypeError):
        artifact.with_metadata(score=1).metadata["score"] = 2
    with pytest.raises(TypeError):
        LineageEntry("txt2img", "sketch").settings["steps"] = 2


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(lambda a: a.with_data(b"x"), id="with_data"),
        pytest.param(lambda a: a.with_image(two_tone()), id="with_image"),
        pytest.param(lambda a: a.with_metadata(score=1), id="with_metadata"),
        pytest.param(lambda a: a.with_lineage(LineageEntry("upscale", "sketch")), id="with_lineage"),
        pytest.param(lambda a: a.with_path(a.path), id="with_path"),
    ],
)
def test_a_change_gives_a_new_artifact_of_the_same_image(artifact, changed):
    """Who the image is stays; the old one is what it was."""
    before = dataclasses.replace(artifact)
    after = changed(artifact)
    assert (after.id, after.number, after.seed, after.parent) == ("run-1", 1, 7, None)
    assert artifact == before
    assert after is not artifact


def test_a_picture_is_in_memory_or_in_a_file_never_both(artifact, tmp_path):
    """Stored, it leaves memory; changed, it leaves the file."""
    stored = artifact.with_path(tmp_path / "a.png")
    assert (stored.data, stored.path) == (None, tmp_path / "a.png")
    changed = stored.with_data(b"x")
    assert (changed.data, changed.path) == (b"x", None)


def test_notes_add_up_and_the_latest_holds():
    """Notes made by several stages travel together."""
    noted = Artifact(id="x").with_metadata(score=1, by="me").with_metadata(score=2)
    assert dict(noted.metadata) == {"score": 2, "by": "me"}


def test_lineage_is_oldest_first():
    """In the order in which the stages were gone through."""
    through = (
        Artifact(id="x")
        .with_lineage(LineageEntry("txt2img", "b"))
        .with_lineage(LineageEntry("upscale", "b", {"scale": 2}))
    )
    assert [entry.stage for entry in through.lineage] == ["txt2img", "upscale"]
    assert through.lineage[1].settings == {"scale": 2}


def test_a_derived_image_knows_its_parent(artifact):
    """Also in the second generation; its number stays that of the planned image."""
    left = artifact.derive("left")
    assert (left.id, left.parent, left.number) == ("run-1.left", "run-1", 1)
    assert (left.derive("top").id, left.derive("top").parent) == ("run-1.left.top", "run-1.left")


def test_its_repr_shows_no_bytes(artifact):
    """A megabyte in a log line helps nobody."""
    assert "PNG" not in repr(artifact)
    assert "run-1" in repr(artifact)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])  # noqa: S301  our own bytes
def test_an_artifact_survives_being_copied_and_sent(artifact, copied):
    """To another process, with its notes and its lineage, which stay read-only."""
    full = artifact.with_metadata(score=1).with_lineage(LineageEntry("upscale", "sketch", {"scale": 2}))
    again = copied(full)
    assert again == full
    with pytest.raises(TypeError):
        again.metadata["score"] = 2


# -- opening and reading ----------------------------------------------------------------------------------------------


def test_open_reads_nothing_and_names_the_image_after_its_file(tmp_path):
    """The picture stays on disk until it is asked for."""
    path = tmp_path / "holiday.png"
    path.write_bytes(encoded(two_tone()))
    artifact = Artifact.open(str(path), seed=3, number=2)
    assert (artifact.id, artifact.data, artifact.path) == ("holiday-2", None, path)
    assert (artifact.seed, artifact.number) == (3, 2)
    assert artifact.read() == path.read_bytes()


@pytest.mark.parametrize("name", ["nowhere.png", "", "a\0b.png"], ids=["missing", "a folder", "no possible name"])
def test_open_refuses_what_is_no_file(tmp_path, name):
    """At once, with the path in the message."""
    with pytest.raises(BadImage, match="no such file") as raised:
        Artifact.open(tmp_path / name)
    assert str(tmp_path) in str(raised.value)


def test_an_image_that_is_not_drawn_yet_says_so():
    """There is only a seed so far."""
    nothing = Artifact(id="run-1", seed=1)
    assert not nothing.has_picture
    with pytest.raises(BadImage, match=r"image run-1 has no picture yet\. Put a stage that renders before this one\."):
        nothing.read()


def test_a_file_that_has_gone_is_told_with_its_path(tmp_path):
    """What the system said is in the message, and the cause behind it."""
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    artifact = Artifact.open(path)
    path.unlink()
    assert artifact.has_picture
    with pytest.raises(BadImage, match="cannot be read: No such file") as raised:
        artifact.read()
    assert isinstance(raised.value.__cause__, FileNotFoundError)


# -- decoding ---------------------------------------------------------------------------------------------------------


def test_to_array_is_rgb_height_by_width_and_ones_own(artifact):
    """Writing to it changes nothing else."""
    array = artifact.to_array()
    assert (array.shape, array.dtype) == ((4, 6, 3), np.uint8)
    assert (tuple(array[0, 0]), tuple(array[0, 5])) == (RED, BLUE)
    array[:] = 0
    assert tuple(artifact.to_array()[0, 0]) == RED


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_any_format_of_pillow_is_read(kind):
    """A user's photo is rarely a PNG."""
    assert Artifact(id="x", data=encoded(two_tone(), kind)).to_image().size == (6, 4)


def test_a_photo_taken_on_its_side_comes_out_upright():
    """EXIF orientation 6: to be turned clockwise; left becomes top."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = Artifact(id="x", data=encoded(two_tone(), "PNG", exif=exif)).to_image()
    assert upright.size == (4, 6)
    assert (upright.getpixel((0, 0)), upright.getpixel((0, 5))) == (RED, BLUE)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        pytest.param(b"", "is an empty file", id="empty"),
        pytest.param(b"<html>503</html>", "is none of a known format: it begins with b'<html>503", id="a web page"),
        pytest.param(encoded(Image.new("RGB", (64, 64)))[:60], "cannot be decoded|can be decoded", id="torn"),
    ],
)
def test_bytes_that_are_no_picture_are_told_plainly(data, told):
    """With the image's name, and without addresses in memory."""
    with pytest.raises(BadImage, match=told) as raised:
        Artifact(id="run-1", data=data).to_image()
    assert "run-1" in str(raised.value)
    assert "0x" not in str(raised.value)


# -- encoding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        *((mode, mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
        *((mode, "RGB") for mode in ("CMYK", "YCbCr", "HSV", "LAB", "F")),
        *((mode, "RGBA") for mode in ("RGBa", "PA")),
        ("La", "LA"),
        ("I", "I;16"),
    ],
)
def test_a_pillow_image_of_any_mode_becomes_a_png(mode, kept):
    """As it is where PNG can hold it; an alpha channel is never lost."""
    image = Artifact(id="x").with_image(Image.new(mode, (6, 4))).to_image()
    assert (image.mode, image.size) == (kept, (6, 4))


@pytest.mark.parametrize("channels", [(), (3,), (4,)], ids=str)
def test_an_array_comes_back_pixel_by_pixel(channels):
    """Grey, RGB and RGBA of 8 bit, encoded without loss."""
    array = np.random.default_rng(0).integers(0, 256, (4, 6, *channels), dtype=np.uint8)
    assert np.array_equal(np.asarray(Artifact(id="x").with_image(array).to_image()), array)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 6), np.float64),
        np.zeros((4, 6, 3), np.float32),
        np.zeros((4, 6), np.int64),
        np.zeros((4, 6, 2), np.uint8),
        np.zeros((6,), np.uint8),
        np.zeros((0, 6, 3), np.uint8),
        np.zeros((1, 4, 6, 3), np.uint8),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_an_array_that_is_no_picture_is_refused_and_not_clipped(array):
    """Values of 0..1 would otherwise make a black picture without a word."""
    with pytest.raises(BadImage, match=r"is no picture\. Allowed: uint8, height x width") as raised:
        Artifact(id="x").with_image(array)
    assert str(array.shape) in str(raised.value)
    assert array.dtype.name in str(raised.value)


def test_an_encoded_picture_is_a_png_whatever_the_photo_was():
    """And upright only once: the new file carries no orientation."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Artifact(id="x", data=encoded(two_tone(), "JPEG", exif=exif))
    again = photo.with_image(photo.to_image())
    assert again.data.startswith(b"\x89PNG")
    assert again.to_image().size == (4, 6)
