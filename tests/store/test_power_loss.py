"""A disk that loses power keeps what was synced and any part of the rest: resumed from any moment, a run is whole."""

from __future__ import annotations

import functools
import os
import random
import shutil
import sqlite3
import sys
import threading

import crashes
import pytest
from painter import JOB, Painter

import rxpipe as rxp
from rxpipe.pictures import png
from rxpipe.sinks.files import SystemFiles
from rxpipe.store.keys import file_digest

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="inodes"), pytest.mark.timeout(180)]

CELLS = 12
STORE = "runs.sqlite3"


class LossyDisk(SystemFiles):
    """Keeps a copy of a folder at moments that it is given, as the disk would be if the power went then.

    What is lost then: the contents of files that are not synced; what SQLite wrote since its last commit, from some
    byte on; and, as no folder is synced, names, as *loss* says: "none", "all" or "some" of them.

    moments: the steps, counted from 1, at which to copy.
    """

    def __init__(self, folder, copies, moments, loss, chance):
        self.steps, self.folder, self._copies, self._moments = 0, folder, copies, moments
        self._loss, self._chance = loss, chance
        self._synced, self._committed = {}, 0
        self._lock = threading.RLock()

    def fsync(self, descriptor):
        self.step()
        super().fsync(descriptor)
        found = os.fstat(descriptor)
        with self._lock:
            self._synced[found.st_ino] = found.st_size
        self.step()

    def link(self, source, target):
        super().link(source, target)
        self.step()

    def unlink(self, path):
        super().unlink(path)
        self.step()

    def step(self, *, committed=False):
        """Count a step; copy the folder if it is one of the moments."""
        with self._lock:
            self.steps += 1
            wal = self.folder / f"{STORE}-wal"
            if committed:
                self._committed = wal.stat().st_size if wal.exists() else 0
            if self.steps in self._moments:
                self._copy(self._copies / str(self.steps))

    def _copy(self, to):
        to.mkdir(parents=True)
        for name in (f"{STORE}-wal", STORE):  # in this order: frames that are in both change nothing
            if (self.folder / name).exists():
                data = (self.folder / name).read_bytes()
                if name.endswith("-wal"):
                    data = data[: self._chance.randint(min(self._committed, len(data)), len(data))]
                (to / name).write_bytes(data)
        copied = {}
        for path in sorted((self.folder / "out").rglob("*")):
            if not path.is_file() or self._loses_name():
                continue
            target = to / path.relative_to(self.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            inode = path.stat().st_ino
            if inode in copied:  # names of one file
                os.link(copied[inode], target)
                continue
            data = path.read_bytes()
            kept = self._synced.get(inode, self._chance.choice([0, len(data) // 2]))
            target.write_bytes(data[:kept])
            copied[inode] = target

    def _loses_name(self):
        return self._loss == "all" or (self._loss == "some" and self._chance.random() < 0.5)


def watched_connect(disk):
    """A `sqlite3.connect` whose commits are steps of the disk."""

    class Watched(sqlite3.Connection):
        def execute(self, sql, *values):
            made = super().execute(sql, *values)
            if sql == "COMMIT":
                disk.step(committed=True)
            return made

    return functools.partial(sqlite3.connect, factory=Watched)


def drawn(folder, files=None):
    """Run the job, or resume it if the store has it; return its result, with everything written."""
    executor = rxp.PipelineExecutor(Painter(), files=files, store=folder / STORE)
    config = JOB.model_copy(update={"out": folder / "out", "metadata": rxp.RunMetadata(run_id="night")})
    result = crashes.begin_or_resume(rxp.PipelineRunner(executor), config)
    assert executor.store.close(20)
    return result


def cut_off(disk, monkeypatch):
    """Run the job to its end, and keep copies of its folder; return how many steps there were."""
    disk.folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", watched_connect(disk))
        assert drawn(disk.folder, disk).success
    return disk.steps


def wrong(folder, expected, loss):
    """What is wrong with a run that was resumed, one line each."""
    cells = rxp.Store(folder / STORE).cells("night")
    files = {path for path in (folder / "out").rglob("*") if path.is_file()}
    of_rows = {cell.path for cell in cells if cell.path is not None}
    found = [f"{len(cells)} rows"] if len(cells) != CELLS else []
    found += [f"no file: {path}" for path in of_rows - files]
    found += [f"damaged: {cell.path}" for cell in cells if cell.path in files and file_digest(cell.path) != cell.digest]
    more = files - of_rows
    found += [f"no row: {path}" for path in more] if loss != "some" else []  # half of a name's marks may be lost
    found += [f"left: {path}" for path in more if path.name.startswith(".") and loss != "some"]
    for path in files:
        if not path.name.startswith("."):
            png.check(path.read_bytes())
    if crashes.told(folder) != expected:
        found.append("another result")
    return found


@pytest.mark.sampled(1)
@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("loss", ["none", "all", "some"])
def test_a_run_whose_disk_lost_power_is_resumed_to_what_it_would_have_been(loss, seed, tmp_path, monkeypatch):
    """Whatever of what was not synced is gone: nothing is missing, and no torn file has a picture's name."""
    chance = random.Random(f"{loss} {seed}")  # noqa: S311  # moments
    folder, copies = tmp_path / "run", tmp_path / "copies"
    steps = cut_off(LossyDisk(folder, copies, set(), loss, chance), monkeypatch)
    expected = crashes.told(folder)
    shutil.rmtree(folder)
    moments = {number for number in range(1, steps + 1) if number % 8 == seed}
    cut_off(LossyDisk(folder, copies, moments, loss, chance), monkeypatch)
    kept = sorted(copies.iterdir())
    assert len(kept) >= len(moments) - 2  # the store's thread commits more or less together
    for copy in kept:
        shutil.rmtree(folder)
        copy.rename(folder)
        result = drawn(folder)
        assert result.success, copy.name
        assert wrong(folder, expected, loss) == [], (copy.name, loss)
