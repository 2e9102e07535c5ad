"""Where pictures are drawn: one port, one folder per kind of server, and `open_backend` to choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.resolve import open_backend

if TYPE_CHECKING:
    from rxpipe.backends.webui.diagnosis import Diagnosis

__all__ = ["diagnose", "open_backend"]


def diagnose(url: str, *, auth: str | None = None, timeout_s: float = 5.0, trial: bool = False) -> Diagnosis:
    """What is reachable at *url* and what is missing there, as plain data; never raises for what it finds.

    Args:
        url: as in `open_backend`.
        auth: "user:password", None looks at RXPIPE_BACKEND_AUTH.
        timeout_s: for each question.
        trial: True draws one small picture, which is the only thing that surely works or does not.

    Raises:
        ConfigError: *url* is not an address.
    """
    from rxpipe.backends.webui.diagnosis import examine  # noqa: PLC0415  # HTTP only for who asks

    return examine(url, auth=auth, timeout_s=timeout_s, trial=trial)
