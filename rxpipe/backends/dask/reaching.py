"""Whether a scheduler is there, and whether the two ends of a connection agree on TLS.

Dask tries again until its time is up, several times a second, and then says that it timed out. One look beforehand
says what is wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import TYPE_CHECKING

from distributed.comm.addressing import parse_host_port

if TYPE_CHECKING:
    from distributed.security import Security

    from rxpipe.backends.dask.address import Role

_FIRST_WORD_S = 1.0  # a scheduler sends the first word of a connection
_NO_TLS = {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE", "PACKET_LENGTH_TOO_LONG"}


async def look(address: str, security: Security | None, role: Role, limit_s: float) -> tuple[bool, str]:
    """Connect to a scheduler once.

    Args:
        address: "tcp://host:port" or "tls://host:port".
        security: certificates of this side.
        role: what this side is.
        limit_s: for the connection.

    Returns:
        Whether anything answers there, and why it cannot be used: nothing does, the two ends do not agree on TLS, or
        one refuses the other's certificate. Empty if nothing speaks against it.
    """
    host, port = parse_host_port(address.partition("://")[2])
    context = None if security is None else security.get_connection_args(role)["ssl_context"]
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), limit_s)
    except ssl.SSLError as error:
        return True, _explained(error)
    except OSError as error:  # TimeoutError is one
        return False, _absent(error, limit_s)
    try:
        await asyncio.wait_for(reader.read(1), min(limit_s, _FIRST_WORD_S))
    except ssl.SSLError as error:  # since TLS 1.3 a certificate is refused after the handshake
        return True, _explained(error)
    except TimeoutError:
        expects = context is None and await _expects_tls(host, port, limit_s)
        return True, "it expects TLS: use tls:// with tls_ca, tls_cert and tls_key" if expects else ""
    except OSError as error:
        return True, "" if context is None else f"it closed the connection, as for a wrong certificate ({error})"
    finally:
        writer.close()
    return True, ""


async def _expects_tls(host: str, port: int, limit_s: float) -> bool:
    """Return whether a server that said nothing answers to the first word of TLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent to it
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=context), limit_s)
    except ssl.SSLError as error:
        return error.reason not in _NO_TLS
    except OSError:  # TimeoutError is one
        return False
    with contextlib.suppress(OSError):
        writer.close()
    return True


def _absent(error: OSError, limit_s: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {limit_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there"
    if isinstance(error, socket.gaierror):
        return f"its host name is not known ({error.strerror})"
    return error.strerror or str(error)


def _explained(error: ssl.SSLError) -> str:
    reason = error.reason or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not of the authority in tls_ca, or not valid: {error.verify_message}"
    if reason in _NO_TLS:
        return (
            "it does not answer with TLS: start it with certificates, or use dask:// without tls_ca, tls_cert, tls_key"
        )
    said = reason.lower().replace("_", " ").rpartition("alert ")[2]
    return f"it refuses the certificate in tls_cert: {said or error}"
