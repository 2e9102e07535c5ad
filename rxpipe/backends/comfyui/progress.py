"""How far one job is, by what the server sends of it and by what is asked, and how it ended.

Written by the socket's thread and by the one that asks, read on the subscriber's scheduler.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from rxpipe.backends.base import StepProgress
from rxpipe.backends.http.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rxpipe.backends.comfyui.graph import Graph
    from rxpipe.backends.comfyui.messages import Message, PreviewMessage
    from rxpipe.errors import BackendError
    from rxpipe.events import Phase

_OF_NODES = 0.2
"""Share of the nodes in the progress; the rest is of sampling steps."""


@dataclass(frozen=True, slots=True)
class JobState:
    """What is known of a job at one moment.

    started: it was seen running. fraction: 0..1. step: of *steps*, finished; 0 before the first. sampling: a step was
    seen. loading: it runs, and no step was seen yet. changes: number of signs of life. ahead: jobs before it while
    it waits, None where that is not known. preview: the last picture.
    """

    started: bool = False
    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    loading: bool = False
    changes: int = 0
    ahead: int | None = None
    preview: bytes | None = field(default=None, repr=False)


class JobTracker:
    """One job of ours, from before it is posted to its end. Safe from any thread.

    Args:
        graph: that is posted.
        stalled_s: without a sign of life until the phase is "stalled".

    finished: set once the server is known to be done with the job, or to have lost it.
    over: set once nothing is waited for any more: finished, failed, or stopped by us.
    heard_end: whether the last message about it came.
    """

    def __init__(self, graph: Graph, *, stalled_s: float) -> None:
        self._graph = graph
        self._lock = threading.Lock()
        self._pace = Pace(stalled_s=stalled_s)
        self._state = JobState(steps=sum(graph.steps.values()))
        self._done: set[str] = set()
        self._current: str | None = None
        self._within = 0.0
        self._sampled: dict[str, float] = {}
        self._changed_s = time.monotonic()
        self._shown: bytes | None = None
        self.notify: Callable[[], None] = lambda: None
        self.finished = threading.Event()
        self.over = threading.Event()
        self.failure: BackendError | None = None
        self.error: Mapping[str, Any] | None = None
        self.interrupted = self.heard_end = False

    # -- from the socket ----------------------------------------------------------------------------------------------

    def receive(self, message: Message) -> None:
        """Take a message about this job."""
        with self._lock:
            self._take(message)
            self._touch()
        if message.kind == "execution_error":
            self.error = message.data
        elif message.kind == "execution_interrupted":
            self.interrupted = True
        if message.kind == "executing" and message.data.get("node") is None:
            self.heard_end = True  # the queue counts it until here
            self.finish()
        else:
            self.notify()

    @property
    def ends(self) -> bool:
        """Whether it was heard that no node of it runs any more."""
        return self.interrupted or self.error is not None

    def receive_preview(self, preview: PreviewMessage) -> None:
        """Take a picture so far; that of an output node is a result and no preview."""
        if preview.node == self._graph.output:
            return
        with self._lock:
            self._state = replace(self._state, preview=preview.image)
            self._touch()
        self.notify()

    def is_executing(self) -> bool:
        """Whether a node of it runs, by the last message."""
        with self._lock:
            return self._current is not None and not self.finished.is_set()

    def _take(self, message: Message) -> None:
        if message.kind == "execution_start":
            self._begin()
        elif message.kind == "execution_cached":
            self._begin()
            nodes = message.data.get("nodes")
            cached = {node for node in nodes if isinstance(node, str)} if isinstance(nodes, list) else set()
            self._done |= cached & self._graph.nodes.keys()
            for node in cached & self._graph.steps.keys():
                self._sampled[node] = 1.0
        elif message.kind == "executing" and message.node is not None:
            self._begin()
            if message.node != self._current:
                self._leave_current()
                self._current, self._within = message.node, 0.0
        elif message.kind == "progress":
            self._begin()
            self._note_progress(message)
        self._count()

    def _begin(self) -> None:
        self._state = replace(self._state, started=True)

    def _leave_current(self) -> None:
        node = self._current
        if node is not None and node in self._graph.nodes:
            self._done.add(node)
            if node in self._graph.steps:
                self._sampled[node] = 1.0

    def _note_progress(self, message: Message) -> None:
        value, most, node = message.data.get("value"), message.data.get("max"), message.node or self._current
        if not isinstance(value, int | float) or not isinstance(most, int | float) or most <= 0:
            return
        share = min(1.0, max(0.0, value / most))
        if node is not None and node in self._graph.steps:
            self._sampled[node] = max(share, self._sampled.get(node, 0.0))  # a detailer counts anew for each face
        elif node == self._current:
            self._within = share

    def _count(self) -> None:
        graph, state = self._graph, self._state
        done = sum(share * graph.steps[node] for node, share in self._sampled.items())
        nodes = min(1.0, (len(self._done) + self._within) / max(1, len(graph.nodes)))
        share = nodes if not state.steps else _OF_NODES * nodes + (1 - _OF_NODES) * done / state.steps
        sampling = any(share > 0 for share in self._sampled.values())
        self._state = replace(
            state, fraction=share, step=int(done), loading=state.started and bool(state.steps) and not sampling
        )

    def _touch(self) -> None:
        self._changed_s = time.monotonic()
        self._state = replace(self._state, changes=self._state.changes + 1)

    # -- from questions -----------------------------------------------------------------------------------------------

    def note_waiting(self, ahead: int | None) -> None:
        """Note that the server knows the job, which waits: a sign of life. ahead: jobs before it, None if not known."""
        with self._lock:
            self._state = replace(self._state, ahead=ahead)
            self._touch()

    def note_running(self) -> None:
        """Note that the job runs; what it does is not reported."""
        with self._lock:
            if not self._state.started:
                self._begin()
                self._count()
                self._touch()

    @property
    def unheard_s(self) -> float:
        """Seconds since anything was heard of the job."""
        with self._lock:
            return time.monotonic() - self._changed_s

    @property
    def started(self) -> bool:
        """Whether it was seen running."""
        with self._lock:
            return self._state.started

    @property
    def steps_done(self) -> int:
        """Sampling steps that were seen."""
        with self._lock:
            return self._state.step

    # -- its end ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Note that the server is done with it."""
        self.finished.set()
        self.over.set()

    def fail(self, error: BackendError) -> None:
        """Note that it is lost, and why."""
        if not self.finished.is_set():
            self.failure = error
            self.finish()

    def stop(self) -> None:
        """Wait for nothing any more."""
        self.over.set()

    # -- for the subscriber -------------------------------------------------------------------------------------------

    def state(self) -> JobState:
        """Return what is known now."""
        with self._lock:
            return self._state

    def observe(self, state: JobState, now_s: float) -> tuple[StepProgress, bytes | None]:
        """Return the progress of a state, and its preview where that is a new one."""
        with self._lock:
            self._pace.note(state.changes, now_s)
            if not state.started:
                return StepProgress(self._pace.fraction, phase="queued", ahead=state.ahead), None
            phase: Phase = "loading" if state.loading else "working"
            fraction = None if state.loading and not state.fraction else state.fraction
            step = min(state.steps, state.step + 1) if state.steps else None
            progress = self._pace.observe(fraction, step, state.steps or None, now_s, phase)
            preview = state.preview if state.preview is not self._shown else None
            self._shown = state.preview
            return progress, preview

    def silent_s(self, now_s: float) -> float:
        """Return the seconds since the last sign of life."""
        with self._lock:
            return self._pace.silent_s(now_s)

    def note_activity(self, now_s: float) -> None:
        """Note that bytes of an answer came."""
        with self._lock:
            self._pace.note_activity(now_s)
