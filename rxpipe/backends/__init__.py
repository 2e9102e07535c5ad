"""Backends, which render pictures: one port, one folder per kind, and `open_backend` to choose among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.resolve import choose, open_backend, open_spec

if TYPE_CHECKING:
    from rxpipe.backends.diagnosis import Diagnosis
    from rxpipe.backends.resolve import BackendSpec

__all__ = ["diagnose", "open_backend"]


def diagnose(url: str, *, auth: str | None = None, timeout_s: float = 5.0, trial: bool = False) -> Diagnosis:
    """Return what is there at *url* and what is missing, as plain data; what is wrong is in it and is not raised.

    Args:
        url: as in `open_backend`.
        auth: "user:password" or "bearer:TOKEN", None reads RXPIPE_BACKEND_AUTH.
        timeout_s: for each question.
        trial: True renders one small picture, the only proof that it works.

    Raises:
        ConfigError: *url* is not an address.
    """
    return diagnose_spec(choose(url), auth=auth, timeout_s=timeout_s, trial=trial)


def diagnose_spec(
    spec: BackendSpec, *, auth: str | None = None, timeout_s: float = 5.0, trial: bool = False
) -> Diagnosis:
    """Return what is there where a spec says; see `diagnose`."""
    options = {"connect_timeout_s": timeout_s, "ask_timeout_s": timeout_s} if spec.url else {}
    with open_spec(spec, {**options, **({} if auth is None else {"auth": auth})}) as backend:
        return backend.diagnose(trial=trial)
