"""Whose job it is that runs and how far ours is, read from what servers say; time and snapshots are given by hand."""

import base64
import json
from pathlib import Path

import pytest
from stages import PICTURE, stage_of

import rxpipe as rxp
from rxpipe.backends.http.connection import Response
from rxpipe.backends.sizes import Size
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.progress import JobTracker, ProgressClient, ServerSnapshot, TaskSnapshot

DATA = Path(__file__).parents[2] / "data" / "webui"


def request_for(section=None):
    """A request of 20 steps, or the one of another section."""
    config = section or rxp.Txt2ImgConfig(steps=20)
    stage = stage_of(config)
    if isinstance(config, rxp.UpscaleConfig):
        return payloads.upscale(config)
    if isinstance(config, rxp.AdetailerConfig):
        return payloads.adetailer(stage, config, Size(64, 64))
    if isinstance(config, rxp.Img2ImgConfig):
        return payloads.img2img(stage, config, Size(64, 64))
    return payloads.txt2img(stage, config)


def server(progress=0.01, job="scripts_txt2img", *, count=1, stamp="1", step=0, steps=20, image=None):
    """A global snapshot."""
    state = {
        "job": job,
        "job_count": count,
        "job_timestamp": stamp,
        "sampling_step": step,
        "sampling_steps": steps,
    }
    return ServerSnapshot.model_validate({"progress": progress, "state": state, "current_image": image})


IDLE = server(0.0, "", count=0)


def task(progress=None, *, active=True, queued=False, completed=False, preview=None, preview_id=-1):
    """A snapshot of our own task."""
    return TaskSnapshot(
        active=active,
        queued=queued,
        completed=completed,
        progress=progress,
        live_preview=preview,
        id_live_preview=preview_id,
    )


def seen(tracker, *snapshots, every_s=1.0):
    """Return the progress for each snapshot, one every second."""
    return [tracker.observe(snapshot, every_s * index)[0] for index, snapshot in enumerate(snapshots)]


def test_a_task_waits_loads_works_and_is_done():
    """Its phases, and a fraction that only says what was counted."""
    emitted = seen(
        JobTracker(request_for()),
        task(active=False, queued=True),
        task(0.0),
        task(0.25),
        task(0.5),
        task(active=False, completed=True),
    )

    assert [one.phase for one in emitted] == ["queued", "loading", "working", "working", "working"]
    assert [one.fraction for one in emitted] == [None, None, 0.25, 0.5, 0.5]
    assert [one.step for one in emitted[2:4]] == [6, 11]
    assert emitted[2].steps == 20


def test_the_estimate_counts_neither_queue_nor_loading():
    """Half was done in the two seconds since the first step, so two are left."""
    queued = [task(active=False, queued=True)] * 60 + [task(0.0)] * 60
    emitted = seen(JobTracker(request_for()), *queued, task(0.0001), task(0.25), task(0.5))

    assert [one.eta_s for one in emitted[:121]] == [None] * 121
    assert emitted[-1].eta_s == pytest.approx(2.0, abs=0.01)


def test_no_step_for_long_is_stalled_and_a_step_ends_it():
    """A state of its own, not an error."""
    emitted = seen(JobTracker(request_for(), stalled_s=3), task(0.2), *[task(0.2)] * 4, task(0.3))

    assert [one.phase for one in emitted] == ["working", "working", "working", "stalled", "stalled", "working"]


def test_waiting_in_the_queue_is_a_sign_of_life():
    """However long the others take: the server knows our job."""
    tracker = JobTracker(request_for())
    seen(tracker, *[task(active=False, queued=True)] * 100)

    assert tracker.silent_s(100.0) == 1.0


def test_loading_a_model_may_take_as_long_as_it_likes():
    """It is not stalled: nothing has begun yet."""
    emitted = seen(JobTracker(request_for(), stalled_s=3), *[task(0.0)] * 10)

    assert {one.phase for one in emitted} == {"loading"}


def test_the_fraction_never_falls():
    """A script that adds jobs makes the server's fall."""
    emitted = seen(JobTracker(request_for()), task(0.3), task(0.6), task(0.4), task(0.7))

    assert [one.fraction for one in emitted] == [0.3, 0.6, 0.6, 0.7]


def test_adetailers_thrown_away_pass_is_not_progress():
    """It says 1.0 before anything of worth was done, and then falls to a half."""
    emitted = seen(JobTracker(request_for(rxp.AdetailerConfig())), task(1.0), task(0.5), task(0.75))

    assert [one.phase for one in emitted] == ["loading", "working", "working"]
    assert [one.fraction for one in emitted] == [None, 0.5, 0.75]


def test_img2img_counts_the_steps_that_are_really_run():
    """20 steps at a strength of 0.5 are 11."""
    emitted = seen(JobTracker(request_for(rxp.Img2ImgConfig(steps=20, denoising_strength=0.5))), task(0.5))

    assert (emitted[0].step, emitted[0].steps) == (6, 11)


def test_an_upscale_tells_no_fraction():
    """It says 1.0 from the start."""
    emitted = seen(JobTracker(request_for(rxp.UpscaleConfig())), server(1.0, "Upscale"))

    assert (emitted[0].fraction, emitted[0].phase) == (None, "working")


def test_a_preview_comes_once():
    """The server repeats it until it has another."""
    tracker, text = JobTracker(request_for()), "data:image/png;base64," + base64.b64encode(PICTURE).decode()
    came = [tracker.observe(snapshot, 0.0)[1] for snapshot in (task(0.1, preview=text, preview_id=1), task(0.2))]

    assert came == [PICTURE, None]
    assert tracker.preview_id == -1
    assert tracker.observe(server(0.3, step=5, image="no base64!"), 0.0)[1] is None


# -- global progress: ours, another client's, leftovers ---------------------------------------------------------------


def owners(tracker, *snapshots):
    """Return who runs, snapshot by snapshot."""
    return [tracker.owner_of(snapshot) for snapshot in snapshots]


def test_after_idle_the_next_job_of_our_kind_is_ours():
    """As far as that can be recognised."""
    tracker = JobTracker(request_for(), baseline=IDLE)

    assert owners(tracker, IDLE, server(), server(0.1, step=2)) == ["none", "ours", "ours"]


def test_the_job_that_ran_before_ours_was_sent_is_another_clients():
    """By its timestamp, until another begins."""
    tracker = JobTracker(request_for(), baseline=server(0.4, stamp="1", step=8))

    assert owners(tracker, server(0.5, stamp="1", step=10), server(0.01, stamp="2")) == ["waiting", "ours"]


def test_a_job_that_begins_in_the_same_second_is_recognised_by_its_fallen_progress():
    """Timestamps have whole seconds."""
    tracker = JobTracker(request_for(), baseline=server(0.9, stamp="1", step=18))

    assert owners(tracker, server(0.95, stamp="1", step=19), server(0.01, stamp="1")) == ["waiting", "ours"]


@pytest.mark.parametrize(
    "snapshot",
    [
        server(0.5, "scripts_img2img", step=5),
        server(1.0, "Upscale"),
        server(0.5, "task(abc123)", step=5),
        server(0.5, "Batch 1 out of 2", step=5),
        server(0.5, step=5, steps=35),
    ],
)
def test_jobs_of_another_kind_are_never_ours(snapshot):
    """Another stage, a job of the server's page, more batches than we ask for, another number of steps."""
    assert JobTracker(request_for(), baseline=IDLE).owner_of(snapshot) == "other"


def test_the_last_jobs_step_count_is_still_shown_at_the_start():
    """It says nothing before the first step."""
    assert JobTracker(request_for(), baseline=IDLE).owner_of(server(0.01, count=-1, step=0, steps=35)) == "ours"


def test_a_failed_upscales_leftover_is_not_our_upscale():
    """The idle server goes on reporting it until the next job."""
    left = ServerSnapshot.model_validate(
        json.loads((DATA / "forge" / "92-progress-after-failed-upscale.json").read_bytes())["response"]["json"]
    )
    tracker = JobTracker(request_for(rxp.UpscaleConfig()), baseline=left)
    ours = left.model_copy(update={"state": left.state.model_copy(update={"job_timestamp": "later"})})

    assert owners(tracker, left, left, ours) == ["waiting", "waiting", "ours"]


def test_another_clients_progress_is_never_shown_as_ours():
    """Only the phase says that we wait."""
    tracker = JobTracker(request_for(), baseline=server(0.4, stamp="1", step=8))
    emitted = seen(tracker, server(0.7, stamp="1", step=14), server(0.01, stamp="2"), server(0.11, stamp="2", step=2))

    assert [one.phase for one in emitted] == ["queued", "loading", "working"]
    assert [one.fraction for one in emitted] == [None, None, pytest.approx(0.1)]


@pytest.mark.parametrize(("document", "per_task"), [(b'{"force_task_id": {}}', True), (b"{}", False), (None, False)])
def test_per_task_progress_needs_a_server_that_lets_us_choose_the_id(document, per_task):
    """Older ones have the page's progress, and would never know our job."""

    class Canned:
        def post(self, _path, _body, **_):
            return Response(200, b'{"active": false}', 0.0)

        def get(self, _path, **_):
            if document is None:
                raise rxp.BackendRejected("answered 404")
            return Response(200, document, 0.0)

    assert ProgressClient().probe(Canned(), timeout_s=1) is per_task


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.parametrize(
    ("name", "job_count"),
    [("11-progress-idle", 0), ("60-progress-mid-job-no-image", 1), ("61-progress-mid-job-image", 1)],
)
def test_recorded_readings_are_read(flavour, name, job_count):
    """Of both servers."""
    exchange = json.loads((DATA / flavour / f"{name}.json").read_bytes())

    assert ServerSnapshot.model_validate(exchange["response"]["json"]).state.job_count == job_count
