"""The server's options, which belong to all of its clients: what a request overrides is as before afterwards.

A server restores an overridden option only where its own file holds it; any other stays changed for everybody, and a
cancelled, failed or killed run changes nothing about that. So an option is written with the value that it has before
the first request of ours that overrides it: its value is the same, and from then on the server restores it by itself.

While a job runs, an option's value may be that job's own. Then nothing is written beforehand, and what stayed changed
is put back after our job.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from rxpipe.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.progress import ProgressClient

OPTIONS = "/sdapi/v1/options"
_RESTORED_ALWAYS = frozenset({"sd_model_checkpoint"})
_NO_UPSCALER = {"upscaler_for_img2img": "None"}


class _Overridden(NamedTuple):
    before: Any
    sent: Any


def read_options(connection: Connection, *, timeout_s: float) -> dict[str, Any]:
    """Return the server's options, empty where it does not list them.

    Raises:
        BackendError: no answer.
    """
    answer = connection.get_optional(OPTIONS, timeout_s=timeout_s)
    options = None if answer is None else answer.json()
    return options if isinstance(options, dict) else {}


def format_warnings(options: Mapping[str, object]) -> list[str]:
    """Return warnings about options of the server that cost quality, or the text in its files."""
    warnings = []
    name = options.get("samples_format", "png")
    if name != "png":
        warnings.append(
            f"the server's option samples_format is {name!r}: each stage's picture is encoded with loss; "
            "set it to 'png' in the server's settings"
        )
    if options.get("enable_pnginfo", True) is False:
        warnings.append("the server's option enable_pnginfo is off: the text in the files is put in here")
    return warnings


class OptionKeeper:
    """Keeps the options of one server as they are. Safe from any thread.

    Args:
        progress_client: reads whether a job runs.
        timeout_s: for each question.
    """

    def __init__(self, progress_client: ProgressClient, *, timeout_s: float) -> None:
        self._progress_client = progress_client
        self._timeout_s = timeout_s
        self._kept: set[str] = set()
        self._open: dict[str, _Overridden] = {}
        self._lock = threading.Lock()

    def before_request(self, connection: Connection, overrides: Mapping[str, Any] | None) -> None:
        """Let the server restore what a request is about to override; what fails is put back afterwards."""
        names = [name for name in overrides or () if name not in _RESTORED_ALWAYS]
        with self._lock:
            names = [name for name in names if name not in self._kept and name not in self._open]
            if not names or overrides is None:
                return
            try:
                options = read_options(connection, timeout_s=self._timeout_s)
                self._open |= {name: _Overridden(options[name], overrides[name]) for name in names if name in options}
                if self._is_idle(connection):
                    for name in names:
                        self._hold(connection, name)
            except BackendError:
                return  # the request itself raises what is wrong

    def after_request(self, connection: Connection) -> tuple[str, ...]:
        """Put back what stayed changed, where that is not known to be restored; return warnings about what cannot be.

        Call it while no job of ours runs: what runs overrides options itself.
        """
        with self._lock:
            if not self._open:
                return ()
            try:
                options = read_options(connection, timeout_s=self._timeout_s)
            except BackendError:
                return ()  # asked again after the next request
            changed = [name for name, option in self._open.items() if options.get(name) == option.sent != option.before]
            warnings = [warning for name in changed if (warning := self._put_back(connection, name))]
            self._kept |= self._open.keys()
            self._open.clear()
            return tuple(warnings)

    @property
    def has_open(self) -> bool:
        """Whether an option may have stayed changed."""
        return bool(self._open)

    def _is_idle(self, connection: Connection) -> bool:
        return self._progress_client.read_server(connection, timeout_s=self._timeout_s).state.job_count == 0

    def _hold(self, connection: Connection, name: str) -> None:
        option = self._open.get(name)
        if option is None:
            return
        if not option.before and option.before is not False:  # a server does not write an empty value over nothing
            self._write(connection, name, _NO_UPSCALER.get(name, option.sent))
        self._write(connection, name, option.before)
        self._kept.add(name)
        del self._open[name]

    def _put_back(self, connection: Connection, name: str) -> str:
        option = self._open[name]
        try:
            self._write(connection, name, option.before)
        except BackendError as error:
            return f"the server keeps {name}={option.sent!r} for all of its clients: {error.message}"
        return ""

    def _write(self, connection: Connection, name: str, value: Any) -> None:
        body = json.dumps({name: _as_held(value)}).encode()
        connection.post(OPTIONS, body, timeout_s=self._timeout_s)


def _as_held(value: Any) -> Any:
    """Return a value as the server's file holds it: its API lists whole numbers as floats, which are no indices."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
