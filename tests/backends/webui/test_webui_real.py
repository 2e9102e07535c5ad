"""What real servers do and ours once did not: hires, pictures of scripts, options, names, formats, interrupts."""

import itertools
import json
import subprocess
import sys
import threading
import time

import pytest
import requests
from readings import server as server_snapshot
from stages import Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.base import StepProgress
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.backends.webui.payloads import Txt2ImgRequest
from rxpipe.backends.webui.progress import JobTracker
from rxpipe.pictures import a1111, png
from rxpipe.plan import build_stage_execution_plan
from rxpipe.testing.servers.webui import Fault, WebUIServer
from rxpipe.testing.servers.webui.flavour import FLAVOURS
from rxpipe.testing.servers.webui.jobs import JobQueue

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=4)
FACE = rxp.AdetailerConfig(detector="mediapipe_face_full")
both = pytest.mark.parametrize("webui_server", ["forge", "a1111"], indirect=True)


def changed(section=TXT2IMG, **settings):
    """The section with other settings, as a config has them."""
    return type(section)(**{**section.model_dump(exclude_unset=True), **settings})


def checked(backend, **sections):
    """The warnings about a plan."""
    return backend.check(build_stage_execution_plan(rxp.PipelineConfig(**sections)))


def body(server, path="txt2img"):
    """What was posted last."""
    return server.calls_to(f"/sdapi/v1/{path}")[-1].body


def settings_in(output):
    """The infotext's settings."""
    return a1111.parse_parameters(png.read_text(output.data)["parameters"]).settings


# -- hires ------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("looked_up", [False, True])
def test_hires_is_rendered_at_the_cfg_of_the_first_pass(webui_server, backend_for, looked_up):
    """Forge fails without its modules, and takes a CFG of 1 where none is sent; others do not know either."""
    backend, config = backend_for(webui_server), changed(cfg_scale=5.5, hires={"scale": 2, "upscaler": "latent"})
    if looked_up:
        assert checked(backend, txt2img=config) == ()
    output = drawn(backend, stage_of(config))

    assert output.warnings == ()
    assert png.check(output.data).width == 128
    assert settings_in(output).get("Hires CFG Scale") == ("5.5" if webui_server.flavour.name == "forge" else None)
    assert ("hr_cfg" in body(webui_server)) == (webui_server.flavour.name == "forge")


@both
def test_hires_takes_prompts_and_a_cfg_of_its_own(webui_server, backend_for):
    """None are those of the first pass."""
    config = changed(hires={"cfg_scale": 3, "prompt": "waves", "negative_prompt": "fog"})
    settings = settings_in(drawn(backend_for(webui_server), stage_of(config)))

    assert (settings["Hires prompt"], settings["Hires negative prompt"]) == ("waves", "fog")
    assert settings.get("Hires CFG Scale") == ("3.0" if webui_server.flavour.name == "forge" else None)


# -- more pictures than asked for -------------------------------------------------------------------------------------


@pytest.mark.parametrize("webui_server", ["forge", {"flavour": "a1111", "extensions": ["controlnet"]}], indirect=True)
@pytest.mark.parametrize("images", [1, 2])
def test_pictures_that_a_script_appends_are_left_out_with_a_warning(webui_server, backend_for, images):
    """ControlNet sends the map that it detected."""
    units = {"ControlNet": {"args": [{"module": "canny"}, {"module": "depth"}]}}
    config = changed(images=images, batch_size=images, alwayson_scripts=units)
    output = drawn(backend_for(webui_server), stage_of(config))

    assert output.warnings == ("the server sent 2 more pictures than asked for, as scripts such as ControlNet do",)
    assert settings_in(output)["Seed"] == "7"


@both
def test_a_script_that_the_server_lacks_is_refused_before_anything_runs(webui_server, backend_for):
    """It would be a 422 after all the work of the stages before; in any case of letters it is one that there is."""
    backend = backend_for(webui_server)
    scripts = {"ControlNett": {"args": []}, "ADETAILER": {"args": [False, False]}}
    upscale = rxp.UpscaleConfig(mode="img2img", alwayson_scripts=scripts, payload={"script_name": "no such"})
    with pytest.raises(rxp.BackendRejected, match="upscale: the server has no script 'ControlNett'") as refused:
        checked(backend, txt2img=TXT2IMG, upscale=upscale)
    assert "'no such'" in str(refused.value)
    assert "ADETAILER" not in str(refused.value)
    assert checked(backend, txt2img=changed(alwayson_scripts={"ADetailer": {"args": [False, False]}})) == ()
    assert webui_server.jobs == ()


# -- nothing server-wide is left changed ------------------------------------------------------------------------------

OVERRIDING = changed(clip_skip=2, vae="fine", override_settings={"eta_ancestral": 0.5, "samples_format": "png"})
REDRAWN = rxp.UpscaleConfig(mode="img2img", upscaler="Lanczos", scale=2)


def options_of(server):
    """The options as every client reads them."""
    return dict(server.site.engine.options)


@both
@pytest.mark.parametrize("held", [False, True])
def test_a_completed_or_failed_run_leaves_the_options_as_they_were(webui_server, backend_for, held):
    """Also those that the server's own file does not hold, which it does not restore."""
    webui_server.setup.modules = ("fine.safetensors",)
    if held:
        webui_server.site.engine.set_options(options_of(webui_server))
    before, backend = options_of(webui_server), backend_for(webui_server)
    checked(backend, txt2img=OVERRIDING)
    drawn(backend, stage_of(OVERRIDING))
    assert options_of(webui_server) == before
    drawn(backend, stage_of(REDRAWN, before=OVERRIDING), artifact())
    assert options_of(webui_server) == before
    with pytest.raises(rxp.RxPipeError):
        drawn(backend, stage_of(changed(OVERRIDING, override_settings={"no_such_option": 1, "eta_ddim": 0.3})))
    drawn(backend, stage_of(TXT2IMG))
    assert options_of(webui_server) == before


@both
def test_a_server_that_dies_in_the_job_comes_back_with_its_options(webui_server, backend_for):
    """As does one whose client is killed: the server restores the options by itself."""
    before, backend = options_of(webui_server), backend_for(webui_server)
    hold = webui_server.hold("img2img", step=1)
    stage = stage_of(REDRAWN, before=changed(clip_skip=3))
    started = Watched(backend.render(stage, artifact()))
    assert hold.wait_reached()
    assert options_of(webui_server) != before  # in the middle of our job
    backend.close()  # what a killed process leaves: its connections break
    hold.release()
    assert started.wait_for(lambda seen: seen.error is not None)
    started.worker.close()
    assert webui_server.wait_idle()
    assert options_of(webui_server) == before


@both
def test_options_are_put_back_after_a_job_that_another_clients_was_before(webui_server, backend_for):
    """While it ran, an option could have been its own; so nothing was written beforehand."""
    before, backend = options_of(webui_server), backend_for(webui_server)
    hold = webui_server.hold("txt2img", step=1)
    other = threading.Thread(
        target=requests.post,
        args=(f"{webui_server.url}/sdapi/v1/txt2img",),
        kwargs={"json": {"steps": 2}, "timeout": 9},
    )
    other.start()
    assert hold.wait_reached()
    ours = threading.Thread(target=drawn, args=(backend, stage_of(changed(clip_skip=3))))
    ours.start()
    assert webui_server.wait_queued(1)
    assert not [call for call in webui_server.calls_to("options") if call.method == "POST"]
    hold.release()
    ours.join()
    other.join()
    assert options_of(webui_server) == before


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("flavour", "moment"),
    [
        *itertools.product(("forge", "a1111"), range(20)),
        *itertools.product(("neo", "reforge", "classic", "amd", "sdnext"), range(0, 20, 4)),
    ],
)
def test_a_run_cancelled_at_any_moment_leaves_the_options_as_they_were(flavour, moment, tmp_path):
    """Read by another client before and after; its job in between has its own options."""
    config = rxp.PipelineConfig(
        txt2img={**OVERRIDING.model_dump(exclude_unset=True), "images": 2, "vae": None},
        upscale=REDRAWN,
        out=tmp_path,
    )
    with WebUIServer(flavour, latency_s=0.1) as server:
        backend = WebUIBackend(server.url, poll_s=0.02, idle_timeout_s=3.0, grace_s=0.3)
        before = requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json()
        run = rxp.PipelineRunner(backend).start(config)
        run.wait(timeout_s=0.025 * moment)
        run.cancel()
        run.wait(timeout_s=5)
        other = requests.post(f"{server.url}/sdapi/v1/txt2img", json={"steps": 1, "width": 64, "height": 64}, timeout=9)
        assert json.loads(other.json()["info"])["clip_skip"] == 1
        backend.close()
        assert requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json() == before


RUN_THAT_IS_KILLED = """
import sys
import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend

config = rxp.PipelineConfig(
    txt2img={"width": 64, "height": 64, "clip_skip": 2},
    upscale={"mode": "img2img", "upscaler": sys.argv[2], "scale": 2},
    out=None,
)
rxp.PipelineRunner(WebUIBackend(sys.argv[1])).run(config)
"""


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stage", ["txt2img", "img2img"])
@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.slow
def test_a_killed_run_leaves_the_options_as_they_were(flavour, stage):
    """Nothing of ours runs afterwards: the server restores them."""
    with WebUIServer(flavour) as server:
        before = requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json()
        hold = server.hold(stage, step=1)
        upscaler = "Resize Lanczos" if flavour == "sdnext" else "Lanczos"
        with subprocess.Popen([sys.executable, "-c", RUN_THAT_IS_KILLED, server.url, upscaler]) as process:  # noqa: S603  # ours
            assert hold.wait_reached(timeout_s=30)
            process.kill()
        hold.release()
        assert server.wait_idle()
        assert requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json() == before


# -- VAE and text encoders --------------------------------------------------------------------------------------------


@both
def test_a_vae_goes_the_way_that_the_server_has(webui_server, backend_for):
    """Forge's modules by path, A1111's option by name; any spelling is taken."""
    webui_server.setup.modules = ("Fine-VAE.safetensors", "clip_l.safetensors")
    forge = webui_server.flavour.name == "forge"
    backend = backend_for(webui_server)
    config = changed(vae="fine_vae", **({"modules": ["CLIP_L"]} if forge else {}))
    assert checked(backend, txt2img=config) == ()
    output = drawn(backend, stage_of(config))

    assert output.warnings == ()
    if forge:
        paths = ["/models/VAE/Fine-VAE.safetensors", "/models/VAE/clip_l.safetensors"]
        assert body(webui_server)["override_settings"] == {"forge_additional_modules": paths}
        assert settings_in(output)["Module 2"] == "clip_l"
    else:
        assert body(webui_server)["override_settings"] == {"sd_vae": "Fine-VAE.safetensors"}
        assert settings_in(output)["VAE"] == "Fine-VAE.safetensors"


@both
def test_an_unknown_vae_or_module_is_refused_before_anything_runs(webui_server, backend_for):
    """The server would use another one without a word."""
    webui_server.setup.modules = ("fine.safetensors",)
    with pytest.raises(rxp.BackendRejected, match="'fin'; did you mean 'fine"):
        checked(backend_for(webui_server), txt2img=changed(vae="fin"))
    wrong = "the server has no 'clip'" if webui_server.flavour.name == "forge" else "the server has none"
    with pytest.raises(rxp.BackendRejected, match=wrong):
        checked(backend_for(webui_server), txt2img=changed(modules=["clip"]))


# -- the listed spelling ----------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("asked", "used"),
    [
        (("euler a", "KARRAS"), ("Euler a", "Karras")),
        (("k_euler_a", None), ("Euler a", "Automatic")),
        (("euler_ancestral", "sgm_uniform"), ("Euler a", "SGM Uniform")),
        (("DPM++ 2M Karras", None), ("DPM++ 2M", "Karras")),
        (("dpmpp_2m_sde_k", None), ("DPM++ 2M SDE", "Karras")),
        (("dpmpp_2s_ancestral", "exponential"), ("DPM++ 2S a", "Exponential")),
    ],
)
@pytest.mark.sampled(4)
def test_a_sampler_in_any_spelling_is_the_one_used(webui_server, backend_for, asked, used):
    """Case, aliases, other programs' names, and both in one."""
    backend, config = backend_for(webui_server), changed(sampler_name=asked[0], scheduler=asked[1])
    checked(backend, txt2img=config)
    output = drawn(backend, stage_of(config))

    assert output.warnings == ()
    assert (output.settings["sampler_name"], settings_in(output)["Schedule type"]) == used


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.parametrize(
    "name", ["TinyA", "tinya", "tinyA.safetensors", "sub_tinyA", "SUB/tinyA", "sub/tinyA.safetensors"]
)
@pytest.mark.sampled(4)
def test_a_checkpoint_in_any_spelling_is_the_one_used(backend_for, flavour, name):
    """Its file without the folder, in any case, as refiner and second pass too."""
    with WebUIServer(flavour, checkpoints=["one", "sub/tinyA"]) as server:
        config = changed(
            model=name,
            hires={"checkpoint": name, "upscaler": "lanczos"},
            refiner={"checkpoint": name, "switch_at": 0.5},
        )
        backend = backend_for(server)
        checked(backend, txt2img=config)
        output = drawn(backend, stage_of(config))

        assert output.warnings == ()
        assert output.settings["model"] == "tinyA"
        assert body(server)["hr_upscaler"] == "Lanczos"
        assert body(server)["refiner_checkpoint"] == body(server)["hr_checkpoint_name"] == "sub_tinyA"


@both
def test_names_of_every_stage_are_sent_as_listed(webui_server, backend_for):
    """Upscalers, detectors of each unit, and their samplers."""
    backend = backend_for(webui_server)
    unit = {"detector": "FACE_YOLOV8N", "sampler_name": "euler A", "scheduler": "karras"}
    detail = rxp.AdetailerConfig(detector="Mediapipe_Face_Full", units=[unit])
    upscale = rxp.UpscaleConfig(upscaler="r-esrgan 4x+")
    checked(backend, txt2img=TXT2IMG, adetailer=detail, upscale=upscale)
    drawn(backend, stage_of(detail, before=TXT2IMG), artifact())
    drawn(backend, stage_of(upscale, before=TXT2IMG), artifact())

    first, second = body(webui_server, "img2img")["alwayson_scripts"]["ADetailer"]["args"][2:]
    assert (first["ad_model"], second["ad_model"]) == ("mediapipe_face_full", "face_yolov8n.pt")
    assert (second["ad_sampler"], second["ad_scheduler"]) == ("Euler a", "Karras")
    assert body(webui_server, "extra-single-image")["upscaler_1"] == "R-ESRGAN 4x+"


@both
def test_styles_and_loras_are_sent_as_listed(webui_server, backend_for):
    """In the prompt too."""
    webui_server.setup.styles, webui_server.setup.loras = {"Film Grain": ("{prompt}, grain", "")}, ("Fine_v2",)
    backend, config = backend_for(webui_server), changed(prompt="a cat <lora:fine_V2:0.7>", styles=["film grain"])
    assert checked(backend, txt2img=config) == ()
    output = drawn(backend, stage_of(config))

    assert output.warnings == ()
    assert body(webui_server)["styles"] == ["Film Grain"]
    assert body(webui_server)["prompt"] == "a cat <lora:Fine_v2:0.7>"


# -- silent misses ----------------------------------------------------------------------------------------------------


@both
def test_an_unknown_style_or_lora_is_a_warning_before_and_after(webui_server, backend_for):
    """The server says nothing, and leaves them out."""
    backend, config = backend_for(webui_server), changed(prompt="a cat <lora:fine:1>", styles=["film"])
    warnings = checked(backend, txt2img=config)

    assert [warning.partition(";")[0] for warning in warnings] == [
        "the server has no style 'film' and leaves it out",
        "the server has no LoRA 'fine' and leaves it out",
    ]
    assert drawn(backend, stage_of(config)).warnings == ("LoRA 'fine' was not used",)


@both
@pytest.mark.parametrize("upscaler", ["R-ESRGAN 4x+", "lanczos"])
def test_an_upscaler_or_face_restorer_without_its_weights_is_a_warning(webui_server, backend_for, upscaler):
    """The picture is only resized, HTTP 200."""
    webui_server.setup.missing = frozenset({"R-ESRGAN 4x+", "GFPGAN"})
    config = rxp.UpscaleConfig(upscaler=upscaler, gfpgan_visibility=0.0 if upscaler != "lanczos" else 0.8)
    backend = backend_for(webui_server)
    warnings = drawn(backend, stage_of(config), artifact()).warnings

    what = "upscaler 'R-ESRGAN 4x+'" if upscaler != "lanczos" else "the face restorer"
    assert [warning.partition(":")[0] for warning in warnings] == [f"{what} changed nothing"]
    assert drawn(backend, stage_of(rxp.UpscaleConfig(upscaler="SwinIR 4x")), artifact()).warnings == ()


# -- the server's formats ---------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("options", [{"samples_format": "jpg"}, {"samples_format": "webp"}, {"enable_pnginfo": False}])
@pytest.mark.sampled(3)
def test_the_infotext_is_in_the_file_whatever_the_servers_format(webui_server, backend_for, options):
    """The answer has it beside the picture; a plan is warned of an option that costs quality or text."""
    webui_server.site.engine.set_options(options)
    backend = backend_for(webui_server)
    (warning,) = checked(backend, txt2img=TXT2IMG)
    output = drawn(backend, stage_of(TXT2IMG))

    assert next(iter(options)) in warning
    assert settings_in(output)["Seed"] == "7"


@both
@pytest.mark.parametrize("name", ["jpg", "webp"])
def test_nothing_found_is_nothing_found_in_every_format(backend_for, webui_server, name):
    """Encoded again, the picture differs in almost every pixel."""
    webui_server.site.engine.set_options({"samples_format": name})
    backend = backend_for(webui_server)
    assert not drawn(backend, stage_of(FACE), artifact()).unchanged
    webui_server.setup.draw = lambda order: order.source
    assert drawn(backend, stage_of(FACE), artifact()).unchanged


@both
def test_a_format_that_the_server_cannot_write_names_the_option(webui_server, backend_for):
    """A 500 that says only "Invalid image format"."""
    webui_server.site.engine.set_options({"samples_format": "avif"})
    with pytest.raises(rxp.BackendError, match="samples_format"):
        drawn(backend_for(webui_server), stage_of(TXT2IMG))


# -- interrupted by another client ------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("what", ["interrupt", "skip"])
@pytest.mark.parametrize("wanted", ["warn", "retry"])
def test_a_job_that_another_client_interrupted_is_not_passed_on_as_finished(webui_server, backend_for, what, wanted):
    """HTTP 200 with an unfinished picture; only the server's flags tell."""
    backend, hold = backend_for(webui_server), webui_server.hold("txt2img", step=2)
    seen = []
    stage = stage_of(changed(on_interrupted=wanted))

    def draw():
        try:
            seen.append(drawn(backend, stage))
        except rxp.RxPipeError as error:
            seen.append(error)

    drawing = threading.Thread(target=draw)
    drawing.start()
    assert hold.wait_reached()
    requests.post(f"{webui_server.url}/sdapi/v1/{what}", timeout=5)
    drawing.join()

    if wanted == "warn":
        assert seen[0].warnings == ("another client interrupted the job: the picture is unfinished",)
    else:
        assert isinstance(seen[0], rxp.BackendInterrupted)
        assert seen[0].retryable


def test_an_interrupt_shows_in_the_steps_where_the_next_job_cleared_the_flags():
    """Seen at 3 of 20 and answered a moment later, at a step each 0.1 s."""
    tracker = JobTracker(Txt2ImgRequest(width=64, height=64, steps=20))
    begin_s = time.monotonic()
    for step in (1, 3):
        tracker.observe(server_snapshot(0.01 + step / 20, step=step), 0.0)
    assert tracker.fell_short(begin_s)
    assert not tracker.fell_short(begin_s + 3600)
    assert not JobTracker(Txt2ImgRequest(width=64, height=64, steps=20)).fell_short(begin_s)


def test_every_picture_of_an_interrupted_batch_says_so(backend_for):
    """Not only that of the image which asked for them."""
    with WebUIServer() as server:
        backend, hold = backend_for(server), server.hold("txt2img", step=2)
        config = changed(images=2, batch_size=2)
        drawings = [Watched(backend.render(stage_of(config, image_index=n, seed=n), None)) for n in (1, 2)]
        assert hold.wait_reached()
        requests.post(f"{server.url}/sdapi/v1/interrupt", timeout=5)
        assert all("interrupted" in drawing.output.warnings[0] for drawing in drawings)


# -- from the command line --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.sampled(1)
def test_everything_from_the_command_line_is_right_in_files_and_texts(flavour, tmp_path):
    """Hires, ControlNet, clip skip, VAE, styles, a LoRA, on a server that writes JPEG."""
    config = {
        "txt2img": {
            "prompt": "a cat <lora:FINE:1>",
            "width": 64,
            "height": 64,
            "steps": 4,
            "seed": 5,
            "clip_skip": 2,
            "sampler_name": "euler a",
            "scheduler": "karras",
            "vae": "vae",
            "styles": ["FILM"],
            "hires": {"scale": 2, "upscaler": "lanczos", "cfg_scale": 4},
            "alwayson_scripts": {"ControlNet": {"args": [{"module": "canny"}]}},
        }
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    given = {"modules": ["vae.safetensors"], "loras": ["fine"], "styles": {"Film": ("{prompt}, grain", "blur")}}
    extensions = ["controlnet"] if flavour == "a1111" else []
    with WebUIServer(flavour, extensions=extensions, **given) as server:
        server.site.engine.set_options({"samples_format": "jpg"})
        before = options_of(server)
        ran = subprocess.run(  # noqa: S603  # ours
            [sys.executable, "-m", "rxpipe", "run", str(path), "--backend", server.url, "--out", str(tmp_path / "out")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert options_of(server) == before
    assert ran.returncode == 0, ran.stderr
    (file,) = (tmp_path / "out").rglob("*.png")
    text = png.read_text(file.read_bytes())["parameters"]
    settings = a1111.parse_parameters(text).settings

    assert png.check(file.read_bytes()).width == 128
    assert text.startswith("a cat <lora:fine:1>, grain\nNegative prompt: blur\n")
    assert (settings["Sampler"], settings["Schedule type"], settings["Clip skip"]) == ("Euler a", "Karras", "2")
    assert settings["Lora hashes"].startswith("fine: ")
    assert settings["Hires upscaler"] == "Lanczos"
    assert settings["Module 1" if flavour == "forge" else "VAE"].startswith("vae")
    assert settings.get("Hires CFG Scale") == ("4.0" if flavour == "forge" else None)
    assert "1 more picture than asked for" in ran.stdout
    assert "warning: the server's option samples_format is 'jpg'" in ran.stdout


# -- an extension that comes late -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_an_extension_whose_paths_come_late_is_found(backend_for):
    """In the first second of a server its page answers, and /adetailer does not."""
    refused = pytest.raises(rxp.BackendRejected, match="the server has no 'face_yolo9n'")
    with WebUIServer(adetailer_late=1) as server, refused:
        checked(backend_for(server), txt2img=TXT2IMG, adetailer=changed(FACE, detector="face_yolo9n"))
    with WebUIServer(adetailer_late=2) as server:
        assert checked(backend_for(server), txt2img=TXT2IMG, adetailer=FACE) == ()


@pytest.mark.parametrize("nowebui", [False, True])
def test_an_interrupt_that_the_begin_of_the_job_cleared_is_sent_again(backend_for, monkeypatch, nowebui):
    """Sent between two jobs it is lost, and the second would run all of its steps."""
    lost = []

    def interrupt(queue, call):
        lost.append(call)
        if len(lost) > 1:
            applied(queue, call)

    applied = JobQueue.interrupt
    monkeypatch.setattr(JobQueue, "interrupt", interrupt)
    with WebUIServer(latency_s=6.0, nowebui=nowebui) as server:
        backend = backend_for(server, queue_ahead=1)
        drawing = Watched(backend.render(stage_of(changed(steps=60)), None))
        assert server.wait_running()
        assert drawing.wait_for(lambda seen: seen.of(StepProgress))
        drawing.subscription.dispose()
        drawing.worker.close()
        assert server.wait_idle(timeout_s=3.0)
        assert [job.outcome for job in server.jobs] == ["interrupted"]
        assert len(lost) == 2


# -- connections ------------------------------------------------------------------------------------------------------


@both
def test_the_request_after_a_failure_of_the_server_meets_no_broken_connection(webui_server, backend_for):
    """Forge ends its connection after an exception and does not say so."""
    backend = backend_for(webui_server)
    webui_server.fault("txt2img", Fault.GENERIC, on_call=range(1, 12))
    for _ in range(11):
        with pytest.raises(rxp.BackendFailed):
            drawn(backend, stage_of(TXT2IMG))
    assert drawn(backend, stage_of(TXT2IMG)).data


# -- the time left ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_time_left_falls_between_two_steps_and_makes_no_event_of_its_own(backend_for):
    """It climbed within a step, and made an event of every poll."""
    with WebUIServer(latency_s=3.0) as server:
        seen = Watched(backend_for(server, poll_s=0.02).render(stage_of(changed(steps=5)), None))
        assert seen.output.data
    told = [(one.fraction, one.eta_s) for one in seen.of(StepProgress) if one.eta_s is not None]
    within = [(one[1], two[1]) for one, two in itertools.pairwise(told) if one[0] == two[0]]
    assert all(later < earlier for earlier, later in within)
    assert len(seen.of(StepProgress)) < 15
