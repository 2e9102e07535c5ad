"""Samplers and schedulers by A1111's names, whatever program a name comes from.

A1111's names are those of configs and pictures. ComfyUI, InvokeAI, NovelAI, Fooocus, SwarmUI, stable-diffusion.cpp,
diffusers and others spell the same ones their own way: most differ in case and punctuation only, the others are in the
tables here. Backends share the tables, and the way back to ComfyUI's names.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "COMFYUI_SAMPLERS",
    "COMFYUI_SCHEDULERS",
    "SAMPLERS",
    "SCHEDULERS",
    "SamplerName",
    "automatic_scheduler",
    "plain",
    "sampler_named",
    "scheduler_named",
    "split_sampler",
]

SAMPLERS = {
    "DPM++ 2M": ("dpm_solver_stability", "DPM-Solver++", "DPMSolverMultistepScheduler", "DPM2M"),
    "DPM++ SDE": ("dpmpp_sde_gpu", "DPMSolverSDEScheduler", "DPMSDE"),
    "DPM++ 2M SDE": ("dpmpp_2m_sde_gpu", "DPM2MSDE"),
    "DPM++ 2M SDE Heun": ("dpmpp_2m_sde_heun_gpu",),
    "DPM++ 2S a": ("DPM2SA",),
    "DPM++ 3M SDE": ("dpmpp_3m_sde_gpu",),
    "Euler a": ("EulerAncestralDiscreteScheduler",),
    "Euler": ("EulerDiscreteScheduler",),
    "Euler CFG++": (),
    "Euler a CFG++": (),
    "LMS": ("lmsd", "LMSDiscreteScheduler"),
    "Heun": ("HeunDiscreteScheduler",),
    "HeunPP2": (),
    "DPM2": ("kdpm_2", "KDPM2DiscreteScheduler"),
    "DPM2 a": ("kdpm_2_a", "KDPM2AncestralDiscreteScheduler"),
    "DPM fast": (),
    "DPM adaptive": ("dpm_ad",),
    "Restart": (),
    "DDIM": ("ddim_v3", "DDIMScheduler"),
    "DDIM CFG++": (),
    "DDPM": ("DDPMScheduler",),
    "PLMS": ("pndm", "PNDMScheduler"),
    "UniPC": (
        *("unipc_snr", "unipc_snr_2", "unipc_tu", "unipc_tu_2", "unipc_tq", "uni_pc_bh2"),
        "UniPCMultistepScheduler",
    ),
    "LCM": ("LCMScheduler",),
    "IPNDM": (),
    "IPNDM_V": (),
    "DEIS": ("DEISMultistepScheduler",),
    "TCD": ("TCDScheduler",),
}
"""A1111's name of each sampler, with other programs' names that are not the same but for case and punctuation."""

SCHEDULERS = {
    "Automatic": ("native",),
    "Uniform": (),
    "Karras": (),
    "Exponential": (),
    "Polyexponential": (),
    "SGM Uniform": ("trailing",),
    "KL Optimal": (),
    "Align Your Steps": ("ays",),
    "Align Your Steps GITS": ("gits",),
    "Align Your Steps 11": (),
    "Align Your Steps 32": (),
    "Simple": (),
    "Normal": ("discrete",),
    "DDIM": ("ddim_uniform",),
    "Beta": (),
    "Turbo": (),
    "Linear Quadratic": (),
}
"""The same of each scheduler."""

COMFYUI_SAMPLERS = {
    "DPM++ 2M": "dpmpp_2m",
    "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "dpmpp_2m_sde_heun",
    "DPM++ 2S a": "dpmpp_2s_ancestral",
    "DPM++ 3M SDE": "dpmpp_3m_sde",
    "Euler a": "euler_ancestral",
    "Euler": "euler",
    "Euler CFG++": "euler_cfg_pp",
    "Euler a CFG++": "euler_ancestral_cfg_pp",
    "LMS": "lms",
    "Heun": "heun",
    "HeunPP2": "heunpp2",
    "DPM2": "dpm_2",
    "DPM2 a": "dpm_2_ancestral",
    "DPM fast": "dpm_fast",
    "DPM adaptive": "dpm_adaptive",
    "DDIM": "ddim",
    "DDPM": "ddpm",
    "UniPC": "uni_pc",
    "LCM": "lcm",
    "IPNDM": "ipndm",
    "IPNDM_V": "ipndm_v",
    "DEIS": "deis",
}
"""ComfyUI's name of each of A1111's samplers that it has."""

COMFYUI_SCHEDULERS = {
    "Uniform": "normal",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "exponential",
    "SGM Uniform": "sgm_uniform",
    "KL Optimal": "kl_optimal",
    "Simple": "simple",
    "Normal": "normal",
    "DDIM": "ddim_uniform",
    "Beta": "beta",
    "Linear Quadratic": "linear_quadratic",
}
"""ComfyUI's name of each of A1111's schedulers that a name is enough for; "Automatic" depends on the sampler."""

_OF_ITS_OWN = {
    **dict.fromkeys(("DPM++ 2M", "DPM++ SDE", "DPM++ 2S a", "DPM2", "DPM2 a", "Restart"), "Karras"),
    **dict.fromkeys(("DPM++ 2M SDE", "DPM++ 2M SDE Heun", "DPM++ 3M SDE"), "Exponential"),
}

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


def automatic_scheduler(sampler: str | None) -> str:
    """Return the scheduler that A1111's "Automatic" is for a sampler: its own, else "Normal"."""
    return _OF_ITS_OWN.get(sampler or "", "Normal")


def _by_spelling(names: Iterable[str], table: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """Return each spelling of *names*; those of the table's own aliases yield to listed names."""
    listed = {plain(name): name for name in names}
    for name, aliases in table.items():
        found = listed.get(plain(name))
        if found is not None:
            for alias in aliases:
                listed.setdefault(plain(alias), found)
    return listed
