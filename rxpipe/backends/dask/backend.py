"""DaskBackend: the workers of a cluster as one backend; an image goes to a worker as to a member of a pool."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

from reactivex import Observable
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler

from rxpipe.backends.base import Backend
from rxpipe.backends.checking import any_catalog, check_member, check_members
from rxpipe.backends.dask.address import TLS_FILES, parse_address, resources_of
from rxpipe.backends.dask.cell import Cell
from rxpipe.backends.dask.cluster import Cluster, Watcher, WorkerFacts
from rxpipe.backends.dask.diagnosis import diagnosed
from rxpipe.backends.dask.fetching import Fetching
from rxpipe.backends.dask.local import LocalWorkers
from rxpipe.backends.http.address import without_credentials
from rxpipe.backends.member import Member
from rxpipe.backends.placement import Placement, placed
from rxpipe.errors import BackendUnavailable, ConfigError
from rxpipe.logs import logger
from rxpipe.rx.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from reactivex import abc

    from rxpipe.artifact import Artifact
    from rxpipe.backends.base import RenderEvent
    from rxpipe.backends.catalog import Catalog
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.plan import StageExecution, StageExecutionPlan


_SILENCE_S = 30.0
_AHEAD_S, _MOST_AHEAD = 0.2, 16  # how much work waits on a worker, and how many images at most


class DaskBackend(Backend):
    """Renders each image on a worker of a Dask cluster that was started by `rxpipe worker`.

    An image goes to a worker as to a member of a `PoolBackend`: one that used its checkpoint last goes first. A worker
    that dies, stands still or is out of reach loses its images to others, which render them from the same seeds.
    Workers may join and leave at any time; capacity is what those that are there can do. Which worker rendered an image
    is in `Output.server` and in its lineage.

    Args:
        url: of the scheduler: "dask://host:8786", "tls://host:8786"; with any of the options behind it, such as
            "dask://host:8786?requires=sdxl=1" or "tls://host:8786?tls_ca=ca.pem&tls_cert=me.pem&tls_key=me-key.pem".
            "dask:local" starts a scheduler and workers on this machine.
        requires: resources that a worker must have, as a mapping or as "sdxl=1"; an image occupies so much of them.
        silence_s: without a sign of life of a worker or of the scheduler, or without any worker, after which an image
            moves on or fails; None for 30. A worker that loads a large model may be silent for some seconds.
        connect_timeout_s: for one attempt to reach the scheduler; None for 3.
        ask_timeout_s: for the answers to `check`, `catalog` and `diagnose`; None for silence_s.
        workers: of "dask:local", how many.
        holds: of "dask:local", the backend that each worker holds, as `open_backend` takes it.
        tls_ca: PEM file of the certificate authority; with it goes all traffic over TLS. Without any of the three, the
            certificates of Dask's own settings, if there are any.
        tls_cert: PEM file of this client's certificate.
        tls_key: PEM file of its key.

    Dask runs whatever it is sent: who reaches the port of the scheduler or of a worker runs code there, without a
    password. Bind them to 127.0.0.1 or to a private network, or use TLS.

    Raises:
        ConfigError: an argument is not what is allowed.
    """

    name = "dask"

    def __init__(
        self,
        url: str,
        *,
        requires: Mapping[str, float] | str | None = None,
        silence_s: float | None = None,
        ask_timeout_s: float | None = None,
        connect_timeout_s: float | None = None,
        workers: int | None = None,
        holds: str | None = None,
        tls_ca: Path | str | None = None,
        tls_cert: Path | str | None = None,
        tls_key: Path | str | None = None,
    ) -> None:
        self._address = address = parse_address(url, tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
        options = {name: value for name, value in address.options.items() if name not in TLS_FILES}
        self._requires = resources_of(options.get("requires") if requires is None else requires)
        self._silence_s = _positive("silence_s", silence_s, options, _SILENCE_S)
        self._connect_timeout_s = _positive("connect_timeout_s", connect_timeout_s, options, 3.0)
        self._ask_timeout_s = _positive("ask_timeout_s", ask_timeout_s, options, self._silence_s)
        count = _positive("workers", workers, options, 2.0)
        of_local = {"workers", "holds"} & options.keys() or workers is not None or holds is not None
        if of_local and not address.is_local:
            raise ConfigError(["workers, holds: only 'dask:local' starts workers; elsewhere `rxpipe worker` does"])
        holds = holds or options.get("holds", "embedded")
        self._local = LocalWorkers(int(count), holds, self._requires)
        self.url = None if address.text is None else address.text.replace("tcp://", "dask://")
        self._where = address.spelled(
            requires=",".join(f"{name}={amount:g}" for name, amount in self._requires.items()),
            silence_s="" if self._silence_s == _SILENCE_S else f"{self._silence_s:g}",
            workers=f"{count:g}" if address.is_local else "",
            holds="" if not address.is_local else without_credentials(holds) if "@" in holds else holds,
        )
        self.description = f"the workers of the Dask scheduler {address.text or 'on this machine'}"
        self.after_fork()
        renew_after_fork(self)

    @property
    def kind(self) -> str:
        """The kind of the workers' backends, if they are all of one: without Dask the pictures are the same."""
        return next(iter(self._kinds)) if len(self._kinds) == 1 else self.name

    @property
    def where(self) -> str:
        """The scheduler's address with the options that it takes to reach its workers again, certificates too."""
        return self._where

    def after_fork(self) -> None:
        """Begin anew in a child process: the connection is the parent's."""
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._kinds: set[str] = set()
        self._number = 0
        self._plan: StageExecutionPlan | None = None
        self._cluster = Cluster(
            self._local.start if self._address.text is None else self._address.text,
            ending=self._local.stop if self._address.is_local else None,
            security=self._address.security,
            requires=self._requires,
            silence_s=self._silence_s,
            connect_timeout_s=self._connect_timeout_s,
            watcher=_Watching(self),
        )
        self._placement = Placement((), self._cluster.patience_s, self._cluster.absence)
        self._count()

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        """Return one picture of a worker; see `Backend.render`."""

        def ready() -> Placement:
            self._cluster.start()
            return self._placement

        return placed(ready, self, stage, source)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        """Check every stage on every worker; blocking. Waits for a worker for `silence_s`.

        Returns:
            The workers' warnings, prefixed with their names, and which workers are not used, and why.

        Raises:
            BackendUnavailable: there is no scheduler, or no worker.
            BackendRejected: no worker can be used, or none can render a stage.
        """
        self._cluster.wait_for_workers()
        self._plan = plan
        unused = [
            f"{facts.name} is not used: {facts.refused}" for facts in self._cluster.workers.values() if facts.refused
        ]
        return [*check_members(list(self._members.values()), plan), *unused]

    def wait_idle(self) -> Observable[None]:
        """Complete immediately: an image that timed out is rendered by another worker, and its own one rests.

        Where an image timed out because all workers rest, the error is what they rest for.
        """
        return self._placement.wait_idle()

    def catalog(self) -> Catalog:
        """Return what any worker's backend has; blocking. A worker that does not answer is left out.

        Raises:
            BackendError: none answers.
        """
        self._cluster.wait_for_workers()
        return any_catalog([member.backend for member in list(self._members.values())], self._cluster.absence)

    def diagnose(self, *, trial: bool = False) -> Diagnosis:
        """Return the workers, what each holds, and their versions; see `Backend.diagnose`."""
        return diagnosed(self._cluster, self, trial=trial, limit_s=self._ask_timeout_s)

    def close(self) -> None:
        """Disconnect. Workers of "dask:local" end; those of a cluster stay."""
        self._local.close()
        self._cluster.close()

    # -- on the cluster's thread --------------------------------------------------------------------------------------

    def _joined(self, facts: WorkerFacts) -> None:
        with self._lock:
            self._number += 1
            member = Member(_DaskWorker(self._cluster, facts, self._ask_timeout_s, self._count), self._number)
            self._members[facts.address] = member
            self._kinds.add(str(facts.holds["kind"]))
        self._count()
        if self._plan is None:
            self._placement.add(member)
        else:
            self._cluster.spawn(self._add_checked(facts.address, member, self._plan))

    async def _add_checked(self, address: str, member: Member, plan: StageExecutionPlan) -> None:
        """Give images to a worker that came since the plan was checked: those that it can render."""
        try:
            warnings = await asyncio.to_thread(check_member, member, plan)
        except Exception as error:  # noqa: BLE001  # whatever it is, its images will say so again
            warnings = [f"{member.where}: {type(error).__name__}: {error}"]
        for warning in warnings:
            logger.warning("Dask worker {}", warning)
        if self._members.get(address) is member:
            self._placement.add(member)

    def _left(self, address: str, error: BackendUnavailable, *, died: bool) -> None:
        with self._lock:
            member = self._members.pop(address, None)
        if member is None:
            return
        self._placement.remove(member)
        self._count()
        if isinstance(member.backend, _DaskWorker):
            member.backend.lost(error, died=died)

    def _news(self, number: str, news: tuple[Any, ...]) -> None:
        for member in list(self._members.values()):
            cell = member.backend.cells.get(number) if isinstance(member.backend, _DaskWorker) else None
            if cell is not None:
                cell.news(*news)

    def _count(self) -> None:
        """Sum up what the workers can do now; at least 2, since more may join: images then end in any order."""
        backends = [member.backend for member in list(self._members.values())]
        self.capacity = max(2, sum(backend.capacity for backend in backends))
        self.queue_ahead = sum(backend.queue_ahead for backend in backends)
        self.batches = any(backend.batches for backend in backends)


class _Watching(Watcher):
    """What a backend hears of its cluster."""

    def __init__(self, backend: DaskBackend) -> None:
        self._backend = backend

    def joined(self, facts: WorkerFacts) -> None:
        self._backend._joined(facts)  # noqa: SLF001  # of the same module

    def left(self, address: str, error: BackendUnavailable, *, died: bool) -> None:
        self._backend._left(address, error, died=died)  # noqa: SLF001  # of the same module

    def news(self, number: str, news: tuple[Any, ...]) -> None:
        self._backend._news(number, news)  # noqa: SLF001  # of the same module


class _DaskWorker(Backend):
    """One worker, as a member that gets images.

    cells: those that it has, by number.
    """

    name = "dask"

    def __init__(
        self, cluster: Cluster, facts: WorkerFacts, ask_timeout_s: float | None, recount: Callable[[], None]
    ) -> None:
        self._cluster, self._facts, self._ask_timeout_s = cluster, facts, ask_timeout_s
        self.url = facts.name
        self.capacity = int(facts.holds["capacity"])
        self._usual = max(1, int(facts.holds["queue_ahead"]))  # one more waits there while a result travels
        self.queue_ahead = self._usual
        self._recount = recount
        self._timed: object = None  # what the images are that tell how many may wait
        self._results = Fetching(cluster)
        self.batches = bool(facts.holds["batches"])
        self.cells: dict[str, Cell] = {}
        self._gone: BackendUnavailable | None = None

    def render(self, stage: StageExecution, source: Artifact | None) -> Observable[RenderEvent]:
        def subscribe(
            observer: abc.ObserverBase[RenderEvent], scheduler: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = scheduler or CurrentThreadScheduler.singleton()
            took = partial(self._took, stage.config)
            cell = Cell(self._cluster, self._facts.address, observer, clock, results=self._results, took=took)
            if stage.config is not self._timed:  # how long such an image takes is not known yet
                self._timed = stage.config
                self._let_wait(self._usual)
            self.cells = {number: other for number, other in self.cells.items() if not other.over}
            self.cells[cell.number] = cell
            self._cluster.post(self._begin, cell, stage, source)
            return Disposable(cell.stop)

        return Observable(subscribe)

    def check(self, plan: StageExecutionPlan) -> Sequence[str]:
        found: Sequence[str] = self._ask("check", plan)
        return found

    def catalog(self) -> Catalog:
        found: Catalog = self._ask("catalog")
        return found

    def lost(self, error: BackendUnavailable, *, died: bool) -> None:
        """End every cell, and those that were about to begin: the worker is gone. On the cluster's thread."""
        self._gone = error
        self._results.close()
        for cell in list(self.cells.values()):
            cell.lost(error, died=died)

    def _took(self, config: object, seconds: float) -> None:
        """Let more images wait there the less one takes: its way is longer, and several of them share it."""
        if config is self._timed:
            self._let_wait(min(_MOST_AHEAD, int(_AHEAD_S / max(seconds, 1e-3))))

    def _let_wait(self, images: int) -> None:
        depth = max(self._usual, images)
        if depth != self.queue_ahead:
            self.queue_ahead = depth
            self._recount()

    def _begin(self, cell: Cell, stage: StageExecution, source: Artifact | None) -> None:
        if self._gone is None:
            cell.begin(stage, source)
        else:
            cell.lost(self._gone, died=False)

    def _ask(self, question: str, *arguments: object) -> Any:
        return self._cluster.ask(self._facts.address, question, *arguments, timeout_s=self._ask_timeout_s)


def _positive(name: str, given: float | None, options: Mapping[str, str], default: float) -> float:
    value: object = given if given is not None else options.get(name, default)
    try:
        number = float(str(value))
    except ValueError:
        number = 0.0
    if value is True or not 0 < number < float("inf"):
        raise ConfigError([f"{name}: got {value!r}; allowed: a number above 0"])
    return number
