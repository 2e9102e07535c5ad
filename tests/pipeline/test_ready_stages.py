"""The ready-made stages: tee, when, gate, grid, and those on pictures; scores, and what came through."""

from __future__ import annotations

import io
import subprocess
import sys
import threading

import pytest
import reactivex as rx
from instant import Instant, run_of
from PIL import Image

import rxpipe as rxp
from rxpipe.pictures.metadata import read_info
from rxpipe.testing import laws


def numbers(records):
    return [record.artifact_id.rpartition("-")[2] for record in records]


# -- forks ------------------------------------------------------------------------------------------------------------


def even(artifact):
    return artifact.number % 2 == 0


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_when_sends_those_images_through_its_chain(order):
    """The others pass it by, and all go on."""
    backend = Instant()
    chain = (rxp.txt2img("a", images=4, seed=1), rxp.when(even, rxp.img2img()), rxp.upscale())
    result = run_of(*chain, backend=backend, order=order)
    assert result.plan.stage_types == ("txt2img", "img2img", "when", "upscale")
    assert sorted(numbers(result.stage_images("img2img"))) == ["2", "4"]
    assert sorted(numbers(result.stage_images("upscale"))) == ["1", "2", "3", "4"]
    assert (result.status, result.tally.done, result.tally.filtered) == ("completed", 4, 0)


def test_an_image_that_passes_by_the_last_stage_is_done():
    """As one that went through it."""
    result = run_of(rxp.txt2img("a", images=3), rxp.when(even, rxp.adetailer()))
    assert result.tally.done == 3


@pytest.mark.parametrize("order", ["stage", "image", "auto"])
def test_tee_keeps_the_image_and_what_its_chains_make_of_it(order):
    """Each result is an image of its own, derived from the one that came."""
    backend = Instant()
    two = rxp.tee(rxp.upscale(scale=2), rxp.chain(rxp.img2img(), rxp.upscale(scale=3)))
    result = run_of(rxp.txt2img("a", images=2, seed=1), two, backend=backend, order=order)
    assert result.plan.stage_types == ("txt2img", "upscale", "img2img", "upscale", "tee")
    assert sorted(numbers(result.finished)) == ["1", "1.tee1", "1.tee2", "2", "2.tee1", "2.tee2"]
    assert result.tally.planned == result.tally.done == 6
    assert len({result.artifact(record).id for record in result.finished}) == 6
    parents = {result.artifact(record).parent for record in result.finished}
    assert parents == {None, *(r.artifact_id for r in result.stage_images("txt2img"))}


@pytest.mark.parametrize("order", ["stage", "image"])
def test_forks_obey_the_laws_of_a_run(marbles, order):
    """One start and one end each, nothing lost, nothing twice."""
    run = marbles.run(
        rxp.chain(
            rxp.txt2img("a", images=3),
            rxp.when(even, rxp.img2img(), rxp.adetailer()),
            rxp.tee(rxp.upscale()),
            order=order,
        )
    )
    run.events.accept()
    laws.check(run, in_order=False)


def test_a_run_with_forks_can_be_resumed(tmp_path):
    """With its chain, since no store holds a predicate; nothing is drawn twice."""
    backend = Instant()
    executor = rxp.PipelineExecutor(backend, store=tmp_path / "s.sqlite3")
    runner = rxp.PipelineRunner(executor)
    chain = rxp.chain(
        rxp.txt2img("a", images=2), rxp.when(even, rxp.img2img()), rxp.tee(rxp.upscale()), out=tmp_path / "out"
    )
    first = runner.run(chain)
    executor.store.flush()
    drawn = len(backend.rendered)
    assert runner.resume(first.run_id, chain).tally.done == 4
    assert len(backend.rendered) == drawn
    with pytest.raises(rxp.ResumeError, match=r"stages of your own \(when, tee\)"):
        runner.resume(first.run_id)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (rxp.tee, "no chain"),
        (lambda: rxp.when(even), "no stage"),
        (lambda: rxp.tee(rxp.txt2img("a")), "txt2img would throw away"),
        (lambda: rxp.when(even, rxp.txt2img("a")), "txt2img would throw away"),
        (lambda: rxp.tee(3), "a chain was given 3"),
    ],
)
def test_a_fork_says_what_it_takes(made, words):
    with pytest.raises(rxp.PlanError, match=words):
        made()


# -- gate -------------------------------------------------------------------------------------------------------------


def test_a_gate_waits_for_the_decisions_of_a_person():
    """From any thread, by image, id or number; what is rejected is filtered."""
    decisions, waiting = rxp.Decisions(), threading.Event()
    decisions.waiting.subscribe(lambda images: waiting.set() if len(images) == 4 else None)
    chain = rxp.chain(rxp.txt2img("a", images=4), rxp.gate(decisions), rxp.upscale(), out=None)
    run = rxp.PipelineExecutor(Instant()).start(chain)
    assert waiting.wait(10)
    images = []
    decisions.waiting.subscribe(images.append).dispose()
    decisions.accept(3)
    decisions.accept(images[0][0])
    decisions.reject(images[0][1].id)
    decisions.reject()
    assert run.wait(10)
    assert (run.result.status, run.result.tally.done, run.result.tally.filtered) == ("completed", 2, 2)
    assert numbers(run.result.stage_images("upscale")) == ["3", "1"]


def test_a_cancel_does_not_wait_at_a_gate():
    """And nothing waits there any more."""
    decisions, waiting, seen = rxp.Decisions(), threading.Event(), []
    decisions.waiting.subscribe(lambda images: waiting.set() if images else None)
    decisions.waiting.subscribe(seen.append)
    run = rxp.PipelineExecutor(Instant()).start(rxp.chain(rxp.txt2img("a"), rxp.gate(decisions), out=None))
    assert waiting.wait(10)
    run.cancel()
    assert run.wait(1)
    assert run.result.status == "cancelled"
    assert seen[-1] == ()


@pytest.mark.parametrize("decide", [even, lambda artifact: rx.of(even(artifact))])
def test_a_gate_takes_a_function(decide):
    """That returns the decision, or an observable of it."""
    assert numbers(run_of(rxp.txt2img("a", images=4), rxp.gate(decide)).finished) == ["2", "4"]


@pytest.mark.parametrize(("answer", "done"), [("y", 1), ("", 1), ("n", 0)])
def test_a_gate_asks_in_the_terminal(monkeypatch, answer, done):
    """Where no decisions are given."""
    monkeypatch.setattr("builtins.input", lambda _: answer)
    assert run_of(rxp.txt2img("a"), rxp.gate()).tally.done == done


def test_a_gate_without_a_terminal_says_so(monkeypatch):
    def closed(_):
        raise EOFError

    monkeypatch.setattr("builtins.input", closed)
    result = run_of(rxp.txt2img("a"), rxp.gate())
    assert result.status == "failed"
    assert "no terminal to ask. Give it decisions in code" in str(result.error)


# -- scores -----------------------------------------------------------------------------------------------------------


def brightness(artifact):
    return float(artifact.to_image().getpixel((0, 0)))


def test_scores_are_in_the_records_and_what_came_through_is_finished(tmp_path):
    """`images` has all that any stage finished; the file of the next stage holds the score."""
    chain = (rxp.txt2img("a", images=8, seed=10), rxp.keep_best(1, by=brightness), rxp.upscale())
    result = run_of(*chain, out=tmp_path)
    assert (len(result.images), len(result.finished)) == (8, 1)
    [kept] = result.stage_images("keep_best")
    assert kept.scores == {"brightness": 17.0}
    assert result.finished[0].scores == {"brightness": 17.0}
    read = read_info(result.finished[0].path)
    assert read.lineage.metadata["scores"] == {"brightness": 17.0}


# -- pictures ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def photo():
    """64 x 32 px, red."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 32), "red").save(buffer, "PNG")
    return rxp.Artifact(id="p-1", data=buffer.getvalue())


@pytest.mark.parametrize(
    ("made", "size"),
    [
        (lambda p: rxp.resize.function(p, 32), (32, 16)),
        (lambda p: rxp.resize.function(p, height=64), (128, 64)),
        (lambda p: rxp.resize.function(p, 32, 32), (32, 16)),
        (lambda p: rxp.resize.function(p, 32, 32, fit="exact"), (32, 32)),
        (lambda p: rxp.crop.function(p, 16, 16), (16, 16)),
        (lambda p: rxp.crop.function(p, 100, 16), (64, 16)),
        (lambda p: rxp.crop.function(p, 10, 10, x=60, y=0), (4, 10)),
        (lambda p: rxp.border.function(p, 4, "#00ff00"), (72, 40)),
        (lambda p: rxp.watermark.function(p, "me"), (64, 32)),
    ],
)
def test_sizes(photo, made, size):
    assert made(photo).size == size


def test_a_watermark_is_written_in_its_corner(photo):
    """And nowhere else."""
    marked = rxp.watermark.function(photo, "me", corner="top left", opacity=1, size=0.5)
    assert len(marked.crop((0, 0, 32, 16)).getcolors()) > 1
    assert marked.crop((40, 20, 64, 32)).getcolors() == [(24 * 12, (255, 0, 0))]


@pytest.mark.parametrize(("form", "head"), [("png", b"\x89PNG"), ("jpeg", b"\xff\xd8"), ("webp", b"RIFF")])
def test_save_as(photo, form, head):
    assert rxp.save_as.function(photo, form, 80).read().startswith(head)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (rxp.resize.function, "neither width nor height"),
        (lambda p: rxp.crop.function(p, 8, 8, x=64), "the box begins at 64"),
        (lambda p: rxp.border.function(p, 8, "blau"), "'blau' is no colour"),
        (lambda _: rxp.save_as("gif"), "save_as.format: got 'gif'"),
        (lambda _: rxp.grid(0), "at least 1"),
        (lambda _: rxp.grid(cell=4), "16 to 4096"),
    ],
)
def test_wrong_arguments(photo, made, words):
    with pytest.raises(rxp.ConfigError, match=words):
        made(photo)


def test_a_grid_follows_the_images_that_it_shows():
    """All of them pass; the sheet is one more, with a label over each where that is asked for."""
    result = run_of(rxp.txt2img("a", images=5, seed=1), rxp.grid(3, cell=16, label=lambda image: f"seed {image.seed}"))
    assert numbers(result.finished) == ["1", "1.grid", "2", "3", "4", "5"]
    sheet = result.artifact(result.finished[1]).to_image()
    assert sheet.size > (32, 32)


@pytest.mark.slow
def test_nothing_of_it_needs_numpy():
    """In a process that has none."""
    script = (
        "import sys; sys.modules['numpy'] = None\n"
        "import rxpipe as rxp\n"
        "from instant import run_of\n"
        "r = run_of(rxp.txt2img('a', images=4), rxp.resize(64), rxp.watermark('x'), rxp.border(), rxp.crop(32, 32),\n"
        "           rxp.save_as('jpeg'), rxp.keep_best(2, by=rxp.sharpness), rxp.grid(cell=32))\n"
        "assert r.tally.done == 3, r\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=__file__.rpartition("/")[0])  # noqa: S603  # our words
