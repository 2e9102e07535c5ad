"""Detectors and upscalers that need further packages: with the real ones, and what is said without them."""

import beside
import pytest
import tiny
from pixels import TXT2IMG, astronaut, given, output

import rxpipe as rxp
from rxpipe.backends import diagnose
from rxpipe.backends.detections import Detection, regions
from rxpipe.backends.regions import Box
from rxpipe.backends.sizes import Size
from rxpipe.errors import BackendRejected, MissingPackage
from rxpipe.plan import build_stage_execution_plan


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """What a process with the packages reports."""
    root = tmp_path_factory.mktemp("extra")
    tiny.sd(root / "sd")
    return beside.run(root)


@pytest.mark.parametrize("kind", ["yolov8n", "yolov8n-seg"])
def test_a_yolo_model_of_the_users_says_what_is_redrawn(reported, kind):
    """By its file's name; what it finds is recorded, and nothing is redrawn outside of it."""
    found = reported["detectors"][kind]
    assert len(found["own"]) >= 2
    assert found["detections"] == sorted(found["own"], key=lambda box: (box[0] - box[2]) * (box[3] - box[1]))
    first, second = found["detections"][:2]
    around = [min(first[0], second[0]), min(first[1], second[1]), max(first[2], second[2]), max(first[3], second[3])]
    assert around[0] <= found["changed"][0] < found["changed"][2] <= around[2]
    assert around[1] <= found["changed"][1] < found["changed"][3] <= around[3]
    assert found["masks"] == kind.endswith("seg")
    assert found["warnings"] == []


def test_a_model_that_segments_is_followed_along_its_outlines(reported):
    """Fewer pixels change than in the boxes, which are the same."""
    boxes, outlines = (reported["detectors"][kind] for kind in ("yolov8n", "yolov8n-seg"))
    assert boxes["own"] == outlines["own"]
    assert 0 < outlines["share"] < 0.9 * boxes["share"]


def test_a_detector_that_holds_more_than_layers_is_refused_unread(reported):
    """Both forms of a pickle, and what is none."""
    refused = reported["detectors"]["refused"]
    assert len(refused["said"]) == 3
    assert all("a .pt file is a pickle, which can run any code" in said.lower() for said in refused["said"])
    assert not refused["ran"]


def test_an_esrgan_in_tiles_is_the_whole_picture(reported):
    """To the last bit of rounding, with tiles beside and below one another."""
    found = reported["upscalers"]
    assert found["spread"] > 10, "the picture is no plain, in which no seam would show"
    assert found["differs"] <= 1
    assert found["pickled"] == 0, "a .pth of weights is read, with weights only"
    assert found["twice"] == [80, 120, 3]
    assert {"small4x", "small4x-pickled"} <= set(found["listed"])


def test_an_upscaler_that_holds_code_is_refused_unread(reported):
    found = reported["upscalers"]
    assert "bomb.pth: refused" in found["refused"]
    assert not found["ran"]


def test_neither_asks_the_network_for_anything(reported):
    """No name is looked up and no connection made."""
    assert reported["asked"] == []


# -- without the packages ---------------------------------------------------------------------------------------------


@pytest.fixture
def detector(tmp_path, monkeypatch, models):
    """A file where detectors lie, which is never opened."""
    folder = tmp_path / "adetailer"
    folder.mkdir()
    for name in ("face_yolov8n.pt", "hand_yolov8n.pt"):
        (folder / name).write_bytes(b"unread")
    monkeypatch.setenv("RXPIPE_MODELS", f"{models}:{tmp_path}")
    return folder / "hand_yolov8n.pt"


def plan_of(detector, **settings):
    return build_stage_execution_plan(
        rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(), adetailer=rxp.AdetailerConfig(detector=detector, **settings))
    )


def test_without_ultralytics_its_detectors_are_refused_with_a_way_out(shared, detector):
    """By name and by path, before the run; further units too."""
    units = [rxp.AdetailerUnit(detector=str(detector))]
    for plan in (plan_of("hand_yolov8n.pt"), plan_of(str(detector)), plan_of("mediapipe_face_full", units=units)):
        with pytest.raises(MissingPackage, match=r"hand_yolov8n\.pt needs ultralytics") as caught:
            shared.check(plan)
        assert "pip install ultralytics" in caught.value.hint


@pytest.mark.usefixtures("detector")
def test_without_ultralytics_faces_are_found_all_the_same(shared):
    assert shared.check(plan_of("face_yolov8n.pt")) == [
        "adetailer: face_yolov8n.pt needs ultralytics, which is not installed; rxpipe's own detector finds the faces"
    ]
    section = rxp.AdetailerConfig(detector="face_yolov8n.pt", steps=1)
    out = output(shared, section, given(astronaut()), before=rxp.Txt2ImgConfig(**TXT2IMG))
    assert len(out.settings["faces"]) == 1
    assert not out.unchanged


@pytest.mark.usefixtures("detector")
def test_doctor_says_what_reads_the_files_that_are_there(models):
    found = diagnose(f"diffusers:{models / 'sd'}?device=cpu")
    assert "to use the detector face_yolov8n.pt and 1 more: pip install ultralytics" in found.advice


@pytest.mark.parametrize(
    ("name", "message"),
    [("/nowhere/x.pt", "no such file"), ("{models}/onefile.safetensors", r"allowed: a YOLO model that ends with \.pt")],
)
def test_a_detector_that_is_no_file_of_one_is_refused_before_the_run(shared, models, name, message):
    with pytest.raises(BackendRejected, match=message):
        shared.check(plan_of(name.format(models=models)))


def test_a_detector_that_is_nowhere_is_warned_of(shared):
    assert shared.check(plan_of("hand_yolov8n.pt")) == ["adetailer: hand_yolov8n.pt is not here, only faces are found"]


# -- masks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grow", [-6, 0, 6])
def test_an_outline_is_widened_and_narrowed_like_a_box(grow):
    """Within the rounding of its corners."""
    size, box = Size(100, 100), Box(30, 40, 70, 80)
    corners = ((30.0, 40.0), (69.0, 40.0), (69.0, 79.0), (30.0, 79.0))
    unit = rxp.AdetailerConfig(dilate_erode=grow, mask_blur=0, padding=0, inpaint_only_masked=True)
    boxes = [
        region.box
        for outline in ((), corners)
        for region in regions(unit, [Detection(box, 1.0, outline=outline)], size)
    ]
    assert all(abs(one - other) <= 1 for one, other in zip(*boxes, strict=True))
    assert boxes[0].size.width == 40 + 2 * grow
