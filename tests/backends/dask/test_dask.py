"""DaskBackend over a scheduler and workers in this process: what a cell is, what ends it, and where it is rendered."""

from __future__ import annotations

import dataclasses
import threading
import time

import pytest
import reactivex as rx
from dask_clusters import InProcess
from reactivex.disposable import Disposable
from reactivex.scheduler import ScheduledItem
from reactivex.scheduler.scheduler import Scheduler
from stages import Watched, artifact, drawn, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Backend, Moved, Output, Preview, StepProgress
from rxpipe.backends.dask.address import parse_address
from rxpipe.backends.sketch import SketchBackend
from rxpipe.errors import BackendFailed, BackendRejected, BackendUnavailable, ConfigError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.testing.servers.drawing import noise_png

TXT2IMG = rxp.Txt2ImgConfig(prompt="a lighthouse", width=64, height=64, steps=4)
PLAN = build_stage_execution_plan(rxp.PipelineConfig(txt2img=TXT2IMG))
SILENCE_S = 1.5  # where it is what is tested; elsewhere the usual, which no load of the machine reaches


class Held(Backend):
    """A backend that renders when it is told to, and counts what is asked of it."""

    name = "held"

    def __init__(self, *, at_once=False, error=None):
        self.at_once, self.error = at_once, error
        self.begun, self.interrupted, self.stages = threading.Semaphore(0), [], []
        self.observers = []

    def render(self, stage, source):
        def subscribe(observer, scheduler=None):
            self.stages.append((stage, source))
            observer.on_next(StepProgress(0.5, 1, 2))
            observer.on_next(Preview(b"a preview"))
            self.observers.append((observer, scheduler))
            if self.at_once:
                self.finish()
                return None
            self.begun.release()
            return Disposable(lambda: self.interrupted.append(stage.image_index))

        return rx.Observable(subscribe)

    def finish(self):
        """End what was begun last."""
        observer, scheduler = self.observers.pop()
        if self.error is not None:
            scheduler.schedule(lambda *_: observer.on_error(self.error))
            return
        picture = Output(noise_png(64, 64, len(self.stages)))
        scheduler.schedule(lambda *_: (observer.on_next(picture), observer.on_completed()))


@pytest.fixture(scope="module")
def shared():
    """A cluster for the tests that add and remove workers of their own."""
    with InProcess() as cluster:
        yield cluster


@pytest.fixture
def cluster(shared):
    """No worker in it, before and after."""
    yield shared
    for worker in list(shared.workers):
        shared.remove(worker.name)


@pytest.fixture
def backend(cluster):
    with rxp.open_backend(cluster.url) as opened:
        yield opened


@pytest.fixture
def impatient(cluster):
    """A backend that is connected, and takes what is silent for `SILENCE_S` for gone."""
    with rxp.open_backend(cluster.url, silence_s=SILENCE_S) as opened:
        cluster.add(Held(), "first")
        assert eventually(lambda: answers(opened))
        cluster.remove("first")
        assert eventually(lambda: not opened._members)
        yield opened


def answers(backend):
    """Whether it has a worker now."""
    try:
        return backend.check(PLAN) == []
    except (BackendUnavailable, BackendRejected):
        return False


def eventually(predicate, within_s=20.0):
    end = time.monotonic() + within_s
    while not predicate():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.01)
    return True


def test_a_cell_runs_on_the_workers_backend_with_its_picture_and_its_files(cluster, backend, tmp_path):
    """Pixels as without Dask; steps and previews come, the input picture goes there, and so does a mask's file."""
    held = Held(at_once=True)
    cluster.add(held, "a")
    mask = tmp_path / "mask.png"
    mask.write_bytes(noise_png(64, 64, 3))
    source = rxp.Artifact(id="x-1", seed=7, data=noise_png(256, 256, 2))
    seen = Watched(backend.render(stage_of(rxp.Img2ImgConfig(mask=mask)), source))
    output = seen.output
    assert (output.data, output.server) == (noise_png(64, 64, 1), "a")
    ((stage, there),) = held.stages
    assert there.read() == source.data
    assert stage.config.mask != mask
    assert not stage.config.mask.exists(), "its copy is removed with the cell"
    assert seen.of(StepProgress)[-1] == StepProgress(0.5, 1, 2, server="a")


def test_pixels_and_kind_are_those_of_the_backend_that_is_held(cluster, backend):
    """So that a run is resumed with or without a cluster."""
    cluster.add(SketchBackend(), "a")
    backend.check(PLAN)
    assert backend.kind == "sketch"
    assert drawn(backend, stage_of(TXT2IMG)).data == drawn(SketchBackend(), stage_of(TXT2IMG)).data


def test_a_preview_comes_while_it_is_rendered(cluster, backend):
    held = Held()
    cluster.add(held, "a")
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    assert seen.wait_for(lambda seen: seen.of(Preview))
    assert seen.of(Preview)[0] == Preview(b"a preview")
    held.finish()
    assert isinstance(seen.output, Output)


def test_whatever_a_workers_backend_emits_arrives(cluster, backend):
    """Every field of a step; each of several attempts of a pool that the worker holds, in order."""
    step = StepProgress(0.25, 2, 8, 1.5, "queued", 3, "one of a")
    assert None not in dataclasses.astuple(step)
    moved = [Moved(BackendUnavailable(f"attempt {number}.", retry_after_s=2.0)) for number in (1, 2)]
    whole = Held()
    whole.render = lambda *_: rx.of(step, *moved, Output(noise_png(64, 64, 1)))
    cluster.add(whole, "a")
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    assert seen.output.server == "a"
    assert seen.of(StepProgress)[-1] == step
    assert [(each.error.message, each.error.retry_after_s) for each in seen.of(Moved)] == [
        (each.error.message, 2.0) for each in moved
    ]


def test_disposing_interrupts_the_workers_backend_exactly_once(cluster, backend):
    """And the next image renders there."""
    held = Held()
    cluster.add(held, "a")
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    assert held.begun.acquire(timeout=20)
    seen.subscription.dispose()
    seen.subscription.dispose()
    assert eventually(lambda: held.interrupted)
    held.at_once = True
    assert drawn(backend, stage_of(TXT2IMG, image_index=2)).server == "a"
    assert held.interrupted == [1]


class Gathered(Scheduler):
    """A scheduler whose actions wait until they are run here, so that a dispose comes between."""

    def __init__(self):
        super().__init__()
        self.actions = []

    def schedule(self, action, state=None):
        item = ScheduledItem(self, state, action, self.now)
        self.actions.append(item)
        return item.disposable

    def schedule_relative(self, _duetime, action, state=None):
        return self.schedule(action, state)

    def schedule_absolute(self, _duetime, action, state=None):
        return self.schedule(action, state)

    def run(self):
        """Run what waits, what it schedules too."""
        while self.actions:
            item = self.actions.pop(0)
            if not item.is_cancelled():
                item.invoke()


@pytest.mark.parametrize("waiting", ["queued", "step", "picture", "error"])
def test_what_waits_for_its_scheduler_when_it_is_disposed_is_never_emitted(cluster, backend, waiting):
    """Whatever it is: that it waits, a step and a preview, its picture, its error."""
    held = Held(at_once=waiting in {"picture", "error"}, error=BackendFailed("NaN.") if waiting == "error" else None)
    if waiting != "queued":
        cluster.add(held, "a")
        backend.check(PLAN)
    clock, seen = Gathered(), []
    subscription = backend.render(stage_of(TXT2IMG), None).subscribe(
        seen.append, seen.append, lambda: seen.append("completed"), scheduler=clock
    )
    expected = 1 if waiting == "queued" else 2
    assert eventually(lambda: len(clock.actions) >= expected)
    subscription.dispose()
    clock.run()
    assert seen == []


def test_a_client_that_is_gone_leaves_nothing_running(cluster):
    held = Held()
    cluster.add(held, "a")
    backend = rxp.open_backend(cluster.url)
    Watched(backend.render(stage_of(TXT2IMG), None))
    assert held.begun.acquire(timeout=20)
    backend.close()
    assert eventually(lambda: held.interrupted == [1])


def test_a_worker_that_leaves_loses_its_cell_to_another_with_the_same_seed(cluster, backend):
    leaving, staying = Held(), Held(at_once=True)
    cluster.add(leaving, "leaving")
    seen = Watched(backend.render(stage_of(TXT2IMG, seed=42), None))
    assert leaving.begun.acquire(timeout=20)
    cluster.add(staying, "staying")
    cluster.remove("leaving")
    assert seen.output.server == "staying"
    assert [stage.seed for stage, _ in staying.stages] == [42]
    (moved,) = seen.of(Moved)
    assert "leaving" in moved.error.message
    assert eventually(lambda: leaving.interrupted == [1])


def test_a_cell_that_ends_four_workers_is_its_own_fault(cluster, backend):
    """The others survive it."""
    every = {name: Held() for name in ("a", "b", "c", "d", "e")}
    for name, held in every.items():
        cluster.add(held, name)
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    for _ in range(4):
        assert eventually(lambda: any(held.observers for held in every.values()))
        name = next(name for name, held in every.items() if held.observers)
        every.pop(name).observers.clear()
        cluster.crash(name)
    with pytest.raises(BackendFailed, match="4 backends went away"):
        assert seen.output


def test_workers_that_leave_are_not_the_fault_of_what_they_rendered(cluster, backend):
    """They are ended for other reasons, one after another, while they render the same image."""
    for name in ("a", "b", "c", "d"):
        leaving = Held()
        cluster.add(leaving, name)
        if name == "a":
            seen = Watched(backend.render(stage_of(TXT2IMG), None))
        assert leaving.begun.acquire(timeout=20)
        cluster.remove(name)
    cluster.add(Held(at_once=True), "e")
    assert seen.output.server == "e"
    assert len(seen.of(Moved)) == 4


@pytest.fixture
def other(cluster):
    """Another client of the same cluster."""
    with rxp.open_backend(cluster.url) as opened:
        yield opened


@pytest.mark.parametrize("cancelled", ["the one that renders", "the one that waits"])
def test_two_clients_share_a_worker_and_a_cancel_of_one_leaves_the_other_alone(cluster, backend, other, cancelled):
    """The one that waits behind the other's image says so."""
    held = Held()
    cluster.add(held, "a")
    first = Watched(backend.render(stage_of(TXT2IMG, image_index=1), None))
    assert held.begun.acquire(timeout=20)
    other.check(PLAN)
    second = Watched(other.render(stage_of(TXT2IMG, image_index=2), None))
    assert second.wait_for(lambda seen: StepProgress(phase="queued", server="a") in seen.values)
    if cancelled == "the one that renders":
        first.subscription.dispose()
        assert held.begun.acquire(timeout=20)
        assert held.interrupted == [1]
        held.finish()
        assert second.output.server == "a"
    else:
        second.subscription.dispose()
        assert eventually(lambda: len(cluster.workers[0].state.tasks) == 1)
        held.finish()
        assert first.output.server == "a"
        assert [stage.image_index for stage, _ in held.stages] == [1]
        assert second.of(Output) == []


def test_a_worker_that_joins_later_gets_what_it_can_render(cluster, backend):
    """The plan is checked on it before its first image."""
    able, unable = Held(), Held(at_once=True)
    cluster.add(able, "able")
    backend.check(PLAN)
    first = Watched(backend.render(stage_of(TXT2IMG, image_index=1), None))
    assert able.begun.acquire(timeout=20)
    asked = threading.Event()
    unable.check = lambda _plan: (asked.set(), (_ for _ in ()).throw(BackendRejected("no such model.")))
    cluster.add(unable, "unable")
    assert asked.wait(5)
    assert eventually(lambda: len(backend._placement.members) == 2)
    second = Watched(backend.render(stage_of(TXT2IMG, image_index=2), None))
    able.finish()
    assert first.output.server == "able"
    assert able.begun.acquire(timeout=20)
    able.finish()
    assert second.output.server == "able"
    assert unable.stages == []


def test_no_worker_is_an_error_after_the_silence(impatient):
    with pytest.raises(BackendUnavailable, match=r"has no worker.*rxpipe worker"):
        impatient.check(PLAN)
    with pytest.raises(BackendUnavailable, match="has no worker"):
        drawn(impatient, stage_of(TXT2IMG))


def test_a_worker_that_comes_in_time_is_used(cluster, backend):
    seen = Watched(backend.render(stage_of(TXT2IMG), None))
    assert seen.wait_for(lambda seen: seen.values == [StepProgress(phase="queued")])
    cluster.add(Held(at_once=True), "late")
    assert seen.output.server == "late"


def test_no_scheduler_is_an_error_at_once():
    with (
        rxp.open_backend("dask://127.0.0.1:9", connect_timeout_s=0.2) as nobody,
        pytest.raises(
            BackendUnavailable, match=r"no answer from the Dask scheduler dask://127\.0\.0\.1:9: nothing listens there"
        ),
    ):
        nobody.check(PLAN)


@pytest.mark.parametrize(
    ("about", "says"),
    [
        ({"versions": {"python": "2.7", "rxpipe": "0.0.1"}}, "it runs python 2.7, this is 3.*; it runs rxpipe 0.0.1"),
        ({"versions": {}}, "python of unknown version"),
    ],
)
@pytest.mark.slow
def test_a_worker_of_other_versions_gets_no_image(cluster, backend, about, says):
    cluster.add(Held(at_once=True), "old", about=about)
    with pytest.raises(BackendRejected, match=says):
        backend.check(PLAN)
    cluster.add(Held(at_once=True), "new")
    assert [warning for warning in backend.check(PLAN) if warning.startswith("old is not used")]
    assert drawn(backend, stage_of(TXT2IMG)).server == "new"


@pytest.mark.slow
def test_resources_choose_the_worker_and_one_that_nobody_has_is_an_error(cluster):
    cluster.add(Held(at_once=True), "small")
    cluster.add(Held(at_once=True), "large", resources={"sdxl": 1})
    with rxp.open_backend(f"{cluster.url}?requires=sdxl=1", silence_s=SILENCE_S) as backend:
        backend.check(PLAN)
        assert {drawn(backend, stage_of(TXT2IMG)).server for _ in range(4)} == {"large"}
    with (
        rxp.open_backend(cluster.url, requires={"h100": 8}, silence_s=SILENCE_S) as backend,
        pytest.raises(BackendRejected, match="small: it has not the resources h100"),
    ):
        backend.check(PLAN)


def test_what_a_workers_backend_says_arrives_as_it_was(cluster, backend):
    """Its typed error; what it refuses in `check`; what it has by name."""
    refusing = Held(at_once=True, error=BackendFailed("NaN.", retryable=False))
    refusing.check = lambda _plan: (_ for _ in ()).throw(BackendRejected("no such model."))
    cluster.add(refusing, "a")
    with pytest.raises(BackendFailed, match="NaN"):
        drawn(backend, stage_of(TXT2IMG, image_index=2), artifact())
    with pytest.raises(BackendRejected, match="no such model"):
        backend.check(PLAN)
    with pytest.raises(BackendRejected, match="no such model"):
        drawn(backend, stage_of(TXT2IMG, seed=None))


def test_a_cluster_that_stands_still_is_an_error_after_the_silence_and_heals(cluster, impatient):
    """Scheduler and worker frozen in the middle of an image."""
    held = Held()
    cluster.add(held, "a")
    seen = Watched(impatient.render(stage_of(TXT2IMG), None))
    assert held.begun.acquire(timeout=20)
    cluster.stop_the_world()
    begin = time.monotonic()
    with pytest.raises(BackendUnavailable):
        assert seen.output
    assert time.monotonic() - begin < 4 * SILENCE_S
    cluster.go_on()
    held.at_once = True
    assert eventually(lambda: answers(impatient))
    assert drawn(impatient, stage_of(TXT2IMG)).server == "a"


def test_capacity_is_what_the_workers_can_do_now(cluster, backend):
    for name in ("a", "b", "c"):
        cluster.add(Held(at_once=True), name)
    backend.check(PLAN)
    assert eventually(lambda: (backend.capacity, backend.queue_ahead) == (3, 3))
    cluster.remove("c")
    cluster.remove("b")
    assert eventually(lambda: backend.capacity == 2)


def test_quick_images_wait_on_a_worker_and_slow_ones_do_not(cluster, backend):
    """What one takes is known from those before; of other settings it is not known, and one waits."""
    cluster.add(Held(), "a")
    backend.check(PLAN)
    quick, other = TXT2IMG, TXT2IMG.model_copy(update={"steps": 50})
    worker = next(iter(backend._members.values())).backend
    subscriptions = [backend.render(stage_of(quick), None).subscribe(scheduler=Gathered())]
    for seconds, waiting in ((5.0, 1), (0.05, 4), (0.001, 16), (0.0, 16), (0.15, 1), (0.02, 10)):
        worker._took(worker._timed, seconds)
        assert backend.queue_ahead == waiting
    subscriptions.append(backend.render(stage_of(other), None).subscribe(scheduler=Gathered()))
    assert backend.queue_ahead == 1
    worker._took(quick, 0.001)
    assert backend.queue_ahead == 1
    for subscription in subscriptions:
        subscription.dispose()


def test_the_doctor_lists_workers_what_they_hold_and_their_versions(cluster):
    cluster.add(SketchBackend(), "a", resources={"sdxl": 1})
    with rxp.open_backend(cluster.url) as backend:
        found = backend.diagnose(trial=True)
    assert (found.ok, found.kind) == (True, "dask")
    assert found.trial is not None
    (line,) = found.stages
    for part in ("a: sketch", "resources sdxl=1", "python 3.", "rxpipe ", "distributed 20", "tcp://127.0.0.1:"):
        assert part in line
    assert "without a password" in found.advice[-1]


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("dask://a b", "allowed: dask://host:8786"),
        ("dask://a:99999", "allowed: dask://host:8786"),
        ("dask://a:8786/x", "allowed: dask://host:8786"),
        ("dask://a:8786?slots=2", "no option 'slots'"),
        ("dask://a:8786?requires=sdxl=no", "requires: got 'sdxl=no'; allowed: names with amounts"),
        ("dask://a:8786?silence_s=-1", "silence_s: got '-1'"),
        ("dask://a:8786?workers=2", "only 'dask:local' starts workers"),
    ],
)
def test_a_wrong_address_says_what_is_allowed(where, says):
    with pytest.raises(ConfigError, match=says.replace("?", r"\?")):
        rxp.open_backend(where)


@pytest.mark.parametrize("where", ["dask:local", "local", "https://a:1", "a:99999", "a:1?requires=sdxl=1"])
def test_a_worker_takes_the_address_of_a_scheduler_only(where):
    with pytest.raises(ConfigError, match=r"SCHEDULER '.*': (allowed: dask://host:8786|no option .*; allowed: tls_ca)"):
        parse_address(where, role="worker")


def test_tls_needs_its_three_files(tmp_path, monkeypatch):
    """Those of the address or of the call; what is wrong with one is said before anything connects."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "locked.pem").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    (tmp_path / "empty.pem").write_text("-----BEGIN CERTIFICATE-----")
    three = "tls://a:8786?tls_ca={0}.pem&tls_cert={1}.pem&tls_key={2}.pem"
    for where, says in {
        "dask://a:8786?tls_ca=ca.pem": "missing: tls_cert, tls_key",
        "tls://a:8786": r"no certificates; give tls_ca, tls_cert, tls_key: .*tls://host:8786\?tls_ca=",
        "tcp://a:8786?tls_ca=ca.pem": "tcp:// is without TLS",
        "dask:local?tls_ca=ca.pem": "no TLS: all of dask:local is on 127.0.0.1",
        three.format("a+b", "c", "k"): r"tls_ca: .*a\+b.pem: no such file",
        three.format(
            "empty", "text", "locked"
        ): "(?s)text.pem: is no PEM file.*locked.pem: is protected by a passphrase",
        three.format("empty", "empty", "empty"): "the certificates cannot be used",
    }.items():
        with pytest.raises(ConfigError, match=says):
            rxp.open_backend(where)
    with pytest.raises(ConfigError, match="no such file"):
        rxp.open_backend("dask://a:8786", tls_ca="ca.pem", tls_cert="c.pem", tls_key="k.pem")


@pytest.mark.parametrize(
    ("where", "options", "again"),
    [
        ("tcp://a:8786", {}, "dask://a:8786"),
        ("dask://a", {"requires": {"sdxl": 1, "vram": 2.5}}, "dask://a:8786?requires=sdxl=1%2Cvram=2.5"),
        ("dask://a:1?silence_s=9", {}, "dask://a:1?silence_s=9"),
        ("dask:local?workers=3", {"holds": "http://u:p@b:7860"}, "dask:local?workers=3&holds=http://b:7860"),
    ],
)
def test_where_it_is_opens_the_same_again(where, options, again):
    """So a run is resumed with nothing but its id; certificates: see the tests of TLS."""
    with rxp.open_backend(where, **options) as backend:
        assert backend.where == again
    with rxp.open_backend(again) as opened:
        assert opened.where == again
