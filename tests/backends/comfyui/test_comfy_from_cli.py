"""From the command line: four stages, workflows, export, doctor; and one picture on two kinds of server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import shapes
from typer.testing import CliRunner

from rxpipe.backends import diagnose
from rxpipe.cli import app
from rxpipe.pictures import a1111, png
from rxpipe.pictures.metadata import read_info
from rxpipe.testing.servers.comfyui import ComfyUIServer
from rxpipe.testing.servers.webui import WebUIServer

SMALL = ("--no-store", "--size", "64x64", "--steps", "4", "--seed", "7")


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A server with a WebUI's checkpoint; the command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    models = {"checkpoints": ["v1-5-pruned.safetensors"]}
    with ComfyUIServer(draw="noise", faces=lambda _: [(8, 8, 40, 40)], models=models) as running:
        monkeypatch.setenv("RXPIPE_BACKEND", running.url)
        yield running


def invoked(*arguments, code=0):
    """What a command printed."""
    ran = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert ran.exit_code == code, ran.output
    return ran.output


def files_of(output):
    """The pictures that a run names at its end."""
    return [Path(line) for line in output.splitlines() if line.endswith(".png") and Path(line).is_file()]


def said(path):
    """What A1111's text in a picture says."""
    return a1111.parse_parameters(png.read_text(path.read_bytes())["parameters"])


def test_four_stages_give_files_with_seeds_text_lineage_and_the_graph(server):
    output = invoked("run", *SMALL, "--prompt", "a lighthouse", "--images", "2", "--sampler", "DPM++ 2M Karras")
    last = files_of(output)
    info = read_info(last[0])

    assert [path.name for path in last] == ["00000-7.png", "00001-8.png"]
    assert [read_info(path).seed for path in last] == [7, 8]
    assert [entry.stage for entry in info.lineage.lineage] == ["txt2img", "img2img", "adetailer", "upscale"]
    assert {entry.backend for entry in info.lineage.lineage} == {"comfyui"}
    assert (info.width, info.height) == (128, 128)
    settings = said(last[0]).settings
    assert (settings["Sampler"], settings["Schedule type"], settings["Model"]) == ("DPM++ 2M", "Karras", "v1-5-pruned")
    assert {held["class_type"] for held in json.loads(info.texts["prompt"]).values()} >= {"ImageScale", "PreviewImage"}
    drawn = json.loads(read_info(next(Path("outputs/txt2img-images").rglob("*-7.png"))).texts["prompt"])
    assert drawn["sample"]["inputs"]["seed"] == 7
    assert "prompt" in invoked("info", str(last[0]))
    assert [job.outcome for job in server.jobs] == ["done"] * 8


@pytest.mark.usefixtures("server")
def test_one_picture_is_rendered_again_on_the_other_kind_of_server_and_back():
    """The same names, seeds and sizes in its text, whichever server rendered it."""
    here = files_of(invoked("run", *SMALL, "--prompt", "a (red:1.2) lighthouse", "--stages", "txt2img"))[-1]
    with WebUIServer() as webui:
        options = ("--no-store", "--backend", webui.url, "--set", "txt2img.model=")
        there = files_of(invoked("run", str(here), *options))[-1]
    back = files_of(invoked("run", str(there), "--no-store", "--model", "v1-5-pruned", "--trust"))[-1]

    texts = [said(path) for path in (here, there, back)]
    assert len({text.prompt for text in texts}) == 1
    for name in ("Seed", "Steps", "Size", "CFG scale", "Sampler"):
        assert len({text.settings.get(name) for text in texts}) == 1, name
    assert [read_info(path).lineage.lineage[-1].backend for path in (here, there, back)] == [
        "comfyui",
        "webui",
        "comfyui",
    ]


def test_a_workflow_runs_with_its_settings(server, tmp_path):
    flow = tmp_path / "wf.json"
    loader = shapes.node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned.safetensors")
    flow.write_text(json.dumps(shapes.plain(ckpt=loader)))
    listed = invoked("stages", str(flow))
    options = ("--bind", "strength=sample.denoise", "--set", 'workflow.values={"strength": 0.5}')
    invoked("run", "--workflow", str(flow), "--no-store", "--prompt", "a tower", "--seed", "5", *options)
    posted = server.jobs[-1].call.body["prompt"]

    assert "pos.text" in listed
    assert "image: not bound" in listed
    assert posted["pos"]["inputs"]["text"] == "a tower"
    assert (posted["sample"]["inputs"]["seed"], posted["sample"]["inputs"]["denoise"]) == (5, 0.5)
    refused = invoked("run", "--workflow", str(flow), "--bind", "prompt=pos.txt", code=2)
    assert "did you mean 'text'" in refused


def test_a_config_has_its_workflow_in_a_section(server, tmp_path):
    flow, config = tmp_path / "wf.json", tmp_path / "run.toml"
    flow.write_text(json.dumps(shapes.UPSCALE))
    config.write_text(f'[txt2img]\nprompt = "a"\nwidth = 64\nheight = 64\nsteps = 2\n[workflow]\nfile = "{flow}"\n')
    output = invoked("run", str(config), "--no-store")

    assert len(files_of(output)) == 1
    assert [job.outcome for job in server.jobs] == ["done", "done"]
    assert server.jobs[-1].call.body["prompt"]["image"]["inputs"]["image"].startswith("rxpipe/")


@pytest.mark.slow
def test_the_stages_are_exported_as_a_workflow(server, tmp_path):
    path = tmp_path / "wf.json"
    output = invoked("run", *SMALL, "--prompt", "a tower", "--export-comfyui", str(path))

    assert "nodes" in output
    assert server.jobs == ()
    assert files_of(invoked("run", "--workflow", str(path), "--no-store", "--seed", "3"))


def test_the_doctor_says_what_each_stage_can_do(server):
    output = invoked("doctor", "--trial")

    for word in ("ComfyUI 0.33.0", "v1-5-pruned", "ComfyUI-Impact-Pack", "masks", "rendered in", "GiB free"):
        assert word in output, word
    found = diagnose(server.url)
    assert (found.kind, found.version, found.busy) == ("comfyui", "0.33.0", False)
