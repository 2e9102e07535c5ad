"""The backend over real HTTP: pictures, warnings, progress, and an interrupt that hits our own running job only."""

import threading
import time

import pytest
from stages import GRACE_S, PICTURE, Watched, artifact, drawn, returns_before_any_answer, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.pictures import a1111, png
from rxpipe.plan import build_stage_execution_plan
from rxpipe.testing.servers.webui import Fault, WebUIServer

FACE = rxp.AdetailerConfig(detector="mediapipe_face_full")
TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=20)


both = pytest.mark.parametrize("webui_server", ["forge", "a1111"], indirect=True)


# -- pictures ---------------------------------------------------------------------------------------------------------


@both
def test_txt2img_gives_the_servers_bytes_and_the_real_seed(webui_server, backend_for):
    """Kept as they came, with the text in them; what was really used is noted."""
    output = drawn(backend_for(webui_server), stage_of(TXT2IMG, seed=41))

    assert png.check(output.data).width == 64
    assert "Seed: 41" in png.read_text(output.data)["parameters"]
    assert output.seed == 41
    assert output.warnings == ()
    assert output.settings["sampler_name"] == "Euler"
    assert output.settings["model"]


@both
def test_all_kinds_of_stages_are_drawn(webui_server, backend_for):
    """img2img at the picture's size, adetailer at the picture's own, upscale in both modes."""
    backend = backend_for(webui_server)
    sizes = {}
    for section in (rxp.Img2ImgConfig(), FACE, rxp.UpscaleConfig(), rxp.UpscaleConfig(mode="img2img", scale=3)):
        header = png.check(drawn(backend, stage_of(section), artifact()).data)
        sizes[section.section, getattr(section, "mode", "")] = header.width

    assert sizes == {
        ("img2img", ""): 64,
        ("adetailer", ""): 64,
        ("upscale", "single"): 128,
        ("upscale", "img2img"): 192,
    }
    assert [call.stage for call in webui_server.calls if call.stage] == ["img2img", "adetailer", "upscale", "img2img"]
    assert not webui_server.calls_to("options"), "the server's own settings must stay"


def test_adetailer_that_finds_nothing_says_so(backend_for):
    """HTTP 200 and a picture; only its pixels tell."""
    with WebUIServer(draw=lambda order: order.source or PICTURE) as server:
        output = drawn(backend_for(server), stage_of(FACE), artifact())

    assert output.unchanged


def test_a_detailed_picture_keeps_the_text_of_the_picture_it_was_made_from(webui_server, backend_for):
    """The server's own tells of one step at 128x128, which is the pass that is thrown away."""
    backend = backend_for(webui_server)
    before = drawn(backend, stage_of(TXT2IMG)).data
    after = drawn(backend, stage_of(FACE, before=TXT2IMG), artifact(before)).data
    old, new = (a1111.parse_parameters(png.read_text(data)["parameters"]) for data in (before, after))

    assert new.settings["Steps"] == old.settings["Steps"] == "20"
    assert new.settings["Size"] == "64x64"
    assert new.settings["ADetailer model"] == "mediapipe_face_full"


def test_adetailer_whose_settings_were_dropped_is_refused(webui_server, backend_for):
    """The extension does so without a word, and hands back the picture as if nothing had been found."""
    with pytest.raises(rxp.BackendRejected, match="dropped its settings"):
        drawn(backend_for(webui_server), stage_of(rxp.AdetailerConfig(detector="None")), artifact())


def test_a_silent_fallback_is_a_warning(webui_server, backend_for):
    """Sampler, scheduler and checkpoint are compared with what was asked for."""
    config = TXT2IMG.model_copy(update={"sampler_name": "Eulr", "scheduler": "Kerras", "model": "nice_v2"})
    output = drawn(backend_for(webui_server), stage_of(config))

    assert [warning.partition(" was used")[0] for warning in output.warnings] == [
        "sampler 'DPM++ 2M'",
        "scheduler 'Karras'",
        "checkpoint 'random-sd15'",
    ]


def test_a_silent_fallback_is_an_error_where_strict(webui_server, backend_for):
    """For who would rather have no picture than another one."""
    config = TXT2IMG.model_copy(update={"model": "nice_v2"})
    with pytest.raises(rxp.BackendRejected, match="checkpoint 'random-sd15' was used where 'nice_v2' was asked for"):
        drawn(backend_for(webui_server, strict=True), stage_of(config))


def test_what_was_asked_for_in_other_words_is_no_fallback(webui_server, backend_for):
    """Aliases, labels, titles with a hash."""
    config = TXT2IMG.model_copy(
        update={"sampler_name": "k_euler_a", "scheduler": "sgm_uniform", "model": "tiny-sd15.safetensors [f6d99fa539]"}
    )
    backend = backend_for(webui_server)
    backend.check(build_stage_execution_plan(rxp.PipelineConfig(txt2img=config)))

    assert drawn(backend, stage_of(config)).warnings == ()


def test_a_size_that_the_server_rounds_is_reported(webui_server, backend_for):
    """A photo of 70x66 comes back as 64x64: asked for as such, so no warning; what differs from the asked is one."""
    backend = backend_for(webui_server)
    server_cut = drawn(backend, stage_of(rxp.UpscaleConfig(scale=1.3)), artifact())

    assert server_cut.warnings == ()
    assert server_cut.settings["width"] == 83


def test_one_request_serves_a_batch_and_each_image_has_its_seed(webui_server, backend_for):
    """For GPUs that like batches: images 1 to 4 from two requests, image 5 from a third for the rest."""
    backend = backend_for(webui_server)
    config = TXT2IMG.model_copy(update={"images": 5, "batch_size": 2})
    outputs = [drawn(backend, stage_of(config, image_index=i, seed=9 + i)) for i in range(1, 6)]

    assert [output.seed for output in outputs] == [10, 11, 12, 13, 14]
    assert [call.body["batch_size"] for call in webui_server.calls_to("txt2img")] == [2, 2, 1]
    assert len({output.data for output in outputs}) == 5


def test_a_broken_picture_in_a_batch_costs_only_its_own_image(webui_server, backend_for):
    """The others of the same answer are good."""
    backend = backend_for(webui_server)
    webui_server.fault("txt2img", Fault.FLIPPED_BYTE)
    config = TXT2IMG.model_copy(update={"images": 2, "batch_size": 2})

    assert drawn(backend, stage_of(config, image_index=1, seed=1)).seed == 1
    with pytest.raises(rxp.BadResponse, match="wrong checksum"):
        drawn(backend, stage_of(config, image_index=2, seed=2))


def test_a_photo_of_another_format_is_sent_as_it_is(webui_server, backend_for, tmp_path):
    """The server reads it; its size is taken upright."""
    from PIL import Image  # noqa: PLC0415  only here

    photo = Image.new("RGB", (96, 64), "teal")
    exif = photo.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    photo.save(tmp_path / "photo.jpg", exif=exif)
    drawn(backend_for(webui_server), stage_of(rxp.Img2ImgConfig()), rxp.Artifact.open(tmp_path / "photo.jpg"))
    sent = webui_server.calls_to("img2img")[0].body

    assert (sent["width"], sent["height"]) == (64, 96)


def test_a_stage_of_the_users_own_is_refused(webui_server, backend_for):
    """No server draws it."""
    from rxpipe.config import CustomConfig  # noqa: PLC0415  only here

    stage = stage_of(CustomConfig(name="sparkle", kind="function"))
    with pytest.raises(rxp.BackendRejected, match="and upscale, not sparkle"):
        drawn(backend_for(webui_server), stage, artifact())


def test_a_mistake_of_our_own_reaches_the_subscriber(webui_server, backend_for):
    """Whatever goes wrong on the call's thread, no subscriber waits for ever."""
    with pytest.raises(rxp.BadImage, match="no picture yet"):
        drawn(backend_for(webui_server), stage_of(rxp.Img2ImgConfig()), rxp.Artifact(id="empty"))


def test_one_connection_serves_all_calls(webui_server, backend_for):
    """Kept alive; questions for progress may take a second one."""
    backend = backend_for(webui_server, poll_s=10)
    for seed in range(5):
        drawn(backend, stage_of(TXT2IMG, seed=seed))

    assert webui_server.connections == 1


# -- progress ---------------------------------------------------------------------------------------------------------


def reports(seen):
    """The progress that counts anything."""
    return [step for step in seen.of(StepProgress) if step.fraction is not None]


@pytest.mark.parametrize("nowebui", [False, True])
def test_progress_and_previews_come_while_it_is_drawn(nowebui, backend_for):
    """Per task where the server does it, from the global progress otherwise; on the scheduler's thread only."""
    with WebUIServer(latency_s=0.0, nowebui=nowebui) as server:
        holds = [server.hold("txt2img", step) for step in (3, 8, 13, 18)]
        seen = Watched(backend_for(server).render(stage_of(TXT2IMG), None))
        for number, hold in enumerate(holds, 1):  # however late a busy machine asks
            assert hold.wait_reached()
            assert seen.wait_for(lambda it, number=number: len({step.fraction for step in reports(it)}) >= number)
            assert number < 3 or seen.wait_for(lambda it: it.of(Preview))  # the server has one each tenth step
            hold.release()
        assert isinstance(seen.output, Output)

    reported = reports(seen)
    fractions = [step.fraction for step in reported]
    assert len(reported) >= 4
    assert fractions == sorted(fractions)
    assert {step.steps for step in reported} == {20}
    assert len(seen.of(Preview)) >= 1
    assert png.check(seen.of(Preview)[0].data).width == 16
    assert seen.threads == {"test"}
    assert isinstance(seen.values[-1], Output)


@pytest.mark.parametrize("nowebui", [False, True])
def test_waiting_behind_another_client_is_queued_and_shows_nothing_of_its_job(nowebui, backend_for):
    """Neither its progress nor its previews are ours."""
    with WebUIServer(latency_s=0.02, nowebui=nowebui) as server:
        hold = server.hold("txt2img", 15)
        other = Watched(backend_for(server).render(stage_of(TXT2IMG, seed=1), None))
        assert hold.wait_reached()
        seen = Watched(backend_for(server).render(stage_of(TXT2IMG, seed=2), None))
        assert server.wait_queued(1)
        assert seen.wait_for(lambda it: len(it.values) >= 1)
        waited = seen.values
        hold.release()
        assert other.output.seed == 1
        assert seen.output.seed == 2

    assert waited == [StepProgress(phase="queued")]


def test_a_server_that_says_nothing_for_long_is_abandoned(backend_for):
    """No sign of life on any path: a timeout, and one that says what to look at."""
    with WebUIServer() as server:
        backend = backend_for(server, silence_s=0.3, ask_timeout_s=0.1, grace_s=0.05)
        drawn(backend, stage_of(TXT2IMG))
        hold = server.hold("txt2img")
        seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert hold.wait_reached()
        server.freeze()
        with pytest.raises(rxp.BackendTimeout, match=r"no sign of life for .* s"):
            _ = seen.output
        server.thaw()


def test_an_answer_that_comes_slowly_is_a_sign_of_life(backend_for):
    """The server is done, its network is not."""
    with WebUIServer() as server:
        server.fault("txt2img", Fault.SLOW_DRIP.but(seconds=1.0))
        config = TXT2IMG.model_copy(update={"width": 256, "height": 256})

        assert drawn(backend_for(server, unknown_job_s=0.3), stage_of(config)).seed == 7


# -- interrupting -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nowebui", [False, True])
@pytest.mark.parametrize("section", [TXT2IMG, rxp.Img2ImgConfig(steps=20), FACE, rxp.UpscaleConfig()])
def test_disposing_interrupts_our_running_job_once(section, nowebui, backend_for):
    """Nothing is emitted afterwards, and the partial picture is discarded."""
    stage_name = section.section
    with WebUIServer(latency_s=30.0, nowebui=nowebui) as server:
        backend = backend_for(server, grace_s=GRACE_S)
        seen = Watched(backend.render(stage_of(section), None if stage_name == "txt2img" else artifact()))
        assert server.wait_running(stage_name)
        with returns_before_any_answer(server):
            seen.subscription.dispose()
        assert server.wait_idle()
        backend.close()
        before = len(seen.values)

        assert [hit.job.stage for hit in server.interrupts] == [stage_name]
        assert not seen.completed
        assert seen.error is None
        assert len(seen.values) == before
        assert not seen.of(Output)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("nowebui", [False, True])
def test_disposing_while_ours_waits_never_hits_the_other_client(nowebui, backend_for):
    """Ours is interrupted when its turn comes; the other picture is whole."""
    with WebUIServer(latency_s=0.02, nowebui=nowebui) as server:
        others, ours = backend_for(server), backend_for(server, grace_s=0.1)
        hold = server.hold("txt2img", 10)
        theirs = Watched(others.render(stage_of(TXT2IMG, seed=1), None))
        assert hold.wait_reached()
        mine = Watched(ours.render(stage_of(TXT2IMG, seed=2), None))
        assert server.wait_queued(1)
        mine.subscription.dispose()
        settled = Watched(ours.wait_idle())
        assert not settled.wait_for(lambda it: it.completed, 0.3)
        server.setup.latency_s["txt2img"] = 30.0
        hold.release()
        assert theirs.output.seed == 1
        assert server.wait_for(lambda: len(server.interrupts) == 1)
        assert settled.wait_for(lambda it: it.completed)

        assert [(job.outcome, hit.job is job) for job, hit in zip(server.jobs[1:], server.interrupts, strict=True)] == [
            ("interrupted", True)
        ]
        assert server.jobs[0].outcome == "done"


def test_disposing_before_the_request_is_out_sends_nothing(webui_server, backend_for):
    """Cancel before the start makes no call."""
    backend = backend_for(webui_server)
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    seen.subscription.dispose()
    assert not seen.wait_for(lambda it: it.values or it.error, 0.1)
    webui_server.wait_idle()

    assert all(job.outcome in {"interrupted", "done"} for job in webui_server.jobs)
    assert len(webui_server.jobs) <= 1


def test_disposing_after_the_answer_interrupts_no_job(webui_server, backend_for):
    """The next job on the server would be another client's."""
    seen = Watched(backend_for(webui_server).render(stage_of(TXT2IMG), None))
    assert seen.output
    seen.subscription.dispose()

    assert webui_server.interrupts == ()


def test_a_dead_server_gives_the_thread_back_within_the_grace(backend_for):
    """The socket is shut down; disposing itself takes no time."""
    with WebUIServer() as server:
        backend = backend_for(server, grace_s=1.0)
        hold = server.hold("txt2img")
        seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert hold.wait_reached()
        server.freeze()
        begin = time.monotonic()
        seen.subscription.dispose()
        disposed_s = time.monotonic() - begin
        backend.close()
        closed_s = time.monotonic() - begin
        server.thaw()

    assert disposed_s < 1.0, "it waited for the grace"
    assert closed_s < 10.0, "it waited for the server, which never answers"


def test_settling_waits_until_the_interrupted_job_is_gone(backend_for):
    """Nothing is sent again into the queue behind it."""
    with WebUIServer(latency_s=0.0) as server:
        backend = backend_for(server, grace_s=0.05)
        server.fault("txt2img", Fault.STUCK.but(fraction=0.0))
        seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert server.wait_running("txt2img")
        seen.subscription.dispose()
        settled = Watched(backend.wait_idle())
        assert not settled.wait_for(lambda it: it.completed, 0.4)
        server.unstick()
        assert settled.wait_for(lambda it: it.completed)

        assert server.idle
        assert len(server.interrupts) == 1


def test_settling_has_a_deadline(backend_for):
    """A server that is stuck for good ends the stage instead of collecting requests."""
    with WebUIServer(latency_s=0.0) as server:
        backend = backend_for(server, grace_s=0.05, idle_timeout_s=0.3)
        server.fault("txt2img", Fault.STUCK.but(fraction=0.0))
        seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert server.wait_running("txt2img")
        seen.subscription.dispose()
        with pytest.raises(rxp.BackendUnavailable, match="not seen idle within"):
            Watched(backend.wait_idle()).output  # noqa: B018  the error is what is looked for
        server.unstick()


def test_settling_with_nothing_in_hand_completes_at_once(webui_server, backend_for):
    """Nothing was stopped."""
    settled = Watched(backend_for(webui_server).wait_idle())

    assert settled.wait_for(lambda it: it.completed)
    assert webui_server.calls == ()


def test_two_drawings_may_wait_in_the_servers_queue(backend_for):
    """`queue_ahead=1`: the second one is interrupted when its turn comes, control is back immediately."""
    with WebUIServer(latency_s=30.0) as server:
        backend = backend_for(server, queue_ahead=1, grace_s=GRACE_S)
        first = Watched(backend.render(stage_of(TXT2IMG, seed=1), None))
        assert server.wait_running("txt2img")
        second = Watched(backend.render(stage_of(TXT2IMG, seed=2), None))
        assert server.wait_queued(1)
        with returns_before_any_answer(server):
            first.subscription.dispose()
            second.subscription.dispose()
        assert server.wait_for(lambda: len(server.interrupts) == 2)
        assert server.wait_idle()

        assert [job.outcome for job in server.jobs] == ["interrupted", "interrupted"]
        assert backend.queue_ahead == 1


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_gives_back_every_thread(backend_for):
    """The one that waits for an answer too; harmless twice."""
    before = set(threading.enumerate())
    with WebUIServer() as server:
        backend = backend_for(server)
        drawn(backend, stage_of(TXT2IMG))
        hold = server.hold("txt2img")
        seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert hold.wait_reached()
        backend.close()
        backend.close()
        with pytest.raises(rxp.BackendUnavailable, match="aborted"):
            _ = seen.output
    for thread in set(threading.enumerate()) - before:
        thread.join(5)

    assert not [thread.name for thread in set(threading.enumerate()) - before if thread.is_alive()]


def test_a_closed_backend_says_so(webui_server, backend_for):
    """Instead of waiting for a thread that is gone."""
    backend = backend_for(webui_server)
    backend.close()
    with pytest.raises(rxp.BackendRejected, match="was closed"):
        drawn(backend, stage_of(TXT2IMG))


# -- checking a plan --------------------------------------------------------------------------------------------------


def plan(**sections):
    """A plan of these sections."""
    return build_stage_execution_plan(rxp.PipelineConfig(**sections))


@both
def test_a_good_plan_is_checked_without_drawing(webui_server, backend_for):
    """Only what it needs is asked for."""
    sections = {"txt2img": rxp.Txt2ImgConfig(sampler_name="Euler a"), "adetailer": FACE, "upscale": rxp.UpscaleConfig()}

    assert backend_for(webui_server).check(plan(**sections)) == ()
    assert webui_server.jobs == ()
    assert not webui_server.calls_to("sd-models")


@both
def test_every_unknown_name_is_reported_with_the_nearest(webui_server, backend_for):
    """All of them together, each with its field."""
    sections = {
        "txt2img": rxp.Txt2ImgConfig(sampler_name="Eulr a", scheduler="Keras", model="tiny-sd51"),
        "adetailer": rxp.AdetailerConfig(detector="mediapipe_face_fill"),
        "upscale": rxp.UpscaleConfig(upscaler="Lancsoz"),
    }
    with pytest.raises(rxp.BackendRejected) as caught:
        backend_for(webui_server).check(plan(**sections))

    lines = caught.value.message.splitlines()
    assert "txt2img.sampler_name: the server has no 'Eulr a'; did you mean 'Euler a'?" in lines
    assert "txt2img.scheduler: the server has no 'Keras'; did you mean 'Karras'?" in lines
    assert "txt2img.model: the server has no 'tiny-sd51'; did you mean 'tiny-sd15'?" in lines
    assert "upscale.upscaler: the server has no 'Lancsoz'; did you mean 'Lanczos'?" in lines
    assert all(line.endswith(("?", ".")) for line in lines)  # where a log puts them on one line they stay apart
    assert any("adetailer.detector" in line and "'mediapipe_face_full'" in line for line in lines)


def test_a_missing_extension_is_reported(backend_for):
    """Every call would be a 422."""
    with WebUIServer(adetailer=False) as server, pytest.raises(rxp.BackendRejected, match="lacks the ADetailer"):
        backend_for(server).check(plan(txt2img=TXT2IMG, adetailer=FACE))


def test_a_server_without_its_api_is_reported(backend_for):
    """The commonest mistake on Windows."""
    with WebUIServer(api=False) as server, pytest.raises(rxp.BackendRejected, match="start it with --api"):
        backend_for(server).check(plan(txt2img=TXT2IMG))


def test_no_server_is_reported_before_anything_runs(webui_server, backend_for):
    """With what to start."""
    webui_server.go_down()
    with pytest.raises(rxp.BackendUnavailable, match=r"no server answers at .* --api"):
        backend_for(webui_server).check(plan(txt2img=TXT2IMG))


def test_a_result_too_large_is_refused_before_anything_runs(webui_server, backend_for):
    """As far as the sizes are known beforehand."""
    with pytest.raises(rxp.BackendRejected, match=r"2048x2048 px times 8 gives 16384x16384 px"):
        backend_for(webui_server).check(
            plan(txt2img=rxp.Txt2ImgConfig(width=2048, height=2048), upscale=rxp.UpscaleConfig(scale=8))
        )


@pytest.mark.parametrize(
    "section",
    [
        rxp.Txt2ImgConfig(sampler_name="DPM++ 2M Karras"),
        rxp.Txt2ImgConfig(hires=rxp.HiresConfig(upscaler="Latent")),
        rxp.Txt2ImgConfig(model="tiny-sd15.safetensors [f6d99fa539]"),
        rxp.Txt2ImgConfig(vae="Automatic"),
    ],
)
def test_names_that_no_list_holds_but_every_server_takes_are_let_through(section, webui_server, backend_for):
    """Old names with the scheduler in them, latent upscalers, titles."""
    assert backend_for(webui_server).check(plan(txt2img=section)) == ()
