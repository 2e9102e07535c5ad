"""Configs: what is wrong is told at once, in the words of a config file; every way in gives the same."""

from __future__ import annotations

import inspect
import json
import pickle
import pydoc
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from rxpipe import config as config_module
from rxpipe.config import (
    AdetailerConfig,
    AdetailerStageConfig,
    AdetailerUnit,
    Config,
    CustomConfig,
    HiresConfig,
    Img2ImgConfig,
    PipelineConfig,
    RefinerConfig,
    RetryConfig,
    RunMetadata,
    RunSettings,
    Txt2ImgConfig,
    UpscaleConfig,
    override,
    read_values,
)
from rxpipe.errors import ConfigError


def problems(make):
    """The lines that *make* is refused with."""
    with pytest.raises(ConfigError) as raised:
        make()
    return list(raised.value.problems)


# -- one wrong field --------------------------------------------------------------------------------------------------

NO_INPUT = "got 'pass', which hands on the stage's input, and txt2img has none; allowed: 'drop', 'stop'"

WRONG = {
    "txt2img.steps": [
        (0, "got 0, should be at least 1"),
        (1001, "got 1001, should be at most 1000"),
        ("28-32", "got '28-32', should be a whole number"),
        (1.5, "got 1.5, should be a whole number"),
        (True, "got True, should be a number"),
        (None, "got None, should be a whole number"),
        ([20], "got [20], should be a whole number"),
    ],
    "txt2img.cfg_scale": [
        (-0.1, "got -0.1, should be at least 0"),
        ("high", "got 'high', should be a number"),
        (float("nan"), "got nan, should be a finite number"),
        (float("inf"), "got inf, should be a finite number"),
        (False, "got False, should be a number"),
    ],
    "txt2img.width": [
        (500, "got 500, must be a multiple of 8 (px), such as 496 or 504"),
        (63, "got 63, should be at least 64"),
        (8200, "got 8200, should be at most 8192"),
    ],
    "txt2img.seed": [
        (-2, "got -2, should be at least -1"),
        (2**64, "got 18446744073709551616, should be at most 18446744073709551615"),
    ],
    "txt2img.prompt": [
        (True, "got True, should be text"),
        (["a", "b"], "got ['a', 'b'], should be text"),
        ("\ud800", "got '\\ud800', cannot be written as JSON in UTF-8, as events and files are"),
    ],
    "txt2img.styles": [("a", "got 'a', should be a list")],
    "txt2img.tiling": [("maybe", "got 'maybe', should be true or false")],
    "txt2img.enabled": [(2, "got 2, should be true or false")],
    "txt2img.on_error": [
        ("skip", "got 'skip', should be 'drop', 'pass' or 'stop'"),
        ("pass", NO_INPUT),
    ],
    "txt2img.hires": [(True, "got True, should be a section, a table of settings")],
    "txt2img.hires.scale": [(0.5, "got 0.5, should be at least 1")],
    "txt2img.refiner": [("sdxl", "got 'sdxl', should be a section, a table of settings")],
    "txt2img.refiner.switch_at": [(80, "got 80, should be at most 1")],
    "txt2img.override_settings": [([1], "got [1], should be a table of keys and values")],
    "img2img.denoising_strength": [(1.01, "got 1.01, should be at most 1")],
    "img2img.resize_mode": [(4, "got 4, should be at most 3")],
    "adetailer.confidence": [("30%", "got '30%', should be a number")],
    "adetailer.mask_filter_method": [("area", "got 'area', should be 'Area' or 'Confidence'")],
    "adetailer.units": [({"detector": "x"}, "should be a list"), (["x"], None)],
    "upscale.scale": [(9, "got 9, should be at most 8"), ("2x", "got '2x', should be a number")],
    "upscale.mode": [("double", "got 'double', should be 'single' or 'img2img'")],
    "upscale.max_megapixels": [(0, "got 0, should be above 0")],
    "retry.attempts": [(0, "got 0, should be at least 1")],
    "metadata.run_id": [("", "got '', should not be empty")],
    "order": [("stge", "got 'stge', should be 'stage', 'image' or 'auto'")],
    "save": [("none", "got 'none', should be 'all' or 'final'")],
    "input": [("photo.png", "got 'photo.png', should be a list")],
    "out": [(5, "got 5, should be a path")],
    "timeout_s": [(0, "got 0, should be above 0")],
    "max_failures_in_a_row": [(0, "got 0, should be at least 1")],
    "txt2img": [(5, "got 5, should be a section, a table of settings")],
    "retry": [([], "got [], should be a section, a table of settings")],
}


def values_with(name, value):
    """The plain values of a config in which only the setting *name* is wrong."""
    *path, last = name.split(".")
    values = {"txt2img": {"refiner": {"checkpoint": "xl"}}}
    table = values
    for key in path:
        table = table.setdefault(key, {})
    table[last] = value
    return values


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        pytest.param(name, value, told, id=f"{name}={value!r:.20}".encode("ascii", "replace").decode())
        for name, rows in WRONG.items()
        for value, told in rows
        if told is not None
    ],
)
def test_a_wrong_value_is_told_with_file_stage_field_what_came_and_what_is_allowed(name, value, told):
    """One line, in the words of a config file."""
    assert problems(lambda: PipelineConfig.from_mapping(values_with(name, value), source="my.toml")) == [
        f"my.toml: {name}: {told}"
    ]


def test_a_wrong_item_of_a_list_is_told_with_its_place():
    """Counted from 0, as pydantic and JSON do."""
    wrong = {"adetailer": {"units": [{}, {"confidence": 2}, "x"]}}
    assert problems(lambda: PipelineConfig.from_mapping(wrong)) == [
        "adetailer.units.1.confidence: got 2, should be at most 1",
        "adetailer.units.2: got 'x', should be a section, a table of settings",
    ]


def test_a_long_value_is_cut():
    """A prompt in the wrong place fills no screen."""
    (told,) = problems(lambda: Txt2ImgConfig(steps="masterpiece, " * 100))
    assert len(told) < 150
    assert told.endswith("..., should be a whole number")


def test_a_required_field_that_is_missing_is_told():
    """The only one is the refiner's checkpoint."""
    assert problems(lambda: Txt2ImgConfig(refiner={})) == ["txt2img.refiner.checkpoint: missing; it has no default"]


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"txt2image": {}}, "txt2image: unknown key; did you mean 'txt2img'?"),
        ({"adetailr": {}}, "adetailr: unknown key; did you mean 'adetailer'?"),
        ({"txt2img": {"stps": 3}}, "txt2img.stps: unknown key; did you mean 'steps'?"),
        ({"txt2img": {"cfg": 7}}, "txt2img.cfg: unknown key; did you mean 'cfg_scale'?"),
        ({"img2img": {"denoise": 1}}, "img2img.denoise: unknown key; did you mean 'denoising_strength'?"),
        ({"txt2img": {"hires": {"scal": 1}}}, "txt2img.hires.scal: unknown key; did you mean 'scale'?"),
        (
            {"adetailer": {"units": [{"detectr": 1}]}},
            "adetailer.units.0.detectr: unknown key; did you mean 'detector'?",
        ),
        ({"retry": {"atempts": 2}}, "retry.atempts: unknown key; did you mean 'attempts'?"),
        ({"seed": 5}, "seed: unknown key; it is a setting of variants, txt2img, workflow, img2img, adetailer"),
        ({"refiner": {}, "upscale": {}}, "refiner: unknown key; it is a setting of txt2img"),
        (
            {"upscale": {"detector": "x"}},
            "upscale.detector: unknown key; it is a setting of adetailer, adetailer.units",
        ),
        (
            {"retry": {"xyzzy": 1}},
            "retry.xyzzy: unknown key; allowed: attempts, first_delay_s, factor, max_delay_s, jitter",
        ),
        ({1: 2}, "1: got 1, names of settings are text"),
    ],
    ids=str,
)
def test_an_unknown_key_is_refused_with_the_nearest_name_or_its_home_or_all(values, told):
    """Nothing is silently ignored."""
    assert problems(lambda: PipelineConfig.from_mapping(values)) == [told]


def test_every_wrong_field_is_told_at_once():
    """Across sections; known fields first, unknown ones after, and none stops another from being seen."""
    wrong = {
        "order": "both",
        "txt2img": {"steps": 0, "on_error": "pass", "promt": "x"},
        "upscale": {"scale": 0, "upscalr": "x"},
        "txt2imgs": {},
    }
    lines = problems(lambda: PipelineConfig.from_mapping(wrong, source="a.yaml"))
    assert set(lines) == {
        "a.yaml: order: got 'both', should be 'stage', 'image' or 'auto'",
        f"a.yaml: txt2img.on_error: {NO_INPUT}",
        "a.yaml: txt2img.steps: got 0, should be at least 1",
        "a.yaml: txt2img.promt: unknown key; did you mean 'prompt'?",
        "a.yaml: upscale.scale: got 0, should be at least 1",
        "a.yaml: upscale.upscalr: unknown key; did you mean 'upscaler'?",
        "a.yaml: txt2imgs: unknown key; did you mean 'txt2img'?",
    }
    assert len(lines) == 7


# -- ways in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: PipelineConfig(order="x"), id="construction"),
        pytest.param(lambda: PipelineConfig.from_mapping({"order": "x"}), id="from_mapping"),
        pytest.param(lambda: PipelineConfig.model_validate({"order": "x"}), id="model_validate"),
        pytest.param(lambda: PipelineConfig.model_validate_json('{"order": "x"}'), id="model_validate_json"),
        pytest.param(lambda: RunSettings(order="x"), id="settings of a chain"),
    ],
)
def test_whatever_way_a_config_comes_in_it_is_refused_alike(make):
    """A ConfigError, which is a ValueError, and no pydantic text in it."""
    assert problems(make) == ["order: got 'x', should be 'stage', 'image' or 'auto'"]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Txt2ImgConfig(steps=0), "txt2img.steps"),
        (lambda: Img2ImgConfig(steps=0), "img2img.steps"),
        (lambda: AdetailerConfig(steps=0), "adetailer.steps"),
        (lambda: AdetailerUnit(steps=0), "adetailer.units.steps"),
        (lambda: UpscaleConfig(steps=0), "upscale.steps"),
        (lambda: HiresConfig(scale=0), "hires.scale"),
        (lambda: RefinerConfig(checkpoint="x", switch_at=2), "refiner.switch_at"),
        (lambda: RetryConfig(attempts=0), "retry.attempts"),
        (lambda: RunMetadata(run_id=""), "metadata.run_id"),
        (lambda: CustomConfig(name="a", kind="magic"), "custom.kind"),
    ],
)
def test_a_section_made_in_code_names_itself(make, told):
    """The stage is told although there is no file."""
    assert problems(make)[0].startswith(f"{told}: got ")


def test_python_toml_yaml_and_json_give_equal_configs(tmp_path):
    """The same words in four notations, an absolute Windows path and a large seed among them."""
    windows = r"C:\Users\me\Pictures\out"
    values = {
        "order": "image",
        "out": windows,
        "input": [],
        "txt2img": {"prompt": "a café, (red:1.2)", "images": 3, "seed": 2357560774, "hires": {"scale": 1.5}},
        "adetailer": {"detector": "mediapipe_face_full", "units": [{"detector": "hand_yolov8n.pt"}]},
        "upscale": {"scale": 2.0, "enabled": False},
        "metadata": {"run_id": "r1", "pack": "mine"},
    }
    toml = f"""
        order = "image"
        out = '{windows}'
        input = []
        txt2img = {{ prompt = "a café, (red:1.2)", images = 3, seed = 2357560774, hires.scale = 1.5 }}
        upscale = {{ scale = 2.0, enabled = false }}
        metadata = {{ run_id = "r1", pack = "mine" }}
        [adetailer]
        detector = "mediapipe_face_full"
        [[adetailer.units]]
        detector = "hand_yolov8n.pt"
        """
    texts = {"a.toml": toml, "a.json": json.dumps(values), "a.yaml": yaml.safe_dump(values), "A.YML": yaml.dump(values)}
    made = PipelineConfig(
        order="image",
        out=Path(windows),
        txt2img=Txt2ImgConfig(prompt="a café, (red:1.2)", images=3, seed=2357560774, hires=HiresConfig(scale=1.5)),
        adetailer=AdetailerConfig(detector="mediapipe_face_full", units=(AdetailerUnit(detector="hand_yolov8n.pt"),)),
        upscale=UpscaleConfig(scale=2, enabled=False),
        metadata=RunMetadata(run_id="r1", pack="mine"),
    )
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert PipelineConfig.load(tmp_path / name) == made, name
    assert PipelineConfig.from_mapping(values) == made
    assert str(made.out) == windows


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.toml", 'order = "image"'), ("a.yaml", "order: image"), ("a.json", '{"order": "image"}')],
)
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, name, text):
    """As Notepad writes it."""
    (tmp_path / name).write_text(text, encoding="utf-8-sig")
    assert PipelineConfig.load(tmp_path / name).order == "image"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"], ids=repr)
def test_an_empty_yaml_file_wishes_nothing(tmp_path, text):
    """As an empty TOML file does."""
    (tmp_path / "a.yaml").write_text(text)
    (tmp_path / "a.toml").write_text("")
    assert PipelineConfig.load(tmp_path / "a.yaml") == PipelineConfig.load(tmp_path / "a.toml") == PipelineConfig()


TOML, YAML, JSON = "[upscale]\nscale = 3\n", "upscale:\n  scale: 3\n", '{"upscale": {"scale": 3}}'


@pytest.mark.parametrize("name", ["job", "job.txt", "job.conf", "job.toml", "job.yaml", "job.json", "job.png"])
@pytest.mark.parametrize(
    "text",
    [
        *(TOML, YAML, JSON, "# upscale: 1\n\n" + TOML, "---\n" + YAML, "{upscale: {scale: 3}}"),
        "[upscale] # 2\nscale = 3",
        *("upscale.scale = 3", '"upscale": {scale: 3}', "\n " + JSON, "upscale = {scale = 3}"),
        *("%YAML 1.1\n---\n" + YAML, '# {"a": 1}\n{upscale:\n {scale: 3}}', '{\n\n "upscale": {"scale": 3\n}}\n'),
    ],
)  # fmt: skip
@pytest.mark.sampled(30)
def test_the_content_says_what_a_file_is_and_not_its_name(tmp_path, name, text):
    """TOML in .txt, YAML in .json, JSON in a file without an ending: all the same config."""
    (tmp_path / name).write_text(text)
    assert PipelineConfig.load(tmp_path / name) == PipelineConfig(upscale=UpscaleConfig(scale=3))


SINGLE_QUOTES = r"In TOML, paths with backslashes need single quotes: out = 'C:\pictures'."


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "steps = ", "not well-formed TOML: Invalid value"),
        ("a.toml", 'out = "C:\\Users\\me"', SINGLE_QUOTES),
        ("a.toml", 'out = "C:\\pictures"', SINGLE_QUOTES),
        (
            "a.json",
            "",
            "looks like an empty file; allowed: a config in TOML, YAML or JSON, with sections",
        ),
        ("a.json", '{"order": }', "not well-formed JSON: Expecting value: line 1 column 11"),
        ("a.json", "[" * 100_000, "JSON: nested too deeply; at most 64 levels are allowed"),
        ("a.yaml", "[" * 5_000, "YAML: nested too deeply; at most 64 levels are allowed"),
        ("a.yaml", "txt2img:\n\tsteps: 3", "not well-formed YAML: while scanning for the next token"),
        ("a.yaml", "a: 2024-13-45", "not well-formed YAML: month must be in 1..12"),
        ("a.yaml", "!!python/object:os.system x", "not well-formed YAML: could not determine a constructor"),
        ("a.yaml", "steps: &a [*a]", "YAML: an alias stands within what it repeats"),
        ("a.json", "[1, 2]", "holds a list where sections such as txt2img are expected"),
        ("a.yaml", "[]", "holds a list where sections such as txt2img are expected"),
        ("a.yaml", "false", "holds a bool where sections such as txt2img are expected"),
        ("a.yaml", "a lighthouse", "looks like plain text ('a lighthouse'); allowed: a config in TOML, YAML or JSON"),
        ("a.txt", "x " * 99, "looks like plain text ('" + "x " * 20 + "'...); allowed: a config in TOML, YAML or JSON"),
        ("config", "x", "looks like plain text ('x'); allowed: a config in TOML, YAML or JSON"),
        ("a.bin", "PK\3\4\0", "looks like binary data; allowed: a config in TOML, YAML or JSON"),
        ("a.toml", "GIF89a\1\0\1\0", "looks like a picture (GIF); allowed: a config in TOML, YAML or JSON"),
    ],
    ids=lambda value: value[:20],
)
def test_a_file_that_cannot_be_understood_is_told_with_its_name(tmp_path, name, text, told):
    """One line, no traceback, whatever is in it."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.load(tmp_path / name)
    assert name in str(raised.value)
    assert told in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_in_another_encoding_is_told(tmp_path):
    """Such as what `>` makes in an old PowerShell."""
    (tmp_path / "a.toml").write_bytes('order = "image"'.encode("utf-16"))
    (line,) = problems(lambda: PipelineConfig.load(tmp_path / "a.toml"))
    assert line.endswith("a.toml: not UTF-8 (at byte 0); save it as UTF-8")


def test_a_file_that_is_not_there_or_a_folder_is_told(tmp_path):
    """With what the system says."""
    (tmp_path / "b.toml").mkdir()
    assert problems(lambda: PipelineConfig.load(tmp_path / "a.toml")) == [
        f"{tmp_path / 'a.toml'}: cannot be read: No such file or directory"
    ]
    assert problems(lambda: read_values(tmp_path / "b.toml")) == [
        f"{tmp_path / 'b.toml'}: cannot be read: Is a directory"
    ]


NAMES = st.text(max_size=8) | st.sampled_from(["txt2img", "steps", "units", "adetailer", "retry", "metadata"])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, PLAIN, max_size=4))
@example({"metadata": {"x": float("nan")}})
def test_any_plain_values_make_a_config_or_a_config_error(values):
    """Never another exception; and what was accepted can be written as JSON."""
    try:
        made = PipelineConfig.from_mapping(values)
    except ConfigError:
        return
    assert json.loads(made.model_dump_json())["order"] == "auto"


# -- override ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignment", "changed"),
    [
        ("txt2img.steps=30", {"txt2img": {"steps": 30}}),
        (" txt2img . steps = 30 ", {"txt2img": {"steps": 30}}),
        ("txt2img.cfg_scale=6.5", {"txt2img": {"cfg_scale": 6.5}}),
        ("upscale.enabled=false", {"upscale": {"enabled": False}}),
        ("txt2img.hires.scale=1.5", {"txt2img": {"hires": {"scale": 1.5}}}),
        ("txt2img.styles=[a, b]", {"txt2img": {"styles": ["a", "b"]}}),
        ("order=image", {"order": "image"}),
        ("out=null", {"out": None}),
        ("out=", {"out": None}),
        (r"out=C:\Users\me", {"out": r"C:\Users\me"}),
        ("out=2024-01-01", {"out": "2024-01-01"}),
        ("upscale.upscaler=~", {"upscale": {"upscaler": None}}),
        ("adetailer.mask_merge_invert=None", {"adetailer": {"mask_merge_invert": "None"}}),
        ("metadata.run_id=007", {"metadata": {"run_id": "007"}}),
        ("metadata.take=7", {"metadata": {"take": 7}}),
        ("retry.attempts=5", {"retry": {"attempts": 5}}),
        ("retry.first_delay_s=1e-3", {"retry": {"first_delay_s": 0.001}}),
    ],
)
def test_an_assignment_sets_one_value(assignment, changed):
    """Numbers, flags and lists as YAML has them; text as it stands."""
    assert override({}, [assignment]) == changed


@pytest.mark.parametrize(
    "prompt",
    [
        *("a cat # 3", "yes", "null", "~", "007", "1_000", "12:30:00", "2024-11-05", "2024-13-45", "[from:to:0.5]"),
        *("- a", "a: b", "(red:1.2), <lora:x:0.8>", "*star*", "a=b", "{a|b}", "!x", "it's", "", "0x_", "&a", "%"),
        'a sign that says "open"',
    ],
)
def test_a_prompt_is_taken_as_it_stands(prompt):
    """Nothing that looks like YAML is cut off, counted or refused."""
    values = override({}, [f"txt2img.prompt={prompt}"])
    assert PipelineConfig.from_mapping(values).txt2img.prompt == prompt


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_prompt_is_taken_as_it_stands(prompt):
    """Without the blanks around it, and without quotes if it is wholly in them."""
    text = prompt.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return
    assert override({}, [f"txt2img.prompt={prompt}"])["txt2img"]["prompt"] == text


@pytest.mark.parametrize("text", ['"a cat"', "'a cat'"])
def test_quotes_around_the_whole_of_a_text_are_notation(text):
    """As in the file the setting comes from."""
    assert override({}, [f"txt2img.prompt={text}"]) == {"txt2img": {"prompt": "a cat"}}


@pytest.mark.parametrize(
    ("assignment", "changed"),
    [
        ('txt2img.payload.a={"b": [1, true, null]}', {"txt2img": {"payload": {"a": {"b": [1, True, None]}}}}),
        ("txt2img.payload={a=1, b={c='d'}}", {"txt2img": {"payload": {"a": 1, "b": {"c": "d"}}}}),
        ("txt2img.payload.a.b=[1, 2]", {"txt2img": {"payload": {"a": {"b": [1, 2]}}}}),
        ('txt2img.payload."sample.cfg"=5', {"txt2img": {"payload": {"sample.cfg": 5}}}),
        ("txt2img.payload.script_name=X/Y/Z plot", {"txt2img": {"payload": {"script_name": "X/Y/Z plot"}}}),
        ("txt2img.payload.a={stem}", {"txt2img": {"payload": {"a": "{stem}"}}}),
        ("txt2img.payload.a=NaN", {"txt2img": {"payload": {"a": "NaN"}}}),
        ("txt2img.hires={scale=1.5, steps=10}", {"txt2img": {"hires": {"scale": 1.5, "steps": 10}}}),
        ('txt2img={"prompt": "a=b.c"}', {"txt2img": {"prompt": "a=b.c"}}),
        ("adetailer.units=[{detector='hand'}]", {"adetailer": {"units": [{"detector": "hand"}]}}),
        ("txt2img.styles=['a', 'b']", {"txt2img": {"styles": ["a", "b"]}}),
        ('txt2img.prompt={"a": 1}', {"txt2img": {"prompt": '{"a": 1}'}}),
        ("img2img.mask={stem}_mask.png", {"img2img": {"mask": "{stem}_mask.png"}}),
    ],
)
def test_an_assignment_sets_a_table_or_a_list(assignment, changed):
    """In JSON or as an inline table of TOML, wherever text is not what the setting holds."""
    assert override({}, [assignment]) == changed


def test_assignments_lie_on_top_of_the_values_and_of_each_other():
    """The last one holds; what was given is not changed."""
    values = {"txt2img": {"steps": 5, "hires": {"scale": 2}}, "order": "image"}
    changed = override(values, ["txt2img.steps=6", "txt2img.hires.steps=3", "txt2img.steps=7"])
    assert changed == {"txt2img": {"steps": 7, "hires": {"scale": 2, "steps": 3}}, "order": "image"}
    assert values == {"txt2img": {"steps": 5, "hires": {"scale": 2}}, "order": "image"}


def test_an_assignment_opens_a_section_that_is_absent():
    """`txt2img:` with nothing below it in YAML is None."""
    assert override({"txt2img": None}, ["txt2img.steps=6"]) == {"txt2img": {"steps": 6}}


@pytest.mark.parametrize("text", ["txt2img.steps", "=3", "txt2img..steps=3", ".=1", "", "a.=1"])
def test_what_is_no_assignment_is_refused_with_an_example(text):
    """And with what came."""
    assert problems(lambda: override({}, [text])) == [
        f"{text!r}: not of the form stage.key=value, such as txt2img.steps=30"
    ]


def test_a_wrong_assignment_is_told_like_a_wrong_file(tmp_path):
    """Unknown names with the nearest one."""
    (tmp_path / "a.toml").write_text("[txt2img]\nsteps = 3")
    assert problems(lambda: PipelineConfig.load(tmp_path / "a.toml", overrides=["txt2img.stpes=3", "order=all"])) == [
        "a.toml: order: got 'all', should be 'stage', 'image' or 'auto'",
        "a.toml: txt2img.stpes: unknown key; did you mean 'steps'?",
    ]


# -- the models themselves --------------------------------------------------------------------------------------------


def models():
    """All config models of the module."""
    return [kind for kind in vars(config_module).values() if isinstance(kind, type) and issubclass(kind, Config)]


@pytest.mark.parametrize("model", models())
def test_a_config_is_frozen(model):
    """No field can be set."""
    required = {"checkpoint": "x", "name": "x", "kind": "function"}
    given = {name: required[name] for name, field in model.model_fields.items() if field.is_required()}
    if model is config_module.WorkflowConfig:
        given = {"graph": {"1": {"class_type": "PreviewImage", "inputs": {}}}}
    made = model(**given)
    for name in model.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(made, name, None)


@pytest.mark.parametrize("model", models())
def test_a_config_says_what_its_settings_mean(model):
    """A description each, for `rxpipe stages`, `help`, JSON schema, tooltips and people."""
    assert model.__doc__
    for name, field in model.model_fields.items():
        assert len(field.description or "") > 10, name
        assert field.description.endswith("."), name
        assert f"    {name}: {field.description}" in model.__doc__.splitlines()


def test_one_name_may_mean_different_things():
    """Each section describes its own setting."""
    assert HiresConfig.model_fields["scale"].description != UpscaleConfig.model_fields["scale"].description


@pytest.mark.parametrize("model", models())
def test_help_lists_the_settings_with_types_and_defaults(model):
    """By name, before and after a model is first used; no pydantic validator is shown."""
    signature = inspect.signature(model)
    given = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    defaults = {name: field.get_default(call_default_factory=True) for name, field in model.model_fields.items()}
    required = {name for name, field in model.model_fields.items() if field.is_required()}

    assert [one.name for one in given] == list(model.model_fields)
    assert {one.name: one.default for one in given if one.name not in required} == {
        name: value for name, value in defaults.items() if name not in required
    }
    assert "Validator" not in str(signature)
    model.model_rebuild(force=True)
    assert inspect.signature(model) == signature


def test_the_signature_reads_as_written():
    """What an editor shows, and the first lines of `help`."""
    written = "(*, enabled: bool = True, checkpoint: str, switch_at: float = 0.8) -> None"
    assert str(inspect.signature(RefinerConfig)) == written
    shown = pydoc.render_doc(Txt2ImgConfig, renderer=pydoc.plaintext)
    assert "steps: int = 20, cfg_scale: float = 7.0" in re.sub(r"[\s|]+", " ", shown)  # Python 3.13 gives each a line
    assert "steps: Sampling steps, 1 to 1000." in shown


def test_the_schema_describes_sections_and_settings_once():
    """A section by its summary, a setting where it stands."""
    schema = PipelineConfig.model_json_schema()
    hires = schema["$defs"]["HiresConfig"]

    assert hires["description"] == HiresConfig.summary
    assert hires["properties"]["scale"]["description"] == HiresConfig.model_fields["scale"].description
    assert schema["properties"]["txt2img"]["description"] == PipelineConfig.model_fields["txt2img"].description


def test_defaults_are_valid_values_and_absent_sections_are_none():
    """Nothing is drawn unless it was wished."""
    made = PipelineConfig()
    assert (made.txt2img, made.img2img, made.adetailer, made.upscale) == (None, None, None, None)
    assert (made.order, made.out, made.save, made.input) == ("auto", Path("outputs"), "all", ())
    for kind in (Txt2ImgConfig, Img2ImgConfig, AdetailerConfig, UpscaleConfig, RetryConfig):
        assert kind.model_validate(kind().model_dump()) == kind()


def test_what_concerns_a_face_never_costs_the_picture():
    """on_error: "pass" for adetailer, "drop" for the others."""
    kinds = (Txt2ImgConfig, Img2ImgConfig, AdetailerConfig, UpscaleConfig)
    assert [kind().on_error for kind in kinds] == ["drop", "drop", "pass", "drop"]


def test_adetailer_goes_by_both_its_names():
    """The one that says that it is a stage of its own, too."""
    assert AdetailerStageConfig is AdetailerConfig


def test_a_changed_dictionary_changes_no_config():
    """What was given is copied."""
    given_settings = {"CLIP_stop_at_last_layers": 2}
    made = Txt2ImgConfig(override_settings=given_settings)
    given_settings["CLIP_stop_at_last_layers"] = 3
    assert made.override_settings == {"CLIP_stop_at_last_layers": 2}


def test_numbers_are_text_where_text_is_wanted():
    """A prompt `1234` in YAML, a model called 15."""
    assert Txt2ImgConfig(prompt=1234, model=15).model_dump(include={"prompt", "model"}) == {
        "prompt": "1234",
        "model": "15",
    }


def test_metadata_keeps_further_keys():
    """Any that JSON can hold; others are refused before a run could stumble over them."""
    assert RunMetadata(pack="mine", takes=[1, {"a": None}]).model_dump() == {
        "run_id": None, "one_click_action": None, "pack": "mine", "takes": [1, {"a": None}],
    }  # fmt: skip
    (told,) = problems(lambda: PipelineConfig(metadata={"it": print}))
    assert (
        told
        == "metadata.it: got <built-in function print>, cannot be written as JSON in UTF-8, as events and files are"
    )


@pytest.mark.parametrize("name", ["watermark", "keep_best", "größe", "übermalen", "My stage 2.0", "_private", "a-b"])
def test_a_custom_stage_may_have_any_readable_name(name):
    """Also one in the user's own language."""
    assert CustomConfig(name=name, kind="function").name == name


@pytest.mark.parametrize("name", ["", "2nd", "a/b", "../x", "a\nb", "-x", " x"])
def test_a_custom_stage_has_a_name_that_a_line_and_a_file_can_hold(name):
    """Told with the pattern."""
    (told,) = problems(lambda: CustomConfig(name=name, kind="function"))
    assert told.startswith(f"custom.name: got {name!r}, should ")


def test_a_config_survives_being_pickled():
    """For a worker process."""
    made = PipelineConfig(txt2img=Txt2ImgConfig(prompt="x"), metadata=RunMetadata(pack="p"))
    assert pickle.loads(pickle.dumps(made)) == made  # noqa: S301  our own bytes
