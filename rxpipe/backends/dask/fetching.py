"""Fetching results from one worker: what finishes while a question is on its way goes with the next one.

Dask's own gather puts the results of several workers into one question, and the slowest of them holds up the rest.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rxpipe.backends.dask.wire import Rendered
from rxpipe.backends.member import MemberLost
from rxpipe.errors import BadResponse

if TYPE_CHECKING:
    from rxpipe.backends.dask.cluster import Cluster


class Fetching:
    """The results of one worker. On the cluster's thread only.

    Args:
        cluster: whose worker it is.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._wanted: dict[object, asyncio.Future[Rendered]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def fetch(self, client: Any, key: object) -> Rendered:
        """Return what became of a cell that has ended.

        Args:
            client: of Dask, that it was submitted with.
            key: of its task.

        Raises:
            MemberLost: the worker is gone, and what it had rendered with it.
            BadResponse: it is not what a cell returns.
            OSError: the connection was lost.
        """
        wanted: asyncio.Future[Rendered] = asyncio.get_running_loop().create_future()
        self._wanted[key] = wanted
        if self._asking is None:
            self._asking = self._cluster.spawn(self._ask(client))
        return await wanted

    def close(self) -> None:
        """Ask no more: the worker is gone. Those that wait are ended by whoever closes this."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, client: Any) -> None:
        try:
            while self._wanted:
                wanted, self._wanted = self._wanted, {}
                await self._ask_for(client, wanted)
        finally:
            self._asking = None

    async def _ask_for(self, client: Any, wanted: dict[object, asyncio.Future[Rendered]]) -> None:
        try:
            response = await client.scheduler.gather(keys=list(wanted))
        except Exception as error:  # noqa: BLE001  # whatever Dask raises, those that wait get it
            for future in wanted.values():
                _end(future, error)
            return
        if response["status"] != "OK" and len(wanted) > 1:  # one of them is lost: which, each by itself says
            for key, future in wanted.items():
                await self._ask_for(client, {key: future})
            return
        found = response.get("data", {})
        for key, future in wanted.items():
            _end(future, _rendered(found.get(key)))


def _rendered(found: object) -> Rendered | Exception:
    if isinstance(found, Rendered):
        return found
    if found is not None:
        return BadResponse(f"the worker returned a {type(found).__name__}.")
    return MemberLost("the worker was lost with the picture that it had rendered.")


def _end(future: asyncio.Future[Rendered], result: Rendered | Exception) -> None:
    if future.done():  # its cell was disposed
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
