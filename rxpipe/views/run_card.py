"""A run as HTML with small pictures, and as text where there is no HTML: in progress, and as a result that is over.

Needs no notebook. The colours are readable on white and on black, since an output does not know its page.
"""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from rxpipe.errors import BadImage
from rxpipe.events import RunStart, StageImageProgress
from rxpipe.pictures.opening import MOST_PIXELS, PREVIEW_PIXELS, opened
from rxpipe.result import ImageRecord
from rxpipe.status import RunStatus, reduce_status
from rxpipe.views.palette import detail, duration_text, stage_caption, tone_of

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rxpipe.result import PipelineRunResult
    from rxpipe.status import StageStatus

THUMBNAIL_PX = 192
SHOWN = 12
_MOST_BARS = 400
# Readable on white and on black, since an output does not know the colour of its page.
_COLOURS = {"quiet": "#8a92a0", "busy": "#3f82ec", "good": "#279a58", "warn": "#c98200", "bad": "#e0484f"}
_TRACK = "rgba(128,128,128,.25)"


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture.

    data: JPEG, at most THUMBNAIL_PX wide and high. title: shown while the pointer rests on it. fraction: 0..1, how far
    the image is, for a bar below it; None: no bar.
    """

    data: bytes
    caption: str
    title: str = ""
    in_progress: bool = False
    fraction: float | None = None


@dataclass(frozen=True, slots=True)
class RunCard:
    """What the output shows at one moment: itself HTML (`_repr_html_`) and text (`repr`).

    timeline: HTML between the stages and the pictures.
    """

    status: RunStatus = field(default_factory=RunStatus)
    thumbnails: tuple[Thumbnail, ...] = ()
    more: int = 0
    warnings: tuple[str, ...] = ()
    timeline: str = ""

    def __repr__(self) -> str:
        status = self.status
        head = " · ".join(part for part in (_head(status), detail(status), status.eta_text) if part)
        width = max((len(stage.name) for stage in status.stages), default=0)
        stages = (f"  {stage.name:{width}}  {stage_caption(stage)}" for stage in status.stages)
        return "\n".join([head, *stages, *(f"  warning: {warning}" for warning in self.warnings)])

    def _repr_html_(self) -> str:
        status = self.status
        colour = _COLOURS[tone_of(status.state)]
        numbers = " &nbsp; ".join(part for part in (_percent(status), status.eta_text) if part)
        return (
            "<div style='font-family:system-ui,sans-serif;font-size:13px;line-height:1.5;max-width:860px;"
            "padding:10px 2px'>"
            "<div style='display:flex;align-items:center;gap:8px'>"
            f"<span style='width:9px;height:9px;border-radius:50%;background:{colour};flex:none'></span>"
            f"<b>{html.escape(status.message)}</b>"
            f"<span style='opacity:.7'>{html.escape(detail(status))}</span>"
            f"<span style='margin-left:auto;opacity:.7;white-space:nowrap'>{numbers}</span></div>"
            f"{_bar(status.fraction, colour, 'margin:6px 0 10px')}"
            f"<div style='display:flex;gap:12px'>{''.join(map(_stage, status.stages))}</div>"
            f"{self.timeline}"
            f"<div style='display:flex;gap:10px;flex-wrap:wrap;margin-top:10px'>{self._pictures()}</div>"
            f"{self._warnings()}</div>"
        )

    def _warnings(self) -> str:
        shown = "".join(f"<li>{html.escape(warning)}</li>" for warning in self.warnings)
        return f"<ul style='margin:8px 0 0;padding-left:18px;color:{_COLOURS['warn']}'>{shown}</ul>" if shown else ""

    def _pictures(self) -> str:
        more = f"<span style='align-self:center;opacity:.7'>and {self.more} more</span>" if self.more else ""
        return "".join(map(_picture, self.thumbnails)) + more


def shrunk(picture: Path | bytes) -> bytes | None:
    """Return a JPEG of at most THUMBNAIL_PX; None if it cannot be read, which costs only the thumbnail."""
    try:
        with opened(picture, most_pixels=PREVIEW_PIXELS if isinstance(picture, bytes) else MOST_PIXELS) as image:
            image.draft("RGB", (THUMBNAIL_PX, THUMBNAIL_PX))
            small = image.convert("RGB")
        small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    except BadImage:
        return None
    target = io.BytesIO()
    small.save(target, "JPEG", quality=82)
    return target.getvalue()


def _head(status: RunStatus) -> str:
    return " · ".join(part for part in (status.message, _percent(status)) if part)


def _percent(status: RunStatus) -> str:
    return status.percent_text if status.active or status.fraction > 0 else ""


def _bar(fraction: float, colour: str, style: str = "") -> str:
    filled = f"<div style='width:{fraction * 100:.1f}%;height:100%;border-radius:3px;background:{colour}'></div>"
    return f"<div style='height:6px;border-radius:3px;background:{_TRACK};{style}'>{filled}</div>"


def _stage(stage: StageStatus) -> str:
    name = html.escape(stage.name)
    title = f"<b>{name}</b>" if stage.state == "running" else name
    colour = _COLOURS[tone_of(stage.state)]
    caption = html.escape(stage_caption(stage))
    bar = _bar(stage.fraction, colour, "margin:3px 0")
    return f"<div style='flex:1;min-width:0'>{title}{bar}<span style='opacity:.7'>{caption}</span></div>"


def _picture(thumbnail: Thumbnail) -> str:
    line = f"outline:2px dashed {_COLOURS['busy']};" if thumbnail.in_progress else ""
    bar = "" if thumbnail.fraction is None else _bar(thumbnail.fraction, _COLOURS["busy"], "margin-top:4px")
    source = "data:image/jpeg;base64," + base64.b64encode(thumbnail.data).decode()
    return (
        f"<figure style='margin:0' title='{html.escape(thumbnail.title, quote=True)}'>"
        f"<img src='{source}' alt='' style='height:112px;border-radius:4px;display:block;{line}'>{bar}"
        f"<figcaption style='opacity:.7;font-size:11px'>{html.escape(thumbnail.caption)}</figcaption></figure>"
    )


# -- a result ---------------------------------------------------------------------------------------------------------


def result_html(result: PipelineRunResult) -> str:
    """Return a result as HTML: how it ended, when each stage drew each image, and the first pictures."""
    status = RunStatus()
    for event in result.events:
        status = reduce_status(status, event)
    records = [record for record in result.images if record.through]
    made = [thumbnail for record in records[:SHOWN] if (thumbnail := _thumbnail_of(result, record))]
    card = RunCard(status, tuple(made), max(0, len(records) - SHOWN), result.warnings[:SHOWN], _timeline(result))
    return card._repr_html_()  # of this module


def _thumbnail_of(result: PipelineRunResult, record: ImageRecord) -> Thumbnail | None:
    try:
        artifact = result.artifact(record)
        source = artifact.path if artifact.path is not None else artifact.data
        data = None if source is None else shrunk(source)
    except BadImage:
        return None
    caption = record.stage_type if record.seed is None else f"{record.stage_type} · seed {record.seed}"
    return Thumbnail(data, caption, str(record.path or "in memory")) if data is not None else None


def _timeline(result: PipelineRunResult) -> str:
    """Return when each stage drew each image: a row a stage, a bar an image, and how long it all took."""
    spans = _spans(result)
    if not spans:
        return ""
    begin, end = min(span[1] for span in spans), max(span[2] for span in spans)
    whole = max((end - begin).total_seconds(), 1e-9)
    rows = []
    names = next((event.stages for event in result.events if isinstance(event, RunStart)), ())
    for index, name in enumerate(names):
        own = [span for span in spans if span[0].stage_index == index]
        bars = "".join(_span_bar(record, begin, first, last, whole) for record, first, last in own)
        rows.append(
            f"<div style='width:90px;overflow:hidden;text-overflow:ellipsis'>{html.escape(str(name))}</div>"
            f"<div style='position:relative;height:14px;background:{_TRACK};border-radius:3px'>{bars}</div>"
        )
    axis = f"<div></div><div style='opacity:.7;font-size:11px;text-align:right'>{duration_text(whole)}</div>"
    grid = "display:grid;grid-template-columns:auto 1fr;gap:4px 10px;margin-top:10px;align-items:center"
    return f"<div style='{grid}'>{''.join(rows)}{axis}</div>"


def _spans(result: PipelineRunResult) -> list[tuple[ImageRecord, datetime, datetime]]:
    """Return the images of all stages with the moments between which they were drawn; evenly chosen ones of many."""
    seen: list[tuple[StageImageProgress, datetime]] = []
    start: RunStart | None = None
    for event in result.events:
        start = event if isinstance(event, RunStart) else start
        if isinstance(event, StageImageProgress) and start is not None:
            seen.append((event, start.timestamp + timedelta(seconds=event.moment.since_s(start.moment))))
    step = -(-len(seen) // _MOST_BARS) or 1
    return [
        (ImageRecord.of(event), end - timedelta(seconds=event.duration_s or 0.0), end) for event, end in seen[::step]
    ]


def _span_bar(record: ImageRecord, begin: datetime, first: datetime, last: datetime, whole: float) -> str:
    left, width = (first - begin).total_seconds() / whole, (last - first).total_seconds() / whole
    colour = _COLOURS["bad" if record.outcome == "failed" else "warn" if record.outcome == "passed" else "good"]
    title = f"image {record.image_number} · {record.outcome} · {duration_text((last - first).total_seconds())}"
    place = f"left:{left * 100:.2f}%;width:max(2px,calc({width * 100:.2f}% - 1px))"
    return (
        f"<div title='{html.escape(title, quote=True)}' style='position:absolute;top:0;bottom:0;{place};"
        f"background:{colour};border-radius:2px'></div>"
    )
