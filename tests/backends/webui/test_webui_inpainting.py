"""Masks, photos that lie on their side, sizes and what goes to a server as it stands, over real HTTP."""

import base64
import io

import pytest
import skimage.data
from PIL import Image, ImageChops, ImageDraw
from stages import drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import a1111, png
from rxpipe.plan import build_stage_execution_plan

both = pytest.mark.parametrize("webui_server", ["forge", "a1111"], indirect=True)
PHOTO = Image.fromarray(skimage.data.astronaut()).resize((128, 64))
SPOT = (40, 20, 80, 50)


@pytest.fixture
def backend(webui_server):
    made = WebUIBackend(webui_server.url, poll_s=0.02)
    yield made
    made.close()


def artifact(image=PHOTO, form="PNG", **saved):
    buffer = io.BytesIO()
    image.save(buffer, form, **saved)
    return rxp.Artifact(id="given-1", seed=7, data=buffer.getvalue())


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def sent(server, number=-1):
    return [call.body for call in server.calls if call.stage is not None][number]


def spot():
    mask = Image.new("L", PHOTO.size)
    ImageDraw.Draw(mask).rectangle(SPOT, fill=255)
    return mask


@both
@pytest.mark.parametrize("alone", [False, True], ids=["whole", "alone"])
@pytest.mark.parametrize("inverted", [False, True], ids=["white", "black"])
def test_only_what_the_mask_shows_is_redrawn(webui_server, backend, tmp_path, alone, inverted):
    """In both ways of redrawing it, at the picture's size, without a warning; and the text says so."""
    spot().save(tmp_path / "mask.png")
    config = rxp.Img2ImgConfig(
        mask=tmp_path / "mask.png", inpaint_full_res=alone, inpainting_mask_invert=inverted, width=128, height=128
    )
    if not alone:
        config = rxp.Img2ImgConfig(mask=tmp_path / "mask.png", inpainting_mask_invert=inverted)
    output = drawn(backend, stage_of(config), artifact())

    changed = ImageChops.difference(opened(output.data), PHOTO).convert("L").point(lambda value: value and 255)
    inside = ImageChops.invert(spot()) if inverted else spot()
    assert changed.getbbox()
    assert ImageChops.subtract(changed, inside).getbbox() is None
    assert output.warnings == ()
    assert base64.b64decode(sent(webui_server)["mask"]) == (tmp_path / "mask.png").read_bytes()
    said = a1111.parse_parameters(png.read_text(output.data)["parameters"]).settings
    assert said["Inpaint area"] == ("Only masked" if alone else "Whole picture")
    assert said["Mask blur"] == "4"


@both
def test_alpha_is_sent_as_a_mask(webui_server, backend):
    """Transparent is white in it."""
    erased = PHOTO.copy()
    erased.putalpha(ImageChops.invert(spot()))
    drawn(backend, stage_of(rxp.Img2ImgConfig(mask="alpha")), artifact(erased))
    mask = Image.open(io.BytesIO(base64.b64decode(sent(webui_server)["mask"])))
    assert mask.mode == "L"
    assert ImageChops.difference(mask, spot()).getbbox() is None


def test_a_mask_that_is_missing_is_refused_before_anything_is_drawn(backend, tmp_path):
    """By `check`."""
    config = rxp.PipelineConfig(txt2img={}, img2img={"mask": tmp_path / "none.png"})
    with pytest.raises(rxp.BackendRejected, match="no such file"):
        backend.check(build_stage_execution_plan(config))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("section", [rxp.Img2ImgConfig(), rxp.UpscaleConfig()], ids=["img2img", "upscale"])
def test_a_phones_photo_is_sent_upright(webui_server, backend, section, form):
    """Whatever the server makes of its EXIF data; the size is that of the picture as it is seen."""
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    output = drawn(backend, stage_of(section), artifact(PHOTO.rotate(90, expand=True), form, exif=exif))

    body = sent(webui_server)
    arrived = Image.open(
        io.BytesIO(base64.b64decode(body["init_images"][0] if "init_images" in body else body["image"]))
    )
    assert arrived.getexif().get(0x0112, 1) == 1
    assert arrived.size == (128, 64)
    assert output.warnings == ()


def test_an_upright_photo_is_sent_as_it_is(webui_server, backend):
    """Byte for byte, whatever its format."""
    given = artifact(form="JPEG")
    drawn(backend, stage_of(rxp.Img2ImgConfig()), given)
    assert base64.b64decode(sent(webui_server)["init_images"][0]) == given.data


@both
@pytest.mark.parametrize(
    ("settings", "size", "said"),
    [
        ({"scale": 1.5}, (192, 96), {"Postprocess upscale by": "1.5"}),
        ({"width": 300, "height": 300}, (300, 150), {"Postprocess upscale to": "300x150"}),
        ({"width": 100, "height": 100, "fit": "crop"}, (100, 100), {"Postprocess upscale to": "100x100"}),
        ({"height": 96, "upscaler_2": "Nearest"}, (192, 96), {"Postprocess upscaler 2": "Nearest"}),
    ],
    ids=repr,
)
@pytest.mark.usefixtures("webui_server")
@pytest.mark.sampled(4)
def test_an_upscaled_file_says_how_large_and_by_what(backend, settings, size, said):
    """Behind the text that the picture has already."""
    text = "a cat\nSteps: 20, Sampler: Euler, Seed: 7, Size: 128x64, Version: v1"
    given = rxp.Artifact(id="given-1", seed=7, data=png.insert_text(artifact().data, {"parameters": text}))
    output = drawn(backend, stage_of(rxp.UpscaleConfig(**settings)), given)

    assert opened(output.data).size == size
    assert output.warnings == ()
    written = png.read_text(output.data)["parameters"]
    assert written.startswith(text + ", Postprocess upscale ")
    found = a1111.parse_parameters(written).settings
    assert found.items() >= {"Postprocess upscaler": "Lanczos", **said}.items()
    assert output.settings["upscaler"] == "Lanczos"


@both
def test_scripts_and_options_reach_every_stage(webui_server, backend):
    """By payload and by their own settings."""
    settings = {"payload": {"eta": 0.5}, "override_settings": {"eta_noise_seed_delta": 3}}
    for section in (
        rxp.Txt2ImgConfig(steps=2, width=64, height=64, **settings),
        rxp.Img2ImgConfig(steps=2, **settings),
        rxp.AdetailerConfig(steps=2, detector="mediapipe_face_full", **settings),
        rxp.UpscaleConfig(mode="img2img", steps=2, **settings),
    ):
        drawn(backend, stage_of(section), None if section.section == "txt2img" else artifact())
        body = sent(webui_server)
        assert (body["eta"], body["override_settings"]["eta_noise_seed_delta"]) == (0.5, 3)


def test_options_of_a_mere_resize_are_a_warning(backend):
    """Its request has no place for them."""
    config = rxp.PipelineConfig(txt2img={}, upscale={"override_settings": {"a": 1}})
    assert backend.check(build_stage_execution_plan(config)) == (
        "upscale: override_settings has no effect in mode single; set mode to img2img",
    )


def test_a_wrong_payload_is_refused_before_anything_is_drawn(backend):
    """By `check`, with the stage's field."""
    config = rxp.PipelineConfig(txt2img={}, upscale={"payload": {"upscaling_resize": "much"}})
    with pytest.raises(rxp.BackendRejected, match=r"payload\.upscaling_resize"):
        backend.check(build_stage_execution_plan(config))
