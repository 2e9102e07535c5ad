"""RunStatus: what a person sees of a run; it never goes back, never says 100 % too early, and reads well."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timelines import NAMES, OUT_OF_MEMORY, TimelineBuilder, timelines, whole_run

import rxpipe as rxp
from rxpipe.backends.pool import PoolBackend
from rxpipe.estimate import Past
from rxpipe.events import ErrorInfo, RunStart
from rxpipe.status import ImageStatus, RunStatus, StageStatus, reduce_status
from rxpipe.testing import ScriptedBackend


def status_of(events, status=None):
    """Return the status after *events*."""
    for event in events:
        status = reduce_status(status or RunStatus(), event)
    return status or RunStatus()


def statuses(events):
    """Return the status after every event."""
    return list(itertools.accumulate(events, reduce_status, initial=RunStatus()))


# -- laws -------------------------------------------------------------------------------------------------------------


@given(timelines())
def test_the_fraction_never_falls_and_is_one_only_at_completion(drawn):
    """Statement 36, over any run; no stage ever falls either, and an estimate is never negative."""
    shown = statuses(drawn.events)
    for before, after in itertools.pairwise(shown):
        assert 0 <= before.fraction <= after.fraction <= 1
        assert all(a.fraction <= b.fraction for a, b in zip(before.stages, after.stages, strict=False))
        assert after.eta_s is None or after.eta_s >= 0
    for status in shown:
        assert (status.fraction == 1.0) == (status.state == "completed")
        assert (status.percent_text == "100 %") == (status.state == "completed")
        assert 0 <= status.stage_number <= status.stage_count
        assert status.image_index is None or status.image_index >= 1
        images = [image for stage in status.stages for image in stage.in_progress.values()]
        assert all(0 <= done.fraction <= 1 for done in (*status.stages, *images))
    assert shown[-1].state == drawn.events[-1].status
    assert not shown[-1].active


def test_the_images_in_progress_add_up():
    """Two images at half of four are a quarter of the stage; one that finishes takes only its own share along."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=4)
    builder.start(0, 4)
    builder.step(0, 1, 0.5)
    builder.step(0, 2, 0.5)
    assert status_of(builder.events).stages[0].fraction == 0.25
    builder.image(0, 2)
    stage = status_of(builder.events).stages[0]
    assert (stage.in_progress, stage.fraction) == ({1: ImageStatus(0.5, number=1)}, (1 + 0.5) / 4)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", ["stage", "image"])
@pytest.mark.parametrize("capacity", [(1, 0, 30), (1, 1, 30), (4, 0, 30), (8, 0, 30), (4, 4, 15)])
@pytest.mark.parametrize("unlike", [False, True])
def test_an_estimate_is_within_a_quarter_from_the_first_third_on(marbles, order, capacity, unlike):
    """One slot, four, eight; like and unlike stages; in a first run too, where there is one; at the end of instants."""
    slots, queue_ahead, per_slot = capacity
    scripts = {"txt2img": "--s--s--s--so|", "upscale": "-s-so|" if unlike else "--s--s--s--so|"}
    job = rxp.chain(rxp.txt2img(prompt="a", images=per_slot * slots), rxp.upscale(), order=order)
    run = marbles.run(job, ScriptedBackend(marbles, scripts, capacity=slots, queue_ahead=queue_ahead))
    events = run.events.accept().values
    few = per_slot < 30  # a stage's time counts for more, and of the short ones 40 % come after the last step
    check_estimates(events, status_of(events), least=30 if few else 50, floor_s=0.013 if few else 0.0)
    check_estimates(events, RunStatus(), least=10 if few else 20, floor_s=0.013 if few else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("order", ["stage", "image"])
def test_an_estimate_is_within_a_quarter_with_members_of_unlike_speed(marbles, order):
    """Three of a pool, one of them more than twice as slow; so many images that its last one is no tenth of the run."""
    texts = ["--s--s--s--so|", "--s--s--s--so|", "--------s--------s--------s--------so|"]
    pool = PoolBackend([ScriptedBackend(marbles, {"txt2img": text, "upscale": text}) for text in texts])
    job = rxp.chain(rxp.txt2img(prompt="a", images=240), rxp.upscale(), order=order, out=None)
    run = rxp.PipelineExecutor(pool, scheduler=marbles.clock).start(job)
    marbles.run()
    check_estimates(run.result.events, status_of(run.result.events))


def check_estimates(events, before, *, least=50, floor_s=0.0):
    """From the first third of a run after *before* on, until its last tenth; of more than so many moments."""
    status, seen = before, {}
    for event in events:
        status = reduce_status(status, event)
        seen[(events[-1].timestamp - event.timestamp).total_seconds()] = status.eta_s
    total_s = max(seen)
    judged = {left_s: eta_s for left_s, eta_s in seen.items() if 0.1 * total_s < left_s <= total_s * 2 / 3}
    if before == RunStatus():  # a stage that was never drawn has no estimate
        judged = {left_s: eta_s for left_s, eta_s in judged.items() if eta_s is not None}
    assert len(judged) > least
    for left_s, eta_s in judged.items():
        assert eta_s == pytest.approx(left_s, rel=0.25, abs=floor_s)


def without_durations(status):
    stages = tuple(replace(stage, worked_s=0.0) for stage in status.stages)  # it depends on how many slots are known
    return replace(status, past=Past(), eta_s=None, stages=stages)


@given(timelines(), timelines())
def test_a_second_run_begins_anew(first, second):
    """Nothing of the first is left but what was learnt about durations."""
    after = status_of(second.events, status_of(first.events))
    alone = status_of(second.events)
    assert without_durations(after) == without_durations(alone)
    begun = reduce_status(status_of(first.events), second.events[0])
    assert (begun.fraction, begun.state, begun.percent_text, begun.eta_text) == (0.0, "running", "0 %", "")


@given(timelines())
def test_it_is_pure(drawn):
    """The same events, the same status; an older one stays what it was."""
    shown = statuses(drawn.events)
    kept = [repr(status) for status in shown]
    assert statuses(drawn.events) == shown
    assert [repr(status) for status in shown] == kept


@given(timelines(), st.integers(0, 30))
def test_who_comes_late_is_not_hurt(drawn, start):
    """Events of a run whose beginning was missed raise nothing; its end is still shown."""
    status = status_of(drawn.events[start:])
    if start < len(drawn.events):
        assert status.state == drawn.events[-1].status


# -- words ------------------------------------------------------------------------------------------------------------


def test_idle_running_completed():
    """Statement 36: the words of a run that goes well."""
    shown = [status.message for status in statuses(whole_run("txt2img", "upscale", images=1))]
    assert [message for message, _ in itertools.groupby(shown)] == [
        "Idle", "Starting", "Running txt2img", "Running upscale", "Completed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        ("completed", None, "Completed"),
        ("partial", OUT_OF_MEMORY, "Partly completed"),
        ("cancelled", None, "Cancelled"),
        ("failed", ErrorInfo(type="E", message="upscale (stage 2 of 2): server gone."),
         "Error: upscale (stage 2 of 2): server gone."),
        ("failed", None, "Error: failed"),
    ],
)  # fmt: skip
def test_the_last_word_of_a_run(status, error, message):
    """Statement 36: Error: msg for a failed one."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.finish(status, error=error)
    assert status_of(builder.events).message == message


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        ("working", "Running txt2img"),
        ("queued", "Running txt2img: waiting in the queue"),
        ("loading", "Running txt2img: loading a model"),
        ("stalled", "Running txt2img: no progress"),
    ],
)
def test_what_the_image_waits_for(phase, message):
    """Until the next step says otherwise."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.step(0, 1, phase=phase)
    assert status_of(builder.events).message == message
    builder.step(0, 1, 0.1)
    assert status_of(builder.events).message == "Running txt2img"


def test_how_many_are_before_the_image_in_the_queue():
    """Where the server tells."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.step(0, 1, phase="queued", ahead=3)
    assert status_of(builder.events).message == "Running txt2img: waiting in the queue, 3 before it"


@pytest.mark.parametrize(
    ("delay_s", "pause"), [(0.0, "now"), (0.2, "in 1 s"), (1.0, "in 1 s"), (1.4, "in 2 s"), (30.0, "in 30 s")]
)
def test_a_retry_is_told_with_its_pause(delay_s, pause):
    """Whole seconds, never "0 s"."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.retry(0, 1, delay_s=delay_s)
    assert status_of(builder.events).message == f"Running txt2img: retrying {pause}"


def test_asked_to_stop_it_says_so_until_the_end():
    """Whatever still comes in between."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    stopping = status_of(builder.events).stopping()
    assert (stopping.state, stopping.message, stopping.active, stopping.eta_text) == ("stopping", "Stopping", True, "")
    after = reduce_status(stopping, builder.step(0, 1, 0.5))
    assert (after.state, after.message, after.eta_text) == ("stopping", "Stopping", "")
    ended = reduce_status(after, builder.finish("cancelled"))
    assert (ended.state, ended.message) == ("cancelled", "Cancelled")


@pytest.mark.parametrize("events", [[], whole_run("txt2img")], ids=["idle", "ended"])
def test_what_does_not_run_cannot_be_stopped(events):
    """It stays what it is."""
    status = status_of(events)
    assert status.stopping() is status


def test_set_idle_clears_everything_but_what_was_learnt():
    """Statement 36: progress and estimate."""
    ended = status_of(whole_run("txt2img", seconds=4.0))
    idle = ended.idle()
    assert (idle.state, idle.message, idle.fraction, idle.eta_text, idle.percent_text) == (
        "idle",
        "Idle",
        0.0,
        "",
        "0 %",
    )
    assert idle == RunStatus(past=Past({"txt2img": 4.0}))


@pytest.mark.parametrize("percent", range(100))
def test_percent_text_says_whole_percents_as_they_are(percent):
    """0.29 is 29 % although 0.29 * 100 is a little less."""
    assert RunStatus(state="running", fraction=percent / 100).percent_text == f"{percent} %"


@pytest.mark.parametrize(("fraction", "text"), [(0.5, "50 %"), (0.999, "99 %"), (0.9999, "99 %"), (1.0, "100 %")])
def test_percent_text_is_never_100_before_the_end(fraction, text):
    """Rounded down."""
    assert RunStatus(fraction=fraction).percent_text == text


@pytest.mark.parametrize(
    ("eta_s", "text"),
    [
        (None, ""),
        (0.0, "ETA: 00:00"),
        (0.6, "ETA: 00:01"),
        (30.0, "ETA: 00:30"),
        (59.6, "ETA: 01:00"),
        (125.0, "ETA: 02:05"),
        (3599.0, "ETA: 59:59"),
        (3600.0, "ETA: 1:00:00"),
        (90061.0, "ETA: 25:01:01"),
    ],
)
def test_eta_text(eta_s, text):
    """Statement 36: 30 s is "ETA: 00:30", unknown is empty; hours where it takes hours."""
    assert RunStatus(state="running", eta_s=eta_s).eta_text == text


def test_no_estimate_is_shown_when_nothing_runs():
    """Even if one were left over."""
    assert RunStatus(state="completed", eta_s=30.0).eta_text == ""


# -- where the run is -------------------------------------------------------------------------------------------------


def test_stage_and_image_in_work():
    """Stage 1.., image 1.. of N, as a person counts."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=2)
    assert (status_of(builder.events).stage, status_of(builder.events).stage_number) == (None, 0)
    builder.start(0)
    here = status_of(builder.events)
    assert (here.stage, here.stage_number, here.stage_count) == ("txt2img", 1, 2)
    assert (here.image_index, here.total_images) == (1, 2)
    builder.image(0, 1)
    assert status_of(builder.events).image_index == 2
    builder.image(0, 2)
    assert status_of(builder.events).image_index == 2
    builder.end(0)
    builder.start(1)
    assert (status_of(builder.events).stage, status_of(builder.events).stage_number) == ("upscale", 2)


def test_the_fraction_counts_stages_images_and_steps_alike():
    """Two stages of two images: an image is a quarter, half an image an eighth."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=2)
    builder.start(0)
    builder.step(0, 1, 0.5)
    assert status_of(builder.events).fraction == pytest.approx(1 / 8)
    builder.image(0, 1)
    assert status_of(builder.events).fraction == pytest.approx(1 / 4)
    builder.image(0, 2)
    builder.end(0)
    assert status_of(builder.events).fraction == pytest.approx(1 / 2)
    builder.start(1)
    builder.step(1, 1, 1.0)
    assert status_of(builder.events).fraction == pytest.approx(3 / 4)


def test_an_image_drawn_is_not_yet_an_image_finished():
    """The last step of the last image is not 100 %: its file is not there."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=1)
    builder.start(0, 1)
    builder.step(0, 1, 1.0)
    assert status_of(builder.events).percent_text == "99 %"
    builder.image(0, 1)
    builder.end(0, done=1)
    assert status_of(builder.events).percent_text == "99 %"
    builder.finish()
    assert status_of(builder.events).percent_text == "100 %"


def test_a_retry_does_not_take_progress_back():
    """The second attempt begins at nought; the bar waits for it."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=1)
    builder.start(0, 1)
    builder.step(0, 1, 0.8)
    builder.retry(0, 1)
    builder.step(0, 1, 0.1)
    assert status_of(builder.events).stages[0].current == 0.8
    builder.image(0, 1)
    assert status_of(builder.events).stages[0].current == 0.0


def test_failed_images_count_as_finished_and_are_counted():
    """The bar goes on; the stage says how many."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.image(0, 1, "failed", error=OUT_OF_MEMORY)
    stage = status_of(builder.events).stages[0]
    assert (stage.finished, stage.failed) == (1, 1)
    assert stage.fraction == 0.5


def test_a_stage_of_unknown_length_shows_nothing_until_it_ends():
    """Behind a filter in image order."""
    builder = TimelineBuilder()
    builder.begin("pick", images=4)
    builder.start(0, None)
    builder.image(0, 1)
    stage = status_of(builder.events)
    assert (stage.total_images, stage.image_index, stage.stages[0].fraction) == (None, 2, 0.0)
    builder.end(0, done=1)
    assert status_of(builder.events).stages[0].fraction == 1.0


def test_stages_that_no_image_reached_are_skipped_in_a_run_that_completed():
    """A filter may leave nothing over; that is no failure."""
    builder = TimelineBuilder()
    builder.begin("pick", "upscale", images=2)
    builder.start(0)
    builder.end(0, done=0, filtered=2)
    builder.finish("completed")
    assert [stage.state for stage in status_of(builder.events).stages] == ["completed", "skipped"]


@pytest.mark.parametrize(
    ("end", "states"), [("failed", ["failed", "skipped"]), ("cancelled", ["cancelled", "skipped"])]
)
def test_stages_that_were_not_reached_are_not_shown_as_done(end, states):
    """Where the run failed or was cancelled."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale")
    builder.start(0)
    builder.fail(0) if end == "failed" else builder.cancel(0, 1)
    builder.finish(end)
    assert [stage.state for stage in status_of(builder.events).stages] == states


def test_warnings_are_counted():
    """How many, over all images."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.image(0, 1, warnings=("a", "b"))
    builder.image(0, 2, warnings=("c",))
    assert status_of(builder.events).warnings == 3


# -- estimates --------------------------------------------------------------------------------------------------------


def test_nothing_is_estimated_before_anything_is_known():
    """No guess from nothing."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    assert status_of(builder.events).eta_s is None
    assert status_of(builder.events).eta_text == ""


def test_a_stage_is_estimated_from_its_own_images():
    """One of two images took 10 s, so 10 s are left; half an image later, 5."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.wait(10)
    builder.image(0, 1)
    assert status_of(builder.events).eta_s == pytest.approx(10)
    builder.wait(5)
    builder.step(0, 2, 0.5)
    assert status_of(builder.events).eta_s == pytest.approx(5)


def test_later_stages_are_estimated_like_in_an_earlier_run_and_not_at_all_before():
    """What an upscale takes cannot be known from txt2img; a second run takes what the first one took."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=1)
    builder.start(0, 1)
    builder.wait(2)
    builder.step(0, 1, 0.5)
    assert status_of(builder.events).eta_s is None
    learnt = status_of(whole_run("txt2img", "upscale", images=1, seconds=10.0))
    assert learnt.past == Past({"txt2img": 10.0, "upscale": 10.0})
    assert status_of(builder.events, learnt).eta_s == pytest.approx(0.5 * (2 + 10) / 1.5 + 10), (
        "both runs weigh one image"
    )
    assert status_of(builder.events[:2], learnt).eta_s == pytest.approx(10 + 10)


@pytest.mark.parametrize("phase", ["queued", "loading"])
def test_waiting_and_loading_are_not_counted_as_work(phase):
    """A minute in the queue says nothing about the next image."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.step(0, 1, phase=phase)
    builder.wait(60)
    builder.step(0, 1, 0.0)
    builder.wait(10)
    builder.image(0, 1)
    assert status_of(builder.events).stages[0].worked_s == pytest.approx(10)


def test_the_pause_before_a_retry_is_not_counted_as_work():
    """Nor does it lengthen the estimate for the images to come."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.wait(1)
    builder.retry(0, 1, delay_s=30.0)
    builder.wait(30)
    builder.step(0, 1, 0.0)
    builder.wait(10)
    builder.image(0, 1)
    assert status_of(builder.events).stages[0].worked_s == pytest.approx(11)


def test_a_clock_that_goes_back_makes_no_negative_work():
    """Events of two machines."""
    builder = TimelineBuilder()
    builder.begin("txt2img")
    builder.start(0)
    builder.wait(-100)
    builder.image(0, 1)
    assert status_of(builder.events).stages[0].worked_s == 0.0


def test_a_stage_in_parts_knows_its_rate():
    """Seconds of work an image, from whole and part images; what an image has not moved since says nothing."""
    stage = StageStatus("x", finished=1, drawn=1, in_progress={2: ImageStatus(0.5, seen_s=3.0)}, worked_s=3.0)
    assert stage.per_image_s(3.0) == 2.0
    assert replace(stage, worked_s=4.0).per_image_s(4.0) == 2.0
    assert StageStatus("x").per_image_s(0.0) is None


def test_all_four_stages_in_image_order():
    """Stages that overlap: the current one is that of the last event, and nothing falls."""
    builder = TimelineBuilder()
    builder.begin(*NAMES, images=2)
    builder.total = 2
    for image in (1, 2):
        for index in range(4):
            if image == 1:
                builder.start(index)
            builder.wait(1)
            builder.step(index, image, 1.0)
            builder.image(index, image)
            assert status_of(builder.events).stage == NAMES[index]
    fractions = [status.fraction for status in statuses(builder.events)]
    assert fractions == sorted(fractions)


def test_the_first_event_decides_the_run():
    """Its name, its stages and how many images."""
    builder = TimelineBuilder("r9")
    start = builder.begin("txt2img", images=5)
    assert isinstance(start, RunStart)
    status = status_of(builder.events)
    assert (status.run_id, status.images, status.stage_count, status.active) == ("r9", 5, 1, True)


def test_what_an_earlier_attempt_had_finished_says_nothing_about_the_time_that_is_left():
    """It took a moment; the images that are drawn take what they take."""
    clocked = {"run_id": "r", "timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    stage = {"stage_type": "txt2img", "stage_index": 0, "total_images": 20}
    events = [RunStart(**clocked, seq=0, stages=("txt2img",), images=20, config="", attempt=2)]
    events.append(rxp.StageStart(**clocked, **stage, seq=1))
    for index in range(1, 19):
        at = {**clocked, "timestamp": clocked["timestamp"] + timedelta(seconds=10 if index == 18 else 0)}
        resumed = {"resumed": index < 18, "artifact_id": f"r-{index}", "outcome": "done", "image_index": index}
        events.append(rxp.StageImageProgress(**at, **stage, **resumed, seq=index + 1))
    assert status_of(events).eta_s == pytest.approx(20)
