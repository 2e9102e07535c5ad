"""Operators of Rx for Python as documented, in the kit's own style: source, expectation, subscription.

Each with values, none, an error, no end, and unsubscribed early, where that says something.
"""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxpipe.testing import anything

MS = 0.001

# fmt: off
OF_ONE = {
    "map": (ops.map(str.upper), [
        ("-a-b-|",      "-A-B-|",       "^----!"),
        ("|",           "|",            "(^!)"),
        ("---",         "---",          "^"),
        ("-a-#",        "-A-#",         "^--!"),
        ("(ab)-|",      "[AB]----|",    "^----!"),
    ]),
    "filter": (ops.filter(lambda value: value in "ac"), [
        ("-a-b-c-|",    "-a---c-|",     "^------!"),
        ("-b-b-|",      "-----|",       "^----!"),
        ("-b-#",        "---#",         "^--!"),
        ("|",           "|",            "(^!)"),
        ("-c-b-",       "-c",           "^"),
    ]),
    "take": (ops.take(2), [
        ("-a-b-c-|",    "-a-(b|)",      "^--!"),
        ("-a-|",        "-a-|",         "^--!"),
        ("-a-#",        "-a-#",         "^--!"),
        ("-(abc)",      "-(ab|)",       "^!"),
        ("-a--",        "-a--",         "^"),
    ]),
    "skip": (ops.skip(2), [
        ("-a-b-c-|",    "-----c-|",     "^------!"),
        ("-a-|",        "---|",         "^--!"),
        ("-a-#",        "---#",         "^--!"),
        ("-(abc)|",     "-c----|",      "^-----!"),
        ("|",           "|",            "(^!)"),
    ]),
    "take_while": (ops.take_while(lambda value: value < "c"), [
        ("-a-b-c-a|",   "-a-b-|",       "^----!"),
        ("-a-b-|",      "-a-b-|",       "^----!"),
        ("-c-|",        "-|",           "^!"),
        ("-a-#",        "-a-#",         "^--!"),
        ("|",           "|",            "(^!)"),
    ]),
    "take_while inclusive": (ops.take_while(lambda value: value < "c", inclusive=True), [
        ("-a-c-a|",     "-a-(c|)",      "^--!"),
        ("-a-|",        "-a-|",         "^--!"),
        ("-c-|",        "-(c|)",        "^!"),
        ("-a-#",        "-a-#",         "^--!"),
    ]),
    "skip_while": (ops.skip_while(lambda value: value < "b"), [
        ("-a-b-a-|",    "---b-a-|",     "^------!"),
        ("-a-a-|",      "-----|",       "^----!"),
        ("-b-a|",       "-b-a|",        "^---!"),
        ("-a-#",        "---#",         "^--!"),
        ("|",           "|",            "(^!)"),
    ]),
    "take_last": (ops.take_last(2), [
        ("-a-b-c-|",    "-------(bc|)", "^------!"),
        ("-a-|",        "---(a|)",      "^--!"),
        ("-a-#",        "---#",         "^--!"),
        ("|",           "|",            "(^!)"),
        ("-a-b-c-",     "-",            "^"),
    ]),
    "skip_last": (ops.skip_last(1), [
        ("-a-b-c-|",    "---a-b-|",     "^------!"),
        ("-a-|",        "---|",         "^--!"),
        ("-a-b-#",      "---a-#",       "^----!"),
        ("|",           "|",            "(^!)"),
        ("-a-b-",       "---a",         "^"),
    ]),
    "first": (ops.first(), [
        ("-a-b-|",      "-(a|)",        "^!"),
        ("-#",          "-#",           "^!"),
        ("-(ab)",       "-(a|)",        "^!"),
        ("---",         "---",          "^"),
    ]),
    "last": (ops.last(), [
        ("-a-b-|",      "-----(b|)",    "^----!"),
        ("-a-#",        "---#",         "^--!"),
        ("-a|",         "--(a|)",       "^-!"),
        ("-a-b-",       "-",            "^"),
    ]),
    "first_or_default": (ops.first_or_default(default_value="d"), [
        ("-a-b-|",      "-(a|)",        "^!"),
        ("--|",         "--(d|)",       "^-!"),
        ("-#",          "-#",           "^!"),
    ]),
    "element_at": (ops.element_at(1), [
        ("-a-b-c-|",    "---(b|)",      "^--!"),
        ("-(abc)",      "-(b|)",        "^!"),
        ("-a-#",        "---#",         "^--!"),
        ("-a-",         "-",            "^"),
    ]),
    "distinct": (ops.distinct(), [
        ("-a-b-a-c-|",  "-a-b---c-|",   "^--------!"),
        ("-a-a-a|",     "-a----|",      "^-----!"),
        ("-a-a-#",      "-a---#",       "^----!"),
        ("|",           "|",            "(^!)"),
    ]),
    "distinct_until_changed": (ops.distinct_until_changed(), [
        ("-a-a-b-b-a|", "-a---b---a|",  "^---------!"),
        ("-(aab)|",     "-[ab]----|",   "^-----!"),
        ("-a-a-#",      "-a---#",       "^----!"),
        ("|",           "|",            "(^!)"),
        ("-a-a-",       "-a",           "^"),
    ]),
    "scan": (ops.scan(lambda total, value: total + value), [
        ("-a-b-|",      "-a-{ab}-|",    None),
        ("|",           "|",            "(^!)"),
        ("-a-#",        "-a-#",         "^--!"),
        ("---",         "---",          "^"),
    ]),
    "reduce": (ops.reduce(lambda total, value: total + value), [
        ("-a-b-|",      "-----({ab}|)", "^----!"),
        ("-a|",         "--(a|)",       "^-!"),
        ("-a-#",        "---#",         "^--!"),
        ("-a-b-",       "-",            "^"),
    ]),
    "ignore_elements": (ops.ignore_elements(), [
        ("-a-b-|",      "-----|",       "^----!"),
        ("-a-#",        "---#",         "^--!"),
        ("|",           "|",            "(^!)"),
        ("-a-",         "---",          "^"),
    ]),
    "default_if_empty": (ops.default_if_empty("d"), [
        ("--|",         "--(d|)",       "^-!"),
        ("-a-|",        "-a-|",         "^--!"),
        ("-#",          "-#",           "^!"),
        ("---",         "---",          "^"),
    ]),
    "start_with": (ops.start_with("x", "y"), [
        ("-a-|",        "[xy]a-|",      "^--!"),
        ("|",           "(xy|)",        "(^!)"),
        ("-#",          "[xy]#",        "^!"),
        ("---",         "[xy]",         "^"),
    ]),
    "delay": (ops.delay(2 * MS), [
        ("-a-b-|",      "---a-b-|",     "^----!"),
        ("(ab)-|",      "--[ab]----|",  "^----!"),
        ("|",           "--|",          "(^!)"),
        ("-a-#",        "---#",         "^--!"),
        ("---",         "---",          "^"),
    ]),
    "debounce": (ops.debounce(2 * MS), [
        ("-a-----b---|",  "---a-----b-|", "^----------!"),
        ("-abc-----|",  "-----c---|",   "^--------!"),
        ("-a|",         "--(a|)",       "^-!"),
        ("-a#",         "--#",          "^-!"),
        ("|",           "|",            "(^!)"),
    ]),
    "throttle_first": (ops.throttle_first(3 * MS), [
        ("-abc-d---|",  "-a---d---|",   "^--------!"),
        ("-a----b|",    "-a----b|",     "^------!"),
        ("-a-#",        "-a-#",         "^--!"),
        ("|",           "|",            "(^!)"),
    ]),
    "sample": (ops.sample(3 * MS), [
        ("-ab--c--|",   "---b--c--|",   "^-------!"),  # the end waits for the next sample
        ("-----|",      "------|",      "^----!"),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "timeout": (ops.timeout(3 * MS), [
        ("-a--b-|",     "-a--b-|",      "^-----!"),
        ("--|",         "--|",          "^-!"),
        ("-#",          "-#",           "^!"),
    ]),
    "take_with_time": (ops.take_with_time(3 * MS), [
        ("-a-b-c|",     "-a-|",         "^--!"),
        ("-a|",         "-a|",          "^-!"),
        ("-#",          "-#",           "^!"),
        ("----",        "---|",         "^--!"),
    ]),
    "skip_with_time": (ops.skip_with_time(3 * MS), [
        ("-a---b-|",    "-----b-|",     "^------!"),
        ("-a|",         "--|",          "^-!"),
        ("-#",          "-#",           "^!"),
    ]),
    "delay_subscription": (ops.delay_subscription(2 * MS), [
        ("-a-b-|",      "---a-b-|",     "--^----!"),
        ("|",           "--|",          "--(^!)"),
        ("#",           "--#",          "--(^!)"),
    ]),
    "repeat": (ops.repeat(2), [
        ("-a-|",        "-a--a-|",      None),
        ("-a-#",        "-a-#",         "^--!"),
        ("---",         "---",          "^"),
    ]),
    "retry": (ops.retry(2), [
        ("-a-#",        "-a--a-#",      None),
        ("-a-|",        "-a-|",         "^--!"),
        ("---",         "---",          "^"),
    ]),
    "catch": (ops.catch(rx.of("x")), [
        ("-a-#",        "-a-(x|)",      "^--!"),
        ("-a-|",        "-a-|",         "^--!"),
        ("#",           "(x|)",         "(^!)"),
    ]),
    "dematerialized": (lambda source: source.pipe(ops.materialize(), ops.dematerialize()), [
        ("-a-b-|",      "-a-b-|",       "^----!"),
        ("-a-#",        "-a-#",         "^--!"),
        ("|",           "|",            "(^!)"),
    ]),
}
COUNTING = {
    "count": (ops.count(), [
        ("-a-b-|",      "-----(2|)",    "^----!"),
        ("|",           "(0|)",         "(^!)"),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "sum": (ops.sum(), [
        ("-1-2-3-|",    "-------(6|)",  "^------!"),
        ("|",           "(0|)",         "(^!)"),
        ("-1-#",        "---#",         "^--!"),
    ]),
    "min": (ops.min(), [
        ("-3-1-2-|",    "-------(1|)",  "^------!"),
        ("-2-#",        "---#",         "^--!"),
    ]),
    "max": (ops.max(), [
        ("-3-1-2-|",    "-------(3|)",  "^------!"),
        ("-2-#",        "---#",         "^--!"),
    ]),
    "average": (ops.average(), [
        ("-1-2-3-|",    "-------(2|)",  "^------!"),
        ("-1-#",        "---#",         "^--!"),
    ]),
}
YES_NO = {
    "all": (ops.all(lambda value: value < "c"), [
        ("-a-b-|",      "-----(y|)",    "^----!"),
        ("-a-c-|",      "---(n|)",      "^--!"),
        ("|",           "(y|)",         "(^!)"),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "some": (ops.some(lambda value: value == "b"), [
        ("-a-b-|",      "---(y|)",      "^--!"),
        ("-a-|",        "---(n|)",      "^--!"),
        ("-#",          "-#",           "^!"),
    ]),
    "contains": (ops.contains("b"), [
        ("-a-b-|",      "---(y|)",      "^--!"),
        ("-a-|",        "---(n|)",      "^--!"),
        ("---",         "---",          "^"),
    ]),
    "is_empty": (ops.is_empty(), [
        ("-a-b-|",      "-(n|)",        "^!"),
        ("--|",         "--(y|)",       "^-!"),
        ("-#",          "-#",           "^!"),
    ]),
}
LISTS = {
    "to_list": (ops.to_list(), [
        ("-a-b-|",      "-----({ab}|)", "^----!"),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "buffer_with_count": (ops.buffer_with_count(2), [
        ("-a-b-c-|",    "---{ab}---(c|)", "^------!"),
        ("-a-b-|",      "---{ab}-|",    None),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "pairwise": (ops.pairwise(), [
        ("-a-b-c-|",    "---{ab}-{bc}-|", None),
        ("-a-|",        "---|",         "^--!"),
        ("-a-#",        "---#",         "^--!"),
    ]),
    "buffer_with_time": (ops.buffer_with_time(3 * MS), [
        ("-a------|",   "---a--{none}-({none}|)", None),
        ("-ab--c|",     "---{ab}--(c|)", None),
    ]),
}
OF_TWO = {
    "merge": (lambda one, two: one.pipe(ops.merge(two)), [
        ("-a--b--|",    "--c--d|",      "-ac-bd-|",     "^------!",  "^-----!"),
        ("-a-#",        "--b--c|",      "-ab#",         "^--!",      "^--!"),
        ("-a-",         "--|",          "-a",           "^",         "^-!"),
        ("(a|)",        "(b|)",         "(ab|)",        "(^!)",      "(^!)"),
        ("|",           "-b|",          "-b|",          "(^!)",      "^-!"),
    ]),
    "concat": (lambda one, two: one.pipe(ops.concat(two)), [
        ("-a-|",        "-b-|",         "-a--b-|",      "^--!",      "---^--!"),
        ("-a-#",        "-b-|",         "-a-#",         "^--!",      "-----"),
        ("-a-",         "-b-|",         "-a-",          "^",         "-----"),
        ("|",           "|",            "|",            "(^!)",      "(^!)"),
    ]),
    "zip": (lambda one, two: one.pipe(ops.zip(two), ops.map("".join)), [
        ("-a---b-|",    "--x-y--|",     "--{ax}--{by}-|", "^------!", "^------!"),
        ("-a-#",        "--x|",         "--{ax}#",      None,        "^--!"),
        ("-a-|",        "---",          "---",          None,        "^"),
    ]),
    "combine_latest": (lambda one, two: one.pipe(ops.combine_latest(two), ops.map("".join)), [
        ("-a--b|",      "--x--y|",      "--{ax}-{bx}{by}|", "^----!", "^-----!"),
        ("-a-#",        "--x---",       "--{ax}#",      "^--!",      "^--!"),
        ("-a--|",       "-----",        "",             "^---!",     "^"),
    ]),
    "with_latest_from": (lambda one, two: one.pipe(ops.with_latest_from(two), ops.map("".join)), [
        ("-a-b-c|",     "--x-y-|",      "---{bx}-{cy}|", "^-----!",  "^-----!"),
        ("-a-#",        "---x",         "---#",         "^--!",      "^--!"),
        ("-a--b|",      "--#",          "--#",          "^-!",       "^-!"),
    ]),
    "amb": (lambda one, two: one.pipe(ops.amb(two)), [
        ("-a-b|",       "--c|",         "-a-b|",        "^---!",     "^!"),
        ("---a|",       "-b-|",         "-b-|",         "^!",        "^--!"),
        ("-#",          "--b|",         "-#",           "^!",        "^!"),
    ]),
    "take_until": (lambda one, two: one.pipe(ops.take_until(two)), [
        ("-a-b-c-|",    "----x",        "-a-b|",        "^---!",     "^---!"),
        ("-a|",         "----x",        "-a|",          "^-!",       "^-!"),
        ("-a---b",      "--#",          "-a#",          "^-!",       "^-!"),
        ("-a---b|",     "--|",          "-a---b|",      "^-----!",   "^-!"),
    ]),
    "skip_until": (lambda one, two: one.pipe(ops.skip_until(two)), [
        ("-a-b-c-|",    "--x",          "---b-c-|",     "^------!",  "^-!"),
        ("-a-#",        "--x",          "---#",         "^--!",      "^-!"),
    ]),
    "sample by a stream": (lambda one, two: one.pipe(ops.sample(two)), [
        ("-ab--c--|",   "---x---y-z|",  "---b---c-|",   "^-------!", "^--------!"),
        ("-a-#",        "--x",          "--a#",         "^--!",      "^--!"),
    ]),
    "catch by a stream": (lambda one, two: one.pipe(ops.catch(two)), [
        ("-a-#",        "-b-|",         "-a--b-|",      "^--!",      "---^--!"),
        ("-a-|",        "-b-|",         "-a-|",         "^--!",      "-----"),
        ("-#",          "-#",           "--#",          "^!",        "-^!"),
    ]),
    "on_error_resume_next": (lambda one, two: one.pipe(ops.on_error_resume_next(two)), [
        ("-a-#",        "-b-|",         "-a--b-|",      "^--!",      "---^--!"),
        ("-a-|",        "-b-#",         "-a--b-|",      "^--!",      "---^--!"),
    ]),
    "concat_map": (lambda one, two: one.pipe(ops.concat_map(lambda _: two)), [
        ("-a-b----|",   "-x-|",         "--x--x--|",    "^-------!", ("-^--!", "----^--!")),
        ("|",           "-x-|",         "|",            "(^!)",      ()),
    ]),
    "flat_map": (lambda one, two: one.pipe(ops.flat_map(lambda _: two)), [
        ("-a-b-|",      "--x--|",       "---x-x--|",    "^----!",    ("-^----!", "---^----!")),
        ("-a-#",        "--x--|",       "---#",         "^--!",      ("-^-!",)),
    ]),
    "flat_map_latest": (lambda one, two: one.pipe(ops.flat_map_latest(lambda _: two)), [
        ("-a-b----|",   "--x-|",        "-----x--|",    "^-------!", ("-^-!", "---^---!")),
        ("-a|",         "--x-|",        "---x-|",       "^-!",       "-^---!"),
    ]),
    "sequence_equal": (lambda one, two: one.pipe(ops.sequence_equal(two), ops.map("ny".__getitem__)), [
        ("-a-b|",       "--a--b|",      "------(y|)",   "^---!",     "^-----!"),
        ("-a-b|",       "-a-c|",        "---(n|)",      "^--!",      "^--!"),
    ]),
}
# fmt: on

EMPTY_VALUES = {"y": True, "n": False}


def rows(table):
    """Every row of a table, with the name of its operator."""
    return [
        pytest.param(operator, *row, id=f"{name} {' '.join(map(str, row[:2]))}")
        for name, (operator, cases) in table.items()
        for row in cases
    ]


def paired(table):
    """Every row of a table of two sources: their texts, what is expected, and the subscriptions of each."""
    return [
        pytest.param(operator, (one, two), expected, (of_one, of_two), id=f"{name} {one} {two}")
        for name, (operator, cases) in table.items()
        for one, two, expected, of_one, of_two in cases
    ]


def subscriptions(given):
    return given if isinstance(given, tuple) else (given,)


@pytest.mark.parametrize(("operator", "source", "expected", "listened"), rows(OF_ONE))
def test_of_one(marbles, operator, source, expected, listened):
    played = marbles.cold(source)
    marbles.expect(played.pipe(operator)).to_be(expected)
    if listened is not None:
        played.subscriptions.to_be(*subscriptions(listened))


@pytest.mark.parametrize(("operator", "source", "expected", "listened"), rows(COUNTING))
def test_that_counts(marbles, operator, source, expected, listened):
    played = marbles.cold(source, lambda name: int(name) if name.isdigit() else name)
    marbles.expect(played.pipe(operator, ops.map(int))).to_be(expected, int)
    played.subscriptions.to_be(listened)


@pytest.mark.parametrize(("operator", "source", "expected", "listened"), rows(YES_NO))
def test_that_answers(marbles, operator, source, expected, listened):
    played = marbles.cold(source)
    marbles.expect(played.pipe(operator)).to_be(expected, EMPTY_VALUES)
    played.subscriptions.to_be(listened)


@pytest.mark.parametrize(("operator", "source", "expected", "listened"), rows(LISTS))
def test_that_gathers(marbles, operator, source, expected, listened):
    played = marbles.cold(source)
    marbles.expect(played.pipe(operator, ops.map(lambda values: "".join(values) or "none"))).to_be(expected)
    if listened is not None:
        played.subscriptions.to_be(listened)


@pytest.mark.parametrize(("operator", "texts", "expected", "listened"), paired(OF_TWO))
def test_of_two(marbles, operator, texts, expected, listened):
    sources = [marbles.cold(text) for text in texts]
    marbles.expect(operator(*sources)).to_be(expected)
    for source, each in zip(sources, listened, strict=True):
        if each is not None:
            source.subscriptions.to_be(*subscriptions(each))


LEFT_EARLY = [
    ops.map(str),
    ops.scan(lambda total, value: total + value),
    ops.take(9),
    ops.delay(0.5 * MS),
    ops.merge(rx.never()),
    ops.start_with("x"),
    ops.retry(),
    ops.concat(rx.never()),
    ops.do_action(lambda _: None),
    ops.timeout(1.0),
    ops.share(),
    ops.buffer_with_count(9),
    ops.distinct(),
]


@pytest.mark.parametrize("operator", LEFT_EARLY)
def test_what_is_left_early_leaves_its_source(marbles, operator):
    """Unsubscribed at the third frame, the source is too, and nothing more comes."""
    source = marbles.cold("-a--b-c|")
    stream = marbles.expect(source.pipe(operator), "^--!")
    marbles.run()
    source.subscriptions.to_be("^--!")
    assert all(message.at < 3_000 for message in stream.accept().messages)


def test_groups_are_streams(marbles):
    stream = marbles.cold("-a-b-a|").pipe(ops.group_by(lambda value: value))
    marbles.expect(stream).to_be("-x-y--|", {"x": marbles.inner("a---a|"), "y": marbles.inner("b--|")})


def test_windows_are_streams(marbles):
    stream = marbles.cold("-a-b-c|").pipe(ops.window_with_count(2))
    marbles.expect(stream).to_be("x--y--|", {"x": marbles.inner("-a-(b|)"), "y": marbles.inner("--c|")})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-a-b|", "-a-b|"), ("-a-#", "-a-#"), ("---", "---"), ("|", "|")],
)
def test_side_effects_see_what_passes(marbles, text, expected):
    seen = []
    marbles.expect(marbles.cold(text).pipe(ops.do_action(seen.append))).to_be(expected)
    assert seen == [name for name in text if name.isalpha()]


@pytest.mark.parametrize(("text", "listened"), [("-a|", "^"), ("-#", "^"), ("-a--", "^--!")])
def test_a_final_action_runs_once_however_it_ends(marbles, text, listened):
    ended = []
    stream = marbles.cold(text).pipe(ops.finally_action(lambda: ended.append(marbles.clock.now_us)))
    marbles.expect(stream, listened).to_be({"-a--": "-a"}.get(text, text))
    assert len(ended) == 1


def test_a_shared_stream_has_one_subscription(marbles):
    source = marbles.cold("-a-b-c|")
    shared = source.pipe(ops.share())
    early, late = marbles.expect(shared), marbles.expect(shared, "--^")
    early.to_be("-a-b-c|")
    late.to_be("---b-c|")
    source.subscriptions.to_be("^-----!")


def test_a_replayed_stream_begins_with_what_was(marbles):
    source = marbles.cold("-a-b-c|")
    shared = source.pipe(ops.replay(buffer_size=1), ops.ref_count())
    early, late = marbles.expect(shared), marbles.expect(shared, "----^")
    early.to_be("-a-b-c|")
    late.to_be("----bc|")


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (lambda: rx.timer(2 * MS), "--(0|)"),
        (lambda: rx.interval(2 * MS).pipe(ops.take(2)), "--0-(1|)"),
        (lambda: rx.range(1, 4), "(123|)"),
        (rx.empty, "|"),
        (rx.never, ""),
        (lambda: rx.timer(1 * MS, 2 * MS).pipe(ops.take(3)), "-0-1-(2|)"),
        (lambda: rx.generate_with_relative_time(0, lambda n: n < 2, lambda n: n + 1, lambda _: 2 * MS), "--0-(1|)"),
        (lambda: rx.concat(rx.timer(1 * MS), rx.timer(2 * MS)), "-0-(0|)"),
        (lambda: rx.merge(rx.timer(1 * MS), rx.timer(2 * MS)), "-0(0|)"),
        (lambda: rx.fork_join(rx.timer(1 * MS), rx.timer(3 * MS)).pipe(ops.map(sum)), "---(0|)"),
        (lambda: rx.zip(rx.of(1, 2), rx.of(3, 4)).pipe(ops.map(sum)), "(46|)"),
        (lambda: rx.if_then(lambda: True, rx.of(1), rx.of(2)), "(1|)"),
        (lambda: rx.defer(lambda _: rx.of(7)), "(7|)"),
        (lambda: rx.repeat_value(5, 2), "(55|)"),
    ],
)
def test_streams_are_made(marbles, stream, expected):
    marbles.expect(stream()).to_be(expected, int)


def test_a_failing_stream_is_made(marbles):
    marbles.expect(rx.throw(OSError("x"))).to_be("#", error=OSError("x"))


@pytest.mark.parametrize(
    ("operator", "error"),
    [
        (ops.map(lambda _: 1 // 0), ZeroDivisionError),
        (ops.filter(lambda _: 1 // 0), ZeroDivisionError),
        (ops.scan(lambda *_: 1 // 0, 0), ZeroDivisionError),
        (ops.take_while(lambda _: 1 // 0), ZeroDivisionError),
        (ops.skip_while(lambda _: 1 // 0), ZeroDivisionError),
        (ops.flat_map(lambda _: 1 // 0), ZeroDivisionError),
        (ops.group_by(lambda _: 1 // 0), ZeroDivisionError),
        (ops.distinct(lambda _: 1 // 0), ZeroDivisionError),
        (ops.distinct_until_changed(lambda _: 1 // 0), ZeroDivisionError),
    ],
)
def test_what_a_function_raises_ends_the_stream(marbles, operator, error):
    source = marbles.cold("-a-b|")
    marbles.expect(source.pipe(operator)).to_be("-#", error=error)
    source.subscriptions.to_be("^!")


@pytest.mark.parametrize("operator", [ops.first(), ops.last(), ops.reduce(max), ops.average(), ops.single()])
def test_what_needs_a_value_fails_without_one(marbles, operator):
    marbles.expect(marbles.cold("--|").pipe(operator)).to_be("--#", error=Exception)


def test_a_timeout_fails_or_goes_on_elsewhere(marbles):
    slow = marbles.cold("-a-----b|")
    marbles.expect(slow.pipe(ops.timeout(3 * MS))).to_be("-a--#", error=Exception)
    marbles.expect(slow.pipe(ops.timeout(3 * MS, rx.of("x")))).to_be("-a--(x|)")


def test_times_are_measured(marbles):
    intervals = marbles.cold("-a--b|").pipe(ops.time_interval(), ops.map(lambda each: each.interval.microseconds))
    marbles.expect(intervals).to_be("-x--y|", {"x": 1_000, "y": 3_000})
    marbles.expect(marbles.cold("a").pipe(ops.timestamp())).to_be("a", {"a": anything()})
