"""Whole runs over real HTTP: four stages with files and seeds right, every fault, cancel at any moment."""

import base64
import functools
import inspect
import random
import threading
from datetime import datetime, timedelta

import pytest
from stages import GRACE_S, returns_before_any_answer
from webui_runs import IMAGES, STAGES, cancel_at, config, meet

import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import png
from rxpipe.status import RunStatus, reduce_status
from rxpipe.testing.servers.webui import Fault, WebUIServer
from rxpipe.views.report.bars import attempts_of

HEALS = {
    *("REFUSED", "RESET", "RESET_MID_BODY", "SHORT_BODY", "NEVER", "HTML_PAGE", "TOO_MANY_REQUESTS"),
    *("BAD_GATEWAY", "UNAVAILABLE", "GATEWAY_TIMEOUT", "SLOW", "SLOW_DRIP", "DIES", "BYTE_BY_BYTE"),
}
HEALS_ONCE = {
    *("TRUNCATED_JSON", "EMPTY_BODY", "BAD_BASE64", "NOT_AN_IMAGE", "FLIPPED_BYTE", "CUT_PNG", "NO_IMAGES"),
    *("FEWER_IMAGES", "OUT_OF_MEMORY", "GENERIC", "ENDLESS_BODY", "GZIP_BOMB"),
}
COSTS_THE_RUN = {"UNAUTHORIZED", "NO_API", "UNPROCESSABLE", "STUCK"}
TYPES = {
    "BackendUnavailable": {
        *("REFUSED", "RESET", "RESET_MID_BODY", "SHORT_BODY", "HTML_PAGE", "TOO_MANY_REQUESTS"),
        *("BAD_GATEWAY", "UNAVAILABLE", "GATEWAY_TIMEOUT", "DIES"),
    },
    "BackendTimeout": {"NEVER", "SLOW", "STUCK", "BYTE_BY_BYTE", "SLOW_DRIP"},  # the last on a busy machine
    "BackendRejected": {"UNAUTHORIZED", "NO_API", "UNPROCESSABLE"},
    "BackendFailed": {"OUT_OF_MEMORY", "NAN", "BAD_INPUT", "GENERIC"},
    "BadResponse": {
        *("TRUNCATED_JSON", "EMPTY_BODY", "BAD_BASE64", "NOT_AN_IMAGE", "FLIPPED_BYTE", "CUT_PNG"),
        *("NO_IMAGES", "FEWER_IMAGES", "ENDLESS_BODY", "GZIP_BOMB"),
    },
}


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.slow
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
        assert [call.method for call in server.calls_to("options")] == ["GET"], "the settings are read and not written"
    assert result.status == "completed"
    assert [event.seq for event in result.events] == list(range(len(result.events)))
    assert [event.stage_type for event in result.events if event.kind == "stage_start"] == list(STAGES)
    for stage in STAGES:
        reported = [e for e in result.events if e.kind == "stage_image_progress" and e.stage_type == stage]
        assert [(e.image_index, e.total_images, e.seed) for e in reported] == [(i, 8, 99 + i) for i in range(1, 9)]
        assert all(png.check(e.path.read_bytes()).width == (128 if stage == "upscale" else 64) for e in reported)
    assert len(list(tmp_path.rglob("*.png"))) == 32


ONE_OF_EACH_KIND = {"RESET_MID_BODY", "NEVER", "UNAUTHORIZED", "OUT_OF_MEMORY", "CUT_PNG", "NAN", "UNAVAILABLE"}
FAULTS = [
    pytest.param(fault, id=fault.name, marks=[] if fault.name in ONE_OF_EACH_KIND else pytest.mark.slow)
    for fault in (*Fault.every(), *Fault.without_end())
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.sampled(4)
def test_a_fault_heals_or_costs_its_own_image_and_nothing_else(fault):
    """The fault table: the second txt2img request of a run of three images."""
    row = meet(fault)

    if fault.name in HEALS | HEALS_ONCE:
        assert (row.status, row.kept, row.files) == ("completed", IMAGES, IMAGES * len(STAGES))
        assert row.retries == 1 or fault.name in HEALS
    elif fault.name in COSTS_THE_RUN:
        assert (row.status, row.files) == ("failed", 1), "the picture made before it is kept"
    else:
        assert (row.status, row.kept, row.retries) == ("partial", IMAGES - 1, 0), "trying again cannot heal it"
    assert row.posts <= IMAGES * len(STAGES) + row.retries
    assert row.seconds < 5
    kind = row.error.partition(":")[0]
    assert fault.name in TYPES.get(kind, {"SLOW_DRIP"}), row.error


STAYS_ONE = [
    pytest.param(fault, id=fault.name, marks=[] if fault.name in ONE_OF_EACH_KIND else pytest.mark.slow)
    for fault in Fault.every()
    if fault.name in HEALS_ONCE or (fault.kind == "instead" and fault.status in {429, 502, 503, 504})
]


@pytest.mark.parametrize("fault", STAYS_ONE)
@pytest.mark.sampled(1)
def test_a_fault_that_stays_with_one_image_costs_that_image_alone(fault):
    """What can heal by itself is repeated once, a busy server is asked as often as the settings say, and no more."""
    row = meet(fault, on_call=range(2, 2 + (2 if fault.name in HEALS_ONCE else 3)))

    assert (row.status, row.kept) == ("partial", IMAGES - 1)
    assert row.retries == (1 if fault.name in HEALS_ONCE else 2)


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.OUT_OF_MEMORY])
def test_a_fault_that_stays_for_ever_ends_the_run_after_so_many_images(fault):
    """Three images in a row, each with its own attempts; nothing is asked for afterwards."""
    row = meet(fault, on_call=1, times=None)

    assert (row.status, row.kept) == ("failed", 0)
    assert row.posts == IMAGES * (2 if fault.name in HEALS_ONCE else 3)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("stage", STAGES[1:])
@pytest.mark.parametrize(
    "fault", [Fault.RESET_MID_BODY, Fault.OUT_OF_MEMORY, Fault.CUT_PNG, Fault.NAN, Fault.UNAUTHORIZED]
)
def test_later_stages_lose_no_more_than_the_first(stage, fault):
    """Adetailer passes the picture on where it cannot be mended; the others lose their one image."""
    row = meet(fault, stage, flavour="a1111")

    if fault is not Fault.NAN and fault is not Fault.UNAUTHORIZED:
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


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "fault", [Fault.RESET, Fault.OUT_OF_MEMORY, Fault.DIES, Fault.CUT_PNG, Fault.NAN, Fault.UNAVAILABLE]
)
def test_with_queue_ahead_a_fault_costs_no_more(fault):
    """The neighbour in the queue goes on, or is drawn again."""
    retry = rxp.RetryConfig(first_delay_s=0.15, jitter=0.0)
    with WebUIServer(latency_s=0.02) as server, WebUIBackend(server.url, queue_ahead=1) as backend:
        server.fault("img2img", fault.but(retry_after_s=0, back_after_s=0.1), on_call=2)
        result = rxp.PipelineRunner(backend).run(ahead_chain(4, retry=retry))

    kept = sum(variant.outcome == "done" for variant in result.variants)
    assert kept == (3 if fault is Fault.NAN else 4)


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


def test_a_clock_that_jumps_changes_no_duration_and_ends_no_render(monkeypatch):
    """400 days forward in the middle of a render, by a correction of the date; the timestamps follow it."""
    jumped = threading.Event()

    class Jumping(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(days=400 * jumped.is_set())

    monkeypatch.setattr("rxpipe.rx.worker.datetime", Jumping)
    with WebUIServer(latency_s=0.0) as server, WebUIBackend(server.url, poll_s=0.02, silence_s=5.0) as backend:
        hold = server.hold("img2img", 5)
        run = rxp.PipelineExecutor(backend).start(ahead_chain(1))
        assert hold.wait_reached()
        jumped.set()
        polls = len(server.calls_to("progress"))
        assert server.wait_for(lambda: len(server.calls_to("progress")) > polls + 5)
        hold.release()
        assert run.wait(20)
    assert run.result.status == "completed"
    assert max(run.result.durations.values()) < 20
    first, *_, last = run.result.events
    assert (last.timestamp - first.timestamp).days >= 400
    assert 0 < last.elapsed_s < 60
    assert max(stage.worked_s for stage in functools.reduce(reduce_status, run.result.events, RunStatus()).stages) < 60
    (attempt,) = attempts_of(run.result.events)
    assert attempt.length_s == last.elapsed_s
    assert all(0 <= bar.begin_s <= bar.end_s <= attempt.length_s for bar in attempt.bars)


def test_a_clock_that_is_set_back_makes_no_time_negative(monkeypatch):
    """An hour, in the middle of a run; what took time took that time."""
    back = threading.Event()

    class SetBack(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) - timedelta(hours=back.is_set())

    monkeypatch.setattr("rxpipe.rx.worker.datetime", SetBack)
    with WebUIServer(latency_s=0.0) as server, WebUIBackend(server.url, poll_s=0.02) as backend:
        hold = server.hold("img2img", 5)
        run = rxp.PipelineExecutor(backend).start(ahead_chain(1))
        assert hold.wait_reached()
        back.set()
        hold.release()
        assert run.wait(30)
    events = run.result.events
    assert [event.timestamp for event in events] == sorted(event.timestamp for event in events)
    assert [event.elapsed_s for event in events] == sorted(event.elapsed_s for event in events)
    (attempt,) = attempts_of(events)
    assert attempt.length_s == events[-1].elapsed_s > 0
    assert min(bar.length_s for bar in attempt.bars) > 0


def test_a_server_that_answers_no_question_is_reported_before_silence_is(tmp_path):
    """It takes requests and answers none, not even how far it is; half an hour of silence is for those that answer."""
    retry = rxp.RetryConfig(attempts=1)
    with WebUIServer(latency_s=0.0) as server:
        backend = WebUIBackend(server.url, poll_s=0.02, ask_timeout_s=0.1, unanswered_s=0.3, idle_timeout_s=0.2)
        server.hold("txt2img", 2)
        run = rxp.PipelineExecutor(backend).start(
            rxp.chain(rxp.txt2img(width=64, height=64), out=tmp_path, retry=retry)
        )
        assert server.wait_running("txt2img")
        server.freeze()
        assert run.wait(10)
        backend.close()
    assert run.result.error.type == "BackendTimeout"
    assert "has answered no question for" in run.result.error.message


def test_a_server_that_takes_the_request_and_says_it_is_idle_is_reported_in_a_minute(tmp_path):
    """By its progress it does not know the job."""
    retry = rxp.RetryConfig(attempts=1)
    with WebUIServer(latency_s=0.0) as server, WebUIBackend(server.url, poll_s=0.02, unknown_job_s=0.3) as backend:
        server.fault("txt2img", Fault.NEVER)
        result = rxp.PipelineRunner(backend).run(rxp.chain(rxp.txt2img(width=64, height=64), out=tmp_path, retry=retry))
    assert "the server does not know the job" in result.records[0].error.message
    defaults = inspect.signature(WebUIBackend).parameters
    assert max(defaults[name].default for name in ("unknown_job_s", "unanswered_s")) <= 180


def hung_run(server, tmp_path, attempts=3, **times):
    """A run of six images whose second one hangs in the server for good, whatever interrupts it."""
    backend = WebUIBackend(server.url, poll_s=0.02, queue_ahead=0, grace_s=0.05, **times)
    server.fault("txt2img", Fault.STUCK, on_call=2)
    retry = rxp.RetryConfig(attempts=attempts, first_delay_s=0.01, jitter=0.0)
    text = rxp.txt2img(images=6, width=64, height=64)
    executor = rxp.PipelineExecutor(backend)
    return backend, executor, rxp.chain(text, out=tmp_path, retry=retry, timeout_s=0.3)


def test_a_call_that_nothing_interrupts_costs_its_image_and_the_others_go_on_once_the_server_is_idle(tmp_path):
    """The limit is of the pictures before it, not the two minutes for a server that has rendered none."""
    with WebUIServer(latency_s=0.0) as server:
        backend, executor, chain = hung_run(server, tmp_path, idle_least_s=0.3, idle_timeout_s=60.0)
        posts_meanwhile = []

        def free(event):
            if event.kind == "stage_image_progress" and event.outcome == "failed":
                posts_meanwhile.append(len(server.calls_to("txt2img")))
                server.unstick()

        executor.events.subscribe(free)
        run = executor.start(chain)
        assert run.wait(20)
        backend.close()
    assert posts_meanwhile == [2], "nothing is sent behind the one that hangs"
    assert [variant.outcome for variant in run.result.variants] == ["done", "failed", "done", "done", "done", "done"]
    [failed] = [record for record in run.result.records if record.error is not None]
    assert "not seen idle within 0.3 s" in str(failed.error)


@pytest.mark.slow
def test_a_server_that_hangs_for_good_ends_the_run_after_three_images(tmp_path):
    """None of which is sent, and each waits no longer than the first."""
    with WebUIServer(latency_s=0.0) as server:
        backend, executor, chain = hung_run(server, tmp_path, idle_least_s=0.2, idle_timeout_s=60.0)
        run = executor.start(chain)
        assert run.wait(20)
        assert len(server.calls_to("txt2img")) == 2
        server.unstick()
        backend.close()
    assert run.result.status == "failed"
    assert "3 images failed in a row" in run.result.error.message
    assert "not seen idle" in run.result.error.message


def test_after_the_last_attempt_too_nothing_is_sent_before_the_server_is_idle(tmp_path):
    """Without retries the next image waits as a retry would."""
    with WebUIServer(latency_s=0.0) as server:
        backend, executor, chain = hung_run(server, tmp_path, attempts=1, idle_timeout_s=0.5)
        run = executor.start(chain)
        assert run.wait(20)
        assert len(server.calls_to("txt2img")) == 2
        server.unstick()
        backend.close()
    assert run.result.status == "failed"
    assert "no picture within 0.3 s" in run.result.error.message
    assert "not seen idle within 0.5 s" in str(run.result.error)


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
