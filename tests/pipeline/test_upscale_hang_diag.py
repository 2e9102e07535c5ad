"""The tests that began the project: upscale is serial, reports how far it is, and Cancel stops it in bounded time."""

from __future__ import annotations

import threading
import time

import pytest
from loguru import logger
from reactivex import Observable
from reactivex.disposable import CompositeDisposable, Disposable

import rxpipe as rxp
from rxpipe.testing.scripted import tiny_picture

BOUND_S = 1.0
"""Longest time from Cancel to control, with a backend that never answers."""


class CountingBackend(rxp.Backend):
    """Renders on the run's scheduler, counts the open calls of a stage, and can hang for ever."""

    name = "counting"

    def __init__(self, hang_on: tuple[str, int] | None = None) -> None:
        self.hang_on = hang_on
        self.calls: list[tuple[str, int]] = []
        self.interrupts: list[tuple[str, int]] = []
        self.active = 0
        self.most_active = 0
        self.hanging = threading.Event()

    def render(self, stage, source):  # noqa: ARG002  # the port's signature
        call = (stage.stage_type, stage.image_index)

        def subscribe(observer, scheduler=None):
            self.calls.append(call)
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            over = Disposable(lambda: self.interrupts.append(call))
            if call == self.hang_on:
                self.hanging.set()
                return over

            def finish(*_):
                observer.on_next(rxp.StepProgress(1.0, step=1, steps=1))
                self.active -= 1
                over.action = lambda: None
                observer.on_next(rxp.Output(tiny_picture(stage.seed)))
                observer.on_completed()

            return CompositeDisposable(scheduler.schedule_relative(0.001, finish), over)

        return Observable(subscribe)


def chain_of_two(images):
    """txt2img and upscale, in memory."""
    return rxp.chain(rxp.txt2img(prompt="a", images=images, seed=1), rxp.upscale(), out=None)


def image_indices(events, kind, stage):
    return [e.image_index for e in events if isinstance(e, kind) and e.stage_type == stage]


def test_multi_image_run_upscale_is_serial_and_honors_cancel():
    """Upscale calls never overlap; a cancel after the first image makes no second call and keeps the first."""
    backend = CountingBackend()
    result = rxp.PipelineRunner(backend).run(chain_of_two(images=5))
    assert result.success
    assert backend.most_active == 1
    assert image_indices(result.events, rxp.StageImageProgress, "upscale") == [1, 2, 3, 4, 5]

    backend = CountingBackend()
    executor = rxp.PipelineExecutor(backend)
    executor.events.subscribe(
        lambda e: (
            executor.active.cancel()
            if isinstance(e, rxp.StageImageProgress) and (e.stage_type, e.image_index) == ("upscale", 1)
            else None
        )
    )
    run = executor.start(chain_of_two(images=3))
    assert run.wait(5)
    assert [call for call in backend.calls if call[0] == "upscale"] == [("upscale", 1)]
    assert image_indices(run.result.events, rxp.StageImageProgress, "upscale") == [1]
    assert image_indices(run.result.events, rxp.StageCancelled, "upscale") == [2]
    assert image_indices(run.result.events, rxp.StageEnd, "upscale") == []
    assert run.result.status == "cancelled"
    assert backend.interrupts == []


def test_upscale_stage_logs_stage_and_image_progress():
    """One bound log line per lifecycle event of the stage, with its counts."""
    lines = []
    sink = logger.add(lambda message: lines.append(message.record), level="INFO")
    logger.enable("rxpipe")
    try:
        result = rxp.PipelineRunner(CountingBackend()).run(chain_of_two(images=2))
    finally:
        logger.disable("rxpipe")
        logger.remove(sink)
    upscale = [(line["extra"]["kind"], line["extra"]["image"]) for line in lines if line["extra"]["stage"] == "upscale"]
    assert upscale == [
        ("stage_start", None),
        ("stage_image_progress", 1),
        ("stage_image_progress", 2),
        ("stage_end", None),
    ]
    assert {line["extra"]["run"] for line in lines} == {result.run_id}
    messages = [line["message"] for line in lines if line["extra"]["stage"] == "upscale"]
    assert messages[0] == "upscale started, 2 images"
    assert messages[1].startswith("upscale image 1/2 done in ")
    assert messages[2].startswith("upscale image 2/2 done in ")
    assert messages[3].startswith("upscale completed in ")
    assert messages[3].endswith(": 2 done")
    lifecycle = [e for e in result.events if not isinstance(e, rxp.StageStep)]
    assert len(lines) == len(lifecycle)


@pytest.mark.parametrize("turn", range(5))
def test_cancel_stops_long_running_upscale_in_bounded_time(turn):
    """A backend that never answers does not hold Cancel up: back within a second, no thread left, in real time."""
    del turn
    before = set(threading.enumerate())
    backend = CountingBackend(hang_on=("upscale", 2))
    run = rxp.PipelineExecutor(backend).start(chain_of_two(images=3))
    assert backend.hanging.wait(5)

    began = time.monotonic()
    run.cancel()
    assert run.wait(BOUND_S)
    assert time.monotonic() - began < BOUND_S

    assert run.result.status == "cancelled"
    assert backend.interrupts == [("upscale", 2)]
    assert image_indices(run.result.events, rxp.StageCancelled, "upscale") == [2]
    assert len(run.result.stage_images("upscale")) == 1
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(BOUND_S)
    assert not [thread for thread in left if thread.is_alive()]
