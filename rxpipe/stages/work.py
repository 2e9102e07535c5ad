"""One image in one stage: from its rendering to its file, its event and on to the next stage."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rxpipe.artifact import Artifact
from rxpipe.backends.base import Output, Preview, RenderEvent, StepProgress
from rxpipe.config import CustomConfig
from rxpipe.errors import BackendFailed, BadResponse, RxPipeError, StageFunctionError, TooManyFailures
from rxpipe.events import StagePreview
from rxpipe.pictures.formats import file_ending
from rxpipe.pictures.lineage import LineageEntry
from rxpipe.plan import StageType

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.plan import StageExecution
    from rxpipe.rx.operators import Slot
    from rxpipe.stages.run import Cell, StageTracker

_GENERATION = (StageType.TXT2IMG, StageType.IMG2IMG)  # others mend the picture of the image's own seed

StageOutput = RenderEvent | Artifact
"""What a stage emits about an image while it works: a function gives an artifact where a backend gives an Output."""


class ImageWork:
    """The work on one image, subscribed to once, when its turn has come.

    It gives the artifact that goes on, if one does, and completes; its error is StageAborted and ends the run.
    """

    def __init__(
        self, tracker: StageTracker, cell: Cell, slot: Slot, execution: StageExecution, artifact: Artifact
    ) -> None:
        self._tracker = tracker
        self._cell = cell
        self._slot = slot
        self._execution = execution
        self._artifact = artifact
        self._pictures: list[Output | Artifact] = []
        self._state_lock = threading.Lock()
        self._skipped = self._saving = False
        self._unexpected_type = ""  # of an emission that no backend may make

    def run(self, outputs: Observable[StageOutput]) -> Observable[Artifact]:
        """Return what *outputs*, the emissions of one image, amount to: the artifact that goes on, or an error."""

        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            rendering = SerialDisposable()
            self._cell.skip = lambda: self._skip(observer, rendering, scheduler)
            rendering.disposable = outputs.subscribe(
                self._on_output,
                lambda error: self._backend_done(lambda: self._failed(observer, error)),
                lambda: self._backend_done(lambda: self._save(observer, scheduler)),
                scheduler=scheduler,
            )
            return rendering

        return Observable(subscribe)

    def _on_output(self, output: StageOutput) -> None:
        if isinstance(output, (Output, Artifact)):  # a union would be made anew for every step
            self._pictures.append(output)
        elif not self._tracker.is_oldest(self._cell):
            return  # it waits behind another of ours, whose progress is the one to show
        elif isinstance(output, StepProgress):
            self._tracker.step(self._cell, output)
        elif isinstance(output, Preview):
            self._preview(output)
        else:
            self._unexpected_type = type(output).__name__

    def _preview(self, preview: Preview) -> None:
        context, execution = self._tracker.context, self._execution
        context.previews(
            StagePreview(
                run_id=context.timeline.run_id,
                stage_type=execution.stage_type,
                stage_index=execution.stage_index,
                image_index=self._cell.index,
                data=preview.data,
            )
        )

    def _skip(
        self, observer: abc.ObserverBase[Artifact], rendering: SerialDisposable, scheduler: abc.SchedulerBase | None
    ) -> bool:
        """Give the image up: at once for whoever asks, told on the run's thread as everything else is."""
        with self._state_lock:
            if self._skipped or self._saving:
                return self._skipped
            self._skipped = True

        def tell(*_: object) -> None:
            rendering.dispose()
            self._slot.in_order(lambda: self._finish_without_picture(observer, self._artifact, "cancelled"))

        if scheduler is None:
            tell()
        else:
            scheduler.schedule(tell)
        return True

    def _backend_done(self, then: Callable[[], None]) -> None:
        """The backend is free: the next image may begin while this one, in order, is finished off."""
        if self._tracker.context.saver is not None:
            self._slot.free()
        self._slot.in_order(then)

    def _save(self, observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None) -> None:
        """Write the picture and tell of it: here and now, or on the saver's thread and back."""
        with self._state_lock:
            if self._skipped:
                return
            self._saving = True
        saver = self._tracker.context.saver
        if saver is None or scheduler is None:
            self._commit(lambda action: action(), observer)
        else:
            saver.schedule(lambda *_: self._commit(lambda action: scheduler.schedule(lambda *_: action()), observer))

    def _commit(self, back: Callable[[Callable[[], None]], object], observer: abc.ObserverBase[Artifact]) -> None:
        try:
            with self._tracker.context.commit:
                if self._is_cancelled:
                    return  # cut off while it came in: whoever stopped it tells of it
                finished = self._finish(self._only_picture())
        except Exception as error:  # noqa: BLE001  # of whoever made the picture or its notes; it is handed on
            cause = error
            back(lambda: self._failed(observer, cause))
        else:
            back(lambda: self._emit(observer, finished))

    def _only_picture(self) -> Output | Artifact:
        if self._unexpected_type:
            message = f"the backend emitted a {self._unexpected_type}; allowed: StepProgress, Preview and one Output."
            raise BadResponse(message)
        if len(self._pictures) == 1:
            return _checked(self._pictures[0])
        came = f"{len(self._pictures)} pictures" if self._pictures else "no picture"
        raise BadResponse(f"the backend gave {came} where one was asked for.")

    def _finish(self, picture: Output | Artifact) -> Artifact:
        """The picture in its file, and told."""
        warnings = picture.warnings if isinstance(picture, Output) else ()
        drawn = self._drawn(picture)
        if drawn is None:
            self._tracker.finish_image(self._cell, self._artifact, "passed", warnings=warnings)
            return self._artifact
        written = self._tracker.context.write(drawn, self._execution)
        self._tracker.finish_image(self._cell, written, "done", warnings=warnings)
        return written

    def _drawn(self, picture: Output | Artifact) -> Artifact | None:
        """The artifact with the new picture and what was done noted; None if it was left unchanged."""
        before, seed = self._artifact, self._execution.seed
        if isinstance(picture, Artifact):
            if picture is before:
                return None
            kept = replace(picture, id=before.id, number=before.number, parent=before.parent, lineage=before.lineage)
            return kept.with_lineage(
                LineageEntry(self._execution.stage_type, "function", _recorded_settings(self._execution))
            )
        if picture.unchanged:
            return None
        seed = seed if picture.seed is None else picture.seed
        settings = {**_recorded_settings(self._execution), "seed": seed, **picture.settings}
        entry = LineageEntry(self._execution.stage_type, self._tracker.context.backend.name, settings)
        draws_anew = self._execution.stage_type in _GENERATION or before.seed is None
        return replace(before.with_data(picture.data), seed=seed if draws_anew else before.seed).with_lineage(entry)

    @property
    def _is_cancelled(self) -> bool:
        return self._skipped or self._tracker.context.stopped()

    def _failed(self, observer: abc.ObserverBase[Artifact], cause: Exception) -> None:
        if self._is_cancelled:
            return
        error = as_rxpipe_error(cause, self._tracker)
        on_error = self._execution.config.on_error
        if error.scope == "run":
            self._stop(observer, error)
        elif on_error == "pass":
            self._finish_without_picture(observer, self._artifact, "passed", error)
        else:
            self._drop(observer, error, stop=on_error == "stop")

    def _drop(self, observer: abc.ObserverBase[Artifact], error: RxPipeError, *, stop: bool) -> None:
        self._tracker.finish_image(self._cell, self._artifact, "failed", error=error)
        if stop:
            self._stop(observer, error)
        elif self._tracker.too_many():
            count = self._tracker.context.settings.max_failures_in_a_row
            message = f"{count} images failed in a row, the last with: {error.message}"
            self._stop(observer, TooManyFailures(message, hint=error.hint))
        else:
            observer.on_completed()

    def _stop(self, observer: abc.ObserverBase[Artifact], error: RxPipeError) -> None:
        observer.on_error(self._tracker.fail(error))

    def _finish_without_picture(
        self,
        observer: abc.ObserverBase[Artifact],
        artifact: Artifact,
        outcome: Literal["passed", "cancelled"],
        error: RxPipeError | None = None,
    ) -> None:
        self._tracker.finish_image(self._cell, artifact, outcome, error=error)
        self._emit(observer, artifact if outcome == "passed" else None)

    def _emit(self, observer: abc.ObserverBase[Artifact], artifact: Artifact | None) -> None:
        if artifact is not None:
            observer.on_next(artifact)
        observer.on_completed()


def _checked(picture: Output | Artifact) -> Output | Artifact:
    """The picture, if what should be its bytes are the bytes of one."""
    if isinstance(picture, Artifact) or picture.unchanged:
        return picture
    if not isinstance(picture.data, bytes):
        raise BadResponse(f"the backend gave a {type(picture.data).__name__} as a picture; allowed: encoded bytes.")
    file_ending(picture.data)
    return picture


def as_rxpipe_error(cause: BaseException, tracker: StageTracker) -> RxPipeError:
    """The error as one of ours, its cause kept: what a user's function raised, or a backend against its contract."""
    if isinstance(cause, RxPipeError):
        return cause
    message = f"{type(cause).__name__}: {cause}"
    if isinstance(tracker.execution.config, CustomConfig):
        error: RxPipeError = StageFunctionError(f"{tracker.execution.stage_type} raised {message}")
    else:
        error = BackendFailed(f"backend {tracker.context.backend.name} raised {message}")
    error.__cause__ = cause
    return error


def _recorded_settings(execution: StageExecution) -> dict[str, object]:
    if isinstance(execution.config, CustomConfig):
        return dict(execution.config.settings)
    return {**execution.generation.model_dump(exclude_none=True), **execution.payload}
