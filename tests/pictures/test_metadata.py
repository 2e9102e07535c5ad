"""What pictures of all tools say about themselves, read back."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from rxpipe.artifact import Artifact
from rxpipe.config import RunSettings, Txt2ImgConfig
from rxpipe.errors import BadImage
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.pictures.metadata import ImageInfo, read_info
from rxpipe.plan import plan_stages
from rxpipe.sinks.images import ImageWriter

DATA = Path(__file__).parents[1] / "data"
A1111 = 'a 猫\nsitting\nNegative prompt: dog\nSteps: 2, Sampler: Euler, Seed: 1, Size: 8x8, Lora hashes: "a: 1"'
SETTINGS = {"Steps": "2", "Sampler": "Euler", "Seed": "1", "Size": "8x8", "Lora hashes": "a: 1"}


def encoded(kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((16, 8)).convert("RGB").save(out, kind, **options)
    return out.getvalue()


def with_texts(**texts: object) -> bytes:
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text if isinstance(text, str) else json.dumps(text))
    return encoded(pnginfo=info)


def exif(comment: bytes | str, *, outer: bool = False, **tags: str) -> bytes:
    """EXIF as piexif writes it (UserComment in the inner directory), or as Fooocus does (in the outer one)."""
    values = Image.Exif()
    for tag, text in tags.items():
        values[int(tag[1:], 16)] = text
    (values if outer else values.get_ifd(0x8769))[0x9286] = comment
    return values.tobytes()


def told(info: ImageInfo) -> tuple[str | None, str, str, dict[str, str]]:
    return info.dialect, info.prompt, info.negative_prompt, info.settings


@pytest.mark.parametrize("path", sorted(DATA.glob("*.png")), ids=lambda path: path.stem)
def test_pictures_of_real_servers_are_understood(path):
    """Recorded from A1111 and Forge."""
    info = read_info(path)
    with Image.open(path) as image:
        assert (info.format, info.width, info.height) == ("PNG", *image.size)
    assert (info.dialect, info.prompt, info.seed) == ("a1111", "a cat", 1)
    assert list(info.settings)[:3] == ["Steps", "Sampler", "Schedule type"]


def test_a1111s_text_in_a_png():
    """Prompt over two lines, negative prompt, and the settings in their order, unquoted."""
    info = read_info(with_texts(parameters=A1111))
    assert told(info) == ("a1111", "a 猫\nsitting", "dog", SETTINGS)
    assert list(info.settings) == list(SETTINGS)
    assert info.texts == {"parameters": A1111}
    assert info.lineage is None


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize(
    "comment",
    [
        b"UNICODE\0" + A1111.encode("utf-16-be"),
        b"UNICODE\0" + A1111.encode("utf-16-le"),
        b"UNICODE\0" + A1111.encode("utf-16"),
        b"ASCII\0\0\0" + A1111.encode(),
        bytes(8) + A1111.encode(),
        A1111.encode() + b"\0",
    ],
    ids=["big-endian", "little-endian", "with BOM", "ASCII", "undefined", "none"],
)
def test_a1111s_text_in_exif(kind, comment):
    """UserComment, as A1111 writes it and as others do."""
    data = exif(comment)
    info = read_info(encoded(kind, exif=data))
    assert (info.format, info.width, info.height) == (kind, 16, 8)
    assert told(info) == ("a1111", "a 猫\nsitting", "dog", SETTINGS)


@pytest.mark.parametrize("kind", ["GIF", "JPEG"])
def test_a1111s_text_in_a_comment(kind):
    """GIF and JPEG have a comment of their own."""
    info = read_info(encoded(kind, comment=A1111.encode()))
    assert told(info) == ("a1111", "a 猫\nsitting", "dog", SETTINGS)


def test_any_other_comment_is_no_prompt():
    """What an editor notes is shown and not understood."""
    info = read_info(encoded("JPEG", comment=b"Created with GIMP"))
    assert told(info) == (None, "", "", {})
    assert info.texts == {"comment": "Created with GIMP"}


SWARM = {
    "sui_image_params": {
        "prompt": "a cat", "negativeprompt": "dog", "model": "xl", "seed": 5, "steps": 20, "cfgscale": 7.0,
        "width": 832, "height": 1216, "sampler": "euler",
    },
    "sui_extra_data": {"date": "2026-11-23", "generation_time": "3 s"},
}  # fmt: skip
SWARM_SETTINGS = {
    "Model": "xl", "Seed": "5", "Steps": "20", "CFG scale": "7.0", "Size": "832x1216", "Sampler": "euler",
    "date": "2026-11-23", "generation_time": "3 s",
}  # fmt: skip


def test_swarmui():
    """JSON under `parameters`, or in EXIF."""
    comment = b"UNICODE\0" + json.dumps(SWARM).encode("utf-16-be")
    for data in (with_texts(parameters=SWARM), encoded("JPEG", exif=exif(comment))):
        assert told(read_info(data)) == ("swarmui", "a cat", "dog", SWARM_SETTINGS)


GRAPH = {
    "1": {"class_type": "ControlNetApply", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}},
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 9, "steps": 20, "cfg": 8.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0,
            "model": ["4", 0], "positive": ["8", 0], "negative": ["7", 0], "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 768, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": ["9", 0], "clip": ["4", 1]}},
    "8": {"class_type": "ConditioningCombine", "inputs": {"a": ["8", 0], "b": ["6", 0]}},
    "9": {"class_type": "PrimitiveString", "inputs": {"value": "dog"}},
}  # fmt: skip
GRAPH_SETTINGS = {
    "Seed": "9", "Steps": "20", "CFG scale": "8.0", "Sampler": "euler", "Schedule type": "normal",
    "Denoising strength": "1.0", "Model": "tiny.safetensors", "Size": "512x768",
}  # fmt: skip


def test_comfyui_follows_the_graph():
    """Prompts through the nodes between text and sampler, circles and all; settings of sampler and sources."""
    info = read_info(with_texts(prompt=GRAPH, workflow={"nodes": []}))
    assert told(info) == ("comfyui", "a cat", "dog", GRAPH_SETTINGS)


def test_comfyui_in_webp():
    """Its WebP files have the same texts in EXIF, each behind its name."""
    data = exif(b"", x0110=f"prompt:{json.dumps(GRAPH)}", x010F='workflow:{"nodes": []}')
    info = read_info(encoded("WEBP", exif=data))
    assert told(info) == ("comfyui", "a cat", "dog", GRAPH_SETTINGS)


def test_comfyui_with_a_guider():
    """Newer graphs have a guider in front of the sampler, and no negative prompt."""
    graph = {
        "1": {"class_type": "BasicGuider", "inputs": {"conditioning": ["2", 0]}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat"}},
        "3": {"class_type": "RandomNoise", "inputs": {"noise_seed": 4}},
    }
    assert told(read_info(with_texts(prompt=graph))) == ("comfyui", "a cat", "", {"Seed": "4"})


def test_comfyui_with_a_text_of_a1111s():
    """Some saving nodes write both; where they differ the graph is right, the rest is taken from the text."""
    info = read_info(with_texts(prompt=GRAPH, workflow={"nodes": []}, parameters=A1111))
    assert told(info) == ("comfyui", "a cat", "dog", {"Lora hashes": "a: 1", **GRAPH_SETTINGS})


def test_comfyui_with_a_workflow_only():
    """Recognised, though a workflow alone does not tell its prompts."""
    assert told(read_info(with_texts(workflow={"nodes": []}))) == ("comfyui", "", "", {})


def test_invokeai():
    """Its scheduler is what others call sampler; the model's name stands in an object."""
    values = {
        "positive_prompt": "a cat", "negative_prompt": "dog", "width": 64, "height": 32, "seed": 3, "steps": 30,
        "cfg_scale": 7.5, "scheduler": "euler_a", "model": {"name": "sdxl", "hash": "x"},
    }  # fmt: skip
    assert told(read_info(with_texts(invokeai_metadata=values))) == (
        "invokeai",
        "a cat",
        "dog",
        {"Size": "64x32", "Seed": "3", "Steps": "30", "CFG scale": "7.5", "Sampler": "euler_a", "Model": "sdxl"},
    )


def test_novelai():
    """Software and a Comment in JSON; the prompt also stands under Description."""
    values = {"steps": 28, "height": 1216, "width": 832, "scale": 5.0, "uc": "dog", "seed": 8, "sampler": "k_euler"}
    data = with_texts(Software="NovelAI", Description="a cat", Source="Stable Diffusion XL", Comment=values)
    assert told(read_info(data)) == (
        "novelai",
        "a cat",
        "dog",
        {"Steps": "28", "Size": "832x1216", "CFG scale": "5.0", "Seed": "8", "Sampler": "k_euler",
         "Model": "Stable Diffusion XL"},
    )  # fmt: skip


FOOOCUS = {
    "prompt": "a cat", "negative_prompt": "dog", "steps": 30, "resolution": "(896, 1152)", "guidance_scale": 4,
    "base_model": "juggernaut", "seed": "77", "sampler": "dpmpp_2m", "scheduler": "karras", "version": "Fooocus v2.5",
}  # fmt: skip


def test_fooocus():
    """JSON under `parameters` with a scheme beside it, or in EXIF; or A1111's text, if so set."""
    settings = {
        "Steps": "30", "Size": "896x1152", "CFG scale": "4", "Model": "juggernaut", "Seed": "77",
        "Sampler": "dpmpp_2m", "Schedule type": "karras", "version": "Fooocus v2.5",
    }  # fmt: skip
    jpeg = encoded("JPEG", exif=exif(json.dumps(FOOOCUS), outer=True, x0131="Fooocus v2.5", x927C="fooocus"))
    for data in (with_texts(parameters=FOOOCUS, fooocus_scheme="fooocus"), with_texts(parameters=FOOOCUS), jpeg):
        assert told(read_info(data)) == ("fooocus", "a cat", "dog", settings)
    plain = read_info(with_texts(parameters=A1111, fooocus_scheme="a1111"))
    assert told(plain) == ("fooocus", "a 猫\nsitting", "dog", SETTINGS)


def test_rxpipes_own_pictures_tell_their_lineage(tmp_path):
    """What the writer noted is read back, beside the settings that everyone reads."""
    stage = plan_stages([Txt2ImgConfig(prompt="a cat", sampler_name="Euler")], RunSettings()).stages[0]
    entry = LineageEntry("txt2img", "sketch", {"seed": 7, "hires": None})
    made = Artifact(id="r-1", seed=7, data=encoded(), lineage=(entry,)).with_metadata(score=0.5)
    path = ImageWriter(tmp_path).write(made, stage, datetime(2026, 11, 23, tzinfo=UTC)).path
    info = read_info(path)
    assert (info.dialect, info.prompt, info.seed, info.problems) == ("rxpipe", "a cat", 7, ())
    assert info.settings["Sampler"] == "Euler"
    assert (info.lineage.id, info.lineage.stage, info.lineage.seed) == ("r-1", "txt2img", 7)
    assert info.lineage.lineage == (entry,)
    assert info.model_dump(mode="json")["lineage"]["lineage"] == [
        {"stage": "txt2img", "backend": "sketch", "settings": {"seed": 7, "hires": None}}
    ]
    assert info.lineage.metadata == {"score": 0.5}


@pytest.mark.parametrize("text", ["{", "[]", '{"id": 5}', '{"id": "a", "lineage": [{}]}'])
def test_a_broken_lineage_is_told_and_costs_nothing_else(text):
    """The rest is read as if it were not there."""
    info = read_info(with_texts(rxpipe=text, parameters=A1111))
    assert (info.dialect, info.settings, info.lineage) == ("a1111", SETTINGS, None)
    assert info.problems[0].startswith("text 'rxpipe': ")


def test_a_picture_that_says_nothing_is_a_picture_still():
    """Format and size; everything else empty."""
    assert read_info(encoded()) == ImageInfo(format="PNG", width=16, height=8)


@pytest.mark.parametrize("kind", ["TIFF", "BMP"])
def test_any_format_of_pillow_tells_its_size(kind):
    """Read without a dialect."""
    info = read_info(encoded(kind))
    assert (info.format, info.width, info.height, info.dialect) == (kind, 16, 8, None)


def test_info_is_a_value():
    """Equal when read twice, and whole through JSON."""
    info = read_info(with_texts(prompt=GRAPH))
    assert info == read_info(with_texts(prompt=GRAPH))
    assert ImageInfo.model_validate_json(info.model_dump_json()) == info


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is an empty file"),
        (b"<!DOCTYPE html>", "begins with b'<!DOCTYPE ht'"),
        (encoded()[:-20], "PNG: cut off at byte"),
        (encoded("JPEG")[:-200], "cannot be decoded"),
        (encoded("WEBP")[:40], "cannot be decoded"),
        (encoded("GIF")[:20], r"cannot be decoded|none of"),
    ],
)
def test_a_torn_file_is_told_by_name(tmp_path, data, message):
    """Which file, what is wrong, and what to do."""
    path = tmp_path / "photo.bin"
    path.write_bytes(data)
    with pytest.raises(BadImage, match=message) as caught:
        read_info(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert caught.value.hint


FLIPPED = {kind: encoded(kind, exif=exif(A1111)) for kind in ("JPEG", "WEBP", "AVIF", "PNG")}


@given(st.sampled_from(list(FLIPPED)), st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), min_size=1))
def test_a_damaged_file_is_read_or_refused(kind, flips):
    """Whatever bytes are wrong: what can still be read, or BadImage, and nothing else."""
    data = bytearray(FLIPPED[kind])
    for at, value in flips:
        data[at % len(data)] = value
    with contextlib.suppress(BadImage):
        read_info(bytes(data))


def test_a_missing_file_and_a_folder_are_told(tmp_path):
    """Both by their path."""
    with pytest.raises(BadImage, match=r"gone\.png: no such file"):
        read_info(tmp_path / "gone.png")
    with pytest.raises(BadImage, match="is a folder"):
        read_info(tmp_path)


def test_a_text_bomb_is_refused():
    """As Pillow refuses it."""
    info = PngImagePlugin.PngInfo()
    info.add(b"zTXt", b"parameters\0\0" + zlib.compress(bytes(50 << 20), 9))
    with pytest.raises(BadImage, match="unpacks to more than 1 MiB"):
        read_info(encoded(pnginfo=info))


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["inputs", "text", "1"]), inner),
    max_leaves=8,
)
KEYS = ["prompt", "workflow", "sui_image_params", "base_model", "guidance_scale", "model", "seed", "width", "height"]


@given(
    st.dictionaries(st.sampled_from([*KEYS, "1", "2"]), JSON),
    st.sampled_from(["parameters", "prompt", "Comment", "invokeai_metadata", "rxpipe"]),
)
def test_no_json_of_a_stranger_makes_the_reader_fail(values, key):
    """Wrong types, missing parts, lone surrogates, NaN: understood or not, never an exception."""
    for node in values.values():
        if isinstance(node, dict):
            node["class_type"] = "X"
    read_info(with_texts(**{"Software": "NovelAI", key: values}))


def test_deep_json_is_not_understood_and_does_no_harm():
    """A hundred thousand brackets."""
    info = read_info(with_texts(parameters='{"a":' + "[" * 100_000, prompt='{"a":' + '{"a":' * 50_000))
    assert info.dialect != "swarmui"


def test_reading_loads_neither_numpy_nor_a_network_client():
    """The module costs what pydantic costs, and a PNG needs no Pillow either."""
    code = (
        f"import sys, rxpipe.pictures.metadata as m; m.read_info({str(DATA / 'forge-txt2img.png')!r});"
        "print({'numpy', 'PIL', 'requests'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  # own
    assert done.stdout == "set()\n"
