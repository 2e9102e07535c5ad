"""The embedded backend behind its port: what it emits and when, how it stops, what it refuses and warns of."""

import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from reactivex import operators as ops
from reactivex.scheduler import CurrentThreadScheduler, ImmediateScheduler
from sketch_runs import Drawing, ManualScheduler, draw, photo

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.sketch import SketchBackend
from rxpipe.config import AdetailerUnit
from rxpipe.errors import BackendFailed, BadImage

LIGHTHOUSE = rxp.Txt2ImgConfig(prompt="a lighthouse at dusk", width=128, height=96, steps=6)


def test_a_drawing_emits_its_steps_and_previews_then_the_picture():
    """Steps 1..n of n, a preview behind the first, the last, and others that are not too close; one Output."""
    drawing = draw(LIGHTHOUSE)

    kinds = [type(item) for item in drawing.items]
    assert kinds[:2] == [StepProgress, Preview]
    assert kinds[-3:] == [StepProgress, Preview, Output]
    assert all(kinds[n - 1] is StepProgress for n, kind in enumerate(kinds) if kind is Preview)
    assert [(step.step, step.steps) for step in drawing.steps] == [(i, 6) for i in range(1, 7)]
    assert [step.fraction for step in drawing.steps] == [i / 6 for i in range(1, 7)]
    assert {step.phase for step in drawing.steps} == {"working"}
    assert drawing.completed


@pytest.mark.parametrize(
    "config",
    [
        rxp.Img2ImgConfig(steps=5),
        rxp.Img2ImgConfig(steps=5, denoising_strength=0),
        rxp.Img2ImgConfig(steps=5, denoising_strength=1),
        rxp.UpscaleConfig(scale=1.5),
        rxp.UpscaleConfig(scale=1.5, mode="img2img", steps=3),
        rxp.AdetailerConfig(steps=5, mask_merge_invert="Merge and Invert"),
    ],
    ids=repr,
)
def test_every_stage_counts_its_steps_to_the_end(config, portrait):
    """Whatever the stage, steps rise by one to `steps`, and every preview is a picture."""
    drawing = draw(config, portrait)

    assert [step.step for step in drawing.steps] == list(range(1, drawing.steps[0].steps + 1))
    assert 1 < len(drawing.previews) <= len(drawing.steps)
    assert drawing.completed


def test_nothing_is_drawn_before_it_is_subscribed_to_and_each_subscription_draws_anew():
    """Rendering is cold: the same observable twice gives the same bytes twice."""
    first, second = draw(LIGHTHOUSE), draw(LIGHTHOUSE)

    assert first.output.data == second.output.data


def test_a_paced_drawing_takes_its_time_from_the_scheduler():
    """With pace_s 0.5 the steps come at 0.5, 1.0, ... of virtual time, and the eta is what is left of them."""
    drawing = draw(LIGHTHOUSE, backend=SketchBackend(pace_s=0.5))

    moments = [at for at, item in zip(drawing.moments, drawing.items, strict=True) if isinstance(item, StepProgress)]
    assert moments == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]


@pytest.mark.parametrize("after", range(0, 33, 4))
@pytest.mark.sampled(2)
def test_disposing_stops_the_work_at_the_next_slice(after):
    """Not one further action runs, and nothing is emitted any more."""
    drawing = Drawing(LIGHTHOUSE).run(most=after)
    before = len(drawing.items)
    drawing.subscription.dispose()
    drawing.subscription.dispose()
    done = drawing.scheduler.done
    drawing.run()

    assert drawing.scheduler.done == done
    assert len(drawing.items) == before
    assert not drawing.completed


def test_disposing_during_a_pause_stops_a_paced_drawing():
    """The pending step of a paced drawing is dropped too."""
    drawing = Drawing(LIGHTHOUSE, backend=SketchBackend(pace_s=10.0))
    while not drawing.items:
        drawing.run(most=1)
    drawing.subscription.dispose()
    drawing.run()

    assert len(drawing.steps) == 1


def test_a_subscriber_that_has_seen_enough_stops_the_drawing():
    """After take(1) not one further slice runs."""
    stage = rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img=LIGHTHOUSE)).stages[0]
    scheduler, seen = ManualScheduler(), []
    rendering = SketchBackend().render(stage.for_image(image_index=1, seed=1), None)
    rendering.pipe(ops.take(1), ops.do_action(lambda _: seen.append(scheduler.done))).subscribe(
        on_completed=lambda: seen.append("completed"), scheduler=scheduler
    )
    scheduler.run()

    assert seen == [scheduler.done, "completed"]


@pytest.mark.parametrize(
    "scheduler",
    [ImmediateScheduler.singleton(), CurrentThreadScheduler.singleton()],
    ids=["immediate", "trampoline"],
)
def test_a_scheduler_that_runs_at_once_draws_the_whole_picture_in_subscribe(scheduler):
    """Some hundred slices neither nest nor overflow the stack."""
    drawing = Drawing(LIGHTHOUSE.model_copy(update={"steps": 150}), scheduler=scheduler)

    assert drawing.completed
    assert len(drawing.steps) == 150


def test_without_a_scheduler_it_draws_on_a_daemon_thread_of_its_own_which_ends():
    """Subscribe returns at once; the thread is daemon, named, and gone when the picture is there."""
    stage = rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img=LIGHTHOUSE)).stages[0]
    done, threads = threading.Event(), []
    SketchBackend().render(stage.for_image(image_index=1, seed=1), None).subscribe(
        lambda _: threads.append(threading.current_thread()), on_completed=done.set
    )

    assert done.wait(30)
    (thread,) = set(threads)
    thread.join(10)
    assert thread.daemon
    assert thread.name == "rxpipe-sketch"
    assert not thread.is_alive()


def test_a_torn_picture_is_told_as_such():
    """BadImage, on the error channel, naming the image."""
    whole = photo(Image.new("RGB", (64, 64), "red")).data
    for data in (b"", b"not a picture", whole[:60]):
        drawing = draw(rxp.UpscaleConfig(), Artifact(id="torn", data=data))

        assert isinstance(drawing.error, BadImage)
        assert "torn" in str(drawing.error)
        assert not drawing.items


def test_a_stage_without_its_picture_is_told_as_such():
    """img2img with nothing to work on."""
    plan = rxp.build_stage_execution_plan(
        rxp.PipelineConfig(txt2img=LIGHTHOUSE, img2img=(config := rxp.Img2ImgConfig()))
    )

    assert isinstance(draw(plan.stages[1].config, None, plan=plan).error, BadImage)
    assert config.section == "img2img"


def test_what_drawing_runs_into_is_told_as_a_failed_drawing(monkeypatch):
    """Out of memory arrives as BackendFailed with its cause, never as a crash of the scheduler."""
    monkeypatch.setattr(np, "zeros", _out_of_memory)
    error = draw(LIGHTHOUSE).error

    assert isinstance(error, BackendFailed)
    assert isinstance(error.__cause__, MemoryError)
    assert "MemoryError" in str(error)


def _out_of_memory(*_args, **_kwargs):
    raise MemoryError("no room")


def test_check_warns_of_what_a_drawing_program_cannot_do():
    """Models, samplers, hand detectors and upscaler models are named; what it has is not."""
    plan = rxp.build_stage_execution_plan(
        rxp.PipelineConfig(
            txt2img=rxp.Txt2ImgConfig(model="sdxl", sampler_name="Euler a", tiling=True),
            adetailer=rxp.AdetailerConfig(units=(AdetailerUnit(detector="hand_yolov8n.pt"),)),
            upscale=rxp.UpscaleConfig(upscaler="R-ESRGAN 4x+"),
        )
    )
    plain = rxp.build_stage_execution_plan(rxp.PipelineConfig(txt2img=LIGHTHOUSE, upscale=rxp.UpscaleConfig()))

    assert list(SketchBackend().check(plan)) == [
        "txt2img: model, sampler_name, tiling mean nothing to a drawing program and are not used",
        "adetailer: hand_yolov8n.pt is not here, only faces are found",
        "upscale: upscaler 'R-ESRGAN 4x+' is not here, Lanczos is used",
    ]
    assert list(SketchBackend().check(plain)) == []


def test_it_says_that_it_is_no_model():
    """In its description, its repr and its documentation."""
    for text in (SketchBackend.description, repr(SketchBackend()), SketchBackend.__doc__):
        assert "not a model" in text
        assert "drawing program" in text


def test_a_pace_below_zero_is_refused():
    with pytest.raises(ValueError, match="pace_s"):
        SketchBackend(pace_s=-1)


@pytest.mark.slow
def test_the_backends_package_loads_neither_numpy_nor_pillow_nor_scikit_image():
    """They come with the embedded backend, when it is opened; scikit-image with the first face."""
    code = (
        "import sys, rxpipe, rxpipe.backends; heavy = {'numpy', 'PIL', 'skimage'};"
        "print(sorted(heavy & set(sys.modules)));"
        "import rxpipe.backends.sketch; print(sorted(heavy & set(sys.modules)))"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own

    assert completed.stdout.splitlines() == ["[]", "['PIL', 'numpy']"]


@pytest.fixture(scope="module")
def portrait():
    """A drawn face, as a picture to work on."""
    data = draw(rxp.Txt2ImgConfig(prompt="portrait", width=192, height=192, steps=4)).output.data
    return Artifact(id="portrait", data=data)
