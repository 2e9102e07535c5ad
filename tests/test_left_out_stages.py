"""Stages that an option leaves out: what they hand on, what is said to be lost, and a file of which none is left."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from rxpipe.cli.app import app
from rxpipe.presets.options import apply

FOUR = """
[txt2img]
prompt = "a mill"
negative_prompt = "fog"
steps = 12
width = 256
seed = 5
hires = {scale = 2}

[img2img]
steps = 30

[adetailer]

[upscale]
"""
GRAPH = {
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 1, "steps": 9, "cfg": 7, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
        "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "a.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "x", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "y", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "a"}},
}  # fmt: skip


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """Runs a command in a folder with a photo, a workflow and the config above; its output without and with stderr."""
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save("photo.png")
    (tmp_path / "four.toml").write_text(FOUR)
    (tmp_path / "wf.json").write_text(json.dumps(GRAPH))

    def run(*words, code=0):
        done = CliRunner().invoke(app, ["run", *words, "--dry-run", "--json"])
        assert done.exit_code == code, done.output
        return done.stdout, done.stderr

    return run


def generation(stdout, number=0):
    """What a stage of the plan that was printed draws with."""
    return json.loads(stdout)["stages"][number]["generation"]


def test_img2img_draws_over_a_photo_with_the_prompt_of_txt2img(cli):
    """The config lost it in silence; what img2img says itself stays, and what it cannot take is named."""
    stdout, stderr = cli("four.toml", "--input", "photo.png")
    drawn = generation(stdout)
    assert (drawn["prompt"], drawn["negative_prompt"], drawn["steps"]) == ("a mill", "fog", 30)
    assert json.loads(stdout)["seed"] == 5
    assert "not carried over: txt2img.width, txt2img.hires" in stderr


@pytest.mark.parametrize(
    "words",
    [
        ("--input", "photo.png", "--stages", "img2img"),
        ("--input", "photo.png", "--set", "txt2img.enabled=false"),
        ("--input", "photo.png", "--set", "txt2img.prompt=a mill"),
        ("--input", "photo.png", "--prompt", "a mill"),
        ("--workflow", "wf.json"),
    ],
)
def test_every_option_that_takes_txt2img_away_leaves_its_prompt(cli, words):
    stdout, stderr = cli("four.toml", *words)
    assert generation(stdout)["prompt"] == "a mill"
    assert "txt2img" in stderr


def test_a_detailer_alone_has_the_prompt_it_would_have_inherited(cli):
    """Without a stage that draws before it."""
    stdout, _ = cli("four.toml", "--input", "photo.png", "--stages", "adetailer")
    assert (generation(stdout)["prompt"], generation(stdout)["steps"]) == ("a mill", 12)


def test_a_workflow_takes_what_it_has_a_place_for(cli):
    """And the rest of txt2img is named."""
    stdout, stderr = cli("four.toml", "--workflow", "wf.json")
    drawn = generation(stdout)
    assert (drawn["steps"], drawn["width"], json.loads(stdout)["seed"]) == (12, 256, 5)
    assert "not carried over: txt2img.hires" in stderr


def test_the_prompt_of_the_first_try_is_not_for_a_photo(cli):
    stdout, stderr = cli("--input", "photo.png")
    assert (generation(stdout)["prompt"], stderr) == ("", "")


@pytest.mark.parametrize(
    ("text", "words", "said"),
    [
        ("[txt2img]\n", ["--input", "photo.png"], "a.toml: no stage is left, as --input starts from a picture"),
        ("[upscale]\nenabled = false\n", [], "a.toml: no stage is left, as upscale is switched off"),
        (
            "[txt2img]\n[upscale]\n",
            ["--set", "txt2img.enabled=false", "--set", "upscale.enabled=false"],
            "are switched",
        ),
        ("", [], "a.toml: has no stage. Add a section such as [txt2img]"),
        ("[upscale]\n", [], "a.toml: upscale (stage 1 of 1) has no picture to start from"),
        ("[upscale]\n", ["--stages", ","], "--stages: names no stage; allowed: txt2img"),
    ],
)
def test_a_file_without_a_stage_that_runs_is_named_with_the_reason(cli, tmp_path, text, words, said):
    (tmp_path / "a.toml").write_text(text)
    assert said in cli("a.toml", *words, code=2)[1]


def test_stages_that_are_left_out_by_name_are_said(cli):
    assert "not carried over: img2img (left out by --stages), adetailer" in cli("four.toml", "--stages", "txt2img")[1]


def test_a_stage_between_hands_on_too():
    """img2img is left out, so that the detailer has its prompt, and not that of txt2img before it."""
    values = {"txt2img": {"prompt": "a"}, "img2img": {"prompt": "b", "steps": 3}, "adetailer": {"steps": 4}}
    applied = apply(values, stages=["txt2img", "adetailer"])
    assert applied == {"txt2img": {"prompt": "a"}, "adetailer": {"prompt": "b", "steps": 4}}
    assert values["adetailer"] == {"steps": 4}
