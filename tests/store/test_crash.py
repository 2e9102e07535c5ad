"""A run that is killed loses one image: resumed, it is what it would have been."""

from __future__ import annotations

import contextlib
import dataclasses
import random
import sys

import crashes
import pytest

import rxpipe as rxp
from rxpipe.testing import WebUIServer
from rxpipe.testing.servers.drawing import noise, with_parameters

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and forks of POSIX"),
    pytest.mark.timeout(180),
]

MOMENTS = 15
IN_WORK = {"embedded": 1, "webui": 2, "pool": 4}  # capacity and queued ahead
STEPS = {"embedded": 640, "webui": 640, "pool": 640}


def of_the_pixels(request):
    """Noise that depends on the pixels of the source, as a model's picture does, and not on the texts beside them."""
    source = None if request.source is None else with_parameters(request.source, None)
    return noise(dataclasses.replace(request, source=source))


@contextlib.contextmanager
def opener(kind):
    """A function that opens a backend of that kind, on servers that outlive the process of the run."""
    with contextlib.ExitStack() as servers:
        urls = [
            servers.enter_context(WebUIServer(draw=of_the_pixels, latency_s=0.0)).url
            for _ in range({"embedded": 0, "webui": 1, "pool": 2}[kind])
        ]
        yield lambda: rxp.open_backend(",".join(urls) or "sketch")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A function that returns what a run that nothing disturbs amounts to, and the folder that it is in."""
    made = {}

    def run(kind):
        if kind not in made:
            folder = tmp_path_factory.mktemp(kind)
            with opener(kind) as open_backend:
                crashes.resume(folder, open_backend)
            made[kind] = (crashes.told(folder), crashes.names(folder))
        return made[kind]

    return run


@pytest.mark.sampled(1)
@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("kind", ["webui", "pool"])
@pytest.mark.slow
def test_a_killed_run_is_resumed_to_what_it_would_have_been(kind, moment, tmp_path, undisturbed):
    """Nothing is missing, torn or left over, and nothing that was finished is drawn again."""
    kill_and_resume(kind, moment, tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("moment", range(MOMENTS))
def test_a_killed_run_of_the_embedded_backend_is_resumed_to_what_it_would_have_been(moment, tmp_path, undisturbed):
    """As on servers; this one draws in the process that is killed."""
    kill_and_resume("embedded", moment, tmp_path, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["webui", "pool"])
def test_a_run_that_is_killed_again_and_again_comes_to_its_end(kind, tmp_path, undisturbed):
    """Each attempt adds what it has finished."""
    with opener(kind) as open_backend:
        killed = 0
        while crashes.killed_run(tmp_path, open_backend, at=90):
            killed += 1
        assert killed >= 5
        result = crashes.resume(tmp_path, open_backend)
    assert result.success
    assert [event.attempt for event in result.events if event.kind == "run_start"] == list(range(1, killed + 3))
    assert crashes.faults(tmp_path, IN_WORK[kind] * killed) == []
    assert crashes.told(tmp_path) == undisturbed(kind)[0]


def kill_and_resume(kind, moment, tmp_path, undisturbed):
    """Kill a run at a durable step, or one of three at a time, and resume it."""
    chance = random.Random(f"{kind} {moment}")  # noqa: S311 - keeps no secret
    at = chance.randrange(1, STEPS[kind]) if moment % 3 else None
    after_s = None if at else chance.uniform(0.05, 1.0)
    with opener(kind) as open_backend:
        crashes.killed_run(tmp_path, open_backend, at=at, after_s=after_s)
        result = crashes.resume(tmp_path, open_backend)
    assert result.success
    assert crashes.faults(tmp_path, IN_WORK[kind]) == []
    expected, names = undisturbed(kind)
    assert crashes.told(tmp_path) == expected
    if IN_WORK[kind] == 1:
        assert crashes.names(tmp_path) == names
