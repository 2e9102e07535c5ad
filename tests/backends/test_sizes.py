"""Sizes through a plan, and the limit on what an upscale may give."""

import pytest

import rxpipe as rxp
from rxpipe.backends.sizes import Size, sizes, upscaled
from rxpipe.plan import build_stage_execution_plan


def plan(**sections):
    """A plan of these sections."""
    return build_stage_execution_plan(rxp.PipelineConfig(**sections))


def test_a_result_above_the_allowed_megapixels_is_refused():
    """Before anything is sent."""
    with pytest.raises(rxp.BackendFailed, match=r"^4096x4096 px times 4 gives 16384x16384 px, 268\.4 MP"):
        upscaled(rxp.UpscaleConfig(scale=4), Size(4096, 4096))


def test_sizes_are_followed_as_far_as_they_are_known():
    """Each stage's result; a hires fix to a given size is only known to the server."""
    sections = {
        "txt2img": rxp.Txt2ImgConfig(width=512, height=768, hires=rxp.HiresConfig(scale=1.5)),
        "adetailer": rxp.AdetailerConfig(),
        "upscale": rxp.UpscaleConfig(scale=2),
    }
    assert sizes(plan(**sections)) == (Size(768, 1152), Size(768, 1152), Size(1536, 2304))

    sections["txt2img"] = rxp.Txt2ImgConfig(hires=rxp.HiresConfig(resize_x=1000))
    assert sizes(plan(**sections)) == (None, None, None)


def test_a_plan_whose_result_is_too_large_is_refused_as_a_whole():
    """It concerns every image, so it ends the run and not one image."""
    with pytest.raises(rxp.BackendRejected, match="allowed are") as caught:
        sizes(plan(txt2img=rxp.Txt2ImgConfig(width=2048, height=2048), upscale=rxp.UpscaleConfig(scale=8)))

    assert "upscale.max_megapixels" in caught.value.hint
