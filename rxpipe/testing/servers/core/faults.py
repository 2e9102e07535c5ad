"""What can go wrong with any HTTP server, as values.

A `Fault` is plain data; the server and its site look at its `kind` where it takes effect.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

WireKind = Literal[
    "refused",
    "reset",
    "reset_mid_body",
    "short_body",
    "slow_drip",
    "never",
    "truncated_json",
    "empty_body",
    "instead",
    "endless",
    "bomb",
    "byte_by_byte",
]

_HTML = (
    "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to fail. Take a ready one (`Fault.RESET`) and change it with `but` where needed.

    name: unique among the ready ones; what a fault table prints.
    kind: where and how it takes effect: a WireKind, or what a kind of server adds for its jobs.
    seconds: slow_drip: how long the body takes; byte_by_byte: between two bytes.
    back_after_s: refused: seconds until the server is back on its port, None for `server.come_back()`.
    fraction: 0..1; reset_mid_body, short_body, truncated_json: how much of the body is sent.
    status, message, retry_after_s, html: instead: the answer, given without asking the site.
    error, message: of a job that fails: class and text of its exception.
    """

    name: str
    kind: str
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
    TOO_MANY_REQUESTS: ClassVar[Fault]
    BAD_GATEWAY: ClassVar[Fault]
    UNAVAILABLE: ClassVar[Fault]
    GATEWAY_TIMEOUT: ClassVar[Fault]
    ENDLESS_BODY: ClassVar[Fault]
    GZIP_BOMB: ClassVar[Fault]
    BYTE_BY_BYTE: ClassVar[Fault]

    def but(self, **changes: Any) -> Self:
        """Return the same with some fields changed: `Fault.UNAVAILABLE.but(retry_after_s=1)`."""
        return replace(self, **changes)

    @staticmethod
    def every() -> tuple[Fault, ...]:
        """Return the ready faults that come to an end, in the order in which a table should list them."""
        return _EVERY

    @staticmethod
    def without_end() -> tuple[Fault, ...]:
        """Return the ready faults whose answers have no end, which only a client with limits survives."""
        return _WITHOUT_END


_EVERY = (
    Fault("REFUSED", "refused"),
    Fault("RESET", "reset"),
    Fault("RESET_MID_BODY", "reset_mid_body"),
    Fault("SHORT_BODY", "short_body"),
    Fault("SLOW_DRIP", "slow_drip"),
    Fault("NEVER", "never"),
    Fault("TRUNCATED_JSON", "truncated_json"),
    Fault("EMPTY_BODY", "empty_body"),
    Fault("HTML_PAGE", "instead", status=502, message=_HTML, html=True),
    Fault("TOO_MANY_REQUESTS", "instead", status=429, message="Too Many Requests", retry_after_s=1),
    Fault("BAD_GATEWAY", "instead", status=502, message="Bad Gateway"),
    Fault("UNAVAILABLE", "instead", status=503, message="Service Unavailable", retry_after_s=1),
    Fault("GATEWAY_TIMEOUT", "instead", status=504, message="Gateway Timeout"),
)
_WITHOUT_END = (
    Fault("ENDLESS_BODY", "endless"),
    Fault("GZIP_BOMB", "bomb"),
    Fault("BYTE_BY_BYTE", "byte_by_byte", seconds=0.2),
)
for _fault in (*_EVERY, *_WITHOUT_END):
    setattr(Fault, _fault.name, _fault)
