"""The forks that people run: recognised by their documents, drawn on by their own routes, each over its test server."""

import base64
import io
import itertools
import json
import threading

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
    "amd": "AUTOMATIC1111 for AMD",
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
    """Also where a list of the server is a 500; modules are listed where there are any."""
    _, backend = on(name, modules=("clip_l.safetensors",))
    found = backend.diagnose(trial=True)
    assert found.problem is None
    assert found.flavour == NAMES[name]
    assert found.trial is not None
    assert found.samplers
    assert found.models
    assert (found.modules, found.vaes) == (
        (("clip_l.safetensors",), ()) if name in {"forge", "neo"} else ((), found.vaes)
    )


# -- drawing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.sampled(2)
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
    (warning,) = checked(on("forge")[1], txt2img={**SMALL, "override_settings": {"samples_format": "png"}})
    assert "override_settings.samples_format has no effect" in warning
    warnings = checked(backend, txt2img={**SMALL, "restore_faces": True, "distilled_cfg_scale": 3.0})
    assert "txt2img: SD.Next has no distilled_cfg_scale, restore_faces and ignores it" in warnings


def test_a_vae_is_a_module_on_neo(on):
    """Its option is opened as a file there."""
    server, backend = on("neo", modules=("nice.safetensors",))
    output = drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL, vae="nice")))
    assert sent(server)["override_settings"] == {"forge_additional_modules": ["/models/VAE/nice.safetensors"]}
    assert said(output)["Module 1"] == "nice"


def test_a_schedule_of_the_second_pass_is_not_dropped(on):
    """It is a part of the sampler's name, or refused, or said to be ignored."""
    server, backend = on("classic")
    config = {**SMALL, "sampler_name": "DPM++ 2M", "hires": {"upscaler": "Latent", "scheduler": "Karras"}}
    assert checked(backend, txt2img=config) == ()
    drawn(backend, stage_of(rxp.Txt2ImgConfig(**config)))
    assert (sent(server)["hr_sampler_name"], sent(server).get("hr_scheduler")) == ("DPM++ 2M Karras", None)
    with pytest.raises(rxp.BackendRejected, match=r"hires\.scheduler: the server has no sampler 'Euler Karras'"):
        checked(backend, txt2img={**config, "sampler_name": "Euler"})
    _, backend = on("sdnext")
    assert any("no hr_scheduler" in warning for warning in checked(backend, txt2img=config))


def test_a_cfg_of_the_second_pass_that_a_fork_ignores_is_a_warning(on):
    """A1111 has one for both."""
    _, backend = on("a1111")
    hires = {"upscaler": "Latent", "cfg_scale": 3.0}
    assert checked(backend, txt2img={**SMALL, "hires": hires}) == (
        "txt2img: AUTOMATIC1111 has no hr_cfg and ignores it",
    )
    assert checked(backend, txt2img={**SMALL, "cfg_scale": 3.0, "hires": hires}) == ()


@pytest.mark.parametrize(("name", "loaded"), [("Wan2.2-t2v-14b", False), ("wan_t2v", True)])
def test_a_batch_of_a_video_model_is_refused_on_neo(on, name, loaded):
    """It would be the number of frames of one picture."""
    server, backend = on("neo", checkpoints=[name, "taiwan-nights"] if loaded else ["taiwan-nights", name])
    config = {**SMALL, "images": 4, "batch_size": 2, **({} if loaded else {"model": name})}
    with pytest.raises(rxp.BackendRejected, match="number of frames"):
        checked(backend, txt2img=config)
    assert checked(backend, txt2img={**config, "model": "taiwan-nights"}) == ()
    assert checked(backend, txt2img={**config, "batch_size": 1}) == ()
    overriding = {"override_settings": {"sd_model_checkpoint": name}, "batch_size": 2}
    assert len(post(server, "txt2img", steps=1, width=64, height=64, **overriding).json()["images"]) == 1


def test_the_amd_fork_says_when_it_ignores_what_is_overridden(on):
    """With its option onnx_enable; without texts, which are made here of what was asked for."""
    server, backend = on("amd")
    config = {**SMALL, "clip_skip": 2}
    assert checked(backend, txt2img=config) == ()
    server.site.engine.set_options({"onnx_enable": True})
    ignored = "the server's option onnx_enable is on: it ignores CLIP_stop_at_last_layers of the requests"
    assert checked(backend, txt2img=config) == (ignored,)
    assert checked(backend, txt2img=SMALL) == ()
    info = json.loads(
        post(server, "txt2img", steps=1, override_settings={"CLIP_stop_at_last_layers": 3}).json()["info"]
    )
    assert (info["clip_skip"], info["infotexts"]) == (1, [])
    assert (
        "clip skip 1 was used where 2 was asked for" in drawn(backend, stage_of(rxp.Txt2ImgConfig(**config))).warnings
    )


def test_faces_that_no_restorer_is_chosen_for_are_a_warning(on):
    """The server leaves them as they are, without a word."""
    server, backend = on("a1111")
    assert checked(backend, txt2img={**SMALL, "restore_faces": True}) == ()
    server.site.engine.set_options({"face_restoration_model": ""})
    (warning,) = checked(backend, txt2img={**SMALL, "restore_faces": True})
    assert "restore_faces has no effect" in warning


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


@pytest.mark.parametrize(
    ("broken", "info"),
    [({"server": Fault.OUT_OF_MEMORY}, "{"), ({"payload": {"width": 0}}, "")],
    ids=["out of memory", "no model"],
)
def test_a_drawing_that_fails_without_an_error_is_a_failure(on, broken, info):
    """SD.Next answers 200 with no picture; why is in its log only."""
    server, backend = on("sdnext")
    if "server" in broken:
        server.fault("txt2img", broken["server"], times=2)
    with pytest.raises(rxp.BackendFailed, match=r"drawing failed: .*OutOfMemoryError: CUDA out of memory") as failed:
        drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL, payload=broken.get("payload", {}))))
    assert failed.value.retryable
    answer = post(server, "txt2img", **{**SMALL, **broken.get("payload", {})}).json()
    assert answer["images"] == []
    assert answer["info"][:1] == info


@pytest.mark.parametrize(("every", "message"), [(1, "16x16 px where 64x64"), (0, "drawing failed")])
def test_what_another_client_interrupted_on_sd_next_is_not_passed_on_as_finished(on, every, message):
    """Its preview is the picture, or there is none."""
    server, backend = on("sdnext")
    server.site.engine.set_options({"show_progress_every_n_steps": every})
    hold = server.hold("txt2img", step=2)
    seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**SMALL)), None))
    assert hold.wait_reached()
    requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=5)
    if every:
        assert any(message in warning for warning in seen.output.warnings), seen.output.warnings
    else:
        with pytest.raises(rxp.BackendFailed, match=message):
            _ = seen.output


@pytest.mark.slow
def test_a_cancel_in_an_img2img_on_sd_next_hits_its_job(on):
    """It draws all of the steps, not the part that its strength leaves, so no number of steps tells whose it is."""
    server, backend = on("sdnext", latency_s=4.0)
    again = rxp.Img2ImgConfig(steps=20, denoising_strength=0.5)
    seen = Watched(backend.render(stage_of(again), artifact()))
    assert server.wait_for(lambda: server.site.queue.state.sampling_step == 5, 8.0)
    assert server.site.queue.state.sampling_steps == 20
    seen.subscription.dispose()
    assert server.wait_idle(2.0)
    assert [job.outcome for job in server.jobs] == ["interrupted"]
    assert server.interrupts[-1].job is server.jobs[0]
    seen.worker.close()


def test_an_upscale_that_changed_nothing_is_a_warning(on):
    """SD.Next takes a name that it does not know, and Forge Neo upscaled nothing by its API for a time."""
    _, backend = on("sdnext")
    output = drawn(backend, stage_of(rxp.UpscaleConfig(scale=2, payload={"upscaler_1": "Nothing"})), artifact())
    assert any("64x64 px where 128x128" in warning for warning in output.warnings), output.warnings


def test_a_drawing_that_was_refused_after_the_work_is_not_drawn_again(on):
    """SD.Next counts requests, and answers 429 with the picture thrown away; its option is named."""
    server, backend = on("sdnext")
    server.site.engine.set_options({"server_rate_limit": 12})
    for _ in range(2):
        assert post(server, "txt2img", steps=1, width=64, height=64).status_code == 200
    with pytest.raises(rxp.BackendFailed, match="server_rate_limit") as failed:
        drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL)))
    assert not failed.value.retryable
    assert len(server.jobs) == 3
    refused = post(server, "txt2img", steps=1, width=64, height=64)
    assert (refused.status_code, refused.json()["code"]) == (429, 429)
    assert "retry-after" not in {name.lower() for name in refused.headers}
    assert len(server.jobs) == 4
    server.site.engine.set_options({"server_rate_limit": 0})
    assert drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL))).data


@pytest.mark.slow
def test_the_test_server_counts_requests_as_sd_next_does(on):
    """300 questions a minute, and 58 drawings, each path by itself; progress of tasks is free."""
    server, _ = on("sdnext")
    session = requests.Session()
    progress = [session.get(f"{server.url}/sdapi/v1/progress", timeout=5).status_code for _ in range(301)]
    assert progress == [*[200] * 300, 429]
    drawings = [post(server, "txt2img", steps=1, width=64, height=64).status_code for _ in range(59)]
    assert drawings == [*[200] * 58, 429]
    assert session.get(f"{server.url}/sdapi/v1/samplers", timeout=5).status_code == 200


def test_questions_beyond_the_limit_are_no_news(on):
    """The 301st in a minute is a 429; the job is followed, stopped once, and not called gone."""
    server, backend = on("sdnext", latency_s=1.0)
    hold = server.hold("txt2img", step=2)
    seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**{**SMALL, "steps": 12})), None))
    assert hold.wait_reached()
    server.site.engine.set_options({"server_rate_limit": 1})
    progress = f"{server.url}/sdapi/v1/progress"
    assert requests.get(progress, timeout=5).status_code == 429
    seen.subscription.dispose()
    assert not server.wait_idle(0.3)
    server.site.engine.set_options({"server_rate_limit": 0})
    assert server.wait_idle(4.0)
    assert [job.outcome for job in server.jobs] == ["interrupted"]
    seen.worker.close()


@pytest.mark.parametrize("ours_begins", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_strangers_job_on_sd_next_is_not_hit(on, ours_begins):
    """Its steps do not tell whose a job is: the phases that begin again do."""
    server, backend = on("sdnext")
    hold = server.hold("txt2img", 4)
    other = threading.Thread(target=post, args=(server, "txt2img"), kwargs={"steps": 8, "width": 64, "height": 64})
    other.start()
    assert hold.wait_reached()
    seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**{**SMALL, "steps": 8})), None))
    assert server.wait_queued(1)
    ours = server.hold("txt2img", 1)  # an interrupt frees it
    if ours_begins:
        hold.release()
        assert ours.wait_reached()
    seen.subscription.dispose()
    hold.release()
    other.join()
    assert server.wait_idle()
    assert [job.outcome for job in server.jobs] == ["done", "interrupted"]
    seen.worker.close()


def test_the_second_pass_on_sd_next_has_the_cfg_scale_too(on):
    """By a field of its own."""
    server, backend = on("sdnext")
    drawn(backend, stage_of(HIRES))
    assert (sent(server)["cfg_image"], sent(server).get("hr_cfg")) == (5.0, None)


def test_an_upscale_that_sd_next_fails_at_says_what_to_do(on):
    """Its API has been broken since July 2026."""
    server, backend = on("sdnext")
    message = "1 validation error for ResImage\nhtml_info\n  Input should be a valid string"
    server.fault("upscale", Fault.GENERIC.but(error="ValidationError", message=message))
    with pytest.raises(rxp.BackendRejected, match="mode to img2img"):
        drawn(backend, stage_of(rxp.UpscaleConfig(scale=2)), artifact())


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


@pytest.mark.slow
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
