"""`async def` tests: asyncio and the streams of the test share one virtual time, and nothing waits for ever."""

from __future__ import annotations

import asyncio
import threading

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxpipe.testing import MarbleError, Marbles


async def test_a_cold_stream_can_be_awaited(marbles):
    """Its last value, when it ends."""
    assert await marbles.cold("--a-b-|") == "b"
    assert marbles.clock.now_us == 6_000
    with pytest.raises(ValueError, match="torn"):
        await marbles.cold("-#", error=ValueError("torn"))


async def test_an_hour_of_sleep_takes_no_time(marbles):
    await asyncio.sleep(3600)
    assert marbles.clock.now_us == 3_600_000_000
    assert asyncio.get_running_loop().time() == 3600


async def test_what_is_due_comes_in_the_order_of_time_whoever_planned_it(marbles):
    seen = []
    asyncio.get_running_loop().call_later(0.002, seen.append, "loop at 2")
    marbles.clock.schedule_relative(0.001, lambda *_: seen.append("clock at 1"))
    marbles.clock.schedule_relative(0.003, lambda *_: seen.append("clock at 3"))
    await asyncio.sleep(0.004)
    assert seen == ["clock at 1", "loop at 2", "clock at 3"]


async def test_operators_on_asyncio_are_expected_as_diagrams(marbles):
    """`idle` lets the loop run what is planned; then the recording is compared."""
    scheduler = AsyncIOScheduler(asyncio.get_running_loop())
    stream = marbles.expect(marbles.cold("-a-b|").pipe(ops.delay(0.002, scheduler=scheduler)))
    with pytest.raises(MarbleError, match=r"await marbles\.idle"):
        await late(stream)
    await marbles.idle()
    stream.to_be("---a-b|")


async def late(stream):
    """Compare while the loop has timers."""
    await asyncio.sleep(0.0015)
    stream.to_be("---a-b|")


async def test_a_time_limit_is_kept_in_virtual_time(marbles):
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(never(), 30)
    assert marbles.clock.now_us == 30_000_000


async def never():
    """Wait for ever."""
    await asyncio.Event().wait()


async def test_parameters_and_other_fixtures_arrive(marbles, tmp_path):
    assert tmp_path.exists()
    assert await rx.timer(0.001).pipe(ops.map(lambda _: "x")) == "x"
    assert marbles.clock.now_us == 1_000


async def test_a_thread_may_wake_the_loop_where_threads_are_allowed(marbles):
    marbles.allow_threads()
    assert await asyncio.to_thread(threading.get_ident) != threading.get_ident()


def test_what_waits_for_ever_is_said_with_its_line():
    async def stuck():
        await rx.never()

    with pytest.raises(MarbleError) as failed, Marbles() as marbles:
        marbles.run_async(stuck())
    assert "The test waits for ever" in str(failed.value)
    assert "await rx.never()" in str(failed.value)


def test_idle_belongs_in_an_async_test():
    with pytest.raises(MarbleError, match="async def"), Marbles() as marbles:
        marbles.idle().send(None)
