"""The result of a run, statements 22 to 26 of the contract: inputs, results, second runs."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from reactivex import Observable
from reactivex.disposable import Disposable

import rxpipe as rxp
from rxpipe.errors import BackendRejected, PlanError, RunActive, RunFailed, SaveError
from rxpipe.stages.scope import SavingPace
from rxpipe.testing import ScriptedBackend
from rxpipe.testing.scripted import tiny_picture


def runner_on(marbles, scripts=None, **more):
    backend = ScriptedBackend(marbles, scripts, **more)
    return rxp.PipelineRunner(rxp.PipelineExecutor(backend, scheduler=marbles.clock)), backend


class Painter(rxp.Backend):
    """Answers immediately with a picture that shows which picture it was given."""

    name = "painter"

    def __init__(self):
        self.given = []

    def render(self, stage, source):
        def subscribe(observer, scheduler=None):
            def draw(*_):
                before = source.to_image().getpixel((0, 0)) if source is not None and source.has_picture else 0
                self.given.append((stage.stage_type, stage.image_index, before))
                buffer = io.BytesIO()
                Image.new("L", (8, 8), before + 10 + (stage.image_index if before == 0 else 0)).save(buffer, "PNG")
                observer.on_next(rxp.Output(buffer.getvalue()))
                observer.on_completed()

            return scheduler.schedule(draw)

        return Observable(subscribe)


def test_each_stage_works_on_the_picture_of_the_stage_before(marbles, full_chain, tmp_path):
    """Per image: what comes in is what the previous stage made of the same image, also from its file."""
    for out in (None, tmp_path):
        backend = Painter()
        runner = rxp.PipelineRunner(rxp.PipelineExecutor(backend, scheduler=marbles.clock))
        run = runner.start(full_chain(2, out=out))
        marbles.run()
        assert run.result.success
        assert backend.given == [
            ("txt2img", 1, 0), ("txt2img", 2, 0),
            ("img2img", 1, 11), ("img2img", 2, 12),
            ("adetailer", 1, 21), ("adetailer", 2, 22),
            ("upscale", 1, 31), ("upscale", 2, 32),
        ]  # fmt: skip
        last = [run.result.artifact(image).to_image().getpixel((0, 0)) for image in run.result.images]
        assert last == [41, 42]


def test_the_result_holds_what_was_emitted_and_what_it_means(marbles, full_chain, tmp_path):
    """Events element for element; images, variants, durations, plan and metadata next to them."""
    runner, _ = runner_on(marbles, {"txt2img": "--(o|)"})
    live, snapshots = [], []
    runner.executor.events.subscribe(live.append)
    runner.results.subscribe(snapshots.append)
    chain = full_chain(2, out=tmp_path, metadata={"run_id": "mine", "one_click_action": "hi", "note": "x"})
    run = runner.start(chain)
    marbles.run()
    result = runner.last_result
    assert result.events == tuple(live) == run.result.events
    assert len(snapshots) == len(live)
    assert snapshots[-1] == result
    assert snapshots[3].events == tuple(live[:4])
    assert (result.run_id, result.status, result.success, result.error) == ("mine", "completed", True, None)
    assert result.metadata == {"run_id": "mine", "one_click_action": "hi", "note": "x"}
    assert result.plan is runner.last_plan
    assert result.plan.one_click_action == "hi"
    assert [(i.stage_type, i.image_index, i.seed) for i in result.images] == [("upscale", 1, 100), ("upscale", 2, 101)]
    assert all(image.path.is_file() for image in result.images)
    assert result.variant_count == len(result.variants) == 2
    assert [len(variant.paths) for variant in result.variants] == [4, 4]
    assert result.durations["txt2img"] == 0.004
    assert len(result.stage_images("img2img")) == 2


def test_a_second_run_begins_with_an_empty_timeline(marbles, full_chain):
    """After a run, a cancelled one and a failed one."""
    runner, _ = runner_on(marbles, {"upscale": ["-o|", "-o|", "--", "-#", "-o|"]})
    first = runner.start(full_chain(1, out=None))
    marbles.run()
    second = runner.start(full_chain(2, out=None))
    marbles.run()
    second.cancel()
    third = runner.start(full_chain(1, out=None))
    marbles.run()
    fourth = runner.start(full_chain(1, out=None))
    marbles.run()
    runs = [first, second, third, fourth]
    assert [run.result.status for run in runs] == ["completed", "cancelled", "failed", "completed"]
    assert [run.result.events[0].kind for run in runs] == ["run_start"] * 4
    assert len({run.run_id for run in runs}) == 4
    assert runner.last_result.run_id == fourth.run_id
    assert {event.run_id for event in fourth.result.events} == {fourth.run_id}


def test_a_late_subscriber_of_the_results_gets_the_latest_first(marbles, full_chain):
    """State is replayed, events are not."""
    runner, _ = runner_on(marbles)
    runner.start(full_chain(1, out=None))
    marbles.run()
    late = []
    runner.results.subscribe(late.append)
    assert [result.status for result in late] == ["completed"]


def test_the_next_run_may_be_started_by_who_hears_of_the_end(marbles, full_chain):
    """On RunEnd the executor is free."""
    runner, _ = runner_on(marbles)
    started = []

    def again(event):
        if isinstance(event, rxp.RunEnd) and len(started) < 3:
            started.append(runner.start(full_chain(1, out=None)))

    runner.executor.events.subscribe(again)
    started.append(runner.start(full_chain(1, out=None)))
    marbles.run()
    assert [run.result.status for run in started] == ["completed"] * 3


def test_two_runs_at_once_are_refused_by_name(marbles, full_chain):
    """The error names the run in progress, which is unaffected."""
    runner, _ = runner_on(marbles)
    run = runner.start(full_chain(1, out=None))
    with pytest.raises(RunActive, match=run.run_id):
        runner.start(full_chain(1, out=None))
    marbles.run()
    assert run.result.success


def test_nothing_to_run_is_refused_before_any_call(marbles):
    """An empty config, a disabled one, a missing picture, a useless one."""
    runner, backend = runner_on(marbles)
    for config, words in [
        (rxp.PipelineConfig(), "No pipeline stages enabled"),
        (rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(enabled=False)), "No pipeline stages enabled"),
        (rxp.PipelineConfig(adetailer={}), "adetailer .* nothing to detail"),
        (rxp.PipelineConfig(upscale={}), "upscale .* no picture to start from"),
        (rxp.PipelineConfig(txt2img={}, input=["a.png"]), "would not be used"),
        (rxp.chain(rxp.adetailer()), "adetailer .* no picture to start from"),
    ]:
        with pytest.raises(PlanError, match=words):
            runner.start(config)
    with pytest.raises(ValueError, match="no such file"):
        runner.start(rxp.PipelineConfig(upscale={}), inputs=["nowhere.png"])
    assert backend.calls == []
    assert runner.executor.active is None


def test_upscale_alone_on_a_given_picture_is_legal(marbles, tmp_path):
    """The picture may be named by the config or at the start; each is planned once."""
    given = tmp_path / "given.png"
    given.write_bytes(tiny_picture(3))
    for start in (
        lambda runner: runner.start(rxp.PipelineConfig(upscale={}, input=[given, given], out=None)),
        lambda runner: runner.start(rxp.PipelineConfig(upscale={}, out=None), inputs=[given, given]),
    ):
        runner, backend = runner_on(marbles)
        run = start(runner)
        marbles.run()
        assert run.result.success
        assert [call.stage_type for call in backend.calls] == ["upscale", "upscale"]
    assert given.read_bytes() == tiny_picture(3)


def test_variants_of_a_picture_have_seeds_of_their_own(marbles, tmp_path):
    """img2img first, two pictures, three variants each: six images, seeds in order."""
    given = tmp_path / "given.png"
    given.write_bytes(tiny_picture(3))
    run = marbles.run(rxp.chain(rxp.img2img(images=3, seed=10)), inputs=[given, given])
    assert [call.seed for call in run.backend.calls] == [10, 11, 12, 13, 14, 15]
    run.events.accept()


def test_an_unset_seed_is_drawn_once_per_run(marbles):
    """Seeds of a run follow each other; two runs differ; the plan itself stays unset."""
    chain = rxp.chain(rxp.txt2img(prompt="a", images=3), rxp.upscale())
    firsts = set()
    for _ in range(2):
        run = marbles.run(chain)
        seeds, again = (
            [call.seed for call in run.backend.calls if call.stage_type == stage] for stage in ("txt2img", "upscale")
        )
        assert seeds == again == list(range(seeds[0], seeds[0] + 3))
        firsts.add(seeds[0])
        run.events.accept()
    assert len(firsts) == 2
    assert chain.plan.seed is None


def test_a_check_that_fails_ends_the_run_before_any_drawing(marbles, full_chain):
    """RunStart, RunEnd(failed), and the cause."""
    refused = BackendRejected("no sampler 'Eulr a'", hint="Did you mean 'Euler a'?")
    runner, backend = runner_on(marbles, check=refused)
    run = runner.start(full_chain(1, out=None))
    marbles.run()
    assert [event.kind for event in run.result.events] == ["run_start", "run_end"]
    assert str(run.result.error) == "no sampler 'Eulr a'. Did you mean 'Euler a'?"
    assert backend.calls == []


def test_raise_for_status_raises_what_the_result_tells(marbles, full_chain):
    """Nothing for a completed run; else counts and cause, with the result inside."""
    marbles.run(full_chain(1)).result.raise_for_status()
    failed = marbles.run(full_chain(2), {"upscale": ["-#", "-o|"]}).result
    with pytest.raises(RunFailed, match="partial, 1 of 2 images came through: upscale") as raised:
        failed.raise_for_status()
    assert raised.value.result is failed
    for recording in marbles.recordings:
        recording.accept()


def test_a_folder_that_cannot_be_written_fails_the_run_with_its_path(marbles, full_chain, tmp_path):
    """Before anything is drawn: no picture could be saved there."""
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    run = marbles.run(full_chain(2, out=blocked))
    run.events.accept()
    assert run.result.error.type == SaveError.__name__
    assert str(blocked) in run.result.error.message
    assert run.backend.calls == []


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_save_final_leaves_the_last_picture_of_each_image(marbles, tmp_path, order):
    """What came through has one file, what failed keeps the picture it had, what was filtered has none."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", images=4, seed=1),
        rxp.keep_if(lambda artifact: artifact.seed != 2),
        rxp.img2img(),
        rxp.upscale(),
        out=tmp_path,
        save="final",
        order=order,
    )
    run = marbles.run(chain, {"upscale": ["-o|", "-#", "-o|"]})
    run.events.accept()
    files = sorted(path.parent.parent.name for path in tmp_path.rglob("*.png"))
    assert files == ["extras-images", "extras-images", "img2img-images"]
    assert sorted(image.path for image in run.result.images if image.seed != 2) == sorted(tmp_path.rglob("*.png"))


def test_between_stages_an_artifact_refers_to_its_file(marbles, full_chain, tmp_path):
    """With a folder nothing stays in memory; without one everything does."""
    on_disk = marbles.run(full_chain(2, out=tmp_path))
    in_memory = marbles.run(full_chain(2, out=None))
    for run, holds in ((on_disk, False), (in_memory, True)):
        run.events.accept()
        assert {run.result.artifact(record).data is not None for record in run.result.records} == {holds}
    assert len(list(tmp_path.rglob("*.png"))) == 8


class OverlappingSaves(rxp.Backend):
    """Draws for 3 ms each and notes how many drawings are open, and when."""

    name = "overlapping"

    def __init__(self, *, capacity=1, queue_ahead=0):
        self.capacity, self.queue_ahead = capacity, queue_ahead
        self.open, self.most, self.calls, self.interrupts = 0, 0, [], []

    def render(self, stage, source):
        del source

        def subscribe(observer, scheduler=None):
            self.calls.append((stage.stage_type, stage.image_index))
            self.open += 1
            self.most = max(self.most, self.open)
            due = 0.001 if stage.image_index % 2 == 0 else 0.003  # the second of two overtakes the first

            def over():
                self.open -= 1

            timer = scheduler.schedule_relative(due, lambda *_: finish())
            held = Disposable(over)

            def finish():
                held.dispose()
                observer.on_next(rxp.Output(tiny_picture(stage.seed)))
                observer.on_completed()

            def interrupt():
                if not held.is_disposed:
                    self.interrupts.append((stage.stage_type, stage.image_index))
                held.dispose()
                timer.dispose()

            return Disposable(interrupt)

        return Observable(subscribe)


@pytest.mark.parametrize(
    ("settings", "most"),
    [({}, 1), ({"queue_ahead": 1}, 2), ({"capacity": 3}, 3), ({"capacity": 2, "queue_ahead": 1}, 3)],
)
@pytest.mark.parametrize("order", ["stage", "image"])
def test_a_stage_has_as_many_drawings_open_as_its_backend_asks_for(marbles, settings, most, order):
    """The sum over the chain, in every order; with a capacity of 1 the images of a stage finish in index order."""
    backend = OverlappingSaves(**settings)
    chain = rxp.chain(rxp.txt2img(prompt="a", images=5, seed=0), rxp.upscale(), out=None, order=order)
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(chain)
    marbles.run()
    assert run.result.success
    assert backend.most == most
    for stage in ("txt2img", "upscale"):
        records = [record for record in run.result.records if record.stage_type == stage]
        finished = [record.image_index for record in records]
        assert finished == [1, 2, 3, 4, 5] or (backend.capacity > 1 and sorted(finished) == [1, 2, 3, 4, 5])
        assert sorted(record.seed for record in records) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("out", [True, False])
def test_where_writing_is_quick_a_third_image_waits_until_the_first_is_finished(marbles, tmp_path, out):
    """The slot of a picture that is being written is kept for its own next stage: the first image ends sooner."""
    backend = OverlappingSaves(queue_ahead=1)
    stages = (rxp.txt2img(prompt="a", images=4, seed=0), rxp.img2img(), rxp.upscale())
    chain = rxp.chain(*stages, out=tmp_path if out else None, order="image")
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(chain)
    marbles.run()
    assert run.result.success
    assert backend.calls.index(("upscale", 1)) < backend.calls.index(("txt2img", 3))
    assert len(backend.calls) == 12


def test_a_slot_is_kept_for_what_is_written_only_while_that_is_quick():
    """Over all pictures of the run; until the first one is written it is taken to be."""
    pace = SavingPace()
    assert pace.is_short
    pace.note(0.5, 0.1)
    assert pace.is_short
    pace.note(0.1, 0.2)
    assert not pace.is_short


def test_cancel_interrupts_every_drawing_that_is_open(marbles):
    """With one queued ahead there are two, each interrupted once; nothing begins afterwards."""
    backend = OverlappingSaves(queue_ahead=1)
    chain = rxp.chain(rxp.txt2img(prompt="a", images=5, seed=0), out=None)
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(chain)
    marbles.clock.advance_by("500us")
    run.cancel()
    marbles.run()
    assert backend.calls == [("txt2img", 1), ("txt2img", 2)]
    assert sorted(backend.interrupts) == backend.calls
    assert [event.kind for event in run.result.events] == ["run_start", "stage_start", "stage_cancelled", "run_end"]
