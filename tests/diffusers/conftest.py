"""Tiny models for all tests of local models, made once; no network anywhere."""

import itertools
import os
import socket

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is first imported
os.environ["OMP_NUM_THREADS"] = "1"  # two threads that share a busy core wait for one another; children inherit it

import pytest
import tiny

from rxpipe.backends.diffusers.backend import DiffusersBackend

_stores = itertools.count()


@pytest.fixture(autouse=True)
def _own_store(monkeypatch, tmp_path_factory):
    """Each test has a store of its own."""
    monkeypatch.setenv("RXPIPE_STORE", str(tmp_path_factory.getbasetemp() / f"{next(_stores)}.sqlite3"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Whatever is fetched fails at once; servers on this machine answer."""
    connect = socket.socket.connect

    def here_only(own, address):
        if own.family == socket.AF_INET and address[0] not in {"127.0.0.1", "localhost"}:
            raise AssertionError(f"a connection to {address}")
        return connect(own, address)

    monkeypatch.setattr(socket.socket, "connect", here_only)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder of models, as RXPIPE_MODELS names one."""
    root = tmp_path_factory.mktemp("models")
    pipe = tiny.sd(root / "sd")
    tiny.one_file(pipe, root / "onefile.safetensors")
    tiny.sd(root / "other", seed=1)
    tiny.sd(root / "hole", seed=2, channels=9)
    tiny.sdxl(root / "xl")
    tiny.sdxl(root / "xl-refiner", seed=4)
    tiny.lora(pipe, root / "loras" / "style.safetensors")
    tiny.vae(root / "vae" / "bright.safetensors")
    return root


@pytest.fixture(autouse=True)
def _known(models, monkeypatch):
    """The folder is known by name."""
    monkeypatch.setenv("RXPIPE_MODELS", str(models))


@pytest.fixture(scope="session")
def shared(models):
    """One backend over the tiny SD model, loaded once."""
    with DiffusersBackend(str(models / "sd"), device="cpu") as backend:
        yield backend
