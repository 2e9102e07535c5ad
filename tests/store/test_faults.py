"""A store that is damaged, full, locked, read-only or gone costs no picture, is said, and is never made worse."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import sqlite3
import sys
import threading
import traceback
from datetime import timedelta

import pytest
from painter import Painter

import rxpipe as rxp
from rxpipe.errors import StoreError
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.store import writing
from rxpipe.testing import FaultyFiles

PLACES = 200
PICTURES = 12


def pictures(tmp_path):
    return [path for path in (tmp_path / "out").rglob("*") if path.is_file()]


def on_picture(runner, number, act):
    """Call *act* once, when that many pictures are written."""
    count = iter(range(1, 1000))

    def look(event):
        if event.kind == "stage_image_progress" and next(count) == number:
            act()

    runner.events.subscribe(look)


@contextlib.contextmanager
def locked(path):
    """Another program holds the store."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    db.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
        db.close()


def test_a_full_disk_ends_a_run_that_continues_once_there_is_room(lab, job, tmp_path):
    """What was written stays, nothing torn is left, and nothing is drawn twice."""
    files = FaultyFiles()
    store = lab().executor.store
    first = Painter()
    runner = rxp.PipelineRunner(rxp.PipelineExecutor(first, files=files, store=store))
    on_picture(runner, 5, lambda: files.fail("write", errno.ENOSPC))
    failed = runner.run(job())
    assert failed.error.type == "SaveError"
    assert len(pictures(tmp_path)) == 5
    second = lab()
    assert second.resume(failed.run_id).success
    assert len(second.executor.backend.drawn) == PICTURES - 5
    assert len(pictures(tmp_path)) == PICTURES


def test_a_store_without_room_is_written_once_there_is_some(lab, job, monkeypatch):
    """Its rows wait; the run neither waits for long nor fails."""
    monkeypatch.setattr(writing, "PATIENCE_S", 0.2)
    store, opened = lab().executor.store, []
    open_to_write = writing.open_to_write

    def small(path):
        opened.append(open_to_write(path))
        pages = opened[-1].execute("PRAGMA page_count").fetchone()[0]
        opened[-1].execute(f"PRAGMA max_page_count = {pages}")
        return opened[-1]

    monkeypatch.setattr(writing, "open_to_write", small)
    result = lab().run(job(metadata={"long": "x" * 50_000}))
    assert result.success
    assert any("no room on its disk" in warning for warning in result.warnings)
    opened[-1].execute("PRAGMA max_page_count = 1000000")
    assert store.flush(10)
    assert len(store.cells(result.run_id)) == PICTURES
    assert store.latest().status == "completed"


def test_a_locked_store_is_written_once_it_is_free(lab, job, monkeypatch):
    """The run waits for it once, for a moment, and goes on."""
    monkeypatch.setattr(writing, "PATIENCE_S", 0.3)
    store = lab().executor.store
    lab().run(job())
    assert store.flush(10)
    with locked(store.path):
        result = lab().run(job())
        assert result.success
        assert any("locked" in warning for warning in result.warnings)
    assert store.flush(20)
    assert store.runs(status="completed", limit=1)[0].run_id == result.run_id
    assert len(store.cells(result.run_id)) == PICTURES


def test_steps_are_what_is_dropped_first_where_too_much_waits(lab, job, monkeypatch):
    """Never what a resumed run needs, and not in silence."""
    monkeypatch.setattr(writing, "PATIENCE_S", 0.2)
    store = lab().executor.store
    lab().run(job())
    assert store.flush(10)
    writer, kept = store.writer, []
    with locked(store.path):
        while writer.problem is None:
            writer.commit(lambda _: None)
        monkeypatch.setattr(writing, "_MOST_WAITING", 10)
        for number in range(30):
            writer.put(lambda _, number=number: kept.append(number), may_be_lost=number % 2 == 0)
    assert store.flush(20)
    assert [number for number in kept if number in range(1, 30, 2)] == list(range(1, 30, 2))
    assert len(kept) < 30


def test_a_store_that_was_deleted_is_begun_anew_with_the_run(lab, job):
    """All of the run is in it, so that it can be resumed; the runs that were deleted stay so."""
    store = lab().executor.store
    lab().run(job())
    runner = lab(stop_at=8)

    def delete():
        for path in store.path.parent.glob("runs.sqlite3*"):
            if path.is_file():
                path.unlink()

    on_picture(runner, 5, delete)
    part = runner.run(job())
    assert store.flush(10)
    assert [run.run_id for run in store.runs()] == [part.run_id]
    assert len(store.cells(part.run_id)) == 8
    assert store.result(part.run_id, steps=True) == part
    second = lab()
    assert second.resume(part.run_id).success
    assert len(second.executor.backend.drawn) == PICTURES - 8


def test_a_clock_that_is_set_back_changes_no_order(lab, job, monkeypatch):
    """Neither of runs nor of pictures; no duration is negative."""
    store = lab().executor.store
    first = lab().run(job())
    real, back = WorkerScheduler.now.fget, iter(range(1000))
    monkeypatch.setattr(WorkerScheduler, "now", property(lambda self: real(self) - timedelta(minutes=next(back))))
    part = lab(stop_at=6).run(job())
    result = lab().resume(part.run_id)
    assert store.flush(10)
    assert result.success
    assert [run.run_id for run in store.runs()] == [part.run_id, first.run_id]
    assert store.latest().duration_s >= 0
    assert all(cell.duration_s >= 0 for cell in store.cells(part.run_id))


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and forks of POSIX")
def test_a_read_only_store_is_said_and_read(lab, job, tmp_path):
    """The run is not recorded; the history is still shown."""
    store = lab().executor.store
    before = lab().run(job())
    store.close(10)
    folder = tmp_path / "kept"
    folder.mkdir()
    shutil.copy(store.path, folder / "runs.sqlite3")
    made = tmp_path / "made"
    made.mkdir()
    made.chmod(0o777)
    tmp_path.chmod(0o755)
    (folder / "runs.sqlite3").chmod(0o444)
    folder.chmod(0o555)

    def child():
        if os.getuid() == 0:
            os.setuid(65534)
        read_only = rxp.Store(folder / "runs.sqlite3")
        result = rxp.PipelineRunner(Painter(), store=read_only).run(job(out=None))
        said = any("is read-only" in warning for warning in result.warnings)
        shown = [run.run_id for run in read_only.runs()] == [before.run_id]
        return 0 if result.success and said and shown and len(read_only.cells(before.run_id)) == PICTURES else 1

    for parent in tmp_path.parents:
        if parent.stat().st_uid == os.getuid() and parent.name.startswith(("pytest", "popen")):
            parent.chmod(0o755)
    assert in_child(child) == 0


def in_child(action):
    """Return the exit status of a forked child that runs *action*."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(action())
        except BaseException as error:  # noqa: BLE001  the child must not run the parent's tests
            os.write(2, "".join(traceback.format_exception(error)).encode())
            os._exit(99)
    end = threading.Event()
    for _ in range(2000):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        end.wait(0.01)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return -9


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a store of a stopped run and its pictures; the store's bytes and the run's id."""
    folder = tmp_path_factory.mktemp("whole")
    store = rxp.Store(folder / "runs.sqlite3")
    part = rxp.PipelineRunner(Painter(stop_at=8), store=store).run(
        rxp.PipelineConfig(
            txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse", images=4, seed=7),
            adetailer=rxp.AdetailerConfig(),
            upscale=rxp.UpscaleConfig(scale=2),
            out=folder / "out",
        )
    )
    assert store.close(10)
    return folder, store.path.read_bytes(), part.run_id


@pytest.mark.sampled(5)
@pytest.mark.parametrize("place", range(PLACES))
def test_a_damaged_store_is_read_or_refused(whole, tmp_path, place):
    """Whichever byte is another: an answer or a StoreError; pictures stay, and a resumed run is right or refused."""
    folder, data, run_id = whole
    chance = random.Random(place)  # noqa: S311 - keeps no secret
    at = chance.randrange(100) if place % 4 == 0 else chance.randrange(len(data))
    damaged = bytearray(data)
    damaged[at] ^= chance.randrange(1, 256)
    copy = tmp_path / "copy"
    shutil.copytree(folder / "out", copy)
    path = tmp_path / "runs.sqlite3"
    path.write_bytes(damaged)
    store = rxp.Store(path)
    for question in (
        store.runs,
        store.pictures,
        lambda: store.runs(search="lighthouse"),
        lambda: store.run(run_id),
        lambda: store.cells(run_id),
        lambda: store.events(run_id),
        lambda: store.result(run_id),
        store.latest,
    ):
        with contextlib.suppress(StoreError):
            question()
    runner = rxp.PipelineRunner(Painter(), store=store)
    with contextlib.suppress(rxp.StoreError, rxp.ResumeError, rxp.PlanError):
        result = runner.resume(run_id)
        assert result.success
        assert [record.seed for record in result.images] == [7, 8, 9, 10]
    assert (
        rxp.PipelineRunner(Painter(), store=store)
        .run(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(images=1), out=tmp_path / "other"))
        .success
    )
    store.close(10)
    before = {each.relative_to(copy): each.read_bytes() for each in copy.rglob("*") if each.is_file()}
    assert all((folder / "out" / name).read_bytes() == content for name, content in before.items())


@pytest.mark.parametrize(
    "content", [b"", b"x" * 5000, b"SQLite format 3\0" + b"\0" * 5000], ids=["empty", "text", "torn"]
)
def test_a_file_that_is_no_store_is_left_alone(job, tmp_path, content):
    """An empty one becomes a store; any other is said."""
    path = tmp_path / "other.sqlite3"
    path.write_bytes(content)
    store = rxp.Store(path)
    result = rxp.PipelineRunner(Painter(), store=store).run(job())
    store.close(10)
    assert result.success
    if content:
        assert any("is damaged" in warning for warning in result.warnings)
        assert path.read_bytes() == content
        with pytest.raises(StoreError, match="--rebuild FOLDER"):
            store.runs()
    else:
        assert len(store.runs()) == 1


def test_a_folder_that_cannot_be_made_is_said(job, tmp_path):
    (tmp_path / "file").write_text("")
    store = rxp.Store(tmp_path / "file" / "runs.sqlite3")
    result = rxp.PipelineRunner(Painter(), store=store).run(job())
    assert result.success
    assert any("not recorded" in warning for warning in result.warnings)
