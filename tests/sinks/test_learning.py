"""Learning records: when there is one, what stands in it, and that a crash or another writer costs no line."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading

import pytest

import rxpipe as rxp
from rxpipe.testing import FaultyFiles, Marbles, ScriptedBackend

FULL = rxp.PipelineConfig(
    txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse", images=2, seed=7, steps=12, model="dream.safetensors"),
    upscale=rxp.UpscaleConfig(scale=2),
    metadata=rxp.RunMetadata(one_click_action="make wallpapers"),
    out=None,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "learning.jsonl"


class Lab:
    """A controller on a scripted backend in virtual time, with a learning writer or without."""

    def __init__(self, marbles, scripts=None, *, writer=None, values=None):
        self.clock = marbles.clock
        backend = ScriptedBackend(marbles, scripts, values=values)
        self.runner = rxp.PipelineRunner(rxp.PipelineExecutor(backend, scheduler=self.clock))
        self.reported = []
        sinks = [] if writer is None else [writer]
        self.controller = rxp.PipelineController(
            self.runner, scheduler=self.clock, intents=self.clock, sinks=sinks, report=self.reported.append
        )

    def run(self, job=FULL):
        self.controller.start(job)
        self.clock.run()
        return self.controller.last_result


# -- when there is a record --------------------------------------------------------------------------------------------


def test_learning_is_off_unless_a_writer_is_given(marbles, tmp_path, monkeypatch):
    """No record, no file, no folder."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    Lab(marbles).run()
    assert list(tmp_path.iterdir()) == []


def test_the_default_file_is_in_the_users_data_folder(marbles, tmp_path, monkeypatch):
    """And making the writer alone touches nothing."""
    monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: tmp_path / name)
    writer = rxp.LearningRecordWriter()
    assert list(tmp_path.iterdir()) == []
    Lab(marbles, writer=writer).run()
    assert writer.path == tmp_path / "rxpipe" / "learning.jsonl"
    assert writer.path.is_file()


def test_a_successful_run_makes_exactly_one_line(marbles, path):
    lab = Lab(marbles, writer=rxp.LearningRecordWriter(path))
    lab.run()
    assert len(path.read_text(encoding="utf-8").splitlines()) == 1
    lab.run()
    assert [record.tally["done"] for record in rxp.read_records(path)] == [2, 2]


@pytest.mark.parametrize("script", [["--#", "--#"], ["--o|", "--#"]])
def test_a_failed_or_partial_run_makes_none(marbles, path, script):
    result = Lab(marbles, {"txt2img": script}, writer=rxp.LearningRecordWriter(path)).run()
    assert result.status in {"failed", "partial"}
    assert not path.exists()


def test_a_cancelled_run_makes_none(marbles, path):
    lab = Lab(marbles, {"upscale": "-----"}, writer=rxp.LearningRecordWriter(path))
    lab.controller.start(FULL)
    lab.clock.advance_by("20ms")
    lab.controller.cancel()
    lab.clock.run()
    assert lab.controller.last_result.status == "cancelled"
    assert not path.exists()


# -- what stands in it -------------------------------------------------------------------------------------------------


def test_a_record_holds_the_run(marbles, path):
    result = Lab(marbles, {"txt2img": "-ss-o|"}, writer=rxp.LearningRecordWriter(path)).run()
    record = next(rxp.read_records(path))
    assert record.run_id == result.run_id
    assert record.timestamp == result.events[-1].timestamp
    assert record.stages == ("txt2img", "upscale")
    assert (record.primary_model, record.steps, record.cfg_scale) == ("dream.safetensors", 12, 7.0)
    assert (record.sampler, record.scheduler) == (None, None)
    assert [(variant.seed, variant.outcome) for variant in record.variants] == [(7, "done"), (8, "done")]
    assert record.tally == {"planned": 2, "done": 2, "failed": 0, "cancelled": 0, "filtered": 0, "pending": 0}
    assert record.outcomes == {"txt2img": {"done": 2}, "upscale": {"done": 2}}
    assert record.durations_s == result.durations
    assert record.events == result.events
    assert record.plan["images"] == 2


def test_the_config_in_a_record_is_a_preset(marbles, path):
    """It runs again as it stands, to an equal plan."""
    result = Lab(marbles, writer=rxp.LearningRecordWriter(path)).run()
    config = rxp.PipelineConfig.from_mapping(next(rxp.read_records(path)).config)
    assert rxp.build_stage_execution_plan(config).stages == result.plan.stages
    assert config.metadata.one_click_action == "make wallpapers"


def test_what_was_really_used_goes_before_what_was_asked_for(marbles, path):
    used = rxp.Output(b"", settings={"model": "other.ckpt", "sampler_name": "Euler a", "steps": 10})
    lab = Lab(marbles, {"txt2img": "--x|"}, writer=rxp.LearningRecordWriter(path), values={"x": used})
    lab.run()
    record = next(rxp.read_records(path))
    assert (record.primary_model, record.sampler, record.steps) == ("other.ckpt", "Euler a", 10)


def test_outputs_name_every_file(marbles, path, tmp_path):
    config = FULL.model_copy(update={"out": tmp_path / "out"})
    result = Lab(marbles, writer=rxp.LearningRecordWriter(path)).run(config)
    record = next(rxp.read_records(path))
    assert record.outputs == tuple(p for variant in result.variants for p in variant.paths)
    assert len(record.outputs) == 4
    assert all(file.is_file() for file in record.outputs)


def test_sampler_steps_can_be_left_out(marbles, path):
    lab = Lab(marbles, {"txt2img": "sssso|"}, writer=rxp.LearningRecordWriter(path, steps=False))
    lab.run()
    kinds = {event.kind for event in next(rxp.read_records(path)).events}
    assert "stage_step" not in kinds
    assert "run_end" in kinds


def test_two_stages_of_one_type_are_both_told(marbles, path):
    job = rxp.chain(rxp.txt2img(), rxp.upscale(scale=2), rxp.upscale(scale=3), out=None)
    Lab(marbles, writer=rxp.LearningRecordWriter(path)).run(job)
    config = next(rxp.read_records(path)).config
    assert config["upscale"] == {"scale": 2.0}
    assert config["upscale 2"] == {"scale": 3.0}


def test_a_run_that_goes_on_is_no_record(marbles):
    events = Lab(marbles).run().events
    with pytest.raises(ValueError, match="has not ended"):
        rxp.LearningRecord.of(rxp.PipelineRunResult.from_events(events[:3]))


def test_a_timeline_read_back_is_a_record_without_what_only_a_plan_knows(marbles):
    events = Lab(marbles).run().events
    record = rxp.LearningRecord.of(rxp.PipelineRunResult.from_events(events))
    assert record.events == events
    assert record.plan == {}


# -- crashes and other writers -----------------------------------------------------------------------------------------


def test_a_writer_that_raises_does_not_change_the_result(marbles, path):
    path.parent.mkdir()
    path.mkdir()  # a folder stands in the way
    lab = Lab(marbles, writer=rxp.LearningRecordWriter(path))
    assert lab.run().status == "completed"
    assert isinstance(lab.reported[0], OSError)


@pytest.fixture
def result():
    """Of a run that is over, as is its virtual time."""
    with Marbles() as marbles:
        return Lab(marbles).run()


def test_a_torn_last_line_is_skipped_and_the_next_record_stands_whole(result, path):
    writer = rxp.LearningRecordWriter(path)
    writer.on_result(result)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: len(whole) // 2])
    writer.on_result(result)
    assert [record.run_id for record in rxp.read_records(path)] == [result.run_id] * 2
    assert len(path.read_bytes().splitlines()) == 3


@pytest.mark.parametrize("at", ["write", "fsync"])
def test_a_disk_that_fills_up_leaves_the_file_as_it_was(result, path, at):
    disk = FaultyFiles()
    writer = rxp.LearningRecordWriter(path, files=disk)
    writer.on_result(result)
    before = path.read_bytes()
    if at == "write":
        disk.fill(room=100)
    else:
        disk.fail("fsync", errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        writer.on_result(result)
    assert path.read_bytes() == before
    disk.heal()
    writer.on_result(result)
    assert len(list(rxp.read_records(path))) == 2


def test_a_disk_that_cannot_sync_still_takes_records(result, path):
    """Some network folders know no fsync."""
    disk = FaultyFiles()
    disk.fail("fsync", errno.EINVAL)
    rxp.LearningRecordWriter(path, files=disk).on_result(result)
    assert len(list(rxp.read_records(path))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="locks of POSIX")
@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_disk_without_locks_still_takes_records(result, path, monkeypatch, code):
    """Some network and container folders."""

    def flock(*_):
        raise OSError(code, "no locks")

    monkeypatch.setattr("fcntl.flock", flock)
    rxp.LearningRecordWriter(path).on_result(result)
    assert len(list(rxp.read_records(path))) == 1


def test_a_record_is_synced_before_the_writer_returns(result, path):
    synced, disk = [], FaultyFiles()
    disk.before("fsync", lambda: synced.append(path.stat().st_size))
    rxp.LearningRecordWriter(path, files=disk).on_result(result)
    assert path.stat().st_size in synced


def test_threads_share_a_file(result, path):
    """Each has a writer of its own; every line is whole."""
    threads = [threading.Thread(target=rxp.LearningRecordWriter(path).on_result, args=[result]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(list(rxp.read_records(path))) == 8


WRITE = """
import os, sys
import rxpipe as rxp
from rxpipe.sinks.files import SystemFiles

class Dying(SystemFiles):
    def write(self, descriptor, data):
        super().write(descriptor, data[: len(data) // 2])
        os._exit(9)

result = rxp.PipelineRunResult.read_timeline(sys.argv[1])
writer = rxp.LearningRecordWriter(sys.argv[2], files=Dying() if sys.argv[3] == "crash" else None)
for _ in range(20):
    writer.on_result(result)
"""


def started(timeline, path, how):
    return subprocess.Popen([sys.executable, "-c", WRITE, timeline, path, how])  # noqa: S603  our own words


@pytest.mark.slow
def test_processes_share_a_file(result, path, tmp_path):
    """Three of them, twenty records each, every line whole."""
    result.write_timeline(timeline := tmp_path / "run.jsonl")
    writers = [started(timeline, path, "write") for _ in range(3)]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(list(rxp.read_records(path))) == 60
    assert path.read_bytes().count(b"\n") == 60


def test_a_process_that_dies_in_mid_write_costs_its_own_line_only(result, path, tmp_path):
    """The lines before it are readable, the lock is free, and the next record stands whole."""
    result.write_timeline(timeline := tmp_path / "run.jsonl")
    writer = rxp.LearningRecordWriter(path)
    writer.on_result(result)
    assert started(timeline, path, "crash").wait(60) == 9
    assert not path.read_bytes().endswith(b"\n")
    assert len(list(rxp.read_records(path))) == 1
    writer.on_result(result)
    assert len(list(rxp.read_records(path))) == 2
