"""What tests of the WebUI backend share."""

from __future__ import annotations

import pytest

from rxpipe.backends.webui.backend import WebUIBackend


@pytest.fixture(scope="session", autouse=True)
def state_of_its_own(tmp_path_factory):
    """What a killed run leaves on disk is not the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture
def backend_for():
    """Makes backends that are closed after the test."""
    made = []

    def make(server, **options):
        made.append(WebUIBackend(server.url, **{"poll_s": 0.02, "idle_timeout_s": 3.0, **options}))
        return made[-1]

    yield make
    for backend in made:
        backend.close()
