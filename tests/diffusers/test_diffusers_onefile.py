"""A checkpoint in one file: the carried configs have the sizes of the published models; doctor; upscaling in tiles."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from pixels import grain
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from rxpipe.backends import diagnose, open_backend
from rxpipe.backends.diffusers.onefile import carried_folder
from rxpipe.backends.diffusers.upscalers import OVERLAP_PX, SMALL_TILE_PX, Upscalers, tiled
from rxpipe.backends.diffusers.vocabulary import find_vocabulary
from rxpipe.backends.sizes import Size
from rxpipe.errors import BackendRejected, MissingPackage

VAE, TEXT_L, TEXT_G = 83_653_863, 123_060_480, 694_659_840


def weights_of(kind, config):
    """How many numbers a part of a model holds, counted without memory for them."""
    with torch.device("meta"):
        part = kind.from_config(kind.load_config(config)) if hasattr(kind, "load_config") else kind(config)
    return sum(weight.numel() for weight in part.parameters())


@pytest.mark.parametrize(
    ("family", "unet", "texts"),
    [
        ("sd1", 859_520_964, {"text_encoder": TEXT_L}),
        ("sdxl", 2_567_463_684, {"text_encoder": TEXT_L, "text_encoder_2": TEXT_G}),
        ("sdxl-refiner", 2_259_526_660, {"text_encoder_2": TEXT_G}),
    ],
)
def test_the_carried_configs_have_the_published_sizes(family, unet, texts):
    """To the last weight."""
    folder = carried_folder(family, inpainting=False, vocabulary=find_vocabulary())
    assert weights_of(UNet2DConditionModel, folder / "unet") == unet
    assert weights_of(AutoencoderKL, folder / "vae") == VAE
    kinds = {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}
    assert {name: weights_of(kinds[name], CLIPTextConfig.from_pretrained(folder / name)) for name in texts} == texts
    assert (folder / "text_encoder").exists() == ("text_encoder" in texts)


def test_the_vocabulary_is_clips():
    """Known ids of a known text; the second tokenizer of SDXL pads with another token."""
    folder = carried_folder("sdxl", inpainting=False, vocabulary=find_vocabulary())
    one, other = (CLIPTokenizer.from_pretrained(folder / name) for name in ("tokenizer", "tokenizer_2"))
    assert one("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert (one.pad_token_id, other.pad_token_id, one.model_max_length) == (49407, 0, 77)


def test_without_a_vocabulary_it_says_where_to_get_one(models, tmp_path, monkeypatch):
    monkeypatch.setattr("rxpipe.backends.diffusers.onefile.find_vocabulary", lambda: None)
    path = tmp_path / "lonely.safetensors"
    path.write_bytes((models / "onefile.safetensors").read_bytes())
    with (
        open_backend(f"diffusers:{path}?device=cpu") as backend,
        pytest.raises(BackendRejected, match="open_clip_torch"),
    ):
        backend._engine.model(None)


def test_a_file_of_other_sizes_than_its_family_is_refused(models, tmp_path):
    """The tiny one is no real SD 1.5."""
    path = tmp_path / "lonely.safetensors"
    path.write_bytes((models / "onefile.safetensors").read_bytes())
    with (
        open_backend(f"diffusers:{path}?device=cpu") as backend,
        pytest.raises(BackendRejected, match="cannot be loaded"),
    ):
        backend._engine.model(None)


# -- doctor -----------------------------------------------------------------------------------------------------------


def test_doctor_tells_torch_the_devices_and_the_packages(models):
    found = diagnose(f"diffusers:{models / 'sd'}?device=cpu", trial=True)
    assert (found.ok, found.problem) == (True, None)
    assert found.version == f"torch {torch.__version__}"
    assert found.devices[-1].startswith("cpu (")
    assert any(pack.startswith("diffusers ") for pack in found.packs)
    assert {"sd", "xl", "onefile"} <= set(found.models)
    assert (found.trial.model, found.trial.sampler) == ("sd", "DDIM")


def test_doctor_tells_a_device_that_is_not_there(models):
    found = diagnose(f"diffusers:{models / 'sd'}?device=cuda:3")
    assert not found.ok
    assert "cuda:3" in found.problem


def test_doctor_tells_a_torchvision_of_another_torch(models, tmp_path):
    """One that fails as the real one does; torch itself is fine."""
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    run = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "rxpipe", "doctor", f"diffusers:{models / 'sd'}?device=cpu"],
        capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "COLUMNS": "400"},
    )  # fmt: skip
    assert "torchvision does not fit this torch" in run.stdout, run.stdout + run.stderr
    assert "pip uninstall torchvision" in run.stdout


# -- upscaling --------------------------------------------------------------------------------------------------------


class Twice(torch.nn.Module):
    """A small model of an upscaler's kind: looks 4 px around each pixel."""

    scale = 2

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.Sequential(
            *(torch.nn.Conv2d(3, 3, 3, padding=1) for _ in range(4)), torch.nn.Upsample(scale_factor=2)
        )

    def forward(self, picture):
        return (self.layers(picture) * 4).sigmoid()


def test_tiles_have_no_seams():
    """Where the surroundings reach as far as the model looks, they are the whole picture to a step of 255."""
    picture, model = grain(SMALL_TILE_PX * 2 + 30, SMALL_TILE_PX + 50), Twice()
    shares = []
    found = np.asarray(tiled(model, picture, "cpu", shares.append), np.int16)
    with torch.no_grad():
        given = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
        whole = (model(given)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy().astype(np.int16)
    assert found.shape == (picture.height * 2, picture.width * 2, 3)
    assert np.abs(found - whole).max() <= 1
    assert whole.std() > 1, "the picture is not flat"
    assert shares[-1] == 1.0
    assert OVERLAP_PX >= 16


def test_an_upscaler_is_used_by_name_or_refused(models):
    """Without spandrel it is said which package is missing."""
    upscalers = Upscalers(lambda: "cpu")
    picture = Image.new("RGB", (10, 10))
    assert upscalers.enlarged(picture, Size(15, 20), "Lanczos").size == (15, 20)
    with pytest.raises(BackendRejected, match="upscaler '4x-Ultra'"):
        upscalers.enlarged(picture, Size(20, 20), "4x-Ultra")
    folder = models / "ESRGAN"
    folder.mkdir(exist_ok=True)
    (folder / "4x-Foo.pth").write_bytes(b"")
    with pytest.raises(MissingPackage, match="needs spandrel"):
        upscalers.enlarged(picture, Size(20, 20), "4x-Foo")
