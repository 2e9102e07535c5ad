"""Sampler and scheduler names of any program, as A1111's."""

import pytest

from rxpipe.pictures.names import (
    COMFYUI_SAMPLERS,
    COMFYUI_SCHEDULERS,
    SAMPLERS,
    SCHEDULERS,
    automatic_scheduler,
    plain,
    sampler_named,
    scheduler_named,
    split_sampler,
)


@pytest.mark.parametrize(
    ("name", "sampler", "scheduler"),
    [
        ("Euler a", "Euler a", None),
        ("euler A", "Euler a", None),
        ("k_euler_a", "Euler a", None),
        ("euler_ancestral", "Euler a", None),
        ("dpmpp_2m", "DPM++ 2M", None),
        ("DPM++ 2M Karras", "DPM++ 2M", "Karras"),
        ("dpmpp_2m_karras", "DPM++ 2M", "Karras"),
        ("dpmpp_2m_k", "DPM++ 2M", "Karras"),
        ("dpmpp_2m_sde_gpu", "DPM++ 2M SDE", None),
        ("DPM++ 2M SDE Heun Exponential", "DPM++ 2M SDE Heun", "Exponential"),
        ("dpm_2_ancestral", "DPM2 a", None),
        ("kdpm_2_a_k", "DPM2 a", "Karras"),
        ("k_dpm_2", "DPM2", None),
        ("uni_pc", "UniPC", None),
        ("unipc_k", "UniPC", "Karras"),
        ("lms_k", "LMS", "Karras"),
        ("euler_cfg_pp", "Euler CFG++", None),
        ("k_dpmpp_2s_ancestral", "DPM++ 2S a", None),
        ("ddim", "DDIM", None),
        ("euler_a discrete", "Euler a", "Normal"),
        ("dpm++2m karras", "DPM++ 2M", "Karras"),
        ("DPM++ 2M AYS", "DPM++ 2M", "Align Your Steps"),
        ("Euler A Trailing", "Euler a", "SGM Uniform"),
        ("DPM2MKarras", "DPM++ 2M", "Karras"),
        ("EulerA", "Euler a", None),
        ("DPM-Solver++", "DPM++ 2M", None),
        ("unipc_snr_2", "UniPC", None),
        ("EulerAncestralDiscreteScheduler", "Euler a", None),
        ("dpmpp_3m_sde_gpu", "DPM++ 3M SDE", None),
    ],
)
def test_a_sampler_of_any_program_has_a1111s_name(name, sampler, scheduler):
    """ComfyUI's, InvokeAI's, NovelAI's, k-diffusion's, and two in one."""
    assert sampler_named(name) == (sampler, scheduler)


@pytest.mark.parametrize(
    ("name", "scheduler"),
    [("karras", "Karras"), ("KARRAS", "Karras"), ("sgm_uniform", "SGM Uniform"), ("ddim_uniform", "DDIM"), ("x", None)],
)
def test_a_scheduler_of_any_program_has_a1111s_name(name, scheduler):
    """Case and punctuation do not matter."""
    assert scheduler_named(name) == scheduler


def test_no_two_names_are_the_same_but_for_punctuation():
    """Else a spelling would mean two."""
    for table in (SAMPLERS, SCHEDULERS):
        spellings = [plain(name) for names in ((key, *aliases) for key, aliases in table.items()) for name in names]
        assert len(set(spellings)) == len(spellings)


def test_a_listed_name_comes_before_a_split_one():
    """Servers whose samplers hold the scheduler in the name."""
    assert split_sampler("DPM++ 2M Karras", ["DPM++ 2M Karras", "DPM++ 2M"], ["Karras"]) == ("DPM++ 2M Karras", None)
    assert split_sampler("nonsense", ["DPM++ 2M"], ["Karras"]) is None
    assert sampler_named("") is None


def test_comfyuis_names_lead_there_and_back():
    """Every name goes to ComfyUI and back; schedules that are one there come back as one of the two."""
    assert {name: sampler_named(other).sampler for name, other in COMFYUI_SAMPLERS.items()} == {
        name: name for name in COMFYUI_SAMPLERS
    }
    back = {name: scheduler_named(other) for name, other in COMFYUI_SCHEDULERS.items()}
    assert {name: found for name, found in back.items() if name != found} == {
        "Uniform": "Normal",
        "Polyexponential": "Exponential",
    }
    assert set(COMFYUI_SAMPLERS) <= set(SAMPLERS)
    assert set(COMFYUI_SCHEDULERS) <= set(SCHEDULERS)


def test_automatic_is_the_samplers_own_schedule():
    """As A1111 resolves it."""
    assert automatic_scheduler("DPM++ 2M") == "Karras"
    assert automatic_scheduler("DPM++ 3M SDE") == "Exponential"
    assert automatic_scheduler("Euler a") == automatic_scheduler(None) == "Normal"
