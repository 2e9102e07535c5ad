"""Checking several backends: which of them renders what, before a run and while one is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.asking import ask_all, ask_until
from rxpipe.backends.catalog import Catalog
from rxpipe.backends.findings import Findings, find_out, needs_of
from rxpipe.errors import BackendError, BackendRejected, BackendTimeout, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from rxpipe.backends.base import Backend
    from rxpipe.backends.member import Member
    from rxpipe.plan import StageExecutionPlan

_PATIENCE_S = 2.0  # since the first answer, where those that answered render everything


def check_members(members: Iterable[Member], plan: StageExecutionPlan) -> list[str]:
    """Check every stage on every member; blocking. What answers much later than the others is checked beside the run.

    Returns:
        The members' warnings, prefixed with where they are, and what a member cannot render that another can.

    Raises:
        BackendUnavailable: no member answers.
        BackendRejected: a stage that none can render; says what each of them lacks.
    """
    every, needs = tuple(members), needs_of(plan)

    def enough(answers: Mapping[int, Findings]) -> bool:
        return all(any(each.has_all(stage, need) for each in answers.values()) for need, stage in needs.items())

    answers = ask_until(every, lambda member: find_out(member.backend, plan), enough, _PATIENCE_S)
    late = Findings.none(plan, BackendTimeout("it has not answered yet."))
    for at, member in enumerate(every):
        member.found = answers.get(at, late).after(member.found)
    warnings = [warning for member in every for warning in _warnings(member)]
    present = [member for member in every if member.found.unanswered is None]
    if not present:
        raise BackendUnavailable(f"no backend of the pool answers: {'; '.join(warnings)}")
    for need, stage in needs.items():
        refusals = [(member.where, member.found.refusal(stage, need)) for member in present]
        if all(error for _, error in refusals):
            reasons = "; ".join(f"{where}: {error.message}" for where, error in refusals if error)
            raise BackendRejected(f"no backend of the pool can render {stage.stage_type}: {reasons}")
    return [*warnings, *spare_incomplete(present)]


def check_member(member: Member, plan: StageExecutionPlan) -> list[str]:
    """Find out what a member cannot render; return its warnings. Blocking."""
    member.found = find_out(member.backend, plan).after(member.found)
    return _warnings(member)


def _warnings(member: Member) -> list[str]:
    return [f"{member.where}: {warning}" for warning in dict.fromkeys(member.found.warnings)]


def spare_incomplete(members: Sequence[Member]) -> list[str]:
    """Refuse on a member what it would leave something out of, where another renders all of it; return warnings."""
    warnings = []
    for member in members:
        for need, missing in member.found.left_out.items():
            whole = (other.found for other in members if need in other.found.refusals)
            if member.found.refusals[need] is None and any(
                found.refusals[need] is None and need not in found.left_out for found in whole
            ):
                member.found.refusals[need] = BackendRejected(missing)
                warnings.append(f"{member.where}: gets no image with it, since others have it: {missing}")
    return list(dict.fromkeys(warnings))


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
