"""Cancel, skip, stop: statements 27 to 33 of the contract, at every moment of virtual time."""

from __future__ import annotations

import threading

import pytest
from loguru import logger

import rxpipe as rxp
from rxpipe.errors import BackendTimeout
from rxpipe.testing import ScriptedBackend
from rxpipe.testing.scripted import tiny_picture


def of(events, kind, stage=None):
    return [e for e in events if isinstance(e, kind) and stage in {None, getattr(e, "stage_type", None)}]


def cancel_on(marbles, chain, moment, scripts=None):
    """Play *chain* and cancel from the subscriber that sees the event *moment* asks for."""
    backend = ScriptedBackend(marbles, scripts)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    executor.events.subscribe(lambda e: executor.active.cancel() if moment(e) and executor.active else None)
    run = executor.start(chain)
    marbles.run()
    return run.result, backend


def test_cancel_on_the_first_upscaled_picture(marbles, full_chain):
    """Record 1 is kept, one call was made, image 2 is the one not finished, the stage did not end."""
    result, backend = cancel_on(
        marbles,
        full_chain(3, out=None),
        lambda e: isinstance(e, rxp.StageImageProgress) and (e.stage_type, e.image_index) == ("upscale", 1),
    )
    assert [(r.image_index, r.outcome) for r in result.records if r.stage_type == "upscale"] == [(1, "done")]
    assert len([c for c in backend.calls if c.stage_type == "upscale"]) == 1
    [cancelled] = of(result.events, rxp.StageCancelled)
    assert (cancelled.stage_type, cancelled.image_index) == ("upscale", 2)
    assert not of(result.events, rxp.StageEnd, "upscale")
    assert (result.status, result.success, result.error) == ("cancelled", False, None)
    assert result.tally == rxp.result.Tally(planned=3, done=1, cancelled=2)


def test_cancel_while_the_first_is_being_upscaled(marbles, full_chain):
    """Image 1 is the one not finished, nothing was upscaled, one interrupt: one subscription cut short."""
    run = marbles.run(full_chain(2), {"upscale": "------o|"}, cancel="-" * 20 + "!")
    [cancelled] = of(run.events.accept().values, rxp.StageCancelled)
    assert (cancelled.stage_type, cancelled.image_index) == ("upscale", 1)
    assert run.result.stage_images("upscale") == ()
    run.backend["upscale"].subscriptions.to_be("-" * 18 + "^-!")
    assert [image.stage_type for image in run.result.images] == ["adetailer", "adetailer"]


def test_cancel_after_txt2img_never_calls_the_next_stage(marbles, full_chain):
    """Between stages none is open: only RunEnd follows. What was saved stays in the result."""
    result, backend = cancel_on(marbles, full_chain(2, out=None), lambda e: isinstance(e, rxp.StageEnd))
    assert {call.stage_type for call in backend.calls} == {"txt2img"}
    assert [event.kind for event in result.events[-2:]] == ["stage_end", "run_end"]
    assert [image.stage_type for image in result.images] == ["txt2img", "txt2img"]
    assert result.status == "cancelled"


def test_cancel_before_the_start_makes_no_call(marbles, full_chain):
    """RunStart, RunEnd(cancelled), and nothing between; cancelling again changes nothing."""
    backend = ScriptedBackend(marbles)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(full_chain(2))
    run.cancel()
    run.cancel()
    run.dispose()
    assert run.done
    marbles.run()
    assert [event.kind for event in run.result.events] == ["run_start", "run_end"]
    assert run.result.status == "cancelled"
    assert backend.calls == []
    assert executor.active is None


def test_a_call_that_never_returns_is_interrupted_once(marbles, full_chain):
    """The run ends at the instant of the cancel; every subscription to the backend is over."""
    run = marbles.run(full_chain(2), {"adetailer": "-s-s---"}, cancel="-" * 30 + "!")
    events = run.events.accept().values
    assert events[-1].timestamp.timestamp() == 0.03
    assert [e.kind for e in events[-2:]] == ["stage_cancelled", "run_end"]
    run.backend["adetailer"].subscriptions.to_be("-" * 12 + "^" + "-" * 17 + "!")


def test_in_image_order_every_open_stage_is_cancelled_and_one_was_in_work(marbles, full_chain):
    """Only the current stage has an image_index."""
    run = marbles.run(full_chain(3, order="image"), {"adetailer": "----"}, cancel="-" * 30 + "!")
    cancelled = of(run.events.accept().values, rxp.StageCancelled)
    assert [(e.stage_type, e.image_index) for e in cancelled] == [
        ("txt2img", None),
        ("img2img", None),
        ("adetailer", 1),
    ]


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
@pytest.mark.sampled(1)
def test_cancel_at_every_moment(marbles, full_chain, order):
    """Whatever the instant: one terminal per start, RunEnd last, no call afterwards, every subscription closed."""
    whole = marbles.run(full_chain(2, order=order), {"img2img": "-s-so|"})
    last_ms = round(whole.events.accept().values[-1].timestamp.timestamp() * 1000)
    for moment in range(last_ms + 2):
        run = marbles.run(full_chain(2, order=order), {"img2img": "-s-so|"}, cancel="-" * moment + "!")
        events = run.events.accept().values
        assert isinstance(events[-1], rxp.RunEnd)
        starts, terminals = of(events, rxp.StageStart), of(events, (rxp.StageEnd, rxp.StageFailed, rxp.StageCancelled))
        assert sorted(e.stage_index for e in starts) == sorted(e.stage_index for e in terminals)
        for stage in {call.stage_type for call in run.backend.calls}:
            assert all(entry.off_us is not None for entry in run.backend[stage].subscriptions.entries)
        expected = "completed" if events[-1].timestamp.timestamp() * 1000 < moment else "cancelled"
        assert run.status in {expected, "completed"}


def test_disposing_the_run_is_cancelling_it(marbles, full_chain):
    """And disposing a subscription to the hot events only stops listening."""
    backend = ScriptedBackend(marbles)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    heard = []
    subscription = executor.events.subscribe(heard.append)
    run = executor.start(full_chain(2, out=None))
    marbles.clock.advance_by("5ms")
    subscription.dispose()
    many = len(heard)
    marbles.clock.advance_by("2ms")
    assert executor.active is run
    run.dispose()
    assert run.result.status == "cancelled"
    assert len(heard) == many


def test_a_timed_out_call_is_sent_again_only_when_the_backend_is_idle(marbles):
    """Interrupt at the limit, wait for idle, then the pause, then the second attempt with the same seed."""
    chain = rxp.chain(
        rxp.txt2img(prompt="a", seed=5), timeout_s=0.004, retry=rxp.RetryConfig(first_delay_s=0.002, jitter=0)
    )
    run = marbles.run(chain, {"txt2img": ["------", "-o|"], "wait_idle": "---|"})
    run.backend["txt2img"].subscriptions.to_be("^---!", "---------^-!")
    run.backend["wait_idle"].subscriptions.to_be("----^--!")
    assert [call.seed for call in run.backend.calls] == [5, 5]
    [retry] = of(run.events.accept().values, rxp.StageRetry)
    assert retry.error.type == BackendTimeout.__name__
    assert run.result.success


def test_cancel_in_the_pause_before_a_retry_makes_no_further_call(marbles):
    """Neither while settling nor while waiting."""
    chain = rxp.chain(rxp.txt2img(prompt="a"), timeout_s=0.004, retry=rxp.RetryConfig(first_delay_s=0.01, jitter=0))
    for cancel in ("-----!", "----------!"):
        run = marbles.run(chain, {"txt2img": "------", "wait_idle": "---|"}, cancel=cancel)
        assert len(run.backend.calls) == 1
        assert run.status == "cancelled"
        run.events.accept()


def test_skip_cancels_one_image_and_continues(marbles, full_chain):
    """The skipped one is reported as cancelled; the run is partial; its call was interrupted once."""
    backend = ScriptedBackend(marbles, {"img2img": ["-o|", "-------", "-o|"]})
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(full_chain(3, out=None))
    marbles.clock.advance_by("14ms")
    assert run.skip_image()
    assert run.skip_image() in {True, False}
    marbles.run()
    outcomes = [record.outcome for record in run.result.records if record.stage_type == "img2img"]
    assert outcomes == ["done", "cancelled", "done"]
    assert run.result.status == "partial"
    assert run.result.tally == rxp.result.Tally(planned=3, done=2, cancelled=1)
    assert not run.skip_image()


def test_stop_after_image_lets_the_one_in_progress_finish(marbles, full_chain):
    """It finishes its stage, then the run is cancelled."""
    backend = ScriptedBackend(marbles, {"txt2img": "-----o|"})
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(full_chain(3, out=None))
    marbles.clock.advance_by("8ms")
    run.stop_after_image()
    marbles.run()
    assert [(r.stage_type, r.image_index, r.outcome) for r in run.result.records] == [
        ("txt2img", 1, "done"),
        ("txt2img", 2, "done"),
    ]
    assert run.result.status == "cancelled"
    assert len(backend.calls) == 2


def test_a_function_that_blocks_is_left_behind_with_one_warning(tmp_path):
    """The run ends immediately, the result is dropped, the next run has a new worker."""
    let_go, inside = threading.Event(), threading.Event()
    lines = []
    sink = logger.add(lambda message: lines.append(message.record), level="WARNING")
    logger.enable("rxpipe")

    @rxp.image_stage
    def deaf(artifact):
        inside.set()
        let_go.wait(30)
        return artifact.to_image()

    @rxp.image_stage
    def quick(artifact):
        return artifact

    given = tmp_path / "given.png"
    given.write_bytes(tiny_picture(1))

    class Unreachable(rxp.Backend):
        def render(self, stage, source):
            raise AssertionError((stage, source))

    executor = rxp.PipelineExecutor(Unreachable())
    run = executor.start(rxp.chain(deaf(), out=None), inputs=[given])
    assert inside.wait(5)
    run.cancel()
    assert run.wait(1)
    after = executor.start(rxp.chain(quick(), out=None), inputs=[given])
    assert after.wait(5)
    let_go.set()
    logger.disable("rxpipe")
    logger.remove(sink)
    assert run.result.status == "cancelled"
    assert run.result.images == ()
    assert after.result.success
    assert [line["message"].split(";")[0] for line in lines] == ["deaf (stage 1 of 1) is still inside its function"]


def test_a_function_that_reports_ends_at_its_next_report(marbles, tmp_path):
    """`report` does not return once the run was cancelled, so the rest of the function never happens."""
    path = tmp_path / "given.png"
    path.write_bytes(tiny_picture(1))
    went = []

    @rxp.image_stage
    def slow(artifact, *, report):
        for n in range(4):
            report(n / 4)
            went.append(n)
            if n == 1:
                executor.active.cancel()
        return artifact

    backend = ScriptedBackend(marbles)
    executor = rxp.PipelineExecutor(backend, scheduler=marbles.clock)
    run = executor.start(rxp.chain(slow(), out=None), inputs=[path])
    marbles.run()
    assert went == [0, 1]
    assert [e.fraction for e in of(run.result.events, rxp.StageStep)] == [0.0, 0.25]
    assert run.result.status == "cancelled"
