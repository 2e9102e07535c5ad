"""A model on several devices: a process each; one that dies costs a retry and never a picture."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from pixels import TXT2IMG, drawn, output, pixels
from stages import Watched, stage_of

import rxpipe as rxp
from rxpipe.backends import open_backend
from rxpipe.backends.base import StepProgress
from rxpipe.backends.diffusers.children import shared_cores
from rxpipe.errors import BackendRejected, BackendUnavailable, BadImage, ConfigError

PATIENCE_S = 300.0


def wait_until(predicate, seconds=PATIENCE_S):
    """Wait for what another process does."""
    end_s = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end_s, "it never came"
        os.sched_yield()


@pytest.fixture(scope="module")
def pool(models):
    """Two processes on the processor."""
    with open_backend(f"diffusers:{models / 'sd'}?devices=cpu,cpu") as opened:
        yield opened


def test_a_pool_of_processes_draws_what_one_backend_draws(pool, shared):
    """Its kind is the model's, and where it is opens it again."""
    assert pool.kind == shared.kind == "diffusers:sd"
    assert pool.where.endswith("sd?devices=cpu,cpu")
    assert np.array_equal(drawn(pool), drawn(shared))


def test_steps_come_and_a_cancel_reaches_the_process(pool):
    """The next picture is drawn as if nothing had been."""
    watched = Watched(pool.render(stage_of(rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 900})), None))
    assert watched.wait_for(lambda seen: len(seen.of(StepProgress)) > 3, PATIENCE_S)
    watched.subscription.dispose()
    before = len(watched.values)
    assert drawn(pool).shape == (64, 64, 3)
    assert len(watched.values) == before


def test_a_run_of_four_stages_survives_the_death_of_one_process(pool, tmp_path):
    """SIGKILL while it draws: all pictures are there, in order, with the pixels of an undisturbed run."""
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 60}, images=6, seed=7),
        img2img=rxp.Img2ImgConfig(steps=6, denoising_strength=0.5),
        adetailer=rxp.AdetailerConfig(detector="face_yolov8n.pt", steps=4),
        upscale=rxp.UpscaleConfig(scale=2),
    )
    quiet = rxp.PipelineRunner(pool).run(config.model_copy(update={"out": tmp_path / "quiet"}))
    quiet.raise_for_status()

    executor, killed = rxp.PipelineExecutor(pool), []

    def kill(event):
        early = isinstance(event, rxp.StageStep) and event.stage_type == "txt2img" and 1 < (event.step or 0) < 20
        if not killed and early and event.image_index > 2:  # both have drawn, and are far from their end
            busy = [member for member in pool.members if member.pid and member._child._calls]
            killed.extend(member.pid for member in busy[:1])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    executor.events.subscribe(kill)
    run = executor.start(config.model_copy(update={"out": tmp_path / "killed"}))
    assert run.wait(PATIENCE_S)
    result = run.result
    result.raise_for_status()
    assert killed
    moved = [event.error.message for event in result.events if isinstance(event, rxp.StageRetry)]
    assert moved, "the picture that it was at was drawn by the other"
    assert all("signal 9" in message for message in moved)
    assert len(result.images) == 6
    assert [image.seed for image in sorted(result.images, key=lambda one: one.seed)] == [7, 8, 9, 10, 11, 12]
    for one, other in zip(*(sorted(run.images, key=lambda image: image.seed) for run in (quiet, result)), strict=True):
        assert np.array_equal(pixels(one.path.read_bytes()), pixels(other.path.read_bytes()))


def test_a_dead_process_is_a_typed_error_and_the_next_picture_starts_another(models):
    """Where there is no second one."""
    with open_backend(f"diffusers:{models / 'sd'}?devices=cpu") as pool:
        [member] = pool.members
        pids = []
        for _ in range(2):
            watched = Watched(member.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
            assert watched.wait_for(lambda seen: seen.of(StepProgress), PATIENCE_S)
            pids.append(member.pid)
            os.kill(member.pid, signal.SIGKILL)
            assert watched.wait_for(lambda seen: seen.error is not None, PATIENCE_S)
            with pytest.raises(BackendUnavailable, match=r"the process of cpu ended \(signal 9\)"):
                _ = watched.output
            assert member.pid is None
        assert len(set(pids)) == 2


def test_an_error_of_the_process_keeps_its_type(pool):
    with pytest.raises(BadImage, match="no picture"):
        output(pool.members[0], rxp.UpscaleConfig(), None)


def test_no_process_outlives_its_backend(models):
    """Closed while it loads the model."""
    with open_backend(f"diffusers:{models / 'sd'}?devices=cpu") as pool:
        [member] = pool.members
        Watched(member.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
        pid = member.pid
        assert pid is not None
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    with pytest.raises(BackendRejected, match="closed"):
        drawn(member)


def test_devices_are_checked_when_it_is_opened(models):
    for where in ("?devices=", "?devices=cpu&device=cpu"):
        with pytest.raises(ConfigError, match="devices"):
            open_backend(f"diffusers:{models / 'sd'}{where}")
    with pytest.raises(ConfigError, match="no option 'colour'"):
        open_backend(f"diffusers:{models / 'sd'}?colour=red")


def test_members_are_named_by_their_devices(pool):
    """In the description, and as the server of a picture; those of one device by a number behind it."""
    assert pool.description.startswith("2 backends: cpu#1, cpu#2")
    assert output(pool, rxp.Txt2ImgConfig(**TXT2IMG)).server in {"cpu#1", "cpu#2"}
    with open_backend(f"{pool.where.rpartition('?')[0]}?devices=cpu,cpu:0") as other:
        assert other.description.startswith("2 backends: cpu, cpu:0")


def test_processes_on_the_processor_share_its_cores(models, monkeypatch):
    """Unless the user says how many threads each takes; those of accelerators are left alone."""
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(12)))
    assert shared_cores(["cpu", "cuda:0", "cpu"]) == {"OMP_NUM_THREADS": "6"}
    assert shared_cores(["cuda:0"]) == {"OMP_NUM_THREADS": "12"}
    assert shared_cores(["cpu"] * 50) == {"OMP_NUM_THREADS": "1"}
    with open_backend(f"diffusers:{models / 'sd'}?devices=cpu,cpu") as opened:
        drawn(opened)
        (pid,) = (member.pid for member in opened.members if member.pid)
        environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=6" in environment
