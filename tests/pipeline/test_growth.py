"""What a run keeps of its finished images, with Python's cyclic collector off: events, and no picture."""

from __future__ import annotations

import gc

import pytest

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.testing.servers.webui import WebUIServer

IMAGES = 200
_IN_WORK = 8  # pictures in memory at the same time: drawn, sent and written


@pytest.fixture
def collector_off():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def living():
    """Return how many artifacts there are, and how many of them have their picture in memory."""
    artifacts = [each for each in gc.get_objects() if isinstance(each, Artifact)]
    return len(artifacts), sum(artifact.data is not None for artifact in artifacts)


@pytest.mark.slow
@pytest.mark.usefixtures("collector_off")
@pytest.mark.parametrize("order", ["stage", "auto"])
def test_no_finished_picture_waits_for_the_collector(order, tmp_path):
    """200 images of two stages; a cycle anywhere on their way would keep each of them."""
    seen = []
    others = living()  # what earlier tests of this process hold

    def watch(event):
        if event.kind == "stage_image_progress" and event.stage_type == "upscale":
            seen.append(living())

    with WebUIServer() as server, rxp.open_backend(server.url) as backend:
        runner = rxp.PipelineRunner(backend)
        runner.executor.events.subscribe(watch)
        job = rxp.chain(
            rxp.txt2img(prompt="a", images=IMAGES, seed=1, width=64, height=64),
            rxp.upscale(scale=2),
            order=order,
            out=tmp_path,
        )
        assert runner.run(job).success
    assert len(seen) == IMAGES
    assert max(pictures for _, pictures in seen) - others[1] <= _IN_WORK
    assert max(artifacts for artifacts, _ in seen) - others[0] <= 2 * IMAGES + _IN_WORK, "in the result or in work"
