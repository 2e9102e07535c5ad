"""The port: what a run asks of its journal. Stages know this module and no other of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reactivex.disposable import Disposable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from reactivex import Observable, abc

    from rxpipe.artifact import Artifact
    from rxpipe.plan import StageExecution
    from rxpipe.result import RunUpdate

__all__ = ["Journal", "Recalled"]


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a stage made of an image before: the artifact as it left, and the fields of its event as recorded."""

    artifact: Artifact
    fields: Mapping[str, Any]


class Journal:
    """Keeps what a run has finished; this one keeps nothing.

    attempt: of the run, 1 unless it was resumed. warnings: what went wrong with the journal itself, each once.
    """

    attempt: int = 1

    resumes: bool = False
    """Whether the run can be resumed from it."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know of the journal, such as that it could not be written."""
        return ()

    def begin(self) -> None:
        """Keep that the run has begun, before anything of it is drawn; on the run's thread. Never raises."""

    def recall(
        self,
        execution: StageExecution,
        artifact: Artifact,
        settings: Callable[[StageExecution], Mapping[str, object]],
        backend: str,
    ) -> Recalled | None:
        """Return what the stage made of the image before, if that was the same work and its file is intact.

        Args:
            execution: the stage for this image. artifact: as it came in; of an operator, as the operator emitted it.
            settings: returns what the stage renders with, as plain values. backend: kind of what would render.
        """
        del execution, artifact, settings, backend
        return None

    def record(self, execution: StageExecution, artifact: Artifact, fields: Mapping[str, object]) -> None:
        """Keep that an image finished a stage; its file, if it has one, is written.

        Returns once that is durable, or after a short time if the store cannot be written now. Never raises.

        Args:
            execution: the stage for this image. artifact: as it leaves. fields: of its StageImageProgress.
        """

    def attach(self, updates: Observable[RunUpdate]) -> abc.DisposableBase:
        """Keep the events of the run too, until disposed; they are written in batches, off the emitting thread."""
        del updates
        return Disposable()

    def close(self) -> None:
        """Give the run up, once its last event was delivered. Harmless twice."""
