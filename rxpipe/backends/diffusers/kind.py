"""Local models in the table of backend kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.kind import BackendKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.base import Backend


def load() -> Callable[..., Backend]:
    """Return what opens a local model; loads neither torch nor diffusers."""
    from rxpipe.backends.diffusers.children import open_model  # noqa: PLC0415  # only where it is used

    return open_model


DIFFUSERS = BackendKind(
    name="diffusers",
    load=load,
    title="a local model",
    examples=("'diffusers:/models/sd15.safetensors'",),
    needs=("torch", "diffusers", "transformers", "accelerate"),
    path="model",
)
