"""StableNew's presets and packs, and A1111's payloads, as they are run, listed and converted."""
# ruff: noqa: E501  values of files stay on their lines

from __future__ import annotations

import json
import random
import tomllib

import pytest
from typer.testing import CliRunner

import rxpipe as rxp
from rxpipe.cli.app import app
from rxpipe.config import PipelineConfig
from rxpipe.errors import BadImage, ConfigError
from rxpipe.presets import dump, notes_on, read_jobs, recall, recall_all, toml_text

PRESET = {
    "txt2img": {
        "steps": 34, "cfg_scale": 6.499999999999998, "width": 768, "height": 1024, "sampler_name": "DPM++ 2M", "scheduler": "Karras",
        "seed": 2357560774, "model": "sea.safetensors [0123456789]", "vae": "", "clip_skip": 2, "negative_prompt": "fog", "enable_hr": True,
        "hr_scale": 1.5, "hr_upscaler": "Latent", "hr_second_pass_steps": 12, "hr_sampler_name": "", "hr_resize_x": 0, "hr_resize_y": 0,
        "denoising_strength": 0.27, "hires_steps": 12, "hires_use_base_model": True, "refiner_checkpoint": "None",
        "refiner_switch_at": 80.17241379310344, "refiner_switch_steps": 0, "hypernetwork": "None", "hypernetwork_strength": 1.0,
        "styles": [], "subseed": 7, "subseed_strength": 0.1, "face_restoration_enabled": False, "face_restoration_model": "GFPGAN",
    },
    "img2img": {"steps": 15, "denoising_strength": 0.3, "sampler_name": "Euler a", "cfg_scale": 7.0, "model": "", "mask_mode": "none"},
    "adetailer": {
        "adetailer_enabled": True, "adetailer_model": "mediapipe_face_full", "ad_model": "mediapipe_face_full", "adetailer_confidence": 0.39,
        "adetailer_steps": 10, "adetailer_denoise": 0.26, "adetailer_cfg": 6.0, "adetailer_sampler": "DPM++ 2M", "scheduler": "inherit",
        "adetailer_prompt": "", "adetailer_mask_feather": 5, "mask_feather": 5, "max_detections": 4, "ad_mask_blur": 5, "ad_mask_k_largest": 3,
        "ad_mask_filter_method": "Area", "ad_dilate_erode": 6, "ad_inpaint_only_masked": True, "ad_inpaint_only_masked_padding": 48,
        "ad_mask_merge_invert": "None", "ad_use_inpaint_width_height": False, "ad_inpaint_width": 768, "mask_merge_mode": "keep",
    },
    "upscale": {"upscaler": "4x-UltraSharp", "upscaling_resize": 2.0, "upscale_mode": "single", "steps": 15, "tile_size": 0},
    "pipeline": {"txt2img_enabled": True, "img2img_enabled": False, "adetailer_enabled": True, "upscale_enabled": True,
                 "images_per_prompt": 2, "loop_type": "single", "loop_count": 1, "variant_mode": "fanout", "seed_mode": "fixed"},
    "api": {"base_url": "http://127.0.0.1:7860", "timeout": 300},
    "video": {"fps": 24},
}  # fmt: skip


def file(folder, values, name="preset.json"):
    path = folder / name
    path.write_text(values if isinstance(values, str) else json.dumps(values), encoding="utf-8")
    return path


def preset(**changes):
    """The preset with sections changed; None takes one out."""
    changed = {
        name: {**PRESET.get(name, {}), **value} if isinstance(value, dict) else value for name, value in changes.items()
    }
    return {name: value for name, value in {**PRESET, **changed}.items() if value is not None}


def run(*args):
    return CliRunner().invoke(app, list(map(str, args)), env={"COLUMNS": "300"})


def test_a_preset_is_the_config_that_it_means(tmp_path):
    """Every key that has a place is there, under its name; numbers of sliders are rounded."""
    config, left = recall(file(tmp_path, PRESET), prompt="a pier")
    first = config.txt2img
    assert (first.prompt, first.negative_prompt, first.steps, first.cfg_scale) == ("a pier", "fog", 34, 6.5)
    assert (first.width, first.height, first.seed, first.images, first.clip_skip) == (768, 1024, 2357560774, 2, 2)
    assert (first.sampler_name, first.scheduler, first.model) == ("DPM++ 2M", "Karras", "sea.safetensors [0123456789]")
    assert (first.vae, first.refiner, first.subseed, first.subseed_strength) == (None, None, 7, 0.1)
    assert first.hires.model_dump(exclude_unset=True) == {
        "scale": 1.5, "upscaler": "Latent", "steps": 12, "denoising_strength": 0.27, "resize_x": 0, "resize_y": 0,
    }  # fmt: skip
    assert config.img2img.enabled is False
    assert config.adetailer.model_dump(exclude_unset=True) == {
        "detector": "mediapipe_face_full", "confidence": 0.39, "steps": 10, "denoising_strength": 0.26, "cfg_scale": 6.0,
        "sampler_name": "DPM++ 2M", "mask_blur": 5, "mask_filter_method": "Area", "mask_k_largest": 3, "dilate_erode": 6,
        "inpaint_only_masked": True, "padding": 48,
    }  # fmt: skip
    assert (config.upscale.upscaler, config.upscale.scale, config.upscale.mode) == ("4x-UltraSharp", 2.0, "single")
    assert left == ("adetailer.adetailer_mask_feather",)


SHAPES = {
    "flat": PRESET,
    "pack JSON": {"pack_data": {"name": "p", "slots": [{"text": "a pier"}]}, "preset_data": PRESET},
    "last settings": {"preset": "default", "selected_packs": [], "override_pack": True, "pipeline_controls": PRESET["pipeline"],
                      "config": {name: value for name, value in PRESET.items() if name != "pipeline"}},
    "no pipeline": preset(pipeline=None),
    "txt2img only": {"txt2img": PRESET["txt2img"]},
    "with unknown sections": {**PRESET, "preset_name": "x", "meta": {}, "lora_strengths": [], "max_variants": 8, "weird": {"a": 1}},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_a_preset_runs(tmp_path, shape):
    """With a prompt where it names none; the settings of txt2img are the same in all."""
    (job,) = read_jobs(file(tmp_path, SHAPES[shape]))
    config = recall(job.path, prompt="a pier").config
    assert (config.txt2img.prompt, config.txt2img.steps, config.txt2img.hires.scale) == ("a pier", 34, 1.5)
    assert config.txt2img.enabled
    stages = {
        name for name in ("img2img", "adetailer", "upscale") if (section := getattr(config, name)) and section.enabled
    }
    assert "pipeline" not in SHAPES[shape] or stages == {"adetailer", "upscale"}
    config.model_dump_json()


def test_a_preset_without_a_prompt_asks_for_one(tmp_path):
    """Nothing is drawn from an empty one that nobody wrote."""
    path = file(tmp_path, PRESET)
    with pytest.raises(ConfigError, match=r"preset.json: no prompt: .*--prompt .*--preset PRESET"):
        recall(path)
    assert run("run", path, "--dry-run").exit_code == 2
    assert run("run", path, "--dry-run", "--prompt", "a pier").exit_code == 0
    assert run("run", path, "--dry-run", "--prompt", "").exit_code == 0


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("settings.json", {"webui_base_url": "x", "comfy_path": "y", "output_dir": "z"}, "settings of StableNew's window"),
        ("bad.json", {**PRESET, "txt2img": [1]}, "txt2img: got [1], should be a section"),
        ("ranges.json", "txt2img:\n  steps: 28-32\n  enable_hr: true\n  hr_scale: 2\n  refiner_checkpoint: x\n  prompt: a", "txt2img.steps: got '28-32'"),
        ("list.json", "[1, 2]", "holds a list"),
        ("torn.json", '{"txt2img": {', "not well-formed JSON"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_run_is_refused_in_words(tmp_path, name, values, told):
    """Which file, what came, what is allowed."""
    with pytest.raises(ConfigError) as raised:
        recall(file(tmp_path, values, name), prompt="a")
    assert told in str(raised.value)
    assert name in str(raised.value)


def notes(values):
    return {note.key: note for note in stablenew_notes(values)}


def stablenew_notes(values):
    from rxpipe.presets.stablenew import read_preset  # noqa: PLC0415  beside its use

    return read_preset(values, "preset.json").notes


@pytest.mark.parametrize(
    ("values", "key", "kind"),
    [
        (preset(adetailer={"enabled": False}), "adetailer.enabled", "contradiction"),
        (preset(adetailer={"adetailer_enabled": False}), "adetailer.adetailer_enabled", "contradiction"),
        (preset(adetailer={"ad_confidence": 0.5}), "adetailer.ad_confidence", "contradiction"),
        (preset(pipeline={"seed_mode": "random"}), "txt2img.seed", "contradiction"),
        (PRESET, "txt2img.enable_hr", "contradiction"),
        (preset(txt2img={"refiner_checkpoint": "polish"}), "txt2img.refiner_switch_at", "read as"),
        (preset(txt2img={"sampler_name": "DPM++ SDE Karras"}), "txt2img.sampler_name", "read as"),
        (preset(pipeline={"output_dir": "C:\\pictures"}), "pipeline.output_dir", "no effect"),
        (preset(pipeline={"loop_count": 3}), "pipeline.loop_count", "no effect"),
        (preset(adetailer={"ad_mask_filter_method": "largest"}), "adetailer.ad_mask_filter_method", "no effect"),
        (preset(upscale={"upscale_seams_fix": True}), "upscale.upscale_seams_fix", "no effect"),
        (preset(txt2img={"weird": 1}), "txt2img.weird", "no effect"),
        (preset(hires_fix={"enabled": True}), "hires_fix.enabled", "no effect"),
        (PRESET, "api", "no effect"),
    ],
)
def test_what_contradicts_or_has_no_effect_is_listed_with_the_reason(values, key, kind):
    """Each under its key."""
    note = notes(values)[key]
    assert (note.kind, bool(note.reason)) == (kind, True)


def test_every_key_of_a_preset_is_carried_over_or_listed(tmp_path):
    """A key of any section, known or not, with a value of its own, changes the config or stands in the list."""
    for section, values in PRESET.items():
        for key in values:
            without = {**PRESET, section: {name: value for name, value in values.items() if name != key}}
            job, other = (read_jobs(file(tmp_path, each))[0] for each in (PRESET, without))
            listed = {note.key for note in job.notes}
            same = job.values == other.values
            assert (
                not same
                or f"{section}.{key}" in listed
                or section in listed
                or _says_nothing(section, key, values[key])
            ), (section, key)


_ALIASES = {
    ("txt2img", "hires_steps"),
    ("txt2img", "hr_second_pass_steps"),
    ("adetailer", "adetailer_model"),
    ("adetailer", "ad_model"),
    ("adetailer", "adetailer_enabled"),
}


def _says_nothing(section, key, value):
    """Whether a value is what it would be without the key, or says the same as its alias."""
    default = value in ("", None, [], "None", "inherit", 0, 80.17241379310344) or (section, key) in _ALIASES
    return default or section == "pipeline" or key in {"ad_use_inpaint_width_height", "ad_inpaint_width"}


def test_flags_of_the_pipeline_decide_which_stages_run(tmp_path):
    """Else the section's own, else txt2img only; a stage that is off keeps its settings."""
    for values, running in (
        (PRESET, {"txt2img", "adetailer", "upscale"}),
        (preset(pipeline=None), {"txt2img", "adetailer"}),
        (
            preset(pipeline=None, adetailer={"adetailer_enabled": False}, upscale={"enabled": True}),
            {"txt2img", "upscale"},
        ),
        (preset(pipeline={"img2img_enabled": True, "upscale_enabled": False}), {"txt2img", "img2img", "adetailer"}),
    ):
        config = recall(file(tmp_path, values), prompt="a").config
        sections = {name: getattr(config, name) for name in ("txt2img", "img2img", "adetailer", "upscale")}
        assert {name for name, section in sections.items() if section is not None and section.enabled} == running


def test_hands_are_a_unit_of_their_own(tmp_path):
    """Where the preset has them on."""
    values = preset(adetailer={"ad_hands_enabled": True, "adetailer_hands_model": "hand_yolov8s.pt", "adetailer_hands_confidence": 0.3,
                               "adetailer_hands_denoise": 0.25, "ad_hands_mask_k": 6})  # fmt: skip
    (unit,) = recall(file(tmp_path, values), prompt="a").config.adetailer.units
    assert (unit.detector, unit.confidence, unit.denoising_strength, unit.mask_k_largest) == (
        "hand_yolov8s.pt",
        0.3,
        0.25,
        6,
    )


# -- packs ------------------------------------------------------------------------------------------------------------

PACK = """# heroes
<embedding:good> a [[animal]] on a hill,
[[time]] light
<lora:waves:0.65>
neg: <embedding:bad>
neg: dogs

an old town
neg: cars
"""
MATRIX = {
    "enabled": True,
    "mode": "fanout",
    "limit": 0,
    "slots": [{"name": "animal", "values": ["cat", "owl"]}, {"name": "time", "values": ["dawn", "noon"]}],
}


def test_a_pack_with_a_preset_is_a_run_for_each_prompt(tmp_path):
    """Blocks, several lines of what is excluded, slots with the values of the pack's JSON; the preset's negative behind."""
    pack = file(tmp_path, PACK, "heroes.txt")
    file(tmp_path, {"pack_data": {"matrix": MATRIX}}, "heroes.json")
    found = recall_all(pack, preset=file(tmp_path, PRESET))
    assert [each.config.txt2img.prompt for each in found] == [
        "good a cat on a hill, dawn light <lora:waves:0.65>",
        "good a cat on a hill, noon light <lora:waves:0.65>",
        "good a owl on a hill, dawn light <lora:waves:0.65>",
        "good a owl on a hill, noon light <lora:waves:0.65>",
        "an old town",
    ]
    assert {each.config.txt2img.negative_prompt for each in found} == {"bad dogs, fog", "cars, fog"}
    assert {each.config.txt2img.steps for each in found} == {34}
    with pytest.raises(ConfigError, match=r"holds 5 prompts.*recall_all"):
        rxp.recall(pack)


def test_a_pack_in_json_has_its_prompts_and_its_preset(tmp_path):
    """Embeddings, LoRAs and the matrix among them."""
    slot = {
        "text": "a [[animal]]",
        "negative": "dogs",
        "positive_embeddings": ["good"],
        "negative_embeddings": ["bad"],
        "loras": [["waves", 0.7]],
    }
    path = file(
        tmp_path,
        {"pack_data": {"slots": [slot, {"text": ""}], "matrix": {**MATRIX, "limit": 1}}, "preset_data": PRESET},
        "p.json",
    )
    (found,) = recall_all(path)
    assert found.config.txt2img.prompt == "good a cat <lora:waves:0.7>"
    assert found.config.txt2img.negative_prompt == "bad dogs, fog"


@pytest.mark.parametrize(
    ("mode", "limit", "count"), [("fanout", 0, 4), ("grid", 3, 3), ("random", 3, 3), ("random", 0, 1), ("rotate", 0, 1)]
)
def test_a_matrix_chooses_by_its_mode_and_limit(tmp_path, mode, limit, count):
    """The same ones in every run."""
    pack = file(tmp_path, "a [[animal]] at [[time]]\nneg: x", "p.txt")
    file(tmp_path, {"pack_data": {"matrix": {**MATRIX, "mode": mode, "limit": limit}}}, "p.json")
    prompts = [each.config.txt2img.prompt for each in recall_all(pack)]
    assert len(set(prompts)) == len(prompts) == count
    assert prompts == [each.config.txt2img.prompt for each in recall_all(pack)]


def test_a_slot_without_values_is_refused_before_anything_runs(tmp_path):
    """It names the slot and those with values."""
    with pytest.raises(ConfigError, match=r"prompt 1: no values for \[\[animal\]\]; slots with values: none"):
        recall_all(file(tmp_path, "a [[animal]]\nneg: x", "p.txt"))


def test_last_settings_run_the_packs_that_they_name(tmp_path):
    """From the folder of packs beside that of presets."""
    (tmp_path / "packs").mkdir()
    (tmp_path / "presets").mkdir()
    file(tmp_path / "packs", "a pier\n\na quay", "one.txt")
    file(tmp_path / "presets", "watermark", "global_negative.txt")
    values = {
        "preset": "x",
        "selected_packs": ["one.txt", "gone.txt"],
        "pipeline_controls": PRESET["pipeline"],
        "config": PRESET,
    }
    found = recall_all(file(tmp_path / "presets", values, "last_settings.json"))
    assert [each.config.txt2img.prompt for each in found] == ["a pier", "a quay"]
    assert {each.config.txt2img.negative_prompt for each in found} == {"fog, watermark"}
    assert {each.not_carried_over[-1] for each in found} == {"the pack gone.txt, which is not there"}
    asking = preset(pipeline={"apply_global_negative_txt2img": True})
    (job,) = read_jobs(file(tmp_path / "presets", asking))
    assert any(note.kind == "read as" and "global_negative.txt" in note.reason for note in job.notes)
    (job,) = read_jobs(file(tmp_path, {**asking, "selected_packs": ["gone.txt"]}))
    assert any(note.kind == "no effect" and "global_negative.txt" in note.reason for note in job.notes)


@pytest.mark.slow
def test_a_pack_runs_every_prompt_from_the_command_line(tmp_path):
    """One after another, each with its pictures."""
    small = preset(txt2img={"width": 64, "height": 64, "steps": 1, "enable_hr": False, "model": "", "subseed_strength": 0, "subseed": -1,
                            "clip_skip": 1}, adetailer=None, upscale=None, img2img=None,
                   pipeline={"images_per_prompt": 1, "adetailer_enabled": False, "upscale_enabled": False})  # fmt: skip
    args = ("--preset", file(tmp_path, small), "--backend", "embedded", "--out", tmp_path / "out")
    done = run("run", file(tmp_path, "a pier\n\na quay\nneg: x", "p.txt"), *args)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").rglob("*.png"))) == 2
    assert [line for line in done.output.splitlines() if line.startswith("p.txt prompt")] == [
        "p.txt prompt 1:",
        "p.txt prompt 2:",
    ]


# -- payloads ---------------------------------------------------------------------------------------------------------

PAYLOAD = {
    "prompt": "a pier", "negative_prompt": "fog", "steps": 22, "cfg_scale": 6.5, "width": 512, "height": 768, "seed": 4711, "n_iter": 2,
    "batch_size": 2, "sampler_index": "DPM++ 2M Karras", "enable_hr": True, "hr_scale": 1.5, "hr_upscaler": "Latent",
    "denoising_strength": 0.4, "hr_second_pass_steps": 9, "hr_checkpoint_name": "Use same checkpoint", "restore_faces": False,
    "refiner_checkpoint": "polish", "refiner_switch_at": 0.8, "override_settings": {"sd_model_checkpoint": "sea", "CLIP_stop_at_last_layers": 2,
    "eta_noise_seed_delta": 31337}, "alwayson_scripts": {"x": {"args": [1]}}, "eta": 0.3, "save_images": True, "subseed": -1,
}  # fmt: skip


def test_a_payload_runs_as_it_stands(tmp_path):
    """What is a setting becomes one; the rest goes with the request."""
    config, left = recall(file(tmp_path, PAYLOAD))
    section = config.txt2img
    assert (section.prompt, section.steps, section.images, section.batch_size, section.seed) == (
        "a pier",
        22,
        4,
        2,
        4711,
    )
    assert (section.sampler_name, section.scheduler, section.model, section.clip_skip) == (
        "DPM++ 2M",
        "Karras",
        "sea",
        2,
    )
    assert section.hires.model_dump(exclude_unset=True) == {
        "scale": 1.5,
        "upscaler": "Latent",
        "steps": 9,
        "denoising_strength": 0.4,
    }
    assert section.refiner.checkpoint == "polish"
    assert section.override_settings == {"eta_noise_seed_delta": 31337}
    assert section.alwayson_scripts == {"x": {"args": [1]}}
    assert section.payload == {"eta": 0.3}
    assert left == ()


def test_a_payload_over_a_picture_asks_for_it(tmp_path):
    """It holds the picture itself, in base64; a path beside it is taken."""
    values = {"prompt": "a pier", "init_images": ["data:image/png;base64,iVBORw0KGgo="], "denoising_strength": 0.5}
    with pytest.raises(ConfigError, match=r"was drawn over a picture that the payload holds itself.*--input"):
        recall(file(tmp_path, values))
    config = recall(file(tmp_path, values), input="photo.png").config
    assert (config.img2img.denoising_strength, [str(path) for path in config.input]) == (0.5, ["photo.png"])
    (tmp_path / "photo.png").write_bytes(b"x")
    assert recall(file(tmp_path, {**values, "init_images": ["photo.png"]})).config.input == (tmp_path / "photo.png",)


# -- lint and convert -------------------------------------------------------------------------------------------------


def test_lint_lists_what_is_wrong_and_what_has_no_effect(tmp_path):
    """One line each, with the reason; a file that cannot run exits with 2."""
    done = run("lint", file(tmp_path, preset(adetailer={"enabled": False})))
    assert done.exit_code == 0
    assert "a preset of StableNew" in done.output
    assert "contradiction: adetailer.enabled: False, but pipeline.adetailer_enabled is True and decides" in done.output
    assert "no effect: adetailer.max_detections: StableNew saves it and never reads it" in done.output
    assert "no effect: upscale.steps: mode single redraws nothing; mode img2img does" in done.output
    assert "needs: a prompt" in done.output
    wrong = run("lint", file(tmp_path, preset(txt2img={"steps": "many"})))
    assert (wrong.exit_code, "wrong: txt2img.steps: got 'many'" in wrong.output) == (2, True)
    assert run("lint", file(tmp_path, "[1]", "x.json")).exit_code == 2
    assert "nothing to remark" in run("lint", file(tmp_path, '[txt2img]\nprompt = "a"', "a.toml")).output


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"txt2img": {"subseed": 5}}, "txt2img.subseed"),
        ({"txt2img": {"hires": {"scale": 2, "resize_x": 512}}}, "txt2img.hires.scale"),
        ({"img2img": {"mask_blur": 5}}, "img2img.mask_blur"),
        ({"adetailer": {"mask_filter_method": "Confidence"}}, "adetailer.mask_filter_method"),
        ({"upscale": {"scale": 2, "width": 512}}, "upscale.scale"),
        ({"upscale": {"mode": "img2img", "gfpgan_visibility": 0.5}}, "upscale.gfpgan_visibility"),
        ({"upscale": {"enabled": False, "scale": 3}}, "upscale"),
        ({"txt2img": {}, "input": ["a.png"]}, "input"),
    ],
)
def test_settings_of_a_config_without_effect_are_noted(values, key):
    """Beside which others, for any file."""
    assert key in {note.key for note in notes_on(values)}


@pytest.mark.parametrize(
    "values",
    [PRESET, PAYLOAD, {"txt2img": {"prompt": 'größe "x"\n\\ \x7f \t', "styles": ["a", "b"]}, "order": "image"}],
)
def test_convert_writes_the_equivalent_config(tmp_path, values):
    """Read back it is the same; and so is what any config dumps."""
    path = file(tmp_path, values)
    done = run("convert", path)
    assert done.exit_code == 0, done.output
    text = done.stdout
    assert PipelineConfig.from_mapping(tomllib.loads(text)) == PipelineConfig.from_mapping(read_jobs(path)[0].values)
    config = PipelineConfig.from_mapping(tomllib.loads(text))
    assert PipelineConfig.from_mapping(tomllib.loads(toml_text(dump(config)))) == config


def test_convert_writes_a_file_for_each_prompt_of_a_pack(tmp_path):
    """Into a folder; without one it says so."""
    pack = file(tmp_path, "a pier\n\na quay\nneg: x", "p.txt")
    assert run("convert", pack).exit_code == 2
    assert run("convert", pack, "--out", tmp_path / "out").exit_code == 0
    assert [recall(path).config.txt2img.prompt for path in sorted((tmp_path / "out").iterdir())] == ["a pier", "a quay"]


# -- mutated files ----------------------------------------------------------------------------------------------------

_VALUES = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**70,
    1e308,
    float("inf"),
    "",
    "None",
    "abc",
    "12",
    "Karras",
    [],
    [1],
    {},
    {"a": 1},
    "x" * 5000,
    "\ud800",
    [[[]]],
]


def _mutated(chance):
    """A preset, a pack or a payload in which some keys are gone, renamed, moved, or hold something else."""
    values = json.loads(
        json.dumps(
            chance.choice(
                [
                    *SHAPES.values(),
                    PAYLOAD,
                    {"pack_data": {"slots": [{"text": "a [[x]]"}], "matrix": MATRIX}, "preset_data": PRESET},
                ]
            )
        )
    )
    for _ in range(chance.randint(1, 6)):
        table = values
        while chance.random() < 0.7 and (inner := [each for each in table.values() if isinstance(each, dict) and each]):
            table = chance.choice(inner)
        key = chance.choice(list(table) or ["x"])
        kind = chance.randrange(4)
        if kind == 0:
            table.pop(key, None)
        elif kind == 1:
            table[key] = chance.choice(_VALUES)
        elif kind == 2 and key in table:
            table[key + chance.choice(["_", "x", " "])] = table.pop(key)
        else:
            table[
                chance.choice(["txt2img", "config", "preset_data", "pack_data", "slots", "matrix", "prompt", "enabled"])
            ] = chance.choice(_VALUES)
    return values


@pytest.mark.sampled(3)
@pytest.mark.parametrize("part", range(100))
def test_a_mutated_preset_runs_or_is_refused_in_words(tmp_path, part):
    """50 of 5,000 a part: a config, or a message with the file's name; never another exception."""
    chance = random.Random(part)  # noqa: S311 - keeps no secret
    for _ in range(50):
        path = file(tmp_path, _mutated(chance), "mutated.json")
        try:
            for found in recall_all(path):
                found.config.model_dump_json()
                PipelineConfig.from_mapping(tomllib.loads(toml_text(dump(found.config))))
        except (ConfigError, BadImage) as error:
            assert "mutated.json" in str(error), str(error)  # noqa: PT017  any of two is right


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"txt2img": {"enable_hr": True}}, "txt2img.enable_hr: unknown key; here it is txt2img.hires.enabled"),
        ({"txt2img": {"hr_scale": 2}}, "here it is txt2img.hires.scale"),
        ({"txt2img": {"hr_upscaler": "x"}}, "here it is txt2img.hires.upscaler"),
        ({"txt2img": {"n_iter": 2}}, "did you mean 'images'?"),
        ({"upscale": {"upscaling_resize": 2}}, "here it is upscale.scale"),
        ({"adetailer": {"adetailer_model": "x"}}, "here it is adetailer.detector"),
        ({"adetailer": {"ad_model": "x"}}, "here it is adetailer.detector"),
        ({"txt2img": {"refiner_checkpoint": "x"}}, "here it is txt2img.refiner.checkpoint"),
        ({"txt2img": {"refiner_switch_at": 0.8}}, "here it is txt2img.refiner.switch_at"),
        ({"txt2img": {"sd_model_checkpoint": "x"}}, "did you mean 'model'?"),
        ({"img2img": {"init_images": []}}, "here it is input, pictures of the run"),
    ],
)
def test_a_key_of_another_tool_gets_the_right_advice(values, told):
    """Not the nearest word by letters."""
    with pytest.raises(ConfigError) as raised:
        PipelineConfig.from_mapping(values)
    assert told in str(raised.value)


def test_foreign_keys_in_a_config_of_ones_own_are_mistakes(tmp_path):
    """In TOML and YAML; StableNew and A1111's API write JSON."""
    text = "[txt2img]\nprompt = 'a'\nenable_hr = true\nhr_scale = 2\nhr_upscaler = 'Latent'"
    with pytest.raises(ConfigError, match=r"enable_hr: unknown key; here it is txt2img.hires.enabled"):
        recall(file(tmp_path, text, "a.toml"))
    with pytest.raises(ConfigError, match=r"steps: unknown key; it is a setting of"):
        recall(file(tmp_path, "prompt: a\nsteps: 3\nwidth: 64", "a.yaml"))


KEYS = {
    "txt2img": "steps cfg_scale width height sampler_name scheduler seed enable_hr hr_scale hr_upscaler hr_second_pass_steps hires_steps "
    "hr_sampler_name hr_resize_x hr_resize_y denoising_strength hires_use_base_model hr_checkpoint_name model model_name vae vae_name "
    "clip_skip prompt negative_prompt refiner_checkpoint refiner_switch_at refiner_switch_steps refiner_enabled use_refiner "
    "refiner_model_name hypernetwork hypernetwork_strength styles subseed subseed_strength seed_resize_from_h seed_resize_from_w "
    "face_restoration_enabled face_restoration_model face_restoration_weight batch_size n_iter batch_count restore_faces tiling "
    "do_not_save_samples do_not_save_grid sd_model_checkpoint",
    "img2img": "steps denoising_strength sampler_name cfg_scale model vae scheduler seed clip_skip prompt_adjust negative_adjust hypernetwork "
    "hypernetwork_strength model_name vae_name mask_mode enabled restore_faces batch_size batch_count",
    "adetailer": "adetailer_enabled enabled adetailer_model ad_model face_model model adetailer_confidence ad_confidence conf adetailer_steps "
    "ad_steps steps adetailer_denoise ad_denoising_strength strength adetailer_cfg ad_cfg_scale adetailer_sampler ad_sampler "
    "adetailer_scheduler ad_scheduler scheduler adetailer_prompt adetailer_negative_prompt ad_prompt ad_negative_prompt "
    "adetailer_mask_feather mask_feather ad_mask_feather mask_blur ad_mask_blur mask_filter_method ad_mask_filter_method mask_k_largest "
    "ad_mask_k_largest mask_min_ratio ad_mask_min_ratio mask_max_ratio ad_mask_max_ratio mask_dilate_erode ad_dilate_erode dilation "
    "mask_merge_mode ad_mask_merge_invert ad_inpaint_only_masked ad_inpaint_only_masked_padding ad_use_inpaint_width_height "
    "ad_inpaint_width ad_inpaint_height adetailer_padding face_padding max_detections enable_face_pass enable_hands_pass only_faces "
    "only_hands hands_model hands_padding adetailer_hands_model adetailer_hands_confidence adetailer_hands_steps adetailer_hands_cfg "
    "adetailer_hands_denoise adetailer_hands_sampler adetailer_hands_scheduler adetailer_hands_prompt adetailer_hands_negative_prompt "
    "ad_hands_enabled ad_hands_mask_filter_method ad_hands_mask_k ad_hands_mask_min_ratio ad_hands_mask_max_ratio ad_hands_dilate_erode "
    "ad_hands_mask_blur ad_hands_mask_feather ad_hands_mask_merge_invert ad_hands_padding ad_hands_inpaint_only_masked "
    "ad_hands_use_inpaint_width_height ad_hands_inpaint_width ad_hands_inpaint_height adetailer_checkpoint_model use_separate_steps "
    "use_separate_cfg",
    "upscale": "upscaler upscaling_resize upscale_mode denoising_strength steps sampler_name scheduler gfpgan_visibility "
    "codeformer_visibility codeformer_weight tile_size face_restore face_restore_method scale mode enabled upscale_overlap "
    "upscale_tile_width upscale_tile_height upscale_seams_fix upscale_seams_fix_width upscale_seams_fix_denoise "
    "upscale_seams_fix_padding upscale_seams_fix_mask_blur upscale_face_restoration_enabled upscale_sampler_name upscale_scheduler",
    "pipeline": "txt2img_enabled img2img_enabled adetailer_enabled upscale_enabled video_enabled images_per_prompt n_iter "
    "apply_global_negative_txt2img apply_global_negative_img2img apply_global_negative_upscale apply_global_negative_adetailer "
    "allow_hr_with_stages refiner_compare_mode loop_type loop_count pack_mode model_matrix hypernetworks variant_mode seed_mode "
    "output_dir filename_pattern image_format output_route",
    "hires_fix": "enabled upscaler_name upscale_factor steps denoise use_base_model hires_enabled hires_upscaler_name hires_upscale_factor "
    "hires_steps hires_denoise hires_use_base_model",
    "randomization": "enabled seed max_variants prompt_sr wildcards matrix",
}
"""Every key of the tables of real files."""


@pytest.mark.parametrize("section", KEYS)
def test_every_key_of_real_files_is_known(section):
    """Each is carried over, or listed with a reason of its own; none is one that nobody knows."""
    for key in KEYS[section].split():
        values = {"pipeline": {}, section: {key: "x"}}
        unknown = [note.key for note in stablenew_notes(values) if "neither StableNew" in note.reason]
        assert unknown == []


def test_every_section_of_real_files_is_known():
    """At the top of a file."""
    names = "api video aesthetic preset_name meta lora_strengths max_variants randomization_enabled webui_options_write_enabled"
    found = stablenew_notes(
        {**PRESET, **dict.fromkeys(names.split(), 1)} | {"api": {}, "video": {}, "aesthetic": {"enabled": True}}
    )
    assert not [note for note in found if "neither StableNew" in note.reason]
