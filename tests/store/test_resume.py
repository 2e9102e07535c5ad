"""Resume: what is finished is taken over, what is not is drawn with the same seeds, and what cannot be is named."""

from __future__ import annotations

import multiprocessing
import sys
import threading

import crashes
import pytest
import reactivex as rx
from painter import Painter
from PIL import Image

import rxpipe as rxp
from rxpipe.backends.pool import PoolBackend
from rxpipe.errors import ConfigError, ResumeError, StoreError
from rxpipe.pictures import png


def drawn(runner):
    return runner.executor.backend.drawn


def pictures(tmp_path):
    return sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file())


@pytest.mark.sampled(4)
@pytest.mark.parametrize("order", ["stage", "image", "auto"])
@pytest.mark.parametrize("stop_at", [0, 1, 5, 11])
def test_a_run_that_was_stopped_draws_the_rest(lab, job, tmp_path, order, stop_at):
    """In every order, and each picture once."""
    first = lab(stop_at=stop_at)
    failed = first.run(job(order=order))
    assert failed.status == "failed"
    second = lab()
    result = second.resume(failed.run_id)
    assert result.success
    assert sorted(drawn(first) + drawn(second)) == sorted(set(drawn(first) + drawn(second)))
    assert len(drawn(first)) + len(drawn(second)) == 12
    assert [record.seed for record in result.images] == [7, 8, 9, 10]
    assert len(pictures(tmp_path)) == 12
    assert {(record.attempt, record.resumed) for record in result.records} <= {(1, True), (2, False)}
    assert sum(record.resumed for record in result.records) == stop_at
    assert result.events[0].attempt == 1
    assert [event.attempt for event in result.events if event.kind == "run_start"] == [1, 2]


def facts(result):
    """What a result says of each image in each stage, but for times and attempts."""
    records = sorted(result.records, key=lambda record: (record.artifact_id, record.stage_index))
    return [
        (each.artifact_id.removeprefix(result.run_id), each.stage_type, each.seed, each.outcome, each.path.name)
        for each in records
    ]


def test_the_result_of_a_resumed_run_is_that_of_one_that_nothing_stopped(lab, job, tmp_path):
    whole = lab().run(job(out=tmp_path / "other"))
    part = lab(stop_at=6).run(job())
    result = lab().resume(part.run_id)
    assert facts(result) == facts(whole)
    assert result.tally == whole.tally
    assert [(stage.stage_type, stage.state) for stage in result.stages] == [
        (stage.stage_type, stage.state) for stage in whole.stages
    ]


def test_a_picture_that_was_damaged_or_is_gone_is_drawn_again(lab, job):
    """And those made from it are kept, since it is the same again."""
    runner = lab()
    result = runner.run(job())
    files = [record.path for record in result.stage_images("txt2img")]
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-20])
    again = lab()
    assert again.resume(result.run_id).success
    assert drawn(again) == [("txt2img", 7), ("txt2img", 8)]


def test_failed_images_are_drawn_again(lab, job):
    """And the others are not."""
    first = lab(fails={("txt2img", 8)})
    part = first.run(job())
    assert part.status == "partial"
    second = lab()
    result = second.resume(part.run_id)
    assert result.success
    assert drawn(second) == [("txt2img", 8), ("adetailer", 8), ("upscale", 8)]


def test_a_skipped_image_stays_skipped(lab, job):
    """That was a person's choice, which a failure is not."""
    began = threading.Event()

    def wait():
        began.set()
        return rx.never()

    first = lab(stop_at=1, stop=wait)
    run = first.start(job())
    assert began.wait(10)
    first.executor.backend._stop_at = None
    assert run.skip_image()
    assert run.wait(10)
    second = lab()
    result = second.resume(run.run_id)
    assert drawn(second) == []
    assert (result.tally.done, result.tally.cancelled) == (3, 1)


def test_what_a_stage_left_unchanged_is_kept_with_its_reason(lab, job):
    """Nothing found, or a failure that passes the picture on: both count as through."""
    first = lab(unchanged={("adetailer", 7)}, fails={("adetailer", 8)})
    whole = first.run(job())
    second = lab()
    result = second.resume(whole.run_id)
    assert drawn(second) == []
    passed = [(record.seed, record.error) for record in result.stage_images("adetailer") if record.outcome == "passed"]
    assert passed == [(r.seed, r.error) for r in whole.stage_images("adetailer") if r.outcome == "passed"]
    assert passed[0] == (7, None)
    assert "out of memory" in passed[1][1].message


def test_with_only_final_pictures_a_stopped_run_keeps_what_it_needs(lab, job, tmp_path):
    """The others are deleted once the run is complete."""
    part = lab(stop_at=7).run(job(save="final"))
    second = lab()
    assert second.resume(part.run_id).success
    assert len(drawn(second)) == 5
    assert [name.split("/")[1] for name in pictures(tmp_path)] == ["extras-images"] * 4


def test_what_was_not_synced_and_is_torn_is_drawn_again(lab, job, tmp_path):
    """Of a run that keeps final pictures only; a machine that loses its power leaves such files."""
    part = lab(stop_at=7).run(job(save="final"))
    torn = next(record.path for record in part.records if record.stage_type == "txt2img")
    torn.write_bytes(torn.read_bytes()[:100])
    second = lab()
    result = second.resume(part.run_id)
    assert result.success
    assert len(drawn(second)) == 5 + 1
    assert [name.split("/")[1] for name in pictures(tmp_path)] == ["extras-images"] * 4
    for record in result.images:
        png.check(record.path.read_bytes())


@pytest.mark.sampled(2)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and forks of POSIX")
@pytest.mark.parametrize("at", [12, 19, 33, 47, 61, 80])
def test_a_killed_run_that_keeps_final_pictures_is_resumed_to_the_same(job, tmp_path, at):
    """No cell is drawn a second time but the one that was being written."""
    config = job(save="final", metadata={"run_id": "night"})
    killed = crashes.killed_run(tmp_path, Painter, at=at, config=config)
    runner = rxp.PipelineRunner(Painter(), store=tmp_path / "runs.sqlite3")
    result = runner.resume("night")
    assert result.success
    assert runner.executor.store.close(10)
    done = (tmp_path / "drawn.txt").read_text().splitlines() + drawn(runner)
    assert len(done) <= 12 + killed
    assert [name.split("/")[1] for name in pictures(tmp_path)] == ["extras-images"] * 4


def test_a_run_is_resumed_from_another_folder(lab, tmp_path, monkeypatch):
    """Relative paths are those of the folder in which it was begun."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "here" / "photo.png")
    monkeypatch.chdir(tmp_path / "here")
    config = rxp.PipelineConfig(img2img=rxp.Img2ImgConfig(images=3, seed=5), input=["photo.png"], out="made")
    part = lab(stop_at=1).run(config)
    monkeypatch.chdir(tmp_path / "there")
    second = lab()
    result = second.resume(part.run_id)
    assert result.success
    assert len(drawn(second)) == 2
    assert {record.path.parts[-4] for record in result.images} == {"made"}
    assert all(record.path.is_relative_to(tmp_path / "here") for record in result.images)


def test_an_input_that_changed_is_drawn_from_anew(lab, tmp_path):
    """What counts is the picture and not its name."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (16, 16), "red").save(photo)
    config = rxp.PipelineConfig(img2img=rxp.Img2ImgConfig(seed=5), input=[photo], out=tmp_path / "out")
    whole = lab().run(config)
    second = lab()
    second.resume(whole.run_id)
    assert drawn(second) == []
    Image.new("RGB", (16, 16), "blue").save(photo)
    third = lab()
    assert third.resume(whole.run_id).success
    assert drawn(third) == [("img2img", 5)]


# -- what cannot be resumed --------------------------------------------------------------------------------------------


def test_a_run_in_memory_says_that_it_cannot_be_resumed(lab, job):
    result = lab().run(job(out=None))
    with pytest.raises(ResumeError, match="in memory"):
        lab().resume(result.run_id)


def test_a_run_that_no_store_has_is_named(lab, job):
    with pytest.raises(StoreError, match="no run 'never'"):
        lab().resume("never")
    with pytest.raises(ResumeError, match="keeps no runs"):
        rxp.PipelineRunner(Painter()).resume("never")
    with pytest.raises(ConfigError, match="give the store to that"):
        rxp.PipelineRunner(lab().executor, store="x")
    with pytest.raises(StoreError, match="no run 'never'"):
        lab().run(job(), reuse="never")


def test_of_two_that_resume_one_run_one_is_refused(lab, job):
    """By name, and it changes nothing for the other."""
    part = lab(stop_at=2).run(job())
    began = threading.Event()

    def wait():
        began.set()
        return rx.never()

    first = lab(stop_at=1, stop=wait)
    run = first.executor.resume(part.run_id)
    assert began.wait(10)
    second = lab()
    with pytest.raises(ResumeError, match="in progress"):
        second.resume(part.run_id)
    assert drawn(second) == []
    run.cancel()
    assert run.wait(10)
    third = lab()
    assert third.resume(part.run_id).success


def _resume_and_wait(path, run_id, pipe):
    began = threading.Event()

    def wait():
        began.set()
        return rx.never()

    runner = rxp.PipelineRunner(Painter(stop_at=0, stop=wait), store=path)
    runner.executor.resume(run_id)
    began.wait(20)
    pipe.send("resumed")
    pipe.recv()


@pytest.mark.slow
def test_a_run_that_another_process_resumes_is_refused_until_that_is_killed(lab, job):
    """A killed process holds nothing."""
    part = lab(stop_at=2).run(job())
    store = lab().executor.store
    store.close(10)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    other = context.Process(target=_resume_and_wait, args=(store.path, part.run_id, theirs), daemon=True)
    other.start()
    assert ours.poll(30)
    assert ours.recv() == "resumed"
    assert store.latest().status == "running"
    with pytest.raises(ResumeError, match=f"process {other.pid}"):
        lab().resume(part.run_id)
    other.kill()
    other.join(10)
    assert store.latest().status == "interrupted"
    assert lab().resume(part.run_id).success


# -- stages of one's own -----------------------------------------------------------------------------------------------


@rxp.image_stage(name="tint")
def tint(artifact, amount=1):
    return artifact.to_image().point(lambda value: min(255, value + amount))


@rxp.image_stage(name="tint")
def other_tint(artifact, amount=1):
    return artifact.to_image().point(lambda value: max(0, value - amount))


def chain(tmp_path, *parts):
    return rxp.chain(
        rxp.txt2img(prompt="a", images=3, seed=7), *(parts or (tint(),)), rxp.upscale(scale=2), out=tmp_path / "out"
    )


def test_a_function_stage_is_resumed_with_its_chain(lab, tmp_path):
    part = lab(stop_at=4).run(chain(tmp_path))
    with pytest.raises(ResumeError, match=r"stages of your own \(tint\)") as refused:
        lab().resume(part.run_id)
    assert refused.value.stages == ("tint",)
    second = lab()
    assert second.resume(part.run_id, chain(tmp_path)).success
    assert len(drawn(second)) == 2
    assert len(pictures(tmp_path)) == 9


@pytest.mark.parametrize("changed", [other_tint(), tint(2)], ids=["another source", "another argument"])
def test_a_changed_function_is_named_with_the_choice_to_draw_anew(lab, tmp_path, changed):
    """Its images and those made from them; not what comes before it."""
    whole = lab().run(chain(tmp_path))
    with pytest.raises(ResumeError, match=r"changed since: tint \(stage 2") as refused:
        lab().resume(whole.run_id, chain(tmp_path, changed))
    assert refused.value.stages == ("tint",)
    assert "redraw=['tint']" in refused.value.hint
    second = lab()
    result = second.resume(whole.run_id, chain(tmp_path, changed), redraw=["tint"])
    assert drawn(second) == [("upscale", 7), ("upscale", 8), ("upscale", 9)]
    assert [record.attempt for record in result.stage_images("tint")] == [2, 2, 2]


def test_a_stage_that_is_gone_is_named(lab, tmp_path):
    whole = lab().run(chain(tmp_path))
    with pytest.raises(ResumeError, match="has the stages txt2img, tint, upscale") as refused:
        lab().resume(whole.run_id, rxp.chain(rxp.txt2img(prompt="a", images=3, seed=7), rxp.upscale(scale=2)))
    assert refused.value.stages == ("tint",)


def brightness(artifact):
    return float(sum(artifact.to_image().convert("L").tobytes()))


def twice(artifact):
    """Each image and its mirror."""
    mirrored = artifact.with_image(artifact.to_image().rotate(90))
    return [artifact, mirrored]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", [rxp.keep_best(2, by=brightness), rxp.expand(twice)], ids=["keep_best", "expand"])
@pytest.mark.parametrize("stop_at", [2, 4])
def test_operators_choose_and_expand_the_same_again(lab, tmp_path, part, stop_at):
    """No picture that an operator made is written twice."""
    whole = lab().run(chain(tmp_path / "whole", part))
    stopped = lab(stop_at=stop_at).run(chain(tmp_path, part))
    second = lab()
    result = second.resume(stopped.run_id, chain(tmp_path, part))
    assert result.success
    assert [(v.artifact_id.removeprefix(result.run_id), v.outcome) for v in result.variants] == [
        (v.artifact_id.removeprefix(whole.run_id), v.outcome) for v in whole.variants
    ]
    made = [name for name in pictures(tmp_path) if name.startswith("out")]
    assert len(made) == len([name for name in pictures(tmp_path / "whole") if name.startswith("out")])


# -- pictures of other runs --------------------------------------------------------------------------------------------


def test_a_new_run_takes_over_what_did_not_change(lab, job):
    """Two more images, and another scale for all of them."""
    first = lab().run(job())
    second = lab()
    more = rxp.Txt2ImgConfig(prompt="a lighthouse", images=6, seed=7)
    result = second.run(job(txt2img=more, upscale=rxp.UpscaleConfig(scale=3)), reuse=first.run_id)
    assert result.success
    assert [place for place in drawn(second) if place[0] != "upscale"] == [
        ("txt2img", 11),
        ("adetailer", 11),
        ("txt2img", 12),
        ("adetailer", 12),
    ]
    assert len([place for place in drawn(second) if place[0] == "upscale"]) == 6
    assert result.run_id != first.run_id
    third = lab()
    assert third.run(job(upscale=rxp.UpscaleConfig(scale=3)), reuse=result.run_id).success
    assert drawn(third) == []


def test_a_random_seed_stays_with_the_pictures_that_are_taken_over(lab, job):
    first = lab().run(job(txt2img=rxp.Txt2ImgConfig(prompt="a", images=2)))
    second = lab()
    assert second.run(job(txt2img=rxp.Txt2ImgConfig(prompt="a", images=2)), reuse=first.run_id).success
    assert drawn(second) == []


def test_a_pool_continues_what_one_of_its_kind_began(lab, job):
    """And the other way round; another kind draws anew."""
    part = lab(stop_at=5).run(job())
    store = lab().executor.store
    members = [Painter(), Painter()]
    pool = rxp.PipelineRunner(PoolBackend(members), store=store)
    assert pool.resume(part.run_id).success
    assert sum(len(member.drawn) for member in members) == 7
    other = Painter()
    other.name = "another"
    rxp.PipelineRunner(other, store=store).resume(part.run_id)
    assert len(other.drawn) == 12


# -- what a killed process leaves --------------------------------------------------------------------------------------


@pytest.mark.sampled(3)
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and forks of POSIX")
@pytest.mark.parametrize("at", range(1, 10))
def test_what_a_process_was_killed_over_is_gone_once_the_run_is_resumed(job, tmp_path, at):
    """At each of the first durable steps: the trial of the folder, a torn file, a picture that was not recorded."""
    crashes.killed_run(tmp_path, Painter, at=at, config=job(metadata={"run_id": "night"}))
    runner = rxp.PipelineRunner(Painter(), store=tmp_path / "runs.sqlite3")
    assert (runner.resume("night") if runner.executor.store.runs() else runner.run(job())).success
    assert runner.executor.store.close(10)
    assert [name for name in pictures(tmp_path) if "/." in name] == []
    assert len(pictures(tmp_path)) == 12


def test_what_failed_before_it_drew_anything_hides_no_run_that_was_stopped(lab, job):
    """As a run at a wrong address does; alone it is still the one to resume."""
    failed_first = lab(stop_at=0).run(job())
    store = lab().executor.store
    store.close(10)
    assert store.latest(unfinished=True).run_id == failed_first.run_id

    stopped = lab(stop_at=5).run(job())
    failed_last = lab(stop_at=0).run(job())
    store.close(10)

    assert (store.latest(unfinished=True).run_id, store.latest().run_id) == (stopped.run_id, failed_last.run_id)
