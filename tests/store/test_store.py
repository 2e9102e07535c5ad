"""The store's questions: what is listed, found, searched and shown; a file that is no store is left alone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import rxpipe as rxp
from rxpipe.errors import StoreError
from rxpipe.pictures.lineage import LINEAGE_KEY
from rxpipe.store import distant, schema
from rxpipe.store.rebuilding import rebuild
from rxpipe.testing import ScriptedBackend

FULL = rxp.PipelineConfig(
    txt2img=rxp.Txt2ImgConfig(prompt="a lighthouse at dusk", images=2, seed=7, steps=12, model="dream.safetensors"),
    upscale=rxp.UpscaleConfig(scale=2),
)


@pytest.fixture
def store(tmp_path):
    made = rxp.Store(tmp_path / "runs.sqlite3")
    yield made
    made.close(10)


@pytest.fixture
def run(marbles, store, tmp_path):
    """A function that runs a config in virtual time, with the store, to its end; returns the result."""
    marbles.allow_threads()  # the one that writes the store

    def run(config=FULL, scripts=None, **settings):
        executor = rxp.PipelineExecutor(ScriptedBackend(marbles, scripts), scheduler=marbles.clock, store=store)
        config = rxp.PipelineConfig(**{**dict(config), "out": tmp_path / "out", **settings})
        run = executor.start(config)
        marbles.clock.run()
        store.flush(10)
        return run.result

    return run


def test_a_store_that_is_not_there_is_an_empty_one(store):
    """And asking makes no file."""
    assert store.runs() == () == store.pictures()
    assert store.latest() is None
    assert store.cells("x") == () == store.events("x")
    assert not store.path.exists()
    with pytest.raises(StoreError, match="has no run 'x'"):
        store.run("x")


def test_a_run_is_shown_with_its_plan_its_cells_and_its_times(run, store):
    """What the result says is what the store says."""
    result = run()
    stored = store.run(result.run_id)
    summary = stored.summary
    assert (summary.status, summary.done, summary.images, summary.seed) == ("completed", 2, 2, 7)
    assert (summary.stages, summary.prompt, summary.model) == (
        ("txt2img", "upscale"),
        "a lighthouse at dusk",
        "dream.safetensors",
    )
    assert stored.plan == result.plan
    assert [(cell.stage_type, cell.path, cell.seed, cell.outcome) for cell in store.cells(result.run_id)] == [
        (record.stage_type, record.path, record.seed, record.outcome)
        for record in sorted(result.records, key=lambda record: (record.artifact_id, record.stage_index))
    ]
    assert [(timing.stage_type, timing.drawn, timing.outcomes) for timing in stored.timings] == [
        ("txt2img", 2, {"done": 2}),
        ("upscale", 2, {"done": 2}),
    ]
    assert store.result(result.run_id, steps=True) == result
    assert [cell.path for cell in store.pictures()] == [record.path for record in reversed(result.images)]


def test_a_plan_comes_back_with_what_was_set_and_nothing_else(run, store):
    """A backend sends what was set only, so that a default that came back as set would change the request."""
    result = run(adetailer=rxp.AdetailerConfig(prompt="a face"), order="image")
    plan = store.run(result.run_id).plan
    assert repr(plan) == repr(result.plan)
    assert [stage.payload for stage in plan.stages] == [stage.payload for stage in result.plan.stages]


def test_runs_are_found_by_what_they_were(run, store):
    """Each filter alone, and together."""
    first = run().run_id
    second = run(
        txt2img=rxp.Txt2ImgConfig(prompt="Ein Schloß über dem Fluß", negative_prompt="blurry", seed=100, images=3),
        adetailer=rxp.AdetailerConfig(),
    ).run_id

    def found(**conditions):
        return [each.run_id for each in store.runs(**conditions)]

    assert found() == [second, first]
    assert found(limit=1) == [second]
    assert found(before=store.runs()[0].number) == [first]
    assert found(model="DREAM") == [first]
    assert found(seed=102) == [second]
    assert found(seed=103) == []
    assert found(stage="adetailer") == [second]
    assert found(status="completed") == [second, first]
    assert found(status="failed") == []
    assert found(search="light dusk") == [first]
    assert found(search="light castle") == []
    assert found(search="uber") == [second]
    assert found(search="blur") == [second]
    assert found(search='"dusk" OR (') == []  # words, not a language
    day = timedelta(days=1)
    began = store.runs()[0].began
    assert found(since=began - day, until=began + day) == [second, first]
    assert found(since=began + day) == []


def test_prompts_of_languages_without_blanks_are_found_by_a_part(run, store):
    result = run(txt2img=rxp.Txt2ImgConfig(prompt="黄昏の灯台と海"))
    assert [each.run_id for each in store.runs(search="灯台")] == [result.run_id]
    assert store.runs(search="100%灯") == ()


def test_a_run_is_found_by_its_id_its_beginning_last_or_a_picture(run, store):
    result = run()
    run()
    assert store.find(result.run_id[:-1]).run_id == result.run_id or store.find(result.run_id).run_id == result.run_id
    assert store.find(result.images[0].path).run_id == result.run_id
    assert store.find("last").number == 2
    with pytest.raises(StoreError, match="no run 'nothing'"):
        store.find("nothing")


def test_two_runs_of_one_name_both_stay(run, store):
    """The later one has the name."""
    for _ in range(2):
        run(metadata=rxp.RunMetadata(run_id="nightly"))
    assert [each.run_id for each in store.runs()] == ["nightly", "nightly~1"]
    assert len(store.cells("nightly~1")) == 4


def test_marks_are_kept_and_trashed_pictures_are_not_shown(run, store):
    first, second = (record.artifact_id for record in run().images)
    run_id = store.latest().run_id
    store.mark(run_id, first, favourite=True, rating=5, tags=("sea", "dusk"))
    store.mark(run_id, first, rating=4)
    store.mark(run_id, second, trashed=True)
    (cell,) = store.pictures()
    assert (cell.artifact_id, cell.favourite, cell.rating, cell.tags) == (first, True, 4, ("sea", "dusk"))
    assert store.pictures(favourite=False) == ()


@pytest.mark.parametrize("rating", [0, 6, -1, 2.5])
def test_a_rating_out_of_range_is_refused(run, store, rating):
    artifact_id = run().images[0].artifact_id
    with pytest.raises(ValueError, match=f"rating: got {rating}, allowed: 1 to 5"):
        store.mark(store.latest().run_id, artifact_id, rating=rating)


def test_a_newer_store_is_left_alone(run, store):
    """It is named, and the run goes on without it."""
    run()
    store.close()
    with sqlite3.connect(store.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="newer rxpipe"):
        store.runs()
    result = run()
    assert result.success
    assert any("newer rxpipe" in warning for warning in result.warnings)
    assert store.path.read_bytes() == before


def test_an_older_store_gets_what_it_lacks(run, store, monkeypatch):
    """Also when it is only read."""
    run_id = run().run_id
    store.close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "ALTER TABLE runs ADD COLUMN notes TEXT;\n"))
    assert [each.run_id for each in store.runs()] == [run_id]
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("SELECT notes FROM runs").fetchall() == [(None,)]
    db.close()


def test_a_migration_that_fails_changes_nothing(run, store, monkeypatch):
    run_id = run().run_id
    store.close()
    broken = "ALTER TABLE runs ADD COLUMN notes TEXT;\nALTER TABLE nothing ADD COLUMN x;\n"
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError):
            store.runs()
    assert [each.run_id for each in store.runs()] == [run_id]


def test_a_database_of_another_program_is_not_touched(marbles, tmp_path):
    marbles.allow_threads()
    path = tmp_path / "places.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    db.close()
    before = path.read_bytes()
    store = rxp.Store(path)
    with pytest.raises(StoreError, match="another program"):
        store.runs()
    executor = rxp.PipelineExecutor(ScriptedBackend(marbles), scheduler=marbles.clock, store=store)
    run = executor.start(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(), out=None))
    marbles.clock.run()
    store.flush(10)
    assert run.result.success
    assert path.read_bytes() == before


def test_a_store_that_another_machine_writes_is_read_from_a_copy(run, store, monkeypatch):
    """While it is written; its memory is not shared over a network, and nothing is left of the copy."""
    run_id = run().run_id
    monkeypatch.setattr("rxpipe.store.reading.is_distant", lambda _: True)
    monkeypatch.setattr("platform.node", lambda: "another")
    monkeypatch.setattr("rxpipe.store.reading.is_written_here", lambda _: False)
    far = rxp.Store(store.path)
    assert far.path.with_name("runs.sqlite3-wal").exists()
    assert far.latest().run_id == run_id
    assert len(far.cells(run_id)) == 4
    assert run().run_id == far.latest().run_id


def test_a_copy_of_a_store_with_its_log_is_read(run, store, tmp_path):
    """As a backup of a run in progress is."""
    run_id = run().run_id
    copy = tmp_path / "copy.sqlite3"
    shutil.copy(store.path, copy)
    shutil.copy(f"{store.path}-wal", f"{copy}-wal")
    assert rxp.Store(copy).latest().run_id == run_id


@pytest.mark.parametrize(("place", "kind"), [("/mnt/nas/a b", "nfs4"), ("/mnt/nas", "ext4"), ("/other", "ext4")])
def test_what_is_distant_is_read_from_the_table_of_mounts(tmp_path, place, kind):
    table = tmp_path / "mounts"
    table.write_text("/dev/vda / ext4 rw 0 0\nnas:/x /mnt/nas/a\\040b nfs4 rw 0 0\n")
    assert distant._kind_of_mount(Path(place) / "runs.sqlite3", table) == kind


def test_threads_read_while_a_run_writes(run, store):
    """No question fails because another one, or a run, is at it."""
    run()
    failed, end = [], threading.Event()

    def ask():
        while not end.is_set():
            try:
                store.runs(search="lighthouse")
                store.pictures()
            except StoreError as error:
                failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        run()
    end.set()
    for thread in threads:
        thread.join(10)
    assert failed == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_store_is_for_its_owner_only(run, store):
    """Prompts are private."""
    run()
    files = [store.path, *store.path.parent.glob("runs.sqlite3-*")]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_times_are_aware_and_of_the_run(run, store):
    run()
    summary = store.latest()
    assert summary.began.tzinfo is UTC
    assert summary.ended >= summary.began
    assert isinstance(summary.began, datetime)


@pytest.mark.parametrize("seed", [2**63 - 2, 2**63 - 1, 2**64 - 2])
def test_seeds_of_64_bits_are_kept_found_and_continued(run, store, tmp_path, seed):
    """SQLite's whole numbers end at 2^63 - 1."""
    result = run(txt2img=rxp.Txt2ImgConfig(prompt="a", images=2, seed=seed))
    summary = store.latest()
    assert (summary.run_id, summary.status, summary.seed) == (result.run_id, "completed", seed)
    assert [cell.seed for cell in store.cells(result.run_id, last=True)] == [seed, seed + 1]
    assert [bool(store.runs(seed=each)) for each in (seed - 1, seed, seed + 1, seed + 2)] == [False, True, True, False]
    assert store.result(result.run_id).images[1].seed == seed + 1
    rebuilt = rxp.Store(tmp_path / "other.sqlite3")
    assert rebuild(rebuilt, tmp_path)[0] == 1
    assert (rebuilt.latest().seed, rebuilt.cells(result.run_id)[-1].seed) == (seed, seed + 1)
    assert rebuilt.close(10)


def test_a_strangers_picture_costs_the_rebuilt_history_nothing(run, store, tmp_path):
    """Whatever numbers its lineage claims."""
    run()
    claims = {"number": 10**30, "seed": 5, "lineage": [{"stage": "txt2img", "backend": "x", "settings": {}}]}
    odd = {"steps": 10**30, "cfg_scale": 1e300, "model": "m", "sampler_name": ["x"]}
    for name, values in {
        "1": claims,
        "2": {**claims, "number": 1, "seed": -(10**30), "lineage": [{**claims["lineage"][0], "settings": odd}]},
    }.items():
        text = json.dumps({"format": 1, "rxpipe": "9", "stage": "txt2img", "id": f"other{name}-1", **values})
        data = PngInfo()
        data.add_itxt(LINEAGE_KEY, text)
        Image.new("RGB", (8, 8)).save(tmp_path / f"{name}.png", pnginfo=data)
    rebuilt = rxp.Store(tmp_path / "other.sqlite3")
    rebuild(rebuilt, tmp_path)
    found = {each.run_id: each for each in rebuilt.runs()}
    assert set(found) == {store.latest().run_id, "other2"}
    assert (found["other2"].seed, found["other2"].steps, found["other2"].cfg_scale) == (-(10**30), None, None)
    assert rebuilt.close(10)
