"""The forks that people run: recognised by their documents, drawn on by their own routes, each over its test server."""

import base64
import io
import itertools
import json

import pytest
import requests
from PIL import Image
from stages import PICTURE, Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.backends.webui.flavour import A1111, FLAVOURS, flavour_of
from rxpipe.pictures import a1111, png
from rxpipe.plan import build_stage_execution_plan
from rxpipe.testing.servers.webui import Fault, WebUIServer, openapi
from rxpipe.testing.servers.webui.flavour import FLAVOURS as SERVERS

NAMES = {
    "forge": "Forge",
    "a1111": "AUTOMATIC1111",
    "neo": "Forge Neo",
    "reforge": "reForge",
    "classic": "Forge Classic",
    "amd": "AUTOMATIC1111",
    "sdnext": "SD.Next",
}
SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64, "steps": 3}
HIRES = rxp.Txt2ImgConfig(**SMALL, cfg_scale=5.0, hires=rxp.HiresConfig(scale=2, upscaler="Latent", steps=2))


@pytest.fixture
def on():
    """Makes a server of a flavour and a backend on it; all are closed after the test."""
    made = []

    def make(flavour, **options):
        server = WebUIServer(flavour, **options)
        server.start()
        backend = WebUIBackend(server.url, poll_s=0.02, idle_timeout_s=3.0)
        made.append((server, backend))
        return server, backend

    yield make
    for server, backend in made:
        backend.close()
        server.stop()


def sent(server):
    return [call.body for call in server.calls if call.stage is not None][-1]


def checked(backend, **sections):
    return backend.check(build_stage_execution_plan(rxp.PipelineConfig(**sections)))


def said(output):
    return a1111.parse_parameters(png.read_text(output.data)["parameters"]).settings


# -- recognising ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
def test_a_fork_is_known_by_its_document(name):
    """By fields and paths, whatever its title says."""
    document = openapi(name)
    document["info"] = {"title": "anything", "version": "0"}
    found = flavour_of(document)
    assert found.name == NAMES[name]
    assert found.knows("/sdapi/v1/txt2img", "hr_cfg") == (name in {"forge", "neo", "reforge"})
    assert found.knows("/sdapi/v1/txt2img", "scheduler") == (name not in {"classic", "sdnext"})


def test_a_server_without_a_document_is_known_by_what_it_answers():
    """And is AUTOMATIC1111 where nothing tells."""
    assert flavour_of(None, frozenset({"/sdapi/v1/sd-modules"})).name == "Forge"
    assert flavour_of(None, frozenset({"/sdapi/v1/detailers"})).name == "SD.Next"
    assert flavour_of(None) is A1111
    assert flavour_of({"paths": {}}).name == "AUTOMATIC1111"
    assert A1111.knows("/sdapi/v1/txt2img", "anything")


def test_every_fork_has_signs_and_a_name_of_its_own():
    """Only the last row has none."""
    assert all(one.has or one.lacks for one in FLAVOURS[:-1])
    assert len({one.kind for one in FLAVOURS}) == len(FLAVOURS)


@pytest.mark.parametrize("name", SERVERS)
def test_doctor_names_the_fork_and_ends_at_no_list(on, name):
    """Also where a list of the server is a 500."""
    _, backend = on(name)
    found = backend.diagnose(trial=True)
    assert found.problem is None
    assert found.flavour == NAMES[name]
    assert found.trial is not None
    assert found.samplers
    assert found.models


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
def test_every_stage_is_drawn_on_every_fork(on, name):
    """Generation, masks, details and both ways of enlarging: by whatever route the fork has for it."""
    server, backend = on(name)
    detector = "face-yolo8n" if name == "sdnext" else "mediapipe_face_full"
    made = {
        section.section + getattr(section, "mode", ""): drawn(backend, stage_of(section), source)
        for section, source in (
            (rxp.Txt2ImgConfig(**SMALL), None),
            (rxp.Img2ImgConfig(steps=3), artifact()),
            (rxp.AdetailerConfig(detector=detector, steps=3), artifact()),
            (rxp.UpscaleConfig(scale=2), artifact()),
            (rxp.UpscaleConfig(scale=2, mode="img2img", steps=3), artifact()),
        )
    }
    sizes = {kind: png.check(output.data).width for kind, output in made.items()}
    assert sizes == {"txt2img": 64, "img2img": 64, "adetailer": 64, "upscalesingle": 128, "upscaleimg2img": 128}
    assert not any("px where" in warning for output in made.values() for warning in output.warnings)
    assert {job.outcome for job in server.jobs} == {"done"}


@pytest.mark.parametrize("name", SERVERS)
def test_hires_is_larger_on_every_fork_and_keeps_the_cfg_scale(on, name):
    """With the fields that each needs for it, and none that it does not know."""
    server, backend = on(name)
    output = drawn(backend, stage_of(HIRES))

    assert png.check(output.data).width == 128
    body = sent(server)
    known = openapi(name)["components"]["schemas"]["StableDiffusionProcessingTxt2Img"]["properties"]
    assert set(body) - set(known) <= {"force_task_id"}
    if "hr_cfg" in known:
        assert said(output)["Hires CFG Scale"] == "5.0"
    assert ("hr_additional_modules" in body) == (name in {"forge", "neo"})
    assert body.get("hr_force") is (True if name == "sdnext" else None)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        *((name, {"sampler_name": "DPM++ 2M", "scheduler": "Karras"}) for name in ("forge", "neo", "reforge", "amd")),
        ("classic", {"sampler_name": "DPM++ 2M Karras", "scheduler": None}),
        ("sdnext", {"sampler_name": "DPM++ 2M", "scheduler": None, "schedulers_sigma": "karras"}),
    ],
)
def test_a_schedule_goes_by_the_forks_route(on, name, fields):
    """A field, a part of the sampler's name, or SD.Next's own field."""
    server, backend = on(name)
    config = rxp.Txt2ImgConfig(**SMALL, sampler_name="DPM++ 2M", scheduler="Karras")
    output = drawn(backend, stage_of(config))
    body = sent(server)
    assert {field: body.get(field) for field in fields} == fields
    assert not any("was asked for" in warning for warning in output.warnings)


@pytest.mark.parametrize(("name", "told"), [("classic", "no sampler 'Euler Karras'"), ("sdnext", "no 'SGM Uniform'")])
def test_a_schedule_that_a_fork_lacks_is_refused_beforehand(on, name, told):
    """And not left out."""
    _, backend = on(name)
    scheduler = "Karras" if name == "classic" else "SGM Uniform"
    with pytest.raises(rxp.BackendRejected, match=told):
        checked(backend, txt2img={**SMALL, "sampler_name": "Euler", "scheduler": scheduler})


def test_sd_next_takes_clip_skip_and_the_upscaler_as_fields(on):
    """Its options of that name have no effect."""
    server, backend = on("sdnext")
    drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL, clip_skip=2)))
    assert sent(server)["clip_skip"] == 2
    assert "CLIP_stop_at_last_layers" not in sent(server).get("override_settings", {})
    again = rxp.UpscaleConfig(mode="img2img", upscaler="Resize Nearest", steps=3)
    drawn(backend, stage_of(again), artifact())
    assert (sent(server)["resize_name"], sent(server)["resize_mode"]) == ("Resize Nearest", 1)


def test_what_a_fork_ignores_is_a_warning(on):
    """By name."""
    _, backend = on("sdnext")
    warnings = checked(backend, txt2img={**SMALL, "restore_faces": True, "distilled_cfg_scale": 3.0})
    assert "txt2img: SD.Next has no distilled_cfg_scale, restore_faces and ignores it" in warnings


def test_a_vae_is_a_module_on_neo(on):
    """Its option is opened as a file there."""
    server, backend = on("neo", modules=("nice.safetensors",))
    output = drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL, vae="nice")))
    assert sent(server)["override_settings"] == {"forge_additional_modules": ["/models/VAE/nice.safetensors"]}
    assert said(output)["Module 1"] == "nice"


# -- SD.Next's details ------------------------------------------------------------------------------------------------


def test_sd_nexts_detailer_stands_for_adetailer(on):
    """By its own path; nothing found is passed, JPEG or not."""
    server, backend = on("sdnext")
    face = rxp.AdetailerConfig(detector="face-yolo8n", denoising_strength=0.3, steps=4)
    assert not drawn(backend, stage_of(face), artifact()).unchanged
    body = sent(server)
    assert (body["detailer_models"], body["detailer_strength"], body["detailer_steps"]) == (["face-yolo8n"], 0.3, 4)
    assert base64.b64decode(body["image"]) == PICTURE

    server, backend = on("sdnext", draw=lambda request: request.source or PICTURE)
    assert drawn(backend, stage_of(face), artifact()).unchanged


def test_another_detectors_name_is_a_near_miss_on_sd_next(on):
    """And more than one detector, or a checkpoint, is refused before anything is drawn."""
    _, backend = on("sdnext")
    with pytest.raises(rxp.BackendRejected, match="did you mean 'face-yolo8n'"):
        checked(backend, txt2img=SMALL, adetailer={})
    with pytest.raises(rxp.BackendRejected, match="one detector a stage"):
        checked(backend, txt2img=SMALL, adetailer={"detector": "face-yolo8n", "units": [{"detector": "face-yolo8n"}]})


def test_a_drawing_that_fails_without_an_error_is_a_failure(on):
    """SD.Next answers 200 with no picture."""
    server, backend = on("sdnext")
    server.fault("txt2img", Fault.OUT_OF_MEMORY)
    with pytest.raises(rxp.BackendFailed, match="drawing failed"):
        drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL)))


def test_sd_next_leaves_its_options_alone(on):
    """As it restores them by itself."""
    server, backend = on("sdnext")
    before = requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json()
    drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL, override_settings={"eta_noise_seed_delta": 5})))
    assert requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json() == before


@pytest.mark.sampled(1)
@pytest.mark.parametrize("phase", ["TE Encode", "Inference", "VAE Decode"])
def test_a_cancel_stops_sd_next_whatever_phase_it_is_in(on, phase):
    """An interrupt before the sampling is lost, so it is asked for again; the run ends at once all the same."""
    server, backend = on("sdnext", latency_s=4.0)
    seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**{**SMALL, "steps": 8})), None))
    assert server.wait_for(lambda: server.site.queue.state.job == phase, 8.0)
    seen.subscription.dispose()
    assert server.wait_idle(3.5)
    assert server.jobs[0].outcome in ({"interrupted", "done"} if phase == "VAE Decode" else {"interrupted"})
    assert server.interrupts
    seen.worker.close()


def test_too_many_questions_are_no_news_of_a_job(on):
    """A 429 while it is cancelled neither ends the search for it nor counts as gone."""
    server, backend = on("sdnext", latency_s=6.0)
    seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**{**SMALL, "steps": 12})), None))
    assert server.wait_for(lambda: server.site.queue.state.job == "Inference", 8.0)
    too_often = Fault("TOO_OFTEN", "instead", status=429, message="127.0.0.1:/sdapi/v1/progress: rate limit exceeded")
    server.fault("progress", too_often, times=3)
    seen.subscription.dispose()
    assert server.wait_idle(4.0)
    assert [job.outcome for job in server.jobs] == ["interrupted"]
    seen.worker.close()


def test_progress_is_asked_for_rarely_on_sd_next(on):
    """And one answer is shared by all of its jobs; elsewhere each question is asked."""
    server, backend = on("sdnext", latency_s=1.2)
    output = drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL)))
    assert not any("interrupted" in warning for warning in output.warnings)
    asked = [call.at_monotonic_s for call in server.calls if call.path == "/sdapi/v1/progress"]
    assert 1 <= len(asked) <= 6
    assert all(later - earlier > 0.4 for earlier, later in itertools.pairwise(asked[1:-1]))


# -- the test servers -------------------------------------------------------------------------------------------------


def post(server, path, **body):
    return requests.post(f"{server.url}/sdapi/v1/{path}", json=body, timeout=5)


def test_the_test_server_answers_as_sd_next_does(on):
    """What its source says: lists, statuses, pictures and texts."""
    server, _ = on("sdnext")
    schedulers = requests.get(f"{server.url}/sdapi/v1/schedulers", timeout=5)
    assert (schedulers.status_code, schedulers.json()["error"]) == (500, "ResponseValidationError")
    assert (post(server, "interrupt").status_code, post(server, "interrupt").content) == (204, b"")
    plain = post(server, "txt2img", prompt="a", steps=1, width=64, height=64, enable_hr=True, hr_scale=2).json()
    larger = post(
        server, "txt2img", steps=1, width=64, height=64, enable_hr=True, hr_scale=2, hr_resize_mode=1, hr_force=True
    ).json()
    pictures = [Image.open(io.BytesIO(base64.b64decode(answer["images"][0]))) for answer in (plain, larger)]
    assert [(picture.format, picture.width) for picture in pictures] == [("JPEG", 64), ("JPEG", 128)]
    info = json.loads(plain["info"])
    assert not {"version", "sd_model_name"} & info.keys()
    assert "App: SD.Next" in info["infotexts"][0]
    script = {
        "alwayson_scripts": {"ADetailer": {"args": [True, True]}},
        "init_images": [base64.b64encode(PICTURE).decode()],
    }
    refused = post(server, "img2img", **script)
    assert (refused.status_code, refused.json()["detail"]) == (422, "Always on script not found: ADetailer")
    progress = requests.get(f"{server.url}/sdapi/v1/progress", timeout=5).json()
    assert progress["state"]["job_count"] == 1
    picture = base64.b64encode(PICTURE).decode()
    for upscaler, width in (("Lanczos", 64), ("Resize Lanczos", 128)):
        image = post(server, "extra-single-image", image=picture, upscaling_resize=2, upscaler_1=upscaler).json()[
            "image"
        ]
        assert Image.open(io.BytesIO(base64.b64decode(image))).width == width


@pytest.mark.parametrize(
    ("name", "status"), [("neo", 500), ("forge", 500), ("reforge", 200), ("classic", 200), ("a1111", 200)]
)
def test_the_test_servers_take_hires_as_their_forks_do(on, name, status):
    """Without `hr_additional_modules` and `hr_cfg`."""
    server, _ = on(name)
    answer = post(server, "txt2img", steps=1, width=64, height=64, enable_hr=True, hr_scale=2)
    assert answer.status_code == status
    if name == "reforge":
        assert "Hires CFG Scale: 1.0" in json.loads(answer.json()["info"])["infotexts"][0]


def test_the_test_server_answers_as_classic_and_neo_do(on):
    """A sampler that is unknown is a 404, a schedule of its own has no effect; Neo opens a VAE as a file."""
    server, _ = on("classic")
    assert requests.get(f"{server.url}/sdapi/v1/schedulers", timeout=5).status_code == 404
    answer = post(server, "txt2img", steps=1, width=64, height=64, sampler_name="DPM++ 2M", scheduler="Karras").json()
    text = json.loads(answer["info"])["infotexts"][0]
    assert "Sampler: DPM++ 2M," in text
    assert "Schedule type" not in text
    assert post(server, "txt2img", sampler_name="Nothing").status_code == 404
    server, _ = on("neo")
    assert post(server, "txt2img", steps=1, override_settings={"sd_vae": "Automatic"}).status_code == 500
    assert requests.get(f"{server.url}/sdapi/v1/sd-vae", timeout=5).status_code == 404
