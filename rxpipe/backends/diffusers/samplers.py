"""A1111's samplers and noise schedules as schedulers of diffusers. Names only; nothing is imported."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from rxpipe.backends.catalog import CatalogItem
from rxpipe.pictures.names import SAMPLERS as NAMES
from rxpipe.pictures.names import SCHEDULERS as SCHEDULE_NAMES
from rxpipe.pictures.names import automatic_scheduler, sampler_named, scheduler_named, split_sampler

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOTHING: Mapping[str, object] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler of A1111's in diffusers.

    scheduler: name of the class. options: of it. takes: which schedules it follows: "sigmas" (Karras, Exponential,
    Beta), "spacing" (Uniform, SGM Uniform, ...). note: in what it is not A1111's. needs: a package. seeded: it draws
    its own noise and takes a seed for it.
    """

    scheduler: str
    options: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    takes: frozenset[str] = frozenset({"sigmas", "spacing"})
    note: str = ""
    needs: str | None = None
    seeded: bool = False


_SPACING = frozenset({"spacing"})
_SIGMAS = frozenset({"sigmas"})

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "DPM++ 2M": Sampler("DPMSolverMultistepScheduler"),
        "DPM++ SDE": Sampler("DPMSolverSDEScheduler", needs="torchsde", seeded=True),
        "DPM++ 2M SDE": Sampler("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
        "DPM++ 2M SDE Heun": Sampler(
            "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_type": "heun"}
        ),
        "DPM++ 3M SDE": Sampler(
            "DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}
        ),
        "DPM++ 2S a": Sampler(
            "DPMSolverSinglestepScheduler",
            {"algorithm_type": "sde-dpmsolver++", "final_sigmas_type": "zero"},
            takes=_SIGMAS,
            note="drawn by a single-step SDE solver, which is near it and not the same",
        ),
        "Euler a": Sampler("EulerAncestralDiscreteScheduler", takes=_SPACING),
        "Euler": Sampler("EulerDiscreteScheduler"),
        "LMS": Sampler("LMSDiscreteScheduler"),
        "Heun": Sampler("HeunDiscreteScheduler"),
        "DPM2": Sampler("KDPM2DiscreteScheduler"),
        "DPM2 a": Sampler("KDPM2AncestralDiscreteScheduler"),
        "DDIM": Sampler("DDIMScheduler", takes=_SPACING),
        "DDPM": Sampler("DDPMScheduler", takes=_SPACING),
        "PLMS": Sampler("PNDMScheduler", {"skip_prk_steps": True}, takes=_SPACING),
        "UniPC": Sampler("UniPCMultistepScheduler"),
        "LCM": Sampler("LCMScheduler", takes=_SPACING),
        "TCD": Sampler("TCDScheduler", takes=_SPACING),
        "DEIS": Sampler("DEISMultistepScheduler"),
    }
)
"""What diffusers has of A1111's samplers."""

SCHEDULES: Mapping[str, tuple[str, Mapping[str, object]]] = MappingProxyType(
    {
        "Automatic": ("", _NOTHING),
        "Uniform": ("spacing", {"timestep_spacing": "linspace"}),
        "Normal": ("spacing", {"timestep_spacing": "linspace"}),
        "Karras": ("sigmas", {"use_karras_sigmas": True}),
        "Exponential": ("sigmas", {"use_exponential_sigmas": True}),
        "Beta": ("sigmas", {"use_beta_sigmas": True}),
        "SGM Uniform": ("spacing", {"timestep_spacing": "trailing"}),
        "Simple": ("spacing", {"timestep_spacing": "trailing"}),
        "DDIM": ("spacing", {"timestep_spacing": "leading"}),
    }
)
"""Noise schedules: what a scheduler must take for each, and its options."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A scheduler of diffusers for one sampling.

    sampler, schedule: A1111's names; None for the model's own. scheduler: class; None for the model's own. dropped: the
    schedule that the sampler does not follow.
    """

    sampler: str | None = None
    schedule: str | None = None
    scheduler: str | None = None
    options: Mapping[str, object] = field(default_factory=lambda: _NOTHING)
    dropped: str | None = None
    seeded: bool = False


def choose(sampler: str | None, schedule: str | None) -> Choice:
    """Return the scheduler for a sampler and a schedule in any spelling; both None: the model's own.

    A name that diffusers has nothing for counts as none; `check` has refused it by then.
    """
    found = split_sampler(sampler, SAMPLERS, SCHEDULES) if sampler else None
    wanted = scheduler_named(schedule, SCHEDULES) if schedule else None
    if found is None:
        return Choice(dropped=wanted if wanted not in {None, "Automatic"} else None)
    known = SAMPLERS[found.sampler]
    name = wanted or found.scheduler or "Automatic"
    asked = name != "Automatic"
    if not asked:
        name = automatic_scheduler(found.sampler)
    takes, options = SCHEDULES[name]
    follows = takes in known.takes
    return Choice(
        sampler=found.sampler,
        schedule=name if follows else None,
        scheduler=known.scheduler,
        options={**known.options, **(options if follows else {})},
        dropped=name if asked and not follows else None,
        seeded=known.seeded,
    )


def name_of(scheduler: str) -> str:
    """Return A1111's name of a scheduler class, the class's own where there is none."""
    found = sampler_named(scheduler)
    return scheduler if found is None else found.sampler


def sampler_items() -> tuple[CatalogItem, ...]:
    """Return the samplers that there are, by all their names; those that hold a schedule too among them."""
    combined = [f"{name} {schedule}" for name in SAMPLERS for schedule in ("Karras", "Exponential")]
    return (
        *(CatalogItem(name, NAMES.get(name, ())) for name in SAMPLERS),
        *(CatalogItem(name) for name in combined),
    )


def schedule_items() -> tuple[CatalogItem, ...]:
    """Return the schedules that there are, by all their names."""
    return tuple(CatalogItem(name, SCHEDULE_NAMES.get(name, ())) for name in SCHEDULES)
