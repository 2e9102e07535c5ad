"""The pytest plugin that comes with rxpipe: the fixture `marbles`.

Every pytest run of everyone who installed rxpipe loads this module, so it imports nothing but pytest at the top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from rxpipe.testing.marbles import Marbles

STARTED = pytest.StashKey["Marbles"]()


@pytest.fixture
def marbles(request: pytest.FixtureRequest) -> Iterator[Marbles]:
    """Virtual time for this test, streams from diagrams, expectations: an entered `rxpipe.testing.Marbles`."""
    from rxpipe.testing.marbles import Marbles  # noqa: PLC0415 - only a test that asks for it pays for it

    with Marbles(verify=False) as started:
        request.node.stash[STARTED] = started
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Verify within the call, so that a stream never compared is a failure of the test and not of its teardown."""
    result = yield
    started = item.stash.get(STARTED, None)
    if started is not None:
        started.verify()
    return result
