"""PipelineRunResult: any prefix of a run's events is a valid result, pure and O(1), that counts every image once."""

from __future__ import annotations

import copy
import itertools
import pickle
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from timelines import NAMES, OUT_OF_MEMORY, TimelineBuilder, timelines, whole_run

from rxpipe.artifact import Artifact
from rxpipe.config import PipelineConfig, RunMetadata, Txt2ImgConfig
from rxpipe.errors import BadImage, RunFailed
from rxpipe.events import ErrorInfo, StageEnd, StageImageProgress
from rxpipe.plan import build_stage_execution_plan
from rxpipe.result import PipelineRunResult, Tally, reduce


def result_of(events):
    return PipelineRunResult.from_events(events)


def seen(result):
    """All that a result says, to compare it with what it said before."""
    return (
        result.events, result.status, result.records, result.images, result.variants, result.tally, result.stages,
        result.durations, result.warnings, result.error, repr(result),
    )  # fmt: skip


# -- the fold ---------------------------------------------------------------------------------------------------------


def test_before_anything_happened_a_result_is_pending_and_empty():
    """All that can be asked has an answer."""
    result = PipelineRunResult()
    assert (result.status, result.run_id, result.success, result.error) == ("pending", None, False, None)
    assert (result.events, result.images, result.variants, result.records, result.stages) == ((), (), (), (), ())
    assert (result.variant_count, result.tally, result.durations, result.warnings) == (0, Tally(), {}, ())
    assert repr(result) == "<PipelineRunResult None: pending, no images>"


@given(timelines())
def test_any_prefix_of_a_run_is_a_valid_result(drawn):
    """Every image is counted once, status follows from the events, and nothing raises."""
    result = PipelineRunResult()
    for number, event in enumerate(drawn.events, 1):
        result = reduce(result, event)
        assert result.events == drawn.events[:number]
        assert result.status == ("running" if number < len(drawn.events) else event.status)
        tally = result.tally
        assert tally.planned == len(drawn.fates) == result.variant_count
        assert tally.planned == tally.done + tally.failed + tally.cancelled + tally.filtered + tally.pending
        assert len(result.images) <= tally.planned
        assert result.success == (result.status == "completed")
        assert repr(result)
    assert result.tally.pending == 0


@given(timelines())
def test_the_fate_of_every_image_is_what_the_rules_say(drawn):
    """Counted by hand while the timeline was drawn; filtering alone is completed."""
    result = result_of(drawn.events)
    assert {variant.artifact_id: variant.outcome for variant in result.variants} == drawn.fates
    counts = Counter(drawn.fates.values())
    assert result.tally == Tally(planned=len(drawn.fates), **counts)
    if result.success:
        assert not counts["failed"]
        assert not counts["cancelled"]


@given(timelines())
def test_a_result_is_the_fold_of_its_events_however_they_come(drawn):
    """One by one, all at once, or in two parts."""
    one_by_one = PipelineRunResult()
    for event in drawn.events:
        one_by_one = reduce(one_by_one, event)
    half = len(drawn.events) // 2
    in_two = result_of(drawn.events[:half]).extended(drawn.events[half:])
    assert one_by_one == result_of(drawn.events) == in_two
    assert seen(one_by_one) == seen(result_of(drawn.events)) == seen(in_two)


@given(timelines(), st.booleans())
def test_reduce_is_pure(drawn, asked_before):
    """Every snapshot says after the run what it said when it was made, asked then for the first time or again."""
    snapshots = list(itertools.accumulate(drawn.events, reduce, initial=PipelineRunResult()))
    said = [seen(snapshot) for snapshot in snapshots] if asked_before else None
    for number, snapshot in enumerate(snapshots):
        fresh = result_of(drawn.events[:number])
        assert seen(snapshot) == seen(fresh)
        assert said is None or seen(snapshot) == said[number]


def test_a_snapshot_may_be_reduced_again_in_another_way():
    """Branches share their past and know nothing of each other."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=1)
    builder.start(0, 1)
    common = result_of(builder.events)
    one = reduce(common, builder.image(0, 1, "done"))
    two = reduce(common, builder.image(0, 1, "failed", error=OUT_OF_MEMORY))
    three = reduce(common, builder.cancel(0, 1))
    assert [record.outcome for record in one.records] == ["done"]
    assert [record.outcome for record in two.records] == ["failed"]
    assert (three.records, three.stages[0].state) == ((), "cancelled")
    assert (common.records, len(common.events)) == ((), 2)
    assert [len(branch.events) for branch in (one, two, three)] == [3, 3, 3]
    assert reduce(one, builder.finish()).status == "completed"
    assert one.status == "running"


def test_an_event_is_kept_and_not_copied():
    """Element for element what was emitted."""
    events = whole_run("txt2img", "upscale")
    assert all(kept is emitted for kept, emitted in zip(result_of(events).events, events, strict=True))


def test_results_are_compared_by_their_events_and_their_plan():
    """And cannot be put into sets by mistake."""
    events = whole_run("txt2img")
    plan = build_stage_execution_plan(PipelineConfig(txt2img=Txt2ImgConfig(images=2)))
    assert result_of(events) == result_of(events)
    assert result_of(events) != result_of(events[:-1])
    assert result_of(events) != PipelineRunResult.from_events(events, plan)
    assert result_of(events) != "a result"
    with pytest.raises(TypeError, match="unhashable"):
        hash(result_of(events))


# -- what it says -----------------------------------------------------------------------------------------------------


def test_a_run_in_which_all_goes_well():
    """Statement 24: everything a record of a run should hold."""
    result = result_of(whole_run(*NAMES, images=2, seconds=3.0))
    assert (result.run_id, result.status, result.success, result.error) == ("r1", "completed", True, None)
    assert [(image.artifact_id, image.stage_type, image.image_index) for image in result.images] == [
        ("r1-1", "upscale", 1), ("r1-2", "upscale", 2),
    ]  # fmt: skip
    assert [image.seed for image in result.images] == [101, 102]
    assert len(result.records) == 8
    assert result.durations == dict.fromkeys(NAMES, 6.0)
    assert [(stage.stage_type, stage.state) for stage in result.stages] == [(name, "ended") for name in NAMES]
    assert result.variant_count == 2
    assert repr(result) == "<PipelineRunResult r1: completed, 2 images: 2 done>"
    result.raise_for_status()


def test_images_of_earlier_stages_are_kept_and_listed():
    """Statement 25: a failure costs nothing of what came before."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=3)
    builder.start(0, 3)
    for image in (1, 2, 3):
        builder.image(0, image, path=Path(f"t{image}.png"), seed=image)
    builder.end(0, done=3)
    builder.start(1, 3)
    builder.image(1, 1, path=Path("u1.png"), seed=1)
    builder.image(1, 2, "failed", error=OUT_OF_MEMORY)
    builder.fail(1)
    builder.finish("failed", error=ErrorInfo(type="BackendFailed", message="upscale (stage 2 of 2): out of memory."))
    result = result_of(builder.events)
    assert [image.path for image in result.images] == [Path("u1.png"), Path("t2.png"), Path("t3.png")]
    assert [image.path for image in result.stage_images("txt2img")] == [Path(f"t{n}.png") for n in (1, 2, 3)]
    assert [image.path for image in result.stage_images("upscale")] == [Path("u1.png")]
    assert [variant.outcome for variant in result.variants] == ["done", "failed", "failed"]
    assert [variant.error.message for variant in result.variants[1:]] == [
        "CUDA out of memory.", "upscale (stage 2 of 2): out of memory.",
    ]  # fmt: skip
    assert result.variants[0].paths == (Path("t1.png"), Path("u1.png"))
    assert result.error.message == "upscale (stage 2 of 2): out of memory."
    assert [stage.state for stage in result.stages] == ["ended", "failed"]
    assert result.durations == {"txt2img": 1.0}


def test_a_failed_run_raises_for_those_who_want_it():
    """Naming counts and cause, with the advice, and the result in hand."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=4)
    builder.start(0, 4)
    builder.image(0, 1)
    builder.fail(0)
    builder.finish(
        "failed", error=ErrorInfo(type="E", message="txt2img (stage 1 of 1): server gone.", hint="Start it.")
    )
    result = result_of(builder.events)
    with pytest.raises(RunFailed) as raised:
        result.raise_for_status()
    assert str(raised.value) == (
        "run r1 failed, 1 of 4 images came through: txt2img (stage 1 of 1): server gone. Start it."
    )
    assert raised.value.result is result


@pytest.mark.parametrize("status", ["partial", "failed", "cancelled"])
def test_only_completed_is_success(status):
    """Statement 25: four outcomes that stay apart."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.finish(status)
    result = result_of(builder.events)
    assert (result.status, result.success) == (status, False)
    with pytest.raises(RunFailed, match=f"run r1 {status}, 0 of 2 images came through"):
        result.raise_for_status()


def test_a_running_result_is_no_success():
    """Nothing has failed, and nothing is finished."""
    with pytest.raises(RunFailed, match="run r1 running, 0 of 2 images"):
        result_of(whole_run("txt2img")[:1]).raise_for_status()


def test_cancelled_images_are_not_failed_ones():
    """Statement 31: finished ones are kept, the rest were cancelled."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "upscale", images=3)
    builder.start(0, 3)
    builder.image(0, 1)
    builder.cancel(0, 2)
    builder.finish("cancelled")
    result = result_of(builder.events)
    assert result.tally == Tally(planned=3, cancelled=3)
    assert [image.artifact_id for image in result.images] == ["r1-1"]
    assert (result.success, result.error) == (False, None)


def test_images_that_the_first_stage_filters_out_are_filtered():
    """Also where no stage ever reported them: a filter over photos from disk."""
    builder = TimelineBuilder()
    builder.begin("keep_if", "upscale", images=2)
    builder.start(0)
    builder.image(0, 2)
    builder.end(0, done=1, filtered=1)
    builder.start(1, 1)
    builder.image(1, 1, artifact_id="r1-2")
    builder.end(1, done=1)
    builder.finish("completed")
    result = result_of(builder.events)
    assert [variant.outcome for variant in result.variants] == ["filtered", "done"]
    assert result.tally == Tally(planned=2, done=1, filtered=1)


def test_an_expansion_adds_to_what_was_planned():
    """Each further image stands behind the one it was made from, also before that is known to be the last."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "crops", images=2)
    builder.start(0)
    builder.image(0, 1)
    builder.image(0, 2)
    builder.end(0)
    builder.start(1, None)
    for number, name in enumerate(("r1-1", "r1-1.2", "r1-1.2.left", "r1-2", "r1-2.2"), 1):
        builder.image(1, number, artifact_id=name)
    builder.end(1, done=5)
    builder.finish()
    result = result_of(builder.events)
    assert [variant.artifact_id for variant in result.variants] == ["r1-1", "r1-1.2", "r1-1.2.left", "r1-2", "r1-2.2"]
    assert [image.image_index for image in result.images] == [1, 2, 3, 4, 5]
    assert result.tally == Tally(planned=5, done=5)


def test_planned_images_stand_in_order_beyond_nine():
    """By number and not by text."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=12)
    builder.start(0, 12)
    for image in range(12, 0, -1):
        builder.image(0, image)
    result = result_of(builder.events)
    assert [image.artifact_id for image in result.images] == [f"r1-{n}" for n in range(1, 13)]


def test_a_passed_image_counts_as_through():
    """Adetailer that found nothing, or failed and let the picture be."""
    builder = TimelineBuilder()
    builder.begin("adetailer", images=2)
    builder.start(0)
    builder.image(0, 1, "passed")
    builder.image(0, 2, "passed", error=OUT_OF_MEMORY)
    builder.end(0, done=0, passed=2)
    builder.finish()
    result = result_of(builder.events)
    assert result.tally == Tally(planned=2, done=2)
    assert [image.error for image in result.images] == [None, OUT_OF_MEMORY]


def test_warnings_name_stage_and_image_and_come_once():
    """Those of the run first."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.image(0, 1, warnings=("sampler X is unknown, Euler was used", "VAE not found"))
    builder.image(0, 2, warnings=("sampler X is unknown, Euler was used",))
    builder.finish("completed", warnings=("old server", "old server"))
    assert result_of(builder.events).warnings == (
        "old server",
        "txt2img, image 1: sampler X is unknown, Euler was used",
        "txt2img, image 1: VAE not found",
        "txt2img, image 2: sampler X is unknown, Euler was used",
    )


def test_metadata_and_plan_are_what_the_config_said():
    """None and empty for a run that is known from its events only."""
    config = PipelineConfig(txt2img=Txt2ImgConfig(), metadata=RunMetadata(run_id="r1", pack="mine"))
    plan = build_stage_execution_plan(config)
    result = PipelineRunResult.from_events(whole_run("txt2img"), plan)
    assert result.plan is plan
    assert dict(result.metadata) == {"run_id": "r1", "one_click_action": None, "pack": "mine"}
    assert (result_of(whole_run("txt2img")).plan, dict(result_of([]).metadata)) == (None, {})


def test_two_stages_of_one_type_are_summed_and_told_apart():
    """By type in `durations`, by index in `stages`."""
    result = result_of(whole_run("txt2img", "upscale", "upscale", images=1, seconds=2.0))
    assert result.durations == {"txt2img": 2.0, "upscale": 4.0}
    assert [(stage.stage_type, stage.stage_index) for stage in result.stages] == [
        ("txt2img", 0), ("upscale", 1), ("upscale", 2),
    ]  # fmt: skip


def test_a_failure_is_a_record_and_no_image():
    """`records` has it, `images` and `stage_images` have not."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=1)
    builder.start(0, 1)
    builder.image(0, 1, "failed", error=OUT_OF_MEMORY)
    result = result_of(builder.events)
    assert [(record.outcome, record.error, record.through) for record in result.records] == [
        ("failed", OUT_OF_MEMORY, False)
    ]
    assert (result.images, result.stage_images("txt2img")) == ((), ())


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_an_artifact_is_the_one_the_run_kept_or_the_one_on_disk(tmp_path):
    """By id and stage."""
    path = tmp_path / "a.png"
    path.write_bytes(b"PNG")
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.image(0, 1, seed=7)
    builder.image(0, 2, seed=8, path=path)
    kept = Artifact(id="r1-1", data=b"x")
    result = PipelineRunResult(None, {("r1-1", 0): kept}).extended(builder.events)
    assert result.artifact(result.images[0]) is kept
    assert result.artifact(result.images[1]) == Artifact(id="r1-2", seed=8, path=path)


def test_a_picture_that_is_nowhere_is_an_error():
    """Kept in memory by a run that is over, or deleted since."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=2)
    builder.start(0)
    builder.image(0, 1)
    builder.image(0, 2, path=Path("nowhere/a.png"))
    result = result_of(builder.events)
    with pytest.raises(BadImage, match="image r1-1 of txt2img was kept in memory only"):
        result.artifact(result.images[0])
    with pytest.raises(BadImage, match=r"a\.png: no such file"):
        result.artifact(result.images[1])


# -- files and copies -------------------------------------------------------------------------------------------------


@given(drawn=timelines(), odd=st.text(st.sampled_from('a\n\r\x0b\x0c\x1c\x85\u2028\u2029"\\é')))
def test_a_timeline_survives_being_written_and_read(tmp_path_factory, drawn, odd):
    """A line an event, whatever characters a message or a name has."""
    events = list(drawn.events)
    events[-1] = events[-1].model_copy(update={"error": ErrorInfo(type="E", message=odd)})
    path = tmp_path_factory.mktemp("timeline") / "run.jsonl"
    result_of(events).write_timeline(path)
    assert PipelineRunResult.read_timeline(path) == result_of(events)
    assert path.read_bytes().count(b"\n") == len(events)


def test_a_torn_timeline_is_refused(tmp_path):
    """A line that is no event."""
    path = tmp_path / "run.jsonl"
    result_of(whole_run("txt2img")).write_timeline(path)
    path.write_text(path.read_text()[:-30])
    with pytest.raises(ValidationError):
        PipelineRunResult.read_timeline(path)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])  # noqa: S301  our own bytes
def test_a_result_survives_being_copied_and_sent(copied):
    """And can be reduced on."""
    events = whole_run("txt2img", "upscale")
    result = result_of(events[:-1])
    again = copied(result)
    assert seen(again) == seen(result)
    assert reduce(again, events[-1]).success
    assert result.status == "running"


def test_ten_thousand_snapshots_share_one_log():
    """No snapshot holds a copy of what came before it: twice as many take twice the memory, not four times."""
    builder = TimelineBuilder()
    builder.begin("txt2img", images=1)
    builder.start(0, 1)
    step = builder.step(0, 1, 0.5)

    def snapshots(count):
        events = [*builder.events, *[step] * count]
        return list(itertools.accumulate(events, reduce, initial=PipelineRunResult()))

    def size(count):
        tracemalloc.start()
        kept = snapshots(count)
        try:
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
            kept.clear()

    assert size(10_000) < 2.5 * size(5_000)
    assert len(snapshots(10_000)[5000].events) == 5000


def test_the_counts_of_a_stage_agree_with_its_images():
    """StageEnd's own numbers and the records."""
    events = whole_run("txt2img", "upscale", images=3)
    for end in (event for event in events if isinstance(event, StageEnd)):
        left = [e for e in events if isinstance(e, StageImageProgress) and e.stage_index == end.stage_index]
        assert end.done == len(left)


def test_pictures_of_a_stage_that_the_run_never_had_are_refused_by_name():
    """A typo is an error; a stage that this run did without has no pictures."""
    result = PipelineRunResult()
    assert result.stage_images("upscale") == ()
    with pytest.raises(ValueError, match="no stage 'upscael'; there are txt2img, img2img, adetailer, upscale"):
        result.stage_images("upscael")
