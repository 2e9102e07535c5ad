"""The address of a server: a parsed URL whose credentials are kept where nothing prints them.

Credentials come from the URL, from the caller, or from the environment, in this order. After this module no URL holds
any.
"""

from __future__ import annotations

import base64
import ipaddress
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rxpipe.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

AUTH_VARIABLE = "RXPIPE_BACKEND_AUTH"
"""Environment variable that holds "user:password" for servers started with `--api-auth`."""


class Credentials:
    """A user and a password that no repr, log or error shows."""

    __slots__ = ("_basic",)

    def __init__(self, user: str, password: str) -> None:
        self._basic = base64.b64encode(f"{user}:{password}".encode()).decode("ascii")

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """Return the credentials that "user:password" means.

        Raises:
            ConfigError: there is no colon in it. The message does not show the value.
        """
        user, colon, password = text.partition(":")
        if not colon or not user:
            raise ConfigError(["backend credentials: not of the form user:password (the value is not shown)"])
        return cls(user, password)

    def header(self) -> str:
        """Return the value of an Authorization header. Only the connection may have it."""
        return f"Basic {self._basic}"

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    base: scheme, host, port and path prefix, without credentials and without a slash at the end.
    credentials: sent with every request, None for none.
    """

    base: str
    credentials: Credentials | None = field(default=None, repr=False)

    @classmethod
    def parse(
        cls, url: str, *, auth: str | None = None, known_tails: Sequence[str] = (), default_port: int | None = None
    ) -> Address:
        """Return the address that *url* means.

        Args:
            url: "http://host:port", with or without "user:password@", a path prefix, or the scheme; or a port on this
                machine. `localhost` becomes 127.0.0.1: an attempt on IPv6 that is refused first costs up to two seconds
                a connection on Windows.
            auth: "user:password"; None reads RXPIPE_BACKEND_AUTH. The URL's own win over both.
            known_tails: ends of paths that people copy from a browser and that are cut off, longest first.
            default_port: of a URL with neither scheme nor port; None leaves it to the scheme.

        Raises:
            ConfigError: not an HTTP address. The message shows the URL without its credentials.
        """
        text = url.strip()
        if text.lstrip(":").isdigit():
            text = f"127.0.0.1:{text.lstrip(':')}"
        parts = urlsplit(text if "://" in text else f"http://{text}")
        shown = without_credentials(text)
        try:
            port = parts.port
        except ValueError:
            raise ConfigError([f"backend URL {shown!r}: the port is not a number from 1 to 65535"]) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            example = f"http://127.0.0.1:{default_port or 8000}"
            raise ConfigError([f"backend URL {shown!r}: allowed is http://host:port, such as {example}"])
        if port is None and "://" not in text:
            port = default_port
        host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
        literal_host = f"[{host}]" if ":" in host else host
        base = f"{parts.scheme}://{literal_host}{f':{port}' if port else ''}{_prefix(parts.path, known_tails)}"
        return cls(base, _credentials(parts.username, parts.password, auth))

    @property
    def is_loopback(self) -> bool:
        """True where the server is on this machine, so that no proxy is used."""
        try:
            return ipaddress.ip_address(urlsplit(self.base).hostname or "").is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return self.base


def without_credentials(text: str) -> str:
    """Return a URL as it may be shown."""
    head, at, tail = text.rpartition("@")
    return f"{head.partition('://')[0]}://{tail}" if at and "://" in head else tail if at else text


def _prefix(path: str, known_tails: Sequence[str]) -> str:
    path = path.rstrip("/")
    for tail in known_tails:
        path = path.removesuffix(tail)
    return path.rstrip("/")


def _credentials(user: str | None, password: str | None, auth: str | None) -> Credentials | None:
    if user:
        return Credentials(unquote(user), unquote(password or ""))
    text = auth or os.environ.get(AUTH_VARIABLE)
    return Credentials.parse(text) if text else None
