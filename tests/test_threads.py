"""Calls on threads of their own."""

import subprocess
import sys
import threading

import pytest

from rxpipe.threads import in_parallel


def results(calls, **options):
    return [result for result in in_parallel(calls, **options) if result is not None]


def test_what_calls_return_comes_in_their_order_whichever_ends_first():
    """The first ends only after the second."""
    second = threading.Event()

    def late():
        assert second.wait(30)
        return "first"

    def early():
        second.set()
        return "second"

    assert results([late, early]) == ["first", "second"]


@pytest.mark.parametrize("at_a_time", [1, 2, 3])
def test_no_more_calls_are_under_way_than_may_be(at_a_time):
    """All that may be are, and the next is taken only when there is room."""
    under_way, most, lock, together = 0, 0, threading.Lock(), threading.Barrier(at_a_time, timeout=30)

    def call():
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        together.wait()
        with lock:
            under_way -= 1
        return True

    assert results([call] * 2 * at_a_time * 3, at_a_time=at_a_time) == [True] * 6 * at_a_time
    assert most == at_a_time


def test_while_a_call_is_awaited_there_are_pauses_and_a_close_ends_the_wait():
    """The call that has begun ends on its own; the third never begins."""
    let_go, begun = threading.Event(), []

    def held():
        begun.append(threading.current_thread())
        assert let_go.wait(30)

    work = in_parallel([held] * 3, pause_s=0.001)
    assert next(work) is None
    work.close()
    let_go.set()
    for thread in begun:
        thread.join(30)
    assert len(begun) == 2


def test_an_error_of_a_call_is_raised_in_its_place():
    """What came before it is had; the error is that of the call."""

    def fails():
        raise KeyError("no face")

    got = []
    with pytest.raises(KeyError, match="no face"):
        got.extend(in_parallel([lambda: 1, fails, lambda: 3]))
    assert [result for result in got if result is not None] == [1]


PROGRAM = """
import threading
import rxpipe as rxp

run = rxp.PipelineRunner(rxp.open_backend("embedded")).start(
    rxp.chain(rxp.txt2img(prompt="portrait", width=256, height=256, steps=2), rxp.adetailer())
)

def report():
    main = threading.main_thread()
    main.join()
    run.wait()
    print(run.result.status, *run.result.warnings, flush=True)

threading.Thread(target=report).start()
"""


def test_a_run_goes_on_while_another_thread_waits_for_it_and_the_main_thread_has_ended(tmp_path):
    """An executor's threads take nothing any more by then."""
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(  # noqa: S603  ourselves
        command, capture_output=True, text=True, check=False, timeout=100, cwd=tmp_path
    )
    assert (done.stdout.strip(), done.stderr) == ("completed", "")
