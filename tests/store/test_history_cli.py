"""The commands about runs that were, as a person meets them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import reactivex as rx
from typer.testing import CliRunner

import rxpipe as rxp
from rxpipe.backends.base import Backend, Output
from rxpipe.backends.pool import PoolBackend
from rxpipe.cli import app
from rxpipe.errors import BackendRejected
from rxpipe.store.reading import default_store
from rxpipe.testing.servers.webui import WebUIServer

FOUR = ("--width", "64", "--height", "64", "--seed", "7", "--images", "4", "--stages", "txt2img,upscale")


class Painted(Backend):
    """One colour a picture, at once; from its n-th call on it refuses everything."""

    name = "painted"

    def __init__(self, calls=1000):
        self.left, self.drawn = calls, []

    def render(self, stage, source):
        self.left -= 1
        if self.left < 0:
            return rx.throw(BackendRejected("answered 401: unauthorized."))
        self.drawn.append((str(stage.stage_type), stage.seed))
        size = 64 if source is None else int(64 * stage.config.scale)
        picture = rxp.Artifact(id="x").with_image(_colour(stage.seed, size))
        return rx.of(Output(picture.read()))


def _colour(seed, size):
    from PIL import Image  # noqa: PLC0415  # as everywhere

    return Image.new("RGB", (size, size), (seed % 256, 80, 160))


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.setenv("RXPIPE_CONFIG", str(tmp_path / "none.toml"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def painted(monkeypatch):
    """A function that has the next command draw with a new backend, which it returns."""

    def paint(calls=1000):
        backend = Painted(calls)
        monkeypatch.setattr("rxpipe.cli.history.open_backend", lambda *_, **__: backend)
        monkeypatch.setattr("rxpipe.backends.open_backend", lambda *_, **__: backend)
        return backend

    return paint


def rxpipe(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_a_run_that_failed_says_how_to_continue_and_is_continued(painted):
    """What was drawn is not drawn again, the seeds stay, and the files go on where they were."""
    painted(calls=3)
    failed = rxpipe("run", *FOUR)
    (run,) = default_store().runs()
    assert failed.exit_code == 1
    assert f"to continue: rxpipe resume {run.run_id}\n" in failed.stderr
    assert run.status == "failed"
    assert run.unfinished

    second = painted()
    resumed = rxpipe("resume")
    assert resumed.exit_code == 0
    assert sorted(second.drawn) == [("txt2img", 9), ("txt2img", 10), ("upscale", 8), ("upscale", 9), ("upscale", 10)]
    names = [path.name for path in sorted(Path("outputs").rglob("*.png"))]
    assert names == [f"0000{n}-{7 + n}.png" for n in range(4)] * 2
    assert resumed.stdout.splitlines()[-4:] == [f"outputs/extras-images/{_day()}/0000{n}-{7 + n}.png" for n in range(4)]
    (run,) = default_store().runs()
    assert (run.status, run.attempt, run.done) == ("completed", 2, 4)
    assert "no unfinished run" in rxpipe("resume").stderr
    assert rxpipe("resume", run.run_id).stdout == f"run {run.run_id} is complete, and its pictures are intact\n"
    min(Path("outputs/extras-images").rglob("*.png")).unlink()
    third = painted()
    assert rxpipe("resume", run.run_id).exit_code == 0
    assert third.drawn == [("upscale", 7)]


def _day():
    return next(Path("outputs/extras-images").iterdir()).name


def test_a_run_again_draws_only_what_a_change_touches(painted):
    """The pictures of the stages before it are those of the first run."""
    painted()
    rxpipe("run", *FOUR)
    second = painted()
    again = rxpipe("rerun", "last", "--set", "upscale.scale=3")
    assert again.exit_code == 0
    assert [stage for stage, _ in second.drawn] == ["upscale"] * 4
    third = painted()
    picture = sorted(Path("outputs/extras-images").rglob("*.png"))[1]
    assert rxpipe("rerun", picture, "--set", "upscale.scale=4", "--set", "txt2img.steps=9").exit_code == 0
    assert third.drawn == [("txt2img", 8), ("upscale", 8)]
    assert [run.parent is None for run in default_store().runs()] == [False, False, True]


def test_what_cannot_be_run_again_says_why(painted):
    """A picture of nobody's run, a run that no config can say, a wrong setting, a status that there is not."""
    painted()
    _colour(1, 64).save("other.png")
    assert "To draw it again: rxpipe run other.png" in rxpipe("rerun", "other.png").stderr
    twice = rxp.chain(rxp.txt2img(prompt="a", seed=1), rxp.upscale(scale=2), rxp.upscale(scale=2), out="o")
    store = default_store()
    assert rxp.PipelineRunner(Painted(), store=store).run(twice).success
    assert store.close(10)
    composed = rxpipe("rerun", "last")
    assert (composed.exit_code, "composed in code, as txt2img, upscale, upscale" in composed.stderr) == (2, True)
    rxpipe("run", *FOUR)
    wrong = rxpipe("rerun", "last", "--set", "upscale.scael=3")
    assert (wrong.exit_code, "scale" in wrong.stderr) == (2, True)
    assert "did you mean 'completed'?" in rxpipe("runs", "--status", "complete").stderr


def test_runs_are_listed_searched_and_shown(painted):
    painted()
    rxpipe("run", "--prompt", "a lighthouse at dusk", *FOUR)
    run_id = default_store().latest().run_id
    assert run_id in rxpipe("runs", "--search", "lighthouse").stdout
    assert rxpipe("runs", "--search", "castle").stdout == "no such run\n"
    (line,) = rxpipe("runs", "--json").stdout.splitlines()
    assert json.loads(line)["run_id"] == run_id
    shown = rxpipe("show", run_id[:17]).stdout
    assert "a lighthouse at dusk" in shown
    assert shown.count("upscale done") == 4
    values = json.loads(rxpipe("show", "last", "--json").stdout)
    assert values["plan"]["txt2img"]["seed"] == 7
    assert len(values["images"]) == 4
    missing = rxpipe("show", "nothing")
    assert missing.exit_code == 1
    assert "`rxpipe runs` lists them" in missing.stderr


def test_without_a_store_nothing_is_kept(painted, monkeypatch):
    painted()
    rxpipe("run", "--no-store", *FOUR)
    assert default_store().runs() == ()
    monkeypatch.setenv("RXPIPE_STORE", "none")
    rxpipe("run", *FOUR)
    assert default_store() is None
    for command in (["runs"], ["show", "last"], ["resume"], ["report", "last"], ["grid", "last"]):
        refused = rxpipe(*command)
        assert (refused.exit_code, "--store PATH" in refused.stderr) == (2, True), (command, refused.output)
    assert rxpipe("run", "--store", "here.db", *FOUR).exit_code == 0
    assert len(rxp.Store("here.db").runs()) == 1
    assert "contradict" in rxpipe("run", "--store", "x", "--no-store", *FOUR).stderr


def test_a_lost_history_is_restored_from_the_pictures(painted):
    """It is listed, searched and shown, and says why it cannot be resumed."""
    painted()
    rxpipe("run", "--prompt", "a lighthouse", *FOUR)
    store = default_store()
    before = store.latest()
    store.close()
    shutil.move(store.path, "lost")
    for name in ("-wal", "-shm"):
        store.path.with_name(store.path.name + name).unlink(missing_ok=True)
    assert "1 runs with 8 pictures" in rxpipe("runs", "--rebuild", "outputs").stdout
    after = store.latest()
    assert (after.run_id, after.status, after.prompt, after.seed) == (before.run_id, "rebuilt", "a lighthouse", 7)
    assert len(store.pictures()) == 4
    assert "0 runs with 0 pictures" in rxpipe("runs", "--rebuild", "outputs").stdout
    refused = rxpipe("resume", "last")
    assert refused.exit_code == 2
    assert "from its pictures only" in refused.stderr


@pytest.mark.slow
def test_ratings_supersede_and_tell_what_was_best(painted):
    painted()
    rxpipe("run", *FOUR, "--steps", "20")
    rxpipe("run", *FOUR, "--steps", "30")
    first = default_store().runs()[1].run_id
    picture = min(Path("outputs/extras-images").rglob("*.png"))
    assert rxpipe("learn", "summary").stdout.startswith("nothing is rated yet")
    assert rxpipe("rate", "last", 5, "--tag", "sea").exit_code == 0
    assert rxpipe("rate", first, 2).exit_code == 0
    assert rxpipe("rate", picture, 4).exit_code == 0
    summary = json.loads(rxpipe("learn", "summary", "--json").stdout)
    assert summary["steps"] == [[30, 5.0, 4], [20, 2.5, 4]]
    assert rxpipe("rate", "last", 6).exit_code == 2
    records = list(rxp.read_records(rxp.LearningRecordWriter().path))
    assert [record.supersedes for record in records] == [True] * 3
    assert {record.run_id for record in records} == {run.run_id for run in default_store().runs()}


def test_a_run_is_watched_from_its_beginning_to_its_end(painted):
    """What it shows is what the run itself showed."""
    painted()
    ran = rxpipe("run", *FOUR)
    watched = rxpipe("watch")
    assert watched.exit_code == 0
    assert [line for line in ran.stdout.splitlines() if " image " in line] == [
        line for line in watched.stdout.splitlines() if " image " in line
    ]
    lines = rxpipe("watch", "last", "--json").stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines][-1] == "run_end"


def test_what_the_store_does_not_have_is_named_with_what_to_do(tmp_path):
    """A picture that exists is not called a run, and a store that is not there is named."""
    (tmp_path / "a.png").write_bytes(b"picture")
    for command in (("show", "a.png"), ("rate", "a.png", 3)):
        said = " ".join(rxpipe(*command).stderr.split())
        assert "has drawn a.png. `rxpipe runs --rebuild FOLDER` enters" in said
    assert rxpipe("runs", "--store", "nowhere").stdout == f"no run yet in {tmp_path / 'nowhere'}\n"


def test_a_run_with_a_setting_that_the_server_lacks_is_not_to_be_resumed_as_it_is():
    """It would fail again: the command that changes the setting is named, and works."""
    with WebUIServer() as server:
        failed = rxpipe("run", *FOUR, "--sampler", "Eulr a", "--backend", server.url)
        command = f"rxpipe rerun {default_store().latest().run_id} --set txt2img.sampler_name=VALUE"
        assert f"to continue: {command}\n" in failed.stderr
        again = rxpipe(*command.split()[1:-1], "txt2img.sampler_name=Euler a", "--backend", server.url)
        assert again.exit_code == 0, again.stderr


def test_a_grid_is_drawn_of_the_last_run(painted):
    """It takes a run's name as the other commands do."""
    painted()
    assert rxpipe("run", *FOUR).exit_code == 0
    assert rxpipe("grid", "last", "--out", "sheet.png").exit_code == 0
    assert Path("sheet.png").is_file()


def test_who_watches_a_run_whose_process_is_killed_is_told(painted, monkeypatch, tmp_path):
    """A copy of the store from the middle of a run is what a killed process leaves."""
    backend = painted()
    draw = backend.render

    def render(stage, source):
        if len(backend.drawn) == 3:
            path = default_store().path
            for ending in ("", "-wal"):
                shutil.copy(f"{path}{ending}", f"killed.sqlite3{ending}")
        return draw(stage, source)

    monkeypatch.setattr(backend, "render", render)
    rxpipe("run", *FOUR)
    run = default_store().latest()
    watched = rxpipe("watch", "--store", "killed.sqlite3")
    assert watched.exit_code == 1
    where = f"--store {tmp_path / 'killed.sqlite3'}"
    assert f"{run.run_id} has no end: its process is gone. To continue: rxpipe resume {run.run_id} {where}" in (
        watched.stderr
    )
    assert (
        f"To continue: rxpipe resume {run.run_id} {where}" in rxpipe("show", "last", "--store", "killed.sqlite3").stdout
    )
    page = rxpipe("report", "last", "--store", "killed.sqlite3", "--out", "r.html")
    assert page.stdout == "r.html\n"
    assert "left to draw" in Path("r.html").read_text(encoding="utf-8")


def test_what_only_pictures_tell_is_rated_and_not_watched(painted):
    """Where files were copied, the id of a run still tells when it was."""
    painted()
    rxpipe("run", *FOUR, "--steps", "21")
    run = default_store().latest()
    shutil.copytree("outputs", "copied")
    other = ("--store", "other.sqlite3")
    assert "1 runs with 8 pictures" in rxpipe("runs", "--rebuild", "copied", *other).stdout
    found = rxp.Store("other.sqlite3").latest()
    assert f"{found.began:%Y%m%d-%H%M%S}" == run.run_id[:15]
    assert "a picture" not in rxpipe("show", "last", *other).stdout
    assert rxpipe("rate", "last", 4, *other).stdout == f"run {run.run_id}, 4 images: 4 of 5\n"
    picture = min(Path("copied/extras-images").rglob("*.png"))
    assert rxpipe("rate", picture, 2, *other).stdout == f"image 1 of run {run.run_id}: 2 of 5\n"
    assert json.loads(rxpipe("learn", "summary", "--json").stdout)["steps"] == [[21, 3.5, 4]]
    for command in ("watch", "resume", "rerun"):
        refused = rxpipe(command, "last", *other)
        assert (refused.exit_code, "from its pictures only" in refused.stderr, refused.stdout) == (2, True, "")


def test_a_bare_resume_says_which_run_it_takes_and_why(painted):
    """The last one with a picture, though one at a wrong address was begun later; that one only where it is alone."""
    nowhere = ("--backend", "http://127.0.0.1:9")
    rxpipe("run", *FOUR, *nowhere)
    alone = rxpipe("resume", *nowhere)
    assert "it failed before its first picture, and no other is unfinished), attempt 2:" in alone.stdout
    painted(calls=3)
    rxpipe("run", *FOUR)
    half = default_store().latest().run_id
    assert f"resuming {half} (the last unfinished run), attempt 2:" in _resumed_a_little(painted)
    painted(calls=0)
    rxpipe("run", *FOUR)
    later = default_store().latest().run_id
    why = f"the last unfinished run with a picture; run {later} begun later failed before the first"
    assert f"resuming {half} ({why}), attempt 3:" in _resumed_a_little(painted)


def _resumed_a_little(painted):
    painted(calls=1)
    return rxpipe("resume").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ("--backend", "http://127.0.0.1:9"),
            "once it answers: rxpipe resume {run}; on another backend: rxpipe resume {run} --backend ADDRESS",
        ),
    ],
)
def test_a_run_that_drew_nothing_is_not_to_be_resumed_as_it_is(words, said):
    """It would fail in the same way: what must change is in the command."""
    failed = rxpipe("run", *FOUR, *words)
    assert f"to continue: {said.format(run=default_store().latest().run_id)}\n" in failed.stderr


def test_the_members_of_a_pool_are_told_apart_on_a_narrow_terminal(monkeypatch):
    """Servers of one host differ at the end of their address, which a narrow table must not cut off."""
    monkeypatch.setenv("COLUMNS", "80")
    members = [Painted(), Painted()]
    for port, member in enumerate(members, 7860):
        member.url = f"http://workstation.example:{port}"
    monkeypatch.setattr("rxpipe.backends.open_backend", lambda *_, **__: PoolBackend(members))
    assert rxpipe("run", *FOUR).exit_code == 0
    table = rxpipe("show", "last").stdout.partition("outcomes")[2].strip()
    first = "".join(line.split()[0] for line in table.splitlines() if line.strip())
    assert all(f"example:{port}" in first for port in (7860, 7861)), table
