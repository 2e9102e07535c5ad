"""What a diagnosis says of a server that refuses, or answers with an error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxpipe.backends.diagnosis import Credentials, Diagnosis
    from rxpipe.backends.http.address import Address
    from rxpipe.errors import BackendError


def with_problem(found: Diagnosis, error: BackendError) -> Diagnosis:
    """Return the diagnosis with an error as its problem, and its hint as advice."""
    advice = (*found.advice, error.hint) if error.hint else found.advice
    return replace(found, problem=error.message, advice=advice)


def refused(found: Diagnosis, error: BackendError, address: Address) -> Diagnosis:
    """Return the diagnosis of a server whose first answer was an error, perhaps for want of credentials."""
    if "answered 401" in error.message or "answered 403" in error.message:
        state: Credentials = "refused" if address.credentials is not None else "missing"
        found = replace(found, api=True, credentials=state)
    return with_problem(found, error)
