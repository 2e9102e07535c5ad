"""Clusters for tests: in this process, which is quick, or as real processes on 127.0.0.1, which can be killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from distributed import Scheduler, Worker

import rxpipe as rxp
from rxpipe.backends.dask.holding import Holding
from rxpipe.backends.dask.wire import PLUGIN

ROOT = Path(rxp.__file__).parent.parent
START_S = 60.0


class InProcess:
    """A scheduler and workers on a thread of their own; each worker holds the backend that it is given."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.workers = []
        self.scheduler = self._do(self._scheduler())
        self.url = f"dask://{self.scheduler.address.partition('://')[2]}"

    def _do(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _scheduler(self):
        return await Scheduler(host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0")

    def add(self, backend, name, *, resources=None, about=None):
        """Start a worker; *about*: what it says of itself beyond the truth."""

        async def start():
            holding = Holding(backend, backend.name)
            return await Worker(
                self.scheduler.address, nthreads=holding.slots, name=name, host="127.0.0.1", plugins=(holding,),
                resources=resources or {}, memory_limit=0, heartbeat_interval="100 ms",
                startup_information={PLUGIN: lambda _: {**holding.about(), **(about or {})}},
            )  # fmt: skip

        self.workers.append(self._do(start()))

    def remove(self, name):
        """Close a worker."""
        (worker,) = [worker for worker in self.workers if worker.name == name]
        self.workers.remove(worker)
        self._do(worker.close(nanny=False))

    def crash(self, name):
        """Close a worker that says nothing of it, as one that is killed."""
        (worker,) = [worker for worker in self.workers if worker.name == name]
        worker.plugins[PLUGIN].tell = lambda *_: None
        self.remove(name)

    def stop_the_world(self):
        """Let nothing answer, neither scheduler nor workers, until `go_on`."""
        self._go_on = threading.Event()
        self._loop.call_soon_threadsafe(self._go_on.wait)

    def go_on(self):
        """End what `stop_the_world` began."""
        self._go_on.set()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for worker in self.workers:
            self._do(worker.close(nanny=False))
        self._do(self.scheduler.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def make_certificates(folder, authority, *names):
    """Make a certificate authority and certificates of it: NAME.pem and NAME-key.pem."""

    def openssl(*options):
        subprocess.run(("openssl", *options), cwd=folder, check=True, capture_output=True)  # noqa: S603, S607  our own words

    key = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(*key, "-x509", "-keyout", f"{authority}-key.pem", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
    signed = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}-key.pem", "-CAcreateserial")
    for name in names:
        openssl(*key, "-keyout", f"{name}-key.pem", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


class Processes:
    """`dask scheduler` and `rxpipe worker`, each a process; with TLS by the files in the folder *certificates*."""

    def __init__(self, workers=3, holds="embedded", *, certificates=None):
        self.port, self.holds = free_port(), holds
        self.certificates = certificates
        self.url = f"{'tls' if certificates else 'dask'}://127.0.0.1:{self.port}"
        self.scheduler, self.workers, self._said = None, {}, {}
        self.names = [f"w{number}" for number in range(workers)]
        self.start_scheduler()
        for name in self.names:
            self.add(name)
        for name in self.workers:
            self.await_greeting(name)

    def _start(self, *command, environment=None):
        own = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
        environment = {**os.environ, **own, **(environment or {})}
        said = tempfile.NamedTemporaryFile(prefix="rxpipe-dask-")  # noqa: SIM115  closed with the process
        process = subprocess.Popen(  # noqa: S603  our own words
            [sys.executable, "-m", *command], stdout=said, stderr=subprocess.STDOUT, env=environment
        )
        self._said[process] = said
        return process

    def _end(self, process):
        process.kill()
        process.wait(10)
        self._said.pop(process).close()

    def start_scheduler(self):
        """Start it, or start it again at the same port."""
        options = ["--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard", "--no-show"]
        if self.certificates:
            options += ["--protocol", "tls", *self.files("--tls-ca-file", "--tls-cert", "--tls-key")]
        self.scheduler = self._start("distributed.cli.dask_scheduler", *options, "--dashboard-address", "127.0.0.1:0")

    def files(self, ca, certificate, key):
        """Options for the certificates of the cluster."""
        names = {ca: "ca.pem", certificate: "node.pem", key: "node-key.pem"}
        return [text for option, name in names.items() for text in (option, str(self.certificates / name))]

    def add(self, name, *options, holds=None, url=None, environment=None):
        """Start a worker."""
        if self.certificates and not options:
            options = self.files("--tls-ca", "--tls-cert", "--tls-key")
        self.workers[name] = self._start(
            "rxpipe", "worker", "--backend", holds or self.holds, "--name", name, *options, url or self.url,
            environment=environment,
        )  # fmt: skip

    def said(self, name):
        """What a worker has said so far."""
        return Path(self._said[self.workers[name]].name).read_text(encoding="utf-8")

    def await_greeting(self, name, word="listens on"):
        """Wait until a worker serves, or says something else; gives what it said."""
        end = time.monotonic() + START_S
        while word not in (said := self.said(name)):
            assert self.workers[name].poll() is None, f"the worker ended: {said}"
            assert time.monotonic() < end, f"the worker does not serve: {said}"
            threading.Event().wait(0.05)
        return said

    def restore(self):
        """Let all go on, and start again what was killed."""
        for process in [*self.workers.values(), self.scheduler]:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
        if self.scheduler.poll() is not None:
            self.start_scheduler()
        with contextlib.ExitStack() as stack:  # until it answers
            end = time.monotonic() + START_S
            while stack.enter_context(socket.socket()).connect_ex(("127.0.0.1", self.port)):
                assert time.monotonic() < end, "the scheduler does not answer"
                threading.Event().wait(0.05)
        for name in {*self.workers} - {*self.names}:
            self.kill(name)
        for name in {*self.names} - {*self.workers}:
            self.add(name)
        for name in self.names:
            self.await_greeting(name)

    def kill(self, name):
        """SIGKILL a worker."""
        self._end(self.workers.pop(name))

    def end(self, name):
        """Let a worker end as by Ctrl+C; gives its exit code."""
        process = self.workers.pop(name)
        process.terminate()
        return process.wait(20)

    def kill_scheduler(self):
        self._end(self.scheduler)

    def send(self, name, number):
        """Send a signal to a worker, or to the scheduler where *name* is None."""
        (self.workers[name] if name else self.scheduler).send_signal(number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in list(self._said):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in list(self._said):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            self._end(process)
