"""What goes wrong with a local model: every fault is a typed error, and the next picture is right all the same."""

import json
import os
import pickle
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from pixels import TXT2IMG, drawn, given, grain, output, pixels
from stages import Watched, stage_of

import rxpipe as rxp
from rxpipe.backends import open_backend
from rxpipe.backends.base import StepProgress
from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.backends.diffusers.files import find_model, identify
from rxpipe.errors import BackendFailed, BackendRejected
from rxpipe.plan import build_stage_execution_plan

# -- cancel -----------------------------------------------------------------------------------------------------------


def test_thirty_cancels_at_any_moment_leave_nothing_behind(shared):
    """While it waits, samples, or decodes; nothing is emitted afterwards and the next picture is right to the pixel."""
    plain = drawn(shared)
    for number in range(30):
        watched = Watched(shared.render(stage_of(rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 40})), None))
        if number % 3:
            assert watched.wait_for(lambda seen, wanted=number: len(seen.values) > wanted, 30.0)
        before = time.monotonic()
        watched.subscription.dispose()
        assert time.monotonic() - before < 1.0, "disposing does not wait for the model"
        seen = len(watched.values)
        if number % 10 == 9:
            assert np.array_equal(drawn(shared), plain)
        assert (len(watched.values), watched.error, watched.completed) == (seen, None, False)
        watched.worker.close()


def test_a_cancel_stops_inside_a_step(shared):
    """No further module of the model runs than the one in progress."""
    calls = []
    inside, go = threading.Event(), threading.Event()
    drawn(shared)
    unet = shared._engine.model(None).pipe.unet
    leaves = [module for module in unet.modules() if not list(module.children())]

    def at(module, _):
        calls.append(module)
        if len(calls) == 20:  # in the middle of the first step
            inside.set()
            go.wait(30.0)

    handles = [module.register_forward_pre_hook(at) for module in leaves]
    watched = Watched(shared.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
    assert inside.wait(30.0)
    watched.subscription.dispose()
    go.set()
    idle = Watched(shared.wait_idle())
    assert idle.wait_for(lambda seen: seen.completed, 30.0)
    for handle in handles:
        handle.remove()
    assert len(calls) <= 21


def test_a_cancelled_run_is_over_and_the_next_one_is_whole(shared, tmp_path):
    """By the executor, while a picture is drawn."""
    config = rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 60}, images=3, seed=7),
        img2img=rxp.Img2ImgConfig(steps=4),
        out=tmp_path,
    )
    executor = rxp.PipelineExecutor(shared)
    executor.events.subscribe(
        lambda event: executor.active.cancel() if isinstance(event, rxp.StageStep) and executor.active else None
    )
    run = executor.start(config)
    assert run.wait(60.0)
    assert run.result.status == "cancelled"
    assert drawn(shared).shape == (64, 64, 3)


def test_a_second_drawing_waits_and_says_so(shared):
    """One thread owns the model."""
    first = Watched(shared.render(stage_of(rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 60})), None))
    second = Watched(shared.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
    assert second.wait_for(lambda seen: seen.completed, 60.0)
    assert next(one.phase for one in second.of(StepProgress)) == "queued"
    assert first.wait_for(lambda seen: seen.completed), "in the order in which they were asked for"


# -- the model fails --------------------------------------------------------------------------------------------------


def test_numbers_that_are_none_are_an_error_and_no_black_picture(models):
    """In the sampling and in the decoder; what mends the model mends the pictures."""
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        plain = drawn(backend)
        loaded = backend._engine.model(None)
        parts = {"at step 1 of 6": loaded.pipe.unet.conv_out, "decoder": loaded.pipe.vae.decoder.conv_out}
        for message, part in parts.items():
            kept = part.bias.data.clone()
            part.bias.data[:] = float("nan")
            with pytest.raises(BackendFailed, match=message) as caught:
                drawn(backend)
            assert not caught.value.retryable
            part.bias.data[:] = kept
            assert np.array_equal(drawn(backend), plain)
        parts["decoder"].bias.data[:] = -1000.0
        found = output(backend, rxp.Txt2ImgConfig(**TXT2IMG))
        assert found.warnings == ("the picture is black everywhere",)


def _of_accelerator():
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


@pytest.mark.parametrize("ask", [_of_accelerator, lambda: torch.empty(2**50)])
def test_no_memory_is_a_typed_error_that_is_not_retried(models, ask):
    """As an accelerator says it, and as the machine really does."""
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        plain = drawn(backend)
        handle = backend._engine.model(None).pipe.unet.register_forward_pre_hook(lambda *_: ask())
        with pytest.raises(BackendFailed, match="out of memory on cpu while drawing") as caught:
            drawn(backend)
        assert not caught.value.retryable
        assert "smaller" in caught.value.hint
        handle.remove()
        assert np.array_equal(drawn(backend), plain)


def test_whatever_else_a_model_raises_is_a_typed_error(models):
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        drawn(backend)

        def fail(*_):
            raise ZeroDivisionError("by zero")

        handle = backend._engine.model(None).pipe.unet.register_forward_pre_hook(fail)
        with pytest.raises(BackendFailed, match="ZeroDivisionError: by zero"):
            drawn(backend)
        handle.remove()


def test_a_device_that_is_not_there_is_refused(models):
    refused = pytest.raises(BackendRejected, match=r"device 'cuda:7' is not there; .*cpu")
    with DiffusersBackend(str(models / "sd"), device="cuda:7") as backend, refused:
        drawn(backend)


# -- files ------------------------------------------------------------------------------------------------------------


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("ending", [".ckpt", ".pt", ".pth", ".bin"])
def test_a_pickle_is_refused_unread_and_says_why(tmp_path, ending):
    path, trace = tmp_path / f"model{ending}", tmp_path / "trace"
    path.write_bytes(pickle.dumps(Bomb(trace)))
    with pytest.raises(BackendRejected, match="is a pickle, which can run any code"):
        DiffusersBackend(str(path))
    assert not trace.exists()


def test_a_folder_of_pickles_is_refused_unread(models, tmp_path):
    """Where diffusers finds no .safetensors it must not fall back."""
    folder = tmp_path / "bins"
    for file in (models / "sd").rglob("*"):
        if file.is_file() and file.suffix != ".safetensors":
            (folder / file.relative_to(models / "sd")).parent.mkdir(parents=True, exist_ok=True)
            (folder / file.relative_to(models / "sd")).write_bytes(file.read_bytes())
    trace = tmp_path / "trace"
    for part in ("unet", "vae", "text_encoder"):
        (folder / part / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trace)))
        (folder / part / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(trace)))
    with (
        DiffusersBackend(str(folder), device="cpu") as backend,
        pytest.raises(BackendRejected, match="cannot be loaded"),
    ):
        drawn(backend)
    assert not trace.exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00", b"<html><body>404</body></html>", struct.pack("<Q", 2**63), struct.pack("<Q", 4) + b"[1] ",
     struct.pack("<Q", 12) + b'{"a": {"b":1', struct.pack("<Q", 10) + b'{"a": 123}'],
)  # fmt: skip
def test_what_is_no_model_says_so(tmp_path, data):
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    with pytest.raises(BackendRejected, match=r"no intact \.safetensors file"):
        DiffusersBackend(str(path))


def test_a_torn_file_is_told_by_its_size(models, tmp_path):
    path = tmp_path / "torn.safetensors"
    path.write_bytes((models / "onefile.safetensors").read_bytes()[:-100])
    with pytest.raises(BackendRejected, match=r"torn: its header speaks of \d+ bytes"):
        DiffusersBackend(str(path))


def header_only(path, names):
    """A file with tensors of these names and shapes, all of them empty of bytes."""
    entries = {name: {"dtype": "F16", "shape": shape, "data_offsets": [0, 0]} for name, shape in names.items()}
    text = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    return path


INPUT = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.mark.parametrize(
    ("names", "kind", "family", "inpainting"),
    [
        ({INPUT: [320, 4, 3, 3], "cond_stage_model.transformer.text_model.x": [1]}, "checkpoint", "sd1", False),
        ({INPUT: [320, 9, 3, 3], "cond_stage_model.transformer.text_model.x": [1]}, "checkpoint", "sd1", True),
        ({INPUT: [320, 4, 3, 3], "cond_stage_model.model.x": [1]}, "checkpoint", "sd2", False),
        (
            {INPUT: [320, 4], "conditioner.embedders.0.transformer.x": [1], "conditioner.embedders.1.model.x": [1]},
            "checkpoint", "sdxl", False,
        ),
        ({INPUT: [384, 4, 3, 3], "conditioner.embedders.0.model.x": [1]}, "checkpoint", "sdxl-refiner", False),
        ({"model.diffusion_model.joint_blocks.0.x": [1]}, "checkpoint", "sd3", False),
        ({"double_blocks.0.img_attn.norm.key_norm.scale": [1]}, "checkpoint", "flux", False),
        ({"lora_unet_down_blocks_0.lora_down.weight": [1]}, "lora", "other", False),
        ({"unet.x.lora_A.weight": [1]}, "lora", "other", False),
        ({"decoder.conv_in.weight": [1]}, "vae", "other", False),
        ({"first_stage_model.decoder.conv_in.weight": [1]}, "vae", "other", False),
        ({"emb_params": [1]}, "embedding", "other", False),
    ],
)  # fmt: skip
def test_the_kind_of_a_file_is_told_by_its_header(tmp_path, names, kind, family, inpainting):
    found = identify(header_only(tmp_path / "file.safetensors", names))
    assert (found.kind, found.family, found.inpainting) == (kind, family, inpainting)


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("ESRGAN", "upscaler"), ("models/upscalers", "upscaler"), ("upscale_models", "upscaler"), ("DAT/x", "upscaler"),
        ("data/models", "embedding"), ("what/is/that", "embedding"), ("ESRGAN/a/b", "embedding"),
    ],
)  # fmt: skip
def test_a_folder_tells_what_a_header_does_not(tmp_path, folder, kind):
    """By whole words of the two nearest: a disk called data holds more than upscalers."""
    (tmp_path / folder).mkdir(parents=True)
    assert identify(header_only(tmp_path / folder / "x.safetensors", {"emb_params": [1]})).kind == kind


def test_a_header_of_a_thousand_tensors_takes_milliseconds(tmp_path):
    """Real checkpoints have about that many."""
    names = {f"model.diffusion_model.output_blocks.{n}.0.in_layers.0.weight": [320, 320, 3, 3] for n in range(1200)}
    path = header_only(tmp_path / "large.safetensors", {**names, "cond_stage_model.transformer.x": [1]})
    begun_s = time.process_time()
    assert identify(path).family == "sd1"
    assert time.process_time() - begun_s < 0.05


def test_other_families_and_other_files_are_refused_when_it_is_opened(tmp_path, models):
    flux = header_only(tmp_path / "flux.safetensors", {"double_blocks.0.img_attn.norm.key_norm.scale": [1]})
    with pytest.raises(BackendRejected, match="of kind 'flux'; drawn here are Stable Diffusion 1, 2 and XL"):
        DiffusersBackend(str(flux))
    with pytest.raises(BackendRejected, match="it is a lora"):
        DiffusersBackend(str(models / "loras" / "style.safetensors"))
    with pytest.raises(BackendRejected, match="no such file or folder"):
        DiffusersBackend("/no/such/model.safetensors")
    with pytest.raises(BackendRejected, match=r"model_index\.json"):
        DiffusersBackend(str(models / "loras"))


def test_a_name_is_looked_for_in_the_folders_and_the_nearest_is_said(models, monkeypatch):
    assert find_model("style", "lora").path == models / "loras" / "style.safetensors"
    assert find_model("loras/style.safetensors", "lora").name == "style"
    assert open_backend("diffusers:onefile").kind == "diffusers:onefile"
    with pytest.raises(BackendRejected, match=r"'onfile': no such file.*Did you mean 'onefile'\?"):
        open_backend("diffusers:onfile")
    monkeypatch.setenv("RXPIPE_MODELS", "")
    with pytest.raises(BackendRejected, match="RXPIPE_MODELS is not set"):
        open_backend("diffusers:sd15")


# -- before anything is imported --------------------------------------------------------------------------------------


def test_opening_checking_and_listing_import_neither_torch_nor_diffusers(models):
    """And take no seconds."""
    code = f"""
import sys, rxpipe as rxp
from rxpipe.backends import open_backend
from rxpipe.plan import build_stage_execution_plan
backend = open_backend("diffusers:{models / "sd"}?device=cpu")
config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="<lora:style:1>", sampler_name="Euler a"),
                            upscale=rxp.UpscaleConfig(scale=2))
print(backend.check(build_stage_execution_plan(config)), len(backend.catalog().samplers) > 20)
print([name for name in ("torch", "diffusers", "transformers") if name in sys.modules])
"""
    run = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert run.stdout.split("\n")[:2] == ["[] True", "[]"]


def test_a_workflow_and_a_missing_mask_are_refused_before_the_run(shared, tmp_path):
    config = rxp.PipelineConfig(img2img=rxp.Img2ImgConfig(mask=tmp_path / "none.png"), input=[tmp_path / "a.png"])
    with pytest.raises(BackendRejected, match="no such file"):
        shared.check(build_stage_execution_plan(config))


def test_a_torn_input_is_the_pictures_fault(shared):
    torn = rxp.Artifact(id="torn", seed=1, data=given(grain(64, 64)).data[:200])
    with pytest.raises(ValueError, match="torn"):
        output(shared, rxp.Img2ImgConfig(steps=2), torn)
    assert pixels(output(shared, rxp.Img2ImgConfig(steps=2), given(grain(64, 64))).data).shape == (64, 64, 3)
