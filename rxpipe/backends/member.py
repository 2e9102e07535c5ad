"""Member: one of several backends, how it has done so far, and what it can render."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.backends.base import require_observable
from rxpipe.backends.findings import Findings
from rxpipe.errors import BackendRejected, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.plan import StageExecution


FIRST_REST_S, LONGEST_REST_S = 1.0, 60.0
"""Seconds that a member rests after a failure: doubled with each further one, up to the longest."""

_NO_TIME_S = 1e-6  # a timer's time is rounded

UNANSWERED = (BackendUnavailable, BackendTimeout, BackendRejected)
"""Errors of a server that draws nothing for anybody."""


class MemberLost(BackendUnavailable):
    """A member went away while it rendered the image."""


@dataclass(eq=False)
class Member:
    """One backend of several: what it is doing, and how it has done so far.

    label: that of no other member. groups: batches or single images in progress, with the number of their calls.
    resting_until: seconds of the clock.
    image_s: seconds of an image, by the type of the stage. finished_s: when it finished the last one.
    found: by its last check; where it did not answer that it is asked again after each rest, and gets no image before.
    error: of its last image, or None where it rendered that.
    stopping: calls that were cut short and may still run there. suspected_at_s: when the last one was cut short; it is
    the member's fault if a time limit did it, and not if the user did.
    """

    backend: Backend
    number: int
    label: str | None = None
    groups: dict[object, int] = field(default_factory=dict)
    found: Findings = field(default_factory=Findings)
    model: str | None = None
    used: int = 0
    image_s: dict[str, float] = field(default_factory=dict)
    finished_s: float = -math.inf
    failures: int = 0
    rest_s: float = FIRST_REST_S
    resting_until: float = 0.0
    error: Exception | None = None
    stopping: int = 0
    _rested: bool = False
    _asking: bool = False
    suspected_at_s: float | None = None

    def note_pace(self, stage_type: str, took_s: float, now_s: float) -> None:
        """Note what an image took; without the time that it waited for the one before."""
        since_s, self.finished_s = now_s - self.finished_s, now_s
        if self.backend.capacity == 1 and 0 < since_s < took_s:
            took_s = since_s
        self.image_s[stage_type] = 0.5 * (self.image_s.get(stage_type, took_s) + took_s)

    @property
    def where(self) -> str:
        """Its address, else its label, else its name and number."""
        return self.backend.url or self.label or f"{self.backend.name} {self.number}"

    def rendering(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return its backend's rendering; raises whatever that raises."""
        return require_observable(self.backend.render(stage, source), self.backend)

    def rest(self, now_s: float, wanted_s: float = 0.0) -> None:
        """Take no image for a while, twice as long as the last time."""
        self.resting_until = now_s + min(LONGEST_REST_S, max(self.rest_s, wanted_s))
        self.rest_s = min(LONGEST_REST_S, 2 * self.rest_s)

    def rests_s(self, now_s: float) -> float:
        """Return for how many seconds more it takes no image, 0.0 if it takes some."""
        left_s = self.resting_until - now_s
        return left_s if left_s > _NO_TIME_S else 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether it is to be asked again now; True once after each rest."""
        if self.found.unanswered is None or self._asking or self.rests_s(now_s):
            return False
        if not self._rested:
            self.rest(now_s)
        self._rested, self._asking = True, self._rested
        return self._asking

    def asked_again(self, found: Findings) -> None:
        """Note what it answered; where it did not, it rests before it is asked again."""
        self.found = found.after(self.found)
        self._rested = self._asking = False

    @property
    def answers(self) -> bool:
        """Whether it rests because of what it answered, such as out of memory, and not for want of an answer."""
        return self.error is not None and not isinstance(self.error, UNANSWERED)

    def rank(self, model: str | None) -> tuple[int, int, int]:
        """Order by the checkpoint it used last, then none used yet, then the fewest images."""
        loaded = 1 if not self.used else 0 if self.model == model else 2
        return loaded, self.used, self.number
