"""Names are A1111's in configs and pictures, and the server's own on the wire."""

from __future__ import annotations

import pytest
from catalogs import catalog

import rxpipe as rxp
from rxpipe.backends.comfyui.names import catalog_of, stem_of
from rxpipe.backends.comfyui.nodes import read_class
from rxpipe.backends.comfyui.server import Server, parsed_version
from rxpipe.errors import BackendRejected
from rxpipe.plan import build_stage_execution_plan

SAMPLERS = {
    "Euler": "euler", "Euler a": "euler_ancestral", "LMS": "lms", "Heun": "heun", "DPM2": "dpm_2",
    "DPM2 a": "dpm_2_ancestral", "DPM++ 2S a": "dpmpp_2s_ancestral", "DPM++ 2M": "dpmpp_2m", "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde", "DPM++ 2M SDE Heun": "dpmpp_2m_sde_heun", "DPM++ 3M SDE": "dpmpp_3m_sde",
    "DPM fast": "dpm_fast", "DPM adaptive": "dpm_adaptive", "DDIM": "ddim", "UniPC": "uni_pc", "LCM": "lcm",
    "HeunPP2": "heunpp2", "IPNDM": "ipndm", "IPNDM_V": "ipndm_v", "DEIS": "deis", "DDPM": "ddpm",
}  # fmt: skip
SCHEDULERS = {
    "Uniform": "normal", "Karras": "karras", "Exponential": "exponential", "Polyexponential": "exponential",
    "SGM Uniform": "sgm_uniform", "KL Optimal": "kl_optimal", "Simple": "simple", "Normal": "normal",
    "DDIM": "ddim_uniform", "Beta": "beta",
}  # fmt: skip
AUTOMATIC = {
    "DPM++ 2M": "karras", "DPM++ SDE": "karras", "DPM++ 2S a": "karras", "DPM2": "karras", "DPM2 a": "karras",
    "DPM++ 2M SDE": "exponential", "DPM++ 2M SDE Heun": "exponential", "DPM++ 3M SDE": "exponential",
    "Euler a": "normal", "DDIM": "normal",
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_are_sent_as_the_server_has_them(name):
    """By A1111's name, by ComfyUI's, and in any case."""
    for spelling in (name, SAMPLERS[name], name.lower()):
        found = catalog().sampling(spelling, "Karras")
        assert (found.sampler, found.comfy_sampler) == (name, SAMPLERS[name])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_are_sent_as_the_server_has_them(name):
    assert catalog().sampling("Euler", name).comfy_scheduler == SCHEDULERS[name]


@pytest.mark.parametrize("name", AUTOMATIC)
def test_automatic_is_the_samplers_own_schedule(name):
    for scheduler in (None, "Automatic"):
        found = catalog().sampling(name, scheduler)
        assert (found.scheduler, found.comfy_scheduler) == ("Automatic", AUTOMATIC[name])


def test_a_name_may_hold_sampler_and_scheduler():
    found = catalog().sampling("DPM++ 2M Karras", None)

    assert found == ("DPM++ 2M", "Karras", "dpmpp_2m", "karras")


@pytest.mark.parametrize("name", ["PLMS", "Restart", "DDIM CFG++"])
def test_samplers_that_comfyui_lacks_name_the_nearest(name):
    with pytest.raises(BackendRejected, match="nearest is"):
        catalog().sampling(name, None)


@pytest.mark.parametrize("name", ["tiny-a", "tiny-a.safetensors", "TINY-A"])
def test_a_checkpoint_is_found_by_name_or_file(name):
    assert catalog().model(name) == "tiny-a.safetensors"


@pytest.mark.parametrize("name", ["model", "sd15/model", "sd15/model.safetensors", "sd15\\model.safetensors"])
def test_windows_servers_get_their_own_separators(name):
    """The list of a server on Windows has backslashes; a config may be written anywhere."""
    listed = {"CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["sd15\\model.safetensors"]]}}}}
    found = catalog_of({"CheckpointLoaderSimple": read_class("CheckpointLoaderSimple", listed)}, Server())

    assert found.model(name) == "sd15\\model.safetensors"
    assert stem_of(found.model(name)) == "model"


def test_choices_are_read_in_both_shapes():
    old = {"N": {"input": {"required": {"x": [["a", "b"], {}]}}}}
    new = {"N": {"input": {"required": {"x": ["COMBO", {"options": ["a", "b"]}]}}}}

    assert read_class("N", old).options("x") == read_class("N", new).options("x") == ("a", "b")
    assert read_class("N", {}) is None


def test_a_plan_is_refused_with_every_unknown_name_and_the_nearest():
    plan = build_stage_execution_plan(
        rxp.PipelineConfig(
            txt2img={"model": "tiny-c", "sampler_name": "Eulr", "scheduler": "Karas", "vae": "tiny"},
            adetailer={"detector": "hand_yolov8n.pt"},
            upscale={"upscaler": "esrgan-x4"},
        )
    )

    said = catalog().problems(plan)
    assert len(said) == 6
    assert "did you mean 'tiny-esrgan-x4'" in said[-1]


def test_without_impact_pack_faces_are_taken_and_hands_are_not():
    face = build_stage_execution_plan(rxp.PipelineConfig(txt2img={}, adetailer={"detector": "face_yolov8n.pt"}))
    hand = build_stage_execution_plan(rxp.PipelineConfig(txt2img={}, adetailer={"detector": "hand_yolov8n.pt"}))

    assert catalog().problems(face) == []
    assert catalog().problems(hand) != []


@pytest.mark.parametrize(("text", "version"), [("0.3.40", (0, 3, 40)), ("v0.33.0", (0, 33, 0)), ("", ()), ("x", ())])
def test_versions(text, version):
    assert parsed_version(text) == version
