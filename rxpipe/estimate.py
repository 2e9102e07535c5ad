"""How long what is left of a run takes, where several images are worked on at once."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_FEW = 3  # waiting images a slot


@dataclass(frozen=True, slots=True)
class Slots:
    """How many images are worked on at once, as far as a run has shown it.

    count: 1 or more. fewer_s: for so long fewer were, though others waited; most: the most of them meanwhile.
    """

    count: int = 1
    fewer_s: float = 0.0
    most: int = 0

    def after(self, elapsed_s: float, working: int, left: int, patience_s: float) -> Slots:
        """Return what is known after some time; fewer than before count only once that went on for *patience_s*."""
        if working >= self.count:
            return Slots(working)
        if left < self.count:
            return self
        fewer_s, most = self.fewer_s + elapsed_s, max(working, self.most)
        return Slots(max(1, most)) if fewer_s > patience_s else Slots(self.count, fewer_s, most)


@dataclass(frozen=True, slots=True)
class Past:
    """What runs have shown about durations.

    per_image_s: seconds of work per image, by stage name, of the last run that ended. took: by stage name and server,
    where there are several: the seconds that images have taken, and how many they were. slots: as in `Slots`.
    """

    per_image_s: Mapping[str, float] = field(default_factory=dict)
    took: Mapping[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    slots: Slots = field(default_factory=Slots)

    @property
    def servers(self) -> set[str]:
        """The servers known."""
        return {server for _, server in self.took}

    def on_servers(self, stage: str) -> dict[str, float]:
        """Return the seconds per image of a stage on the servers that have rendered it."""
        return {server: seconds / count for (name, server), (seconds, count) in self.took.items() if name == stage}

    def with_image(self, stage: str, server: str, seconds: float, amount: float) -> Past:
        """Return it with one more image, or the part of it that was seen."""
        before_s, before = self.took.get((stage, server), (0.0, 0.0))
        return replace(self, took={**self.took, (stage, server): (before_s + seconds, before + amount)})

    def at_end(self, per_image_s: Mapping[str, float | None]) -> Past:
        """Return it at the end of a run that has shown so much of its stages."""
        known = {name: seconds for name, seconds in per_image_s.items() if seconds is not None}
        return replace(self, per_image_s={**self.per_image_s, **known}, slots=Slots(self.slots.count))


class Begun(NamedTuple):
    """An image on a server: at which of the stages it is, the seconds that this has left, and which server.

    waits: it is in the server's queue.
    """

    at: int
    left_s: float
    server: str
    waits: bool


class Ahead(NamedTuple):
    """A stage: how many images wait before it, and the seconds of each; on servers where that is known."""

    waiting: int
    mean_s: float
    on: Mapping[str, float]


def time_left_s(begun: Sequence[Begun], stages: Sequence[Ahead], past: Past) -> float:
    """Return the seconds until all images are through all stages.

    At least the work by the number of slots, and the longest way of one image. Where few are left, which image begins
    when matters too: they are followed one by one, each free slot taking the image that is furthest. A run may do
    better than that, so it is the middle between both; with one stage that is left it is exact.

    Args:
        begun: the images that are on a server.
        stages: all of them, in their order.
        past: how many images are worked on at once, and which servers there are; one without an image is idle.
    """
    later_s = list(itertools.accumulate((stage.mean_s for stage in reversed(stages)), initial=0.0))[::-1]
    free = [(one.left_s, one.server) for one in begun if not one.waits]
    idle = sorted(past.servers - {server for _, server in free})
    slots = past.slots.count
    free += [(0.0, server) for server in (idle + [""] * slots)[: slots - len(free)]]
    coming = [(one.left_s, one.at + 1) for one in begun if not one.waits]
    for one in begun:
        if one.waits:
            at = min(range(len(free)), key=lambda at: (free[at][1] != one.server, free[at][0]))
            free[at] = (free[at][0] + one.left_s, free[at][1])
            coming.append((free[at][0], one.at + 1))
    paths_s = [when_s + later_s[at] for when_s, at in coming]
    paths_s += [seconds for seconds, stage in zip(later_s, stages, strict=False) if stage.waiting]
    work_s = sum(one.left_s + later_s[one.at + 1] for one in begun)
    work_s += sum(stage.waiting * seconds for seconds, stage in zip(later_s, stages, strict=False))
    least_s = max([work_s / slots, *paths_s])
    if sum(stage.waiting for stage in stages) > _FEW * slots:
        return least_s
    most_s = _followed(free, coming, stages)
    return most_s if len(stages) == 1 else (least_s + most_s) / 2


def _followed(free: list[tuple[float, str]], coming: list[tuple[float, int]], stages: Sequence[Ahead]) -> float:
    """Return when the last image is through: slots by when they are free, images by when they come to a stage."""
    ready = [-at for at, stage in enumerate(stages) for _ in range(stage.waiting)]
    coming = [(when_s, at) for when_s, at in coming if at < len(stages)]
    heapq.heapify(free)
    heapq.heapify(coming)
    heapq.heapify(ready)
    while ready or coming:
        now_s, server = free[0]
        if not ready:
            now_s = max(now_s, coming[0][0])
        while coming and coming[0][0] <= now_s:
            heapq.heappush(ready, -heapq.heappop(coming)[1])
        at = -heapq.heappop(ready)
        end_s = now_s + stages[at].on.get(server, stages[at].mean_s)
        heapq.heapreplace(free, (end_s, server))
        if at + 1 < len(stages):
            heapq.heappush(coming, (end_s, at + 1))
    return max(free)[0]
