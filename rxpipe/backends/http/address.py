"""The address of a server: a parsed URL whose credentials are kept where nothing prints them.

Credentials come from the URL, from the caller, or from the environment, in this order. After this module no URL holds
any.
"""

from __future__ import annotations

import base64
import ipaddress
import os
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from rxpipe.errors import ConfigError
from rxpipe.shown import cut

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AUTH_VARIABLE = "RXPIPE_BACKEND_AUTH"
"""Environment variable that holds "user:password" for servers started with `--api-auth`."""


_SCHEMES = ("http://", "https://")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_AT = "@\N{FULLWIDTH COMMERCIAL AT}\N{SMALL COMMERCIAL AT}"
_PLACE = re.compile(r"([^/?#\\]*)([^?#]*)", re.DOTALL)
_NOT_OF_A_HOST = re.compile(r"[\s\x00-\x20\x7f\"'<>\\^`{|}]")
_PORT = re.compile(r"[0-9]{1,5}")
_HIDDEN = "***"
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")


class Credentials:
    """A user and a password that no repr, log or error shows."""

    __slots__ = ("_header",)

    def __init__(self, user: str, password: str) -> None:
        try:  # bytes of the environment that are no UTF-8 are sent as they came
            basic = base64.b64encode(f"{user}:{password}".encode("utf-8", "surrogateescape")).decode("ascii")
        except UnicodeEncodeError:
            raise ConfigError(["backend credentials: not writable as UTF-8 (the value is not shown)"]) from None
        self._header = f"Basic {basic}"

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """Return the credentials that "user:password" or "bearer:TOKEN" means.

        Raises:
            ConfigError: there is no colon in it, or the token cannot be sent. The message does not show the value.
        """
        user, colon, password = text.partition(":")
        if not colon or not user:
            raise ConfigError(
                ["backend credentials: not of the form user:password or bearer:TOKEN (the value is not shown)"]
            )
        if user.lower() != "bearer":
            return cls(user, password)
        if not password.isascii() or not password.isprintable() or " " in password.strip():
            raise ConfigError(["backend credentials: the token is not one word of ASCII (the value is not shown)"])
        made = cls.__new__(cls)
        made._header = f"Bearer {password.strip()}"  # noqa: SLF001  # its own
        return made

    def header(self) -> str:
        """Return the value of an Authorization header. Only the connection may have it."""
        return self._header

    def __repr__(self) -> str:
        return "Credentials(***)"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    base: scheme, host, port and path prefix, without credentials and without a slash at the end.
    credentials: sent with every request, None for none. headers: further ones, which may be as secret.
    """

    base: str
    credentials: Credentials | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(
        cls,
        url: str,
        *,
        auth: str | None = None,
        headers: Mapping[str, str] | None = None,
        known_tails: Sequence[str] = (),
        default_port: int | None = None,
    ) -> Address:
        """Return the address that *url* means.

        Args:
            url: "http://host:port", with or without "user:password@", a path prefix, or the scheme; or a port on this
                machine. `localhost` becomes 127.0.0.1: an attempt on IPv6 that is refused first costs up to two seconds
                a connection on Windows.
            auth: "user:password" or "bearer:TOKEN"; None reads RXPIPE_BACKEND_AUTH. The URL's own win over both.
            headers: sent with every request, for a proxy in front of the server.
            known_tails: ends of paths that people copy from a browser and that are cut off, longest first.
            default_port: of a URL with neither scheme nor port; None leaves it to the scheme.

        Raises:
            ConfigError: not an HTTP address. The message shows the URL without its credentials.
        """
        text = url.strip()
        if text.lstrip(":").isdigit():
            text = f"127.0.0.1:{text.lstrip(':')}"
        shown = cut(without_credentials(text))
        scheme, userinfo, rest = _split(text)
        host, port, path = _place(f"{scheme or 'http://'}{rest}", shown)
        scheme = (scheme or "http://").lower()
        if scheme not in _SCHEMES or not host:
            example = f"http://127.0.0.1:{default_port or 8000}"
            raise ConfigError([f"backend URL {shown!r}: allowed is http://host:port, such as {example}"])
        if port is None and "://" not in text:
            port = default_port
        host = "127.0.0.1" if host == "localhost" else host
        literal_host = f"[{host}]" if ":" in host else host
        base = f"{scheme}{literal_host}{f':{port}' if port else ''}{_prefix(path, known_tails)}"
        return cls(base, _credentials(userinfo, auth), _checked_headers(headers or {}))

    @property
    def is_loopback(self) -> bool:
        """True where the server is on this machine, so that no proxy is used."""
        try:
            return ipaddress.ip_address(urlsplit(self.base).hostname or "").is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return self.base


def _split(text: str) -> tuple[str, str | None, str]:
    """Return scheme with its slashes, user and password, and the rest of a URL; "" or None for what is not there.

    The last "@" ends the password, whatever is in it: a password may hold "@" and "/", and no path of a server has an
    "@". The characters that become one when a host is normalised count as one.
    """
    found = _SCHEME.match(text)
    scheme = found[0] if found else ""
    at = max(text.rfind(sign, len(scheme)) for sign in _AT)
    return scheme, (None if at < 0 else text[len(scheme) : at]), text[max(at + 1, len(scheme)) :]


def without_credentials(text: str) -> str:
    """Return a URL as it may be shown: without user and password, without what a mistake may have made of them.

    Three stars stand for a port that is no port and for a host that is no host; query and fragment are left out.
    """
    scheme, userinfo, rest = _split(text.strip())
    place = _PLACE.match(rest)
    authority, path = (place[1], place[2]) if place else (rest, "")
    if userinfo is not None and scheme.lower() not in _SCHEMES:
        scheme = ""
    return f"{scheme}{_shown_authority(authority)}{path}"


def _shown_authority(authority: str) -> str:
    is_ipv6 = authority.startswith("[")
    if unicodedata.normalize("NFKC", authority) != authority or ("%" in authority and not is_ipv6):
        return _HIDDEN
    host, colon, port = authority.rpartition(":")
    if not colon or (is_ipv6 and "]" in port) or not port:
        return authority
    if not is_ipv6:
        host, _, port = authority.partition(":")
    return authority if _PORT.fullmatch(port) else f"{host}:{_HIDDEN}"


def _place(url: str, shown: str) -> tuple[str | None, int | None, str]:
    """Return host, port and path of a URL without credentials. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:  # its message holds the URL
        raise ConfigError([f"backend URL {shown!r}: the host cannot be read"]) from None
    if host and "%" in host and ":" not in host:
        raise ConfigError([f"backend URL {shown!r}: a host has no %"])
    if host and _NOT_OF_A_HOST.search(host):
        raise ConfigError([f"backend URL {shown!r}: the host cannot be read"])
    try:
        return host, parts.port, parts.path
    except ValueError:
        raise ConfigError([f"backend URL {shown!r}: the port is not a number from 1 to 65535"]) from None


def _checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers that can be sent. Raises ConfigError, which shows no value."""
    wrong = [
        name for name, value in headers.items() if not _TOKEN.fullmatch(str(name)) or not _VALUE.fullmatch(str(value))
    ]
    if wrong:
        names = ", ".join(cut(repr(str(name))) for name in wrong)
        raise ConfigError(
            [f"backend headers: {names} cannot be sent: allowed are names and values of one line of ASCII"]
        )
    return {str(name): str(value) for name, value in headers.items()}


def _prefix(path: str, known_tails: Sequence[str]) -> str:
    path = path.rstrip("/")
    for tail in known_tails:
        path = path.removesuffix(tail)
    return path.rstrip("/")


def _credentials(userinfo: str | None, auth: str | None) -> Credentials | None:
    user, _, password = (userinfo or "").partition(":")
    if user:
        return Credentials(unquote(user), unquote(password))
    text = auth or os.environ.get(AUTH_VARIABLE)
    return Credentials.parse(text) if text else None
