"""Graphs are pure functions of a stage; those that ran on a real server are made again, node for node."""

from __future__ import annotations

import json

import pytest
from catalogs import CLASSES, DATA, catalog, classes_of
from stages import stage_of

import rxpipe as rxp
from rxpipe.backends.comfyui.graphs import RegionFile, Source, graph_of
from rxpipe.backends.comfyui.parts import redrawn_steps
from rxpipe.backends.comfyui.validation import graph_problems
from rxpipe.backends.regions import Box
from rxpipe.backends.sizes import Size
from rxpipe.errors import BackendRejected

TXT2IMG = {
    "prompt": "a lighthouse at dusk",
    "negative_prompt": "blurry",
    "width": 64,
    "height": 64,
    "sampler_name": "DPM++ 2M",
    "scheduler": "Karras",
    "model": "tiny-a",
}
LORA = {"prompt": "a lighthouse at dusk<lora:tiny-lora:0.8>", "clip_skip": 2, "vae": "tiny-vae"}
REFINER = {"refiner": rxp.RefinerConfig(checkpoint="tiny-b", switch_at=0.8), "steps": 5}
SIZE = Size(64, 64)
PICTURE = Source("rxpipe/init.png", SIZE)


def txt2img(**settings):
    return rxp.Txt2ImgConfig(**{**TXT2IMG, "steps": 4, **settings})


def made(section, source=None, *, before=None, on=None):
    """The graph of a section; its classes and values are those of the recorded server."""
    before = None if isinstance(section, rxp.Txt2ImgConfig) else before or txt2img()
    graph = graph_of(stage_of(section, before=before), source, on or catalog(impact=True))
    assert graph_problems(graph.nodes, CLASSES) == []
    return graph


def content(nodes, node):
    """A node with all that flows into it, whatever their ids are."""
    held = nodes[node]
    inputs = {
        name: (*content(nodes, value[0]), value[1]) if isinstance(value, list) else value
        for name, value in held["inputs"].items()
    }
    return held["class_type"], tuple(sorted(inputs.items()))


def recorded(name):
    return json.loads((DATA / "graphs" / f"{name}.json").read_text("utf-8"))


HIRES = {"scale": 1.5, "steps": 3}
RAN = {
    "txt2img": (txt2img(), None),
    "txt2img-lora-clipskip-vae": (txt2img(**LORA), None),
    "txt2img-hires-model": (
        txt2img(hires=rxp.HiresConfig(**HIRES, upscaler="tiny-esrgan-x4", denoising_strength=0.4)),
        None,
    ),
    "txt2img-refiner-switch-0.8": (txt2img(**REFINER), None),
    "txt2img-full": (
        txt2img(**LORA, **REFINER, hires=rxp.HiresConfig(**HIRES, denoising_strength=0.5)),
        None,
    ),
    "txt2img-align-your-steps": (txt2img(steps=10, scheduler="Align Your Steps"), None),
    "upscale-plain-exact": (rxp.UpscaleConfig(scale=145 / 64), PICTURE),
    "upscale-model-exact-2.5": (
        rxp.UpscaleConfig(scale=2.5, upscaler="tiny-esrgan-x4"),
        Source("rxpipe/init.png", Size(96, 96)),
    ),
}


@pytest.mark.parametrize("name", RAN)
def test_graphs_that_ran_on_a_real_server_are_made_again(name):
    section, source = RAN[name]
    ours, theirs = made(section, source), recorded(name)

    if name == "upscale-plain-exact":
        theirs["scale"]["inputs"] |= {"width": 145, "height": 145}
    assert content(ours.nodes, ours.output) == content(theirs, "out")


def test_img2img_runs_as_many_steps_as_a1111():
    """Of 20 at 0.3 the last 7, as the recorded graph does; the same size needs no scaling."""
    graph = made(rxp.Img2ImgConfig(denoising_strength=0.3, steps=20), PICTURE)
    theirs = recorded("img2img-a1111-steps")
    theirs["encode"]["inputs"]["pixels"] = ["init", 0]

    assert content(graph.nodes, graph.output) == content(theirs, "out")
    assert graph.steps == {"sample": 7}


@pytest.mark.parametrize(
    ("steps", "denoise", "runs"), [(20, 0.3, 7), (20, 1.0, 20), (20, 0.0, 0), (5, 0.01, 1), (20, 0.5, 11)]
)
def test_the_number_of_redrawn_steps(steps, denoise, runs):
    assert redrawn_steps(steps, denoise) == runs


def test_pixels_outside_the_mask_are_pasted_back():
    graph = made(rxp.Img2ImgConfig(mask="m.png"), Source("rxpipe/init.png", SIZE, mask="rxpipe/mask.png"))
    nodes = graph.nodes

    assert nodes["keep"]["class_type"] == "ImageCompositeMasked"
    assert nodes["keep"]["inputs"]["destination"] == ["image", 0]
    assert nodes["masked"]["inputs"] == {"samples": ["encode", 0], "mask": ["mask", 0]}


def test_what_a_mask_shows_may_begin_as_nothing():
    section = rxp.Img2ImgConfig(mask="m.png", inpainting_fill=3)
    graph = made(section, Source("rxpipe/init.png", SIZE, mask="rxpipe/mask.png"))

    assert graph.nodes["encode"]["class_type"] == "VAEEncodeForInpaint"


def test_faces_found_on_our_side_are_redrawn_one_after_the_other():
    """Each by itself, the second on what the first left, with a seed of its own."""
    faces = tuple(RegionFile(Box(8 * n, 8, 8 * n + 32, 40), Size(64, 64), f"rxpipe/{n}.png", n) for n in range(2))
    graph = made(rxp.AdetailerConfig(), Source("rxpipe/init.png", SIZE, regions=(faces,)), on=catalog())
    nodes = graph.nodes

    assert nodes["crop2"]["inputs"]["image"] == ["paste", 0]
    assert nodes["paste2"]["inputs"]["destination"] == ["paste", 0]
    assert [nodes[name]["inputs"]["noise_seed"] for name in ("sample", "sample2")] == [7, 8]
    assert graph.output == "out"
    assert nodes["out"]["inputs"]["images"] == ["paste2", 0]


def test_impact_pack_detects_and_shows_what_it_found():
    graph = made(rxp.AdetailerConfig(detector="face_yolov8n.pt"), Source("rxpipe/init.png", SIZE, regions=(None,)))
    detail = graph.nodes["detail"]

    assert graph.found == ("found",)
    assert graph.nodes["detector"]["inputs"]["model_name"] == "bbox/face_yolov8n.pt"
    assert detail["inputs"]["steps"] == redrawn_steps(4, 0.4)
    assert int(detail["inputs"]["steps"] / detail["inputs"]["denoise"]) == 4


def test_several_units_work_on_one_picture_in_order():
    section = rxp.AdetailerConfig(units=[{"detector": "face_yolov8n.pt", "prompt": "a smile"}])
    graph = made(section, Source("rxpipe/init.png", SIZE, regions=(None, None)))

    assert graph.nodes["detail2"]["inputs"]["image"] == ["detail", 0]
    assert graph.found == ("found", "found2")


def test_a_second_upscaler_is_mixed_in():
    section = rxp.UpscaleConfig(upscaler="tiny-esrgan-x4", upscaler_2="Nearest", upscaler_2_visibility=0.25)
    graph = made(section, PICTURE)

    assert graph.nodes["blend"]["inputs"]["blend_factor"] == 0.25
    assert graph.nodes["second_size"]["inputs"]["upscale_method"] == "nearest-exact"


# -- payload ----------------------------------------------------------------------------------------------------------


def test_payload_goes_into_the_nodes():
    graph = made(txt2img(payload={"sample.cfg": 5, "latent.batch_size": 2}))

    assert graph.nodes["sample"]["inputs"]["cfg"] == 5
    assert graph.nodes["latent"]["inputs"]["batch_size"] == 2


def test_payload_for_no_node_is_refused_with_the_nearest():
    stage = stage_of(txt2img(payload={"sampel.cfg": 5}))

    with pytest.raises(BackendRejected, match="did you mean 'sample'"):
        graph_of(stage, None, catalog())


# -- validation -------------------------------------------------------------------------------------------------------


def problems(**changes):
    """What is wrong with a graph after changes of "node.input"."""
    graph = graph_of(stage_of(txt2img(payload=changes)), None, catalog())
    return graph_problems(graph.nodes, CLASSES)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample.sampler_name": "eulr"}, "did you mean 'euler'"),
        ({"ckpt.ckpt_name": "tiny-a.safetensor"}, "did you mean 'tiny-a.safetensors'"),
        ({"sample.cfg": 1000}, "at most 100"),
        ({"sample.steps": 0}, "at least 1"),
        ({"sample.seed": -1}, "at least 0"),
        ({"sample.steps": "many"}, "a number"),
        ({"sample.model": ["nobody", 0]}, "not there"),
        ({"sample.model": ["ckpt", 7]}, "which has 3"),
        ({"sample.model": ["ckpt", 1]}, "takes MODEL"),
        ({"sample.model": 3}, "must be a link"),
        ({"sample.stepz": 3}, "did you mean 'steps'"),
        ({"hi": {"class_type": "FaceDetailerX"}}, "no such class"),
        ({"hi": {"class_type": "VAEDecode", "inputs": {"vae": ["ckpt", 2]}}}, "samples is missing"),
    ],
)
def test_what_the_server_would_refuse_is_said_before(changes, said):
    found = problems(**changes)

    assert len(found) >= 1
    assert said in found[0]


def test_a_missing_class_names_the_pack_that_has_it():
    graph = made(rxp.AdetailerConfig(), Source("rxpipe/init.png", SIZE, regions=(None,)))
    found = graph_problems(graph.nodes, classes_of(without=("FaceDetailer",)))

    assert any("ComfyUI-Impact-Pack and ComfyUI-Impact-Subpack" in problem for problem in found)
