"""Fields and keys of the form: what they mean in a config, what is offered, LoRAs, tokens, presets by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hands import click, press, settle
from staged import Easel

import rxpipe as rxp
from rxpipe.backends.catalog import Catalog, CatalogItem
from rxpipe.config import SECTIONS
from rxpipe.errors import RxPipeError
from rxpipe.views.gui.dialogs import Question, TextQuestion
from rxpipe.views.gui.form_values import (
    FIELDS,
    config_of,
    first_values,
    form_of,
    further,
    names_in,
    variant_count,
    variants_of,
)
from rxpipe.views.gui.lora import loras_in, with_lora, without_lora
from rxpipe.views.gui.shelf import PresetShelf
from rxpipe.views.gui.tokens import token_estimate, token_text

LONG_NAME = "a_checkpoint_with_a_very_long_name_that_no_narrow_list_could_show_v4.2-pruned-fp16.safetensors"


class Stocked(Easel):
    """A backend with names to choose from."""

    def catalog(self):
        def items(*names):
            return tuple(CatalogItem(name) for name in names)

        return Catalog(
            models=items("small.safetensors", LONG_NAME),
            schedulers=items("Karras", "Beta"),
            styles=items("film", "grainy, old"),
            loras=items("ink", "rain"),
        )


@pytest.fixture
def stocked(open_window):
    window = open_window(Stocked())
    assert settle(window, lambda: bool(window.connection.state.names), 5)
    return window


# -- keys and lists ----------------------------------------------------------------------------------------------------


@pytest.mark.sampled(1)
@pytest.mark.parametrize("name", ["images", "seed", "txt2img.width", "txt2img.model", "out"])
def test_control_a_selects_all_in_a_field(open_window, name):
    """And what is typed replaces it, where it had been put in front: 64 images."""
    window = open_window()
    field = window.form.fields[name]
    field.write("4")
    press(window, "ctrl+a", "6", focus=field)
    assert field.read() == "6"


@pytest.mark.slow
def test_control_a_selects_all_of_a_prompt_with_caps_lock_too(open_window):
    window = open_window()
    prompt = window.form.fields["prompt"]
    prompt.write("one\ntwo\nthree")
    prompt.text.focus_force()
    window.root.update()
    for keys in ("<Control-a>", "<Control-A>"):
        prompt.text.tag_remove("sel", "1.0", "end")
        prompt.text.event_generate(keys)
        assert prompt.text.get("sel.first", "sel.last").strip() == "one\ntwo\nthree"


@pytest.mark.slow
def test_a_list_is_as_wide_as_its_names(stocked):
    """Wider than its field, and inside the screen."""
    field = stocked.form.fields["txt2img.model"]
    stocked.form.column.show(field)
    settle(stocked)
    field.tk.call("ttk::combobox::Post", field)
    popdown = str(field.tk.call("ttk::combobox::PopdownWindow", field))
    settle(stocked)
    width, left = (int(field.tk.call("winfo", what, popdown)) for what in ("width", "rootx"))
    assert width >= field.list_width - 2 > field.winfo_width()
    assert left >= 0
    assert left + width <= stocked.root.winfo_screenwidth()
    field.tk.call("ttk::combobox::Unpost", field)


@pytest.mark.slow
def test_a_server_s_names_are_offered(stocked):
    fields = stocked.form.fields
    assert LONG_NAME in fields["txt2img.model"]["values"]
    assert "Beta" in fields["txt2img.scheduler"]["values"]
    assert "film" in fields["txt2img.styles"]["values"]


@pytest.mark.slow
def test_styles_are_added_one_by_one(stocked):
    """With a comma between; one that has a comma itself is quoted."""
    field = stocked.form.fields["txt2img.styles"]
    for choice in ("film", "grainy, old"):
        field._widen_list()  # what opening the list does
        field.set(choice)
        field.event_generate("<<ComboboxSelected>>")
        stocked.root.update()
    assert field.read() == 'film, "grainy, old"'
    assert config_of(stocked.form.read()).txt2img.styles == ("film", "grainy, old")


@pytest.mark.slow
def test_swap_and_usual_sizes(open_window):
    window = open_window()
    width, height = window.form.fields["txt2img.width"], window.form.fields["txt2img.height"]
    width.write("768")
    card = window.form.cards["txt2img"]
    click(window, card.swap)
    assert (width.read(), height.read()) == ("512", "768")


# -- what the fields mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "section",
    [
        rxp.Txt2ImgConfig(scheduler="Karras", vae="v.pt", clip_skip=2, batch_size=4, styles=("a", "b, c")),
        rxp.Txt2ImgConfig(hires=rxp.HiresConfig(scale=1.5, upscaler="Lanczos", steps=9, denoising_strength=0.4)),
        rxp.Txt2ImgConfig(hires=rxp.HiresConfig(scale=1.5, prompt="more", checkpoint="x"), tiling=True),
        rxp.Txt2ImgConfig(hires=None),
    ],
)
def test_a_config_comes_back_as_it_was(section):
    config = rxp.PipelineConfig(txt2img=section)
    assert config_of(form_of(config)).txt2img == section


def test_hires_that_is_switched_off_is_gone_and_on_again_keeps_what_has_no_field():
    form = form_of(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(hires=rxp.HiresConfig(scale=3, prompt="more"))))
    off = replace(form, fields={**form.fields, "txt2img.hires.enabled": ""})
    assert config_of(off).txt2img.hires is None
    on = config_of(form).txt2img.hires
    assert (on.scale, on.prompt) == (3, "more")
    assert further(form, "txt2img") == ("hires.prompt",)


def test_a_mask_and_its_settings_reach_img2img(tmp_path):
    form = first_values()
    fields = {**form.fields, "img2img.mask": str(tmp_path / "m.png"), "img2img.inpaint_full_res": "on"}
    enabled = {stage: stage == "img2img" for stage in SECTIONS}
    config = config_of(replace(form, enabled=enabled, fields=fields, inputs=(str(tmp_path / "a.png"),)))
    assert config.img2img.mask == tmp_path / "m.png"
    assert config.img2img.inpaint_full_res


def test_every_field_of_the_form_is_a_setting():
    """Also those in a section of their own, and each has a field in the window."""
    for stage, names in FIELDS.items():
        for name in names:
            head, _, inner = name.partition(".")
            assert head in SECTIONS[stage].model_fields
            assert not inner or inner in rxp.HiresConfig.model_fields


@pytest.mark.parametrize(
    ("text", "names"), [("", []), ("a", ["a"]), (" a ,b", ["a", "b"]), ('"a, b", c', ["a, b", "c"]), (",,", [])]
)
def test_names_in_a_list(text, names):
    assert names_in(text) == names


# -- LoRAs and tokens --------------------------------------------------------------------------------------------------


def test_loras_are_added_weighed_and_removed():
    prompt = with_lora("a boat", "ink", 0.8)
    assert prompt == "a boat <lora:ink:0.8>"
    prompt = with_lora(with_lora(prompt, "rain (v2)", 1.0), "ink", "0.35")
    assert loras_in(prompt) == {"ink": "0.35", "rain (v2)": "1"}
    assert without_lora(prompt, "rain (v2)") == "a boat <lora:ink:0.35>"
    assert without_lora("a <lora:ink> b", "ink") == "a b"
    assert loras_in("<lora:ink>") == {"ink": "1"}


@pytest.mark.slow
def test_the_lora_window_writes_into_the_prompt(stocked):
    """A name is added with Return, its weight typed, the x takes it away."""
    prompt = stocked.form.fields["prompt"]
    prompt.write("a boat")
    window = stocked.form.pick_loras()
    assert "rain" in window.names["values"]
    window.names.write("rain")
    press(stocked, "Return", focus=window.names)
    assert prompt.read() == "a boat <lora:rain:0.8>"
    window.weights["rain"].entry.delete(0, "end")
    press(stocked, "1", focus=window.weights["rain"].entry)
    assert prompt.read() == "a boat <lora:rain:1>"
    window.destroy()


@pytest.mark.parametrize(
    ("prompt", "count"),
    [
        ("", 0),
        ("a lighthouse at dusk", 5),
        ("a cat, (blue eyes:1.3), [blurry]", 6 + 1),
        ("a boat <lora:ink:0.8>", 2),
        ("1girl", 2),
        (r"a \(real\) brace", 5),
    ],
)
def test_tokens_are_estimated(prompt, count):
    assert token_estimate(prompt) == pytest.approx(count, abs=1)


def test_the_room_grows_by_whole_pieces():
    assert token_text("cat " * 75) == "≈ 75 of 75 tokens"
    assert token_text("cat " * 76) == "≈ 76 of 150 tokens"


@pytest.mark.slow
def test_the_count_follows_the_prompt(open_window):
    window = open_window()
    window.form.fields["prompt"].write("one two three")
    settle(window)
    assert window.form.tokens["text"] == "≈ 3 of 75 tokens"


# -- presets by name ---------------------------------------------------------------------------------------------------


def test_a_shelf_saves_renames_and_deletes(tmp_path):
    shelf = PresetShelf(tmp_path / "p")
    assert shelf.names() == ()
    config = rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="x"))
    shelf.save("night", config)
    shelf.save("Day ü", config)
    assert shelf.names() == ("Day ü", "night")
    assert rxp.PipelineConfig.load(shelf.path("night")).txt2img.prompt == "x"
    with pytest.raises(RxPipeError, match="already"):
        shelf.rename("night", "Day ü")
    shelf.rename("night", "dawn")
    shelf.delete("Day ü")
    shelf.delete("Day ü")
    assert shelf.names() == ("dawn",)


@pytest.mark.parametrize("name", ["", " ", "a/b", "..", ".hidden", "a\nb", "x" * 81, "c:d"])
def test_a_name_that_no_file_can_have_is_refused(tmp_path, name):
    with pytest.raises(RxPipeError, match="preset name"):
        PresetShelf(tmp_path).path(name)


def test_presets_are_saved_chosen_renamed_and_deleted_in_the_window(open_window):
    window = open_window()
    window.form.fields["prompt"].write("at night")
    window.files.save_preset_as()
    answer(window, "night")
    assert window.files.presets.current == "night"
    window.form.fields["prompt"].write("something else")
    window.files.presets.names.event_generate("<<ComboboxSelected>>")
    window.root.update()
    assert window.form.fields["prompt"].read() == "at night"
    window.files.save_preset_as()
    answer(window, "night")
    assert "would be replaced" in only(window, Question).text
    only(window, Question).no.invoke()
    window.files.rename_preset()
    answer(window, "dusk")
    assert window.files.presets.names["values"] == ("dusk",)
    window.files.delete_preset()
    only(window, Question).yes.invoke()
    assert window.files.presets.current == ""
    window.files.presets.refresh()
    assert not window.files.presets.names["values"]


def only(window, kind):
    """The one window of that kind."""
    (found,) = [child for child in window.root.winfo_children() if isinstance(child, kind)]
    return found


def answer(window, text):
    """Answer a question for a name."""
    question = only(window, TextQuestion)
    question.field.write(text)
    question.yes.invoke()
    window.root.update()


# -- variants ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "count"), [("a boat", None), ("a {red|blue} {boat|cat|dog}", 6), ("a {red", None), ("a [[slot]]", None)]
)
def test_variants_are_counted_before_the_run(prompt, count):
    """Alternatives in the prompt; none where the text is wrong, which the run says."""
    form = replace(first_values(), prompt=prompt, images="1")
    assert variant_count(form) == count
    if count:
        assert config_of(form).variants is not None


def with_variants(**fields):
    """The form with one image and these texts in its fields for variants."""
    return replace(
        first_values(),
        images="1",
        fields={**first_values().fields, **{f"variants.{name}": text for name, text in fields.items()}},
    )


@pytest.mark.parametrize(
    ("fields", "count", "said"),
    [
        ({"sweep": "txt2img.cfg_scale = 5, 7, 9\ntxt2img.steps = 10-30 (+10)"}, 9, "9 variants"),
        ({"sweep": "txt2img.cfg_scale = [5, 7.5]", "seeds": "counted"}, 2, "2 variants"),
        ({"sweep": ""}, None, ""),
        ({"sweep": "txt2img.stepz = 1, 2"}, None, "sweep txt2img.stepz: unknown setting; did you mean 'steps'?"),
        ({"sweep": "a = 1\na = 2"}, None, "variants.sweep: 'a' stands on two lines; give all its values on one"),
        ({"sweep": "five"}, None, "variants.sweep: got 'five', should be like txt2img.cfg_scale = 5, 7, 9"),
        ({"wildcards": "nowhere"}, None, "wildcards nowhere: there is no such folder or file"),
        ({"count": "many"}, None, "variants.count: got 'many', should be a whole number"),
    ],
)
def test_a_sweep_in_the_form_is_that_of_a_config(fields, count, said):
    """Counted before the run, or what is wrong is said."""
    form = with_variants(**fields)
    assert (variant_count(form), variants_of(form)[1]) == (count, said)


def test_chance_and_wildcards_of_the_form(tmp_path):
    (tmp_path / "hue.txt").write_text("red\nblue\ngreen\n")
    form = replace(with_variants(wildcards=f'"{tmp_path}"', count="4", seeds="fixed"), prompt="a __hue__ boat")
    config = config_of(form)
    assert (config.variants.mode, config.variants.count, config.variants.seeds) == ("random", 4, "fixed")
    assert config.variants.wildcards == (tmp_path,)
    assert variants_of(replace(form, images="3")) == (12, "4 variants of 3 images: 12")


def test_variants_of_a_preset_are_shown_and_kept():
    """In the fields those that have one, the others as they were; an emptied field takes its own away only."""
    section = {
        "sweep": {"txt2img.steps": [1, 2], "upscale.upscaler": ["A, b", "C"]},
        "slots": {"time": ("dawn", "dusk")},
        "seeds": "fixed",
    }
    config = rxp.PipelineConfig(txt2img={"prompt": "a [[time]]"}, upscale={}, variants=section)
    form = form_of(config)
    assert form.fields["variants.sweep"] == 'txt2img.steps = 1, 2\nupscale.upscaler = ["A, b", "C"]'
    assert config_of(form).variants.sweep == {"txt2img.steps": "1, 2", "upscale.upscaler": ["A, b", "C"]}
    emptied = config_of(replace(form, fields={**form.fields, "variants.sweep": ""}))
    assert (emptied.variants.sweep, emptied.variants.slots) == ({}, {"time": ("dawn", "dusk")})
    assert emptied.variants.seeds == "fixed"


def test_a_sweep_is_begun_from_the_list_and_a_wrong_one_is_marked(open_window):
    """With the value that the setting has; the count follows; Run marks the field and draws nothing."""
    window = open_window()
    card, sweep = window.form.variants, window.form.fields["variants.sweep"]
    card.insert("txt2img.steps")
    assert sweep.read() == "txt2img.steps = 20,"
    press(window, "3", "0", focus=sweep.text)
    assert settle(window, lambda: card.says["text"] == "2 variants of 3 images: 6", 2), card.says["text"]
    sweep.write("txt2img.stepz = 1, 2")
    window.run_button.invoke()
    assert settle(window, lambda: sweep.instate(["invalid"]), 2)
    assert not window.status.active
    sweep.write("")
    assert settle(window, lambda: "by a sweep" in card.says["text"], 2)


@pytest.mark.slow
def test_the_count_of_variants_stands_beside_the_tokens(open_window):
    window = open_window()
    window.form.fields["prompt"].write("a {red|blue} boat")
    assert settle(window, lambda: window.form.tokens["text"].startswith("6 pictures in all · "), 2)  # of 3 images each
    press(window, "ctrl+a", "4", focus=window.form.fields["images"])
    assert settle(window, lambda: window.form.tokens["text"].startswith("8 pictures in all · "), 2)
