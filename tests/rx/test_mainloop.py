"""The GUI schedulers on real loops: nothing lost, nothing blocked, nothing on the wrong thread."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import textwrap
import threading
import time
import tkinter as tk
from datetime import timedelta

import pytest
import reactivex as rx
import shiboken6
from loguru import logger
from PySide6.QtCore import QObject, QTimer
from PySide6.QtWidgets import QMainWindow
from reactivex import operators as ops
from reactivex.scheduler.periodicscheduler import PeriodicScheduler
from reactivex.subject import Subject

from rxpipe.rx.mainloop import FRAME_S, AsyncioScheduler, PumpScheduler, QtScheduler, TkScheduler

LIMIT_S = 60.0  # after which a test that hangs gives up and fails on its assertions; no other test waits so long
LOOK_S = 0.005  # the period of the loop's own timer, by which lateness is judged: a busy machine delays both


class Loop:
    """A real event loop with its scheduler: `run` returns when the condition holds on the loop's thread."""

    def __init__(self, name, request, **options):
        self.name = name
        build = getattr(self, f"_build_{name}")
        self.scheduler = build(request, options)
        self.looks = []  # when the loop's own timer came, at most one in LOOK_S

    def _build_tk(self, request, options):
        self.root = request.getfixturevalue("root")
        return TkScheduler(self.root, **options)

    def _build_qt(self, request, options):
        self.app = request.getfixturevalue("qt_app")
        self.anchor = QObject()
        return QtScheduler(self.anchor, **options)

    def _build_asyncio(self, _request, options):
        self.loop = asyncio.new_event_loop()
        return AsyncioScheduler(self.loop, **options)

    def _build_pump(self, _request, options):
        self.woken = threading.Event()
        return PumpScheduler(on_wake=self.woken.set, **options)

    def run(self, done=lambda: False):
        deadline = time.monotonic() + LIMIT_S

        def over():
            now = time.monotonic()
            if not self.looks or now - self.looks[-1] >= LOOK_S:
                self.looks.append(now)
            return done() or now > deadline

        getattr(self, f"_run_{self.name}")(over)

    def looks_between(self, begin, end):
        return sum(begin <= look <= end for look in self.looks)

    def _run_tk(self, over):
        def look():
            self.root.quit() if over() else self.root.after(round(LOOK_S * 1000), look)

        self.root.after(0, look)
        self.root.mainloop()

    def _run_qt(self, over):
        timer = QTimer()
        timer.timeout.connect(lambda: over() and self.app.quit())
        timer.start(round(LOOK_S * 1000))
        self.app.exec()
        timer.stop()  # an error's traceback may keep this frame, and with it the timer, alive into the next test

    def _run_asyncio(self, over):
        def look():
            self.loop.stop() if over() else self.loop.call_later(LOOK_S, look)

        self.loop.call_soon(look)
        self.loop.run_forever()

    def _run_pump(self, over):
        while not over():
            idle_s = self.scheduler.pump()
            self.woken.wait(LOOK_S if idle_s is None else min(idle_s, LOOK_S))
            self.woken.clear()

    def destroy(self):
        if self.scheduler.closed:
            return
        if self.name == "tk":
            self.root.destroy()
        elif self.name == "qt":
            shiboken6.delete(self.anchor)
        elif self.name == "asyncio":
            self.loop.close()
        else:
            self.scheduler.close()


@pytest.fixture(params=["tk", "qt", "asyncio", "pump"])
def make_loop(request):
    loops = []

    def make(**options):
        loops.append(Loop(request.param, request, **options))
        return loops[-1]

    yield make
    for loop in loops:
        loop.destroy()  # now: what a worker's garbage collector found of Qt or Tk would die on the wrong thread


@pytest.fixture
def loop(make_loop):
    return make_loop()


@pytest.fixture
def worker():
    """Start a function on a thread of its own; all are joined when the test ends, and their errors are raised."""
    threads, errors = [], []

    def start(function):
        def guarded():
            try:
                function()
            except BaseException as error:
                errors.append(error)
                raise

        threads.append(threading.Thread(target=guarded, daemon=True))
        threads[-1].start()
        return threads[-1]

    yield start
    for thread in threads:
        thread.join(LIMIT_S)
        assert not thread.is_alive(), "a worker is still blocked"
    assert errors == []


@pytest.fixture
def log_lines():
    lines = []
    logger.enable("rxpipe")
    sink = logger.add(lambda message: lines.append(message.record), level="DEBUG")
    yield lines
    logger.remove(sink)
    logger.disable("rxpipe")


def paced(count, period_s, act):
    """Call act(i) on a grid of *period_s*; returns the seconds it took. The worker's clock, not the test's."""
    started, pause = time.perf_counter(), threading.Event()
    for index in range(count):
        pause.wait(max(0.0, started + index * period_s - time.perf_counter()))
        act(index)
    return time.perf_counter() - started


# -- every loop ------------------------------------------------------------------------------------------------------


def test_everything_a_worker_emits_arrives_in_order_on_the_loop_thread(loop, worker):
    """observe_on over any of the schedulers loses nothing and runs subscribers on the loop's thread only."""
    source, got, threads = Subject(), [], set()
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(
        on_next=lambda value: (got.append(value), threads.add(threading.current_thread())), on_error=pytest.fail
    )
    worker(lambda: [source.on_next(index) for index in range(3000)])
    loop.run(lambda: len(got) == 3000)
    assert got == list(range(3000))
    assert threads == {threading.main_thread()}


def test_events_from_before_the_loop_runs_are_kept(loop, worker):
    """A worker may start before mainloop: it is neither blocked nor refused, and its events wait."""
    source, got = Subject(), []
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(on_next=got.append, on_error=pytest.fail)
    emitting = worker(lambda: [source.on_next(index) for index in range(100)])
    emitting.join(LIMIT_S)
    assert not emitting.is_alive()
    assert got == []
    loop.run(lambda: len(got) == 100)
    assert got == list(range(100))


def test_events_between_two_runs_of_the_loop_are_kept(loop, worker):
    """A loop that was left and entered again goes on where it was."""
    got = []
    loop.scheduler.schedule(lambda *_: got.append("first"))
    loop.run(lambda: got == ["first"])
    worker(lambda: loop.scheduler.schedule(lambda *_: got.append("second"))).join(LIMIT_S)
    loop.run(lambda: len(got) == 2)
    assert got == ["first", "second"]


def test_after_the_window_is_gone_a_push_is_a_counted_no_op(loop, worker):
    """Nothing raises into the producer, nothing blocks it, nothing runs, and the drops can be read."""
    ran = []
    loop.scheduler.schedule(lambda *_: ran.append(1))
    loop.run(lambda: ran == [1])
    loop.scheduler.schedule_relative(5.0, lambda *_: ran.append(2))
    loop.destroy()

    def push():
        for _ in range(10):
            loop.scheduler.schedule(lambda *_: ran.append(3))
        loop.scheduler.schedule_relative(0.01, lambda *_: ran.append(4)).dispose()

    worker(push).join(LIMIT_S)
    counters = loop.scheduler.counters
    assert (loop.scheduler.closed, loop.scheduler.pending, ran) == (True, 0, [1])
    assert (counters.delivered, counters.discarded_at_close, counters.dropped_after_close) == (1, 1, 11)


def test_an_action_that_raises_is_reported_and_the_next_one_runs(make_loop, log_lines):
    """One bad subscriber does not stop the loop for the others."""
    ran, reported = [], []
    loop = make_loop(on_error=reported.append)
    loop.scheduler.schedule(lambda *_: 1 / 0)
    loop.scheduler.schedule_relative(0.001, lambda *_: 1 / 0)
    loop.scheduler.schedule_relative(0.02, lambda *_: ran.append("after"))
    loop.run(lambda: ran)
    assert ran == ["after"]
    assert [type(error) for error in reported] == [ZeroDivisionError] * 2
    assert loop.scheduler.counters.failed == 2
    assert [line["level"].name for line in log_lines] == ["ERROR", "ERROR"]


def test_an_error_hook_that_raises_does_not_stop_the_loop(make_loop, log_lines):
    """The hook is a stranger's function too."""
    ran, loop = [], make_loop(on_error=lambda _error: 1 / 0)
    loop.scheduler.schedule(lambda *_: 1 / 0)
    loop.scheduler.schedule(lambda *_: ran.append(1))
    loop.run(lambda: ran)
    assert ran == [1]
    assert "error hook" in log_lines[-1]["message"]


def test_timed_actions_are_never_early_and_at_most_a_frame_late(loop, worker):
    """schedule_relative from a worker is exact to a frame of the loop's own timer, in the order of the due times."""
    ran = []

    def plan():
        for delay_s in (0.12, 0.03, 0.07):
            due = time.monotonic() + delay_s
            loop.scheduler.schedule_relative(delay_s, lambda *_, due=due: ran.append((due, time.monotonic())))

    worker(plan).join(LIMIT_S)
    loop.run(lambda: len(ran) == 3)
    assert [due for due, _ in ran] == sorted(due for due, _ in ran)
    assert all(at >= due for due, at in ran)
    assert max(loop.looks_between(due, at) for due, at in ran) * LOOK_S <= FRAME_S + 2 * LOOK_S


def test_absolute_times_and_timedeltas_are_understood(loop):
    """The three notations of a due time mean the same moment."""
    ran, now = [], loop.scheduler.now
    loop.scheduler.schedule_absolute(now + timedelta(milliseconds=30), lambda *_: ran.append("datetime"))
    loop.scheduler.schedule_absolute(now.timestamp() + 0.06, lambda *_: ran.append("float"))
    loop.scheduler.schedule_relative(timedelta(milliseconds=90), lambda *_: ran.append("timedelta"))
    loop.run(lambda: len(ran) == 3)
    assert ran == ["datetime", "float", "timedelta"]


@pytest.mark.slow
def test_interval_keeps_its_rate_and_stops_when_disposed(loop):
    """A beat of 10 ms comes as often as a timer of the loop of 5 ms allows, at least every third time: no drift."""
    beats, started = [], time.monotonic()
    beating = rx.interval(2 * LOOK_S, scheduler=loop.scheduler).subscribe(
        on_next=lambda _beat: beats.append(time.monotonic()), on_error=pytest.fail
    )
    loop.run(lambda: len(beats) >= 20)
    beating.dispose()
    assert len(loop.looks) <= 3 * len(beats)
    assert all(at - started >= 2 * LOOK_S * number for number, at in enumerate(beats, 1))
    seen, looked = len(beats), len(loop.looks)
    loop.run(lambda: len(loop.looks) == looked + 20)
    assert len(beats) == seen


def test_delay_and_debounce_work_unmodified(loop, worker):
    """RxPY's own time operators take the scheduler as any other."""
    source, delayed, settled = Subject(), [], []
    source.pipe(ops.delay(0.05, scheduler=loop.scheduler)).subscribe(on_next=delayed.append, on_error=pytest.fail)
    source.pipe(ops.debounce(0.05, scheduler=loop.scheduler)).subscribe(on_next=settled.append, on_error=pytest.fail)
    worker(lambda: [source.on_next(index) for index in range(50)])
    loop.run(lambda: len(delayed) == 50 and settled)
    assert delayed == list(range(50))
    assert settled == [49]


def test_disposing_before_its_turn_prevents_an_action(loop, worker):
    """From the loop's own thread and from another one; both are counted."""
    ran = []
    first = loop.scheduler.schedule(lambda *_: ran.append("disposed"))
    second = loop.scheduler.schedule_relative(0.03, lambda *_: ran.append("disposed"))
    first.dispose()
    worker(second.dispose).join(LIMIT_S)
    loop.scheduler.schedule_relative(0.05, lambda *_: ran.append("kept"))
    loop.run(lambda: ran)
    assert ran == ["kept"]
    assert loop.scheduler.counters.cancelled == 2


def test_what_an_action_returns_is_disposed_with_it(loop):
    """An action may return a disposable, as Rx actions do."""
    disposed = []
    outer = loop.scheduler.schedule(lambda *_: rx.disposable.Disposable(lambda: disposed.append(1)))
    loop.run(lambda: loop.scheduler.counters.delivered)
    assert disposed == []
    outer.dispose()
    assert disposed == [1]


@pytest.mark.sampled(2)
@pytest.mark.slow
def test_a_busy_gui_does_not_slow_the_producer(loop, worker):
    """GUI busy 200 of every 230 ms: a producer that works 10 ms an event takes as long as when it emits nothing."""
    ideal_s, emitting_s, got, source = [], [], [], Subject()
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(on_next=got.append, on_error=pytest.fail)

    def busy(_scheduler, _state=None):
        _spin(0.2)
        loop.scheduler.schedule_relative(0.03, busy)

    def emit():
        work = threading.Event()
        for index in range(30):
            for act, seconds in ((lambda _index: None, ideal_s), (source.on_next, emitting_s)):
                started = time.perf_counter()
                work.wait(0.01)
                act(index)
                seconds.append(time.perf_counter() - started)

    loop.scheduler.schedule(busy)
    worker(emit)
    loop.run(lambda: len(got) == 30)
    assert got == list(range(30))
    assert sum(emitting_s) < 2 * sum(ideal_s)  # RxPY's own takes 5 ideals; bench_mainloop.py holds ours to 1.2


def test_merge_with_observe_on_does_not_deadlock(loop, worker):
    """A worker and the GUI thread both push into a merge, whose lock is held while it delivers."""
    from_worker, from_gui, got = Subject(), Subject(), []
    rx.merge(from_worker, from_gui).pipe(ops.observe_on(loop.scheduler)).subscribe(
        on_next=got.append, on_error=pytest.fail
    )
    rx.interval(0.001, scheduler=loop.scheduler).pipe(ops.take(100)).subscribe(
        on_next=lambda _beat: from_gui.on_next("gui"), on_error=pytest.fail
    )
    worker(lambda: [from_worker.on_next("worker") for _ in range(2000)])
    loop.run(lambda: len(got) == 2100)
    assert (got.count("worker"), got.count("gui")) == (2000, 100)


def test_buffer_with_time_or_count_fed_by_a_worker_does_not_deadlock(loop, worker):
    """The operator disposes timers from the worker while it holds its lock; disposing takes none of ours."""
    source, sizes = Subject(), []
    source.pipe(
        ops.buffer_with_time_or_count(0.005, 7, scheduler=loop.scheduler), ops.observe_on(loop.scheduler)
    ).subscribe(on_next=lambda batch: sizes.append(len(batch)), on_error=pytest.fail)
    worker(lambda: paced(1000, 0.0002, source.on_next))
    loop.run(lambda: sum(sizes) == 1000)
    assert sum(sizes) == 1000


def test_joining_the_worker_in_a_gui_callback_does_not_deadlock(loop, worker):
    """A Stop button may wait for the worker while the worker is emitting."""
    source, stop, joined = Subject(), threading.Event(), []
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(on_next=lambda _value: None, on_error=pytest.fail)

    def emit():
        while not stop.is_set():
            source.on_next(0)
            stop.wait(0.001)

    thread = worker(emit)

    def click(*_):
        stop.set()
        thread.join(5.0)
        joined.append(not thread.is_alive())

    loop.scheduler.schedule_relative(0.05, click)
    loop.run(lambda: joined)
    assert joined == [True]


@pytest.mark.slow
def test_the_window_may_go_while_a_worker_emits(loop, worker):
    """The worker continues to its end without an error or a block, and what comes too late is counted."""
    source, got, emitted, gone = Subject(), [], [], threading.Event()
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(on_next=got.append, on_error=pytest.fail)

    def emit():
        pause, left = threading.Event(), 200
        while left:
            left -= gone.is_set()
            emitted.append(len(emitted))
            source.on_next(emitted[-1])
            pause.wait(0.001)

    thread = worker(emit)
    loop.run(lambda: len(got) > 50)
    loop.destroy()
    gone.set()
    thread.join(LIMIT_S)
    assert not thread.is_alive()
    assert 50 < len(got) <= len(emitted) - 199
    assert got == emitted[: len(got)]
    assert loop.scheduler.closed


@pytest.mark.sampled(2)
@pytest.mark.slow
def test_a_flood_leaves_the_loop_time_for_its_own(loop, worker):
    """Drains keep to their budget and pause between: a beat goes on while half a second's work is queued.

    A value takes 0.2 ms, however busy the machine: so many make the 10 ms of a beat, and the 4 ms of a drain.
    """
    beats, got, source = [], [], Subject()
    source.pipe(ops.observe_on(loop.scheduler)).subscribe(
        on_next=lambda value: (got.append(value), _spin(0.0002)), on_error=pytest.fail
    )
    rx.interval(0.01, scheduler=loop.scheduler).subscribe(
        on_next=lambda _beat: beats.append(len(got)), on_error=pytest.fail
    )
    worker(lambda: [source.on_next(index) for index in range(2500)])
    loop.run(lambda: len(got) == 2500)
    assert len(got) == 2500
    assert max(after - before for before, after in itertools.pairwise([0, *beats, 2500])) <= 100
    assert loop.scheduler.counters.drains > 50


def test_timed_actions_are_not_held_up_by_a_long_queue(loop):
    """A timer whose time has come goes before the thousand actions that wait."""
    order = []
    for _ in range(1000):
        loop.scheduler.schedule(lambda *_: (order.append("queued"), _spin(0.0001)))
    loop.scheduler.schedule_relative(0.02, lambda *_: order.append("timed"))
    loop.run(lambda: len(order) == 1001)
    assert order.index("timed") < 700


def _spin(seconds):
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


# -- the core, on a clock of its own ---------------------------------------------------------------------------------


class Clock:
    def __init__(self):
        self.s = 1000.0

    def __call__(self):
        return self.s


@pytest.fixture
def clock():
    return Clock()


def test_pump_runs_timed_actions_when_their_time_has_come(clock):
    """On a clock of its own the scheduler is exact: nothing before, everything at the due time, in due order."""
    scheduler, ran = PumpScheduler(clock=clock), []
    scheduler.schedule_relative(2.0, lambda *_: ran.append("b"))
    scheduler.schedule_relative(1.0, lambda *_: ran.append("a"))
    assert scheduler.pump() == 1.0
    clock.s += 0.999
    assert scheduler.pump() == pytest.approx(0.001)
    assert ran == []
    clock.s += 2
    assert scheduler.pump() is None
    assert ran == ["a", "b"]


def test_pump_stops_at_its_budget_and_says_that_work_is_left(clock):
    """At least one action runs whatever the budget, and 0.0 asks to be called again."""
    scheduler, ran = PumpScheduler(clock=clock), []
    for index in range(3):
        scheduler.schedule(lambda *_, i=index: (ran.append(i), _spin(0.002)))
    assert scheduler.pump(budget_s=0.001) == 0.0
    assert ran == [0]
    assert scheduler.pump(budget_s=1.0) is None
    assert ran == [0, 1, 2]


def test_a_periodic_action_skips_the_beats_it_missed_and_keeps_its_grid(clock):
    """After a pause of 3.5 periods one beat comes, and the next is on the grid again."""
    scheduler, beats = PumpScheduler(clock=clock), []
    scheduler.schedule_periodic(1.0, lambda state: (beats.append((clock.s, state)), state + 1)[1], 0)
    clock.s += 3.5
    scheduler.pump()
    clock.s += 0.25
    scheduler.pump()
    clock.s += 0.25
    scheduler.pump()
    assert beats == [(1003.5, 0), (1004.0, 1)]


def test_a_periodic_action_that_raises_ends_alone(clock):
    """Its error is reported once; the scheduler lives on."""
    errors = []
    scheduler = PumpScheduler(clock=clock, on_error=errors.append)
    scheduler.schedule_periodic(1.0, lambda _state: 1 / 0)
    for _ in range(5):
        clock.s += 1
        scheduler.pump()
    assert len(errors) == 1
    assert scheduler.pending == 0


def test_cancelled_timers_do_not_pile_up(clock):
    """A debounce of a minute over 10,000 events keeps a handful of timers, not 10,000."""
    scheduler, source, got = PumpScheduler(clock=clock), Subject(), []
    source.pipe(ops.debounce(60.0, scheduler=scheduler)).subscribe(on_next=got.append, on_error=pytest.fail)
    most = 0
    for index in range(10_000):
        source.on_next(index)
        scheduler.pump()
        most = max(most, scheduler.pending)
    clock.s += 61
    scheduler.pump()
    assert got == [9999]
    assert most < 200


def test_a_batch_costs_one_wake():
    """However many actions a worker schedules before the loop turns, it is woken once."""
    wakes = []
    scheduler = PumpScheduler(on_wake=lambda: wakes.append(1))
    for _ in range(100):
        scheduler.schedule(lambda *_: None)
    assert len(wakes) == 1
    scheduler.pump()
    scheduler.schedule(lambda *_: None)
    assert len(wakes) == 2


def test_a_wake_hook_that_raises_does_not_reach_the_producer(log_lines):
    """It is logged; the action waits for the next pump."""
    scheduler, ran = PumpScheduler(on_wake=lambda: 1 / 0), []
    scheduler.schedule(lambda *_: ran.append(1))
    scheduler.pump()
    assert ran == [1]
    assert "wake hook" in log_lines[0]["message"]


def test_an_action_may_pump_again(clock):
    """A modal dialog turns the loop inside an action; what waits behind it runs meanwhile."""
    scheduler, ran = PumpScheduler(clock=clock), []
    scheduler.schedule(lambda *_: (ran.append("dialog opens"), scheduler.pump(), ran.append("dialog closes")))
    scheduler.schedule(lambda *_: ran.append("event"))
    scheduler.pump()
    assert ran == ["dialog opens", "event", "dialog closes"]


def test_an_action_that_closes_the_scheduler_is_the_last(clock):
    """Closing the window from a callback discards what waits behind it."""
    scheduler, ran = PumpScheduler(clock=clock), []
    scheduler.schedule(lambda *_: (ran.append("close"), scheduler.close()))
    scheduler.schedule(lambda *_: ran.append("late"))
    scheduler.pump()
    scheduler.close()
    assert ran == ["close"]
    assert scheduler.counters.discarded_at_close == 1


def test_a_budget_of_nothing_is_refused():
    """Told at once, not when the window freezes."""
    with pytest.raises(ValueError, match="budget_s must be above 0"):
        PumpScheduler(budget_s=0)


def test_they_are_periodic_rx_schedulers():
    """Interval and timer choose their way by this type."""
    for kind in (TkScheduler, QtScheduler, AsyncioScheduler, PumpScheduler):
        assert issubclass(kind, PeriodicScheduler)


def test_an_uncaught_error_of_an_action_reaches_the_excepthook(monkeypatch):
    """With no hook given an error is never silent, even while the library's log is."""
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, _error, _traceback: seen.append(kind))
    scheduler = PumpScheduler()
    scheduler.schedule(lambda *_: 1 / 0)
    scheduler.pump()
    assert seen == [ZeroDivisionError]


def python(source):
    """Run *source* in a fresh interpreter."""
    command = [sys.executable, "-c", source]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603  our own text


# -- what is particular to a toolkit ---------------------------------------------------------------------------------


def test_tk_driven_by_update_delivers(root, worker):
    """An application with a loop of its own over root.update() is served as one with mainloop."""
    source, got = Subject(), []
    source.pipe(ops.observe_on(TkScheduler(root))).subscribe(on_next=got.append, on_error=pytest.fail)
    worker(lambda: paced(50, 0.001, source.on_next))
    deadline = time.monotonic() + LIMIT_S
    while len(got) < 50 and time.monotonic() < deadline:
        root.update()
    assert got == list(range(50))


def test_tk_serves_a_modal_dialog_opened_by_an_action(root):
    """wait_window inside a subscriber turns the loop; events go on arriving behind the dialog."""
    scheduler, got = TkScheduler(root), []
    dialog = tk.Toplevel(root)
    scheduler.schedule(lambda *_: (root.wait_window(dialog), got.append("closed")))
    scheduler.schedule(lambda *_: got.append("behind the dialog"))
    scheduler.schedule_relative(0.1, lambda *_: dialog.destroy())
    root.after(round(LIMIT_S * 1000), root.quit)
    scheduler.schedule_relative(0.2, lambda *_: root.quit())
    root.mainloop()
    assert got == ["behind the dialog", "closed"]


def test_tk_survives_that_the_application_binds_destroy_itself(root):
    """root.bind("<Destroy>") replaces other bindings; ours is not among them."""
    scheduler = TkScheduler(root)
    root.bind("<Destroy>", lambda _event: None)
    root.destroy()
    assert scheduler.closed


def test_tk_on_a_child_widget_closes_with_it_and_leaves_no_stray_callback(root, capfd):
    """A frame goes, the application stays: no "invalid command name" on stderr."""
    frame = tk.Frame(root)
    scheduler = TkScheduler(frame)
    frame.destroy()
    root.after(60, root.quit)
    root.mainloop()
    assert scheduler.closed
    assert capfd.readouterr().err == ""


def test_tk_reports_an_error_as_tk_does(root):
    """What an application does with errors of its own callbacks it also does with those of actions."""
    seen = []
    root.report_callback_exception = lambda kind, _error, _traceback: seen.append(kind)
    scheduler = TkScheduler(tk.Frame(root))
    scheduler.schedule(lambda *_: 1 / 0)
    scheduler.schedule_relative(0.02, lambda *_: root.quit())
    root.mainloop()
    assert seen == [ZeroDivisionError]


def test_tk_loop_goes_on_after_an_action_that_left_it(root):
    """A sys.exit in an action leaves mainloop, as it does in any callback; entered again, the rest is delivered."""
    scheduler, ran = TkScheduler(root), []
    scheduler.schedule(lambda *_: sys.exit(3))
    scheduler.schedule(lambda *_: (ran.append(1), root.quit()))
    with pytest.raises(SystemExit):
        root.mainloop()
    root.after(round(LIMIT_S * 1000), root.quit)
    root.mainloop()
    assert ran == [1]


def test_qt_refuses_what_is_no_qt_object():
    """Told at once, with what came."""
    with pytest.raises(TypeError, match="QApplication or another QObject"):
        QtScheduler(object())


def test_qt_closed_by_hand_rests(qt_app):
    """A scheduler that was closed while work waited has no timer left, and its window may still go later."""
    anchor, resting = QObject(), [timer for timer in qt_app.findChildren(QTimer) if timer.isActive()]
    scheduler = QtScheduler(anchor)
    scheduler.schedule(lambda *_: scheduler.schedule_relative(0.005, lambda *_: scheduler.close()))
    QTimer.singleShot(50, qt_app.quit)
    qt_app.exec()
    assert scheduler.closed
    assert [timer for timer in qt_app.findChildren(QTimer) if timer.isActive()] == resting
    shiboken6.delete(anchor)


def test_tk_notices_a_window_closed_by_the_window_manager(root):
    """Tk then destroys the window itself, and Python's destroy() is never called."""
    scheduler = TkScheduler(root)
    root.tk.eval("destroy .")
    assert scheduler.closed


def test_qt_refuses_a_foreign_thread(qt_app, worker):
    """Qt objects belong to the thread that made them, so it is told before anything is lost."""
    refused = []

    def make():
        try:
            QtScheduler(qt_app)
        except RuntimeError as error:
            refused.append(str(error))

    worker(make).join(LIMIT_S)
    assert refused == ["QtScheduler must be made on the GUI thread, after the QApplication"]


def test_qt_follows_a_subclass_of_a_widget_to_its_binding(qt_app, worker):
    """An application's own window class lives in the application's module, its base in PySide6."""

    class Window(QMainWindow):
        pass

    window, got = Window(), []
    scheduler = QtScheduler(window)
    worker(lambda: scheduler.schedule(lambda *_: (got.append(threading.current_thread()), qt_app.quit())))
    qt_app.exec()
    assert got == [threading.main_thread()]
    shiboken6.delete(window)
    assert scheduler.closed


def test_asyncio_scheduler_takes_the_running_loop():
    """Inside a coroutine no loop needs to be named."""

    async def main():
        done = asyncio.Event()
        AsyncioScheduler().schedule(lambda *_: done.set())
        await asyncio.wait_for(done.wait(), 5)

    asyncio.run(main())


def test_asyncio_reports_an_error_to_the_loop():
    """The loop's exception handler sees it, so that an application's own handling applies."""
    seen = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
        done, scheduler = asyncio.Event(), AsyncioScheduler()
        scheduler.schedule(lambda *_: 1 / 0)
        scheduler.schedule(lambda *_: done.set())
        await asyncio.wait_for(done.wait(), 5)

    asyncio.run(main())
    assert [type(error) for error in seen] == [ZeroDivisionError]


@pytest.mark.usefixtures("display")
@pytest.mark.parametrize("toolkit", ["tk", "qt"])
def test_an_application_closed_during_a_run_exits_at_once(toolkit):
    """The window closes while a daemon worker emits for ever: the process ends cleanly and says nothing."""
    program = {
        "tk": """
            import tkinter
            root = tkinter.Tk()
            scheduler = TkScheduler(root)
            close, run = root.destroy, root.mainloop
            """,
        "qt": """
            from PySide6.QtWidgets import QApplication
            app = QApplication([])
            scheduler = QtScheduler(app)
            close, run = app.quit, app.exec
            """,
    }[toolkit]
    head = "import threading\nfrom rxpipe.rx.mainloop import QtScheduler, TkScheduler\n"
    tail = """
        def emit():
            while True:
                scheduler.schedule(lambda *_: None)
        threading.Thread(target=emit, daemon=True).start()
        scheduler.schedule_relative(0.1, lambda *_: close())
        run()
        """
    source = head + textwrap.dedent(program) + textwrap.dedent(tail)
    done = python(source)  # which waits for the end of the process, but not for ever
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_it_loads_no_toolkit():
    """A binding is loaded by the constructor that needs it, Tk by nobody here."""
    done = python(
        "import sys, rxpipe.rx.mainloop; print({'tkinter', 'PySide6', 'PyQt6', 'IPython'} & set(sys.modules))"
    )
    assert (done.stdout.strip(), done.stderr) == ("set()", "")
