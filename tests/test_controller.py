"""The controller: what it emits, when and on which thread; how it carries out intents."""

from __future__ import annotations

import threading
import time
from itertools import pairwise

import pytest
import reactivex as rx
from reactivex.disposable import Disposable

import rxpipe as rxp
from rxpipe.events import is_lifecycle
from rxpipe.rx.mainloop import PumpScheduler
from rxpipe.store.reading import Store
from rxpipe.testing import ScriptedBackend

FRAME_S = 0.01  # 10 marbles
FOUR = rxp.chain(rxp.txt2img(images=2), rxp.img2img(), rxp.adetailer(), rxp.upscale(), out=None)


class Desk:
    """A controller on a scripted backend, all on one virtual clock, and a record of what it emitted."""

    def __init__(self, marbles, scripts=None, *, sees_previews_first=lambda _: None, **options):
        self.clock = marbles.clock
        self.backend = ScriptedBackend(marbles, scripts)
        self.runner = rxp.PipelineRunner(rxp.PipelineExecutor(self.backend, scheduler=self.clock))
        self.runner.executor.previews.subscribe(sees_previews_first)
        options = {"scheduler": self.clock, "intents": self.clock, "frame_s": FRAME_S, **options}
        self.controller = rxp.PipelineController(self.runner, **options)
        self.emitted = self.kept(self.runner.executor.events)
        self.events = self.kept(self.controller.events)
        self.previews = self.kept(self.controller.previews)
        self.statuses = []
        self.controller.status.subscribe(lambda status: self.statuses.append((self.now_ms, status)))

    @property
    def now_ms(self):
        return self.clock.now_us / 1000

    @property
    def status(self):
        return self.statuses[-1][1]

    @property
    def states(self):
        """The states emitted, without repetitions."""
        states = [status.state for _, status in self.statuses]
        return [state for index, state in enumerate(states) if not index or states[index - 1] != state]

    @staticmethod
    def kept(observable):
        kept = []
        observable.subscribe(kept.append)
        return kept

    def play(self, job, **options):
        """Play a run from intent to end."""
        self.controller.start(job, **options)
        self.clock.run()


@pytest.fixture
def desk(marbles):
    return Desk(marbles)


def one(images=1, **settings):
    return rxp.chain(rxp.txt2img(prompt="a lighthouse", images=images), out=None, **settings)


# -- what is emitted ---------------------------------------------------------------------------------------------------


def test_lifecycle_events_all_arrive_in_order(desk):
    """Whatever is coalesced, no event but a step is ever left out."""
    desk.play(FOUR)
    assert desk.events == [event for event in desk.emitted if is_lifecycle(event)]
    assert desk.events[-1].status == "completed"


def test_of_steps_the_latest_per_frame_arrives(marbles):
    """Of thirty steps in three frames three arrive, and the last comes before the image that it belongs to."""
    desk = Desk(marbles, {"txt2img": "s" * 30 + "o|"})
    desk.play(one())
    steps = [event for event in desk.events if event.kind == "stage_step"]
    assert len(steps) <= 4
    assert steps[-1].step == 30
    assert desk.events.index(steps[-1]) < [event.kind for event in desk.events].index("stage_image_progress")


def test_of_previews_the_latest_per_frame_arrives(marbles):
    """The last preview is not lost to the end of the run."""
    desk = Desk(marbles, {"txt2img": "p" * 30 + "o|"})
    shown = desk.kept(desk.runner.executor.previews)
    desk.play(one())
    assert len(desk.previews) <= 4
    assert desk.previews[-1] == shown[-1]


def test_no_preview_comes_after_the_end_of_its_run(marbles):
    """A picture that is late does not cover the finished one: here the run is cancelled while one is delivered."""

    def cancel_at_the_second(_preview):
        if desk.previews:
            desk.runner.executor.active.cancel()

    desk = Desk(marbles, {"txt2img": "--p---------------p--"}, sees_previews_first=cancel_at_the_second)
    shown = desk.kept(desk.runner.executor.previews)
    desk.play(one())
    assert desk.status.state == "cancelled"
    assert len(shown) == 2
    assert desk.previews == shown[:1]


def test_status_is_idle_then_running_then_completed(desk):
    desk.play(FOUR)
    assert desk.states == ["idle", "running", "completed"]
    assert desk.status.message == "Completed"
    assert desk.status.fraction == 1.0


def test_status_says_running_before_the_first_event(desk):
    """Pressing Run shows immediately, with the stages that will come."""
    desk.controller.start(FOUR)
    desk.clock.advance_by("0ms")
    assert desk.status.state == "running"
    assert [stage.name for stage in desk.status.stages] == ["txt2img", "img2img", "adetailer", "upscale"]


def test_status_never_falls_and_is_the_fold_of_all_events(desk):
    """The window's last word is that of the same reducer over every event."""
    desk.play(FOUR)
    fractions = [status.fraction for _, status in desk.statuses]
    folded = rxp.RunStatus()
    for event in desk.emitted:
        folded = rxp.reduce_status(folded, event)
    assert fractions == sorted(fractions)
    assert desk.status == folded


def test_status_is_told_once_a_frame(marbles):
    """A thousand steps in a second make one update per frame and one per change of state."""
    desk = Desk(marbles, {"txt2img": "s" * 1000 + "o|"})
    desk.play(one())
    times = [at for at, status in desk.statuses if status.state == "running"]
    assert len(times) <= 1000 / (FRAME_S * 1000) + 3
    assert all(b - a >= FRAME_S * 1000 for a, b in pairwise(times[1:]))


def test_results_are_told_once_a_frame_and_the_last_always(desk):
    """Instant stages make a burst of events and few updates; the last result is the run's."""
    results = desk.kept(desk.controller.results)
    desk.play(one(images=100))
    assert len(results) < 100
    assert results[-1].status == "completed"
    assert len(results[-1].images) == 100
    assert desk.controller.last_result == results[-1]


def test_a_late_subscriber_gets_the_current_snapshot_at_once(desk):
    desk.play(one())
    late, results = desk.kept(desk.controller.status), desk.kept(desk.controller.results)
    assert [status.state for status in late] == ["completed"]
    assert [result.status for result in results] == ["completed"]


def test_last_plan_and_last_result_stand_after_a_run(desk):
    assert desk.controller.last_plan is None
    assert desk.controller.last_result is None
    desk.play(FOUR)
    assert desk.controller.last_plan == FOUR.plan
    assert desk.controller.last_result.plan == FOUR.plan
    assert desk.controller.last_result.events == tuple(desk.emitted)


def test_a_failed_run_says_why(marbles):
    desk = Desk(marbles, {"txt2img": "--#"})
    desk.play(one())
    assert desk.status.state == "failed"
    assert desk.status.message.startswith("Error: txt2img")


def test_a_second_run_begins_anew(desk):
    desk.play(one(images=2))
    desk.play(FOUR)
    second = desk.controller.last_result
    assert desk.states == ["idle", "running", "completed", "running", "completed"]
    assert second.events == tuple(event for event in desk.emitted if event.run_id == second.run_id)


def test_without_a_scheduler_all_is_told_where_it_happens(marbles):
    """For scripts: every step arrives, at the instant it is emitted."""
    desk = Desk(marbles, {"txt2img": "sssso|"}, scheduler=None)
    desk.play(one())
    assert desk.events == desk.emitted
    assert desk.status.state == "completed"


def test_what_is_started_on_the_runner_is_shown_as_well(desk):
    desk.runner.start(one())
    desk.clock.run()
    assert desk.states == ["idle", "running", "completed"]


# -- intents -----------------------------------------------------------------------------------------------------------


def test_stopping_shows_within_a_frame_of_the_intent(marbles):
    """Even while nothing else happens and the backend never answers."""
    desk = Desk(marbles, {"txt2img": "s"}, intents=Later(marbles.clock, "300ms"))
    desk.controller.start(one())
    desk.clock.advance_by("57ms")
    desk.controller.cancel()
    desk.clock.run()
    at = next(at for at, status in desk.statuses if status.state == "stopping")
    assert at - 57 <= FRAME_S * 1000
    assert desk.states == ["idle", "running", "stopping", "cancelled"]


class Later:
    """A scheduler that takes its time."""

    def __init__(self, clock, delay):
        self._clock, self._delay = clock, delay

    def schedule(self, action):
        return self._clock.schedule_at_us(self._clock.now_us + int(self._delay.removesuffix("ms")) * 1000, action)


def test_progress_goes_on_while_stopping(marbles):
    """The state stays "stopping", with the run's progress, until the run has ended."""
    desk = Desk(marbles, {"txt2img": "ssssssssssssssssssss---o|"})
    desk.controller.start(one(images=3))
    desk.clock.advance_by("5ms")
    desk.controller.stop_after_image()
    desk.clock.run()
    assert desk.states == ["idle", "running", "stopping", "cancelled"]
    during = [status for _, status in desk.statuses if status.state == "stopping"]
    assert {status.message for status in during} == {"Stopping after this image"}
    assert during[-1].fraction > during[0].fraction
    assert len(desk.controller.last_result.images) == 1


def test_cancel_keeps_what_is_finished(marbles):
    desk = Desk(marbles)
    desk.controller.events.subscribe(
        lambda event: desk.controller.cancel() if event.kind == "stage_image_progress" else None
    )
    desk.play(one(images=3))
    assert desk.controller.last_result.status == "cancelled"
    assert len(desk.controller.last_result.images) == 1


def test_cancel_right_after_the_start_calls_no_backend(desk):
    desk.controller.start(one())
    desk.controller.cancel()
    desk.clock.run()
    assert desk.backend.calls == []
    assert desk.states == ["idle", "running", "stopping", "cancelled"]


def test_intents_with_nothing_to_act_on_are_harmless(desk):
    for intent in (desk.controller.cancel, desk.controller.stop_after_image, desk.controller.skip_image):
        intent()
    desk.clock.run()
    assert desk.states == ["idle"]


def test_skip_goes_on_with_the_next_image(marbles):
    desk = Desk(marbles, {"txt2img": ["-----", "--o|"]})
    desk.controller.start(one(images=2))
    desk.clock.advance_by("3ms")
    desk.controller.skip_image()
    desk.clock.run()
    assert [variant.outcome for variant in desk.controller.last_result.variants] == ["cancelled", "done"]
    assert "stopping" not in desk.states


def test_of_several_in_progress_the_one_named_is_skipped(marbles):
    desk = Desk(marbles, {"txt2img": ["-----", "--o|", "--o|"]})
    desk.backend.capacity = 3
    desk.controller.start(one(images=3))
    desk.clock.advance_by("2ms")
    desk.controller.skip_image(2)
    desk.controller.skip_image(7)
    desk.clock.advance_by("2ms")
    desk.controller.skip_image(1)
    desk.clock.run()
    assert [variant.outcome for variant in desk.controller.last_result.variants] == ["cancelled", "cancelled", "done"]


def test_start_while_running_is_refused_and_says_what_to_do(desk):
    desk.controller.start(one())
    with pytest.raises(rxp.RunActive, match="queue=True"):
        desk.controller.start(one())
    desk.clock.run()
    assert desk.states == ["idle", "running", "completed"]


def test_a_job_that_cannot_work_is_refused_at_once_queued_or_not(desk):
    desk.controller.start(one())
    with pytest.raises(rxp.PlanError, match="No pipeline stages enabled"):
        desk.controller.start(rxp.PipelineConfig(), queue=True)
    assert desk.controller.queued == ()


def test_queued_runs_follow_one_another_whatever_became_of_the_one_before(marbles):
    desk = Desk(marbles, {"txt2img": ["--o|", "--#", "-----------", "--o|"]})
    requests = [desk.controller.start(one(), queue=True) for _ in range(4)]
    desk.clock.advance_by("8ms")
    assert [request.waiting for request in requests] == [False, False, False, True]
    desk.controller.cancel()
    desk.clock.run()
    ends = [event.status for event in desk.events if event.kind == "run_end"]
    assert ends == ["completed", "failed", "cancelled", "completed"]
    assert [request.run.run_id for request in requests] == [e.run_id for e in desk.events if e.kind == "run_start"]


def test_queued_runs_can_be_withdrawn_and_reordered(desk):
    first, second, third, fourth = (desk.controller.start(one(images=n), queue=True) for n in (1, 2, 3, 4))
    queue = desk.kept(desk.controller.queue)
    desk.controller.move(fourth, 0)
    desk.controller.withdraw(second)
    desk.controller.withdraw(first)  # runs already: left alone
    desk.clock.run()
    assert [event.images for event in desk.events if event.kind == "run_start"] == [1, 4, 3]
    assert second.withdrawn
    assert not first.withdrawn
    assert queue[-1] == desk.controller.queued == ()
    assert third.run is not None


def test_withdraw_without_a_name_empties_the_queue(desk):
    for _ in range(3):
        desk.controller.start(one(), queue=True)
    desk.controller.withdraw()
    desk.clock.run()
    assert len([event for event in desk.events if event.kind == "run_start"]) == 1


def test_a_queued_run_that_cannot_begin_is_told_and_passed_over(desk, tmp_path):
    """Its picture was deleted meanwhile: the status says so, and the next one runs."""
    desk.controller.start(one())
    gone = desk.controller.start(rxp.chain(rxp.upscale(), out=None), [tmp_path / "gone.png"], queue=True)
    desk.controller.start(one(images=2), queue=True)
    desk.clock.run()
    assert isinstance(gone.error, rxp.BadImage)
    assert any("gone.png" in status.message for _, status in desk.statuses)
    assert desk.status.state == "completed"
    assert desk.controller.last_result.tally.planned == 2


def test_inputs_stand_in_place_of_those_of_the_job(desk, tmp_path):
    picture = tmp_path / "in.png"
    desk.play(one())
    made = desk.controller.last_result
    picture.write_bytes(made.artifact(made.images[0]).data)
    desk.play(rxp.chain(rxp.upscale(), out=None), inputs=[picture])
    assert desk.controller.last_plan.settings.input == (picture,)
    assert desk.status.state == "completed"


def test_close_cancels_withdraws_and_tells_nothing_more(marbles):
    desk = Desk(marbles, {"txt2img": "--"})
    waiting = [desk.controller.start(one(), queue=True) for _ in range(2)][1]
    desk.clock.advance_by("5ms")
    count = len(desk.statuses)
    desk.controller.close()
    desk.controller.close()
    desk.clock.run()
    assert desk.emitted[-1].status == "cancelled"
    assert waiting.withdrawn
    assert len(desk.statuses) == count
    assert desk.runner.executor.subscribers == 3  # the log, the runner, this test
    with pytest.raises(rxp.RunActive, match="closed"):
        desk.controller.start(one())


# -- sinks -------------------------------------------------------------------------------------------------------------


class Harness:
    """A sink with both methods."""

    def __init__(self):
        self.events, self.results = [], []

    def on_event(self, event):
        self.events.append(event)

    def on_result(self, result):
        self.results.append(result)


def test_every_sink_gets_every_event_and_the_result(marbles):
    """Objects with methods and plain functions; steps included, not coalesced."""
    harness, called = Harness(), []
    desk = Desk(marbles, {"txt2img": "s" * 30 + "o|"}, sinks=[harness, called.append])
    desk.play(one())
    assert harness.events == called == desk.emitted
    assert [result.events for result in harness.results] == [tuple(desk.emitted)]


def test_a_sink_that_raises_costs_nobody_else_anything(marbles):
    """It is reported once a run, called again for the next, and the run's result is what it would have been."""
    reported, asked, harness = [], [], Harness()

    def broken(event):
        asked.append(event.run_id)
        raise RuntimeError("no")

    desk = Desk(marbles, sinks=[broken, harness], report=reported.append)
    desk.play(one())
    desk.play(one())
    assert [str(error) for error in reported] == ["no", "no"]
    assert len(asked) == len(set(asked)) == 2
    assert harness.events == desk.emitted
    assert desk.states == ["idle", "running", "completed", "running", "completed"]


def test_a_subscriber_that_raises_does_not_stop_the_others(desk, monkeypatch):
    monkeypatch.setattr("sys.excepthook", lambda *_: None)

    def broken(_):
        raise RuntimeError("no")

    for observable in (desk.controller.status, desk.controller.events, desk.controller.results):
        observable.subscribe(broken)
    desk.play(one())
    assert desk.status.state == "completed"
    assert desk.events[-1].kind == "run_end"


def test_a_sink_that_can_be_told_nothing_is_refused(desk):
    with pytest.raises(TypeError, match="on_event"):
        rxp.PipelineController(desk.runner, sinks=[object()])


# -- real threads ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_flood_from_a_worker_is_told_on_the_pumping_thread_only(marbles):
    """10,000 steps and 1,000 images while the window is busy: few updates, all images, the last state, one thread."""
    marbles.allow_threads()
    desk = Desk(marbles, {"txt2img": "s" * 10 + "o|"}, scheduler=(pump := PumpScheduler()))
    threads, images = set(), []
    desk.controller.status.subscribe(lambda _: threads.add(threading.get_ident()))
    desk.controller.events.subscribe(
        lambda event: images.append(event.image_index) if event.kind == "stage_image_progress" else None
    )
    desk.controller.start(one(images=1000))
    worker = threading.Thread(target=desk.clock.run)
    worker.start()
    worker.join(60)
    while pump.pump() is not None:
        pass
    assert threads == {threading.get_ident()}
    assert images == list(range(1, 1001))
    assert desk.status.state == "completed"
    assert len(desk.statuses) < 200


class Silent(rxp.Backend):
    """It never answers."""

    name = "silent"

    def __init__(self):
        self.interrupts = 0

    def render(self, stage, source):
        del stage, source

        def interrupted():
            self.interrupts += 1

        return rx.create(lambda _observer, _scheduler: Disposable(interrupted))


def test_ten_starts_and_stops_leave_nothing_behind():
    """Real threads, a backend that never answers: each run over within a second, no thread and no action left."""
    pump, backend = PumpScheduler(), Silent()
    runner = rxp.PipelineRunner(backend)
    controller = rxp.PipelineController(runner, scheduler=pump)
    states, threads = [], set(threading.enumerate())
    controller.status.subscribe(lambda status: states.append((status.state, status.stage)))
    for _ in range(10):
        controller.start(rxp.chain(rxp.txt2img(), out=None))
        assert pumped(pump, lambda: states[-1] == ("running", "txt2img"))
        controller.cancel()
        assert pumped(pump, lambda: states[-1][0] == "cancelled", limit_s=1.0)
    assert backend.interrupts == 10
    assert pumped(pump, lambda: pump.pump() is None)
    for thread in set(threading.enumerate()) - threads:
        thread.join(1.0)
    assert set(threading.enumerate()) <= threads


def pumped(pump, until, limit_s=5.0):
    """Pump until the condition holds, for at most so many seconds; whether it holds."""
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        pump.pump()
    return until()


def test_a_run_that_was_stopped_and_is_resumed_is_running_again(tmp_path):
    """It has the same id; that it was stopped once is over."""
    runner = rxp.PipelineRunner(rxp.open_backend("embedded"), store=Store(tmp_path / "runs.sqlite3"))
    controller = rxp.PipelineController(runner)
    states = []
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt="x", images=3, steps=1, width=64, height=64), out=tmp_path / "out"
    )
    first = controller.events.subscribe(lambda event: event.kind == "stage_image_progress" and controller.cancel())
    request = controller.start(config)
    request.run.wait()
    first.dispose()
    controller.status.subscribe(lambda status: states.append(status.state))
    states.clear()
    runner.executor.resume(request.run.run_id).wait()
    assert set(states) == {"running", "completed"}
    controller.close()
