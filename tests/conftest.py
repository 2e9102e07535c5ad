"""What all tests share: slow ones stand apart, and where there is no display tests of windows fail, they never skip."""

from __future__ import annotations

import atexit
import collections
import functools
import itertools
import os
import random
import subprocess
import tempfile
import tkinter as tk
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from PySide6.QtWidgets import QApplication

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")  # here, so that programs started by tests inherit it
os.environ["RXPIPE_STORE"] = "none"  # for what runs outside of a test; each test has a store of its own

# How long an example takes says how busy the machine is; what must be quick is held to it by the benchmarks.
_common = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("tests", _common, max_examples=25)
settings.register_profile("thorough", _common, max_examples=150)


_stores = itertools.count()


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    """Each test has a store of its own, which is not made before it is used; never the user's."""
    monkeypatch.setenv("RXPIPE_STORE", str(_folder_of_stores() / f"{next(_stores)}.sqlite3"))


@functools.cache
def _folder_of_stores():
    """A folder that is gone with the process."""
    folder = tempfile.TemporaryDirectory(prefix="rxpipe-stores-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run only the slow tests, which are left out otherwise")


def pytest_configure(config):
    """Give every property more examples where time is given to the slow tests; before modules with properties load."""
    settings.load_profile("thorough" if config.getoption("--slow") else "tests")


def _chosen(config):
    """Whether tests were named one by one, or by an expression of marks: then those are run, slow or not."""
    return bool(config.option.markexpr) or any("::" in argument for argument in config.args)


def _thin_out(items):
    """Mark as slow all but n cases of every test that is marked sampled(n); in every process the same ones."""
    cases = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("sampled") is not None:
            cases[item.path, item.cls, item.originalname].append(item)
    for of_one_test in cases.values():
        (count,) = of_one_test[0].get_closest_marker("sampled").args
        chance = random.Random(of_one_test[0].originalname)  # noqa: S311 - keeps no secret
        quick = [item for item in of_one_test if item.get_closest_marker("slow") is None]
        kept = chance.sample(quick, min(count, len(quick)))
        for item in of_one_test:
            if item not in kept:
                item.add_marker(pytest.mark.slow)


def _is_slow_or_property(item):
    """Whether --slow runs it; a property runs in both parts, with few examples and with many."""
    return item.get_closest_marker("slow") is not None or getattr(item.obj, "is_hypothesis_test", False)


def pytest_collection_modifyitems(config, items):
    """Leave out the slow tests, or with --slow all others."""
    if _chosen(config):
        return
    _thin_out(items)
    runs = _is_slow_or_property if config.getoption("--slow") else lambda item: item.get_closest_marker("slow") is None
    left_out = [item for item in items if not runs(item)]
    items[:] = [item for item in items if runs(item)]
    config.hook.pytest_deselected(items=left_out)


def pytest_terminal_summary(terminalreporter, config):
    """Say what was left out, also with -q and -n."""
    if not _chosen(config):
        terminalreporter.write_line(
            "only the slow tests (--slow)" if config.getoption("--slow") else "without the slow tests (see --slow)"
        )


_interpreters = []


def _keep_interpreters():
    """Keep every Tcl interpreter for good: one that a worker's garbage collection deletes aborts Python."""
    begin = tk.Tk.__init__

    def begin_and_keep(window, *args, **options):
        begin(window, *args, **options)
        _interpreters.append(window.tk)

    tk.Tk.__init__ = begin_and_keep


_keep_interpreters()


def start_xvfb():
    """An X server of our own and the number of its display, which it picks itself and writes to a pipe."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1366x768x24", "-nolisten", "tcp"]
    try:
        server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)  # noqa: S603  fixed words
    except FileNotFoundError:
        os.close(read_end)
        pytest.fail("there is no DISPLAY and no Xvfb; `bash .ci/test` installs it", pytrace=False)
    finally:
        os.close(write_end)
    with os.fdopen(read_end) as pipe:
        number = pipe.readline().strip()
    if not number:
        server.wait(10)
        pytest.fail(f"Xvfb ended with {server.returncode} before it had a display", pytrace=False)
    return server, f":{number}"


@pytest.fixture(scope="session")
def display():
    """The name of an X display; an Xvfb of our own where DISPLAY is not set."""
    if os.environ.get("DISPLAY"):
        yield os.environ["DISPLAY"]
        return
    server, name = start_xvfb()
    os.environ["DISPLAY"] = name
    yield name
    del os.environ["DISPLAY"]
    server.terminate()
    server.wait(10)


@pytest.fixture
def root(display):  # noqa: ARG001  the window needs one
    """A Tk window that is gone after the test, whether the test destroyed it or not."""
    window = tk.Tk()
    window.tk.call("tk", "scaling", 96 / 72)  # Tk keeps it per display: a window at 200 % leaves it to the next
    window.update()  # Tk's own start-up work done, which would complain in the next test if it came after destroy()
    yield window
    try:
        window.destroy()
    except tk.TclError:
        return  # the test closed it


@pytest.fixture(scope="session")
def qt_app():
    """The one QApplication a process may have, drawing off screen."""
    return QApplication.instance() or QApplication([])
