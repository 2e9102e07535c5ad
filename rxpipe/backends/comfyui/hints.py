"""What is particular to a ComfyUI server's HTTP: its address, and what to do about its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxpipe.backends.http.address import Address
from rxpipe.backends.http.failures import ErrorHints

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT = 8188
SCHEME = "comfyui://"
KNOWN_TAILS = ("/api", "/prompt", "/ws")

HINTS = ErrorHints(
    refused=f"Start ComfyUI, or give the address it listens on, such as http://127.0.0.1:{DEFAULT_PORT}.",
    unauthorized=(
        "ComfyUI itself has no passwords: a proxy in front asks for them (auth=, headers=), or the request's origin is "
        "refused, which --enable-cors-header switches off."
    ),
    api_path="/",
    missing_api="ComfyUI has no such path: is it a ComfyUI, and recent enough?",
)


def parse_address(url: str, *, auth: str | None = None, headers: Mapping[str, str] | None = None) -> Address:
    """Return the address of a ComfyUI server; see `Address.parse`."""
    text = url.strip()
    if text.lower().startswith(SCHEME):
        text = text[len(SCHEME) :]
    return Address.parse(text, auth=auth, headers=headers, known_tails=KNOWN_TAILS, default_port=DEFAULT_PORT)
