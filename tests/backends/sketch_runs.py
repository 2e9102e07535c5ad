"""Drawings of the embedded backend on a clock of the test's own, and pictures to draw on."""

import heapq
import io
import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
from PIL import Image
from reactivex.disposable import BooleanDisposable
from reactivex.scheduler.scheduler import Scheduler

import rxpipe as rxp
from rxpipe.artifact import Artifact
from rxpipe.backends.base import Output, Preview, StepProgress
from rxpipe.backends.sketch import SketchBackend
from rxpipe.plan import plan_stages

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualScheduler(Scheduler):
    """Runs actions only when told to, each at its virtual time; `done` counts them."""

    def __init__(self):
        super().__init__()
        self.done = 0
        self._clock = START
        self._queue, self._order = [], itertools.count()

    @property
    def now(self):
        return self._clock

    def schedule(self, action, state=None):
        return self.schedule_absolute(self._clock, action, state)

    def schedule_relative(self, duetime, action, state=None):
        return self.schedule_absolute(self._clock + timedelta(seconds=self.to_seconds(duetime)), action, state)

    def schedule_absolute(self, duetime, action, state=None):
        handle = BooleanDisposable()
        heapq.heappush(self._queue, (duetime, next(self._order), handle, action, state))
        return handle

    def run(self, most=None):
        """Do all that waits, or *most* actions."""
        while self._queue and most != 0:
            due, _, handle, action, state = heapq.heappop(self._queue)
            if not handle.is_disposed:
                self._clock, self.done = max(self._clock, due), self.done + 1
                action(self, state)
                most = None if most is None else most - 1


class Drawing:
    """One drawing: what it emitted with its moment, how it ended, and the subscription."""

    def __init__(self, config, source=None, *, backend=None, scheduler=None, seed=7, plan=None):
        stages = plan or plan_stages([config], rxp.config.RunSettings(input=("given",) if source is not None else ()))
        stage = next(s for s in stages.stages if s.config is config).for_image(image_index=1, seed=seed)
        self.scheduler = scheduler or ManualScheduler()
        self.items, self.moments, self.error, self.completed = [], [], None, False
        rendering = (backend or SketchBackend()).render(stage, source)
        self.subscription = rendering.subscribe(self._take, self._fail, self._complete, scheduler=self.scheduler)

    def run(self, most=None):
        self.scheduler.run(most)
        return self

    def of(self, kind):
        return [item for item in self.items if isinstance(item, kind)]

    @property
    def steps(self):
        return self.of(StepProgress)

    @property
    def previews(self):
        return [pixels_of(preview.data) for preview in self.of(Preview)]

    @property
    def output(self):
        assert self.error is None, self.error
        (output,) = self.of(Output)
        return output

    @property
    def pixels(self):
        return pixels_of(self.output.data)

    def _take(self, item):
        self.items.append(item)
        self.moments.append((self.scheduler.now - START).total_seconds())

    def _fail(self, error):
        self.error = error

    def _complete(self):
        self.completed = True


def draw(config, source=None, **settings):
    """A finished drawing."""
    return Drawing(config, source, **settings).run()


def txt2img(prompt, *, width=256, height=256, steps=4, seed=7, **settings):
    """The pixels of a picture."""
    config = rxp.Txt2ImgConfig(prompt=prompt, width=width, height=height, steps=steps, **settings)
    return draw(config, seed=seed).pixels


def pixels_of(data):
    """Decoded as they are: height x width x channels."""
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def photo(image, form="PNG", **saved):
    """A given picture, as an artifact."""
    buffer = io.BytesIO()
    image.save(buffer, form, **saved)
    return Artifact(id="photo", data=buffer.getvalue())


def difference(a, b):
    """Mean absolute difference of two pictures' pixels."""
    return float(np.abs(a - b).mean())
