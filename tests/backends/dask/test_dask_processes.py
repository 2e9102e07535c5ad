"""Real processes on 127.0.0.1, killed and frozen in turn: every image, or a typed error within the limit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
from dask_clusters import ROOT, Processes
from distributed import Client
from PIL import Image

import rxpipe as rxp
from rxpipe.testing import WebUIServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SILENCE_S = 4.0
IMAGES = 12
JOB = {"prompt": "a lighthouse", "images": IMAGES, "seed": 7, "width": 64, "height": 64, "steps": 10}
PACE = "embedded:pace=0.05"  # half a second an image
NO_RETRY = rxp.RetryConfig(attempts=1)


@pytest.fixture(scope="module")
def processes():
    with Processes(3, PACE) as running:
        yield running


@pytest.fixture
def cluster(processes):
    """Three workers and a scheduler, all well."""
    processes.restore()
    return processes


@pytest.fixture(scope="module")
def expected():
    """The pictures without a cluster."""
    result = rxp.PipelineRunner(rxp.open_backend("embedded")).run(rxp.chain(rxp.txt2img(**JOB), out=None))
    return pictures(result)


def pictures(result):
    return [(image.seed, result.artifact(image).to_image().tobytes()) for image in result.images]


def run(cluster, *disturbances, silence_s=SILENCE_S, **settings):
    """Run the job; *disturbances*: after how many pictures, and what is done then. Gives the result and its seconds."""
    done, left = [0], list(disturbances)
    with rxp.open_backend(cluster.url, silence_s=silence_s) as backend:
        executor = rxp.PipelineExecutor(backend)

        def count(event):
            done[0] += event.kind == "stage_image_progress"
            while left and done[0] >= left[0][0]:
                threading.Thread(target=left.pop(0)[1]).start()

        executor.events.subscribe(count)
        begin = time.monotonic()
        handle = executor.start(rxp.chain(rxp.txt2img(**JOB), out=None, **settings))
        assert handle.wait(120)
        assert not left, "it was over before it was disturbed"
        return handle.result, time.monotonic() - begin


def test_undisturbed_every_image_is_as_without_a_cluster(cluster, expected):
    result, _ = run(cluster)
    assert pictures(result) == expected
    assert {record.server for record in result.records} == {"w0", "w1", "w2"}


def test_workers_killed_in_turn_the_last_one_too(cluster, expected):
    """One, another, and the last, while a new one starts."""
    result, _ = run(
        cluster,
        (1, lambda: cluster.kill("w0")),
        (4, lambda: cluster.kill("w1")),
        (7, lambda: (cluster.kill("w2"), cluster.add("new"))),
        silence_s=30.0,
    )
    assert result.success
    assert pictures(result) == expected
    assert [event.seq for event in result.events] == list(range(len(result.events)))
    assert sorted(e.image_index for e in result.events if e.kind == "stage_image_progress") == list(
        range(1, IMAGES + 1)
    )
    assert any(event.kind == "stage_retry" for event in result.events)


def test_every_worker_killed_is_a_typed_error_within_the_limit(cluster):
    def kill_all():
        killed.append(time.monotonic())
        for name in list(cluster.workers):
            cluster.kill(name)

    killed = []
    result, _ = run(cluster, (3, kill_all), retry=NO_RETRY)
    assert time.monotonic() - killed[0] < 2 * SILENCE_S
    assert result.status == "failed"
    assert result.error.type == "BackendUnavailable"
    assert "has no worker. Before: worker w" in result.error.message
    assert result.tally.done >= 3


def test_a_frozen_worker_loses_its_images_and_is_used_again_when_it_goes_on(cluster, expected):
    result, took_s = run(cluster, (1, lambda: cluster.send("w0", signal.SIGSTOP)))
    assert pictures(result) == expected
    assert took_s < IMAGES * 0.5 + 3 * SILENCE_S
    cluster.send("w0", signal.SIGCONT)
    again, _ = run(cluster)
    assert pictures(again) == expected
    assert "w0" in {record.server for record in again.records}


def test_every_worker_frozen_is_a_typed_error_within_the_limit(cluster):
    frozen = []

    def freeze():
        frozen.append(time.monotonic())
        for name in cluster.workers:
            cluster.send(name, signal.SIGSTOP)

    result, _ = run(cluster, (2, freeze), retry=NO_RETRY)
    assert time.monotonic() - frozen[0] < 2 * SILENCE_S
    assert result.status == "failed"
    assert "sign of life" in result.error.message


def test_a_scheduler_that_is_killed_and_comes_back_costs_time_only(cluster, expected):
    """Its workers wait for it with their backends open."""

    def restart():
        cluster.kill_scheduler()
        cluster.start_scheduler()

    result, _ = run(cluster, (3, restart), silence_s=30.0)
    assert result.success
    assert pictures(result) == expected


def test_a_scheduler_that_stays_away_or_stands_still_is_a_typed_error_within_the_limit(cluster):
    at = []
    result, _ = run(
        cluster, (2, lambda: (at.append(time.monotonic()), cluster.send(None, signal.SIGSTOP))), retry=NO_RETRY
    )
    assert time.monotonic() - at[0] < 3 * SILENCE_S
    assert result.status == "failed"
    cluster.send(None, signal.SIGCONT)
    result, _ = run(cluster, (2, lambda: (at.append(time.monotonic()), cluster.kill_scheduler())), retry=NO_RETRY)
    assert time.monotonic() - at[1] < 3 * SILENCE_S
    assert result.status == "failed"
    assert "scheduler" in result.error.message


def test_a_scheduler_that_stood_still_goes_on(cluster, expected):
    def pause():
        cluster.send(None, signal.SIGSTOP)
        threading.Event().wait(2)
        cluster.send(None, signal.SIGCONT)

    result, _ = run(cluster, (3, pause), silence_s=15.0)
    assert pictures(result) == expected


def test_cancel_interrupts_each_job_exactly_once_and_the_next_run_completes():
    """Workers that hold a WebUI each."""
    with WebUIServer(latency_s=2.0, draw="noise") as one, WebUIServer(latency_s=2.0, draw="noise") as two:
        servers = (one, two)
        with Processes(0) as cluster:
            for number, server in enumerate(servers):
                cluster.add(f"w{number}", holds=server.url)
            for name in cluster.workers:
                cluster.await_greeting(name)
            with rxp.open_backend(cluster.url) as backend:
                executor = rxp.PipelineExecutor(backend)
                handle = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=8, width=64, height=64), out=None))
                assert all(server.wait_running() for server in servers)
                begin = time.monotonic()
                handle.cancel()
                assert time.monotonic() - begin < 0.5
                assert handle.wait(10)
                assert handle.result.status == "cancelled"
                threading.Event().wait(1.0)
                for server in servers:  # one is in progress, one waits in its queue
                    assert [hit.job for hit in server.interrupts] == list(server.jobs)
                again = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=2, width=64, height=64), out=None))
                assert again.wait(30)
                assert again.result.success


def test_workers_that_are_ended_and_retired_leave_their_images_to_the_last(cluster, expected):
    """The one that Dask retires ends, and does not come back."""

    def retire():
        with Client(cluster.url.replace("dask://", "tcp://"), set_as_default=False) as client:
            workers = client.scheduler_info(n_workers=-1)["workers"]
            client.retire_workers([address for address, worker in workers.items() if worker["name"] == "w1"])

    ended = []
    retired = cluster.workers["w1"]
    result, _ = run(cluster, (1, lambda: ended.append(cluster.end("w0"))), (4, retire), silence_s=30.0)
    assert pictures(result) == expected
    assert retired.wait(20) == 0
    assert "was retired by its scheduler, and ends" in cluster.said("w1")
    assert ended == [0]
    cluster.kill("w1")


def test_workers_whose_servers_die_keep_going_and_their_images_move():
    """The worker lives; its backend does not answer, and is used again when it does."""
    with WebUIServer(latency_s=0.4) as dying, WebUIServer(latency_s=0.4) as staying, Processes(0) as cluster:
        for name, server in {"dying": dying, "staying": staying}.items():
            cluster.add(name, holds=server.url)
            cluster.await_greeting(name)
        job = rxp.chain(rxp.txt2img(prompt="a", images=10, seed=7, width=64, height=64), out=None)
        with rxp.open_backend(cluster.url, silence_s=SILENCE_S) as backend:
            executor = rxp.PipelineExecutor(backend)
            handle = executor.start(job)
            assert dying.wait_running()
            dying.die()
            assert handle.wait(60)
            assert handle.result.success
            assert [image.seed for image in handle.result.images] == list(range(7, 17))
            assert cluster.workers["dying"].poll() is None
            staying.die()
            handle = executor.start(rxp.chain(rxp.txt2img(prompt="a", images=2), out=None, retry=NO_RETRY))
            assert handle.wait(60)
            assert handle.result.error.type == "BackendUnavailable"
            assert "a worker" not in handle.result.error.message
            dying.come_back()
            staying.come_back()
            handle = executor.start(job)
            assert handle.wait(60)
            assert handle.result.success


def test_two_clients_run_together_and_a_cancel_of_one_leaves_the_other_alone(cluster, expected):
    with rxp.open_backend(cluster.url) as one, rxp.open_backend(cluster.url) as two:
        first = rxp.PipelineExecutor(one).start(rxp.chain(rxp.txt2img(**{**JOB, "images": 60}), out=None))
        second = rxp.PipelineExecutor(two).start(rxp.chain(rxp.txt2img(**JOB), out=None))
        threading.Event().wait(2.0)
        first.cancel()
        assert first.wait(10)
        assert first.result.status == "cancelled"
        assert second.wait(60)
        assert pictures(second.result) == expected
        assert not [event for event in second.result.events if event.kind == "stage_retry"]


def test_a_worker_of_another_rxpipe_is_named_and_not_used(cluster, expected, tmp_path):
    """It says so itself, by its installed version."""
    metadata = tmp_path / "rxpipe-0.0.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: rxpipe\nVersion: 0.0.1\n", encoding="utf-8")
    cluster.add("old", environment={"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"})
    cluster.await_greeting("old")
    with rxp.open_backend(cluster.url, silence_s=SILENCE_S) as backend:
        said = backend.diagnose().advice
        result = rxp.PipelineRunner(backend).run(rxp.chain(rxp.txt2img(**JOB), out=None))
    assert any("old is not used: it runs rxpipe 0.0.1, this is" in line for line in said)
    assert pictures(result) == expected
    assert "old" not in {record.server for record in result.records}


def test_a_killed_program_is_resumed_over_the_cluster_and_without_it(cluster, expected, tmp_path):
    """Its cells are not rendered again, and its worker's rendering is interrupted with it."""
    store, environment = tmp_path / "runs" / "runs.sqlite3", {**os.environ, "PYTHONPATH": str(ROOT)}
    store.parent.mkdir()
    command = [sys.executable, "-m", "rxpipe", "run", "--backend", cluster.url, "--store", str(store), "--json"]
    options = ["--prompt", JOB["prompt"], "--images", "12", "--seed", "7", "--size", "64x64", "--steps", "10"]
    process = subprocess.Popen(  # noqa: S603  our own words
        [*command, *options, "--stages", "txt2img", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE, env=environment,
    )  # fmt: skip
    done = 0
    for line in process.stdout:
        done += json.loads(line)["kind"] == "stage_image_progress"
        if done == 4:
            break
    process.kill()
    process.wait(10)
    process.stdout.close()
    other = shutil.copytree(store.parent, tmp_path / "copy") / store.name
    again = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "rxpipe", "resume", "--store", str(other), "--json"],
        env=environment, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    events = [json.loads(line) for line in again.stdout.splitlines()]
    assert [event["status"] for event in events if event["kind"] == "run_end"] == ["completed"]
    images = [event for event in events if event["kind"] == "stage_image_progress"]
    assert sum(event["resumed"] for event in images) >= 3
    written = {event["image_index"]: Image.open(event["path"]).convert("RGB").tobytes() for event in images}
    assert [written[number] for number in range(1, IMAGES + 1)] == [pixels for _, pixels in expected]
    with rxp.open_backend("embedded") as backend:
        runner = rxp.PipelineRunner(backend, store=rxp.Store(store))
        result = runner.resume(runner.executor.store.latest().run_id)
    assert pictures(result) == expected
    assert sum(record.resumed for record in result.records) >= 3


def test_a_local_cluster_renders_and_replaces_a_worker_that_dies(expected):
    with rxp.open_backend("dask:local", workers=2, holds=PACE, silence_s=30.0) as backend:
        executor = rxp.PipelineExecutor(backend)
        first = executor.start(rxp.chain(rxp.txt2img(**JOB), out=None))
        assert first.wait(60)
        assert pictures(first.result) == expected
        backend._local._processes[0].kill()
        second = executor.start(rxp.chain(rxp.txt2img(**JOB), out=None))
        assert second.wait(60)
        assert pictures(second.result) == expected
        processes = list(backend._local._processes)
    assert all(process.poll() is not None for process in processes)


def test_a_pool_has_a_cluster_beside_other_members(cluster, expected):
    with rxp.open_backend(f"{cluster.url},embedded:pace=0.05") as backend:
        result = rxp.PipelineRunner(backend).run(rxp.chain(rxp.txt2img(**JOB), out=None))
    assert pictures(result) == expected
    servers = {record.server for record in result.records}
    assert servers >= {"sketch 2"}
    assert servers - {"sketch 2"}
    assert servers <= {"sketch 2", "w0", "w1", "w2"}
