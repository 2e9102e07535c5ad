"""ScheduledItem, on each of the schedulers that keep their actions in it."""

from __future__ import annotations

import threading
import weakref

import pytest
from reactivex.disposable import Disposable

from rxpipe.rx.mainloop import PumpScheduler
from rxpipe.rx.scheduled import ScheduledItem
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing.clock import VirtualClock

FAR_S = 3600.0
PATIENCE_S = 10.0
"""Only a failing test waits so long."""


class Picture:
    """Something that can be watched."""

    def draw(self, *_):
        """Be called."""


@pytest.fixture(params=[PumpScheduler, WorkerScheduler, VirtualClock], ids=lambda kind: kind.__name__)
def scheduler(request):
    made = request.param()
    yield made
    if isinstance(made, WorkerScheduler):
        made.close()


def run_what_is_due(scheduler):
    """Have everything run that is scheduled for now."""
    if isinstance(scheduler, PumpScheduler):
        scheduler.pump()
    elif isinstance(scheduler, VirtualClock):
        scheduler.advance_by(0)
    else:
        through = threading.Event()
        scheduler.schedule(lambda *_: through.set())
        assert through.wait(PATIENCE_S)


def test_a_disposed_action_releases_what_it_holds_immediately(scheduler):
    """The deadline of a picture that was in time does not keep the picture until it would have been due."""
    picture = Picture()
    gone = weakref.ref(picture)
    item = scheduler.schedule_relative(FAR_S, picture.draw, picture)
    del picture
    assert gone() is not None
    item.dispose()
    assert gone() is None


def test_an_action_that_ran_releases_what_it_held(scheduler):
    """Its state, for one, whoever keeps the disposable; VirtualClock remembers its last actions themselves."""
    picture = Picture()
    gone = weakref.ref(picture)
    item = scheduler.schedule(lambda *_: None, picture)
    del picture
    run_what_is_due(scheduler)
    assert gone() is None
    item.dispose()


def test_an_action_disposed_by_itself_has_what_it_returns_disposed(scheduler):
    """While it runs, from inside."""
    disposed, items, made = [], [], threading.Event()

    def action(*_):
        assert made.wait(PATIENCE_S)
        items[0].dispose()
        return Disposable(lambda: disposed.append(True))

    items.append(scheduler.schedule(action))
    made.set()
    run_what_is_due(scheduler)
    assert disposed == [True]


def test_an_item_runs_once():
    """A second run does nothing, nor does one after it was disposed."""
    ran, clock = [], VirtualClock()
    item = ScheduledItem(lambda *given: ran.append(given), "state")
    assert item.run(clock)
    assert not item.run(clock)
    item.dispose()
    assert not item.run(clock)
    assert ran == [(clock, "state")]


def test_disposing_and_running_at_the_same_time_dispose_what_the_action_returned():
    """Whichever is first: it did not run, or what it returned is disposed."""
    for _ in range(500):
        returned, disposed, clock, together = [], threading.Event(), VirtualClock(), threading.Barrier(2)

        def action(*_, returned=returned, disposed=disposed):
            returned.append(True)
            return Disposable(disposed.set)

        item = ScheduledItem(action, None)

        def dispose(item=item, together=together):
            together.wait(PATIENCE_S)
            item.dispose()

        thread = threading.Thread(target=dispose, daemon=True)
        thread.start()
        together.wait(PATIENCE_S)
        item.run(clock)
        thread.join(PATIENCE_S)
        assert disposed.is_set() == bool(returned)
