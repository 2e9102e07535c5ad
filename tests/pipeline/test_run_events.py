"""The events of a run, statements 1 to 12 of the contract, through the public stream and in virtual time."""

from __future__ import annotations

import itertools

import pytest

import rxpipe as rxp
from rxpipe.errors import BackendRejected, BackendUnavailable
from rxpipe.testing import ScriptedBackend

STAGES = ["txt2img", "img2img", "adetailer", "upscale"]


def of(events, kind, stage=None):
    return [e for e in events if isinstance(e, kind) and stage in {None, getattr(e, "stage_type", None)}]


def row_of(events):
    """Kind, stage and index of every lifecycle event."""
    return [
        (e.kind, getattr(e, "stage_type", None), getattr(e, "image_index", None))
        for e in events
        if not isinstance(e, rxp.StageStep)
    ]


def test_each_stage_begins_before_its_first_call_and_ends_once(marbles, full_chain):
    """A stage's row reads start, images, end; its start comes at the instant of its first call."""
    run = marbles.run(full_chain(2), {"txt2img": "--o|", "img2img": "-o|", "adetailer": "-u|", "upscale": "---o|"})
    for stage in STAGES:
        [start] = of(run.events.values, rxp.StageStart, stage)
        assert len(of(run.events.values, rxp.StageEnd, stage)) == 1
        assert start.timestamp.timestamp() * 1_000_000 == run.backend[stage].subscriptions.entries[0].on_us
    run.events.accept()


def test_full_chain_in_stage_order_is_stage_major(marbles, full_chain):
    """Four starts, four ends, and an event per image and stage, all of a stage before the next."""
    events = marbles.run(full_chain(3)).events.accept().values
    expected = [("run_start", None, None)]
    for stage in STAGES:
        expected.append(("stage_start", stage, None))
        expected += [("stage_image_progress", stage, n) for n in (1, 2, 3)]
        expected.append(("stage_end", stage, None))
    expected.append(("run_end", None, None))
    assert row_of(events) == expected
    assert {e.total_images for e in of(events, rxp.StageImageProgress)} == {3}
    assert [e.seq for e in events] == list(range(len(events)))


def test_image_order_takes_each_image_through_before_the_next(marbles, full_chain):
    """The same events per stage, one start each, interleaved by image."""
    events = marbles.run(full_chain(2, order="image")).events.accept().values
    images = [(e.image_index, e.stage_type) for e in of(events, rxp.StageImageProgress)]
    assert images == [(n, stage) for n in (1, 2) for stage in STAGES]
    assert len(of(events, rxp.StageStart)) == len(of(events, rxp.StageEnd)) == 4
    assert {e.total_images for e in of(events, rxp.StageImageProgress)} == {2}


def test_auto_order_groups_stages_by_checkpoint(marbles):
    """Image order within a checkpoint, stage order between: two switches and the first picture early."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=2, model="base"),
        rxp.adetailer(),
        rxp.img2img(model="other"),
        rxp.upscale(),
        order="auto",
    )
    events = marbles.run(chain).events.accept().values
    assert [(e.stage_type, e.image_index) for e in of(events, rxp.StageImageProgress)] == [
        ("txt2img", 1), ("adetailer", 1), ("txt2img", 2), ("adetailer", 2),
        ("img2img", 1), ("upscale", 1), ("img2img", 2), ("upscale", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("slots", [{}, {"queue_ahead": 1}, {"queue_ahead": 3}], ids=str)
@pytest.mark.parametrize(("images", "chunk"), [(5, 2), (4, 2), (3, 1), (7, 3), (3, 3), (3, 8)])
@pytest.mark.sampled(9)
def test_chunks_show_the_first_picture_early_and_switch_seldom(marbles, images, chunk, slots):
    """Two checkpoints: as many switches as changes in a chunk times chunks, whatever waits in the server's queue."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=images, model="base", seed=1),
        rxp.upscale(),
        rxp.img2img(model="other"),
        rxp.upscale(),
        order="auto",
        chunk=chunk,
    )
    run = marbles.run(chain, ScriptedBackend(marbles, {"txt2img": "---(o|)", "upscale": "-----(o|)"}, **slots))
    events = of(run.events.accept().values, rxp.StageImageProgress)
    chunks = -(-images // chunk)
    models = [call.generation.model for call in run.backend.calls]
    assert [model for model, _ in itertools.groupby(models)] == ["base", "other"] * chunks
    first = next(n for n, event in enumerate(events) if event.stage_index == 3)
    assert first <= 4 * chunk
    assert [event.image_index for event in events if event.stage_index == 3] == list(range(1, images + 1))
    assert {event.total_images for event in events} == {images}


def test_a_stage_that_needs_all_images_has_them_in_chunks_too(marbles):
    """keep_best waits for the last chunk, which does not wait for it."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=5, model="base", seed=1),
        rxp.img2img(model="other"),
        rxp.keep_best(2, by=lambda artifact: artifact.seed),
        rxp.upscale(),
        order="auto",
        chunk=2,
    )
    run = marbles.run(chain)
    assert run.result.status == "completed"
    assert [record.seed for record in run.result.stage_images("upscale")] == [4, 5]


def test_timestamps_come_from_the_scheduler_and_never_decrease(marbles, full_chain):
    """In virtual time they are exact: the second picture of 3 ms each leaves at 6 ms."""
    events = marbles.run(full_chain(2), {"txt2img": "--(o|)"}).events.accept().values
    stamps = [e.timestamp for e in events]
    assert stamps == sorted(stamps)
    assert all(stamp.tzinfo is not None for stamp in stamps)
    assert [e.timestamp.timestamp() for e in of(events, rxp.StageImageProgress, "txt2img")] == [0.002, 0.004]


def test_index_stands_where_it_means_something(marbles, full_chain):
    """None on StageStart and StageEnd, present on steps and images."""
    events = marbles.run(full_chain(2), {"upscale": "-s-s-o|"}).events.accept().values
    assert {e.image_index for e in of(events, (rxp.StageStart, rxp.StageEnd))} == {None}
    assert all(e.image_index for e in of(events, (rxp.StageStep, rxp.StageImageProgress)))
    assert [e.fraction for e in of(events, rxp.StageStep, "upscale")] == [0.5, 1.0] * 2


def test_events_arrive_while_the_backend_is_still_at_work(marbles, full_chain):
    """With a backend that hangs on image 2, the start and image 1 have been emitted."""
    run = marbles.run(full_chain(2), {"txt2img": ["--o|", "--"]})
    assert row_of(run.events.accept().values) == [
        ("run_start", None, None),
        ("stage_start", "txt2img", None),
        ("stage_image_progress", "txt2img", 1),
    ]
    assert run.status == "running"
    run.run.cancel()


def test_a_disabled_stage_and_one_that_no_image_reaches_tell_nothing(marbles):
    """Absent, switched off, or starved: no event at all."""
    chain = rxp.chain(rxp.txt2img(prompt="a", images=1), rxp.img2img(enabled=False), rxp.upscale())
    run = marbles.run(chain, {"txt2img": "-#"})
    assert {e.stage_type for e in of(run.events.accept().values, rxp.StageStart)} == {"txt2img"}
    assert run.status == "failed"


def test_a_stage_that_cannot_go_on_fails_with_its_cause_and_ends_nothing(marbles, full_chain):
    """StageFailed carries the error, no StageEnd follows, later stages are silent, earlier pictures are kept."""
    gone = BackendRejected("/sdapi/v1/img2img answered 401.", hint="Give the credentials.")
    run = marbles.run(full_chain(2), {"img2img": ["--o|", "--#"]}, errors={"img2img": gone})
    events = run.events.accept().values
    [failed] = of(events, rxp.StageFailed)
    assert (failed.stage_type, failed.error.type) == ("img2img", "BackendRejected")
    assert failed.error.hint == "Give the credentials."
    assert row_of(events)[-2:] == [("stage_failed", "img2img", None), ("run_end", None, None)]
    result = run.result
    assert (result.status, result.success) == ("failed", False)
    assert result.error.message == "img2img (stage 2 of 4): /sdapi/v1/img2img answered 401."
    assert [image.stage_type for image in result.images] == ["img2img", "txt2img"]
    assert result.tally.failed == result.tally.planned == 2


def test_one_image_that_fails_costs_no_other(marbles, full_chain):
    """Its StageImageProgress says failed and why; the rest go on and are numbered anew in the next stage."""
    run = marbles.run(full_chain(3), {"img2img": ["--o|", "--#", "--o|"]})
    events = run.events.accept().values
    assert [e.outcome for e in of(events, rxp.StageImageProgress, "img2img")] == ["done", "failed", "done"]
    assert [(e.image_index, e.total_images) for e in of(events, rxp.StageImageProgress, "upscale")] == [(1, 2), (2, 2)]
    assert [e.seed for e in of(events, rxp.StageImageProgress, "upscale")] == [100, 102]
    [end] = of(events, rxp.StageEnd, "img2img")
    assert (end.done, end.failed) == (2, 1)
    assert run.status == "partial"
    assert "img2img (stage 2 of 4), image 2" in run.result.error.message


def test_so_many_failures_in_a_row_end_the_stage(marbles, full_chain):
    """Three by default; the images not tried count as failed too."""
    run = marbles.run(full_chain(5), {"img2img": "-#"})
    events = run.events.accept().values
    assert len(of(events, rxp.StageImageProgress, "img2img")) == 3
    assert of(events, rxp.StageFailed)[0].error.type == "TooManyFailures"
    assert run.result.tally.failed == 5
    assert len(run.result.stage_images("txt2img")) == 5


@pytest.mark.parametrize(
    ("on_error", "outcomes", "status"),
    [
        ("drop", ["failed", "done", "done"], "partial"),
        ("pass", ["passed", "done", "done"], "completed"),
        ("stop", ["failed"], "failed"),
    ],
)
def test_on_error_says_what_becomes_of_an_image_that_fails(marbles, on_error, outcomes, status):
    """Dropped, passed on unchanged with its error, or the end of the stage."""
    chain = rxp.chain(rxp.txt2img(prompt="a", images=3), rxp.img2img(on_error=on_error), rxp.upscale())
    run = marbles.run(chain, {"img2img": ["-#", "-o|"]})
    events = run.events.accept().values
    images = of(events, rxp.StageImageProgress, "img2img")
    assert [e.outcome for e in images] == outcomes
    assert images[0].error.type == "BackendFailed"
    assert run.status == status


def test_adetailer_that_fails_or_finds_nothing_passes_the_picture_on(marbles, full_chain):
    """Both are "passed"; only the failure has an error. The run is completed."""
    run = marbles.run(full_chain(2), {"adetailer": ["-#", "-u|"]})
    images = of(run.events.accept().values, rxp.StageImageProgress, "adetailer")
    assert [(e.outcome, e.error is None) for e in images] == [("passed", False), ("passed", True)]
    assert run.result.success


def test_two_subscribers_see_the_same_and_a_late_one_only_what_follows(marbles, full_chain):
    """The stream is hot and the run executes once."""
    early, late = [], []
    run = None
    backend = ScriptedBackend(marbles)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    executor.events.subscribe(early.append)
    second = []
    executor.events.subscribe(second.append)
    run = executor.start(full_chain(2, out=None))
    marbles.at(5_000, lambda *_: executor.events.subscribe(late.append))
    marbles.run()
    assert early == second == list(run.result.events)
    assert 0 < len(late) < len(early)
    assert late == early[-len(late) :]
    assert len(backend.calls) == 8


def test_a_subscriber_that_raises_stops_nobody(marbles, full_chain, monkeypatch):
    """The run and the others continue; its exception is reported once."""
    reported = []
    monkeypatch.setattr("sys.excepthook", lambda *info: reported.append(info[1]))
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock)
    seen = []

    def broken(_):
        raise ValueError("subscriber")

    executor.events.subscribe(broken)
    executor.events.subscribe(seen.append)
    run = executor.start(full_chain(1, out=None))
    marbles.run()
    assert run.result.success
    assert seen == list(run.result.events)
    assert [str(error) for error in reported] == ["subscriber"]


def test_retry_is_told_waits_and_keeps_the_seed(marbles):
    """A refused connection heals after the pause; the second attempt draws from the same seed."""
    refused = BackendUnavailable("refused")
    chain = rxp.chain(rxp.txt2img(prompt="a", seed=7), retry=rxp.RetryConfig(first_delay_s=0.005, jitter=0))
    run = marbles.run(chain, {"txt2img": ["-#", "--o|"]}, errors={"txt2img": refused})
    [retry] = of(run.events.accept().values, rxp.StageRetry)
    assert (retry.attempt, retry.delay_s, retry.error.type) == (1, 0.005, "BackendUnavailable")
    run.backend["txt2img"].subscriptions.to_be("^!", "------^--!")
    assert [call.seed for call in run.backend.calls] == [7, 7]
    assert run.result.success


def test_a_server_that_asks_for_time_is_given_it(marbles):
    """retry_after_s is obeyed where it is longer than our own pause."""
    busy = BackendUnavailable("503", retry_after_s=0.02)
    chain = rxp.chain(rxp.txt2img(prompt="a"), retry=rxp.RetryConfig(first_delay_s=0.001, jitter=0))
    run = marbles.run(chain, {"txt2img": ["#", "o|"]}, errors={"txt2img": busy})
    assert [e.delay_s for e in of(run.events.accept().values, rxp.StageRetry)] == [0.02]


def test_a_server_that_asks_for_more_time_than_we_wait_is_asked_again_before(marbles):
    """A server may name any number of seconds; `max_delay_s` is ours."""
    busy = BackendUnavailable("503", retry_after_s=999_999_999.0)
    retry = rxp.RetryConfig(first_delay_s=0.001, max_delay_s=0.004, jitter=0)
    run = marbles.run(
        rxp.chain(rxp.txt2img(prompt="a"), retry=retry), {"txt2img": ["#", "o|"]}, errors={"txt2img": busy}
    )
    assert [e.delay_s for e in of(run.events.accept().values, rxp.StageRetry)] == [0.004]


def test_a_delay_too_large_for_a_number_is_the_longest_one(marbles):
    chain = rxp.chain(
        rxp.txt2img(prompt="a"),
        retry=rxp.RetryConfig(first_delay_s=0.001, max_delay_s=0.002, factor=1e300, jitter=0, attempts=4),
    )
    run = marbles.run(chain, {"txt2img": ["#", "#", "#", "o|"]}, errors={"txt2img": BackendUnavailable("reset")})
    assert [e.delay_s for e in of(run.events.accept().values, rxp.StageRetry)] == [0.001, 0.002, 0.002]


@pytest.mark.parametrize(
    "error", [rxp.BadResponse("torn"), rxp.BackendFailed("500", retryable=True)], ids=["BadResponse", "BackendFailed"]
)
def test_what_is_retryable_once_is_rendered_once_more_with_the_same_seed(marbles, error):
    """However many attempts the settings allow; the next image has its own."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", seed=7, images=3), retry=rxp.RetryConfig(attempts=5, first_delay_s=0.001, jitter=0)
    )
    run = marbles.run(chain, {"txt2img": ["#", "o|", "#", "#", "o|"]}, errors={"txt2img": error})
    assert [call.seed for call in run.backend.calls] == [7, 7, 8, 8, 9]
    assert len(of(run.events.accept().values, rxp.StageRetry)) == 2
    assert [record.outcome for record in run.result.records] == ["done", "failed", "done"]


def test_one_attempt_is_one_attempt(marbles):
    retry = rxp.RetryConfig(attempts=1)
    chain = rxp.chain(rxp.txt2img(prompt="a"), retry=retry)
    run = marbles.run(chain, {"txt2img": "#"}, errors={"txt2img": rxp.BadResponse("torn")})
    assert len(run.backend.calls) == 1
    run.events.accept()


@pytest.mark.parametrize("permanent", [rxp.BackendFailed("NaN"), rxp.BadResponse("huge", retryable=False)])
def test_what_no_retry_heals_is_rendered_once(marbles, permanent):
    chain = rxp.chain(rxp.txt2img(prompt="a", images=2))
    run = marbles.run(chain, {"txt2img": ["#", "o|"]}, errors={"txt2img": permanent})
    assert len(run.backend.calls) == 2
    run.events.accept()


def test_a_busy_server_costs_one_image_and_the_next_is_begun(marbles):
    """It answers, so the next request may be let in; a server that is gone ends the run."""
    busy = BackendUnavailable("503", scope="image")
    retry = rxp.RetryConfig(attempts=3, first_delay_s=0.001, jitter=0)
    chain = rxp.chain(rxp.txt2img(prompt="a", images=2), retry=retry)
    run = marbles.run(chain, {"txt2img": ["#", "#", "#", "o|"]}, errors={"txt2img": busy})
    run.events.accept()
    assert [record.outcome for record in run.result.records] == ["failed", "done"]
    assert run.result.status == "partial"


def test_a_server_that_stays_away_fails_the_stage_at_once(marbles, full_chain):
    """After its retries an error that concerns every image is not tried with the next one."""
    gone = BackendUnavailable("refused")
    retry = rxp.RetryConfig(attempts=2, first_delay_s=0.001, jitter=0)
    run = marbles.run(full_chain(3, retry=retry), {"upscale": "#"}, errors={"upscale": gone})
    assert len(of(run.events.accept().values, rxp.StageRetry)) == 1
    assert len([c for c in run.backend.calls if c.stage_type == "upscale"]) == 2
    assert run.status == "failed"
    assert [image.stage_type for image in run.result.images] == ["adetailer"] * 3


def test_a_fraction_never_falls_within_an_image_even_over_a_retry(marbles):
    """The second attempt begins at 0 again; the events do not."""
    chain = rxp.chain(rxp.txt2img(prompt="a"), retry=rxp.RetryConfig(first_delay_s=0.001, jitter=0))
    run = marbles.run(chain, {"txt2img": ["ss#", "sso|"]}, errors={"txt2img": BackendUnavailable("reset")})
    fractions = [e.fraction for e in of(run.events.accept().values, rxp.StageStep)]
    assert fractions == [0.5, 1.0, 1.0, 1.0]


def test_previews_travel_beside_the_events(marbles, full_chain):
    """They name run, stage and image, and are in no timeline."""
    run = marbles.run(full_chain(1), {"img2img": "-p-p-o|"})
    previews = run.previews.accept().values
    assert [(p.stage_type, p.image_index) for p in previews] == [("img2img", 1)] * 2
    assert not [e for e in run.events.accept().values if "preview" in e.kind]


@pytest.mark.parametrize("script", ["--|", "-o-o|"])
def test_a_backend_that_gives_no_picture_or_two_has_answered_badly(marbles, script):
    """One picture per call is the contract of the port."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a")), {"txt2img": script})
    assert run.result.error.type == "BadResponse"
    run.events.accept()
