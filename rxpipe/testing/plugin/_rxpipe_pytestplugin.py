"""The pytest plugin of rxpipe: fixtures `marbles`, `webui_server` and `comfyui_server`, and `--marble-svg=DIR`.

Every pytest run in an environment with rxpipe loads this module. So it lies outside the package, whose import costs a
tenth of a second, and imports nothing but pytest; everything else is imported when a test uses it.
"""

# ruff: noqa: INP001  no package: installed as a module of its own

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rxpipe.testing import ComfyUIServer, WebUIServer
    from rxpipe.testing.marbles import Marbles
    from rxpipe.testing.rewriting import Rewrites

STARTED = pytest.StashKey["Marbles"]()
REWRITES = pytest.StashKey["Rewrites"]()
UNVERIFIED = pytest.StashKey[Exception]()


@pytest.fixture
def marbles(request: pytest.FixtureRequest) -> Iterator[Marbles]:
    """Virtual time for this test, streams from diagrams, expectations: an entered `rxpipe.testing.Marbles`."""
    from rxpipe.testing.marbles import Marbles  # noqa: PLC0415 - only a test that uses it pays for it

    with Marbles(verify=False) as started:
        request.node.stash[STARTED] = started
        started.rewrites = _rewrites(request.config)
        yield started
        started.end_fixtures()


@pytest.fixture
def webui_server(request: pytest.FixtureRequest) -> Iterator[WebUIServer]:
    """A WebUI server on a free loopback port: `webui_server.url`, `.fault(...)`, `.jobs`; see `WebUIServer`.

    `@pytest.mark.parametrize("webui_server", ["forge", {"flavour": "a1111", "latency_s": 0.1}], indirect=True)`
    selects which: a flavour, or arguments of WebUIServer.
    """
    from rxpipe.testing import WebUIServer  # noqa: PLC0415 - only a test that uses it pays for it

    options = getattr(request, "param", {})
    with WebUIServer(**({"flavour": options} if isinstance(options, str) else options)) as server:
        yield server


@pytest.fixture
def comfyui_server(request: pytest.FixtureRequest) -> Iterator[ComfyUIServer]:
    """A ComfyUI server on a free loopback port: `comfyui_server.url`, `.fault(...)`, `.jobs`; see `ComfyUIServer`.

    `@pytest.mark.parametrize("comfyui_server", ["0.3.40", {"version": "0.3.64", "latency_s": 0.1}], indirect=True)`
    selects which: a version, or arguments of ComfyUIServer. Without one it is the newest recorded, drawing noise.
    """
    from rxpipe.testing import ComfyUIServer  # noqa: PLC0415 - only a test that uses it pays for it

    options = getattr(request, "param", {})
    with ComfyUIServer(
        **{"draw": "noise", **({"version": options} if isinstance(options, str) else options)}
    ) as server:
        yield server


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --marble-svg and --marbles-update."""
    parser.getgroup("rxpipe").addoption(
        "--marble-svg", metavar="DIR", help="draw every stream that was not as expected as DIR/<test>.svg"
    )
    parser.getgroup("rxpipe").addoption(
        "--marbles-update", action="store_true", help="rewrite expected diagrams in the test files to what came"
    )


def _rewrites(config: pytest.Config) -> Rewrites | None:
    """Return what collects the expectations to rewrite; None without --marbles-update."""
    if not config.getoption("--marbles-update"):
        return None
    from rxpipe.testing.rewriting import Rewrites  # noqa: PLC0415 - only a run that rewrites pays for it

    if hasattr(config, "workerinput"):
        raise pytest.UsageError("--marbles-update writes files, which several processes must not: run it with -n 0.")
    if REWRITES not in config.stash:
        config.stash[REWRITES] = Rewrites()
    return config.stash[REWRITES]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Rewrite what --marbles-update is to rewrite, and say so."""
    rewrites = config.stash.get(REWRITES, None)
    for line in [] if rewrites is None else rewrites.apply():
        terminalreporter.write_line(f"marbles: {line}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Draw the failure, and add the path of the picture to the report."""
    report = yield
    folder = item.config.getoption("--marble-svg")
    failure = item.stash.get(UNVERIFIED, call.excinfo and call.excinfo.value)
    picture = getattr(failure, "svg", None)
    if folder and report.failed and picture is not None:
        path = Path(folder) / (re.sub(r"[^\w.-]+", "-", item.nodeid).strip("-") + ".svg")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(picture(), encoding="utf-8")
        report.sections.append(("marbles", str(path)))
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Show for `assert stream == "--a|"` what `to_be` shows."""
    for side in (left, right):
        mismatch = getattr(side, "mismatch", None)
        if op == "==" and isinstance(mismatch, AssertionError):  # and not any attribute of anything
            return str(mismatch).splitlines()
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test that has the fixture `marbles` in its virtual time."""
    started = pyfuncitem.stash.get(STARTED, None)
    if started is None or not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    started.run_async(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Verify within the call, so that a stream never compared is a failure of the test and not of its teardown."""
    started = item.stash.get(STARTED, None)
    if started is not None:
        started.begin_test()
    result = yield
    failure = None if started is None else _unverified(started)
    if failure is not None:
        item.stash[UNVERIFIED] = failure
        pytest.fail(str(failure), pytrace=False)  # no line of the test led to it, so its text alone is shown
    return result


def _unverified(started: Marbles) -> Exception | None:
    from rxpipe.testing.clock import MarbleError  # noqa: PLC0415 - a test that uses it has paid for it

    try:
        started.verify()
    except (AssertionError, MarbleError) as error:
        return error
    return None
