"""Whole runs on a scripted backend, in virtual time: the timeline of each is the test."""

from __future__ import annotations

import pytest

import rxpipe as rxp
from rxpipe.backends.base import Output
from rxpipe.errors import BackendFailed, BackendUnavailable
from rxpipe.testing import (
    MarbleError,
    MarbleSyntaxError,
    Mismatch,
    ScriptedBackend,
    run_end,
    run_start,
    stage_end,
    stage_failed,
    stage_image,
    stage_retry,
    stage_start,
    stage_step,
)


def test_a_run_of_four_stages_with_a_retry_a_timeout_and_a_cancel(marbles):
    """txt2img tells steps, img2img is refused once, adetailer hangs into its time limit, upscale is cut off."""
    retry = rxp.RetryConfig(attempts=2, first_delay_s=0.002)
    stages = rxp.txt2img(prompt="a pier", images=2), rxp.img2img(), rxp.adetailer(), rxp.upscale()
    run = marbles.run(
        rxp.chain(*stages, order="stage", timeout_s=0.005, retry=retry),
        backend={"txt2img": "-s-o|", "img2img": ["-#", "-o|"], "adetailer": ["---", "o|"], "upscale": "---"},
        errors={"img2img": BackendUnavailable("nobody there")},
        cancel="-------------------------------!",
    )
    # fmt: off
    run.timeline.to_be(
        run      ="s------------------------------!",
        txt2img  ="sp--1p--[2|]",
        img2img  ="--------sr---1-[2|]",
        adetailer="---------------s----r--1[2|]",
        upscale  ="------------------------s----r-!",
    )
    # fmt: on
    assert (run.status, len(run.result.images)) == ("cancelled", 2)


def test_scripts_of_a_list_play_one_call_each(marbles):
    """The nth on the nth call, the last repeating; the log tells when each was at work."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x", images=3)), backend={"txt2img": ["o|", "--o|"]})
    run.timeline.to_be(txt2img="s1--2--[3|]")
    run.backend["txt2img"].subscriptions.to_be("^!", "-^--!", "----^--!")
    assert [call.image_index for call in run.backend.calls] == [1, 2, 3]


def test_a_backend_that_hangs_leaves_the_run_going(marbles):
    """Virtual time ends where nothing is planned any more."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x")), backend={"txt2img": "-s--"})
    run.timeline.to_be(txt2img="sp")
    assert run.status == "running"


def test_a_cancelled_call_is_cut_off(marbles):
    """Its subscription ends with the cancel, and nothing is called afterwards."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x", images=9)), backend={"txt2img": "s---o|"}, cancel="-------!")
    run.timeline.to_be(
        run="s------!", txt2img="[sp]---[1p]--!"[:0] + "[sp]----[1p]-!"[:0] + "[sp]----@5ms"[:4] + "----[1p]-!"
    )
    run.backend["txt2img"].subscriptions.to_be("^----!", "-----^-!")
    assert run.status == "cancelled"


def test_events_are_expected_by_name_or_by_matcher(marbles):
    """Without values, a diagram's names are those of the events; with values, what these say."""
    run = marbles.run(
        rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale()),
        backend={"txt2img": "s-o|", "upscale": "-#"},
        errors={"upscale": BackendFailed("out of memory")},
    )
    run.events.to_be(
        "[{run_start}{txt2img start}{txt2img step}]--[{txt2img 1}{txt2img end}{upscale start}]"
        "[{upscale 1 failed}{upscale end}{run failed}]"
    )
    run.events.to_be(
        "[abc]--[def][gei]",
        {
            "a": run_start(stages=("txt2img", "upscale")),
            "b": stage_start(stage="txt2img"),
            "c": stage_step(fraction=1.0),
            "d": stage_image(outcome="done"),
            "e": stage_end(),
            "f": stage_start(stage="upscale"),
            "g": stage_image(outcome="failed"),
            "i": run_end(status="failed"),
        },
    )


def test_previews_come_beside_the_events(marbles):
    """`p` in a script is a picture, not a fact."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x")), backend={"txt2img": "-p-p-o|"})
    run.previews.to_be("-a-a", {"a": rxp.StagePreview})
    run.timeline.to_be(txt2img="s-----[1|]")


def test_an_unchanged_picture_passes(marbles):
    """`u` says that there was nothing to do."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x"), rxp.adetailer()), backend={"adetailer": "u|"})
    run.timeline.to_be(txt2img="s--[1|]", adetailer="---s[{1 passed}|]")


def test_further_letters_stand_for_what_the_test_gives(marbles):
    """A picture with a warning, drawn from another seed."""
    backend = ScriptedBackend(marbles, {"txt2img": "w|"}, values={"w": Output(b"", seed=7, warnings=("odd",))})
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x", seed=5)), backend=backend)
    assert (run.result.images[0].seed, run.result.images[0].warnings) == (7, ("odd",))


def test_settling_after_a_timeout_takes_the_time_its_script_says(marbles):
    """Nothing is sent again before the backend is idle."""
    run = marbles.run(
        rxp.chain(rxp.txt2img(prompt="x"), timeout_s=0.005, retry=rxp.RetryConfig(first_delay_s=0, jitter=0)),
        backend={"txt2img": ["---", "o|"], "wait_idle": "----|"},
    )
    run.backend["txt2img"].subscriptions.to_be("^----!", "---------^!")
    run.timeline.to_be(txt2img="s----r----[1|]")


def test_a_backend_that_refuses_the_plan_fails_the_run(marbles):
    """Before any stage."""
    backend = ScriptedBackend(marbles, check=BackendUnavailable("nobody there"))
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x")), backend=backend)
    run.timeline.to_be(run="[s#]")
    assert backend.calls == []


def test_a_row_that_differs_fails_with_the_whole_timeline(marbles):
    """The reason names the row, and the run stands below it."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale()))
    with pytest.raises(Mismatch) as failed:
        run.timeline.to_be(txt2img="s--[1|]", upscale="---s-[1|]")
    text = str(failed.value)
    assert text.startswith("upscale: 1 came 1 ms late")
    assert "run      s--------|" in text


def test_a_stage_that_ran_unexpectedly_fails(marbles):
    """Rows of stages may not be left out."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale()))
    with pytest.raises(Mismatch, match="upscale: s at 3 ms was not expected"):
        run.timeline.to_be(txt2img="s--[1|]")


def test_bad_scripts_are_refused_before_anything_runs(marbles):
    """An unknown letter, a bad diagram, a bad moment to cancel."""
    chain = rxp.chain(rxp.txt2img(prompt="x"))
    with pytest.raises(MarbleError, match="A script contains 'x'"):
        marbles.run(chain, backend={"txt2img": "x|"})
    with pytest.raises(MarbleSyntaxError):
        marbles.run(chain, backend={"txt2img": "-(o"})
    with pytest.raises(MarbleSyntaxError, match="a moment is frames and one '!'"):
        marbles.run(chain, cancel="--^!")


def test_a_config_runs_as_a_chain_does(marbles, tmp_path, monkeypatch):
    """And writes no files unless it says where."""
    monkeypatch.chdir(tmp_path)
    run = marbles.run(rxp.PipelineConfig(txt2img=rxp.Txt2ImgConfig(prompt="x"), upscale=rxp.UpscaleConfig()))
    assert run.status == "completed"
    assert list(tmp_path.iterdir()) == []


def test_retry_and_failure_have_matchers(marbles):
    """Each kind of event has one, with any of its fields."""
    run = marbles.run(
        rxp.chain(rxp.txt2img(prompt="x"), retry=rxp.RetryConfig(attempts=2, first_delay_s=0.001)),
        backend={"txt2img": "#"},
        errors={"txt2img": BackendUnavailable("nobody there")},
    )
    kinds = [stage_retry(attempt=1), stage_failed(stage="txt2img")]
    assert [sum(matcher.matches(event) for event in run.events.values) for matcher in kinds] == [1, 1]


@pytest.mark.parametrize("wrong", [{"backend": {"upscael": "-o|"}}, {"errors": {"upscael": ValueError()}}])
def test_a_script_for_a_stage_that_there_is_not_is_refused(marbles, wrong):
    """It would never play, and the test would pass."""
    with pytest.raises(MarbleError, match=r"'upscael'.* There are txt2img, "):
        marbles.run(rxp.chain(rxp.txt2img(prompt="a")), **wrong)


def test_a_row_that_no_timeline_can_have_is_refused(marbles):
    """By its name, and with those that there are."""
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="a")))
    with pytest.raises(MarbleError, match=r"no row 'runn'\. There are run, txt2img"):
        run.timeline.to_be(runn="s|")
    run.events.accept()
