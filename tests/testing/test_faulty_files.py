"""FaultyFiles: which calls fail, how often, and that the others reach the disk."""

from __future__ import annotations

import errno
import os
import threading

import pytest

import rxpipe as rxp
from rxpipe.sinks.files import SystemFiles, write_all
from rxpipe.testing import FaultyFiles, ScriptedBackend

NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL


@pytest.fixture(params=[SystemFiles, FaultyFiles], ids=lambda kind: kind.__name__)
def any_files(request):
    return request.param()


def put(files, path, data=b"abc"):
    descriptor = files.open(path, NEW)
    try:
        write_all(files, descriptor, data)
        files.fsync(descriptor)
    finally:
        os.close(descriptor)


def test_without_faults_it_is_the_file_system(any_files, tmp_path):
    put(any_files, tmp_path / "a", data=b"a\r\nb\n")
    any_files.link(tmp_path / "a", tmp_path / "b")
    any_files.unlink(tmp_path / "a")
    any_files.rename(tmp_path / "b", tmp_path / "c")
    put(any_files, tmp_path / "d")
    any_files.replace(tmp_path / "c", tmp_path / "d")
    assert any_files.names(tmp_path) == ["d"]
    assert (tmp_path / "d").read_bytes() == b"a\r\nb\n"
    assert any_files.rename_replaces == (os.name != "nt")


def test_a_call_fails_as_often_as_asked_and_then_works(tmp_path):
    files = FaultyFiles()
    files.fail("open", errno.EPERM, times=2)
    for _ in range(2):
        with pytest.raises(PermissionError):
            put(files, tmp_path / "a")
    put(files, tmp_path / "a")
    assert files.calls == ["open", "open", "open", "write", "fsync"]


def test_a_full_disk_takes_what_fits_and_then_no_more(tmp_path):
    files = FaultyFiles()
    files.fill(room=2)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        put(files, tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"ab"
    files.heal()
    put(files, tmp_path / "b")


def test_on_windows_a_rename_refuses_a_name_in_use(tmp_path):
    files = FaultyFiles(windows=True)
    put(files, tmp_path / "a")
    put(files, tmp_path / "b", data=b"b")
    with pytest.raises(FileExistsError):
        files.rename(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"b"
    assert not files.rename_replaces


def test_a_slow_call_holds_up_its_own_thread_only(tmp_path):
    """Another file is written while the first one's fsync waits."""
    files, waiting, done = FaultyFiles(), threading.Event(), threading.Event()
    files.before("fsync", lambda: (waiting.set(), done.wait(10)), times=1)
    slow = threading.Thread(target=put, args=(files, tmp_path / "slow"))
    slow.start()
    assert waiting.wait(10)
    put(files, tmp_path / "other")
    assert slow.is_alive()
    done.set()
    slow.join(10)
    assert sorted(files.names(tmp_path)) == ["other", "slow"]


def test_a_full_disk_ends_a_run_with_a_save_error(marbles, tmp_path):
    """Given to an executor: the next run has room again."""
    files = FaultyFiles()
    files.fail("fsync", errno.ENOSPC, times=1)
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock, files=files)
    job = rxp.chain(rxp.txt2img("a lighthouse"), out=tmp_path)
    run = executor.start(job)
    marbles.run()
    assert (run.result.status, run.result.error.type) == ("failed", "SaveError")
    assert os.strerror(errno.ENOSPC) in run.result.error.message
    run = executor.start(job)
    marbles.run()
    assert run.result.success
    assert [path.name[:5] for path in tmp_path.rglob("*") if path.is_file()] == ["00000"]


def test_a_call_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'scandir': no such call; there are open, write, fsync, "):
        FaultyFiles().fail("scandir", errno.EIO)
