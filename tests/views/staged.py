"""What the views are shown: a controller that emits what a test says and counts the calls it gets."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import reactivex as rx
from PIL import Image
from reactivex import operators as ops
from reactivex.disposable import Disposable

from rxpipe.backends.base import Backend, Output, Preview, StepProgress
from rxpipe.events import RunStart, StageImageProgress, StagePreview
from rxpipe.rx.subject import EventSubject
from rxpipe.status import ImageStatus, RunStatus, StageStatus

STAGES = (
    StageStatus("txt2img", "completed", finished=4, total=4, duration_s=12.34),
    StageStatus(
        "img2img",
        "running",
        finished=1,
        failed=1,
        total=4,
        in_progress={2: ImageStatus(0.4, number=2)},
        step=12,
        steps=30,
    ),
    StageStatus("adetailer", total=4),
    StageStatus("upscale", "skipped"),
)
RUNNING = RunStatus(
    state="running",
    message="Running img2img",
    run_id="r",
    stages=STAGES,
    stage="img2img",
    stage_number=2,
    image_index=2,
    image_number=2,
    total_images=4,
    fraction=0.5,
    eta_s=30.0,
    images=4,
)
COMPLETED = replace(RUNNING, state="completed", message="Completed", fraction=1.0, eta_s=None)
ERROR = "Error: upscale (stage 3 of 3): answered 500 after 41.2 s: CUDA out of memory. Lower the factor or tile."
FAILED = replace(RUNNING, state="failed", message=ERROR, eta_s=None)


class FakeController:
    """The seam that views attach to."""

    def __init__(self, status=None):
        self._status = EventSubject(replay_latest=True)
        self._events, self._previews = EventSubject(), EventSubject()
        self.status, self.events, self.previews = (
            self._status.observable,
            self._events.observable,
            self._previews.observable,
        )
        self.cancels = 0
        self._status.on_next(status or RunStatus())

    def tell(self, status):
        self._status.on_next(status)

    def happen(self, event):
        self._events.on_next(event)

    def preview(self, data, image_index=2):
        self._previews.on_next(
            StagePreview(run_id="r", stage_type="img2img", stage_index=1, image_index=image_index, data=data)
        )

    def cancel(self):
        self.cancels += 1

    @property
    def watchers(self):
        return self._status.subscribers + self._events.subscribers + self._previews.subscribers


def picture(width=512, height=384, colour=(200, 30, 60), kind="JPEG"):
    """An encoded picture of one colour."""
    target = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(target, kind)
    return target.getvalue()


def run_start(run_id="r"):
    return RunStart(run_id=run_id, seq=0, timestamp=datetime.now(UTC), stages=("txt2img",), images=4, config="digest")


def image_done(number, path, outcome="done"):
    return StageImageProgress(
        run_id="r",
        seq=number,
        timestamp=datetime.now(UTC),
        stage_type="txt2img",
        stage_index=0,
        total_images=40,
        image_index=number,
        artifact_id=f"r-{number}",
        outcome=outcome,
        seed=1000 + number,
        path=path,
    )


class Easel(Backend):
    """A backend in real time: ten steps and previews of 10 ms each, then a picture.

    Args:
        silent: it never answers.
        error: raised instead of the first picture of a stage.
    """

    name = "easel"

    def __init__(self, *, silent=False, error=None):
        self.silent, self.error = silent, error
        self.interrupts = 0

    def render(self, stage, source):  # noqa: ARG002  any picture will do
        if self.error is not None:
            return rx.throw(self.error)
        working = rx.never() if self.silent else rx.concat(self._steps(), rx.of(Output(picture(kind="PNG"))))
        return self._counting_interrupts(working)

    def _steps(self):
        return rx.interval(0.01).pipe(
            ops.take(10),
            ops.flat_map(
                lambda n: rx.of(StepProgress(fraction=(n + 1) / 10, step=n + 1, steps=10), Preview(picture(64, 64)))
            ),
        )

    def _counting_interrupts(self, source):
        def subscribe(observer, scheduler=None):
            ended = []

            def end(tell):
                ended.append(1)
                tell()

            inner = source.subscribe(
                observer.on_next,
                lambda error: end(lambda: observer.on_error(error)),
                lambda: end(observer.on_completed),
                scheduler=scheduler,
            )

            def dispose():
                self.interrupts += not ended
                inner.dispose()

            return Disposable(dispose)

        return rx.Observable(subscribe)


def in_work(*images, stage="img2img", run_id="r"):
    """A running status with these images in work: (index, fraction) each."""
    progress = {index: ImageStatus(fraction) for index, fraction in images}
    row = StageStatus(stage, "running", total=9, in_progress=progress)
    return RunStatus(state="running", run_id=run_id, stages=(row,), stage=stage, stage_number=1, images=9)
