"""A run that is killed at one of its durable steps or at some moment, resumed to its end, and held against another."""

from __future__ import annotations

import collections
import functools
import os
import signal
import sqlite3
import threading
import time

import rxpipe as rxp
from rxpipe.pictures import png
from rxpipe.store.keys import file_digest, picture_digest
from rxpipe.testing import FaultyFiles

IMAGES, STAGES = 20, 4
_LIMIT_S = 60.0
_CALLS = ("open", "write", "fsync", "link", "unlink")


def job(folder, images=IMAGES, **settings):
    """Twenty images through four stages; the paths are below *folder*."""
    return rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse at dusk", images=images, width=64, height=64, steps=1, seed=5),
        img2img=rxp.Img2ImgConfig(steps=1),
        adetailer=rxp.AdetailerConfig(steps=1),
        upscale=rxp.UpscaleConfig(scale=1.5),
        metadata=rxp.RunMetadata(run_id="night"),
        **{"out": folder / "out", "order": "auto", **settings},
    )


def runner_for(folder, backend, files=None):
    """A runner with the store of *folder*."""
    return rxp.PipelineRunner(rxp.PipelineExecutor(backend, files=files, store=folder / "runs.sqlite3"))


class Steps:
    """Counts the durable steps of this process, of files and of the store, and kills it at the n-th; None: never."""

    def __init__(self, at=None):
        self.count, self._at = 0, at
        self._lock = threading.Lock()
        self.files = FaultyFiles()
        for call in _CALLS:
            self.files.before(call, self.step)

    def step(self):
        with self._lock:
            self.count += 1
            if self.count == self._at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch_the_store(self, patch):
        """Count each commit twice: before it and after it."""
        steps = self

        class Watched(sqlite3.Connection):
            def execute(self, sql, *values):
                if sql == "COMMIT":
                    steps.step()
                made = super().execute(sql, *values)
                if sql == "COMMIT":
                    steps.step()
                return made

        patch(functools.partial(sqlite3.connect, factory=Watched))


def _set_connect(connect):
    sqlite3.connect = connect


def killed_run(folder, open_backend, *, at=None, after_s=None, config=None):
    """Run or resume the job, or *config*, in a child process that is killed at its n-th durable step or after a time.

    Returns whether it was killed; one that came to its end was not.
    """
    child = os.fork()
    if child == 0:
        try:
            steps = Steps(at)
            steps.watch_the_store(_set_connect)
            with open_backend() as backend:
                count_renders(backend, folder / "drawn.txt")
                done = begin_or_resume(runner_for(folder, backend, steps.files), config or job(folder)).success
            os._exit(0 if done and rxp.Store(folder / "runs.sqlite3").path.exists() else 1)
        except BaseException as error:  # noqa: BLE001  the child must not run the parent's tests
            os.write(2, repr(error).encode())
            os._exit(99)
    end = time.monotonic() + (_LIMIT_S if after_s is None else after_s)
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            code = os.waitstatus_to_exitcode(status)
            assert code in {0, -signal.SIGKILL}, code
            return code != 0
        threading.Event().wait(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert after_s is not None, "the run did not end"
    return True


def count_renders(backend, log):
    """Write a line to *log* for each picture that the backend is asked for."""
    render = backend.render

    def counted(stage, source):
        line = f"{stage.stage_index} {stage.seed}\n".encode()
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, line)
        os.close(descriptor)
        return render(stage, source)

    backend.render = counted


def resume(folder, open_backend):
    """Bring the run to its end in this process."""
    with open_backend() as backend:
        count_renders(backend, folder / "drawn.txt")
        runner = runner_for(folder, backend)
        result = begin_or_resume(runner, job(folder))
        assert runner.executor.store.close(20)
    return result


def begin_or_resume(runner, config):
    """Resume the run if its store has it, else begin it."""
    return runner.resume("night") if runner.executor.store.runs() else runner.run(config)


def told(folder):
    """What a run amounts to, without times and attempts: per image and stage what it is and its pixels."""
    store = rxp.Store(folder / "runs.sqlite3")
    result = store.result("night")
    records = {
        (record.artifact_id, record.stage_index): (record.stage_type, record.outcome, record.seed, record.warnings)
        for record in result.records
    }
    pixels = {
        (cell.artifact_id, cell.stage_index): picture_digest(cell.path.read_bytes())
        for cell in store.cells("night")
        if cell.path is not None
    }
    return result.status, result.tally, records, pixels


def names(folder):
    """The pictures of a run by image and stage, as names below its folder."""
    cells = rxp.Store(folder / "runs.sqlite3").cells("night")
    paths = {(cell.artifact_id, cell.stage_index): cell.path for cell in cells if cell.path is not None}
    return {place: path.relative_to(folder / "out").as_posix() for place, path in paths.items()}


def faults(folder, capacity):
    """What is wrong with a run that was resumed to its end, one line each."""
    found = []
    store = rxp.Store(folder / "runs.sqlite3")
    cells = store.cells("night")
    if len(cells) != IMAGES * STAGES:
        found.append(f"{len(cells)} rows instead of {IMAGES * STAGES}")
    files = {path for path in (folder / "out").rglob("*") if path.is_file()}
    found += [f"left: {path}" for path in files if path.name.startswith(".")]
    of_rows = {cell.path for cell in cells}
    found += [f"no row: {path}" for path in files - of_rows if not path.name.startswith(".")]
    found += [f"no file: {path}" for path in of_rows - files]
    found += [f"damaged: {cell.path}" for cell in cells if cell.path in files and file_digest(cell.path) != cell.digest]
    for path in files & of_rows:
        png.check(path.read_bytes())
    drawn = collections.Counter((folder / "drawn.txt").read_text().split("\n")[:-1])
    missing = IMAGES * STAGES - len(drawn)
    twice = drawn.total() - len(drawn)
    if missing:
        found.append(f"{missing} cells were not drawn")
    if twice > capacity:
        found.append(f"{twice} cells were drawn again, at most {capacity} were in work")
    return found
