"""ShownRun: all that a report shows of a run, from a result or from a store."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from rxpipe.errors import BadImage
from rxpipe.views.report.bars import Attempt, attempts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from rxpipe.events import ErrorInfo
    from rxpipe.plan import StageExecutionPlan
    from rxpipe.result import ImageRecord, ImageResult, PipelineRunResult
    from rxpipe.store.reading import Store
    from rxpipe.store.records import CellRecord, RunSummary

__all__ = ["Picture", "ShownRun", "run_of_result", "run_of_store"]

_NUMBER = re.compile(r".*?-(\d+(?:\.\w+)*)")


@dataclass(frozen=True, slots=True)
class Picture:
    """A planned image and its last picture.

    name: its number, 1.., and what was derived from it as "3.1". outcome: as of `ImageResult`. stage: that drew it
    last, "" if none did. source: file or bytes of the picture, None if there is none; path: the file.
    rating: 1..5 if it was rated. variant: its number and its values by axis.
    """

    artifact_id: str
    name: str
    outcome: str
    stage: str = ""
    seed: int | None = None
    source: Path | bytes | None = None
    path: Path | None = None
    duration_s: float | None = None
    warnings: tuple[str, ...] = ()
    error: ErrorInfo | None = None
    favourite: bool = False
    rating: int | None = None
    tags: tuple[str, ...] = ()
    variant: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ShownRun:
    """A run as a report shows it.

    facts: names and texts about the run as a whole, in their order. settings: by stage, names and texts.
    """

    run_id: str
    status: str
    began: datetime | None
    prompt: str
    images: int
    pictures: tuple[Picture, ...]
    attempts: tuple[Attempt, ...]
    warnings: tuple[str, ...]
    error: ErrorInfo | None
    facts: tuple[tuple[str, str], ...]
    settings: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    @property
    def length_s(self) -> float:
        """Seconds of all attempts together."""
        return sum(attempt.length_s for attempt in self.attempts)

    @property
    def retries(self) -> int:
        """How many tries failed and were repeated."""
        return sum(len(bar.retries) for attempt in self.attempts for bar in attempt.bars)

    def count(self, *outcomes: str) -> int:
        """Return how many pictures have one of the outcomes."""
        return sum(picture.outcome in outcomes for picture in self.pictures)


def run_of_result(result: PipelineRunResult) -> ShownRun:
    """Return a run whose result is at hand, finished or in progress; its pictures may be in memory."""
    attempts = attempts_of(result.events, result.plan)
    run = result.run_id or "not begun"
    plan = result.plan
    prompts = [stage.generation.prompt for stage in plan.stages] if plan else []
    facts = [
        ("seed", "" if plan is None or plan.seed is None else str(plan.seed)),
        *_facts_of(plan),
        *((name, str(value)) for name, value in result.metadata.items() if value not in (None, "", (), {})),
    ]
    return ShownRun(
        run_id=run,
        status=result.status,
        began=attempts[0].began if attempts else None,
        prompt="\n".join(dict.fromkeys(filter(None, prompts))),
        images=result.variant_count,
        pictures=_pictures_of(result),
        attempts=attempts,
        warnings=result.warnings,
        error=result.error,
        facts=tuple(fact for fact in facts if fact[1]),
        settings=_settings_of(plan),
    )


def run_of_store(store: Store, name: str | Path) -> ShownRun:
    """Return a run of a store, also one that is in progress, was killed, or is known from its pictures only.

    Args:
        store: that has it.
        name: as of `Store.find`.

    Raises:
        StoreError: there is no such run, or the store cannot be read.
    """
    summary = store.find(name)
    result = store.result(summary.run_id, steps=True)
    cells = store.cells(summary.run_id, last=True, skip_damaged=True)
    shown = run_of_result(result)
    recorded = ((cell.stage_type, _texts((cell.entry or {}).get("settings"))) for cell in cells[:1])
    return replace(
        shown,
        run_id=summary.run_id,
        status=summary.status,
        began=summary.began if shown.began is None else shown.began,
        prompt=summary.prompt,
        images=max(summary.images, shown.images),
        pictures=_with_cells(shown.pictures, cells),
        error=shown.error or summary.error,
        facts=(*_facts_of_summary(summary), *(fact for fact in shown.facts if fact[0] != "seed")),
        settings=shown.settings or tuple(recorded),
    )


# -- pictures -------------------------------------------------------------------------------------------------------


def _pictures_of(result: PipelineRunResult) -> tuple[Picture, ...]:
    histories: dict[str, list[ImageRecord]] = {}
    for record in result.records:
        histories.setdefault(record.artifact_id, []).append(record)
    return tuple(_picture(result, variant, histories.get(variant.artifact_id, [])) for variant in result.variants)


def _picture(result: PipelineRunResult, variant: ImageResult, history: Sequence[ImageRecord]) -> Picture:
    picture = Picture(
        variant.artifact_id,
        _name_of(variant.artifact_id),
        variant.outcome,
        error=variant.error,
        variant=tuple(variant.variant.items()),
        warnings=tuple(dict.fromkeys(warning for record in history for warning in record.all_warnings)),
        duration_s=sum(record.duration_s or 0.0 for record in history) if history else None,
    )
    last = next((record for record in reversed(history) if record.through), None)
    if last is None:
        return picture
    source = last.path or _in_memory(lambda: result.artifact(last).read())
    return replace(picture, stage=last.stage_type, seed=last.seed, source=source, path=last.path)


def _in_memory(read: Callable[[], bytes]) -> bytes | None:
    try:
        return read()
    except BadImage:  # the run was of another process
        return None


def _name_of(artifact_id: str) -> str:
    found = _NUMBER.fullmatch(artifact_id)
    return found[1] if found else artifact_id


def _with_cells(pictures: Sequence[Picture], cells: Sequence[CellRecord]) -> tuple[Picture, ...]:
    """Return pictures with what only the store knows: those that the last attempt did not reach, and marks."""
    known = {picture.artifact_id: picture for picture in pictures}
    for cell in cells:
        before = known.get(cell.artifact_id) or Picture(cell.artifact_id, _name_of(cell.artifact_id), "done")
        if before.source is None and cell.path is not None:
            before = replace(
                before,
                source=cell.path,
                path=cell.path,
                stage=cell.stage_type,
                seed=cell.seed,
                duration_s=cell.duration_s,
            )
        known[cell.artifact_id] = replace(before, favourite=cell.favourite, rating=cell.rating, tags=cell.tags)
    return tuple(known.values())


# -- settings -------------------------------------------------------------------------------------------------------


def _facts_of(plan: StageExecutionPlan | None) -> list[tuple[str, str]]:
    if plan is None:
        return []
    settings = plan.settings
    return [
        ("input", ", ".join(str(path) for path in settings.input)),
        ("order", settings.order),
        ("files", "kept in memory" if settings.out is None else str(settings.out)),
    ]


def _facts_of_summary(summary: RunSummary) -> list[tuple[str, str]]:
    facts = [
        ("seed", "" if summary.seed is None else str(summary.seed)),
        ("backend", summary.backend_spec or summary.backend),
        ("attempts", str(summary.attempt) if summary.attempt > 1 else ""),
        ("run again from", summary.parent or ""),
        ("rxpipe", f"{summary.version} on {summary.host}" if summary.host else summary.version),
    ]
    return [fact for fact in facts if fact[1]]


def _settings_of(plan: StageExecutionPlan | None) -> tuple[tuple[str, tuple[tuple[str, str], ...]], ...]:
    if plan is None:
        return ()
    return tuple(
        (
            stage.stage_type,
            _texts({**stage.generation.model_dump(exclude_none=True, mode="json"), **_payload(stage)}),
        )
        for stage in plan.stages
    )


def _payload(stage: Any) -> dict[str, Any]:
    values: dict[str, Any] = stage.config.model_dump(
        exclude={"enabled", "on_error", "on_interrupted"}, exclude_unset=True, mode="json"
    )
    return values


def _texts(values: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    given = ((name, value) for name, value in (values or {}).items() if value not in (None, "", (), [], {}))
    return tuple((name, value if isinstance(value, str) else json.dumps(value, default=str)) for name, value in given)
