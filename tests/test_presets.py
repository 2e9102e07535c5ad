"""What to run, from any file; options on top of it; and back into the shape of a preset."""

from __future__ import annotations

import io
import json
import re
import tomllib
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

import rxpipe as rxp
from rxpipe.config import SECTIONS, CustomConfig, PipelineConfig, RunSettings, Txt2ImgConfig, UpscaleConfig
from rxpipe.errors import BadImage, ConfigError
from rxpipe.pictures import png
from rxpipe.pictures.formats import picture_format
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.plan import build_stage_execution_plan, plan_stages
from rxpipe.presets import KINDS, apply, config_toml, dump, read_job, recall, stage_that_takes
from rxpipe.sinks.images import ImageWriter

DATA = Path(__file__).parent / "data"
FORGE = (DATA / "forge-txt2img.png").read_bytes()
TEXTS = {
    "TOML": '[txt2img]\nprompt = "a cat"\n[upscale]\nscale = 3\n',
    "YAML": "txt2img:\n  prompt: a cat\nupscale: {scale: 3}\n",
    "JSON": '{"txt2img": {"prompt": "a cat"}, "upscale": {"scale": 3}}',
}
NAMES = ["job", "job.txt", "job.toml", "job.yaml", "job.yml", "job.json", "job.png", "job.bmp", "job.JPG"]


def picture(kind: str, text: str = "a cat\nSteps: 9, Seed: 4, Size: 64x128") -> bytes:
    out, image = io.BytesIO(), Image.new("RGB", (64, 32))
    if kind == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("parameters", text)
        image.save(out, kind, pnginfo=info)
    else:
        exif = image.getexif()
        exif.get_ifd(0x8769)[0x9286] = b"UNICODE\0" + text.encode("utf-16-be")
        image.save(out, kind, exif=exif)
    return out.getvalue()


def load_job(path, trust=None) -> PipelineConfig:
    """The config in a file; what it was drawn over is given, as nothing here runs."""
    job = read_job(path)
    return recall(path, trust=trust, input="photo.png" if job.source else ()).config


def problem(call) -> str:
    with pytest.raises(ConfigError) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", TEXTS)
def test_a_config_is_read_whatever_its_file_is_called(tmp_path, kind, name):
    """Its content says whether it is TOML, YAML or JSON."""
    (tmp_path / name).write_text(TEXTS[kind])
    wanted = PipelineConfig(txt2img=Txt2ImgConfig(prompt="a cat"), upscale=UpscaleConfig(scale=3))
    assert load_job(tmp_path / name) == load_job(str(tmp_path / name)) == wanted
    assert read_job(tmp_path / name).kind == "config"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_is_read_whatever_its_file_is_called(tmp_path, kind, name):
    """A PNG called .bmp, a JPEG without an ending: its first bytes say what it is."""
    (tmp_path / name).write_bytes(picture(kind))
    config = load_job(tmp_path / name)
    assert (config.txt2img.prompt, config.txt2img.steps, config.txt2img.seed) == ("a cat", 9, 4)
    assert (config.txt2img.width, config.txt2img.height, config.txt2img.images) == (64, 128, 1)
    assert recall(tmp_path / name) == (config, ())
    assert read_job(tmp_path / name).kind == "picture"


def test_a_picture_of_a_run_gives_the_stages_it_went_through(tmp_path):
    """With their settings, one image, and the seed of this picture."""
    config = PipelineConfig(
        txt2img=Txt2ImgConfig(prompt="hills", images=2, width=64, height=64, steps=2, seed=7),
        upscale=UpscaleConfig(scale=1.5),
        out=tmp_path,
    )
    result = rxp.PipelineRunner(rxp.open_backend("sketch")).run(config)
    again = rxp.recall(result.images[1].path).config
    assert (again.txt2img.prompt, again.txt2img.images, again.txt2img.seed) == ("hills", 1, 8)
    assert again.upscale.scale == 1.5
    assert again.img2img is again.adetailer is None


def lineage_of(tmp_path, *entries, trust=None):
    """The config of a picture that went through these stages."""
    image = rxp.Artifact(id="a-1", data=picture("PNG"))
    for stage, settings in entries:
        image = image.with_lineage(LineageEntry(stage, "webui", settings))
    stage = plan_stages([UpscaleConfig()], RunSettings()).stages[0]
    path = ImageWriter(tmp_path).write(image, stage, datetime.now(UTC)).path
    return rxp.recall(path, trust=trust, input="photo.png" if entries[0][0] != "txt2img" else ()).config


def test_a_picture_decides_neither_what_is_sent_unchecked_nor_which_file_is_read(tmp_path):
    """Payload and the path of a mask are a stranger's: they are named, and taken only where they are trusted."""
    settings = {"denoising_strength": 0.5, "mask": "face_mask.png", "payload": {"script_name": "x"}, "mask_blur": 9}
    plain = {"denoising_strength": 0.5, "mask_blur": 9}
    with pytest.raises(rxp.ConfigError, match=r"(?s)img2img\.mask would be sent.*img2img\.payload would be sent"):
        lineage_of(tmp_path, ("img2img", settings))
    assert lineage_of(tmp_path, ("img2img", settings), trust=False).img2img == rxp.Img2ImgConfig(**plain)
    assert lineage_of(tmp_path, ("img2img", settings), trust=True).img2img == rxp.Img2ImgConfig(**settings)


def test_what_a_picture_recorded_as_a_digest_cannot_be_sent(tmp_path):
    """A control picture of megabytes is not in the lineage; its digest is not sent in its place."""
    digest = f"sha256:{'0' * 64} (5000000 bytes)"
    settings = {"alwayson_scripts": {"controlnet": {"args": [{"image": digest}]}}}
    with pytest.raises(rxp.ConfigError, match=r"txt2img\.alwayson_scripts: recorded only as a digest.*--no-trust"):
        lineage_of(tmp_path, ("txt2img", settings), trust=True)
    assert lineage_of(tmp_path, ("txt2img", settings), trust=False).txt2img == rxp.Txt2ImgConfig()


@pytest.mark.parametrize(
    ("recorded", "settings"),
    [
        ({"scale": 1.5, "width": 96, "height": 48}, {"scale": 1.5}),
        ({"width": 96, "height": 48, "fit": "crop"}, {"width": 96, "height": 48, "fit": "crop"}),
    ],
)
def test_a_picture_was_upscaled_by_its_factor_or_to_its_size(tmp_path, recorded, settings):
    """The size that resulted is no setting where there was a factor."""
    assert lineage_of(tmp_path, ("upscale", recorded)).upscale == UpscaleConfig(**settings)


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"", "looks like an empty file"),
        (b"# nothing\n", "looks like plain text ('# nothing')"),
        (b"a lighthouse at dusk", "looks like plain text ('a lighthouse at dusk')"),
        (b"<!DOCTYPE html>\n<html>", "looks like plain text ('<!DOCTYPE html> <html>')"),
        (b"PK\3\4\0\0", "looks like binary data"),
        (b"\x89PNG\r\n\0", "looks like binary data"),
        (b"- a\n- b", "looks like YAML that holds a list where sections such as txt2img are expected"),
    ],
)
@pytest.mark.parametrize("name", ["job", "job.txt", "job.png"])
def test_a_file_of_no_kind_is_told_with_what_it_looks_like_and_what_is_allowed(tmp_path, name, data, looks):
    """One line: the file, what it looks like, what is allowed."""
    (tmp_path / name).write_bytes(data)
    told = problem(lambda: load_job(tmp_path / name))
    assert told == (
        f"{tmp_path / name}: {looks}; allowed: a config in TOML, YAML or JSON, with sections such as txt2img, or a "
        "picture that says how it was made (PNG, JPEG, WebP, AVIF, GIF, ...)"
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"steps = ", "not well-formed TOML: Invalid value"),
        (b'{"a": 1,}', "not well-formed JSON: "),
        (b"a: [", "not well-formed YAML: "),
        ('order = "image"'.encode("utf-16"), "not UTF-8 (at byte 0); save it as UTF-8"),
        (b"\x89PNG", "not UTF-8 (at byte 0); save it as UTF-8"),
        (b"[txt2img]\nstps = 3", "job: txt2img.stps: unknown key; did you mean 'steps'?"),
    ],
)
def test_a_broken_config_is_told_in_the_words_of_its_kind(tmp_path, data, told):
    """Though nothing but its content says which kind that is."""
    (tmp_path / "job").write_bytes(data)
    assert told in problem(lambda: load_job(tmp_path / "job"))


def test_a_picture_that_is_damaged_or_mute_is_told_with_its_name(tmp_path):
    """The first cannot be read, the second says nothing."""
    (tmp_path / "torn").write_bytes(FORGE[:60])
    (tmp_path / "mute").write_bytes(picture("PNG", ""))
    for load in (rxp.recall, read_job):
        with pytest.raises(BadImage, match=r"torn: PNG: (cut off|no chunk)"):
            load(tmp_path / "torn")
        assert "mute: the picture does not say how it was made." in problem(lambda load=load: load(tmp_path / "mute"))


def test_what_is_not_there_or_a_folder_is_told(tmp_path):
    """With the nearest name there is, or what else to do."""
    assert "none: no such config file or picture. To generate it: " in problem(lambda: load_job(tmp_path / "none"))
    (tmp_path / "four.toml").touch()
    assert problem(lambda: load_job(tmp_path / "for.toml")).endswith(f"Did you mean {tmp_path / 'four.toml'}?")
    assert ": is a folder, and no config file or picture. Give a file" in problem(lambda: load_job(tmp_path))


@given(
    st.binary(max_size=80),
    st.sampled_from([b"", b"BM", b"GIF89a", b"\xff\xd8\xff", b"{", b"[a]\n", b"a: ", FORGE[:60]]),
)
def test_any_bytes_make_a_job_or_an_error_of_ours(tmp_path_factory, tail, head):
    """Never another exception."""
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(head + tail)
    try:
        load_job(path)
    except (ConfigError, BadImage) as error:
        assert str(path.name) in str(error)  # noqa: PT017  # any of two is right


def test_a_text_that_begins_like_a_bitmap_is_a_text(tmp_path):
    """Two letters make no picture."""
    (tmp_path / "job").write_text("BM: größer\n", encoding="utf-8")
    assert "BM: unknown key" in problem(lambda: load_job(tmp_path / "job"))


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("PNG", "PNG"),
        ("JPEG", "JPEG"),
        ("WEBP", "WebP"),
        ("GIF", "GIF"),
        ("BMP", "BMP"),
        ("TIFF", "TIFF"),
        ("AVIF", "AVIF"),
    ],
)
def test_the_format_of_a_picture_is_known_by_its_first_bytes(kind, name):
    """As Pillow writes them."""
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, kind)
    assert picture_format(out.getvalue()[:64]) == name
    assert KINDS[0].accepts(out.getvalue()[:64])


# -- options ----------------------------------------------------------------------------------------------------------

ALL = {"txt2img": {}, "img2img": {}, "adetailer": {}, "upscale": {}}


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("prompt", "txt2img"),
        ("width", "txt2img"),
        ("denoising_strength", "img2img"),
        ("resize_mode", "img2img"),
        ("detector", "adetailer"),
        ("checkpoint", "adetailer"),
        ("scale", "upscale"),
    ],
)
def test_an_option_goes_to_the_first_stage_that_takes_it(name, stage):
    """Each by itself: a later stage may be the first to have a setting."""
    applied = apply(ALL, generation={name: 1})
    assert applied == {**ALL, stage: {name: 1}}
    assert stage_that_takes(name, SECTIONS) == stage


def test_options_go_to_stages_that_run():
    """A stage that is switched off, left out, or replaced by a picture takes none."""
    assert apply({**ALL, "txt2img": {"enabled": False}}, generation={"prompt": "a"})["img2img"] == {"prompt": "a"}
    assert apply(ALL, stages=["adetailer"], generation={"prompt": "a"}) == {"adetailer": {"prompt": "a"}}
    given_picture = apply(ALL, settings={"input": ["a.png"]}, generation={"prompt": "a"})
    assert given_picture == {"img2img": {"prompt": "a"}, "adetailer": {}, "upscale": {}, "input": ["a.png"]}


def test_an_option_that_no_stage_takes_is_refused():
    """Under the option's name, each on a line of its own."""
    with pytest.raises(ConfigError) as raised:
        apply(ALL, stages=["upscale"], generation={"prompt": "a", "sampler_name": "Euler", "cfg_scale": 3})
    assert raised.value.problems == (
        "--prompt: none of the stages that run takes it (upscale)",
        "--cfg-scale: none of the stages that run takes it (upscale)",
    )


def test_options_precede_assignments_and_assignments_the_file():
    """For a stage and for the run as a whole."""
    values = {"txt2img": {"steps": 1, "seed": 1, "width": 64}, "order": "auto", "save": "all"}
    applied = apply(
        values,
        sets=["txt2img.steps=2", "txt2img.seed=2", "order=stage"],
        generation={"seed": 3},
        settings={"order": "image"},
    )
    assert applied == {"txt2img": {"steps": 2, "seed": 3, "width": 64}, "order": "image", "save": "all"}
    assert values == {"txt2img": {"steps": 1, "seed": 1, "width": 64}, "order": "auto", "save": "all"}


def test_a_named_stage_is_switched_on():
    """One that the file lacks gets its defaults."""
    assert apply({"upscale": {"enabled": False, "scale": 3}}, stages=["txt2img", "upscale"]) == {
        "txt2img": {},
        "upscale": {"enabled": True, "scale": 3},
    }


# -- the shape of a preset --------------------------------------------------------------------------------------------


def test_a_dumped_config_is_the_same_config_again(tmp_path):
    """Only what was set; through JSON and YAML."""
    config = PipelineConfig(
        txt2img=Txt2ImgConfig(prompt="a", hires={"scale": 1.5}), upscale=None, out=None, order="image"
    )
    dumped = dump(config)
    assert dumped == {"txt2img": {"prompt": "a", "hires": {"scale": 1.5}}, "out": None, "order": "image"}
    for text in (json.dumps(dumped), yaml.safe_dump(dumped)):
        (tmp_path / "preset").write_text(text)
        assert load_job(tmp_path / "preset") == config


def test_a_dumped_plan_is_the_dumped_config():
    """Settings of the run and the stages that run; a second stage of a type has its number, a custom one its name."""
    config = PipelineConfig(txt2img=Txt2ImgConfig(prompt="a", steps=3), upscale=UpscaleConfig(scale=3), order="image")
    plan = build_stage_execution_plan(config)
    dumped = dump(plan)
    assert {name: dumped[name] for name in ("txt2img", "upscale", "order")} == dump(config)
    twice = plan_stages(
        [Txt2ImgConfig(), UpscaleConfig(), CustomConfig(name="mark", kind="function"), UpscaleConfig(scale=3)],
        RunSettings(),
    )
    assert list(dump(twice))[-4:] == ["txt2img", "upscale", "mark", "upscale 2"]


# -- pictures of strangers ------------------------------------------------------------------------------------------


def stranger(tmp_path, stage="txt2img", **settings):
    """A picture whose lineage asks for *settings*."""
    data = png.insert_text(
        picture("PNG"),
        {"rxpipe": json.dumps({"id": "x", "lineage": [{"stage": stage, "backend": "b", "settings": settings}]})},
    )
    (tmp_path / "stranger.png").write_bytes(data)
    return tmp_path / "stranger.png"


STEERING = [
    ("txt2img", {"override_settings": {"outdir_samples": "/etc"}}, "txt2img.override_settings would be sent: {'outdir"),
    ("txt2img", {"alwayson_scripts": {"x": {"args": [1]}}}, "txt2img.alwayson_scripts would be sent: {'x': "),
    ("img2img", {"override_settings": {"x": 1}}, "img2img.override_settings would be sent"),
    ("txt2img", {"styles": ["a"]}, "txt2img.styles would be sent: ['a']"),
    ("txt2img", {"model": "../../x.ckpt"}, "txt2img.model would be sent: '../../x.ckpt'"),
    ("txt2img", {"model": "C:\\x.ckpt"}, "txt2img.model would be sent"),
    ("txt2img", {"vae": "/srv/x.pt"}, "txt2img.vae would be sent"),
    ("txt2img", {"hires": {"upscaler": "//host/x"}}, "txt2img.hires would be sent"),
    ("txt2img", {"refiner": {"checkpoint": "http://host/x"}}, "txt2img.refiner would be sent"),
    ("adetailer", {"detector": "../x.pt"}, "adetailer.detector would be sent"),
    ("adetailer", {"units": [{"detector": "~/x.pt"}]}, "adetailer.units would be sent"),
    ("upscale", {"upscaler": "..\\x"}, "upscale.upscaler would be sent"),
    ("upscale", {"max_megapixels": 1e9}, "upscale.max_megapixels would be sent"),
]


@pytest.mark.parametrize(("stage", "settings", "told"), STEERING, ids=lambda value: str(value)[:40])
def test_a_strangers_picture_does_not_steer_a_server(tmp_path, stage, settings, told):
    """What does more than draw is shown and asked about; trusted it is sent, else it can be left out."""
    path = stranger(tmp_path, stage, **settings, **({} if stage == "upscale" else {"prompt": "a pier"}))
    with pytest.raises(ConfigError, match="--trust") as raised:
        load_job(path)
    assert told in str(raised.value)
    assert read_job(path).values[stage].keys().isdisjoint(settings)
    plain = getattr(load_job(path, trust=False), stage)
    sent = getattr(load_job(path, trust=True), stage)
    assert not plain.model_fields_set & settings.keys()
    assert sent.model_fields_set >= settings.keys()


def test_plain_drawing_settings_of_a_strangers_picture_need_no_trust(tmp_path):
    """Names in folders of the server's own, sections of numbers, and any prompt."""
    settings = {
        "prompt": "/imagine http://a ../b",
        "model": "SDXL/juggernaut.safetensors [abc]",
        "hires": {"scale": 1.5, "upscaler": "Latent"},
        "override_settings": {},
        "seed": 7,
    }
    config = load_job(stranger(tmp_path, **settings))
    assert (config.txt2img.model, config.txt2img.hires.scale) == (settings["model"], 1.5)


def test_a_model_path_in_a1111s_text_is_held_too(tmp_path):
    """Any tool's text is a stranger's."""
    data = png.insert_text(picture("PNG"), {"parameters": "a pier\nSteps: 3, Seed: 5, CFG scale: 2, Model: ../../x"})
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(ConfigError, match=r"txt2img\.model would be sent: '\.\./\.\./x'"):
        load_job(tmp_path / "a.png")


@pytest.mark.parametrize(
    "sections",
    [
        {"txt2img": {}, "img2img": {"prompt": None}, "adetailer": {}},
        {"txt2img": {"hires": {}, "refiner": None}},
        {"txt2img": {"hires": {"prompt": None}}, "upscale": {}},
        {"txt2img": {"payload": {"a": {"b": {}}, "": [[], {}]}}},
    ],
)
def test_a_config_as_toml_is_read_as_the_same(sections):
    """A stage of which only nulls were set, or nothing, is a stage; one without a line of its own was lost."""
    config = PipelineConfig.from_mapping(sections)
    assert PipelineConfig.from_mapping(tomllib.loads(config_toml(config))) == config


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"txt2img": {"alwayson_scripts": {"x": {"args": [1, None, 3]}}}}, "txt2img.alwayson_scripts.x.args.2"),
        ({"txt2img": {"payload": {"eta": None}}}, "txt2img.payload.eta"),
        ({"txt2img": {}, "out": None}, "out"),
    ],
)
def test_a_null_that_toml_cannot_hold_is_refused(settings, where):
    """It was left out, so that the arguments behind it moved up, and pictures in memory went to files."""
    with pytest.raises(ConfigError, match=re.escape(f"would mean something else: {where}. Keep the file in JSON")):
        config_toml(PipelineConfig.from_mapping(settings))
