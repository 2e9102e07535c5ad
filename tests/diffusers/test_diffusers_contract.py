"""The contract that all backends hold, over a local model."""

import pytest
from test_backend_contract import *  # noqa: F403  the suite itself
from test_backend_contract import Scene, _really

from rxpipe.backends.diffusers.backend import DiffusersBackend
from rxpipe.rx.worker import WorkerScheduler


@pytest.fixture(params=["sd", "xl"])
def scene(request, models):
    """A model of each family in real time; closed afterwards."""
    worker = WorkerScheduler("contract")
    with DiffusersBackend(str(models / request.param), device="cpu") as backend:
        yield Scene(backend, worker, _really)
    worker.close()
