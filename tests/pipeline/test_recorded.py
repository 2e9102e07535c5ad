"""What the lineage records of the settings that go to a server as they stand."""

import hashlib

import pytest

import rxpipe as rxp
from rxpipe.plan import plan_stages
from rxpipe.stages.recorded import recorded_settings, shortened

LONG = "x" * 5000
DIGEST = f"sha256:{hashlib.sha256(LONG.encode()).hexdigest()} (5000 bytes)"


@pytest.mark.parametrize(
    ("value", "recorded"),
    [
        ("a", "a"),
        (LONG, DIGEST),
        ({"image": LONG, "weight": 0.5}, {"image": DIGEST, "weight": 0.5}),
        ({"args": [{"image": LONG}, LONG, None]}, {"args": [{"image": DIGEST}, DIGEST, None]}),
    ],
)
def test_a_value_over_4_kb_is_recorded_as_its_digest(value, recorded):
    """Where it stands, so that what is short around it is readable."""
    assert shortened(value) == recorded


def test_many_short_values_are_one_long_one():
    """Whatever is given, an entry stays small."""
    assert str(shortened({"all": list(range(2000))})["all"]).startswith("sha256:")


@pytest.mark.parametrize("kind", [rxp.Txt2ImgConfig, rxp.Img2ImgConfig, rxp.AdetailerConfig, rxp.UpscaleConfig])
def test_every_stage_records_what_goes_to_a_server_as_it_stands(kind):
    """payload, options and scripts, and of what is long the digest; the prompt is never shortened."""
    config = kind(payload={"script_args": [LONG]}, override_settings={"a": 1}, alwayson_scripts={"X": {"args": [LONG]}})
    (stage,) = plan_stages([config], rxp.RunSettings(input=["a.png"])).stages
    settings = recorded_settings(stage)
    assert settings["payload"] == {"script_args": [DIGEST]}
    assert settings["override_settings"] == {"a": 1}
    assert settings["alwayson_scripts"] == {"X": {"args": [DIGEST]}}


def test_a_long_prompt_is_recorded_whole():
    """It is what the picture shows."""
    (stage,) = plan_stages([rxp.Txt2ImgConfig(prompt=LONG)], rxp.RunSettings()).stages
    assert recorded_settings(stage)["prompt"] == LONG
