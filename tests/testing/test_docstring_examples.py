"""The examples in docstrings run as they stand, but for their imports."""

from __future__ import annotations

import errno
import inspect
import re
from pathlib import Path

import pytest
import requests
from hypothesis import given, settings
from reactivex import operators as ops

import rxpipe as rxp
import rxpipe.testing.files
import rxpipe.testing.strategies
from rxpipe.testing import ComfyUIServer, FaultyFiles, Marbles, ScriptedBackend, WebUIServer
from rxpipe.testing.servers import comfyui, webui
from rxpipe.testing.servers.core.clock import RealClock
from rxpipe.testing.servers.core.faults import Fault
from rxpipe.testing.servers.core.request_log import RequestLog
from rxpipe.testing.servers.core.server import LoopbackServer
from rxpipe.testing.servers.core.site import Site
from rxpipe.testing.servers.core.wire import json_answer

ELSEWHERE = {"backends/base.py", "rx/mainloop/aio.py", "views/qt.py"}  # in test_readme, which has a window
BLOCK = re.compile(r"^( *)```python\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


class MySite(Site):
    def handle(self, call, request, body):  # noqa: ARG002  # a site's
        return json_answer([])


def few(*strategies):
    """Hypothesis' `given` with a handful of examples."""
    return lambda test: settings(max_examples=5)(given(*strategies)(test))


TESTS = {
    "testing/__init__.py": (rxpipe.testing, {"ops": ops}),
    "testing/strategies.py": (
        rxpipe.testing.strategies,
        {
            "given": few,
            "streams": rxpipe.testing.strategies.streams,
            "Marbles": Marbles,
            "my_operator": lambda: ops.map(lambda value: value),
        },
    ),
    "testing/files.py": (
        rxpipe.testing.files,
        {
            "FaultyFiles": FaultyFiles,
            "ScriptedBackend": ScriptedBackend,
            "errno": errno,
            "PipelineExecutor": rxp.PipelineExecutor,
            "chain": rxp.chain,
            "txt2img": rxp.txt2img,
        },
    ),
}
LOG = RequestLog(RealClock())
PROGRAMS = {
    "testing/servers/webui/server.py": (
        WebUIServer,
        {"WebUIServer": WebUIServer, "Fault": webui.Fault, "requests": requests},
    ),
    "testing/servers/comfyui/server.py": (
        ComfyUIServer,
        {
            "ComfyUIServer": ComfyUIServer,
            "Fault": comfyui.Fault,
            "requests": requests,
            "graph": comfyui.small_graph(),
        },
    ),
    "testing/servers/core/server.py": (
        LoopbackServer,
        {"LoopbackServer": LoopbackServer, "Fault": Fault, "requests": requests, "MySite": MySite, "log": LOG},
    ),
}


def example(documented, names):
    """What the code block in a docstring defines."""
    [(_, code)] = BLOCK.findall(inspect.getdoc(documented))
    namespace = dict(names)
    exec(code, namespace)  # noqa: S102  # our own words
    return namespace


@pytest.mark.parametrize("place", TESTS)
def test_a_test_in_a_docstring_passes(place, request):
    """With the fixtures that it names."""
    names = example(*TESTS[place])
    [test] = [found for name, found in names.items() if name.startswith("test_")]
    if place == "testing/strategies.py":
        test()
    else:
        test(**{name: request.getfixturevalue(name) for name in inspect.signature(test).parameters})


@pytest.mark.parametrize("place", PROGRAMS)
def test_a_program_in_a_docstring_runs(place):
    """To its end, with the assertions in it."""
    example(*PROGRAMS[place])


def test_every_example_in_a_docstring_is_run():
    """Here, or where there is a window."""
    package = Path(rxp.__file__).parent
    places = {
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if BLOCK.search(path.read_text(encoding="utf-8"))
    }
    assert places == ELSEWHERE | TESTS.keys() | PROGRAMS.keys()
