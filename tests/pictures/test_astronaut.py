"""A real photograph by command line: the astronaut that ships inside scikit-image, through three stages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import skimage
from PIL import Image
from typer.testing import CliRunner

from rxpipe.cli import app
from rxpipe.events import parse_event

ASTRONAUT = Path(skimage.__file__).parent / "data" / "astronaut.png"
FACE = (slice(90, 190), slice(175, 275))  # rows and columns, px; where a person sees it
FAR_FROM_IT = 64  # px; mask, its blur and its widening end well before


@pytest.fixture(scope="module")
def worked_on(tmp_path_factory):
    """Events of one run over the photograph, by stage."""
    out = tmp_path_factory.mktemp("astronaut")
    command = ["run", "--input", str(ASTRONAUT), "--stages", "img2img,adetailer,upscale", "--prompt", "an astronaut"]
    ran = CliRunner().invoke(app, [*command, "--backend", "embedded", "--seed", "5", "--out", str(out), "--json"])
    assert ran.exit_code == 0, ran.output
    events = [parse_event(line) for line in ran.stdout.splitlines()]
    return {event.stage_type: event for event in events if event.kind == "stage_image_progress"}


def pixels(event):
    with Image.open(event.path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def info(event):
    return json.loads(CliRunner().invoke(app, ["info", "--json", str(event.path)]).stdout)


@pytest.mark.slow
def test_all_three_stages_did_their_work(worked_on):
    """None was passed over, and the photograph came out at twice its size."""
    assert {name: event.outcome for name, event in worked_on.items()} == {
        "img2img": "done",
        "adetailer": "done",
        "upscale": "done",
    }
    assert pixels(worked_on["upscale"]).shape == (1024, 1024, 3)


@pytest.mark.slow
def test_img2img_kept_the_photograph_and_changed_it(worked_on):
    """At its default strength it is a gentle change of the whole picture."""
    with Image.open(ASTRONAUT) as photo:
        difference = np.abs(pixels(worked_on["img2img"]) - np.asarray(photo.convert("RGB")).astype(int))

    assert 0 < difference.mean() < 32


@pytest.mark.slow
def test_adetailer_found_the_face_and_left_the_rest_untouched(worked_on):
    """The face is redrawn; every pixel far from it is the one that came in."""
    changed = np.any(pixels(worked_on["adetailer"]) != pixels(worked_on["img2img"]), axis=2)

    assert changed[FACE].mean() > 0.5
    corner = slice(None, FAR_FROM_IT), slice(-FAR_FROM_IT, None)
    for rows in corner:
        for columns in corner:
            assert not changed[rows, columns].any()
    rows, columns = np.nonzero(changed)
    assert rows.min() > FACE[0].start - FAR_FROM_IT
    assert rows.max() < FACE[0].stop + FAR_FROM_IT
    assert columns.min() > FACE[1].start - FAR_FROM_IT
    assert columns.max() < FACE[1].stop + FAR_FROM_IT


def test_info_reads_back_what_was_done(worked_on):
    """The last file tells the stages in order, their settings, and where the face was."""
    said = info(worked_on["upscale"])

    stages = {record["stage"]: record for record in said["lineage"]["lineage"]}
    assert list(stages) == ["img2img", "adetailer", "upscale"]
    assert {record["backend"] for record in stages.values()} == {"sketch"}
    assert stages["img2img"]["settings"]["prompt"] == "an astronaut"
    assert stages["img2img"]["settings"]["seed"] == 5
    left, top, right, bottom = stages["adetailer"]["settings"]["faces"][0]["box"]
    assert left < 225 < right
    assert top < 140 < bottom
    assert stages["upscale"]["settings"]["scale"] == 2.0
    assert said["settings"]["Seed"] == "5"
