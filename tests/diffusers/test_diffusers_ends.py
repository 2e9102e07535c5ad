"""How a drawing ends when it is disposed at the worst moments: silently, without a traceback on any thread."""

import threading

import pytest
from pixels import TXT2IMG, drawn
from stages import stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.diffusers.stages import StageWork


@pytest.fixture
def uncaught(monkeypatch):
    """What ended on a thread without being handled."""
    found = []
    monkeypatch.setattr(threading, "excepthook", lambda report: found.append(report.exc_value))
    return found


@pytest.mark.parametrize("kind", [StepProgress, Preview, Output])
def test_disposing_while_something_is_emitted_ends_it_silently(shared, uncaught, kind):
    """From the observer itself, on the model's thread."""
    over, values = threading.Event(), []
    subscriptions = []

    def take(value):
        values.append(value)
        if isinstance(value, kind) and subscriptions:
            subscriptions[0].dispose()
            over.set()

    observable = shared.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None)
    subscriptions.append(observable.subscribe(take, values.append, lambda: values.append("completed")))
    assert over.wait(60.0)
    assert drawn(shared).shape == (64, 64, 3)
    assert isinstance(values[-1], kind)
    assert uncaught == []


def test_disposing_when_the_picture_is_ready_ends_it_silently(shared, uncaught, monkeypatch):
    """After the last step, before the picture is emitted."""
    values, subscriptions, over = [], [], threading.Event()
    run = StageWork.run

    def run_and_dispose(work):
        made = run(work)
        if not over.is_set():
            subscriptions[0].dispose()
            over.set()
        return made

    monkeypatch.setattr(StageWork, "run", run_and_dispose)
    observable = shared.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None)
    subscriptions.append(observable.subscribe(values.append, values.append, lambda: values.append("completed")))
    assert over.wait(60.0)
    assert drawn(shared).shape == (64, 64, 3)
    assert not [value for value in values if isinstance(value, Output | Exception | str)]
    assert uncaught == []
