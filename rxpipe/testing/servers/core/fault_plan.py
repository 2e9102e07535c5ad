"""FaultPlan: which of the coming requests meets which fault."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rxpipe.testing.servers.core.faults import Fault
    from rxpipe.testing.servers.core.requests import RecordedRequest


@dataclass(slots=True)
class _Rule:
    target: str
    faults: deque[Fault | None]
    where: Callable[[RecordedRequest], bool] | None
    forever: bool
    seen: int = 0


@dataclass(slots=True)
class FaultPlan:
    """Which request meets which fault. Safe from any thread."""

    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(
        self,
        target: str,
        faults: Iterable[Fault | None],
        *,
        where: Callable[[RecordedRequest], bool] | None = None,
        forever: bool = False,
    ) -> None:
        """Let the coming requests to `target` meet these in order, None for a healthy one.

        Args:
            target: a stage, the last part of a path, a path, or "*".
            faults: one for each coming request that matches.
            where: counts only requests for which it is true; called on the connection's thread.
            forever: the last one stays.
        """
        with self._lock:
            self._rules.append(_Rule(target, deque(faults), where, forever))

    def take(self, call: RecordedRequest) -> Fault | None:
        """Return the fault that this request meets: every matching rule advances, the first with a fault decides."""
        with self._lock:
            met = [self._next(rule) for rule in self._rules if self._matches(rule, call)]
            self._rules = [rule for rule in self._rules if rule.faults]
        return next((fault for fault in met if fault is not None), None)

    def clear(self) -> None:
        """Forget every fault that has not struck yet."""
        with self._lock:
            self._rules.clear()

    def due(self, call: RecordedRequest, kind: str) -> Fault | None:
        """Use up and return the fault that the *next* request to the same target meets, None unless of this kind."""
        with self._lock:
            for rule in self._rules:
                head = rule.faults[0]
                if head is not None and head.kind == kind and self._matches(rule, call):
                    rule.faults.popleft()
                    self._rules = [other for other in self._rules if other.faults]
                    return head
        return None

    @staticmethod
    def _matches(rule: _Rule, call: RecordedRequest) -> bool:
        return call.matches(rule.target) and (rule.where is None or rule.where(call))

    @staticmethod
    def _next(rule: _Rule) -> Fault | None:
        return rule.faults[0] if rule.forever and len(rule.faults) == 1 else rule.faults.popleft()
