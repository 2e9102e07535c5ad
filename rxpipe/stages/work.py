"""One image in one stage: from its rendering to its file, its event and on to the next stage."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from reactivex import Observable
from reactivex.disposable import SerialDisposable

from rxpipe.artifact import Artifact, LineageEntry
from rxpipe.backends.base import Output, Preview, RenderEvent, StepProgress
from rxpipe.config import CustomConfig
from rxpipe.errors import BackendFailed, BadResponse, RxPipeError, StageFunctionError, TooManyFailures
from rxpipe.events import StagePreview
from rxpipe.plan import StageType
from rxpipe.sinks.images import file_ending

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import abc

    from rxpipe.operators import Turn
    from rxpipe.plan import StageExecution
    from rxpipe.stages.run import Entry, StageRun

_GENERATION = (StageType.TXT2IMG, StageType.IMG2IMG)  # others mend the picture of the image's own seed

Told = RenderEvent | Artifact
"""What a stage tells of an image while it works: a function gives an artifact where a backend gives an Output."""


class ImageWork:
    """The work on one image, subscribed to once, when its turn has come.

    It gives the artifact that goes on, if one does, and completes; its error is StageStopped and ends the run.
    """

    def __init__(self, run: StageRun, entry: Entry, turn: Turn, execution: StageExecution, artifact: Artifact) -> None:
        self._run = run
        self._entry = entry
        self._turn = turn
        self._execution = execution
        self._artifact = artifact
        self._pictures: list[Output | Artifact] = []
        self._deciding = threading.Lock()
        self._skipped = self._saving = False
        self._strange = ""  # the type of what no backend may tell

    def on(self, telling: Observable[Told]) -> Observable[Artifact]:
        """What comes of the image that *telling* draws."""

        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            drawing = SerialDisposable()
            self._entry.skip = lambda: self._skip(observer, drawing, scheduler)
            drawing.disposable = telling.subscribe(
                self._told,
                lambda error: self._drawn_up(lambda: self._failed(observer, error)),
                lambda: self._drawn_up(lambda: self._save(observer, scheduler)),
                scheduler=scheduler,
            )
            return drawing

        return Observable(subscribe)

    def _told(self, told: Told) -> None:
        if isinstance(told, (Output, Artifact)):  # a union would be made anew for every step
            self._pictures.append(told)
        elif not self._run.shows(self._entry):
            return  # it waits behind another of ours, whose progress is the one to show
        elif isinstance(told, StepProgress):
            self._run.step(self._entry, told)
        elif isinstance(told, Preview):
            self._preview(told)
        else:
            self._strange = type(told).__name__

    def _preview(self, told: Preview) -> None:
        context, execution = self._run.context, self._execution
        context.previews(
            StagePreview(
                run_id=context.timeline.run_id,
                stage_type=execution.stage_type,
                stage_index=execution.stage_index,
                image_index=self._entry.index,
                data=told.data,
            )
        )

    def _skip(
        self, observer: abc.ObserverBase[Artifact], drawing: SerialDisposable, scheduler: abc.SchedulerBase | None
    ) -> bool:
        """Give the image up: at once for whoever asks, told on the run's thread as everything else is."""
        with self._deciding:
            if self._skipped or self._saving:
                return self._skipped
            self._skipped = True

        def tell(*_: object) -> None:
            drawing.dispose()
            self._turn.in_order(lambda: self._left(observer, self._artifact, "cancelled"))

        if scheduler is None:
            tell()
        else:
            scheduler.schedule(tell)
        return True

    def _drawn_up(self, then: Callable[[], None]) -> None:
        """The backend is free: the next image may begin while this one, in order, is finished off."""
        if self._run.context.saver is not None:
            self._turn.let_next()
        self._turn.in_order(then)

    def _save(self, observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None) -> None:
        """Write the picture and tell of it: here and now, or on the saver's thread and back."""
        with self._deciding:
            if self._skipped:
                return
            self._saving = True
        saver = self._run.context.saver
        if saver is None or scheduler is None:
            self._commit(lambda told: told(), observer)
        else:
            saver.schedule(lambda *_: self._commit(lambda told: scheduler.schedule(lambda *_: told()), observer))

    def _commit(self, back: Callable[[Callable[[], None]], object], observer: abc.ObserverBase[Artifact]) -> None:
        try:
            with self._run.context.commit:
                if self._unwanted:
                    return  # cut off while it came in: whoever stopped it tells of it
                gone_on = self._finish(self._only_picture())
        except Exception as error:  # noqa: BLE001  # of whoever made the picture or its notes; it is handed on
            cause = error
            back(lambda: self._failed(observer, cause))
        else:
            back(lambda: self._go_on(observer, gone_on))

    def _only_picture(self) -> Output | Artifact:
        if self._strange:
            told = f"the backend told a {self._strange}; allowed: StepProgress, Preview and one Output."
            raise BadResponse(told)
        if len(self._pictures) == 1:
            return _checked(self._pictures[0])
        came = f"{len(self._pictures)} pictures" if self._pictures else "no picture"
        raise BadResponse(f"the backend gave {came} where one was asked for.")

    def _finish(self, picture: Output | Artifact) -> Artifact:
        """The picture in its file, and told."""
        warnings = picture.warnings if isinstance(picture, Output) else ()
        drawn = self._drawn(picture)
        if drawn is None:
            self._run.left(self._entry, self._artifact, "passed", warnings=warnings)
            return self._artifact
        written = self._run.context.write(drawn, self._execution)
        self._run.left(self._entry, written, "done", warnings=warnings)
        return written

    def _drawn(self, picture: Output | Artifact) -> Artifact | None:
        """The artifact with the new picture and what was done noted; None if it was left unchanged."""
        before, seed = self._artifact, self._execution.seed
        if isinstance(picture, Artifact):
            if picture is before:
                return None
            kept = replace(picture, id=before.id, number=before.number, parent=before.parent, lineage=before.lineage)
            return kept.with_lineage(LineageEntry(self._execution.stage_type, "function", _wished(self._execution)))
        if picture.unchanged:
            return None
        seed = seed if picture.seed is None else picture.seed
        settings = {**_wished(self._execution), "seed": seed, **picture.settings}
        entry = LineageEntry(self._execution.stage_type, self._run.context.backend.name, settings)
        draws_anew = self._execution.stage_type in _GENERATION or before.seed is None
        return replace(before.with_data(picture.data), seed=seed if draws_anew else before.seed).with_lineage(entry)

    @property
    def _unwanted(self) -> bool:
        return self._skipped or self._run.context.stopped()

    def _failed(self, observer: abc.ObserverBase[Artifact], cause: Exception) -> None:
        if self._unwanted:
            return
        error = typed(cause, self._run)
        on_error = self._execution.config.on_error
        if error.scope == "run":
            self._stop(observer, error)
        elif on_error == "pass":
            self._left(observer, self._artifact, "passed", error)
        else:
            self._drop(observer, error, stop=on_error == "stop")

    def _drop(self, observer: abc.ObserverBase[Artifact], error: RxPipeError, *, stop: bool) -> None:
        self._run.left(self._entry, self._artifact, "failed", error=error)
        if stop:
            self._stop(observer, error)
        elif self._run.too_many():
            count = self._run.context.settings.max_failures_in_a_row
            told = f"{count} images failed in a row, the last with: {error.message}"
            self._stop(observer, TooManyFailures(told, hint=error.hint))
        else:
            observer.on_completed()

    def _stop(self, observer: abc.ObserverBase[Artifact], error: RxPipeError) -> None:
        observer.on_error(self._run.fail(error))

    def _left(
        self,
        observer: abc.ObserverBase[Artifact],
        artifact: Artifact,
        outcome: Literal["passed", "cancelled"],
        error: RxPipeError | None = None,
    ) -> None:
        self._run.left(self._entry, artifact, outcome, error=error)
        self._go_on(observer, artifact if outcome == "passed" else None)

    def _go_on(self, observer: abc.ObserverBase[Artifact], artifact: Artifact | None) -> None:
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


def typed(cause: BaseException, run: StageRun) -> RxPipeError:
    """The error as one of ours, its cause kept: what a user's function raised, or a backend against its contract."""
    if isinstance(cause, RxPipeError):
        return cause
    told = f"{type(cause).__name__}: {cause}"
    if isinstance(run.execution.config, CustomConfig):
        error: RxPipeError = StageFunctionError(f"{run.execution.stage_type} raised {told}")
    else:
        error = BackendFailed(f"backend {run.context.backend.name} raised {told}")
    error.__cause__ = cause
    return error


def _wished(execution: StageExecution) -> dict[str, object]:
    if isinstance(execution.config, CustomConfig):
        return dict(execution.config.settings)
    return {**execution.generation.model_dump(exclude_none=True), **execution.payload}
