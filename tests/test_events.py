"""Events: frozen facts that go through JSON without loss; errors as values."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from timelines import NOON, OUT_OF_MEMORY, TimelineBuilder, timelines, whole_run

import rxpipe as rxp
from rxpipe import events as module
from rxpipe.errors import BackendFailed, ConfigError
from rxpipe.events import (
    TERMINALS,
    BaseEvent,
    BaseStageEvent,
    ErrorInfo,
    RunEnd,
    RunStart,
    StageEvent,
    StageImageProgress,
    StagePreview,
    StageStart,
    StageStep,
    is_lifecycle,
    parse_event,
)


def one_of_each():
    """Every kind of event once, all fields set where there is a choice."""
    builder = TimelineBuilder()
    builder.begin("txt2img", "watermark")
    builder.start(0)
    builder.step(0, 1, 0.5, step=10, steps=20, eta_s=3.5, phase="loading")
    builder.retry(0, 1)
    builder.image(
        0,
        1,
        error=OUT_OF_MEMORY,
        seed=2**63,
        duration_s=1.5,
        path=Path("out/00001-7.png"),
        warnings=("another sampler",),
    )
    builder.end(0)
    builder.start(1)
    builder.fail(1)
    builder.cancel(1, 2)
    builder.finish("failed", error=OUT_OF_MEMORY, warnings=("old server",))
    return builder.events


def kinds():
    """The members of the union."""
    return get_args(get_args(StageEvent)[0])


def test_the_union_holds_every_kind_of_event_and_each_is_told_apart_by_its_name():
    """`kind` is the class's name in snake case."""
    concrete = {
        kind for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, BaseEvent) and "kind" in kind.model_fields
    }  # fmt: skip
    assert set(kinds()) == concrete == {type(event) for event in one_of_each()}
    for kind in kinds():
        snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in kind.__name__).strip("_")
        assert kind.model_fields["kind"].default == snake


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.kind)
def test_an_event_survives_json(event):
    """Statement 8: the same type, the same values."""
    again = parse_event(event.model_dump_json())
    assert again == event
    assert type(again) is type(event)
    assert "\n" not in event.model_dump_json()


@given(timelines())
def test_any_timeline_survives_json(drawn):
    """Line by line."""
    assert tuple(parse_event(event.model_dump_json()) for event in drawn.events) == drawn.events


@given(st.text(), st.text(st.characters(categories=["Cs", "Ll"])))
def test_any_error_survives_json(message, odd):
    """Also one that names a file whose name is not UTF-8."""
    builder = TimelineBuilder()
    info = ErrorInfo.of(OSError(message + odd))
    event = builder.finish("failed", error=info)
    assert parse_event(event.model_dump_json()).error == info


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.kind)
def test_an_event_is_frozen_and_can_be_kept_in_a_set(event):
    """Statement 8."""
    for name in type(event).model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(event, name, None)
    assert len({event, parse_event(event.model_dump_json())}) == 1


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.kind)
def test_an_event_refuses_fields_that_it_does_not_have(event):
    """A misspelt field is a bug and not a note."""
    with pytest.raises(ValidationError, match="Extra inputs"):
        type(event)(**event.model_dump(), stage_typ="x")


def test_every_event_of_a_stage_says_which():
    """Statement 4: stage_type and timestamp on all but the run's own two, which have no stage."""
    for event in one_of_each():
        assert event.timestamp.utcoffset() == timedelta()
        assert isinstance(event, BaseStageEvent) != isinstance(event, RunStart | RunEnd)
        assert hasattr(event, "stage_type") == isinstance(event, BaseStageEvent)


def test_image_index_is_none_where_no_image_is_meant():
    """Statement 5: on StageStart and StageEnd."""
    events = {event.kind: event for event in one_of_each()}
    assert (events["stage_start"].image_index, events["stage_end"].image_index) == (None, None)
    assert (events["stage_step"].image_index, events["stage_image_progress"].image_index) == (1, 1)


@pytest.mark.parametrize("naive", [datetime(2026, 1, 1), "2026-01-01T00:00:00"])  # noqa: DTZ001  that is what is refused
def test_a_timestamp_without_a_zone_is_refused(naive):
    """It would be somebody's local time."""
    with pytest.raises(ValidationError, match="timezone"):
        StageStart(run_id="r", seq=0, timestamp=naive, stage_type="txt2img", stage_index=0)


def test_timestamps_of_any_zone_and_microsecond_come_back_equal():
    """As moments."""
    moment = datetime(2026, 11, 23, 12, 0, 0, 123457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    event = StageStart(run_id="r", seq=0, timestamp=moment, stage_type="txt2img", stage_index=0)
    assert parse_event(event.model_dump_json()).timestamp == moment


@pytest.mark.parametrize("fraction", [-0.01, 1.01, math.nan, math.inf])
def test_a_fraction_outside_of_nought_to_one_is_refused(fraction):
    """0.37 and never 37."""
    with pytest.raises(ValidationError):
        a_step(fraction=fraction)


def a_step(**fields):
    return StageStep(run_id="r", seq=0, timestamp=NOON, stage_type="txt2img", stage_index=0, image_index=1, **fields)


@pytest.mark.parametrize("eta_s", [math.nan, math.inf, -math.inf, -1.0])
def test_an_estimate_that_is_none_is_unknown(eta_s):
    """Backends divide by nought; JSON has no such numbers, and people no use for them."""
    assert a_step(eta_s=eta_s).eta_s is None


@pytest.mark.parametrize("eta_s", [0, 0.0, 3.5, 1e9])
def test_an_estimate_is_seconds(eta_s):
    """From nought on."""
    assert a_step(eta_s=eta_s).eta_s == eta_s


def test_fields_that_do_not_apply_are_none():
    """And travel as null."""
    step = a_step()
    assert (step.fraction, step.step, step.steps, step.eta_s, step.total_images) == (None,) * 5
    assert json.loads(step.model_dump_json())["fraction"] is None


def test_only_steps_may_be_dropped():
    """Everything else is lifecycle."""
    assert [event.kind for event in one_of_each() if not is_lifecycle(event)] == ["stage_step"]


def test_terminals_are_the_three_ends_of_a_stage():
    """Statement 1."""
    assert {kind.__name__ for kind in TERMINALS} == {"StageEnd", "StageFailed", "StageCancelled"}


@pytest.mark.parametrize(
    "text", ["", "{}", '{"kind": "stage_begin"}', '{"kind": "run_end", "run_id": "r"}', "[1]", "null"]
)
def test_what_is_no_event_is_refused(text):
    """With pydantic's own error, as the docstring says."""
    with pytest.raises(ValidationError):
        parse_event(text)


def test_a_preview_is_no_event_and_shows_no_bytes():
    """Pictures are no facts: previews are no part of the union."""
    preview = StagePreview(run_id="r", stage_type="txt2img", stage_index=0, image_index=1, data=b"PNG" * 1000)
    assert StagePreview not in kinds()
    assert "PNG" not in repr(preview)


# -- errors as values -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "info", "text"),
    [
        (
            BackendFailed("upscale: 500.", hint="Lower the tile."),
            ErrorInfo(type="BackendFailed", message="upscale: 500.", hint="Lower the tile."),
            "upscale: 500. Lower the tile.",
        ),
        (ConfigError(["a", "b"]), ErrorInfo(type="ConfigError", message="a\nb"), "a\nb"),
        (ValueError("no"), ErrorInfo(type="ValueError", message="no"), "no"),
        (ValueError(), ErrorInfo(type="ValueError", message="ValueError"), "ValueError"),
        (KeyError("seed"), ErrorInfo(type="KeyError", message="'seed'"), "'seed'"),
        (OSError("b\udcff.png"), ErrorInfo(type="OSError", message=r"b\udcff.png"), r"b\udcff.png"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_an_error_becomes_a_value(error, info, text):
    """Its type's name, what happened, and what to do about it."""
    assert ErrorInfo.of(error) == info
    assert str(info) == text


def test_an_event_of_a_whole_run_is_small_on_disk():
    """A step of JSON is a line that people can read."""
    steps = [event for event in whole_run("txt2img") if isinstance(event, StageStep)]
    assert max(len(step.model_dump_json()) for step in steps) < 300


def test_an_image_event_carries_a_path_as_a_path():
    """Text in JSON, a Path in Python."""
    event = an_image(path="out/1.png")
    assert event.path == Path("out/1.png")
    assert json.loads(event.model_dump_json())["path"] == str(Path("out/1.png"))


def an_image(**fields):
    return StageImageProgress(
        run_id="r", seq=0, timestamp=datetime(2026, 1, 1, tzinfo=UTC), stage_type="txt2img", stage_index=0,
        image_index=1, artifact_id="r-1", outcome="done", **fields,
    )  # fmt: skip


def test_the_events_of_a_run_share_what_is_the_same_in_all_of_a_kind(marbles):
    """The names of the fields that were given: half of an event's bytes. A copy has its own."""
    steps = [
        e
        for e in marbles.run(rxp.chain(rxp.txt2img(prompt="x")), {"txt2img": "-s-s-o|"}).result.events
        if e.kind == "stage_step"
    ]
    assert len({id(event.model_fields_set) for event in steps}) == 1
    changed = steps[0].model_copy(update={"kind": "stage_step"})
    assert changed.model_fields_set == steps[0].model_fields_set | {"kind"}
    assert "kind" not in steps[1].model_fields_set
    assert steps[0] == type(steps[0])(**steps[0].model_dump(exclude={"kind"}))


@pytest.mark.parametrize("field", ["message", "hint", "warnings"])
def test_nothing_of_an_event_that_people_read_steers_a_terminal(field):
    """Escapes of 7 and 8 bits, and what turns the direction of writing; a surrogate cannot even be written."""
    evil = "\x1b[2J\x9b31m\u202eevil\u2066\x00\udcff\nnext line"
    if field == "warnings":
        [text] = RunEnd(run_id="r", seq=0, timestamp=datetime.now(UTC), status="failed", warnings=(evil,)).warnings
    else:
        error = ErrorInfo(**{"type": "X", "message": "", field: evil})
        text = getattr(error, field)
        assert text in str(error)
        assert ErrorInfo.model_validate_json(error.model_dump_json()) == error
    assert text.endswith("\nnext line")
    assert text.replace("\n", "").isprintable()
