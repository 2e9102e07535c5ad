"""One drawing: begun on the model's thread, emitted on the caller's scheduler, stopped inside the model."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rxpipe.backends.base import Output, StepProgress
from rxpipe.backends.diffusers.engine import Stopped
from rxpipe.backends.diffusers.loading import is_out_of_memory, out_of_memory
from rxpipe.backends.diffusers.passes import Painter, Steps
from rxpipe.backends.diffusers.stages import StageWork
from rxpipe.backends.picture import Stopped as DecodingStopped
from rxpipe.errors import BackendFailed, RxPipeError
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.diffusers.engine import Engine
    from rxpipe.plan import StageExecution


class RenderTask:
    """A subscription to a drawing.

    Args:
        observer: gets the emissions, on *scheduler* where one is given, else on the model's thread.
        previews: whether the picture is shown as it grows.
    """

    def __init__(
        self,
        observer: abc.ObserverBase[RenderEvent],
        scheduler: abc.SchedulerBase | None,
        *,
        previews: bool,
    ) -> None:
        self._observer, self._scheduler, self._previews = observer, scheduler, previews
        self._stopped = threading.Event()
        self._over = False

    def dispose(self) -> None:
        """Stop before the next operation of the model. Returns immediately; harmless twice."""
        self._stopped.set()

    def queued(self) -> None:
        """Say that another drawing is in progress."""
        self._emit(StepProgress(phase="queued"))

    def fail(self, error: RxPipeError) -> None:
        """End with an error."""
        self._deliver(lambda: self._observer.on_error(error), last=True)

    def run(self, engine: Engine, stage: StageExecution, source: Artifact | None) -> None:
        """Draw; on the model's thread."""
        if self._stopped.is_set():
            return
        engine.stopped = self._stopped.is_set
        painter = Painter(engine, Steps(self._emit, self._previews))
        try:
            work = StageWork(stage, source, painter, lambda: not self._stopped.is_set())
            drawn = work.run()
        except (Stopped, DecodingStopped):
            return
        except Exception as error:  # noqa: BLE001  # whatever a model runs into is emitted as a typed error
            if is_out_of_memory(error):
                engine.free_memory()
            self.fail(_typed(error, engine))
            return
        finally:
            engine.stopped = lambda: False
        output = Output(drawn.data, unchanged=drawn.unchanged, warnings=drawn.warnings, settings=drawn.facts)
        self._deliver(lambda: self._observer.on_next(output))
        self._deliver(self._observer.on_completed, last=True)

    def _emit(self, event: RenderEvent) -> None:
        if self._stopped.is_set():
            raise Stopped
        self._deliver(lambda: self._observer.on_next(event))

    def _deliver(self, emit: Callable[[], None], *, last: bool = False) -> None:
        def act(_: abc.SchedulerBase | None = None, state: object = None) -> None:
            del state
            if self._over or self._stopped.is_set():
                return
            self._over = last
            emit()

        if self._scheduler is None:
            act()
        else:
            self._scheduler.schedule(act)


def _typed(error: Exception, engine: Engine) -> RxPipeError:
    if isinstance(error, RxPipeError):
        return error
    if is_out_of_memory(error):
        failed = out_of_memory(engine.device, "drawing")
    else:
        failed = BackendFailed(f"the drawing failed: {type(error).__name__}: {cut(str(error))}.")
    failed.__cause__ = error
    return failed
