"""Inpainting masks: where they come from, and that the embedded backend leaves alone what they do not show."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageDraw
from sketch_runs import difference, draw, photo, pixels_of

import rxpipe as rxp
from rxpipe.backends.masks import check_masks, encoded_mask, mask_of
from rxpipe.backends.sizes import Size
from rxpipe.backends.sketch import SketchBackend
from rxpipe.errors import BackendRejected, BadImage
from rxpipe.plan import build_stage_execution_plan

ASTRONAUT = Image.fromarray(skimage.data.astronaut()).resize((192, 160))
SPOT = (60, 40, 120, 100)


def spot(size=ASTRONAUT.size, mode="L", box=SPOT):
    """A white ellipse on black."""
    mask = Image.new(mode, size)
    ImageDraw.Draw(mask).ellipse(box, fill="white")
    return mask


@pytest.fixture
def mask_path(tmp_path):
    spot().save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def inpainted(source=None, **settings):
    values = {"prompt": "a lighthouse", "denoising_strength": 0.8, "steps": 3, **settings}
    return draw(rxp.Img2ImgConfig(**values), photo(ASTRONAUT) if source is None else source)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("strength", [0.2, 0.8, 1.0])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"mask_blur": 0},
        {"mask_blur": 64},
        {"inpaint_full_res": True},
        {"inpaint_full_res": True, "inpaint_full_res_padding": 0, "width": 512, "height": 512},
        {"inpainting_fill": 0},
        {"inpainting_fill": 2},
        {"inpainting_fill": 3, "inpaint_full_res": True},
        {"inpainting_mask_invert": True},
    ],
    ids=repr,
)
@pytest.mark.slow
def test_pixels_outside_the_mask_are_identical(mask_path, settings, strength):
    """And inside they are not, whatever the mask's edge, its fill and the part that is redrawn."""
    pixels = inpainted(mask=mask_path, denoising_strength=strength, **settings).pixels

    before = np.asarray(ASTRONAUT).astype(int)
    inside = (np.asarray(spot()) > 0) != settings.get("inpainting_mask_invert", False)
    assert pixels.shape == before.shape
    assert np.array_equal(pixels[~inside], before[~inside])
    assert difference(pixels[inside], before[inside]) > 0.3


@pytest.mark.slow
def test_the_fill_decides_what_is_redrawn(mask_path):
    """At a low strength noise, grey and the surroundings stay visible, each its own way."""
    pictures = [inpainted(mask=mask_path, inpainting_fill=fill, denoising_strength=0.2).pixels for fill in range(4)]
    assert all(difference(a, b) > 0.2 for i, a in enumerate(pictures) for b in pictures[:i])


def test_previews_show_only_what_is_redrawn(mask_path):
    """What is far from the mask is the picture in each of them."""
    drawing = inpainted(mask=mask_path, denoising_strength=1.0)
    corner = np.asarray(ASTRONAUT).astype(int)[120:, 140:]
    assert drawing.previews
    assert all(difference(preview[120:, 140:], corner) < 4 for preview in drawing.previews)


def test_a_black_mask_leaves_the_picture_as_it_is(tmp_path):
    """It is not written again."""
    Image.new("L", ASTRONAUT.size).save(tmp_path / "black.png")
    output = inpainted(mask=tmp_path / "black.png").output
    assert output.unchanged
    assert output.warnings == ("the mask shows nothing to redraw",)


@pytest.mark.slow
def test_alpha_redraws_what_is_transparent():
    """What was transparent is drawn and opaque; the rest keeps its colours."""
    erased = ASTRONAUT.copy()
    erased.putalpha(Image.eval(spot(), lambda value: 255 - value))
    pixels = inpainted(photo(erased), mask="alpha").pixels

    opaque = np.asarray(spot()) == 0
    assert np.array_equal(pixels[opaque][:, :3], np.asarray(ASTRONAUT)[opaque])
    assert pixels[:, :, 3].min() == 255


@pytest.mark.parametrize("how", ["opaque", "no alpha"])
def test_alpha_needs_a_picture_that_is_transparent_somewhere(how):
    """The message says so."""
    picture = ASTRONAUT.convert("RGBA") if how == "opaque" else ASTRONAUT
    drawing = inpainted(photo(picture), mask="alpha")
    assert isinstance(drawing.error, BadImage)
    assert "transparent nowhere" in drawing.error.message


@pytest.mark.slow
def test_a_picture_of_another_size_is_brought_to_the_stages_with_its_mask(mask_path):
    """The mask goes with the picture."""
    pixels = inpainted(mask=mask_path, width=384, height=320, denoising_strength=1.0).pixels
    plain = draw(rxp.Img2ImgConfig(denoising_strength=0, width=384, height=320), photo(ASTRONAUT)).pixels
    outside = np.asarray(spot().resize((384, 320))) == 0
    assert difference(pixels[outside], plain[outside]) < 1


# -- where a mask comes from --


@pytest.mark.parametrize(
    ("made", "mask"),
    [
        ("L.png", spot()),
        ("1.png", spot().convert("1")),
        ("RGB.png", spot(mode="RGB")),
        ("P.png", spot(mode="RGB").quantize(4)),
        ("RGBA.png", spot(mode="RGB").convert("RGBA")),
        ("LA.png", Image.merge("LA", (Image.new("L", ASTRONAUT.size, "white"), spot()))),
        ("half.png", spot((96, 80), box=(30, 20, 60, 50))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_may_be_stored_in_any_mode_and_at_any_scale(tmp_path, made, mask):
    """By its light, or by its alpha where that says anything."""
    mask.save(tmp_path / made)
    read = mask_of(rxp.Img2ImgConfig(mask=tmp_path / made), photo(ASTRONAUT), ASTRONAUT)
    assert (read.mode, read.size) == ("L", ASTRONAUT.size)
    assert difference(np.asarray(read).astype(int), np.asarray(spot()).astype(int)) < 3


def test_a_mask_of_another_shape_is_refused(tmp_path):
    """With both sizes."""
    spot((192, 100)).save(tmp_path / "m.png")
    with pytest.raises(BadImage, match="192x100 px, and the picture has 192x160"):
        mask_of(rxp.Img2ImgConfig(mask=tmp_path / "m.png"), photo(ASTRONAUT), ASTRONAUT)


def test_what_is_no_picture_is_no_mask(tmp_path):
    """The file is named."""
    (tmp_path / "m.png").write_bytes(b"no picture")
    with pytest.raises(BadImage, match=r"m\.png is none of a known format"):
        mask_of(rxp.Img2ImgConfig(mask=tmp_path / "m.png"), photo(ASTRONAUT), ASTRONAUT)


def test_a_grey_png_is_sent_as_it_is_and_read_once(mask_path, monkeypatch):
    """Its bytes; a further picture costs nothing."""
    config = rxp.Img2ImgConfig(mask=mask_path)
    data = mask_path.read_bytes()
    assert encoded_mask(config, photo(ASTRONAUT), Size(*ASTRONAUT.size)) == data
    monkeypatch.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
    assert encoded_mask(config, photo(ASTRONAUT), Size(*ASTRONAUT.size)) == data


def test_a_mask_that_was_changed_is_read_again(mask_path):
    """By its time."""
    config = rxp.Img2ImgConfig(mask=mask_path)
    before = encoded_mask(config, photo(ASTRONAUT), Size(*ASTRONAUT.size))
    spot(box=(0, 0, 20, 20)).save(mask_path)
    assert encoded_mask(config, photo(ASTRONAUT), Size(*ASTRONAUT.size)) != before


def test_a_pattern_names_a_mask_for_each_input_picture(tmp_path):
    """Beside the picture, also where the stage is not the first and the picture is in another file by then."""
    for name, box in (("a", SPOT), ("b", (0, 0, 40, 40))):
        ASTRONAUT.save(tmp_path / f"{name}.png")
        spot(box=box).save(tmp_path / f"{name}_mask.png")
    config = rxp.PipelineConfig(
        img2img={"mask": "{stem}_mask.png", "denoising_strength": 1.0, "mask_blur": 0, "steps": 2},
        input=[tmp_path / "a.png", tmp_path / "b.png"],
        out=tmp_path / "out",
    )
    result = rxp.PipelineRunner(SketchBackend()).run(config)

    before = np.asarray(ASTRONAUT)
    for name, record in zip("ab", result.images, strict=True):
        changed = np.any(np.asarray(Image.open(record.path)) != before, axis=2)
        inside = np.asarray(Image.open(tmp_path / f"{name}_mask.png")) > 0
        assert changed.any()
        assert not (changed & ~inside).any()

    later = replace(rxp.Artifact.open(tmp_path / "a.png"), path=tmp_path / "out" / "00000.png")
    mask = mask_of(rxp.Img2ImgConfig(mask="{stem}_mask.png"), later, ASTRONAUT)
    assert np.array_equal(np.asarray(mask), np.asarray(spot()))


@pytest.mark.parametrize(
    ("mask", "inputs", "told"),
    [
        ("nowhere.png", ["a.png"], "img2img.mask: no such file: nowhere.png."),
        ("{stem}_m.png", ["a.png"], "img2img.mask: no such file: a_m.png."),
        ("{stem}_m.png", [], "img2img.mask: {stem}_m.png is named by the input picture, and there is none."),
    ],
)
def test_a_mask_that_is_missing_ends_the_run_before_it_begins(mask, inputs, told):
    """Not at its picture, after the stages before."""
    first = {} if inputs else {"txt2img": {}}
    plan = build_stage_execution_plan(rxp.PipelineConfig(**first, img2img={"mask": mask}, input=inputs))
    with pytest.raises(BackendRejected) as refused:
        check_masks(plan)
    assert refused.value.message == told


def test_a_picture_without_a_mask_reads_none():
    """Nor does a stage without one look for any."""
    check_masks(build_stage_execution_plan(rxp.PipelineConfig(txt2img={}, img2img={})))
    assert pixels_of(inpainted().output.data).shape == (160, 192, 3)
