"""What is particular to a WebUI's HTTP: its address, and what to do about its errors."""

from __future__ import annotations

import re

from rxpipe.backends.http.address import Address
from rxpipe.backends.http.failures import ErrorHints, KnownFailure
from rxpipe.errors import BackendFailed, BackendRejected

DEFAULT_PORT = 7860
KNOWN_TAILS = ("/sdapi/v1", "/sdapi", "/docs")

HINTS = ErrorHints(
    refused=(
        f"Start the WebUI with --api (SD.Next needs no flag), or give the address it listens on, such as "
        f"http://127.0.0.1:{DEFAULT_PORT}."
    ),
    api_path="/sdapi",
    missing_api="A WebUI without its API: start it with --api.",
    failures=(
        KnownFailure(
            re.compile(r"out of memory|OutOfMemory|not enough memory|alloc\w* .*failed", re.IGNORECASE),
            BackendFailed,
            "Lower the size, the factor or the batch, or start the WebUI with --medvram where it knows that.",
            passes=True,  # the server frees memory after it
        ),
        KnownFailure(
            re.compile(r"all NaNs|NansException", re.IGNORECASE),
            BackendFailed,
            "Try another VAE or checkpoint, or start the WebUI with --no-half-vae.",
        ),
        KnownFailure(
            re.compile(r"Invalid encoded image"),
            BackendFailed,
            "The input picture is of a kind the server does not read.",
        ),
        KnownFailure(
            re.compile(r"html_info"),
            BackendRejected,
            "SD.Next of 2026-07-20 and later fails at this: update it, or set upscale.mode to img2img.",
        ),
        KnownFailure(
            re.compile(r"Invalid image format"),
            BackendRejected,
            "The server's option samples_format names a format that it cannot write: set it to png in its settings.",
        ),
        KnownFailure(
            re.compile(r"could not find upscaler|model '.*' not found|Sampler not found", re.IGNORECASE),
            BackendRejected,
            "See `rxpipe doctor` for the names it has.",
        ),
    ),
)


def parse_address(url: str, *, auth: str | None = None) -> Address:
    """Return the address of a WebUI; see `Address.parse`."""
    return Address.parse(url, auth=auth, known_tails=KNOWN_TAILS, default_port=DEFAULT_PORT)
