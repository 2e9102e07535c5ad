"""The server's options, which belong to all of its clients: what a request overrides is as before afterwards.

A server restores an overridden option only where its own file holds it; any other stays changed for everybody, and a
cancelled, failed or killed run changes nothing about that. So all options that a plan overrides are written with the
values that they have before its first request: their values are the same, the server's file holds them, and from then
on the server restores them by itself.

While a job runs, an option's value may be that job's own, and writing one saves them all. Then nothing is written
beforehand, and what stayed changed is put back after our job, or, where that was killed, by the next run.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from rxpipe.backends.webui.leftovers import Overridden
from rxpipe.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rxpipe.backends.http.connection import Connection
    from rxpipe.backends.webui.leftovers import Leftover, OpenOptions
    from rxpipe.backends.webui.progress import ProgressClient

OPTIONS = "/sdapi/v1/options"
_RESTORED_ALWAYS = frozenset({"sd_model_checkpoint"})
_NO_UPSCALER = {"upscaler_for_img2img": "None"}


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
        record: of what is open, on disk.
        timeout_s: for each question.
    """

    def __init__(self, progress_client: ProgressClient, record: OpenOptions, *, timeout_s: float) -> None:
        self._progress_client = progress_client
        self._record = record
        self._timeout_s = timeout_s
        self._expected: dict[str, Any] = {}
        self._kept: set[str] = set()
        self._open: dict[str, Overridden] = {}
        self._put_back_early: set[str] = set()  # while another client's job ran: its options were saved with them
        self._left_by_others: list[Leftover] | None = None
        self._lock = threading.Lock()

    def expect(self, overrides: Mapping[str, Any]) -> None:
        """Note what requests of a plan will override: all of it is written before the first of them is sent."""
        with self._lock:
            self._expected |= overrides

    def before_request(self, connection: Connection, overrides: Mapping[str, Any] | None) -> tuple[str, ...]:
        """Let the server restore what requests override; return warnings about what an earlier run had left changed.

        While a job runs nothing is written, and what this request overrides is put back afterwards.
        """
        with self._lock:
            if self._left_by_others is None:
                self._left_by_others = self._record.of_others()
            wanted = self._not_kept({**self._expected, **(overrides or {})})
            if not (wanted or self._left_by_others):
                return ()
            options: dict[str, Any] = {}
            try:
                idle = self._is_idle(connection)
                options = read_options(connection, timeout_s=self._timeout_s)
                if idle and self._is_idle(connection):  # no job of another client began in between
                    warnings = self._clean_up(connection, options)
                    known = {name: wanted[name] for name in wanted if name in options}
                    if known:
                        self._hold(connection, known, options)
                    return warnings
            except BackendError:
                idle = False  # the request itself raises what is wrong
            ours = self._not_kept(overrides or {})
            self._open |= {n: Overridden(before=options[n], sent=ours[n]) for n in ours if n in options}
            self._record.write(self._open)
            return ()

    def after_request(self, connection: Connection) -> tuple[str, ...]:
        """Put back what stayed changed, where that is not known to be restored; return warnings about what cannot be.

        Call it while no job of ours runs: what runs overrides options itself. Where another client's does, that is done
        again later: its end may bring back what it found.
        """
        with self._lock:
            if not self._open:
                return ()
            try:
                idle = self._is_idle(connection)
                options = read_options(connection, timeout_s=self._timeout_s)
            except BackendError:
                return ()  # asked again after the next request
            changed = {n: one for n, one in self._open.items() if options.get(n) == one.sent != one.before}
            if idle:
                changed |= {name: self._open[name] for name in self._put_back_early & self._open.keys()}
            failed = {name: why for name in changed if (why := self._put_back(connection, name))}
            idle = idle and self._stayed_idle(connection)
            self._put_back_early = set() if idle else self._put_back_early | changed.keys()
            if idle:
                self._kept |= changed.keys() - failed.keys()
                self._open = {}
                self._record.write({name: changed[name] for name in failed})
            return tuple(failed.values())

    @property
    def has_open(self) -> bool:
        """Whether an option may have stayed changed."""
        return bool(self._open)

    def left_changed(self, options: Mapping[str, object]) -> tuple[str, ...]:
        """Return sentences about what runs that were killed have left changed, by the server's options now."""
        changed = {n: one for left in self._record.of_others() for n, one in left.changed(options).items()}
        return tuple(
            f"a run that was killed left the option {name} at {one.sent!r}, before {one.before!r}; "
            "the next run here puts it back"
            for name, one in changed.items()
        )

    def _not_kept(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        settled = {*_RESTORED_ALWAYS, *self._kept, *self._open}
        return {name: value for name, value in overrides.items() if name not in settled}

    def _is_idle(self, connection: Connection) -> bool:
        snapshot = self._progress_client.read_server(connection, timeout_s=self._timeout_s, fresh=True)
        return snapshot.state.job_count == 0

    def _stayed_idle(self, connection: Connection) -> bool:
        """Whether no job of another client began meanwhile, which found options as they were before."""
        try:
            return self._is_idle(connection)
        except BackendError:
            return False

    def _hold(self, connection: Connection, wanted: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        """Write each option with the value that it has."""
        unset = {name for name in wanted if options[name] is None or options[name] == []}
        if unset:  # a server does not write such a value over nothing, so each has another one for a moment
            between = {name: _NO_UPSCALER.get(name, wanted[name]) for name in unset}
            self._record.write(
                {**self._open, **{n: Overridden(before=options[n], sent=_as_held(between[n])) for n in unset}}
            )
            for name, value in between.items():
                self._write(connection, {name: value})
        self._write(connection, {name: options[name] for name in wanted})
        if self._stayed_idle(connection):
            self._kept |= wanted.keys()
        else:  # a job that began just now has its own options, which were saved with these
            self._open |= {name: Overridden(before=options[name], sent=_as_held(wanted[name])) for name in wanted}
            self._put_back_early |= wanted.keys()
        if unset:
            self._record.write(self._open)

    def _clean_up(self, connection: Connection, options: dict[str, Any]) -> tuple[str, ...]:
        """Put back what other runs left changed, in *options* too; the server is idle, so no run still needs it."""
        warnings = []
        for left in self._left_by_others or ():
            for name, option in left.changed(options).items():
                self._write(connection, {name: option.before})
                options[name] = option.before
                warnings.append(
                    f"an earlier run that was killed had left the server's option {name} at {option.sent!r}: "
                    f"it is {option.before!r} again"
                )
            left.forget()
        self._left_by_others = []
        return tuple(warnings)

    def _put_back(self, connection: Connection, name: str) -> str:
        option = self._open[name]
        try:
            self._write(connection, {name: option.before})
        except BackendError as error:
            return f"the server keeps {name}={option.sent!r} for all of its clients: {error.message}"
        return ""

    def _write(self, connection: Connection, values: Mapping[str, Any]) -> None:
        body = json.dumps({name: _as_held(value) for name, value in values.items()}).encode()
        connection.post(OPTIONS, body, timeout_s=self._timeout_s)


def _as_held(value: Any) -> Any:
    """Return a value as the server's file holds it: its API lists whole numbers as floats, which are no indices."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
