"""Cancel, skip, stop and time limits over real backends: one interrupt each, and the next picture is right.

`tests/pipeline/test_cancel.py` holds the same in virtual time at every instant. Here moments are events and never
durations, so that a busy machine changes nothing. Another backend imports these tests and gives a fixture `opened`.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field

import pytest
from reactivex import Observable
from reactivex.disposable import Disposable
from stages import Watched, stage_of

import rxpipe as rxp
from rxpipe.backends.sketch import SketchBackend
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.errors import BackendTimeout
from rxpipe.testing.servers.webui import WebUIServer

PATIENCE_S = 300.0
ENDLESS = 900
"""Steps of a drawing that no test waits for."""
PLAIN = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=6)
TERMINALS = (rxp.StageEnd, rxp.StageFailed, rxp.StageCancelled)


@dataclass
class Call:
    """One subscription to a backend. ended: by itself. late: what came after an interrupt."""

    stage_type: str
    image_index: int
    ended: bool = False
    interrupts: int = 0
    late: list = field(default_factory=list)

    def came(self, value, *, last=False):
        if self.interrupts:
            self.late.append(value)
        self.ended = self.ended or last


class Counted(rxp.Backend):
    """A backend and its calls. on_call: called when one has begun."""

    def __init__(self, inner):
        self.inner, self.calls, self.on_call = inner, [], lambda _: None
        self.name, self.capacity, self.queue_ahead = inner.name, inner.capacity, inner.queue_ahead
        self.batches, self.check, self.wait_idle = inner.batches, inner.check, inner.wait_idle

    def render(self, stage, source):
        def subscribe(observer, scheduler=None):
            call = Call(stage.stage_type, stage.image_index)
            self.calls.append(call)

            def on_next(value):
                call.came(value)
                observer.on_next(value)

            def on_error(error):
                call.came(error, last=True)
                observer.on_error(error)

            def on_completed():
                call.came("completed", last=True)
                observer.on_completed()

            inner = self.inner.render(stage, source).subscribe(on_next, on_error, on_completed, scheduler=scheduler)

            def dispose():
                call.interrupts += not call.ended
                inner.dispose()

            self.on_call(call)
            return Disposable(dispose)

        return Observable(subscribe)


class Session:
    """Runs on one backend, each followed by a plain picture that must be what it was before the first."""

    def __init__(self, inner):
        self.inner = inner
        self.plain = self._picture()

    def _picture(self):
        watched = Watched(self.inner.render(stage_of(PLAIN), None))
        assert watched.wait_for(lambda seen: seen.completed or seen.error is not None, PATIENCE_S)
        return watched.output.data

    def play(self, chain, *, on_event=lambda _run, _event: None, on_call=lambda _run, _call: None):
        """Run a chain to its end; return the run's result and the backend's calls."""
        backend = Counted(self.inner)
        executor = rxp.PipelineExecutor(backend)
        backend.on_call = lambda call: on_call(executor.active, call)
        executor.events.subscribe(lambda event: on_event(executor.active, event) if executor.active else None)
        run = executor.start(chain)
        assert run.wait(PATIENCE_S)
        assert executor.active is None
        assert isinstance(run.result.events[-1], rxp.RunEnd)
        starts = [event.stage_index for event in run.result.events if isinstance(event, rxp.StageStart)]
        ends = [event.stage_index for event in run.result.events if isinstance(event, TERMINALS)]
        assert sorted(starts) == sorted(ends), "each stage that began has one end"
        many = len(backend.calls)
        assert self._picture() == self.plain, "the next picture is right"
        assert len(backend.calls) == many, "nothing is asked for after the end"
        for call in backend.calls:
            assert call.ended + call.interrupts == 1, "each call ended by itself or was interrupted once"
            assert call.late == []
        return run.result, backend.calls


@pytest.fixture(scope="module", params=["sketch", pytest.param("forge", marks=pytest.mark.slow)])
def opened(request):
    """A backend; closed after the last test."""
    with ExitStack() as stack:
        if request.param == "sketch":
            yield stack.enter_context(SketchBackend(pace_s=0.002))
        else:
            server = stack.enter_context(WebUIServer("forge", latency_s=0.1))
            yield stack.enter_context(WebUIBackend(server.url, poll_s=0.02))


@pytest.fixture(scope="module")
def session(opened):
    """The backend with its plain picture."""
    return Session(opened)


def chain(images=2, steps=6, **settings):
    """All four stages in small."""
    return rxp.chain(
        rxp.txt2img(prompt="a lighthouse", width=64, height=64, steps=steps, images=images, seed=100),
        rxp.img2img(steps=6, denoising_strength=0.5),
        rxp.adetailer(detector="mediapipe_face_full", steps=4),
        rxp.upscale(scale=2),
        out=None,
        **settings,
    )


def interrupted(calls):
    """Which calls were interrupted."""
    return [(call.stage_type, call.image_index) for call in calls if call.interrupts]


def outcomes(result, stage):
    """How the images of a stage ended, by their index."""
    return {record.image_index: record.outcome for record in result.records if record.stage_type == stage}


# -- cancel -----------------------------------------------------------------------------------------------------------


@pytest.mark.sampled(1)
@pytest.mark.parametrize("order", ["stage", "image"])
@pytest.mark.parametrize("stage", ["txt2img", "img2img", "adetailer", "upscale"])
def test_cancel_as_a_drawing_begins(session, stage, order):
    """What is in progress is interrupted, nothing further is asked for, and the image counts as cancelled."""

    def cancel(run, call):
        if call.stage_type == stage:
            run.cancel()

    result, calls = session.play(chain(order=order), on_call=cancel)
    assert result.status == "cancelled"
    assert interrupted(calls)[-1:] == [(stage, 1)]
    assert outcomes(result, stage) == {}
    assert calls[-1].stage_type == stage


MOMENTS = [
    *(("StageStart", stage) for stage in ("txt2img", "img2img", "adetailer", "upscale")),
    *(("StageStep", stage) for stage in ("txt2img", "img2img")),
    *(("StageImageProgress", stage) for stage in ("txt2img", "img2img", "adetailer", "upscale")),
    *(("StageEnd", stage) for stage in ("txt2img", "img2img", "adetailer")),
]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(("kind", "stage"), MOMENTS)
def test_cancel_from_whoever_hears_an_event(session, kind, stage):
    """At every kind of event of every stage; what was finished is kept."""
    kept = []

    def cancel(run, event):
        if not kept and isinstance(event, getattr(rxp, kind)) and event.stage_type == stage:
            kept.append(Counter(record.outcome for record in run.result.records))
            run.cancel()
            run.cancel()

    result, calls = session.play(chain(), on_event=cancel)
    assert result.status == "cancelled"
    at_once = session.inner.capacity + session.inner.queue_ahead
    assert len(interrupted(calls)) <= at_once
    after = Counter(record.outcome for record in result.records)
    assert kept[0]["done"] <= after["done"] <= kept[0]["done"] + at_once, "what was in progress may end just before"


def test_cancel_inside_a_drawing(session):
    """Steps have come: the call that sent them is interrupted."""
    at = []

    def cancel(run, event):
        if isinstance(event, rxp.StageStep) and event.fraction:
            at.append((event.stage_type, event.image_index))
            run.cancel()

    result, calls = session.play(chain(steps=ENDLESS), on_event=cancel)
    assert result.status == "cancelled"
    if session.inner.url is None:  # servers of the tests take no longer for more steps
        assert at[0] in interrupted(calls)


@pytest.mark.slow
def test_cancel_at_once_and_again(session):
    """Before anything can have been drawn: at most one call, and cancelling an ended run changes nothing."""
    executor = rxp.PipelineExecutor(Counted(session.inner))
    run = executor.start(chain())
    run.cancel()
    run.dispose()
    assert run.wait(PATIENCE_S)
    run.cancel()
    assert run.result.status == "cancelled"
    assert run.result.images == ()
    assert session.play(chain(images=1))[0].status == "completed"


@pytest.mark.slow
def test_disposing_the_run_is_cancelling_it(session):
    at = []

    def dispose(run, event):
        if isinstance(event, rxp.StageStep):
            at.append((event.stage_type, event.image_index))
            run.dispose()

    result, calls = session.play(chain(steps=ENDLESS), on_event=dispose)
    assert result.status == "cancelled"
    if session.inner.url is None:
        assert at[0] in interrupted(calls)


# -- skip, stop -------------------------------------------------------------------------------------------------------


def test_a_skipped_image_is_interrupted_and_the_others_are_drawn(session):
    """It counts as cancelled, the run is partial."""
    skipped = []

    def skip(run, call):
        if not skipped and call.stage_type == "img2img":
            skipped.append(call.image_index)
            assert run.skip_image(call.image_index)

    result, calls = session.play(chain(images=3), on_call=skip)
    assert result.status == "partial"
    assert interrupted(calls) == [("img2img", skipped[0])]
    assert outcomes(result, "img2img") == {index: "cancelled" if index == skipped[0] else "done" for index in (1, 2, 3)}
    assert len(outcomes(result, "upscale")) == 2


def test_stop_after_image_lets_the_one_in_progress_finish(session):
    """Nothing is interrupted, nothing further is begun."""
    begun = []

    def stop(run, event):
        if not begun and isinstance(event, rxp.StageStep) and event.stage_type == "img2img":
            begun.append(event.image_index)
            run.stop_after_image()

    result, calls = session.play(chain(images=4), on_event=stop)
    assert result.status == "cancelled"
    assert outcomes(result, "img2img")[begun[0]] == "done"
    assert interrupted(calls) == []
    assert {call.stage_type for call in calls} == {"txt2img", "img2img"}
    assert len(outcomes(result, "img2img")) < 4


# -- time limits ------------------------------------------------------------------------------------------------------


@pytest.fixture
def limited():
    """A chain whose drawings take longer than they may; how often they are tried, and the pause between, in s."""
    return lambda attempts, pause_s: rxp.chain(
        rxp.txt2img(prompt="a lighthouse", width=64, height=64, steps=ENDLESS, seed=100),
        out=None,
        timeout_s=0.02,
        retry=rxp.RetryConfig(attempts=attempts, first_delay_s=pause_s, jitter=0),
    )


def test_a_drawing_that_takes_too_long_is_interrupted_and_tried_again(session, limited):
    """Each attempt is interrupted once; after the last the image has failed by its time."""
    result, calls = session.play(limited(2, 0.0))
    assert [call.interrupts for call in calls] == [1, 1]
    retries = [event for event in result.events if isinstance(event, rxp.StageRetry)]
    assert [retry.error.type for retry in retries] == [BackendTimeout.__name__]
    assert result.records[-1].outcome == "failed"
    assert result.records[-1].error.type == BackendTimeout.__name__


@pytest.mark.slow
def test_cancel_in_the_pause_before_a_retry_asks_for_nothing_more(session, limited):
    def cancel(run, event):
        if isinstance(event, rxp.StageRetry):
            run.cancel()

    result, calls = session.play(limited(3, 60.0), on_event=cancel)
    assert result.status == "cancelled"
    assert [call.interrupts for call in calls] == [1]
