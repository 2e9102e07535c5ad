"""The cancel suite over a local model, and cancels while the model is being loaded."""

import pytest
from test_cancel_suite import *  # noqa: F403  the suite itself
from test_cancel_suite import Counted, Session, chain

import rxpipe as rxp
from rxpipe.backends.diffusers.backend import DiffusersBackend


@pytest.fixture(scope="module")
def opened(shared):
    """A model, loaded once."""
    return shared


@pytest.mark.parametrize("stop", ["cancel", "dispose", "skip_image"])
def test_a_cancel_while_the_model_loads_reaches_the_drawing(models, shared, stop):
    """At the first sign of life, which says "loading"; afterwards the model is there, and its picture is right."""
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        counted = Counted(backend)
        executor = rxp.PipelineExecutor(counted)
        phases = []

        def act(event):
            if isinstance(event, rxp.StageStep) and not phases:
                phases.append(event.phase)
                getattr(executor.active, stop)()

        executor.events.subscribe(act)
        run = executor.start(chain(images=1))
        assert run.wait(300.0)
        assert phases == ["loading"]
        assert [call.interrupts for call in counted.calls] == [1]
        assert run.result.images == ()
        assert Session(backend).plain == Session(shared).plain
        assert backend.loads == 1
