"""Samplers and schedulers by A1111's names, whatever program a name comes from.

A1111's names are those of configs and pictures. ComfyUI, InvokeAI, NovelAI and k-diffusion spell the same ones their
own way: most differ in case and punctuation only, the others are in the tables here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["SAMPLERS", "SCHEDULERS", "SamplerName", "plain", "sampler_named", "scheduler_named", "split_sampler"]

SAMPLERS = {
    "DPM++ 2M": (),
    "DPM++ SDE": ("dpmpp_sde_gpu",),
    "DPM++ 2M SDE": ("dpmpp_2m_sde_gpu",),
    "DPM++ 2M SDE Heun": ("dpmpp_2m_sde_heun_gpu",),
    "DPM++ 2S a": (),
    "DPM++ 3M SDE": ("dpmpp_3m_sde_gpu",),
    "Euler a": (),
    "Euler": (),
    "Euler CFG++": (),
    "Euler a CFG++": (),
    "LMS": ("lmsd",),
    "Heun": (),
    "HeunPP2": (),
    "DPM2": ("kdpm_2",),
    "DPM2 a": ("kdpm_2_a",),
    "DPM fast": (),
    "DPM adaptive": ("dpm_ad",),
    "Restart": (),
    "DDIM": ("ddim_v3",),
    "DDIM CFG++": (),
    "DDPM": (),
    "PLMS": ("pndm",),
    "UniPC": (),
    "LCM": (),
    "IPNDM": (),
    "IPNDM_V": (),
    "DEIS": (),
    "TCD": (),
}
"""A1111's name of each sampler, with other programs' names that are not the same but for case and punctuation."""

SCHEDULERS = {
    "Automatic": (),
    "Uniform": (),
    "Karras": (),
    "Exponential": (),
    "Polyexponential": (),
    "SGM Uniform": (),
    "KL Optimal": (),
    "Align Your Steps": ("ays",),
    "Simple": (),
    "Normal": (),
    "DDIM": ("ddim_uniform",),
    "Beta": (),
    "Turbo": (),
    "Linear Quadratic": (),
}
"""The same of each scheduler."""

_PUNCTUATION = re.compile(r"[\s_\-.]+")
_KARRAS = re.compile(r"_k$")  # InvokeAI's mark


class SamplerName(NamedTuple):
    """A sampler and the scheduler that a name holds with it, None where it holds none."""

    sampler: str
    scheduler: str | None = None


def plain(name: str) -> str:
    """Return what two spellings of a name have in common: no case, no punctuation, "a" for ancestral."""
    text = _PUNCTUATION.sub("", name.casefold()).replace("++", "pp")
    return text.replace("ancestral", "a")


def split_sampler(name: str, samplers: Iterable[str], schedulers: Iterable[str]) -> SamplerName | None:
    """Return the sampler of *samplers*, and the scheduler of *schedulers*, that a name means; None for neither.

    A name may hold both, such as "DPM++ 2M Karras"; a sampler of exactly that name comes first.
    """
    known = _by_spelling(samplers, SAMPLERS)
    wanted = plain(_KARRAS.sub("", name))
    karras = "Karras" if _KARRAS.search(name) else None
    if name in known.values():
        return SamplerName(name)
    for spelling in (wanted, wanted.removeprefix("sample").removeprefix("k")):
        if spelling in known:
            return SamplerName(known[spelling], karras)
    for spelling, scheduler in _by_spelling(schedulers, SCHEDULERS).items():
        head = wanted.removesuffix(spelling)
        found = known.get(head) or known.get(head.removeprefix("k"))
        if head != wanted and found is not None:
            return SamplerName(found, scheduler)
    return None


def sampler_named(name: str) -> SamplerName | None:
    """Return A1111's names for a sampler of any program; None where it is not known."""
    return split_sampler(name, SAMPLERS, SCHEDULERS)


def scheduler_named(name: str, schedulers: Iterable[str] = SCHEDULERS) -> str | None:
    """Return the one of *schedulers* that a name means; None where it is none of them."""
    return _by_spelling(schedulers, SCHEDULERS).get(plain(name))


def _by_spelling(names: Iterable[str], table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return each spelling of *names*; those of the table's own aliases yield to listed names."""
    listed = {plain(name): name for name in names}
    for name, aliases in table.items():
        found = listed.get(plain(name))
        if found is not None:
            for alias in aliases:
                listed.setdefault(plain(alias), found)
    return listed
