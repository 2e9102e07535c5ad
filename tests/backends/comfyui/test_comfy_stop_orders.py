"""Stops while the queue moves: whatever comes late, exactly the jobs that are stopped are, and each once.

Each test puts two events into the order that is wrong for a client that trusts its last look: a request, or its answer,
is kept back until the other event has come.
"""

from __future__ import annotations

import pytest
from releases import MIDDLE, NEWEST, OLDEST
from stages import Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.base import StepProgress
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.errors import BackendError
from rxpipe.testing.servers.comfyui import Fault

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=8, model="tiny-a")
IMG2IMG = rxp.Img2ImgConfig(prompt="a lighthouse", steps=8, model="tiny-a")

of_release = pytest.mark.parametrize("release", [OLDEST, MIDDLE, NEWEST])
without_cancel = pytest.mark.parametrize("release", [OLDEST, MIDDLE])  # an interrupt and the queue, two calls
names_no_job = pytest.mark.parametrize("release", [OLDEST])


def stops(server):
    """The calls that stop a job, in order."""
    words = ("cancel", "interrupt", "queue")
    return [call for call in server.calls if call.method == "POST" and call.path.rpartition("/")[2] in words]


def paths(server):
    """The last words of their paths."""
    return [call.path.rpartition("/")[2] for call in stops(server)]


def outcomes(server):
    """What became of the jobs, in the order of their arrival."""
    return [job.outcome for job in server.jobs]


def ended(server):
    """Whether no job of the server waits or runs."""
    return server.wait_for(lambda: not {"queued", "running"} & set(outcomes(server)))


def began(server, number):
    """Whether a job began."""
    return server.wait_for(lambda: len(server.jobs) > number and server.jobs[number].started_s is not None)


def looks(call):
    """Whether a call reads the queue."""
    return call.method == "GET"


def rendered(backend, seed=7):
    """A render that has been subscribed."""
    return Watched(backend.render(stage_of(TXT2IMG, seed=seed), None))


def sampling(backend, gate, seed=7):
    """A render whose job runs and stands at the gate, which was heard."""
    watched = rendered(backend, seed)
    assert gate.wait_reached()
    assert watched.wait_for(lambda seen: any((value.step or 0) >= 3 for value in seen.of(StepProgress)))
    return watched


def two_jobs(server, backend, gate):
    """A render whose job runs and stands at the gate, and one whose job waits behind it."""
    first = sampling(backend, gate)
    second = rendered(backend, 8)
    assert server.wait_for(lambda: len(server.jobs) == 2 and server.jobs[1].call.status == 200)
    return first, second


def dispose(server, *renders):
    """Dispose them together: no look at the queue comes in between."""
    between = server.hold_calls("queue", answers=False, where=looks)
    for one in renders:
        one.subscription.dispose()
    between.release()


@pytest.fixture
def backend(server):
    """A backend that waits for what is late."""
    with ComfyUIBackend(server.url, poll_s=0.05, grace_s=60.0) as opened:
        yield opened


@pytest.fixture
def held(server):
    """The server with each job stopped at its third step, which an interrupt ends."""
    gate = server.hold("txt2img", 3)
    yield gate
    gate.release()


@without_cancel
def test_a_removal_that_comes_too_late_is_followed_by_an_interrupt(server, backend, held):
    """The job begins between the look at the queue and the removal, and reports no step any more."""
    first, second = two_jobs(server, backend, held)
    removal = server.hold_calls("queue", answers=False, where=lambda call: not looks(call))
    second.subscription.dispose()
    assert removal.wait_reached()
    later = server.hold("txt2img", 0)
    held.release()
    assert first.output.data
    assert later.wait_reached()
    removal.release()
    assert ended(server)
    assert outcomes(server) == ["done", "interrupted"]
    assert paths(server) == ["queue", "interrupt"]


@without_cancel
@pytest.mark.parametrize("late", ["look", "removal", "answer of the removal"])
def test_what_waits_is_taken_out_before_what_runs_is_interrupted(server, backend, held, late):
    """Else our interrupt made the next job of ours begin, which a removal by an older look would miss."""
    first, second = two_jobs(server, backend, held)
    gate = server.hold_calls("queue", answers=late != "removal", where=lambda call: looks(call) == (late == "look"))
    dispose(server, first, second)
    assert gate.wait_reached()
    gate.release()
    assert ended(server)
    assert outcomes(server) == ["interrupted", "lost"]
    assert server.jobs[1].started_s is None
    assert paths(server)[-1] == "interrupt"
    assert paths(server).count("interrupt") == 1


@pytest.mark.parametrize(
    ("release", "target"),
    [
        (OLDEST, "look"),
        (OLDEST, "queue"),
        (OLDEST, "interrupt"),
        (MIDDLE, "look"),
        (MIDDLE, "queue"),
        (MIDDLE, "interrupt"),
        (NEWEST, "cancel"),
    ],
)
@pytest.mark.parametrize("answers", [True, False])
@pytest.mark.sampled(3)
def test_each_job_is_stopped_by_one_call_whatever_is_late(server, backend, held, target, answers):
    """The running one and the waiting one; the next job is not touched."""
    first, second = two_jobs(server, backend, held)
    name = "queue" if target == "look" else target
    gate = server.hold_calls(name, answers=answers, where=lambda call: looks(call) == (target == "look"))
    dispose(server, first, second)
    assert gate.wait_reached()
    gate.release()
    assert ended(server)
    held.release()
    hit = [interrupt.job for interrupt in server.interrupts if interrupt.job is not None]
    assert len(stops(server)) == 2
    assert len(hit) == len({job.number for job in hit})
    assert set(outcomes(server)) <= {"interrupted", "lost"}
    assert drawn(backend, stage_of(TXT2IMG, seed=9)).data
    assert outcomes(server)[2:] == ["done"]


@names_no_job
def test_the_next_job_is_posted_after_an_interrupt_that_names_none(server, backend, held):
    """The job ends by itself before its interrupt comes; the next one is ready to be posted meanwhile."""
    watched = sampling(backend, held)
    interrupt = server.hold_calls("interrupt", answers=False)
    watched.subscription.dispose()
    assert interrupt.wait_reached()
    held.release()
    assert ended(server)
    following = Watched(backend.render(stage_of(IMG2IMG), artifact()))
    assert server.wait_calls("/upload/image")
    interrupt.release()
    assert following.output.data
    assert outcomes(server) == ["done", "done"]
    assert [one.job for one in server.interrupts] == [None]
    assert server.jobs[1].queued_s >= server.interrupts[0].at_s


@names_no_job
def test_a_next_job_that_a_late_interrupt_hits_is_posted_again(server, held):
    """The interrupt has no answer in time, and comes when the next job runs."""
    with ComfyUIBackend(server.url, poll_s=0.05, grace_s=0.1) as backend:
        watched = sampling(backend, held)
        interrupt = server.hold_calls("interrupt", answers=False)
        watched.subscription.dispose()
        assert interrupt.wait_reached()
        held.release()
        assert ended(server)
        again = server.hold("txt2img", 3)
        following = rendered(backend, 9)
        assert again.wait_reached()
        interrupt.release()
        assert server.wait_for(lambda: outcomes(server)[1] == "interrupted")
        again.release()
        assert following.output.data
        assert outcomes(server) == ["done", "interrupted", "done"]
        assert drawn(backend, stage_of(TXT2IMG, seed=10)).data


@without_cancel
def test_a_waiting_job_that_goes_on_survives_the_stop_of_the_one_before(server, backend, held):
    """That one ends by itself before its interrupt comes: on an old server it hits ours, which is posted again."""
    first, second = two_jobs(server, backend, held)
    interrupt = server.hold_calls("interrupt", answers=False)
    first.subscription.dispose()
    assert interrupt.wait_reached()
    again = server.hold("txt2img", 2)  # which the first has passed
    held.release()
    assert again.wait_reached()
    interrupt.release()
    assert server.wait_for(lambda: server.interrupts)
    named = server.interrupts[0].job is None
    assert named or server.wait_for(lambda: outcomes(server)[1] == "interrupted")
    again.release()
    assert second.output.data
    assert outcomes(server) == (["done", "done"] if named else ["done", "interrupted", "done"])
    assert named == (server.version.text != OLDEST)


@names_no_job
def test_a_server_that_answers_no_question_gets_no_interrupt_that_names_no_job(server, held):
    """The job ends meanwhile, and another client's begins."""
    with ComfyUIBackend(server.url, poll_s=0.05, grace_s=0.05) as backend:
        watched = sampling(backend, held)
        questions = server.hold_calls("queue", where=looks)
        watched.subscription.dispose()
        assert questions.wait_reached(times=3)  # the third when the grace is over
        server.stranger().post()
        held.release()
        assert ended(server)
        assert outcomes(server) == ["done", "done"]
        assert server.interrupts == ()
        questions.release()


@names_no_job
def test_our_job_whose_post_has_no_answer_yet_is_no_stranger(server, backend, held):
    """An old server gives it an id that we do not know; the job before it is interrupted all the same."""
    watched = sampling(backend, held)
    answer = server.hold_calls("/prompt")
    following = rendered(backend, 9)
    assert answer.wait_reached()
    watched.subscription.dispose()
    answer.release()
    assert server.wait_for(lambda: outcomes(server)[0] == "interrupted")
    held.release()
    assert following.output.data


@pytest.mark.parametrize("release", [MIDDLE])
def test_a_waiting_job_whose_post_has_no_answer_yet_is_taken_out_too(server, backend, held):
    first = sampling(backend, held)
    answer = server.hold_calls("/prompt")
    second = rendered(backend, 8)
    assert answer.wait_reached()
    dispose(server, first, second)
    assert server.wait_for(lambda: outcomes(server) == ["interrupted", "lost"])
    answer.release()
    assert paths(server) == ["queue", "interrupt"]


@of_release
def test_a_job_that_the_server_accepts_in_part_is_stopped(server, backend, held, release):
    """Its error is raised at once; the job is ours until it has ended."""
    server.fault("prompt", Fault.NODE_ERRORS)
    look = server.hold_calls("queue", answers=False, where=looks)
    with pytest.raises(BackendError):
        drawn(backend, stage_of(TXT2IMG))
    assert release == NEWEST or began(server, 0)  # which is stopped without a look
    look.release()
    assert ended(server)
    assert outcomes(server) in (["interrupted"], ["lost"])
    held.release()
    again = server.hold("txt2img", 5)
    watched = rendered(backend, 9)
    assert again.wait_reached()
    watched.subscription.dispose()
    assert ended(server)
    assert outcomes(server)[1:] == ["interrupted"]


@of_release
def test_a_picture_that_is_gone_is_not_made_again_after_a_stop(server, backend):
    drawn(backend, stage_of(TXT2IMG))
    server.fault("prompt", Fault.FILES_GONE)
    picture = server.hold_calls("view", answers=False)
    watched = rendered(backend)
    assert picture.wait_reached()
    forgotten = len(server.calls_to("/history"))
    watched.subscription.dispose()
    picture.release()
    assert server.wait_calls("/history", forgotten + 1)
    assert drawn(backend, stage_of(TXT2IMG, seed=9)).data
    assert len(server.jobs) == 3


@pytest.mark.parametrize("release", [NEWEST])
def test_a_waiting_job_is_taken_out_behind_a_proxy_that_hides_the_newest_calls(server, backend, held):
    """An interrupt would not reach a job that waits."""
    server.stranger().post()
    assert began(server, 0)
    server.fault("cancel", Fault.FORBIDDEN.but(status=404), times=None)
    watched = rendered(backend)
    assert server.wait_for(lambda: len(server.jobs) == 2 and server.jobs[1].call.status == 200)
    watched.subscription.dispose()
    assert server.wait_for(lambda: outcomes(server)[1] == "lost")
    held.release()
    assert ended(server)
    assert outcomes(server) == ["done", "lost"]
