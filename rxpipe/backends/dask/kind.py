"""Dask clusters in the table of backend kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.kind import BackendKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxpipe.backends.base import Backend

DEFAULT_PORT = 8786


def load() -> Callable[..., Backend]:
    """Return the adapter's class; loads distributed."""
    from rxpipe.backends.dask.backend import DaskBackend  # noqa: PLC0415  # only where it is used

    return DaskBackend


DASK = BackendKind(
    name="dask",
    load=load,
    schemes=("dask", "tcp", "tls"),
    default_port=DEFAULT_PORT,
    title="a Dask cluster",
    needs=("distributed",),
    examples=(f"a Dask scheduler's such as dask://127.0.0.1:{DEFAULT_PORT}", "'dask:local'"),
)
"""Workers that hold a backend each, on one machine or on many."""
