"""What the embedded backend draws: steered by words and seed, emerging step by step, painted over, enlarged."""

import io
import json

import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sketch_runs import difference, draw, photo, pixels_of, txt2img

import rxpipe as rxp
from rxpipe.backends.picture import as_rgb
from rxpipe.backends.sketch.encode import encode_png

SUBJECTS = (
    "a lighthouse by the sea", "mountains", "a forest in the fog", "a lake", "a city skyline", "a flower meadow",
    "the desert", "a planet", "an abstract pattern", "portrait of a woman", "a castle in winter", "something else",
)  # fmt: skip


@pytest.mark.sampled(2)
@pytest.mark.parametrize("prompt", SUBJECTS)
def test_the_same_prompt_and_seed_give_the_same_pixels(prompt):
    """And another seed gives visibly others."""
    first, again, other = (txt2img(prompt, width=128, height=96, seed=seed) for seed in (3, 3, 4))

    assert np.array_equal(first, again)
    assert difference(first, other) > 4


@pytest.mark.slow
def test_each_subject_gives_a_picture_of_its_own():
    """No two of the subjects look alike at one seed; only words that say nothing fall back to one of them."""
    pictures = [txt2img(prompt, width=128, height=96) for prompt in SUBJECTS[:-1]]

    alike = [(i, j) for i, a in enumerate(pictures) for j, b in enumerate(pictures[:i]) if difference(a, b) < 3]
    assert alike == []


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("changed", "least"),
    [
        ({"negative_prompt": "dusk"}, 5),
        ({"negative_prompt": "lighthouse"}, 2),
        ({"negative_prompt": "blurry, low quality"}, 0.5),
        ({"steps": 1}, 1),
        ({"steps": 40}, 0.05),
        ({"cfg_scale": 2.0}, 5),
        ({"cfg_scale": 14.0}, 5),
        ({"prompt": "a lighthouse at dusk, red"}, 3),
        ({"prompt": "a lighthouse at night"}, 5),
    ],
    ids=repr,
)
def test_every_setting_has_an_effect_that_can_be_seen(changed, least):
    """Negative prompt, steps, cfg_scale and words each change the picture; *least* is in steps of 255."""
    values = {"prompt": "a lighthouse at dusk", "width": 192, "height": 192, "steps": 12}

    assert difference(txt2img(**values), txt2img(**{**values, **changed})) > least


@pytest.mark.slow
def test_more_cfg_scale_means_more_colour_and_contrast():
    """Spread of values and distance from grey both rise with it."""
    pictures = [txt2img("sea at sunset", cfg_scale=scale) for scale in (2.0, 5.0, 9.0, 14.0)]

    assert [p.std() for p in pictures] == sorted(p.std() for p in pictures)
    colours = [float(np.ptp(p, axis=2).mean()) for p in pictures]
    assert colours == sorted(colours)


@pytest.mark.slow
@given(
    width=st.integers(8, 40).map(lambda n: n * 8),
    height=st.integers(8, 40).map(lambda n: n * 8),
    prompt=st.sampled_from(SUBJECTS) | st.text(max_size=40),
    seed=st.integers(0, 2**63 - 1),
    steps=st.integers(1, 7),
)
@settings(deadline=None, max_examples=25)
def test_any_size_prompt_and_seed_can_be_drawn(width, height, prompt, seed, steps):
    """The picture has the size asked for, in as many steps as asked for."""
    config = rxp.Txt2ImgConfig(prompt=prompt, width=width, height=height, steps=steps)
    drawing = draw(config, seed=seed)

    assert drawing.pixels.shape == (height, width, 3)
    assert len(drawing.steps) == steps


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("width", "height"), [(64, 2048), (2048, 64), (64, 64), pytest.param(2048, 1024, marks=pytest.mark.slow)]
)
def test_extreme_shapes_can_be_drawn(width, height):
    drawn = txt2img("mountains at sunset", width=width, height=height, steps=2)

    assert drawn.shape == (height, width, 3)
    assert drawn.std() > 10


def test_the_hires_fix_draws_at_the_larger_size():
    config = rxp.Txt2ImgConfig(prompt="sea", width=128, height=64, steps=2, hires=rxp.config.HiresConfig(scale=2))

    assert draw(config).pixels.shape == (128, 256, 3)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("prompt", ["a lighthouse at dusk", "portrait", "a city at night"])
@pytest.mark.parametrize("size", [128, 640])
def test_previews_emerge(prompt, size):
    """From step to step they come closer to the picture; the last is the picture."""
    config = rxp.Txt2ImgConfig(prompt=prompt, width=size, height=size, steps=10)
    drawing = draw(config)
    last = drawing.previews[-1]
    distances = [difference(preview, last) for preview in drawing.previews]

    assert distances == sorted(distances, reverse=True)
    assert distances[0] > 20
    assert last.shape[:2] == (min(size, 512), min(size, 512))


# -- img2img ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def astronaut():
    return Image.fromarray(skimage.data.astronaut()).resize((192, 160))


def repainted(image, strength, **values):
    config = rxp.Img2ImgConfig(prompt="a lighthouse at dusk", denoising_strength=strength, steps=3, **values)
    return draw(config, photo(image))


@pytest.mark.slow
def test_strength_0_changes_no_pixel_and_growing_strength_leads_away_from_the_photo(astronaut):
    """Distance to the photo rises with strength, evenly enough to have no jump; at 1 it is txt2img's picture."""
    before = np.asarray(astronaut).astype(int)
    drawn = [repainted(astronaut, strength).pixels for strength in np.linspace(0, 1, 11)]
    distances = [difference(picture, before) for picture in drawn]

    assert distances[0] == 0
    assert distances == sorted(distances)
    assert 0 < distances[1] < 8
    assert max(np.diff(distances)) < 0.45 * distances[-1]
    same = txt2img("a lighthouse at dusk", width=192, height=160, steps=3)
    assert np.array_equal(drawn[-1], same)


@pytest.mark.slow
def test_a_repainted_photo_is_the_same_for_the_same_seed_and_others_for_others(astronaut):
    values = {"prompt": "sea", "denoising_strength": 0.5, "steps": 3}
    first, again, other = (draw(rxp.Img2ImgConfig(**values), photo(astronaut), seed=s).pixels for s in (1, 1, 2))

    assert np.array_equal(first, again)
    assert difference(first, other) > 0.5


@pytest.mark.slow
def test_img2img_keeps_the_photos_size_unless_told_another(astronaut):
    assert repainted(astronaut, 0.4).pixels.shape == (160, 192, 3)
    for mode in range(4):
        assert repainted(astronaut, 0.4, width=128, height=128, resize_mode=mode).pixels.shape == (128, 128, 3)


MODES = {
    "L": (3, 0), "P": (3, 0), "RGB": (3, 0), "1": (3, 0), "CMYK": (3, 0), "I;16": (3, 1), "F": (3, 1), "LA": (4, 0),
    "RGBA": (4, 0), "PA": (4, 0),
}  # fmt: skip


@pytest.mark.sampled(3)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.slow
def test_photos_of_any_mode_are_painted_over_and_keep_their_transparency(mode, astronaut):
    """Grey, palette, transparent, 16 bit and print colours all come out as 8 bit RGB or RGBA."""
    channels, notes = MODES[mode]
    image = in_mode(astronaut, mode)
    form = "TIFF" if mode in {"CMYK", "F", "PA"} else "PNG"
    if mode == "PA":
        image, form = image.convert("RGBA"), "PNG"
    drawing = draw(rxp.Img2ImgConfig(denoising_strength=0.4, steps=2), photo(image, form))

    assert drawing.pixels.shape == (160, 192, channels)
    assert len(drawing.output.warnings) == notes
    assert 20 < drawing.pixels[:, :, :3].mean() < 235
    if channels == 4:
        assert np.array_equal(drawing.pixels[:, :, 3], np.asarray(as_rgb(image)[0])[:, :, 3])


def in_mode(image, mode):
    """The photo in a mode; half transparent where it can be."""
    if mode == "I;16":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    if mode == "F":
        return Image.fromarray(np.asarray(image.convert("L")).astype(np.float32))
    if mode in {"LA", "RGBA", "PA"}:
        see_through = image.convert("RGBA")
        see_through.putalpha(image.convert("L"))
        return see_through.convert("LA" if mode == "LA" else "RGBA")
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_strength_0_hands_on_a_png_as_it_came(mode, astronaut):
    """Not a byte differs, so 16 bit stay 16 bit."""
    given_photo = photo(in_mode(astronaut, mode))
    output = draw(rxp.Img2ImgConfig(denoising_strength=0, steps=2), given_photo).output

    assert output.data == given_photo.data
    assert output.warnings == ()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_taken_sideways_comes_out_upright(orientation, astronaut):
    """EXIF orientation is applied before anything is drawn."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    given_photo = photo(astronaut, "PNG", exif=exif)
    drawn = draw(rxp.Img2ImgConfig(denoising_strength=0, steps=1), given_photo).pixels

    assert np.array_equal(drawn, np.asarray(given_photo.to_image()))


# -- upscale ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1, 1.5, 2, 2.37, 3, 4, 7.99])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.slow
def test_upscale_gives_the_size_asked_for_and_the_pixels_of_one_resampling(scale, mode, astronaut):
    """Tiled and untiled Lanczos are the same to the last pixel, at any factor."""
    image = in_mode(astronaut, mode)
    drawn = draw(rxp.UpscaleConfig(scale=scale), photo(image)).pixels
    size = (round(192 * scale), round(160 * scale))

    assert drawn.shape[:2] == size[::-1]
    assert np.array_equal(drawn, np.asarray(image.resize(size, Image.Resampling.LANCZOS)))


def test_upscale_by_redrawing_changes_the_picture_and_has_the_size_asked_for(astronaut):
    redrawn = draw(rxp.UpscaleConfig(scale=2, mode="img2img", steps=3), photo(astronaut)).pixels
    plain = draw(rxp.UpscaleConfig(scale=2), photo(astronaut)).pixels

    assert redrawn.shape == plain.shape
    assert 1 < difference(redrawn, plain) < 30


# -- files ------------------------------------------------------------------------------------------------------------


@given(
    width=st.integers(1, 70), height=st.integers(1, 70), channels=st.sampled_from([1, 2, 3, 4]),
    seed=st.integers(0, 99), flat=st.booleans(),
)  # fmt: skip
@settings(deadline=None, max_examples=60)
def test_what_is_encoded_is_read_back_pixel_for_pixel(width, height, channels, seed, flat):
    """By Pillow, whatever the size and the number of channels."""
    pixels = np.random.default_rng(seed).integers(0, 2 if flat else 256, (height, width, channels), dtype=np.uint8)
    data = finished(encode_png(pixels))

    image = Image.open(io.BytesIO(data))
    assert image.mode == {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]
    assert np.array_equal(pixels_of(data).reshape(pixels.shape), pixels)


@pytest.mark.slow
def test_a_large_picture_is_encoded_in_many_slices_and_not_much_larger_than_pillow_makes_it():
    pixels = np.asarray(Image.fromarray(skimage.data.astronaut()).resize((1024, 1024)))
    encoding, slices = encode_png(pixels), 0
    data = b""
    while not data:
        try:
            next(encoding)
            slices += 1
        except StopIteration as end:
            data = end.value
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)

    assert slices > 8
    assert len(data) < 1.15 * len(buffer.getvalue())


def finished(work):
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value


def test_what_was_done_is_told_in_plain_json(astronaut):
    for config in (rxp.UpscaleConfig(), rxp.AdetailerConfig(steps=2), rxp.Img2ImgConfig(steps=2)):
        json.dumps(dict(draw(config, photo(astronaut)).output.settings))
