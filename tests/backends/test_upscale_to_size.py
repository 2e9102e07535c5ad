"""upscale to a size: inside a box or cut to it; what its lineage and its text say."""

from pathlib import Path

import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sketch_runs import draw, photo, pixels_of

import rxpipe as rxp
from rxpipe.backends.sizes import Size, scale_of, sizes, upscaled
from rxpipe.backends.sketch import SketchBackend
from rxpipe.errors import BackendFailed
from rxpipe.pictures.metadata import read_info
from rxpipe.plan import build_stage_execution_plan

WIDE = Image.fromarray(skimage.data.astronaut()).resize((120, 80))


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"width": 240}, (240, 160)),
        ({"height": 240}, (360, 240)),
        ({"width": 300, "height": 300}, (300, 200)),
        ({"width": 300, "height": 300, "fit": "crop"}, (300, 300)),
        ({"width": 300, "height": 100, "fit": "crop"}, (300, 100)),
        ({"width": 60, "height": 60}, (60, 40)),
        ({"width": 300, "fit": "crop"}, (300, 200)),
        ({"scale": 3, "width": 240}, (240, 160)),
    ],
    ids=repr,
)
@pytest.mark.parametrize("mode", ["single", "img2img"])
def test_the_result_has_the_size_asked_for(settings, size, mode):
    """With either side, inside both, or cut to both; the factor does not count then."""
    config = rxp.UpscaleConfig(**settings, mode=mode, denoising_strength=0.2)
    assert upscaled(config, Size(*WIDE.size)) == size
    assert draw(config, photo(WIDE)).pixels.shape[1::-1] == size


def test_crop_keeps_the_middle():
    """What is over is cut off on both sides alike."""
    halves = Image.new("RGB", (120, 40), "red")
    halves.paste("blue", (60, 0, 120, 40))
    pixels = pixels_of(draw(rxp.UpscaleConfig(width=80, height=80, fit="crop"), photo(halves)).output.data)
    assert pixels[:, :35, 0].min() > 200
    assert pixels[:, 45:, 2].min() > 200


@given(st.integers(1, 4000), st.integers(1, 4000), st.integers(16, 16384), st.integers(16, 16384))
def test_the_factor_reaches_the_size_where_a_server_rounds_down(width, height, wide, high):
    """One side exactly and the other not beyond; with crop both at least."""
    size = Size(width, height)
    inside = size.scaled(scale_of(rxp.UpscaleConfig(width=wide, height=high), size))
    assert inside.width == wide or inside.height == high
    assert inside.width <= wide
    assert inside.height <= high
    over = size.scaled(scale_of(rxp.UpscaleConfig(width=wide, height=high, fit="crop"), size))
    assert over.width >= wide
    assert over.height >= high


def test_the_limit_counts_for_a_size_too():
    """The hint names what set the size."""
    with pytest.raises(BackendFailed, match=r"allowed are 1 MP\.") as failed:
        upscaled(rxp.UpscaleConfig(width=2000, max_megapixels=1), Size(100, 100))
    assert failed.value.hint == "Lower upscale.width and upscale.height or raise upscale.max_megapixels."


def test_a_plan_knows_the_size():
    """And the stages behind it work on that."""
    config = rxp.PipelineConfig(txt2img={}, upscale={"width": 1000, "height": 600, "fit": "crop"})
    assert sizes(build_stage_execution_plan(config)) == ((512, 512), (1000, 600))
    assert build_stage_execution_plan(config).stages[1].generation.width is None


def upscaled_file(tmp_path: Path, **sections):
    """The last file of a run, as it reads."""
    result = rxp.PipelineRunner(SketchBackend()).run(rxp.PipelineConfig(**sections, out=tmp_path / "out"))
    assert result.success, result.error
    return read_info(result.images[0].path)


def test_a_resize_records_what_it_used_and_no_prompt(tmp_path):
    """Neither steps nor a sampler: nothing was drawn with them."""
    drawn = {"prompt": "a lighthouse", "steps": 3, "width": 64, "height": 64, "seed": 5}
    info = upscaled_file(tmp_path, txt2img=drawn, upscale={})
    assert info.lineage.lineage[1].settings == {"scale": 2.0, "upscaler": "Lanczos", "seed": 5}
    assert info.texts["parameters"].startswith(
        "a lighthouse\nSteps: 3, CFG scale: 7.0, Seed: 5, Size: 64x64, Postprocess upscale by: 2.0, "
        "Postprocess upscaler: Lanczos, Version: "
    )


def test_a_resized_photo_was_drawn_with_nothing(tmp_path):
    """No prompt, no seed: only what the resize did."""
    WIDE.save(tmp_path / "photo.png")
    info = upscaled_file(tmp_path, upscale={"width": 240, "height": 240}, input=[tmp_path / "photo.png"])
    assert info.texts["parameters"].startswith("Postprocess upscale to: 240x160, Postprocess upscaler: Lanczos, ")
    assert "Seed" not in info.texts["parameters"]
    assert {"width", "height", "upscaler"} <= info.lineage.lineage[0].settings.keys()
    assert not {"prompt", "scale", "steps"} & info.lineage.lineage[0].settings.keys()


def test_an_upscale_that_redraws_records_its_prompt(tmp_path):
    """And its own strength."""
    drawn = {"prompt": "a lighthouse", "steps": 3, "width": 64, "height": 64, "seed": 5}
    again = {"mode": "img2img", "denoising_strength": 0.25, "steps": 2}
    info = upscaled_file(tmp_path, txt2img=drawn, upscale=again)
    settings = info.lineage.lineage[1].settings
    assert (settings["prompt"], settings["steps"], settings["scale"]) == ("a lighthouse", 2, 2.0)
    assert info.texts["parameters"].startswith(
        "a lighthouse\nSteps: 2, CFG scale: 7.0, Seed: 5, Size: 64x64, Denoising strength: 0.25, "
        "Postprocess upscale by: 2.0, "
    )
