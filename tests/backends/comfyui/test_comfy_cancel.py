"""A cancel gives control back immediately and stops exactly our job, by the newest call that the server has."""

from __future__ import annotations

import random
import threading

import pytest
from releases import NEWEST, OLDEST, RELEASES
from stages import Watched, drawn, returns_before_any_answer, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output, StepProgress
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.testing.servers.comfyui import ComfyUIServer

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=8, model="tiny-a")
STOPS = ("cancel", "interrupt")


def stops(server):
    """The calls that stop a running or waiting job, in order."""
    found = [call for call in server.calls if call.path.rpartition("/")[2] in STOPS]
    found += [call for call in server.calls if call.path == "/queue" and call.method == "POST"]
    return found


def ended(server):
    """Whether no job of the server waits or runs."""
    return server.wait_for(lambda: all(job.outcome not in {"queued", "running"} for job in server.jobs))


@pytest.fixture
def held(server):
    """The server with each job stopped at its third step."""
    gate = server.hold("txt2img", 3)
    yield gate
    gate.release()


def running(backend, seed=7):
    """A render that has begun to sample."""
    watched = Watched(backend.render(stage_of(TXT2IMG, seed=seed), None))
    assert watched.wait_for(lambda seen: any(isinstance(v, StepProgress) and (v.step or 0) >= 3 for v in seen.values))
    return watched


def dispose(server, watched):
    """Dispose a render, which waits for no answer."""
    with returns_before_any_answer(server):
        watched.subscription.dispose()


def test_a_running_job_is_stopped_by_one_call(server, backend, held, release):
    watched = running(backend)

    dispose(server, watched)
    assert server.wait_for(lambda: stops(server)), "the call"
    held.release()
    assert ended(server)
    assert [job.outcome for job in server.jobs] == ["interrupted"]
    assert len(stops(server)) == 1
    assert stops(server)[0].path.endswith("/cancel" if release == NEWEST else "/interrupt")
    assert not any(isinstance(value, Output) for value in watched.values)


def test_a_waiting_job_is_taken_out_of_the_queue(server, backend, held):
    """Another client's runs before it and is not touched."""
    stranger = server.stranger()
    stranger.post()
    assert server.wait_for(lambda: server.jobs and server.jobs[0].outcome == "running")
    watched = Watched(backend.render(stage_of(TXT2IMG), None))
    assert server.wait_for(lambda: len(server.jobs) == 2)
    dispose(server, watched)
    assert server.wait_for(lambda: stops(server))
    assert server.wait_for(lambda: server.jobs[1].outcome not in {"queued", "running"})
    held.release()
    assert ended(server)
    assert server.jobs[0].outcome == "done"
    assert len(stops(server)) == 1


def test_the_next_job_comes_after_a_cancel(backend):
    watched = Watched(backend.render(stage_of(TXT2IMG), None))
    watched.wait_for(lambda seen: seen.values)
    watched.subscription.dispose()

    assert drawn(backend, stage_of(TXT2IMG, seed=9)).data


def test_a_success_after_the_cancel_is_discarded(server, backend):
    """The last node does not look; the job ends in success."""
    gate = server.hold_node("PreviewImage")
    watched = Watched(backend.render(stage_of(TXT2IMG), None))
    assert gate.wait_reached()
    dispose(server, watched)
    gate.release()
    assert ended(server)
    before = len(watched.values)
    assert not watched.wait_for(lambda seen: len(seen.values) != before or seen.error or seen.completed, 0.3)


def test_an_old_server_with_strangers_lets_the_cancelled_job_end():
    """An interrupt there hits whatever runs; it is said in the log, and nobody else is hit."""
    with ComfyUIServer(OLDEST, draw="noise", latency_s=0.1) as server, ComfyUIBackend(server.url) as backend:
        gate = server.hold("txt2img", 3)
        watched = running(backend)
        server.stranger().post()
        assert server.wait_for(lambda: len(server.jobs) == 2)
        dispose(server, watched)
        assert server.wait_for(lambda: len(server.calls_to("queue")) >= 2)
        gate.release()
        assert ended(server)
        assert [job.outcome for job in server.jobs] == ["done", "done"]
        assert stops(server) == []


def test_a_cancelled_run_returns_quickly_and_keeps_what_is_finished(server, backend, release):
    """Two images ahead: the one that waits is taken out, then the one in work is interrupted, which none follows.

    One call each, and no more: the gate keeps the job in work from ending by itself, and no job begins after it.
    """
    gate = server.hold("txt2img", 3)
    config = rxp.PipelineConfig(txt2img=TXT2IMG.model_copy(update={"images": 5, "seed": 1}), out=None)
    run = rxp.PipelineExecutor(backend).start(config)
    assert server.wait_for(lambda: len(server.jobs) == 2)
    assert gate.wait_reached()
    with returns_before_any_answer(server):
        run.cancel()
        assert run.wait(30.0)
    assert ended(server), "an interrupt opens the gate for its job"
    gate.release()

    assert run.result.status == "cancelled"
    assert len(server.jobs) == 2
    assert len(stops(server)) == 2
    assert "done" not in [job.outcome for job in server.jobs]
    if release != NEWEST:  # which cancels either by a call of its own
        assert {(job.outcome, job.started_s is None) for job in server.jobs} == {("interrupted", False), ("lost", True)}


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("count", [6, pytest.param(50, marks=pytest.mark.slow)])
@pytest.mark.slow
def test_random_cancels_wait_for_nothing_and_hit_nobody_else(version, count):
    """At any moment of a job, with a stranger's jobs in between: none of the stranger's is interrupted."""
    chance = random.Random(3)  # noqa: S311  # moments
    with ComfyUIServer(version, draw="noise", latency_s=0.1) as server, ComfyUIBackend(server.url) as backend:
        stranger, gate = server.stranger(), server.hold("txt2img", 1)
        strangers = [stranger.post()]
        first = Watched(backend.render(stage_of(TXT2IMG, seed=1), None))
        assert first.wait_for(lambda seen: any(value.ahead == 1 for value in seen.of(StepProgress)))
        gate.release()
        assert first.output.data  # behind another client's job, so that the backend knows that there are others
        for number in range(count):
            if number % 2:
                strangers.append(stranger.post())
            watched = Watched(backend.render(stage_of(TXT2IMG, seed=100 + number), None))
            threading.Event().wait(chance.random() * 0.25)
            dispose(server, watched)
            watched.worker.close()
        assert ended(server)
        outcomes = {job.task_id: job.outcome for job in server.jobs}
        calls = [f"{call.path} {call.body}" for call in stops(server)]

    assert {outcomes[job] for job in strangers} <= {"done"}
    ours = outcomes.keys() - set(strangers)
    assert all(any(job in call for job in ours) for call in calls)  # each names one of ours; some more than once
