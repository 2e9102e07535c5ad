"""The four stages of a local model: each changes what it must and nothing else, and draws the same pixels twice."""

import time

import numpy as np
import pytest
from PIL import Image
from pixels import TXT2IMG, astronaut, drawn, given, grain, output, pixels
from stages import Watched, stage_of

import rxpipe as rxp
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.errors import BackendFailed, BackendRejected


def four_stages(out, images=3):
    """A run of all four stages over 64 px; adetailer has a face only where there is one."""
    return rxp.PipelineConfig(
        txt2img=rxp.Txt2ImgConfig(**TXT2IMG, images=images, seed=7),
        img2img=rxp.Img2ImgConfig(steps=6, denoising_strength=0.5),
        adetailer=rxp.AdetailerConfig(detector="face_yolov8n.pt", steps=4),
        upscale=rxp.UpscaleConfig(scale=2),
        out=out,
    )


def test_four_stages_of_three_images_take_at_most_3_s(models, tmp_path):
    """After the imports, loading included, of the processor's time, as others use the machine too.

    Every picture is written, and a second run draws the same pixels.
    """
    found = []
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        for number in range(2):
            begun_s = time.process_time()
            result = rxp.PipelineRunner(backend).run(four_stages(tmp_path / str(number)))
            found.append([image.path.read_bytes() for image in result.images])
            seconds = time.process_time() - begun_s
            result.raise_for_status()
            assert len(found[-1]) == 3
            assert seconds <= 3.0, f"{seconds:.1f} s"
        assert backend.loads == 1, "the second run loads nothing"
    assert all(np.array_equal(pixels(one), pixels(other)) for one, other in zip(*found, strict=True))


def test_a_seed_gives_one_picture_and_another_seed_another(shared):
    one = drawn(shared)
    assert np.array_equal(one, drawn(shared))
    other = pixels(output(shared, rxp.Txt2ImgConfig(**TXT2IMG), seed=8).data)
    assert not np.array_equal(one, other)
    largest = pixels(output(shared, rxp.Txt2ImgConfig(**TXT2IMG), seed=2**64 - 1).data)
    assert largest.shape == (64, 64, 3)


def test_loading_is_told_once_and_steps_and_previews_follow(models):
    """The first drawing says that it loads; fractions rise to 1; previews are JPEG."""
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        phases = []
        for _ in range(2):
            watched = Watched(backend.render(stage_of(rxp.Txt2ImgConfig(**TXT2IMG)), None))
            assert isinstance(watched.output, Output)
            steps = watched.of(StepProgress)
            phases.append([step.phase for step in steps])
            assert [step.step for step in steps if step.step] == [1, 2, 3, 4, 5, 6]
            assert steps[-1].fraction == 1.0
            assert all(preview.data[:2] == b"\xff\xd8" for preview in watched.of(Preview))
            assert watched.of(Preview)
        assert "loading" in phases[0]
        assert "loading" not in phases[1]


def test_the_record_says_what_was_used(shared):
    """Names by A1111's table."""
    section = rxp.Txt2ImgConfig(**TXT2IMG, sampler_name="DPM++ 2M", scheduler="Karras")
    settings = output(shared, section).settings
    assert settings == {"model": "sd", "sampler_name": "DPM++ 2M", "scheduler": "Karras"}
    assert output(shared, rxp.Txt2ImgConfig(**TXT2IMG)).settings == {"model": "sd", "sampler_name": "DDIM"}


# -- img2img ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(64, 64), (67, 65), (40, 90)])
def test_img2img_keeps_the_size_and_changes_more_with_more_strength(shared, size):
    """Sizes that are no multiple of 8 too."""
    photo = grain(*size)
    changes = []
    for strength in (0.1, 0.9):
        section = rxp.Img2ImgConfig(prompt="a cat", steps=10, denoising_strength=strength)
        result = pixels(output(shared, section, given(photo)).data)
        assert result.shape == (size[1], size[0], 3)
        changes.append(np.abs(result - np.asarray(photo, np.int16)).mean())
    assert changes[0] > 0


@pytest.mark.parametrize(("steps", "strength", "taken"), [(20, 0.4, 9), (20, 1.0, 20), (10, 0.3, 4), (5, 0.01, 1)])
def test_img2img_takes_as_many_steps_as_a1111(shared, steps, strength, taken):
    """int(min(strength, 0.999) * steps) + 1."""
    section = rxp.Img2ImgConfig(prompt="a cat", steps=steps, denoising_strength=strength)
    watched = Watched(shared.render(stage_of(section), given(grain(64, 64))))
    assert isinstance(watched.output, Output)
    assert [one.steps for one in watched.of(StepProgress) if one.steps][-1] == taken
    assert len([one for one in watched.of(StepProgress) if one.steps]) == taken


def test_img2img_of_no_strength_leaves_the_picture(shared):
    """Even at any count of steps."""
    assert output(shared, rxp.Img2ImgConfig(denoising_strength=0), given(grain(64, 64))).unchanged


def test_img2img_draws_at_the_size_that_is_set(shared):
    section = rxp.Img2ImgConfig(steps=4, denoising_strength=0.5, width=128, height=64)
    for mode in range(4):
        one = section.model_copy(update={"resize_mode": mode})
        assert pixels(output(shared, one, given(grain(64, 64))).data).shape == (64, 128, 3)


@pytest.mark.parametrize("mode", ["RGBA", "L", "LA"])
def test_any_mode_of_picture_is_redrawn_and_transparency_kept(shared, mode):
    photo = grain(64, 64, mode)
    result = pixels(output(shared, rxp.Img2ImgConfig(steps=4, denoising_strength=0.5), given(photo)).data)
    if mode == "L":
        assert result.shape == (64, 64, 3)
    else:
        assert np.array_equal(result[:, :, 3], np.asarray(photo)[:, :, -1])


# -- inpaint ----------------------------------------------------------------------------------------------------------


def hole(path, size=(64, 64), box=(16, 16, 48, 40)):
    """A mask file that is white in a box."""
    mask = Image.new("L", size)
    mask.paste(255, box)
    mask.save(path)
    return path


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("fill", range(4))
def test_inpainting_changes_what_the_mask_shows_and_nothing_else(shared, tmp_path, alone, fill):
    """Whatever lies under the mask at first, and whether the part is drawn by itself."""
    photo = grain(64, 64)
    section = rxp.Img2ImgConfig(
        steps=5, denoising_strength=0.8, mask=hole(tmp_path / "hole.png"), mask_blur=2, inpainting_fill=fill,
        inpaint_full_res=alone, inpaint_full_res_padding=8,
    )  # fmt: skip
    result = pixels(output(shared, section, given(photo)).data)
    changed = (result != np.asarray(photo)).any(axis=2)
    assert not changed[:16].any()
    assert not changed[40:].any()
    assert not changed[:, :16].any()
    assert not changed[:, 48:].any()
    assert changed[20:36, 20:44].mean() > 0.9


def test_a_black_mask_leaves_the_picture_and_says_so(shared, tmp_path):
    section = rxp.Img2ImgConfig(steps=4, mask=hole(tmp_path / "none.png", box=(0, 0, 0, 0)))
    found = output(shared, section, given(grain(64, 64)))
    assert found.unchanged
    assert found.warnings == ("the mask shows nothing to redraw",)


def test_a_model_made_for_inpainting_draws_all_stages(tmp_path):
    """It has nine channels, so that txt2img and img2img need a mask too."""
    with DiffusersBackend("hole", device="cpu") as backend:
        assert drawn(backend).shape == (64, 64, 3)
        photo = grain(64, 64)
        assert output(backend, rxp.Img2ImgConfig(steps=4, denoising_strength=0.5), given(photo)).data
        section = rxp.Img2ImgConfig(steps=4, denoising_strength=0.8, mask=hole(tmp_path / "hole.png"))
        result = pixels(output(backend, section, given(photo)).data)
        assert np.array_equal(result[:16], np.asarray(photo)[:16])


# -- adetailer --------------------------------------------------------------------------------------------------------


def test_adetailer_redraws_the_face_and_nothing_else(shared):
    """The astronaut's, found by the shared detector; the record says where."""
    photo = astronaut()
    section = rxp.AdetailerConfig(
        prompt="a face", steps=4, denoising_strength=0.8, inpaint_width=64, inpaint_height=64, padding=8
    )
    found = output(shared, section, given(photo))
    [face] = found.settings["faces"]
    left, top, right, bottom = face["box"]
    changed = (pixels(found.data) != np.asarray(photo)).any(axis=2)
    assert changed[(top + bottom) // 2, (left + right) // 2]
    around = 4 + 4 * 3  # widened, and three times the blur
    changed[max(0, top - around) : bottom + around, max(0, left - around) : right + around] = False
    assert not changed.any()


def test_adetailer_without_a_face_leaves_the_picture(shared):
    assert output(shared, rxp.AdetailerConfig(steps=2), given(grain(64, 64))).unchanged


# -- upscale ----------------------------------------------------------------------------------------------------------


def test_upscale_has_the_size_of_the_config(shared):
    """By the factor, within a box, cut to one; and redrawn at the larger size."""
    photo = given(grain(50, 40))
    assert pixels(output(shared, rxp.UpscaleConfig(scale=1.5), photo).data).shape == (60, 75, 3)
    assert pixels(output(shared, rxp.UpscaleConfig(width=100, height=100), photo).data).shape == (80, 100, 3)
    section = rxp.UpscaleConfig(width=96, height=96, fit="crop")
    assert pixels(output(shared, section, photo).data).shape == (96, 96, 3)
    plain = output(shared, rxp.UpscaleConfig(scale=2), photo).data
    redrawn = output(shared, rxp.UpscaleConfig(scale=2, mode="img2img", steps=4), photo).data
    assert pixels(redrawn).shape == pixels(plain).shape
    assert not np.array_equal(pixels(redrawn), pixels(plain))


def test_upscale_keeps_transparency_and_the_limit(shared):
    assert pixels(output(shared, rxp.UpscaleConfig(scale=2), given(grain(40, 40, "RGBA"))).data).shape == (80, 80, 4)
    with pytest.raises(BackendFailed, match=r"allowed are 0\.001 MP"):
        output(shared, rxp.UpscaleConfig(scale=2, max_megapixels=0.001), given(grain(40, 40)))


def test_a_stage_without_a_picture_says_so(shared):
    with pytest.raises(ValueError, match="no picture"):
        output(shared, rxp.UpscaleConfig(), None)


def test_a_closed_backend_says_so(models):
    backend = DiffusersBackend(str(models / "sd"), device="cpu")
    backend.close()
    with pytest.raises(BackendRejected, match="closed"):
        drawn(backend)
