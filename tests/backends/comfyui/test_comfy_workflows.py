"""Workflows of one's own: settings go where they are bound, by titles, parameters or inference; else it is said why."""

from __future__ import annotations

import copy
import json

import pytest
import shapes
from catalogs import catalog
from stages import artifact, drawn

import rxpipe as rxp
from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.backends.comfyui.graphs import Source, graph_of
from rxpipe.backends.sizes import Size
from rxpipe.config.bindings import bindings_of
from rxpipe.errors import BackendRejected, ConfigError
from rxpipe.plan import build_stage_execution_plan, plan_stages
from rxpipe.testing.servers.comfyui import ComfyUIServer

WHOLE = {
    "prompt": "pos.text", "negative_prompt": "neg.text", "seed": "sample.seed", "steps": "sample.steps",
    "width": "latent.width", "model": "ckpt.ckpt_name", "output": "out",
}  # fmt: skip
SHAPES = {
    "plain": (shapes.PLAIN, WHOLE, {"image": "no node loads a picture"}),
    "SDXL with refiner": (
        shapes.SDXL_REFINER,
        {
            "prompt": "pos.text_g, pos.text_l, pos2.text", "seed": "sample.noise_seed",
            "cfg_scale": "sample.cfg, refine.cfg",
        },
        {"steps": "begins or ends at a step of its own", "model": "differ"},
    ),
    "Flux with SamplerCustomAdvanced": (
        shapes.FLUX,
        {
            "prompt": "text.text", "seed": "noise.noise_seed", "steps": "sigmas.steps",
            "sampler_name": "select.sampler_name", "scheduler": "sigmas.scheduler", "width": "latent.width",
        },
        {"negative_prompt": "no sampler has a negative prompt", "model": "no node has a checkpoint"},
    ),
    "ControlNet": (
        shapes.CONTROLNET,
        {"prompt": "pos.text", "negative_prompt": "neg.text", "image": "image.image"},
        {},
    ),
    "upscale chain": (shapes.UPSCALE, {"image": "image.image", "output": "out"}, {"prompt": "no sampler has a prompt"}),
    "subgraph": (shapes.SUBGRAPH, {"seed": "12:5.seed", "prompt": "pos.text"}, {}),
    "two outputs": (shapes.TWO_OUTPUTS, {"prompt": "pos.text"}, {"output": "several nodes put pictures out: out"}),
    "seed node": (shapes.SEED_NODE, {"seed": "seed.seed"}, {}),
    "primitives": (shapes.PRIMITIVES, {"prompt": "words.value", "steps": "number.value"}, {}),
    "switch": (shapes.SWITCH, {"negative_prompt": "neg.text"}, {"prompt": "no text flows into the prompt"}),
    "reroutes": (shapes.REROUTES, {"prompt": "pos.text"}, {}),
    "video": (shapes.VIDEO, {"prompt": "pos.text"}, {"output": "it makes no pictures: out (VHS_VideoCombine)"}),
    "krita's parameters": (shapes.KRITA, {"prompt": "words.default", "seed": "sample.seed"}, {}),
    "Swarm's placeholders": (shapes.SWARM, {"prompt": "pos.text", "seed": "sample.seed", "width": "latent.width"}, {}),
    "computed seed": (shapes.COMPUTED_SEED, {"steps": "sample.steps"}, {"seed": "comes from nodes that compute it"}),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_real_shapes_are_bound_or_it_is_said_why_not(name):
    graph, bound, unbound = SHAPES[name]
    found = bindings_of(graph)

    shown = {key: ", ".join(map(str, found[key].targets)) for key in bound if key in found}
    assert shown == bound
    for key, why in unbound.items():
        assert why in found.unbound[key]


def stage_for(graph, *, seed=7, given=False, **settings):
    """The stage of a workflow, narrowed to one image."""
    run = rxp.RunSettings(input=("given",)) if given else rxp.RunSettings()
    return plan_stages([rxp.WorkflowConfig(graph=graph, **settings)], run).stages[0].for_image(image_index=1, seed=seed)


def made(graph, source=None, **settings):
    """The graph of one image."""
    return graph_of(stage_for(graph, given=source is not None, **settings), source, catalog())


def test_settings_go_where_they_belong_and_the_rest_stays():
    before = copy.deepcopy(shapes.PLAIN)
    graph = made(shapes.PLAIN, prompt="a tower", steps=5, sampler_name="Euler a", scheduler="Karras", model="tiny-b")
    inputs = graph.nodes["sample"]["inputs"]

    assert graph.nodes["pos"]["inputs"]["text"] == "a tower"
    assert (inputs["seed"], inputs["steps"], inputs["sampler_name"], inputs["scheduler"]) == (
        7, 5, "euler_ancestral", "karras",
    )  # fmt: skip
    assert inputs["cfg"] == 7.0
    assert graph.nodes["ckpt"]["inputs"]["ckpt_name"] == "tiny-b.safetensors"
    assert graph.steps == {"sample": 5}
    assert before == shapes.PLAIN, "the file's graph is not changed"


def test_what_is_said_precedes_titles_and_these_what_is_inferred():
    titled = shapes.plain(pos=shapes.node("CLIPTextEncode", "rx:prompt", text="a cat", clip=["ckpt", 1]))
    titled["neg"] = shapes.node("CLIPTextEncode", "Other", text="blurry", clip=["ckpt", 1])

    assert bindings_of(titled)["prompt"].how == "title"
    given = bindings_of(titled, {"prompt": "Other.text", "strength": ["sample.denoise"]})
    assert (given["prompt"].how, str(given["prompt"].targets[0])) == ("given", "neg.text")
    assert made(titled, bind={"strength": "sample.denoise"}, values={"strength": 0.4}).nodes["sample"]["inputs"][
        "denoise"
    ] == 0.4  # fmt: skip


@pytest.mark.parametrize(
    ("bind", "said"),
    [
        ({"prompt": "66.text"}, "names no input"),
        ({"prompt": "pos.txt"}, "did you mean 'text'"),
        ({"prompt": "CLIPTextEncode.text"}, "2 nodes have the title 'CLIPTextEncode'"),
        ({"seed": "sample.model"}, "is linked to ckpt"),
        ({"output": "9"}, "is no node"),
        ({"prompt": "decode"}, "which input of node decode"),
    ],
)
def test_a_binding_that_names_nothing_says_what_there_is(bind, said):
    with pytest.raises(ConfigError, match=said):
        rxp.comfy_workflow(graph=shapes.PLAIN, bind=bind)


def test_a_setting_that_goes_nowhere_is_refused():
    with pytest.raises(ConfigError, match="prompt goes nowhere: no text flows into the prompt"):
        rxp.comfy_workflow(graph=shapes.SWITCH, prompt="a tower")


def test_a_workflow_of_the_page_is_refused_with_how_to_export(tmp_path):
    path = tmp_path / "wf.json"
    path.write_text(json.dumps({"nodes": [], "links": [], "version": 0.4}))
    with pytest.raises(ConfigError, match=r"Export \(API\)"):
        rxp.comfy_workflow(path)
    path.write_text("{}")
    with pytest.raises(ConfigError, match="no graph"):
        rxp.comfy_workflow(path)
    with pytest.raises(ConfigError, match="cannot be read"):
        rxp.comfy_workflow(tmp_path / "none.json")


def test_placeholders_are_filled_with_values_or_their_defaults():
    graph = made(shapes.SWARM, prompt="a tower", seed=7)

    assert graph.nodes["pos"]["inputs"]["text"] == "a tower, photo"
    assert graph.nodes["sample"]["inputs"]["seed"] == 8
    assert graph.nodes["latent"]["inputs"]["width"] == 64
    with pytest.raises(BackendRejected, match="placeholders without a value: prompt"):
        made(shapes.SWARM)


def test_a_picture_goes_into_the_node_that_loads_one():
    graph = made(shapes.UPSCALE, Source("rxpipe/x.png [temp]", Size(64, 64)))

    assert graph.nodes["image"]["inputs"]["image"] == "rxpipe/x.png [temp]"
    assert made(shapes.UPSCALE).nodes["image"]["inputs"]["image"] == "photo.png", "without one it is as in the file"


def test_several_outputs_are_refused_until_one_is_bound():
    with pytest.raises(BackendRejected, match="several nodes put pictures out"):
        made(shapes.TWO_OUTPUTS)
    assert made(shapes.TWO_OUTPUTS, bind={"output": "Large"}).output == "out2"


def test_a_workflow_chains_with_all_other_stages():
    """A workflow, then adetailer with its prompt, then a function."""
    seen = []

    @rxp.image_stage
    def look(image):
        seen.append(image.seed)
        return image

    flow = rxp.comfy_workflow(graph=shapes.PLAIN, prompt="a tower", images=2, seed=4)
    chain = rxp.chain(flow, rxp.adetailer(model="tiny-a"), rxp.upscale(scale=2), look, out=None)
    with ComfyUIServer(draw="noise") as server, ComfyUIBackend(server.url) as backend:
        assert all("workflow" not in warning for warning in backend.check(chain.plan))
        result = rxp.PipelineRunner(backend).run(chain)
        detail = next(job.call.body["prompt"] for job in server.jobs if job.stage == "adetailer")

    assert result.status == "completed"
    assert seen == [4, 5]
    assert chain.plan.stages[1].generation.prompt == "a tower"
    assert "a tower" in [held["inputs"].get("text") for held in detail.values()]


def test_a_workflow_after_txt2img_works_on_its_pictures():
    config = rxp.PipelineConfig(
        txt2img={"width": 64, "height": 64, "steps": 2, "model": "tiny-a"}, workflow={"graph": shapes.UPSCALE}, out=None
    )
    assert build_stage_execution_plan(config).stage_types == ("txt2img", "workflow")
    with ComfyUIServer(draw="noise") as server, ComfyUIBackend(server.url) as backend:
        assert rxp.PipelineRunner(backend).run(config).status == "completed"
        assert drawn(backend, stage_for(shapes.UPSCALE, given=True), artifact()).data


def test_a_missing_node_names_its_pack_before_anything_runs():
    flow = shapes.plain(extra=shapes.node("ImpactWildcardProcessor", text="a"))
    with ComfyUIServer(draw="noise", packs=()) as server, ComfyUIBackend(server.url) as backend:
        with pytest.raises(BackendRejected, match="ComfyUI-Impact-Pack"):
            backend.check(rxp.chain(rxp.comfy_workflow(graph=flow), out=None).plan)
        assert server.jobs == ()


def test_the_stages_of_a_config_are_one_workflow_that_runs_again(tmp_path):
    """Exported by the server's names, bound by its own title, run as a workflow of one's own."""
    config = rxp.PipelineConfig(
        txt2img={"prompt": "a tower", "width": 64, "height": 64, "steps": 4, "seed": 3, "model": "tiny-a"},
        img2img={"steps": 4}, adetailer={}, upscale={"scale": 2}, out=None,
    )  # fmt: skip
    with ComfyUIServer(draw="noise") as server, ComfyUIBackend(server.url) as backend:
        nodes, warnings = backend.export(build_stage_execution_plan(config))
        path = tmp_path / "wf.json"
        path.write_text(json.dumps(nodes))
        result = rxp.PipelineRunner(backend).run(rxp.chain(rxp.comfy_workflow(path, seed=3), out=None))

    assert warnings == []
    assert result.status == "completed"
    assert {held["class_type"] for held in nodes.values()} >= {"KSampler", "FaceDetailer", "ImageScale", "PreviewImage"}
    assert sum(held["class_type"] == "LoadImage" for held in nodes.values()) == 0
