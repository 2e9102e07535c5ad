"""Member: one of several backends, how it has done so far, and what it can render."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.errors import BackendError, BackendRejected, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxpipe.backends.base import Backend
    from rxpipe.plan import StageExecution, StageExecutionPlan

FIRST_REST_S, LONGEST_REST_S = 1.0, 60.0
"""Seconds that a member rests after a failure: doubled with each further one, up to the longest."""

UNANSWERED = (BackendUnavailable, BackendTimeout, BackendRejected)
"""Errors of a server that draws nothing for anybody."""


class MemberLost(BackendUnavailable):
    """A member went away while it rendered the image."""


@dataclass(eq=False)
class Member:
    """One backend of several: what it is doing, and how it has done so far.

    label: that of no other member. groups: batches or single images in progress, with the number of their calls.
    resting_until: seconds of the clock.
    unable: the needs that its `check` refused, and why. absent: it did not answer `check`.
    error: of its last image, or None where it rendered that.
    stopping: calls that were cut short and may still run there. suspected_at_s: when the last one was cut short; it is
    the member's fault if a time limit did it, and not if the user did.
    """

    backend: Backend
    number: int
    label: str | None = None
    groups: dict[object, int] = field(default_factory=dict)
    unable: dict[object, BackendError] = field(default_factory=dict)
    model: str | None = None
    used: int = 0
    image_s: float | None = None
    failures: int = 0
    rest_s: float = FIRST_REST_S
    resting_until: float = 0.0
    error: Exception | None = None
    stopping: int = 0
    absent: bool = False
    suspected_at_s: float | None = None

    @property
    def where(self) -> str:
        """Its address, else its label, else its name and number."""
        return self.backend.url or self.label or f"{self.backend.name} {self.number}"

    def rest(self, now_s: float, wanted_s: float = 0.0) -> None:
        """Take no image for a while, twice as long as the last time."""
        self.resting_until = now_s + min(LONGEST_REST_S, max(self.rest_s, wanted_s))
        self.rest_s = min(LONGEST_REST_S, 2 * self.rest_s)

    @property
    def answers(self) -> bool:
        """Whether it rests because of what it answered, such as out of memory, and not for want of an answer."""
        return self.error is not None and not isinstance(self.error, UNANSWERED)

    def rank(self, model: str | None) -> tuple[int, int, int]:
        """Order by the checkpoint it used last, then none used yet, then the fewest images."""
        loaded = 1 if not self.used else 0 if self.model == model else 2
        return loaded, self.used, self.number


def check_members(members: Iterable[Member], plan: StageExecutionPlan) -> list[str]:
    """Check every stage on every member; blocking.

    Returns:
        The members' warnings, prefixed with where they are, and what a member cannot render that another can.

    Raises:
        BackendUnavailable: no member answers.
        BackendRejected: a stage that none can render; says what each of them lacks.
    """
    every = tuple(members)
    warnings = [warning for member in every for warning in check_member(member, plan)]
    present = [member for member in every if not member.absent]
    if not present:
        raise BackendUnavailable(f"no backend of the pool answers: {'; '.join(warnings)}")
    for stage in plan.stages:
        refusals = [(member.where, member.unable.get(need_of(stage))) for member in present]
        if all(error for _, error in refusals):
            reasons = "; ".join(f"{where}: {error.message}" for where, error in refusals if error)
            raise BackendRejected(f"no backend of the pool can render {stage.stage_type}: {reasons}")
    return warnings


def check_member(member: Member, plan: StageExecutionPlan) -> list[str]:
    """Find out what a member cannot render; return its warnings."""
    member.unable, member.absent, warnings = {}, False, []
    for stage in plan.stages:
        try:
            found = list(member.backend.check(plan.model_copy(update={"stages": (stage,)})))
        except (BackendUnavailable, BackendTimeout) as error:
            member.absent = True
            return [f"{member.where}: {error.message} It gets images once it answers."]
        except BackendError as error:
            member.unable[need_of(stage)] = error
            found = [f"gets no image of {stage.stage_type}: {error.message}"]
        warnings += [f"{member.where}: {warning}" for warning in found]
    return list(dict.fromkeys(warnings))


def need_of(stage: StageExecution) -> str:
    """What a member must have for a stage, whatever the image is."""
    return repr(stage.for_image(image_index=0, seed=0))
