"""Failures of HTTP requests as typed errors: what a status means, what the server says, what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from rxpipe.backends.http.address import without_credentials
from rxpipe.errors import BackendError, BackendFailed, BackendRejected, BackendUnavailable, BadResponse
from rxpipe.shown import cut

if TYPE_CHECKING:
    from rxpipe.backends.http.connection import Response

_SHOWN = 300  # characters of a server's own message
_SHOWN_BODY = 120  # bytes of a body that is not JSON
_MOST_VALUES = 1_000_000  # of a JSON answer
_MOVED = range(300, 400)
_AUTH = {401, 403}
_LATER = {429, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class KnownFailure:
    """A failure that a server reports as a 500, recognised by its text.

    kind: the error to raise. hint: what to do about it. passes: it may be over the next time; only for BackendFailed.
    """

    pattern: re.Pattern[str]
    kind: type[BackendFailed | BackendRejected]
    hint: str
    passes: bool = False

    def error(self, message: str) -> BackendFailed | BackendRejected:
        """Return the error."""
        if self.passes and issubclass(self.kind, BackendFailed):
            return self.kind(message, hint=self.hint, retryable=True)
        return self.kind(message, hint=self.hint)


@dataclass(frozen=True, slots=True)
class ErrorHints:
    """What to do about each kind of failure, in the terms of one kind of server.

    refused: nothing listens at the address. unauthorized: 401 or 403. unprocessable: 422, the request is well-formed
    and refused. missing_api: a plain "Not Found" for a path that begins with `api_path`. failures: known 500s, the
    first that matches is used.
    """

    refused: str = "Start the server, or give the address it listens on."
    unauthorized: str = (
        "Set RXPIPE_BACKEND_AUTH=user:password, or give them in the address: http://user:password@host:port."
    )
    unprocessable: str = "A setting of this stage is not one that the server takes."
    api_path: str | None = None
    missing_api: str | None = None
    failures: tuple[KnownFailure, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What was sent and where, for the end of a message."""

    method: str
    path: str
    base: str

    def message(self, outcome: str) -> str:
        """Return the text of an error about this request."""
        outcome = outcome if outcome.endswith("...") else outcome.removesuffix(".")
        where = "" if self.base in outcome else f" at {self.base}"
        return f"{outcome} ({self.method} {self.path}{where})."


def refusal(hints: ErrorHints, request: RequestInfo, answer: Response) -> BackendError:
    """Return the typed error for an answer whose status is no success."""
    status, headers = answer.status, answer.headers
    text = message_of(answer.body) or "(no message)"
    message = request.message(f"answered {status} after {answer.elapsed_s:.1f} s: {text}")
    if status in _LATER:
        wait_s = retry_after_s(headers.get("Retry-After"))
        return BackendUnavailable(message, hint="It is busy or restarting.", retry_after_s=wait_s, scope="image")
    if status < 500:  # noqa: PLR2004  # HTTP's own
        return BackendRejected(message, hint=_refusal_hint(hints, request.path, status, headers, text))
    for known in hints.failures:
        if known.pattern.search(text):
            return known.error(message)
    return BackendFailed(message, hint="The server's console says more.", retryable=True)


def _refusal_hint(hints: ErrorHints, path: str, status: int, headers: Mapping[str, str], text: str) -> str | None:
    if status in _AUTH:
        return hints.unauthorized
    if status in _MOVED:
        location = without_credentials(headers.get("Location", "")).removesuffix(path.partition("?")[0])
        if not location.lower().startswith(("http://", "https://")):
            return "It redirects to no other address, as no such server does: check host and port."
        return f"It has moved to {cut(location)}: give that address."
    if status == 404 and hints.api_path and path.startswith(hints.api_path):  # noqa: PLR2004  # HTTP's own
        return hints.missing_api if text == "Not Found" else "Another program may answer there: check host and port."
    return hints.unprocessable if status == 422 else None  # noqa: PLR2004  # HTTP's own


def read_json(body: bytes) -> Any:
    """Return a body as JSON.

    Raises:
        BadResponse: the body is not JSON; the message shows how it begins.
    """
    check_values(body)
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        why = str(error) if isinstance(error, ValueError) else "nested too deeply"
        raise BadResponse(f"the answer is not JSON ({why}): {shown(body)}.", hint=hint_for(body)) from error


def check_values(body: bytes) -> None:
    """Check that a JSON body has no more values than any answer needs, each of which costs tens of bytes once read.

    Raises:
        BadResponse: it has.
    """
    if sum(map(body.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise BadResponse(f"the answer has more than {_MOST_VALUES} values: {shown(body)}.", retryable=False)


def shown(body: bytes) -> str:
    """Return the beginning of a body as a message shows it."""
    text = " ".join(body[:_SHOWN_BODY].decode("utf-8", "replace").split())
    return f"{len(body)} bytes that begin with {text!r}" if body else "an empty body"


def hint_for(body: bytes) -> str | None:
    """Return what to do about a body that is not what was expected, None where nothing can be said."""
    if b"<html" in body[:1000].lower():
        return "A web page came, not the server's API, or a proxy is in between: check the URL."
    return None


def message_of(body: bytes) -> str:
    """Return what a server says of its failure: the first of detail, message, errors that is not empty, shortened."""
    try:
        value = read_json(body)
    except BadResponse:
        value = None
    if isinstance(value, Mapping):
        said = next((value[key] for key in ("detail", "message", "errors") if value.get(key)), value.get("error"))
        text = _listed(said) if isinstance(said, list) else str(said or "")
        kind = value.get("error")
        if isinstance(kind, str) and kind != "HTTPException" and kind not in text:
            text = f"{kind}: {text}"
    else:
        text = re.sub(rb"<[^>]*>", b" ", body[:4000]).decode("utf-8", "replace")
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _listed(problems: list[Any]) -> str:
    """Return FastAPI's list of what is wrong with a request as one line."""
    parts = []
    for problem in problems:
        if isinstance(problem, Mapping):
            loc = problem.get("loc")
            where = ".".join(str(key) for key in loc if key != "body") if isinstance(loc, list) else ""
            parts.append(f"{where}: {problem.get('msg')}" if where else str(problem.get("msg")))
        else:
            parts.append(str(problem))
    return "; ".join(parts)


def retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a Retry-After header asks for, 0 or more; None where it cannot be read."""
    if value is None:
        return None
    if re.fullmatch(r"\s*\d{1,9}(\.\d+)?\s*", value):
        return float(value.strip())
    try:
        when = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def root_cause_text(failure: BaseException) -> str:
    """Return the operating system's own message, from inside the exceptions of two libraries."""
    seen: set[int] = set()
    while id(failure) not in seen:
        seen.add(id(failure))
        inner = [*failure.args, getattr(failure, "reason", None), failure.__cause__, failure.__context__]
        failure = next((one for one in inner if isinstance(one, BaseException)), failure)
    if isinstance(failure, OSError) and failure.strerror:
        return failure.strerror
    text = str(failure.args[-1]) if failure.args else ""
    return text.partition("object at 0x")[2].partition(": ")[2] or text or type(failure).__name__


def without_frames(failure: Exception) -> ConnectionError:
    """Return an exception with the same message and no frames."""
    return ConnectionError(f"{type(failure).__name__}: {root_cause_text(failure)}")
