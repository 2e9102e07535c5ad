"""Where a Dask scheduler is, how it is reached, and what an image needs there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, unquote

from distributed.security import Security

from rxpipe.backends.dask.kind import DEFAULT_PORT
from rxpipe.errors import ConfigError, suggestion
from rxpipe.shown import cut, shown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOCAL = "local"
"""In place of an address: a scheduler and workers of our own on this machine."""

OPEN_PORT = (
    "Whoever reaches the port of the scheduler or of a worker runs code there, without a password: keep them on "
    "127.0.0.1 or a private network, or give all of them TLS certificates of your own (see `rxpipe worker --help`)."
)
"""What an open port means, for people."""

_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?/?")
TLS_FILES = ("tls_ca", "tls_cert", "tls_key")
"""Options that name PEM files: of the certificate authority, of one's own certificate, of its key."""

Role = Literal["client", "worker"]

_TIMES = ("silence_s", "ask_timeout_s", "connect_timeout_s")
_IN_ADDRESS = ("requires", *_TIMES, "workers", "holds", *TLS_FILES)


@dataclass(frozen=True, slots=True)
class Address:
    """A scheduler.

    text: as Dask has it, "tcp://host:8786" or "tls://host:8786"; None for one of our own. options: that the address
    had. security: certificates; None where nothing is encrypted. files: that they were read from, by the names of
    `TLS_FILES`; empty for those of Dask's own settings.
    """

    text: str | None
    options: Mapping[str, str]
    security: Security | None = None
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_local(self) -> bool:
        """Whether scheduler and workers are of our own, on this machine."""
        return self.text is None

    def spelled(self, **options: str) -> str:
        """Return the address as a user writes it, with the options that are not empty, and its certificates."""
        bare = f"dask:{LOCAL}" if self.text is None else self.text.replace("tcp://", "dask://")
        given = {**options, **self.files}
        query = "&".join(f"{name}={quote(value, safe='/:=')}" for name, value in given.items() if value)
        return f"{bare}?{query}" if query else bare


def parse_address(url: str, *, role: Role = "client", **files: str | Path | None) -> Address:
    """Return where a scheduler is, and how it is reached.

    Args:
        url: "dask://host:8786", "tcp://host:8786", "tls://host:8786", "host", a port of this machine, or "local", and
            options such as "?requires=sdxl=1&silence_s=10" or "?tls_ca=ca.pem&tls_cert=me.pem&tls_key=me-key.pem"
            behind it. "dask://" means TLS where there are certificates.
        role: whose certificate it is; a worker's address has no other options, and is never "local".
        files: tls_ca, tls_cert and tls_key; they come before those of the address.

    Raises:
        ConfigError: it is no address, has an option that is not one of an address, or its certificates cannot be used.
    """
    bare, _, query = url.strip().partition("?")
    scheme, separator, rest = bare.partition("://")
    if not separator:
        scheme, rest = "dask", bare.removeprefix("dask:")
    what = f"backend {cut(url)!r}" if role == "client" else f"SCHEDULER {cut(url)!r}"
    options = _options(what, query, _IN_ADDRESS if role == "client" else TLS_FILES)
    named = {name: files.get(name) or options.get(name) for name in TLS_FILES}
    own = {name: str(Path(path).expanduser().absolute()) for name, path in named.items() if path}
    if role == "client" and scheme == "dask" and rest.strip("/") == LOCAL:
        if own:
            raise ConfigError([f"{what}: no TLS: all of dask:{LOCAL} is on 127.0.0.1"])
        return Address(None, options)
    found = _HOST.fullmatch(f"127.0.0.1:{rest}" if rest.isdecimal() else rest)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    local = role == "worker" and rest.strip("/") == LOCAL
    if found is None or local or not 0 < port < 65536 or scheme not in {"dask", "tcp", "tls"}:  # noqa: PLR2004  # the highest port
        allowed = f", or dask:{LOCAL}" if role == "client" else ", or host:port"
        raise ConfigError([f"{what}: allowed: dask://host:{DEFAULT_PORT}, tls://host:{DEFAULT_PORT}{allowed}"])
    if scheme == "tcp" and own:
        raise ConfigError([f"{what}: tcp:// is without TLS; with {', '.join(TLS_FILES)} write tls://"])
    security = None if scheme == "tcp" else security_of(own, role=role, wanted=scheme == "tls")
    return Address(f"{'tls' if security else 'tcp'}://{found['host']}:{port}", options, security, own)


def _options(what: str, query: str, allowed: Sequence[str]) -> dict[str, str]:
    """Return the options of an address; a plus in a path stays one."""
    pairs = [part.partition("=") for part in query.split("&") if part]
    options = {unquote(name): unquote(value) for name, _, value in pairs}
    for name in options:
        if name not in allowed:
            raise ConfigError([f"{what}: no option {cut(name)!r}; {suggestion(name, allowed)}"])
    return options


def security_of(files: Mapping[str, str], *, role: Role, wanted: bool) -> Security | None:
    """Return the certificates of a client or a worker; where no file is given those of Dask's own settings.

    Args:
        files: by the names of `TLS_FILES`.
        role: whose certificate it is.
        wanted: whether there must be some.

    Returns:
        None where neither are there, and none are wanted.

    Raises:
        ConfigError: only some of the three are given, one is missing or cannot be used, or none is there.
    """
    if not files:
        return _security_of_dask(role, wanted=wanted)
    if missing := [name for name in TLS_FILES if name not in files]:
        raise ConfigError([f"TLS needs {', '.join(TLS_FILES)}; missing: {', '.join(missing)}"])
    if problems := [f"{name}: {path}: {why}" for name, path in files.items() if (why := _unusable(Path(path)))]:
        raise ConfigError(problems)
    own = {f"tls_{role}_cert": files["tls_cert"], f"tls_{role}_key": files["tls_key"]}
    security = Security(tls_ca_file=files["tls_ca"], require_encryption=True, **own)
    _load(security, role, ", ".join(f"{name} {path}" for name, path in files.items()))
    return security


def _security_of_dask(role: Role, *, wanted: bool) -> Security | None:
    security = Security()
    own = security.get_tls_config_for_role(role)
    if not (wanted or security.require_encryption):
        return None
    if not (own["ca_file"] and own["cert"]):
        raise ConfigError(
            [
                (
                    f"TLS: no certificates; give {', '.join(TLS_FILES)}: as options of `rxpipe worker`, behind the "
                    f"address (tls://host:{DEFAULT_PORT}?tls_ca=ca.pem&tls_cert=me.pem&tls_key=me-key.pem), under "
                    "[backend] in the config file, or in Dask's own settings (distributed.comm.tls)"
                )
            ]
        )
    _load(security, role, "of Dask's own settings")
    return security


def _load(security: Security, role: Role, what: str) -> None:
    """Load the certificates once, where a wrong one is a clear error and not a failed connection."""
    try:
        security.get_connection_args(role)
    except OSError as error:  # ssl.SSLError is one
        reason = getattr(error, "reason", None) or error.strerror or str(error)
        raise ConfigError([f"TLS: the certificates cannot be used ({reason}): {what}"]) from error


def _unusable(path: Path) -> str:
    """Return why a file of certificates cannot be used; empty if nothing speaks against it."""
    try:
        text = path.read_bytes()
    except OSError as error:
        return "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
    if b"ENCRYPTED" in text:  # OpenSSL would ask for it on the terminal
        return "is protected by a passphrase; allowed: a key without one"
    return "" if b"-----BEGIN" in text else "is no PEM file (it has no -----BEGIN ...-----)"


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
