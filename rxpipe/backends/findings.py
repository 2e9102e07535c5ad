"""What a check of a backend found: which stages of a plan it renders, refuses, or renders in part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from rxpipe.backends.base import LeftOut
from rxpipe.backends.prompts import networks_of
from rxpipe.errors import BackendError, BackendRejected, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rxpipe.backends.base import Backend
    from rxpipe.plan import StageExecution, StageExecutionPlan

    _Need = tuple[str, StageExecution]
_KEPT = 5_000  # needs of other plans
_MANY = 8  # stages with different names, of a sweep


@dataclass(slots=True)
class Findings:
    """What a backend answered to a check.

    refusals: by need, None of what it renders; by index of a stage, None where it renders any form of it. left_out: by
    need, what it would leave out. unanswered: the plan, where it did not answer. error: that it answered instead.
    warnings: without where it is.
    """

    refusals: dict[str | int, BackendError | None] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    unanswered: StageExecutionPlan | None = None
    error: BackendError | None = None
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def none(cls, plan: StageExecutionPlan, error: BackendError) -> Findings:
        """Return those of a backend that does not answer."""
        return cls(unanswered=plan, error=error, warnings=[f"{error.message} It gets images once it answers."])

    def after(self, before: Findings) -> Findings:
        """Return these with what is known of the needs of other plans: a backend may be checked while a run goes on."""
        known = before if len(before.refusals) < _KEPT else Findings()
        left_out = {need: missing for need, missing in known.left_out.items() if need not in self.refusals}
        return replace(self, refusals={**known.refusals, **self.refusals}, left_out={**left_out, **self.left_out})

    def note(self, need: str, stage: StageExecution, refusal: BackendError | None, warnings: Sequence[str]) -> None:
        """Add what came of one need."""
        self.refusals[need] = refusal
        if refusal is None:
            self.refusals[stage.stage_index] = None
        else:
            self.refusals.setdefault(stage.stage_index, refusal)
            self.warnings.append(f"gets no image of {stage.stage_type}: {refusal.message}")
        missing = next((warning for warning in warnings if isinstance(warning, LeftOut)), None)
        if missing is not None:
            self.left_out[need] = missing

    def refusal(self, stage: StageExecution, need: str) -> BackendError | None:
        """Return why a stage cannot be rendered, None if it can; *need*: of it."""
        return self.refusals.get(need, self.refusals.get(stage.stage_index))

    def has_all(self, stage: StageExecution, need: str) -> bool:
        """Whether a stage is rendered and nothing of it left out."""
        return self.unanswered is None and self.refusal(stage, need) is None and need not in self.left_out


def find_out(backend: Backend, plan: StageExecutionPlan) -> Findings:
    """Check every stage of a plan; blocking. Of many, what names refuse is looked up in the backend's lists."""
    found, needs = Findings(), sorted(needs_of(plan).items())
    try:
        rest = _listed(found, backend, plan, needs) if len(needs) > _MANY else needs
        _check(found, backend, plan, rest)
    except (BackendUnavailable, BackendTimeout) as error:
        return Findings.none(plan, error)
    return found


def _listed(found: Findings, backend: Backend, plan: StageExecutionPlan, needs: Sequence[_Need]) -> list[_Need]:
    """Note what a backend's lists lack, or that it gives none to us; return what they have."""
    try:
        catalog = backend.catalog()
    except BackendRejected as error:
        for need, stage in needs:
            found.note(need, stage, error, [])
        return []
    rest = []
    for need, stage in needs:
        if problems := catalog.problems(_of(plan, [stage])):
            found.note(need, stage, BackendRejected("; ".join(problems)), [])
        else:
            rest.append((need, stage))
    return rest


def _check(found: Findings, backend: Backend, plan: StageExecutionPlan, needs: Sequence[_Need]) -> None:
    """Check these stages at once; by halves where one of them is refused, or something left out of it.

    Raises:
        BackendUnavailable, BackendTimeout: no answer.
    """
    refusal, warnings = None, list[str]()
    try:
        warnings += backend.check(_of(plan, [stage for _, stage in needs])) if needs else ()
    except (BackendUnavailable, BackendTimeout):
        raise
    except BackendError as error:
        refusal = error
    if len(needs) > 1 and (refusal is not None or any(isinstance(warning, LeftOut) for warning in warnings)):
        half = len(needs) // 2
        _check(found, backend, plan, needs[:half])
        _check(found, backend, plan, needs[half:])
        return
    for need, stage in needs:
        found.note(need, stage, refusal, warnings)
    found.warnings += warnings


def _of(plan: StageExecutionPlan, stages: Iterable[StageExecution]) -> StageExecutionPlan:
    return plan.model_copy(update={"stages": tuple(stages)})


def needs_of(plan: StageExecutionPlan) -> dict[str, StageExecution]:
    """Return one stage for each need of a plan."""
    return {need_of(stage): stage for stage in plan.stages}


def need_of(stage: StageExecution) -> str:
    """Return what a backend must have for a stage: its names, switches and LoRAs, whatever words and numbers are."""
    settings = (stage.config.model_dump(), stage.generation.model_dump())
    parts = sorted({part for values in settings for part in _named("", values)})
    return f"{stage.stage_index} {stage.stage_type} {parts}"


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
