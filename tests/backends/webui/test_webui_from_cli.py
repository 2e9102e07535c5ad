"""What a server can do, asked for on the command line: over both recorded servers, in the request, file and text."""

import io
import json
from pathlib import Path

import pytest
import requests
from PIL import Image, ImageChops, ImageDraw
from typer.testing import CliRunner

from rxpipe.cli import app
from rxpipe.pictures import a1111, png
from rxpipe.pictures.metadata import read_info
from rxpipe.testing.servers.webui import WebUIServer

SMALL = ("--images", "1", "--width", "64", "--height", "64", "--steps", "3", "--seed", "7")
PICTURE = "x" * 5000
OPTIONS = {
    "extensions": ("controlnet",),
    "modules": ("nice.safetensors",),
    "loras": ("detail",),
    "styles": {"sketchy": ("{prompt}, pencil", "colour")},
}


@pytest.fixture(params=["forge", "a1111"])
def server(request, monkeypatch, tmp_path):
    """A server with everything installed; the command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    with WebUIServer(request.param, **OPTIONS) as running:
        monkeypatch.setenv("RXPIPE_BACKEND", running.url)
        yield running


def run(*arguments):
    """The file of the last stage, what its text and its lineage say, and what was printed."""
    ran = CliRunner().invoke(app, ["run", *arguments], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    path = Path(ran.stdout.splitlines()[-1])
    text = png.read_text(path.read_bytes())["parameters"]
    return path, a1111.parse_parameters(text), read_info(path).lineage.lineage[-1].settings, ran.output


def drawn(*sets, prompt="a lighthouse"):
    options = (part for assignment in sets for part in ("--set", assignment))
    return run(*SMALL, "--prompt", prompt, "--stages", "txt2img", *options)


def opened(path):
    return Image.open(io.BytesIO(path.read_bytes()))


def sent(server):
    return [call.body for call in server.calls if call.stage is not None][-1]


def test_hires(server):
    """The second pass's size is the file's, with the first pass's CFG scale."""
    path, text, settings, _ = drawn('txt2img.hires={scale=2, steps=2, upscaler="Latent"}', "txt2img.cfg_scale=5")
    assert opened(path).size == (128, 128)
    assert (text.settings["Hires upscale"], text.settings["Hires steps"]) == ("2.0", "2")
    assert settings["hires"] == {"scale": 2, "steps": 2, "upscaler": "Latent"}
    if server.flavour.name == "forge":
        assert text.settings["Hires CFG Scale"] == "5.0"


def test_controlnet(server):
    """Its further picture is a warning; the file's lineage has the digest of the control picture."""
    unit = json.dumps({"args": [{"enabled": True, "module": "canny", "image": PICTURE}]})
    path, text, settings, output = drawn(f"txt2img.alwayson_scripts.ControlNet={unit}")
    assert sent(server)["alwayson_scripts"]["ControlNet"]["args"][0]["image"] == PICTURE
    assert text.settings["Seed"] == "7"
    assert settings["alwayson_scripts"]["ControlNet"]["args"][0]["image"].startswith("sha256:")
    assert "1 more picture than asked for" in output
    assert len(list(path.parent.glob("*.png"))) == 1


@pytest.mark.sampled(1)
def test_clip_skip(server):
    """In the text, and nothing of it is left on the server."""
    before = requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json()
    _, text, settings, _ = drawn("txt2img.clip_skip=2")
    assert (text.settings["Clip skip"], settings["clip_skip"]) == ("2", 2)
    assert requests.get(f"{server.url}/sdapi/v1/options", timeout=5).json() == before


def test_vae(server):
    """By the route that the server has for it."""
    _, text, _, _ = drawn("txt2img.vae=NICE")
    forge = server.flavour.name == "forge"
    assert text.settings["Module 1" if forge else "VAE"].removesuffix(".safetensors") == "nice"


def test_styles(server):
    """Expanded in the text."""
    _, text, settings, _ = drawn('txt2img.styles=["sketchy"]')
    assert sent(server)["styles"] == ["sketchy"]
    assert (text.prompt, text.negative_prompt) == ("a lighthouse, pencil", "colour")
    assert tuple(settings["styles"]) == ("sketchy",)


def test_lora(server):
    """Found, and said so by its hash."""
    _, text, _, output = drawn(prompt="a lighthouse <lora:Detail:0.8>")
    assert "<lora:detail:0.8>" in sent(server)["prompt"]
    assert text.settings["Lora hashes"].startswith("detail: ")
    assert "leaves it out" not in output


@pytest.mark.parametrize("area", ["false", "true"])
@pytest.mark.sampled(2)
def test_mask(server, tmp_path, area):
    """A mask for each input picture; outside of it nothing changes."""
    for name, box in (("a", (10, 10, 30, 30)), ("b", (30, 30, 50, 60))):
        Image.new("RGB", (64, 64), "navy").save(tmp_path / f"{name}.png")
        mask = Image.new("L", (64, 64))
        ImageDraw.Draw(mask).rectangle(box, fill="white")
        mask.save(tmp_path / f"{name}_mask.png")
    sets = ("img2img.mask={stem}_mask.png", f"img2img.inpaint_full_res={area}", "img2img.prompt=a cat")
    options = [part for assignment in sets for part in ("--set", assignment)]
    inputs = ("--input", "a.png", "--input", "b.png")
    path, text, settings, _ = run("--stages", "img2img", *inputs, *options)

    for name, file in zip("ab", sorted(path.parent.glob("*.png")), strict=True):
        changed = ImageChops.difference(opened(file).convert("RGB"), opened(tmp_path / f"{name}.png"))
        mask = opened(tmp_path / f"{name}_mask.png")
        assert changed.getbbox() == mask.getbbox()
    assert text.settings["Inpaint area"] == ("Only masked" if area == "true" else "Whole picture")
    assert settings["mask"] == "{stem}_mask.png"
    assert len(server.jobs) == 2


def test_payload(server):
    """Whatever it is, in the request and in the lineage."""
    _, text, settings, _ = drawn("txt2img.payload.eta=0.5", 'txt2img.payload.comments={"a": ["b", null]}')
    assert (sent(server)["eta"], sent(server)["comments"]) == (0.5, {"a": ["b", None]})
    assert settings["payload"] == {"eta": 0.5, "comments": {"a": ["b", None]}}
    assert text.settings["Seed"] == "7"


@pytest.mark.parametrize("name", ["jpg", "webp"])
@pytest.mark.sampled(2)
def test_another_format_of_the_server(server, name):
    """The file is a PNG with the server's text all the same, and it is said what the option costs."""
    requests.post(f"{server.url}/sdapi/v1/options", json={"samples_format": name}, timeout=5)
    path, text, _, output = drawn()
    assert opened(path).format == "PNG"
    assert (text.prompt, text.settings["Seed"], text.settings["Size"]) == ("a lighthouse", "7", "64x64")
    assert "samples_format" in output
