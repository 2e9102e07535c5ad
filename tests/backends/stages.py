"""Stages narrowed to one image, and what a backend emits when it draws one: what the backend tests share."""

from __future__ import annotations

import contextlib
import threading
import time

import rxpipe as rxp
from rxpipe.plan import plan_stages
from rxpipe.rx.worker import WorkerScheduler
from rxpipe.testing.servers.drawing import noise_png

PICTURE = noise_png(64, 64, 1)
GRACE_S = 10.0
"""A grace by which a call that waits is told from one that does not, however busy the machine."""


def stage_of(section, *, before=None, image_index=1, seed=7):
    """The execution of one section, narrowed to one image; *before*: the drawing stage it inherits from."""
    sections = [section] if before is None else [before, section]
    settings = (
        rxp.RunSettings(input=("given",)) if not isinstance(sections[0], rxp.Txt2ImgConfig) else rxp.RunSettings()
    )
    return plan_stages(sections, settings).stages[-1].for_image(image_index=image_index, seed=seed)


def artifact(data=PICTURE):
    """A picture in memory."""
    return rxp.Artifact(id="given-1", seed=7, data=data)


class Watched:
    """A subscription on a worker of its own; everything that came, and waits for it."""

    def __init__(self, observable):
        self.values, self.error, self.completed = [], None, False
        self.threads = set()
        self._changed = threading.Condition()
        self.worker = WorkerScheduler("test")
        self.subscription = observable.subscribe(self._next, self._failed, self._completed, scheduler=self.worker)

    def _note(self, **fields):
        with self._changed:
            self.threads.add(threading.current_thread().name)
            for name, value in fields.items():
                setattr(self, name, value)
            self._changed.notify_all()

    def _next(self, value):
        self._note(values=[*self.values, value])

    def _failed(self, error):
        self._note(error=error)

    def _completed(self):
        self._note(completed=True)

    def wait_for(self, predicate, timeout_s=30.0):
        """Whether *predicate* of this object came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self), timeout_s)

    @property
    def output(self):
        """The picture, once it is over; raises what the drawing failed with."""
        assert self.wait_for(lambda seen: seen.completed or seen.error is not None), "neither a picture nor an error"
        self.worker.close()
        if self.error is not None:
            raise self.error
        return self.values[-1]

    def of(self, kind):
        """What came of one kind."""
        return [value for value in self.values if isinstance(value, kind)]


@contextlib.contextmanager
def returns_before_any_answer(server):
    """The block does not wait for the server, which answers nothing meanwhile; a wait would end with `GRACE_S`."""
    server.freeze()
    begin = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - begin
        server.thaw()
    assert seconds < GRACE_S / 2, "it waited for an answer"


def drawn(backend, stage, source=None):
    """The Output of a stage; raises what it failed with."""
    return Watched(backend.render(stage, source)).output
