"""Chains: stages composed in code, as a config says them in data; what cannot work is refused where it is written."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import pytest
from PIL import Image
from reactivex import operators as ops

import rxpipe as rxp
from rxpipe.chains import Chain, build_chain, chain, seeds, sources, with_settings
from rxpipe.config import AdetailerConfig, Img2ImgConfig, PipelineConfig, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BadImage, ConfigError, PlanError
from rxpipe.plan import build_stage_execution_plan
from rxpipe.stages import OperatorStage, Stage


@rxp.image_stage
def watermark(artifact, text="me"):  # noqa: ARG001  never called here
    """Give the artifact as it is."""
    return artifact


@rxp.image_stage(name="Own name", on_error="stop")
def renamed(artifact):
    """Give the artifact as it is."""
    return artifact


@pytest.fixture
def photos(tmp_path):
    """Two pictures on disk."""
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in paths:
        Image.new("RGB", (8, 8)).save(path)
    return paths


def refused(make, kind=PlanError):
    """Return what *make* is refused with."""
    with pytest.raises(kind) as raised:
        make()
    return str(raised.value)


# -- composing --------------------------------------------------------------------------------------------------------


def test_a_chain_is_its_stages_in_the_order_given():
    """Built-in ones, functions, and plain Rx operators, which are named after their function."""
    made = chain(
        rxp.txt2img(prompt="x", images=8), rxp.keep_best(2, by=rxp.sharpness), watermark("you"), watermark, renamed(),
        ops.take(1), lambda source: source, rxp.upscale(),
    )  # fmt: skip
    assert made.plan.stage_types == (
        "txt2img", "keep_best", "watermark", "watermark", "Own name", "take", "operator", "upscale",
    )  # fmt: skip
    assert all(isinstance(stage, Stage) for stage in made.stages)
    assert isinstance(made.stages[5], OperatorStage)
    assert made.plan.images == 8


@pytest.mark.parametrize(
    ("operator", "name"),
    [
        (ops.take(1), "take"),
        (ops.filter(lambda _: True), "filter"),
        (ops.distinct(), "distinct"),
        (ops.take_last(2), "take_last"),
        (functools.partial(print), "operator"),
        (lambda source: source, "operator"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_rx_operator_is_named_after_its_function(operator, name):
    """As events and logs show it."""
    assert chain(rxp.txt2img(), operator).plan.stage_types == ("txt2img", name)


def test_any_order_that_makes_sense_is_kept():
    """Nothing is re-sorted."""
    made = chain(rxp.upscale(), rxp.adetailer(), rxp.img2img(), rxp.adetailer(), input=["a.png"])
    assert made.plan.stage_types == ("upscale", "adetailer", "img2img", "adetailer")
    made.plan.check()


def test_what_a_config_says_in_data_a_chain_says_in_code():
    """The same plan."""
    config = PipelineConfig(
        txt2img=Txt2ImgConfig(prompt="x", images=2), adetailer=AdetailerConfig(), upscale=UpscaleConfig(scale=3),
        order="image", out=None,
    )  # fmt: skip
    made = chain(rxp.txt2img(prompt="x", images=2), rxp.adetailer(), rxp.upscale(scale=3), order="image", out=None)
    assert made.plan == build_chain(config).plan == build_stage_execution_plan(config)


def test_a_disabled_stage_is_left_out_of_the_plan():
    """As in a config."""
    assert chain(rxp.txt2img(), rxp.upscale(enabled=False)).plan.stage_types == ("txt2img",)


def test_a_chain_is_immutable():
    """A changed one is another."""
    made = chain(rxp.txt2img())
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.stages = ()


def test_its_repr_shows_the_settings_of_each_stage():
    """And nothing that is a default."""
    assert repr(rxp.txt2img(prompt="a fox", steps=3)) == "<stage txt2img(prompt='a fox', steps=3)>"
    assert repr(watermark("you")).startswith("<stage watermark(")


# -- refusing ---------------------------------------------------------------------------------------------------------

ALLOWED = "Allowed: stages, functions under @image_stage, Rx operators on artifacts."


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("upscale", "'upscale'"),
        (None, "None"),
        ([rxp.txt2img()], "[<stage txt2img()>]"),
        (UpscaleConfig(), "a UpscaleConfig"),
        (chain(rxp.txt2img()), "a Chain"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_stage_is_refused_with_what_is(part, shown):
    """In one short line."""
    assert refused(lambda: chain(rxp.txt2img(), part)) == f"a chain was given {shown}. {ALLOWED}"


@pytest.mark.parametrize(
    "maker",
    [rxp.txt2img, rxp.img2img, rxp.adetailer, rxp.upscale, rxp.keep_best, rxp.keep_if, rxp.expand, rxp.operator_stage,
     rxp.image_stage],
    ids=lambda maker: maker.__name__,
)  # fmt: skip
def test_a_function_that_makes_stages_is_not_taken_for_an_operator(maker):
    """`chain(txt2img)` forgets the brackets; every function looks like an Rx operator."""
    name = maker.__name__
    assert refused(lambda: chain(maker)) == (
        f"a chain was given the function {name} itself. Call it: {name}(...) makes the stage."
    )


def test_an_impossible_order_is_refused_where_it_is_written():
    """Before any run."""
    assert refused(lambda: chain(rxp.upscale(), rxp.txt2img())).startswith("txt2img (stage 2 of 2) would throw away")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"order": "x"}, "order: got 'x', should be 'stage', 'image' or 'auto'"),
        ({"ordr": "image"}, "ordr: unknown key; did you mean 'order'?"),
        ({"retry": {"attempts": 0}}, "retry.attempts: got 0, should be at least 1"),
        ({"txt2img": {}}, "txt2img: unknown key; allowed: order, chunk, input, out, save, format"),
    ],
    ids=str,
)
def test_wrong_settings_are_a_config_error(settings, message):
    """Reported as in a config."""
    assert refused(lambda: chain(rxp.txt2img(), **settings), ConfigError).startswith(message)


def test_a_chain_of_nothing_cannot_run():
    """Its plan is empty, and the check says so."""
    assert refused(chain().plan.check).startswith("No pipeline stages enabled")


# -- build_chain, with_settings ---------------------------------------------------------------------------------------


def test_build_chain_takes_a_config_a_plan_or_a_chain():
    """A chain as it is; a plan again as the same plan."""
    made = chain(rxp.txt2img(prompt="x"), rxp.upscale(), order="auto")
    assert build_chain(made) is made
    assert build_chain(made.plan).plan == made.plan


def test_no_plan_can_carry_a_function():
    """A stage of the user's own is composed in code."""
    assert refused(lambda: build_chain(chain(rxp.txt2img(), watermark()).plan)) == (
        "watermark is a stage of your own. Compose it in code with chain(...)."
    )


def test_build_chain_refuses_what_the_builder_refuses():
    """Adetailer with nothing to detail."""
    assert "has nothing to detail" in refused(lambda: build_chain(PipelineConfig(adetailer=AdetailerConfig())))


def test_with_settings_changes_what_is_named_and_keeps_the_rest():
    """The stages are the same, the old chain stays what it was."""
    made = chain(rxp.txt2img(), order="image", out="here", retry={"attempts": 2})
    changed = with_settings(made, out=None, save="final")
    assert changed.stages is made.stages
    assert (changed.settings.order, changed.settings.out, changed.settings.save) == ("image", None, "final")
    assert changed.settings.retry.attempts == 2
    assert (made.settings.out, made.settings.save) == (Path("here"), "all")
    assert changed.plan.settings == changed.settings


def test_with_settings_refuses_wrong_ones():
    """As `chain` does."""
    assert refused(lambda: with_settings(chain(rxp.txt2img()), save="some"), ConfigError) == (
        "save: got 'some', should be 'all' or 'final'"
    )


# -- the images that a chain starts from ------------------------------------------------------------------------------


def test_seeds_count_up_from_the_first():
    """What a txt2img stage on its own draws from."""
    seen = []
    seeds(41, 3).subscribe(seen.append)
    assert [(image.id, image.number, image.seed, image.has_picture) for image in seen] == [
        ("seed-1", 1, 41, False), ("seed-2", 2, 42, False), ("seed-3", 3, 43, False),
    ]  # fmt: skip


def test_seeds_are_the_same_for_every_subscriber(marbles):
    """Cold."""
    stream = seeds(1, 2)
    first, second = marbles.expect(stream), marbles.expect(stream)
    first.to_equal(second)
    assert len(first.values) == 2


@pytest.mark.parametrize("seed", [0, 2**31, 2**63 - 1])
def test_planned_images_have_an_id_and_a_seed_each(seed):
    """Seed + i - 1, beyond 64 bits if it must."""
    planned = list(sources(chain(rxp.txt2img(images=3)).plan, "r1", seed))
    assert [(image.id, image.number, image.seed) for image in planned] == [
        ("r1-1", 1, seed), ("r1-2", 2, seed + 1), ("r1-3", 3, seed + 2),
    ]  # fmt: skip


def test_variants_of_every_input_picture_stand_together(photos):
    """Two pictures, three variants of each, each with a seed of its own."""
    plan = build_chain(PipelineConfig(img2img=Img2ImgConfig(images=3), input=photos)).plan
    planned = list(sources(plan, "r1", 10))
    assert [(image.id, image.path, image.seed) for image in planned] == [
        (f"r1-{n}", photos[(n - 1) // 3], 9 + n) for n in range(1, 7)
    ]
    assert all(image.data is None for image in planned)


def test_an_input_that_is_no_picture_is_told_before_anything_runs(tmp_path):
    """Which file, and what is in it; from the runner too, so that no run begins."""
    text = tmp_path / "note.png"
    text.write_text("not a picture")
    wish = PipelineConfig(upscale=UpscaleConfig(), input=[text])
    with pytest.raises(BadImage, match=r"note\.png is none of a known format: it begins with b'not a"):
        list(sources(build_stage_execution_plan(wish), "r", 1))
    executor = rxp.PipelineExecutor(rxp.open_backend())
    with pytest.raises(BadImage, match="Give a PNG"):
        executor.start(wish)
    assert executor.active is None


def test_an_input_that_does_not_exist_is_an_error(tmp_path):
    """With its path."""
    plan = chain(rxp.upscale(), input=[tmp_path / "nowhere.png"]).plan
    assert "nowhere.png: no such file" in refused(lambda: list(sources(plan, "r1", 0)), BadImage)


def test_a_chain_of_nothing_has_no_images():
    """Nor does it look for any."""
    assert list(sources(Chain(()).plan, "r1", 0)) == []
