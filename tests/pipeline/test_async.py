"""Runs from asyncio: awaited, their events iterated, and cancelled with their task."""

from __future__ import annotations

import asyncio

import pytest
import reactivex as rx
from instant import Instant

import rxpipe as rxp


class Slow(Instant):
    """Never renders; says when it was asked to."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def render(self, stage, source):
        del stage, source
        self.loop.call_soon_threadsafe(self.asked.set)
        return rx.never()


def chain(images=3):
    return rxp.chain(rxp.txt2img("a", images=images, seed=1), rxp.upscale(), out=None)


def test_a_run_is_awaited():
    """And again after its end."""

    async def main():
        run = rxp.PipelineExecutor(Instant()).start(chain())
        result = await run
        assert await run is run.result
        return result

    assert asyncio.run(main()).tally.done == 3


def test_run_async_is_run():
    """Two of them at the same time, on an executor each."""

    async def main():
        runners = [rxp.PipelineRunner(Instant()) for _ in range(2)]
        return await asyncio.gather(*(runner.run_async(chain()) for runner in runners))

    assert [result.status for result in asyncio.run(main())] == ["completed", "completed"]


def test_the_events_are_all_of_them_in_order():
    """Whenever one begins to listen."""

    async def main():
        run = rxp.PipelineExecutor(Instant()).start(chain(images=50))
        early = [event async for event in run.events_async()]
        late = [event async for event in run.events_async()]
        assert tuple(early) == tuple(late) == run.result.events
        return early

    assert isinstance(asyncio.run(main())[-1], rxp.RunEnd)


@pytest.mark.parametrize("how", ["await", "events", "runner"])
def test_an_async_cancel_cancels_the_run(how):
    """However it is waited for; the backend is disposed of, and the task ends as cancelled."""

    async def main():
        backend = Slow()
        runner = rxp.PipelineRunner(backend)

        async def wait():
            if how == "runner":
                await runner.run_async(chain())
            run = runner.start(chain())
            if how == "await":
                await run
            async for _ in run.events_async():
                pass

        task = asyncio.create_task(wait())
        await backend.asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return runner.last_result

    assert asyncio.run(main()).status == "cancelled"


def test_a_loop_that_is_left_does_not_cancel():
    async def main():
        run = rxp.PipelineExecutor(Instant()).start(chain(images=20))
        async for _ in run.events_async():
            break
        return await run

    assert asyncio.run(main()).status == "completed"
