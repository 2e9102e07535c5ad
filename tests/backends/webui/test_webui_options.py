"""The server's options, which belong to all of its clients, are as before whatever becomes of a run."""

import base64
import json
import subprocess
import sys
import threading

import pytest
import requests
from stages import PICTURE, Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import a1111, png
from rxpipe.plan import build_stage_execution_plan
from rxpipe.testing.servers.webui import WebUIServer

SMALL = {"prompt": "a lighthouse", "width": 64, "height": 64, "steps": 4}
OVERRIDING = rxp.Txt2ImgConfig(**SMALL, clip_skip=2, override_settings={"eta_ancestral": 0.5, "samples_format": "png"})
REDRAWN = rxp.UpscaleConfig(mode="img2img", upscaler="Lanczos", scale=2)
both = pytest.mark.parametrize("flavour", ["forge", "a1111"])
CLIP_SKIP = "CLIP_stop_at_last_layers"

KILLED = """
import sys
import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend

config = rxp.PipelineConfig(txt2img={"width": 64, "height": 64, "clip_skip": 2}, out=None)
rxp.PipelineRunner(WebUIBackend(sys.argv[1])).run(config)
"""


def options_of(server):
    """The options as a client reads them."""
    return requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json()


def post(server, path="txt2img", **body):
    """A drawing of another client; its `info`."""
    asked = {"steps": 2, "width": 64, "height": 64, **body}
    return json.loads(requests.post(f"{server.url}/sdapi/v1/{path}", json=asked, timeout=9).json()["info"])


def others(server, count=1, **body):
    """Drawings of other clients, begun."""
    threads = [threading.Thread(target=post, args=(server,), kwargs=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


@both
def test_a_request_cancelled_in_the_queue_behind_our_own_leaves_its_options(flavour):
    """The backend is closed before the server comes to it, so nothing of ours is there to put anything back."""
    with WebUIServer(flavour) as server:
        backend = WebUIBackend(server.url, poll_s=0.02, grace_s=0.1, idle_timeout_s=3.0)
        before, hold = options_of(server), server.hold("txt2img", step=1)
        backend.check(build_stage_execution_plan(rxp.PipelineConfig(txt2img=OVERRIDING, upscale=REDRAWN)))
        first = Watched(backend.render(stage_of(OVERRIDING), None))
        assert hold.wait_reached()
        second = Watched(backend.render(stage_of(REDRAWN, before=OVERRIDING), artifact()))
        assert server.wait_queued(1)
        for seen in (second, first):
            seen.subscription.dispose()
            seen.worker.close()
        backend.close()
        hold.release()
        assert server.wait_idle()

        assert options_of(server) == before
        assert post(server)["clip_skip"] == 1


@pytest.mark.sampled(1)
@both
@pytest.mark.slow
def test_what_a_run_killed_in_the_queue_leaves_is_reported_and_put_back_by_the_next(flavour):
    """Another client's job ran, so nothing was written beforehand."""
    with WebUIServer(flavour) as server:
        before, hold = options_of(server), server.hold("txt2img", step=1)
        (other,) = others(server)
        assert hold.wait_reached()
        with subprocess.Popen([sys.executable, "-c", KILLED, server.url]) as process:  # noqa: S603  # ours
            assert server.wait_queued(1, timeout_s=30)
            process.kill()
        hold.release()
        other.join()
        assert server.wait_idle()
        assert options_of(server)[CLIP_SKIP] == 2  # left by a process that is not there any more
        with WebUIBackend(server.url, poll_s=0.02) as backend:
            advice = " ".join(backend.diagnose().advice)
            assert f"A run that was killed left the option {CLIP_SKIP} at 2, before {before[CLIP_SKIP]!r}" in advice
            warnings = drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL))).warnings

            assert options_of(server) == before
            assert f"had left the server's option {CLIP_SKIP} at 2" in warnings[0]
            assert drawn(backend, stage_of(rxp.Txt2ImgConfig(**SMALL))).warnings == ()
            assert "was killed" not in " ".join(backend.diagnose().advice)


def test_a_record_that_is_not_ours_or_is_broken_is_left_alone(tmp_path, monkeypatch):
    """And what has changed since is not put back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with WebUIServer() as server, WebUIBackend(server.url, poll_s=0.02) as backend:
        hold = server.hold("txt2img", step=1)
        (other,) = others(server)
        assert hold.wait_reached()
        seen = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**SMALL, clip_skip=2)), None))
        assert server.wait_queued(1)
        (record,) = tmp_path.rglob("*.json")
        kept = record.read_bytes()
        hold.release()
        other.join()
        assert seen.output.data
        assert list(tmp_path.rglob("*.json")) == []

        record.with_name("broken.json").write_text("{")
        record.with_name("old.json").write_bytes(kept)
        before = options_of(server)
        with WebUIBackend(server.url, poll_s=0.02) as again:
            assert drawn(again, stage_of(rxp.Txt2ImgConfig(**SMALL))).warnings == ()
        assert options_of(server) == before
        assert [left.name for left in tmp_path.rglob("*.json")] == ["broken.json"]


@both
@pytest.mark.slow
def test_an_option_that_another_clients_job_brings_back_is_put_back_again(flavour):
    """It found our value when it began, and restores that."""
    with WebUIServer(flavour) as server, WebUIBackend(server.url, poll_s=0.02) as backend:
        before, hold = options_of(server), server.hold("txt2img", step=1)
        first = others(server)
        assert hold.wait_reached()
        ours = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**SMALL, clip_skip=3)), None))
        assert server.wait_queued(1)
        picture = base64.b64encode(PICTURE).decode()
        after = others(server, path="img2img", init_images=[picture], override_settings={CLIP_SKIP: 5})
        assert server.wait_queued(2)
        later = server.hold("img2img", step=1)
        hold.release()
        assert later.wait_reached()
        assert ours.wait_for(lambda seen: seen.completed)
        later.release()
        for thread in (*first, *after):
            thread.join()
        assert server.wait_for(lambda: server.site.engine.options == before)
        ours.worker.close()


def test_what_was_saved_beside_another_clients_job_is_saved_again(backend_for):
    """Writing an option saves all of them, those that a running job overrides too; a restart would bring those back."""
    with WebUIServer() as server:
        before, backend = options_of(server), backend_for(server)
        hold, later = server.hold("txt2img", step=1), server.hold("img2img", step=1)
        first = others(server)
        assert hold.wait_reached()
        ours = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**SMALL, clip_skip=3)), None))
        assert server.wait_queued(1)
        picture = base64.b64encode(PICTURE).decode()
        after = others(
            server, path="img2img", init_images=[picture], override_settings={"sd_model_checkpoint": "tiny-sd15"}
        )
        assert server.wait_queued(2)
        hold.release()
        assert later.wait_reached()
        assert ours.output.data
        assert server.setup.saved_options["sd_model_checkpoint"] != before["sd_model_checkpoint"]
        later.release()
        for thread in (*first, *after):
            thread.join()
        assert server.wait_for(
            lambda: server.setup.saved_options["sd_model_checkpoint"] == before["sd_model_checkpoint"]
        )
        server.die()
        server.come_back()
        assert options_of(server) == before


@both
@pytest.mark.sampled(1)
def test_two_runs_and_a_stranger(flavour, tmp_path):
    """What the first run overrides holds for no other job, and is as before after a restart too."""
    with WebUIServer(flavour, modules=("fine.safetensors",)) as server:
        before = options_of(server)
        first = rxp.PipelineConfig(txt2img={**SMALL, "clip_skip": 2, "vae": "fine"}, upscale=REDRAWN, out=tmp_path)
        with WebUIBackend(server.url, poll_s=0.02) as backend:
            assert rxp.PipelineRunner(backend).run(first).status == "completed"
            assert options_of(server) == before
            assert post(server)["clip_skip"] == 1
            second = rxp.PipelineConfig(txt2img=SMALL, out=tmp_path)
            assert rxp.PipelineRunner(backend).run(second).status == "completed"
        (file,) = (tmp_path / "txt2img-images").rglob("00001-*.png")
        said = a1111.parse_parameters(png.read_text(file.read_bytes())["parameters"]).settings
        assert not {"Clip skip", "VAE", "Module 1"} & said.keys()
        server.die()
        server.come_back()
        assert options_of(server) == before


@both
def test_a_request_cancelled_in_the_queue_behind_another_clients_job_leaves_its_options(flavour, backend_for):
    """It is stopped when its turn comes, and what it overrode is put back; the other job is not hit."""
    with WebUIServer(flavour) as server:
        before, backend, hold = options_of(server), backend_for(server, grace_s=0.1), server.hold("txt2img", step=1)
        (other,) = others(server)
        assert hold.wait_reached()
        ours = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**SMALL, clip_skip=3)), None))
        assert server.wait_queued(1)
        ours.subscription.dispose()
        ours.worker.close()
        hold.release()
        other.join()
        assert server.wait_idle()
        assert server.wait_for(lambda: server.site.engine.options == before)
        assert server.jobs[0].outcome == "done"
