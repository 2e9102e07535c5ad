"""What changes a picture of a local model: prompts, weights, clip skip, LoRA, VAE, hires, refiner, samplers."""

import inspect

import diffusers
import numpy as np
import pytest
import torch
from pixels import TXT2IMG, drawn, output, pixels

import rxpipe as rxp
from rxpipe.backends.base import Output
from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.backends.diffusers.samplers import SAMPLERS, SCHEDULES, choose
from rxpipe.errors import BackendRejected
from rxpipe.plan import build_stage_execution_plan


@pytest.fixture(params=["sd", "xl"], scope="module")
def backend(request, models):
    """One of each family, kept for the module."""
    with DiffusersBackend(str(models / request.param), device="cpu") as opened:
        yield opened


def differ(one, other):
    return not np.array_equal(one, other)


def check(backend, **settings):
    """The warnings about a plan of one txt2img stage."""
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(**{**TXT2IMG, **settings}))
    return list(backend.check(build_stage_execution_plan(config)))


# -- prompts ----------------------------------------------------------------------------------------------------------


def test_a_plain_prompt_draws_what_the_pipeline_of_diffusers_draws(backend):
    """To the pixel: our own embeddings are those of the model."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(backend._file.path), local_files_only=True)
    image = pipe(
        "a cat", negative_prompt="rain", num_inference_steps=6, guidance_scale=5.0, width=64, height=64,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(drawn(backend, negative_prompt="rain"), np.asarray(image, np.int16))


def test_weights_change_the_picture_and_a_weight_of_one_does_not(backend):
    plain = drawn(backend, prompt="a red cat")
    assert differ(plain, drawn(backend, prompt="a (red:1.5) cat"))
    assert differ(drawn(backend, prompt="a (red:1.5) cat"), drawn(backend, prompt="a (red:0.5) cat"))
    assert differ(plain, drawn(backend, prompt="a [red] cat"))
    assert not differ(plain, drawn(backend, prompt="(a red cat:1.0)"))
    assert not differ(drawn(backend, prompt="((red)) cat"), drawn(backend, prompt="(red:1.21) cat"))


def test_words_beyond_75_tokens_count(backend):
    """Where the pipeline of diffusers cuts them off; negative prompts of another length too."""
    long = "a" * 80
    assert differ(drawn(backend, prompt=f"{long} b"), drawn(backend, prompt=f"{long} c"))
    assert drawn(backend, prompt="a cat", negative_prompt=long).shape == (64, 64, 3)
    assert differ(drawn(backend, prompt="a BREAK b"), drawn(backend, prompt="a b"))


def test_a_chunk_ends_at_a_comma_near_its_end(backend):
    """As in A1111: words are not torn in two."""
    head = "a" * 70
    assert differ(drawn(backend, prompt=f"{head},{'b' * 8}"), drawn(backend, prompt=f"{head}b{'b' * 8}"))
    assert not differ(drawn(backend, prompt=f"{head},{'b' * 8}"), drawn(backend, prompt=f"{head}, BREAK {'b' * 8}"))


def test_clip_skip_changes_the_picture_and_the_usual_layer_does_not(backend):
    """1 is the usual one of SD, 2 that of SDXL, which never takes the last."""
    usual = 2 if backend.kind.endswith("xl") else 1
    plain = drawn(backend)
    assert not differ(plain, drawn(backend, clip_skip=usual))
    assert differ(plain, drawn(backend, clip_skip=usual + 1))
    assert not differ(plain, drawn(backend))


def test_no_guidance_needs_no_negative_prompt(backend):
    assert not differ(drawn(backend, cfg_scale=1.0), drawn(backend, cfg_scale=1.0, negative_prompt="rain"))


def test_what_the_prompt_cannot_say_is_a_warning(backend):
    assert check(backend, prompt="a cat") == []
    assert any("changes no prompt" in one for one in check(backend, prompt="a [cat:dog:0.5]"))
    assert any("AND is taken as BREAK" in one for one in check(backend, prompt="a cat AND a dog"))
    assert any("LoRA in the negative" in one for one in check(backend, negative_prompt="<lora:style:1>"))


# -- LoRA -------------------------------------------------------------------------------------------------------------


def test_a_lora_changes_the_picture_and_leaves_no_trace(shared):
    """By its weight; gone from the next picture to the byte."""
    plain = drawn(shared)
    strong = drawn(shared, prompt="a cat<lora:style:1>")
    assert differ(plain, strong)
    assert differ(strong, drawn(shared, prompt="a cat<lora:style:0.4>"))
    assert not differ(plain, drawn(shared, prompt="a cat<lora:style:0>"))
    assert not differ(strong, drawn(shared, prompt="a cat<lora:style:1>"))
    assert not differ(plain, drawn(shared))


def test_a_lora_that_is_not_there_or_does_not_fit_is_refused(shared, models):
    with pytest.raises(BackendRejected, match=r"Did you mean 'style'"):
        check(shared, prompt="<lora:stile:1>")
    with pytest.raises(BackendRejected, match=r"lora .*vae.bright.*: it is a vae"):
        check(shared, prompt=f"<lora:{models / 'vae' / 'bright.safetensors'}:1>")
    with DiffusersBackend("xl", device="cpu") as other, pytest.raises(BackendRejected, match="does not fit xl"):
        drawn(other, prompt="a cat<lora:style:1>")


# -- models and VAEs --------------------------------------------------------------------------------------------------


def test_a_single_file_draws_what_its_folder_draws(models, shared, tmp_path):
    """With its configs named, or beside it."""
    with DiffusersBackend("onefile", device="cpu", config=str(models / "sd")) as backend:
        assert not differ(drawn(backend), drawn(shared))
    for name in ("onefile.safetensors", "sd"):
        (tmp_path / name.replace("sd", "onefile")).symlink_to(models / name)
    with DiffusersBackend(str(tmp_path / "onefile.safetensors"), device="cpu") as backend:
        assert not differ(drawn(backend), drawn(shared))


def test_another_model_is_loaded_once_and_draws_another_picture():
    """Two are kept in memory."""
    with DiffusersBackend("sd", device="cpu") as backend:
        one, other = drawn(backend), drawn(backend, model="other")
        assert differ(one, other)
        assert not differ(one, drawn(backend))
        assert not differ(other, drawn(backend, model="other"))
        assert not differ(one, drawn(backend, model="sd"))
        assert backend.loads == 2
        drawn(backend, model="hole")
        assert backend.loads == 3


def test_a_vae_changes_the_picture_and_its_own_comes_back(shared):
    plain = drawn(shared)
    assert differ(plain, drawn(shared, vae="bright"))
    assert not differ(plain, drawn(shared))


# -- hires and refiner ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("upscaler", ["Latent", "Latent (nearest-exact)", "Latent (bicubic antialiased)", "Lanczos"])
def test_hires_draws_at_the_larger_size_in_two_passes(backend, upscaler):
    hires = rxp.HiresConfig(upscaler=upscaler, scale=1.5, steps=4, denoising_strength=0.5)
    section = rxp.Txt2ImgConfig(**TXT2IMG, hires=hires)
    one = pixels(output(backend, section).data)
    assert one.shape == (96, 96, 3)
    more = hires.model_copy(update={"denoising_strength": 0.9})
    assert differ(one, pixels(output(backend, section.model_copy(update={"hires": more})).data))
    exact = hires.model_copy(update={"resize_x": 128, "resize_y": 64})
    assert pixels(output(backend, section.model_copy(update={"hires": exact})).data).shape == (64, 128, 3)


def test_the_second_pass_takes_its_own_prompt_sampler_and_model(shared):
    usual = {"upscaler": "Latent", "scale": 1.5, "steps": 4, "denoising_strength": 0.7}
    plain = drawn(shared, hires=usual)
    for own in ({"prompt": "a dog"}, {"sampler_name": "Euler"}, {"checkpoint": "other"}, {"cfg_scale": 9.0}):
        assert differ(plain, drawn(shared, hires={**usual, **own})), own
    assert not differ(plain, drawn(shared, hires=usual))


def test_the_refiner_takes_over_where_it_is_asked_to():
    """For both families; at the end it changes nothing, at the beginning nearly all is its own."""
    for name, refiner in (("sd", "other"), ("xl", "xl-refiner")):
        with DiffusersBackend(name, device="cpu") as backend:
            plain = drawn(backend)
            late, early = (drawn(backend, refiner={"checkpoint": refiner, "switch_at": at}) for at in (0.8, 0.2))
            assert differ(plain, late)
            assert differ(late, early)
            assert not differ(plain, drawn(backend, refiner={"checkpoint": refiner, "switch_at": 1.0}))
            assert not differ(plain, drawn(backend)), "its own parts are back"
            settings = output(backend, rxp.Txt2ImgConfig(**TXT2IMG, refiner={"checkpoint": refiner})).settings
            assert settings["refiner"] == refiner


def test_a_variation_is_mixed_in_by_its_share(shared):
    plain = drawn(shared)
    some, much = (drawn(shared, subseed=9, subseed_strength=share) for share in (0.2, 0.9))
    assert differ(plain, some)
    assert differ(some, much)
    assert not differ(plain, drawn(shared, subseed=9, subseed_strength=0.0))


# -- samplers ---------------------------------------------------------------------------------------------------------

HERE = [name for name, sampler in SAMPLERS.items() if sampler.needs is None]


@pytest.mark.parametrize("name", HERE)
def test_every_sampler_draws_the_same_picture_twice(shared, name):
    """With the schedule that A1111 takes for it."""
    one = drawn(shared, sampler_name=name, steps=7)
    assert not differ(one, drawn(shared, sampler_name=name, steps=7))


def test_each_sampler_takes_just_the_schedules_that_the_table_says():
    """By the signatures of the installed diffusers."""
    for name in HERE:
        sampler = SAMPLERS[name]
        known = inspect.signature(getattr(diffusers, sampler.scheduler).__init__).parameters
        takes = {"sigmas" for _ in [0] if "use_karras_sigmas" in known}
        takes |= {"spacing" for _ in [0] if "timestep_spacing" in known}
        assert takes == sampler.takes, name
        assert set(sampler.options) <= set(known), name


@pytest.mark.parametrize("schedule", [name for name in SCHEDULES if name != "Automatic"])
def test_a_schedule_changes_the_picture(shared, schedule):
    """Euler follows all of them; at least those that are not its own differ."""
    every = {name: drawn(shared, sampler_name="Euler", scheduler=name) for name in ("Normal", schedule)}
    assert differ(every["Normal"], every[schedule]) == (schedule not in {"Normal", "Uniform"})


def test_a_schedule_that_the_sampler_drops_is_a_warning(shared):
    assert check(shared, sampler_name="Euler", scheduler="Karras") == []
    assert check(shared, sampler_name="Euler a", scheduler="Automatic") == []
    [warning] = check(shared, sampler_name="Euler a", scheduler="Karras")
    assert warning == "txt2img: Euler a has no schedule Karras, and draws with its own"
    [warning] = check(shared, scheduler="Karras")
    assert "the model's own sampler has no schedule Karras" in warning
    [warning] = check(shared, sampler_name="DPM++ 2S a")
    assert "not the same" in warning


def test_names_of_other_programs_are_taken_and_unknown_ones_refused(shared):
    assert choose("dpmpp_2m", "karras").scheduler == "DPMSolverMultistepScheduler"
    assert choose("DPM++ 2M Karras", None).schedule == "Karras"
    assert choose("k_euler_a", None).sampler == "Euler a"
    assert check(shared, sampler_name="EulerDiscreteScheduler", scheduler="beta") == []
    with pytest.raises(BackendRejected, match=r"diffusers has no 'Restart'"):
        check(shared, sampler_name="Restart")
    with pytest.raises(BackendRejected, match=r"did you mean 'Karras'"):
        check(shared, sampler_name="Euler", scheduler="Karas")


def test_a_sampler_that_needs_a_package_says_which(shared):
    with pytest.raises(BackendRejected, match="needs torchsde"):
        check(shared, sampler_name="DPM++ SDE")


def test_what_means_nothing_here_is_a_warning(shared):
    [warning] = check(shared, restore_faces=True, payload={"a": 1})
    assert "payload, restore_faces mean nothing" in warning
    assert any("batch_size has no effect" in one for one in check(shared, batch_size=4))


def test_an_output_names_no_seed_but_the_one_asked_for(shared):
    assert isinstance(output(shared, rxp.Txt2ImgConfig(**TXT2IMG)), Output)
