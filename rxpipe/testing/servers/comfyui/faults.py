"""What can go wrong with a ComfyUI server: what can with any server, and with its jobs, sockets and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from rxpipe.testing.servers.core import faults

Kind = (
    faults.WireKind
    | Literal[
        "raises",
        "black",
        "slow",
        "stuck",
        "dies",
        "silent",
        "deaf",
        "socket_lost",
        "socket_closed",
        "mute",
        "deleted",
        "interrupted",
        "no_outputs",
        "files_gone",
        "late_history",
        "node_errors",
        "answer_lost",
        "answer_late",
        "not_an_image",
        "flipped_byte",
        "cut_png",
    ]
)

_OUT_OF_MEMORY = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 7.79 GiB of which 1.20 GiB is free."
)


@dataclass(frozen=True, slots=True)
class Fault(faults.Fault):
    """One way for a ComfyUI server to fail. Take a ready one and change it with `but` where needed.

    Plan it for the POST that starts a job (`server.fault("prompt", Fault.OUT_OF_MEMORY)`, or by its stage), for the
    handshake ("ws": MUTE and every fault of the wire), or for the download ("view": NOT_AN_IMAGE, FLIPPED_BYTE,
    CUT_PNG). Those of the job:

    OUT_OF_MEMORY, GENERIC: a node raises. BLACK: the pictures are black, as after a NaN, and the job succeeds.
    SLOW, STUCK: takes `seconds`, or until `server.unstick()`. DIES: the server, and everything it knew.
    SILENT: the client gets no event of this job. DEAF: nor anything else from here on, on an open socket.
    SOCKET_LOST, SOCKET_CLOSED: the client's socket is cut off (1006) or closed in order, the job goes on.
    DELETED: the job is gone when its turn comes, in neither queue nor history. INTERRUPTED: somebody else's interrupt.
    NO_OUTPUTS: the history has none. FILES_GONE: their files are. LATE_HISTORY: it shows the job `seconds` later.
    NODE_ERRORS: the 200 of the POST names nodes. ANSWER_LOST, ANSWER_LATE: the job is in the queue, its answer is
    reset, or comes after `seconds`.

    fraction: 0..1; how much of the job's steps is done before it strikes.
    error, message: raises: type and text of the exception.
    """

    kind: Kind

    OUT_OF_MEMORY: ClassVar[Fault]
    GENERIC: ClassVar[Fault]
    BLACK: ClassVar[Fault]
    SLOW: ClassVar[Fault]
    STUCK: ClassVar[Fault]
    DIES: ClassVar[Fault]
    SILENT: ClassVar[Fault]
    DEAF: ClassVar[Fault]
    SOCKET_LOST: ClassVar[Fault]
    SOCKET_CLOSED: ClassVar[Fault]
    MUTE: ClassVar[Fault]
    DELETED: ClassVar[Fault]
    INTERRUPTED: ClassVar[Fault]
    NO_OUTPUTS: ClassVar[Fault]
    FILES_GONE: ClassVar[Fault]
    LATE_HISTORY: ClassVar[Fault]
    NODE_ERRORS: ClassVar[Fault]
    ANSWER_LOST: ClassVar[Fault]
    ANSWER_LATE: ClassVar[Fault]
    NOT_AN_IMAGE: ClassVar[Fault]
    FLIPPED_BYTE: ClassVar[Fault]
    CUT_PNG: ClassVar[Fault]
    FORBIDDEN: ClassVar[Fault]
    UNAUTHORIZED: ClassVar[Fault]

    @staticmethod
    def every() -> tuple[faults.Fault, ...]:
        """Return the ready faults that come to an end, in the order in which a table should list them."""
        return (*faults.Fault.every(), *_OWN)


_OWN = (
    Fault("OUT_OF_MEMORY", "raises", error="torch.OutOfMemoryError", message=_OUT_OF_MEMORY),
    Fault("GENERIC", "raises", error="RuntimeError", message="Expected all tensors to be on the same device"),
    Fault("BLACK", "black"),
    Fault("SLOW", "slow", seconds=30.0),
    Fault("STUCK", "stuck"),
    Fault("DIES", "dies"),
    Fault("SILENT", "silent", fraction=0.0),
    Fault("DEAF", "deaf"),
    Fault("SOCKET_LOST", "socket_lost"),
    Fault("SOCKET_CLOSED", "socket_closed"),
    Fault("MUTE", "mute"),
    Fault("DELETED", "deleted"),
    Fault("INTERRUPTED", "interrupted"),
    Fault("NO_OUTPUTS", "no_outputs"),
    Fault("FILES_GONE", "files_gone"),
    Fault("LATE_HISTORY", "late_history"),
    Fault("NODE_ERRORS", "node_errors"),
    Fault("ANSWER_LOST", "answer_lost"),
    Fault("ANSWER_LATE", "answer_late"),
    Fault("NOT_AN_IMAGE", "not_an_image"),
    Fault("FLIPPED_BYTE", "flipped_byte"),
    Fault("CUT_PNG", "cut_png"),
    Fault("FORBIDDEN", "instead", status=403),
    Fault("UNAUTHORIZED", "instead", status=401, message="Unauthorized"),
)
for _fault in _OWN:
    setattr(Fault, _fault.name, _fault)
