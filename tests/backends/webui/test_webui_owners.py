"""Whose job it is that runs, read from global progress: ours, another client's, or what is left of one."""

import json
from pathlib import Path

import pytest
from readings import IDLE, request_for, seen, server

import rxpipe as rxp
from rxpipe.backends.http.connection import Response
from rxpipe.backends.webui.progress import JobTracker, ProgressClient, ServerSnapshot

DATA = Path(__file__).parents[2] / "data" / "webui"


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
