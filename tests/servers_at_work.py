"""Backends in virtual time that work as servers do: so many pictures at once, the others in a queue."""

from __future__ import annotations

import itertools
from collections import deque

import reactivex as rx
from reactivex import Observable
from reactivex.disposable import Disposable, SerialDisposable

from rxpipe.backends.base import Backend, Output, StepProgress
from rxpipe.backends.pool import PoolBackend
from rxpipe.errors import BackendFailed, BackendUnavailable
from rxpipe.executor import PipelineExecutor
from rxpipe.testing.scripted import tiny_picture


class Server(Backend):
    """Renders *capacity* pictures at once.

    seconds: of a picture, by stage. steps: that it reports of each; 0: only that it begins. fails: called with the
    number of a call, 1..; whether it ends with a failure. dies_s: from when on it answers nobody, None for never.
    """

    name = "server"
    description = "Works in virtual time; for tests."

    def __init__(self, clock, seconds, *, capacity=1, queue_ahead=0, steps=4, fails=lambda _call: False, dies_s=None):
        self.capacity, self.queue_ahead = capacity, queue_ahead
        self.clock, self.seconds, self.steps, self.fails = clock, seconds, steps, fails
        self.waiting, self.busy, self.numbers = deque(), set(), itertools.count(1)
        self._dies_at = None if dies_s is None else clock.now.timestamp() + dies_s

    def check(self, plan):
        del plan
        return ()

    def wait_idle(self):
        return rx.empty()

    @property
    def is_dead(self):
        return self._dies_at is not None and self.clock.now.timestamp() >= self._dies_at

    def render(self, stage, source):
        del source
        number = next(self.numbers)
        return Observable(lambda observer, _scheduler=None: _Call(self, stage, number, observer).enter())

    def next(self):
        while self.waiting and len(self.busy) < self.capacity:
            self.waiting.popleft().begin()


class _Call:
    """One picture, from its request to its end."""

    def __init__(self, server, stage, number, observer):
        self.server, self.stage, self.number, self.observer = server, stage, number, observer
        self.parts, self.timer = max(1, server.steps), SerialDisposable()

    def enter(self):
        self.server.waiting.append(self)
        self.server.next()
        if self in self.server.waiting:
            self.observer.on_next(StepProgress(phase="queued"))
        return Disposable(self.leave)

    def begin(self):
        self.server.busy.add(self)
        self.observer.on_next(StepProgress())
        self.after(1)

    def after(self, part):
        seconds = self.server.seconds[self.stage.stage_type] / self.parts
        self.timer.disposable = self.server.clock.schedule_relative(seconds, lambda *_: self.step(part))

    def step(self, part):
        if self.server.is_dead:
            self.end(BackendUnavailable("the server is gone."))
            return
        if self.server.steps:
            self.observer.on_next(StepProgress(part / self.parts, step=part, steps=self.parts))
        if part < self.parts:
            self.after(part + 1)
        else:
            self.end(BackendFailed("as wanted.") if self.server.fails(self.number) else None)

    def end(self, error):
        self.leave()
        if error is not None:
            self.observer.on_error(error)
            return
        self.observer.on_next(Output(tiny_picture(self.stage.seed)))
        self.observer.on_completed()

    def leave(self):
        self.timer.dispose()
        if self in self.server.waiting:
            self.server.waiting.remove(self)
        self.server.busy.discard(self)
        self.server.next()


def pool(clock, seconds, count, *, slow=1.0, **options):
    """So many servers as one backend; the last one takes *slow* times as long."""
    factors = [1.0] * (count - 1) + [slow]
    return PoolBackend(
        [Server(clock, {stage: s * factor for stage, s in seconds.items()}, **options) for factor in factors]
    )


def events_of(marbles, backend, job, doing=()):
    """Play *job* to its end and return its events. doing: (seconds, called with the run), at those times."""
    run = PipelineExecutor(backend, scheduler=marbles.clock).start(job)
    for seconds, action in doing:
        marbles.clock.schedule_relative(seconds, lambda *_, action=action: action(run))
    marbles.run()
    return run.result.events
