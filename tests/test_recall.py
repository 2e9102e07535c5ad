"""Pictures run again: several at once, nothing dropped in silence, and what they were drawn from asked for."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image, PngImagePlugin
from typer.testing import CliRunner

import rxpipe as rxp
from rxpipe.cli.app import app
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures.metadata import read_info
from rxpipe.presets import read_jobs

TEXT = (
    "a pier at dawn\nNegative prompt: fog\n"
    "Steps: 1, Sampler: Euler a, CFG scale: 6.5, Seed: {seed}, Size: 64x96, ENSD: 31337"
)


def picture(folder, name="a.png", seed=7, more="", text=TEXT):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", text.format(seed=seed) + more)
    out = io.BytesIO()
    Image.linear_gradient("L").resize((64, 96)).convert("RGB").save(out, "PNG", pnginfo=info)
    path = folder / name
    path.write_bytes(out.getvalue())
    return path


def run(*args):
    return CliRunner().invoke(app, list(map(str, args)), env={"COLUMNS": "300"})


def test_several_pictures_run_one_after_another(tmp_path):
    """Each with its own seed; each says what is not carried over; the options hold for all."""
    paths = [picture(tmp_path, f"{name}.png", seed) for name, seed in (("a", 7), ("b", 8), ("c", 9))]
    done = run("run", *paths, "--backend", "embedded", "--out", tmp_path / "out", "--steps", 2)
    assert done.exit_code == 0, done.output
    drawn = [read_info(path) for path in sorted((tmp_path / "out").rglob("*.png"))]
    assert [(info.seed, info.prompt, info.settings["Steps"]) for info in drawn] == [
        (seed, "a pier at dawn", "2") for seed in (7, 8, 9)
    ]
    for name in "abc":
        assert f"{name}.png: not carried over: ENSD" in done.output


def test_a_dry_run_lists_what_is_not_carried_over(tmp_path):
    """As the code has it."""
    path = picture(tmp_path, more=', RNG: CPU, ControlNet 0: "Module: canny, Weight: 1"')
    done = run("run", path, "--dry-run")
    assert (done.exit_code, "not carried over: ENSD, RNG, ControlNet 0" in done.output) == (0, True)
    assert rxp.recall(path).not_carried_over == ("ENSD", "RNG", "ControlNet 0")


def test_a_picture_drawn_over_another_asks_for_it(tmp_path):
    """And is then drawn over it, with its own strength and seed."""
    path = picture(tmp_path, more=", Denoising strength: 0.4, Mask blur: 4")
    refused = run("run", path, "--dry-run")
    assert (refused.exit_code, "--input" in refused.output) == (2, True)
    with pytest.raises(ConfigError, match="was drawn over a picture"):
        rxp.recall(path)
    photo = picture(tmp_path, "photo.png", text="")
    done = run("run", path, "--input", photo, "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    config, left = rxp.recall(path, input=photo)
    assert (config.img2img.denoising_strength, config.img2img.seed, config.img2img.mask_blur) == (0.4, 7, 4)
    assert left == ("the mask of the part that was drawn", "ENSD")


def test_our_own_picture_drawn_over_another_asks_for_it_too(tmp_path):
    """Its record begins with img2img."""
    data = picture(tmp_path, "photo.png", text="").read_bytes()
    record = {"id": "x", "lineage": [{"stage": "img2img", "backend": "b", "settings": {"prompt": "a", "weird": 1}}]}
    from rxpipe.pictures import png  # noqa: PLC0415  beside its use

    (tmp_path / "own.png").write_bytes(png.insert_text(data, {"rxpipe": json.dumps(record)}))
    with pytest.raises(ConfigError, match="--input"):
        rxp.recall(tmp_path / "own.png")
    assert rxp.recall(tmp_path / "own.png", input=tmp_path / "photo.png").not_carried_over == ("img2img.weird",)


def test_a_damaged_picture_still_says_how_it_was_made(tmp_path):
    """Cut off or with a wrong checksum behind its texts: both are told; it is no input, and silent ones are refused."""
    whole = picture(tmp_path).read_bytes()
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole[:-30])
    flipped = tmp_path / "flipped.png"
    flipped.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
    for path in (cut, flipped):
        assert read_info(path).prompt == "a pier at dawn"
        config, left = rxp.recall(path)
        assert config.txt2img.seed == 7
        assert left[-1].startswith("what stands behind the damage (PNG: ")
        told = run("info", path)
        assert (told.exit_code, "a pier at dawn" in told.output, "PNG:" in told.output) == (2, True, True)
        assert run("run", "--input", path, "--stages", "upscale", "--dry-run").exit_code == 2
    silent = tmp_path / "silent.png"
    silent.write_bytes(picture(tmp_path, text="").read_bytes().replace(b"tEXtparameters\0", b"teXtparameters\0")[:-30])
    with pytest.raises(BadImage):
        read_info(silent)


@pytest.mark.parametrize(
    ("more", "want"),
    [
        (", VAE: Automatic", {"vae": None}),
        (", VAE: None", {"vae": None}),
        (", Clip skip: 0", {"clip_skip": None}),
        (", Clip skip: -2", {"clip_skip": 2}),
        (", Schedule type: Automatic", {"scheduler": None}),
        (", Schedule type: karras", {"scheduler": "Karras"}),
        (", Refiner: None", {"refiner": None}),
        (", Model: None", {"model": None}),
        (", Tiling: False", {"tiling": False}),
    ],
)
def test_values_that_stand_for_nothing_are_nothing(tmp_path, more, want):
    """And those of other tools are A1111's."""
    section = rxp.recall(picture(tmp_path, more=more)).config.txt2img
    assert {name: getattr(section, name) for name in want} == want


def test_a_size_that_no_server_draws_is_said(tmp_path):
    """It is drawn in the nearest one below."""
    config, left = rxp.recall(picture(tmp_path, text=TEXT.replace("64x96", "100x133")))
    assert (config.txt2img.width, config.txt2img.height) == (96, 128)
    assert "Size 100x133, drawn as 96x128" in left


def test_a_preset_is_for_packs_only(tmp_path):
    """A picture has settings of its own."""
    path = picture(tmp_path)
    with pytest.raises(ConfigError, match="--preset is for prompt packs"):
        read_jobs(path, preset=path)
    assert run("run", "--preset", path, "--dry-run").exit_code == 2


def test_a_picture_drawn_from_nothing_is_drawn_over_the_one_that_is_given(tmp_path):
    """With its prompt, its seed and the rest that img2img has; what it has no place for is named."""
    path = picture(tmp_path, more=", Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: Latent, Tiling: True")
    photo = picture(tmp_path, "photo.png", text="")
    config, left = rxp.recall(path, input=photo)
    assert config.txt2img is None
    assert (config.img2img.prompt, config.img2img.seed, config.img2img.steps) == ("a pier at dawn", 7, 1)
    assert (config.img2img.width, config.input) == (None, (photo,))
    assert left == ("ENSD", "txt2img.hires", "txt2img.tiling")
    done = run("run", path, "--input", photo, "--dry-run", "--denoise", 0.6)
    assert (done.exit_code, "not carried over: ENSD, txt2img.hires, txt2img.tiling" in done.output) == (0, True)
    assert "a pier at dawn" in done.output


def test_our_text_alone_gives_the_settings_back(tmp_path):
    """Where a tool has kept A1111's text of our picture and lost the record beside it."""
    from rxpipe.pictures.a1111 import StageFacts, parameters_text  # noqa: PLC0415  beside its use

    config = rxp.Txt2ImgConfig(
        prompt="a pier",
        negative_prompt="fog",
        steps=22,
        cfg_scale=6.5,
        width=512,
        height=768,
        seed=4711,
        sampler_name="DPM++ 2M",
        scheduler="Karras",
        model="sea",
        clip_skip=2,
        subseed=5,
        subseed_strength=0.2,
        tiling=True,
        hires=rxp.HiresConfig(
            scale=1.5, upscaler="Latent", steps=9, denoising_strength=0.4, prompt="a pier, sharp", cfg_scale=4
        ),
        refiner=rxp.RefinerConfig(checkpoint="polish", switch_at=0.7),
    )
    section = config.model_dump()
    facts = StageFacts(stage="txt2img", generation=section, section=section, seed=4711, size=(768, 1152), version="1")
    found = rxp.recall(picture(tmp_path, text=parameters_text(facts))).config.txt2img
    assert {name: getattr(found, name) for name in config.model_fields_set} == {
        name: getattr(config, name) for name in config.model_fields_set
    }
