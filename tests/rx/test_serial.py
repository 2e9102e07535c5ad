"""SerialQueue: one thread at a time delivers, whatever is put in, raised or interrupted meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading

import pytest

from rxpipe.rx.serial import SerialQueue, call_first

PATIENCE_S = 30.0
"""Only a failing test waits so long."""
THREADS, VALUES, STRIKES = 4, 2_000, 600


def in_threads(*works):
    """Run each work on a thread of its own, all begun together."""
    together = threading.Barrier(len(works))

    def begin(work):
        together.wait(PATIENCE_S)
        work()

    threads = [threading.Thread(target=begin, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


class Consumer:
    """Collects values; some are put in again, raise or interrupt, each once. `most_at_once` is 1 if all goes well."""

    def __init__(self):
        self.queue = SerialQueue(self.step)
        self.seen, self.inside, self.most_at_once = [], [], 0
        self.raised = set()

    def step(self, waiting):
        """Deliver the first value; one that raises stays and is delivered by the next drain."""
        self.inside.append(1)
        self.most_at_once = max(self.most_at_once, len(self.inside))
        try:
            self.deliver(waiting[0])
            waiting.popleft()
        finally:
            self.inside.pop()

    def deliver(self, value):
        writer, number, nested = value
        if number % 7 == 0 and value not in self.raised:
            self.raised.add(value)
            raise KeyboardInterrupt if number % 2 else ValueError(number)
        self.seen.append(value)
        if number % 5 == 0 and not nested:
            self.put((writer, number, True))

    def put(self, value):
        """Put *value* in and drain until no exception comes of it."""
        self.queue.put(value)
        self.drain()

    def drain(self):
        """Drain until no exception comes of it."""
        while True:
            try:
                self.queue.drain()
            except (ValueError, KeyboardInterrupt):
                continue
            return


def test_four_threads_with_nested_values_exceptions_and_interrupts_lose_nothing():
    """Never two deliveries at once, each value once, each writer's in order; nothing waits in the end."""
    consumer = Consumer()

    def write(name):
        for number in range(VALUES):
            consumer.put((name, number, False))

    in_threads(*(lambda name=name: write(name) for name in range(THREADS)))
    assert consumer.most_at_once == 1
    assert not consumer.queue.waiting
    for name in range(THREADS):
        assert [n for writer, n, nested in consumer.seen if (writer, nested) == (name, False)] == list(range(VALUES))
        assert [n for writer, n, nested in consumer.seen if (writer, nested) == (name, True)] == list(
            range(0, VALUES, 5)
        )


def test_a_nested_drain_returns_at_once():
    """The value put in follows; there is no recursion, however many there are."""
    seen = []

    def step(waiting):
        value = waiting.popleft()
        if value:
            queue.put(value - 1)
            queue.drain()
        seen.append(value)

    queue = SerialQueue(step)
    queue.put(5_000)
    queue.drain()
    assert seen == list(range(5_000, -1, -1))


def test_is_draining_here_holds_on_the_thread_that_drains_only():
    """Inside a delivery, not on another thread, and not afterwards."""
    seen = []

    def action():
        seen.append(queue.is_draining_here)
        in_threads(lambda: seen.append(queue.is_draining_here))

    queue = SerialQueue(call_first)
    queue.put(action)
    queue.drain()
    assert [*seen, queue.is_draining_here] == [True, False, False]


def test_a_queue_of_actions_calls_none_twice():
    """The action that raised is done with; those behind it wait for the next drain."""
    called = []

    def broken():
        called.append("broken")
        raise KeyboardInterrupt

    queue = SerialQueue(call_first)
    queue.put(broken)
    queue.put(lambda: called.append("next"))
    with pytest.raises(KeyboardInterrupt):
        queue.drain()
    assert called == ["broken"]
    queue.drain()
    queue.drain()
    assert called == ["broken", "next"]


@pytest.mark.timeout(120, method="thread")  # the other method needs the same timer
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals at a rate are POSIX")
def test_signals_at_any_moment_neither_lock_the_queue_nor_lose_a_value():
    """A real handler strikes every few lines for a while: it puts a value in and drains, or raises as Ctrl+C does."""
    seen, struck, raised = [], [], []
    queue = SerialQueue(lambda waiting: (seen.append(waiting[0]), waiting.popleft()))
    pauses_us = itertools.cycle(range(20, 200, 7))

    def strike(_, frame):
        struck.append(len(struck))
        if len(struck) % 2 and frame.f_code is SerialQueue.drain.__code__:
            raised.append(struck[-1])
            raise KeyboardInterrupt
        queue.put(("signal", struck[-1]))
        queue.drain()

    put, wound = 0, -1
    before = signal.signal(signal.SIGALRM, strike)
    try:
        while len(struck) < STRIKES:
            if wound != len(struck):  # never from the handler: on a busy machine it would be inside itself, ever deeper
                wound = len(struck)
                signal.setitimer(signal.ITIMER_REAL, next(pauses_us) / 1e6)
            queue.put(("work", put))
            put += 1
            with contextlib.suppress(KeyboardInterrupt):
                queue.drain()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # without a handler it ends the process
        signal.signal(signal.SIGALRM, before)
    queue.drain()
    assert not queue.waiting
    assert not queue.is_draining_here
    assert {number for source, number in seen if source == "work"} == set(range(put))
    assert {number for source, number in seen if source == "signal"} == set(struck) - set(raised)
    assert len(raised) > STRIKES / 20
