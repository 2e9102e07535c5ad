"""Whole runs over real HTTP: four stages with files and seeds right, every fault, cancel at any moment."""

import base64
import random

import pytest
from stages import GRACE_S, returns_before_any_answer
from webui_runs import IMAGES, STAGES, cancel_at, config, meet

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import png
from rxpipe.testing.servers.webui import Fault, WebUIServer

HEALS = {
    *("REFUSED", "RESET", "RESET_MID_BODY", "SHORT_BODY", "NEVER", "HTML_PAGE", "TOO_MANY_REQUESTS"),
    *("BAD_GATEWAY", "UNAVAILABLE", "GATEWAY_TIMEOUT", "SLOW", "SLOW_DRIP", "DIES"),
}
COSTS_THE_RUN = {"UNAUTHORIZED", "NO_API", "UNPROCESSABLE", "STUCK"}
TYPES = {
    "BackendUnavailable": {
        *("REFUSED", "RESET", "RESET_MID_BODY", "SHORT_BODY", "HTML_PAGE", "TOO_MANY_REQUESTS"),
        *("BAD_GATEWAY", "UNAVAILABLE", "GATEWAY_TIMEOUT", "DIES"),
    },
    "BackendTimeout": {"NEVER", "SLOW", "STUCK"},
    "BackendRejected": {"UNAUTHORIZED", "NO_API", "UNPROCESSABLE"},
    "BackendFailed": {"OUT_OF_MEMORY", "NAN", "BAD_INPUT", "GENERIC"},
    "BadResponse": {
        *("TRUNCATED_JSON", "EMPTY_BODY", "BAD_BASE64", "NOT_AN_IMAGE", "FLIPPED_BYTE", "CUT_PNG"),
        *("NO_IMAGES", "FEWER_IMAGES"),
    },
}


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
def test_four_stages_and_eight_images_over_real_http(flavour, tmp_path):
    """Files, seeds and timeline are right, and nothing was written to /options."""
    with WebUIServer(flavour, latency_s=0.01) as server:
        backend = WebUIBackend(server.url, poll_s=0.02)
        settings = config(tmp_path)
        settings = settings.model_copy(
            update={"txt2img": settings.txt2img.model_copy(update={"images": 8, "seed": 100})}
        )
        result = rxp.PipelineRunner(backend).run(settings)
        backend.close()

        assert server.max_active_drawings == 1
        assert server.max_in_flight == 2, "one is queued ahead"
        assert not server.calls_to("options")
    assert result.status == "completed"
    assert [event.seq for event in result.events] == list(range(len(result.events)))
    assert [event.stage_type for event in result.events if event.kind == "stage_start"] == list(STAGES)
    for stage in STAGES:
        reported = [e for e in result.events if e.kind == "stage_image_progress" and e.stage_type == stage]
        assert [(e.image_index, e.total_images, e.seed) for e in reported] == [(i, 8, 99 + i) for i in range(1, 9)]
        assert all(png.check(e.path.read_bytes()).width == (128 if stage == "upscale" else 64) for e in reported)
    assert len(list(tmp_path.rglob("*.png"))) == 32


ONE_OF_EACH_KIND = {"RESET_MID_BODY", "NEVER", "UNAUTHORIZED", "OUT_OF_MEMORY", "CUT_PNG"}
FAULTS = [
    pytest.param(fault, id=fault.name, marks=[] if fault.name in ONE_OF_EACH_KIND else pytest.mark.slow)
    for fault in Fault.every()
]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_heals_or_costs_its_own_image_and_nothing_else(fault):
    """The fault table: the second txt2img request of a run of three images."""
    row = meet(fault)

    if fault.name in HEALS:
        assert (row.status, row.kept, row.files) == ("completed", IMAGES, IMAGES * len(STAGES))
    elif fault.name in COSTS_THE_RUN:
        assert (row.status, row.files) == ("failed", 1), "the picture made before it is kept"
    else:
        assert (row.status, row.kept, row.retries) == ("partial", IMAGES - 1, 0), "trying again cannot heal it"
    assert row.posts <= IMAGES * len(STAGES) + row.retries
    assert row.seconds < 5
    kind = row.error.partition(":")[0]
    assert fault.name in TYPES.get(kind, {"SLOW_DRIP"}), row.error


@pytest.mark.parametrize("stage", STAGES[1:])
@pytest.mark.parametrize("fault", [Fault.RESET_MID_BODY, Fault.OUT_OF_MEMORY, Fault.CUT_PNG, Fault.UNAUTHORIZED])
def test_later_stages_lose_no_more_than_the_first(stage, fault):
    """Adetailer passes the picture on where it cannot be mended; the others lose their one image."""
    row = meet(fault, stage, flavour="a1111")

    if fault is Fault.RESET_MID_BODY:
        assert (row.status, row.kept) == ("completed", IMAGES)
    elif fault is Fault.UNAUTHORIZED:
        assert row.status == "failed"
        assert row.files >= IMAGES * STAGES.index(stage)
    elif stage == "adetailer":
        assert row.kept == IMAGES
    else:
        assert (row.status, row.kept) == ("partial", IMAGES - 1)


@pytest.mark.parametrize("count", [1, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize("dead", [False, True])
def test_cancel_at_a_random_moment_gives_control_back_and_leaves_whole_files(dead, count):
    """Within a second, nothing posted afterwards, at most one interrupt a job; the server slow or dead."""
    moments = random.Random(17)  # noqa: S311  moments, not secrets
    for row in (cancel_at(moments.uniform(0.02, 1.3), dead=dead) for _ in range(count)):
        assert row.status == "cancelled"
        assert row.seconds < 1.0
        assert (row.late_posts, row.torn, row.freed) == (0, 0, True)
        assert row.interrupts <= 2


@pytest.mark.parametrize("password", ["right-secret", "wrong-secret"])
def test_credentials_are_in_no_event_result_or_file(password, tmp_path):
    """Whether they are accepted or refused in the middle of a run."""
    with WebUIServer(auth=("me", "right-secret")) as server:
        url = server.url.replace("//", f"//me:{password}@")
        with WebUIBackend(url) as backend:
            result = rxp.PipelineRunner(backend).run(config(tmp_path))

    basic = base64.b64encode(f"me:{password}".encode()).decode()
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    texts = [event.model_dump_json() for event in result.events] + [repr(result), repr(backend), repr(vars(backend))]
    assert result.status == ("completed" if password == "right-secret" else "failed")  # noqa: S105  of the test server
    assert not [text for text in texts if password in text or basic in text]
    assert not [data for data in files if password.encode() in data or basic.encode() in data]


def test_two_checkpoints_in_a_chain_cost_two_switches_in_stage_order():
    """Every request names its model, and no server-wide setting is written."""
    with WebUIServer("forge", latency_s=0.01, switch_s=0.05) as server:
        backend = WebUIBackend(server.url)
        chain = rxp.chain(
            rxp.txt2img(prompt="a lighthouse", images=4, width=64, height=64, model="tiny-sd15"),
            rxp.img2img(model="random-sd15"),
            rxp.adetailer(detector="mediapipe_face_full"),
            rxp.upscale(),
            out=None,
        )
        result = rxp.PipelineRunner(backend).run(chain)
        backend.close()

        assert result.status == "completed"
        assert server.switches == ("tiny-sd15", "random-sd15")


def test_a_timed_out_drawing_is_sent_again_only_after_interrupt_and_idle():
    """A blind second request would stand behind the stuck first one."""
    with WebUIServer(latency_s=0.0) as server:
        server.fault("txt2img", Fault.SLOW)
        backend = WebUIBackend(server.url, poll_s=0.02, grace_s=0.1)
        chain = rxp.chain(
            rxp.txt2img(prompt="a lighthouse", width=64, height=64),
            out=None,
            timeout_s=0.5,
            retry=rxp.RetryConfig(first_delay_s=0.0),
        )
        result = rxp.PipelineRunner(backend).run(chain)
        backend.close()
        first, second = server.jobs

        assert result.status == "completed"
        assert (first.outcome, second.outcome) == ("interrupted", "done")
        assert first.ended_s < second.queued_s
        assert server.max_in_flight == 1


def ahead_chain(images, **settings):
    """Four stages of small pictures."""
    return rxp.chain(
        rxp.txt2img(prompt="a lighthouse", images=images, width=64, height=64, seed=1),
        rxp.img2img(),
        rxp.adetailer(detector="mediapipe_face_full"),
        rxp.upscale(),
        **{"out": None, **settings},
    )


def test_with_queue_ahead_the_next_request_waits_in_the_servers_queue(tmp_path):
    """Two requests in flight, one drawing; the events are in order as ever."""
    with WebUIServer(latency_s=0.05) as server, WebUIBackend(server.url, queue_ahead=1) as backend:
        result = rxp.PipelineRunner(backend).run(ahead_chain(4, out=tmp_path))

        assert result.status == "completed"
        assert (server.max_in_flight, server.max_active_drawings) == (2, 1)
    for stage in STAGES:
        reported = [e for e in result.events if e.kind == "stage_image_progress" and e.stage_type == stage]
        assert [(e.image_index, e.seed) for e in reported] == [(1, 1), (2, 2), (3, 3), (4, 4)]


@pytest.mark.parametrize("stage", ["txt2img", "adetailer", "upscale"])
def test_with_queue_ahead_cancel_interrupts_both_and_no_other(stage):
    """Control is back immediately; the one that waits is interrupted when its turn comes."""
    latency_s = {name: 30.0 if name == stage else 0.0 for name in STAGES}
    with (
        WebUIServer(latency_s=latency_s) as server,
        WebUIBackend(server.url, queue_ahead=1, grace_s=GRACE_S) as backend,
    ):
        run = rxp.PipelineExecutor(backend).start(ahead_chain(4, order="stage"))
        assert server.wait_running(stage)
        assert server.wait_queued(1)
        with returns_before_any_answer(server):
            run.cancel()
            assert run.wait(GRACE_S)
        assert server.wait_for(lambda: len(server.interrupts) == 2)
        assert server.wait_idle()

        assert run.result.status == "cancelled"
        assert [job.outcome for job in server.jobs if job.stage == stage] == ["interrupted", "interrupted"]
        assert [hit.job.stage for hit in server.interrupts] == [stage, stage]


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.OUT_OF_MEMORY, Fault.DIES, Fault.CUT_PNG, Fault.UNAVAILABLE])
def test_with_queue_ahead_a_fault_costs_no_more(fault):
    """The neighbour in the queue goes on, or is drawn again."""
    retry = rxp.RetryConfig(first_delay_s=0.15, jitter=0.0)
    with WebUIServer(latency_s=0.02) as server, WebUIBackend(server.url, queue_ahead=1) as backend:
        server.fault("img2img", fault.but(retry_after_s=0, back_after_s=0.1), on_call=2)
        result = rxp.PipelineRunner(backend).run(ahead_chain(4, retry=retry))

    kept = sum(variant.outcome == "done" for variant in result.variants)
    assert kept == (3 if fault in {Fault.OUT_OF_MEMORY, Fault.CUT_PNG} else 4)


def test_skipping_an_image_interrupts_its_drawing_and_goes_on_with_the_next():
    """The partial picture that the server then returns is discarded."""
    with WebUIServer(latency_s={"txt2img": 0.02}) as server, WebUIBackend(server.url, queue_ahead=0) as backend:
        hold = server.hold("txt2img", 5)
        run = rxp.PipelineExecutor(backend).start(ahead_chain(3))
        assert hold.wait_reached()
        hold.release()
        server.setup.latency_s["txt2img"] = 30.0
        assert server.wait_for(lambda: sum(job.stage == "txt2img" for job in server.jobs) == 2)
        assert server.wait_running("txt2img")
        assert run.skip_image()
        server.setup.latency_s["txt2img"] = 0.02
        assert run.wait(10.0)

        reported = [
            e.outcome for e in run.result.events if e.kind == "stage_image_progress" and e.stage_type == "txt2img"
        ]
        assert reported == ["done", "cancelled", "done"]
        assert len(server.interrupts) == 1


def test_warnings_reach_the_event(tmp_path):
    """A fallback that `check` could not see beforehand."""
    with WebUIServer(latency_s=0.0) as server:
        backend = WebUIBackend(server.url)
        backend.check = lambda _plan: ()
        chain = rxp.chain(rxp.txt2img(sampler_name="Eulr", width=64, height=64), out=tmp_path)
        result = rxp.PipelineRunner(backend).run(chain)
        backend.close()

    reported = [event.warnings for event in result.events if event.kind == "stage_image_progress"]
    assert reported == [("sampler 'DPM++ 2M' was used where 'Eulr' was asked for",)]
