"""A backend and the process it is in: forks, the end of the program, signals, and a backend that nobody closed."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest

import rxpipe as rxp
from rxpipe.backends.pool import PoolBackend
from rxpipe.backends.webui.backend import WebUIBackend
from rxpipe.testing.servers.webui import WebUIServer

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and forks of POSIX")


def chain(**settings):
    """One small picture."""
    return rxp.chain(rxp.txt2img(prompt="a lighthouse", width=64, height=64, seed=1), **{"out": None, **settings})


def in_child(action, timeout_s=20.0):
    """Return the exit status of a forked child that runs *action*, -9 where it had to be killed."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(action())
        except BaseException as error:  # noqa: BLE001  the child must not run the parent's tests
            os.write(2, repr(error).encode())
            os._exit(99)
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        threading.Event().wait(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -9


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.slow
def test_a_used_backend_works_on_in_a_forked_child_and_in_its_parent():
    """Neither uses the other's connection."""
    with WebUIServer(latency_s=0.0) as server, WebUIBackend(server.url) as backend:
        runner = rxp.PipelineRunner(backend)
        assert runner.run(chain()).success
        assert in_child(lambda: 0 if runner.run(chain()).success and backend.catalog().samplers else 1) == 0
        assert runner.run(chain()).success


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_run_in_progress_stays_with_the_parent():
    """In the child it is refused to wait for it, and another one can be started."""
    with WebUIServer(latency_s=0.0) as server, WebUIBackend(server.url) as backend:
        executor = rxp.PipelineExecutor(backend)
        hold = server.hold("txt2img", 5)
        run = executor.start(chain())
        assert hold.wait_reached()
        hold.release()
        server.setup.latency_s["txt2img"] = 0.3

        def child():
            try:
                run.wait()
            except RuntimeError as error:
                other = executor.start(chain())
                return 0 if "forked" in str(error) and other.wait(15) and other.result.success else 2
            return 1

        assert in_child(child) == 0
        assert run.wait(10)
        assert run.result.success
        assert not server.interrupts


@posix
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_pool_that_is_forked_in_the_middle_of_a_run_is_free_in_the_child():
    """What its members are rendering is the parent's."""
    with WebUIServer(latency_s=0.0) as server:
        pool = PoolBackend([WebUIBackend(server.url)])
        executor = rxp.PipelineExecutor(pool)
        hold = server.hold("txt2img", 5)
        run = executor.start(chain())
        assert hold.wait_reached()
        hold.release()
        server.setup.latency_s["txt2img"] = 0.3
        assert in_child(lambda: 0 if rxp.PipelineRunner(pool).run(chain()).success else 1) == 0
        assert run.wait(10)
        assert run.result.success
        pool.close()


PROGRAM = """
import sys, threading
import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend

backend = WebUIBackend(sys.argv[1], poll_s=0.02)
chain = rxp.chain(rxp.txt2img(prompt="a", width=64, height=64, images=3), out=None)
reached = threading.Event()
executor = rxp.PipelineExecutor(backend)
executor.events.subscribe(lambda event: reached.set() if event.kind == "stage_step" else None)
run = executor.start(chain)
assert reached.wait(10)
print("reached", flush=True)
"""
ENDS = {"end": "", "exit": "sys.exit(3)", "raise": "raise ValueError('mine')"}


@pytest.mark.parametrize("end", ["end", *(pytest.param(end, marks=pytest.mark.slow) for end in ("exit", "raise"))])
def test_the_end_of_the_program_cancels_its_run_and_interrupts_the_server(end):
    """Within a second, and the exit status stays the program's."""
    with WebUIServer(latency_s=30.0) as server:
        arguments = [sys.executable, "-c", PROGRAM + ENDS[end], server.url]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603  ourselves
            assert child.stdout.readline() == "reached\n"
            begin = time.monotonic()
            errors = child.communicate(timeout=20)[1]
        seconds = time.monotonic() - begin

        assert child.returncode == {"end": 0, "exit": 3, "raise": 1}[end], errors
        assert server.wait_idle(2.0)
        assert {job.outcome for job in server.jobs} == {"interrupted"}, "the one that waited in the queue too"
        assert len(server.interrupts) == len(server.jobs)
        assert ("mine" in errors) == (end == "raise")
    assert seconds < 3.0, "a second, and the end of an interpreter on a busy machine"


@posix
@pytest.mark.parametrize(
    "number", ["SIGHUP", *(pytest.param(name, marks=pytest.mark.slow) for name in ("SIGTERM", "SIGINT"))]
)
@pytest.mark.slow
def test_a_signal_to_the_command_line_cancels_the_run_and_interrupts_the_server(number, tmp_path):
    """A closed terminal sends SIGHUP."""
    with WebUIServer(latency_s=30.0) as server:
        command = "from rxpipe.cli import main; main()"
        arguments = ["run", "--set", "txt2img.images=2", "--set", "txt2img.width=64", "--set", "txt2img.height=64"]
        arguments += ["--backend", server.url, "--out", str(tmp_path), "--json"]
        with subprocess.Popen(  # noqa: S603  ourselves
            [sys.executable, "-c", command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            assert server.wait_running("txt2img", 20.0), child.communicate()
            begin = time.monotonic()
            child.send_signal(getattr(signal, number))
            output = child.communicate(timeout=20)
        seconds = time.monotonic() - begin
        assert server.wait_idle(2.0), output
        assert {job.outcome for job in server.jobs} == {"interrupted"}, output
        assert '"status": "cancelled"' in output[0]
    assert seconds < 3.0


BLOCKING = """
import signal, sys
import rxpipe as rxp
from rxpipe.backends.webui.backend import WebUIBackend
backend = WebUIBackend(sys.argv[1], poll_s=0.05)
runner = rxp.PipelineRunner(backend)
runner.events.subscribe(lambda event: event.kind == "run_end" and print(event.status, flush=True))
runner.run(rxp.chain(rxp.txt2img(prompt="a", images=2, width=64, height=64), out=None))
"""


@posix
@pytest.mark.parametrize("number", ["SIGTERM", pytest.param("SIGHUP", marks=pytest.mark.slow)])
@pytest.mark.slow
def test_a_signal_that_ends_the_program_ends_its_run_first(number):
    """A script without handlers of its own: the server is interrupted, and the exit status is that of the signal."""
    with WebUIServer(latency_s=30.0) as server:
        arguments = [sys.executable, "-c", BLOCKING, server.url]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:  # noqa: S603  ourselves
            assert server.wait_running("txt2img", 20.0), child.communicate()
            begin = time.monotonic()
            child.send_signal(getattr(signal, number))
            output = child.communicate(timeout=20)
        seconds = time.monotonic() - begin
        assert server.wait_idle(2.0), output
        assert {job.outcome for job in server.jobs} == {"interrupted"}, output
    assert child.returncode == -getattr(signal, number), output
    assert output == ("cancelled\n", "")
    assert seconds < 3.0


def test_where_no_thread_can_be_started_any_more_the_interrupt_is_sent_all_the_same(monkeypatch):
    """As at the end of the interpreter from 3.12 on."""
    with WebUIServer(latency_s=30.0) as server, WebUIBackend(server.url, poll_s=0.02) as backend:
        run = rxp.PipelineExecutor(backend).start(chain())
        assert server.wait_running("txt2img")
        start = threading.Thread.start

        def refuse(thread):
            if thread.name.startswith("rxpipe"):
                raise RuntimeError("can't create new thread at interpreter shutdown")
            start(thread)

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            run.cancel()
        assert server.wait_idle(2.0)
        assert len(server.interrupts) == 1


def webui_threads():
    """The threads of all backends."""
    return {thread for thread in threading.enumerate() if thread.name.startswith(("rxpipe-webui", "rxpipe-http"))}


def test_a_backend_that_is_dropped_gives_back_threads_and_sockets():
    """Without `close()`: a notebook cell that is run again."""
    before = webui_threads()
    with WebUIServer(latency_s=0.0) as server:
        backend = WebUIBackend(server.url, poll_s=0.02)
        assert rxp.PipelineRunner(backend).run(chain()).success
        assert webui_threads() - before
        dropped = weakref.ref(backend)
        del backend
        for thread in threading.enumerate():
            if thread.name in {"rxpipe-run", "rxpipe-saver"}:
                thread.join(5)  # a thread that is about to end holds what it was at
        gc.collect()
        assert dropped() is None
        assert server.wait_for(lambda: not server._open), "a socket is still open"
        for thread in webui_threads() - before:
            thread.join(5)
        assert not webui_threads() - before
