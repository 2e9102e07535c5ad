"""What is asked of a WebUI: every field known to both servers' own documents, and nothing that they would misread."""

import base64
import json

import pytest
from stages import PICTURE, stage_of

import rxpipe as rxp
from rxpipe.backends.sizes import Size
from rxpipe.backends.webui import payloads
from rxpipe.backends.webui.fitting import fitted
from rxpipe.backends.webui.flavour import flavour_of
from rxpipe.backends.webui.names import WebUICatalog
from rxpipe.backends.webui.units import adetailer_unit
from rxpipe.testing.servers.webui import openapi
from rxpipe.testing.servers.webui.flavour import load_flavour

FORGE_ONLY = {"distilled_cfg_scale"}
BODIES = {
    "/sdapi/v1/txt2img": "StableDiffusionProcessingTxt2Img",
    "/sdapi/v1/img2img": "StableDiffusionProcessingImg2Img",
    "/sdapi/v1/extra-single-image": "ExtrasSingleImageRequest",
}
TYPES = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict}

TXT2IMG = rxp.Txt2ImgConfig(
    prompt="a lighthouse",
    negative_prompt="fog",
    seed=7,
    steps=30,
    cfg_scale=5.5,
    width=512,
    height=768,
    sampler_name="Euler a",
    scheduler="Karras",
    model="tiny-sd15",
    vae="nice.pt",
    clip_skip=2,
    subseed=3,
    subseed_strength=0.2,
    distilled_cfg_scale=3.5,
    tiling=True,
    restore_faces=True,
    styles=("one",),
    hires=rxp.HiresConfig(scale=1.5, sampler_name="Euler", scheduler="Simple", checkpoint="tiny-sd15"),
    refiner=rxp.RefinerConfig(checkpoint="random-sd15", switch_at=0.7),
    override_settings={"eta_noise_seed_delta": 31337},
    alwayson_scripts={"seed": {"args": []}},
)
UNITS = rxp.AdetailerConfig(
    detector="face_yolov8n.pt",
    confidence=0.5,
    denoising_strength=0.3,
    prompt="a face",
    negative_prompt="blurry",
    steps=12,
    cfg_scale=6.0,
    sampler_name="Euler",
    scheduler="Karras",
    checkpoint="tiny-sd15",
    mask_filter_method="Confidence",
    mask_k_largest=2,
    mask_min_ratio=0.01,
    mask_max_ratio=0.9,
    mask_merge_invert="Merge",
    dilate_erode=8,
    mask_blur=6,
    inpaint_only_masked=False,
    padding=48,
    inpaint_width=512,
    inpaint_height=512,
    units=(rxp.AdetailerUnit(detector="hand_yolov8n.pt"),),
)


def requests():
    """One request of every kind, with every setting used."""
    size = Size(512, 768)
    inpaint = rxp.Img2ImgConfig(mask="alpha", inpainting_mask_invert=True)
    boxed = rxp.UpscaleConfig(width=600, height=600, fit="crop", upscaler_2="Nearest", upscaler_2_visibility=0.3)
    img2img, upscale = rxp.Img2ImgConfig(), rxp.UpscaleConfig(mode="img2img", upscaler="Lanczos")
    return {
        "txt2img": payloads.txt2img(stage_of(TXT2IMG), TXT2IMG, batch_size=2),
        "img2img": payloads.img2img(stage_of(img2img, before=TXT2IMG), img2img, size),
        "inpaint": payloads.img2img(stage_of(inpaint, before=TXT2IMG), inpaint, size),
        "upscale to a size": payloads.upscale(boxed, size),
        "adetailer": payloads.adetailer(stage_of(UNITS, before=TXT2IMG), UNITS, size),
        "upscale": payloads.upscale(rxp.UpscaleConfig(gfpgan_visibility=0.5, codeformer_visibility=1.0), Size(64, 64)),
        "upscale by img2img": payloads.upscale_by_img2img(stage_of(upscale, before=TXT2IMG), upscale, size),
    }


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
@pytest.mark.parametrize("kind", requests())
def test_every_field_is_in_the_servers_own_document_with_its_type(flavour, kind):
    """An unknown field is ignored without a word and a wrong type is a 422, so neither may be sent."""
    request = requests()[kind]
    document = openapi(flavour)
    known = document["components"]["schemas"][BODIES[request.path]]["properties"]
    if kind == "txt2img":
        request = fitted(request, (), WebUICatalog(flavour=flavour_of(document)))
    sent = json.loads(request.body(PICTURE))

    assert set(sent) - set(known) <= (FORGE_ONLY if flavour == "a1111" else set())
    for name in set(sent) & set(known):
        allowed = [part.get("type") for part in known[name].get("anyOf", [known[name]])]
        assert any(isinstance(sent[name], TYPES[t]) for t in allowed if t in TYPES), name


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
def test_every_override_is_one_of_the_servers_options(flavour):
    """An unknown option in override_settings is a 500."""
    options = load_flavour(flavour).answers["/sdapi/v1/options"]
    request = requests()["img2img"]

    assert set(request.override_settings) <= set(options)
    assert "upscaler_for_img2img" in options
    assert request.override_settings == {
        "sd_model_checkpoint": "tiny-sd15",
        "sd_vae": "nice.pt",
        "CLIP_stop_at_last_layers": 2,
    }


def test_a_stage_without_model_overrides_nothing():
    """What the config does not name stays as the server has it."""
    config = rxp.Txt2ImgConfig(prompt="a lighthouse")

    assert payloads.txt2img(stage_of(config), config).override_settings is None


def test_the_users_own_override_settings_win():
    """Who names an option himself means it."""
    config = rxp.Txt2ImgConfig(model="tiny-sd15", override_settings={"sd_model_checkpoint": "random-sd15"})

    assert payloads.txt2img(stage_of(config), config).model == "random-sd15"


def test_one_txt2img_request_is_one_picture_with_its_own_seed():
    """Memory, first picture, cancel and resume all gain from it."""
    config = rxp.Txt2ImgConfig(images=4, seed=100)
    request = payloads.txt2img(stage_of(config, seed=102), config)

    assert (request.batch_size, request.n_iter, request.seed) == (1, 1, 102)
    assert not request.save_images
    assert request.send_images


@pytest.mark.parametrize(
    ("given", "sent"), [(Size(512, 768), (512, 768)), (Size(70, 66), (64, 64)), (Size(20, 1000), (64, 1000))]
)
def test_img2img_takes_the_pictures_size_in_the_servers_steps(given, sent):
    """The server rounds down to multiples of 8; so is asked for what will come."""
    config = rxp.Img2ImgConfig()
    request = payloads.img2img(stage_of(config), config, given)

    assert (request.width, request.height) == sent


def test_img2img_takes_a_size_that_the_config_names():
    """Instead of the picture's own."""
    config = rxp.Img2ImgConfig(width=256, height=320)
    request = payloads.img2img(stage_of(config), config, Size(512, 512))

    assert (request.width, request.height) == (256, 320)


def test_adetailer_works_on_the_given_picture_and_skips_the_outer_pass():
    """`[true, true, unit, ...]`: without both switches the whole picture is redrawn, or a further unit runs."""
    args = requests()["adetailer"].alwayson_scripts["ADetailer"]["args"]

    assert args[:2] == [True, True]
    assert [unit["ad_model"] for unit in args[2:]] == ["face_yolov8n.pt", "hand_yolov8n.pt"]


@pytest.mark.parametrize("flavour", ["forge", "a1111"])
def test_every_key_of_a_unit_is_in_the_extensions_own_schema(flavour):
    """An unknown key turns the unit off without a word."""
    schema = load_flavour(flavour).answers["/adetailer/v1/schema"]["properties"]
    unit = adetailer_unit(UNITS, schema)

    assert set(unit) <= set(schema)
    for name, value in unit.items():
        assert isinstance(value, TYPES[schema[name]["type"]]), name
    for switch in ("steps", "cfg_scale", "sampler", "checkpoint", "inpaint_width_height"):
        assert unit[f"ad_use_{switch}"] is True


def test_a_unit_at_its_defaults_sends_nothing_but_its_detector():
    """What is not sent cannot be unknown to an old extension."""
    assert adetailer_unit(rxp.AdetailerUnit(detector="face")) == {"ad_model": "face"}


def test_a_setting_that_an_old_extension_lacks_is_refused_by_name():
    """It would be dropped together with the whole unit."""
    schema = {"ad_model": {}, "ad_mask_k_largest": {}}

    assert adetailer_unit(rxp.AdetailerUnit(mask_k_largest=3), schema)["ad_mask_k_largest"] == 3
    with pytest.raises(rxp.BackendRejected, match="no setting for padding"):
        adetailer_unit(rxp.AdetailerUnit(padding=8), schema)


def test_a_units_scheduler_brings_the_sampler_it_belongs_to():
    """The extension looks at a unit's scheduler only beside a sampler of its own."""
    config = rxp.AdetailerConfig(units=(rxp.AdetailerUnit(scheduler="Karras"),))
    stage = stage_of(config, before=rxp.Txt2ImgConfig(sampler_name="Euler"))
    unit = payloads.adetailer(stage, config, Size(64, 64)).alwayson_scripts["ADetailer"]["args"][3]

    assert (unit["ad_use_sampler"], unit["ad_sampler"], unit["ad_scheduler"]) == (True, "Euler", "Karras")


def test_upscale_names_an_upscaler_always():
    """Left out, the server hands the picture back at its own size."""
    assert payloads.upscale(rxp.UpscaleConfig(), Size(64, 64)).upscaler_1 == "Lanczos"


def test_upscale_by_img2img_asks_for_the_larger_size():
    """And for the upscaler that enlarges it before it is redrawn."""
    request = requests()["upscale by img2img"]

    assert (request.width, request.height) == (1024, 1536)
    assert request.override_settings["upscaler_for_img2img"] == "Lanczos"


@pytest.mark.parametrize("kind", ["img2img", "upscale"])
def test_the_picture_is_spliced_in_as_base64(kind):
    """The body is the model's JSON with the picture in its place, byte for byte."""
    request = requests()[kind]
    sent = json.loads(request.body(PICTURE))
    picture = sent.pop(request.picture_key)

    assert base64.b64decode(picture[0] if request.picture_is_list else picture) == PICTURE
    assert sent == json.loads(request.body())


# -- payload ----------------------------------------------------------------------------------------------------------

SECTIONS = {
    "txt2img": rxp.Txt2ImgConfig,
    "img2img": rxp.Img2ImgConfig,
    "adetailer": rxp.AdetailerConfig,
    "upscale": rxp.UpscaleConfig,
    "upscale by img2img": lambda **settings: rxp.UpscaleConfig(mode="img2img", **settings),
}


def body_of(kind, **settings):
    """The JSON that one kind of stage sends."""
    config = SECTIONS[kind](**settings)
    stage, size = stage_of(config), Size(64, 64)
    if kind == "txt2img":
        return json.loads(payloads.txt2img(stage, config).body())
    if kind == "upscale":
        return json.loads(payloads.upscale(config, size).body(PICTURE))
    make = {"img2img": payloads.img2img, "adetailer": payloads.adetailer}.get(kind, payloads.upscale_by_img2img)
    return json.loads(make(stage, config, size).body(PICTURE))


@pytest.mark.parametrize("kind", SECTIONS)
def test_payload_is_merged_into_the_request_last(kind):
    """What no setting is for is added, a null stays one, and what rxpipe sends itself is replaced."""
    plain = body_of(kind)
    given = {"script_name": "x/y/z plot", "script_args": [1, None, {"a": "b"}], "eta": None, "resize_mode": 2}
    if kind == "txt2img":
        given["cfg_scale"] = 3.5
    sent = body_of(kind, payload=given)

    assert sent == {**plain, **given}


@pytest.mark.parametrize("kind", ["txt2img", "img2img", "adetailer", "upscale by img2img"])
def test_options_and_scripts_of_payload_join_those_of_the_stage(kind):
    """By name, so that neither the checkpoint nor ADetailer is lost."""
    given = {
        "override_settings": {"eta_noise_seed_delta": 1},
        "alwayson_scripts": {"ControlNet": {"args": []}},
    }
    by_setting = {"model": "tiny-sd15", **given}
    assert body_of(kind, model="tiny-sd15", payload=given) == body_of(kind, **by_setting)
    sent = body_of(kind, **by_setting)
    assert sent["override_settings"]["eta_noise_seed_delta"] == 1
    assert sent["override_settings"]["sd_model_checkpoint"] == "tiny-sd15"
    scripts = {"ControlNet", "ADetailer"} if kind == "adetailer" else {"ControlNet"}
    assert set(sent["alwayson_scripts"]) == scripts


def test_payload_may_bring_the_pictures_itself():
    """Then the stage's own are not sent beside them."""
    sent = body_of("img2img", payload={"init_images": ["aaaa"], "mask": "bbbb"})
    assert (sent["init_images"], sent["mask"]) == (["aaaa"], "bbbb")


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"force_task_id": "a"}, "payload.force_task_id cannot be set: it is how rxpipe follows and stops its job."),
        ({"n_iter": 2}, "payload.n_iter cannot be set: set images."),
        ({"batch_size": 2}, "payload.batch_size cannot be set: set txt2img.batch_size."),
        ({"seed": 2}, "payload.seed cannot be set: set seed."),
        ({"send_images": False}, "payload.send_images cannot be set: without pictures a stage has no result."),
        ({"width": "wide"}, "payload.width: Input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_payload_cannot_take_the_job_from_rxpipe(payload, told):
    """Which could not be followed, stopped, or counted then."""
    with pytest.raises(rxp.BackendRejected) as refused:
        body_of("txt2img", payload=payload)
    assert refused.value.message.startswith(told)


def test_adetailers_scripts_cannot_hold_adetailer():
    """It would run twice, or in place of the stage."""
    with pytest.raises(rxp.BackendRejected, match="which is the stage itself"):
        body_of("adetailer", alwayson_scripts={"adetailer": {"args": []}})


# -- masks and sizes --------------------------------------------------------------------------------------------------


def test_a_mask_brings_its_settings():
    """Without one none is sent."""
    names = {"mask_blur", "inpaint_full_res", "inpaint_full_res_padding", "inpainting_fill", "inpainting_mask_invert"}
    assert not names & body_of("img2img").keys()
    sent = body_of("img2img", mask="alpha", inpainting_mask_invert=True)
    assert {name: sent[name] for name in names} == {
        "mask_blur": 4,
        "inpaint_full_res": False,
        "inpaint_full_res_padding": 32,
        "inpainting_fill": 1,
        "inpainting_mask_invert": 1,
    }


def test_picture_and_mask_are_spliced_in():
    """Each in its place."""
    request = requests()["inpaint"]
    sent = json.loads(request.body(PICTURE, b"mask"))
    assert base64.b64decode(sent["init_images"][0]) == PICTURE
    assert base64.b64decode(sent["mask"]) == b"mask"


def test_a_size_to_fit_into_is_asked_for_by_its_factor():
    """A server's own way to a size covers it instead."""
    sent = body_of("upscale", width=200, height=100)
    assert (sent["resize_mode"], sent["upscaling_resize"]) == (0, 100 / 64)
    assert "upscaling_resize_w" not in sent


def test_a_size_to_be_cut_to_is_the_servers_own():
    """With its crop."""
    sent = body_of("upscale", width=200, height=100, fit="crop")
    assert (sent["resize_mode"], sent["upscaling_resize_w"], sent["upscaling_resize_h"]) == (1, 200, 100)
    assert sent["upscaling_crop"] is True


def test_a_second_upscaler_is_mixed_in():
    """By its visibility; alone neither is sent."""
    sent = body_of("upscale", upscaler_2="Nearest", upscaler_2_visibility=0.25)
    assert (sent["upscaler_2"], sent["extras_upscaler_2_visibility"]) == ("Nearest", 0.25)
    assert "upscaler_2" not in body_of("upscale")
