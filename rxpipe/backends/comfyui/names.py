"""Names that a ComfyUI server has, under those of A1111, which configs and pictures use.

A server's own spelling is what is sent, with its sub folder, its separators and its extension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from rxpipe.backends.catalog import Catalog, CatalogItem, find, nearest
from rxpipe.backends.comfyui.server import Server
from rxpipe.errors import BackendError, BackendRejected
from rxpipe.pictures.faces import looks_for_faces
from rxpipe.pictures.names import (
    COMFYUI_SAMPLERS,
    COMFYUI_SCHEDULERS,
    SAMPLERS,
    SCHEDULERS,
    automatic_scheduler,
    plain,
    scheduler_named,
    split_sampler,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rxpipe.backends.catalog import Items, NameReference
    from rxpipe.backends.comfyui.nodes import NodeClass, NodeLibrary
    from rxpipe.backends.http.connection import Connection
    from rxpipe.plan import StageExecutionPlan

_FILE = re.compile(r"\.(safetensors|ckpt|pt|pth|sft|gguf|bin|onnx)$", re.IGNORECASE)
_OWN_VAE = ("Automatic", "None")
_NEAREST_SAMPLERS = {"DDIM CFG++": "Euler CFG++", "PLMS": "IPNDM", "Restart": "Heun"}
AUTOMATIC = "Automatic"
_OTHER_FORMULA = ("KL Optimal", "Beta")

PLAIN_UPSCALERS = MappingProxyType(
    {"Lanczos": "lanczos", "Nearest": "nearest-exact", "Bicubic": "bicubic", "Bilinear": "bilinear", "None": "lanczos"}
)
"""Upscalers that need no model, with ComfyUI's methods."""

LATENT_UPSCALERS = MappingProxyType(
    {
        "Latent": ("bilinear", True),
        "Latent (antialiased)": ("bilinear", False),
        "Latent (bicubic)": ("bicubic", True),
        "Latent (bicubic antialiased)": ("bicubic", False),
        "Latent (nearest)": ("nearest-exact", False),
        "Latent (nearest-exact)": ("nearest-exact", True),
    }
)
"""A1111's latent upscalers, with ComfyUI's methods and whether these are the same."""

ALIGN_YOUR_STEPS = "Align Your Steps"
_LISTS = {
    "models": ("CheckpointLoaderSimple", "ckpt_name"),
    "vaes": ("VAELoader", "vae_name"),
    "loras": ("LoraLoader", "lora_name"),
    "upscalers": ("UpscaleModelLoader", "model_name"),
    "detectors": ("UltralyticsDetectorProvider", "model_name"),
}
DETAILER = "FaceDetailer"
LISTING_CLASSES = ("KSampler", "ImageScale", DETAILER, *(name for name, _ in _LISTS.values()))
IMPACT_PACKS = "ComfyUI-Impact-Pack and ComfyUI-Impact-Subpack, with a detector in models/ultralytics/bbox"


class Sampling(NamedTuple):
    """A sampler and a scheduler: A1111's names, and the server's."""

    sampler: str
    scheduler: str
    comfy_sampler: str
    comfy_scheduler: str


@dataclass(frozen=True)
class ComfyCatalog(Catalog):
    """Everything that a ComfyUI server has by name.

    server: which it is. embeddings: by name. detailer: Impact-Pack's node that redraws faces, None without it.
    comfy_samplers, comfy_schedulers: as the server lists them.
    """

    server: Server = field(default_factory=Server, repr=False)
    embeddings: tuple[str, ...] = ()
    detailer: NodeClass | None = field(default=None, repr=False)
    comfy_samplers: tuple[str, ...] = ()
    comfy_schedulers: tuple[str, ...] = ()

    def accepts(self, reference: NameReference) -> bool:
        """Whether the server can do what a name means."""
        kind, name = reference.kind, reference.name
        if kind == "samplers":
            return plain(name) == plain("Use same sampler") or self._split(name) is not None
        if kind == "schedulers":
            return plain(name) == plain("Use same scheduler") or self._scheduler(name) is not None
        if kind == "detectors":
            return self.detector(name) is not None or looks_for_faces(name)
        if kind == "vaes" and name in _OWN_VAE:
            return True
        if kind == "models" and plain(name) == plain("Use same checkpoint"):
            return True
        if reference.field == "hires.upscaler" and latent_upscaler(name) is not None:
            return True
        return super().accepts(reference)

    def problems(self, plan: StageExecutionPlan) -> list[str]:
        """Return one line for each name in the plan that the server does not have."""
        named = dict.fromkeys(name for stage in plan.stages for name in stage.generation.modules)
        modules = f"txt2img.modules: the server has none, they are Forge's; leave {', '.join(map(repr, named))} out"
        return [*([modules] if named else ()), *super().problems(plan)]

    # -- names as the server has them ---------------------------------------------------------------------------------

    def model(self, name: str | None) -> str:
        """Return the file of a checkpoint; the first one where none is named, as the server has none loaded.

        Raises:
            BackendRejected: the server does not have it, or has none at all.
        """
        items = self.models or ()
        if not name:
            if not items:
                raise BackendRejected(
                    "the server lists no checkpoint.", hint="Put one into its folder models/checkpoints."
                )
            return items[0].aliases[0]
        return self._file("models", "checkpoint", name)

    def vae(self, name: str | None) -> str | None:
        """Return the file of a VAE; None for the checkpoint's own. Raises BackendRejected as `model` does."""
        return None if not name or name in _OWN_VAE else self._file("vaes", "VAE", name)

    def lora(self, name: str) -> str | None:
        """Return the file of a LoRA; None where the server does not have it."""
        item = find(self.loras, name)
        return item.aliases[0] if item else None

    def upscale_model(self, name: str) -> str | None:
        """Return the file of an upscaler model; None for a method that needs none. Raises as `model` does."""
        return None if plain_upscaler(name) is not None else self._file("upscalers", "upscaler", name)

    def detector(self, name: str) -> str | None:
        """Return a detector as the server lists it; None where it does not."""
        item = find(self.detectors, name) if self.detailer else None
        return item.aliases[0] if item else None

    def sampling(self, sampler: str | None, scheduler: str | None) -> Sampling:
        """Return sampler and scheduler; a name may hold both, such as "DPM++ 2M Karras".

        Raises:
            BackendRejected: the server has no such sampler or scheduler.
        """
        split = self._split(sampler or "Euler")
        if split is None:
            near = _NEAREST_SAMPLERS.get(sampler or "") or nearest(self.samplers or (), sampler or "")
            raise BackendRejected(f"the server has no sampler {sampler!r}; nearest is {near}.")
        name = split[0]
        wanted = scheduler if scheduler and plain(scheduler) != plain(AUTOMATIC) else split[1] or AUTOMATIC
        known = self._scheduler(wanted)
        if known is None:
            raise BackendRejected(f"the server has no scheduler {wanted!r}; {nearest(self.schedulers or (), wanted)}")
        resolved = automatic_scheduler(name) if known == AUTOMATIC else known
        return Sampling(
            name,
            known,
            _listed(name, COMFYUI_SAMPLERS, self.comfy_samplers) or name,
            _listed(resolved, COMFYUI_SCHEDULERS, self.comfy_schedulers) or resolved,
        )

    def _split(self, name: str) -> tuple[str, str | None] | None:
        item = find(self.samplers, name)
        if item is not None:
            return item.name, None
        if self.samplers is None:
            return name, None
        return split_sampler(name, self.names("samplers"), self.names("schedulers"))

    def _scheduler(self, name: str) -> str | None:
        if self.schedulers is None:
            return name
        item = find(self.schedulers, name)
        return item.name if item else scheduler_named(name, self.names("schedulers"))

    def _file(self, kind: str, what: str, name: str) -> str:
        items: Items = self.items(kind)
        item = find(items, name)
        if item is None:
            raise BackendRejected(f"the server has no {what} {name!r}; {nearest(items or (), name)}")
        return item.aliases[0]


def _listed(name: str, table: Mapping[str, str], listed: Iterable[str]) -> str | None:
    """Return the one of ComfyUI's *listed* names that is A1111's *name*; None where there is none."""
    wanted = table.get(name, name)
    return next((one for one in listed if one == wanted or plain(one) == plain(name)), None)


def plain_upscaler(name: str) -> str | None:
    """Return ComfyUI's method for an upscaler that needs no model; None for one that does."""
    return next((method for known, method in PLAIN_UPSCALERS.items() if plain(known) == plain(name)), None)


def latent_upscaler(name: str) -> tuple[str, bool] | None:
    """Return ComfyUI's method for one of A1111's latent upscalers, and whether it is the same; None for any other."""
    return next((method for known, method in LATENT_UPSCALERS.items() if plain(known) == plain(name)), None)


def name_of(items: Items, name: str) -> str:
    """Return the listed name of what a name means, the name itself where it is not listed."""
    item = find(items, name)
    return item.name if item else name


def differs(scheduler: str) -> bool:
    """Whether ComfyUI computes a schedule of this name by another formula than A1111."""
    return scheduler in _OTHER_FORMULA


def stem_of(file: str) -> str:
    """Return a model's name: its file without folder and extension."""
    return _FILE.sub("", file.replace("\\", "/").rpartition("/")[2])


# -- reading ----------------------------------------------------------------------------------------------------------


def read_catalog(connection: Connection, library: NodeLibrary, server: Server, *, timeout_s: float) -> ComfyCatalog:
    """Return what a server has.

    Raises:
        BackendError: no answer.
    """
    classes = library.get(connection, LISTING_CLASSES)
    return catalog_of(classes, server, _embeddings(connection, timeout_s))


def catalog_of(classes: Mapping[str, NodeClass | None], server: Server, embeddings: Sequence[str] = ()) -> ComfyCatalog:
    """Return what a server has, by its classes of nodes."""
    found = {kind: _files(classes.get(name), field_name) for kind, (name, field_name) in _LISTS.items()}
    sampler = classes.get("KSampler")
    samplers = sampler.options("sampler_name") if sampler else ()
    schedulers = sampler.options("scheduler") if sampler else ()
    plains = [CatalogItem(name, (name,)) for name in PLAIN_UPSCALERS]
    return ComfyCatalog(
        samplers=_named(samplers, SAMPLERS) if sampler else None,
        schedulers=[CatalogItem(AUTOMATIC), *_schedulers(schedulers)] if sampler else None,
        upscalers=[*plains, *(found["upscalers"] or ())],
        models=found["models"],
        vaes=found["vaes"],
        loras=found["loras"],
        detectors=found["detectors"] or (),
        server=server,
        embeddings=tuple(embeddings),
        detailer=classes.get(DETAILER) if found["detectors"] is not None else None,
        comfy_samplers=samplers,
        comfy_schedulers=schedulers,
    )


def _embeddings(connection: Connection, timeout_s: float) -> tuple[str, ...]:
    try:
        answer = connection.get_optional("/embeddings", timeout_s=timeout_s)
        names = [] if answer is None else answer.json()
    except BackendError:
        return ()
    return tuple(name for name in names if isinstance(name, str)) if isinstance(names, list) else ()


def _files(listing: NodeClass | None, input_name: str) -> list[CatalogItem] | None:
    """Return a list of files; each answers to its path with either separator, its name, and both without extension."""
    return None if listing is None else [_file(name) for name in listing.options(input_name)]


def _file(name: str) -> CatalogItem:
    path = name.replace("\\", "/")
    base = path.rpartition("/")[2]
    aliases = (name, path, base, _FILE.sub("", path), _FILE.sub("", base))
    return CatalogItem(stem_of(name), tuple(dict.fromkeys(aliases)))


def _named(listed: Iterable[str], table: Iterable[str]) -> list[CatalogItem]:
    """Return ComfyUI's names under A1111's; one that A1111 does not have keeps its own."""
    by_spelling = {plain(name): name for name in table}
    return [CatalogItem(by_spelling.get(plain(name), name), (name,)) for name in listed]


def _schedulers(listed: Sequence[str]) -> list[CatalogItem]:
    named = {
        name: found
        for name in SCHEDULERS
        if name != AUTOMATIC and (found := _listed(name, COMFYUI_SCHEDULERS, listed)) is not None
    }
    others = [name for name in listed if name not in named.values()]
    return [
        *(CatalogItem(name, (found,)) for name, found in named.items()),
        CatalogItem(ALIGN_YOUR_STEPS, ("ays",)),
        *(CatalogItem(name, (name,)) for name in others),
    ]
