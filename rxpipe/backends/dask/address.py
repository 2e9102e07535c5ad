"""Where a Dask scheduler is, how it is reached, and what an image needs there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from distributed.security import Security

from rxpipe.backends.dask.kind import DEFAULT_PORT
from rxpipe.errors import ConfigError, suggestion
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

LOCAL = "local"
"""In place of an address: a scheduler and workers of our own on this machine."""

OPEN_PORT = (
    "Whoever reaches the port of the scheduler or of a worker runs code there, without a password: keep them on "
    "127.0.0.1 or a private network, or give all of them TLS certificates of your own (tls_ca, tls_cert, tls_key)."
)
"""What an open port means, for people."""

_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?/?")
_IN_ADDRESS = ("requires", "silence_s", "workers", "holds")


@dataclass(frozen=True, slots=True)
class Address:
    """A scheduler. text: as Dask has it, "tcp://host:8786"; None for one of our own. options: that the address had."""

    text: str | None
    options: Mapping[str, str]

    @property
    def is_local(self) -> bool:
        """Whether scheduler and workers are of our own, on this machine."""
        return self.text is None


def parse_address(url: str, *, encrypted: bool = False) -> Address:
    """Return where a scheduler is.

    Args:
        url: "dask://host:8786", "tcp://host:8786", "tls://host:8786", "host", a port of this machine, or "local", and
            options such as "?requires=sdxl=1&silence_s=10" behind it.
        encrypted: whether there are certificates, which makes "dask://" mean TLS.

    Raises:
        ConfigError: it is no address, or has an option that is not one of an address.
    """
    bare, _, query = url.strip().partition("?")
    scheme, separator, rest = bare.partition("://")
    if not separator:
        scheme, rest = "dask", bare
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in _IN_ADDRESS:
            raise ConfigError([f"backend {cut(url)!r}: no option {cut(name)!r}; {suggestion(name, _IN_ADDRESS)}"])
    if scheme == "dask" and rest.strip("/") == LOCAL:
        return Address(None, options)
    found = _HOST.fullmatch(f"127.0.0.1:{rest}" if rest.isdecimal() else rest)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536 or scheme not in {"dask", "tcp", "tls"}:  # noqa: PLR2004  # the highest port
        raise ConfigError(
            [f"backend {cut(url)!r}: allowed: dask://host:{DEFAULT_PORT}, tls://host:{DEFAULT_PORT}, or dask:{LOCAL}"]
        )
    protocol = "tls" if scheme == "tls" or (encrypted and scheme == "dask") else "tcp"
    return Address(f"{protocol}://{found['host']}:{port}", options)


def security_of(
    ca: str | Path | None, cert: str | Path | None, key: str | Path | None, *, role: str = "client"
) -> Security | None:
    """Return the certificates of a client or a worker; None where none is given: then Dask's own settings hold.

    Raises:
        ConfigError: only some of the three are given, or a file is missing.
    """
    given = {"tls_ca": ca, "tls_cert": cert, "tls_key": key}
    if not any(given.values()):
        return None
    missing = [name for name, value in given.items() if not value]
    if missing:
        raise ConfigError([f"TLS needs tls_ca, tls_cert and tls_key; {', '.join(missing)} is missing"])
    absent = [f"{name}: {path}: no such file" for name, path in given.items() if not Path(str(path)).is_file()]
    if absent:
        raise ConfigError(absent)
    own = {f"tls_{role}_cert": str(cert), f"tls_{role}_key": str(key)}
    return Security(tls_ca_file=str(ca), require_encryption=True, **own)


def resources_of(given: Mapping[str, float] | str | None, what: str = "requires") -> dict[str, float]:
    """Return resources by name, from a mapping or from "sdxl=1,vram=24".

    Raises:
        ConfigError: a text of another form, or an amount that is no number above 0.
    """
    pairs = dict(_pairs(given)) if isinstance(given, str) else dict(given or {})
    found: dict[str, float] = {}
    for name, amount in pairs.items():
        try:
            found[name.strip()] = float(amount)
        except (TypeError, ValueError):
            found[name] = 0.0
        if not name.strip() or isinstance(amount, bool) or not 0 < found[name.strip()] < float("inf"):
            raise ConfigError(
                [f"{what}: got {shown(given)}; allowed: names with amounts above 0, such as sdxl=1,vram=24"]
            )
    return found


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in text.split(",") if part.strip()]
    return [(name.strip(), amount if equals else "1") for name, equals, amount in parts]
