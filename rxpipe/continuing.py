"""A chain and its journal: what a run keeps of itself when it begins, and the chain that continues an earlier one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC
from typing import TYPE_CHECKING

from rxpipe.chains import Chain, build_chain
from rxpipe.config import CustomConfig
from rxpipe.errors import ResumeError
from rxpipe.store import resuming
from rxpipe.store.journal import open_journal
from rxpipe.store.rows import RunFacts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from reactivex import abc

    from rxpipe.backends.base import Backend
    from rxpipe.store.port import Journal
    from rxpipe.store.reading import Store
    from rxpipe.store.resuming import Resumption

__all__ = ["continued", "journal_of", "needed"]


def needed(store: Store | None) -> Store:
    """Return the store; raise ResumeError if there is none."""
    if store is None:
        raise ResumeError(
            "this executor keeps no runs, so that it has none to resume.", hint="Give it a store: store=PATH."
        )
    return store


def continued(store: Store, run_id: str, job: Chain | None, redraw: Collection[str] | bool) -> tuple[Chain, Resumption]:
    """Return the chain that continues a run, and what it takes over; the run is held by its lock from here on.

    Arguments and errors are those of `PipelineExecutor.resume`.
    """
    store.flush()  # of a run of this process that has just ended
    run, plan = resuming.resumable(store, run_id)
    own = tuple(
        stage.config.name
        for stage in plan.stages
        if isinstance(stage.config, CustomConfig) and stage.config.registered is None
    )
    if own and job is None:
        raise ResumeError(
            f"run {run_id} has stages of your own ({', '.join(own)}), whose functions no store holds.",
            hint="Give the chain: resume(run_id, chain(...)).",
            stages=own,
        )
    chain = build_chain(plan) if job is None else replace(job, settings=plan.settings)
    resuming.check_identities(run, chain.plan, _identities(chain), redraw)
    return chain, resuming.resumption(store, run_id)


def journal_of(
    store: Store | None,
    chain: Chain,
    resumed: Resumption | None,
    *,
    run_id: str,
    seed: int,
    config: str,
    backend: Backend,
    clock: abc.SchedulerBase,
) -> Journal:
    """Return the journal of a run that begins.

    Args:
        store: that keeps it; None for none. chain: of the run. resumed: what it takes over, None for nothing.
        run_id, seed: of the run. config: digest of its plan. backend: that renders. clock: of the run.
    """
    facts = RunFacts(
        run_id=run_id,
        plan=chain.plan,
        config=config,
        seed=seed,
        backend=backend.kind,
        backend_spec=backend.where,
        now=lambda: clock.now.astimezone(UTC),
        identities=_identities(chain),
        resumed=resumed,
    )
    return open_journal(store, facts)


def _identities(chain: Chain) -> Mapping[int, Mapping[str, object]]:
    """Return what is known of the code of a chain's own stages, by their index."""
    return {index: stage.identity for index, stage in enumerate(chain.parts) if stage.identity}
