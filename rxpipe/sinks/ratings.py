"""Ratings of runs and images, as learning records that supersede earlier ones, and what they tell."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rxpipe.sinks.learning import LearningRecord

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rxpipe.result import PipelineRunResult

__all__ = ["rated", "summary_of_ratings"]

_SETTINGS = {"sampler": "sampler", "steps": "steps", "cfg_scale": "cfg_scale", "model": "primary_model"}


def rated(
    earlier: LearningRecord | None,
    result: PipelineRunResult,
    *,
    stars: int,
    tags: Sequence[str] = (),
    image: str | None = None,
) -> LearningRecord:
    """Return the record of a run with a rating; it supersedes the earlier ones of that run.

    Args:
        earlier: the run's latest record, whose ratings of other images stay; None if it has none.
        result: of the run.
        stars: 1..5, 5 is best. tags: words to remember it by.
        image: its artifact's id; None for all images of the run.
    """
    base = earlier or LearningRecord.of(result, steps=False)
    variants = tuple(
        variant.model_copy(update={"rating": stars, "tags": tuple(tags) or variant.tags})
        if image in {None, variant.image}
        else variant
        for variant in base.variants
    )
    return base.model_copy(
        update={"variants": variants, "supersedes": True, "rated_at": datetime.now(UTC), "events": ()}
    )


def summary_of_ratings(
    records: Iterable[LearningRecord], *, least: int = 1
) -> dict[str, list[tuple[str | int | float, float, int]]]:
    """Return what was rated best: per setting its values with mean rating and count of images, the best first.

    Args:
        records: one per run, the latest.
        least: values rated fewer times are left out.
    """
    found: dict[str, dict[str | int | float, list[int]]] = {name: {} for name in _SETTINGS}
    for record in records:
        stars = [variant.rating for variant in record.variants if variant.rating is not None]
        for name, field in _SETTINGS.items():
            value = getattr(record, field)
            if value is not None and stars:
                found[name].setdefault(value, []).extend(stars)
    return {
        name: sorted(
            ((value, sum(stars) / len(stars), len(stars)) for value, stars in values.items() if len(stars) >= least),
            key=lambda row: (-row[1], -row[2], str(row[0])),
        )
        for name, values in found.items()
    }
