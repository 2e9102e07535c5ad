"""Cell: one image in one stage: its rendering, its file, its event, and its way to the next stage."""

from __future__ import annotations

import enum
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rxpipe.artifact import VARIANT, Artifact
from rxpipe.backends.base import Moved, Output, Preview, RenderEvent, StepProgress
from rxpipe.config import CustomConfig
from rxpipe.errors import BackendFailed, BadResponse, RxPipeError, TooManyFailures
from rxpipe.pictures.formats import file_ending
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.plan import StageType
from rxpipe.stages.raised import function_error
from rxpipe.stages.recorded import recorded_settings
from rxpipe.store.port import Recalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from reactivex import abc

    from rxpipe.plan import StageExecution
    from rxpipe.rx.lane import Slot
    from rxpipe.stages.control import RunControl
    from rxpipe.stages.scope import RunScope
    from rxpipe.stages.tracker import StageTracker

_GENERATION = (StageType.TXT2IMG, StageType.IMG2IMG, "workflow")  # the others keep the seed that the image has

StageOutput = RenderEvent | Artifact | Recalled
"""What a stage emits about an image: the picture is an Output of a backend, the Artifact of a function, or Recalled."""

_Picture = Output | Artifact | Recalled


class CellState(enum.Enum):
    """WAITING, RENDERING, SAVING, then a final outcome."""

    WAITING = "waiting"
    RENDERING = "rendering"
    SAVING = "saving"
    DONE = "done"
    PASSED = "passed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    FILTERED = "filtered"


_OPEN = frozenset({CellState.WAITING, CellState.RENDERING, CellState.SAVING})


class Cell:
    """One image in one stage of one run.

    index: 1.., in the order in which images enter the stage. artifact: as it came in. execution: the stage for this
    image. began_s: when it began, as `RunScope.elapsed_s` counts. fraction: how far it is, 0..1, never falling.
    attempt: of its rendering, 1...
    slot: its place on the run's lane, None for an image that passes an operator.
    state: an outcome is set once, by the first call of `take_outcome` or `skip`.
    """

    def __init__(self, tracker: StageTracker, index: int, artifact: Artifact, slot: Slot | None = None) -> None:
        self.tracker, self.index, self.artifact, self.slot = tracker, index, artifact, slot
        planned = tracker.images.execution(tracker.execution, artifact.number)
        own = planned.seed
        seed = artifact.seed if own is None else own + tracker.images.seed_offset(artifact.number)
        self.execution: StageExecution = planned.for_image(image_index=index, seed=seed)
        self.began_s = tracker.scope.elapsed_s()
        self.fraction = 0.0
        self.attempt = 1
        self.state = CellState.WAITING
        self._pictures: list[_Picture] = []
        self._came_s: float | None = None  # when the backend's picture came
        self._saving_since_s = 0.0  # later: it waits for the images before it
        self._unexpected_type = ""  # the type of an emission that is not a StageOutput
        self._rendering = SerialDisposable()
        self._observer: abc.ObserverBase[Artifact] | None = None
        self._scheduler: abc.SchedulerBase | None = None
        self._scope: RunScope = tracker.scope
        self._control: RunControl = tracker.scope.control

    # -- rendering ----------------------------------------------------------------------------------------------------

    def run(self, outputs: Observable[StageOutput]) -> Observable[Artifact]:
        """Return the artifact that results from *outputs*, subscribed to once; empty if the image does not continue.

        Its error is StageAborted and ends the run.
        """

        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            self._observer, self._scheduler = observer, scheduler
            self.state = CellState.RENDERING
            self._rendering.disposable = outputs.subscribe(
                self._on_output,
                lambda error: self._backend_done(lambda: self._failed(error)),
                lambda: self._backend_done(self._save),
                scheduler=scheduler,
            )
            return self._rendering

        return Observable(subscribe)

    def skip(self) -> bool:
        """Cancel the image, from any thread; return False unless it is being rendered and not cancelled yet.

        Returns immediately; the event is emitted on the run's thread, as all others are.
        """
        with self._control.lock:
            if self.state is not CellState.RENDERING:
                return False
            self.state = CellState.CANCELLED

        def report(*_: object) -> None:
            self._rendering.dispose()
            self._in_order(lambda: self._finish(self.artifact))

        if self._scheduler is None:
            report()
        else:
            self._scheduler.schedule(report)
        return True

    def take_outcome(self, state: CellState) -> bool:
        """Set the outcome; return False if the cell has one already."""
        with self._control.lock:
            if self.state not in _OPEN:
                return False
            self.state = state
            return True

    def _on_output(self, output: StageOutput) -> None:
        if isinstance(output, (Output, Artifact, Recalled)):  # isinstance with a union would build it for every step
            self._pictures.append(output)
            self._came_s = self._scope.elapsed_s()
        elif isinstance(output, StepProgress):
            self.tracker.step(self, output)
        elif isinstance(output, Preview):
            self._scope.reporter.preview(self.execution, self.index, self.artifact.number, output.data)
        elif isinstance(output, Moved):
            self.tracker.retry(self, 0.0, output.error)
        else:
            self._unexpected_type = type(output).__name__

    def _backend_done(self, then: Callable[[], None]) -> None:
        """Let the next image begin, and call *then* once the images before this one have finished.

        With a journal the next one begins once this one is kept: a crash never costs more images than have a slot. So
        it does where that is soon and the server has a further image: this one's next stage then has the slot, and not
        an image that is not yet begun.
        """
        scope = self._scope
        waits = scope.journal.resumes or (scope.backend.queue_ahead > 0 and scope.saving.is_short)
        if self.slot is not None and scope.output.saver is not None and not waits:
            self.slot.free()
        self._in_order(then)

    def _in_order(self, action: Callable[[], None]) -> None:
        if self.slot is None:
            action()
        else:
            self.slot.in_order(action)

    # -- its end ------------------------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Write and report the picture: on this thread, or on the saver's and then back on the run's."""
        if not self._begin_saving():
            return
        self._saving_since_s = self._scope.elapsed_s()
        saver, scheduler = self._scope.output.saver, self._scheduler
        if saver is None or scheduler is None:
            self._commit(lambda action: action())
        else:
            saver.schedule(lambda *_: self._commit(lambda action: scheduler.schedule(lambda *_: action())))

    def _begin_saving(self) -> bool:
        with self._control.lock:
            if self.state is CellState.RENDERING:
                self.state = CellState.SAVING
            return self.state is CellState.SAVING

    def _commit(self, back: Callable[[Callable[[], None]], object]) -> None:
        try:
            with self._control.committing() as allowed:
                if not allowed:
                    return  # cancelled meanwhile; the end of the run reports it
                finished = self._store_all()
        except Exception as error:  # noqa: BLE001  # of the backend, user code or the file system; it is reported as the image's
            cause = error
            back(lambda: self._failed(cause))
        else:
            back(lambda: self._emit(*finished))

    def _store_all(self) -> Sequence[Artifact]:
        """Store what the stage made of the image; return what continues: of a generator any number of images."""
        config = self.execution.config
        if not (isinstance(config, CustomConfig) and config.kind == "generator"):
            finished = self._store(self._only_picture())
            return () if finished is None else (finished,)
        if not self._pictures:
            self.take_outcome(CellState.FILTERED)
            self.tracker.filter_image(self)
            return ()
        made = [self._changed(picture) or self.artifact for picture in self._pictures if isinstance(picture, Artifact)]
        named = [each if number == 1 else each.derive(str(number)) for number, each in enumerate(made, 1)]
        kept = [stored(self.tracker, each, self.execution) if each.data is not None else (each, {}) for each in named]
        self.take_outcome(CellState.DONE)
        for artifact, more in kept:
            self.tracker.finish_image(self, artifact, **more)
        return [artifact for artifact, _ in kept]

    def _only_picture(self) -> _Picture:
        if self._unexpected_type:
            message = f"the backend emitted a {self._unexpected_type}; allowed: StepProgress, Preview and one Output."
            raise BadResponse(message)
        if len(self._pictures) == 1:
            return _checked(self._pictures[0])
        came = f"{len(self._pictures)} pictures" if self._pictures else "no picture"
        raise BadResponse(f"the backend emitted {came} where one was expected.")

    def _store(self, picture: _Picture) -> Artifact | None:
        """Store the picture and report the image finished; return it unless it does not continue."""
        if isinstance(picture, Recalled):
            self.take_outcome(CellState(picture.fields["outcome"]))
            self.tracker.finish_image(self, picture.artifact, **picture.fields)
            return picture.artifact if self.state is not CellState.CANCELLED else None
        changed = self._changed(picture)
        artifact = self.artifact if changed is None else self._scope.output.store(changed, self.execution)
        self.take_outcome(CellState.PASSED if changed is None else CellState.DONE)
        self.tracker.finish_image(self, artifact, **self._facts(picture))
        return artifact

    def _facts(self, picture: Output | Artifact) -> dict[str, Any]:
        """Return what the event of a picture says beyond the image: of one that a backend has drawn."""
        if not isinstance(picture, Output):
            return {}
        came_s, now_s = self._came_s or 0.0, self._scope.elapsed_s()
        since_s = now_s - came_s
        self._scope.saving.note(came_s - self.began_s, now_s - self._saving_since_s)
        own_s = round((picture.own_s or 0.0) + since_s, 6)
        return {
            "warnings": picture.warnings,
            "server": picture.server,
            "transfer_s": picture.transfer_s,
            "own_s": own_s,
        }

    def _changed(self, picture: Output | Artifact) -> Artifact | None:
        """Return the artifact with the new picture and a lineage entry; None if it was left unchanged."""
        before, seed = self.artifact, self.execution.seed
        if isinstance(picture, Artifact):
            if picture is before:
                return None
            kept = replace(picture, id=before.id, number=before.number, parent=before.parent, lineage=before.lineage)
            if VARIANT in before.metadata:
                kept = kept.with_metadata(**{VARIANT: before.metadata[VARIANT]})
            return kept.with_lineage(
                LineageEntry(self.execution.stage_type, "function", recorded_settings(self.execution))
            )
        if picture.unchanged:
            return None
        seed = seed if picture.seed is None else picture.seed
        settings = {**recorded_settings(self.execution), "seed": seed, **picture.settings}
        if picture.server is not None:
            settings["server"] = picture.server
        entry = LineageEntry(self.execution.stage_type, self._scope.backend.name, settings)
        renders_anew = self.execution.stage_type in _GENERATION or before.seed is None
        return replace(before.with_data(picture.data), seed=seed if renders_anew else before.seed).with_lineage(entry)

    def _failed(self, cause: Exception) -> None:
        error = as_rxpipe_error(cause, self.tracker)
        passes = error.scope != "run" and self.execution.config.on_error == "pass"
        if self._control.over or not self.take_outcome(CellState.PASSED if passes else CellState.FAILED):
            return
        if error.scope == "run":
            self._abort(error)
        elif passes:
            self._finish(self.artifact, error)
        else:
            self.tracker.finish_image(self, self.artifact, error=error)
            self._after_failure(error)

    def _after_failure(self, error: RxPipeError) -> None:
        if self.execution.config.on_error == "stop":
            self._abort(error)
        elif self.tracker.too_many_failures():
            count = self._scope.settings.max_failures_in_a_row
            message = f"{count} images failed in a row, the last with: {error.message}"
            self._abort(TooManyFailures(message, hint=error.hint))
        else:
            self._emit()

    def _abort(self, error: RxPipeError) -> None:
        aborted, observer = self.tracker.fail(error), self._observer
        self._release()
        if observer is not None:
            observer.on_error(aborted)

    def _finish(self, artifact: Artifact, error: RxPipeError | None = None) -> None:
        """Report an image that has no new picture; one that was passed continues."""
        self.tracker.finish_image(self, artifact, error=error)
        self._emit(*[artifact] if self.state is CellState.PASSED else [])

    def _emit(self, *artifacts: Artifact) -> None:
        observer = self._observer
        self._release()
        if observer is None:
            return
        for artifact in artifacts:
            observer.on_next(artifact)
        observer.on_completed()

    def _release(self) -> None:
        """Drop the pictures now: the cell is in a reference cycle with its subscription."""
        self._observer = None
        self._pictures = []


def _checked(picture: _Picture) -> _Picture:
    """Return the picture; raise unless its data are the bytes of one."""
    if not isinstance(picture, Output) or picture.unchanged:
        return picture
    if not isinstance(picture.data, bytes):
        raise BadResponse(f"the backend emitted a {type(picture.data).__name__} as a picture; allowed: encoded bytes.")
    file_ending(picture.data)
    return picture


def stored(tracker: StageTracker, artifact: Artifact, execution: StageExecution) -> tuple[Artifact, Mapping[str, Any]]:
    """Store a picture of a user's stage that several may follow from one image; take the file of an earlier attempt.

    Returns:
        The artifact as it is kept, and what more its event says.
    """
    recalled = tracker.scope.journal.recall(execution, artifact, recorded_settings, "function")
    if recalled is not None:
        return recalled.artifact, recalled.fields
    return tracker.scope.output.store(artifact, execution), {}


def as_rxpipe_error(cause: BaseException, tracker: StageTracker) -> RxPipeError:
    """Return the error, or one of `rxpipe.errors` caused by it if a function or a backend raised another type."""
    if isinstance(cause, RxPipeError):
        return cause
    if isinstance(tracker.execution.config, CustomConfig):
        return function_error(tracker.execution.stage_type, cause)
    message = f"{type(cause).__name__}: {cause}"
    error = BackendFailed(f"backend {tracker.scope.backend.name} raised {message}")
    error.__cause__ = cause
    return error
