"""Drive one run from the command line: show it, stop it on request, print its outcome.

Ctrl+C (or SIGTERM, SIGHUP) only sets a flag in the signal handler; the run is cancelled outside, where no lock is held.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rxpipe.cli.continuing import how_to_continue
from rxpipe.cli.outcome import Exit, lose_stdout, problem
from rxpipe.events import RunEnd
from rxpipe.executor import PipelineExecutor
from rxpipe.logs import logger
from rxpipe.rx.subject import EventSubject
from rxpipe.views.console import ConsoleView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from reactivex import Observable

    from rxpipe.backends.base import Backend
    from rxpipe.config import PipelineConfig
    from rxpipe.events import StageEvent
    from rxpipe.result import PipelineRunResult
    from rxpipe.run import Run
    from rxpipe.rx.worker import WorkerScheduler
    from rxpipe.store.reading import Store

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
_SLICE_S = 0.1
_FLUSH_S, _LOCKED_S = 3.0, 60.0  # for the rows of a run to become durable; for another program to free the store
_SHOW_CURSOR = b"\x1b[?25h\n"
_EXITS = {"completed": Exit.COMPLETED, "partial": Exit.PARTIAL, "cancelled": Exit.CANCELLED}


def run_configs(
    runs: Sequence[tuple[str, PipelineConfig]],
    backend: Backend,
    store: Store | None,
    *,
    as_json: bool,
    verbose: bool,
    grid: bool = False,
) -> Exit:
    """Run one config after another on one backend, each to its end; a cancel ends them all.

    Args:
        runs: the name of each, "" where it has none, and its config. backend: is closed at the end.
        store: keeps the runs, None for none. grid: whether a sheet of its variants is drawn after each.

    Raises:
        PlanError, BadImage: before anything of a config runs.
    """
    codes: list[Exit] = []
    with contextlib.closing(backend):
        for name, config in runs:
            start = functools.partial(PipelineExecutor.start, job=config)
            codes.append(run_one(name, start, backend, store, as_json=as_json, verbose=verbose, grid=grid))
            if codes[-1] == Exit.CANCELLED:
                return Exit.CANCELLED
    return codes[0] if len(set(codes)) == 1 else Exit.PARTIAL


def run_one(
    name: str,
    start: Callable[[PipelineExecutor], Run],
    backend: Backend,
    store: Store | None,
    *,
    as_json: bool,
    verbose: bool,
    grid: bool = False,
) -> Exit:
    """Run to the end or until cancelled, and print the progress and the outcome.

    Args:
        name: printed first, "" for none. start: starts the run. backend: of the run. store: keeps it, None for none.
        grid: whether a sheet of its variants is drawn at the end.
    """
    view = ConsoleView(verbose=verbose, end_error=False)
    output = JsonLines() if as_json else view
    with contextlib.closing(view), _logging(view, as_json=as_json, verbose=verbose):
        if not as_json:
            if name:
                view.say(f"{name}:")
            view.say(f"backend: {backend.description or backend.name}")
        executor = PipelineExecutor(backend, store=store)
        output.attach(executor.events)
        with Interrupts(view.live and not as_json) as interrupts:
            run = start(executor)
            _wait(run, lambda: interrupts.requested or output.closed, view)
        result = run.result
        if grid and result.finished and result.plan is not None:
            from rxpipe.cli.grids import grid_of_result  # noqa: PLC0415  # loaded when it is asked for

            sheet = grid_of_result(result)
            (problem if as_json else view.say)(f"grid: {_short(sheet)}")
        if not as_json:
            _say_outcome(result, view)
        elif result.error is not None:
            problem(str(result.error))
        is_heard = not (as_json or output.closed)
        if store is not None and _is_recorded(store, view) and is_heard and not result.success:
            _say_how_to_continue(result, store)
        if output.failure is not None and not isinstance(output.failure, BrokenPipeError):
            lose_stdout(output.failure)
            return Exit.FAILED
        return _EXITS.get(result.status, Exit.FAILED)


def _is_recorded(store: Store, view: ConsoleView) -> bool:
    """Wait until the run is durable in its store; return False if it is not, as the log says."""
    if store.flush(_FLUSH_S):
        return True
    problem = store.writer.problem
    if problem is not None and "locked" in problem.message:
        view.say(f"waiting for the store {store.path}, which another program holds")
        return store.flush(_LOCKED_S)
    return False


def until_interrupted(
    events: Observable[StageEvent], output: JsonLines | ConsoleView, worker: WorkerScheduler, *, live: bool
) -> Exit:
    """Show events of a run that runs elsewhere, until their end or Ctrl+C; return the exit code of the run.

    Args:
        events: emitted on *worker*. output: shows them. live: whether the cursor is hidden meanwhile.

    Raises:
        StoreError: the events cannot be read.
    """
    ended, failed = threading.Event(), []
    statuses: list[str] = []
    shown: EventSubject[StageEvent] = EventSubject()
    output.attach(shown.observable)

    def on_next(event: StageEvent) -> None:
        if isinstance(event, RunEnd):
            statuses.append(event.status)
        shown.on_next(event)

    def on_error(error: Exception) -> None:
        failed.append(error)
        ended.set()

    with Interrupts(live) as interrupts:
        events.subscribe(on_next, on_error, ended.set, scheduler=worker)
        while not ended.wait(_SLICE_S) and not interrupts.requested and not output.closed:
            pass
    if failed:
        raise failed[0]
    return _EXITS.get(statuses[-1], Exit.FAILED) if statuses else Exit.COMPLETED


def _wait(run: Run, requested: Callable[[], bool], view: ConsoleView) -> None:
    while not run.wait(_SLICE_S):
        if requested():
            view.stopping()
            run.cancel()


class JsonLines:
    """Writes one event per line to stdout, in ASCII, so that any console and any pipe can hold it.

    closed: True once the reader of stdout is gone or its disk full. failure: the error that said so.
    """

    def __init__(self) -> None:
        self.closed = False
        self.failure: OSError | None = None

    def attach(self, events: Observable[StageEvent]) -> None:
        """Write every event as it is emitted."""
        events.subscribe(self._write)

    def _write(self, event: StageEvent) -> None:
        if self.closed:
            return
        try:
            sys.stdout.write(json.dumps(event.model_dump(mode="json")) + "\n")
            sys.stdout.flush()
        except OSError as error:
            self.closed, self.failure = True, error


class Interrupts:
    """Ctrl+C, SIGTERM and SIGHUP while the context lasts: the first sets `requested`, the second ends the process.

    Args:
        live: whether the cursor is hidden and must be shown again.
    """

    def __init__(self, live: bool) -> None:
        self.requested = False
        self._live = live
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # other threads get no signals
            for number in _SIGNALS:
                if (
                    signal.getsignal(number) is not signal.SIG_IGN
                ):  # ignored signals stay ignored, as for a background job
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        if not self.requested:
            self.requested = True
            return
        if self._live:
            with contextlib.suppress(OSError):
                os.write(1, _SHOW_CURSOR)
        os._exit(Exit.CANCELLED)


@contextlib.contextmanager
def _logging(view: ConsoleView, *, as_json: bool, verbose: bool) -> Iterator[None]:
    """The package's log on the console, without what the view already shows; afterwards the library is silent again."""

    def wanted(record: object) -> bool:
        extra = record["extra"]  # type: ignore[index]  # loguru's record is a dict
        return "kind" not in extra and "backend" not in extra

    def say(message: str) -> None:
        if as_json:
            problem(message.rstrip("\n"))
        else:
            view.say(message.rstrip("\n"))

    with contextlib.suppress(ValueError):
        logger.remove(0)  # loguru's own, which would write into the block
    level = "DEBUG" if verbose else "WARNING"
    number = logger.add(say, level=level, filter=wanted, format="{level.name}: {message}")
    logger.enable("rxpipe")
    try:
        yield
    finally:
        logger.disable("rxpipe")
        logger.remove(number)


def _say_how_to_continue(result: PipelineRunResult, store: Store) -> None:
    if (command := how_to_continue(result, store)) is not None:
        problem(f"to continue: {command}")


def _say_outcome(result: PipelineRunResult, view: ConsoleView) -> None:
    """Print what was kept, then the files, one per line and last."""
    tally = result.tally
    if result.error is not None and not (view.live and view.has_shown(result.error)):
        problem(str(result.error))
    if not result.success:
        begun = len(result.images) - tally.done
        more = f", {begun} more kept unfinished" if begun else ""
        view.say(f"{tally.done} of {tally.planned} pictures finished{more}.")
    for path in _files(result):
        view.say(str(path))


def _files(result: PipelineRunResult) -> list[Path]:
    """Return the last file written for each picture, input files excluded."""
    written = (record.path for record in result.images if record.path is not None)
    given = result.plan.settings.input if result.plan else ()
    return [_short(path) for path in written if path not in given]


def _short(path: Path) -> Path:
    """Return *path* relative to the working directory if it lies below it."""
    with contextlib.suppress(ValueError, OSError):
        return path.relative_to(Path.cwd())
    return path
