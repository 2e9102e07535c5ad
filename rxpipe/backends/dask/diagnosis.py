"""What a cluster is: its workers, what each holds, and their versions."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from reactivex import operators

from rxpipe.backends.dask.address import OPEN_PORT
from rxpipe.backends.dask.wire import versions
from rxpipe.backends.diagnosis import Diagnosis, Trial
from rxpipe.config import RunSettings, Txt2ImgConfig
from rxpipe.errors import BackendError
from rxpipe.plan import plan_stages
from rxpipe.rx.worker import WorkerScheduler

if TYPE_CHECKING:
    from rxpipe.backends.base import Backend
    from rxpipe.backends.dask.cluster import Cluster, WorkerFacts


def diagnosed(cluster: Cluster, backend: Backend, *, trial: bool, limit_s: float | None) -> Diagnosis:
    """Return the workers of a cluster; blocking, until there is one or it is clear that there is none."""
    begin = time.monotonic()
    problem = None
    try:
        cluster.wait_for_workers(limit_s)
    except BackendError as error:
        problem = error
    latency_s = time.monotonic() - begin
    workers = sorted(cluster.workers.values(), key=lambda facts: facts.name)
    reachable = not cluster.problem
    tried = None
    if trial and problem is None:
        try:
            tried = _tried(backend)
        except BackendError as error:
            problem = error
    advice = [] if problem is None or not problem.hint else [problem.hint]
    if problem is None:  # which otherwise names them
        advice += [f"{facts.name} is not used: {facts.refused}" for facts in workers if facts.refused]
    advice += [OPEN_PORT] if reachable and "tls://" not in cluster.where else []
    return Diagnosis(
        url=backend.url or "dask:local",
        reachable=reachable,
        api=reachable,
        credentials="unknown" if not reachable else "accepted" if "tls://" in cluster.where else "not needed",
        problem=None if problem is None else problem.message,
        kind="dask",
        flavour="Dask",
        busy=any(facts.running for facts in workers),
        latency_s=None if problem is not None else latency_s,
        progress_per_task=True,
        trial=tried,
        version=versions()["distributed"],
        stages=tuple(f"{facts.name}: {_holds(facts)}" for facts in workers),
        advice=tuple(advice),
    )


def _tried(backend: Backend) -> Trial:
    """Render one small picture on a worker; blocking."""
    begin, worker = time.monotonic(), WorkerScheduler("rxpipe-trial")
    config = Txt2ImgConfig(prompt="a", width=64, height=64, steps=1)
    stage = plan_stages([config], RunSettings()).stages[0].for_image(image_index=1, seed=1)
    try:
        output = backend.render(stage, None).pipe(operators.subscribe_on(worker)).run()
    finally:
        worker.close()
    return Trial(seconds=time.monotonic() - begin, model=getattr(output, "server", None))


def _holds(facts: WorkerFacts) -> str:
    if not facts.holds:
        return f"no backend ({facts.address})"
    found = facts.holds.get("versions", {})
    resources = ", ".join(f"{name}={amount:g}" for name, amount in facts.resources.items())
    kind = "" if facts.holds["kind"] == facts.holds["where"] else f" ({facts.holds['kind']})"
    parts = [
        f"{facts.holds['where']}{kind}, {facts.holds['capacity']} at a time",
        f"resources {resources}" if resources else "",
        "rendering" if facts.running else "idle",
        ", ".join(f"{name} {found[name]}" for name in ("python", "rxpipe", "distributed") if name in found),
        facts.address,
    ]
    return "; ".join(part for part in parts if part)
