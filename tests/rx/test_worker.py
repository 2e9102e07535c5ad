"""WorkerScheduler: one daemon thread that survives what it runs and ends when it is told to."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxpipe.rx.scheduled import ScheduledItem
from rxpipe.rx.worker import WorkerScheduler

PATIENCE_S = 10.0
"""Only a failing test waits so long."""

FAR_S = 3600.0
"""Later than any test lasts."""


@pytest.fixture
def worker():
    """A worker that has ended after the test, with its thread."""
    made = WorkerScheduler("test-worker")
    yield made
    made.close()
    if made.thread is not None:
        made.thread.join(PATIENCE_S)
        assert not made.thread.is_alive()


@pytest.fixture
def thrown(monkeypatch):
    """What reached `threading.excepthook`."""
    caught = []
    monkeypatch.setattr(threading, "excepthook", caught.append)
    return caught


def through(worker):
    """Wait until the worker has run all that was due before."""
    done = threading.Event()
    worker.schedule(lambda *_: done.set())
    assert done.wait(PATIENCE_S)


def held(worker):
    """Keep the worker in an action until the given event is set."""
    entered, release = threading.Event(), threading.Event()

    def hold(*_):
        entered.set()
        assert release.wait(PATIENCE_S)

    worker.schedule(hold)
    assert entered.wait(PATIENCE_S)
    return release


# -- the thread -------------------------------------------------------------------------------------------------------


def test_the_thread_starts_with_the_first_action_and_not_before(worker):
    """A worker that is never used costs no thread."""
    assert worker.thread is None
    through(worker)
    assert worker.thread.is_alive()


def test_the_thread_is_named_and_daemon_and_not_the_callers(worker):
    """Found in a debugger, and no reason for an interpreter to stay."""
    threads = []
    worker.schedule(lambda *_: threads.append(threading.current_thread()))
    through(worker)
    assert threads == [worker.thread]
    assert worker.thread is not threading.current_thread()
    assert worker.thread.name == "test-worker"
    assert worker.thread.daemon


def test_all_actions_run_on_one_thread(worker):
    """Late ones too."""
    threads = set()
    for _ in range(100):
        worker.schedule(lambda *_: threads.add(threading.get_ident()))
        worker.schedule_relative(0.0001, lambda *_: threads.add(threading.get_ident()))
    worker.schedule_relative(0.001, lambda *_: None)
    through(worker)
    assert len(threads) == 1


def test_an_unclosed_worker_does_not_hold_up_the_end_of_the_interpreter():
    """Neither one that waits nor one that is inside an action."""
    code = (
        "import threading; from rxpipe.rx.worker import WorkerScheduler\n"
        "inside = threading.Event(); worker = WorkerScheduler()\n"
        "worker.schedule_relative(3600, print)\n"
        "worker.schedule(lambda *_: (inside.set(), threading.Event().wait()))\n"
        "assert inside.wait(10); print('end')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)  # noqa: S603  fixed words
    assert (ended.stdout, ended.stderr) == ("end\n", "")


# -- order and time ---------------------------------------------------------------------------------------------------


def test_actions_for_now_run_in_the_order_in_which_they_were_scheduled(worker):
    """A thousand, from one thread, while the worker is busy with the first."""
    ran, release = [], held(worker)
    for number in range(1000):
        worker.schedule(lambda _, state: ran.append(state), number)
    release.set()
    through(worker)
    assert ran == list(range(1000))


def test_equal_times_run_in_the_order_in_which_they_were_scheduled(worker, monkeypatch):
    """With a clock that stands still: first in, first out, whichever way they came in."""
    ran, release = [], held(worker)
    stopped = time.monotonic()
    monkeypatch.setattr("rxpipe.rx.worker.time.monotonic", lambda: stopped)
    worker.schedule(lambda _, state: ran.append(state), "a")
    worker.schedule_relative(0, lambda _, state: ran.append(state), "b")
    worker.schedule_relative(-5, lambda _, state: ran.append(state), "c")
    worker.schedule_relative(timedelta(), lambda _, state: ran.append(state), "d")
    worker.schedule_absolute(worker.now - timedelta(hours=1), lambda _, state: ran.append(state), "e")
    worker.schedule(lambda _, state: ran.append(state), "f")
    monkeypatch.undo()
    release.set()
    through(worker)
    assert ran == ["a", "b", "c", "d", "e", "f"]


def test_later_times_run_later_whatever_the_order_of_scheduling(worker):
    """The heap decides."""
    ran, done, release = [], threading.Event(), held(worker)
    for delay_s in (0.03, 0.01, 0.02):
        worker.schedule_relative(delay_s, lambda _, state: ran.append(state), delay_s)
    worker.schedule_absolute(worker.now + timedelta(seconds=0.04), lambda *_: done.set())
    release.set()
    assert done.wait(PATIENCE_S)
    assert ran == [0.01, 0.02, 0.03]


def test_an_earlier_action_wakes_a_worker_that_waits_for_a_later_one(worker):
    """It does not sleep through."""
    late = worker.schedule_relative(FAR_S, lambda *_: pytest.fail("an hour has not passed"))
    through(worker)
    late.dispose()


@pytest.mark.parametrize("delay", [float("inf"), timedelta.max, 1e300], ids=repr)
def test_a_time_beyond_what_a_thread_can_wait_for_is_just_late(worker, thrown, delay):
    """It does not end the worker."""
    worker.schedule_relative(delay, lambda *_: pytest.fail("that time has not passed"))
    through(worker)
    through(worker)
    assert thrown == []


def test_now_is_aware_and_utc(worker):
    """So that an event's timestamp is."""
    assert worker.now.utcoffset() == timedelta()
    assert abs(worker.now - datetime.now(UTC)) < timedelta(seconds=PATIENCE_S)


def test_absolute_time_may_be_seconds_since_1970(worker):
    """As everywhere in Rx; the past means now."""
    done = threading.Event()
    worker.schedule_absolute(12.0, lambda *_: done.set())
    assert done.wait(PATIENCE_S)


def test_an_action_gets_the_scheduler_and_its_state(worker):
    """Rx's shape of an action."""
    told = []
    worker.schedule(lambda *what: told.append(what), "state")
    worker.schedule(lambda *what: told.append(what))
    through(worker)
    assert told == [(worker, "state"), (worker, None)]


def test_an_action_may_schedule_another(worker):
    """Which runs after those that wait already."""
    ran, release = [], held(worker)
    done = threading.Event()

    def first(scheduler, _):
        ran.append("first")
        scheduler.schedule(lambda *_: (ran.append("nested"), done.set()))

    worker.schedule(first)
    worker.schedule(lambda *_: ran.append("second"))
    release.set()
    assert done.wait(PATIENCE_S)
    assert ran == ["first", "second", "nested"]


def test_rx_operators_run_on_it(worker):
    """A timer and observe_on, the two that streams ask a scheduler for."""
    got, done = [], threading.Event()
    rx.timer(0.001, scheduler=worker).pipe(
        ops.flat_map(lambda _: rx.of(1, 2, 3)), ops.observe_on(worker), ops.map(lambda n: (n, threading.get_ident()))
    ).subscribe(got.append, pytest.fail, done.set)
    assert done.wait(PATIENCE_S)
    assert got == [(n, worker.thread.ident) for n in (1, 2, 3)]


def test_periodic_work_repeats_until_disposed(worker):
    """Rx's schedule_periodic, with its state handed on."""
    ran, enough = [], threading.Event()

    def tick(count):
        ran.append(count)
        if count == 3:
            enough.set()
        return count + 1

    repeating = worker.schedule_periodic(0.0005, tick, 0)
    assert enough.wait(PATIENCE_S)
    repeating.dispose()
    through(worker)
    count = len(ran)
    through(worker)
    assert ran[:4] == [0, 1, 2, 3]
    assert len(ran) == count


# -- disposing --------------------------------------------------------------------------------------------------------


def test_a_disposed_action_does_not_run(worker):
    """Taken back while it waits."""
    ran, release = [], held(worker)
    worker.schedule(lambda *_: ran.append("no")).dispose()
    worker.schedule(lambda *_: ran.append("yes"))
    release.set()
    through(worker)
    assert ran == ["yes"]


@pytest.mark.parametrize("early", [True, False], ids=["while it runs", "afterwards"])
def test_disposing_a_begun_action_disposes_what_it_returned(worker, early):
    """Now, or as soon as it returns."""
    disposed, entered, release = threading.Event(), threading.Event(), threading.Event()

    def action(*_):
        entered.set()
        assert release.wait(PATIENCE_S)
        return Disposable(disposed.set)

    handle = worker.schedule(action)
    assert entered.wait(PATIENCE_S)
    if early:
        handle.dispose()
    release.set()
    through(worker)
    if not early:
        assert not disposed.is_set()
        handle.dispose()
    assert disposed.is_set()


def test_an_action_taken_back_lets_go_of_what_it_holds_at_once(worker):
    """The deadline of a drawing that was in time does not keep its picture for an hour."""

    class Picture:
        """Something that can be watched."""

        def late(self, *_):
            """Never called."""

    picture = Picture()
    gone = weakref.ref(picture)
    worker.schedule_relative(FAR_S, picture.late, picture).dispose()
    del picture
    gc.collect()
    assert gone() is None


def test_actions_that_were_taken_back_do_not_pile_up(worker):
    """As the time limits of quick requests would, until they are due; what was not taken back still runs in order."""
    ran, done = [], threading.Event()
    kept = [worker.schedule_relative(0.2, lambda *_, number=number: ran.append(number)) for number in range(3)]
    before = sum(type(one) is ScheduledItem for one in gc.get_objects())
    for _ in range(5_000):
        worker.schedule_relative(3600, lambda *_: None).dispose()
    assert sum(type(one) is ScheduledItem for one in gc.get_objects()) < before + 200
    worker.schedule_relative(0.25, lambda *_: done.set())
    assert done.wait(10)
    assert ran == [0, 1, 2]
    assert len(kept) == 3


def test_an_action_that_ran_lets_go_of_what_it_held(worker):
    """A worker that waits for the next one holds nothing of the last."""

    class Picture:
        """Something that can be watched."""

        def draw(self, *_):
            """Be called."""

    picture = Picture()
    gone = weakref.ref(picture)
    handle = worker.schedule(picture.draw, picture)
    del picture
    through(worker)
    gc.collect()
    assert gone() is None
    handle.dispose()


# -- failing actions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("boom"), SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_an_action_that_raises_is_reported_and_costs_nobody_elses(worker, thrown, error):
    """The thread goes on, whatever was raised: a `sys.exit()` in a user's function must not end other streams."""

    def bad(*_):
        raise error

    ran, release = [], held(worker)
    worker.schedule(bad)
    worker.schedule(lambda *_: ran.append("next"))
    release.set()
    through(worker)
    assert ran == ["next"]
    assert [(args.exc_value, args.thread) for args in thrown] == [(error, worker.thread)]
    assert thrown[0].exc_traceback is not None


# -- closing ----------------------------------------------------------------------------------------------------------


def test_closing_ends_the_thread_and_drops_what_waits(worker):
    """Twice is harmless, and `dispose` is the same."""
    worker.schedule_relative(FAR_S, lambda *_: None)
    through(worker)
    worker.close()
    worker.close()
    worker.dispose()
    worker.thread.join(PATIENCE_S)
    assert not worker.thread.is_alive()


def test_closing_waits_for_no_action_and_lets_the_one_in_work_end(worker):
    """What stood behind it does not run."""
    ran, release = [], held(worker)
    worker.schedule(lambda *_: ran.append("no"))
    worker.close()
    assert worker.thread.is_alive()
    release.set()
    worker.thread.join(PATIENCE_S)
    assert not worker.thread.is_alive()
    assert ran == []


def test_a_worker_may_be_closed_from_inside_an_action(worker):
    """That action is the last."""
    ran, release = [], held(worker)
    worker.schedule(lambda *_: (ran.append("closes"), worker.close()))
    worker.schedule(lambda *_: ran.append("no"))
    release.set()
    worker.thread.join(PATIENCE_S)
    assert not worker.thread.is_alive()
    assert ran == ["closes"]


def test_scheduling_on_a_closed_worker_does_nothing(worker):
    """No thread, no error, and the handle may be disposed."""
    worker.close()
    for handle in (
        worker.schedule(lambda *_: pytest.fail("it is closed")),
        worker.schedule_relative(0, lambda *_: pytest.fail("it is closed")),
        worker.schedule_absolute(worker.now, lambda *_: pytest.fail("it is closed")),
    ):
        handle.dispose()
    assert worker.thread is None


@pytest.mark.slow
def test_a_closed_worker_holds_nothing(worker):
    """What waited is free."""

    class Picture:
        """Something that can be watched."""

        def late(self, *_):
            """Never called."""

    picture = Picture()
    gone = weakref.ref(picture)
    worker.schedule_relative(FAR_S, picture.late)
    worker.close()
    worker.thread.join(PATIENCE_S)
    del picture
    gc.collect()
    assert gone() is None


def test_many_threads_may_schedule_at_once(worker):
    """Eight thousand actions of four threads: all run, each thread's in its order, one at a time."""
    ran, inside = [], []

    def action(_, state):
        inside.append(state)
        ran.append(state)
        assert inside.pop() == state

    def schedule(name):
        for number in range(2000):
            worker.schedule(action, (name, number))

    threads = [threading.Thread(target=schedule, args=(name,), daemon=True) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    through(worker)
    assert len(ran) == 8000
    for name in "abcd":
        assert [number for writer, number in ran if writer == name] == list(range(2000))
