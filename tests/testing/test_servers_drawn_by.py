"""A backend of rxpipe's own draws what the WebUI server answers; the fixture that comes with the package."""

import base64
import io

import pytest
import reactivex as rx
import requests
from PIL import Image

from rxpipe.backends.base import Backend, Output, StepProgress
from rxpipe.errors import BackendFailed
from rxpipe.testing.servers.drawn_by import drawn_by
from rxpipe.testing.servers.webui import DrawRequest, WebUIServer, noise

TINY = {"prompt": "a cat", "width": 64, "height": 64, "steps": 4, "seed": 1}


class PlainBackend(Backend):
    """Draws one colour, finds nothing to detail, and writes down what it was asked."""

    def __init__(self):
        self.asked = []

    def render(self, stage, source):
        self.asked.append((stage.stage_type, stage.seed, stage.config, stage.generation, source and source.data))
        if stage.generation.prompt == "trouble":
            return rx.throw(BackendFailed("no colour left"))
        size = (stage.generation.width or 64, stage.generation.height or 64)
        buffer = io.BytesIO()
        Image.linear_gradient("L").convert("RGB").resize(size).save(buffer, "PNG")
        return rx.of(StepProgress(0.5), Output(buffer.getvalue(), unchanged=stage.stage_type == "adetailer"))


def size_of(picture):
    return Image.open(io.BytesIO(picture)).size


def test_each_kind_of_request_becomes_a_stage_of_the_backend():
    backend = PlainBackend()
    draw = drawn_by(backend)
    source = noise(DrawRequest("txt2img", 64, 64))
    unit = {"ad_model": "mediapipe_face_full", "ad_confidence": 0.5, "ad_denoising_strength": 0.2}
    draw(DrawRequest("txt2img", 64, 128, prompt="a cat", seed=7))
    draw(DrawRequest("img2img", 64, 64, source=source, options={"denoising_strength": 0.3}))
    draw(DrawRequest("adetailer", 64, 64, source=source, options=unit))
    draw(DrawRequest("upscale", 128, 128, source=source))
    assert [asked[0] for asked in backend.asked] == ["txt2img", "img2img", "adetailer", "upscale"]
    assert (backend.asked[0][1], backend.asked[0][3].prompt, backend.asked[0][3].height) == (7, "a cat", 128)
    assert (backend.asked[1][2].denoising_strength, backend.asked[1][4]) == (0.3, source)
    assert (backend.asked[2][2].detector, backend.asked[2][2].confidence) == ("mediapipe_face_full", 0.5)
    assert backend.asked[3][2].scale == 2.0


def test_what_the_backend_left_unchanged_is_the_source_itself():
    source = noise(DrawRequest("txt2img", 64, 64))
    unit = {"ad_model": "x", "ad_confidence": 0.5, "ad_denoising_strength": 0.2}
    assert drawn_by(PlainBackend())(DrawRequest("adetailer", 64, 64, source=source, options=unit)) == source


def test_a_picture_has_the_size_that_was_asked_for_whatever_the_backend_drew():
    source = noise(DrawRequest("txt2img", 64, 64))
    assert size_of(drawn_by(PlainBackend())(DrawRequest("upscale", 1000, 40, source=source))) == (1000, 40)


def test_an_unfinished_picture_is_coarser_and_as_large():
    draw = drawn_by(PlainBackend())
    whole, half = draw(DrawRequest("txt2img", 256, 256)), draw(DrawRequest("txt2img", 256, 256, fraction=0.5))
    assert size_of(half) == size_of(whole)
    assert half != whole


def test_a_drawing_that_raises_is_an_exception_in_the_server_s_job():
    with WebUIServer(draw=drawn_by(PlainBackend())) as server:
        url = f"{server.url}/sdapi/v1/txt2img"
        answer = requests.post(url, json={**TINY, "prompt": "trouble"}, timeout=10)
        again = requests.post(url, json=TINY, timeout=10)
    assert (answer.status_code, answer.json()["error"], answer.json()["message"]) == (
        500,
        "BackendFailed",
        "no colour left",
    )
    assert again.status_code == 200


def test_an_unknown_way_to_draw_is_refused_at_once():
    with pytest.raises(ValueError, match='"noise", "sketch" or a function'):
        WebUIServer(draw="oil")


def test_the_fixture_is_a_started_server(webui_server):
    assert requests.post(f"{webui_server.url}/sdapi/v1/txt2img", json=TINY, timeout=10).status_code == 200
    assert webui_server.flavour.name == "forge"


@pytest.mark.parametrize("webui_server", ["a1111", {"flavour": "a1111", "auth": ("user", "pass")}], indirect=True)
def test_the_fixture_can_be_told_what_to_be(webui_server):
    answer = requests.get(f"{webui_server.url}/sdapi/v1/sd-models", auth=("user", "pass"), timeout=10)
    assert [model["model_name"] for model in answer.json()] == ["tiny-sd15"]


def test_a_picture_travels_through_all_four_stages(webui_server):
    """What a client does: each answer's picture is the next call's input."""

    def call(path, **body):
        return requests.post(f"{webui_server.url}/sdapi/v1/{path}", json=TINY | body, timeout=10).json()

    image = call("txt2img")["images"][0]
    image = call("img2img", init_images=[image])["images"][0]
    scripts = {"ADetailer": {"args": [True, True, {"ad_model": "mediapipe_face_full"}]}}
    image = call("img2img", init_images=[image], alwayson_scripts=scripts)["images"][0]
    image = call("extra-single-image", image=image, upscaler_1="Lanczos", upscaling_resize=2)["image"]
    assert size_of(base64.b64decode(image)) == (128, 128)
    assert [job.stage for job in webui_server.jobs] == ["txt2img", "img2img", "adetailer", "upscale"]
