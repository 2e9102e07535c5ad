"""Report: writes a run as a page, and as a trace, into files."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

from rxpipe.errors import ConfigError, SaveError
from rxpipe.result import PipelineRunResult
from rxpipe.store.reading import Store, default_store
from rxpipe.views.report.page import page_text
from rxpipe.views.report.shown_run import ShownRun, run_of_result, run_of_store
from rxpipe.views.report.trace import trace_text

__all__ = ["report", "write_report"]

_PAGE_MARK, _TRACE_MARK = b"<!-- rxpipe report -->", b'"producer": "rxpipe report"'
_HEAD = 400


def report(
    run: PipelineRunResult | str,
    path: Path | str | None = None,
    *,
    trace: Path | str | None = None,
    store: Store | Path | str | None = None,
) -> Path:
    """Write a run as one HTML page that needs nothing else, and return where it is.

    It shows the pictures, the settings, a timeline of stages, images and servers with retries and failures, where the
    time went, and the warnings. It loads nothing, has no scripts, and follows the reader's choice of dark or light.

    Args:
        run: its result; or its id in a store, the first characters of one, or "last".
        path: of the page; absent: `report-RUN.html` in the current folder. A report there is replaced.
        trace: a file for the same run in Chrome's Trace Event Format, which Perfetto opens; absent: none.
        store: that has the run; absent: the user's. Not used with a result.

    Raises:
        StoreError: the store has no such run, or cannot be read. ConfigError: there is no store; or a file is in the
            way that is no report. SaveError: a file cannot be written.
    """
    if isinstance(run, PipelineRunResult):
        return write_report(run_of_result(run), path, trace)
    found = default_store() if store is None else store if isinstance(store, Store) else Store(store)
    if found is None:
        raise ConfigError(["RXPIPE_STORE switches the store of runs off; name one with store="])
    return write_report(run_of_store(found, run), path, trace)


def write_report(run: ShownRun, path: Path | str | None = None, trace: Path | str | None = None) -> Path:
    """Write a run as `report` does; raises what that raises."""
    page = Path(f"report-{run.run_id}.html" if path is None else path).expanduser()
    if page.is_dir():
        page /= f"report-{run.run_id}.html"
    if trace is not None and Path(trace).expanduser().absolute() == page.absolute():
        raise ConfigError([f"{page} was given for both the page and the trace; give each a file of its own"])
    marks = [(page, _PAGE_MARK), *([(Path(trace).expanduser(), _TRACE_MARK)] if trace is not None else [])]
    for file, mark in marks:
        _check_free(file, mark)
    if trace is not None:
        _write(Path(trace).expanduser(), trace_text(run))
    _write(page, page_text(run, page.absolute().parent))
    return page


def _check_free(path: Path, mark: bytes) -> None:
    """Raise ConfigError if a file is there that is none of ours, such as a picture."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError:
        return
    except OSError as error:
        raise SaveError(f"{path} cannot be written: {error.strerror or error}.") from error
    if head and mark not in head:
        raise ConfigError([f"{path} is there already and is no report; it was left as it is"])


def _write(path: Path, text: str) -> None:
    """Write a file at once as a whole: a report that was there stays until then."""
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_text(text, encoding="utf-8", errors="backslashreplace")
            os.replace(part, path)  # noqa: PTH105  # as everywhere
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(f"{path} cannot be written: {error.strerror or error}.") from error
