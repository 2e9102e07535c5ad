"""`rxpipe doctor`: print the diagnosis of a server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from rxpipe.backends import diagnose_spec
from rxpipe.backends.asking import ask_all
from rxpipe.backends.diagnosis import Diagnosis
from rxpipe.backends.resolve import EMBEDDED, choose, recognised, usual_url
from rxpipe.cli.outcome import Exit
from rxpipe.cli.tables import print_line, print_pairs
from rxpipe.errors import MissingPackage, require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.backends.resolve import BackendSpec

_SHOWN = 8


def examine(url: str | None, *, trial: bool, as_json: bool) -> Exit:
    """Print the diagnosis, of every member of a pool. FAILED if no run could start on any of them.

    Without a server `run` uses the embedded backend.

    Raises:
        ConfigError: *url* is not an address.
    """
    spec = choose(url)
    specs = spec.members or (spec,)
    found = ask_all(specs, lambda each: _diagnosed(each, trial=trial, alone=each is spec))
    printed = [_print_one(*one, alone=not spec.members, as_json=as_json) for one in found]
    return Exit.COMPLETED if Exit.COMPLETED in printed else Exit.FAILED


def _diagnosed(spec: BackendSpec, *, trial: bool, alone: bool) -> tuple[BackendSpec, Diagnosis]:
    """What was found at a backend; in the place of the embedded one *alone* at the server that would be used."""
    if spec.kind is EMBEDDED and alone:
        return spec, diagnose_spec(choose(usual_url()))
    if spec.kind is EMBEDDED:
        return spec, Diagnosis(spec.kind.title, reachable=True, credentials="not needed", problem=_lacking() or None)
    spec = recognised(spec, {})
    return spec, diagnose_spec(spec, trial=trial)


def _print_one(spec: BackendSpec, found: Diagnosis, *, alone: bool, as_json: bool) -> Exit:
    embedded = alone and spec.kind is EMBEDDED
    lacking = _lacking() if embedded else ""
    if as_json:
        typer.echo(json.dumps({"backend": spec.kind.name, "reason": spec.reason, **found.as_dict()}))
    else:
        shown = Console()
        if embedded:
            print_line(shown, f"`rxpipe run` uses the embedded backend: {spec.reason}.")
        if lacking:
            print_line(shown, f"  - {lacking}")
        _print(shown, found)
    return Exit.COMPLETED if found.ok or (embedded and not lacking) else Exit.FAILED


def _lacking() -> str:
    """What is missing for the embedded backend, with the command that installs it; empty if nothing is."""
    try:
        require("The embedded backend", "numpy", "skimage")
    except MissingPackage as error:
        return str(error)
    return ""


def _print(shown: Console, found: Diagnosis) -> None:
    state = "ready" if found.ok else found.problem
    print_line(shown, f"{found.url}: {state}")
    if found.api:
        print_pairs(shown, _pairs(found), indent="  ")
    for advice in dict.fromkeys(found.advice):
        print_line(shown, f"  - {advice}")


def _pairs(found: Diagnosis) -> list[tuple[str, str]]:
    trial = found.trial
    by = ", ".join(part for part in (trial.model, trial.sampler, trial.version) if part) if trial else ""
    return [
        ("server", found.flavour or ""),
        ("response time", "" if found.latency_s is None else f"{found.latency_s * 1000:.0f} ms"),
        ("now", "rendering another job" if found.busy else "idle" if found.ok else ""),
        ("credentials", found.credentials),
        ("progress", "" if not found.ok else "of each request" if found.progress_per_task else "of the server only"),
        ("loaded model", found.model or ""),
        ("models", _listed(found.models)),
        ("samplers", _listed(found.samplers)),
        ("schedulers", _listed(found.schedulers)),
        ("upscalers", _listed(found.upscalers)),
        ("VAEs", _listed(found.vaes)),
        ("VAEs and text encoders", _listed(found.modules)),
        ("ADetailer", found.adetailer or ("missing" if found.ok and found.kind not in {"comfyui", "dask"} else "")),
        ("detectors", _listed(found.detectors)),
        ("devices", ", ".join(found.devices)),
        ("started with", " ".join(found.flags)),
        ("packs", _listed(found.packs)),
        *((stage.partition(": ")[0], stage.partition(": ")[2]) for stage in found.stages),
        ("trial", "" if trial is None else f"rendered in {trial.seconds:.1f} s: {by or 'model not reported'}"),
    ]


def _listed(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f", ... ({len(names)} in all)" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
