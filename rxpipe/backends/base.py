"""The port: what rxpipe asks of whatever draws.

One method matters, `render`; the rest has defaults that suit a backend with nothing to check, wait for or close. Stages
know this module and no adapter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import reactivex as rx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.events import Phase
    from rxpipe.plan import StageExecution, StageExecutionPlan

__all__ = ["Backend", "Output", "Preview", "RenderEvent", "StepProgress"]


@dataclass(frozen=True, slots=True)
class StepProgress:
    """How far the drawing is.

    fraction: 0..1, None while it cannot be told. step: 1..steps. eta_s: seconds left, queue time not counted.
    phase: "queued" behind others, "loading" a model, "working", or "stalled" (no progress for long).
    """

    fraction: float | None = None
    step: int | None = None
    steps: int | None = None
    eta_s: float | None = None
    phase: Phase = "working"


@dataclass(frozen=True, slots=True)
class Preview:
    """How the picture looks by now: an encoded picture, of any size."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    """The finished picture.

    data: encoded, PNG as a rule, kept byte for byte. seed: really used, None for the one asked for.
    unchanged: there was nothing to do (adetailer found nothing), the input goes on as it was, `data` is not read.
    warnings: what was not as asked for. settings: what was really used, where the backend knows more than the request.
    """

    data: bytes = field(repr=False)
    seed: int | None = None
    unchanged: bool = False
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


RenderEvent = StepProgress | Preview | Output


class Backend(ABC):
    """Draws one picture at a time for one stage.

    name: short, goes into files and logs. description: one sentence for people.
    overlap_saves: the next image of a stage may be asked for while the last one's file is being written.
    queue_ahead: so many further images of the same stage may be asked for while one is drawn, for a server with a queue
        of its own.
    batches: the images of a txt2img batch are asked for in one request, so they are begun together.
    """

    name: str = "backend"
    description: str = ""
    overlap_saves: bool = False
    queue_ahead: int = 0
    batches: bool = False

    @abstractmethod
    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """One picture, drawn when subscribed to.

        Args:
            stage: narrowed to one image: `stage.seed`, `stage.image_index`, `stage.generation`, `stage.config`.
            source: the picture to work on; None for txt2img.

        Returns:
            A cold observable: any number of StepProgress and Preview, exactly one Output, completion. It emits on the
            scheduler given to subscribe and takes its time from it. An error is one of `rxpipe.errors`. Disposing it
            before it has ended interrupts the drawing, once; afterwards it emits nothing.
        """

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Look at a plan before it runs; blocking, called on the run's thread.

        Returns:
            Warnings: what will not be as asked for.

        Raises:
            BackendError: what cannot be drawn, or nobody there to draw it.
        """
        del plan
        return ()

    def wait_idle(self) -> Observable[None]:
        """Return an observable that completes once the backend is idle; used before a timed-out render is retried."""
        return rx.empty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:  # noqa: B027  # not abstract: most backends hold nothing
        """Give back connections and threads. Harmless twice."""
