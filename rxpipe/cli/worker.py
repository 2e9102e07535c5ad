"""`rxpipe worker`: a worker of a Dask cluster in the foreground."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from rxpipe.backends import open_backend
from rxpipe.errors import ConfigError, require

if TYPE_CHECKING:
    from pathlib import Path


def serve(
    scheduler: str,
    *,
    backend: str,
    name: str | None,
    resources: str | None,
    host: str | None,
    tls: tuple[Path | None, Path | None, Path | None],
) -> None:
    """Hold a backend and serve a scheduler until Ctrl+C.

    Args:
        scheduler: its address.
        backend: as `open_backend` takes it.
        name: of the worker.
        resources: such as "sdxl=1".
        host: that it listens on.
        tls: files of the authority, the certificate and the key.

    Raises:
        ConfigError: an argument is not what is allowed.
        MissingPackage: distributed is not installed.
    """
    require("`rxpipe worker`", "distributed")
    from rxpipe.backends.dask.address import parse_address, resources_of  # noqa: PLC0415  # of an extra
    from rxpipe.backends.dask.serving import WorkerSettings, serve_worker  # noqa: PLC0415  # of an extra

    tls_ca, tls_cert, tls_key = tls
    address = parse_address(scheduler, role="worker", tls_ca=tls_ca, tls_cert=tls_cert, tls_key=tls_key)
    settings = WorkerSettings(address, name, resources_of(resources, "--resources"), host)
    with open_backend(backend) as opened:
        if opened.name == "dask":
            raise ConfigError(["--backend: a worker cannot hold a Dask cluster; allowed: any other backend"])
        serve_worker(opened, opened.where, settings, typer.echo)
