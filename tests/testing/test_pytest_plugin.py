"""The pytest plugin: what a failing test of a user looks like, from the outside."""

from __future__ import annotations

import subprocess
import sys

import rxpipe.testing.rewriting  # pytester forgets what is imported inside, and a second copy would meet the first
import rxpipe.testing.scripted  # noqa: F401 - as above

pytest_plugins = ["pytester"]


def report(pytester, body, *options):
    """The output of one test that has *body*."""
    lines = "\n".join(f"    {line}" for line in body.splitlines())
    pytester.makepyfile(f"from reactivex import operators as ops\n\ndef test_it(marbles):\n{lines}\n")
    return pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)


def test_a_failure_is_read_from_top_to_bottom(pytester):
    """The user's line, the reason, both rows on one time axis with carets, and the line again; no frame of ours."""
    result = report(pytester, 'marbles.expect(marbles.cold("-a--b|").pipe(ops.delay(0.003))).to_be("----a-b|")')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>   *.to_be("----a-b|")',
            "E*Mismatch: b came 1 ms late",
            "E         expected  ----a-b|",
            "E         actual    ----a--b|",
            "E                         ^^^",
            "E         ms            4 6 8",
            'E         actual as text: "----a--b|"',
            "*test_a_failure_is_read_from_top_to_bottom.py:4: Mismatch",
        ]
    )
    assert "rxpipe/testing" not in str(result.stdout)


def test_a_stream_never_compared_fails_the_test_itself(pytester):
    """As a failure, not as an error of its teardown."""
    result = report(pytester, 'marbles.expect(marbles.cold("a|"))')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*nothing was ever expected of this stream", '*marbles.expect(marbles.cold("a|"))'])
    assert "_rxpipe_pytestplugin" not in str(result.stdout)
    assert "traceback" not in str(result.stdout)


def test_a_mistake_in_a_diagram_is_pointed_at(pytester):
    """With a caret, and no frame of the parser."""
    result = report(pytester, 'marbles.cold("--a,b|")')
    result.stdout.fnmatch_lines(["E*',' means nothing here", "E         --a,b|", "E            ^"])
    assert "grammar.py" not in str(result.stdout)


def test_a_real_thread_is_named(pytester):
    """With the line that started it."""
    result = report(pytester, "import threading\nthreading.Timer(1, print).start()")
    result.stdout.fnmatch_lines(["E*A real thread was started in virtual time:", "E*Timer*running print, by"])
    result.assert_outcomes(failed=1)


def test_failures_are_drawn_where_asked_for(pytester):
    """--marble-svg=DIR writes one picture a failing test, and the report says where."""
    result = report(pytester, 'marbles.expect(marbles.cold("a|")).to_be("b|")', "--marble-svg=pictures")
    result.stdout.fnmatch_lines(["*pictures/*test_it.svg"])
    (picture,) = (pytester.path / "pictures").iterdir()
    assert picture.read_text().startswith("<svg")
    assert "at 0 ms a came where b was expected" in picture.read_text()


def test_a_passing_test_draws_nothing(pytester):
    """And leaves no folder."""
    report(pytester, 'marbles.expect(marbles.cold("a|")).to_be("a|")', "--marble-svg=pictures").assert_outcomes(
        passed=1
    )
    assert not (pytester.path / "pictures").exists()


def test_the_plugin_imports_nothing_heavy():
    """Every pytest of everybody who installed rxpipe loads it."""
    heavy = {"rxpipe", "loguru", "reactivex", "pydantic", "hypothesis", "numpy", "PIL", "requests"}
    code = f"import sys, _rxpipe_pytestplugin; print(*({heavy!r} & sys.modules.keys()))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)  # noqa: S603 - our own words
    assert loaded.stdout.split() == []


def test_a_plain_assert_shows_what_to_be_shows(pytester):
    """Both rows and the reason, where pytest would show two objects."""
    result = report(pytester, 'assert marbles.expect(marbles.cold("-a--b|")) == "-a-b|"')
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*b came 1 ms late", "E*expected  -a-b|", "E*actual    -a--b|", "E*^^^"])


def test_an_async_test_runs_in_virtual_time(pytester):
    """Without another plugin; what waits for ever is named."""
    pytester.makepyfile(
        "import asyncio\nimport reactivex as rx\n\n"
        "async def test_sleeps(marbles):\n    await asyncio.sleep(3600)\n\n"
        "async def test_waits(marbles):\n    await rx.never()\n"
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["E*The test waits for ever: *", "E*py:8: await rx.never()"])


def test_what_is_left_behind_fails_the_test_itself(pytester):
    """Named with its line, without a frame of ours."""
    result = report(pytester, "import reactivex as rx\nrx.interval(1.0).subscribe(print)")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*a subscription was never disposed*", "*test_itself.py:5:", "*rx.interval(1.0).subscribe(print)"]
    )
    assert "rxpipe/testing" not in str(result.stdout)


REWRITTEN = """import pytest
import rxpipe as rxp
from reactivex import operators as ops


def test_one(marbles):
    marbles.expect(
        marbles.cold("-a-b|").pipe(ops.delay(0.001))
    ).to_be(
        "-a-b|"
    )


def test_two(marbles):
    assert marbles.expect(marbles.cold("-1-👍|", {"1": 1, "👍": 2})) == ("-x-y|", {"x": 2, "y": 1})


def test_right(marbles):
    marbles.expect(marbles.cold("-a|")).to_be("-a|")


def test_subscriptions(marbles):
    source = marbles.cold("-a|")
    marbles.expect(source.pipe(ops.repeat(2))).to_be("-a-a|")
    source.subscriptions.to_be("^-!", "--^----!")


def test_timeline(marbles):
    run = marbles.run(rxp.chain(rxp.txt2img(prompt="x"), rxp.upscale()))
    run.timeline.to_be({"upscale": "---s-[1|]"}, txt2img="s--[1|]")


def test_no_name_for_it(marbles):
    marbles.expect(marbles.cold("-a|", {"a": 3})).to_be("-x|", {"x": 2})


@pytest.mark.parametrize("text", ["a", "b"])
def test_no_text(marbles, text):
    marbles.expect(marbles.cold("-a|")).to_be(text)


@pytest.mark.parametrize("text", ["a", "b"])
def test_two_texts_in_one_place(marbles, text):
    marbles.expect(marbles.cold(text)).to_be("-")
"""


def test_expectations_are_rewritten_where_they_stand(pytester):
    """What then passes is rewritten, in its place; what cannot be fails as ever."""
    path = pytester.makepyfile(REWRITTEN)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "--marbles-update")
    result.assert_outcomes(passed=6, failed=4)
    result.stdout.fnmatch_lines(['marbles: *.py:10: "-a-b|" is now "--a-b|"', 'marbles: *py:15: *"-y-x|"'])
    again = path.read_text(encoding="utf-8")
    assert again == (
        REWRITTEN.strip()
        .replace('        "-a-b|"\n', '        "--a-b|"\n')
        .replace('== ("-x-y|"', '== ("-y-x|"')
        .replace('"--^----!"', '"--^-!"')
        .replace('"---s-[1|]"', '"---s--(1|)"')
        .replace('.to_be("-")', '.to_be("a")')
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=6, failed=4)


WITH_FIXTURES = """import pytest
import reactivex as rx


@pytest.fixture
def tidy(marbles):
    ticking = rx.interval(1.0).subscribe(print)
    yield
    ticking.dispose()


@pytest.fixture
def untidy(marbles):
    rx.interval(1.0).subscribe(print)
    yield


def test_one(marbles, tidy):
    pass


def test_two(marbles, untidy):
    pass


def test_three(marbles, tidy):
    rx.timer(2.0).subscribe(print)
"""


def test_what_fixtures_begin_is_theirs_to_end(pytester):
    """It is looked at when they have ended, and is then an error of theirs."""
    pytester.makepyfile(WITH_FIXTURES)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=2, failed=1, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_two*", "*interval(1.0).subscribe(print)*"])
    result.stdout.fnmatch_lines(["*test_three*", "*rx.timer(2.0).subscribe(print)"])
