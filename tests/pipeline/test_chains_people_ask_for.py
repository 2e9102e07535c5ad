"""Ten chains of the kind that people ask for in forums, each of a few lines."""

from __future__ import annotations

import inspect
import threading

import pytest
from instant import Instant
from reactivex import operators as ops

import rxpipe as rxp
from rxpipe.cli.options import RunOptions
from rxpipe.pictures.metadata import read_info

SMALL = {"width": 128, "height": 128, "steps": 2}


@pytest.fixture
def runner():
    return rxp.PipelineRunner(rxp.open_backend("embedded"))


# -- the chains -------------------------------------------------------------------------------------------------------


def best_of_eight_then_upscale():
    return rxp.chain(
        rxp.txt2img("a lighthouse", images=8, seed=1, **SMALL),
        rxp.keep_best(1, by=rxp.sharpness),
        rxp.upscale(scale=2),
        out=None,
    )


def face_fix_only_where_a_face_is():
    return rxp.chain(
        rxp.txt2img("portrait of a woman", images=2, seed=1, width=256, height=256, steps=2),
        rxp.when(rxp.has_face, rxp.adetailer()),
        rxp.upscale(scale=2),
        out=None,
    )


def two_upscalers_side_by_side():
    return rxp.chain(
        rxp.txt2img("a lighthouse", seed=1, **SMALL),
        rxp.tee(rxp.upscale(upscaler="Lanczos"), rxp.upscale(upscaler="Nearest")),
        rxp.grid(3),
        out=None,
    )


def stop_when_three_are_sharp(enough):
    return rxp.chain(
        rxp.txt2img("a lighthouse", images=50, seed=1, **SMALL),
        rxp.keep_if(lambda image: rxp.sharpness(image) > enough),
        ops.take(3),
        order="image",
        out=None,
    )


def approve_before_the_expensive_stage(decisions):
    return rxp.chain(
        rxp.txt2img("a lighthouse", images=3, seed=1, **SMALL), rxp.gate(decisions), rxp.upscale(scale=4), out=None
    )


def a_sweep_with_a_grid():
    return rxp.chain(
        rxp.txt2img("a {red|blue} lighthouse", seed=1, **SMALL),
        variants={"sweep": {"cfg_scale": "5-9 (+2)"}},
        out=None,
    )


def controlnet_by_payload(picture):
    unit = {"image": picture, "module": "canny", "model": "control_v11p_sd15_canny", "weight": 0.8}
    return rxp.chain(
        rxp.txt2img("a house of glass", seed=1, alwayson_scripts={"ControlNet": {"args": [unit]}}),
        rxp.upscale(),
        out=None,
    )


def a_folder_upscaled_under_its_names(folder, out):
    return rxp.chain(rxp.upscale(scale=2), input=rxp.pictures_at([folder]), out=out, name="[input]")


# -- what they give ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_best_of_eight_then_upscale(runner):
    result = runner.run(best_of_eight_then_upscale())
    [best] = result.finished
    drawn = [rxp.sharpness(result.artifact(each)) for each in result.stage_images("txt2img")]
    assert best.scores["sharpness"] == max(drawn)
    assert result.artifact(best).to_image().size == (256, 256)


@pytest.mark.slow
def test_a_face_is_fixed_only_where_one_is(runner):
    result = runner.run(face_fix_only_where_a_face_is())
    assert result.tally.done == 2
    without = rxp.chain(rxp.txt2img("a lighthouse", seed=1, **SMALL), rxp.when(rxp.has_face, rxp.adetailer()), out=None)
    assert runner.run(without).stage_images("adetailer") == ()
    with_face = {record.artifact_id for record in result.stage_images("adetailer")}
    drawn = result.stage_images("txt2img")
    assert with_face == {record.artifact_id for record in drawn if rxp.has_face(result.artifact(record))} != set()


def test_two_upscalers_stand_side_by_side(runner):
    result = runner.run(two_upscalers_side_by_side())
    assert len(result.finished) == 4
    sheet = result.artifact(next(each for each in result.finished if "grid" in each.artifact_id)).to_image()
    assert sheet.width > 2 * sheet.height


def test_it_stops_when_three_are_sharp(runner):
    result = runner.run(stop_when_three_are_sharp(0))
    assert (result.status, result.tally.done) == ("completed", 3)
    assert len(result.stage_images("txt2img")) == 3


def test_a_person_approves_before_the_expensive_stage(runner):
    decisions, waiting = rxp.Decisions(), threading.Event()
    decisions.waiting.subscribe(lambda images: waiting.set() if len(images) == 3 else None)
    run = runner.start(approve_before_the_expensive_stage(decisions))
    assert waiting.wait(30)
    decisions.accept(2)
    decisions.reject()
    assert run.wait(30)
    assert [each.artifact_id[-1] for each in run.result.finished] == ["2"]


def test_a_sweep_is_drawn_as_a_grid(runner):
    result = runner.run(a_sweep_with_a_grid())
    assert len(result.finished) == 6
    grid = rxp.variant_grid(result)
    assert grid.width > 2 * 128
    assert grid.height > 3 * 128


def test_controlnet_goes_through_the_payload():
    backend = Instant()
    rxp.PipelineRunner(backend).run(controlnet_by_payload("aGk="))
    assert backend.rendered[0].config.alwayson_scripts["ControlNet"]["args"][0]["module"] == "canny"


def test_a_folder_of_photos_is_upscaled_under_its_names(runner, tmp_path):
    photos = tmp_path / "photos"
    runner.run(rxp.chain(rxp.txt2img("a", images=2, **SMALL), out=photos / "x", name="holiday [number]"))
    for number, path in enumerate(sorted((photos / "x").rglob("*.png"))):
        path.rename(photos / f"holiday {number}.png")
    result = runner.run(a_folder_upscaled_under_its_names(photos, tmp_path / "out"))
    assert [each.path.name for each in result.images] == ["00000-holiday 0.png", "00001-holiday 1.png"]
    assert read_info(result.images[0].path).lineage.origin == "holiday 0.png"


def test_prompts_come_from_a_csv(runner, tmp_path):
    (tmp_path / "list.csv").write_text('prompt,seed,steps\na mill,7,2\n"a house, red",8,3\n')
    runs = RunOptions(
        prompts_file=tmp_path / "list.csv", size="128x128", stages=["txt2img"], settings={"out": None}
    ).runs()
    results = [runner.run(each.config) for each in runs]
    assert [result.images[0].seed for result in results] == [7, 8]
    assert [result.plan.stages[0].config.steps for result in results] == [2, 3]


def test_a_stage_of_another_package_from_toml():
    """In test_registered.py, with the package itself; here that a file has room for it."""
    config = rxp.PipelineConfig.from_mapping({"txt2img": {"prompt": "a"}, "custom": {"watermark": {"text": "me"}}})
    assert rxp.build_chain(config).plan.stage_types == ("txt2img", "watermark")


CHAINS = [
    *(best_of_eight_then_upscale, face_fix_only_where_a_face_is, two_upscalers_side_by_side),
    *(stop_when_three_are_sharp, approve_before_the_expensive_stage, a_sweep_with_a_grid, controlnet_by_payload),
    a_folder_upscaled_under_its_names,
]


@pytest.mark.parametrize("chain", CHAINS, ids=lambda each: each.__name__)
def test_a_chain_has_less_than_fifteen_lines(chain):
    assert len(inspect.getsource(chain).splitlines()) < 15
