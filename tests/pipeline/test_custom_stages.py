"""Stages of the user's own: functions and operators, with the same events, cancel, retry and metadata."""

from __future__ import annotations

import itertools
import re
import threading

import numpy as np
import pytest
import reactivex as rx
from PIL import Image  # noqa: TC002  # a user's annotation, read at run time
from reactivex import operators as ops

import rxpipe as rxp
from rxpipe.errors import ConfigError, PlanError
from rxpipe.pictures import metadata
from rxpipe.testing import ScriptedBackend
from rxpipe.testing.scripted import tiny_picture


def of(events, kind, stage=None):
    return [e for e in events if isinstance(e, kind) and stage in {None, getattr(e, "stage_type", None)}]


def pictures(run):
    """Return the last picture of each image, decoded, by seed."""
    return {record.seed: run.result.artifact(record).to_image() for record in run.result.images}


@rxp.image_stage
def brighter(artifact: rxp.Artifact, by: int = 1) -> Image.Image:
    """Every pixel brighter by so many levels."""
    return artifact.to_image().point(lambda level: level + by)


def test_a_function_stands_between_two_stages(marbles):
    """It works on the picture of the stage before and emits its own; the next stage continues from there."""
    chain = rxp.chain(rxp.txt2img(prompt="a", images=2, seed=10), brighter(5), rxp.upscale(enabled=False))
    run = marbles.run(chain)
    assert {seed: picture.getpixel((0, 0)) for seed, picture in pictures(run).items()} == {10: 15, 11: 16}
    events = run.events.accept().values
    assert [e.image_index for e in of(events, rxp.StageImageProgress, "brighter")] == [1, 2]
    assert of(events, rxp.StageEnd, "brighter")[0].done == 2


def test_a_decorated_function_needs_no_call_and_keeps_its_function(marbles):
    """`brighter` alone is a stage with its defaults; `.function` is the plain one."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a", seed=10), brighter))
    assert [picture.getpixel((0, 0)) for picture in pictures(run).values()] == [11]
    run.events.accept()
    artifact = rxp.Artifact(id="x", data=tiny_picture(1))
    assert brighter.function(artifact, 3).getpixel((0, 0)) == 4
    assert brighter.__doc__ == "Every pixel brighter by so many levels."


@pytest.mark.parametrize(
    "give",
    [
        lambda artifact: artifact.with_image(artifact.to_image()),
        lambda artifact: artifact.to_image(),
        lambda artifact: np.array(artifact.to_image()),
        lambda artifact: artifact.with_metadata(looked="at it"),
    ],
)
def test_a_function_may_give_an_artifact_an_image_or_an_array(marbles, give):
    """All of them are the stage's picture."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a", seed=10), rxp.image_stage(name="give")(give)))
    [record] = run.result.stage_images("give")
    assert record.outcome == "done"
    assert run.result.artifact(record).to_image().getpixel((0, 0)) == 10
    run.events.accept()


@pytest.mark.parametrize("give", [lambda _: None, lambda _: "a.png", lambda _: b"..", lambda _: 3])
def test_what_is_no_picture_is_an_error_of_that_image(marbles, give):
    """It says what came and what is allowed."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a"), rxp.image_stage(name="give")(give)))
    [event] = of(run.events.accept().values, rxp.StageImageProgress, "give")
    assert event.error.type == "StageFunctionError"
    assert "allowed: an Artifact, a Pillow image, or an array" in event.error.message


def test_the_same_artifact_given_back_is_passed_on_unchanged(marbles):
    """Outcome "passed" without an error, and no second file."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a"), rxp.image_stage(name="look")(lambda artifact: artifact)))
    [event] = of(run.events.accept().values, rxp.StageImageProgress, "look")
    assert (event.outcome, event.error) == ("passed", None)
    assert run.result.success


def test_a_function_that_raises_costs_that_image_only(marbles):
    """The cause is named; the rest come through."""

    @rxp.image_stage
    def picky(artifact):
        if artifact.number == 2:
            raise ValueError("not this one")
        return artifact.to_image()

    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a", images=3), picky()))
    events = of(run.events.accept().values, rxp.StageImageProgress, "picky")
    assert [e.outcome for e in events] == ["done", "failed", "done"]
    where = r"picky raised ValueError: not this one \(.*test_custom_stages.py, line \d+, in picky\)"
    assert re.fullmatch(where, events[1].error.message)
    assert run.status == "partial"


def test_a_function_is_retried_for_what_can_heal(marbles):
    """A refused connection, a time-out, and what the stage names itself."""
    tries = []

    @rxp.image_stage(retry_on=(KeyError,), on_error="pass")
    def flaky(artifact):
        tries.append(marbles.clock.now_us)
        if len(tries) == 1:
            raise ConnectionResetError("gone")
        if len(tries) == 2:
            raise KeyError("not yet")
        return artifact.to_image()

    chain = rxp.chain(rxp.txt2img(prompt="a"), flaky(), retry=rxp.RetryConfig(first_delay_s=0.01, jitter=0))
    run = marbles.run(chain)
    retries = of(run.events.accept().values, rxp.StageRetry, "flaky")
    assert [e.attempt for e in retries] == [1, 2]
    assert [later - earlier for earlier, later in itertools.pairwise(tries)] == [10_000, 20_000]
    assert run.result.success


def test_a_function_reports_its_progress(marbles):
    """Fractions and previews, by a parameter named `report`; it knows prompt, seed and index too."""
    knew = []

    @rxp.image_stage
    def slow(artifact, *, report):
        knew.append((report.prompt, report.seed, report.image_index, report.cancelled))
        report(0.5, preview=tiny_picture(9))
        return artifact.to_image()

    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a cat", seed=4), slow()))
    assert [e.fraction for e in of(run.events.accept().values, rxp.StageStep, "slow")] == [0.5]
    assert [p.data for p in run.previews.accept().values] == [tiny_picture(9)]
    assert knew == [("a cat", 4, 1, False)]


def test_arguments_and_notes_are_in_the_file(marbles, tmp_path):
    """The lineage names the function with its arguments; what was noted travels on into later stages' files."""

    @rxp.image_stage
    def watermark(artifact, text, *, size=12):
        del text, size
        return artifact.with_image(artifact.to_image()).with_metadata(owner="me")

    chain = rxp.chain(rxp.txt2img(prompt="a", seed=4), watermark("mine"), rxp.upscale(), out=tmp_path)
    run = marbles.run(chain)
    run.events.accept()
    info = metadata.read_info(run.result.images[0].path)
    assert [record.stage for record in info.lineage.lineage] == ["txt2img", "watermark", "upscale"]
    assert info.lineage.lineage[1].settings["text"] == "mine"
    assert info.lineage.metadata == {"owner": "me"}
    folders = {record.stage_type: record.path.parent.parent.name for record in run.result.records}
    assert folders == {"txt2img": "txt2img-images", "watermark": "img2img-images", "upscale": "extras-images"}


@pytest.mark.parametrize(("order", "total"), [("stage", 2), ("image", None), ("auto", None)])
def test_any_rx_operator_is_a_stage(marbles, order, total):
    """A plain operator is named after its function; filtering alone is completed."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=4, seed=0),
        rxp.operator_stage("odd", ops.filter(lambda artifact: artifact.seed % 2)),
        rxp.upscale(),
        order=order,
    )
    run = marbles.run(chain)
    events = run.events.accept().values
    assert [(e.image_index, e.total_images) for e in of(events, rxp.StageImageProgress, "odd")] == [(2, 4), (4, 4)]
    assert of(events, rxp.StageEnd, "odd")[0].filtered == 2
    assert [e.total_images for e in of(events, rxp.StageImageProgress, "upscale")] == [total, total]
    assert run.status == "completed"
    assert run.result.tally == rxp.result.Tally(planned=4, done=2, filtered=2)


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_keep_best_waits_for_all_in_any_order(marbles, order):
    """Two of five by a score of one's own, in their own order; a barrier even in image order."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=5, seed=0),
        rxp.keep_best(2, by=lambda artifact: -abs(artifact.seed - 2.6)),
        rxp.upscale(),
        order=order,
    )
    run = marbles.run(chain)
    assert [(r.image_index, r.seed) for r in run.result.records if r.stage_type == "keep_best"] == [(3, 2), (4, 3)]
    assert [r.seed for r in run.result.stage_images("upscale")] == [2, 3]
    assert run.result.tally.filtered == 3
    events = run.events.accept().values
    first_kept = next(n for n, e in enumerate(events) if getattr(e, "stage_type", "") == "keep_best" and e.seq and
                      isinstance(e, rxp.StageImageProgress))  # fmt: skip
    assert first_kept > max(n for n, e in enumerate(events) if isinstance(e, rxp.StageImageProgress)
                            and e.stage_type == "txt2img")  # fmt: skip


def test_an_expansion_adds_to_what_is_planned(marbles):
    """Further images of an id get ids of their own, and all are accounted for."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=2, seed=0),
        rxp.expand(lambda artifact: [artifact, artifact, artifact.derive("mirror")]),
        rxp.upscale(),
    )
    run = marbles.run(chain)
    assert run.result.tally == rxp.result.Tally(planned=6, done=6)
    ids = [variant.artifact_id.removeprefix(run.result.run_id) for variant in run.result.variants]
    assert ids == ["-1", "-1.2", "-1.mirror", "-2", "-2.2", "-2.mirror"]
    assert [r.image_index for r in run.result.stage_images("upscale")] == [1, 2, 3, 4, 5, 6]
    run.events.accept()


def test_an_operator_that_takes_its_time_keeps_stages_apart(marbles):
    """In stage order the next stage waits for its end; its own time is the run's."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=2),
        rxp.operator_stage("wait", ops.delay(0.01, scheduler=marbles.clock)),
        rxp.upscale(),
        order="stage",
    )
    events = marbles.run(chain).events.accept().values
    end = next(e for e in events if isinstance(e, rxp.StageEnd) and e.stage_type == "wait")
    start = next(e for e in events if isinstance(e, rxp.StageStart) and e.stage_type == "upscale")
    assert end.seq < start.seq


@pytest.mark.parametrize(
    "operator",
    [
        ops.map(lambda artifact: artifact.nothing_of_the_kind),
        lambda source: source.pipe(ops.concat(rx.throw(RuntimeError("broken")))),
        ops.map(lambda artifact: artifact.number),
    ],
)
def test_an_operators_error_stops_its_stage(marbles, operator):
    """StageFailed with the cause; the pictures made before are kept."""
    stages = rxp.txt2img(prompt="a", images=2), rxp.operator_stage("mine", operator), rxp.upscale()
    run = marbles.run(rxp.chain(*stages, order="stage"))
    [failed] = of(run.events.accept().values, rxp.StageFailed)
    assert (failed.stage_type, failed.error.type) == ("mine", "StageFunctionError")
    assert run.status == "failed"
    assert len(run.result.stage_images("txt2img")) == 2


def test_a_chain_takes_a_bare_operator_and_refuses_what_is_none(marbles):
    """A name is found for it; a number is no stage."""

    def first_only(source):
        return source.pipe(ops.take(1))

    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a", images=3), first_only))
    assert run.result.events[0].stages == ("txt2img", "first_only")
    assert run.result.tally.done == 1
    run.events.accept()
    with pytest.raises(PlanError, match="a chain was given 3"):
        rxp.chain(rxp.txt2img(), 3)
    with pytest.raises(PlanError, match="throw away"):
        rxp.chain(rxp.upscale(), rxp.txt2img())
    with pytest.raises(ConfigError, match="order"):
        rxp.chain(rxp.txt2img(), order="sideways")


def test_two_stages_of_one_kind_are_two_stages(marbles):
    """A chain composed in code may repeat a stage; they differ by their index."""
    chain = rxp.chain(rxp.txt2img(prompt="a"), rxp.img2img(denoising_strength=0.2), rxp.img2img(denoising_strength=0.6))
    run = marbles.run(chain)
    assert [(c.stage_index, c.config.denoising_strength) for c in run.backend.calls[1:]] == [(1, 0.2), (2, 0.6)]
    assert [e.stage_index for e in of(run.events.accept().values, rxp.StageEnd)] == [0, 1, 2]


def test_a_stage_alone_stands_in_anybodys_pipe(marbles):
    """Bound by `on` it is an ordinary operator; its events go to who asked for them."""
    backend = ScriptedBackend(marbles, {"txt2img": "--o|", "upscale": "-o|"})
    events = []
    stream = rxp.seeds(7, images=2).pipe(
        rxp.txt2img(prompt="a").on(backend),
        rxp.upscale().on(backend, events.append),
        ops.map(lambda artifact: artifact.seed),
    )
    seen = []
    stream.subscribe(seen.append, scheduler=marbles.clock)
    marbles.run()
    assert seen == [7, 8]
    assert [e.kind for e in events] == ["stage_start", "stage_image_progress", "stage_image_progress", "stage_end"]


def test_disposing_a_stage_alone_cancels_it(marbles):
    """The backend's rendering is interrupted, once, and the stage is reported cancelled."""
    backend = ScriptedBackend(marbles, {"txt2img": "------o|"})
    events = []
    stream = rxp.seeds(7, images=2).pipe(rxp.txt2img(prompt="a").on(backend, events.append))
    subscription = stream.subscribe(scheduler=marbles.clock)
    marbles.clock.advance_by("3ms")
    subscription.dispose()
    marbles.run()
    backend["txt2img"].subscriptions.to_be("^--!")
    assert [e.kind for e in events] == ["stage_start", "stage_cancelled"]


def test_what_stops_a_stage_alone_is_the_observables_error(marbles):
    """The error itself, not our wrapping of it."""
    backend = ScriptedBackend(marbles, {"txt2img": "-#"}, errors={"txt2img": rxp.BackendRejected("401")})
    stream = rxp.seeds(7).pipe(rxp.txt2img(prompt="a").on(backend))  # its own worker is in virtual time too
    marbles.expect(stream).to_be("-#", error=rxp.BackendRejected("401"))


@pytest.mark.parametrize("given", ["a.png", 7, None, b"png", {"id": "a"}])
def test_a_stage_alone_says_what_it_takes(marbles, given):
    """What came, of which type, and where artifacts come from; the backend is not called."""
    backend = ScriptedBackend(marbles)
    stream = marbles.expect(rx.of(given).pipe(rxp.upscale(scale=2).on(backend)))
    marbles.run()
    (end,) = stream.accept().messages
    assert isinstance(end.value, PlanError)
    assert f"<stage upscale(scale=2.0)> takes artifacts; what came is of type {type(given).__name__}" in str(end.value)
    assert "Artifact.open(path)" in str(end.value)
    assert backend.calls == []


def test_a_stage_alone_without_a_scheduler_has_a_worker_of_its_own():
    """Subscribing does not block; the worker ends with the subscription."""
    before = set(threading.enumerate())
    done = threading.Event()
    names = []

    @rxp.image_stage
    def where(artifact):
        names.append(threading.current_thread().name)
        return artifact

    class Unreachable(rxp.Backend):
        def render(self, stage, source):
            raise AssertionError((stage, source))

    source = rx.just(rxp.Artifact(id="a", data=tiny_picture(1)))
    source.pipe(where().on(Unreachable())).subscribe(on_completed=done.set)
    assert done.wait(5)
    assert names == ["rxpipe-custom"]
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize(("operator", "words"), [(lambda _: 1 // 0, "ZeroDivisionError"), (lambda _: None, "NoneType")])
def test_an_operator_that_cannot_be_applied_fails_its_stage(marbles, operator, words):
    """Raising in the call, or returning no observable: the run ends and says which stage and why."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a"), rxp.operator_stage("mine", operator)))
    run.events.accept()
    assert run.status == "failed"
    assert run.result.error.message.startswith("mine (stage 2 of 2): mine raised ")
    assert words in run.result.error.message


def test_a_function_that_calls_exit_costs_its_image(marbles):
    """The run continues and says what came."""

    @rxp.image_stage
    def leaver(artifact):
        raise SystemExit(artifact.number)

    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a"), leaver()))
    run.events.accept()
    assert "leaver raised SystemExit: 1" in run.result.error.message


@pytest.mark.parametrize("call", [lambda stage: rxp.chain(rxp.txt2img(), stage), lambda stage: stage(1, 2, 3)])
def test_wrong_arguments_are_refused_where_the_stage_is_written(call):
    """Not image by image while it runs."""

    @rxp.image_stage
    def watermark(artifact, text, *, report):
        raise AssertionError((artifact, text, report))

    with pytest.raises(TypeError, match=r"watermark\(\.\.\.\): .*argument.*it takes \(artifact, text, \*, report\)"):
        call(watermark)
