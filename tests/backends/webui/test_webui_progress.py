"""How far our job is, read from what servers report; time and snapshots are given by hand."""

import base64

import pytest
from readings import request_for, seen, server, task
from stages import PICTURE

import rxpipe as rxp
from rxpipe.backends.webui.progress import JobTracker


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


@pytest.mark.parametrize(
    "idle",
    [
        lambda number: server(number / 1000, f"job {number}", count=0, stamp=str(number), step=number),
        lambda number: task(number / 1000, active=False, completed=bool(number % 2), preview_id=number),
    ],
    ids=["server", "task"],
)
def test_what_an_idle_server_shows_is_no_sign_of_life(idle):
    """However much it changes: our request is not being worked on."""
    tracker = JobTracker(request_for())
    seen(tracker, *map(idle, range(100)))

    assert tracker.silent_s(100.0) == 100.0


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
