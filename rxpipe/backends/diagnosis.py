"""What was found at a backend, as plain data for `rxpipe doctor` and for programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LISTS = ("models", "samplers", "schedulers", "upscalers", "vaes", "modules", "detectors", "devices", "packs")

Credentials = Literal["not needed", "accepted", "missing", "refused", "unknown"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One small picture that was rendered. seconds: the whole request. version: of the server, as it says itself."""

    seconds: float
    version: str | None = None
    model: str | None = None
    sampler: str | None = None


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What was found at a backend. Where a backend does not report a fact, the default of its field holds.

    url: where it is, without credentials; empty for a backend within the process. reachable: something answers there.
    api: it answers as a server of this kind. problem: what is wrong, None if nothing. kind: the server's flavour, such
    as "forge" or "a1111"; None where it is not known. busy: it renders for a client right now. latency_s: of a small
    request. progress_per_task: False where progress is only reported for all clients together. model: the loaded
    checkpoint. modules: VAEs and text encoders that a Forge server loads by name. flavour: the fork's name, for people.
    adetailer: the extension's version, "installed" where it reports none, None without it.
    version: of the server. devices: with their memory. flags: that it was started with. packs: of custom nodes.
    stages: what each stage can do there, one line each.
    advice: what to do, most important first.
    """

    url: str = ""
    reachable: bool = False
    api: bool = False
    credentials: Credentials = "unknown"
    problem: str | None = None
    kind: str | None = None
    flavour: str | None = None
    busy: bool = False
    latency_s: float | None = None
    progress_per_task: bool = False
    model: str | None = None
    models: tuple[str, ...] = ()
    samplers: tuple[str, ...] = ()
    schedulers: tuple[str, ...] = ()
    upscalers: tuple[str, ...] = ()
    vaes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    adetailer: str | None = None
    detectors: tuple[str, ...] = ()
    version: str | None = None
    devices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    packs: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    trial: Trial | None = None
    advice: tuple[str, ...] = ()

    @classmethod
    def of_any(cls, url: str, found: Mapping[str, Diagnosis]) -> Diagnosis:
        """Return what several backends are together: ready where one of them is, with what any of those has.

        Args:
            url: of all together. found: by where each is, at least one.
        """
        ready = [each for each in found.values() if each.ok]
        several = ready or list(found.values())
        problems = [f"{where}: {each.problem}" for where, each in found.items() if each.problem is not None]
        credentials = {each.credentials for each in several}
        together = cls(
            url=url,
            reachable=any(each.reachable for each in several),
            api=any(each.api for each in several),
            credentials=credentials.pop() if len(credentials) == 1 else "unknown",
            problem=None if ready else "; ".join(problems),
            busy=all(each.busy for each in several),
            latency_s=max((each.latency_s for each in several if each.latency_s is not None), default=None),
            progress_per_task=all(each.progress_per_task for each in several),
            stages=tuple(f"{where}: {stage}" for where, each in found.items() for stage in each.stages),
            trial=max((each.trial for each in several if each.trial), key=attrgetter("seconds"), default=None),
            advice=(*problems, *(f"{where}: {advice}" for where, each in found.items() for advice in each.advice)),
        )
        lists: dict[str, Any] = {name: _merged(getattr(each, name) for each in several) for name in _LISTS}
        return replace(together, **lists)

    @property
    def ok(self) -> bool:
        """Whether a run could begin there."""
        return self.problem is None

    def as_dict(self) -> dict[str, Any]:
        """Return the same as plain JSON values."""
        return {"ok": self.ok, **asdict(self)}


def _merged(lists: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """Return what is in any of the lists, each once."""
    return tuple(dict.fromkeys(name for names in lists for name in names))
