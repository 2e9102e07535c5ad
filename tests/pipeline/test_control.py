"""Decisions about a run: taken once, by any thread, and carried out to the end whatever interrupts that."""

from __future__ import annotations

import functools
import linecache
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from reactivex import Observable
from reactivex.disposable import Disposable

import rxpipe as rxp
from rxpipe.rx.subject import EventSubject
from rxpipe.stages.control import RunControl, RunPhase
from rxpipe.stages.timeline import Timeline
from rxpipe.testing import ScriptedBackend
from rxpipe.testing.scripted import tiny_picture

PACKAGE = str(Path(rxp.__file__).parent)
KIT = f"{PACKAGE}/testing"


class InterruptAt:
    """Raises KeyboardInterrupt once, at the nth line of rxpipe but its kit that this thread executes in the block.

    Signals arrive at calls and jumps back, not at a `try:` or where a `with` block is left: such lines are skipped.
    """

    def __init__(self, line):
        self.left, self.where = line, ""

    def __enter__(self):
        sys.settrace(self._trace)
        return self

    def __exit__(self, *_):
        sys.settrace(None)

    @property
    def fired(self):
        return self.left <= 0

    def _trace(self, frame, event, _):
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_filename.startswith(KIT):
            return None
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not self.fired and not line.lstrip().startswith(("with ", "try:")):
            self.left -= 1
            if self.fired:
                self.where = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                raise KeyboardInterrupt
        return self._trace


class Interruptible(rxp.Backend):
    """Renders the images in *hanging* for ever, others immediately; counts interrupts per image."""

    name = "interruptible"

    def __init__(self, *, hanging=(), queue_ahead=0, batches=False):
        self.hanging, self.queue_ahead, self.batches = hanging, queue_ahead, batches
        self.begun, self.interrupts, self.observers = [], [], {}

    def render(self, stage, source):
        del source

        def subscribe(observer, scheduler=None):
            self.begun.append(stage.image_index)
            self.observers[stage.image_index] = observer
            if stage.image_index not in self.hanging:
                return scheduler.schedule(lambda *_: self.finish(stage.image_index))
            return Disposable(lambda: self.interrupt(stage.image_index))

        return Observable(subscribe)

    def interrupt(self, index):
        if self.observers.pop(index, None) is not None:
            self.interrupts.append(index)

    def finish(self, index):
        observer = self.observers.pop(index)
        observer.on_next(rxp.Output(tiny_picture(index)))
        observer.on_completed()


def chain(images=2, **settings):
    return rxp.chain(
        rxp.txt2img(prompt="a lighthouse", images=images, seed=1, batch_size=settings.pop("batch_size", 1)),
        rxp.upscale(),
        **{"out": None, "order": "stage", **settings},
    )


def a_run_in_the_middle(marbles):
    """Return an executor, its run with the second image being rendered, what a subscriber saw, and the backend."""
    backend = Interruptible(hanging=[2])
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    seen = []
    executor.events.subscribe(seen.append)
    run = executor.start(chain())
    marbles.clock.advance_by("5ms")
    assert backend.begun == [1, 2]
    return executor, run, seen, backend


def check_cancelled(run, seen, where):
    """Check for one RunEnd, one terminal per stage, and a subscriber that saw all but the event whose delivery was cut.

    *where*: the line at which the cancel was interrupted.
    """
    events = run.result.events
    assert [event.kind for event in events[-2:]] == ["stage_cancelled", "run_end"]
    assert [event.seq for event in events] == list(range(len(events)))
    assert len(events) - len(seen) <= where.startswith(f"{PACKAGE}/rx/subject.py"), where
    assert [event for event in events if event in seen] == seen, where
    assert sum(event.kind == "stage_cancelled" for event in events) == 1
    assert run.result.status == "cancelled"


@pytest.mark.slow
def test_an_interrupt_at_any_line_of_a_cancel_leaves_no_run_open(marbles):
    """The second Ctrl+C: whatever the first one left undone is done by wait, by the next start, or by cancel again."""
    line, ended = 0, False
    while not ended:
        line += 1
        executor, run, seen, backend = a_run_in_the_middle(marbles)
        with InterruptAt(line) as interrupt:
            try:
                run.cancel()
                ended = not interrupt.fired
            except KeyboardInterrupt:
                pass
        if interrupt.fired and executor.active is run and line % 2:
            run.cancel()  # every second time; else the next start completes what was begun
        elif interrupt.fired and run.result.status == "running":
            run.finish()
            if executor.active is run:  # the interrupt came before the decision
                run.cancel()
        assert run.wait(5), interrupt.where
        check_cancelled(run, seen, interrupt.where)
        assert backend.interrupts == [2], interrupt.where
        assert executor.active is None
    sys.stdout.write(f"interrupts: {line - 1}\n")  # for the benchmark
    assert line > 50, "a cancel that short was not traced"


def test_the_next_start_completes_what_an_interrupted_cancel_left(marbles):
    executor, run, seen, _ = a_run_in_the_middle(marbles)
    ending = executor.events.subscribe(lambda event: None if event.kind != "stage_cancelled" else interrupt())

    def interrupt():
        ending.dispose()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.cancel()
    assert executor.active is run
    after = executor.start(chain(1))
    assert run.done
    assert tuple(seen) == run.result.events
    after.cancel()


def test_what_a_backend_raises_while_it_is_interrupted_is_reported_and_the_run_ends(marbles, monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "excepthook", lambda _kind, error, _traceback: reported.append(error))

    class Raising(Interruptible):
        def render(self, stage, source):
            del stage, source
            return Observable(lambda *_: Disposable(lambda: (_ for _ in ()).throw(RuntimeError("no"))))

    run = rxp.PipelineExecutor(Raising(), scheduler=marbles.clock).start(chain())
    marbles.clock.advance_by("5ms")
    run.cancel()
    assert run.done
    assert run.result.status == "cancelled"
    assert [str(error) for error in reported] == ["no"]


CHILD = """
import os, signal, sys, threading
import rxpipe as rxp
from rxpipe.testing import FaultyFiles
from rxpipe.testing.scripted import tiny_picture
import reactivex as rx

class Ready(rxp.Backend):
    name = "ready"
    def render(self, stage, source):
        return rx.of(rxp.Output(tiny_picture(stage.seed)))

def interrupt():
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(float(sys.argv[2]))
    os.kill(os.getpid(), signal.SIGINT)

def wait_for_the_disk():
    if not interrupting.is_alive() and not interrupting.ident:
        interrupting.start()
    threading.Event().wait(0.4)

interrupting = threading.Thread(target=interrupt, daemon=True)
disk = FaultyFiles()
disk.before("fsync", wait_for_the_disk)
runner = rxp.PipelineRunner(rxp.PipelineExecutor(Ready(), files=disk))
chain = rxp.chain(rxp.txt2img(prompt="a", images=5, seed=1), out=sys.argv[1])
try:
    try:
        try:
            runner.run(chain)
        finally:
            interrupting.join()
    finally:
        interrupting.join()  # neither interrupt comes after this
except KeyboardInterrupt:
    pass
active = runner.executor.active
print("ended" if active is None or active.wait(30) else "open", runner.last_result.status)
disk.heal()
print(runner.run(rxp.chain(rxp.txt2img(prompt="a", seed=1), out=sys.argv[1])).status)
"""


@pytest.mark.sampled(1)
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("apart_s", [0.0, 0.05, 0.3])
@pytest.mark.slow
def test_two_interrupts_while_a_picture_is_written(tmp_path, apart_s):
    """The run is cancelled, and the next one starts."""
    arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(apart_s)]
    child = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  # ourselves
    assert child.stdout.split("\n")[:2] == ["ended cancelled", "completed"], child.stderr


def test_a_config_that_cannot_be_recorded_is_refused_before_anything_starts(marbles):
    """An integer of thousands of digits has no text; it was a run that never ended."""
    backend = ScriptedBackend(marbles)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    metadata = rxp.RunMetadata(x=int("f" * 3600, 16))
    with pytest.raises(rxp.ConfigError, match=r"metadata\.x: the value cannot be recorded"):
        executor.start(chain(metadata=metadata))
    assert executor.active is None
    assert executor.start(chain()).result.status == "pending"


def test_a_plan_that_takes_long_holds_up_no_other_run(marbles):
    """The events and the cancel of a run do not wait for the plan of another one."""
    computing, go_on = threading.Event(), threading.Event()

    class Slow(str):
        __slots__ = ()

        def __eq__(self, other):
            computing.set()
            assert go_on.wait(10)
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    stage = rxp.txt2img(prompt="a")
    object.__setattr__(stage.config, "model", Slow("sd15"))
    slow = rxp.Chain((stage, rxp.img2img()))
    other = rxp.Chain((rxp.txt2img(prompt="b"),))
    marbles.allow_threads()
    thread = threading.Thread(target=lambda: slow.plan, daemon=True)
    thread.start()
    assert computing.wait(5)
    run = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock).start(other)
    marbles.run()
    assert (run.result.status, thread.is_alive()) == ("completed", True), "it waited for the other plan"
    go_on.set()
    thread.join(5)


def test_a_batch_begins_as_one_group(marbles):
    """Two batches of four with one request ahead: eight images are begun, in two groups, and none before its turn."""
    backend = Interruptible(hanging=range(1, 9), queue_ahead=1, batches=True)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(chain(12, batch_size=4))
    marbles.clock.advance_by("5ms")
    assert backend.begun == [1, 2, 3, 4, 5, 6, 7, 8]
    for index in range(1, 4):
        backend.finish(index)
    marbles.clock.advance_by("5ms")
    assert backend.begun[8:] == []
    backend.finish(4)
    marbles.clock.advance_by("5ms")
    assert backend.begun[8:] == [9, 10, 11, 12]
    run.cancel()
    assert backend.interrupts == [8, 7, 6, 5]


def test_images_of_a_batch_begin_one_by_one_where_the_backend_has_no_batches(marbles):
    backend = Interruptible(hanging=range(1, 9))
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(chain(8, batch_size=4))
    marbles.clock.advance_by("5ms")
    assert backend.begun == [1]
    run.cancel()


def test_skipping_by_index_takes_that_image(marbles):
    backend = Interruptible(hanging=[1, 2], queue_ahead=1)
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(rxp.chain(rxp.txt2img(images=2), out=None))
    marbles.clock.advance_by("5ms")
    assert not run.skip_image(3)
    assert run.skip_image(2)
    marbles.clock.advance_by("5ms")
    assert backend.interrupts == [2]
    backend.finish(1)
    marbles.run()
    assert [(record.image_index, record.outcome) for record in run.result.records] == [(1, "done"), (2, "cancelled")]


def test_two_skips_at_once_skip_two_images_and_never_one_twice(marbles):
    """With four in progress each skips the oldest that is not skipped yet; each call is interrupted once."""
    backend = Interruptible(hanging=[1, 2, 3, 4], queue_ahead=3)
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(rxp.chain(rxp.txt2img(images=4), out=None))
    marbles.clock.advance_by("5ms")
    skipped = [run.skip_image(index) for index in (None, None, 2, 4, 4, 0, -1, 9)]
    assert skipped == [True, True, False, True, False, False, False, False]
    assert [run.skip_image(), run.skip_image()] == [True, False]
    marbles.run()
    assert sorted(backend.interrupts) == [1, 2, 3, 4]
    assert {record.outcome for record in run.result.records} == {"cancelled"}
    assert run.result.status == "cancelled"


def test_stop_after_image_begins_no_further_one_and_lets_all_in_progress_finish(marbles):
    backend = Interruptible(hanging=[1, 2, 3, 4], queue_ahead=1)
    run = rxp.PipelineExecutor(backend, scheduler=marbles.clock).start(rxp.chain(rxp.txt2img(images=4), out=None))
    marbles.clock.advance_by("5ms")
    run.stop_after_image()
    backend.finish(1)
    marbles.clock.advance_by("5ms")
    assert (backend.begun, run.result.status) == ([1, 2], "running")
    backend.finish(2)
    marbles.clock.advance_by("5ms")
    assert (run.result.status, backend.interrupts) == ("cancelled", [])
    assert [record.outcome for record in run.result.records] == ["done", "done"]


def test_an_adetailer_that_fails_on_every_picture_is_a_warning_of_the_run(marbles):
    """The pictures finish, and are not reported as detailed ones."""
    job = rxp.chain(rxp.txt2img(prompt="a", images=2), rxp.adetailer(), retry=rxp.RetryConfig(attempts=1))
    error = rxp.BackendFailed("no such detector.")
    run = marbles.run(job, {"adetailer": "-#"}, errors={"adetailer": error})
    run.events.accept()
    assert run.result.status == "completed"
    assert run.result.warnings == (
        "adetailer, image 1: left unchanged: no such detector.",
        "adetailer, image 2: left unchanged: no such detector.",
    )
    status = functools.reduce(rxp.reduce_status, run.result.events, rxp.RunStatus())
    assert (status.warnings, status.message) == (2, "Completed, 2 warnings")
    assert rxp.LearningRecord.of(run.result).warnings == run.result.warnings


def test_a_picture_in_which_nothing_is_found_is_no_warning(marbles):
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a"), rxp.adetailer()), {"adetailer": "-u|"})
    run.events.accept()
    assert run.result.warnings == ()


def test_a_failure_after_a_cancel_leaves_it_a_cancel():
    """The cancel came first; a stage that fails while it is carried out decides nothing."""
    control = RunControl()
    assert control.start()
    control.cancel()
    control.fail(ZeroDivisionError("late"), lambda: None)
    assert (control.failure, control.phase) == (None, RunPhase.CANCELLED)


def test_a_stage_starts_once_even_after_its_end(marbles):
    """An operator that emits on two threads may report its start twice."""
    updates = EventSubject()
    timeline = Timeline("r1", lambda: marbles.clock.now, lambda: 0.0, updates, rxp.PipelineRunResult())
    stage = {"stage_type": "txt2img", "stage_index": 0, "total_images": 1}
    counts = {"done": 0, "passed": 0, "failed": 0, "cancelled": 0, "filtered": 0, "duration_s": 0.0}
    timeline.emit(rxp.RunStart, {"stages": ("txt2img",), "images": 1, "config": ""})
    for kind, fields in ((rxp.StageStart, {}), (rxp.StageStart, {}), (rxp.StageEnd, counts), (rxp.StageStart, {})):
        timeline.emit(kind, {**stage, **fields})
    assert [event.kind for event in timeline.result.events] == ["run_start", "stage_start", "stage_end"]
