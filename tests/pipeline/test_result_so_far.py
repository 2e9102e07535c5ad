"""`run.result` during the run: a view that is complete whenever it is read, and does not change later."""

from __future__ import annotations

import threading

import pytest
import reactivex as rx

import rxpipe as rxp
from rxpipe.result import PipelineRunResult
from rxpipe.testing import ScriptedBackend
from rxpipe.testing.scripted import tiny_picture


def test_a_result_asked_for_at_every_event_is_the_fold_of_what_was_told_by_then(marbles, full_chain):
    """Each of them holds every event so far, and none changes when the run continues."""
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles, {"img2img": "-s-so|"}), scheduler=marbles.clock)
    emitted, asked = [], []

    def ask(event):
        emitted.append(event)
        asked.append(run.result)

    executor.events.subscribe(ask)
    run = executor.start(full_chain(2))
    marbles.run()
    assert run.result.success
    for count, result in enumerate(asked, 1):
        known = PipelineRunResult.from_events(emitted[:count])
        assert (result.events, result.records, result.status) == (known.events, known.records, known.status)


@pytest.mark.slow
def test_results_asked_for_by_many_threads_at_once_are_all_whole(full_chain):
    """No event is missing or twice, on whichever thread."""

    class Busy(rxp.Backend):
        def render(self, stage, source):
            del stage, source
            return rx.from_iterable(
                [*[rxp.StepProgress(fraction=n / 500) for n in range(500)], rxp.Output(tiny_picture(1))]
            )

    executor = rxp.PipelineExecutor(Busy())
    run = executor.start(full_chain(2, out=None))
    broken = []

    def ask():
        while not run.done:
            broken.extend(n for n, event in enumerate(run.result.events) if event.seq != n)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(30)
    assert not broken
    assert [event.seq for event in run.result.events] == list(range(len(run.result.events)))
    assert run.result.status == "completed"
