"""Report: how a user's function says how far it is, and learns that it was cancelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.base import Preview, StepProgress

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.plan import StageExecution
    from rxpipe.stages.cell import StageOutput

__all__ = ["Cancelled", "Report"]


class Cancelled(BaseException):
    """Raised by `report` in a function stage that was cancelled; no `except Exception` catches it."""


class Report:
    """Lets a function stage report how far it is and check whether it was cancelled.

    A function that has a parameter named `report` gets one. `report(0.4)` emits a fraction 0..1, and a preview if one
    is given; once the image or the run was cancelled it raises `Cancelled`, so that the function ends there.
    """

    def __init__(
        self, execution: StageExecution, emit: Callable[[StageOutput], None], is_wanted: Callable[[], bool]
    ) -> None:
        self.prompt = execution.generation.prompt
        self.image_index = execution.image_index
        self.seed = execution.seed
        self._emit = emit
        self._is_wanted = is_wanted

    @property
    def cancelled(self) -> bool:
        """Whether the image or the run was cancelled; for functions that have to clean up."""
        return not self._is_wanted()

    def __call__(self, fraction: float, *, preview: bytes | None = None) -> None:
        """Emit the fraction 0..1 that is done, and as *preview* the picture so far, encoded."""
        if self.cancelled:
            raise Cancelled
        self._emit(StepProgress(fraction=fraction))
        if preview is not None:
            self._emit(Preview(preview))
