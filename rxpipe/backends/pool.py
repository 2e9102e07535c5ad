"""PoolBackend: several backends of any kind as one, each image placed on a member that can render it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeGuard

from rxpipe.backends.asking import ask_all
from rxpipe.backends.base import Backend, check_slots
from rxpipe.backends.checking import any_catalog, check_members
from rxpipe.backends.diagnosis import Diagnosis
from rxpipe.backends.member import Member
from rxpipe.backends.placement import Placement, placed
from rxpipe.errors import BackendUnavailable, ConfigError
from rxpipe.rx.forks import renew_after_fork
from rxpipe.shown import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from reactivex import Observable

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.plan import StageExecution, StageExecutionPlan


class PoolBackend(Backend):
    """Renders each image on one of several backends.

    An image goes to a member that has what it needs (checkpoint, LoRA, upscaler, detector) and is free: one that used
    its checkpoint last goes first, then one that has used none yet, then the one that rendered least. Images of one
    txt2img batch stay together. Which member rendered an image is in `Output.server` and in its lineage.

    Args:
        members: at least one, of any kind; of a pool among them its members. The pool closes them.

    Raises:
        ConfigError: no member, one of them or one server twice, or what is no backend.
    """

    name = "pool"

    def __init__(self, members: Iterable[Backend]) -> None:
        backends = tuple(each for member in members for each in (member.members if _is_pool(member) else (member,)))
        if problem := _problem(backends):
            raise ConfigError([f"a pool needs different backends, at least one; {problem}"])
        self.members: tuple[Backend, ...] = backends
        self.after_fork()
        renew_after_fork(self)
        self._count()
        self.description = f"{len(backends)} backends: {', '.join(m.where for m in self._placement.members)}"

    @property
    def kind(self) -> str:
        """The kind of its members, if they are all of one."""
        kinds = {member.kind for member in self.members}
        return kinds.pop() if len(kinds) == 1 else self.name

    @property
    def where(self) -> str:
        """The members' addresses and names, with commas between."""
        return ",".join(member.where for member in self.members)

    def after_fork(self) -> None:
        """Begin anew in a child process: the images in progress are the parent's."""
        labels = labelled(self.members)
        self._placement: Placement = Placement(
            Member(one, at, labels[at - 1]) for at, one in enumerate(self.members, 1)
        )

    def _count(self) -> None:
        """Sum up what the members can do, which may change while they run."""
        for backend in self.members:
            check_slots(backend)
        self.capacity = sum(backend.capacity for backend in self.members)
        self.queue_ahead = sum(backend.queue_ahead for backend in self.members)
        self.batches = any(backend.batches for backend in self.members)

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture of a member; see `Backend.render`."""

        def ready() -> Placement:
            self._count()
            return self._placement

        return placed(ready, self, stage, source)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Check every stage on every member; blocking.

        Returns:
            The members' warnings, prefixed with where they are, and what a member cannot render that another can.

        Raises:
            BackendUnavailable: no member answers.
            BackendRejected: a stage that none can render; says what each of them lacks.
        """
        self._count()
        return check_members(self._placement.members, plan)

    def wait_idle(self) -> Observable[None]:
        """Complete immediately: an image that timed out is rendered by another member, and its own one rests.

        No member gets an image before it is idle after an interrupt. Where an image timed out because all members rest,
        the error is what they rest for.
        """
        return self._placement.wait_idle()

    def catalog(self) -> Catalog:
        """Return what any member has; blocking. A member that does not answer is left out.

        Raises:
            BackendError: none answers.
        """
        return any_catalog(self.members, lambda: BackendUnavailable("no backend of the pool answers."))

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Return what any member has, ready where one of them is; what is wrong with the others is in `advice`."""
        members = self._placement.members
        found = ask_all(members, lambda member: member.backend.diagnose(trial=trial))
        return Diagnosis.of_any(self.where, dict(zip([member.where for member in members], found, strict=True)))

    def close(self) -> None:
        """Close all members."""
        for backend in self.members:
            backend.close()


def _is_pool(backend: object) -> TypeGuard[PoolBackend]:
    """Whether it is a pool and nothing more: a subclass may do more than its members."""
    return type(backend) is PoolBackend


def _problem(backends: Sequence[Backend]) -> str | None:
    """Return what is wrong with the members of a pool, None if nothing."""
    if not backends:
        return "got none"
    for backend in backends:
        if not isinstance(backend, Backend):
            return f"got {shown(backend)}"
    servers = Counter(backend.url or id(backend) for backend in backends)
    twice = next((backend for backend in backends if servers[backend.url or id(backend)] > 1), None)
    return None if twice is None else f"got {twice.where} twice"


def labelled(backends: Sequence[Backend]) -> list[str | None]:
    """Return the labels of backends, with a number behind those that several share: "cpu#1", "cpu#2"."""
    shared, found, seen = Counter(backend.label for backend in backends), list[str | None](), Counter[str]()
    for backend in backends:
        label = backend.label
        if label is not None and shared[label] > 1:
            seen[label] += 1
            label = f"{label}#{seen[label]}"
        found.append(label)
    return found
