"""Kinds of models and LoRAs beyond the plain ones: SD 2 that predicts v, SDXL in one file, LoRAs in kohya's form."""

import json
import shutil

import diffusers
import numpy as np
import pytest
import tiny
import torch
from pixels import drawn
from safetensors.torch import load_file, save_file

from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.backends.diffusers.files import identify
from rxpipe.backends.diffusers.samplers import choose
from rxpipe.errors import BackendRejected


@pytest.fixture
def predicts_v(models, tmp_path):
    """A folder of SD 2's kind: the same model, taken as one that predicts v."""
    folder = tmp_path / "v2"
    shutil.copytree(models / "sd", folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": "v_prediction"}))
    return folder


@pytest.mark.parametrize("sampler", ["DDIM", "Euler", "DPM++ 2M"])
def test_a_model_that_predicts_v_is_drawn_as_one_with_every_sampler(predicts_v, shared, sampler):
    """What diffusers draws with it, to the pixel, and not what the other prediction gives."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(predicts_v), local_files_only=True)
    choice = choose(sampler, None)
    own_config = json.loads((predicts_v / "scheduler" / "scheduler_config.json").read_text())
    pipe.scheduler = getattr(diffusers, choice.scheduler).from_config(own_config, **dict(choice.options))
    assert pipe.scheduler.config.prediction_type == "v_prediction"
    image = pipe(
        "a cat", num_inference_steps=6, guidance_scale=5.0, width=64, height=64,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    with DiffusersBackend(str(predicts_v), device="cpu") as backend:
        own = drawn(backend, sampler_name=sampler)
    assert np.array_equal(own, np.asarray(image, np.int16))
    assert not np.array_equal(own, drawn(shared, sampler_name=sampler))


def save_xl(folder):
    """SDXL in one file, with its configs beside it, and as a folder; its encoders differ in width, as real ones do."""
    pipe = tiny.sdxl(folder / "whole", second=12)
    tiny.one_file_xl(pipe, folder / "large.safetensors")
    shutil.copytree(folder / "whole", folder / "large", ignore=shutil.ignore_patterns("*.safetensors"))
    return folder / "large.safetensors"


def test_sdxl_in_one_file_is_the_picture_of_its_folder(tmp_path):
    """With the configs beside it; its kind is told by its header."""
    path = save_xl(tmp_path)
    assert identify(path).family == "sdxl"
    with (
        DiffusersBackend(str(path), device="cpu") as one,
        DiffusersBackend(str(tmp_path / "whole"), device="cpu") as other,
    ):
        settings = {"prompt": "a (red:1.2) cat", "negative_prompt": "rain"}
        assert np.array_equal(drawn(one, **settings), drawn(other, **settings))


def test_a_file_that_lacks_weights_is_refused_and_names_them(tmp_path):
    """A sound file, whose header is not torn: what saved it left something out."""
    path = save_xl(tmp_path)
    weights = load_file(path)
    del weights["conditioner.embedders.1.model.text_projection"]
    save_file(weights, path)
    with (
        DiffusersBackend(str(path), device="cpu") as backend,
        pytest.raises(BackendRejected, match=r"it lacks weights: text_encoder_2\.text_projection\.weight"),
    ):
        drawn(backend)


@pytest.fixture
def kohya(models, tmp_path, monkeypatch):
    """LoRAs of kohya's form: as strong as they say, and half as strong by their alpha."""
    pipe = diffusers.DiffusionPipeline.from_pretrained(str(models / "sd"), local_files_only=True)
    tiny.kohya_lora(pipe, tmp_path, "full", alpha=2.0)
    tiny.kohya_lora(pipe, tmp_path, "half", alpha=1.0)
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")


@pytest.mark.usefixtures("kohya")
def test_a_lora_in_kohyas_form_is_weighed_by_its_alpha(shared):
    """It is the same LoRA in diffusers' form; the model's part and the text encoder's have weights of their own."""
    plain, full = drawn(shared), drawn(shared, prompt="a cat<lora:full:1>")
    assert np.array_equal(full, drawn(shared, prompt="a cat<lora:full-twin:1>"))
    assert np.array_equal(drawn(shared, prompt="a cat<lora:half:1>"), drawn(shared, prompt="a cat<lora:full:0.5>"))
    of_text, of_model = (drawn(shared, prompt=f"a cat<lora:full:{weights}>") for weights in ("1:0", "0:1"))
    for number, one in enumerate((plain, full, of_text, of_model)):
        assert not any(np.array_equal(one, other) for other in (plain, full, of_text, of_model)[number + 1 :])
    assert np.array_equal(drawn(shared), plain)
