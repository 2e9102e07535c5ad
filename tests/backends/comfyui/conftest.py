"""Servers of each recorded release, and backends on them."""

from __future__ import annotations

import pytest
from releases import RELEASES

from rxpipe.backends.comfyui.backend import ComfyUIBackend
from rxpipe.testing.servers.comfyui import ComfyUIServer


@pytest.fixture(params=RELEASES)
def release(request):
    """A release of the server."""
    return request.param


@pytest.fixture
def server(release):
    """A server of each release; its pictures are noise."""
    with ComfyUIServer(release, draw="noise", latency_s=0.1) as running:
        yield running


@pytest.fixture
def backend(server):
    """A backend on it."""
    with ComfyUIBackend(server.url, poll_s=0.05, idle_timeout_s=10.0) as opened:
        yield opened
