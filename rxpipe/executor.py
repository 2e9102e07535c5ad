"""The executor: one run at a time, with hot events and a cancel that does not wait for the running stage.

Each run has a worker thread of its own (or the scheduler it was given), so that a function that never returns can be
left behind: the thread that cancels closes the timeline.
"""

from __future__ import annotations

import os
import threading
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from rxpipe.backends.base import Backend
from rxpipe.chains import Chain, build_chain, with_settings
from rxpipe.config import PipelineConfig
from rxpipe.continuing import continued, needed
from rxpipe.course import RunSession
from rxpipe.errors import ConfigError, RunActive
from rxpipe.pictures.folders import pictures_at
from rxpipe.run import Run
from rxpipe.rx.subject import EventSubject
from rxpipe.sinks.log import log_events
from rxpipe.store.reading import Store
from rxpipe.store.resuming import taken_over

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from reactivex import Observable, abc

    from rxpipe.events import StageEvent, StagePreview
    from rxpipe.result import RunUpdate
    from rxpipe.sinks.files import Files
    from rxpipe.store.resuming import Resumption


class PipelineExecutor:
    """Runs chains on a backend, one at a time.

    updates: all runs' events, each with the result that includes it. Hot, as are the other two: a late subscriber gets
        only what comes later. They never complete or fail.
    events: the events alone.
    previews: pictures of the image in progress.

    Args:
        backend: renders.
        scheduler: runs everything and is the clock; None for a daemon thread per run.
        files: the calls to the file system, for tests with faults (`rxpipe.testing.FaultyFiles`); None: the real ones.
        store: keeps every run, so that it can be resumed; or the path of one. None: nothing is kept.

    Raises:
        ConfigError: what was given as a backend is none.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        scheduler: abc.SchedulerBase | None = None,
        files: Files | None = None,
        store: Store | Path | str | None = None,
    ) -> None:
        if not isinstance(backend, Backend):
            raise ConfigError(
                [f"a backend is expected, and came: {type(backend).__name__}"],
                hint="Give what rxpipe.open_backend(address) returns, or a subclass of rxpipe.Backend.",
            )
        self.backend = backend
        self.store = Store(store) if isinstance(store, Path | str) else store
        self._files = files
        self._scheduler = scheduler
        self._updates: EventSubject[RunUpdate] = EventSubject()
        self._previews: EventSubject[StagePreview] = EventSubject()
        self._start_lock = threading.RLock()
        self._active: Run | None = None
        self._session: RunSession | None = None
        self.updates: Observable[RunUpdate] = self._updates.observable
        self.events: Observable[StageEvent] = self._updates.select(attrgetter("event"))
        self.previews: Observable[StagePreview] = self._previews.observable
        log_events(self.events)

    @property
    def active(self) -> Run | None:
        """The run in progress, None if there is none."""
        return self._active

    @property
    def subscribers(self) -> int:
        """How many subscribers the events and updates have, the log included."""
        return self._updates.subscribers

    def start(self, job: PipelineConfig | Chain, *, inputs: Sequence[Path | str] = (), reuse: str | None = None) -> Run:
        """Start a run and return immediately; everything else happens on the run's scheduler.

        Args:
            job: a config, or a chain made in code.
            inputs: pictures to start from, folders of them or patterns, instead of those that the job names.
            reuse: id of a run in the store: an image that it drew in the same way is taken over, and a random seed is
                the one that it had. None: everything is drawn.

        Raises:
            PlanError: no stage is enabled, or the stages cannot work as composed.
            ConfigError: a setting cannot be recorded, or the backend's capacity or queue_ahead is no such number.
            BadImage: an input file does not exist, or is not a picture.
            RunActive: another run is in progress.
            StoreError: the store has no run of the id in *reuse*, or cannot be read.
        """
        chain = build_chain(_with_inputs(job, inputs))
        return self._start(chain, None if reuse is None else taken_over(needed(self.store), reuse))

    def resume(self, run_id: str, job: Chain | None = None, *, redraw: Collection[str] | bool = ()) -> Run:
        """Continue a run of the store where it stood, and return immediately.

        An image that a stage has finished is taken from its file, if that is intact; the others are drawn, with the
        same seeds. The events are those of a whole run; what was taken over has `resumed`.

        Args:
            run_id: as in its events.
            job: the chain of a run with stages of your own, whose functions no store holds. None: the stages as they
                were recorded.
            redraw: names of stages of your own whose code changed, to draw their images anew; True for all.

        Raises:
            ResumeError: it kept its pictures in memory, another process runs it, or its stages changed; the message
                says which, and what can be done.
            StoreError: the store has no such run, or cannot be read.
            BadImage, RunActive: as of `start`.
        """
        chain, resumed = continued(needed(self.store), run_id, job, redraw)
        try:
            return self._start(chain, resumed)
        except BaseException:
            resumed.release()
            raise

    def _start(self, chain: Chain, resumed: Resumption | None) -> Run:
        chain.plan.check(chain.images)
        if (active := self._active) is not None and active.pid == os.getpid():
            active.finish()  # completes a cancel that was interrupted; else does nothing
        with self._start_lock:
            if self._active is not None and self._active.pid == os.getpid():  # else a fork left it with its parent
                raise RunActive(
                    f"run {self._active.run_id} is still in progress, and an executor runs one at a time.",
                    hint="Wait for it, cancel it, or use another executor.",
                )
            session = RunSession(
                chain,
                self.backend,
                scheduler=self._scheduler,
                files=self._files,
                updates=self._updates,
                previews=self._previews.on_next,
                on_end=self._end_run,
                store=self.store,
                resumed=resumed,
            )
            run = self._active = Run(session)
            self._session = session
        try:
            session.begin()
        except BaseException:  # an interrupt between the two: a run that never begins must not block the next
            run.cancel()
            raise
        return run

    def _end_run(self, session: RunSession, put_end: Callable[[], None]) -> None:
        with self._start_lock:  # a subscriber to the end may start the next run, and no RunStart comes before the end
            if session is self._session:  # a step that is run again after an interrupt must not end the next run
                self._session = self._active = None
            put_end()


def _with_inputs(job: PipelineConfig | Chain, inputs: Sequence[Path | str]) -> PipelineConfig | Chain:
    if not inputs:
        return job
    paths = tuple(pictures_at(inputs))
    if isinstance(job, Chain):
        return with_settings(job, input=paths)
    return PipelineConfig.model_validate({**dict(job), "input": paths})
