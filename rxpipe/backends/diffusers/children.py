"""A model on several devices of one machine: a process each, so that no fault of one reaches another."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.backends.pool import PoolBackend
from rxpipe.backends.process import ProcessBackend

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rxpipe.backends.base import Backend


class DevicePool(PoolBackend):
    """One model on several devices, each in a process of its own with its own copy of the model.

    Args:
        devices: such as "cuda:0" and "cuda:1"; one may be named twice.
        options: of `DiffusersBackend`, for each of them.
    """

    def __init__(self, devices: Sequence[str], **options: Any) -> None:
        environment = shared_cores(devices)
        super().__init__(
            ProcessBackend(
                functools.partial(DiffusersBackend, device=device, **options),
                label=device,
                environment=environment if is_processor(device) else {},
            )
            for device in devices
        )
        self._devices = tuple(devices)

    @property
    def where(self) -> str:
        """What `open_backend` opens it from."""
        model, _, rest = self.members[0].where.partition("?")
        options = [option for option in rest.split("&") if option and not option.startswith("device=")]
        return f"{model}?{'&'.join([*options, 'devices=' + ','.join(self._devices)])}"


def is_processor(device: str) -> bool:
    """Whether a device is the processor."""
    return device.partition(":")[0] == "cpu"


def shared_cores(devices: Sequence[str]) -> dict[str, str]:
    """Return what has each of the processes on the processor take its share of the cores, at least one.

    With all cores each, threads of one process wait for those of the others in the middle of an operation.
    """
    count = sum(map(is_processor, devices))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores // max(1, count)))}


def open_model(
    model: str,
    *,
    device: str | None = None,
    devices: str | None = None,
    dtype: str | None = None,
    offload: bool | None = None,
    config: str | None = None,
    download: bool = False,
    previews: bool | str = True,
) -> Backend:
    """Return a backend over a model; see `DiffusersBackend`.

    Args:
        model: a file, a folder, or a name in RXPIPE_MODELS.
        device: where it draws; None for the best there is.
        devices: several with commas between, in place of `device`: a process each, and a pool over them.

    Raises:
        BackendRejected: there is no such model, or it is one that is not drawn here.
        ValueError: an option is not what is allowed.
    """
    options: dict[str, Any] = {
        "model": model, "dtype": dtype, "offload": offload, "config": config, "download": download,
        "previews": previews,
    }  # fmt: skip
    if devices is None:
        return DiffusersBackend(device=device, **options)
    names = [name.strip() for name in devices.split(",") if name.strip()]
    if not names or device is not None:
        raise ValueError(f"devices: got {devices!r} and device={device!r}; allowed: one or more names, and no device")
    return DevicePool(names, **options)
