"""What goes wrong on a server becomes a picture all the same, or a typed error that says what to do."""

from __future__ import annotations

import pytest
from stages import Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.base import StepProgress
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.backends.http.pictures import same_pixels
from rxpipe.errors import (
    BackendError,
    BackendFailed,
    BackendInterrupted,
    BackendRejected,
    BackendTimeout,
    BackendUnavailable,
    BadResponse,
)
from rxpipe.pictures import png
from rxpipe.testing.servers.comfyui import ComfyUIServer, Fault

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=4, model="tiny-a")
STAGE = stage_of(TXT2IMG)

COMES = {
    "silent": Fault.SILENT,
    "deaf": Fault.DEAF,
    "socket lost": Fault.SOCKET_LOST,
    "socket closed": Fault.SOCKET_CLOSED,
    "history late": Fault.LATE_HISTORY,
    "answer lost": Fault.ANSWER_LOST,
}
FAILS = {
    "out of memory": (Fault.OUT_OF_MEMORY, BackendFailed, True),
    "a node raises": (Fault.GENERIC, BackendFailed, True),
    "black": (Fault.BLACK, BackendFailed, False),
    "deleted": (Fault.DELETED, BackendFailed, False),
    "interrupted": (Fault.INTERRUPTED, BackendFailed, False),
    "no outputs": (Fault.NO_OUTPUTS, BadResponse, True),
    "node errors in a 200": (Fault.NODE_ERRORS, BackendRejected, False),
    "dies": (Fault.DIES, BackendUnavailable, True),
    "forbidden": (Fault.FORBIDDEN, BackendRejected, False),
    "unauthorized": (Fault.UNAUTHORIZED, BackendRejected, False),
}


def result_of(backend, stage=STAGE, source=None, timeout_s=15.0):
    """The Output of a stage, or its error."""
    watched = Watched(backend.render(stage, source))
    assert watched.wait_for(lambda seen: seen.completed or seen.error, timeout_s), "neither picture nor error"
    return watched.error or watched.values[-1]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", COMES)
def test_the_picture_comes_all_the_same(server, backend, name):
    """A socket that says nothing is not trusted: whoever waits asks too. Nothing is posted twice."""
    server.fault("/prompt", COMES[name])
    result = result_of(backend)

    png.check(result.data)
    assert [job.outcome for job in server.jobs] == ["done"]
    assert not isinstance(result_of(backend), BackendError), "and the next one too"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", FAILS)
def test_what_cannot_be_rendered_is_a_typed_error(server, backend, name):
    fault, kind, retryable = FAILS[name]
    server.fault("/prompt", fault)
    error = result_of(backend)

    assert type(error) is kind, error
    assert error.retryable is retryable
    if fault is not Fault.DIES:
        assert not isinstance(result_of(backend, stage_of(TXT2IMG, seed=8)), BackendError), "the next one comes"


@pytest.mark.slow
def test_a_stranger_who_does_not_read_stops_no_picture(server, backend):
    """It silences everybody's events; questions are answered."""
    drawn(backend, STAGE)
    stranger = server.stranger(reads=False)
    stranger.jam()

    png.check(result_of(backend, stage_of(TXT2IMG, seed=8)).data)


@pytest.mark.slow
def test_a_job_that_waits_says_how_many_are_before_it(server, backend):
    """As the server's queue has them; until it runs."""
    gate, stranger = server.hold("txt2img", 1), server.stranger()
    for _ in range(2):
        stranger.post()
    watched = Watched(backend.render(stage_of(TXT2IMG), None))
    assert watched.wait_for(lambda seen: [v.ahead for v in seen.of(StepProgress)][-1:] == [2])
    gate.release()
    assert watched.output.data
    phases = [(value.phase, value.ahead) for value in watched.of(StepProgress)]
    assert ("queued", 2) in phases
    assert phases[-1] == ("working", None)


def test_a_handshake_that_is_never_answered_stops_no_picture():
    with ComfyUIServer(draw="noise") as server:
        server.fault("ws", Fault.MUTE)
        with ComfyUIBackend(server.url, poll_s=0.05, connect_timeout_s=0.5) as backend:
            png.check(result_of(backend).data)


def test_cached_results_whose_files_are_gone_are_made_again(server, backend):
    """The same graph runs nothing and names old files; only the output runs again."""
    first = drawn(backend, STAGE)
    server.fault("/prompt", Fault.FILES_GONE)
    again = drawn(backend, STAGE)

    assert same_pixels(first.data, again.data)
    assert len(server.jobs) == 3


@pytest.mark.sampled(1)
@pytest.mark.parametrize("fault", [Fault.NOT_AN_IMAGE, Fault.FLIPPED_BYTE, Fault.CUT_PNG])
def test_a_broken_picture_is_noticed(server, backend, fault):
    server.fault("view", fault)

    assert isinstance(result_of(backend), BadResponse)


def test_an_answer_that_comes_late_is_found_by_its_id(server):
    """The POST times out, the job is there: it is followed and not posted again."""
    server.fault("/prompt", Fault.ANSWER_LATE.but(seconds=3.0))
    with ComfyUIBackend(server.url, poll_s=0.05, ask_timeout_s=0.5) as backend:
        png.check(result_of(backend).data)

    assert len(server.jobs) == 1


@pytest.mark.slow
def test_a_server_that_never_ends_its_job_is_given_up(server):
    server.fault("/prompt", Fault.STUCK)
    with ComfyUIBackend(server.url, poll_s=0.05, silence_s=2.5) as backend:
        assert isinstance(result_of(backend), BackendTimeout)
        server.unstick()


def test_on_interrupted_retry_is_heeded(server, backend):
    server.fault("/prompt", Fault.INTERRUPTED)
    stage = stage_of(TXT2IMG.model_copy(update={"on_interrupted": "retry"}))

    assert isinstance(result_of(backend, stage), BackendInterrupted)


def test_a_node_that_fails_is_named_with_its_title(server, backend):
    server.fault("/prompt", Fault.OUT_OF_MEMORY)
    error = result_of(backend)

    assert "(KSampler)" in str(error) or "(VAEDecode)" in str(error), error
    assert "--lowvram" in error.hint
    assert "Traceback" not in str(error)


def test_a_model_that_was_moved_is_said_with_what_there_is(server, backend):
    """Before anything is posted, against the server's list as it is now."""
    with pytest.raises(BackendRejected, match="did you mean 'tiny-"):
        drawn(backend, stage_of(TXT2IMG.model_copy(update={"model": "tiny-c"})))
    assert server.jobs == ()


def test_a_run_retries_and_ends_with_every_picture(server, backend):
    """Out of memory once; a run of three gets its three pictures."""
    server.fault("/prompt", Fault.OUT_OF_MEMORY, on_call=2)
    config = rxp.PipelineConfig(
        txt2img=TXT2IMG.model_copy(update={"images": 3}), out=None, retry={"first_delay_s": 0.01}
    )
    result = rxp.PipelineRunner(backend).run(config)

    assert result.status == "completed"
    assert len(server.jobs) == 4


def test_nothing_stays_on_the_server(server, backend):
    """No file in its output folder, nothing in its history, no upload among its inputs."""
    drawn(backend, STAGE)
    drawn(backend, stage_of(rxp.UpscaleConfig(scale=2)), artifact())
    backend.close()

    assert server.files.names("output") == server.files.names("input") == []
    history = [call for call in server.calls_to("history") if call.method == "POST"]
    assert len(history) == len(server.jobs) == 2
