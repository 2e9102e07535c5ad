"""Pictures in and out: masks pasted back, parts redrawn by themselves, faces found on our side."""

from __future__ import annotations

import io
import threading

import pytest
import shapes
from PIL import Image, ImageChops
from stages import Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.backends.regions import Box, box_mask, filled, region_of
from rxpipe.backends.sizes import Size
from rxpipe.errors import BackendRejected
from rxpipe.testing.servers.comfyui import ComfyUIServer
from rxpipe.testing.servers.webui import WebUIServer

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=4, model="tiny-a")


def opened(data):
    return Image.open(io.BytesIO(data)).convert("RGB")


def encoded(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def photo(size=(128, 96)):
    """A picture without any two equal neighbours."""
    image = Image.new("RGB", size)
    image.putdata([(x * 2 % 256, y * 2 % 256, (x + y) % 256) for y in range(size[1]) for x in range(size[0])])
    return image


def mask_file(tmp_path, box, size=(128, 96)):
    path = tmp_path / "mask.png"
    image = Image.new("L", size)
    image.paste(255, box)
    image.save(path)
    return path


def changed(before, after):
    """The box of the pixels that differ."""
    return ImageChops.difference(before, after).getbbox()


@pytest.fixture
def plain_backend():
    """A backend on a server without any pack."""
    with (
        ComfyUIServer(draw="noise", packs=()) as server,
        ComfyUIBackend(server.url, poll_s=0.05) as backend,
    ):
        yield backend


@pytest.mark.sampled(3)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("fill", [0, 1, 2, 3])
def test_pixels_outside_the_mask_stay_as_they_were(plain_backend, tmp_path, alone, fill):
    """Whatever is under the mask at first; the whole picture or the part by itself."""
    section = rxp.Img2ImgConfig(
        mask=mask_file(tmp_path, (40, 32, 72, 64)), mask_blur=0, inpaint_full_res=alone, inpainting_fill=fill,
        inpaint_full_res_padding=8, steps=4,
    )  # fmt: skip
    source = photo()
    output = drawn(plain_backend, stage_of(section, before=TXT2IMG), artifact(encoded(source)))
    box = changed(source, opened(output.data))

    assert opened(output.data).size == source.size
    assert box is not None, "what is in the mask was redrawn"
    assert (box[0] >= 40, box[1] >= 32, box[2] <= 72, box[3] <= 64) == (True,) * 4


def test_a_mask_that_is_black_everywhere_changes_nothing(plain_backend, tmp_path):
    section = rxp.Img2ImgConfig(mask=mask_file(tmp_path, (0, 0, 0, 0)), steps=4)
    output = drawn(plain_backend, stage_of(section, before=TXT2IMG), artifact(encoded(photo())))

    assert output.unchanged
    assert "shows nothing" in output.warnings[0]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_a_picture_of_another_size_is_fitted(plain_backend, mode):
    section = rxp.Img2ImgConfig(width=64, height=64, resize_mode=mode, steps=4)
    output = drawn(plain_backend, stage_of(section, before=TXT2IMG), artifact(encoded(photo())))

    assert opened(output.data).size == (64, 64)
    assert output.warnings == ()


def test_odd_sizes_are_brought_to_what_can_be_drawn(plain_backend):
    """As a WebUI does: down to a multiple of 8."""
    output = drawn(
        plain_backend, stage_of(rxp.Img2ImgConfig(steps=4), before=TXT2IMG), artifact(encoded(photo((70, 75))))
    )

    assert opened(output.data).size == (64, 72)


def test_transparency_is_lost_and_that_is_said(plain_backend):
    source = photo()
    source.putalpha(Image.new("L", source.size, 128))
    output = drawn(plain_backend, stage_of(rxp.UpscaleConfig(scale=2)), artifact(encoded(source)))

    assert "transparency" in output.warnings[0]


@pytest.mark.slow
def test_faces_found_on_our_side_are_redrawn_and_nothing_else(plain_backend):
    """A portrait by the embedded backend, on a server without any pack; one without a face stays unchanged."""
    with rxp.open_backend("sketch") as sketch:
        portrait = drawn(sketch, stage_of(rxp.Txt2ImgConfig(prompt="portrait of a woman", width=256, height=256))).data
    section = rxp.AdetailerConfig(detector="face_yolov8n.pt", confidence=0.05, steps=4)
    output = drawn(plain_backend, stage_of(section, before=TXT2IMG), artifact(portrait))
    box = changed(opened(portrait), opened(output.data))

    assert not output.unchanged
    assert 0 < (box[2] - box[0]) * (box[3] - box[1]) < 200 * 200
    nobody = drawn(plain_backend, stage_of(section, before=TXT2IMG), artifact(encoded(photo())))
    assert nobody.unchanged


def test_hands_are_refused_with_what_to_install(plain_backend):
    stage = stage_of(rxp.AdetailerConfig(detector="hand_yolov8n.pt"), before=TXT2IMG)
    with pytest.raises(BackendRejected, match="ComfyUI-Impact-Pack"):
        drawn(plain_backend, stage, artifact(encoded(photo())))


@pytest.mark.parametrize(
    ("box", "drawn_at", "expected"),
    [
        (Box(40, 40, 60, 60), Size(64, 64), Box(32, 32, 68, 68)),
        (Box(0, 0, 20, 20), Size(64, 64), Box(0, 0, 28, 28)),
        (Box(40, 40, 60, 60), Size(128, 64), Box(14, 32, 86, 68)),
        (Box(80, 80, 100, 100), Size(64, 128), Box(72, 44, 100, 100)),
        (Box(0, 0, 100, 100), Size(64, 64), Box(0, 0, 100, 100)),
    ],
)
def test_a_region_has_the_shape_that_it_is_drawn_at(box, drawn_at, expected):
    region = region_of(box_mask(Size(100, 100), [box], grow=0), padding=8, drawn=drawn_at)

    assert region.box == expected
    assert region.size == drawn_at


def test_the_ground_under_a_mask_is_of_the_colours_around_it():
    picture = Image.new("RGB", (64, 64), (200, 40, 40))
    picture.paste((0, 255, 0), (24, 24, 40, 40))
    mask = box_mask(Size(64, 64), [Box(24, 24, 40, 40)], grow=0)
    red, green, blue = filled(picture, mask, 0, 1).getpixel((32, 32))

    assert red > 150 > green
    assert abs(green - blue) < 20
    assert filled(picture, mask, 2, 1) == filled(picture, mask, 2, 1) != filled(picture, mask, 2, 2)


def test_closing_ends_a_render_in_progress_with_an_error():
    with ComfyUIServer(draw="noise") as server:
        gate = server.hold("txt2img", 2)
        backend = ComfyUIBackend(server.url)
        watched = Watched(backend.render(stage_of(TXT2IMG), None))
        assert gate.wait_reached()
        backend.close()
        assert watched.wait_for(lambda seen: seen.error)
        gate.release()
    assert isinstance(watched.error, rxp.BackendError)
    for thread in threading.enumerate():
        if thread.name == "rxpipe-comfyui-socket":
            thread.join(5.0)
            assert not thread.is_alive()


def test_other_backends_refuse_a_workflow():
    plan = rxp.chain(rxp.comfy_workflow(graph=shapes.PLAIN), out=None).plan
    stage = plan.stages[0].for_image(image_index=1, seed=1)
    with WebUIServer() as server, rxp.open_backend(server.url) as webui:
        with pytest.raises(BackendRejected, match="workflow"):
            webui.check(plan)
        with pytest.raises(BackendRejected, match="workflow"):
            drawn(webui, stage)
    with rxp.open_backend("sketch") as sketch, pytest.raises(BackendRejected, match="workflow"):
        drawn(sketch, stage)
