"""adetailer on the embedded backend: faces are found where there are some, refined, and nothing else is touched."""

import itertools
import threading

import numpy as np
import pytest
import skimage.data
from PIL import Image
from sketch_runs import difference, draw, photo, pixels_of

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.backends.sketch import SketchBackend, faces
from rxpipe.config import AdetailerUnit, RunSettings
from rxpipe.pictures.faces import find_faces
from rxpipe.plan import plan_stages
from rxpipe.rx.worker import WorkerScheduler

ASTRONAUT = skimage.data.astronaut()
FACE = (170, 60, 280, 175)  # left, top, right, bottom, as anybody would say


@pytest.fixture(scope="module", autouse=True)
def each_picture_is_looked_at_once():
    """The detector holds no state: the same pixels have the same faces, which most tests here need to have found."""
    look, seen = faces.find_faces, {}

    def shared(pixels):
        key = pixels.shape, pixels.tobytes()
        if key not in seen:
            seen[key] = yield from look(pixels)
        yield 1.0
        return list(seen[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(faces, "find_faces", shared)
        yield


def detail(image=None, **settings):
    return draw(rxp.AdetailerConfig(**{"steps": 2, **settings}), photo(image or Image.fromarray(ASTRONAUT)))


def boxes(drawing):
    return [tuple(face["box"]) for face in drawing.output.settings["faces"]]


def test_the_astronauts_face_is_found_and_refined_and_no_pixel_beyond_the_mask_changed():
    """One face; every changed pixel lies in its box grown by dilate_erode and mask_blur; corners are the photo's."""
    drawing = detail()
    ((left, top, right, bottom),) = boxes(drawing)
    changed = (drawing.pixels != ASTRONAUT).any(axis=2)
    rows, columns = np.nonzero(changed)

    assert abs(left - FACE[0]) < 25
    assert abs(top - FACE[1]) < 25
    assert abs(right - FACE[2]) < 25
    assert abs(bottom - FACE[3]) < 25
    reach = 4 + 4 + 1
    assert left - reach <= columns.min() <= columns.max() < right + reach
    assert top - reach <= rows.min() <= rows.max() < bottom + reach
    assert changed[top:bottom, left:right].mean() > 0.4
    for corner in (np.s_[:64, :64], np.s_[:64, -64:], np.s_[-64:, :64], np.s_[-64:, -64:]):
        assert np.array_equal(drawing.pixels[corner], ASTRONAUT[corner])


@pytest.mark.sampled(1)
@pytest.mark.parametrize("shape", [pytest.param((1024, 1024), marks=pytest.mark.slow), (300, 300), (400, 440)])
def test_the_astronauts_face_is_found_at_any_size(shape):
    """One face, in the same place of the picture."""
    height, width = shape
    drawing = detail(Image.fromarray(ASTRONAUT).resize((width, height)))
    ((left, top, right, bottom),) = boxes(drawing)

    assert abs((left + right) / 2 / width - 0.44) < 0.03
    assert abs((top + bottom) / 2 / height - 0.23) < 0.03


@pytest.mark.slow
def test_more_strength_changes_more_and_none_changes_nothing():
    drawn = [detail(denoising_strength=strength).pixels for strength in (0.0, 0.2, 0.4, 0.6)]
    distances = [difference(picture, ASTRONAUT) for picture in drawn]

    assert distances[0] == 0
    assert all(b > a for a, b in itertools.pairwise(distances))


@pytest.mark.slow
def test_a_larger_mask_reaches_further_and_a_softer_edge_has_no_step():
    """dilate_erode grows the mask by its px; mask_blur makes the change fade towards its border."""
    small, large = ((detail(dilate_erode=px).pixels != ASTRONAUT).any(2) for px in (0, 20))
    assert (large & ~small).sum() > 1500

    soft = np.abs(detail(mask_blur=16, denoising_strength=1).pixels - ASTRONAUT).max(axis=2)
    rows, columns = np.nonzero(soft)
    assert soft[rows.min(), :].max() <= 3
    assert soft[:, columns.max()].max() <= 3


@pytest.mark.sampled(1)
@pytest.mark.parametrize("picture", ["coffee", "chelsea", "sea", "city at night", "forest", "abstract"])
def test_where_there_is_no_face_the_picture_goes_on_unchanged(picture):
    """The outcome is reported as such, the steps end with the search, and nothing is encoded anew."""
    drawing = detail(without_face(picture))

    assert drawing.output.unchanged
    assert boxes(drawing) == []
    assert [step.step for step in drawing.steps] == [1]  # of 2; the rest is for refining
    assert drawing.completed


def without_face(name):
    if name in {"coffee", "chelsea"}:
        return Image.fromarray(getattr(skimage.data, name)())
    data = draw(rxp.Txt2ImgConfig(prompt=name, width=512, height=512, steps=8)).output.data
    return Image.fromarray(pixels_of(data).astype(np.uint8))


def test_finds_below_the_confidence_are_ignored():
    """With confidence 1 only finds that every look agrees on count; the astronaut's does or does not, never half."""
    assert boxes(detail(confidence=0.0))
    found = detail(confidence=1.0)
    assert found.output.unchanged == (boxes(found) == [])


def test_finds_that_are_too_small_or_too_large_are_ignored():
    share = 100 * 100 / 512**2

    assert detail(mask_min_ratio=2 * share).output.unchanged
    assert detail(mask_max_ratio=share / 2).output.unchanged
    assert not detail(mask_min_ratio=share / 2, mask_max_ratio=2 * share).output.unchanged


@pytest.mark.slow
def test_only_so_many_of_the_largest_finds_are_refined():
    """Two faces side by side: both by default, the larger one with mask_k_largest 1."""
    pair = Image.new("RGB", (1024, 512), "white")
    pair.paste(Image.fromarray(ASTRONAUT), (0, 0))
    pair.paste(Image.fromarray(ASTRONAUT).resize((400, 400)), (560, 60))

    assert len(boxes(detail(pair))) == 2
    ((left, _, _, _),) = boxes(detail(pair, mask_k_largest=1))
    assert left < 512


def test_merge_and_invert_refines_all_but_the_face():
    changed = (detail(mask_merge_invert="Merge and Invert").pixels != ASTRONAUT).any(axis=2)

    assert not changed[110:130, 210:240].any()
    assert changed[300:, :].mean() > 0.3


@pytest.mark.slow
def test_a_detector_for_hands_finds_nothing_and_further_units_run_in_order():
    """The embedded backend knows faces only; a second unit works on what the first left."""
    assert detail(detector="hand_yolov8n.pt").output.unchanged
    once = detail()
    twice = detail(units=(AdetailerUnit(),))
    assert difference(twice.pixels, ASTRONAUT) > difference(once.pixels, ASTRONAUT)


def test_transparency_is_kept():
    image = Image.fromarray(ASTRONAUT)
    image.putalpha(image.convert("L"))
    drawn = detail(image).pixels

    assert drawn.shape == (512, 512, 4)
    assert np.array_equal(drawn[:, :, 3], np.asarray(image)[:, :, 3])


@pytest.mark.parametrize("size", [(1, 1), (20, 400), (64, 64)])
def test_tiny_pictures_have_no_face(size):
    assert detail(Image.new("RGB", size, "pink")).output.unchanged


PORTRAITS = (
    ("portrait of a woman", 256, 256),
    ("an old man with a beard, night", 512, 384),
    ("a smiling girl", 384, 640),
    ("face", 512, 512),
)


@pytest.mark.parametrize(
    ("seeds", "with_a_face", "with_one"), [(2, 2, 1), pytest.param(24, 23, 21, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_the_face_that_a_prompt_asks_for_is_found_again(seeds, with_a_face, with_one):
    """In at least 95 % of 24 seeds, over prompts and sizes, and mostly as one."""
    found = []
    for seed in range(seeds):
        prompt, width, height = PORTRAITS[seed % len(PORTRAITS)]
        drawn = draw(rxp.Txt2ImgConfig(prompt=prompt, width=width, height=height, steps=12), seed=seed).output.data
        found.append(len(boxes(draw(rxp.AdetailerConfig(steps=1), Artifact(id="drawn", data=drawn)))))

    assert sum(count > 0 for count in found) >= with_a_face
    assert sum(count == 1 for count in found) >= with_one


class HeldDetector:
    """A detector whose looks last until they are let go."""

    def __init__(self):
        self.looking, self.let_go, self.looks = threading.Event(), threading.Event(), 0

    def detect_multi_scale(self, **_):
        self.looks += 1
        self.looking.set()
        assert self.let_go.wait(30)
        return []


def test_a_stop_does_not_wait_for_the_look_that_is_under_way(monkeypatch):
    """The worker takes up something else while the detector is busy; no look begins after those two, nothing comes."""
    detector, worker, free, got = HeldDetector(), WorkerScheduler("test"), threading.Event(), []
    monkeypatch.setattr(faces, "find_faces", find_faces)
    monkeypatch.setattr("rxpipe.pictures.faces.load_detector", lambda: detector)
    stage = plan_stages([rxp.AdetailerConfig()], RunSettings(input=("x",))).stages[0].for_image(image_index=1, seed=7)
    drawing = SketchBackend().render(stage, photo(Image.fromarray(ASTRONAUT)))
    subscription = drawing.subscribe(got.append, got.append, lambda: got.append("completed"), scheduler=worker)
    try:
        assert detector.looking.wait(30)
        subscription.dispose()
        worker.schedule(lambda *_: free.set())
        assert free.wait(30)
    finally:
        detector.let_go.set()
        worker.close()
    assert detector.looks <= 2
    assert got == []


def test_in_virtual_time_faces_are_found_without_a_thread(marbles, tmp_path):
    """The load of the detector, its looks and the packing of pictures are made where they stand."""
    portrait = rxp.txt2img(prompt="portrait", width=256, height=256, steps=2)
    runner = rxp.PipelineRunner(SketchBackend(pace_s=0.5))
    run = runner.start(rxp.chain(portrait, rxp.adetailer(steps=2), out=tmp_path))
    marbles.run()
    assert (run.result.status, run.result.warnings) == ("completed", ())
