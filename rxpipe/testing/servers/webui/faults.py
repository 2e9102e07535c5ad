"""What can go wrong with a WebUI: what can with any server, and with its pictures, its refusals and its jobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rxpipe.testing.servers.core import faults

Kind = (
    faults.WireKind
    | Literal[
        "bad_base64",
        "not_an_image",
        "flipped_byte",
        "cut_png",
        "no_images",
        "fewer_images",
        "raises",
        "bad_input",
        "slow",
        "stuck",
        "dies",
    ]
)

_OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 4.50 GiB. GPU 0 has a total capacity of 8.00 GiB of which 1.21 GiB is free. "
    "Of the allocated memory 5.58 GiB is allocated by PyTorch, and 313.07 MiB is reserved by PyTorch but unallocated."
)
_NAN = (
    "A tensor with all NaNs was produced in Unet. This could be either because there's not enough precision to "
    'represent the picture, or because your video card does not support half type. Try setting the "Upcast cross '
    'attention layer to float32" option in Settings > Stable Diffusion or using the --no-half commandline argument to '
    "fix this. Use --disable-nan-check commandline argument to disable this check."
)


@dataclass(frozen=True, slots=True)
class Fault(faults.Fault):
    """One way for a WebUI to fail. Take a ready one (`Fault.OUT_OF_MEMORY`) and change it with `but` where needed.

    seconds: slow: the request's latency instead of the stage's.
    back_after_s: dies: seconds until the server is back on its port, None for `server.come_back()`.
    fraction: 0..1; raises, stuck, dies: how much of the job is done before; cut_png: how much of the file is sent.
    error, message: raises: class and text of the exception in the job.

    The other fields are those of every server's faults, whose ready ones are found here too: `Fault.RESET`.
    """

    kind: Kind

    BAD_BASE64: ClassVar[Fault]
    NOT_AN_IMAGE: ClassVar[Fault]
    FLIPPED_BYTE: ClassVar[Fault]
    CUT_PNG: ClassVar[Fault]
    NO_IMAGES: ClassVar[Fault]
    FEWER_IMAGES: ClassVar[Fault]
    UNAUTHORIZED: ClassVar[Fault]
    NO_API: ClassVar[Fault]
    UNPROCESSABLE: ClassVar[Fault]
    OUT_OF_MEMORY: ClassVar[Fault]
    NAN: ClassVar[Fault]
    BAD_INPUT: ClassVar[Fault]
    GENERIC: ClassVar[Fault]
    SLOW: ClassVar[Fault]
    STUCK: ClassVar[Fault]
    DIES: ClassVar[Fault]

    @staticmethod
    def every() -> tuple[faults.Fault, ...]:
        """Return the ready faults that come to an end, in the order in which a table should list them."""
        return (*faults.Fault.every(), *_OWN)


_OWN = (
    Fault("BAD_BASE64", "bad_base64"),
    Fault("NOT_AN_IMAGE", "not_an_image"),
    Fault("FLIPPED_BYTE", "flipped_byte"),
    Fault("CUT_PNG", "cut_png"),
    Fault("NO_IMAGES", "no_images"),
    Fault("FEWER_IMAGES", "fewer_images"),
    Fault("UNAUTHORIZED", "instead", status=401, message="Incorrect username or password"),
    Fault("NO_API", "instead", status=404, message="Not Found"),
    Fault("UNPROCESSABLE", "instead", status=422, message="Script 'ADetailer' not found"),
    Fault("OUT_OF_MEMORY", "raises", error="OutOfMemoryError", message=_OUT_OF_MEMORY),
    Fault("NAN", "raises", error="NansException", message=_NAN),
    Fault("BAD_INPUT", "bad_input", message="Invalid encoded image"),
    Fault("GENERIC", "raises", error="RuntimeError", message="Expected all tensors to be on the same device"),
    Fault("SLOW", "slow", seconds=30.0),
    Fault("STUCK", "stuck"),
    Fault("DIES", "dies"),
)
for _fault in _OWN:
    setattr(Fault, _fault.name, _fault)
