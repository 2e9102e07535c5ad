"""What every backend owes to the port, held over all of them: embedded, scripted in virtual time, servers over HTTP."""

import threading
from contextlib import ExitStack, contextmanager

import pytest
from stages import artifact, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.backends.pool import PoolBackend
from rxpipe.backends.sketch import SketchBackend
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.pictures import png
from rxpipe.plan import build_stage_execution_plan
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing import Marbles, ScriptedBackend
from rxpipe.testing.servers.comfyui import RECORDED, ComfyUIServer
from rxpipe.testing.servers.webui import WebUIServer

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=8)
COMFYUIS = [*(pytest.param(version, marks=pytest.mark.slow) for version in RECORDED[:-1]), RECORDED[-1]]
SECTIONS = {
    "txt2img": TXT2IMG,
    "img2img": rxp.Img2ImgConfig(steps=8),
    "adetailer": rxp.AdetailerConfig(detector="mediapipe_face_full", steps=4),
    "upscale": rxp.UpscaleConfig(scale=2),
}
SCRIPTS = {"txt2img": "-ss---o|", "img2img": "-s---o|", "adetailer": "---u|", "upscale": "-s---o|"}


class Scene:
    """A backend and the time it lives in, and what one drawing on it emitted."""

    def __init__(self, backend, clock, wait):
        self.backend, self.clock = backend, clock
        self._wait = wait
        self.changed = threading.Condition()
        self.values, self.error, self.completed = [], None, False

    def subscribe(self, observable):
        """Listen; gives the subscription."""
        return observable.subscribe(self._next, self._failed, self._completed, scheduler=self.clock)

    @contextmanager
    def holding(self):
        """Let nothing be emitted in the block: a thread that emits waits, between two of its actions."""
        held, released = threading.Event(), threading.Event()
        if self._wait is _really:
            self.clock.schedule(lambda *_: (held.set(), released.wait()))
            assert held.wait(10.0)
        try:
            yield
        finally:
            released.set()

    def _next(self, value):
        with self.changed:
            self.values.append(value)
            self.changed.notify_all()

    def _failed(self, error):
        with self.changed:
            self.error = error
            self.changed.notify_all()

    def _completed(self):
        with self.changed:
            self.completed = True
            self.changed.notify_all()

    def wait_for(self, predicate):
        """Let time go on until *predicate* is true."""
        return self._wait(self, predicate)

    def play(self, observable):
        """Listen to the end."""
        self.subscribe(observable)
        assert self.wait_for(lambda: self.completed or self.error is not None)
        return self


def _really(scene, predicate):
    with scene.changed:
        return scene.changed.wait_for(predicate, 10.0)


def _virtually(scene, predicate):
    while not predicate() and scene.clock.pending:
        scene.clock.advance_by(0.001)
    return predicate()


@pytest.fixture(
    params=[
        "sketch",
        "scripted",
        "forge",
        "a1111",
        "forge without a page",
        *COMFYUIS,
        "pool",
        pytest.param("dask", marks=pytest.mark.slow),
    ]
)
def scene(request):
    """One backend in its time; closed afterwards."""
    with ExitStack() as stack:
        if request.param == "scripted":
            marbles = stack.enter_context(Marbles(verify=False))
            yield Scene(ScriptedBackend(marbles, SCRIPTS), marbles.clock, _virtually)
            return
        if request.param == "sketch":
            backend = SketchBackend(pace_s=0.01)
        elif request.param in RECORDED:
            server = stack.enter_context(ComfyUIServer(request.param, latency_s=0.15, draw="noise"))
            backend = ComfyUIBackend(server.url)
        elif request.param == "dask":
            from dask_clusters import Processes  # noqa: PLC0415  # the tests of local models lack this package

            from rxpipe.backends.dask.backend import DaskBackend  # noqa: PLC0415  # as above

            backend = DaskBackend(stack.enter_context(Processes(1, "embedded:pace=0.01")).url)
        elif request.param == "pool":
            server = stack.enter_context(WebUIServer("forge", latency_s=0.15))
            backend = PoolBackend([WebUIBackend(server.url, poll_s=0.02), SketchBackend(pace_s=0.01)])
        else:
            flavour, _, rest = request.param.partition(" ")
            server = stack.enter_context(WebUIServer(flavour, latency_s=0.15, nowebui=bool(rest)))
            backend = WebUIBackend(server.url, poll_s=0.02)
        stack.enter_context(backend)
        worker = WorkerScheduler("contract")
        stack.callback(worker.close)
        yield Scene(backend, worker, _really)


def source_of(section):
    """What a stage works on."""
    return None if section == "txt2img" else artifact()


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.sampled(14)
def test_a_drawing_is_progress_then_exactly_one_picture_then_completion(scene, section):
    """Whatever the stage; the picture is a sound PNG unless it was left unchanged."""
    seen = scene.play(scene.backend.render(stage_of(SECTIONS[section]), source_of(section)))

    assert seen.error is None
    assert [type(value) for value in seen.values if isinstance(value, Output)] == [Output]
    assert isinstance(seen.values[-1], Output)
    assert all(isinstance(value, StepProgress | Preview) for value in seen.values[:-1])
    if not seen.values[-1].unchanged:
        png.check(seen.values[-1].data)


def test_progress_never_falls_and_stays_within_one(scene):
    """Fractions 0..1; steps from 1 to the number of steps."""
    steps = [
        value
        for value in scene.play(scene.backend.render(stage_of(TXT2IMG), None)).values
        if isinstance(value, StepProgress) and value.fraction is not None
    ]

    assert steps
    assert [step.fraction for step in steps] == sorted(step.fraction for step in steps)
    assert all(0 <= step.fraction <= 1 for step in steps)
    assert all(step.steps is None or 1 <= step.step <= step.steps for step in steps)
    assert all(step.eta_s is None or step.eta_s >= 0 for step in steps)


def test_rendering_is_cold(scene):
    """Nothing happens before somebody subscribes, and each subscription draws."""
    observable = scene.backend.render(stage_of(TXT2IMG), None)
    scene.play(observable)
    first = scene.values[-1]
    scene.values, scene.completed = [], False
    scene.play(observable)

    assert scene.values[-1].data == first.data, "the same seed gives the same picture"


def test_the_seed_is_the_one_asked_for(scene):
    """Unless the backend says otherwise."""
    output = scene.play(scene.backend.render(stage_of(TXT2IMG, seed=1234), None)).values[-1]

    assert output.seed in {None, 1234}


def test_nothing_is_emitted_after_disposing(scene):
    """Disposed in the middle: no picture, no error, no completion; the next drawing works."""
    subscription = scene.subscribe(scene.backend.render(stage_of(TXT2IMG), None))
    assert scene.wait_for(lambda: scene.values)
    with scene.holding():
        subscription.dispose()
        subscription.dispose()
        before = len(scene.values)
    again = Scene(scene.backend, scene.clock, scene._wait)
    again.play(again.backend.render(stage_of(TXT2IMG), None))

    assert isinstance(again.values[-1], Output)
    assert (len(scene.values), scene.error, scene.completed) == (before, None, False)


def test_disposing_at_once_is_harmless(scene):
    """Before anything was emitted: what waits for the scheduler then is not emitted any more."""
    with scene.holding():
        scene.subscribe(scene.backend.render(stage_of(TXT2IMG), None)).dispose()
        again = Scene(scene.backend, scene.clock, scene._wait)

    assert again.play(again.backend.render(stage_of(TXT2IMG), None)).error is None
    assert scene.values == []


def test_settling_completes_without_a_value(scene):
    """When nothing is in hand any more."""
    seen = scene.play(scene.backend.wait_idle())

    assert (seen.values, seen.error, seen.completed) == ([], None, True)


def test_a_sound_plan_is_checked_and_drawn_by_a_run(scene):
    """`check` finds nothing wrong with what the backend can draw."""
    plan = build_stage_execution_plan(rxp.PipelineConfig(**SECTIONS))

    assert all(isinstance(warning, str) for warning in scene.backend.check(plan))


def test_name_and_description_are_told_and_closing_twice_is_harmless(scene):
    """They go into files, logs and the doctor's report."""
    assert scene.backend.name.isidentifier()
    assert scene.backend.description
    scene.backend.close()
    scene.backend.close()
