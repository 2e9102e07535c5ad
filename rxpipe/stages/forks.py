"""Stages that hold chains of stages: tee, which keeps what it was given and what its chains make of it, and when.

The stages of their chains stand in the plan before them, so that a backend checks them and their images are events,
files and rows of the journal as all others are.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import reactivex as rx
from reactivex import Observable, abc
from reactivex import operators as ops
from reactivex.disposable import CompositeDisposable

from rxpipe.config import CustomConfig
from rxpipe.stages.arguments import stage_name
from rxpipe.stages.base import Stage, StageOperator
from rxpipe.stages.code import code_identity
from rxpipe.stages.operators import report_leaving

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rxpipe.artifact import Artifact
    from rxpipe.stages.tracker import StageTracker

__all__ = ["ForkStage", "TeeStage", "WhenStage"]


class ForkStage(Stage):
    """A stage whose images may go through chains of their own; `branches` holds the stages of each."""

    def __init__(self, name: str, branches: Sequence[Sequence[Stage]], **settings: Any) -> None:
        recorded = {"chains": [[repr(stage) for stage in branch] for branch in branches], **settings}
        super().__init__(CustomConfig.model_validate({"name": name, "kind": "operator", "settings": recorded}))
        self.branches = tuple(tuple(branch) for branch in branches)

    @property
    def parts(self) -> tuple[Stage, ...]:
        """The stages of its chains, then itself."""
        return (*(part for branch in self.branches for stage in branch for part in stage.parts), self)

    def bind(self, tracker: StageTracker) -> StageOperator:
        """Return what reports the images that leave it; `joined` precedes it."""
        return report_leaving(tracker)

    @abstractmethod
    def joined(self, source: Observable[Artifact], branches: Sequence[StageOperator]) -> Observable[Artifact]:
        """Return the images that leave it: of *source*, sent through the *branches*.

        Each branch is called once, in order, before anything is subscribed to.
        """


class TeeStage(ForkStage):
    """Passes each image on, and in addition what each of its chains makes of it."""

    def joined(self, source: Observable[Artifact], branches: Sequence[StageOperator]) -> Observable[Artifact]:
        """Return the source merged with the results of all branches, whose images have ids of their own."""
        shared = source.pipe(ops.publish())
        copies = [branch(shared.pipe(_derived(f"tee{n}"))) for n, branch in enumerate(branches, 1)]
        return _connected(shared, rx.merge(shared, *copies))


def _connected(shared: Any, merged: Observable[Artifact]) -> Observable[Artifact]:
    """Return what is made of a published stream; it begins once all parts of it are subscribed to."""

    def subscribe(
        observer: abc.ObserverBase[Artifact], scheduler: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        listening = merged.subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(listening, shared.connect(scheduler))

    return Observable(subscribe)


def _derived(name: str) -> StageOperator:
    return ops.map(lambda artifact: artifact.derive(name))


class WhenStage(ForkStage):
    """Sends the images for which a predicate holds through its chain; the others pass it by."""

    def __init__(self, predicate: Callable[[Artifact], bool], branch: Sequence[Stage]) -> None:
        super().__init__("when", [branch], predicate=stage_name(predicate))
        self._predicate = predicate

    @property
    def identity(self) -> Mapping[str, object]:
        """Name, module and source digest of the predicate."""
        return {**code_identity(self._predicate), "arguments": self.config.settings}  # type: ignore[union-attr]  # a CustomConfig

    def joined(self, source: Observable[Artifact], branches: Sequence[StageOperator]) -> Observable[Artifact]:
        """Return the images for which the predicate holds as the branch leaves them, and the others as they came."""
        [branch] = branches

        def judged(artifact: Artifact) -> tuple[bool, Artifact]:
            return bool(self._predicate(artifact)), artifact

        shared = source.pipe(ops.map(judged), ops.publish())
        return _connected(shared, rx.merge(branch(shared.pipe(_those(holds=True))), shared.pipe(_those(holds=False))))


def _those(*, holds: bool) -> Callable[[Observable[tuple[bool, Artifact]]], Observable[Artifact]]:
    def operator(source: Observable[tuple[bool, Artifact]]) -> Observable[Artifact]:
        return source.filter(lambda pair: pair[0] is holds).map(lambda pair: pair[1])

    return operator
