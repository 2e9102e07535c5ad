"""The words and tones that all views share."""

from __future__ import annotations

from dataclasses import replace

import pytest
from staged import COMPLETED, RUNNING

from rxpipe.status import RunStatus, StageStatus
from rxpipe.views.palette import DARK, LIGHT, Palette, detail, duration_text, palette_on, stage_caption, tone_of


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (RunStatus(), ""),
        (RUNNING, "image 2 of 4 · step 12 of 30 · stage 2 of 4"),
        (replace(RUNNING, images=0), "image 2 · step 12 of 30 · stage 2 of 4"),
        (replace(RUNNING, stages=RUNNING.stages[1:2], stage_number=1), "image 2 of 4 · step 12 of 30"),
        (replace(RUNNING, stage_number=0), ""),
        (COMPLETED, ""),
    ],
)
def test_detail_says_where_the_run_is(status, words):
    """What is unknown or goes without saying is left out."""
    assert detail(status) == words


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        (StageStatus("upscale"), "waiting"),
        (StageStatus("upscale", "running", finished=1, total=4), "1 of 4"),
        (StageStatus("upscale", "running", finished=3, failed=1), "3, 1 failed"),
        (StageStatus("upscale", "completed", finished=4, total=4, duration_s=0.44), "4 in 0.4 s"),
        (StageStatus("upscale", "completed", finished=4, failed=1, total=4, duration_s=185), "3 in 3:05 min, 1 failed"),
        (StageStatus("upscale", "failed", finished=1, total=4), "failed"),
        (StageStatus("upscale", "cancelled"), "cancelled"),
    ],
)
def test_stage_caption_counts_what_came_through(stage, words):
    """Of a completed stage the images that came through, not those that failed."""
    assert stage_caption(stage) == words


def test_durations_are_short():
    """Tenths below a minute, whole seconds above, and no "60.0 s"."""
    assert [duration_text(s) for s in (0, 12.34, 59.94, 59.96, 60, 3599.6)] == [
        "0.0 s",
        "12.3 s",
        "59.9 s",
        "1:00 min",
        "1:00 min",
        "60:00 min",
    ]


def test_every_state_has_a_tone_and_every_tone_a_colour():
    """Nothing that a run or stage can be in is without a colour."""
    for state in ("idle", "running", "stopping", "completed", "partial", "failed", "cancelled", "waiting", "skipped"):
        assert LIGHT.of(tone_of(state)).startswith("#")


def luminance(colour):
    channels = (int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("palette", [LIGHT, DARK])
@pytest.mark.parametrize("name", ["text", "muted", "bad"])
def test_what_is_written_can_be_read(palette: Palette, name):
    """Contrast of at least 4.5 to 1 on the palette's own ground, as WCAG wants it for text."""
    pair = sorted((luminance(getattr(palette, name)), luminance(palette.ground)))
    assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def test_the_palette_follows_the_ground():
    """Dark text on light, light text on dark."""
    assert palette_on(240, 240, 240) is LIGHT
    assert palette_on(31, 34, 40) is DARK
