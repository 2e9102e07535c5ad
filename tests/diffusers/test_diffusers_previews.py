"""Previews by TAESD where the user has it, in every form in which it is shared."""

import io

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from loguru import logger
from PIL import Image
from pixels import TXT2IMG, drawn
from safetensors.torch import save_file
from stages import Watched, stage_of

import rxpipe as rxp
from rxpipe.backends import open_backend
from rxpipe.backends.base import Preview
from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.errors import ConfigError


def previews_of(backend):
    """The last preview of a drawing, as pixels."""
    watched = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
    assert watched.wait_for(lambda seen: seen.completed, 300.0)
    return np.asarray(Image.open(io.BytesIO(watched.of(Preview)[-1].data)), np.int16)


@pytest.fixture(scope="module")
def tiny_decoder():
    """TAESD of full size with random weights, large enough to be seen."""
    torch.manual_seed(0)
    decoder = AutoencoderTiny().eval()
    for weights in decoder.decoder.parameters():
        weights.data *= 1.5
    return decoder


def save(decoder, folder, form, name="taesd"):
    """Save the decoder as diffusers' folder, as a file by diffusers' names, or by the original ones."""
    if form == "folder":
        decoder.save_pretrained(folder / name)
        return
    weights = {f"decoder.{key}": value.contiguous() for key, value in decoder.decoder.state_dict().items()}
    if form == "original":
        parts = [(key.split("."), value) for key, value in weights.items()]
        weights = {".".join([str(int(key[2]) + 1), *key[3:]]): value for key, value in parts}
    save_file(weights, folder / f"{name}_decoder.safetensors")


@pytest.mark.parametrize("form", ["folder", "file", "original"])
def test_taesd_shows_what_it_makes_of_the_latents(models, tmp_path, monkeypatch, tiny_decoder, form):
    """In full size; of the last step it is what the decoder makes of the picture's own latents."""
    save(tiny_decoder, tmp_path, form)
    (tmp_path / "taesdxl_decoder.safetensors").write_bytes(b"of another family, not opened")
    (tmp_path / "taesd_encoder.safetensors").write_bytes(b"not opened either")
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")
    with DiffusersBackend(str(models / "sd"), device="cpu", previews="taesd") as backend:
        shown = previews_of(backend)
        latents = []
        vae = backend._engine.model(None).pipe.vae
        handle = vae.post_quant_conv.register_forward_pre_hook(lambda _, given: latents.append(given[0]))
        drawn(backend)
        handle.remove()
        with torch.no_grad():
            light = tiny_decoder.decode(latents[0] * vae.config.scaling_factor).sample[0].permute(1, 2, 0)
    wanted = ((light + 1) * 127.5).clamp(0, 255).numpy()
    assert shown.shape == (64, 64, 3)
    assert wanted.std() > 5
    assert np.abs(shown - wanted).mean() < 5, "but for JPEG"


def test_on_the_processor_it_is_used_only_when_asked_for(models, tmp_path, monkeypatch, tiny_decoder):
    """It takes as long as steps do there; the rough picture is half as wide."""
    save(tiny_decoder, tmp_path, "file")
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")
    for previews in (True, "auto", "latent"):
        with DiffusersBackend(str(models / "sd"), device="cpu", previews=previews) as backend:
            assert previews_of(backend).shape == (32, 32, 3)


def test_a_decoder_that_is_none_costs_no_picture(models, tmp_path, monkeypatch):
    """The rough preview comes in its place, with one warning in the log."""
    (tmp_path / "taesd_decoder.safetensors").write_bytes(b"torn")
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")
    lines = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="WARNING")
    logger.enable("rxpipe")
    with DiffusersBackend(str(models / "sd"), device="cpu", previews="taesd") as backend:
        assert previews_of(backend).shape == (32, 32, 3)
        assert previews_of(backend).shape == (32, 32, 3)
    logger.disable("rxpipe")
    logger.remove(sink)
    assert len([line for line in lines if "taesd_decoder.safetensors is no decoder" in line]) == 1


def test_previews_are_off_or_of_a_kind_that_there_is(models):
    with open_backend(f"diffusers:{models / 'sd'}?device=cpu&previews=none") as backend:
        watched = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
        assert watched.wait_for(lambda seen: seen.completed, 300.0)
        assert watched.of(Preview) == []
    with pytest.raises(ConfigError, match=r"previews: got 'tasd'.*taesd"):
        open_backend(f"diffusers:{models / 'sd'}?previews=tasd")
