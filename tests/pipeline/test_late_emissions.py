"""What a backend emits after it was disposed, and what is asked of it after a cancel: nothing comes of either."""

from __future__ import annotations

import random
import threading

import pytest
import reactivex as rx
from reactivex import Observable
from reactivex.disposable import Disposable

import rxpipe as rxp
from rxpipe.backends.base import Preview, StepProgress
from rxpipe.testing.scripted import tiny_picture

ENDINGS = ("cancel", "skip", "time limit")


class Deaf(rxp.Backend):
    """Never draws by itself, and a dispose stops nothing: whoever has its observers may emit at any time."""

    name = "deaf"

    def __init__(self, capacity, queue_ahead):
        self.capacity, self.queue_ahead = capacity, queue_ahead
        self.observers, self.interrupted = [], []

    def render(self, stage, source):
        del source

        def subscribe(observer, scheduler=None):
            del scheduler
            self.observers.append(observer)
            return Disposable(lambda: self.interrupted.append(stage.image_index))

        return Observable(subscribe)


def emit(observers):
    """All that a backend can emit."""
    for observer in observers:
        observer.on_next(StepProgress(0.9, 9, 10))
        observer.on_next(Preview(tiny_picture(1)))
        observer.on_next(rxp.Output(tiny_picture(1)))
        observer.on_completed()
        observer.on_error(rxp.BackendFailed("late"))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("capacity", "queue_ahead"), [(1, 0), (1, 1), (4, 0)])
def test_what_a_backend_emits_after_it_was_disposed_is_dropped(marbles, capacity, queue_ahead, ending):
    """No event, no preview, no picture; every call was interrupted once."""
    marbles.allow_dropped()  # that is the point
    backend = Deaf(capacity, queue_ahead)
    retry = rxp.RetryConfig(attempts=1)
    timeout_s = 0.01 if ending == "time limit" else None
    images = capacity + queue_ahead
    job = rxp.chain(
        rxp.txt2img("a", images=images, seed=1), out=None, retry=retry, timeout_s=timeout_s, max_failures_in_a_row=100
    )
    executor, previews = rxp.PipelineExecutor(backend, scheduler=marbles.clock), []
    executor.previews.subscribe(previews.append)
    run = executor.start(job)
    marbles.clock.advance_by("1ms")
    assert len(backend.observers) == images
    if ending == "cancel":
        run.cancel()
    elif ending == "skip":
        for index in range(1, images + 1):
            run.skip_image(index)
    marbles.clock.advance_by("1ms" if ending != "time limit" else "20ms")
    before = run.result.events
    emit(backend.observers)
    marbles.run()
    late = run.result.events[len(before) :]
    assert run.done
    assert [event.kind for event in late] in ([], ["run_end"], ["stage_end", "run_end"])
    assert previews == []
    assert run.result.stage_images("txt2img") == ()
    assert sorted(backend.interrupted) == list(range(1, images + 1))


class AtOnce(rxp.Backend):
    """Draws within the subscription. reached: set with the n-th call; late: what was asked for after *over* was set."""

    name = "at_once"

    def __init__(self, capacity, queue_ahead, nth):
        self.capacity, self.queue_ahead = capacity, queue_ahead
        self.over, self.reached, self.late = threading.Event(), threading.Event(), []
        self._left = nth

    def render(self, stage, source):
        del source

        def begin(_):
            self._left -= 1
            if not self._left:
                self.reached.set()
            if self.over.is_set():
                self.late.append(stage.image_index)
            return rx.of(rxp.Output(tiny_picture(stage.seed)))

        return rx.defer(begin)


@pytest.mark.parametrize("runs", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_no_call_begins_once_cancel_has_returned(runs):
    """Of a backend that answers at once, cancelled by another thread while it draws."""
    moments, ended = random.Random(5), []  # noqa: S311  # moments, not secrets
    for number in range(runs):
        backend = AtOnce(*moments.choice([(1, 0), (1, 1), (4, 1)]), moments.randint(1, 60))
        job = rxp.chain(
            rxp.txt2img("a", images=100, seed=1), rxp.img2img(), out=None, order=moments.choice(["stage", "image"])
        )
        run = rxp.PipelineExecutor(backend).start(job)
        assert backend.reached.wait(20)
        run.cancel()
        backend.over.set()
        assert run.wait(20)
        assert backend.late == [], number
        ended.append(run.result.status)
    assert ended.count("cancelled") > 0.8 * runs
