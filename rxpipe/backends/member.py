"""Member: one of several backends, how it has done so far, and what it can render."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rxpipe.backends.asking import ask_all
from rxpipe.backends.base import LeftOut, require_observable
from rxpipe.backends.catalog import Catalog
from rxpipe.backends.prompts import networks_of
from rxpipe.errors import BackendError, BackendRejected, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import Backend, RenderEvent
    from rxpipe.plan import StageExecution, StageExecutionPlan


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
    checked: why its `check` refused a need, None where it did not; of a stage in any form by its index. left_out: what
    it would leave out of a need. unchecked: the plan of which it did not answer `check`; after each rest it is asked
    again, and before it answers it gets no image.
    error: of its last image, or None where it rendered that.
    stopping: calls that were cut short and may still run there. suspected_at_s: when the last one was cut short; it is
    the member's fault if a time limit did it, and not if the user did.
    """

    backend: Backend
    number: int
    label: str | None = None
    groups: dict[object, int] = field(default_factory=dict)
    checked: dict[str | int, BackendError | None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    model: str | None = None
    used: int = 0
    image_s: float | None = None
    failures: int = 0
    rest_s: float = FIRST_REST_S
    resting_until: float = 0.0
    error: Exception | None = None
    stopping: int = 0
    unchecked: StageExecutionPlan | None = None
    _rested: bool = False
    _asking: bool = False
    suspected_at_s: float | None = None

    @property
    def where(self) -> str:
        """Its address, else its label, else its name and number."""
        return self.backend.url or self.label or f"{self.backend.name} {self.number}"

    def rendering(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return its backend's rendering; raises whatever that raises."""
        return require_observable(self.backend.render(stage, source), self.backend)

    def refusal(self, stage: StageExecution, need: str | None = None) -> BackendError | None:
        """Return why it cannot render a stage, None if it can; *need*: of the stage, if it is known."""
        return self.checked.get(need or need_of(stage), self.checked.get(stage.stage_index))

    def rest(self, now_s: float, wanted_s: float = 0.0) -> None:
        """Take no image for a while, twice as long as the last time."""
        self.resting_until = now_s + min(LONGEST_REST_S, max(self.rest_s, wanted_s))
        self.rest_s = min(LONGEST_REST_S, 2 * self.rest_s)

    def rests_s(self, now_s: float) -> float:
        """Return for how many seconds more it takes no image, 0.0 if it takes some."""
        left_s = self.resting_until - now_s
        return left_s if left_s > _NO_TIME_S else 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether it is to be asked again now, as `ask_again` does; True once after each rest."""
        if self.unchecked is None or self._asking or self.rests_s(now_s):
            return False
        if not self._rested:
            self.rest(now_s)
        self._rested, self._asking = True, self._rested
        return self._asking

    def ask_again(self) -> list[str]:
        """Check it again; return its warnings. Blocking; `unchecked` says afterwards whether it answered."""
        plan = self.unchecked
        try:
            return [] if plan is None else check_member(self, plan)
        except Exception as error:  # noqa: BLE001  # of a backend of the user's own; it has not answered
            self.error = error
            return []
        finally:
            self._rested = self._asking = False

    @property
    def answers(self) -> bool:
        """Whether it rests because of what it answered, such as out of memory, and not for want of an answer."""
        return self.error is not None and not isinstance(self.error, UNANSWERED)

    def rank(self, model: str | None) -> tuple[int, int, int]:
        """Order by the checkpoint it used last, then none used yet, then the fewest images."""
        loaded = 1 if not self.used else 0 if self.model == model else 2
        return loaded, self.used, self.number


def any_catalog(backends: Sequence[Backend], absence: Callable[[], Exception]) -> Catalog:
    """Return what any of *backends* has; one that does not answer is left out. Blocking.

    Raises:
        Exception: none answers: the last one's BackendError; without backends what *absence* returns.
    """

    def ask(backend: Backend) -> Catalog | BackendError:
        try:
            return backend.catalog()
        except BackendError as error:
            return error

    answers = ask_all(backends, ask)
    found = [answer for answer in answers if isinstance(answer, Catalog)]
    if found:
        return Catalog.union(found)
    raise next((answer for answer in reversed(answers) if isinstance(answer, BackendError)), None) or absence()


def check_members(members: Iterable[Member], plan: StageExecutionPlan) -> list[str]:
    """Check every stage on every member; blocking.

    Returns:
        The members' warnings, prefixed with where they are, and what a member cannot render that another can.

    Raises:
        BackendUnavailable: no member answers.
        BackendRejected: a stage that none can render; says what each of them lacks.
    """
    every = tuple(members)
    warnings = [warning for found in ask_all(every, lambda member: check_member(member, plan)) for warning in found]
    present = [member for member in every if member.unchecked is None]
    if not present:
        raise BackendUnavailable(f"no backend of the pool answers: {'; '.join(warnings)}")
    for need, stage in _needs(plan).items():
        refusals = [(member.where, member.refusal(stage, need)) for member in present]
        if all(error for _, error in refusals):
            reasons = "; ".join(f"{where}: {error.message}" for where, error in refusals if error)
            raise BackendRejected(f"no backend of the pool can render {stage.stage_type}: {reasons}")
    return [*dict.fromkeys(warnings), *spare_incomplete(present)]


def spare_incomplete(members: Sequence[Member]) -> list[str]:
    """Refuse on a member what it would leave something out of, where another renders all of it; return warnings."""
    warnings = []
    for member in members:
        for need, missing in member.left_out.items():
            whole = (other for other in members if need in other.checked and need not in other.left_out)
            if member.checked[need] is None and any(other.checked[need] is None for other in whole):
                member.checked[need] = BackendRejected(missing)
                warnings.append(f"{member.where}: gets no image with it, since others have it: {missing}")
    return list(dict.fromkeys(warnings))


def check_member(member: Member, plan: StageExecutionPlan) -> list[str]:
    """Find out what a member cannot render; return its warnings."""
    checked: dict[str | int, BackendError | None] = {}
    left_out: dict[str, str] = {}
    warnings: list[str] = []
    for need, stage in _needs(plan).items():
        try:
            found = list(member.backend.check(plan.model_copy(update={"stages": (stage,)})))
            checked[need] = checked[stage.stage_index] = None  # one form of it that it renders is enough
        except (BackendUnavailable, BackendTimeout) as error:
            member.checked, member.left_out, member.unchecked, member.error = {}, {}, plan, error
            return [f"{member.where}: {error.message} It gets images once it answers."]
        except BackendError as error:
            found = [f"gets no image of {stage.stage_type}: {error.message}"]
            checked[need] = error
            checked.setdefault(stage.stage_index, error)
        if missing := [warning for warning in found if isinstance(warning, LeftOut)]:
            left_out[need] = missing[0]
        warnings += [f"{member.where}: {warning}" for warning in found]
    member.checked, member.left_out, member.unchecked = checked, left_out, None
    return list(dict.fromkeys(warnings))


def _needs(plan: StageExecutionPlan) -> dict[str, StageExecution]:
    """Return one stage for each need of a plan."""
    return {need_of(stage): stage for stage in plan.stages}


def need_of(stage: StageExecution) -> str:
    """Return what a member must have for a stage: its names, switches and LoRAs, whatever its words and numbers are."""
    settings = (stage.config.model_dump(), stage.generation.model_dump())
    return (
        f"{stage.stage_index} {stage.stage_type} {sorted({part for values in settings for part in _named('', values)})}"
    )


def _named(name: str, value: object) -> Iterator[str]:
    """Yield the parts of a setting that a server may lack."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _named(str(key), each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _named(name, each)
    elif isinstance(value, str) and name.endswith("prompt"):
        yield from networks_of(value)
    elif isinstance(value, str | bool):
        yield f"{name}={value}"
