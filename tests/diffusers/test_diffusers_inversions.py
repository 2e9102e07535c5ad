"""Textual inversions: names in a prompt that stand for vectors, in every form in which they are shared."""

import pickle

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from pixels import TXT2IMG, drawn, output
from safetensors.torch import save_file
from test_diffusers_faults import Bomb

import rxpipe as rxp
from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.errors import BackendRejected
from rxpipe.plan import build_stage_execution_plan

WIDTH = 8


@pytest.fixture(scope="module")
def vectors():
    """Three vectors, large enough to be seen."""
    return torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0)) * 2


@pytest.fixture
def embeddings(tmp_path, models, monkeypatch, vectors):
    """A folder of embeddings that is known beside the models."""
    folder = tmp_path / "embeddings"
    folder.mkdir()
    save_file({"emb_params": vectors}, folder / "charturner.safetensors")
    save_file({"<plush-toy>": vectors}, folder / "plush-toy.safetensors")
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors}, "name": "x"}, folder / "old.pt")
    torch.save({"<binary>": vectors}, folder / "binary.bin")
    save_file({"clip_l": vectors, "clip_g": -vectors}, folder / "both.safetensors")
    save_file({"emb_params": torch.zeros(2, WIDTH + 1)}, folder / "wide.safetensors")
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")
    return folder


def test_a_name_in_a_prompt_is_what_diffusers_makes_of_it(shared, models, embeddings):
    """To the pixel; and nothing of the model has changed afterwards."""
    plain = drawn(shared)
    pipe = DiffusionPipeline.from_pretrained(models / "sd", local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.load_textual_inversion(str(embeddings / "charturner.safetensors"), token="charturner")  # noqa: S106  a word
    their = pipe(
        "a charturner, blue", num_inference_steps=6, guidance_scale=5.0, width=64, height=64, output_type="np",
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    own = drawn(shared, prompt="a charturner, blue")
    assert np.array_equal(own, (their * 255).round().astype(np.int16))
    assert np.abs(own - plain).max() > 3
    assert np.array_equal(drawn(shared), plain)


@pytest.mark.usefixtures("embeddings")
@pytest.mark.parametrize(
    "name", ["charturner", "CharTurner", "embedding:charturner", "<plush-toy>", "plush-toy", "old", "binary"]
)
def test_every_form_and_spelling_is_the_same_picture(shared, name):
    """Of A1111, ComfyUI and diffusers; the record says which were used."""
    wanted = drawn(shared, prompt="a charturner, blue")
    out = output(shared, rxp.Txt2ImgConfig(**{**TXT2IMG, "prompt": f"a {name}, blue"}))
    assert np.array_equal(drawn(shared, prompt=f"a {name}, blue"), wanted)
    assert out.settings["embeddings"] == [name.strip("<>").removeprefix("embedding:").lower()]
    assert out.warnings == ()


@pytest.mark.usefixtures("embeddings")
def test_weights_negative_prompts_and_long_prompts_take_them(shared):
    """An embedding is not torn between two chunks of a long prompt."""
    plain, named = drawn(shared), drawn(shared, prompt="a charturner")
    assert not np.array_equal(drawn(shared, prompt="a (charturner:1.6)"), named)
    assert not np.array_equal(drawn(shared, negative_prompt="charturner"), plain)
    letters = " ".join("a" * 74)
    torn, whole = drawn(shared, prompt=f"{letters} charturner"), drawn(shared, prompt=f"{letters} BREAK charturner")
    assert np.array_equal(torn, whole)
    assert not np.array_equal(drawn(shared, prompt="a charturners"), named), "part of a longer word is no name"


@pytest.mark.usefixtures("embeddings")
def test_sdxl_takes_one_for_each_of_its_encoders(models):
    with DiffusersBackend(str(models / "xl"), device="cpu") as backend:
        plain = drawn(backend, prompt="a both")
        out = output(backend, rxp.Txt2ImgConfig(**{**TXT2IMG, "prompt": "a wide both"}))
    assert out.settings["embeddings"] == ["both"]
    assert out.warnings == ("the embedding wide does not fit the model and is taken as words",)
    assert plain.shape == (64, 64, 3)


@pytest.mark.usefixtures("embeddings")
def test_one_that_does_not_fit_is_taken_as_words_and_said(shared, models, monkeypatch):
    """The same picture as without the file."""
    out = output(shared, rxp.Txt2ImgConfig(**{**TXT2IMG, "prompt": "a wide cat"}))
    assert out.warnings == ("the embedding wide does not fit the model and is taken as words",)
    with_file = drawn(shared, prompt="a wide cat")
    monkeypatch.setenv("RXPIPE_MODELS", str(models))
    assert np.array_equal(drawn(shared, prompt="a wide cat"), with_file)


@pytest.mark.usefixtures("embeddings")
def test_one_that_is_nowhere_is_warned_of_before_the_run(shared):
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="embedding:charturner, embedding:gone, <cat>"))
    assert shared.check(build_stage_execution_plan(config)) == [
        f"txt2img: there is no embedding {name!r} in the folders of RXPIPE_MODELS; it is taken as words"
        for name in ("gone", "cat")
    ]


def test_one_that_holds_code_is_refused_unread(shared, embeddings):
    trace = embeddings / "trace"
    (embeddings / "bomb.pt").write_bytes(pickle.dumps({"string_to_param": Bomb(trace)}, 2))
    with pytest.raises(BackendRejected, match=r"embedding .*bomb\.pt: refused"):
        drawn(shared, prompt="a bomb")
    assert not trace.exists()
