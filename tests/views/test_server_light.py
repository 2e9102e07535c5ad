"""The light of the connection tells the truth: looked at while idle, at once after a failure, never in the way."""

from __future__ import annotations

import threading
import time

import pytest
from hands import settle
from staged import Easel

import rxpipe as rxp
from rxpipe.rx.mainloop import PumpScheduler
from rxpipe.testing.servers.webui import WebUIServer, noise
from rxpipe.views.gui.connection import BackendConnection


@pytest.fixture
def pump(marbles):
    marbles.allow_threads()
    return PumpScheduler()


def pumped(pump, until, limit_s=10):
    """Turn the loop until the condition holds; whether it does."""
    deadline = time.monotonic() + limit_s
    while not until() and time.monotonic() < deadline:
        pump.pump()
    return until()


class Careful(Easel):
    """Counts its checks; they fail, or hang, as a test says."""

    def __init__(self):
        super().__init__()
        self.checks, self.error, self.gate = 0, None, None

    def check(self, _plan):
        self.checks += 1
        if self.gate is not None:
            self.gate.wait(30)
        if self.error:
            raise self.error
        return ()


def test_a_server_that_dies_turns_the_light_red_while_nothing_runs(pump):
    """And green again when it is back, amber while it hangs; no click, no run."""
    link = BackendConnection(pump, opener=rxp.open_backend, look_s=0.05, retry_s=0.05, slow_s=0.1)
    with WebUIServer(draw=noise) as server:
        link.connect(server.url)
        assert pumped(pump, lambda: link.state.status == "ready" and link.state.names)
        server.go_down()
        assert pumped(pump, lambda: link.state.status == "error")
        server.come_back()
        assert pumped(pump, lambda: link.state.status == "ready")
        server.freeze()
        assert pumped(pump, lambda: link.state.status == "connecting")
        server.thaw()
        assert pumped(pump, lambda: link.state.status == "ready")
        link.close()


def test_a_look_costs_one_small_request(pump):
    with WebUIServer(draw=noise) as server:
        link = BackendConnection(pump, opener=rxp.open_backend, look_s=0.02)
        link.connect(server.url)
        assert pumped(pump, lambda: link.state.status == "ready" and link.state.names)
        shown = link.state
        before = len(server.calls)
        assert pumped(pump, lambda: len(server.calls) >= before + 3)
        link.close()
        paths = {(call.method, call.path) for call in server.calls[before:]}
    assert paths == {("HEAD", "/")}
    assert link.state is shown


@pytest.mark.slow
def test_a_backend_that_does_not_answer_a_look_is_not_shown_as_ready(pump):
    """Amber while it hangs; ready when it answers after all."""
    careful = Careful()
    link = BackendConnection(pump, look_s=0.02, slow_s=0.05)
    link.connect(careful)
    assert pumped(pump, lambda: link.state.status == "ready")
    careful.gate = threading.Event()
    assert pumped(pump, lambda: link.state.status == "connecting")
    assert "No answer" in link.state.text
    careful.gate.set()
    assert pumped(pump, lambda: link.state.status == "ready")
    link.close()


@pytest.mark.slow
def test_nothing_is_asked_while_a_run_goes_on(pump):
    careful = Careful()
    link = BackendConnection(pump, look_s=0.01)
    link.connect(careful)
    assert pumped(pump, lambda: careful.checks >= 3)
    link.paused = True
    pumped(pump, lambda: False, 0.1)
    before = careful.checks
    pumped(pump, lambda: False, 0.2)
    assert careful.checks == before
    link.paused = False
    assert pumped(pump, lambda: careful.checks > before)
    link.close()


def test_a_failed_run_has_the_light_looked_at_at_once(open_window):
    """Though the next look were an hour off."""
    window = open_window(careful := Careful(), look_s=3600.0)
    careful.error = rxp.BackendUnavailable("nobody answers")
    window.run()
    assert settle(window, lambda: window.status.state == "failed", 5)
    assert settle(window, lambda: window.status_light.state == "error", 5)


@pytest.mark.slow
def test_what_is_being_typed_as_a_backend_is_not_overwritten(open_window):
    """By a state that arrives meanwhile."""
    window = open_window(careful := Careful(), look_s=0.05, retry_s=0.05)
    window.where.focus_force()
    settle(window)
    window.where.write("http://ser")
    careful.error = rxp.BackendUnavailable("gone")
    assert settle(window, lambda: window.status_light.state == "error", 5)
    assert window.where.get() == "http://ser"
