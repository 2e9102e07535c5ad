"""Stages made of any Rx operator on artifacts, with the same events, cancel and metadata as all others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import reactivex as rx
from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpipe.artifact import Artifact
from rxpipe.config import CustomConfig
from rxpipe.errors import RxPipeError, StageFunctionError
from rxpipe.stages.arguments import plain
from rxpipe.stages.base import Stage, StageOperator, count_inputs
from rxpipe.stages.cell import Cell, CellState, as_rxpipe_error, stored
from rxpipe.stages.code import code_identity
from rxpipe.stages.tracker import StageAborted, StageTracker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.rx.lane import Slot


class OperatorStage(Stage):
    """Any Rx operator on artifacts as a stage: it may filter, pick, reorder or expand.

    Each artifact that it emits has a StageImageProgress; those that it does not emit are counted as filtered. An error
    of the operator stops the stage.
    """

    config: CustomConfig

    def __init__(self, config: CustomConfig, operator: StageOperator) -> None:
        super().__init__(config)
        self._operator = operator

    @property
    def identity(self) -> Mapping[str, object]:
        """Name, module and source digest of the operator's function, and its arguments."""
        return {**code_identity(self._operator), "arguments": self.config.settings}

    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return the operator within a run; its images need no slot of the lane."""
        images = _OperatorTracker(tracker)

        def operator(source: Observable[Artifact]) -> Observable[Artifact]:
            entering = tracker.scope.lane.concat_map(images.enter, key=tracker.priority, occupies=False)
            return images.leaving(self._applied(entering(count_inputs(tracker, source))))

        return operator

    def _applied(self, source: Observable[Artifact]) -> Observable[Artifact]:
        """Return the stream after the user's operator; what the call itself raises becomes an error of the stream."""
        try:
            made = self._operator(source)
        except Exception as error:  # user code; emitted as the error  # noqa: BLE001
            return rx.throw(error)
        if isinstance(made, Observable):
            return made
        return rx.throw(TypeError(f"it returned {type(made).__name__} where an Observable was expected"))


def report_leaving(tracker: StageTracker) -> StageOperator:
    """Return an operator that reports and keeps each artifact as the output of a stage that images do not enter."""
    return _OperatorTracker(tracker).leaving


class _OperatorTracker:
    """Tracks which artifacts entered an operator and which it emitted."""

    def __init__(self, tracker: StageTracker) -> None:
        self._tracker = tracker
        self._cells: dict[str, Cell] = {}
        self._emitted: Counter[str] = Counter()

    def enter(self, artifact: Artifact, _: Slot) -> Observable[Artifact]:
        def subscribe(observer: abc.ObserverBase[Artifact], _: abc.SchedulerBase | None = None) -> abc.DisposableBase:
            self._cells[artifact.id] = self._tracker.begin_image(artifact)
            observer.on_next(artifact)
            observer.on_completed()
            return Disposable()

        return Observable(subscribe)

    def leaving(self, source: Observable[Artifact]) -> Observable[Artifact]:
        def subscribe(
            observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            def on_next(artifact: Artifact) -> None:
                try:
                    recorded = self._record_output(artifact)
                except RxPipeError as error:
                    failed(error)
                    return
                if recorded is not None:
                    observer.on_next(recorded)

            def failed(error: Exception) -> None:
                observer.on_error(error if isinstance(error, StageAborted) else self._aborted(error))

            def completed() -> None:
                self._tracker.end(
                    filtered=self._tracker.received - sum(1 for name in self._cells if self._emitted[name])
                )
                observer.on_completed()

            return source.subscribe(on_next, failed, completed, scheduler=scheduler)

        return Observable(subscribe)

    def _record_output(self, artifact: Artifact) -> Artifact | None:
        """Store and report an artifact that the operator emitted; return it, or None if the run is over."""
        if not isinstance(artifact, Artifact):
            kind = type(artifact).__name__
            raise StageFunctionError(f"{self._tracker.where} emitted a {kind}; allowed: artifacts.")
        tracker = self._tracker
        with tracker.scope.control.committing() as allowed:
            if not allowed:
                return None
            tracker.start()
            artifact = self._with_own_id(artifact)
            cell = self._leaving_cell(artifact)
            cell.take_outcome(CellState.DONE)
            more: Mapping[str, Any] = {}
            if artifact.data is not None:
                execution = cell.execution.for_image(image_index=cell.index, seed=artifact.seed)
                artifact, more = stored(tracker, artifact, execution)
            tracker.finish_image(cell, artifact, **more)
        return artifact

    def _leaving_cell(self, artifact: Artifact) -> Cell:
        """Return the cell of an artifact that leaves, numbered as it, or the one it was derived from, entered."""
        known = self._cells.get(artifact.id) or self._cells.get(artifact.parent or "")
        return known or Cell(self._tracker, self._emitted.total(), artifact)

    def _with_own_id(self, artifact: Artifact) -> Artifact:
        """Return the artifact; a second one with the same id is a further image and gets an id of its own."""
        self._emitted[artifact.id] += 1
        count = self._emitted[artifact.id]
        return artifact if count == 1 else artifact.derive(str(count))

    def _aborted(self, error: Exception) -> StageAborted:
        self._tracker.start()
        return self._tracker.fail(as_rxpipe_error(error, self._tracker))


def operator_stage(name: str, operator: StageOperator, **settings: Any) -> OperatorStage:
    """Return any Rx operator on artifacts as a named stage; *settings* are recorded in the plan."""
    recorded = {key: plain(value) for key, value in settings.items()}
    return OperatorStage(CustomConfig(name=name, kind="operator", settings=recorded), operator)
