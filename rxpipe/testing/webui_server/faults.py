"""What can go wrong with a server, as values, and a plan that says at which call it does.

A `Fault` is plain data; the server and the simulated WebUI look at its `kind` where it takes effect.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxpipe.testing.webui_server.request_log import RecordedRequest

Kind = Literal[
    "refused",
    "reset",
    "reset_mid_body",
    "short_body",
    "slow_drip",
    "never",
    "truncated_json",
    "empty_body",
    "instead",
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

_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
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
class Fault:
    """One way to fail. Take a ready one (`Fault.OUT_OF_MEMORY`) and change it with `but` where needed.

    name: unique among the ready ones; what a fault table prints.
    kind: where and how it takes effect.
    seconds: slow_drip: how long the body takes; slow: the call's latency instead of the stage's.
    back_after_s: refused, dies: seconds until the server is back on its port, None for `server.come_back()`.
    fraction: 0..1. raises, stuck, dies: how much of the job is done by then; reset_mid_body, short_body,
        truncated_json: how much of the body is sent.
    status, message, retry_after_s, html: instead: the answer given without touching the queue.
    error, message: raises: class and text of the exception in the job.
    """

    name: str
    kind: Kind
    seconds: float = 0.5
    back_after_s: float | None = 0.3
    fraction: float = 0.5
    status: int = 500
    error: str = ""
    message: str = ""
    retry_after_s: int | None = None
    html: bool = False

    REFUSED: ClassVar[Fault]
    RESET: ClassVar[Fault]
    RESET_MID_BODY: ClassVar[Fault]
    SHORT_BODY: ClassVar[Fault]
    SLOW_DRIP: ClassVar[Fault]
    NEVER: ClassVar[Fault]
    TRUNCATED_JSON: ClassVar[Fault]
    EMPTY_BODY: ClassVar[Fault]
    HTML_PAGE: ClassVar[Fault]
    BAD_BASE64: ClassVar[Fault]
    NOT_AN_IMAGE: ClassVar[Fault]
    FLIPPED_BYTE: ClassVar[Fault]
    CUT_PNG: ClassVar[Fault]
    NO_IMAGES: ClassVar[Fault]
    FEWER_IMAGES: ClassVar[Fault]
    UNAUTHORIZED: ClassVar[Fault]
    NO_API: ClassVar[Fault]
    UNPROCESSABLE: ClassVar[Fault]
    TOO_MANY_REQUESTS: ClassVar[Fault]
    BAD_GATEWAY: ClassVar[Fault]
    UNAVAILABLE: ClassVar[Fault]
    GATEWAY_TIMEOUT: ClassVar[Fault]
    OUT_OF_MEMORY: ClassVar[Fault]
    NAN: ClassVar[Fault]
    BAD_INPUT: ClassVar[Fault]
    GENERIC: ClassVar[Fault]
    SLOW: ClassVar[Fault]
    STUCK: ClassVar[Fault]
    DIES: ClassVar[Fault]

    def but(self, **changes: Any) -> Fault:
        """Return the same with some fields changed: `Fault.UNAVAILABLE.but(retry_after_s=1)`."""
        return replace(self, **changes)

    @staticmethod
    def every() -> tuple[Fault, ...]:
        """Return all ready faults, in the order in which a table should list them."""
        return _EVERY


def _instead(name: str, status: int, message: str, *, retry_after_s: int | None = None, html: bool = False) -> Fault:
    return Fault(name, "instead", status=status, message=message, retry_after_s=retry_after_s, html=html)


_EVERY = (
    Fault("REFUSED", "refused"),
    Fault("RESET", "reset"),
    Fault("RESET_MID_BODY", "reset_mid_body"),
    Fault("SHORT_BODY", "short_body"),
    Fault("SLOW_DRIP", "slow_drip"),
    Fault("NEVER", "never"),
    Fault("TRUNCATED_JSON", "truncated_json"),
    Fault("EMPTY_BODY", "empty_body"),
    _instead("HTML_PAGE", 502, _HTML, html=True),
    Fault("BAD_BASE64", "bad_base64"),
    Fault("NOT_AN_IMAGE", "not_an_image"),
    Fault("FLIPPED_BYTE", "flipped_byte"),
    Fault("CUT_PNG", "cut_png"),
    Fault("NO_IMAGES", "no_images"),
    Fault("FEWER_IMAGES", "fewer_images"),
    _instead("UNAUTHORIZED", 401, "Incorrect username or password"),
    _instead("NO_API", 404, "Not Found"),
    _instead("UNPROCESSABLE", 422, "Script 'ADetailer' not found"),
    _instead("TOO_MANY_REQUESTS", 429, "Too Many Requests", retry_after_s=1),
    _instead("BAD_GATEWAY", 502, "Bad Gateway"),
    _instead("UNAVAILABLE", 503, "Service Unavailable", retry_after_s=1),
    _instead("GATEWAY_TIMEOUT", 504, "Gateway Timeout"),
    Fault("OUT_OF_MEMORY", "raises", error="OutOfMemoryError", message=_OUT_OF_MEMORY),
    Fault("NAN", "raises", error="NansException", message=_NAN),
    Fault("BAD_INPUT", "bad_input", message="Invalid encoded image"),
    Fault("GENERIC", "raises", error="RuntimeError", message="Expected all tensors to be on the same device"),
    Fault("SLOW", "slow", seconds=30.0),
    Fault("STUCK", "stuck"),
    Fault("DIES", "dies"),
)
for _fault in _EVERY:
    setattr(Fault, _fault.name, _fault)


@dataclass(slots=True)
class _Rule:
    target: str
    faults: deque[Fault | None]
    where: Callable[[RecordedRequest], bool] | None
    forever: bool
    seen: int = 0


@dataclass(slots=True)
class FaultPlan:
    """Which call meets which fault. Safe from any thread."""

    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        target: str,
        faults: Iterable[Fault | None],
        *,
        where: Callable[[RecordedRequest], bool] | None = None,
        forever: bool = False,
    ) -> None:
        """Let the coming calls to `target` meet these in order, None for a healthy one.

        Args:
            target: a stage, the last part of a path, a path, or "*".
            faults: one for each coming call that matches.
            where: counts only calls for which it is true; called on the connection's thread.
            forever: the last one stays.
        """
        with self._lock:
            self._rules.append(_Rule(target, deque(faults), where, forever))

    def take(self, call: RecordedRequest) -> Fault | None:
        """Return the fault this call meets: each matching rule moves on by one, the first that has a fault decides."""
        with self._lock:
            met = [self._next(rule) for rule in self._rules if self._matches(rule, call)]
            self._rules = [rule for rule in self._rules if rule.faults]
        return next((fault for fault in met if fault is not None), None)

    def clear(self) -> None:
        """Healthy from now on."""
        with self._lock:
            self._rules.clear()

    def due(self, call: RecordedRequest, kind: Kind) -> Fault | None:
        """Return the fault of this kind that the *next* call to the same target would meet, and use it up."""
        with self._lock:
            for rule in self._rules:
                head = rule.faults[0]
                if head is not None and head.kind == kind and self._matches(rule, call):
                    rule.faults.popleft()
                    self._rules = [other for other in self._rules if other.faults]
                    return head
        return None

    @staticmethod
    def _matches(rule: _Rule, call: RecordedRequest) -> bool:
        return call.matches(rule.target) and (rule.where is None or rule.where(call))

    @staticmethod
    def _next(rule: _Rule) -> Fault | None:
        return rule.faults[0] if rule.forever and len(rule.faults) == 1 else rule.faults.popleft()
