"""What is asked for while something else is just happening, by real threads held where they are; and nothing hangs."""

from __future__ import annotations

import threading

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable

import rxpipe as rxp
from rxpipe.backends.base import Output, StepProgress
from rxpipe.errors import BackendRejected
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing import FaultyFiles, ScriptedBackend
from rxpipe.testing.scripted import tiny_picture

KEPT = rxp.image_stage(
    lambda artifact: artifact.with_data(artifact.read()).with_metadata(at={(1, 2): 3}), name="noting"
)


class Gate:
    """Blocks the first thread that reaches it until it is opened."""

    def __init__(self):
        self.reached, self._open = threading.Event(), threading.Event()

    def hold(self):
        if not self.reached.is_set():
            self.reached.set()
            assert self._open.wait(10)

    def open(self):
        self._open.set()


class Instant(rxp.Backend):
    """Renders immediately, on the run's thread; the images in *hanging* never, the cells in *failing* with an error."""

    name = "instant"

    def __init__(self, *, steps=(), hanging=(), failing=(), queue_ahead=0):
        self.steps, self.hanging, self.failing, self.queue_ahead = steps, hanging, failing, queue_ahead
        self.calls = []
        self.hangs = threading.Event()

    def render(self, stage, source):
        del source

        def subscribe(observer, scheduler=None):
            self.calls.append((stage.stage_type, stage.image_index))
            if (stage.stage_type, stage.image_index) in self.failing:
                return scheduler.schedule(lambda *_: observer.on_error(rxp.BackendFailed("out of memory")))
            if stage.image_index in self.hanging:
                self.hangs.set()
                return Disposable()
            return scheduler.schedule(lambda *_: self.draw(observer, stage))

        return Observable(subscribe)

    def draw(self, observer, stage):
        for step in self.steps:
            observer.on_next(step)
        observer.on_next(Output(tiny_picture(stage.seed)))
        observer.on_completed()


def kinds(run):
    return [event.kind for event in run.result.events]


def one_stage(images=1, **settings):
    return rxp.chain(rxp.txt2img(prompt="a lighthouse", images=images, seed=1), **{"out": None, **settings})


def test_a_cancel_while_the_run_is_about_to_announce_itself_still_begins_with_run_start():
    """The first thread emits RunStart; it is emitted once, and before RunEnd."""
    gate = Gate()

    class Held(WorkerScheduler):
        def schedule(self, action, state=None):
            def act(scheduler, state):
                gate.hold()
                return action(scheduler, state)

            return super().schedule(act, state)

    with Held() as scheduler:
        run = rxp.PipelineExecutor(Instant(), scheduler=scheduler).start(one_stage())
        assert gate.reached.wait(5)
        run.cancel()
        gate.open()
        assert run.wait(5)
    assert kinds(run) == ["run_start", "run_end"]


def test_a_cancel_in_the_middle_of_the_announcement_leaves_it_the_first_and_only_one():
    """The worker is held while it reads the clock for RunStart; what the canceller adds comes behind that."""
    gate = Gate()

    class SlowClock(WorkerScheduler):
        @property
        def now(self):
            if threading.current_thread() is self.thread:
                gate.hold()
            return super().now

    with SlowClock() as scheduler:
        run = rxp.PipelineExecutor(Instant(hanging=(1,)), scheduler=scheduler).start(one_stage())
        assert gate.reached.wait(5)
        canceller = threading.Thread(target=run.cancel)
        canceller.start()
        gate.open()
        canceller.join(5)
        assert run.wait(5)
    assert kinds(run) in (["run_start", "run_end"], ["run_start", "stage_start", "stage_cancelled", "run_end"])


def test_a_step_that_was_on_its_way_when_the_run_was_cancelled_is_not_emitted_after_the_terminal():
    """The rendering thread is held in the middle of a step, the run is cancelled, then it continues."""
    gate = Gate()

    class Slow(StepProgress):
        def __getattribute__(self, name):
            if name == "fraction":
                gate.hold()
            return super().__getattribute__(name)

    told_cancelled = Gate()
    executor = rxp.PipelineExecutor(Instant(steps=[Slow(0.5)]))
    executor.events.subscribe(lambda e: told_cancelled.hold() if e.kind == "stage_cancelled" else None)
    run = executor.start(one_stage())
    assert gate.reached.wait(5)
    canceller = threading.Thread(target=run.cancel)
    canceller.start()
    assert told_cancelled.reached.wait(5)
    gate.open()
    told_cancelled.open()
    canceller.join(5)
    assert run.wait(5)
    assert kinds(run) == ["run_start", "stage_start", "stage_cancelled", "run_end"]


@pytest.mark.parametrize(
    ("order", "outcomes"),
    [("stage", ["done", "done", "failed", "failed"]), ("auto", ["done", "failed", "done", "failed"])],
)
def test_what_cannot_be_written_into_a_file_costs_its_image_and_the_run_continues(tmp_path, order, outcomes):
    """A note that is no JSON is found out while the file is made; it is that image's failure."""
    chain = rxp.chain(rxp.txt2img(prompt="a lighthouse", images=2, seed=1), KEPT(), order=order, out=tmp_path)
    run = rxp.PipelineExecutor(Instant()).start(chain)
    assert run.wait(5)
    assert [record.outcome for record in run.result.records] == outcomes
    assert run.result.records[-1].error.type == "StageFunctionError"
    assert "keys must be str" in run.result.error.message


def test_what_a_backends_own_action_raises_ends_the_run(monkeypatch):
    """No observable reports it, so the worker does: StageFailed with the cause, and the traceback for its author."""
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda args: reported.append(args.exc_value))

    class Broken(Instant):
        def draw(self, *_):
            raise RuntimeError("a bug")

    run = rxp.PipelineExecutor(Broken()).start(one_stage(2))
    assert run.wait(5)
    assert kinds(run) == ["run_start", "stage_start", "stage_failed", "run_end"]
    assert run.result.error.message == "txt2img (stage 1 of 1): backend instant raised RuntimeError: a bug"
    assert [str(error) for error in reported] == ["a bug"]


@pytest.mark.parametrize(("order", "drawn"), [("stage", 4), ("image", 2), ("auto", 2)])
def test_images_that_an_operator_did_not_wait_for_are_filtered(marbles, order, drawn):
    """take(2) of 4: two are through and two filtered, every stage ends; image by image two are never drawn."""
    chain = rxp.chain(rxp.txt2img(prompt="a", images=4, seed=1), ops.take(2), rxp.upscale(), order=order)
    run = marbles.run(chain)
    run.events.accept()
    ends = {e.stage_type: e for e in run.result.events if isinstance(e, rxp.StageEnd)}
    assert set(ends) == {"txt2img", "take", "upscale"}
    assert run.result.tally == rxp.result.Tally(planned=4, done=2, filtered=2)
    assert run.status == "completed"
    assert sum(call.stage_type == "txt2img" for call in run.backend.calls) == drawn
    assert ends["txt2img"].done + ends["txt2img"].filtered == 4
    assert ends["txt2img"].filtered + ends["take"].filtered == 2


@pytest.mark.parametrize(
    ("order", "calls", "cut"),
    [("stage", ["txt2img", "txt2img"], 0), ("auto", ["txt2img", "upscale", "txt2img"], 2)],
)
@pytest.mark.parametrize("heals", [ops.retry(2), ops.catch(lambda _error, _source: rx.empty())])
def test_a_failed_stage_ends_the_run_whatever_an_operator_behind_it_would_do(marbles, heals, order, calls, cut):
    """An operator that tries again, or makes an end of it, gets no further call and no further event."""
    stages = rxp.txt2img(prompt="a", images=3), rxp.operator_stage("healing", heals), rxp.upscale()
    chain = rxp.chain(*stages, order=order)
    run = marbles.run(chain, {"txt2img": ["-o|", "-#", "-o|"]}, errors={"txt2img": BackendRejected("401.")})
    assert [call.stage_type for call in run.backend.calls] == calls
    assert [event.kind for event in run.events.accept().values[-2 - cut :]] == [
        "stage_failed",
        *["stage_cancelled"] * cut,
        "run_end",
    ]
    done = calls.count("upscale")
    assert run.result.tally == rxp.result.Tally(planned=3, done=done, failed=3 - done)
    assert run.result.error.message == "txt2img (stage 1 of 3): 401."


def test_a_cancel_by_who_hears_of_a_failure_leaves_it_a_failure(marbles):
    """StageFailed decides the run's end."""
    backend = ScriptedBackend(marbles, {"txt2img": "-#"}, errors={"txt2img": BackendRejected("401.")})
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(one_stage(2))
    executor.events.subscribe(lambda e: run.cancel() if isinstance(e, rxp.StageFailed) else None)
    marbles.run()
    assert kinds(run) == ["run_start", "stage_start", "stage_failed", "run_end"]
    assert (run.result.status, run.result.error.message) == ("failed", "txt2img (stage 1 of 1): 401.")


def test_skipping_before_anything_is_drawn_says_that_it_skipped_nothing(marbles):
    """At StageStart no image is in progress yet."""
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock)
    run = executor.start(one_stage(2))
    said = []
    executor.events.subscribe(lambda e: said.append(run.skip_image()) if isinstance(e, rxp.StageStart) else None)
    marbles.run()
    assert said == [False]
    assert run.result.status == "completed"


def test_skipping_takes_the_image_that_is_drawn_and_not_the_one_being_written(tmp_path):
    """A slow disk neither blocks the caller nor costs the picture that is being written."""
    gate, disk = Gate(), FaultyFiles()
    disk.before("fsync", gate.hold)
    backend = Instant(hanging=[2], queue_ahead=1)
    run = rxp.PipelineExecutor(backend, files=disk).start(one_stage(2, out=tmp_path))
    assert gate.reached.wait(5)
    assert backend.hangs.wait(5)
    said = []
    asking = threading.Thread(target=lambda: said.append(run.skip_image()))
    asking.start()
    asking.join(5)
    assert said == [True]
    gate.open()
    assert run.wait(5)
    assert [record.outcome for record in run.result.records] == ["done", "cancelled"]


@pytest.mark.parametrize("order", ["image", "stage"])
def test_save_final_syncs_what_stays_and_deletes_on_the_way(tmp_path, order):
    """An image's picture goes once that of its next stage is there; what fails keeps its last, synced at the end."""
    disk, most = FaultyFiles(), []
    stages = (rxp.txt2img("a", images=6, seed=1), rxp.img2img(), rxp.upscale())
    executor = rxp.PipelineExecutor(Instant(failing={("upscale", 2)}, queue_ahead=1), files=disk)
    executor.events.subscribe(lambda _: most.append(len(list(tmp_path.rglob("*.png")))))
    run = executor.start(rxp.chain(*stages, out=tmp_path, save="final", order=order))
    assert run.wait(20)
    left = sorted(path.parent.parent.name for path in tmp_path.rglob("*.png"))
    assert left == ["extras-images"] * 5 + ["img2img-images"]
    assert disk.calls.count("fsync") == 6
    assert max(most) <= 6 + 2  # the last picture, and the one that it supersedes


def test_a_run_that_was_over_before_its_start_was_delivered_is_known_all_the_same(marbles):
    """A subscriber starts the next run and cancels it; when its RunStart is delivered it has long ended."""
    runner = rxp.PipelineRunner(rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock))
    runs = [runner.start(one_stage())]

    def again(event):
        if isinstance(event, rxp.RunEnd) and len(runs) == 1:
            runs.append(runner.start(one_stage(3)))
            runs[1].cancel()

    runner.executor.events.subscribe(again)
    marbles.run()
    assert runner.last_result == runs[1].result
    assert runner.last_plan == runs[1].plan


@pytest.mark.parametrize(
    ("telling", "words"),
    [
        (rx.of(rxp.Output("text")), "emitted a str as a picture"),
        (rx.of(rxp.Output(b"junk")), "The picture to be saved is none"),
        (rx.of("a picture"), "emitted a str; allowed: StepProgress, Preview and one Output"),
        (None, "render returned a NoneType; allowed: an Observable"),
    ],
)
@pytest.mark.parametrize("on_disk", [False, True])
def test_what_no_backend_may_emit_is_an_error_in_words(marbles, tmp_path, telling, words, on_disk):
    """An error of that image, whether pictures are written or not; nothing hangs."""

    class Odd(rxp.Backend):
        name = "odd"

        def render(self, stage, source):
            del stage, source
            return telling

    run = rxp.PipelineExecutor(Odd(), scheduler=marbles.clock).start(
        rxp.chain(rxp.txt2img("a"), out=tmp_path if on_disk else None)
    )
    marbles.run()
    assert run.result.status == "failed"
    assert words in run.result.error.message


def test_waiting_inside_a_subscriber_is_refused_in_words(full_chain):
    """It would wait for itself; `start` is the way, and the run continues."""

    class Instant(rxp.Backend):
        def render(self, stage, source):
            del source
            return rx.of(rxp.Output(tiny_picture(stage.seed)))

    runner = rxp.PipelineRunner(Instant())
    refused = []

    def impatient(event):
        if isinstance(event, rxp.StageEnd):
            try:
                runner.executor.active.wait()
            except RuntimeError as error:
                refused.append(str(error))

    runner.executor.events.subscribe(impatient)
    assert runner.run(full_chain(1)).success
    assert len(refused) == 4
    assert "use start(), and listen for RunEnd" in refused[0]


@pytest.mark.parametrize("out", ["a\0b", "~nobody-of-this-name/x"])
def test_a_folder_that_can_have_no_path_is_refused_at_once(marbles, full_chain, out):
    """Before anything runs, by an error of ours."""
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock)
    with pytest.raises(rxp.SaveError, match="out="):
        executor.start(full_chain(1, out=out))
    assert executor.active is None


def test_save_final_leaves_no_empty_folder_and_says_what_is_gone(marbles, tmp_path):
    """The folders of stages whose pictures were superseded go with them."""
    chain = rxp.chain(rxp.txt2img("a", seed=1), rxp.upscale(), out=tmp_path, save="final")
    run = marbles.run(chain)
    run.events.accept()
    assert [path.name for path in tmp_path.iterdir()] == ["extras-images"]
    with pytest.raises(rxp.BadImage, match=r'is gone\. With save="final"'):
        run.result.artifact(run.result.stage_images("txt2img")[0])


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: rxp.upscale(3), r"upscale\(\.\.\.\): got 3; allowed: settings by name \(scale, "),
        (lambda: rxp.adetailer(rxp.UpscaleConfig()), r"adetailer\(\.\.\.\): got UpscaleConfig"),
        (lambda: rxp.build_chain({"txt2img": {}}), "a run was given .*Allowed: a PipelineConfig, or a chain"),
        (lambda: rxp.build_chain(rxp.txt2img("a")), "a run was given <stage txt2img"),
    ],
)
def test_the_likeliest_first_mistakes_are_errors_in_words(wrong, words):
    """What came and what is allowed, not an attribute that something does not have."""
    with pytest.raises(rxp.RxPipeError, match=words):
        wrong()
    assert rxp.txt2img("a cat", images=2).config == rxp.Txt2ImgConfig(prompt="a cat", images=2)
