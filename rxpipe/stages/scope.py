"""What the stages of one run share: RunScope, with its Reporter, which makes events, and its ImageStore."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Protocol

from rxpipe.events import StagePreview
from rxpipe.rx.worker import elapsed_s
from rxpipe.store.port import Journal

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend
    from rxpipe.config import RunSettings
    from rxpipe.plan import StageExecution
    from rxpipe.rx.lane import Lane
    from rxpipe.stages.control import RunControl
    from rxpipe.stages.timeline import Timeline

_SHORT = 0.25  # of the time that a picture is drawn, and waits for that


class ImageStore(Protocol):
    """Where finished pictures go.

    saver: writes them on a thread of its own while the next picture is rendered; None to write on the run's thread.
    """

    saver: abc.SchedulerBase | None

    def store(self, artifact: Artifact, execution: StageExecution) -> Artifact:
        """Store the picture and return the artifact as it is kept; raise one of `rxpipe.errors`."""


class InMemory:
    """Keeps pictures in their artifacts."""

    def __init__(self, saver: abc.SchedulerBase | None = None) -> None:
        self.saver = saver

    def store(self, artifact: Artifact, execution: StageExecution) -> Artifact:
        """Return the artifact unchanged."""
        del execution
        return artifact


class SavingPace:
    """Whether pictures are written in a fraction of the time that they take to be drawn; so until one was."""

    def __init__(self) -> None:
        self._drawing_s = self._saving_s = 0.0

    @property
    def is_short(self) -> bool:
        """Whether what is queued ahead lasts longer than the writing of what was drawn before it."""
        return self._saving_s <= _SHORT * self._drawing_s

    def note(self, drawing_s: float, saving_s: float) -> None:
        """Add what one picture took."""
        self._drawing_s += drawing_s
        self._saving_s += saving_s


@dataclass(frozen=True, slots=True)
class Reporter:
    """What a run reports: events on its timeline, previews beside them, and the artifacts that they are about.

    artifacts: by id and stage index; grows. causes: what was raised last in each stage, by its index.
    """

    timeline: Timeline
    previews: Callable[[StagePreview], None] = lambda _: None
    artifacts: dict[tuple[str, int], Artifact] = field(default_factory=dict)
    causes: dict[int, BaseException] = field(default_factory=dict)

    def preview(self, execution: StageExecution, image_index: int, image_number: int, data: bytes) -> None:
        """Emit the picture so far, encoded; the numbers are as of a stage event."""
        self.previews(
            StagePreview(
                run_id=self.timeline.run_id,
                stage_type=execution.stage_type,
                stage_index=execution.stage_index,
                image_index=image_index,
                image_number=image_number,
                data=data,
            )
        )

    def artifact(self, artifact: Artifact, stage_index: int) -> None:
        """Remember an artifact that finished a stage."""
        self.artifacts[artifact.id, stage_index] = artifact


@dataclass(frozen=True, slots=True)
class RunScope:
    """What a stage needs to know of the run it is part of.

    clock: the scheduler of the run. releases: what stages call once the run is over; each is harmless twice.
    """

    backend: Backend
    settings: RunSettings
    clock: abc.SchedulerBase
    lane: Lane
    reporter: Reporter
    output: ImageStore
    control: RunControl
    journal: Journal = field(default_factory=Journal)
    saving: SavingPace = field(default_factory=SavingPace)
    releases: list[Callable[[], None]] = field(default_factory=list)

    def now(self) -> datetime:
        """Return the time of the run's scheduler, aware UTC."""
        return self.clock.now.astimezone(UTC)

    def elapsed_s(self) -> float:
        """Return the seconds since some moment, for durations: no correction of the date moves them."""
        return elapsed_s(self.clock)
