"""Plans: pure, the same for the same config, each stage knowing what it draws with; what cannot work is refused."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rxpipe.chains import build_chain
from rxpipe.config import (
    AdetailerConfig,
    AdetailerUnit,
    CustomConfig,
    HiresConfig,
    Img2ImgConfig,
    PipelineConfig,
    RefinerConfig,
    RunSettings,
    Txt2ImgConfig,
    UpscaleConfig,
)
from rxpipe.errors import PlanError
from rxpipe.plan import (
    AdetailerStageExecution,
    GenerationSettings,
    StageExecution,
    StageExecutionPlan,
    StageType,
    build_stage_execution_plan,
    plan_stages,
)

ALL = {"txt2img": Txt2ImgConfig, "img2img": Img2ImgConfig, "adetailer": AdetailerConfig, "upscale": UpscaleConfig}
PHOTO = ("photo.png",)


def plan_of(*names, **settings):
    """Return the plan of a config with the sections *names*."""
    return build_stage_execution_plan(PipelineConfig(**{name: ALL[name]() for name in names}, **settings))


def row(*sections, **settings):
    """Return the plan of any row of sections."""
    return plan_stages(sections, RunSettings(**settings))


def custom(name="mark"):
    return CustomConfig(name=name, kind="function")


# -- which stages -----------------------------------------------------------------------------------------------------


def test_txt2img_alone_is_one_stage_that_needs_no_picture():
    """Statement 13."""
    plan = plan_of("txt2img")
    assert plan.stage_types == ("txt2img",)
    assert not plan.stages[0].requires_input_image


def test_img2img_alone_needs_an_input_picture():
    """Statement 13."""
    plan = plan_of("img2img")
    assert plan.stage_types == ("img2img",)
    assert plan.stages[0].requires_input_image


def test_txt2img_and_upscale():
    """Statement 13."""
    assert plan_of("txt2img", "upscale").stage_types == ("txt2img", "upscale")


@pytest.mark.parametrize("names", [n for k in range(5) for n in itertools.combinations(ALL, k)], ids="+".join)
def test_enabled_sections_come_in_one_order_with_indices_without_a_gap(names):
    """Statement 14, for all sixteen choices; a disabled section is as good as an absent one."""
    off = {name: kind(enabled=False) for name, kind in ALL.items() if name not in names}
    plan = build_stage_execution_plan(PipelineConfig(**{n: ALL[n]() for n in names}, **off, input=PHOTO))
    assert plan == plan_of(*names, input=PHOTO)
    assert plan.stage_types == names
    assert [stage.stage_index for stage in plan.stages] == list(range(len(names)))
    assert [stage.requires_input_image for stage in plan.stages] == [name != "txt2img" for name in names]


def test_adetailer_is_a_stage_of_its_own_type():
    """Statement 15; between generation and upscale."""
    plan = plan_of(*ALL)
    assert [type(stage) for stage in plan.stages] == [
        StageExecution, StageExecution, AdetailerStageExecution, StageExecution,
    ]  # fmt: skip
    assert plan.stages[2].stage_type == StageType.ADETAILER
    assert "adetailer" not in plan_of("txt2img", "img2img", "upscale").stage_types


def test_stage_types_are_their_names():
    """As they stand in events and files."""
    assert [str(kind) for kind in StageType] == list(ALL)
    assert StageType.TXT2IMG == "txt2img"


def test_refiner_and_hires_are_settings_and_never_stages():
    """Statement 20."""
    generation = Txt2ImgConfig(hires=HiresConfig(scale=1.5), refiner=RefinerConfig(checkpoint="xl"))
    plan = build_stage_execution_plan(PipelineConfig(txt2img=generation))
    assert plan.stage_types == ("txt2img",)
    assert plan.stages[0].payload == {"hires": {"scale": 1.5}, "refiner": {"checkpoint": "xl"}}


# -- purity -----------------------------------------------------------------------------------------------------------


def test_the_same_config_gives_an_equal_plan_and_is_not_changed():
    """Statement 16."""
    config = PipelineConfig(
        txt2img=Txt2ImgConfig(prompt="a", override_settings={"x": [1]}), adetailer=AdetailerConfig()
    )
    before = copy.deepcopy(config)
    assert build_stage_execution_plan(config) == build_stage_execution_plan(config)
    assert config == before


def test_a_payload_is_what_was_wished_and_no_default_is_invented():
    """Statement 16; the switches of the pipeline itself are no part of it."""
    config = PipelineConfig(txt2img=Txt2ImgConfig(prompt="a", steps=20, on_error="stop", enabled=True))
    plan = build_stage_execution_plan(config)
    assert plan.stages[0].payload == {"prompt": "a", "steps": 20}
    assert plan.stages[0].config is not None
    assert plan.stages[0].config == config.txt2img


def test_a_plan_is_frozen():
    """Nor are its stages changed."""
    plan = plan_of("txt2img")
    with pytest.raises(ValidationError, match="frozen"):
        plan.images = 5
    with pytest.raises(ValidationError, match="frozen"):
        plan.stages[0].seed = 5


def test_a_plan_survives_json():
    """With every stage of the type it had."""
    plan = plan_of(*ALL, metadata={"run_id": "r1", "pack": "p"}, out=None)
    assert StageExecutionPlan.model_validate_json(plan.model_dump_json()) == plan
    custom_plan = row(Txt2ImgConfig(), custom(), UpscaleConfig())
    assert StageExecutionPlan.model_validate_json(custom_plan.model_dump_json()) == custom_plan


def test_run_id_and_one_click_action_come_from_the_metadata():
    """Statement 21; unset stays unset, as the plan is pure."""
    plan = plan_of("txt2img", metadata={"run_id": "r1", "one_click_action": "again", "other": 1})
    assert (plan.run_id, plan.one_click_action) == ("r1", "again")
    nameless = plan_of("txt2img")
    assert (nameless.run_id, nameless.one_click_action) == (None, None)


def test_the_plan_says_nothing_of_variants():
    """Statement 21."""
    assert not [name for name in StageExecutionPlan.model_fields if "variant" in name]


def test_the_settings_of_the_run_travel_in_the_plan():
    """How to run is decided with what to run."""
    plan = plan_of("txt2img", order="image", save="final", timeout_s=5.0, retry={"attempts": 1})
    assert (plan.settings.order, plan.settings.save, plan.settings.timeout_s) == ("image", "final", 5.0)
    assert plan.settings.retry.attempts == 1
    assert type(plan.settings) is RunSettings


# -- images and seeds -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plan", "images"),
    [
        pytest.param(row, 0, id="no stage"),
        pytest.param(lambda: row(Txt2ImgConfig(images=5), UpscaleConfig()), 5, id="txt2img"),
        pytest.param(lambda: row(Img2ImgConfig(images=3), input=["a", "b"]), 6, id="variants of each input"),
        pytest.param(lambda: row(UpscaleConfig(), input=["a", "b"]), 2, id="one of each input"),
        pytest.param(lambda: row(custom(), Txt2ImgConfig(enabled=False), input=["a"]), 1, id="a function on inputs"),
        pytest.param(lambda: row(Txt2ImgConfig(enabled=False), UpscaleConfig(), input=["a"]), 1, id="disabled"),
    ],
)  # fmt: skip
def test_how_many_images_are_planned(plan, images):
    """Those of the first stage, or of the inputs."""
    assert plan().images == images


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2357560774, 2**63 - 1])
def test_a_given_seed_is_kept_however_large(seed):
    """For the run and for the stage."""
    plan = row(Txt2ImgConfig(seed=seed), UpscaleConfig())
    assert (plan.seed, plan.stages[0].seed, plan.stages[1].seed) == (seed, seed, None)


def test_a_seed_of_minus_one_stays_unset():
    """The executor draws it, once per run."""
    plan = row(Txt2ImgConfig(), Img2ImgConfig(), AdetailerConfig())
    assert plan.seed is None
    assert [stage.seed for stage in plan.stages] == [None, None, None]


def test_a_stage_may_have_a_seed_of_its_own():
    """Which is not the run's unless it is the first."""
    plan = row(Txt2ImgConfig(seed=1), Img2ImgConfig(seed=2), AdetailerConfig(seed=3))
    assert plan.seed == 1
    assert [stage.seed for stage in plan.stages] == [1, 2, 3]


def test_a_narrowed_stage_is_the_same_for_one_image():
    """The stage itself stays what it was, and of its own type."""
    stage = plan_of("txt2img", "adetailer").stages[1]
    narrowed = stage.for_image(image_index=3, seed=9)
    assert (narrowed.image_index, narrowed.seed) == (3, 9)
    assert (stage.image_index, stage.seed) == (None, None)
    assert isinstance(narrowed, AdetailerStageExecution)
    assert narrowed.model_copy(update={"image_index": None, "seed": None}) == stage


# -- inheritance ------------------------------------------------------------------------------------------------------


def test_what_a_section_does_not_say_is_as_in_the_generation_stage_before_it():
    """Prompt, sampler and checkpoint; its own word goes first."""
    first = Txt2ImgConfig(
        prompt="a fox", negative_prompt="blurry", steps=30, cfg_scale=6, sampler_name="Euler a", model="xl", clip_skip=2
    )
    plan = row(first, Img2ImgConfig(steps=12, prompt=""), UpscaleConfig())
    assert plan.stages[1].generation == GenerationSettings(
        prompt="", negative_prompt="blurry", steps=12, cfg_scale=6, sampler_name="Euler a", model="xl", clip_skip=2
    )
    assert plan.stages[2].generation == plan.stages[1].generation


def test_a_size_is_never_inherited():
    """Later stages work at the size of the picture that comes in."""
    plan = row(Txt2ImgConfig(width=768, height=512), Img2ImgConfig(), Img2ImgConfig(width=64), UpscaleConfig())
    assert [(s.generation.width, s.generation.height) for s in plan.stages] == [
        (768, 512), (None, None), (64, None), (None, None),
    ]  # fmt: skip


def test_what_adetailer_was_told_is_not_handed_on():
    """The prompt and the steps of a face are none of the upscaler's business, nor of a later img2img's."""
    face = AdetailerConfig(prompt="a freckled face", steps=9, model="faces", cfg_scale=3)
    plan = row(
        Txt2ImgConfig(prompt="a fox", steps=30, model="xl"), face, UpscaleConfig(mode="img2img"), Img2ImgConfig()
    )
    detailed, upscaled, redrawn = (stage.generation for stage in plan.stages[1:])
    assert (detailed.prompt, detailed.steps, detailed.model) == ("a freckled face", 9, "faces")
    assert (upscaled.prompt, upscaled.steps, upscaled.model) == ("a fox", 30, "xl")
    assert redrawn == upscaled


def test_an_empty_model_means_what_is_loaded_or_inherited():
    """Never a missing field (statement 17)."""
    plan = row(Txt2ImgConfig(model=""), Img2ImgConfig(model="xl"), Img2ImgConfig(model="", vae=""))
    assert [stage.generation.model for stage in plan.stages] == [None, "xl", "xl"]


def test_a_custom_stage_knows_what_was_drawn_and_changes_none_of_it():
    """Its name is no prompt."""
    plan = row(Txt2ImgConfig(prompt="a fox"), custom(), UpscaleConfig())
    assert [stage.generation.prompt for stage in plan.stages] == ["a fox"] * 3
    assert plan.stage_types == ("txt2img", "mark", "upscale")


# -- order ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adetailer", "groups"),
    [
        (AdetailerConfig(), [0, 0, 0]),
        (AdetailerConfig(checkpoint="a"), [0, 0, 0]),
        (AdetailerConfig(checkpoint="faces"), [0, 1, 2]),
        (AdetailerConfig(units=[AdetailerUnit(checkpoint="hands")]), [0, 1, 2]),
    ],
)
def test_auto_order_parts_an_adetailer_that_draws_with_a_checkpoint_of_its_own(adetailer, groups):
    """Image by image it would be loaded, and the other again, for every image."""
    row = [Txt2ImgConfig(model="a"), adetailer, UpscaleConfig()]
    assert [stage.group for stage in plan_stages(row, RunSettings(order="auto")).stages] == groups


@pytest.mark.parametrize(
    ("order", "groups"), [("stage", [0, 1, 2, 3, 4]), ("image", [0, 0, 0, 0, 0]), ("auto", [0, 0, 1, 2, 2])]
)
def test_order_says_which_stages_go_image_by_image(order, groups):
    """auto: those in a row that share a checkpoint."""
    sections = (Txt2ImgConfig(model="a"), UpscaleConfig(), Img2ImgConfig(model="b"), Img2ImgConfig(model="a"), custom())
    plan = row(*sections, order=order)
    assert [stage.group for stage in plan.stages] == groups


# -- what cannot work -------------------------------------------------------------------------------------------------


def refused(make):
    """Return what *make* is refused with."""
    with pytest.raises(PlanError) as raised:
        make()
    return str(raised.value)


def test_no_stage_is_an_empty_plan_that_cannot_run():
    """Statement 18: the builder gives it, the check refuses it."""
    plan = plan_of()
    assert (plan.stages, plan.images) == ((), 0)
    assert refused(plan.check) == (
        "No pipeline stages enabled. Enable at least one of txt2img, img2img, adetailer, upscale."
    )


@pytest.mark.parametrize("names", [("adetailer",), ("adetailer", "upscale")], ids="+".join)
def test_adetailer_with_nothing_to_detail_is_refused_by_the_builder(names):
    """Statement 19."""
    assert refused(lambda: plan_of(*names)) == (
        f"adetailer (stage 1 of {len(names)}) has nothing to detail: no generation stage before it and no input "
        "picture. Put txt2img or img2img before it or give input=[...]."
    )
    plan_of(*names, input=PHOTO).check()


@pytest.mark.parametrize("name", ["img2img", "upscale"])
def test_a_chain_without_a_picture_to_start_from_cannot_run(name):
    """Statement 19; with one it is legal."""
    assert refused(plan_of(name).check) == (
        f"{name} (stage 1 of 1) has no picture to start from. "
        "Put txt2img before it or give input=[...] (on the command line: --input PHOTO)."
    )
    plan_of(name, input=PHOTO).check()


def test_pictures_that_nobody_would_use_are_refused():
    """Rather than silently left aside."""
    message = refused(plan_of("txt2img", "upscale", input=("a.png", "b.png")).check)
    assert message.startswith("txt2img uses no input picture, so the 2 input picture(s) would not be used.")


LARGEST = 2**64 - 1


@pytest.mark.parametrize(
    ("sections", "settings"),
    [
        ({"txt2img": {"seed": LARGEST, "images": 2}}, {}),
        ({"txt2img": {"seed": 1, "images": 4}, "img2img": {"seed": LARGEST - 2}}, {}),
        ({"img2img": {"seed": LARGEST}}, {"input": ("a.png", "b.png")}),
        ({"txt2img": {"seed": LARGEST - 1}}, {"variants": {"sweep": {"cfg_scale": [1, 2, 3]}, "seeds": "counted"}}),
        ({"txt2img": {"images": 2}}, {"variants": {"sweep": {"txt2img.seed": [1, LARGEST]}}}),
    ],
)  # fmt: skip
def test_a_seed_that_counts_up_beyond_the_largest_is_refused_before_the_run(sections, settings):
    """No server takes it; of a stage's own seed, and with variants too."""
    made = build_chain(PipelineConfig(**sections, **settings))
    message = refused(lambda: made.plan.check(made.images))
    assert f"count up to {LARGEST + 1}; the largest seed is {LARGEST}. Use a smaller seed or fewer images." in message


@pytest.mark.parametrize(
    ("sections", "settings"),
    [
        ({"txt2img": {"seed": LARGEST}}, {}),
        ({"txt2img": {"seed": LARGEST - 1, "images": 2}}, {}),
        ({"txt2img": {"seed": LARGEST, "images": 3}}, {"variants": {"sweep": {"cfg_scale": [1]}, "seeds": "fixed"}}),
        ({"txt2img": {"seed": LARGEST}}, {"variants": {"sweep": {"cfg_scale": [1, 2, 3]}}}),
    ],
)
def test_the_largest_seed_itself_is_a_seed(sections, settings):
    """Where nothing counts up beyond it."""
    made = build_chain(PipelineConfig(**sections, **settings))
    made.plan.check(made.images)


def test_txt2img_behind_another_stage_is_refused():
    """It would throw away what was drawn; nothing is re-sorted."""
    assert refused(lambda: row(UpscaleConfig(), custom(), Txt2ImgConfig(), input=PHOTO)) == (
        "txt2img (stage 3 of 3) would throw away the pictures before it. Put txt2img first."
    )
    assert row(UpscaleConfig(), Txt2ImgConfig(enabled=False), input=PHOTO).stage_types == ("upscale",)


def test_variants_are_for_the_first_stage_only():
    """A later img2img redraws each picture once."""
    assert refused(lambda: row(Txt2ImgConfig(), Img2ImgConfig(images=3))) == (
        "img2img (stage 2 of 2) asks for 3 variants of each picture. "
        "Only the first stage can; set txt2img.images instead."
    )


@given(
    st.lists(
        st.sampled_from([Txt2ImgConfig(images=2), Img2ImgConfig(), Img2ImgConfig(images=2), AdetailerConfig(),
                         UpscaleConfig(), UpscaleConfig(enabled=False), custom()]),
        max_size=5,
    ),
    st.sampled_from(["stage", "image", "auto"]),
    st.sampled_from([(), ("a.png",), ("a.png", "b.png")]),
)  # fmt: skip
def test_any_row_of_stages_is_planned_in_its_order_or_refused(sections, order, inputs):
    """Never re-sorted, never another exception; groups rise without a gap; what passes the check has images."""
    try:
        plan = row(*sections, order=order, input=inputs)
        plan.check()
    except PlanError:
        return
    assert [stage.config for stage in plan.stages] == [section for section in sections if section.enabled]
    groups = [stage.group for stage in plan.stages]
    assert groups[0] == 0
    assert all(after - before in {0, 1} for before, after in itertools.pairwise(groups))
    assert plan.images >= 1
